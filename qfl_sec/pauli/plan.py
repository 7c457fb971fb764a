"""From a list of gates to the few steps of a Pauli program, first the encoding, then the processing.

Rotations and one-qubit channels on a wire join a chain; chains of different wires form one local step, whose transfer
matrix is a product. Clifford gates become signed permutations of all words, which merge; phases on several wires become
rotations about words of Z; anything else on up to three wires is a small constant or parametrised map.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from qfl_sec.checking import InputError
from qfl_sec.gate_parameters import INPUTS, WEIGHTS
from qfl_sec.gates import Array, Channel, Dense, Gate, Permutation, Phase, Start, Turn
from qfl_sec.pauli.transfer import (
    digits,
    embedded,
    rotation_parts,
    signed_permutation,
    transfer_matrix,
    word_number,
    word_rotation,
)

MAX_ROTATIONS = 3
"""Rotations of one chain; more would make its matrix a sum of too many monomials."""

_MAX_MAP_WIRES = 3


@dataclass(frozen=True, kw_only=True)
class Angle:
    """scale times the parameter in a slot, plus an offset."""

    slot: int
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """exp(-i angle/2 P) on one qubit."""

    letter: str
    angle: Angle


Factor = Rotation | Array
"""One member of a chain: a rotation, or a constant transfer matrix (variants, 4, 4)."""


@dataclass(kw_only=True)
class LocalStep:
    """Chains on single wires, in the order of their execution."""

    chains: list[list[Factor]]


@dataclass(kw_only=True)
class WordStep:
    """(c T)_Q = sign_Q c_index(Q), (4^n,) each."""

    index: Array
    sign: Array


@dataclass(kw_only=True)
class WordRotationStep:
    """A rotation about a word: (c T)_Q = c_Q where the sign is zero, else cos c_Q + sin sign_Q c_index(Q)."""

    index: Array
    sign: Array
    angle: Angle


@dataclass(kw_only=True)
class MapStep:
    """A transfer matrix on some wires: constant (variants, 4^k, 4^k), or that of the unitary in a slot."""

    wires: tuple[int, ...]
    matrix: Array | None = field(default=None, repr=False)
    slot: int | None = None


Step = LocalStep | WordStep | WordRotationStep | MapStep


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a Pauli program does.

    Attributes:
        start: The state that the encoding begins with; None for |0...0>.
        encoding: The steps that depend on the inputs, in order of execution.
        processing: The steps after them, in order of execution.
    """

    start: Start | None
    encoding: tuple[Step, ...]
    processing: tuple[Step, ...]

    @property
    def is_product(self) -> bool:
        """Whether the encoded state is a product over the qubits."""
        return self.start is None and all(isinstance(step, LocalStep) for step in self.encoding)


class NotEncodeOnceError(InputError):
    """The circuit encodes its inputs again after a weight has acted, so that no Pauli program computes it."""


def plan(gates: Sequence[Gate], n_qubits: int, *, levels: Sequence[int], mixed: Sequence[bool]) -> Plan:
    """Divide a circuit into encoding and processing.

    Args:
        gates: The circuit.
        n_qubits: Number of qubits.
        levels: What each parameter slot depends on.
        mixed: Whether each slot depends on inputs and weights together.

    Raises:
        NotEncodeOnceError: If an encoding gate follows a trained one.
        InputError: If a gate acts on too many qubits.
    """
    encoding: list[Gate] = []
    processing: list[Gate] = []
    before: set[int] = set()  # wires whose earlier gates belong to the encoding
    for gate in reversed(gates):
        slots = _slots(gate)
        reads_inputs = any(levels[slot] == INPUTS for slot in slots) or isinstance(gate, Start)
        if not reads_inputs and not before & set(gate.wires):
            processing.append(gate)
            continue
        if any(levels[slot] == WEIGHTS or mixed[slot] for slot in slots):
            raise NotEncodeOnceError(
                f"A gate on wires {list(gate.wires)} depends on the weights and comes before or into the encoding. "
                "A Pauli program needs all encoding gates first; the statevector program runs this circuit."
            )
        encoding.append(gate)
        before |= set(gate.wires)
    encoding.reverse()
    processing.reverse()
    start = encoding[0] if encoding and isinstance(encoding[0], Start) else None
    return Plan(
        start=start,
        encoding=_steps(encoding[1:] if start else encoding, n_qubits),
        processing=_steps(processing, n_qubits),
    )


