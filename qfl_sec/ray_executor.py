"""Computes tasks on a Ray cluster: one that is named in `RAY_ADDRESS`, else one that is started here for the run.

Ray schedules tasks on whatever cores are free, on any machine of the cluster. All of them have to see the run's folder
at the same place, and to have the same versions installed: each worker checks both before its first task.

Ray is imported when an executor is made and not before: it is an extra.
"""

import importlib
import os
import platform
import secrets
import sys
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, wait
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from qfl_sec.checking import InputError
from qfl_sec.executors import WorkerStartError, single_thread, start_worker

T = TypeVar("T")

ADDRESS = "RAY_ADDRESS"
"""Environment variable that names a running cluster: Ray's own."""

OBJECT_STORE_BYTES = 128 << 20
"""Ray's shared memory, of a cluster that is started here: tasks and raw scores pass through it, transcripts do not."""


@dataclass(frozen=True, kw_only=True)
class _Terms:
    """What a worker has to find or do before its first task.

    Attributes:
        home: The parent's working folder, from which relative paths count.
        folder: A folder that every worker has to see.
        plugin_files: Plug-in files to load.
        path: Where the parent finds modules.
        code: Digest of what computes.
    """

    home: Path
    folder: Path
    plugin_files: tuple[Path, ...]
    path: tuple[str, ...]
    code: str


class RayExecutor:
    """Computes tasks in Ray's worker processes, each with one thread.

    A cluster that is started here listens for this run alone: it takes nothing without a token that nobody else knows.
    Where the caller is connected to a cluster already, that one is used and stays connected.

    Args:
        workers: How many tasks to compute at a time; None for as many as the cluster has cores.
        plugin_files: Plug-in files that every worker loads.
        folder: A folder that every worker has to see.

    Raises:
        InputError: If Ray is not installed, or no cluster answers at the address.
    """

    def __init__(self, workers: int | None, plugin_files: tuple[Path, ...], folder: Path) -> None:
        if not os.environ.get(ADDRESS) and "ray" not in sys.modules:  # which reads its environment once, at import
            _close_off()
        self._ray = _import_ray()
        self._owned = not self._ray.is_initialized()
        if self._owned:
            _connect(self._ray, workers)
        self._capacity = workers or max(1, int(self._ray.cluster_resources().get("CPU", 0)))
        self._terms = _Terms(
            home=Path.cwd(),
            folder=folder.absolute(),
            plugin_files=tuple(plugin_files),
            path=tuple(sys.path),
            code=_code(plugin_files),
        )
        # The runner starts a task again whose worker died, and counts how often: Ray is not to do so behind its back.
        self._compute = self._ray.remote(num_cpus=1, max_retries=0)(_compute)
        self._running: dict[Future[Any], Any] = {}
        self._cpu_seconds = 0.0

    @property
    def capacity(self) -> int:
        """How many tasks it computes at a time."""
        return self._capacity

    @property
    def cpu_seconds(self) -> float:
        """Processor time that workers have told with their answers."""
        return self._cpu_seconds

    def submit(self, function: Callable[..., T], /, *args: Any) -> "Future[T]":
        """Hand a task to the cluster, which starts it as soon as a core is free."""
        answer: Future[T] = Future()
        try:
            # In a list, Ray leaves the reference alone: the task is unpickled once its plug-ins are loaded.
            reference = self._compute.remote(self._terms, [self._ray.put((function, args))])
        except Exception as error:  # cannot be pickled: that task's failure
            answer.set_exception(error)
            return answer
        self._running[answer] = reference
        reference.future().add_done_callback(lambda done: self._settle(answer, done))
        return answer

    def close(self) -> None:
        """Wait for running tasks and leave the cluster."""
        wait(list(self._running))
        if self._owned:
            self._ray.shutdown()

    def cancel(self) -> None:
        """Kill the running tasks' processes and leave the cluster."""
        for reference in list(self._running.values()):
            self._ray.cancel(reference, force=True)
        if self._owned:
            self._ray.shutdown()

    def _settle(self, answer: "Future[Any]", done: "Future[Any]") -> None:
        """Pass on what a task came to, in the terms of an `Executor`."""
        error = done.exception()
        if isinstance(error, self._ray.exceptions.RayTaskError):
            error = error.cause
            if str(error).startswith("The remote function failed to import"):  # Ray's words
                error = WorkerStartError("A Ray worker cannot import qfl_sec. Install it on every node of the cluster.")
        elif isinstance(error, self._ray.exceptions.RayError):
            error = BrokenExecutor(f"The process that computed it is gone: {error}")
        if error is None:
            result, seconds = done.result()
            self._cpu_seconds += seconds
            answer.set_result(result)
        else:
            answer.set_exception(error)
        self._running.pop(answer, None)


