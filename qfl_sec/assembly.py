"""From stored scores and transcripts to `results.json`: a pure function, in the order of the plan.

Nothing here depends on when, where or by how many processes the scores were computed.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from types import MappingProxyType

from qfl_sec import __version__
from qfl_sec.bounds import ceilings_of, drawn_curves
from qfl_sec.captured_data import CapturedData
from qfl_sec.checking import InputError
from qfl_sec.contracts import (
    ADVERSARIES,
    Adversary,
    AggregateView,
    Defense,
    GlobalModelsView,
    Question,
    ReleasedModelView,
    UpdatesView,
    View,
    reads_updates,
)
from qfl_sec.defenses.stack import parts
from qfl_sec.evidence import Evidence, Trained
from qfl_sec.executors import single_thread
from qfl_sec.experiment import Experiment, dumps, setting_id
from qfl_sec.federation import TrainingConfig
from qfl_sec.grid import Plan
from qfl_sec.instruments import Planted, check_instruments
from qfl_sec.measuring import QUESTIONS, accuracy, measure, resampler
from qfl_sec.pairing import pair
from qfl_sec.planting import can_plant, find_planted
from qfl_sec.results import (
    SCHEMA,
    AdversaryEntry,
    Ceiling,
    GuaranteeEntry,
    Instrument,
    Measurement,
    Premise,
    QuestionEntry,
    Results,
    Setting,
    Subject,
    Utility,
    Variant,
    Verdict,
)
from qfl_sec.scoring import HIT_TOLERANCE
from qfl_sec.setting_entries import describe_settings
from qfl_sec.store import Store
from qfl_sec.verdicts import VerdictInputs, judge
from qfl_sec.views import DEFAULT_VIEWS, view_type

BASELINES = ("centralised", "classical")

IN_WORDS: Mapping[type[View], tuple[str, ...]] = MappingProxyType(
    {
        UpdatesView: ("global model of each round", "each client's update"),
        AggregateView: ("global model of each round", "the sum of the updates"),
        GlobalModelsView: ("global model of each round",),
        ReleasedModelView: ("final model",),
    }
)
"""What a view holds, the most telling part last."""

LABELS: Mapping[Adversary, str] = MappingProxyType(
    {"server": "curious server", "client": "another client", "recipient": "user of the released model"}
)


def assemble(experiment: Experiment, plan: Plan, store: Store, transcripts: Path) -> Results:
    """Derive everything that an audit found.

    Args:
        experiment: What was audited.
        plan: Its trainings and cells.
        store: Raw scores.
        transcripts: Folder of transcripts.

    Raises:
        InputError: If nothing was trained, or a transcript or score is damaged.
    """
    evidence = Evidence(plan, store, transcripts)
    variants = experiment.variants()
    if not evidence.all_trainings():
        raise InputError("No training has finished, so there is nothing to report. See the failures above.")
    measurements = [
        measurement
        for variant, resolved in variants
        for defense in resolved.defenses
        for question in QUESTIONS
        for adversary in ADVERSARIES
        for measurement in measure(evidence, variant.id, resolved, defense, adversary, question)
    ]
    ceilings = ceilings_of(evidence, measurements)
    guarantees = [entry for variant, resolved in variants for entry in _guarantees(evidence, variant, resolved)]
    premises = [entry for variant, resolved in variants for entry in _premises(evidence, variant, resolved)]
    trained = evidence.all_trainings()
    instruments = check_instruments(trained, measurements, guarantees, _plant(experiment, measurements, trained))
    return Results(
        schema=SCHEMA,
        sample=False,
        package_version=__version__,
        date=None if experiment.tolerances.set_on is None else experiment.tolerances.set_on.isoformat(),
        seeds=experiment.run.seeds,
        experiment_sha256=hashlib.sha256(dumps(experiment, folders=False).encode()).hexdigest(),
        subject=_subject(experiment, evidence),
        variants=tuple(variant for variant, _ in variants),
        settings=_as_captured(
            experiment,
            describe_settings(
                experiment.defenses,
                experiment.audited,
                claiming={entry.setting for entry in guarantees},
                trained={one.task.setting for one in trained},
            ),
        ),
        adversaries=tuple(_adversary(one, experiment.defenses) for one in ADVERSARIES),
        questions=_questions(experiment),
        measurements=tuple(measurements),
        utility=tuple(entry for variant, resolved in variants for entry in _utility(evidence, variant, resolved)),
        ceilings=tuple(ceilings),
        ceiling_curves=tuple(
            curve for variant, resolved in variants for curve in drawn_curves(evidence, variant.id, resolved, ceilings)
        ),
        guarantees=tuple(guarantees),
        premises=tuple(premises),
        instruments=tuple(instruments),
        verdicts=tuple(_verdicts(experiment, measurements, ceilings, premises, instruments)),
        paired=tuple(
            entry for variant, resolved in variants for entry in pair(evidence, variant.id, resolved, measurements)
        ),
    )


def _plant(experiment: Experiment, measurements: list[Measurement], trained: list[Trained]) -> list[Planted]:
    """Return what each attack with a result finds of leaks planted for it in the first federated training's model."""
    configs = [one.task.config for one in trained if one.task.kind == "federated"]
    settings = {setting_id(defense): defense for defense in experiment.defenses}
    used = {
        (one.attack, view_type(one.adversary, settings[one.setting]) is AggregateView)
        for one in measurements
        if one.status == "measured"
    }
    found = []
    with single_thread():
        for attack in experiment.attacks:
            seen = {sums and reads_updates(attack.requires) for name, sums in used if name == attack.name}
            for sums in sorted(seen) if configs and can_plant(attack) else ():
                hits, planted = find_planted(attack, configs[0], tolerance=HIT_TOLERANCE, sums=sums)
                found.append(Planted(attack=attack.name, found=hits, planted=planted, sums=sums))
    return found


