"""Exact and clustered confidence intervals of success rates.

Trials that share a training, a client or a batch are not independent. Their interval is widened by what the spread
between those clusters shows, and where the spread cannot be seen, by a stated assumption.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special, stats

DRAWS = 2000
"""Random tables of the homogeneity test, and resamples of the bootstrap."""

POOLING_LEVEL = 0.5
"""Clusters are pooled only above this p: with few clusters the usual 0.05 misses most of the spread that matters."""

ASSUMED_CORRELATION = 0.05
"""Intraclass correlation assumed where the data cannot show any."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A count of successes with its 95 % interval.

    Attributes:
        k: Successes.
        n: Trials.
        low: Lower end of the interval of k / n.
        high: Upper end.
        method: How the interval was computed, in words.
        clusters: Number of independent groups the trials fall into; equal to n where trials are independent.
    """

    k: int
    n: int
    low: float
    high: float
    method: str
    clusters: int


def clopper_pearson(k: float, n: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact central interval of a success probability.

    | k, n             | interval                        |
    |------------------|---------------------------------|
    | n = 0            | (0, 1)                          |
    | k = 0            | (0, 1 - (alpha / 2)^(1 / n))    |
    | k = n            | ((alpha / 2)^(1 / n), 1)        |

    Args:
        k: Successes; a fraction is taken as an effective count.
        n: Trials; a fraction is taken as an effective sample size.
        confidence: Coverage, at least, in (0, 1).

    Raises:
        ValueError: If k is not within [0, n], or the confidence not within (0, 1).

    Reference: Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404; by beta quantiles.

    Example:
        >>> low, high = clopper_pearson(0, 100)
        >>> low, round(high, 6)
        (0.0, 0.036217)
    """
    if not 0 <= k <= n or not np.isfinite(n):
        raise ValueError(f"Expected 0 <= k={k} <= n={n}.")
    if not 0 < confidence < 1:
        raise ValueError(f"Expected 0 < confidence={confidence} < 1.")
    tail = (1 - confidence) / 2
    low = 0.0 if k == 0 else float(special.betaincinv(k, n - k + 1, tail))
    high = 1.0 if k == n else float(special.betainccinv(k + 1, n - k, tail))
    return low, high


def independent_rate(k: int, n: int, *, confidence: float = 0.95) -> Rate:
    """Return the rate of independent trials, with its Clopper-Pearson interval."""
    low, high = clopper_pearson(k, n, confidence=confidence)
    return Rate(k=k, n=n, low=low, high=high, method="Clopper-Pearson, independent trials", clusters=n)


def clustered_rate(
    hits: npt.ArrayLike, clusters: npt.ArrayLike, *, rng: np.random.Generator, confidence: float = 0.95
) -> Rate:
    """Return the success rate of trials that may depend on each other within clusters.

    The clusters' rates are tested for homogeneity: chi-square statistic, Monte Carlo p over tables with the same
    margins. The p stands in `method`.

    | case                                         | interval                                              |
    |----------------------------------------------|-------------------------------------------------------|
    | no trial                                     | (0, 1)                                                |
    | every trial its own cluster                  | Clopper-Pearson on n                                  |
    | p > 0.5                                      | Clopper-Pearson on n, pooled                          |
    | p <= 0.5                                     | hull of pooled Clopper-Pearson, design-effect         |
    |                                              | Clopper-Pearson and percentile cluster bootstrap      |
    | one cluster, fewer than two hits or misses   | Clopper-Pearson on n / (1 + (m - 1) 0.05), m the      |
    |                                              | clusters' mean size as a trial sees it                |

    Guarantee: never narrower than Clopper-Pearson on n; never [0, 0] or [1, 1]. The coverage under beta-binomial
    clusters is tested; it falls below 0.9 where a rate of some per cent meets a correlation of 0.3 and up.

    Args:
        hits: (n,), truth values.
        clusters: (n,), integers; equal ones belong together.
        rng: Draws the tables and the resamples.
        confidence: Nominal coverage, in (0, 1); above 0.95 where several intervals are to hold together.

    Raises:
        ValueError: If the shapes differ or are not one-dimensional, or hits are not truth values.

    Reference: Korn and Graubard 1998, Survey Methodology 24 (2), 193 (design effect with t quantiles).
    """
    sizes, counts = _counts(hits, clusters)
    k, n = int(counts.sum()), int(sizes.sum())
    if n == 0:
        return Rate(k=0, n=0, low=0.0, high=1.0, method="no trials", clusters=0)
    if len(sizes) == n:
        return independent_rate(k, n, confidence=confidence)
    low, high, method = _interval(sizes, counts, rng, confidence)
    return Rate(k=k, n=n, low=low, high=high, method=method, clusters=len(sizes))


