"""The Toeplitz hash, held against the dense product, against every seed of small sizes, and against worst cases."""

import itertools

import numpy as np
import pytest
import scipy.linalg
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st

from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols import toeplitz
from qfl_sec.protocols.toeplitz import hash_bits, rounding_bound


def draw(count: int, seed: int = 0) -> Bits:
    return np.random.default_rng(seed).integers(0, 2, count, dtype=np.uint8)


def dense(bits: Bits, seed: Bits, length: int) -> Bits:
    """Row 0 is seed[n - 1], ..., seed[0]; column 0 is seed[n - 1], ..., seed[n + length - 2]."""
    n = len(bits)
    matrix = scipy.linalg.toeplitz(seed[n - 1 :].astype(int), seed[n - 1 :: -1].astype(int))
    assert matrix.shape == (length, n)
    product: Bits = (matrix @ bits % 2).astype(np.uint8)
    return product


SIZES = [(1, 1), (1, 9), (9, 1), (2, 3), (7, 300), (300, 7), (64, 64), (65, 63), (700, 500)]


@pytest.mark.parametrize(("n", "length"), SIZES)
@pytest.mark.parametrize("largest", [4, 2**16])
def test_it_is_the_dense_product(n: int, length: int, largest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toeplitz, "_LARGEST_BLOCK", largest)
    bits, seed = draw(n), draw(n + length - 1, seed=1)
    found = hash_bits(bits, seed, length)
    assert found.dtype == np.uint8
    assert np.array_equal(found, dense(bits, seed, length))


def test_it_is_the_convolution_where_blocks_have_full_size() -> None:
    n, length = 150_000, 70_001
    bits, seed = draw(n), draw(n + length - 1, seed=1)
    counts = scipy.signal.fftconvolve(bits.astype(float), seed.astype(float), mode="valid")
    assert np.array_equal(hash_bits(bits, seed, length), np.rint(counts).astype(int) % 2)


@pytest.mark.parametrize("n", [2**20, 999_999])
def test_the_largest_sums_are_exact(n: int) -> None:
    ones = np.ones(n + 999, dtype=np.uint8)
    assert np.array_equal(hash_bits(ones[:n], ones, 1000), np.full(1000, n % 2))


def test_the_stated_bound_holds_for_sums_whose_rounding_shows() -> None:
    """Signs instead of bits: the same norms, but sums so small that the last place shows what rounding did."""
    n, size = 2**16, 2**12
    signs, diagonals = 2.0 * draw(n) - 1, 2.0 * draw(n + 4 * size, seed=1) - 1
    exact = np.correlate(diagonals[:-1], signs[::-1], mode="valid")
    assert np.array_equal(exact, np.rint(exact))
    error = np.abs(toeplitz._row_sums(signs.reshape(-1, size), diagonals, 4) - exact).max()
    assert 0 < error < rounding_bound(n)
    assert [rounding_bound(10**k) < 0.25 for k in (6, 9, 15)] == [True, True, False]


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_it_is_linear_in_the_bits_and_in_the_seed(n: int, length: int, draw_seed: int) -> None:
    rng = np.random.default_rng(draw_seed)
    first, second = rng.integers(0, 2, (2, n), dtype=np.uint8)
    one, other = rng.integers(0, 2, (2, n + length - 1), dtype=np.uint8)
    assert np.array_equal(
        hash_bits(first ^ second, one, length), hash_bits(first, one, length) ^ hash_bits(second, one, length)
    )
    assert np.array_equal(
        hash_bits(first, one ^ other, length), hash_bits(first, one, length) ^ hash_bits(first, other, length)
    )


def test_over_all_seeds_the_hash_of_any_difference_is_uniform() -> None:
    n, length = 4, 3
    seeds = [np.array(seed, dtype=np.uint8) for seed in itertools.product((0, 1), repeat=n + length - 1)]
    for difference in itertools.product((0, 1), repeat=n):
        values = [tuple(hash_bits(np.array(difference, dtype=np.uint8), seed, length).tolist()) for seed in seeds]
        counts = {value: values.count(value) for value in set(values)}
        if any(difference):
            assert counts == dict.fromkeys(itertools.product((0, 1), repeat=length), len(seeds) // 2**length)
        else:
            assert counts == {(0,) * length: len(seeds)}


def test_a_seed_that_is_known_in_advance_lets_two_inputs_collide() -> None:
    n, length = 8, 3
    seed = draw(n + length - 1)
    inputs = [np.array(bits, dtype=np.uint8) for bits in itertools.product((0, 1), repeat=n)]
    kernel = [bits for bits in inputs if bits.any() and not hash_bits(bits, seed, length).any()]
    assert len(kernel) >= 2 ** (n - length) - 1
    message = draw(n, seed=2)
    for pattern in kernel:
        assert np.array_equal(hash_bits(message ^ pattern, seed, length), hash_bits(message, seed, length))
    fresh = draw(n + length - 1, seed=3)
    agreeing = sum(np.array_equal(hash_bits(pattern, fresh, length), np.zeros(length)) for pattern in kernel)
    assert agreeing < len(kernel) / 2


@pytest.mark.parametrize(("n", "length", "seed"), [(0, 3, 2), (3, 0, 2), (3, 2, 3), (3, 2, 5)])
def test_sizes_that_do_not_fit_are_refused(n: int, length: int, seed: int) -> None:
    with pytest.raises(ValueError, match=f"Expected n={n} >= 1 bits, length={length}"):
        hash_bits(draw(n), draw(seed), length)


@pytest.mark.parametrize("bits", [np.array([0, 2], np.uint8), np.array([0.0, 1.0]), np.zeros((2, 2), np.uint8)])
def test_what_is_no_bits_is_refused(bits: Bits) -> None:
    with pytest.raises(ValueError, match="Expected bits"):
        hash_bits(bits, draw(3), 2)
