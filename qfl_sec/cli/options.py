"""What several commands share: their options, how an experiment is read, how an answer is given."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from qfl_sec.experiment import Experiment
    from qfl_sec.runner import Summary
    from qfl_sec.workbench import Engine

ExperimentFile = Annotated[
    Path, typer.Argument(metavar="EXPERIMENT.toml", help="The experiment file.", show_default=False)
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Folder of a run.", show_default=False)]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a key of the file, such as federation.rounds=5.", show_default=False
    ),
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin", metavar="FILE", help="Python file that defines attacks, defenses or protocols.", show_default=False
    ),
]
Workers = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Worker processes; by default one a core, up to 8.")
]
EngineName = Annotated[
    str,
    typer.Option(
        metavar="local|ray", help="What runs the work: processes of this machine, or a Ray cluster (extra: cluster)."
    ),
]
FailIf = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-if",
        metavar="RULE",
        help='End with status 3 if this holds, such as "update_membership.tpr_at_1pct > 0.1".',
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]

MAX_FAILURES = 20
"""Most failures that are listed; results.json holds all."""


def load_plugins(files: Sequence[Path] | None) -> None:
    """Load plug-in files."""
    from qfl_sec import plugins

    for path in files or ():
        plugins.load_file(path)


def load_experiment(path: Path, changes: Sequence[str] | None, files: Sequence[Path] | None) -> "Experiment":
    """Load plug-in files and then the experiment, which may name what they define."""
    from qfl_sec import experiment

    load_plugins(files)
    return experiment.load(path, overrides=changes or ())


def default_folder(path: Path) -> Path:
    """Return where the run of an experiment file goes by default."""
    return Path("runs") / path.stem


def check_engine(engine: str) -> "Engine":
    """Return the engine of this name, if there is one."""
    from qfl_sec.checking import InputError

    if engine == "local":
        return "local"
    if engine == "ray":
        return "ray"
    raise InputError(f"--engine {engine}: unknown. Expected: local or ray.")


def say(line: str) -> None:
    """Tell the user something that is not the answer."""
    print(line, file=sys.stderr, flush=True)


def answer(value: dict[str, Any]) -> None:
    """Print a command's answer as one JSON object."""
    print(json.dumps(value, indent=2, allow_nan=False))


def as_answer(summary: "Summary") -> dict[str, Any]:
    """Return how a run went, for `answer`."""
    return {
        "cells": {"total": summary.total, "reused": summary.reused, "failed": summary.failed},
        "trainings": {
            "total": summary.trainings,
            "reused": summary.trainings_reused,
            "failed": summary.trainings_failed,
        },
        "failures": list(summary.failures),
    }


def say_summary(summary: "Summary") -> None:
    """Tell how a run went: what was reused, and what failed and why."""
    say(f"Trainings: reused {summary.trainings_reused} of {summary.trainings}, {summary.trainings_failed} failed.")
    if summary.total:
        say(f"Cells: reused {summary.reused} of {summary.total}, {summary.failed} failed.")
    for line in summary.failures[:MAX_FAILURES]:
        say(f"  failed: {line}")
    if len(summary.failures) > MAX_FAILURES:
        say(f"  and {len(summary.failures) - MAX_FAILURES} more")
    if summary.failures:
        say("Run the same command again to retry what failed; the rest is complete.")


def finish(summary: "Summary") -> None:
    """End a command: status 1 if something failed."""
    if summary.failed or summary.trainings_failed:
        raise typer.Exit(1)
