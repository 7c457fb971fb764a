"""Real numbers as integers modulo a power of two: sums of them are exact, and masks vanish from the sum."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Integers = NDArray[np.uint64]

MIN_BITS, MAX_BITS = 8, 52
"""Doubles hold every integer of up to 53 bits exactly."""


@dataclass(frozen=True, kw_only=True)
class FixedPoint:
    """Integers modulo 2^bits that stand for multiples of 2^-fraction_bits, the upper half for negative ones.

    A sum of decoded numbers differs from the sum of the real ones by at most 2^-(fraction_bits + 1) for each summand.

    Attributes:
        bits: Size of an integer, 8 to 52.
        fraction_bits: Bits after the binary point, 0 to bits - 1.

    Raises:
        ValueError: If a number of bits is out of its range.

    Example:
        >>> code = FixedPoint(bits=8, fraction_bits=2)
        >>> code.encode(torch.tensor([0.5, -0.25]))
        array([  2, 255], dtype=uint64)
        >>> code.decode(code.encode(torch.tensor([0.5, -0.25])), torch.float32)
        tensor([ 0.5000, -0.2500])
    """

    bits: int
    fraction_bits: int

    def __post_init__(self) -> None:
        if not MIN_BITS <= self.bits <= MAX_BITS:
            raise ValueError(f"Expected {MIN_BITS} <= bits={self.bits} <= {MAX_BITS}.")
        if not 0 <= self.fraction_bits < self.bits:
            raise ValueError(f"Expected 0 <= fraction_bits={self.fraction_bits} < bits={self.bits}.")

    @property
    def resolution(self) -> float:
        """The step between neighbouring numbers."""
        return 2.0**-self.fraction_bits

    def sum_fits(self, limit: float, summands: int) -> bool:
        """Return whether a sum of at most `limit` in absolute value cannot overflow, every summand rounded up."""
        return limit / self.resolution + summands / 2 < float(2 ** (self.bits - 1))

    def encode(self, values: Tensor) -> Integers:
        """Return the nearest integers.

        Raises:
            ValueError: If a value is not finite, or too large to be told from a negative one.
        """
        scaled = torch.round(values.detach().to("cpu", torch.float64) / self.resolution)
        largest = float(scaled.abs().max()) if scaled.numel() else 0.0
        if not largest < 2 ** (self.bits - 1):  # false for NaN, too
            raise ValueError(
                f"Expected |values| <= {2 ** (self.bits - 1) * self.resolution:g}, got {largest * self.resolution:g}: "
                f"{self.bits} bits with {self.fraction_bits} after the point overflow. Set more bits."
            )
        return self.reduce(scaled.numpy().astype(np.int64).astype(np.uint64))

    def reduce(self, integers: Integers) -> Integers:
        """Return integers modulo 2^bits; sums may have wrapped around at 2^64, which 2^bits divides."""
        return integers & np.uint64(2**self.bits - 1)

    def decode(self, integers: Integers, dtype: torch.dtype) -> Tensor:
        """Return the real numbers that integers, or sums of them, stand for."""
        signed = self.reduce(integers).astype(np.int64)
        signed[signed >= 2 ** (self.bits - 1)] -= 2**self.bits
        return (torch.from_numpy(signed).double() * self.resolution).to(dtype)
