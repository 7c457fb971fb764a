"""Stacks: hooks in order, the least that anyone leaves to see, exactly the guarantees of the parts."""

import pickle
import tomllib
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from qfl_sec.assembly import _adversary
from qfl_sec.checking import InputError
from qfl_sec.contracts import (
    Adversary,
    AggregateView,
    Defense,
    GlobalModelsView,
    MechanismEvidence,
    ReleasedModelView,
    Setup,
    UpdatesView,
    View,
)
from qfl_sec.defenses import DpSgd, NoDefense, SecureAggregation, Stack
from qfl_sec.experiment import dumps, parse, setting_id
from qfl_sec.federation import TrainingConfig, train
from qfl_sec.grid import canonical, describe, plan, plugin_sources, training_task
from qfl_sec.setting_entries import describe_settings
from qfl_sec.views import view_type

DP, MASKED = DpSgd(epsilon=4.0), SecureAggregation()
BOTH = Stack(defenses=(DP, MASKED))


@dataclass(frozen=True, kw_only=True)
class Scaling(Defense):
    """Multiplies updates."""

    name: ClassVar[str] = "scaling"
    factor: float = 2.0

    def update(self, updates: Tensor, *, round: int, generator: torch.Generator) -> Tensor:
        return updates * self.factor


@dataclass(frozen=True, kw_only=True)
class Shifting(Defense):
    """Adds to updates, and shows clients nothing."""

    name: ClassVar[str] = "shifting"

    def update(self, updates: Tensor, *, round: int, generator: torch.Generator) -> Tensor:
        return updates + 1

    def view_for(self, adversary: Adversary, default: type[View]) -> type[View] | None:
        return None if adversary == "client" else UpdatesView if adversary == "server" else default


@dataclass(frozen=True, kw_only=True)
class Median(Defense):
    """Takes the coordinate-wise median."""

    name: ClassVar[str] = "median"

    def aggregate(self, updates: Tensor, weights: Tensor, *, round: int, generator: torch.Generator) -> Tensor:
        return updates.median(dim=0).values


@dataclass(frozen=True, kw_only=True)
class Rounding(Defense):
    """Rounds gradients."""

    name: ClassVar[str] = "gradient_rounding"

    def expected_gradient(self, per_example: Tensor, mask: Tensor) -> Tensor:
        return super().expected_gradient(per_example, mask).round()


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_updates_pass_through_in_the_order_written() -> None:
    updates = torch.ones(2, 3)
    for defenses, expected in (((Scaling(), Shifting()), 3.0), ((Shifting(), Scaling()), 4.0)):
        found = Stack(defenses=defenses).update(updates, round=0, generator=generator())
        assert torch.equal(found, torch.full((2, 3), expected))


def test_gradients_and_aggregates_go_to_the_one_that_acts_on_them() -> None:
    stack = Stack(defenses=(Scaling(), Rounding(), Median()))
    per_example, mask = torch.rand(2, 4, 3, generator=generator()), torch.ones(2, 4, dtype=torch.bool)
    expected = Rounding().expected_gradient(per_example, mask)
    assert torch.equal(stack.expected_gradient(per_example, mask), expected)
    assert torch.equal(stack.gradient(per_example, mask, step=0, generator=generator()), expected)
    updates = torch.tensor([[1.0], [2.0], [30.0]])
    assert stack.aggregate(updates, torch.full((3,), 1 / 3), round=0, generator=generator()).tolist() == [2.0]
    plain = Stack(defenses=(Scaling(), Shifting()))
    assert plain.aggregate(updates, torch.full((3,), 1 / 3), round=0, generator=generator()).tolist() == [11.0]
    assert plain.noise_std() == 0
    assert plain.sampling == "fixed"


