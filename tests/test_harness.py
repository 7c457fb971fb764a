"""Cells: attacks read the saved transcript and never the truth; liars are caught."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from qfl_sec.checking import InputError
from qfl_sec.contracts import (
    Attack,
    Knowledge,
    MembershipScores,
    NotApplicableError,
    Question,
    Reconstructions,
    Scores,
    UpdatesView,
    View,
)
from qfl_sec.federation import TrainingConfig, build_model, train
from qfl_sec.grid import TrainingTask, cell_task, training_task
from qfl_sec.harness import attack_with_control, run_cell, run_training, scores_from_bytes
from qfl_sec.models import VariationalClassifier
from qfl_sec.plugins import get
from qfl_sec.randomness import Streams
from qfl_sec.scoring import ReconstructionTrial, score_reconstruction
from qfl_sec.transcript import Transcript, load_truth
from qfl_sec.views import project


@dataclass(frozen=True, kw_only=True)
class Answer(Attack):
    """Gives a prepared answer of a shape to be tried."""

    name: ClassVar[str] = "answer"
    question: ClassVar[Question] = "membership"
    requires: ClassVar[tuple[type[View], ...]] = (UpdatesView,)
    length: int = -1
    value: str = "0"

    def run(self, view: View, knowledge: Knowledge, *, generator: torch.Generator) -> Scores:
        assert knowledge.candidates is not None
        count = len(knowledge.candidates) if self.length < 0 else self.length
        return MembershipScores(values=torch.full((count,), float(self.value)))


@pytest.fixture
def trained(small_training: TrainingConfig, tmp_path: Path) -> tuple[TrainingTask, Path]:
    task = training_task(small_training, variant="default", setting="none")
    run_training(task, tmp_path / "transcript")
    return task, tmp_path / "transcript"


ATTACKS = [
    get("attack", "update_membership")(),
    get("attack", "gradient_inversion")(targets=2, restarts=2, iterations=5),
    get("attack", "gradient_inversion")(targets=2, restarts=2, iterations=5, labels="known"),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
@pytest.mark.parametrize("truth", ["hidden", "replaced"])
def test_raw_scores_do_not_depend_on_the_truth(trained: tuple[TrainingTask, Path], attack: Attack, truth: str) -> None:
    task, folder = trained
    cell = cell_task(task, "server", attack)
    before = run_cell(cell, folder)
    path = folder / "truth.safetensors"
    if truth == "hidden":
        path.unlink()
    else:
        lies = {name: torch.zeros_like(value) for name, value in load_file(path).items()}
        path.unlink()
        save_file(lies, path)
    assert run_cell(cell, folder) == before


def test_scores_survive_their_bytes(trained: tuple[TrainingTask, Path]) -> None:
    task, folder = trained
    scores, control = scores_from_bytes(run_cell(cell_task(task, "server", ATTACKS[0]), folder))
    assert isinstance(scores, MembershipScores)
    assert isinstance(control, MembershipScores)
    assert not torch.equal(scores.values, control.values)
    rebuilt, none = scores_from_bytes(run_cell(cell_task(task, "server", ATTACKS[1]), folder))
    assert isinstance(rebuilt, Reconstructions)
    assert none is None
    assert rebuilt.answers().shape[0] == len(rebuilt.targets) == 2


@pytest.mark.parametrize("hidden", [False, True])
def test_the_control_of_sums_asks_about_other_records(small_training: TrainingConfig, hidden: bool) -> None:
    """All clients are in every sum: a candidate at another client's door would still be found in it."""
    defense = get("defense", "secure_aggregation" if hidden else "none")()
    config = replace(
        small_training, defense=defense, federation=replace(small_training.federation, clients_per_round=4)
    )
    transcript, population = train(config), config.population()
    view = project(transcript, "server", defense)
    assert view is not None
    knowledge = Knowledge(
        architecture=build_model(config, population.splits)[1],
        reference=population.reference(torch.float64),
        defense=None,
        candidates=population.candidates(torch.float64),
    )
    attack, given = get("attack", "update_membership")(), knowledge.candidates
    assert given is not None
    _, control = scores_from_bytes(attack_with_control(attack, view, knowledge, Streams(0)))
    if hidden:
        moved = replace(given, features=given.features.roll(1, 0), labels=given.labels.roll(1, 0))
    else:
        moved = replace(given, clients=(given.clients + 1) % 4)
    expected = attack.run(view, replace(knowledge, candidates=moved), generator=torch.Generator())
    assert isinstance(control, MembershipScores)
    assert torch.equal(control.values, expected.values)


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_sums_are_attacked_without_the_truth(small_training: TrainingConfig, tmp_path: Path, attack: Attack) -> None:
    config = replace(small_training, defense=get("defense", "secure_aggregation")())
    task = training_task(config, variant="default", setting="sums")
    run_training(task, tmp_path / "t")
    before = run_cell(cell_task(task, "server", attack), tmp_path / "t")
    (tmp_path / "t" / "truth.safetensors").unlink()
    assert run_cell(cell_task(task, "server", attack), tmp_path / "t") == before
    scores, _ = scores_from_bytes(before)
    if isinstance(scores, Reconstructions):
        assert scores.targets[:, 1].tolist() == [-1, -1]
        assert scores.unknowns.tolist() == [32, 32]  # two clients, four records, four features


