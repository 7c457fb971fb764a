"""Where, when and at what cost a run was made: `environment.json` and `timings.json`, apart from what was found."""

import contextlib
import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import qfl_sec
from qfl_sec.checking import InputError, parse_json


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where a run was made.

    Attributes:
        command: The command line.
        package_version: Version of this package.
        commit: Commit of the checkout that the package lies in; None outside of one.
        dirty: Whether that checkout had changes of its own; None outside of one.
        python: Version.
        pennylane: Version; None if absent.
        torch: Version; None if absent.
        numpy: Version; None if absent.
        operating_system: Name and machine type.
        processor: Its model; None if the system does not tell.
        cores: Cores that this process may use.
    """

    command: str
    package_version: str
    commit: str | None
    dirty: bool | None
    python: str
    pennylane: str | None
    torch: str | None
    numpy: str | None
    operating_system: str
    processor: str | None
    cores: int

    def __post_init__(self) -> None:
        if self.cores < 1:
            raise ValueError(f"Expected cores={self.cores} >= 1.")


@dataclass(frozen=True, kw_only=True)
class Timings:
    """When a run was made, and what it cost.

    Attributes:
        started: ISO 8601.
        wall_seconds: From start to end.
        cpu_seconds: Of all processes together.
        workers: Processes that worked.
        trainings: Trainings of the plan.
        cells: Cells of the plan.
        reused: How many of them an earlier run had left.
    """

    started: str
    wall_seconds: float
    cpu_seconds: float
    workers: int
    trainings: int
    cells: int
    reused: int

    def __post_init__(self) -> None:
        for name in ("wall_seconds", "cpu_seconds", "workers", "trainings", "cells", "reused"):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0:
                raise ValueError(f"Expected {name}={value} >= 0.")


def collect_environment(command: str) -> Environment:
    """Describe this process's environment, without importing the packages whose versions it names.

    Args:
        command: The command line, as typed.
    """
    commit, dirty = _checkout(Path(qfl_sec.__file__).resolve().parent)
    return Environment(
        command=command,
        package_version=_version("qfl-sec") or "unknown",
        commit=commit,
        dirty=dirty,
        python=platform.python_version(),
        pennylane=_version("pennylane"),
        torch=_version("torch"),
        numpy=_version("numpy"),
        operating_system=f"{platform.system()} {platform.machine()}".strip() or "unknown",
        processor=_processor(),
        cores=_cores(),
    )


def _version(package: str) -> str | None:
    """Return an installed package's version."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _checkout(folder: Path) -> tuple[str | None, bool | None]:
    """Return the commit that a folder is checked out from and whether it was changed; None twice outside of git."""
    commit = _git(folder, "rev-parse", "HEAD")
    # An installed copy may lie inside somebody else's checkout: it counts only where git tracks the package itself.
    if not commit or not _git(folder, "ls-files", "--", "__init__.py"):
        return None, None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return commit, None if changes is None else bool(changes)


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git answers; None if it is absent or refuses."""
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments]
    # Looking must not write: refreshing the index would take its lock.
    variables = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True, env=variables)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()


def _processor() -> str | None:
    """Return the processor's model as the system names it."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip() or None
    return platform.processor() or None


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def write_environment(environment: Environment, path: Path) -> None:
    """Write `environment.json` in one piece.

    Raises:
        InputError: If the place cannot be written to.
    """
    write_bytes(path, _dumps(asdict(environment)))


def write_timings(timings: Timings, path: Path) -> None:
    """Write `timings.json` in one piece.

    Raises:
        InputError: If the place cannot be written to.
    """
    write_bytes(path, _dumps(asdict(timings)))


def read_environment(path: Path) -> Environment:
    """Read an `environment.json`.

    Raises:
        InputError: If there is none, or not of this shape.
    """
    return parse_json(Environment, _read(path), source=str(path))


def read_timings(path: Path) -> Timings:
    """Read a `timings.json`.

    Raises:
        InputError: If there is none, or not of this shape.
    """
    return parse_json(Timings, _read(path), source=str(path))


def _dumps(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, sort_keys=True, indent=2, allow_nan=False) + "\n").encode()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}. Name the folder of a finished run.") from None


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that either all of it is there or what was there before.

    Raises:
        InputError: If the place cannot be written to; no half of a file stays behind.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path}: cannot be written ({reason}). Free some space or choose another folder.") from None
