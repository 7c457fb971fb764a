"""Privacy amplification: a two-universal hash by a random Toeplitz matrix, exactly, with Fourier transforms."""

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols.bits import checked_bits

_LARGEST_BLOCK = 2**16
"""Transforms of twice this length stay in the cache."""

_MOST_BLOCKS = 16
"""Blocks of the input at most, before they grow: products of spectra cost their number squared."""


def hash_bits(bits: Bits, seed: Bits, length: int) -> Bits:
    """Return the product modulo 2 of a Toeplitz matrix and a vector of bits.

    Entry (i, j) of the matrix is `seed[i - j + n - 1]`. Over a uniform seed, two different inputs collide with
    probability 2^-length. The seed may be public, but it is drawn after the input is fixed.

    The matrix is cut into square blocks; each is a cyclic convolution of twice its size in float64, and the blocks of a
    row are added as spectra. The result is exact: `rounding_bound` stays below 1/2 by orders of magnitude.

    Args:
        bits: Input, (n,).
        seed: Diagonals of the matrix, (n + length - 1,).
        length: Bits of the result, at least 1.

    Returns:
        The hash, (length,).

    Raises:
        ValueError: If the sizes do not fit, or the input is so long that rounding could flip a bit.

    Reference: Carter and Wegman 1979, doi 10.1016/0022-0000(79)90044-8; Toeplitz matrices: Krawczyk 1994,
    doi 10.1007/3-540-48658-5_15; by Fourier transforms: Hayashi and Tsurumaru 2016, arXiv 1311.5322.

    Example:
        >>> bits, seed = np.array([1, 1, 0], np.uint8), np.array([0, 1, 1, 0], np.uint8)
        >>> hash_bits(bits, seed, 2).tolist()  # rows (1, 1, 0) and (0, 1, 1)
        [0, 1]
    """
    n = len(checked_bits(bits, "bits"))
    if n < 1 or length < 1 or len(checked_bits(seed, "seed")) != n + length - 1:
        raise ValueError(
            f"Expected n={n} >= 1 bits, length={length} >= 1 and a seed of n + length - 1 bits, not {len(seed)}."
        )
    if (bound := rounding_bound(n)) >= 0.25:
        raise ValueError(f"Expected n={n} bits to be few enough for exact rounding (error {bound:.2g} < 0.25).")
    size = _block_size(n, length)
    columns, rows = -(-n // size), -(-length // size)
    vector = np.zeros(columns * size)
    vector[:n] = bits
    diagonals = np.zeros((columns + rows) * size)  # entry (i, j) of the padded matrix: [i - j + columns * size - 1]
    diagonals[columns * size - n :][: len(seed)] = seed
    counts = _row_sums(vector.reshape(columns, size), diagonals, rows)[:length]
    return (np.rint(counts).astype(np.int64) & 1).astype(np.uint8)


def rounding_bound(n: int) -> float:
    """Return how far float64 can take an entry of the product with n bits from its integer value.

    A path through a transform of N points rounds log2 N times, each time by at most 4 sqrt(2) u for the twiddled sum
    and u for the stored root, u = 2^-53; 10 u leaves room for butterflies of a larger radix. Two transforms forward,
    one back and the sum over blocks act on the spectra's products, whose mean modulus is, by Cauchy and Schwarz, at
    most the product of the Euclidean norms: sqrt(n) for the input, sqrt(2 n) for the diagonals that a row meets, two
    blocks of them for each of the input's.

    Args:
        n: Bits of the input.

    Reference: Higham 2002, Accuracy and Stability of Numerical Algorithms, section 24.1, Theorem 24.2.

    Example:
        >>> rounding_bound(10**6) < 1e-6
        True
    """
    size = _block_size(n, n)
    columns = -(-n // size)
    roundings = 3 * 10 * int(2 * size).bit_length() + columns + 4
    return roundings * 2.0**-53 * 2**0.5 * columns * size


def _block_size(n: int, length: int) -> int:
    """Return the side of the blocks, a power of two."""
    largest = max(_LARGEST_BLOCK, _power_of_two(-(-n // _MOST_BLOCKS)))
    return min(largest, _power_of_two(min(n, length)))


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()


def _row_sums(blocks: NDArray[np.float64], diagonals: NDArray[np.float64], rows: int) -> NDArray[np.float64]:
    """Return the real entries (rows * size,) of the block Toeplitz product.

    Args:
        blocks: The vector, (columns, size).
        diagonals: Of the whole matrix, ((columns + rows) * size,).
        rows: Blocks in a column of the matrix.
    """
    columns, size = blocks.shape
    windows = np.lib.stride_tricks.sliding_window_view(diagonals, 2 * size)[::size]  # (columns + rows - 1, 2 size)
    matrix = scipy.fft.rfft(windows)  # (columns + rows - 1, size + 1)
    vector = scipy.fft.rfft(blocks, 2 * size)[::-1]  # (columns, size + 1), last first
    products = np.empty((rows, size + 1), dtype=np.complex128)
    for row in range(rows):
        np.einsum("cf,cf->f", vector, matrix[row : row + columns], out=products[row])
    sums: NDArray[np.float64] = scipy.fft.irfft(products, 2 * size)[
        :, size - 1 : 2 * size - 1
    ]  # where the convolution does not wrap
    return sums.reshape(-1)
