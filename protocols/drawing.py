"""Exact random draws that cost about one random byte each.

A byte decides whenever all numbers that begin with it fall on the same side of every threshold; the few others get 53
bits more. So probabilities are those asked for, not multiples of 1/256.
"""

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

UNDECIDED = 255
"""Marks a byte that does not decide; a table has fewer outcomes than this."""


def random_bytes(count: int, rng: np.random.Generator) -> Bytes:
    """Return uniform bytes (count,); whole words are drawn, which is ten times as fast as `rng.bytes`."""
    words = rng.integers(0, 2**64, size=-(-count // 8), dtype=np.uint64)
    return words.astype("<u8", copy=False).view(np.uint8)[:count]


def bernoulli(probability: float, count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return independent truth values (count,), each true with exactly this probability.

    Example:
        >>> float(bernoulli(0.25, 10**6, np.random.default_rng(1)).mean().round(2))
        0.25
    """
    if probability <= 0 or probability >= 1:
        return np.full(count, probability >= 1)
    threshold, rest = divmod(probability * 256, 1)
    draws = random_bytes(count, rng)
    hits = draws < np.uint8(threshold)
    if rest:
        undecided = np.flatnonzero(draws == np.uint8(threshold))
        hits[undecided] = rng.random(len(undecided)) < rest
    return hits


class ByteTable:
    """Several distributions over the same outcomes, drawn from by row.

    Args:
        probabilities: (rows, outcomes), each row sums to 1; at most 254 outcomes.

    Raises:
        ValueError: If a row is no distribution.
    """

    def __init__(self, probabilities: NDArray[np.float64]) -> None:
        whole = np.abs(probabilities.sum(axis=1) - 1) < 1e-12
        if probabilities.ndim != 2 or probabilities.shape[1] >= UNDECIDED or not whole.all() or probabilities.min() < 0:
            raise ValueError(f"Expected rows of at most 254 probabilities with sum 1, got {probabilities.shape}.")
        self._cumulative = np.cumsum(probabilities, axis=1)[:, :-1]  # (rows, outcomes - 1)
        edges = np.arange(257) / 256
        below = (self._cumulative[:, None] <= edges[:-1, None]).sum(axis=2)  # (rows, 256)
        above = (self._cumulative[:, None] < edges[1:, None]).sum(axis=2)
        self._decided = np.where(below == above, below, UNDECIDED).astype(np.uint8).ravel()

    def draw(self, rows: NDArray[np.unsignedinteger], rng: np.random.Generator) -> Bytes:
        """Return one outcome (n,) for each row index (n,)."""
        first = random_bytes(len(rows), rng)
        index = rows.astype(np.intp)
        index <<= 8
        index |= first
        outcomes: Bytes = self._decided.take(index)
        undecided = np.flatnonzero(outcomes == UNDECIDED)
        exact = (first[undecided] + rng.random(len(undecided))) / 256
        outcomes[undecided] = (exact[:, None] >= self._cumulative[rows[undecided]]).sum(axis=1)
        return outcomes


def poisson_probabilities(mean: float, largest: int) -> NDArray[np.float64]:
    """Return the Poisson distribution on 0..largest; what lies above counts as `largest`."""
    weights = np.empty(largest + 1)
    weights[0] = np.exp(-mean)
    for count in range(1, largest + 1):
        weights[count] = weights[count - 1] * mean / count
    weights[largest] += max(0.0, 1 - weights.sum())
    total: NDArray[np.float64] = weights / weights.sum()
    return total
