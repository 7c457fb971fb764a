"""The conformance kit for attacks: small trainings to attack, and what an attack must do on them."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

from qfl_sec.channel import PlainChannel
from qfl_sec.compute import LocalCompute, PlainCloud
from qfl_sec.contracts import (
    AggregateView,
    AnonymousUpdatesView,
    Attack,
    Defense,
    GlobalModelsView,
    Knowledge,
    MembershipScores,
    NotApplicableError,
    Reconstructions,
    Scores,
    ServerComputeView,
    View,
    visible,
)
from qfl_sec.datasets import DataSpec
from qfl_sec.federation import FederationSpec, TrainingConfig, build_model, train
from qfl_sec.harness import attack_with_control
from qfl_sec.models import VariationalClassifier
from qfl_sec.plugins import get
from qfl_sec.randomness import Streams
from qfl_sec.testing.behaviour import truth_finding
from qfl_sec.testing.scorecard import Finding, Listener, Scorecard, SkippedError, make_checks, shown, silent
from qfl_sec.testing.surroundings import digest, global_seed, in_a_copy, outcome
from qfl_sec.transcript import Transcript
from qfl_sec.views import adversaries, project

FEDERATION = FederationSpec(clients=3, clients_per_round=2, rounds=2, batch_size=2)

TAPPED = PlainChannel(adversary="intercept_resend", adversary_fraction=0.5)


@dataclass(frozen=True)
class AttackBench:
    """An attack on the bench.

    Attributes:
        attack: As its author built it.
        seed: Of everything that is drawn.
    """

    attack: Attack
    seed: int = 0

    def training(self, **changes: Any) -> TrainingConfig:
        """Return a small training; the changes are to its federation.

        Its channel is tapped, and an attack that asks for what a quantum server sees finds one.
        """
        asks = any(issubclass(one, ServerComputeView) for one in self.attack.requires)
        return TrainingConfig(
            channel=TAPPED,
            compute=PlainCloud(shots=100) if asks else LocalCompute(),
            data=DataSpec(),
            model=VariationalClassifier(layers=1),
            federation=replace(FEDERATION, **changes),
            defense=get("defense", "none")(),
            seed=self.seed,
        )

    @cached_property
    def transcript(self) -> Transcript:
        """The training that most checks attack."""
        return train(self.training())

    @cached_property
    def view(self) -> View:
        """The first view of it that the attack can be handed."""
        return self.views_of(self.transcript)[0]

    @cached_property
    def knowledge(self) -> Knowledge:
        """What the attacker knows beside it."""
        return self.knowledge_of(self.training(), self.transcript)

    def views_of(self, transcript: Transcript) -> list[View]:
        """Return every view of a training that the attack can be handed.

        Raises:
            SkippedError: If there is none.
        """
        defenses: tuple[Defense, ...] = (
            get("defense", "none")(),
            _OnlySums(),
            get("defense", "anonymous_forwarding")(),
        )
        config = self.training()
        views = [
            project(transcript, adversary, defense, config.channel, config.compute)
            for defense in defenses
            for adversary in adversaries(config.channel, config.compute)
        ]
        fitting = [view for view in views if view is not None and visible(self.attack.requires, type(view))]
        if not fitting:
            raise SkippedError("No view of a training is one of those that it requires.")
        return fitting

    def knowledge_of(self, config: TrainingConfig, transcript: Transcript) -> Knowledge:
        """Return what an attacker of a training knows, as the harness hands it."""
        population = config.population()
        _, architecture = build_model(config, population.splits)
        dtype = config.federation.dtype
        return Knowledge(
            architecture=architecture,
            reference=population.reference(dtype),
            defense=config.defense.prepare(transcript.metadata.setup),
            batch_labels=transcript.batch_labels if self.attack.knows_labels else None,
            candidates=population.candidates(dtype) if self.attack.question == "membership" else None,
        )

    def run(self, view: View | None = None, knowledge: Knowledge | None = None) -> Scores:
        """Run the attack on copies, from the same generator state every time."""
        view, knowledge = view or self.view, knowledge or self.knowledge
        return self.attack.run(copied(view), copied(knowledge), generator=Streams(self.seed).torch("conformance"))

    @cached_property
    def scores(self) -> Scores:
        """What the attack gives on the bench."""
        return self.run()

    @cached_property
    def fresh(self) -> tuple[bytes, bytes]:
        """Hashes of its scores in two copies of this process, in which it has not run yet, with other global seeds."""
        _ = self.view, self.knowledge  # trained once, not in every copy
        return in_a_copy(lambda: _run(self, 1)), in_a_copy(lambda: _run(self, 2))


class _OnlySums(Defense):
    """Hides single updates, for attacks that ask for sums."""

    name = "only_sums"

    def view_for(self, adversary: Any, default: type[View]) -> type[View]:
        return AggregateView if adversary == "server" else default


def copied(record: Any) -> Any:
    """Return a record with a copy of every tensor in it, and in the records it holds."""
    changes: dict[str, Any] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, Tensor):
            changes[field.name] = value.clone()
        elif field.name in ("reference", "candidates", "architecture") and value is not None:
            changes[field.name] = copied(value)
    return replace(record, **changes)


def determinism(bench: AttackBench) -> Finding:
    """Two copies of this process, with other global seeds, must give the same scores from the same generator."""
    same = bench.fresh[0] == bench.fresh[1]
    return Finding(
        passed=same,
        measured=f"{'equal' if same else 'different'} scores in two processes",
        expected="equal scores",
        reason="The same generator state gives the same scores."
        if same
        else "It draws from something else than the generator it is handed. Use that generator alone.",
    )


def _run(bench: AttackBench, seed: int) -> bytes:
    with global_seed(seed):
        return outcome(bench.run)


def no_hidden_state(bench: AttackBench) -> Finding:
    """An attack after another training's must give what it gives when it comes first."""

    def after_another() -> bytes:
        outcome(lambda: bench.run(_another(bench.view)))
        return _run(bench, 1)

    if bench.fresh[0] != bench.fresh[1]:
        raise SkippedError("It is not deterministic, so that two runs cannot be compared: see determinism.")
    same = bench.fresh[0] == in_a_copy(after_another)
    return Finding(
        passed=same,
        measured=f"{'equal' if same else 'different'} scores after another run",
        expected="equal scores",
        reason="A run leaves nothing behind for the next."
        if same
        else "An earlier run changes a later one: it keeps something in its class or module. Keep it in local "
        "variables.",
    )


