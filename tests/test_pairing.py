"""Settings of a seed share what they should, and their paired differences reach results and report."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import pytest
import sample_results as sample
import torch
from torch import Tensor

from qfl_sec.attacks.update_membership import UpdateMembership
from qfl_sec.contracts import Defense
from qfl_sec.datasets import DataSpec
from qfl_sec.experiment import Experiment
from qfl_sec.federation import FederationSpec, TrainingConfig, train
from qfl_sec.models import MlpClassifier
from qfl_sec.reports import document
from qfl_sec.reports.pairs import paired_table
from qfl_sec.reports.selection import Selection
from qfl_sec.results import PairedDifference, Results, dumps, loads
from qfl_sec.tables import RunSpec
from qfl_sec.workbench import audit

EVERYTHING = ("split", "members", "initial weights", "clients of each round", "batches")
SEEDS = tuple(range(8))


@dataclass(frozen=True, kw_only=True)
class Shrinking(Defense):
    """Shrink what leaves a client."""

    name: ClassVar[str] = "shrinking"
    factor: float = 0.85

    def update(self, updates: Tensor, *, round: int, generator: torch.Generator) -> Tensor:
        return self.factor * updates


@dataclass(frozen=True, kw_only=True)
class Jitter(Defense):
    """Add noise too small to matter."""

    name: ClassVar[str] = "jitter"
    size: float = 0.01

    def update(self, updates: Tensor, *, round: int, generator: torch.Generator) -> Tensor:
        return updates + self.size * torch.randn(updates.shape, generator=generator, dtype=updates.dtype)


@dataclass(frozen=True, kw_only=True)
class OwnBatches(Defense):
    """Draw batches in another way."""

    name: ClassVar[str] = "own_batches"
    sampling: ClassVar[Literal["fixed", "poisson"]] = "poisson"


def audited(*defenses: Defense, rounds: int, seeds: tuple[int, ...]) -> Results:
    return audit(
        Experiment(
            data=DataSpec(),
            model=MlpClassifier(),
            federation=FederationSpec(clients=4, clients_per_round=2, rounds=rounds),
            defenses=defenses,
            attacks=(UpdateMembership(),),
            run=RunSpec(seeds=seeds),
        )
    )


@pytest.fixture(scope="module")
def results() -> Results:
    return audited(Shrinking(), Jitter(), rounds=6, seeds=SEEDS)


def paired(results: Results, setting: str, attack: str | None = None) -> PairedDifference:
    return next(
        one
        for one in results.paired
        if one.setting.startswith(setting) and one.attack == attack and one.adversary in (None, "server")
    )


def test_trainings_of_a_seed_share_split_initial_weights_and_batches() -> None:
    def trained(defense: Defense, seed: int = 3) -> TrainingConfig:
        return TrainingConfig(
            data=DataSpec(),
            model=MlpClassifier(),
            federation=FederationSpec(clients=4, clients_per_round=2, rounds=2),
            defense=defense,
            seed=seed,
        )

    bare, other = train(trained(Shrinking(factor=1.0))), train(trained(Jitter(size=1.0)))
    for name in ("members", "clients", "batch_records"):
        assert torch.equal(getattr(bare.truth, name), getattr(other.truth, name))
    assert torch.equal(bare.global_weights[0], other.global_weights[0])
    assert not torch.equal(bare.global_weights[1], other.global_weights[1])
    assert not torch.equal(bare.global_weights[0], train(trained(Shrinking(), seed=4)).global_weights[0])


def test_what_was_shared_is_read_from_the_records(results: Results) -> None:
    assert {one.shared for one in results.paired} == {EVERYTHING}
    assert {one.trainings for one in results.paired} == {len(SEEDS)}


def test_batches_of_its_own_are_said(results: Results) -> None:
    own = audited(OwnBatches(), rounds=2, seeds=(0,))
    assert {one.shared for one in own.paired} == {EVERYTHING[:-1]}
    table = paired_table(Selection(results=own))
    assert {row.cells[-2] for group in table.groups for row in group.rows} == {"own"}
    assert "share split, members, initial weights and clients of each round, as found" in table.notes[0]
    assert "Own batches: " in table.notes[0]
    assert "Own batches: " not in paired_table(Selection(results=results)).notes[0]


def test_differences_are_those_of_the_rates(results: Results) -> None:
    accuracy = {one.setting: one.accuracy for one in results.utility}
    found = {(one.setting, one.adversary, one.attack): one.success for one in results.measurements}
    assert {one.measure for one in results.paired} == {"accuracy", "success"}
    assert "none" not in {one.setting for one in results.paired}
    for one in results.paired:
        if one.measure == "accuracy":
            here, there = accuracy[one.setting], accuracy["none"]
        else:
            here, there = found[one.setting, one.adversary, one.attack], found["none", one.adversary, one.attack]
        assert here is not None and there is not None
        assert one.difference == pytest.approx(here.k / here.n - there.k / there.n)
        assert one.gained is not None and one.lost is not None
        assert (one.gained - one.lost, one.trials) == (here.k - there.k, here.n)
        assert one.low <= one.difference <= one.high


def test_a_small_effect_shows_in_the_pairs_alone(results: Results) -> None:
    accuracy = {one.setting: one.accuracy for one in results.utility}
    bare, shrunk = accuracy["none"], accuracy["shrinking(factor=0.85)"]
    assert bare.low < shrunk.k / shrunk.n and shrunk.high > bare.k / bare.n  # each rate lies in the other's interval
    effect = paired(results, "shrinking")
    assert -0.05 < effect.difference < 0 and effect.high < 0


def test_no_effect_does_not_show(results: Results) -> None:
    for attack in (None, "update_membership"):
        assert paired(results, "jitter", attack).low < 0 < paired(results, "jitter", attack).high


def test_results_keep_them_and_older_files_have_none(results: Results) -> None:
    assert loads(dumps(results)) == results
    assert loads(dumps(replace(results, paired=()))).paired == ()


def test_the_report_shows_them(results: Results) -> None:
    table = paired_table(Selection(results=results))
    assert [(group.title, group.note) for group in table.groups] == [
        ("accuracy on unseen records", ""),
        ("update_membership", "curious server"),
        ("update_membership", "another client"),
    ]
    rows = [row.cells for row in table.groups[0].rows]
    effect = paired(results, "shrinking")
    assert rows[0][1] == f"−{abs(100 * effect.difference):.2f}"
    assert [row[-2:] for row in rows] == [("same", "lower"), ("same", "no difference shown")]
    assert table in document(results, sample.environment(), sample.timings()).measurements.counts
