"""Figures of a membership attack: ROC curve, operating point, area under the curve, each with its interval.

Scores may be pooled over trainings by concatenation; the trainings are then the clusters.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from qfl_sec.intervals import DRAWS, Rate, clopper_pearson, cluster_weights, clustered_rate

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

_CHUNK = 200
"""Bootstrap resamples held in memory at once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Roc:
    """Accusations at every distinct threshold; a candidate is accused when its score reaches the threshold.

    Attributes:
        thresholds: (points,), falling; the first is infinite: nobody is accused. The last accuses everybody.
        false_positives: (points,), accused non-members, rising.
        true_positives: (points,), accused members, rising.
        non_members: Number of non-members, n0, at least 1.
        members: Number of members, n1, at least 1.
    """

    thresholds: Floats
    false_positives: Counts
    true_positives: Counts
    non_members: int
    members: int


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """The best threshold that a bound on the false positive rate admits.

    Attributes:
        max_false_positive_rate: The bound.
        threshold: Lowest score that is accused; None when nobody is.
        false_positives: Accused non-members.
        true_positives: Accused members.
        non_members: Number of non-members.
        members: Number of members.
    """

    max_false_positive_rate: float
    threshold: float | None
    false_positives: int
    true_positives: int
    non_members: int
    members: int

    @property
    def false_positive_rate(self) -> float:
        """The realised false positive rate."""
        return self.false_positives / self.non_members

    @property
    def true_positive_rate(self) -> float:
        """The realised true positive rate."""
        return self.true_positives / self.members


def roc(scores: npt.ArrayLike, members: npt.ArrayLike) -> Roc:
    """Return the curve over every distinct score, with both end points. Equal scores are accused together.

    | scores           | result                                                         |
    |------------------|----------------------------------------------------------------|
    | all equal        | two points: nobody and everybody                               |
    | infinite         | kept in their order, as the largest or smallest finite number  |
    | NaN              | refused                                                        |

    Args:
        scores: (candidates,); higher speaks for membership.
        members: (candidates,), true for members.

    Raises:
        ValueError: If a score is NaN, the shapes differ, or there are no members or no non-members.
    """
    values, truth = _checked(scores, members)
    order = np.argsort(-values, kind="stable")
    ordered, hits = values[order], truth[order]
    last = np.append(ordered[1:] != ordered[:-1], True)
    found = np.cumsum(hits)[last]
    accused = np.flatnonzero(last) + 1
    return Roc(
        thresholds=np.concatenate(([np.inf], ordered[last])),
        false_positives=np.concatenate(([0], accused - found)),
        true_positives=np.concatenate(([0], found)),
        non_members=int((~truth).sum()),
        members=int(truth.sum()),
    )


