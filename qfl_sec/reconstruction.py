"""Figures of a reconstruction: hits, errors and skill after one optimal assignment, and what guessing would reach.

Features are measured in units of their reference range throughout. The attacker's answer is scored as it stands:
nothing here chooses among restarts.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from qfl_sec.boxes import largest_box
from qfl_sec.intervals import clopper_pearson

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]

EXACT = 1e-6
"""A record is rebuilt exactly when every feature lies within this share of its range."""

ROUNDING = 1e-12
"""Slack of a tolerance, in ranges: a guess exactly at its edge counts as a hit."""

_FAR = 1e3
"""Mean squared error, in ranges, beyond which a pair is as bad as any for the assignment."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordScores:
    """How well each true record was met by the guess assigned to it.

    Attributes:
        errors: (records, features), guess minus truth in ranges; NaN where no guess was left for the record.
        hits: (records,), every feature within the tolerance; false without a guess.
        feature_hits: (records, features), each feature alone.
        exact: (records,), every feature within 1e-6 of its range.
    """

    errors: Floats
    hits: Truths
    feature_hits: Truths
    exact: Truths

    @property
    def matched(self) -> Truths:
        """Whether a guess was assigned to the record: (records,)."""
        return np.asarray(~np.isnan(self.errors).any(axis=1))

    def rmse(self) -> Floats:
        """Return the root mean squared error over features of each matched record: (matched,)."""
        return np.asarray(np.sqrt((self.errors[self.matched] ** 2).mean(axis=1)))

    def mse(self) -> float | None:
        """Return the mean squared error over matched records and features; None if no record was matched."""
        found = self.errors[self.matched]
        return float((found**2).mean()) if found.size else None


def assign(guesses: npt.ArrayLike, truth: npt.ArrayLike, *, ranges: npt.ArrayLike, tolerance: float) -> Integers:
    """Return the guess for each true record, one-to-one: as many hits as possible, then least squared error.

    | case                                  | result                                                      |
    |---------------------------------------|-------------------------------------------------------------|
    | fewer guesses than records            | some records get -1: misses                                 |
    | more guesses than records             | some guesses stay unused                                    |
    | a guess that is not finite            | is no guess                                                 |
    | all features of a pair 30 ranges off  | as bad as any other such pair                               |

    Args:
        guesses: (guesses, features)
        truth: (records, features)
        ranges: (features,), width of the reference range of each feature, > 0.
        tolerance: Share of the range within which a feature counts as hit, > 0.

    Returns:
        (records,), row of the guess, -1 where there is none.

    Raises:
        ValueError: If shapes do not fit, the truth is not finite, or ranges or tolerance are not positive.
    """
    scaled = _errors(guesses, truth, ranges)  # (records, guesses, features)
    _check_tolerance(tolerance)
    result = np.full(scaled.shape[0], -1, dtype=np.int64)
    usable = np.flatnonzero(np.isfinite(scaled).all(axis=(0, 2)))
    if not usable.size or not len(result):
        return result
    pairs = scaled[:, usable]
    cost = np.minimum((pairs**2).mean(axis=2), _FAR)
    # One hit more outweighs every difference in error.
    cost[_within(pairs, tolerance).all(axis=2)] -= _FAR * (min(cost.shape) + 1)
    records, chosen = linear_sum_assignment(cost)
    result[records] = usable[chosen]
    return result


def score(guesses: npt.ArrayLike, truth: npt.ArrayLike, *, ranges: npt.ArrayLike, tolerance: float) -> RecordScores:
    """Return how well guesses meet the true records, after the assignment of `assign`; arguments as there."""
    chosen = assign(guesses, truth, ranges=ranges, tolerance=tolerance)
    scaled = _errors(guesses, truth, ranges)
    met = chosen >= 0
    errors = np.full((scaled.shape[0], scaled.shape[2]), np.nan)
    errors[met] = scaled[np.flatnonzero(met), chosen[met]]
    close = _within(errors, tolerance)
    return RecordScores(
        errors=errors,
        hits=np.asarray(close.all(axis=1)),
        feature_hits=close,
        exact=np.asarray((np.abs(errors) < EXACT).all(axis=1)),
    )


