"""Planted circuits: a sharp attack finds what an encoding keeps, what it loses does not count, a blunt one fails."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from qfl_sec.assembly import assemble
from qfl_sec.attacks.circuit_membership import CircuitMembership
from qfl_sec.attacks.circuit_reading import CircuitReading
from qfl_sec.contracts import (
    Architecture,
    Attack,
    Knowledge,
    MembershipScores,
    Question,
    Reconstructions,
    Records,
    ServerComputeView,
    View,
)
from qfl_sec.experiment import Experiment, parse
from qfl_sec.federation import TrainingConfig
from qfl_sec.grid import plan
from qfl_sec.instruments import Planted, _planted
from qfl_sec.models import MlpClassifier, VariationalClassifier
from qfl_sec.planted_circuits import find_in_circuits
from qfl_sec.planting import can_plant, find_planted
from qfl_sec.results import Results, loads
from qfl_sec.store import Store
from qfl_sec.verify import verify
from qfl_sec.workbench import run_audit

READING, MEMBERSHIP = CircuitReading(), CircuitMembership()


@dataclass(frozen=True, kw_only=True)
class Scoring(Attack):
    """Scores candidates by a function of the view, what is known, and their encodings."""

    name: ClassVar[str] = "scoring"
    question: ClassVar[Question] = "membership"
    requires: ClassVar[tuple[type[View], ...]] = (ServerComputeView,)
    values: Callable[[ServerComputeView, Tensor], Tensor]

    def run(self, view: View, knowledge: Knowledge, *, generator: torch.Generator) -> MembershipScores:
        encoding = knowledge.architecture.encoding
        assert isinstance(view, ServerComputeView) and knowledge.candidates is not None and encoding is not None
        return MembershipScores(values=self.values(view, encoding(knowledge.candidates.features)))


@dataclass(frozen=True, kw_only=True)
class Rebuilding(Attack):
    """Answers what a function makes of the angles (rounds, clients, slots, angles), and claims any rank."""

    name: ClassVar[str] = "rebuilding"
    question: ClassVar[Question] = "reconstruction"
    requires: ClassVar[tuple[type[View], ...]] = (ServerComputeView,)
    records: Callable[[ServerComputeView, Knowledge], Tensor]
    claimed: int = 99
    answered: int | None = None

    def run(self, view: View, knowledge: Knowledge, *, generator: torch.Generator) -> Reconstructions:
        assert isinstance(view, ServerComputeView)
        targets = view.filled.any(-1).nonzero()[: self.answered]
        records = self.records(view, knowledge)[targets[:, 0], targets[:, 1]].unsqueeze(1)
        return Reconstructions(
            targets=targets,
            records=records,
            labels=torch.full(records.shape[:-1], -1),
            residuals=torch.zeros(len(targets), 1),
            ranks=torch.full((len(targets),), self.claimed),
            equations=view.angles.shape[-1],
            unknowns=torch.full((len(targets),), 12),
        )


def nearest(angles: Tensor, asked: Tensor) -> Tensor:
    return -torch.cdist(asked, angles).amin(1)


def noise(view: ServerComputeView, knowledge: Knowledge) -> Tensor:
    return torch.randn(*view.filled.shape, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def sharp(view: ServerComputeView, knowledge: Knowledge) -> Tensor:
    """Undo RY(arctan x) by hand: the angles of the two gates of a feature stand one after the other, in some order."""
    halves = view.angles.unflatten(-1, (4, 2)).tan()
    swapped = view.angles.unflatten(-1, (2, 4)).tan().mT
    pairs = halves if torch.allclose(halves[..., 0] ** 2, halves[..., 1]) else swapped
    return pairs[..., 0]


READERS: dict[str, Rebuilding] = {
    "noise": Rebuilding(records=noise),
    "noise that claims to be undetermined": Rebuilding(records=noise, claimed=0),
    "no number": Rebuilding(records=lambda view, known: noise(view, known) * torch.nan),
    "the mean record": Rebuilding(
        records=lambda view, known: known.reference.features.mean(0).double().expand(*view.filled.shape, -1)
    ),
    "angles taken for features": Rebuilding(records=lambda view, known: 3 * view.angles[..., :4]),
    "another round's": Rebuilding(records=lambda view, known: sharp(view, known).roll(1, 0)),
    "another client's": Rebuilding(records=lambda view, known: sharp(view, known).flip(1)),
    "the first batch alone": Rebuilding(records=sharp, answered=1),
    "no batch": Rebuilding(records=sharp, answered=0),
    "the model's weights": Rebuilding(
        records=lambda view, known: view.global_weights[0, :4].double().expand(*view.filled.shape, -1)
    ),
}

SCORES: dict[str, Scoring] = {
    "noise": Scoring(values=lambda view, asked: torch.rand(len(asked), generator=torch.Generator().manual_seed(0))),
    "one for all": Scoring(values=lambda view, asked: torch.zeros(len(asked))),
    "the sign turned": Scoring(values=lambda view, asked: -nearest(view.angles[view.filled], asked)),
    "the first round alone": Scoring(values=lambda view, asked: nearest(view.angles[0, view.filled[0]], asked)),
    "the first client alone": Scoring(values=lambda view, asked: nearest(view.angles[:, 0].flatten(0, 1), asked)),
    "empty slots": Scoring(values=lambda view, asked: nearest(view.angles[~view.filled], asked)),
    "the model's weights": Scoring(values=lambda view, asked: nearest(view.global_weights[:, :8].double(), asked)),
}

ENCODINGS: list[tuple[dict[str, Any], int]] = [  # and how many of 20 records can be rebuilt
    ({}, 20),
    ({"encoding": "angle"}, 20),
    ({"encoding": "angle", "frequencies": (3.0, 1.0)}, 20),
    ({"encoding": "amplitude", "qubits": 3}, 20),
    ({"encoding": "amplitude", "qubits": 2}, 0),  # no length, no sign
    ({"encoding": "basis"}, 0),  # one bit a feature
]


@pytest.mark.parametrize(("model", "rebuilt"), ENCODINGS, ids=str)
def test_what_an_encoding_keeps_is_found(small_training: TrainingConfig, model: dict[str, Any], rebuilt: int) -> None:
    config = replace(small_training, model=VariationalClassifier(**{"layers": 2, **model}))
    features = config.population().reference(torch.float64).features
    pairs = min(20, len((features > 0).unique(dim=0)) // 2) if model.get("encoding") == "basis" else 20
    assert can_plant(READING) and can_plant(MEMBERSHIP)
    assert find_planted(READING, config, tolerance=0.05) == (rebuilt, rebuilt)
    assert find_planted(MEMBERSHIP, config, tolerance=0.05) == (pairs, pairs)


def test_a_model_without_circuits_plants_nothing(mlp_training: TrainingConfig) -> None:
    assert isinstance(mlp_training.model, MlpClassifier)
    for attack in (READING, MEMBERSHIP):
        assert find_planted(attack, mlp_training, tolerance=0.05) == (0, 0)


def test_an_angle_undone_by_hand_is_a_sharp_attack(small_training: TrainingConfig) -> None:
    """So the broken readers fail for what they do wrong, not for the angles' order."""
    assert find_planted(Rebuilding(records=sharp), small_training, tolerance=0.05) == (20, 20)


