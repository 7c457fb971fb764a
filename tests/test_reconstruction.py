from itertools import permutations, product
from statistics import fmean

import numpy as np
import pytest

from qfl_sec.boxes import largest_box
from qfl_sec.intervals import clopper_pearson
from qfl_sec.reconstruction import (
    assign,
    best_fixed_guesses,
    best_guess_probability,
    guess_hits,
    pooled,
    prior_mean_mse,
    random_guesses,
    score,
    skill,
)

ONE = np.ones(2)


def brute_force(guesses: np.ndarray, truth: np.ndarray, ranges: np.ndarray, tolerance: float) -> tuple[int, float]:
    """Return the most hits over all assignments, and the least error among those."""
    best = (-1, -np.inf)
    size = max(len(guesses), len(truth))
    for order in permutations(range(size)):
        pairs = [(row, order[row]) for row in range(len(truth)) if order[row] < len(guesses)]
        errors = [(guesses[g] - truth[t]) / ranges for t, g in pairs]
        hits = sum(bool((np.abs(error) <= tolerance).all()) for error in errors)
        best = max(best, (hits, -sum(float((error**2).sum()) for error in errors)))
    return best[0], -best[1]


@pytest.mark.parametrize(("guesses", "records"), [(4, 4), (2, 5), (5, 2), (1, 1), (6, 6)])
def test_assignment_equals_brute_force(guesses: int, records: int) -> None:
    rng = np.random.default_rng(guesses * 10 + records)
    for _ in range(20):
        ranges = rng.uniform(0.5, 3, 2)
        made, truth = rng.normal(size=(guesses, 2)), rng.normal(size=(records, 2))
        found = score(made, truth, ranges=ranges, tolerance=0.3)
        hits, error = brute_force(made, truth, ranges, 0.3)
        assert int(found.hits.sum()) == hits
        assert float(np.nansum(found.errors**2)) == pytest.approx(error)
        assert int(found.matched.sum()) == min(guesses, records)


def test_hits_come_before_error() -> None:
    truth = np.array([[0.0, 0.0], [1.0, 0.0]])
    made = np.array([[0.9, 0.0], [0.04, 0.0]])
    # Least error pairs (0.04, 0) and (0.9, 1) either way; move the second so that hits and error disagree.
    assert assign(made, truth, ranges=ONE, tolerance=0.05).tolist() == [1, 0]
    made = np.array([[0.04, 0.0], [0.0, 20.0]])
    truth = np.array([[0.0, 0.0], [0.3, 0.0]])
    assert assign(made, truth, ranges=ONE, tolerance=0.05).tolist() == [0, 1]
    made, truth = np.array([[0.05], [-10.0]]), np.array([[0.0], [10.0]])
    # Least squared error would give 0.05 to 10 and -10 to 0: 199 against 400, and miss.
    assert assign(made, truth, ranges=np.ones(1), tolerance=0.05).tolist() == [0, 1]


def test_permuted_truth_is_rebuilt_exactly() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(8, 4))
    found = score(truth[rng.permutation(8)] + 1e-9, truth, ranges=np.ones(4), tolerance=0.05)
    assert found.exact.all()
    assert found.hits.all()
    assert found.rmse() == pytest.approx(np.full(8, 1e-9), rel=1e-3)


@pytest.mark.parametrize(("error", "hit"), [(0.05, True), (-0.05, True), (0.0501, False)])
def test_a_guess_at_the_tolerance_is_a_hit(error: float, hit: bool) -> None:
    found = score(np.array([[0.5 + error, 7.0]]), np.array([[0.5, 7.0]]), ranges=ONE, tolerance=0.05)
    assert bool(found.hits[0]) is hit
    assert found.feature_hits.tolist() == [[hit, True]]


@pytest.mark.parametrize(("error", "exact"), [(0.9e-6, True), (1.1e-6, False)])
def test_exact_means_a_millionth_of_the_range(error: float, exact: bool) -> None:
    found = score(np.array([[10 * error]]), np.array([[0.0]]), ranges=np.array([10.0]), tolerance=0.05)
    assert bool(found.exact[0]) is exact


