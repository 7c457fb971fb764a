from itertools import pairwise

import numpy as np
import pytest
from scipy import stats
from scipy.stats import binomtest

from qfl_sec.intervals import clopper_pearson, clustered_rate, homogeneity_p, independent_rate


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 100), (100, 100), (1, 100), (37, 100), (999, 1000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_clopper_pearson_equals_the_inverted_binomial_test(k: int, n: int, confidence: float) -> None:
    exact = binomtest(k, n).proportion_ci(confidence_level=confidence, method="exact")
    assert clopper_pearson(k, n, confidence=confidence) == pytest.approx((exact.low, exact.high), rel=1e-9, abs=1e-12)


def test_clopper_pearson_ends_at_the_edges() -> None:
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    low, high = clopper_pearson(0, 100)
    assert low == 0.0
    assert high == pytest.approx(1 - 0.025**0.01, rel=1e-12)
    low, high = clopper_pearson(100, 100)
    assert high == 1.0
    assert low == pytest.approx(0.025**0.01, rel=1e-12)


def test_clopper_pearson_covers_at_every_rate() -> None:
    n = 30
    ends = np.array([clopper_pearson(k, n) for k in range(n + 1)])
    for rate in np.linspace(0.001, 0.999, 333):
        inside = (ends[:, 0] <= rate) & (rate <= ends[:, 1])
        assert stats.binom.pmf(np.arange(n + 1), n, rate)[inside].sum() >= 0.95


@pytest.mark.parametrize(("k", "n", "confidence"), [(-1, 3, 0.95), (4, 3, 0.95), (np.nan, 3, 0.95), (1, 3, 1.0)])
def test_impossible_counts_are_refused(k: float, n: float, confidence: float) -> None:
    with pytest.raises(ValueError, match="Expected 0 <"):
        clopper_pearson(k, n, confidence=confidence)


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_no_trial_is_no_knowledge() -> None:
    rate = clustered_rate(np.zeros(0, bool), np.zeros(0, int), rng=rng())
    assert (rate.k, rate.n, rate.low, rate.high, rate.clusters) == (0, 0, 0.0, 1.0, 0)


def test_trials_of_their_own_are_independent() -> None:
    hits = rng().random(50) < 0.3
    assert clustered_rate(hits, np.arange(50), rng=rng()) == independent_rate(int(hits.sum()), 50)


def test_equal_clusters_are_pooled_and_say_so() -> None:
    hits, clusters = np.tile([True, False, False, True], 20), np.repeat(np.arange(8), 10)
    rate = clustered_rate(hits, clusters, rng=rng())
    assert (rate.low, rate.high) == clopper_pearson(40, 80)
    assert rate.clusters == 8
    assert "pooled over 8 homogeneous clusters (p = " in rate.method


def test_uneven_clusters_widen_the_interval() -> None:
    hits, clusters = np.repeat([True, False], 40), np.repeat(np.arange(8), 10)
    rate = clustered_rate(hits, clusters, rng=rng())
    low, high = clopper_pearson(40, 80)
    assert rate.low < low - 0.1
    assert rate.high > high + 0.1
    assert "homogeneity p = 0.000" in rate.method


@pytest.mark.parametrize("value", [False, True])
@pytest.mark.parametrize("clusters", [1, 2, 8])
def test_all_or_none_is_wider_than_independent_trials(value: bool, clusters: int) -> None:
    n = 80
    rate = clustered_rate(np.full(n, value), np.arange(n) % clusters, rng=rng())
    effective = n / (1 + (n / clusters - 1) * 0.05)
    assert (rate.low, rate.high) == pytest.approx(clopper_pearson(effective * value, effective), abs=1e-12)
    assert rate.high - rate.low > 1.4 * (1 - 0.025 ** (1 / n))
    assert "correlation 0.05 assumed" in rate.method
    assert (rate.low == 0.0) != value
    assert (rate.high == 1.0) == value


def test_names_of_clusters_do_not_matter() -> None:
    hits, clusters = rng().random(60) < 0.4, np.repeat(np.arange(6), 10)
    assert clustered_rate(hits, clusters, rng=rng()) == clustered_rate(hits, 10 + 3 * clusters, rng=rng())


def test_never_narrower_than_clopper_pearson() -> None:
    generator = rng()
    for _ in range(200):
        groups, size = generator.integers(1, 12), generator.integers(1, 9)
        hits = generator.random(groups * size) < generator.beta(0.5, 0.5, groups).repeat(size)
        rate = clustered_rate(hits, np.repeat(np.arange(groups), size), rng=generator)
        low, high = clopper_pearson(rate.k, rate.n)
        assert rate.low <= low + 1e-12
        assert rate.high >= high - 1e-12
        assert 0 <= rate.low < rate.high <= 1


def test_homogeneity_p_is_exact_in_a_two_by_two_table() -> None:
    sizes, counts = np.array([12, 12]), np.array([9, 3])
    exact = stats.fisher_exact([[9, 3], [3, 9]]).pvalue
    assert homogeneity_p(sizes, counts, rng=rng()) == pytest.approx(exact, abs=4 * np.sqrt(exact / 2000))


def test_homogeneity_p_is_valid_under_homogeneity() -> None:
    generator = rng()
    sizes = np.array([5, 10, 20, 25])
    below = sum(homogeneity_p(sizes, generator.binomial(sizes, 0.3), rng=generator) <= 0.1 for _ in range(400))
    assert stats.binom.cdf(below - 1, 400, 0.1) < 0.999


@pytest.mark.parametrize(("groups", "floor"), [(5, 0.88), (8, 0.90)])
@pytest.mark.parametrize("correlation", [0.0, 0.05, 0.1])
@pytest.mark.parametrize("mean", [0.1, 0.5])
def test_coverage_on_beta_binomial_clusters(groups: int, floor: float, correlation: float, mean: float) -> None:
    """Floors are those of few clusters; at 200 runs a coverage of 0.95 has a standard error of 0.015."""
    generator = np.random.default_rng([groups, int(100 * correlation), int(10 * mean)])
    size, runs, covered, plain = 25, 200, 0, 0
    for _ in range(runs):
        scale = 1 / correlation - 1 if correlation else 0.0
        rates = generator.beta(mean * scale, (1 - mean) * scale, groups) if correlation else np.full(groups, mean)
        hits = generator.random(groups * size) < rates.repeat(size)
        rate = clustered_rate(hits, np.repeat(np.arange(groups), size), rng=generator)
        covered += rate.low <= mean <= rate.high
        low, high = clopper_pearson(rate.k, rate.n)
        plain += low <= mean <= high
    assert covered / runs >= floor
    assert covered >= plain
    if correlation == 0.1:
        assert plain / runs < 0.85


def test_ends_rise_with_hits_among_independent_trials() -> None:
    ends = [independent_rate(k, 20) for k in range(21)]
    assert all(a.low <= b.low and a.high <= b.high for a, b in pairwise(ends))


@pytest.mark.parametrize(
    ("hits", "clusters"),
    [(np.zeros(3), np.zeros(4)), (np.zeros((2, 2)), np.zeros((2, 2))), (np.full(3, 0.5), np.zeros(3))],
)
def test_malformed_trials_are_refused(hits: np.ndarray, clusters: np.ndarray) -> None:
    with pytest.raises(ValueError, match="Expected hits"):
        clustered_rate(hits, clusters, rng=rng())
