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
from qfl_sec.channel import ChannelSpec, eavesdropper_view
from qfl_sec.channel_entries import channel_entries
from qfl_sec.checking import InputError
from qfl_sec.computation_entries import computation_entries
from qfl_sec.compute import ComputeSpec, is_delegated, quantum_server_view
from qfl_sec.contracts import (
    ADVERSARIES,
    Adversary,
    AggregateView,
    AnonymousUpdatesView,
    Defense,
    GlobalModelsView,
    InterceptedView,
    ReleasedModelView,
    ServerComputeView,
    UpdatesView,
    View,
    reads_updates,
    visible,
)
from qfl_sec.defenses.stack import parts
from qfl_sec.evidence import Evidence, Trained
from qfl_sec.executors import single_thread
from qfl_sec.experiment import Experiment, dumps, setting_id
from qfl_sec.federation import TrainingConfig
from qfl_sec.grid import Plan
from qfl_sec.instruments import Planted, check_instruments
from qfl_sec.judging import verdicts
from qfl_sec.measuring import accuracy, measure, questions_of, resampler
from qfl_sec.pairing import pair
from qfl_sec.planting import can_plant, find_planted
from qfl_sec.results import (
    SCHEMA,
    AdversaryEntry,
    GuaranteeEntry,
    Measurement,
    Premise,
    QuestionEntry,
    Results,
    Setting,
    Subject,
    Utility,
    Variant,
)
from qfl_sec.scoring import HIT_TOLERANCE
from qfl_sec.setting_entries import describe_settings
from qfl_sec.store import Store
from qfl_sec.views import DEFAULT_VIEWS, adversaries

LINKAGE_MARGIN = 0.05
"""By how much linkage may beat guessing unless the experiment says otherwise."""

BASELINES = ("centralised", "classical")

IN_WORDS: Mapping[type[View], tuple[str, ...]] = MappingProxyType(
    {
        UpdatesView: ("global model of each round", "each client's update"),
        InterceptedView: ("global model of each round", "what it intercepts of updates"),
        AnonymousUpdatesView: ("global model of each round", "each update without its sender"),
        AggregateView: ("global model of each round", "the sum of the updates"),
        ServerComputeView: ("global model of each round", "the angles that encode each record"),
        GlobalModelsView: ("global model of each round",),
        ReleasedModelView: ("final model",),
    }
)
"""What a view holds, the most telling part last."""

LABELS: Mapping[Adversary, str] = MappingProxyType(
    {
        "server": "curious server",
        "client": "another client",
        "recipient": "user of the released model",
        "eavesdropper": "eavesdropper",
        "quantum_server": "quantum server",
    }
)


def assemble(
    experiment: Experiment, plan: Plan, store: Store, transcripts: Path, *, planted: Sequence[Planted] | None = None
) -> Results:
    """Derive everything that an audit found.

    Args:
        experiment: What was audited.
        plan: Its trainings and cells.
        store: Raw scores.
        transcripts: Folder of transcripts.
        planted: What the attacks found of leaks planted for them, where that is known; None runs them on such leaks.

    Raises:
        InputError: If nothing was trained, or a transcript or score is damaged.
    """
    evidence = Evidence(plan, store, transcripts)
    variants = experiment.variants()
    if not evidence.all_trainings():
        raise InputError("No training has finished, so there is nothing to report. See the failures above.")
    measured = [
        one
        for variant, resolved in variants
        for defense in resolved.defenses
        for question in questions_of(experiment)
        for adversary in adversaries(resolved.channel, resolved.compute)
        for one in measure(evidence, variant.id, resolved, defense, adversary, question)
    ]
    measurements = [one.measurement for one in measured]
    present = {one.adversary for one in measurements}
    channels = [resolved.channel for _, resolved in variants]
    computes = [resolved.compute for _, resolved in variants]
    ceilings = ceilings_of(evidence, measurements)
    guarantees = [entry for variant, resolved in variants for entry in _guarantees(evidence, variant, resolved)]
    premises = [entry for variant, resolved in variants for entry in _premises(evidence, variant, resolved)]
    trained = evidence.all_trainings()
    found = _plant(experiment, measurements, trained) if planted is None else planted
    instruments = check_instruments(trained, measurements, guarantees, found)
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
        adversaries=tuple(
            _adversary(one, experiment.defenses, channels, computes) for one in ADVERSARIES if one in present
        ),
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
        verdicts=tuple(verdicts(measured, ceilings, premises, instruments, _questions(experiment))),
        paired=tuple(
            entry for variant, resolved in variants for entry in pair(evidence, variant.id, resolved, measurements)
        ),
        trainings=tuple(evidence.records()),
        channels=tuple(
            entry for variant, resolved in variants for entry in channel_entries(evidence, variant.id, resolved)
        ),
        computations=tuple(
            entry for variant, resolved in variants for entry in computation_entries(evidence, variant.id, resolved)
        ),
    )


