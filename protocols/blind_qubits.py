"""Qubits on their way to a server, and those of one column while they live: many rounds at once.

What a qubit was prepared in is private to these classes: whoever holds a `SentQubits` can store, spoil or measure it,
and read nothing else off it. Only the rows of one column live at a time. Measuring a node whose neighbour in the next
column is |+_theta> gives either outcome with probability 1/2 whatever came before, for the controlled-Z gate with such
a neighbour leaves no coherence between |0> and |1>; only before a dummy do the amplitudes decide.
"""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from qfl_sec.checking import InputError
from qfl_sec.protocol_contracts import Bits

Complex: TypeAlias = NDArray[np.complexfloating]
Mask: TypeAlias = NDArray[np.bool_]

MEMORY_BYTES = 2 << 30
"""Most that the live qubits of one round may take."""

CHUNK_BYTES = 1 << 19
"""Live qubits of the rounds that are run together: what stays in a core's cache."""

_BUFFERS = 2


@dataclass(frozen=True)
class SentQubits:
    """The qubits of one column, one a row and round, in a message.

    Attributes:
        rows: How many in a round.
        rounds: How many rounds.
    """

    _phases: Complex  # e^(i theta), (rows, rounds)
    _dummies: Mask | None = None  # (rows, rounds)
    _bits: Bits | None = None  # of the dummies, (rows, rounds)

    @property
    def rows(self) -> int:
        """How many in a round."""
        return int(self._phases.shape[0])

    @property
    def rounds(self) -> int:
        """How many rounds."""
        return int(self._phases.shape[1])

    def lost(self, where: Mask) -> "SentQubits":
        """Return the qubits with those that are lost, (rows, rounds or 1), replaced by |0>."""
        where = np.broadcast_to(where, self._phases.shape)
        if self._dummies is None or self._bits is None:
            return SentQubits(self._phases, where, np.zeros(where.shape, np.uint8))
        return SentQubits(self._phases, self._dummies | where, np.where(where, np.uint8(0), self._bits))

    def amplitudes(self, row: int, *, holder: "LiveQubits") -> tuple[Complex | None, Complex, Mask | None, Any]:
        """Return what `LiveQubits` needs: amplitudes of |0> (None: all 1) and |1>, times sqrt 2, and the dummies."""
        assert isinstance(holder, LiveQubits)
        phases = self._phases[row]
        if self._dummies is None or self._bits is None or not self._dummies[row].any():
            return None, phases, None, None
        dummy, bit = self._dummies[row], self._bits[row]
        whole = phases.dtype.type(math.sqrt(2))
        zero = np.where(dummy, whole * (bit == 0), phases.dtype.type(1))
        return zero, np.where(dummy, whole * (bit == 1), phases), dummy, bit