def test_sums_of_two_records_are_rebuilt_through_secure_aggregation(
    small_training: TrainingConfig, tmp_path: Path
) -> None:
    """Eight unknowns in 36 equations of fixed-point numbers: masks hide each update, not what the sum determines."""
    federation = replace(small_training.federation, batch_size=1, rounds=6)
    config = replace(
        small_training,
        federation=federation,
        model=VariationalClassifier(layers=3),
        defense=get("defense", "secure_aggregation")(),
    )
    task = training_task(config, variant="default", setting="sums")
    run_training(task, tmp_path / "t")
    scores, _ = scores_from_bytes(
        run_cell(cell_task(task, "server", get("attack", "gradient_inversion")()), tmp_path / "t")
    )
    assert isinstance(scores, Reconstructions)
    metadata = Transcript.load(tmp_path / "t").metadata
    trial = ReconstructionTrial(
        scores=scores,
        metadata=metadata,
        truth=load_truth(tmp_path / "t", metadata),
        population=config.population(),
    )
    success, control, guess, figures, _ = score_reconstruction(
        [trial], knows_labels=False, rng=np.random.default_rng(0)
    )
    assert success.n == 12
    assert success.k >= 10 > 3 > guess.k
    assert control is not None and control.k <= 2
    assert (figures.rank, figures.unknowns, figures.not_identifiable) == (8, 8, 0)


@pytest.mark.parametrize("blob", [b"", b"nonsense"])
def test_damaged_scores_are_refused(blob: bytes) -> None:
    with pytest.raises(InputError, match="Run the audit again"):
        scores_from_bytes(blob)


@pytest.mark.parametrize(
    ("lie", "words"),
    [({"length": 3}, r"shape \(3,\)"), ({"value": "nan"}, "not finite"), ({"value": "inf"}, "not finite")],
)
def test_an_attack_that_lies_about_its_scores_fails(
    trained: tuple[TrainingTask, Path], lie: dict[str, object], words: str
) -> None:
    task, folder = trained
    with pytest.raises(ValueError, match=words):
        run_cell(cell_task(task, "server", Answer(**lie)), folder)  # type: ignore[arg-type]


def test_a_transcript_of_another_training_is_refused(trained: tuple[TrainingTask, Path]) -> None:
    task, folder = trained
    other = training_task(replace(task.config, seed=9), variant="default", setting="none")
    with pytest.raises(InputError, match="another training"):
        run_cell(cell_task(other, "server", Answer()), folder)


def test_membership_on_adam_updates_is_said_to_be_not_applicable(
    small_training: TrainingConfig, tmp_path: Path
) -> None:
    federation = replace(small_training.federation, optimizer="adam", learning_rate=0.05)
    task = training_task(replace(small_training, federation=federation), variant="default", setting="none")
    run_training(task, tmp_path / "t")
    with pytest.raises(NotApplicableError):
        run_cell(cell_task(task, "server", ATTACKS[0]), tmp_path / "t")
