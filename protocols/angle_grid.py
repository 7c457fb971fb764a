"""Measurement angles: multiples of 2 pi / 2^bits, held as integers, or real numbers in radians."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from qfl_sec.checking import InputError

Angles: TypeAlias = NDArray[np.int32] | NDArray[np.float64]
"""Angles of one grid: steps modulo 2^bits, or radians modulo 2 pi."""

MAX_BITS = 16


@dataclass(frozen=True, kw_only=True)
class AngleGrid:
    """The angles that a client may ask for.

    A shift by pi/2, which the gradient of a rotation takes, stays on every grid.

    Attributes:
        bits: Of an angle, 2 to 16; 0 for real angles, which are sent in 64 bits.

    Raises:
        InputError: If there are too few bits for the corrections and shifts, or too many.

    Example:
        >>> AngleGrid(bits=3).rounded(1.0), AngleGrid(bits=0).rounded(1.0)
        (array(1, dtype=int32), array(1.))
    """

    bits: int

    def __post_init__(self) -> None:
        if self.bits != 0 and not 2 <= self.bits <= MAX_BITS:
            remedy = "Give 2 bits or more: parameter shifts of pi/2 need 4 angles"
            raise InputError(f"Expected 2 <= angle_bits={self.bits} <= {MAX_BITS}, or 0 for real angles. {remedy}.")

    @property
    def step(self) -> float:
        """Distance of neighbours in radians; 1 for real angles, whose unit is the radian."""
        return math.tau / (1 << self.bits) if self.bits else 1.0

    @property
    def message_bits(self) -> int:
        """Size of one angle in a message."""
        return self.bits or 64

    def rounded(self, radians: Any) -> Angles:
        """Return the nearest angles."""
        if not self.bits:
            return np.asarray(np.mod(np.asarray(radians, float), math.tau), float)
        return self._wrapped(np.rint(np.asarray(radians, float) / self.step).astype(np.int64))

    def radians(self, angles: Angles) -> NDArray[np.float64]:
        """Return angles in radians."""
        return np.asarray(angles * self.step, np.float64)

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Angles:
        """Return angles drawn uniformly."""
        if not self.bits:
            return generator.random(shape) * math.tau
        return generator.integers(0, 1 << self.bits, shape, np.uint16 if self.bits < MAX_BITS else np.uint32).astype(
            np.int32
        )

    def masked(self, angles: Angles, *, reverse: Any, turn: Any, by: Angles) -> Angles:
        """Return (-1)^reverse angles + pi turn + by, all broadcast; `reverse` and `turn` are bits."""
        half = 1 << self.bits - 1 if self.bits else math.pi
        sign = 1 - 2 * np.asarray(reverse, np.int32)
        return self._wrapped(sign * angles + half * np.asarray(turn, np.int32) + by)

    def phases(self, angles: Angles, dtype: DTypeLike) -> NDArray[np.complexfloating]:
        """Return exp(i angle) in a complex dtype."""
        if self.bits:
            return np.asarray(_table(self.bits, np.dtype(dtype))[angles])
        return np.asarray(np.exp(1j * angles), dtype)

    def _wrapped(self, angles: Any) -> Angles:
        if self.bits:
            return np.asarray(angles & ((1 << self.bits) - 1), np.int32)
        return np.asarray(np.mod(angles, math.tau), np.float64)


@lru_cache
def _table(bits: int, dtype: "np.dtype[Any]") -> NDArray[np.complexfloating]:
    """Return exp(2 pi i j / 2^bits) for every j."""
    return np.asarray(np.exp(2j * np.pi * np.arange(1 << bits) / (1 << bits)), dtype)