def _close_off() -> None:
    """Have the cluster that is started here accept no stranger and report to nobody, unless the user decided on it."""
    if "RAY_AUTH_MODE" not in os.environ:  # Ray listens on every interface, and by default asks for no token
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or Ray warns that it will be the default


def _import_ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise InputError(
            "--engine ray: Ray is not installed. Install the extra: pip install 'qfl-sec[cluster]', or in a checkout "
            "pip install -c constraints.txt -e '.[cluster]'."
        ) from None


def _connect(ray: Any, workers: int | None) -> None:
    """Join the cluster that the environment names, or start one of this machine's cores.

    Raises:
        InputError: If no cluster answers at the address.
    """
    address = os.environ.get(ADDRESS, "")
    if not address:
        from qfl_sec.estimate import default_workers

        cores = default_workers() if workers is None else workers
        ray.init(
            address="local",
            num_cpus=cores,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            logging_level="WARNING",
        )
        return
    try:
        ray.init(address=address, logging_level="WARNING")
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{ADDRESS}={address}: {error}. Start the cluster, or unset {ADDRESS}.") from None


def _compute(terms: _Terms, task: list[Any]) -> tuple[Any, float]:
    """Compute a task in a worker; return the result and the processor time since the last one.

    Raises:
        WorkerStartError: If this worker is not fit for it.
    """
    _prepare(terms)
    function, args = _import_ray().get(task[0])
    with single_thread():
        result = function(*args)
    spent = time.process_time() - _Told.seconds
    _Told.seconds += spent
    return result, spent


class _Told:
    """How much of this worker's processor time has been told."""

    seconds = 0.0


@cache
def _prepare(terms: _Terms) -> None:
    """Make this process a worker, once.

    Raises:
        WorkerStartError: If something is missing or different on this machine.
    """
    sys.path.extend(place for place in terms.path if place not in sys.path)
    if not (terms.home.is_dir() and terms.folder.is_dir()):
        missing = terms.folder if terms.home.is_dir() else terms.home
        raise WorkerStartError(
            f"Node {platform.node()} of the Ray cluster does not see {missing}. Choose an output folder, and start the "
            "run in one, that all nodes share at the same place."
        )
    os.chdir(terms.home)
    try:
        start_worker(terms.plugin_files)
        same = _code(terms.plugin_files) == terms.code
    except (InputError, OSError) as error:
        raise WorkerStartError(f"Node {platform.node()} of the Ray cluster: {error}") from None
    if not same:
        raise WorkerStartError(
            f"Node {platform.node()} of the Ray cluster has other versions of qfl-sec, its libraries or plug-in files, "
            "which would give other numbers. Install the same ones there."
        )


def _code(plugin_files: tuple[Path, ...]) -> str:
    """Return a digest of what a task is computed with."""
    from qfl_sec.grid import canonical, library_versions, package_source

    files = [sha256(path.read_bytes()).hexdigest() for path in plugin_files]
    return sha256(canonical([package_source(), library_versions(), files])).hexdigest()
