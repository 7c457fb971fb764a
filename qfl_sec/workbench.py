"""The workbench as functions: audit, train, attack. What the command line does, minus arguments and reports.

Each of them fills a run's folder and can be interrupted at any moment: called again, it goes on where it was.
"""

import resource
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from qfl_sec import plugins as registry
from qfl_sec.assembly import assemble
from qfl_sec.capture_folder import capture_experiment, is_capture
from qfl_sec.checking import InputError
from qfl_sec.contracts import Attack
from qfl_sec.defenses.stack import parts
from qfl_sec.estimate import default_workers
from qfl_sec.executors import Executor, InlineExecutor, LocalExecutor, WorkerStartError
from qfl_sec.experiment import Experiment, dumps, load
from qfl_sec.grid import Plan, plan
from qfl_sec.provenance import Timings, collect_environment, write_bytes, write_environment, write_timings
from qfl_sec.results import Results
from qfl_sec.results import dumps as dump_results
from qfl_sec.run_folder import RunFolder, open_run_folder
from qfl_sec.runner import Progress, Summary, is_trained, run
from qfl_sec.store import Store

Listener = Callable[[Progress], None]
"""Told whenever a training or cell has ended."""

Engine = Literal["local", "ray"]
"""Where trainings and cells are computed."""


class NothingTrainedError(RuntimeError):
    """Every federated training failed, and the user's input was not to blame for all failures."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """A finished audit.

    Attributes:
        results: What was found; also in the folder's `results.json`.
        summary: How the run went: what was reused, done, failed.
        folder: Where everything lies.
    """

    results: Results
    summary: Summary
    folder: RunFolder


def audit(
    experiment: Experiment,
    *,
    plugins: Iterable[object] = (),
    progress: Listener | None = None,
    out: Path | None = None,
    workers: int = 1,
) -> Results:
    """Train a federation, attack it, and say what was found.

    Args:
        experiment: What to audit.
        plugins: Attacks and defenses of your own, classes or instances, to be known by name; those that the
            experiment holds as objects need not be repeated.
        progress: Told whenever something has ended.
        out: Folder that keeps transcripts and scores, to be reused by the next call; None keeps nothing.
        workers: 1 computes in this process. More are processes of their own, which import the calling script: put the
            call under `if __name__ == "__main__":`. The results are the same.

    Returns:
        Counts, intervals and verdicts; `qfl_sec.results.dumps` gives the bytes of a `results.json`.

    Raises:
        InputError: If the experiment cannot be run, or the folder cannot be written.
        NothingTrainedError: If every federated training failed for another reason.
    """
    defenses = [part for defense in experiment.defenses for part in parts(defense)]
    registry.use([*plugins, *defenses, *experiment.attacks])
    if out is not None:
        return run_audit(experiment, out=out, workers=workers, inline=workers == 1, progress=progress).results
    with tempfile.TemporaryDirectory(prefix="qfl-sec-") as folder:
        keep = Path(folder)
        return run_audit(experiment, out=keep, workers=workers, inline=workers == 1, progress=progress).results


def run_audit(
    experiment: Experiment,
    *,
    out: Path,
    workers: int | None = None,
    inline: bool = False,
    plugin_files: Sequence[Path] = (),
    progress: Listener | None = None,
    command: str | None = None,
    engine: Engine = "local",
) -> Audit:
    """Audit into a folder, reusing what it holds: transcripts, scores, `results.json`, provenance.

    Args:
        experiment: What to audit.
        out: The run's folder.
        workers: Number of processes; None for one a core.
        inline: Compute in this process instead.
        plugin_files: Plug-in files; those already loaded into this process need not be repeated.
        progress: Told whenever something has ended.
        command: The command line for `environment.json`; None takes this process's.
        engine: "local" computes in processes of this machine; "ray" on the cluster that the environment variable
            `RAY_ADDRESS` names, or else on one that is started here; None workers are then all cores of the cluster.

    Raises:
        InputError: If the folder cannot be used, what lies in it is damaged, or the experiment cannot be trained. What
            is finished is kept.
        NothingTrainedError: If every federated training failed for another reason.
    """
    executor = _executor(workers, inline, plugin_files, ray_folder=out if engine == "ray" else None)
    laid_out = plan(experiment)
    with open_run_folder(out) as folder:
        return _compute(experiment, laid_out, laid_out, folder, executor, progress, command)


def train(
    experiment: Experiment,
    *,
    out: Path,
    workers: int | None = None,
    inline: bool = False,
    plugin_files: Sequence[Path] = (),
    progress: Listener | None = None,
    command: str | None = None,
) -> Summary:
    """Train only: leaves models, transcripts and the resolved experiment, for `attack`.

    Args and Raises as of `run_audit`; failed trainings are counted in the summary.
    """
    executor = _executor(workers, inline, plugin_files)
    trainings = plan(experiment).trainings
    clock = _Clock()
    with open_run_folder(out) as folder, Store(folder.store) as store:
        _begin(experiment, folder, command)
        summary = _run(Plan(trainings=trainings, cells=()), store, folder, executor, progress)
        write_timings(clock.timings(executor, summary), folder.timings)
    return summary


def attack(
    run_dir: Path,
    *,
    attacks: Sequence[str] = (),
    workers: int | None = None,
    inline: bool = False,
    plugin_files: Sequence[Path] = (),
    progress: Listener | None = None,
    command: str | None = None,
) -> Audit:
    """Attack an already trained run, or updates that were captured elsewhere.

    Args:
        run_dir: A folder that `train` or `audit` has filled, or a capture's, which becomes a run's folder.
        attacks: Names; an attack that the run's experiment does not configure is added to it with its defaults. None
            named: those of the experiment. What is not named and has no scores is reported as not tested.
        workers: As of `run_audit`, and so are the others.
        inline: See there.
        plugin_files: See there.
        progress: See there.
        command: See there.

    Raises:
        InputError: If the folder holds no trained run, or trained by other versions, or an attack is unknown.
    """
    folder = RunFolder(run_dir)
    captured = is_capture(run_dir)
    if not captured and not folder.experiment.is_file():
        remedy = "Name the folder of a run that was trained here, or of captured updates"
        raise InputError(f"{run_dir}: holds no experiment.toml and no capture.json. {remedy}.")
    executor = _executor(workers, inline, plugin_files)
    experiment = capture_experiment(run_dir) if captured else load(folder.experiment)
    extra = [_default(name) for name in attacks if name not in {one.name for one in experiment.attacks}]
    experiment = replace(experiment, attacks=(*experiment.attacks, *extra))
    with open_run_folder(run_dir):
        laid_out = plan(experiment)
        missing = sum(not is_trained(task, folder.transcripts) for task in laid_out.trainings)
        if missing and not captured:
            raise InputError(
                f"{run_dir}: {missing} of {len(laid_out.trainings)} trainings are missing, or were made from other "
                "data or by other versions of this program, its libraries or plug-ins. Run `qfl-sec train` on the "
                "experiment again."
            )
        names = attacks or [one.name for one in experiment.attacks]
        wanted = replace(laid_out, cells=tuple(cell for cell in laid_out.cells if cell.attack.name in names))
        return _compute(experiment, laid_out, wanted, folder, executor, progress, command)


def _compute(
    experiment: Experiment,
    laid_out: Plan,
    wanted: Plan,
    folder: RunFolder,
    executor: Executor,
    progress: Listener | None,
    command: str | None,
) -> Audit:
    """Run what is missing of what is wanted, then say what all that is there means."""
    clock = _Clock()
    with Store(folder.store) as store:
        _begin(experiment, folder, command)
        summary = _run(wanted, store, folder, executor, progress)
        results = assemble(experiment, laid_out, store, folder.transcripts)
    write_bytes(folder.results, dump_results(results))
    write_timings(clock.timings(executor, summary), folder.timings)
    return Audit(results=results, summary=summary, folder=folder)


def _begin(experiment: Experiment, folder: RunFolder, command: str | None) -> None:
    """Say what is being done before it is done; another experiment's results must not pass for this one's."""
    text = dumps(experiment).encode()
    if not folder.experiment.is_file() or folder.experiment.read_bytes() != text:
        folder.results.unlink(missing_ok=True)
        write_bytes(folder.experiment, text)
    typed = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]) if command is None else command
    write_environment(collect_environment(typed), folder.environment)


def _run(laid_out: Plan, store: Store, folder: RunFolder, executor: Executor, progress: Listener | None) -> Summary:
    try:
        summary = run(laid_out, store, folder.transcripts, executor=executor, progress=progress)
    except WorkerStartError as error:
        raise InputError(str(error)) from None
    federated = [task for task in laid_out.trainings if task.kind == "federated"]  # baselines alone are no report
    if not any(is_trained(task, folder.transcripts) for task in federated):
        blame = InputError if summary.trainings_refused == summary.trainings_failed else NothingTrainedError
        raise blame(f"No federated training could be finished, so there is nothing to report: {summary.failures[0]}")
    return summary


def _executor(
    workers: int | None, inline: bool, plugin_files: Sequence[Path], *, ray_folder: Path | None = None
) -> Executor:
    for path in plugin_files:
        registry.load_file(path)
    if inline:
        return InlineExecutor()
    if workers is not None and workers < 1:
        raise InputError(f"Expected workers={workers} >= 1.")
    if ray_folder is not None:
        from qfl_sec.ray_executor import RayExecutor

        return RayExecutor(workers, registry.files(), RunFolder(ray_folder).transcripts)
    return LocalExecutor(default_workers() if workers is None else workers, registry.files())


def _default(name: str) -> Attack:
    kind = registry.get("attack", name)
    try:
        return kind()
    except TypeError:
        raise InputError(
            f"Attack {name!r} has parameters without a default. Write it with them into [[attacks]] of the experiment."
        ) from None


class _Clock:
    """Wall and processor time from its creation on, of this process and of the workers that have ended."""

    def __init__(self) -> None:
        self._started = datetime.now(UTC)
        self._wall = time.perf_counter()
        self._cpu = _cpu_seconds()

    def timings(self, executor: Executor, summary: Summary) -> Timings:
        return Timings(
            started=self._started.isoformat(timespec="seconds"),
            wall_seconds=time.perf_counter() - self._wall,
            cpu_seconds=_cpu_seconds() - self._cpu + executor.cpu_seconds,
            workers=executor.capacity,
            trainings=summary.trainings,
            cells=summary.total,
            reused=summary.reused,
        )


def _cpu_seconds() -> float:
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
