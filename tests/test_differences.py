"""Paired differences: closed forms, the level under no effect, and the power that pairing is for."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from qfl_sec.differences import paired_difference
from qfl_sec.intervals import clopper_pearson, clustered_rate

Hits = list[NDArray[np.bool_]]


def hits(*counts: tuple[int, int]) -> Hits:
    """Return one array a seed, with so many hits first and misses after."""
    return [np.repeat([True, False], count) for count in counts]


def test_the_difference_is_that_of_the_pooled_rates() -> None:
    found = paired_difference(hits((3, 7), (5, 15)), hits((2, 2), (1, 5)), matched=False)
    assert found.value == pytest.approx(8 / 30 - 3 / 10)
    assert (found.clusters, found.gained, found.lost) == (2, None, None)


def test_partners_are_counted_apart() -> None:
    one, two = [np.array([True, True, False, False])], [np.array([True, False, True, True])]
    found = paired_difference(one, two, matched=True)
    assert (found.gained, found.lost, found.value) == (1, 2, -0.25)
    assert found.low < -0.25 < found.high


def test_zero_is_left_out_only_where_the_exact_test_of_gained_against_lost_rejects() -> None:
    """Every trial is a seed of its own, so that counting them is right."""
    for gained, lost in [(0, 5), (0, 6), (3, 14), (4, 14), (10, 10), (30, 12)]:
        before = np.repeat([False, True, True], (gained, lost, 40))
        after = np.repeat([True, False, True], (gained, lost, 40))
        found = paired_difference(
            [np.array([value]) for value in after], [np.array([value]) for value in before], matched=True
        )
        leaves_out = found.low > 0 or found.high < 0
        assert not leaves_out or stats.binomtest(gained, gained + lost).pvalue <= 0.05
        if found.method.startswith("t over") and gained + lost == 42:
            assert leaves_out


@pytest.mark.parametrize(("seeds", "rank"), [(6, 1), (8, 6)])
def test_uneven_seeds_give_means_of_subsets(seeds: int, rank: int) -> None:
    """Six seeds: from the smallest share to the largest. Eight: five subset means are left out on each side."""
    one = hits(*((20 * seed, 200 - 20 * seed) for seed in range(seeds)))
    two = hits(*((10, 190) for _ in range(seeds)))
    found = paired_difference(one, two, matched=True)
    shares = [(20 * seed - 10) / 200 for seed in range(seeds)]
    means = sorted(
        float(np.mean([share for place, share in enumerate(shares) if subset >> place & 1]))
        for subset in range(1, 2**seeds)
    )
    assert (found.low, found.high) == pytest.approx((means[rank - 1], means[-rank]))
    assert found.method == f"means of subsets over {seeds} clusters, gained and lost trials"


def test_no_difference_anywhere_is_no_certainty() -> None:
    same = hits((50, 50), (40, 60))
    found = paired_difference(same, same, matched=True)
    effective = 200 / (1 + 99 * 0.05)
    assert (found.low, found.high) == pytest.approx(
        (-clopper_pearson(0, effective)[1], clopper_pearson(0, effective)[1])
    )
    assert "spread between 2 clusters not visible" in found.method


@pytest.mark.parametrize(
    ("one", "two", "matched", "message"),
    [
        ([], [], True, "at least one"),
        (hits((1, 1)), hits((1, 1), (1, 1)), False, "same seeds"),
        (hits((1, 1)), hits((1, 2)), True, "as many trials"),
        (hits((0, 0)), hits((0, 0)), True, "at least one trial"),
    ],
)
def test_what_cannot_be_compared_is_refused(one: Hits, two: Hits, matched: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paired_difference(one, two, matched=matched)


def trainings(rng: np.random.Generator, seeds: int, flipped: float, bias: Callable[[], float]) -> tuple[Hits, Hits]:
    """Return two models' hits on 100 test records a seed, which differ in few records; a seed leans to one side."""
    one, two = [], []
    for _ in range(seeds):
        rate = np.clip(0.85 + 0.05 * rng.standard_normal(), 0.05, 0.95)  # the seed's split: common to both
        lean = np.clip(0.5 + bias(), 0, 1)
        before, drawn = rng.random(100) < rate, rng.random(100)
        gains = ~before & (drawn < min(1, flipped * lean / (1 - rate)))
        losses = before & (drawn < flipped * (1 - lean) / rate)
        one.append((before | gains) & ~losses)
        two.append(before)
    return one, two


@pytest.mark.parametrize("seeds", [2, 5, 6, 8, 12, 16])
@pytest.mark.parametrize("common", [0.0, 0.5])
def test_without_an_effect_at_most_one_in_twenty_intervals_leaves_out_zero(seeds: int, common: float) -> None:
    """A seed's records lean to one side together (`common`), so that counting them alone would raise alarms."""
    rng, repetitions, alarms = np.random.default_rng([seeds, int(10 * common)]), 400, 0
    for _ in range(repetitions):
        found = paired_difference(*trainings(rng, seeds, 0.06, lambda: common * rng.standard_normal()), matched=True)
        alarms += not found.low <= 0 <= found.high
    assert alarms / repetitions <= 0.05 + 3 * (0.05 * 0.95 / repetitions) ** 0.5


def test_a_small_effect_shows_in_pairs_and_not_beside_each_other() -> None:
    rng, apart, paired, repetitions = np.random.default_rng(5), 0, 0, 60
    for _ in range(repetitions):
        one, two = trainings(rng, 8, 0.05, lambda: -0.4)
        clusters = np.repeat(np.arange(8), 100)
        with_defense = clustered_rate(np.concatenate(one), clusters, rng=rng)
        without = clustered_rate(np.concatenate(two), clusters, rng=rng)
        apart += with_defense.high < without.low
        paired += paired_difference(one, two, matched=True).high < 0
    assert apart <= 0.1 * repetitions
    assert paired >= 0.9 * repetitions


@pytest.mark.parametrize("seeds", [3, 8])
def test_the_true_difference_is_covered(seeds: int) -> None:
    """Trials without partners: rates of 0.3 and 0.2, each seed's moved by the same amount."""
    rng, repetitions, covered = np.random.default_rng(9), 300, 0
    for _ in range(repetitions):
        moves = 0.08 * rng.standard_normal(seeds)
        one = [rng.random(60) < np.clip(0.3 + move, 0, 1) for move in moves]
        two = [rng.random(80) < np.clip(0.2 + move, 0, 1) for move in moves]
        found = paired_difference(one, two, matched=False)
        covered += found.low <= 0.1 <= found.high
    assert covered / repetitions >= 0.95 - 3 * (0.05 * 0.95 / repetitions) ** 0.5
