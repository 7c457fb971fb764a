import math
from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from qfl_sec.accounting import (
    Adjacency,
    Releases,
    calibrate_noise_multiplier,
    epsilon_pld,
    epsilon_rdp,
    grid_for,
    privacy_curve,
)
from qfl_sec.ceilings import gdp_delta, gdp_epsilon

DELTA = 1e-5
COARSE = 1e-3


def releases(
    sample_rate: float = 0.1, z: float = 1.0, sampled: int = 100, known: int = 0, adjacency: Adjacency = "add-remove"
) -> Releases:
    return Releases(noise_multiplier=z, sample_rate=sample_rate, sampled=sampled, known=known, adjacency=adjacency)


def test_published_budgets() -> None:
    assert epsilon_pld(releases(), DELTA) == pytest.approx(7.047, abs=5e-4)
    assert epsilon_rdp(releases(), DELTA) == pytest.approx(7.904, abs=5e-4)
    assert epsilon_pld(releases(adjacency="replace-one"), DELTA) == pytest.approx(10.516, abs=5e-4)


@pytest.mark.parametrize(("z", "steps"), [(1.0, 1), (2.0, 12), (5.0, 1), (0.5, 2)])
@pytest.mark.parametrize(("adjacency", "factor"), [("add-remove", 1), ("replace-one", 2)])
def test_releases_without_sampling_are_gaussian_dp(z: float, steps: int, adjacency: Adjacency, factor: int) -> None:
    mu = factor * math.sqrt(steps) / z
    for one in (releases(1.0, z, steps, adjacency=adjacency), releases(0.3, z, 0, steps, adjacency)):
        assert epsilon_pld(one, DELTA, grid=COARSE) == pytest.approx(gdp_epsilon(mu, DELTA), rel=1e-4)
        for epsilon, delta in privacy_curve(one, points=20):
            assert delta == pytest.approx(gdp_delta(epsilon, mu), rel=0.01, abs=1e-8)


def hockey_sticks(upper: Any, lower: Any, cell: float, epsilons: list[float]) -> list[float]:
    """Integrate the positive part of density differences, the worse direction."""
    return [
        max(np.maximum(a - math.exp(eps) * b, 0).sum() * cell for a, b in ((upper, lower), (lower, upper)))
        for eps in epsilons
    ]


@pytest.mark.parametrize(("rate", "z"), [(0.1, 1.0), (0.28, 2.0), (0.02, 0.6), (0.9, 1.5)])
def test_one_subsampled_release_equals_quadrature(rate: float, z: float) -> None:
    x = np.arange(-12 * z, 12 * z + 1, z * 1e-4)
    without, with_it = norm.pdf(x, 0, z), (1 - rate) * norm.pdf(x, 0, z) + rate * norm.pdf(x, 1, z)
    curve = privacy_curve(releases(rate, z, 1), grid=COARSE, points=12)
    expected = hockey_sticks(with_it, without, z * 1e-4, [epsilon for epsilon, _ in curve])
    assert [delta for _, delta in curve] == pytest.approx(expected, rel=2e-3, abs=1e-7)


def test_a_replaced_record_equals_quadrature() -> None:
    rate, z = 0.2, 1.0
    x = np.arange(-13, 13, 1e-4)
    base = (1 - rate) * norm.pdf(x, 0, z)
    up, down = base + rate * norm.pdf(x, 1, z), base + rate * norm.pdf(x, -1, z)
    curve = privacy_curve(releases(rate, z, 1, adjacency="replace-one"), grid=COARSE, points=12)
    expected = hockey_sticks(up, down, 1e-4, [epsilon for epsilon, _ in curve])
    assert [delta for _, delta in curve] == pytest.approx(expected, rel=2e-3, abs=1e-7)


def test_a_known_batch_composes_as_a_plain_gaussian_by_quadrature() -> None:
    """One subsampled release and one whose batch is known to hold the record, in two dimensions."""
    rate, z, step = 0.25, 1.2, 0.01
    x = np.arange(-9, 10, step)
    zero, one = norm.pdf(x, 0, z), norm.pdf(x, 1, z)
    upper = np.outer((1 - rate) * zero + rate * one, one)
    lower = np.outer(zero, zero)
    curve = privacy_curve(releases(rate, z, 1, 1), grid=COARSE, points=10)
    expected = hockey_sticks(upper, lower, step**2, [epsilon for epsilon, _ in curve])
    assert [delta for _, delta in curve] == pytest.approx(expected, rel=5e-3, abs=1e-6)


def test_known_batches_are_not_amplified() -> None:
    hidden = releases(0.2, 2.0, 12)
    budgets = [epsilon_pld(hidden.known_in(count), DELTA, grid=COARSE) for count in range(0, 13, 3)]
    assert budgets == sorted(budgets)
    assert budgets[1] > 1.2 * budgets[0]
    assert budgets[-1] == pytest.approx(gdp_epsilon(math.sqrt(12) / 2, DELTA), rel=1e-4)
    with pytest.raises(ValueError, match="sampled=-1"):
        hidden.known_in(13)


GRID = list(product((0.01, 0.2, 1.0), (0.6, 1.0, 5.0), (1, 60)))