def pooled(scores: Iterable[RecordScores]) -> RecordScores:
    """Return the records of several targets as one.

    Raises:
        ValueError: If there are none.
    """
    each = list(scores)
    if not each:
        raise ValueError("Expected the scores of at least one target.")
    return RecordScores(
        errors=np.concatenate([one.errors for one in each]),
        hits=np.concatenate([one.hits for one in each]),
        feature_hits=np.concatenate([one.feature_hits for one in each]),
        exact=np.concatenate([one.exact for one in each]),
    )


def skill(mse: float | None, baseline: float | None) -> float | None:
    """Return 1 - MSE / MSE of a baseline: 1 is perfect, 0 as good as the baseline, below 0 worse.

    | case                              | result |
    |-----------------------------------|--------|
    | no record was scored on one side  | None   |
    | the baseline has no error         | None   |

    Example:
        >>> skill(0.25, 1.0)
        0.75
    """
    if mse is None or baseline is None or baseline == 0:
        return None
    return 1 - mse / baseline


def prior_mean_mse(truth: npt.ArrayLike, reference: npt.ArrayLike, *, ranges: npt.ArrayLike) -> float | None:
    """Return the mean squared error, in ranges, of guessing the mean reference record; None without records.

    Args:
        truth: (records, features)
        reference: (references, features)
        ranges: (features,), > 0.
    """
    mean = np.asarray(reference, dtype=np.float64).mean(axis=0, keepdims=True)
    errors = _errors(mean, truth, ranges)
    return float((errors**2).mean()) if errors.size else None


def random_guesses(
    labels: npt.ArrayLike,
    reference: npt.ArrayLike,
    reference_labels: npt.ArrayLike,
    *,
    rng: np.random.Generator,
) -> Floats:
    """Return one random reference record of the class for each label; of any class where the reference has none of it.

    Score them like an attack's guesses: only then does the baseline profit from the assignment as the attack does.

    Args:
        labels: (records,)
        reference: (references, features)
        reference_labels: (references,)
        rng: Draws the records, with replacement.

    Returns:
        (records, features)
    """
    pool, classes = np.asarray(reference, dtype=np.float64), np.asarray(reference_labels)
    if not len(pool):
        raise ValueError("Expected at least one reference record.")
    everyone = np.arange(len(pool))
    rows = [
        rng.choice(same if (same := np.flatnonzero(classes == label)).size else everyone)
        for label in np.asarray(labels)
    ]
    return pool[np.asarray(rows, dtype=np.int64)]


def best_fixed_guesses(reference: npt.ArrayLike, *, guesses: int, tolerance: float, ranges: npt.ArrayLike) -> Floats:
    """Return a list of fixed guesses that hit many reference records: the best attack without a view.

    Greedy: each guess covers as many of the records left as any box of half-width `tolerance` can, and stands in the
    middle of them. Greedy covers at least 1 - 1/e of what the best list covers, and is what a report shows as
    guessing; the ceiling takes the upper bound of `best_guess_probability` instead.

    | case                                    | result                                                       |
    |-----------------------------------------|--------------------------------------------------------------|
    | every record is covered before the end  | the list starts again from its first guess                   |

    Args:
        reference: (references, features), at least one record.
        guesses: Length of the list, at least 1.
        tolerance: Share of the range, > 0.
        ranges: (features,), > 0.

    Returns:
        (guesses, features)

    Reference: Nemhauser, Wolsey, Fisher 1978, doi:10.1007/BF01588971.
    """
    widths = np.asarray(ranges, dtype=np.float64)
    centres, _, _ = _greedy(_scaled(reference, widths), guesses, tolerance)
    return centres[np.arange(guesses) % len(centres)] * widths


def guess_hits(guess_list: npt.ArrayLike, truth: npt.ArrayLike, *, ranges: npt.ArrayLike, tolerance: float) -> Truths:
    """Return which of the true records a list of fixed guesses hits, assigned one-to-one: (records,)."""
    return score(guess_list, truth, ranges=ranges, tolerance=tolerance).hits


@dataclass(frozen=True, kw_only=True)
class GuessProbability:
    """What fixed guesses can reach.

    Attributes:
        covered: Records that the greedy list covers, in sample.
        bound: Records that no list of this length can exceed, in sample.
        n: Records.
        upper: Upper 97.5 % limit of the hit probability of the best list: kappa of a ceiling.
    """

    covered: int
    bound: int
    n: int
    upper: float


