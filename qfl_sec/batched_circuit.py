"""What every batched form of a PennyLane circuit shares: recording it, checking arguments, arranging batches."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, Protocol, TypeVar

import pennylane as qml
import torch
from torch import Tensor

from qfl_sec.checking import InputError
from qfl_sec.gate_parameters import Sources, broadcast_shapes
from qfl_sec.noise import NoiseModel
from qfl_sec.tape import Recording, record_circuit


class _Compiled(Protocol):
    """A circuit for one number of features, one dtype and one device."""

    n_qubits: int
    n_measurements: int


_P = TypeVar("_P", bound=_Compiled)


class BatchedCircuit(ABC, Generic[_P]):
    """A quantum function, recorded on first use and compiled for each dtype, device and number of features.

    Args:
        circuit: A quantum function or QNode of (inputs, weights).
        n_qubits: Number of qubits, on wires 0 to n_qubits - 1; None for the wires of the QNode's device or, failing
            that, those that the circuit uses.
        weight_shape: Shape of one model's weights; None for one dimension of any length.
        devices: Noise that each gate is followed by: one device for all models, or one for each.

    Attributes:
        n_qubits: Number of qubits; None before the first call unless it was given.
        n_features: Length of one sample; None before the first call.
        n_measurements: How many numbers one sample yields; None before the first call.
        weight_shape: Shape of one model's weights; None for one dimension of any length.
        circuit: The quantum function or QNode, as given.
        given_n_qubits: The number of qubits, as given.
    """

    def __init__(
        self,
        circuit: Callable[[Any, Any], Any],
        *,
        n_qubits: int | None,
        weight_shape: Sequence[int] | None,
        devices: Sequence[NoiseModel] = (),
    ) -> None:
        if n_qubits is not None and n_qubits < 1:
            raise InputError(f"Expected n_qubits={n_qubits} >= 1.")
        self.circuit, self.given_n_qubits = circuit, n_qubits
        self._function, wires = _unwrap(circuit)
        self._wires = list(range(n_qubits)) if n_qubits is not None else wires
        self._programs: dict[Any, _P] = {}
        self._devices = tuple(devices)
        self.n_qubits = n_qubits
        self.n_features: int | None = None
        self.n_measurements: int | None = None
        self.weight_shape = None if weight_shape is None else tuple(weight_shape)

    @abstractmethod
    def _build(self, recording: Recording, weight_shape: tuple[int, ...], n_features: int, like: Tensor) -> _P:
        """Compile a recording for the dtype and device of `like`."""

    def _arranged(self, inputs: Tensor, weights: Tensor) -> tuple[_P, "Layout", Sources]:
        """Return the program, the layout of the batch, and inputs and weights in it, once checked."""
        inputs, weights = self._checked(inputs, weights)
        split = weights.ndim - (1 if self.weight_shape is None else len(self.weight_shape))
        program = self._program(inputs.shape[-1], tuple(weights.shape[split:]), inputs)
        layout = Layout(lead_shape(inputs.shape[:-1], weights.shape[:split]), weights.shape[:split])
        return program, layout, layout.sources(inputs, weights.flatten(split))

    def _program(self, n_features: int, weight_shape: tuple[int, ...], like: Tensor) -> _P:
        key = (n_features, weight_shape, like.dtype, like.device)
        if key not in self._programs:
            # A fresh thread has none of the caller's torch.func levels, which would wrap the constants made here.
            with ThreadPoolExecutor(1) as pool:
                program = pool.submit(self._compile, *key).result()
            self._programs[key] = program
            self.n_qubits, self.n_features, self.n_measurements = program.n_qubits, n_features, program.n_measurements
        return self._programs[key]

    def recorded(
        self, n_features: int, weight_shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
    ) -> Recording:
        """Run the quantum function and write it down, without compiling it.

        Raises:
            InputError: If the circuit holds something that has no place in a statevector program.
        """
        options: dict[str, Any] = {"dtype": dtype, "device": device}
        inputs, weights = _probe((n_features,), options), _probe(weight_shape, options)
        record: dict[str, Any] = {"wires": self._wires, "devices": self._devices}
        try:
            return record_circuit(self._function, inputs, weights, **record)
        except InputError:
            raise
        except ValueError:
            # PennyLane refuses amplitudes whose norm is not one, and skips normalising those whose norm is.
            return record_circuit(self._function, inputs / inputs.norm(), weights, **record)

    def _compile(self, n_features: int, weight_shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> _P:
        recording = self.recorded(n_features, weight_shape, dtype, device)
        return self._build(recording, weight_shape, n_features, torch.empty(0, dtype=dtype, device=device))

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


def lead_shape(inputs: torch.Size, weights: torch.Size) -> tuple[int, ...]:
    """Return the leading dimensions that those of inputs and weights broadcast to.

    Raises:
        InputError: If they do not.
    """
    try:
        return broadcast_shapes(inputs, weights)
    except RuntimeError:
        message = f"Expected leading dimensions of inputs {tuple(inputs)} and weights {tuple(weights)} to broadcast."
        raise InputError(message) from None


class Layout:
    """How the leading dimensions become a models axis and a samples axis.

    Dimensions along which all samples share their weights are samples, the others models.

    Args:
        lead: The leading dimensions of the batch.
        weights: Those of the weights.

    Attributes:
        lead: The leading dimensions of the batch.
        models: Length of the models axis.
        samples: Length of the samples axis.
    """

    def __init__(self, lead: tuple[int, ...], weights: torch.Size) -> None:
        padded = (1,) * (len(lead) - len(weights)) + tuple(weights)
        samples = [i for i, size in enumerate(padded) if size == 1]
        models = [i for i, size in enumerate(padded) if size != 1]
        self._order = models + samples
        self._sizes = [lead[i] for i in self._order]
        self.lead = lead
        self.models = math.prod(self._sizes[: len(models)])
        self.samples = math.prod(self._sizes[len(models) :])
        self._split = len(models)

    def sources(self, inputs: Tensor, weights: Tensor) -> Sources:
        """Bring the columns (..., k) to (k, models, samples); an axis of length one where nothing varies along it."""
        return self._arrange(inputs), self._arrange(weights)

    def columns(self, values: Tensor) -> Tensor:
        """Bring (..., k) to (k, models, samples), repeated along axes that it lacks."""
        return self._arrange(values).expand(-1, self.models, self.samples)

    def restore(self, values: Tensor) -> Tensor:
        """Bring (k, models, samples) back to (..., k)."""
        values = values.expand(-1, self.models, self.samples).reshape(len(values), *self._sizes)
        back = [1 + self._order.index(i) for i in range(len(self.lead))]
        return values.permute(*back, 0)

    def _arrange(self, values: Tensor) -> Tensor:
        missing = len(self.lead) - (values.ndim - 1)
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
