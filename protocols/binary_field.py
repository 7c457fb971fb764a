"""Arithmetic in GF(2^t): polynomials over bits, modulo one that does not factor. Elements are integers below 2^t."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

MODULI: Mapping[int, int] = MappingProxyType(
    {
        4: 0b1_0011,
        8: 0b1_0001_1011,
        32: 1 << 32 | 0b1000_1101,
        64: 1 << 64 | 0b1_1011,
        128: 1 << 128 | 0b1000_0111,
    }
)
"""An irreducible polynomial a degree, coefficients as bits: x^4 + x + 1, x^8 + x^4 + x^3 + x + 1 (FIPS 197),
x^32 + x^7 + x^3 + x^2 + 1 and x^64 + x^4 + x^3 + x + 1 (Seroussi 1998, HP Laboratories HPL-98-135),
x^128 + x^7 + x^2 + x + 1 (NIST SP 800-38D). Degrees 4 and 8 are for exhaustive checks."""


@dataclass(frozen=True, kw_only=True)
class BinaryField:
    """The field of 2^degree elements.

    Attributes:
        degree: One of those in `MODULI`.

    Raises:
        ValueError: If it is another.

    Example:
        >>> hex(BinaryField(degree=8).multiply(0x57, 0x83))  # FIPS 197, section 4.2
        '0xc1'
    """

    degree: int

    def __post_init__(self) -> None:
        if self.degree not in MODULI:
            raise ValueError(f"Expected degree={self.degree} to be one of {', '.join(map(str, MODULI))}.")

    def multiply(self, first: int, second: int) -> int:
        """Return the product of two elements."""
        product = 0
        while second:
            if second & 1:
                product ^= first
            first, second = self._double(first), second >> 1
        return product

    def evaluate(self, coefficients: Iterable[int], point: int) -> int:
        """Return sum over i of coefficients[i] point^(len - i), the last one times the point itself."""
        tables = self._multiples(point)
        octets = len(tables)
        value = 0
        for coefficient in coefficients:
            product = 0
            for table, octet in zip(tables, (value ^ coefficient).to_bytes(octets, "little"), strict=True):
                product ^= table[octet]
            value = product
        return value

    def _double(self, element: int) -> int:
        element <<= 1
        return element ^ MODULI[self.degree] if element >> self.degree else element

    def _multiples(self, point: int) -> list[list[int]]:
        """Return the products of a point with every value of every eight bits of an element."""
        tables = []
        for _ in range(0, self.degree, 8):
            table = [0]
            for _ in range(8):
                table += [entry ^ point for entry in table]
                point = self._double(point)
            tables.append(table)
        return tables