def _another(view: View) -> Any:
    """Return a view of another training: every vector of weights and every update reversed and half as long again.

    Updates without a sender also come in the reverse order.
    """
    changes: dict[str, Any] = {
        field.name: 1.5 * getattr(view, field.name).flip(-1)
        for field in fields(view)
        if isinstance(getattr(view, field.name), Tensor) and getattr(view, field.name).is_floating_point()
    }
    if isinstance(view, AnonymousUpdatesView):
        changes["updates"] = changes["updates"].flip(1)
    return replace(view, **changes)


def shapes(bench: AttackBench) -> Finding:
    """Scores must be of the kind and shape that the question asks for."""
    scores = _with_finite_numbers(bench.scores)
    try:
        attack_with_control(_Returning(bench.attack, scores), bench.view, bench.knowledge, Streams(bench.seed))
        trouble = ""
    except (ValueError, AttributeError, TypeError) as error:
        trouble = shown(error)
    return Finding(
        passed=not trouble,
        measured=trouble or f"{type(scores).__name__} of the right shapes",
        expected={
            "membership": "MembershipScores, one value a candidate",
            "reconstruction": "Reconstructions of matching shapes",
            "linkage": "LinkageScores, one client an update",
        }[bench.attack.question],
        reason="It returns scores of the wrong kind or shape." if trouble else "Its scores are as its contract says.",
    )


class _Returning(Attack):
    """Stands for an attack that has been run already, so that the harness can check what it gave."""

    def __init__(self, attack: Attack, scores: Scores) -> None:
        self.__dict__.update(name=attack.name, question=attack.question, requires=attack.requires, given=scores)

    def run(self, view: View, knowledge: Knowledge, *, generator: torch.Generator) -> Scores:
        given: Scores = self.__dict__["given"]
        return given


def _with_finite_numbers(scores: Any) -> Any:
    """Return scores with zeros for what is not finite, which is another check's to find."""
    if not isinstance(scores, MembershipScores | Reconstructions):
        return scores
    floating = {
        name: value.nan_to_num(0.0, 0.0, 0.0)
        for name, value in vars(scores).items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }
    return replace(cast(Any, scores), **floating)


def _tensors(scores: Scores) -> dict[str, Tensor]:
    return {name: value for name, value in vars(scores).items() if isinstance(value, Tensor)}


def finite(bench: AttackBench) -> Finding:
    """Scores must be finite numbers."""
    bad = [name for name, value in _tensors(bench.scores).items() if not bool(torch.isfinite(value).all())]
    return Finding(
        passed=not bad,
        measured=f"NaN or infinity in {', '.join(bad)}" if bad else "finite numbers",
        expected="finite numbers",
        reason="It gives scores that are not finite." if bad else "It gives finite scores.",
    )


def inputs_unchanged(bench: AttackBench) -> Finding:
    """An attack may not write into its view or its knowledge."""
    view, knowledge = copied(bench.view), copied(bench.knowledge)
    before = _content(view, knowledge)
    bench.attack.run(view, knowledge, generator=Streams(bench.seed).torch("conformance"))
    same = before == _content(view, knowledge)
    return Finding(
        passed=same,
        measured="unchanged" if same else "changed",
        expected="unchanged",
        reason="It does not write into its input."
        if same
        else "It writes into its view or its knowledge. Work on a copy, without in-place operations.",
    )


