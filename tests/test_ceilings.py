import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from qfl_sec.accounting import Releases, privacy_curve
from qfl_sec.ceilings import (
    advantage_ceiling,
    analytic_gaussian_sigma,
    gdp_auc_ceiling,
    gdp_delta,
    gdp_epsilon,
    gdp_membership_ceiling,
    gdp_reconstruction_ceiling,
    membership_ceiling,
    reconstruction_ceiling,
)

RATES = [0.0, 1e-4, 0.01, 0.1, 0.3, 0.5, 0.9, 1.0]


def test_published_values() -> None:
    assert gdp_epsilon(1.0, 1e-5) == pytest.approx(4.3772, abs=5e-5)
    assert gdp_membership_ceiling(1.0, 0.01) == pytest.approx(0.0924, abs=5e-5)
    assert gdp_membership_ceiling(2.0, 0.01) == pytest.approx(0.372, abs=5e-4)
    assert gdp_auc_ceiling(1.0) == pytest.approx(0.7602, abs=5e-5)
    assert analytic_gaussian_sigma(1.0, 1e-5) == pytest.approx(3.7306, abs=5e-5)


@pytest.mark.parametrize("mu", [0.1, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0, 4.0])
def test_gdp_delta_equals_quadrature(mu: float, epsilon: float) -> None:
    cut = epsilon / mu + mu / 2
    exact, _ = quad(lambda x: norm.pdf(x, mu) - math.exp(epsilon) * norm.pdf(x), cut, cut + 40, epsabs=1e-13)
    assert gdp_delta(epsilon, mu) == pytest.approx(exact, rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("mu", [1e-6, 0.01, 1.0, 10.0, 60.0])
@pytest.mark.parametrize("delta", [1e-9, 1e-5, 0.1])
def test_gdp_epsilon_inverts_delta(mu: float, delta: float) -> None:
    epsilon = gdp_epsilon(mu, delta)
    if epsilon == 0.0:
        assert gdp_delta(0.0, mu) <= delta
    else:
        assert gdp_delta(epsilon, mu) == pytest.approx(delta, rel=1e-6)


@pytest.mark.parametrize("mu", [0.0, 0.5, 2.0])
def test_gdp_area_is_the_integral_of_its_curve(mu: float) -> None:
    area, _ = quad(lambda fpr: gdp_membership_ceiling(mu, fpr), 0, 1, limit=200)
    assert gdp_auc_ceiling(mu) == pytest.approx(area, abs=1e-6)


def test_edges_of_gdp() -> None:
    assert gdp_delta(1.0, 0.0) == gdp_epsilon(0.0, 1e-5) == 0.0
    assert gdp_membership_ceiling(0.0, 0.3) == pytest.approx(0.3)
    assert gdp_membership_ceiling(5.0, 0.0) == 0.0
    assert gdp_membership_ceiling(5.0, 1.0) == 1.0
    assert gdp_reconstruction_ceiling(1.0, 0.01) == gdp_membership_ceiling(1.0, 0.01)
    assert 0 <= gdp_delta(1e4, 50.0) <= 1


@pytest.mark.parametrize("epsilon", [0.01, 0.5, 1.0, 8.5, 20.0, 100.0])
@pytest.mark.parametrize("delta", [1e-10, 1e-5, 0.1])
def test_analytic_sigma_is_exact(epsilon: float, delta: float) -> None:
    sigma = analytic_gaussian_sigma(epsilon, delta, sensitivity=2.0)
    assert gdp_delta(epsilon, 2.0 / sigma) == pytest.approx(delta, rel=1e-6)
    classical = 2.0 * math.sqrt(2 * math.log(1.25 / delta)) / epsilon
    if epsilon < 1:
        assert sigma < classical
    if epsilon == 100.0 and delta < 0.1:
        assert sigma > classical


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.5])
def test_curve_of_one_full_batch_release_gives_the_closed_form(mu: float) -> None:
    curve = privacy_curve(Releases(noise_multiplier=1 / mu, sample_rate=1.0, sampled=1))
    for rate in RATES:
        exact, found = gdp_membership_ceiling(mu, rate), membership_ceiling(curve, rate)
        assert exact - 1e-9 <= found <= exact * 1.01 + 2e-9
        assert reconstruction_ceiling(curve, rate) == found


