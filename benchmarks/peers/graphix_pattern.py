"""graphix: a circuit as its own compiler's measurement pattern, simulated shot by shot on its statevector backend.

What a user who wants many shots of one pattern would do before the first is done once, and not timed: signals are
shifted, nodes prepared as late as possible, angles of Pauli bases marked. Outcomes are drawn with probability 1/2, as
patterns with flow allow, without computing it.
"""

import math
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import pennylane as qml
import torch
from graphix.branch_selector import RandomBranchSelector
from graphix.pattern import Pattern
from graphix.transpiler import Circuit
from torch import Tensor

from benchmarks.problems import Delegation
from benchmarks.sides import Side
from qfl_sec.protocols.brick_ansatz import encoded_layers

_GATES = {"Hadamard", "RX", "RY", "RZ", "CNOT"}


def one_shot(problem: Delegation, *, every_node: bool = True) -> Side:
    """Compute the output's probabilities (2^qubits,) after one random branch of the pattern.

    Args:
        problem: Of which the first sample counts.
        every_node: Whether every node is measured, as where the pattern must not tell its angles; otherwise those
            measured in Pauli bases are removed before.
    """
    found = pattern(encoded_layers, problem.inputs[0], problem.weights, qubits=problem.qubits)
    found = prepared(found if every_node else without_pauli_measurements(found))
    generator = np.random.default_rng(2021)

    def work() -> tuple[Tensor]:
        return (torch.from_numpy(probabilities(found, generator)),)

    how = "every node measured" if every_node else "nodes of Pauli measurements removed before"
    return Side(name=f"graphix, statevector, {how}", version=f"graphix {version('graphix')}", work=work)


def pattern(circuit: Callable[[Any, Any], Any], inputs: Any, weights: Any, *, qubits: int) -> Pattern:
    """Return graphix's pattern of a quantum function that starts in |0>."""
    tape = qml.tape.QuantumScript(qml.tape.make_qscript(circuit)(inputs, weights).operations)
    (tape,), _ = qml.transforms.decompose(tape, gate_set=_GATES | {"GlobalPhase"})
    translated = Circuit(qubits)
    for wire in range(qubits):
        translated.h(wire)  # graphix starts in |+>
    for gate in tape.operations:
        if gate.name == "CNOT":
            translated.cnot(*gate.wires)
        elif gate.name == "Hadamard":
            translated.h(*gate.wires)
        elif gate.name in _GATES:
            getattr(translated, gate.name.lower())(*gate.wires, float(gate.data[0]) / math.pi)
    return translated.transpile().pattern


def prepared(found: Pattern) -> Pattern:
    """Return a pattern as it is simulated fastest."""
    found = found.copy()
    found.standardize()
    found.shift_signals()
    found.minimize_space()
    return found.infer_pauli_measurements()


def without_pauli_measurements(found: Pattern) -> Pattern:
    """Return a pattern without the nodes that are measured in Pauli bases."""
    return found.infer_pauli_measurements(copy=True).remove_pauli_measurements()


def probabilities(found: Pattern, generator: np.random.Generator) -> Any:
    """Return the probabilities of the output's results after one random branch, (2^qubits,)."""
    branches = RandomBranchSelector(pr_calc=False)
    state = found.simulate(optimized=False, branch_selector=branches, rng=generator)
    return np.square(np.abs(state.psi))