def check_memory(rows: int, dtype: DTypeLike = np.complex64) -> None:
    """Refuse more live qubits than fit.

    Raises:
        InputError: If they are too many; the message names the largest number that fits.
    """
    largest = (MEMORY_BYTES // (_BUFFERS * np.dtype(dtype).itemsize)).bit_length() - 1
    if rows > largest:
        held = f"a column of live qubits takes {_BUFFERS} x 2^qubits amplitudes of {np.dtype(dtype).itemsize} bytes"
        limit = f"{MEMORY_BYTES / (1 << 30):g} GiB"
        raise InputError(
            f"Expected qubits={rows} <= {largest}: {held} within {limit}. Set qubits = {largest} or fewer."
        )


def chunk_rounds(rows: int, dtype: DTypeLike = np.complex64) -> int:
    """Return how many rounds run together."""
    return max(1, CHUNK_BYTES // (np.dtype(dtype).itemsize << rows))


class LiveQubits:
    """The entangled qubits of one column.

    Args:
        qubits: Of the first column.
    """

    def __init__(self, qubits: SentQubits) -> None:
        self._rows, self._rounds = qubits.rows, qubits.rounds
        self._fresh = 0  # measured rows since the amplitudes were last brought to norm 1
        state: Complex | None = None
        for row in range(self._rows):
            zero, one, _, _ = qubits.amplitudes(row, holder=self)
            pair = np.stack([np.ones_like(one) if zero is None else zero, one]) * one.dtype.type(math.sqrt(0.5))
            state = pair if state is None else (state[:, None] * pair).reshape(-1, self._rounds)
        assert state is not None
        self._state = state  # (2^rows, rounds)
        self._spare = np.empty_like(state)

    @property
    def dtype(self) -> "np.dtype[np.complexfloating]":
        """Complex dtype of the amplitudes."""
        return self._state.dtype

    def entangle(self, row: int) -> None:
        """Apply a controlled-Z gate between this row and the next."""
        pairs = self._state.reshape(1 << row, 2, 2, -1, self._rounds)
        np.negative(pairs[:, 1, 1], out=pairs[:, 1, 1])

    def advance(self, row: int, phases: Complex, following: SentQubits, generator: np.random.Generator) -> Bits:
        """Join a row's qubit to the row's next one, measure it in |+-_delta>, and let the next one live in its place.

        Args:
            row: Which row.
            phases: exp(-i delta), (rounds,).
            following: Qubits of the next column.
            generator: Decides the outcomes.

        Returns:
            0 for |+_delta>, 1 for |-_delta>, (rounds,).
        """
        split = (1 << row, 2, -1, self._rounds)
        old, new = self._state.reshape(split), self._spare.reshape(split)
        zero, one, dummies, bits = following.amplitudes(row, holder=self)
        if dummies is None:
            outcomes = generator.integers(0, 2, self._rounds, np.uint8)
        else:
            outcomes, root = self._decided(old, phases, dummies, bits, generator)
            zero, one = np.asarray(zero) / root, one / root
        signed = phases * (1 - 2 * outcomes.astype(np.int8)).astype(phases.real.dtype)
        turned = np.multiply(old[:, 1], signed, out=old[:, 1])
        np.subtract(old[:, 0], turned, out=new[:, 1])
        np.add(old[:, 0], turned, out=new[:, 0])
        new[:, 1] *= one
        if zero is not None:
            new[:, 0] *= zero
        self._state, self._spare = self._spare, self._state
        self._fresh += 1
        if row == self._rows - 1:
            self._state *= self._state.real.dtype.type(2 ** (-self._fresh / 2))
            self._fresh = 0
        return outcomes

    def _decided(
        self, old: Complex, phases: Complex, dummies: Mask, bits: Bits, generator: np.random.Generator
    ) -> tuple[Bits, NDArray[np.floating]]:
        """Return outcomes, and the root of twice their probability, where a dummy may follow."""
        norm = np.square(np.abs(old)).sum((0, 1, 2))
        coherence = 2 * (np.einsum("abr,abr->r", old[:, 0].conj(), old[:, 1]) * phases).real
        bias = np.where(dummies, (1 - 2.0 * bits) * coherence / norm, 0.0)  # p(0) - p(1)
        outcomes = (2 * generator.random(self._rounds) >= 1 + bias).astype(np.uint8)
        twice = np.maximum(1 + (1 - 2.0 * outcomes) * bias, np.finfo(phases.real.dtype).tiny)
        return outcomes, np.sqrt(twice).astype(phases.real.dtype)

    def measure(self, generator: np.random.Generator) -> Bits:
        """Measure every row in the computational basis, (rows, rounds)."""
        cumulated = np.cumsum(np.square(np.abs(self._state)), 0, dtype=np.float64)
        drawn = generator.random(self._rounds) * cumulated[-1]
        index = (cumulated[:-1] <= drawn).sum(0)
        shifts = np.arange(self._rows - 1, -1, -1)[:, None]
        return np.asarray((index >> shifts) & 1, np.uint8)

    def amplitudes(self) -> Complex:
        """Return the state, (2^rows, rounds), for the auditor alone."""
        return self._state.copy()
