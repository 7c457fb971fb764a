"""Light pulses as nature allows them to be handled: measured, split, stored, replaced, and never copied or read.

A pulse holds some photons of one linear polarization, k times 22.5 degrees, k = 0..7. What k is stays inside
(`_polarizations`); whoever holds pulses calls the methods. Basis k holds the polarizations k (bit 0) and k + 4 (bit 1).
"""

import dataclasses
import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from qfl_sec.protocols.channels import Detectors, apply_kraus, dephasing_kraus, depolarizing_kraus
from qfl_sec.protocols.drawing import Bytes, ByteTable

Z_BASIS, BREIDBART_BASIS, X_BASIS = 0, 1, 2
"""Bases by the polarization of their bit 0: 0, 22.5 and 45 degrees."""

NO_PHOTON = 255
"""Outcome of a measurement that found nothing."""

MOST_PHOTONS = 15
"""More photons in a pulse count as this many; at a mean of 2 that happens once in 10^9."""

_TELLS_ONE = np.array([math.sin(k * math.pi / 8) ** 2 for k in range(8)])
_TELLS_ONE[[0, 4, 2, 6]] = 0, 1, 0.5, 0.5


@lru_cache(maxsize=1)
def _born_table() -> ByteTable:
    """Return the law of a photon's outcome by the polarization relative to the basis."""
    return ByteTable(np.stack([1 - _TELLS_ONE, _TELLS_ONE], axis=1))


def detection_table(
    detectors: Detectors, *, transmittance: float, depolarizing: float, dephasing: float
) -> NDArray[np.float64]:
    """Return the probabilities (2, 16, 8, 2, 3) of no click, bit 0 and bit 1 at the receiver.

    Axes: whether an adversary delivered the pulse past all loss; photons; polarization; Z or X; outcome. The channel
    acts on density matrices, so that any state an adversary sends is treated alike.

    Args:
        detectors: Of the receiver.
        transmittance: Of the way to it.
        depolarizing: Probability that the channel replaces a photon's state by I/2.
        dephasing: Probability that it applies Z.
    """
    angles = np.arange(8) * np.pi / 8
    states = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(complex)
    density = states[:, :, None] * states[:, None, :].conj()  # (8, 2, 2)
    for kraus in (depolarizing_kraus(depolarizing), dephasing_kraus(dephasing)):
        density = apply_kraus(kraus, density)
    ones = states[[4, 6]]  # |1> and |->
    born = np.einsum("bi,kij,bj->kb", ones.conj(), density, ones).real.clip(0, 1)  # (8, 2)
    photons = np.arange(MOST_PHOTONS + 1)[:, None, None]
    lossless = dataclasses.replace(detectors, efficiency=1.0)
    ways = ((detectors, transmittance), (lossless, 1.0))
    return np.stack([receiver.outcome_probabilities(photons, eta, born[None]) for receiver, eta in ways])


class Pulses:
    """A train of pulses on its way; whoever acts on it changes it.

    Args:
        polarizations: (n,), 0..7, of all photons of a pulse.
        photons: (n,), 0..15.
        rng: Nature's: outcomes of measurements on the way.
    """

    def __init__(self, polarizations: Bytes, photons: Bytes, rng: np.random.Generator) -> None:
        self._polarizations = polarizations
        self._photons = photons
        self._delivered: NDArray[np.bool_] | None = None
        self._rng = rng

    def __len__(self) -> int:
        """Return the number of pulses, empty ones included."""
        return len(self._photons)

    def count_photons(self) -> Bytes:
        """Return the photon numbers (n,), which a measurement may tell without touching the polarization."""
        return self._photons.copy()

    def measure(self, where: NDArray[np.bool_], bases: Bytes | int) -> Bytes:
        """Measure one photon of each chosen pulse and destroy it.

        Args:
            where: (n,), which pulses.
            bases: (n,) or one for all, 0..7.

        Returns:
            (n,), 0 or 1; `NO_PHOTON` where there was none, or none was to be measured.
        """
        relative = (self._polarizations - np.asarray(bases, np.uint8)) & np.uint8(7)
        found = where & (self._photons > 0)
        outcomes = _born_table().draw(relative, self._rng)
        self._photons = self._photons - found
        return np.where(found, outcomes, np.uint8(NO_PHOTON))

    def take_one(self, where: NDArray[np.bool_]) -> "StoredPhotons":
        """Take one photon out of each chosen pulse, unmeasured, into a memory."""
        found = where & (self._photons > 0)
        self._photons = self._photons - found
        return StoredPhotons(self._polarizations, found)

    def emit(self, where: NDArray[np.bool_], polarizations: Bytes, photons: Bytes) -> None:
        """Send other pulses in place of the chosen ones; arguments (n,), read where chosen."""
        self._polarizations = np.where(where, polarizations & np.uint8(7), self._polarizations)
        self._photons = np.where(where, np.minimum(photons, np.uint8(MOST_PHOTONS)), self._photons)

    def block(self, where: NDArray[np.bool_]) -> None:
        """Take every photon out of the chosen pulses."""
        self._photons = self._photons * ~where

    def deliver(self, where: NDArray[np.bool_]) -> None:
        """Carry the chosen pulses to the detectors so that each photon left is detected."""
        self._delivered = where if self._delivered is None else self._delivered | where

    def detect(self, table: ByteTable, bases: Bytes, rng: np.random.Generator) -> Bytes:
        """Let the pulses fall on a receiver, which ends them.

        Args:
            table: `detection_table`, its axes but the last flattened.
            bases: (n,), 0 for Z and 1 for X.
            rng: Nature's at the receiver.

        Returns:
            (n,), 0 no click, 1 bit 0, 2 bit 1.
        """
        rows = (self._photons << np.uint8(4)) | (self._polarizations << np.uint8(1))
        rows |= bases
        self._photons = np.zeros_like(self._photons)
        if self._delivered is None:
            return table.draw(rows, rng)
        return table.draw(rows.astype(np.uint16) | (self._delivered.astype(np.uint16) << np.uint16(8)), rng)


class StoredPhotons:
    """Photons in an adversary's perfect memory, at most one of each pulse."""

    def __init__(self, polarizations: Bytes, present: NDArray[np.bool_]) -> None:
        self._polarizations = polarizations
        self.present = present

    def measure(self, positions: NDArray[np.intp], bases: Bytes, rng: np.random.Generator) -> Bytes:
        """Return outcomes (m,) of the photons at positions (m,) in bases (m,); `NO_PHOTON` where none is stored."""
        relative = (self._polarizations[positions] - bases) & np.uint8(7)
        outcomes = _born_table().draw(relative, rng)
        return np.where(self.present[positions], outcomes, np.uint8(NO_PHOTON))
