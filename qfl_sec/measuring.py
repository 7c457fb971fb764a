"""One attack by one adversary on one setting, pooled over its trainings: a measurement, or the reason for none."""

from typing import NamedTuple

import numpy as np

from qfl_sec.contracts import (
    Adversary,
    AnonymousUpdatesView,
    Attack,
    Defense,
    LinkageScores,
    MembershipScores,
    Question,
    Reconstructions,
    UpdatesView,
    View,
    visible,
)
from qfl_sec.evidence import Evidence, ScoredCell, Trained
from qfl_sec.experiment import Experiment, setting_id
from qfl_sec.intervals import Rate, clustered_rate
from qfl_sec.plugins import description
from qfl_sec.randomness import Streams
from qfl_sec.results import FailedCell, Measurement
from qfl_sec.scoring import (
    Hits,
    LinkageTrial,
    MembershipTrial,
    ReconstructionTrial,
    score_linkage,
    score_membership,
    score_reconstruction,
)
from qfl_sec.views import adversaries, view_type

QUESTIONS: tuple[Question, ...] = ("membership", "reconstruction", "linkage")
"""In the order of the report."""


def questions_of(experiment: Experiment) -> tuple[Question, ...]:
    """Return what an experiment asks: who sent an update only where an attack does, or where that is hidden."""
    asked = any(attack.question == "linkage" for attack in experiment.attacks)
    views = [view_type(one, defense) for defense in experiment.defenses for one in adversaries(experiment.channel)]
    hidden = any(view is AnonymousUpdatesView for view in views)
    return QUESTIONS if asked or hidden else QUESTIONS[:2]


class Measured(NamedTuple):
    """A measurement and, if there are figures, what was hit target by target."""

    measurement: Measurement
    hits: Hits | None


def resampler(role: str) -> np.random.Generator:
    """Return the generator of an interval's resamples: by name, so that intervals do not depend on their order."""
    return Streams(0).numpy(f"interval {role}")


def accuracy(trained: list[Trained], rng: np.random.Generator) -> tuple[Rate, Rate]:
    """Return correct test answers of the final models and of the largest class; trainings are the clusters."""
    clusters = np.concatenate([np.full(len(one.truth.test_hits), index) for index, one in enumerate(trained)])
    hits = np.concatenate([one.truth.test_hits.numpy() for one in trained])
    majority = np.concatenate([one.truth.majority_hits.numpy() for one in trained])
    return clustered_rate(hits, clusters, rng=rng), clustered_rate(majority, clusters, rng=rng)


def measure(
    evidence: Evidence, variant: str, experiment: Experiment, defense: Defense, adversary: Adversary, question: Question
) -> list[Measured]:
    """Return the measurement of every attack that asks this question from what this adversary sees.

    Where there is none, the one entry says so: not visible to this adversary, or not tested.
    """
    setting = setting_id(defense)
    seen = view_type(adversary, defense, experiment.channel, experiment.compute)
    attacks = [
        attack for attack in experiment.attacks if attack.question == question and visible(attack.requires, seen)
    ]
    if attacks:
        looks = _looks(experiment, defense)
        return [_measured(evidence, variant, setting, adversary, attack, looks) for attack in attacks]
    if seen is None:
        on_channel = f" on the channel {experiment.channel.name}" if adversary == "eavesdropper" else ""
        on_channel = " but the size of its circuits" if adversary == "quantum_server" else on_channel
        reason = f"By protocol this adversary sees nothing of the training{on_channel}."
        return [_unmeasured(variant, setting, adversary, question, "not visible", reason)]
    if question == "linkage" and not issubclass(seen, AnonymousUpdatesView):
        return [_unmeasured(variant, setting, adversary, question, *_senders_of(seen))]
    reason = "No attack of this experiment asks this of what this adversary sees."
    return [_unmeasured(variant, setting, adversary, question, "not tested", reason)]


def _senders_of(seen: type[View]) -> tuple[str, str]:
    """Return the status of the question who sent an update, and why, for a view whose updates are not anonymous."""
    if issubclass(seen, UpdatesView):
        return "not tested", "The sender is visible: each update comes by name, so that linkage succeeds by definition."
    return "not visible", "This adversary sees no single update, and so none whose sender it could tell."


def _looks(experiment: Experiment, defense: Defense) -> int:
    """Return how many attacks by how many adversaries look at a setting, whatever becomes of them."""
    places = experiment.channel, experiment.compute
    views = [view_type(adversary, defense, *places) for adversary in adversaries(*places)]
    return sum(visible(attack.requires, seen) for attack in experiment.attacks for seen in views)


