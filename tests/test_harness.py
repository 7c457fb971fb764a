"""Cells: attacks read the saved transcript and never the truth; liars are caught."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

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
from qfl_sec.federation import TrainingConfig
from qfl_sec.grid import TrainingTask, cell_task, training_task
from qfl_sec.harness import run_cell, run_training, scores_from_bytes
from qfl_sec.plugins import get


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
