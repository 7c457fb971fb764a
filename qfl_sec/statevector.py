"""A PennyLane circuit as a batched, twice differentiable torch function.

The quantum function is run once; afterwards only tensors move. Leading dimensions of inputs and weights broadcast;
those along which weights are shared become samples, the others models.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pennylane as qml
import torch
from torch import Tensor

from qfl_sec.checking import InputError
from qfl_sec.gate_parameters import Sources, broadcast_shapes
from qfl_sec.program import Program
from qfl_sec.tape import record_circuit


def compile_circuit(
    circuit: Callable[[Any, Any], Any], *, n_qubits: int | None = None, weight_shape: Sequence[int] | None = None
) -> "CompiledCircuit":
    """Turn a PennyLane circuit into a batched torch function.

    Args:
        circuit: A quantum function or QNode of (inputs, weights) that returns `qml.expval` of Pauli words or sums of
            them, `qml.probs`, or several of these. It is written for one sample, as inputs[i] or inputs[..., i]. Its
            gates and wires must not depend on the values of its arguments, and parameters must be computed from them
            with torch or `qml.math` functions. Amplitudes of a state preparation without `normalize=True` are taken as
            they are.
        n_qubits: Number of qubits, on wires 0 to n_qubits - 1; None for the wires of the QNode's device or, failing
            that, those that the circuit uses.
        weight_shape: Shape of one model's weights; None for one dimension of any length.

    Example:
        >>> def circuit(inputs, weights):
        ...     qml.RY(inputs[0], wires=0)
        ...     qml.Rot(*weights, wires=0)
        ...     return qml.expval(qml.Z(0))
        >>> f = compile_circuit(circuit, weight_shape=(3,))
        >>> f(torch.zeros(5, 1), torch.zeros(3)).shape
        torch.Size([5, 1])
    """
    return CompiledCircuit(circuit, n_qubits=n_qubits, weight_shape=weight_shape)


class CompiledCircuit:
    """A circuit compiled by `compile_circuit`.

    The first call runs the quantum function, at two probes: to record it, and to make sure that its gates do not depend
    on values. Later calls do not run it, unless the number of features or weights, the dtype or the device is new.

    Attributes:
        n_qubits: Number of qubits; None before the first call unless it was given.
        n_features: Length of one sample; None before the first call.
        n_measurements: How many numbers one sample yields; None before the first call.
        weight_shape: Shape of one model's weights; None for one dimension of any length.
    """

    def __init__(
        self, circuit: Callable[[Any, Any], Any], *, n_qubits: int | None, weight_shape: Sequence[int] | None
    ) -> None:
        if n_qubits is not None and n_qubits < 1:
            raise InputError(f"Expected n_qubits={n_qubits} >= 1.")
        self._function, wires = _unwrap(circuit)
        self._wires = list(range(n_qubits)) if n_qubits is not None else wires
        self._programs: dict[Any, Program] = {}
        self.n_qubits = n_qubits
        self.n_features: int | None = None
        self.n_measurements: int | None = None
        self.weight_shape = None if weight_shape is None else tuple(weight_shape)

    def __call__(
        self,
        inputs: Tensor,
        weights: Tensor,
        *,
        shots: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Evaluate the circuit.

        Args:
            inputs: (..., n_features), real.
            weights: (..., *weight_shape), real. The leading dimensions of the two broadcast.
            shots: How often each measurement is repeated; None for exact values. Each measurement, and each Pauli word
                of a sum, has shots of its own. Sampled values have no gradient and no place in torch.func transforms.
            generator: Where the samples come from; required with shots.

        Returns:
            (..., n_measurements), real, in the wider of the two dtypes; probabilities of k wires are 2^k measurements.

        Raises:
            InputError: If the circuit cannot run in a statevector program, or an argument does not fit.
        """
        inputs, weights = self._checked(inputs, weights)
        if (shots is None) != (generator is None):
            raise InputError(f"Expected shots={shots} and generator={generator} together. Give both or neither.")
        if shots is not None and (isinstance(shots, bool) or not isinstance(shots, int) or shots < 1):
            raise InputError(f"Expected shots={shots} to be an integer >= 1.")
        program = self._program(inputs, weights)
        lead = _lead(inputs.shape[:-1], weights.shape[: weights.ndim - len(program.weight_shape)])
        layout = _Layout(lead, weights.shape[: weights.ndim - len(program.weight_shape)])
        sources = layout.sources(inputs, weights.flatten(weights.ndim - len(program.weight_shape)))
        state = program.state(sources)
        if shots is None or generator is None:
            return layout.restore(program.readout.exact(state))
        return layout.restore(program.readout.sample(state, shots, generator))

    def _checked(self, inputs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        if inputs.ndim < 1:
            raise InputError("Expected inputs of shape (..., n_features), not a single number.")
        shape = self.weight_shape
        if weights.ndim < 1 and shape is None:
            raise InputError("Expected weights of shape (..., n_weights), not a single number.")
        if shape is not None and tuple(weights.shape[weights.ndim - len(shape) :]) != shape:
            raise InputError(
                f"Expected weights of shape (..., {', '.join(map(str, shape))}), not {tuple(weights.shape)}."
            )
        if inputs.device != weights.device:
            raise InputError(f"Expected inputs on {inputs.device} and weights on {weights.device} on one device.")
        dtype = torch.promote_types(inputs.dtype, weights.dtype)
        if dtype.is_complex:
            raise InputError(f"Expected real inputs and weights, not {inputs.dtype} and {weights.dtype}.")
        if dtype not in (torch.float32, torch.float64):
            dtype = torch.float32 if dtype.is_floating_point else torch.get_default_dtype()
        return inputs.to(dtype), weights.to(dtype)

    def _program(self, inputs: Tensor, weights: Tensor) -> Program:
        weight_shape = self.weight_shape if self.weight_shape is not None else (weights.shape[-1],)
        key = (inputs.shape[-1], weight_shape, inputs.dtype, inputs.device)
        if key not in self._programs:
            # A fresh thread has none of the caller's torch.func levels, which would wrap the constants made here.
            with ThreadPoolExecutor(1) as pool:
                program = pool.submit(self._compile, *key).result()
            self._programs[key] = program
            self.n_qubits, self.n_features, self.n_measurements = program.n_qubits, key[0], program.readout.count
        return self._programs[key]

    def _compile(
        self, n_features: int, weight_shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
    ) -> Program:
        options: dict[str, Any] = {"dtype": dtype, "device": device}
        inputs, weights = _probe((n_features,), options), _probe(weight_shape, options)
        try:
            recording = record_circuit(self._function, inputs, weights, wires=self._wires)
        except InputError:
            raise
        except ValueError:
            # PennyLane refuses amplitudes whose norm is not one, and skips normalising those whose norm is.
            recording = record_circuit(self._function, inputs / inputs.norm(), weights, wires=self._wires)
        return Program(recording, weight_shape, **options)


def _unwrap(circuit: Callable[[Any, Any], Any]) -> tuple[Callable[[Any, Any], Any], list[Any] | None]:
    """Return the quantum function, and the wires if it is a QNode whose device names them.

    Raises:
        InputError: If it is neither, or a QNode with shots or transforms of its own.
    """
    if isinstance(circuit, qml.QNode):
        if circuit.shots:
            raise InputError(f"The QNode has {circuit.shots}. Give shots and a generator to the call instead.")
        if len(circuit.compile_pipeline):
            raise InputError(f"The QNode is transformed, by {circuit.compile_pipeline}. Give the plain QNode.")
        wires = circuit.device.wires
        return circuit.func, list(wires) if wires else None
    if not callable(circuit):
        raise InputError(f"Expected a quantum function or QNode of (inputs, weights), not {circuit!r}.")
    return circuit, None


def _probe(shape: Sequence[int], options: dict[str, Any]) -> Tensor:
    """Return some generic values."""
    return torch.arange(1, math.prod(shape) + 1, **options).add(0.37).sqrt().reshape(tuple(shape))


def _lead(inputs: torch.Size, weights: torch.Size) -> tuple[int, ...]:
    try:
        return broadcast_shapes(inputs, weights)
    except RuntimeError:
        message = f"Expected leading dimensions of inputs {tuple(inputs)} and weights {tuple(weights)} to broadcast."
        raise InputError(message) from None


class _Layout:
    """How the leading dimensions become a models axis and a samples axis.

    Dimensions along which all samples share their weights are samples, the others models.
    """

    def __init__(self, lead: tuple[int, ...], weights: torch.Size) -> None:
        padded = (1,) * (len(lead) - len(weights)) + tuple(weights)
        samples = [i for i, size in enumerate(padded) if size == 1]
        models = [i for i, size in enumerate(padded) if size != 1]
        self._order = models + samples
        self._sizes = [lead[i] for i in self._order]
        self._lead = lead
        self._models = math.prod(self._sizes[: len(models)])
        self._samples = math.prod(self._sizes[len(models) :])
        self._split = len(models)

    def sources(self, inputs: Tensor, weights: Tensor) -> Sources:
        """Bring the columns (..., k) to (k, models, samples); an axis of length one where nothing varies along it."""
        return self._arrange(inputs), self._arrange(weights)

    def restore(self, values: Tensor) -> Tensor:
        """Bring (k, models, samples) back to (..., k)."""
        values = values.expand(-1, self._models, self._samples).reshape(len(values), *self._sizes)
        back = [1 + self._order.index(i) for i in range(len(self._lead))]
        return values.permute(*back, 0)

    def _arrange(self, values: Tensor) -> Tensor:
        missing = len(self._lead) - (values.ndim - 1)
        values = values[(None,) * missing].permute(-1, *self._order) if missing else values.permute(-1, *self._order)
        values = self._joined(values, 1, self._sizes[: self._split])
        return self._joined(values, 2, self._sizes[self._split :])

    @staticmethod
    def _joined(values: Tensor, start: int, sizes: list[int]) -> Tensor:
        """Join the axes from `start` on into one, broadcasting them first unless all have length one."""
        stop = start + len(sizes)
        before, after = values.shape[:start], values.shape[stop:]
        if math.prod(values.shape[start:stop]) == 1:
            return values.reshape(*before, 1, *after)
        return values.expand(*before, *sizes, *after).reshape(*before, math.prod(sizes), *after)
