"""SeQUeNCe: BB84 photon by photon, event by event, in a process and an environment of its own (`sequence.txt`)."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.problems import KeyExchange
from benchmarks.sides import Side

VARIABLE = "QFL_SEC_SEQUENCE_PYTHON"
PROGRAM = Path(__file__).with_name("sequence_process.py")


def interpreter() -> Path:
    """Return the Python of SeQUeNCe's environment, which `make bench` builds; it need not be there."""
    return Path(os.environ.get(VARIABLE) or Path(sys.prefix) / "sequence" / "bin" / "python")


@contextmanager
def exchange(problem: KeyExchange) -> Iterator[Side]:
    """Compute the share of pulses that are sifted and their error rate, (2,), while the process lives.

    Raises:
        FileNotFoundError: If there is no such environment.
    """
    python = interpreter()
    if not python.exists():
        raise FileNotFoundError(f"Expected SeQUeNCe's environment with {python}. Run make bench, or set {VARIABLE}.")
    # Warnings are qutip's, which misses matplotlib and does not need it here.
    command = [str(python), "-W", "ignore", str(PROGRAM)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        questions, answers = process.stdin, process.stdout
        version = json.loads(answers.readline())["version"]

        def work() -> tuple[Tensor]:
            print(problem.pulses, file=questions, flush=True)
            found = json.loads(answers.readline())
            rates = [found["sifted"] / problem.pulses, found["errors"] / found["sifted"]]
            return (torch.tensor(rates, dtype=torch.float64),)

        yield Side(name="SeQUeNCe", version=version, work=work)