@pytest.mark.parametrize("order", [(DP, MASKED), (MASKED, DP)])
def test_a_training_is_the_private_one_with_the_updates_hidden(
    small_training: TrainingConfig, order: tuple[Defense, ...]
) -> None:
    """The same noise, whether it is masked or not, so that the two can be compared in pairs."""
    private = train(replace(small_training, defense=DP))
    both = train(replace(small_training, defense=Stack(defenses=order)))
    assert both.metadata.setup == private.metadata.setup
    assert both.metadata.setup.sampling == "poisson"
    assert float((both.global_weights - private.global_weights).abs().max()) < 1e-5
    assert not both.updates.any()
    assert both.metadata.guarantees == private.metadata.guarantees != ()
    premises = {check.premise: check for check in both.metadata.premises}
    assert all(premises[check.premise] == check for check in private.metadata.premises)
    assert len(premises) == len(private.metadata.premises) + 2


def test_the_most_restrictive_view_wins_whatever_the_order() -> None:
    for stack in (BOTH, Stack(defenses=(MASKED, DP)), Stack(defenses=(MASKED, Shifting()))):
        assert view_type("server", stack) is AggregateView
        assert view_type("recipient", stack) is ReleasedModelView
    assert view_type("client", BOTH) is GlobalModelsView
    assert view_type("client", Stack(defenses=(Shifting(), MASKED))) is None
    assert view_type("client", Stack(defenses=(MASKED, Shifting()))) is None


def test_a_view_that_cannot_be_compared_is_refused() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Odd(Defense):
        name: ClassVar[str] = "odd"

        def view_for(self, adversary: Adversary, default: type[View]) -> type[View] | None:
            return View

    with pytest.raises(
        ValueError,
        match="ReleasedModelView, GlobalModelsView, AggregateView, AnonymousUpdatesView, InterceptedView, UpdatesView",
    ):
        Stack(defenses=(Odd(), MASKED)).view_for("server", UpdatesView)


def test_a_stack_without_a_guarantee_claims_none(small_training: TrainingConfig) -> None:
    stack = Stack(defenses=(Scaling(factor=0.5), MASKED))
    assert train(replace(small_training, defense=stack)).metadata.guarantees == ()


@pytest.mark.parametrize(
    ("defenses", "words"),
    [
        ((), "at least two"),
        ((DP,), "at least two"),
        ((DP, DP), "'dp_sgd' twice"),
        ((DP, DpSgd(epsilon=1.0)), "'dp_sgd' twice"),
        ((BOTH, Scaling()), "no stack inside"),
        ((MASKED, Median()), "secure_aggregation and median do not combine: each has a hook `aggregate`"),
        ((DP, Rounding()), "dp_sgd and gradient_rounding do not combine: each has a hook `gradient`"),
    ],
)
def test_what_does_not_combine_is_refused(defenses: tuple[Defense, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Stack(defenses=defenses)


FILE = """
[[defenses]]
stack = [{name = "dp_sgd", epsilon = [1, 4]}, {name = "secure_aggregation", bits = [32, 40]}]
[report]
audited = {stack = [{name = "dp_sgd", epsilon = 4}, {name = "secure_aggregation", bits = 40}]}
"""


def test_stacks_are_read_swept_and_written_again() -> None:
    experiment = parse(tomllib.loads(FILE), "here.toml")
    stacks = [
        Stack(defenses=(DpSgd(epsilon=epsilon), SecureAggregation(bits=bits)))
        for epsilon in (1.0, 4.0)
        for bits in (32, 40)
    ]
    assert experiment.defenses == (NoDefense(), *stacks)
    assert experiment.audited == stacks[3]
    assert parse(tomllib.loads(dumps(experiment)), "again.toml") == experiment
    names = [setting_id(defense) for defense in experiment.defenses]
    assert len(set(names)) == 5
    assert names[1] == f"{setting_id(DpSgd(epsilon=1.0))} + {setting_id(SecureAggregation())}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stack = 'dp_sgd'", "Expected a list of tables"),
        ("stack = [{name = 'none'}]", "stack: Expected a stack of at least two defenses"),
        ("stack = [{name = 'none'}, {name = 'dpsgd'}]", r"stack number 2: Unknown defense 'dpsgd'"),
        ("stack = [{name = 'none'}, {name = 'dp_sgd', epsilon = 0}]", r"stack number 2 dp_sgd.*epsilon=0"),
        ("stack = [{name = 'none'}, {stack = []}]", "stack number 2: name = None"),
        ("name = 'dp_sgd'\nstack = []", "unknown key beside stack name"),
        (f"stack = [{{name = 'none'}}, {{name = 'dp_sgd', epsilon = {list(range(1, 1002))}}}]", "more than 1000"),
    ],
)
def test_wrong_stacks_are_refused_with_their_place(text: str, words: str) -> None:
    with pytest.raises(InputError, match=r"here.toml: \[\[defenses\]\] number 1: .*" + words):
        parse(tomllib.loads(f"[[defenses]]\n{text}\n"), "here.toml")