@pytest.mark.parametrize(("rate", "z"), [(0.28, 1.0), (0.1, 0.5), (0.6, 2.0)])
def test_no_attack_on_a_subsampled_release_exceeds_its_ceiling(rate: float, z: float) -> None:
    """The likelihood ratio rises with the release, so thresholds on it are the best attacks there are."""
    curve = privacy_curve(Releases(noise_multiplier=z, sample_rate=rate, sampled=1))
    for fpr in RATES:
        cut = norm.isf(fpr)
        best = (1 - rate) * fpr + rate * norm.sf(cut - 1 / z)
        found = membership_ceiling(curve, fpr)
        assert best - 1e-9 <= found
        if 0.01 <= fpr <= 0.1:
            assert found <= 1.03 * best


def test_a_record_known_to_be_in_the_batch_needs_its_own_curve() -> None:
    """Amplification must not be counted: the true success lies above the subsampled curve and below the other."""
    z, rate, fpr = 1.0, 0.1, 0.01
    hidden = Releases(noise_multiplier=z, sample_rate=rate, sampled=5)
    success = gdp_membership_ceiling(1 / z, fpr)
    assert reconstruction_ceiling(privacy_curve(hidden), fpr) < success
    assert reconstruction_ceiling(privacy_curve(hidden.known_in(1)), fpr) >= success


@pytest.mark.parametrize("fpr", RATES)
def test_ceiling_of_a_single_pair(fpr: float) -> None:
    epsilon, delta = 1.0, 0.01
    expected = min(math.e * fpr + delta, 1 - (1 - delta - fpr) / math.e, 1.0)
    assert membership_ceiling(((epsilon, delta),), fpr) == pytest.approx(max(expected, fpr))


def test_edges_of_the_ceiling() -> None:
    assert membership_ceiling(((0.0, 0.0),), 0.3) == pytest.approx(0.3)
    assert membership_ceiling(((0.0, 0.2),), 0.3) == pytest.approx(0.5)
    assert membership_ceiling(((5.0, 0.0),), 0.0) == 0.0
    assert membership_ceiling(((5.0, 0.1),), 1.0) == 1.0
    assert membership_ceiling(((1e6, 0.0),), 1e-3) == 1.0
    assert membership_ceiling((), 0.3) == 1.0


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 0.0), (1.0, 0.0), (1.0, 1e-3), (3.0, 0.1), (1000.0, 0.0)])
def test_advantage_is_the_largest_gap_of_the_trade_off(epsilon: float, delta: float) -> None:
    gaps = [membership_ceiling(((epsilon, delta),), fpr) - fpr for fpr in np.linspace(0, 1, 20001)]
    assert advantage_ceiling(epsilon, delta) == pytest.approx(max(gaps), abs=2e-3)
    if epsilon < 100:
        closed = (math.exp(epsilon) - 1 + 2 * delta) / (math.exp(epsilon) + 1)
        assert advantage_ceiling(epsilon, delta) == pytest.approx(closed, rel=1e-12)


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
def test_impossible_arguments_are_refused(bad: float) -> None:
    calls: tuple[Callable[[], float], ...] = (
        lambda: membership_ceiling(((1.0, 0.0),), bad),
        lambda: reconstruction_ceiling(((1.0, 0.0),), bad),
        lambda: membership_ceiling(((1.0, bad),), 0.1),
        lambda: gdp_membership_ceiling(1.0, bad),
        lambda: gdp_reconstruction_ceiling(1.0, bad),
        lambda: advantage_ceiling(1.0, bad),
        lambda: gdp_epsilon(1.0, bad),
        lambda: analytic_gaussian_sigma(1.0, bad),
    )
    for call in calls:
        with pytest.raises(ValueError, match="Expected"):
            call()


def test_impossible_budgets_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected mu=-1"):
        gdp_delta(1.0, -1.0)
    with pytest.raises(ValueError, match="Expected mu=nan"):
        gdp_auc_ceiling(math.nan)
    with pytest.raises(ValueError, match="Expected epsilon=0"):
        analytic_gaussian_sigma(0, 0.1)
