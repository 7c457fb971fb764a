"""Circuits whose angles lie on a grid, as blind computing wants them: secret angles hide others only on one grid."""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

import pennylane as qml

from qfl_sec.checking import InputError
from qfl_sec.statevector import CompiledCircuit, compile_circuit

ROTATIONS = frozenset({"RX", "RY", "RZ", "PhaseShift", "Rot"})
"""Gates of which every parameter is an angle that is measured in a pattern."""

FIXED = frozenset({"Identity", "PauliX", "PauliY", "PauliZ", "Hadamard", "S", "CNOT", "CZ", "SWAP", "Barrier"})
"""Gates whose patterns hold multiples of a quarter of a turn alone: they lie on every grid."""


def grid_step(angle_bits: int) -> float:
    """Return the distance of neighbouring angles 2 pi j / 2^angle_bits.

    Example:
        >>> grid_step(3) == math.pi / 4
        True
    """
    return math.tau / (1 << angle_bits)


@lru_cache(maxsize=16)
def compiled_on_grid(circuit: CompiledCircuit, angle_bits: int) -> CompiledCircuit:
    """Return a compiled circuit with every angle, of encoding and weights, rounded to the nearest one of the grid."""
    rounded = on_grid(circuit.circuit, angle_bits)
    return compile_circuit(rounded, n_qubits=circuit.given_n_qubits, weight_shape=circuit.weight_shape)


def on_grid(circuit: Callable[[Any, Any], Any], angle_bits: int) -> Callable[[Any, Any], Any]:
    """Return a quantum function or QNode that rounds every angle of another to 2 pi j / 2^angle_bits.

    Raises:
        InputError: When it runs, if a gate is neither a rotation nor fixed, nor made of such gates.

    Reference: Broadbent, Fitzsimons and Kashefi 2009, arXiv 0807.4154, section 3 (the grid of angles).
    """
    if isinstance(circuit, qml.QNode):
        node: Callable[[Any, Any], Any] = qml.QNode(on_grid(circuit.func, angle_bits), circuit.device)
        return node
    step = grid_step(angle_bits)

    def rounded(inputs: Any, weights: Any) -> Any:
        returned: list[Any] = []
        script = qml.tape.make_qscript(lambda *given: returned.append(circuit(*given)))(inputs, weights)
        for gate in _elementary(script.operations):
            angles = [qml.math.round(angle / step) * step for angle in gate.data]
            if angles:
                type(gate)(*angles, wires=gate.wires)  # stands in the queue once it exists
            else:
                qml.apply(gate)
        measured = [qml.apply(measurement) for measurement in script.measurements]
        return measured if isinstance(returned[0], list | tuple) else measured[0]

    return rounded


def _elementary(operations: Iterable[Any]) -> Iterator[Any]:
    """Yield the rotations and fixed gates that operations consist of."""
    for operation in operations:
        if operation.name in ROTATIONS | FIXED:
            yield operation
        elif operation.has_decomposition and not isinstance(operation, qml.operation.StatePrepBase):
            with qml.QueuingManager.stop_recording():
                parts = operation.decomposition()
            yield from _elementary(parts)
        else:
            known = ", ".join(sorted(ROTATIONS | FIXED))
            raise InputError(
                f"{operation.name} has no pattern that a blind server could run. Expected gates made of {known}: "
                'change the circuit or its encoding, or set [compute] name = "plain_cloud" or "local".'
            )
