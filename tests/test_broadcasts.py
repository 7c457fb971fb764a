"""What broadcasts give away: sums told from global models are those that the server computed."""

import math
from dataclasses import replace
from typing import Literal

import pytest
import torch

from qfl_sec.attacks.gradient_inversion import GradientInversion
from qfl_sec.attacks.sender_linkage import SenderLinkage
from qfl_sec.attacks.transmissions import transmissions
from qfl_sec.attacks.update_membership import UpdateMembership
from qfl_sec.broadcasts import sums_from_broadcasts
from qfl_sec.contracts import (
    AggregateView,
    AnonymousUpdatesView,
    Attack,
    Defense,
    GlobalModelsView,
    InterceptedView,
    Knowledge,
    LostRoundError,
    ReleasedModelView,
    ServerComputeView,
    UpdatesView,
    View,
    reads_updates,
    visible,
)
from qfl_sec.defenses.stack import Stack
from qfl_sec.federation import TrainingConfig, build_model, train
from qfl_sec.plugins import get, names
from qfl_sec.transcript import Transcript
from qfl_sec.views import project

MASKED = get("defense", "secure_aggregation")()
DEFENSES: dict[str, Defense] = {
    "none": get("defense", "none")(),
    "dp_sgd": get("defense", "dp_sgd")(epsilon=8),
    "gaussian_noise": get("defense", "gaussian_noise")(epsilon=0.05),  # angles' noise is longer than half a turn
    "laplace_noise": get("defense", "laplace_noise")(epsilon=0.5),
    "gradient_pruning": get("defense", "gradient_pruning")(share=0.5),
    "secure_aggregation": MASKED,
    "anonymous_forwarding": get("defense", "anonymous_forwarding")(),
    "stack": Stack(defenses=(get("defense", "dp_sgd")(epsilon=8), MASKED)),
}
CASES = [
    (name, average)
    for name in DEFENSES
    for average in ("plain", "weighted")
    if (name, average) != ("anonymous_forwarding", "weighted")  # refused: weights would name the senders
]
ON_UPDATES: tuple[Attack, ...] = (GradientInversion(), UpdateMembership())


class LosingRounds(Defense):
    """Loses every second round."""

    name = "losing_rounds"

    def aggregate(
        self, updates: torch.Tensor, weights: torch.Tensor, *, round: int, generator: torch.Generator
    ) -> torch.Tensor:
        if round % 2:
            raise LostRoundError("for the test")
        return weights @ updates


def broadcasts(transcript: Transcript) -> GlobalModelsView:
    view = project(transcript, "client", DEFENSES["none"])
    assert type(view) is GlobalModelsView
    return view


def test_every_defense_is_looked_at() -> None:
    assert {*DEFENSES} - {"stack"} == {*names("defense")}


@pytest.mark.parametrize(("name", "average"), CASES)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_differences_are_the_averages_of_the_server(
    small_training: TrainingConfig,
    name: str,
    average: Literal["plain", "weighted"],
    optimizer: Literal["sgd", "adam"],
) -> None:
    """To half a unit in the last place of the weights, and a little for the average's own rounding."""
    precisions: tuple[Literal["single", "double"], ...] = ("single", "double")
    for precision in precisions:
        federation = replace(
            small_training.federation, average=average, optimizer=optimizer, learning_rate=0.5, precision=precision
        )
        transcript = train(replace(small_training, federation=federation, defense=DEFENSES[name]))
        found = transmissions(broadcasts(transcript), DEFENSES[name].prepare(transcript.metadata.setup))
        digits = torch.finfo(transcript.global_weights.dtype).eps * float(transcript.global_weights.abs().max())
        assert transcript.global_weights.dtype == federation.dtype
        assert float((found.values[:, 0] - transcript.aggregates.double()).abs().max()) <= digits
        assert float(transcript.aggregates.abs().max()) > 1e-3
        assert found.clients.squeeze(1).tolist() == [list(chosen) for chosen in transcript.metadata.setup.schedule]