def _plant(experiment: Experiment, measurements: list[Measurement], trained: list[Trained]) -> list[Planted]:
    """Return what each attack with a result finds of leaks planted for it, in the first model where there are any."""
    models: dict[object, TrainingConfig] = {}
    for config in (one.task.config for one in trained if one.task.kind == "federated"):
        models.setdefault((config.data, config.model), config)
    settings = {setting_id(defense): defense for defense in experiment.defenses}
    single = (UpdatesView, InterceptedView, AnonymousUpdatesView)
    used = {
        (one.attack, not visible(single, settings[one.setting].view_for(one.adversary, DEFAULT_VIEWS[one.adversary])))
        for one in measurements
        if one.status == "measured"
    }
    found = []
    with single_thread():
        for attack in experiment.attacks:
            seen = {sums and reads_updates(attack.requires) for name, sums in used if name == attack.name}
            for sums in sorted(seen) if can_plant(attack) else ():
                tried = (find_planted(attack, one, tolerance=HIT_TOLERANCE, sums=sums) for one in models.values())
                hits, planted = next((counts for counts in tried if counts[1]), (0, 0))
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


def _adversary(
    adversary: Adversary,
    defenses: Sequence[Defense],
    channels: Iterable[ChannelSpec] = (),
    computes: Iterable[ComputeSpec] = (),
) -> AdversaryEntry:
    """Say what an adversary sees, and what instead where a defense, the channel or blind computing leaves it less."""
    usual = DEFAULT_VIEWS[adversary]
    instead: dict[str, list[str]] = {}
    if adversary == "eavesdropper":
        silent = sorted({one.name for one in channels if eavesdropper_view(one) is None})
        instead |= {"nothing": [f"{name} channels" for name in silent]} if silent else {}
    if adversary == "quantum_server":
        hidden = sorted({one.name for one in computes if is_delegated(one) and quantum_server_view(one) is None})
        instead |= {"the sizes of circuits": [f"{name} computing" for name in hidden]} if hidden else {}
    for defense in defenses:
        seen = defense.view_for(adversary, usual)
        if seen is not usual:
            left = "nothing" if seen is None else IN_WORDS[seen][-1]
            name = " + ".join(one.name for one in parts(defense))
            instead.setdefault(left, []).extend([name] if name not in instead.get(left, []) else [])
    narrowed = (f"instead only {left} under {', '.join(names)}" for left, names in instead.items())
    return AdversaryEntry(id=adversary, label=LABELS[adversary], sees=(*IN_WORDS[usual], *narrowed))


def _questions(experiment: Experiment) -> tuple[QuestionEntry, ...]:
    tolerances = experiment.tolerances
    guessed = min(1.0, 1 / experiment.federation.clients_per_round + LINKAGE_MARGIN)
    entries = (
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
        QuestionEntry(
            id="linkage",
            label="Who sent this update?",
            measure="updates put down to the client who sent them",
            tolerance=guessed if tolerances.linkage is None else tolerances.linkage,
        ),
    )
    return tuple(entry for entry in entries if entry.id in questions_of(experiment))


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
    present = adversaries(experiment.channel, experiment.compute)
    for defense in experiment.defenses:
        setting = setting_id(defense)
        found = [one for trained in evidence.trainings(variant.id, setting) for one in trained.metadata.guarantees]
        claimed = [one for one in found if one.adversary in present]
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