@pytest.mark.parametrize("adjacency", ["add-remove", "replace-one"])
def test_renyi_never_beats_the_loss_distribution(adjacency: Adjacency) -> None:
    for rate, z, steps in GRID:
        one = releases(rate, z, steps, adjacency=adjacency)
        assert epsilon_pld(one, DELTA, grid=grid_for(one)) <= epsilon_rdp(one, DELTA) * (1 + 2e-3), one


@pytest.mark.parametrize("delta", [1e-5, 1e-3])
def test_the_coarse_grid_overstates_by_less_than_half_a_percent(delta: float) -> None:
    for rate, z, steps in [(0.28, 1.7, 12), (0.05, 10.0, 10), (0.01, 3.0, 200), (0.5, 10.0, 1)]:
        one = releases(rate, z, steps)
        fine, coarse = epsilon_pld(one, delta, grid=1e-4), epsilon_pld(one, delta, grid=grid_for(one))
        assert fine - 1e-9 <= coarse <= fine * 1.005 + 1e-9, one


@pytest.mark.parametrize("one", [releases(), releases(0.28, 1.7, 12), releases(1.0, 3.0, 4), releases(0.1, 2.0, 8, 2)])
def test_the_curve_falls_from_zero_to_nothing(one: Releases) -> None:
    curve = privacy_curve(one)
    epsilons, deltas = zip(*curve, strict=True)
    assert len(curve) >= 150
    assert epsilons[0] == 0.0
    assert deltas[-1] < 1e-9
    assert all(a < b for a, b in pairwise(epsilons))
    assert all(a >= b for a, b in pairwise(deltas))
    budget = epsilon_pld(one, 1e-3, grid=grid_for(one))
    # Above a budget at 1e-3, delta is at most 1e-3; below it, at least.
    assert all((delta <= 1e-3 * (1 + 1e-6)) == (epsilon >= budget * (1 - 1e-6)) for epsilon, delta in curve)


@pytest.mark.parametrize("target", [0.1, 1.0, 4.0, 16.0])
@pytest.mark.parametrize("sample_rate", [0.02, 0.28, 1.0])
def test_calibration_never_exceeds_the_budget_and_is_tight(target: float, sample_rate: float) -> None:
    one = releases(sample_rate, sampled=10)
    z = calibrate_noise_multiplier(target, 1e-3, [one])
    found = replace(one, noise_multiplier=z)
    reached = epsilon_pld(found, 1e-3, grid=grid_for(found))
    assert reached <= target
    assert reached >= 0.998 * target or z == 0.1


def test_the_fine_grid_agrees_that_the_budget_is_kept() -> None:
    one = releases(0.28, sampled=12)
    found = replace(one, noise_multiplier=calibrate_noise_multiplier(2.0, 1e-3, [one]))
    assert 2.0 * 0.995 <= epsilon_pld(found, 1e-3) <= 2.0


def test_calibration_without_sampling_is_the_closed_form() -> None:
    z = calibrate_noise_multiplier(4.3772, DELTA, [releases(1.0, sampled=9)])
    assert z == pytest.approx(3.0, rel=2e-3)


def test_the_worst_client_decides() -> None:
    schedule = [releases(rate, sampled=count) for rate, count in ((0.3, 4), (0.1, 14), (0.3, 9), (0.05, 3))]
    z = calibrate_noise_multiplier(2.0, 1e-3, schedule)
    budgets = [epsilon_pld(replace(one, noise_multiplier=z), 1e-3, grid=COARSE) for one in schedule]
    assert max(budgets) == budgets[2]
    assert 0.997 * 2.0 <= max(budgets) <= 2.0
    assert z == calibrate_noise_multiplier(2.0, 1e-3, [schedule[2]])


def test_more_local_steps_need_more_noise() -> None:
    noise = [calibrate_noise_multiplier(2.0, 1e-3, [releases(0.28, sampled=steps)]) for steps in (5, 15, 40)]
    assert noise == sorted(noise)
    assert noise[-1] > 1.5 * noise[0]


def test_counts_of_numpy_are_as_good() -> None:
    one = releases(0.3, 2.0, 9)
    same = replace(one, sampled=np.int64(9))  # type: ignore[arg-type]
    assert epsilon_pld(same, DELTA, grid=5e-3) == epsilon_pld(one, DELTA, grid=5e-3)


@pytest.mark.parametrize(
    "change",
    [
        {"noise_multiplier": 0.0},
        {"noise_multiplier": float("nan")},
        {"sample_rate": 0.0},
        {"sample_rate": 1.1},
        {"sampled": 0},
        {"sampled": -1},
        {"known": -1},
        {"adjacency": "bounded"},
    ],
)
def test_impossible_releases_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        replace(releases(), **change)


@pytest.mark.parametrize(
    ("epsilon", "delta"), [(0.0, 1e-5), (-1.0, 1e-5), (float("nan"), 1e-5), (1.0, 0.0), (1.0, 1.0)]
)
def test_impossible_budgets_are_refused(epsilon: float, delta: float) -> None:
    with pytest.raises(ValueError, match="Expected"):
        calibrate_noise_multiplier(epsilon, delta, [releases()])


def test_an_empty_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing is released"):
        calibrate_noise_multiplier(1.0, 1e-5, [])