def _checked(scores: npt.ArrayLike, members: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return finite scores and truth values of one length."""
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(members)
    if values.ndim != 1 or values.shape != truth.shape:
        raise ValueError(f"Expected scores {values.shape} and members {truth.shape} of one shape (candidates,).")
    if np.isnan(values).any():
        raise ValueError(f"Expected no NaN among the scores, found {int(np.isnan(values).sum())}.")
    if truth.dtype != np.bool_ and not np.isin(truth, (0, 1)).all():
        raise ValueError("Expected members to be truth values.")
    truth = truth.astype(np.bool_)
    if truth.all() or not truth.any():
        raise ValueError(f"Expected members and non-members, got {int(truth.sum())} members of {truth.size}.")
    limit = np.finfo(np.float64).max
    return np.clip(values, -limit, limit), truth


def operating_point(curve: Roc, max_false_positive_rate: float) -> OperatingPoint:
    """Return the point of highest true positive rate whose false positive rate is within the bound.

    Among points of equal true positives, the one with the fewest false positives.

    Args:
        curve: The curve, possibly pooled over trainings.
        max_false_positive_rate: The bound, in (0, 1].

    Raises:
        ValueError: If the bound is not in (0, 1], or there are fewer non-members than its reciprocal: then not even
            one false accusation would be admitted, and the rate could not be told from zero.
    """
    bound = max_false_positive_rate
    if not 0 < bound <= 1:
        raise ValueError(f"Expected 0 < max_false_positive_rate={bound} <= 1.")
    if 1 / curve.non_members > bound:
        raise ValueError(
            f"Expected non_members={curve.non_members} >= {math.ceil(1 / bound - 1e-9)}, the reciprocal of "
            f"max_false_positive_rate={bound}. Pool more trainings or raise the rate."
        )
    admitted = np.flatnonzero(curve.false_positives / curve.non_members <= bound)
    # The first of the largest: both counts rise along the curve, so it has the fewest false positives.
    best = int(admitted[np.argmax(curve.true_positives[admitted])])
    return OperatingPoint(
        max_false_positive_rate=bound,
        threshold=None if best == 0 else float(curve.thresholds[best]),
        false_positives=int(curve.false_positives[best]),
        true_positives=int(curve.true_positives[best]),
        non_members=curve.non_members,
        members=curve.members,
    )


def auc(scores: npt.ArrayLike, members: npt.ArrayLike) -> float:
    """Return P(member's score > non-member's) + P(equal) / 2.

    Raises:
        ValueError: As for `roc`.

    Example:
        >>> auc([3.0, 1.0, 1.0], [True, True, False])
        0.75
    """
    curve = roc(scores, members)
    # Twice the area under the trapezoids, in whole numbers.
    twice = (np.diff(curve.false_positives) * (curve.true_positives[1:] + curve.true_positives[:-1])).sum()
    return int(twice) / (2 * curve.members * curve.non_members)


def auc_interval(
    scores: npt.ArrayLike, members: npt.ArrayLike, clusters: npt.ArrayLike, *, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the 95 % interval of the area under the curve: percentiles over resampled clusters, widened for few.

    | case                                          | interval                                                 |
    |-----------------------------------------------|----------------------------------------------------------|
    | area 0 or 1, one cluster, or no usable sample | Clopper-Pearson of the area at min(n0, n1) trials,       |
    |                                               | whose variance bounds the area's                         |
    | resample without members or non-members       | left out                                                 |

    Args:
        scores: (candidates,)
        members: (candidates,)
        clusters: (candidates,), integers; equal ones belong together.
        rng: Draws the resamples.

    Raises:
        ValueError: As for `roc`, or if the clusters are of another shape.

    Reference: Birnbaum and Klose 1957, doi:10.1214/aoms/1177706796 (variance bound).
    """
    values, truth = _checked(scores, members)
    if np.shape(clusters) != values.shape:
        raise ValueError(f"Expected clusters of shape {np.shape(clusters)} to have shape {values.shape}.")
    area = auc(values, truth)
    names, index = np.unique(np.asarray(clusters), return_inverse=True)
    areas = np.empty(0) if len(names) == 1 else _resampled_areas(values, truth, index, rng)
    if area in (0.0, 1.0) or not areas.size:
        size = min(int(truth.sum()), int((~truth).sum()))
        return clopper_pearson(area * size, size)
    low, high = np.quantile(areas, (0.025, 0.975))
    wider = _small_sample_factor(len(names))
    return max(0.0, area - wider * max(0.0, area - float(low))), min(1.0, area + wider * max(0.0, float(high) - area))


def _small_sample_factor(clusters: int) -> float:
    """Return how much wider than the percentiles of resamples an interval over few clusters must be.

    Resamples show the spread of the clusters with divisor m instead of m - 1, and normal instead of t quantiles.
    """
    degrees = clusters - 1
    return float(np.sqrt(clusters / degrees) * stats.t.ppf(0.975, degrees) / stats.norm.ppf(0.975))


def _resampled_areas(
    values: Floats, truth: npt.NDArray[np.bool_], index: npt.NDArray[np.intp], rng: np.random.Generator
) -> Floats:
    """Return the area of each resample of clusters that has members and non-members."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(values[order]) != 0))
    weights = cluster_weights(int(index.max()) + 1, rng=rng)  # (draws, clusters)
    areas = []
    for first in range(0, DRAWS, _CHUNK):
        each = weights[first : first + _CHUNK][:, index[order]]  # (chunk, candidates)
        inside = np.add.reduceat(each * truth[order], starts, axis=1)
        outside = np.add.reduceat(each * ~truth[order], starts, axis=1)
        pairs = inside.sum(axis=1) * outside.sum(axis=1)
        below = outside.cumsum(axis=1) - outside / 2
        usable = pairs > 0
        areas.append((inside * below).sum(axis=1)[usable] / pairs[usable])
    return np.concatenate(areas)


def tpr_rate(
    scores: npt.ArrayLike,
    members: npt.ArrayLike,
    clusters: npt.ArrayLike,
    *,
    threshold: float | None,
    rng: np.random.Generator,
) -> Rate:
    """Return the rate of members found at a fixed threshold, with its clustered interval.

    Args:
        scores: (candidates,)
        members: (candidates,)
        clusters: (candidates,), integers; equal ones belong together.
        threshold: Lowest score that is accused; None accuses nobody.
        rng: For `clustered_rate`.

    Raises:
        ValueError: As for `roc`.
    """
    values, truth = _checked(scores, members)
    return _accused_rate(values, truth, np.asarray(clusters), threshold, rng)


def fpr_rate(
    scores: npt.ArrayLike,
    members: npt.ArrayLike,
    clusters: npt.ArrayLike,
    *,
    threshold: float | None,
    rng: np.random.Generator,
) -> Rate:
    """Return the rate of non-members accused at a fixed threshold; arguments as for `tpr_rate`."""
    values, truth = _checked(scores, members)
    return _accused_rate(values, ~truth, np.asarray(clusters), threshold, rng)


def _accused_rate(
    values: Floats,
    chosen: npt.NDArray[np.bool_],
    clusters: npt.NDArray[np.int64],
    threshold: float | None,
    rng: np.random.Generator,
) -> Rate:
    """Return the rate of accusations among the chosen candidates."""
    if clusters.shape != values.shape:
        raise ValueError(f"Expected clusters of shape {clusters.shape} to have shape {values.shape}.")
    accused = np.zeros_like(chosen) if threshold is None else values >= threshold
    return clustered_rate(accused[chosen], clusters[chosen], rng=rng)