def _counts(hits: npt.ArrayLike, clusters: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return each cluster's trials and hits."""
    values, names = np.asarray(hits), np.asarray(clusters)
    if values.ndim != 1 or values.shape != names.shape:
        raise ValueError(f"Expected hits of shape {values.shape} and clusters of shape {names.shape} to be (n,) both.")
    if values.size and values.dtype != np.bool_ and not np.isin(values, (0, 1)).all():
        raise ValueError("Expected hits to be truth values. Compare them with a threshold first.")
    _, index = np.unique(names, return_inverse=True)
    groups = int(index.max()) + 1 if index.size else 0
    sizes = np.bincount(index, minlength=groups)
    return sizes.astype(np.int64), np.bincount(index, weights=values.astype(float), minlength=groups).astype(np.int64)


def _interval(
    sizes: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], rng: np.random.Generator, confidence: float
) -> tuple[float, float, str]:
    """Return the ends and the method's name for clusters of which at least one has several trials."""
    k, n, groups = int(counts.sum()), int(sizes.sum()), len(sizes)
    if groups == 1 or min(k, n - k) < 2:
        effective = n / (1 + ((sizes**2).sum() / n - 1) * ASSUMED_CORRELATION)
        low, high = clopper_pearson(k * effective / n, effective, confidence=confidence)
        return low, high, f"Clopper-Pearson, spread between {groups} clusters not visible, correlation 0.05 assumed"
    pooled = clopper_pearson(k, n, confidence=confidence)
    p = homogeneity_p(sizes, counts, rng=rng)
    if p > POOLING_LEVEL:
        return *pooled, f"Clopper-Pearson, pooled over {groups} homogeneous clusters (p = {p:.3f})"
    ends = (pooled, _design_effect(sizes, counts, confidence), _bootstrap(sizes, counts, rng, confidence))
    method = f"cluster bootstrap and design effect over {groups} clusters (homogeneity p = {p:.3f})"
    return min(end[0] for end in ends), max(end[1] for end in ends), method


def homogeneity_p(sizes: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], *, rng: np.random.Generator) -> float:
    """Return the Monte Carlo p of equal success rates, exact given the margins.

    Args:
        sizes: (clusters,), trials.
        counts: (clusters,), hits.
        rng: Draws `DRAWS` tables from the multivariate hypergeometric distribution.

    Returns:
        (1 + tables at least as uneven) / (1 + tables), in (0, 1]; 1 where there are no hits or only hits.
    """
    k, n = int(counts.sum()), int(sizes.sum())
    if k in (0, n):
        return 1.0
    # The margins fix every other factor of the chi-square statistic.
    tables = rng.multivariate_hypergeometric(sizes, k, size=DRAWS, method="marginals")  # (draws, clusters)
    uneven = (tables**2 / sizes).sum(axis=1) >= (counts**2 / sizes).sum() * (1 - 1e-12)
    return float((1 + uneven.sum()) / (1 + DRAWS))


def _design_effect(
    sizes: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], confidence: float
) -> tuple[float, float]:
    """Return Clopper-Pearson at the effective sample size that the spread between clusters leaves."""
    k, n, groups = int(counts.sum()), int(sizes.sum()), len(sizes)
    rate = k / n
    variance = groups / (groups - 1) * ((counts - rate * sizes) ** 2).sum() / n**2
    effective = n if variance == 0 else min(float(n), rate * (1 - rate) / variance)
    tail = (1 + confidence) / 2
    effective *= (stats.t.ppf(tail, n - 1) / stats.t.ppf(tail, groups - 1)) ** 2
    return clopper_pearson(rate * effective, effective, confidence=confidence)


def _bootstrap(
    sizes: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], rng: np.random.Generator, confidence: float
) -> tuple[float, float]:
    """Return the percentile interval over resampled clusters."""
    weights = cluster_weights(len(sizes), rng=rng)
    low, high = np.quantile((weights @ counts) / (weights @ sizes), ((1 - confidence) / 2, (1 + confidence) / 2))
    return float(low), float(high)


def cluster_weights(clusters: int, *, rng: np.random.Generator, draws: int = DRAWS) -> npt.NDArray[np.int64]:
    """Return how often each cluster stands in each bootstrap resample: (draws, clusters), rows sum to `clusters`."""
    return rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=draws)