def test_an_ambiguous_stack_cannot_be_audited() -> None:
    text = FILE.replace(", bits = 40}", "}")
    with pytest.raises(InputError, match="fits several settings"):
        parse(tomllib.loads(text), "here.toml")


def test_keys_tell_stacks_apart_and_count_their_parts_sources(small_training: TrainingConfig) -> None:
    def key(defense: Defense) -> str:
        return training_task(replace(small_training, defense=defense), variant="v", setting="s").key

    others = [DP, MASKED, Stack(defenses=(MASKED, DP)), Stack(defenses=(DP, SecureAggregation(bits=40)))]
    assert len({key(one) for one in (BOTH, *others)}) == 5
    assert key(BOTH) == key(pickle.loads(pickle.dumps(BOTH)))  # noqa: S301
    assert b"secure_aggregation" in canonical(describe(BOTH))
    assert plugin_sources(BOTH) == {}
    assert plugin_sources(Stack(defenses=(Scaling(), MASKED))) == plugin_sources(Scaling()) != {}


def test_prepared_stacks_are_equal_and_remember_their_sampling() -> None:
    setup = Setup(
        schedule=((0, 1),),
        expected_sizes=(8.0, 8.0),
        local_steps=(1, 1),
        batch_size=2,
        sampling="poisson",
        optimizer="sgd",
        learning_rate=1.0,
        average="plain",
        n_parameters=3,
    )
    prepared = pickle.loads(pickle.dumps(BOTH.prepare(setup)))  # noqa: S301
    assert prepared == BOTH
    assert prepared.sampling == BOTH.sampling == "poisson"
    assert BOTH.prepare(setup).noise_std() == DP.prepare(setup).noise_std() > 0
    evidence = MechanismEvidence(largest_contribution=0.1, noise_std=0.1, noise_draws=9, sampling="poisson")
    assert BOTH.prepare(setup).premises(evidence)[:4] == DP.prepare(setup).premises(evidence)


def test_reports_name_every_part() -> None:
    shown, alone = describe_settings((BOTH, MASKED), BOTH, claiming=(), trained=())
    assert (shown.label, shown.epsilon, shown.delta) == ("ε = 4 + secure_aggregation", 4.0, 1e-3)
    assert shown.defense == "dp_sgd + secure_aggregation"
    assert shown.parameters["dp_sgd.clip_norm"] == 0.5
    assert shown.parameters["secure_aggregation.bits"] == 32
    assert (alone.epsilon, alone.audited) == (None, False)
    server = _adversary("server", (NoDefense(), DP, MASKED, BOTH))
    assert server.sees[-1] == (
        "instead only the sum of the updates under secure_aggregation, dp_sgd + secure_aggregation"
    )
    assert _adversary("client", (NoDefense(), BOTH)).sees == ("global model of each round",)


def test_attacks_on_sums_are_cells_under_it() -> None:
    text = "[run]\nseeds = [0]\n[[defenses]]\nstack = [{name = 'dp_sgd', epsilon = 4}, {name = 'secure_aggregation'}]"
    experiment = parse(tomllib.loads(text), "here.toml")
    laid_out = plan(experiment)
    hidden = setting_id(experiment.defenses[1])
    by_server = {cell.attack.name for cell in laid_out.cells if cell.training.setting == hidden}
    assert by_server == {"loss_membership", "update_membership", "gradient_inversion"}
