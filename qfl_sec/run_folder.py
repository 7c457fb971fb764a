"""The folder of a run: where each of its files lies, that it can be written, and that one run at a time writes it."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from qfl_sec.checking import InputError

PROBE_BYTES = 1 << 20
"""What has to fit into the folder before anything is computed."""


@dataclass(frozen=True)
class RunFolder:
    """Where the files of a run lie.

    Args:
        path: The folder.
    """

    path: Path

    @property
    def experiment(self) -> Path:
        """The resolved experiment."""
        return self.path / "experiment.toml"

    @property
    def store(self) -> Path:
        """Raw scores, one row a cell."""
        return self.path / "results.sqlite"

    @property
    def results(self) -> Path:
        """What was found."""
        return self.path / "results.json"

    @property
    def environment(self) -> Path:
        """Where it was found."""
        return self.path / "environment.json"

    @property
    def timings(self) -> Path:
        """When, and at what cost."""
        return self.path / "timings.json"

    @property
    def transcripts(self) -> Path:
        """One folder a training."""
        return self.path / "transcripts"


@contextmanager
def open_run_folder(path: Path) -> Iterator[RunFolder]:
    """Create a run's folder if need be, try that it can be written, and keep other runs out of it.

    The lock goes with the process, however that ends.

    Raises:
        InputError: If the folder cannot be written, is full, or another run is at work in it.
    """
    with _explained(path):
        (path / "transcripts").mkdir(parents=True, exist_ok=True)
        lock = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _take(lock, path)
        with _explained(path):
            _probe(path / ".probe")
        yield RunFolder(path)
    finally:
        os.close(lock)


def check_at_rest(path: Path) -> None:
    """Check that no run is writing a folder, without writing it.

    Raises:
        InputError: If one is.
    """
    with suppress(FileNotFoundError, PermissionError):
        lock = os.open(path / ".lock", os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{path}: a run is at work in this folder. Wait until it ends.") from None
        finally:
            os.close(lock)


def _take(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"{path}: another run is at work in this folder. Wait until it ends, or choose another output folder."
        ) from None


def _probe(path: Path) -> None:
    """Write as much as a run at least needs, and take it away again."""
    try:
        with path.open("wb") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    finally:
        with suppress(OSError):
            path.unlink()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "Free some space" if full else "Make it a folder that you may write to"
        raise InputError(
            f"{path}: cannot be used as output folder ({error.strerror}). {remedy}, or choose another one."
        ) from None
