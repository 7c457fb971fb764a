"""From raw scores and the truth to the figures of one measurement, pooled over trainings.

The only module that compares an attack's answers with the truth.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from qfl_sec import membership, reconstruction
from qfl_sec.contracts import MembershipScores, Reconstructions, Records
from qfl_sec.datasets import Splits
from qfl_sec.intervals import Rate, clustered_rate, independent_rate
from qfl_sec.results import Membership, Reconstruction
from qfl_sec.transcript import Truth

STRICT, LENIENT = 0.01, 0.10
"""The false positive rates at which members found are counted."""

CURVE_POINTS = 200
"""Points of a ROC curve that are kept."""


@dataclass(frozen=True, kw_only=True)
class MembershipTrial:
    """The scores of one training beside who was a member."""

    scores: MembershipScores
    control: MembershipScores | None
    truth: Truth


@dataclass(frozen=True, kw_only=True)
class ReconstructionTrial:
    """The answers of one training beside the records they aim at."""

    scores: Reconstructions
    truth: Truth
    splits: Splits
    clients: NDArray[np.int64]


def score_membership(
    trials: list[MembershipTrial], *, rng: np.random.Generator
) -> tuple[Rate, Rate | None, Rate, Membership]:
    """Return members found at 1 % false accusations: of the attack, of the control, by guessing; and all figures.

    Args:
        trials: One for each training; trainings are the clusters of the intervals.
        rng: Of the intervals' resamples.

    Raises:
        ValueError: If there are too few non-members for a false positive rate of 1 %.
    """
    members = np.concatenate([trial.truth.members.numpy() for trial in trials])
    clusters = np.concatenate([np.full(len(trial.truth.members), index) for index, trial in enumerate(trials)])
    values = np.concatenate([trial.scores.values.double().numpy() for trial in trials])
    curve = membership.roc(values, members)
    strict = membership.operating_point(curve, STRICT)
    lenient = membership.operating_point(curve, LENIENT)
    accused = independent_rate(strict.false_positives, strict.non_members)
    low, high = membership.auc_interval(values, members, clusters, rng=rng)
    success = membership.tpr_rate(values, members, clusters, threshold=strict.threshold, rng=rng)
    at_ten = membership.tpr_rate(values, members, clusters, threshold=lenient.threshold, rng=rng)
    control, control_auc, control_accused = _control_of_membership(trials, members, clusters, rng)
    kept = _thinned(len(curve.false_positives))
    figures = Membership(
        false_positives=strict.false_positives,
        non_members=strict.non_members,
        false_positive_rate_high=membership.fpr_rate(
            values, members, clusters, threshold=strict.threshold, rng=rng
        ).high,
        threshold=strict.threshold,
        at_ten_percent=at_ten,
        false_positives_at_ten_percent=lenient.false_positives,
        auc=membership.auc(values, members),
        auc_low=low,
        auc_high=high,
        control_auc=control_auc[0],
        control_auc_low=control_auc[1],
        control_auc_high=control_auc[2],
        control_false_positives=control_accused,
        false_positives_curve=tuple(int(count) for count in curve.false_positives[kept]),
        true_positives_curve=tuple(int(count) for count in curve.true_positives[kept]),
    )
    return success, control, accused, figures


def _control_of_membership(
    trials: list[MembershipTrial],
    members: NDArray[np.bool_],
    clusters: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[Rate | None, tuple[float, float, float], int]:
    """Return the control's success, its area with interval, and its false accusations; nothing known: (0, 1)."""
    controls = [trial.control for trial in trials if trial.control is not None]
    if len(controls) < len(trials):
        return None, (0.5, 0.0, 1.0), 0
    values = np.concatenate([control.values.double().numpy() for control in controls])
    point = membership.operating_point(membership.roc(values, members), STRICT)
    success = membership.tpr_rate(values, members, clusters, threshold=point.threshold, rng=rng)
    area = membership.auc(values, members)
    return success, (area, *membership.auc_interval(values, members, clusters, rng=rng)), point.false_positives


def _thinned(length: int) -> NDArray[np.int64]:
    """Return up to `CURVE_POINTS` of a curve's points, both ends among them, denser at its start."""
    if length <= CURVE_POINTS:
        return np.arange(length)
    return np.unique(np.round(np.linspace(0, 1, CURVE_POINTS) ** 2 * (length - 1)).astype(np.int64))
