"""Which gates go into which brick: from the structure of a circuit alone, so that a pattern's size tells no angle.

A brick holds a run of one-qubit gates on each row, or a CNOT on a pair of rows. A CNOT's brick has room for RZ and RX
before it on either row: runs written as RZs and one RX last go there. Two-qubit gates between rows that are no
neighbours become ladders of CNOTs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from qfl_sec.checking import InputError
from qfl_sec.gates import Array, Dense, Gate, Permutation, Phase, Turn
from qfl_sec.tape import Recording

QUARTER = np.array([-np.pi / 4, np.pi / 4])
HADAMARD = Dense(wires=(0,), constant=np.array([[1, 1], [1, -1]]) / np.sqrt(2))
FLIP = Dense(wires=(0,), constant=np.array([[0, 1], [1, 0]]))

REMEDY = "Use one-qubit rotations and CNOT or CZ"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One-qubit gates on a row of a brick.

    Attributes:
        row: Which row.
        brick: Which brick.
        gates: In order.
        start: Whether they act on |0>, so that the brick prepares their state from |+>.
        absorbed: Whether they share the brick with a CNOT: RZs, then one RX.
    """

    row: int
    brick: int
    gates: tuple[Gate, ...]
    start: bool
    absorbed: bool


@dataclass(frozen=True, kw_only=True)
class Cnot:
    """A CNOT between neighbouring rows.

    Attributes:
        control: Row.
        target: Row.
        brick: Which brick.
    """

    control: int
    target: int
    brick: int


@dataclass(frozen=True, kw_only=True)
class PatternSchedule:
    """What lies in which brick.

    Attributes:
        rows: Of the pattern.
        bricks: How many follow each other.
        runs: One-qubit gates.
        cnots: CNOTs.
    """

    rows: int
    bricks: int
    runs: tuple[Run, ...]
    cnots: tuple[Cnot, ...]


def pattern_schedule(recording: Recording) -> PatternSchedule:
    """Put every gate of a recorded circuit into the earliest brick that takes it.

    Raises:
        InputError: If a gate has no pattern, named in the message.
    """
    builder = _Builder(recording.n_qubits)
    for gate in recording.gates:
        for part in _parts(gate):
            if isinstance(part, _Cnot):
                builder.cnot(part.control, part.target)
            else:
                builder.single(part.wires[0], part)
    return builder.finished()


class _Builder:
    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._free = [0] * rows
        self._waiting: list[list[Gate]] = [[] for _ in range(rows)]
        self._runs: list[Run] = []
        self._cnots: list[Cnot] = []

    def single(self, row: int, gate: Gate) -> None:
        """Take a one-qubit gate; a brick has room for one turn by a parameter, so that its angles stay on the grid."""
        waiting = self._waiting[row]
        turns = [i for i, one in enumerate(waiting) if _turns_by_parameter(one)]
        if turns and _turns_by_parameter(gate):
            self._waiting[row] = waiting[: turns[0] + 1]
            self._place(row)
            self._waiting[row] = waiting[turns[0] + 1 :]
        self._waiting[row].append(gate)

    def cnot(self, control: int, target: int) -> None:
        rows = (control, target)
        tails = {row: self._split_tail(row) for row in rows}
        for row in rows:
            self._place(row)
        brick = max(self._free[control], self._free[target])
        brick += (brick + min(rows)) % 2
        for row, tail in tails.items():
            if tail:
                self._runs.append(Run(row=row, brick=brick, gates=tail, start=False, absorbed=True))
        self._cnots.append(Cnot(control=control, target=target, brick=brick))
        self._free[control] = self._free[target] = brick + 1

    def _split_tail(self, row: int) -> tuple[Gate, ...]:
        """Take from the waiting gates of a row those that a CNOT's brick has room for."""
        waiting = self._waiting[row]
        length = _tail_length(waiting)
        split = len(waiting) - length
        self._waiting[row] = waiting[:split]
        return tuple(waiting[split:])

    def _place(self, row: int) -> None:
        """Put the waiting gates of a row into a brick of their own."""
        start = self._free[row] == 0
        if not start and not self._waiting[row]:
            return
        gates, brick = tuple(self._waiting[row]), self._free[row]
        self._runs.append(Run(row=row, brick=brick, gates=gates, start=start, absorbed=False))
        self._waiting[row] = []
        self._free[row] = brick + 1

    def finished(self) -> PatternSchedule:
        for row in range(self._rows):
            self._place(row)
        return PatternSchedule(
            rows=self._rows, bricks=max(self._free), runs=tuple(self._runs), cnots=tuple(self._cnots)
        )


def _tail_length(run: Sequence[Gate]) -> int:
    """Return how many gates at the end of a run are RZs and one RX last, by their structure."""
    if len(run) < 3 or not _is_rx(*run[-3:]):
        return 0
    before = [isinstance(gate, Phase) for gate in run[-3::-1]]
    return 2 + (before.index(False) if False in before else len(before))


