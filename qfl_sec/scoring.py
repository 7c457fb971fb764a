"""From raw scores and the truth to the figures of one measurement, pooled over trainings.

The only module that compares an attack's answers with the truth.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qfl_sec import membership, reconstruction
from qfl_sec.contracts import LinkageScores, MembershipScores, Reconstructions
from qfl_sec.intervals import Rate, clustered_rate, independent_rate
from qfl_sec.population import Population
from qfl_sec.reconstruction import RecordScores
from qfl_sec.results import Membership, Reconstruction
from qfl_sec.transcript import Metadata, Truth

Floats = NDArray[np.float64]

STRICT, LENIENT = 0.01, 0.10
"""The false positive rates at which members found are counted."""

CURVE_POINTS = 200
"""Points of a ROC curve that are kept."""

HIT_TOLERANCE = 0.05
"""A record counts as rebuilt when every feature lies within this share of its reference range."""


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
    metadata: Metadata
    truth: Truth
    population: Population


@dataclass(frozen=True, kw_only=True)
class LinkageTrial:
    """The senders that were named in one training beside those who sent each update."""

    scores: LinkageScores
    control: LinkageScores | None
    truth: Truth


@dataclass(frozen=True, kw_only=True, eq=False)
class Targets:
    """What was hit, target by target: members, records behind attacked updates, or updates whose sender was named.

    Attributes:
        hits: (targets,)
        clusters: (targets,), of the intervals.
        second: (targets,), whether it is of the second half: every other member, all records of every other update,
            or all updates of every other round.
    """

    hits: NDArray[np.bool_]
    clusters: NDArray[np.int64]
    second: NDArray[np.bool_]

    def half(self, second: bool) -> "Targets":
        """Return one half of the targets."""
        kept = self.second == second
        return Targets(hits=self.hits[kept], clusters=self.clusters[kept], second=self.second[kept])

    def rate(self, *, rng: np.random.Generator, confidence: float = 0.95) -> Rate:
        """Return the rate of hits, with its clustered interval."""
        return clustered_rate(self.hits, self.clusters, rng=rng, confidence=confidence)


class Hits(NamedTuple):
    """What an attack hit and what its control did; None without one."""

    attack: Targets
    control: Targets | None


def score_membership(
    trials: list[MembershipTrial], *, rng: np.random.Generator, looks: int = 1
) -> tuple[Rate, Rate | None, Rate, Membership, Hits]:
    """Return members found at 1 % false accusations: of the attack, of the control, by guessing; figures; and hits.

    The thresholds lie where all non-members put them; only members are split into halves.

    Args:
        trials: One for each training; trainings are the clusters of the intervals.
        rng: Of the intervals' resamples.
        looks: Attacks on this setting, for all of which the limit of the false positive rate is to hold.

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
    control, control_auc, control_accused, missed = _control_of_membership(trials, members, clusters, rng)
    non_members = ~members
    accusations = np.zeros(len(values), dtype=bool) if strict.threshold is None else values >= strict.threshold
    kept = _thinned(len(curve.false_positives))
    figures = Membership(
        false_positives=strict.false_positives,
        non_members=strict.non_members,
        false_positive_rate_high=clustered_rate(
            accusations[non_members], clusters[non_members], rng=rng, confidence=1 - 0.05 / looks
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
    found = _members_hit(trials, clusters, accusations)
    return (
        success,
        control,
        accused,
        figures,
        Hits(found, None if missed is None else _members_hit(trials, clusters, missed)),
    )


def _members_hit(trials: list[MembershipTrial], clusters: NDArray[np.int64], accused: NDArray[np.bool_]) -> Targets:
    """Return which members are accused; within each training every other one is of the second half."""
    members = np.concatenate([trial.truth.members.numpy() for trial in trials])
    second = np.concatenate([np.arange(int(trial.truth.members.sum())) % 2 == 1 for trial in trials])
    return Targets(hits=accused[members], clusters=clusters[members], second=second)


def _control_of_membership(
    trials: list[MembershipTrial],
    members: NDArray[np.bool_],
    clusters: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[Rate | None, tuple[float, float, float], int, NDArray[np.bool_] | None]:
    """Return the control's success, its area with interval, its false accusations, and whom it accuses.

    Nothing known: an area in (0, 1), and nobody to be accused.
    """
    controls = [trial.control for trial in trials if trial.control is not None]
    if len(controls) < len(trials):
        return None, (0.5, 0.0, 1.0), 0, None
    values = np.concatenate([control.values.double().numpy() for control in controls])
    point = membership.operating_point(membership.roc(values, members), STRICT)
    success = membership.tpr_rate(values, members, clusters, threshold=point.threshold, rng=rng)
    area = membership.auc(values, members)
    limits = membership.auc_interval(values, members, clusters, rng=rng)
    accused = np.zeros(len(values), dtype=bool) if point.threshold is None else values >= point.threshold
    return success, (area, *limits), point.false_positives, accused


def _thinned(length: int) -> NDArray[np.int64]:
    """Return up to `CURVE_POINTS` of a curve's points, both ends among them, denser at its start."""
    if length <= CURVE_POINTS:
        return np.arange(length)
    return np.unique(np.round(np.linspace(0, 1, CURVE_POINTS) ** 2 * (length - 1)).astype(np.int64))


def score_reconstruction(
    trials: list[ReconstructionTrial], *, knows_labels: bool, rng: np.random.Generator
) -> tuple[Rate, Rate | None, Rate, Reconstruction, Hits]:
    """Return records rebuilt: by the attack, by the control, by fixed guesses; all figures; and hits.

    Args:
        trials: One for each training; attacked updates are the clusters of the intervals.
        knows_labels: Whether the attacker was told the labels: its guesses may then go by class.
        rng: Of the intervals' resamples and of random guesses.

    Raises:
        ValueError: If no attacked update has a record.
    """
    targets = [target for trial in trials for target in _targets(trial)]
    if not any(len(target.truth) for target in targets):
        raise ValueError("No attacked update has a record behind it: attack more updates or use larger batches.")
    answers = [_against(target.answer, target) for target in targets]
    with_control = [replace(target, truth=target.apart) for target in targets if target.unrelated is not None]
    controls = [_against(target.unrelated, target) for target in with_control if target.unrelated is not None]
    guesses = [_against(target.fixed_guesses, target) for target in targets]
    oracle = [
        max((_against(one, target) for one in target.restarts), key=lambda one: one.hits.sum()) for target in targets
    ]
    own = reconstruction.pooled(answers)
    control_mse = reconstruction.pooled(controls).mse() if controls else None
    unknowns = np.concatenate([trial.scores.unknowns.numpy() for trial in trials])
    ranks = np.concatenate([trial.scores.ranks.numpy() for trial in trials])
    middle = np.argsort(ranks - unknowns, kind="stable")[len(ranks) // 2]
    figures = Reconstruction(
        targets=len(targets),
        hit_tolerance=HIT_TOLERANCE,
        equations=trials[0].scores.equations,
        unknowns=int(unknowns[middle]),
        unknowns_max=int(unknowns.max()),
        rank=int(ranks[middle]),
        not_identifiable=int((ranks < unknowns).sum()),
        rmse=None if own.mse() is None else float(np.median(own.rmse())),
        skill_prior_mean=reconstruction.skill(own.mse(), _mean(targets, _prior_mean_mse)),
        skill_random_record=reconstruction.skill(
            own.mse(), reconstruction.pooled([_random_guess(target, rng) for target in targets]).mse()
        ),
        skill_control=reconstruction.skill(own.mse(), control_mse),
        oracle_best=_rate(oracle, targets, "hits", rng),
        exact=_rate(answers, targets, "exact", rng),
        feature_hits=tuple(int(count) for count in own.feature_hits.sum(axis=0)),
        guess_probability_high=max(_best_guess(trial, knows_labels) for trial in trials),
    )
    control = _rate(controls, with_control, "hits", rng) if controls else None
    hits = Hits(_records_hit(answers, targets), _records_hit(controls, with_control) if controls else None)
    return _rate(answers, targets, "hits", rng), control, _rate(guesses, targets, "hits", rng), figures, hits


def score_linkage(trials: list[LinkageTrial], *, rng: np.random.Generator) -> tuple[Rate, Rate | None, Rate, Hits]:
    """Return updates put down to their senders: by the attack, by the control, by guessing; and hits.

    Guessing is right for one in as many updates as came that round.

    Args:
        trials: One for each training; trainings are the clusters of the intervals.
        rng: Of the intervals' resamples.

    Raises:
        ValueError: If no update arrived, or the senders were not recorded.
    """
    came = [_senders(trial) >= 0 for trial in trials]
    if not any(bool(one.any()) for one in came):
        raise ValueError("No update arrived, so that there is none whose sender could be told.")
    hits = _senders_hit([trial.scores for trial in trials], trials)
    controls = [trial.control for trial in trials if trial.control is not None]
    missed = _senders_hit(controls, trials) if len(controls) == len(trials) else None
    n = len(hits.hits)
    guessed = sum(int(one.any(1).sum()) for one in came)  # one in each round
    guess = Rate(
        k=guessed, n=n, low=guessed / n, high=guessed / n, method="exact: one in as many as came that round", clusters=n
    )
    control = None if missed is None else missed.rate(rng=rng)
    return hits.rate(rng=rng), control, guess, Hits(hits, missed)


def named_senders(trial: LinkageTrial) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return which updates of one training were put down to their sender, (updates,), and their places (updates, 2)."""
    senders = _senders(trial)
    came = senders >= 0
    return (trial.scores.senders == senders)[came].numpy(), came.nonzero().numpy()


def _senders(trial: LinkageTrial) -> Tensor:
    if trial.truth.senders is None:
        raise ValueError("The truth does not say who sent which update: they came by name.")
    return trial.truth.senders


def _senders_hit(answers: list[LinkageScores], trials: list[LinkageTrial]) -> Targets:
    """Return which updates are put down to their senders; every other round is of the second half."""
    found = [named_senders(replace(trial, scores=one)) for one, trial in zip(answers, trials, strict=True)]
    return Targets(
        hits=np.concatenate([hits for hits, _ in found]),
        clusters=np.concatenate([np.full(len(hits), index) for index, (hits, _) in enumerate(found)]),
        second=np.concatenate([places[:, 0] % 2 == 1 for _, places in found]),
    )


def found_members(trial: MembershipTrial, threshold: float | None) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return which members of one training score at least a threshold, (members,), and their rows (members, 1)."""
    members = np.flatnonzero(trial.truth.members.numpy())
    values = trial.scores.values.double().numpy()[members]
    return np.zeros(len(members), dtype=bool) if threshold is None else values >= threshold, members.reshape(-1, 1)


def rebuilt_records(trial: ReconstructionTrial) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return which records behind one training's targets are rebuilt, and what names them: (records,), (records, 3).

    A name is the round and place of the target and the record's row.
    """
    targets = _targets(trial)
    hits = [_against(target.answer, target).hits for target in targets]
    names = [
        np.column_stack([np.tile(place, (len(target.rows), 1)), target.rows])
        for place, target in zip(trial.scores.targets.numpy(), targets, strict=True)
    ]
    return np.concatenate(hits), np.concatenate(names).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class _Target:
    """One attacked update or sum: its records, the answer, all restarts, and what it is compared with."""

    index: int
    rows: NDArray[np.int64]  # (records,), among the candidates
    truth: Floats  # (records, features)
    labels: NDArray[np.int64]
    answer: Floats  # (guesses, features)
    restarts: Floats  # (restarts, guesses, features)
    unrelated: Floats | None  # the answer to another update or sum, or its own where all sums hold the same
    apart: Floats  # (records, features), records that are not behind what that answers
    fixed_guesses: Floats
    population: Population

    @property
    def ranges(self) -> Floats:
        splits = self.population.splits
        return np.asarray((splits.feature_high - splits.feature_low).numpy(), dtype=np.float64)


def _targets(trial: ReconstructionTrial) -> list[_Target]:
    """Return a training's attacked updates, each beside the answer to the next one of another client.

    Sums hold the records of every client whose update arrived, so that each stands beside the answer to the next one
    that lacks some of them. Where none does, its own answer stands beside as many records of the test split, which are
    behind no sum.
    """
    scores, splits = trial.scores, trial.population.splits
    places = [(int(round_), int(slot)) for round_, slot in scores.targets]
    schedule, senders = trial.metadata.setup.schedule, trial.truth.senders
    chosen = schedule if senders is None else tuple(tuple(row) for row in senders.tolist())
    clients = [None if slot < 0 else chosen[round_][slot] for round_, slot in places]
    batches = trial.truth.batch_records
    lost = {(link.round, link.client) for link in trial.metadata.links if link.peer is None and link.abort_reason}
    summed = [[who >= 0 and (round_, who) not in lost for who in row] for round_, row in enumerate(chosen)]
    used = [
        (batches[round_, summed[round_]] if slot < 0 else batches[round_, slot]).flatten() for round_, slot in places
    ]
    behind = [np.unique(slots[slots >= 0].numpy()) for slots in used]
    answers = scores.answers().double().numpy()
    ranges = (splits.feature_high - splits.feature_low).numpy()
    fixed = reconstruction.best_fixed_guesses(
        splits.reference.features.numpy(), guesses=answers.shape[1], tolerance=HIT_TOLERANCE, ranges=ranges
    )
    targets = []
    for index in range(len(places)):
        rows = torch.from_numpy(behind[index])
        other = _unrelated_to(index, clients, behind)
        apart = splits.candidates.features[rows]
        if other == index:
            apart = splits.test.features[: len(rows)]
        elif other is not None:
            apart = splits.candidates.features[torch.from_numpy(np.setdiff1d(behind[index], behind[other]))]
        targets.append(
            _Target(
                index=index,
                rows=behind[index],
                truth=splits.candidates.features[rows].double().numpy(),
                labels=splits.candidates.labels[rows].numpy(),
                answer=answers[index],
                restarts=scores.records[index].double().numpy(),
                unrelated=None if other is None else answers[other],
                apart=apart.double().numpy(),
                fixed_guesses=fixed,
                population=trial.population,
            )
        )
    return targets


def _unrelated_to(index: int, clients: list[int | None], behind: list[NDArray[np.int64]]) -> int | None:
    """Return the next target of another client or, for a sum (None), that lacks some of its records, itself if none.

    None where there is none: all updates are one client's, or there is no record.
    """
    later = [(index + step) % len(behind) for step in range(1, len(behind))]
    if clients[index] is not None:
        return next((other for other in later if clients[other] != clients[index]), None)
    if not len(behind[index]):
        return None
    return next((other for other in later if len(np.setdiff1d(behind[index], behind[other]))), index)


def _against(guesses: Floats, target: _Target) -> RecordScores:
    return reconstruction.score(guesses, target.truth, ranges=target.ranges, tolerance=HIT_TOLERANCE)


def _random_guess(target: _Target, rng: np.random.Generator) -> RecordScores:
    """Score one random reference record of the class for each record of a target."""
    reference = target.population.splits.reference
    guesses = reconstruction.random_guesses(
        target.labels, reference.features.numpy(), reference.labels.numpy(), rng=rng
    )
    return _against(guesses, target)


def _prior_mean_mse(target: _Target) -> float | None:
    reference = target.population.splits.reference.features.numpy()
    return reconstruction.prior_mean_mse(target.truth, reference, ranges=target.ranges)


def _mean(targets: list[_Target], error: Callable[[_Target], float | None]) -> float:
    """Return the mean over records of an error that is known for each target with records."""
    known = [(len(target.truth), value) for target in targets if (value := error(target)) is not None]
    return sum(count * value for count, value in known) / sum(count for count, _ in known)


def _records_hit(scores: list[RecordScores], targets: list[_Target], field: str = "hits") -> Targets:
    """Return what was hit of the records, clustered by attacked update; every other update is of the second half."""
    clusters = [np.full(len(target.truth), index) for index, target in enumerate(targets)]
    second = [np.full(len(target.truth), target.index % 2 == 1) for target in targets]
    hits = [getattr(one, field) for one in scores]
    return Targets(hits=np.concatenate(hits), clusters=np.concatenate(clusters), second=np.concatenate(second))


def _rate(scores: list[RecordScores], targets: list[_Target], field: str, rng: np.random.Generator) -> Rate:
    """Return a rate over records, clustered by attacked update."""
    return _records_hit(scores, targets, field).rate(rng=rng)


def _best_guess(trial: ReconstructionTrial, knows_labels: bool) -> float:
    """Return the upper bound of what as many fixed guesses as the attack makes can hit, over the whole data set."""
    splits = trial.population.splits
    parts = (splits.candidates, splits.test, splits.reference)
    records = np.concatenate([part.features.double().numpy() for part in parts])
    labels = np.concatenate([part.labels.numpy() for part in parts])
    ranges = (splits.feature_high - splits.feature_low).double().numpy()
    return _kappa(
        records.tobytes(),
        ranges.tobytes(),
        labels.astype(np.int64).tobytes() if knows_labels else None,
        trial.scores.records.shape[2],
    )


@lru_cache(maxsize=256)
def _kappa(records: bytes, ranges: bytes, labels: bytes | None, guesses: int) -> float:
    """Return the upper limit for records, ranges and labels given as bytes, so that settings of one seed share it."""
    widths = np.frombuffer(ranges)
    return reconstruction.best_guess_probability(
        np.frombuffer(records).reshape(-1, len(widths)),
        guesses=guesses,
        tolerance=HIT_TOLERANCE,
        ranges=widths,
        labels=None if labels is None else np.frombuffer(labels, dtype=np.int64),
    ).upper