def _unmeasured(
    variant: str,
    setting: str,
    adversary: Adversary,
    question: Question,
    status: str,
    reason: str,
    attack: Attack | None = None,
    failed: tuple[FailedCell, ...] = (),
) -> Measured:
    measurement = Measurement(
        variant=variant,
        setting=setting,
        adversary=adversary,
        question=question,
        attack=None if attack is None else attack.name,
        attack_description="" if attack is None else _described(attack),
        status=status,  # type: ignore[arg-type]
        reason=reason,
        trainings=0,
        success=None,
        control=None,
        guess=None,
        membership=None,
        reconstruction=None,
        failed=failed,
        scores_sha256=(),
    )
    return Measured(measurement, None)


def _described(attack: Attack) -> str:
    """Return what an attack does, and whether one that rebuilds records is told their labels."""
    if attack.question != "reconstruction":
        shots = getattr(attack, "shots", None)
        return description(type(attack)) + (f"; {shots} shots an answer" if shots else "")
    told = "told the labels of each batch" if attack.knows_labels else "not told any label of a batch"
    return f"{description(type(attack))}; {told}"


def _measured(
    evidence: Evidence, variant: str, setting: str, adversary: Adversary, attack: Attack, looks: int
) -> Measured:
    """Score an attack's finished cells, and list the others with their reasons."""
    scored, missing = evidence.cells(variant, setting, adversary, attack)
    failed = tuple(
        FailedCell(seed=row.seed, reason=row.reason or "The training or its transcript is missing.")
        for row in missing
        if row is not None and row.status != "not_applicable"
    )
    if not scored:
        inapplicable = [row for row in missing if row is not None and row.status == "not_applicable"]
        if inapplicable:
            reason = str(inapplicable[0].reason)
            return _unmeasured(variant, setting, adversary, attack.question, "not tested", reason, attack)
        reason = failed[0].reason if failed else "None of its cells has run."
        return _unmeasured(variant, setting, adversary, attack.question, "failed", reason, attack, failed)
    try:
        return _score(scored, failed, variant, setting, adversary, attack, looks)
    except ValueError as error:
        return _unmeasured(variant, setting, adversary, attack.question, "not tested", str(error), attack, failed)


def _score(
    scored: list[ScoredCell],
    failed: tuple[FailedCell, ...],
    variant: str,
    setting: str,
    adversary: Adversary,
    attack: Attack,
    looks: int,
) -> Measured:
    rng = resampler(f"{variant} {setting} {adversary} {attack.name}")
    membership = reconstruction = None
    control: Rate | None
    guess: Rate | None
    if attack.question == "membership":
        found = [membership_trial(cell) for cell in scored]
        success, control, guess, membership, hits = score_membership(found, rng=rng, looks=looks)
    elif attack.question == "linkage":
        success, control, guess, hits = score_linkage([linkage_trial(cell) for cell in scored], rng=rng)
    else:
        trials = [reconstruction_trial(cell) for cell in scored]
        success, control, guess, reconstruction, hits = score_reconstruction(
            trials, knows_labels=attack.knows_labels, rng=rng
        )
    measurement = Measurement(
        variant=variant,
        setting=setting,
        adversary=adversary,
        question=attack.question,
        attack=attack.name,
        attack_description=_described(attack),
        status="measured",
        reason=None,
        trainings=len(scored),
        success=success,
        control=control,
        guess=guess,
        membership=membership,
        reconstruction=reconstruction,
        failed=failed,
        scores_sha256=tuple(cell.sha256 for cell in scored),
    )
    return Measured(measurement, hits)


def membership_trial(cell: ScoredCell) -> MembershipTrial:
    """Return a membership cell's scores beside the truth.

    Raises:
        ValueError: If the store holds scores of another kind.
    """
    if not isinstance(cell.scores, MembershipScores) or not isinstance(cell.control, MembershipScores | None):
        raise ValueError(f"Expected membership scores, the store holds {type(cell.scores).__name__}.")
    return MembershipTrial(scores=cell.scores, control=cell.control, truth=cell.trained.truth)


def linkage_trial(cell: ScoredCell) -> LinkageTrial:
    """Return a linkage cell's named senders beside the truth.

    Raises:
        ValueError: If the store holds scores of another kind.
    """
    if not isinstance(cell.scores, LinkageScores) or not isinstance(cell.control, LinkageScores | None):
        raise ValueError(f"Expected named senders, the store holds {type(cell.scores).__name__}.")
    return LinkageTrial(scores=cell.scores, control=cell.control, truth=cell.trained.truth)


def reconstruction_trial(cell: ScoredCell) -> ReconstructionTrial:
    """Return a reconstruction cell's answers beside the truth.

    Raises:
        ValueError: If the store holds scores of another kind.
    """
    if not isinstance(cell.scores, Reconstructions):
        raise ValueError(f"Expected rebuilt records, the store holds {type(cell.scores).__name__}.")
    trained = cell.trained
    return ReconstructionTrial(
        scores=cell.scores, metadata=trained.metadata, truth=trained.truth, population=trained.population
    )