def test_records_without_a_guess_are_misses() -> None:
    truth = np.zeros((3, 2))
    found = score(np.zeros((1, 2)), truth, ranges=ONE, tolerance=0.05)
    assert int(found.hits.sum()) == int(found.exact.sum()) == int(found.matched.sum()) == 1
    nothing = score(np.zeros((0, 2)), truth, ranges=ONE, tolerance=0.05)
    assert not nothing.hits.any()
    assert nothing.mse() is None
    broken = score(np.array([[np.nan, 0.0], [np.inf, 0.0], [0.0, 0.0]]), truth, ranges=ONE, tolerance=0.05)
    assert int(broken.hits.sum()) == 1
    assert score(np.zeros((2, 2)), np.zeros((0, 2)), ranges=ONE, tolerance=0.05).hits.shape == (0,)


def test_errors_are_measured_in_ranges() -> None:
    found = score(np.array([[2.0, 30.0]]), np.array([[0.0, 0.0]]), ranges=np.array([4.0, 100.0]), tolerance=0.4)
    assert found.errors.tolist() == [[0.5, 0.3]]
    assert found.feature_hits.tolist() == [[False, True]]
    assert found.mse() == pytest.approx((0.25 + 0.09) / 2)


def test_pooling_keeps_every_record() -> None:
    parts = [score(np.zeros((g, 2)), np.zeros((r, 2)), ranges=ONE, tolerance=0.1) for g, r in ((1, 3), (4, 4))]
    together = pooled(parts)
    assert (len(together.hits), int(together.hits.sum())) == (7, 5)
    with pytest.raises(ValueError, match="at least one target"):
        pooled([])


def test_skill() -> None:
    assert skill(0.0, 2.0) == 1.0
    assert skill(2.0, 2.0) == 0.0
    assert skill(4.0, 2.0) == -1.0
    assert skill(None, 2.0) is skill(1.0, None) is skill(1.0, 0.0) is None


def test_prior_mean_has_the_variance_as_error() -> None:
    records = np.random.default_rng(0).normal(size=(50, 3)) * [1, 5, 10]
    ranges = np.array([1.0, 5.0, 10.0])
    assert prior_mean_mse(records, records, ranges=ranges) == pytest.approx((records / ranges).var(axis=0).mean())


def test_random_guesses_have_the_right_class() -> None:
    reference = np.arange(20.0)[:, None]
    labels = np.arange(20) % 2
    drawn = random_guesses([0, 1, 1, 7], reference, labels, rng=np.random.default_rng(0))[:, 0]
    assert (drawn[:3] % 2).tolist() == [0, 1, 1]
    assert drawn[3] in reference


def test_random_guesses_have_no_skill_against_themselves() -> None:
    """A signal-free attack: its skill against the assigned baseline is 0, against an unassigned one it would be > 0."""
    rng = np.random.default_rng(1)
    pool = rng.normal(size=(500, 2))
    labels = np.zeros(500, int)
    ours: list[float] = []
    theirs: list[float] = []
    unassigned: list[float] = []
    for _ in range(300):
        truth = pool[rng.integers(500, size=8)]
        for into in (ours, theirs):
            guesses = random_guesses(np.zeros(8), pool, labels, rng=rng)
            into.append(score(guesses, truth, ranges=ONE, tolerance=0.05).mse() or 0.0)
        unassigned.append(float(((guesses - truth) ** 2).mean()))
    assert skill(fmean(ours), fmean(theirs)) == pytest.approx(0.0, abs=0.1)
    assert (skill(fmean(ours), fmean(unassigned)) or 0) > 0.3


def largest_by_brute_force(points: np.ndarray, width: float) -> int:
    corners = product(*(np.unique(points[:, feature]) for feature in range(points.shape[1])))
    boxes = (((points >= corner) & (points <= np.array(corner) + width)).all(axis=1).sum() for corner in corners)
    return int(max(boxes))


@pytest.mark.parametrize("features", [1, 2, 3])
def test_largest_box_equals_brute_force(features: int) -> None:
    rng = np.random.default_rng(features)
    for _ in range(15):
        points, width = rng.normal(size=(14, features)), rng.uniform(0.2, 1.5)
        box = largest_box(points, width=width)
        assert len(box.members) == box.bound == largest_by_brute_force(points, width)
        assert np.ptp(points[box.members], axis=0).max() <= width


