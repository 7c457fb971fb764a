"""Computes what a plan asks for and the store does not hold yet, each thing once, whatever happens on the way.

Trainings leave their transcripts as folders that appear complete or not at all; cells become rows as they finish. A run
that is interrupted, killed or out of disk space therefore loses only what was being computed, and the next one goes on
from there.
"""

import os
import shutil
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, field
from pathlib import Path

from qfl_sec.checking import InputError
from qfl_sec.executors import Executor, WorkerStartError
from qfl_sec.store import CellRow, Store
from qfl_sec.tasks import (
    CellTask,
    Outcome,
    Plan,
    RunCell,
    RunTraining,
    TrainingTask,
    attack_guarded,
    failure,
    one_line,
    train_guarded,
)
from qfl_sec.transcript import Transcript

TRIES = 2
"""How often a task is started whose worker dies."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        trainings_done: Trainings that have ended or were reused.
        trainings: All of them.
        cells_done: Cells that have ended or were reused.
        cells: All of them.
        failed: Cells and trainings that failed.
        message: What has just happened, in one line.
    """

    trainings_done: int
    trainings: int
    cells_done: int
    cells: int
    failed: int
    message: str


@dataclass(frozen=True, kw_only=True)
class Summary:
    """How a run ended. Cells that share a key count once.

    Attributes:
        total: Cells of the plan.
        reused: Cells that an earlier run had finished.
        done: Cells computed now, those that turned out not to be applicable included.
        failed: Cells that failed now.
        trainings: Trainings of the plan.
        trainings_reused: Trainings that an earlier run had finished.
        trainings_failed: Trainings that failed now.
        trainings_refused: How many of these failed because what the user asked for cannot be trained.
        failures: What failed and why, one line each; of a failed training that training alone, not its cells.
        seconds: Time spent on each training and cell that was computed now, by key.
    """

    total: int
    reused: int
    done: int
    failed: int
    trainings: int
    trainings_reused: int
    trainings_failed: int
    trainings_refused: int
    failures: tuple[str, ...]
    seconds: dict[str, float]