@pytest.mark.parametrize("broken", [*READERS.values(), *SCORES.values()], ids=[*READERS, *SCORES])
def test_broken_attacks_fail_their_check(small_training: TrainingConfig, broken: Attack) -> None:
    found, planted = find_planted(broken, small_training, tolerance=0.05)
    assert planted == 20
    assert not _planted(Planted(attack=broken.name, found=found, planted=planted)).passed


def test_a_search_that_stops_too_early_fails_its_check(small_training: TrainingConfig) -> None:
    found, planted = find_planted(CircuitReading(starts=1, iterations=1), small_training, tolerance=0.001)
    assert planted == 20
    assert found < 18


def in_circuits(attack: Attack, encoding: Callable[[Tensor], Tensor], features: Tensor) -> tuple[int, int]:
    """Plant records of any encoding."""
    architecture = Architecture(
        n_parameters=2,
        n_features=features.shape[1],
        n_classes=2,
        wrapped=torch.zeros(2, dtype=torch.bool),
        outputs=lambda weights, inputs: inputs[..., :2],
        encoding=encoding,
    )
    return find_in_circuits(
        attack,
        architecture,
        torch.zeros(2, dtype=torch.float64),
        Records(features=features, labels=torch.arange(len(features)) % 2),
        most=20,
        ranges=torch.ones(features.shape[1], dtype=torch.float64).numpy(),
        tolerance=0.05,
        generator=torch.Generator().manual_seed(0),
    )


