"""The Pauli program: a circuit that encodes once is linear in its data's Pauli words, noise included."""

from qfl_sec.pauli.gradients import PauliGradients
from qfl_sec.pauli.program import PauliProgram

__all__ = ["PauliGradients", "PauliProgram"]
