"""What the runs of one setting left behind, gathered for scoring: transcripts, truths, raw scores."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from qfl_sec.checking import InputError
from qfl_sec.contracts import Adversary, Attack, Scores
from qfl_sec.grid import CellTask, Plan, TrainingTask
from qfl_sec.harness import scores_from_bytes
from qfl_sec.population import Population
from qfl_sec.results import TrainingRecord
from qfl_sec.runner import is_trained
from qfl_sec.store import CellRow, Store
from qfl_sec.transcript import Metadata, Transcript, Truth, load_truth


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A finished training: what was public, what was true, whose data it was, its weights; hashes.

    `initial_weights` and `final_weights` are (parameters,). `transcript_sha256` is over metadata, tensors and model,
    `truth_sha256` over the truth's file.
    """

    task: TrainingTask
    metadata: Metadata
    truth: Truth
    population: Population
    initial_weights: Tensor
    final_weights: Tensor
    transcript_sha256: str
    truth_sha256: str


@dataclass(frozen=True, kw_only=True)
class ScoredCell:
    """A finished cell: its training, its raw scores and its control's, and their hash."""

    trained: Trained
    scores: Scores
    control: Scores | None
    sha256: str


class Evidence:
    """Everything a plan's runs left in a store and a folder of transcripts, by variant, setting and attack.

    Args:
        plan: What was to be computed.
        store: Raw scores.
        transcripts: Folder of transcripts.
    """

    def __init__(self, plan: Plan, store: Store, transcripts: Path) -> None:
        self._store = store
        self._trained: dict[str, Trained] = {}
        self._tasks: dict[tuple[str, str], list[TrainingTask]] = {}
        self._cells: dict[tuple[str, str, Adversary, str], list[CellTask]] = {}
        for task in plan.trainings:
            self._tasks.setdefault((task.variant, task.setting), []).append(task)
            folder = transcripts / task.folder_name
            if task.key not in self._trained and is_trained(task, transcripts):
                transcript, population = Transcript.load(folder), task.config.population()
                metadata = transcript.metadata
                if population.fingerprint != metadata.data_fingerprint:
                    raise InputError(f"{folder}: made from other data than {task.config.data.title} holds. Remove it.")
                transcript_sha256, truth_sha256 = hashes(folder)
                self._trained[task.key] = Trained(
                    task=task,
                    metadata=metadata,
                    truth=load_truth(folder, metadata),
                    population=population,
                    initial_weights=transcript.global_weights[0].clone(),
                    final_weights=transcript.global_weights[-1].clone(),
                    transcript_sha256=transcript_sha256,
                    truth_sha256=truth_sha256,
                )
        for cell in plan.cells:
            place = (cell.training.variant, cell.training.setting, cell.adversary, cell.attack.name)
            self._cells.setdefault(place, []).append(cell)

    def trainings(self, variant: str, setting: str) -> list[Trained]:
        """Return the finished trainings of a setting, by the order of the seeds."""
        tasks = self._tasks.get((variant, setting), [])
        return [self._trained[task.key] for task in tasks if task.key in self._trained]

    def records(self) -> list[TrainingRecord]:
        """Return which transcript each finished training of the plan is, in its order."""
        return [
            TrainingRecord(
                variant=variant,
                setting=setting,
                seed=task.seed,
                key=task.key,
                transcript_sha256=self._trained[task.key].transcript_sha256,
                truth_sha256=self._trained[task.key].truth_sha256,
            )
            for (variant, setting), tasks in self._tasks.items()
            for task in tasks
            if task.key in self._trained
        ]

    def all_trainings(self) -> list[Trained]:
        """Return every finished training once."""
        return list(self._trained.values())

    def cells(
        self, variant: str, setting: str, adversary: Adversary, attack: Attack
    ) -> tuple[list[ScoredCell], list[CellRow | None]]:
        """Return a measurement's finished cells, and the rows of those without scores, None if never reached."""
        scored, missing = [], []
        for cell in self._cells.get((variant, setting, adversary, attack.name), []):
            row = self._store.get(cell.key)
            trained = self._trained.get(cell.training.key)
            if row is None or row.scores is None or row.scores_sha256 is None or trained is None:
                missing.append(row)
                continue
            scores, control = scores_from_bytes(row.scores)
            scored.append(ScoredCell(trained=trained, scores=scores, control=control, sha256=row.scores_sha256))
        return scored, missing


def hashes(folder: Path) -> tuple[str, str]:
    """Return the sha256 over a transcript's public files, and that of its truth.

    Raises:
        InputError: If one of its files cannot be read.
    """
    names = ("metadata.json", "tensors.safetensors", "model.safetensors", "truth.safetensors")
    try:
        *public, truth = (hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names)
    except OSError as error:
        reason = f"{error.filename}: cannot be read ({error.strerror})"
        raise InputError(f"{reason}. Restore the transcript, or run the audit again.") from None
    return hashlib.sha256(" ".join(public).encode()).hexdigest(), truth