def _turns_by_parameter(gate: Gate) -> bool:
    return isinstance(gate, Turn) and gate.slot is not None


def _is_rx(before: Gate, turn: Gate, after: Gate) -> bool:
    """Return whether three gates are a turn between a fixed quarter of a turn about Z and its inverse."""
    if not (isinstance(before, Phase) and isinstance(turn, Turn) and isinstance(after, Phase)):
        return False
    fixed = not before.slots and not after.slots
    return fixed and np.allclose(before.constant, QUARTER) and np.allclose(after.constant, -QUARTER)


@dataclass(frozen=True)
class _Cnot:
    control: int
    target: int


def _parts(gate: Gate) -> Iterator[Phase | Turn | Dense | _Cnot]:
    """Yield one-qubit gates and CNOTs between neighbours that make up a gate."""
    single = len(gate.wires) == 1
    constant = isinstance(gate, Dense) and gate.constant is not None
    if isinstance(gate, Turn | Phase | Dense) and single and (constant or not isinstance(gate, Dense)):
        yield gate
    elif isinstance(gate, Permutation) and len(gate.wires) == 1:
        yield _on(FLIP, gate.wires[0])
    elif isinstance(gate, Permutation) and len(gate.wires) == 2:
        yield from _permutation(gate)
    elif isinstance(gate, Phase) and len(gate.wires) == 2:
        yield from _phase(gate)
    else:
        kind = type(gate).__name__.lower().replace("dense", "matrix").replace("start", "state preparation")
        place = ", ".join(map(str, gate.wires))
        raise InputError(f"A {kind} on wires {place} has no measurement pattern. {REMEDY}.")


def _on(gate: Dense, wire: int) -> Dense:
    return Dense(wires=(wire,), constant=gate.constant)


def _permutation(gate: Permutation) -> Iterator[Dense | _Cnot]:
    for letter in _words()[tuple(int(b) for b in gate.index)]:
        if letter in "XY":
            yield _on(FLIP, gate.wires["XY".index(letter)])
        else:
            first, second = gate.wires
            yield from _ladder(*((first, second) if letter == "D" else (second, first)))


@lru_cache
def _words() -> dict[tuple[int, ...], str]:
    """Return each permutation of two bits as a word of gates: X, Y (flips), D, U (CNOTs, down and up)."""
    letters = {"X": (2, 3, 0, 1), "Y": (1, 0, 3, 2), "D": (0, 1, 3, 2), "U": (0, 3, 2, 1)}
    start: tuple[int, ...] = (0, 1, 2, 3)
    found, recent = {start: ""}, [start]
    while recent:
        later = []
        for index in recent:
            for letter, moved in letters.items():
                new = tuple(index[b] for b in moved)
                if new not in found:
                    found[new] = found[index] + letter
                    later.append(new)
        recent = later
    return found


def _phase(gate: Phase) -> Iterator[Phase | Dense | _Cnot]:
    """Write a diagonal gate as rotations about Z, of each qubit and of their parity."""
    signs = np.array([[1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]])
    first, second = gate.wires
    slopes, constants = gate.coefficients @ signs.T / 4, gate.constant @ signs.T / 4  # (slots, 3), (3,)
    slope, constant = slopes[:, 2], constants[2]
    quarter = not np.abs(slope).max(initial=0) and abs(abs(constant) - np.pi / 4) < 1e-12
    for i, wire in enumerate(gate.wires):
        # A quarter turn of the parity is a CZ and quarter turns of each qubit.
        own = constants[i] + (constant if quarter else 0)
        if np.abs(slopes[:, i]).max(initial=abs(own)) > 1e-12:
            yield _rotation(gate, wire, slopes[:, i], own)
    if quarter:
        yield _on(HADAMARD, second)
        yield from _ladder(first, second)
        yield _on(HADAMARD, second)
    elif np.abs(slope).max(initial=abs(constant)) > 1e-12:
        yield from _ladder(first, second)
        yield _rotation(gate, second, slope, constant)
        yield from _ladder(first, second)


def _rotation(gate: Phase, wire: int, slope: Array, constant: Array) -> Phase:
    sign = np.array([1.0, -1.0])
    return Phase(wires=(wire,), slots=gate.slots, coefficients=np.outer(slope, sign), constant=constant * sign)


def _ladder(control: int, target: int) -> Iterator[_Cnot]:
    """Yield CNOTs between neighbours that make up one between any rows: 4 (distance - 1) of them."""
    step = 1 if target > control else -1
    path = list(range(control, target + step, step))
    links = list(pairwise(path))
    down = links[::-1]  # from the target's end
    if len(links) == 1:
        yield _Cnot(control, target)
        return
    # Twice the same V, the second without the target's own link, so that only the control's bit arrives.
    for first, second in (*down, *links[1:], *down[1:], *links[1:-1]):
        yield _Cnot(first, second)