def _content(view: View, knowledge: Knowledge) -> bytes:
    known = (knowledge.reference, knowledge.candidates, knowledge.batch_labels, knowledge.architecture.wrapped)
    return digest((view, known))


def switched_off(bench: AttackBench) -> Finding:
    """An attack that reads a finished training's record has no effect on it."""
    raise SkippedError("It reads the record of a finished training: there is nothing to switch off.")


def signal(bench: AttackBench) -> Finding:
    """The scores must depend on the view, or the attack attacks nothing."""
    try:
        same = digest(bench.scores) == digest(bench.run(_another(bench.view)))
    except NotApplicableError:
        same = False
    return Finding(
        passed=not same,
        measured=f"{'equal' if same else 'different'} scores for another view",
        expected="different scores",
        reason="Its scores do not depend on what it sees." if same else "Its scores depend on what it sees.",
    )


def no_truth(bench: AttackBench) -> Finding:
    """A truth within reach, in a caller's variable and on disk, must not change the scores."""
    truth = bench.transcript.truth
    assert truth is not None  # it comes straight from training
    members = truth.members
    _ = bench.view, bench.knowledge
    return truth_finding(lambda: _run(bench, 1), members)


def honest_failure(bench: AttackBench) -> Finding:
    """In settings that may have no meaning for it an attack must give scores or say why it cannot."""
    troubles, refused = [], 0
    settings = [*_odd_settings(bench), *_other_views(bench)]
    for case, view, knowledge in settings:
        try:
            scores = bench.run(view, knowledge)
        except NotApplicableError as error:
            refused += 1
            troubles += [] if str(error).strip() else [f"{case}: NotApplicableError without a reason"]
        except Exception as error:
            troubles.append(f"{case}: {shown(error)}")
        else:
            bad = any(not bool(torch.isfinite(value).all()) for value in _tensors(scores).values())
            troubles += [f"{case}: numbers that are not finite"] if bad else []
    return Finding(
        passed=not troubles,
        measured=troubles[0] if troubles else f"{len(settings)} settings, {refused} refused with a reason",
        expected="finite scores, or a NotApplicableError that says why",
        reason="It fails silently or without a reason."
        if troubles
        else "It answers in odd settings, or refuses them with a reason.",
    )


def _odd_settings(bench: AttackBench) -> Iterator[tuple[str, View, Knowledge]]:
    """Yield settings: another optimizer, a single client, and an attacker who is not told of the defense."""
    changes: dict[str, dict[str, Any]] = {
        "Adam and two local steps": {"optimizer": "adam", "local_steps": 2, "rounds": 1},
        "one client": {"clients": 1, "clients_per_round": 1, "rounds": 1},
    }
    for case, change in changes.items():
        config = bench.training(**change)
        transcript = train(config)
        yield case, bench.views_of(transcript)[0], bench.knowledge_of(config, transcript)
    view: Any = bench.view
    if isinstance(view, GlobalModelsView):
        view = replace(view, global_weights=view.global_weights[:1].expand_as(view.global_weights).clone())
    yield "no defense known, weights that stand still", view, replace(bench.knowledge, defense=None)


def _other_views(bench: AttackBench) -> Iterator[tuple[str, View, Knowledge]]:
    """Yield the training of the bench as other adversaries see it, as far as the attack takes their view."""
    others = {type(view): view for view in bench.views_of(bench.transcript)}
    others.pop(type(bench.view))
    for kind, view in others.items():
        yield f"a {kind.__name__}", view, bench.knowledge


CHECKS = {
    # The first two compare copies of this process in which the plug-in has not run yet.
    "determinism": determinism,
    "no_hidden_state": no_hidden_state,
    "shapes": shapes,
    "finite": finite,
    "inputs_unchanged": inputs_unchanged,
    "switched_off": switched_off,
    "signal": signal,
    "no_truth": no_truth,
    "honest_failure": honest_failure,
}


def check_attack(attack: Attack, *, seed: int = 0, listen: Listener = silent) -> Scorecard:
    """Run an attack on small trainings and check what it returns.

    Args:
        attack: With the parameters to check it at.
        seed: Of everything that is drawn; the same seed gives the same scorecard.
        listen: Told each check before and after it is made.

    Returns:
        The scorecard; what the attack raises fails the check that it was raised in.
    """
    bench = AttackBench(attack, seed)
    checks = make_checks(CHECKS.items(), bench, listen)
    # Nothing is tested at a level here: every check of an attack is exact.
    return Scorecard(plugin=attack.name, kind="attack", parameters=repr(attack), checks=checks, false_alarm=0.0)
