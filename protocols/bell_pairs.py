"""Many qubits at once, each an eigenstate of Z or X or one end of a Bell pair, exactly.

Pauli noise, Pauli encodings, measurements in Z or X and Bell measurements never lead out of these states, so that a few
bytes a qubit replace density matrices. Parties hold `Qubits`: handles with which they can act and measure, and from
which nothing of the state can be read.

A Pauli operation is written as two bits: X^bit Z^phase. An entangled pair is (X^bit Z^phase on one end) phi+, so that
(0, 0), (0, 1), (1, 0), (1, 1) are phi+, phi-, psi+, psi-.
"""

from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qfl_sec.protocol_contracts import Bits

Places: TypeAlias = "NDArray[np.intp]"
Chosen: TypeAlias = "NDArray[np.bool_] | NDArray[np.intp]"

Z_BASIS, X_BASIS = 0, 1
ALONE = -1


def all_but(positions: Places, count: int) -> "NDArray[np.bool_]":
    """Return which of `count` places are none of these positions, (count,)."""
    rest = np.ones(count, bool)
    rest[positions] = False
    return rest


class QubitStore:
    """The state of every qubit of a block: the physical world, which no party reads."""

    def __init__(self) -> None:
        self._partner = np.zeros(0, np.intp)  # the qubit that each is entangled with, or ALONE, (qubits,)
        self._frame = np.zeros((2, 0), np.uint8)  # bit and phase of its pair, (2, qubits)
        self._basis = np.zeros(0, np.uint8)  # of an eigenstate, (qubits,)
        self._value = np.zeros(0, np.uint8)  # of an eigenstate, (qubits,)

    def entangle(self, pairs: int, *, bit: int, phase: int) -> "tuple[Qubits, Qubits]":
        """Return both ends of new pairs, all in the Bell state (X^bit Z^phase) phi+."""
        places = self._add(2 * pairs)
        first, second = places[:pairs], places[pairs:]
        self._partner[first], self._partner[second] = second, first
        self._frame[0, places], self._frame[1, places] = bit, phase
        return Qubits(self, first), Qubits(self, second)

    def prepare(self, basis: Bits, value: Bits) -> "Qubits":
        """Return new single qubits, each in the eigenstate of Z (basis 0) or X (basis 1) with the value given."""
        places = self._add(len(basis))
        self._basis[places], self._value[places] = basis, value
        return Qubits(self, places)

    def _add(self, count: int) -> Places:
        old = len(self._partner)
        self._partner = np.concatenate([self._partner, np.full(count, ALONE)])
        self._frame = np.concatenate([self._frame, np.zeros((2, count), np.uint8)], axis=1)
        self._basis = np.concatenate([self._basis, np.zeros(count, np.uint8)])
        self._value = np.concatenate([self._value, np.zeros(count, np.uint8)])
        return np.arange(old, old + count)

    def _apply(self, places: Places, bit: Bits, phase: Bits) -> None:
        self._value[places] ^= np.where(self._basis[places] == Z_BASIS, bit, phase)
        entangled = self._partner[places] != ALONE
        operation = np.stack([bit, phase])[:, entangled]
        self._frame[:, places[entangled]] ^= operation
        self._frame[:, self._partner[places[entangled]]] ^= operation  # both ends tell the state of their pair

    def _measure(self, places: Places, basis: Bits, coins: Bits) -> Bits:
        partner = self._partner[places]
        known = (partner == ALONE) & (self._basis[places] == basis)
        outcome = np.where(known, self._value[places], coins).astype(np.uint8)
        self._collapse(places, basis, outcome)
        whole = partner != ALONE
        correlated = outcome ^ self._frame[basis, places]
        self._collapse(partner[whole], basis[whole], correlated[whole])
        return outcome

    def _collapse(self, places: Places, basis: Bits, value: Bits) -> None:
        self._partner[places], self._basis[places], self._value[places] = ALONE, basis, value

    def _bell_measure(self, first: Places, second: Places, coins: Bits) -> Bits:
        """Return bit and phase of Bell measurements, (2, measurements); partners left behind change their state."""
        outcome = coins.copy()
        mates = self._partner[first], self._partner[second]
        together = mates[0] == second
        outcome[:, together] = self._frame[:, first[together]]
        alone = (mates[0] == ALONE) & (mates[1] == ALONE)
        for basis in (Z_BASIS, X_BASIS):
            same = alone & (self._basis[first] == basis) & (self._basis[second] == basis)
            outcome[basis, same] = (self._value[first] ^ self._value[second])[same]
        swapped = ~together & (mates[0] != ALONE) & (mates[1] != ALONE)
        left, right = mates[0][swapped], mates[1][swapped]
        frame = (self._frame[:, first] ^ self._frame[:, second] ^ outcome)[:, swapped]
        self._partner[left], self._partner[right] = right, left
        self._frame[:, left], self._frame[:, right] = frame, frame
        for mine, other, mate in ((first, second, mates[0]), (second, first, mates[1])):
            teleported = (mate != ALONE) & (self._partner[other] == ALONE) & ~together
            self._teleport(mine[teleported], other[teleported], mate[teleported], outcome[:, teleported])
        self._partner[first] = self._partner[second] = ALONE
        return outcome

    def _teleport(self, entangled: Places, state: Places, target: Places, outcome: Bits) -> None:
        """Move eigenstates to the far ends of pairs, up to the Pauli operation that outcome and pair tell."""
        basis = self._basis[state]
        flip = np.take_along_axis(self._frame[:, entangled] ^ outcome, basis[None].astype(np.intp), axis=0)[0]
        self._collapse(target, basis, self._value[state] ^ flip)


