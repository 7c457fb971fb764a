"""Where tasks are computed: in worker processes of this machine, in this process, or on whatever engine is added.

The runner knows the `Executor` protocol and nothing else. Whoever implements it must compute with one thread a task,
so that the same task gives the same bytes everywhere.

This module imports nothing heavy: a worker process limits its threads before the first numerical library loads.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""What numerical libraries read, when they load, to learn how many threads they may start."""


class WorkerStartError(RuntimeError):
    """Workers die before they are ready: no task can be computed, so trying others is of no use."""


class Executor(Protocol):
    """An engine that computes tasks. A cluster engine implements these five members and changes nothing else."""

    @property
    def capacity(self) -> int:
        """How many tasks it can compute at a time."""

    @property
    def cpu_seconds(self) -> float:
        """Processor time of its workers, as far as the system does not count it as this process's or its children's."""

    def submit(self, function: Callable[..., T], /, *args: Any) -> "Future[T]":
        """Start a task; function, arguments and result must be picklable.

        The future raises `concurrent.futures.BrokenExecutor` if the process that computed the task died, and
        `WorkerStartError` if it never came up. The executor stays usable after the former.
        """

    def close(self) -> None:
        """Wait for running tasks and release everything."""

    def cancel(self) -> None:
        """Stop running tasks at once and release everything."""


class InlineExecutor:
    """Computes each task in this process when it is submitted, with one thread as a worker would.

    For programs that call the audit as a function: classes typed into a notebook work, and a script needs no
    `if __name__ == "__main__":`. A task that kills its process takes the program along.
    """

    @property
    def capacity(self) -> int:
        """One task at a time."""
        return 1

    @property
    def cpu_seconds(self) -> float:
        """Nothing that is not counted."""
        return 0.0

    def submit(self, function: Callable[..., T], /, *args: Any) -> "Future[T]":
        """Compute the task now; the future is finished."""
        future: Future[T] = Future()
        with single_thread():
            try:
                future.set_result(function(*args))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a plug-in's own kind included
                future.set_exception(error)
        return future

    def close(self) -> None:
        """Nothing is left running."""

    def cancel(self) -> None:
        """Nothing is left running."""


class LocalExecutor:
    """Computes tasks in worker processes, each freshly started rather than forked, with one thread.

    Every worker is a pool of its own, so that when one dies, it is known which task it died of and the others go on.
    Workers do not hear Ctrl-C, which is the parent's to handle, and end when the parent does, however it does.

    Args:
        workers: Number of processes, at least 1; each is started when it is first needed.
        plugin_files: Plug-in files that every worker loads.

    Raises:
        ValueError: If `workers` is below 1.
    """

    def __init__(self, workers: int, plugin_files: tuple[Path, ...] = ()) -> None:
        if workers < 1:
            raise ValueError(f"Expected workers={workers} >= 1.")
        self._plugin_files = tuple(plugin_files)
        self._slots: list[_Slot | None] = [None] * workers

    @property
    def capacity(self) -> int:
        """The number of workers."""
        return len(self._slots)

    @property
    def cpu_seconds(self) -> float:
        """Nothing that is not counted: workers are children."""
        return 0.0

    def submit(self, function: Callable[..., T], /, *args: Any) -> "Future[T]":
        """Start a task on the worker with the fewest unfinished ones."""
        index = min(range(len(self._slots)), key=lambda i: self._load(self._slots[i]))
        slot = self._slots[index]
        if slot is not None and not slot.broken():
            try:
                return slot.submit(function, *args)
            except BrokenExecutor:
                pass  # it has died this very moment
        slot = self._slots[index] = _Slot(self._plugin_files)
        return slot.submit(function, *args)

    def close(self) -> None:
        """Wait for running tasks and end the workers."""
        for slot in self._slots:
            if slot is not None:
                slot.pool.shutdown(wait=True)

    def cancel(self) -> None:
        """Kill the workers."""
        for slot in self._slots:
            if slot is not None:
                slot.kill()
        self.close()

    def pids(self) -> tuple[int, ...]:
        """Return the process ids of the workers started so far."""
        return tuple(p.pid for slot in self._slots if slot is not None for p in slot.processes if p.pid is not None)

    @staticmethod
    def _load(slot: "_Slot | None") -> int:
        return 0 if slot is None else slot.unfinished


class _Slot:
    """One worker process in a pool of its own."""

    def __init__(self, plugin_files: tuple[Path, ...]) -> None:
        self.unfinished = 0
        self._lock = threading.Lock()
        self.pool = ProcessPoolExecutor(
            max_workers=1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=start_worker,
            initargs=(plugin_files,),
        )
        known = set(multiprocessing.active_children())
        with _interrupts_held():
            self.ready = self.pool.submit(os.getpid)
        self.processes: set[BaseProcess] = set(multiprocessing.active_children()) - known

    def submit(self, function: Callable[..., T], *args: Any) -> "Future[T]":
        answer: Future[T] = Future()
        with self._lock:
            self.unfinished += 1
        inner = self.pool.submit(_single_threaded, function, args)
        inner.add_done_callback(lambda done: self._answer(answer, done))
        return answer

    def broken(self) -> bool:
        """Return whether the process has died, as far as is known yet."""
        return any(not process.is_alive() for process in self.processes)

    def kill(self) -> None:
        for process in self.processes:
            process.kill()

    def _answer(self, answer: "Future[Any]", done: "Future[Any]") -> None:
        with self._lock:
            self.unfinished -= 1
        error = done.exception()
        if error is None:
            answer.set_result(done.result())
        elif isinstance(error, BrokenExecutor) and (not self.ready.done() or self.ready.exception() is not None):
            answer.set_exception(
                WorkerStartError(
                    "The worker processes do not start. In a script, call the audit under "
                    '`if __name__ == "__main__":`, since every worker imports the script; or use one worker.'
                )
            )
        else:
            answer.set_exception(error)


@contextmanager
def single_thread() -> Iterator[None]:
    """Compute with one thread inside the block, in every numerical library, and restore the caller's setting after."""
    import torch
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(before)


def _single_threaded(function: Callable[..., T], args: tuple[Any, ...]) -> T:
    with single_thread():
        return function(*args)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold back Ctrl-C while a process is started: it inherits that, so its own start-up is not interrupted either."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_worker(plugin_files: tuple[Path, ...]) -> None:
    """Prepare a worker process: deaf to Ctrl-C, one thread, gone with its parent, plug-ins loaded.

    What plug-ins print goes to standard error: standard output belongs to the parent's answer.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.dup2(2, 1)
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if plugin_files:
        from qfl_sec import plugins

        for path in plugin_files:
            plugins.load_file(path)


def _end_with_parent() -> None:
    """Wait until the parent is gone, however it went, and end this process on the spot."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
