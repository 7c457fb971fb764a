import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from qfl_sec.intervals import clopper_pearson
from qfl_sec.membership import auc, auc_interval, fpr_rate, operating_point, roc, tpr_rate


def game(n: int = 400, *, shift: float = 1.0, ties: bool = False, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    members = np.arange(n) % 2 == 0
    scores = rng.normal(size=n) + shift * members
    return (np.round(scores) if ties else scores), members


@pytest.mark.parametrize("ties", [False, True])
def test_roc_equals_scikit_learn(ties: bool) -> None:
    scores, members = game(ties=ties)
    ours = roc(scores, members)
    fpr, tpr, thresholds = roc_curve(members, scores, drop_intermediate=False)
    assert np.allclose(ours.false_positives / ours.non_members, fpr)
    assert np.allclose(ours.true_positives / ours.members, tpr)
    assert np.array_equal(ours.thresholds, thresholds)


@pytest.mark.parametrize("ties", [False, True])
def test_auc_counts_pairs(ties: bool) -> None:
    scores, members = game(120, ties=ties)
    inside, outside = scores[members][:, None], scores[~members][None]
    assert auc(scores, members) == ((inside > outside).mean() + (inside == outside).mean() / 2)
    assert auc(scores, members) == pytest.approx(roc_auc_score(members, scores), abs=1e-12)


def test_auc_by_hand() -> None:
    assert auc([1, 1, 1, 1], [True, False, True, False]) == 0.5
    assert auc([2, 1], [True, False]) == 1.0
    assert auc([1, 2], [True, False]) == 0.0
    assert auc([3, 2, 2, 1], [True, True, False, False]) == 0.875


def test_curve_has_its_end_points_and_joins_ties() -> None:
    curve = roc([5.0, 3.0, 3.0, 1.0], [True, True, False, False])
    assert curve.thresholds.tolist() == [np.inf, 5.0, 3.0, 1.0]
    assert curve.false_positives.tolist() == [0, 0, 1, 2]
    assert curve.true_positives.tolist() == [0, 1, 2, 2]
    flat = roc([7.0, 7.0], [True, False])
    assert (flat.false_positives.tolist(), flat.true_positives.tolist()) == ([0, 1], [0, 1])


def test_infinite_scores_keep_their_order() -> None:
    curve = roc([np.inf, 0.0, -np.inf], [True, False, True])
    assert curve.true_positives.tolist() == [0, 1, 1, 2]
    point = operating_point(curve, 1.0)
    assert point.true_positives == 2
    assert np.isfinite(point.threshold or 0)


@pytest.mark.parametrize("bound", [0.01, 0.05, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("ties", [False, True])
def test_operating_point_is_the_best_admitted_one(bound: float, ties: bool) -> None:
    scores, members = game(600, ties=ties)
    point = operating_point(roc(scores, members), bound)
    found = []
    for threshold in [np.inf, *np.unique(scores)]:
        accused = scores >= threshold
        false, true = int((accused & ~members).sum()), int((accused & members).sum())
        if false / 300 <= bound:
            found.append((true, -false))
    true, false = max(found)
    assert (point.true_positives, point.false_positives) == (true, -false)
    assert (point.members, point.non_members) == (300, 300)
    assert point.false_positive_rate <= bound
    if point.threshold is not None:
        assert int((scores[members] >= point.threshold).sum()) == true


def test_nobody_is_accused_where_every_threshold_accuses_too_many() -> None:
    scores, members = np.ones(400), np.arange(400) % 2 == 0
    point = operating_point(roc(scores, members), 0.01)
    assert (point.threshold, point.false_positives, point.true_positives) == (None, 0, 0)
    rng = np.random.default_rng(0)
    assert tpr_rate(scores, members, np.arange(400), threshold=None, rng=rng).k == 0


@pytest.mark.parametrize(
    ("non_members", "bound", "enough"),
    [(99, 0.01, False), (100, 0.01, True), (9, 0.1, False), (10, 0.1, True), (3, 1 / 3, True), (1, 1.0, True)],
)
def test_too_few_non_members_are_refused(non_members: int, bound: float, enough: bool) -> None:
    members = np.arange(non_members + 5) >= non_members
    curve = roc(np.arange(len(members), dtype=float), members)
    if enough:
        assert operating_point(curve, bound).true_positives == 5
    else:
        with pytest.raises(ValueError, match=f"non_members={non_members} >= {round(1 / bound)}"):
            operating_point(curve, bound)


@pytest.mark.parametrize("bound", [0.0, -0.1, 1.1, float("nan")])
def test_impossible_bounds_are_refused(bound: float) -> None:
    with pytest.raises(ValueError, match="max_false_positive_rate"):
        operating_point(roc(*game()), bound)


@pytest.mark.parametrize(
    ("scores", "members", "words"),
    [
        ([1.0, np.nan], [True, False], "no NaN"),
        ([1.0, 2.0], [True, True], "non-members"),
        ([1.0, 2.0], [False, False], "non-members"),
        ([1.0], [True, False], "one shape"),
        ([1.0, 2.0], [2, 0], "truth values"),
    ],
)
def test_malformed_scores_are_refused(scores: list[float], members: list[bool], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        roc(scores, members)


def test_interval_of_the_area_covers_with_clustered_scores() -> None:
    """Every training shifts all its scores by a common amount, which pooling over trainings has to bear."""
    trainings, each, runs, covered = 20, 30, 60, 0
    # Scores differ by N(1, 2 (1 + 0.5^2)) between trainings, so the pooled area is near Phi(1 / sqrt 2.5).
    large = np.random.default_rng(1)
    pairs = large.normal(size=(2, 400_000)) + 0.5 * large.normal(size=(2, 400_000))
    truth = float((pairs[0] + 1 > pairs[1]).mean())
    for run in range(runs):
        rng = np.random.default_rng(100 + run)
        clusters = np.repeat(np.arange(trainings), each)
        members = np.arange(trainings * each) % 2 == 0
        scores = rng.normal(size=members.size) + members + 0.5 * rng.normal(size=trainings)[clusters]
        low, high = auc_interval(scores, members, clusters, rng=rng)
        covered += low <= truth <= high
    assert covered / runs >= 0.85


def test_interval_of_the_area_matches_delong_for_independent_scores() -> None:
    scores, members = game(1000)
    inside, outside = scores[members], scores[~members]
    wins = (inside[:, None] > outside[None]).astype(float)
    error = np.sqrt(wins.mean(1).var(ddof=1) / 500 + wins.mean(0).var(ddof=1) / 500)
    low, high = auc_interval(scores, members, np.arange(1000), rng=np.random.default_rng(0))
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert low < auc(scores, members) < high


@pytest.mark.parametrize("sign", [1, -1])
def test_a_perfect_area_keeps_an_honest_interval(sign: int) -> None:
    members = np.arange(40) % 2 == 0
    low, high = auc_interval(sign * members.astype(float), members, np.arange(40) // 10, rng=np.random.default_rng(0))
    assert (low, high) == clopper_pearson(20 if sign == 1 else 0, 20)


def test_one_training_gives_no_spread_and_a_wide_interval() -> None:
    scores, members = game(200)
    low, high = auc_interval(scores, members, np.zeros(200, int), rng=np.random.default_rng(0))
    assert low < auc(scores, members) < high
    assert high - low > 0.1


def test_rates_at_a_fixed_threshold() -> None:
    scores, members = game(400)
    clusters = np.arange(400) // 50
    found = tpr_rate(scores, members, clusters, threshold=1.0, rng=np.random.default_rng(0))
    accused = fpr_rate(scores, members, clusters, threshold=1.0, rng=np.random.default_rng(0))
    assert (found.k, found.n, found.clusters) == (int((scores[members] >= 1).sum()), 200, 8)
    assert (accused.k, accused.n) == (int((scores[~members] >= 1).sum()), 200)


def test_the_operating_point_is_pooled_over_trainings() -> None:
    parts = [game(60, seed=seed) for seed in range(10)]
    scores, members = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    with pytest.raises(ValueError, match="Pool more trainings"):
        operating_point(roc(*parts[0]), 0.01)
    assert operating_point(roc(scores, members), 0.01).non_members == 300


def test_a_score_without_signal_stays_at_chance() -> None:
    scores, members = game(4000, shift=0.0)
    low, high = auc_interval(scores, members, np.arange(4000), rng=np.random.default_rng(3))
    assert low < 0.5 < high
    point = operating_point(roc(scores, members), 0.1)
    assert point.true_positive_rate == pytest.approx(0.1, abs=5 * np.sqrt(2 * 0.09 / 2000))
