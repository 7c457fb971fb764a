"""A circuit with its weights as a torch module: the measurements are the logits."""

from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor, nn

from qfl_sec.checking import InputError
from qfl_sec.contracts import GradientKernel
from qfl_sec.pauli import PauliGradients, PauliProgram
from qfl_sec.statevector import CompiledCircuit

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
