"""Planted leaks are found by a sharp attack and missed by a blunt one."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from qfl_sec import planting
from qfl_sec.contracts import Attack, Knowledge, MembershipScores, Question, Scores, UpdatesView, View
from qfl_sec.datasets import DataSpec
from qfl_sec.federation import TrainingConfig
from qfl_sec.instruments import PLANTED_SHARE, Planted, _planted
from qfl_sec.models import MlpClassifier, VariationalClassifier
from qfl_sec.planting import can_plant, find_planted
from qfl_sec.plugins import get


@dataclass(frozen=True, kw_only=True)
class Blind(Attack):
    """Scores at random."""

    name: ClassVar[str] = "blind"
    question: ClassVar[Question] = "membership"
    requires: ClassVar[tuple[type[View], ...]] = (UpdatesView,)

    def run(self, view: View, knowledge: Knowledge, *, generator: torch.Generator) -> Scores:
        assert knowledge.candidates is not None
        return MembershipScores(values=torch.rand(len(knowledge.candidates), generator=generator))


SHARP = [get("attack", "update_membership")(), get("attack", "gradient_inversion")(restarts=10)]


@pytest.mark.parametrize("attack", SHARP, ids=lambda attack: attack.name)
def test_sharp_attacks_find_what_was_planted(small_training: TrainingConfig, attack: Attack) -> None:
    assert can_plant(attack)
    found, planted = find_planted(attack, small_training, tolerance=0.05)
    assert planted == 20
    assert found >= 18


@pytest.mark.parametrize("attack", [*SHARP, get("attack", "gradient_inversion")(labels="known")], ids=repr)
def test_sharp_attacks_find_what_was_planted_in_sums(small_training: TrainingConfig, attack: Attack) -> None:
    found, planted = find_planted(attack, small_training, tolerance=0.05, sums=True)
    assert planted == 20
    assert found >= 18


def test_a_blunt_attack_misses_sums_and_fails_a_check_of_its_own(small_training: TrainingConfig) -> None:
    blunt = get("attack", "gradient_inversion")(restarts=1, iterations=2)
    found, planted = find_planted(blunt, small_training, tolerance=0.05, sums=True)
    assert found < 0.9 * planted
    check = _planted(Planted(attack=blunt.name, found=found, planted=planted, sums=True))
    assert not check.passed
    assert (check.id, check.label) == (
        "planted_leak_gradient_inversion_in_sums",
        "Leaks planted for gradient_inversion are found in sums",
    )


def test_sums_that_do_not_determine_their_records_do_not_count(small_training: TrainingConfig) -> None:
    """One layer of twelve angles for eight unknowns, of which fewer act on the two readouts."""
    config = replace(small_training, model=VariationalClassifier(layers=1, entangler="linear"))
    attack = get("attack", "gradient_inversion")(restarts=4, iterations=20)
    assert find_planted(attack, config, tolerance=0.05, sums=True) == (0, 0)


def test_a_blunt_attack_misses_it_and_fails_its_check(small_training: TrainingConfig) -> None:
    blunt = get("attack", "gradient_inversion")(restarts=1, iterations=1)
    found, planted = find_planted(blunt, small_training, tolerance=0.05)
    assert found < 0.9 * planted
    assert not _planted(Planted(attack=blunt.name, found=found, planted=planted)).passed
    guesses, pairs = find_planted(Blind(), small_training, tolerance=0.05)
    assert 3 <= guesses <= 17  # Binomial(20, 1/2), about one in a thousand outside
    assert pairs == 20
    assert not can_plant(Blind())


def test_records_that_an_update_does_not_determine_do_not_count(small_training: TrainingConfig) -> None:
    """One layer on six qubits: the first two readouts depend on fewer than six combinations of the features."""
    config = replace(
        small_training, data=DataSpec(features=6), model=VariationalClassifier(qubits=6, layers=1, entangler="linear")
    )
    attack = get("attack", "gradient_inversion")(restarts=4, iterations=20)
    found, planted = find_planted(attack, config, tolerance=0.05)
    assert found <= planted < 20


def test_records_that_share_their_update_with_others_do_not_count(small_training: TrainingConfig) -> None:
    """One layer: full rank at every answer, yet half of the updates have several solutions, and any may be found."""
    shallow = replace(small_training, model=VariationalClassifier(layers=1))
    found, planted = find_planted(get("attack", "gradient_inversion")(), shallow, tolerance=0.05)
    assert found == planted > 0
    blunt = get("attack", "gradient_inversion")(restarts=1, iterations=2)
    found, planted = find_planted(blunt, shallow, tolerance=0.05)
    assert found < 0.9 * planted


@pytest.mark.parametrize("model", [MlpClassifier(), VariationalClassifier(layers=1)])
def test_one_sum_alone_may_hide_a_member_and_several_do_not(
    small_training: TrainingConfig, monkeypatch: pytest.MonkeyPatch, model: MlpClassifier | VariationalClassifier
) -> None:
    """Of the best test there is nothing is missed but what one other record hides."""
    found = []
    for meetings in (1, planting.MEETINGS):
        monkeypatch.setattr(planting, "MEETINGS", meetings)
        config = replace(small_training, model=model)
        found.append(find_planted(get("attack", "update_membership")(), config, tolerance=0.05, sums=True))
    assert found[0][0] < found[1][0]
    assert found[1][0] >= PLANTED_SHARE * found[1][1] == PLANTED_SHARE * 20