def test_a_lost_round_is_seen_and_a_missing_client_is_not(small_training: TrainingConfig) -> None:
    lost = train(replace(small_training, defense=LosingRounds()))
    told = sums_from_broadcasts(broadcasts(lost))
    assert told.delivered is not None and lost.delivered is not None
    assert torch.equal(told.delivered, lost.delivered)
    assert told.delivered.all(1).tolist() == [True, False, True]
    partly = replace(lost, delivered=torch.tensor([[True, False], [False, False], [True, True]]))
    assert torch.equal(sums_from_broadcasts(broadcasts(partly)).delivered, told.delivered)
    assert sums_from_broadcasts(broadcasts(train(small_training))).delivered is None


def test_angles_that_were_sent_modulo_a_turn_are_told_like_others(small_training: TrainingConfig) -> None:
    """A server elsewhere may keep its angles in one turn; steps of this one never are longer than half a turn."""
    transcript = train(replace(small_training, federation=replace(small_training.federation, learning_rate=40.0)))
    view, wrapped = broadcasts(transcript), torch.ones(transcript.global_weights.shape[1], dtype=torch.bool)
    turned = replace(view, global_weights=torch.remainder(view.global_weights, 2 * math.pi))
    assert not torch.allclose(sums_from_broadcasts(turned).aggregates, transcript.aggregates)
    for one in (view, turned):
        assert torch.allclose(sums_from_broadcasts(one, wrapped=wrapped).aggregates, transcript.aggregates, atol=1e-12)
    straight = sums_from_broadcasts(turned, wrapped=~wrapped).aggregates
    assert torch.equal(straight, sums_from_broadcasts(turned).aggregates)


def test_sums_of_noisy_updates_are_as_long_as_they_are(small_training: TrainingConfig) -> None:
    defense = DEFENSES["gaussian_noise"]
    transcript = train(replace(small_training, defense=defense))
    assert float(transcript.aggregates.abs().max()) > math.pi
    wrapped = torch.ones(transcript.global_weights.shape[1], dtype=torch.bool)
    found = transmissions(broadcasts(transcript), defense.prepare(transcript.metadata.setup), wrapped=wrapped)
    assert torch.allclose(found.values[:, 0], transcript.aggregates, atol=1e-12)
    assert not found.as_sent


def test_under_secure_aggregation_a_client_learns_what_the_server_does(small_training: TrainingConfig) -> None:
    config = replace(small_training, defense=MASKED)
    transcript, population = train(config), config.population()
    knowledge = Knowledge(
        architecture=build_model(config, population.splits)[1],
        reference=population.reference(torch.float64),
        defense=MASKED.prepare(transcript.metadata.setup),
        candidates=population.candidates(torch.float64),
    )
    server, client = (project(transcript, who, MASKED) for who in ("server", "client"))
    assert type(server) is AggregateView and type(client) is GlobalModelsView
    given, told = (
        UpdateMembership().run(view, knowledge, generator=torch.Generator()).values for view in (server, client)
    )
    assert torch.allclose(given, told, atol=1e-9)
    assert float(given.abs().max()) > 0.1


@pytest.mark.parametrize("attack", ON_UPDATES, ids=lambda attack: attack.name)
def test_who_is_handed_what(attack: Attack) -> None:
    for view in (UpdatesView, AggregateView, InterceptedView, AnonymousUpdatesView, GlobalModelsView):
        assert visible(attack.requires, view)
    # The model alone has no differences; circuits tell more than any sum of updates, to attacks that read them.
    assert not visible(attack.requires, ReleasedModelView)
    assert not visible(attack.requires, ServerComputeView)
    assert not visible(attack.requires, None)
    assert not visible(SenderLinkage.requires, GlobalModelsView)


@pytest.mark.parametrize(
    ("requires", "expected"),
    [
        ((UpdatesView,), True),
        ((UpdatesView, GlobalModelsView), True),
        ((AggregateView, AnonymousUpdatesView), True),
        ((GlobalModelsView,), False),
        ((ReleasedModelView, GlobalModelsView), False),
        ((ReleasedModelView, GlobalModelsView, UpdatesView), False),
        ((ServerComputeView,), False),
    ],
)
def test_who_reads_updates(requires: tuple[type[View], ...], expected: bool) -> None:
    assert reads_updates(requires) == expected