def _run_training(task: TrainingTask, folder: Path) -> None:
    """Train; a transcript that could not be read back never appears, or every later run would stumble over it."""
    from qfl_sec import harness  # brings every library along, which this module's other users need not wait for

    staged = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    try:
        harness.run_training(task, staged)
        try:
            Transcript.load(staged)
        except InputError as error:
            cause = str(error).removeprefix(f"{staged}/").partition(": ")[2]  # without the file, which is gone
            cause = cause.removesuffix("train again.").removesuffix("Train again.").rstrip(" :.")
            remedy = "Set a lower [federation] learning_rate, or mend the defense if it is your own"
            raise InputError(f"What it left cannot be used: {cause}. {remedy}.") from None
        if not folder.exists():
            staged.rename(folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _run_cell(task: CellTask, folder: Path) -> bytes:
    from qfl_sec import harness

    return harness.run_cell(task, folder)


def run(
    plan: Plan,
    store: Store,
    transcripts: Path,
    *,
    executor: Executor,
    progress: Callable[[Progress], None] | None = None,
    run_training: RunTraining = _run_training,
    run_cell: RunCell = _run_cell,
) -> Summary:
    """Run what is missing.

    Args:
        plan: What to compute.
        store: Where cells go; written by this process alone.
        transcripts: Where transcripts go, one folder a training.
        executor: Who computes; closed by this function, or cancelled when the run breaks off.
        progress: Told whenever something has ended.
        run_training: Computes a training; a function that workers can import; by default the harness's.
        run_cell: Computes a cell; likewise.

    Raises:
        InputError: If the output folder is full or cannot be written, or holds a foreign transcript. What is finished
            is kept, here as after any other exception, Ctrl-C included.
        WorkerStartError: If no worker comes up.
    """
    state = _Run(plan, store, transcripts, executor, run_training, run_cell, progress)
    try:
        clean(transcripts)
        state.look_up()
        state.work()
    except BaseException:
        state.keep_finished()
        executor.cancel()
        clean(transcripts)
        raise
    executor.close()
    return state.summary()


def clean(transcripts: Path) -> None:
    """Remove what a killed training left half-written."""
    for partial in transcripts.glob("*.partial"):
        shutil.rmtree(partial, ignore_errors=True)


def is_trained(training: TrainingTask, transcripts: Path) -> bool:
    """Return whether a training's transcript is there.

    Raises:
        InputError: If its folder holds something else.
    """
    folder = transcripts / training.folder_name
    if not folder.exists():
        return False
    found = Transcript.load(folder).metadata.key
    if found != training.key:
        raise InputError(
            f"{folder}: holds the transcript of training {found[:32]}. Expected {training.key[:32]}: "
            "remove the folder and run again."
        )
    return True


@dataclass(eq=False)
class _Job:
    """A task on its way; `tries` counts how often it was started."""

    task: TrainingTask | CellTask
    tries: int = 0


@dataclass(eq=False)
class _Run:
    """The state of a run."""

    plan: Plan
    store: Store
    transcripts: Path
    executor: Executor
    run_training: RunTraining
    run_cell: RunCell
    report: Callable[[Progress], None] | None
    trainings: deque[_Job] = field(default_factory=deque)
    cells: deque[_Job] = field(default_factory=deque)
    waiting: dict[str, list[CellTask]] = field(default_factory=dict)
    in_flight: dict["Future[Outcome]", _Job] = field(default_factory=dict)
    reused: int = 0
    trainings_reused: int = 0
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    trainings_failed: int = 0
    trainings_refused: int = 0
    cells_failed: int = 0

    def __post_init__(self) -> None:
        self.all_trainings = {task.key: task for task in self.plan.trainings}
        self.all_cells = {task.key: task for task in self.plan.cells}

    def look_up(self) -> None:
        """Find out what is there, and queue the rest."""
        statuses = self.store.statuses()
        for key, cell in self.all_cells.items():
            if statuses.get(key) in ("done", "not_applicable"):
                self.reused += 1
            else:
                self.waiting.setdefault(cell.training.key, []).append(cell)
        for task in self.all_trainings.values():
            if is_trained(task, self.transcripts):
                self.trainings_reused += 1
                self._release(task)
            else:
                self.trainings.append(_Job(task))
        self._tell(
            f"reused {self.trainings_reused} of {len(self.all_trainings)} trainings, "
            f"{self.reused} of {len(self.all_cells)} cells"
        )

    def work(self) -> None:
        """Keep the executor busy until nothing is left: cells first, which free what trainings have made."""
        while self.cells or self.trainings or self.in_flight:
            while len(self.in_flight) < self.executor.capacity and (self.cells or self.trainings):
                self._submit((self.cells or self.trainings).popleft())
            finished, _ = wait(self.in_flight, return_when=FIRST_COMPLETED)
            for future in [one for one in self.in_flight if one in finished]:
                self._settle(self.in_flight.pop(future), future)

    def keep_finished(self) -> None:
        """Store the cells that have ended but were not looked at when the run broke off."""
        for future, job in list(self.in_flight.items()):
            ended = future.done() and future.exception() is None
            if ended and isinstance(job.task, CellTask) and future.result().status in ("done", "not_applicable"):
                del self.in_flight[future]
                try:
                    self._record(job.task, future.result())
                except InputError:
                    return  # the disk is full, which the caller is being told already

    def summary(self) -> Summary:
        """Return how it went."""
        computed = sum(key in self.all_cells for key in self.outcomes)
        return Summary(
            total=len(self.all_cells),
            reused=self.reused,
            done=computed - self.cells_failed,
            failed=self.cells_failed,
            trainings=len(self.all_trainings),
            trainings_reused=self.trainings_reused,
            trainings_failed=self.trainings_failed,
            trainings_refused=self.trainings_refused,
            failures=tuple(self.failures),
            seconds={key: outcome.seconds for key, outcome in self.outcomes.items()},
        )

    def _submit(self, job: _Job) -> None:
        job.tries += 1
        if isinstance(job.task, TrainingTask):
            folder = self.transcripts / job.task.folder_name
            future = self.executor.submit(train_guarded, self.run_training, job.task, folder)
        else:
            folder = self.transcripts / job.task.training.folder_name
            future = self.executor.submit(attack_guarded, self.run_cell, job.task, folder)
        self.in_flight[future] = job

    def _settle(self, job: _Job, future: "Future[Outcome]") -> None:
        """Deal with a task that has ended."""
        error = future.exception()
        if isinstance(error, WorkerStartError):
            raise error
        if isinstance(error, BrokenExecutor) and job.tries < TRIES:
            (self.trainings if isinstance(job.task, TrainingTask) else self.cells).appendleft(job)
            return
        if error is None:
            outcome = future.result()
        elif isinstance(error, BrokenExecutor):
            outcome = failure(f"Its process died {TRIES} times: killed by the system, perhaps for lack of memory.")
        else:  # the task could not be sent, or a plug-in raised what is no Exception: that task's failure all the same
            outcome = failure(one_line(error, self.transcripts / "none"))
        if outcome.status == "no space":
            raise InputError(
                f"{self.transcripts}: cannot be written ({outcome.reason}). Free some space or choose another output "
                "folder, and run again: what is finished is kept."
            )
        if isinstance(job.task, TrainingTask):
            self._end_training(job.task, outcome)
        else:
            self._record(job.task, outcome)

    def _end_training(self, task: TrainingTask, outcome: Outcome) -> None:
        self.outcomes[task.key] = outcome
        if outcome.status == "done":
            self._release(task)
            self._tell(f"trained {_name(task)} in {outcome.seconds:.1f} s")
            return
        self.trainings_failed += 1
        self.trainings_refused += outcome.refused
        self.failures.append(f"training {_name(task)}: {outcome.reason}")
        self._tell(self.failures[-1])
        for cell in self.waiting.pop(task.key, []):
            self._record(cell, failure(f"Its training failed: {outcome.reason}"), listed=False)

    def _record(self, task: CellTask, outcome: Outcome, *, listed: bool = True) -> None:
        training = task.training
        assert outcome.status != "no space"
        self.store.put(
            CellRow(
                key=task.key,
                training=training.key,
                seed=training.seed,
                variant=training.variant,
                setting=training.setting,
                adversary=task.adversary,
                attack=task.attack.name,
                status=outcome.status,
                reason=outcome.reason,
                scores=outcome.scores,
            )
        )
        self.outcomes[task.key] = outcome
        name = f"{task.attack.name} by {task.adversary} on {_name(training)}"
        if outcome.status == "failed":
            self.cells_failed += 1
            if listed:
                self.failures.append(f"{name}: {outcome.reason}")
        self._tell(f"{name}: {outcome.reason or f'done in {outcome.seconds:.1f} s'}")

    def _release(self, task: TrainingTask) -> None:
        """Let the cells of a finished training run."""
        self.cells.extend(_Job(cell) for cell in self.waiting.pop(task.key, []))

    def _tell(self, message: str) -> None:
        if self.report is None:
            return
        trained = sum(key in self.all_trainings for key in self.outcomes)
        attacked = len(self.outcomes) - trained
        self.report(
            Progress(
                trainings_done=self.trainings_reused + trained,
                trainings=len(self.all_trainings),
                cells_done=self.reused + attacked,
                cells=len(self.all_cells),
                failed=self.trainings_failed + self.cells_failed,
                message=message,
            )
        )


def _name(task: TrainingTask) -> str:
    prefix = "" if task.variant == "default" else f"{task.variant} "
    return f"{prefix}{task.setting} seed {task.seed}"
