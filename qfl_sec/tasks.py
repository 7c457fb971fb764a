"""What the grid consists of, and how a worker deals with it: trainings and cells go in, outcomes come out.

Apart from `qfl_sec.grid`, which makes the tasks: a worker that is sent one loads what the task holds and no more.
"""

import errno
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qfl_sec.checking import InputError
from qfl_sec.contracts import Adversary, Attack, NotApplicableError

if TYPE_CHECKING:
    from qfl_sec.federation import Kind, TrainingConfig

Status = Literal["done", "failed", "not_applicable"]
"""How a cell ended. A failed one is tried again by the next run, the others are reused."""


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """One training, ready to be run anywhere.

    Attributes:
        key: sha256 of everything that decides its transcript, in hex.
        variant: Id of the sweep's point.
        setting: Id of the defense setting; the kind, for a baseline.
        seed: Of all random streams.
        kind: The audited federation or a baseline.
        config: What to train.
    """

    key: str
    variant: str
    setting: str
    seed: int
    kind: "Kind"
    config: "TrainingConfig"

    @property
    def folder_name(self) -> str:
        """Name of its transcript's folder."""
        return self.key[:16]


@dataclass(frozen=True, kw_only=True)
class CellTask:
    """One attack by one adversary on one training.

    Attributes:
        key: sha256 of everything that decides its raw scores, in hex.
        training: What is attacked.
        adversary: Who attacks.
        attack: How.
    """

    key: str
    training: TrainingTask
    adversary: Adversary
    attack: Attack


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All trainings and cells of an audit, in a fixed order. Two points of a sweep may share a training's key."""

    trainings: tuple[TrainingTask, ...]
    cells: tuple[CellTask, ...]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a worker hands back: plain data, so that no exception of a plug-in has to travel between processes.

    Attributes:
        status: How it ended.
        reason: One line; None exactly when done.
        scores: Of a cell that is done.
        seconds: Time it took.
        refused: Whether the user's input was to blame for a failure.
    """

    status: Status | Literal["no space"]
    reason: str | None
    scores: bytes | None
    seconds: float
    refused: bool = False


RunTraining = Callable[[TrainingTask, Path], None]
"""Trains, and leaves the transcript in the folder, which appears complete or not at all."""

RunCell = Callable[[CellTask, Path], bytes]
"""Attacks the transcript in the folder, and returns raw scores."""


def train_guarded(run_training: RunTraining, task: TrainingTask, folder: Path) -> Outcome:
    """Train in a worker; every failure becomes plain data."""

    def compute() -> None:
        if not folder.exists():
            run_training(task, folder)

    return _guarded(compute, folder)


def attack_guarded(run_cell: RunCell, task: CellTask, folder: Path) -> Outcome:
    """Attack in a worker; every failure becomes plain data."""
    return _guarded(lambda: run_cell(task, folder), folder)


def _guarded(compute: Callable[[], bytes | None], folder: Path) -> Outcome:
    start = time.perf_counter()
    status: Status | Literal["no space"] = "done"
    reason: str | None = None
    scores: bytes | None = None
    refused = False
    try:
        scores = compute()
    except NotApplicableError as error:
        status, reason = "not_applicable", one_line(error, folder)
    except (Exception, SystemExit) as error:  # whatever a plug-in does is its cell's failure, and the rest goes on
        status = "no space" if _cannot_write(error) else "failed"
        reason = one_line(error, folder)
        refused = isinstance(error, InputError)
    seconds = time.perf_counter() - start
    return Outcome(status=status, reason=reason, scores=scores, seconds=seconds, refused=refused)


def failure(reason: str) -> Outcome:
    """Return the outcome of a task that did not get as far as failing by itself."""
    return Outcome(status="failed", reason=reason, scores=None, seconds=0.0)


def one_line(error: BaseException, folder: Path) -> str:
    """Return an error as one line that is the same wherever and whenever it is computed: no folder, no address.

    Args:
        error: The error.
        folder: A training's folder; what contains it is left out, and so are the folders of other absolute paths.
    """
    text = " ".join(str(error).split()).replace(f"{folder.parent}/", "")
    text = re.sub(r"(?<![\w.)])/(?:[\w.~+-]+/)+", "", text)
    text = re.sub(r"\b0x[0-9a-fA-F]{6,}", "0x...", text)
    if isinstance(error, InputError | NotApplicableError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _cannot_write(error: BaseException) -> bool:
    """Return whether the output folder is to blame, which concerns the whole run and not one task."""
    blamed = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    return isinstance(error, OSError) and (error.errno in blamed or "No space left" in str(error))