def _slots(gate: Gate) -> tuple[int, ...]:
    if isinstance(gate, Phase):
        return gate.slots
    slot = getattr(gate, "slot", None)
    return () if slot is None else (slot,)


def _steps(gates: Iterable[Gate], n_qubits: int) -> tuple[Step, ...]:
    """Put each gate into the first step that it can join, or else into a new one."""
    builder = _Builder(n_qubits)
    for gate in gates:
        builder.add(gate)
    return tuple(builder.steps)


class _Builder:
    def __init__(self, n_qubits: int) -> None:
        self.steps: list[Step] = []
        self._n_qubits = n_qubits
        self._last = [-1] * n_qubits

    def add(self, gate: Gate) -> None:
        if isinstance(gate, Turn) and gate.slot is None:
            constant, cosine, sine = rotation_parts("Y")
            self._chain(gate.wires[0], (constant + np.cos(gate.offset) * cosine + np.sin(gate.offset) * sine)[None])
        elif isinstance(gate, Turn) and gate.slot is not None:
            angle = Angle(slot=gate.slot, scale=gate.scale, offset=gate.offset)
            self._chain(gate.wires[0], Rotation(letter="Y", angle=angle))
        elif isinstance(gate, Phase):
            self._phase(gate)
        elif isinstance(gate, Channel):
            self._map(gate.wires, np.stack([transfer_matrix(variant) for variant in gate.kraus]))
        elif isinstance(gate, Permutation):
            size = len(gate.index)
            self._map(gate.wires, transfer_matrix([np.eye(size)[gate.index]])[None], check=True)
        elif isinstance(gate, Dense):
            self._dense(gate)
        else:
            raise InputError("Expected a state preparation as the circuit's first operation, once.")

    def _phase(self, gate: Phase) -> None:
        """Write a diagonal gate as rotations about words of Z: exp(i f) with f = sum_s a_s Z_s."""
        size, n_wires = len(gate.constant), len(gate.wires)
        states = np.arange(size)
        signs = np.array([[(-1.0) ** (bin(s & b).count("1")) for b in states] for s in states])
        if gate.constant.any():
            self._map(gate.wires, transfer_matrix([np.diag(np.exp(1j * gate.constant))])[None], check=True)
        for slot, values in zip(gate.slots, gate.coefficients, strict=True):
            for subset, weight in enumerate(signs @ values / size):
                if subset > 0 and weight != 0.0:
                    chosen = tuple(gate.wires[i] for i in range(n_wires) if subset >> (n_wires - 1 - i) & 1)
                    self._about_z(chosen, Angle(slot=slot, scale=-2.0 * float(weight)))

    def _about_z(self, wires: tuple[int, ...], angle: Angle) -> None:
        if len(wires) == 1:
            self._chain(wires[0], Rotation(letter="Z", angle=angle))
            return
        index, sign = word_rotation([3 if wire in wires else 0 for wire in range(self._n_qubits)])
        self._append(WordRotationStep(index=index, sign=sign, angle=angle), wires)

    def _dense(self, gate: Dense) -> None:
        self._check_size(gate.wires)
        if gate.constant is not None:
            self._map(gate.wires, transfer_matrix([gate.constant])[None], check=True)
        else:
            self._append(MapStep(wires=gate.wires, slot=gate.slot), gate.wires)

    def _map(self, wires: tuple[int, ...], matrix: Array, *, check: bool = False) -> None:
        """Add a constant map (variants, 4^k, 4^k); with `check`, as a signed permutation if it is one."""
        if len(wires) == 1:
            self._chain(wires[0], matrix)
            return
        found = signed_permutation(matrix[0]) if check else None
        if found is None:
            self._check_size(wires)
            self._append(MapStep(wires=wires, matrix=matrix), wires)
            return
        index, sign = embedded(*found, wires, self._n_qubits)
        after = max(self._last[wire] for wire in wires)
        for place in range(max(after, 0), len(self.steps)):
            step = self.steps[place]
            if isinstance(step, WordStep):
                # Executed later, hence first on the coefficients.
                step.index, step.sign = index[step.index], sign[step.index] * step.sign
                self._mark(wires, place)
                return
        self._append(WordStep(index=index, sign=sign), wires)

    def _chain(self, wire: int, factor: Factor) -> None:
        """Join the wire's chain if it is still open, or open one in the first later local step."""
        rotates = isinstance(factor, Rotation)
        for place in range(max(self._last[wire], 0), len(self.steps)):
            step = self.steps[place]
            if not isinstance(step, LocalStep):
                continue
            chain = step.chains[wire]
            if rotates and sum(isinstance(member, Rotation) for member in chain) >= MAX_ROTATIONS:
                continue
            chain.append(factor)
            self._mark((wire,), place)
            return
        step = LocalStep(chains=[[] for _ in range(self._n_qubits)])
        step.chains[wire].append(factor)
        self._append(step, (wire,))

    def _append(self, step: Step, wires: Iterable[int]) -> None:
        self.steps.append(step)
        self._mark(wires, len(self.steps) - 1)

    def _mark(self, wires: Iterable[int], place: int) -> None:
        for wire in wires:
            self._last[wire] = place

    @staticmethod
    def _check_size(wires: tuple[int, ...]) -> None:
        if len(wires) > _MAX_MAP_WIRES:
            raise InputError(
                f"A gate on {len(wires)} wires {list(wires)} is too large for a Pauli program, which takes "
                f"{_MAX_MAP_WIRES}. Decompose it, or use the statevector program."
            )