def _subject(experiment: Experiment, evidence: Evidence) -> Subject:
    """Describe what was audited, at the first training that finished."""
    first = next((one for one in evidence.all_trainings() if one.task.kind == "federated"), None)
    if first is None:
        raise InputError("No federated training has finished, so there is nothing to report. See the failures above.")
    splits, setup = first.population.splits, first.metadata.setup
    config = first.task.config
    return Subject(
        title=experiment.report.title,
        dataset=config.data.title,
        data_fingerprint=first.population.fingerprint,
        records=first.population.records,
        features=splits.reference.features.shape[-1],
        classes=int(splits.reference.labels.max()) + 1,
        model=config.model.name,
        model_summary=config.model.summary(),
        parameters=setup.n_parameters,
        clients=setup.clients,
        records_per_client=sum(setup.expected_sizes) / setup.clients,
        rounds=setup.rounds,
        federation_summary=_federation_in_words(config),
    )


def _as_captured(experiment: Experiment, settings: tuple[Setting, ...]) -> tuple[Setting, ...]:
    """Say of captured updates that nobody here knows what protected them."""
    if not isinstance(experiment.data, CapturedData):
        return settings
    words = "Updates as they were captured; what protected them is not known here"
    return tuple(replace(one, label="as captured", description=words) for one in settings)


def _federation_in_words(config: TrainingConfig) -> str:
    """Describe the federation; how a captured one was partitioned is not known here."""
    text = config.federation.summary()
    return f"captured elsewhere: {text.rpartition(', ')[0]}" if isinstance(config.data, CapturedData) else text


def _adversary(adversary: Adversary, defenses: Sequence[Defense]) -> AdversaryEntry:
    """Say what an adversary sees, and what instead where a defense leaves it less."""
    usual = DEFAULT_VIEWS[adversary]
    instead: dict[str, list[str]] = {}
    for defense in defenses:
        seen = view_type(adversary, defense)
        if seen is not usual:
            left = "nothing" if seen is None else IN_WORDS[seen][-1]
            name = " + ".join(one.name for one in parts(defense))
            instead.setdefault(left, []).extend([name] if name not in instead.get(left, []) else [])
    narrowed = (f"instead only {left} under {', '.join(names)}" for left, names in instead.items())
    return AdversaryEntry(id=adversary, label=LABELS[adversary], sees=(*IN_WORDS[usual], *narrowed))


