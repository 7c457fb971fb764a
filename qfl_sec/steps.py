"""From a list of gates to few large steps: gates that act side by side or merge are carried out together.

Phases of many gates become one diagonal, permutations one index, turns of different qubits one step. Permutations at
the end are left to the measurement.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from qfl_sec.checking import InputError
from qfl_sec.gates import Array, Channel, Dense, Gate, Permutation, Phase, Start, Turn


@dataclass(kw_only=True)
class PhaseStep:
    """Amplitude b is multiplied by exp(i (constant_b + sum_k coefficients_kb parameter_k)).

    Attributes:
        slots: Which parameters.
        coefficients: One (2^n,) row a slot.
        constant: (2^n,)
    """

    slots: list[int] = field(default_factory=list)
    coefficients: list[Array] = field(default_factory=list)
    constant: Array

    def permuted(self, index: Array) -> "PhaseStep":
        """Return the step that does the same after the permutation that this one does before it."""
        rows = [row[index] for row in self.coefficients]
        return PhaseStep(slots=list(self.slots), coefficients=rows, constant=self.constant[index])

    def add(self, other: "PhaseStep") -> None:
        """Merge another step into this one."""
        self.slots += other.slots
        self.coefficients += other.coefficients
        self.constant = self.constant + other.constant


@dataclass(kw_only=True)
class PermutationStep:
    """The new amplitude b is the old one of index[b]; index is (2^n,)."""

    index: Array


@dataclass(kw_only=True)
class TurnStep:
    """RY gates on different qubits."""

    turns: list[Turn] = field(default_factory=list)


@dataclass(kw_only=True)
class DenseStep:
    """One dense gate."""

    gate: Dense


Step = PhaseStep | PermutationStep | TurnStep | DenseStep


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What a program does.

    Attributes:
        start: The state preparation; None for |0...0>.
        steps: The steps, in order.
        permutation: (2^n,), which of the amplitudes left by the steps is that of basis state b.
    """

    start: Start | None
    steps: tuple[Step, ...]
    permutation: Array


def schedule(gates: Sequence[Gate], n_qubits: int, *, phases_are_seen: bool) -> Schedule:
    """Merge gates into steps.

    Args:
        gates: The circuit.
        n_qubits: Number of qubits.
        phases_are_seen: Whether the measurement tells states apart that differ in their amplitudes' phases.

    Raises:
        InputError: If the circuit holds a noise channel.
    """
    for gate in gates:
        if isinstance(gate, Channel):
            raise InputError(f"{gate.name} cannot run in a statevector program. Use qfl_sec.pauli.PauliProgram.")
    start = gates[0] if gates and isinstance(gates[0], Start) else None
    steps = _merge(_earliest(gates[1:] if start else gates, n_qubits))
    if start is None:
        while steps and isinstance(steps[0], PhaseStep):
            steps = steps[1:]
    identity = np.arange(2**n_qubits)
    permutation = identity
    while steps and (
        isinstance(steps[-1], PermutationStep) or (isinstance(steps[-1], PhaseStep) and not phases_are_seen)
    ):
        last = steps[-1]
        if isinstance(last, PermutationStep):
            permutation = last.index[permutation]
        steps = steps[:-1]
    return Schedule(start=start, steps=tuple(steps), permutation=permutation)


def _earliest(gates: Iterable[Gate], n_qubits: int) -> list[Step]:
    """Put each gate into the first step that it can join, or else into a new one."""
    steps: list[Step] = []
    last = [-1] * n_qubits
    for gate in gates:
        after = max(last[wire] for wire in gate.wires)
        joins = isinstance(gate, Phase | Permutation)
        kind = _STEP_OF[type(gate)]
        candidates = range(max(after if joins else after + 1, 0), len(steps))
        place = next((i for i in candidates if kind is not DenseStep and isinstance(steps[i], kind)), None)
        if place is None:
            place = len(steps)
            steps.append(_new(gate, n_qubits))
        else:
            _join(steps[place], gate, n_qubits)
        for wire in gate.wires:
            last[wire] = place
    return steps


_STEP_OF: dict[type, type] = {Phase: PhaseStep, Permutation: PermutationStep, Turn: TurnStep, Dense: DenseStep}


def _new(gate: Gate, n_qubits: int) -> Step:
    if isinstance(gate, Dense):
        return DenseStep(gate=gate)
    step: Step
    if isinstance(gate, Phase):
        step = PhaseStep(constant=np.zeros(2**n_qubits))
    elif isinstance(gate, Permutation):
        step = PermutationStep(index=np.arange(2**n_qubits))
    else:
        step = TurnStep()
    _join(step, gate, n_qubits)
    return step


def _join(step: Step, gate: Gate, n_qubits: int) -> None:
    """Append a gate to a step of its kind."""
    if isinstance(step, PhaseStep) and isinstance(gate, Phase):
        local = local_states(gate.wires, n_qubits)
        step.slots += gate.slots
        step.coefficients += [row[local] for row in gate.coefficients]
        step.constant = step.constant + gate.constant[local]
    elif isinstance(step, PermutationStep) and isinstance(gate, Permutation):
        local = local_states(gate.wires, n_qubits)
        step.index = step.index[_replace_bits(gate.index[local], gate.wires, n_qubits)]
    elif isinstance(step, TurnStep) and isinstance(gate, Turn):
        step.turns.append(gate)


def _merge(steps: list[Step]) -> list[Step]:
    """Move phases behind permutations and join neighbours of one kind."""
    merged: list[Step] = []
    for step in steps:
        if isinstance(step, PermutationStep):
            held = merged.pop() if merged and isinstance(merged[-1], PhaseStep) else None
            if merged and isinstance(merged[-1], PermutationStep):
                merged[-1] = PermutationStep(index=merged[-1].index[step.index])
            else:
                merged.append(step)
            if isinstance(held, PhaseStep):
                merged.append(held.permuted(step.index))
        elif isinstance(step, PhaseStep) and merged and isinstance(merged[-1], PhaseStep):
            merged[-1].add(step)
        else:
            merged.append(step)
    return merged


def local_states(wires: Sequence[int], n_qubits: int) -> Array:
    """Return the basis state of `wires` within each basis state of all qubits: (2^n,)."""
    states = np.arange(2**n_qubits)
    result = np.zeros_like(states)
    for wire in wires:
        result = 2 * result + ((states >> (n_qubits - 1 - wire)) & 1)
    return result


def _replace_bits(local: Array, wires: Sequence[int], n_qubits: int) -> Array:
    """Return all basis states (2^n,) with the bits of `wires` taken from the local states."""
    states = np.arange(2**n_qubits)
    for position, wire in enumerate(reversed(wires)):
        shift = n_qubits - 1 - wire
        bit = (local >> position) & 1
        states = (states & ~(1 << shift)) | (bit << shift)
    return states