def monomials(chain: Sequence[Factor], n_rotations: int) -> Array:
    """Return a chain's transfer matrix as a linear form in products of (1, cos, sin) of its angles.

    Args:
        chain: The factors in order of execution, at most `n_rotations` rotations among them.
        n_rotations: How many angles the products run over; angles that the chain has not got do not matter.

    Returns:
        (variants, 3^n_rotations, 4, 4); the first rotation varies slowest.
    """
    result = np.eye(4)[None, None]
    for factor in chain:
        if isinstance(factor, Rotation):
            parts = rotation_parts(factor.letter)
            result = np.einsum("kij,vmjl->vmkil", parts, result).reshape(len(result), -1, 4, 4)
        else:
            result = np.einsum("vij,vmjl->vmil", *_broadcast(factor, result))
    for _ in range(n_rotations - sum(isinstance(factor, Rotation) for factor in chain)):
        padding = np.zeros((*result.shape[:2], 2, 4, 4))
        result = np.concatenate([result[:, :, None], padding], 2).reshape(len(result), -1, 4, 4)
    return result


def _broadcast(first: Array, second: Array) -> tuple[Array, Array]:
    variants = max(len(first), len(second))
    return np.broadcast_to(first, (variants, *first.shape[1:])), np.broadcast_to(second, (variants, *second.shape[1:]))


def observables(forms: Sequence[Sequence[tuple[Sequence[int], float]]], n_qubits: int) -> Array:
    """Return sums of words, given as (letters of all wires, coefficient), as rows (forms, 4^n)."""
    rows = np.zeros((len(forms), 4**n_qubits))
    for row, form in zip(rows, forms, strict=True):
        for letters, coefficient in form:
            row[word_number(letters)] += coefficient
    return rows


def zero_state(n_qubits: int) -> Array:
    """Return the words' expectation values in |0...0>, (4^n,)."""
    letters = digits(n_qubits)
    result: Array = ((letters == 0) | (letters == 3)).all(1).astype(float)
    return result
