"""What the benchmarks ran on, and how many threads a side has."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("qfl-sec", "torch", "numpy", "pennylane", "pennylane-lightning", "jax", "opacus", "graphix")

_FLAG = "QFL_SEC_BENCHMARK_THREADS"
_SEEN_BY_ALL = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "NPROC")


def describe() -> dict[str, Any]:
    """Return processor, cores, memory and versions; no path, no host name, no time."""
    return {
        "processor": _processor(),
        "cores": len(cores()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def write_machine(path: Path) -> None:
    """Write `environment.json`."""
    path.write_text(json.dumps(describe(), indent=2) + "\n")


def cores() -> list[int]:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def limited(threads: int) -> dict[str, str]:
    """Return the environment of a process that may use so many threads, whichever library starts them."""
    return os.environ | dict.fromkeys(_SEEN_BY_ALL, str(threads)) | {_FLAG: str(threads)}


def limit_this_process() -> int:
    """Hold this process to the threads that its environment names, before any library is imported that counts cores.

    Returns:
        How many.
    """
    threads = int(os.environ.get(_FLAG, "1"))
    if hasattr(os, "sched_setaffinity"):
        # XLA's pool is as large as the number of cores that it may use.
        os.sched_setaffinity(0, cores()[-threads:])
    return threads


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