def uniform(count: int, features: int = 4) -> Tensor:
    drawn = torch.rand(count, features, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return 0.2 + 0.8 * drawn


def test_another_record_of_the_same_circuit_does_not_count() -> None:
    """A search finds either root of the first feature's square; both have the right angles, one is the record."""

    def squared(x: Tensor) -> Tensor:
        return torch.cat([x[..., :1] ** 2, x[..., 1:]], dim=-1)

    features = uniform(120)
    features[::2, 0] *= -1
    found, planted = in_circuits(replace(READING, targets=20), squared, features)
    assert 0 < found == planted < 20
    guesses = Rebuilding(records=lambda view, known: 3 * noise(view, known))
    found, planted = in_circuits(guesses, squared, features)
    assert planted == 20
    assert found < 18


@pytest.mark.parametrize(
    "lossy",
    [
        lambda x: x[..., :2],  # half of the features
        lambda x: x / x.norm(dim=-1, keepdim=True),  # direction
        lambda x: torch.cat([x[..., :3], x[..., 2:3] + x[..., 3:] * 0], dim=-1),
        torch.sign,
    ],
)
def test_features_that_no_angle_tells_do_not_count(lossy: Callable[[Tensor], Tensor]) -> None:
    assert in_circuits(replace(READING, targets=20), lossy, uniform(120)) == (0, 0)
    claims = Rebuilding(records=lambda view, known: noise(view, known), claimed=12)
    assert in_circuits(claims, lossy, uniform(120)) == (0, 0)  # whatever it says of itself


def test_records_of_one_circuit_are_never_on_both_sides() -> None:
    """Of 60 directions in two lengths each, 20 are run and 20 others left out; alone they are all told apart."""

    def direction(x: Tensor) -> Tensor:
        return x / x.norm(dim=-1, keepdim=True)

    doubled = torch.cat([uniform(60), 2 * uniform(60)])
    order = torch.randperm(120, generator=torch.Generator().manual_seed(3))
    assert in_circuits(MEMBERSHIP, direction, doubled[order]) == (20, 20)
    assert in_circuits(MEMBERSHIP, direction, uniform(1).repeat(120, 1)) == (0, 0)
    assert in_circuits(MEMBERSHIP, direction, uniform(7).repeat(10, 1)) == (3, 3)
    assert in_circuits(MEMBERSHIP, lambda x: x[..., :0], uniform(60)) == (0, 0)


EXPERIMENT = {
    "federation": {"clients": 4, "clients_per_round": 2, "rounds": 3, "batch_size": 2},
    "model": {"name": "variational_classifier", "layers": 1},
    "compute": {"name": "plain_cloud", "shots": 5},
    "sweep": {"model.encoding": ["basis", "arctan"]},
    "attacks": [{"name": "circuit_reading", "targets": 4}, {"name": "circuit_membership"}],
    "run": {"seeds": [0]},
}


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return parse(EXPERIMENT, "test")


@pytest.fixture(scope="module")
def folder(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("circuits")
    run_audit(experiment, out=place, workers=1, inline=True)
    return place


def assembled(experiment: Experiment, folder: Path) -> Results:
    with Store(folder / "results.sqlite") as store:
        return assemble(experiment, plan(experiment), store, folder / "transcripts")


def test_a_run_says_what_was_found_in_the_first_model_that_determines_anything(folder: Path) -> None:
    results = loads((folder / "results.json").read_bytes())
    checks = {one.id: one for one in results.instruments}
    assert checks["planted_leak_circuit_reading"].result == "20 of 20"  # of the second: bits rebuild nothing
    assert checks["planted_leak_circuit_reading"].passed
    assert checks["planted_leak_circuit_membership"].passed
    assert {one.verdict for one in results.verdicts if one.attack} & {"above tolerance", "open", "tested only"}
    assert not verify(folder).mismatches


def test_a_broken_reading_withdraws_all_verdicts(
    experiment: Experiment, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = CircuitReading.run

    def broken(self: CircuitReading, view: View, knowledge: Knowledge, **drawn: torch.Generator) -> Reconstructions:
        assert isinstance(view, ServerComputeView)
        return honest(self, replace(view, angles=view.angles.roll(1, 0)), knowledge, **drawn)

    monkeypatch.setattr(CircuitReading, "run", broken)
    results = assembled(experiment, folder)
    assert {one.id for one in results.instruments if not one.passed} == {"planted_leak_circuit_reading"}
    assert {one.verdict for one in results.verdicts} == {"no verdict"}
