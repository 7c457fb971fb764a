"""A PennyLane circuit as a batched, twice differentiable torch function.

The quantum function is run once; afterwards only tensors move. Leading dimensions of inputs and weights broadcast;
those along which weights are shared become samples, the others models.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from qfl_sec.batched_circuit import BatchedCircuit
from qfl_sec.checking import InputError
from qfl_sec.program import Program
from qfl_sec.tape import Recording


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
        >>> import pennylane as qml
        >>> def circuit(inputs, weights):
        ...     qml.RY(inputs[0], wires=0)
        ...     qml.Rot(*weights, wires=0)
        ...     return qml.expval(qml.Z(0))
        >>> f = compile_circuit(circuit, weight_shape=(3,))
        >>> f(torch.zeros(5, 1), torch.zeros(3)).shape
        torch.Size([5, 1])
    """
    return CompiledCircuit(circuit, n_qubits=n_qubits, weight_shape=weight_shape)


class CompiledCircuit(BatchedCircuit[Program]):
    """A circuit compiled by `compile_circuit`.

    With weights repeated for each sample, the gradient of a sum over samples holds every sample's own, at little more
    than the cost of that in shared weights. From nine qubits on, memory is bounded whatever the batch, as long as
    nothing is differentiated twice: see `qfl_sec.program.Program.measured`.

    The first call runs the quantum function, at two probes: to record it, and to make sure that its gates do not depend
    on values. Later calls do not run it, unless the number of features or weights, the dtype or the device is new.

    Attributes:
        n_qubits: Number of qubits; None before the first call unless it was given.
        n_features: Length of one sample; None before the first call.
        n_measurements: How many numbers one sample yields; None before the first call.
        weight_shape: Shape of one model's weights; None for one dimension of any length.
    """

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
        if (shots is None) != (generator is None):
            raise InputError(f"Expected shots={shots} and generator={generator} together. Give both or neither.")
        if shots is not None and (isinstance(shots, bool) or not isinstance(shots, int) or shots < 1):
            raise InputError(f"Expected shots={shots} to be an integer >= 1.")
        program, layout, sources = self._arranged(inputs, weights)
        if shots is None or generator is None:
            return layout.restore(program.measured(sources))
        return layout.restore(program.readout.sample(program.state(sources), shots, generator))

    def _build(self, recording: Recording, weight_shape: tuple[int, ...], n_features: int, like: Tensor) -> Program:
        return Program(recording, weight_shape, dtype=like.dtype, device=like.device)
