"""A circuit with its weights as a torch module: the measurements are the logits."""

from collections.abc import Callable
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor, nn

from qfl_sec.checking import InputError
from qfl_sec.contracts import GradientKernel
from qfl_sec.gate_parameters import INPUTS, ParameterMap
from qfl_sec.pauli import PauliGradients, PauliProgram
from qfl_sec.statevector import CompiledCircuit
from qfl_sec.tape import Expectation, Recording

MAX_PAULI_QUBITS = 6
"""Beyond, a Pauli program is hardly ever cheaper, and takes long to compile."""


class CircuitModule(nn.Module):
    """A circuit of one weight tensor; its measurements are the logits.

    Args:
        circuit: Takes inputs (..., features) and weights (..., *weight_shape).
        weights: Initial weights.
    """

    broadcasts_parameters: ClassVar[bool] = True

    def __init__(self, circuit: CompiledCircuit, weights: Tensor) -> None:
        super().__init__()
        self.circuit = circuit
        self.weights = nn.Parameter(weights)

    def forward(self, inputs: Tensor, *, shots: int | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Map records (..., features) to logits (..., classes), exact or from a number of shots of each."""
        return self.circuit(inputs, self.weights, shots=shots, generator=generator)

    def gradient_kernel(self, n_features: int, n_classes: int) -> GradientKernel | None:
        """Return the gradients' closed forms, if the circuit encodes once and has few qubits."""
        return _gradient_kernel(self.circuit, n_features, tuple(self.weights.shape))

    def encoding_angles(self, inputs: Tensor) -> Tensor:
        """Map records (..., features) to the gate parameters that depend on them, (..., angles), in double."""
        return _encoding(self.circuit, inputs.shape[-1], tuple(self.weights.shape))(inputs)

    def observables(self, n_features: int) -> int:
        """Return how many measurements have shots of their own: Pauli words, and lists of probabilities."""
        measurements = _recording(self.circuit, n_features, tuple(self.weights.shape)).measurements
        return sum(len(one.words) if isinstance(one, Expectation) else 1 for one in measurements)


@lru_cache(maxsize=32)
def _recording(circuit: CompiledCircuit, n_features: int, weight_shape: tuple[int, ...]) -> Recording:
    return circuit.recorded(n_features, weight_shape, torch.float64, torch.device("cpu"))


@lru_cache(maxsize=32)
def _encoding(circuit: CompiledCircuit, n_features: int, weight_shape: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """Return the gate parameters of a circuit that depend on its inputs, as a function of these."""
    recording = circuit.recorded(n_features, weight_shape, torch.float64, torch.device("cpu"))
    parameters = ParameterMap(recording.graph)
    slots = [slot for slot, level in enumerate(parameters.levels) if level == INPUTS]
    banks = [parameters.array(slot) for slot in slots]
    weights = torch.ones(torch.Size(weight_shape).numel(), 1, 1, dtype=torch.float64)

    def encode(inputs: Tensor) -> Tensor:
        lead = inputs.shape[:-1]
        columns = inputs.double().reshape(-1, n_features).mT.unsqueeze(1)  # (features, 1, records)
        values = [bank(columns, weights).reshape(-1, columns.shape[-1]) for bank in banks]
        angles = torch.cat(values) if values else columns.new_zeros(0, columns.shape[-1])
        return angles.mT.reshape(*lead, -1) if values else angles.mT.reshape(*lead, 0)

    return encode


@lru_cache(maxsize=32)
def _gradient_kernel(circuit: CompiledCircuit, n_features: int, weight_shape: tuple[int, ...]) -> PauliGradients | None:
    """Compile the same circuit as a Pauli program, if it is one."""
    if circuit.n_qubits is not None and circuit.n_qubits > MAX_PAULI_QUBITS:
        return None
    program = PauliProgram(
        circuit.circuit, n_features=n_features, weight_shape=weight_shape, n_qubits=circuit.given_n_qubits
    )
    try:
        return PauliGradients(program)
    except InputError:
        return None