def best_guess_probability(
    records: npt.ArrayLike,
    *,
    guesses: int,
    tolerance: float,
    ranges: npt.ArrayLike,
    labels: npt.ArrayLike | None = None,
) -> GuessProbability:
    """Return an upper limit of the probability that the best list of fixed guesses hits a record.

    Whatever list is best in the population, in sample it covers no more than `bound` records; so the Clopper-Pearson
    upper limit at `bound` is, with 97.5 % confidence, above its hit probability. The bound is the least of all
    records, G times the largest box, and greedy's cover after i guesses plus G times the largest box that is left.

    Guarantee: `upper` is a valid upper confidence limit for records drawn like `records`, independently. Where an
    exact largest box takes too long to find, a looser bound replaces it: boxes of twice the width around the records.

    Args:
        records: (records, features), at least one.
        guesses: Length of the list, G, at least 1.
        tolerance: Share of the range, > 0.
        ranges: (features,), > 0.
        labels: (records,); given when the attacker knows the labels, so that all guesses may go to one class. None
            when it does not.

    Raises:
        ValueError: If shapes do not fit or a number is out of range.

    Reference: Leskovec et al. 2007, doi:10.1145/1281192.1281239 (online bound of a submodular cover).
    """
    points = _scaled(records, np.asarray(ranges, dtype=np.float64))
    classes = np.zeros(len(points), dtype=np.int64) if labels is None else np.asarray(labels)
    if classes.shape != (len(points),):
        raise ValueError(f"Expected labels of shape {classes.shape} to have shape ({len(points)},).")
    covered = bound = 0
    for name in np.unique(classes):
        _, cover, limit = _greedy(points[classes == name], guesses, tolerance)
        covered, bound = covered + cover, bound + limit
    _, upper = clopper_pearson(bound, len(points))
    return GuessProbability(covered=covered, bound=bound, n=len(points), upper=upper)


def _greedy(points: Floats, guesses: int, tolerance: float) -> tuple[Floats, int, int]:
    """Return greedy's centres (at most `guesses`), the records they cover, and a bound on what any list covers."""
    _check_tolerance(tolerance)
    if guesses < 1:
        raise ValueError(f"Expected guesses={guesses} >= 1.")
    left, centres, bound = np.ones(len(points), dtype=np.bool_), [], len(points)
    for _ in range(guesses):
        rest = points[left]
        if not len(rest):
            break
        box = largest_box(rest, width=2 * (tolerance + ROUNDING))
        bound = min(bound, len(points) - len(rest) + guesses * box.bound)
        inside = rest[box.members]
        centre = (inside.min(axis=0) + inside.max(axis=0)) / 2
        centres.append(centre)
        left &= ~_within(points - centre, tolerance).all(axis=1)
    covered = int((~left).sum())
    return np.asarray(centres), covered, max(bound, covered)


def _errors(guesses: npt.ArrayLike, truth: npt.ArrayLike, ranges: npt.ArrayLike) -> Floats:
    """Return guess minus truth in ranges: (records, guesses, features)."""
    widths = np.asarray(ranges, dtype=np.float64)
    made = np.asarray(guesses, dtype=np.float64)
    if made.ndim != 2 or made.shape[1:] != widths.shape:
        raise ValueError(f"Expected guesses of shape {made.shape} to be (guesses, features={widths.size}).")
    true = _scaled(truth, widths, empty=True)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray((made / widths)[None] - true[:, None])


def _scaled(records: npt.ArrayLike, widths: Floats, *, empty: bool = False) -> Floats:
    """Return finite records in ranges."""
    points = np.asarray(records, dtype=np.float64)
    if widths.ndim != 1 or not (np.isfinite(widths).all() and (widths > 0).all()):
        raise ValueError(f"Expected ranges={widths.tolist()} > 0. Leave out features that never vary.")
    if points.ndim != 2 or points.shape[1] != len(widths) or not (empty or len(points)):
        raise ValueError(f"Expected records of shape {points.shape} to be (records, features={len(widths)}).")
    if not np.isfinite(points).all():
        raise ValueError("Expected finite records.")
    return points / widths


def _within(errors: Floats, tolerance: float) -> Truths:
    """Return where errors are within the tolerance; NaN is not."""
    return np.asarray(np.abs(errors) <= tolerance + ROUNDING)


def _check_tolerance(tolerance: float) -> None:
    if not 0 < tolerance < np.inf:
        raise ValueError(f"Expected tolerance={tolerance} > 0 and finite.")
