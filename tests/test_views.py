"""Each adversary sees its share of a transcript, and the truth is in none of them."""

from dataclasses import dataclass, fields, replace
from typing import ClassVar

import pytest
import torch

from qfl_sec.channel import PlainChannel
from qfl_sec.compute import PlainCloud
from qfl_sec.contracts import (
    ADVERSARIES,
    Adversary,
    AggregateView,
    Defense,
    GlobalModelsView,
    ReleasedModelView,
    UpdatesView,
    View,
    visible,
)
from qfl_sec.federation import TrainingConfig, train
from qfl_sec.plugins import get
from qfl_sec.views import project


@dataclass(frozen=True, kw_only=True)
class SumOnly(Defense):
    """Shows the server an aggregate and everybody else nothing."""

    name: ClassVar[str] = "sum_only"

    def view_for(self, adversary: Adversary, default: type[View]) -> type[View] | None:
        return AggregateView if adversary == "server" else None


def test_each_adversary_sees_its_share(mlp_training: TrainingConfig) -> None:
    transcript = train(mlp_training)
    none = get("defense", "none")()
    server = project(transcript, "server", none)
    client = project(transcript, "client", none)
    recipient = project(transcript, "recipient", none)
    assert isinstance(server, UpdatesView)
    assert torch.equal(server.updates, transcript.updates)
    assert type(client) is GlobalModelsView
    assert isinstance(recipient, ReleasedModelView)
    assert torch.equal(recipient.weights, transcript.global_weights[-1])


def test_a_defense_decides_what_is_seen(mlp_training: TrainingConfig) -> None:
    transcript = train(mlp_training)
    server = project(transcript, "server", SumOnly())
    assert isinstance(server, AggregateView)
    assert torch.equal(server.aggregates, transcript.aggregates)
    assert not hasattr(server, "updates")
    assert project(transcript, "recipient", SumOnly()) is None
    assert not visible((UpdatesView,), AggregateView)
    assert visible((GlobalModelsView,), UpdatesView)
    assert not visible((GlobalModelsView,), None)


@pytest.mark.parametrize("adversary", ADVERSARIES)
def test_no_view_holds_the_truth_or_shares_its_memory(small_training: TrainingConfig, adversary: Adversary) -> None:
    tapped, cloud = PlainChannel(adversary="intercept_resend", adversary_fraction=0.5), PlainCloud(shots=10)
    transcript = train(replace(small_training, channel=tapped, compute=cloud))
    view = project(transcript, adversary, get("defense", "none")(), tapped, cloud)
    assert view is not None
    allowed = {"adversary", "setup", "global_weights", "selected", "updates", "aggregates", "weights"}
    assert {field.name for field in fields(view)} <= allowed | {"delivered", "known", "angles", "filled"}
    kept = transcript.global_weights.clone()
    for value in vars(view).values():
        if isinstance(value, torch.Tensor):
            value.zero_()
    assert torch.equal(transcript.global_weights, kept)


def test_an_unknown_view_is_refused(mlp_training: TrainingConfig) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Everything(Defense):
        """Claims a view of its own."""

        name: ClassVar[str] = "everything"

        def view_for(self, adversary: Adversary, default: type[View]) -> type[View] | None:
            return View

    with pytest.raises(ValueError, match="Expected view_for to return one of"):
        project(train(mlp_training), "server", Everything())