def _questions(experiment: Experiment) -> tuple[QuestionEntry, ...]:
    tolerances = experiment.tolerances
    return (
        QuestionEntry(
            id="membership",
            label="Is this record in the data?",
            measure="members found while 1 % of non-members are wrongly accused",
            tolerance=tolerances.membership,
        ),
        QuestionEntry(
            id="reconstruction",
            label="Rebuild a record",
            measure="records rebuilt to within 5 % of every feature's range",
            tolerance=tolerances.reconstruction,
        ),
    )


def _utility(evidence: Evidence, variant: Variant, experiment: Experiment) -> Iterable[Utility]:
    """Yield the accuracy of every setting and baseline that has finished trainings."""
    for setting in (*(setting_id(defense) for defense in experiment.defenses), *BASELINES):
        trained = evidence.trainings(variant.id, setting)
        if trained:
            correct, majority = accuracy(trained, resampler(f"accuracy {variant.id} {setting}"))
            yield Utility(
                variant=variant.id, setting=setting, accuracy=correct, majority=majority, trainings=len(trained)
            )


def _guarantees(evidence: Evidence, variant: Variant, experiment: Experiment) -> Iterable[GuaranteeEntry]:
    """Yield each setting's guarantee for each adversary and client: the weakest over the seeds."""
    for defense in experiment.defenses:
        setting = setting_id(defense)
        claimed = [one for trained in evidence.trainings(variant.id, setting) for one in trained.metadata.guarantees]
        claimed.sort(key=lambda one: (ADVERSARIES.index(one.adversary), -1 if one.client is None else one.client))
        for _, group in groupby(claimed, key=lambda one: (one.adversary, one.client)):
            worst = max(group, key=lambda one: one.epsilon)
            yield GuaranteeEntry(
                variant=variant.id,
                setting=setting,
                adversary=worst.adversary,
                client=worst.client,
                epsilon=worst.epsilon,
                delta=worst.delta,
                unit=worst.unit,
                adjacency=worst.adjacency,
                sampling=worst.sampling,
                mechanism=worst.mechanism,
                releases=worst.releases,
                accountant=worst.accountant,
                epsilon_rdp=worst.epsilon_rdp,
            )


def _premises(evidence: Evidence, variant: Variant, experiment: Experiment) -> Iterable[Premise]:
    """Yield each setting's premises; one that failed in any training has failed, and shows that training's figure."""
    for defense in experiment.defenses:
        setting = setting_id(defense)
        checks: dict[str, list[Premise]] = {}
        for trained in evidence.trainings(variant.id, setting):
            for check in trained.metadata.premises:
                checks.setdefault(check.premise, []).append(Premise(variant=variant.id, setting=setting, **vars(check)))
        for found in checks.values():
            yield next((check for check in found if check.passed is False), found[0])


def _verdicts(
    experiment: Experiment,
    measurements: list[Measurement],
    ceilings: list[Ceiling],
    premises: list[Premise],
    instruments: list[Instrument],
) -> Iterable[Verdict]:
    """Yield one verdict for each variant, setting, question and adversary: about its strongest attack."""
    tolerances: dict[Question, float] = {entry.id: entry.tolerance for entry in _questions(experiment)}
    trustworthy = all(instrument.passed for instrument in instruments)

    def place(one: Measurement | Ceiling) -> tuple[str, str, Question, Adversary]:
        return one.variant, one.setting, one.question, one.adversary

    bounds = {place(ceiling): ceiling.rate for ceiling in ceilings}
    for where, group in groupby(measurements, key=place):
        variant, setting, question, adversary = where
        strongest = max(group, key=lambda one: -1.0 if one.success is None else one.success.low)
        premises_hold = all(
            check.passed is not False for check in premises if (check.variant, check.setting) == (variant, setting)
        )
        judged = judge(
            VerdictInputs.of(
                strongest,
                ceiling=bounds.get(where),
                tolerance=tolerances[question],
                instruments_passed=trustworthy,
                premises_passed=premises_hold,
            )
        )
        yield Verdict(
            variant=variant,
            setting=setting,
            question=question,
            adversary=adversary,
            attack=strongest.attack,
            evidence=judged.evidence,
            evidence_reason=judged.evidence_reason,
            ceiling=bounds.get(where),
            verdict=judged.verdict,
            reason=judged.reason,
        )