class Qubits:
    """Some qubits in a party's hands. Their state cannot be read, only acted on and measured.

    Args:
        store: Where their state is kept.
        places: Of each in the store, (qubits,).
    """

    def __init__(self, store: QubitStore, places: Places) -> None:
        self._store, self._places = store, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, chosen: Chosen) -> Self:
        """Return some of them."""
        return type(self)(self._store, self._places[chosen])

    def replaced(self, chosen: Chosen, others: Self) -> Self:
        """Return them with other qubits in the chosen places."""
        places = self._places.copy()
        places[chosen] = others._places
        return type(self)(self._store, places)

    def apply(self, bit: Bits, phase: Bits) -> None:
        """Apply X^bit Z^phase to each."""
        self._store._apply(self._places, bit, phase)

    def measure(self, basis: Bits, generator: np.random.Generator) -> Bits:
        """Measure each in Z (0) or X (1) and return the outcomes.

        Draws one coin a qubit whatever the state, so that what happened before shifts no later draw.
        """
        return self._store._measure(self._places, basis, generator.integers(0, 2, len(self), np.uint8))

    def bell_measure(self, other: Self, generator: np.random.Generator) -> Bits:
        """Measure each with another one in the Bell basis and return bit and phase, (2, qubits). Uses both up."""
        coins = generator.integers(0, 2, (2, len(self)), np.uint8)
        return self._store._bell_measure(self._places, other._places, coins)


@dataclass(frozen=True)
class Photons:
    """Photons that carry a qubit in their polarization and another in their spatial mode.

    Attributes:
        polarization: First degree of freedom.
        spatial: Second degree of freedom.
    """

    polarization: Qubits
    spatial: Qubits

    def __len__(self) -> int:
        return len(self.polarization)

    def __getitem__(self, chosen: Chosen) -> Self:
        """Return some of them."""
        return type(self)(self.polarization[chosen], self.spatial[chosen])

    def replaced(self, chosen: Chosen, others: Self) -> Self:
        """Return them with other photons in the chosen places."""
        polarization = self.polarization.replaced(chosen, others.polarization)
        return type(self)(polarization, self.spatial.replaced(chosen, others.spatial))

    def measure(self, basis: Bits, generator: np.random.Generator) -> Bits:
        """Measure both degrees of freedom, each in Z (0) or X (1) as told in (2, photons); return the outcomes."""
        halves = zip((self.polarization, self.spatial), basis, strict=True)
        return np.array([half.measure(chosen, generator) for half, chosen in halves])

    def bell_measure(self, generator: np.random.Generator) -> Bits:
        """Measure the two degrees of freedom of each photon in the Bell basis, (2, photons)."""
        return self.polarization.bell_measure(self.spatial, generator)
