"""Planted clients are named by whoever can compare updates, and by nobody who cannot."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from qfl_sec.contracts import AnonymousUpdatesView, Attack, Knowledge, LinkageScores, Question, Records, View
from qfl_sec.datasets import DataSpec
from qfl_sec.federation import TrainingConfig, build_model
from qfl_sec.instruments import Planted, _planted
from qfl_sec.models import MlpClassifier, ModelSpec, VariationalClassifier, flat_weights
from qfl_sec.planted_senders import find_senders
from qfl_sec.planting import can_plant, find_planted
from qfl_sec.plugins import get

SHARP = get("attack", "sender_linkage")()


def compared(view: AnonymousUpdatesView) -> Tensor:
    """Name senders by nothing but which updates are equal, and who took part when."""
    rounds = view.setup.rounds
    taking_part = {
        frozenset(round_ for round_ in range(rounds) if client in view.setup.schedule[round_]): client
        for client in range(view.setup.clients)
    }
    equal = (view.updates.unsqueeze(2).unsqueeze(2) == view.updates).all(-1).any(-1)  # (rounds, places, rounds)
    return torch.tensor(
        [[taking_part[frozenset(one.nonzero().flatten().tolist())] for one in places] for places in equal]
    )


def scheduled(view: AnonymousUpdatesView) -> Tensor:
    return torch.tensor(view.setup.schedule)


def first_half(view: AnonymousUpdatesView) -> Tensor:
    half = view.setup.rounds // 2
    return torch.cat([compared(view)[:half], scheduled(view)[half:]])


ANSWERS: dict[str, Callable[[AnonymousUpdatesView], Tensor]] = {
    "the schedule as it stands": scheduled,
    "the right groups under exchanged names": lambda view: (compared(view) + 1) % view.setup.clients,
    "half of the rounds": first_half,
    "nobody": lambda view: torch.full(view.updates.shape[:2], -1),
    "who sends most": lambda view: scheduled(view).gather(1, view.updates.norm(dim=-1).argsort(1).argsort(1)),
}


@dataclass(frozen=True, kw_only=True)
class Answering(Attack):
    """Names senders by a function of the view."""

    name: ClassVar[str] = "answering"
    question: ClassVar[Question] = "linkage"
    requires: ClassVar[tuple[type[View], ...]] = (AnonymousUpdatesView,)
    answer: Callable[[AnonymousUpdatesView], Tensor]

    def run(self, view: View, knowledge: Knowledge, *, generator: torch.Generator) -> LinkageScores:
        assert isinstance(view, AnonymousUpdatesView)
        return LinkageScores(senders=self.answer(view))


MODELS: list[ModelSpec] = [
    VariationalClassifier(layers=1),
    VariationalClassifier(layers=2),
    VariationalClassifier(layers=2, encoding="amplitude", qubits=2),
    VariationalClassifier(layers=2, encoding="basis"),
    MlpClassifier(),
]


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_names_are_certain_and_the_attack_finds_them(small_training: TrainingConfig, model: ModelSpec) -> None:
    config = replace(small_training, model=model)
    assert can_plant(SHARP)
    assert find_planted(Answering(answer=compared), config, tolerance=0.05) == (60, 60)
    found, planted = find_planted(SHARP, config, tolerance=0.05)
    assert planted == 60
    assert found >= 54


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_broken_attacks_fail_their_check(
    small_training: TrainingConfig, answer: Callable[[AnonymousUpdatesView], Tensor]
) -> None:
    broken = Answering(answer=answer)
    assert not can_plant(broken)  # it is no attack of this package: its silence is its author's to explain
    found, planted = find_planted(broken, small_training, tolerance=0.05)
    assert planted == 60
    check = _planted(Planted(attack="sender_linkage", found=found, planted=planted))
    assert not check.passed
    assert check.id == "planted_leak_sender_linkage"


def test_an_attack_that_stops_too_early_fails_its_check(small_training: TrainingConfig) -> None:
    config = replace(small_training, model=VariationalClassifier(layers=2, encoding="basis"))
    hasty = get("attack", "sender_linkage")(restarts=1, sweeps=1)
    found, planted = find_planted(hasty, config, tolerance=0.05)
    assert found < 0.9 * planted


def test_clients_who_send_the_same_are_not_planted(small_training: TrainingConfig) -> None:
    population = small_training.population()
    module, architecture = build_model(small_training, population.splits)
    records = population.reference(torch.float64)

    def planted(rows: Tensor) -> tuple[int, int]:
        chosen = Records(features=records.features[rows], labels=records.labels[rows])
        generator = torch.Generator().manual_seed(0)
        attack = Answering(answer=compared)
        return find_senders(attack, architecture, flat_weights(module), chosen, generator=generator)

    assert planted(torch.arange(8).repeat(10)) == (60, 60)
    assert planted(torch.arange(5).repeat(10)) == (30, 30)  # 10 rounds: all triples of five
    assert planted(torch.arange(3).repeat(10)) == (0, 0)  # all of them take part in the only round


def test_a_reference_of_few_records_plants_fewer_clients(small_training: TrainingConfig) -> None:
    config = replace(small_training, data=DataSpec(reference_fraction=0.03))
    assert find_planted(SHARP, config, tolerance=0.05) == (30, 30)  # 17 records: five clients, 12 for reference