def test_a_stopped_search_still_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).normal(size=(60, 3))
    exact = largest_box(points, width=1.0)
    monkeypatch.setattr("qfl_sec.boxes._STEPS", 3)
    stopped = largest_box(points, width=1.0)
    assert len(stopped.members) <= exact.bound < stopped.bound


def test_fixed_guesses_hit_what_they_cover() -> None:
    rng = np.random.default_rng(0)
    reference = np.concatenate([rng.normal(0, 0.01, (30, 2)), rng.normal(1, 0.01, (20, 2)), rng.uniform(2, 9, (10, 2))])
    made = best_fixed_guesses(reference, guesses=2, tolerance=0.05, ranges=ONE)
    assert made == pytest.approx(np.array([[0, 0], [1, 1]]), abs=0.05)
    found = best_guess_probability(reference, guesses=2, tolerance=0.05, ranges=ONE)
    alone = [bool(guess_hits(made, record[None], ranges=ONE, tolerance=0.05)[0]) for record in reference]
    assert sum(alone) == found.covered == 50
    assert found.covered <= found.bound <= 60
    assert found.upper == clopper_pearson(found.bound, 60)[1]


def test_more_guesses_than_records_start_again() -> None:
    made = best_fixed_guesses(np.array([[0.0], [5.0]]), guesses=5, tolerance=0.05, ranges=np.ones(1))
    assert sorted(made[:2, 0].tolist()) == [0.0, 5.0]
    assert np.array_equal(made[2:4], made[:2])
    assert best_guess_probability(np.array([[0.0], [5.0]]), guesses=5, tolerance=0.05, ranges=np.ones(1)).bound == 2


def test_bound_holds_for_the_best_list_by_brute_force() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        points = np.sort(rng.normal(size=(10, 1)), axis=0)
        found = best_guess_probability(points, guesses=2, tolerance=0.2, ranges=np.ones(1))
        lists = product(points[:, 0], repeat=2)
        best = max(
            int(np.any([(points[:, 0] >= at) & (points[:, 0] <= at + 0.4) for at in pair], axis=0).sum())
            for pair in lists
        )
        assert found.covered <= best <= found.bound
        assert found.covered >= (1 - 1 / np.e) * best


def test_upper_limit_covers_the_best_probability() -> None:
    """Uniform records on [0, 1]: one guess of half-width 0.05 hits with probability 0.1 at best."""
    misses = sum(
        best_guess_probability(
            np.random.default_rng(seed).random((60, 1)), guesses=1, tolerance=0.05, ranges=np.ones(1)
        ).upper
        < 0.1
        for seed in range(200)
    )
    assert misses <= 5


def test_known_labels_raise_the_bound() -> None:
    points = np.concatenate([np.zeros((10, 1)), np.ones((10, 1))])
    labels = np.repeat([0, 1], 10)
    blind = best_guess_probability(points, guesses=1, tolerance=0.05, ranges=np.ones(1))
    told = best_guess_probability(points, guesses=1, tolerance=0.05, ranges=np.ones(1), labels=labels)
    assert (blind.bound, told.bound) == (10, 20)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ranges": [0.0, 1.0]}, "ranges"),
        ({"ranges": [np.nan, 1.0]}, "ranges"),
        ({"tolerance": 0.0}, "tolerance=0"),
        ({"tolerance": np.nan}, "tolerance=nan"),
        ({"truth": [[np.nan, 0.0]]}, "finite"),
        ({"truth": [[0.0]]}, "records of shape"),
        ({"guesses": [[0.0]]}, "guesses of shape"),
    ],
)
def test_malformed_records_are_refused(change: dict[str, object], words: str) -> None:
    arguments = {"guesses": [[0.0, 0.0]], "truth": [[0.0, 0.0]], "ranges": [1.0, 1.0], "tolerance": 0.05} | change
    with pytest.raises(ValueError, match=words):
        score(**arguments)  # type: ignore[arg-type]
