"""`qfl-sec audit`: train, attack, report."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qfl_sec.cli.options import (
    Changes,
    EngineName,
    ExperimentFile,
    FailIf,
    Json,
    Plugins,
    Workers,
    answer,
    as_answer,
    check_engine,
    default_folder,
    finish,
    load_experiment,
    say,
    say_summary,
)
from qfl_sec.cli.output import answers_only
from qfl_sec.cli.progress import shown

if TYPE_CHECKING:
    from qfl_sec.estimate import Estimate
    from qfl_sec.experiment import Experiment
    from qfl_sec.policy import Answer, Rule
    from qfl_sec.workbench import Audit


def audit(
    experiment: ExperimentFile,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The run's folder; by default runs/ and the file's name.")
    ] = None,
    changes: Changes = None,
    plugin: Plugins = None,
    workers: Workers = None,
    engine: EngineName = "local",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many cells there are, and the time and memory they take.")
    ] = False,
    fail_if: FailIf = None,
    as_json: Json = False,
) -> None:
    """Train a federation, attack it, and write the report. Run again, it reuses what is there."""
    chosen = check_engine(engine)
    with answers_only():
        parsed = load_experiment(experiment, changes, plugin)
        rules = read_rules(fail_if, parsed)
    folder = out or default_folder(experiment)
    if dry_run:
        say_estimate(parsed, folder, workers, as_json=as_json)
        return
    from qfl_sec import workbench

    with answers_only(), shown(folder) as listen:
        done = workbench.run_audit(parsed, out=folder, workers=workers, progress=listen, engine=chosen)
        files = write_reports(done)
    conclude(done, files, as_json=as_json, rules=rules)


def read_rules(texts: list[str] | None, experiment: "Experiment") -> "list[Rule]":
    """Read the rules of `--fail-if` before anything is computed."""
    from qfl_sec.policy import parse_rule

    return [parse_rule(text, experiment.attacks) for text in texts or ()]


def write_reports(done: "Audit") -> list[Path]:
    """Write the report of a finished audit into its folder; return it and the data that it shows."""
    from qfl_sec.provenance import read_environment, read_timings
    from qfl_sec.reports import write_report

    folder = done.folder
    environment, timings = read_environment(folder.environment), read_timings(folder.timings)
    written = write_report(folder.results.read_bytes(), environment, timings, folder.path, formats=("pdf", "html"))
    return [*written, folder.results]


def conclude(done: "Audit", files: list[Path], *, as_json: bool, rules: "Sequence[Rule]" = ()) -> None:
    """Say where the report is, how it went and what became of the rules, and end with the status that fits."""
    from qfl_sec.policy import answer as held_against
    from qfl_sec.results import run_id

    answers = [held_against(rule, done.results) for rule in rules]
    say_summary(done.summary)
    for one in answers:
        say(_in_words(one))
    if as_json:
        content = done.folder.results.read_bytes()
        places = {"folder": str(done.folder.path), "files": [str(path) for path in files], "run_id": run_id(content)}
        policy = {"rules": [asdict(one) | {"rule": str(one.rule)} for one in answers]} if rules else {}
        answer(places | as_answer(done.summary) | policy | {"results": json.loads(content)})
    else:
        print(files[0])
    if any(one.holds for one in answers):
        raise typer.Exit(3)
    finish(done.summary)
    if any(one.holds is None for one in answers):
        raise typer.Exit(2)


def _in_words(found: "Answer") -> str:
    if found.holds is None:
        return f"Error: --fail-if {found.rule}: nothing to hold it against: {found.reason}."
    by = f" for the {found.adversary}" if found.adversary else ""
    return f"Rule {found.rule}: {'HOLDS' if found.holds else 'does not hold'}, {found.value:.4g}{by}."


def say_estimate(experiment: "Experiment", folder: Path, workers: int | None, *, as_json: bool) -> None:
    """Say what an audit would compute, and what that takes."""
    from qfl_sec.estimate import estimate

    with answers_only():
        found = estimate(experiment, out=folder, workers=workers)
    if as_json:
        answer(_as_answer(found))
        return
    print(f"trainings  {found.trainings}, {found.trainings_reused} of them reused")
    print(f"cells      {found.cells}, {found.cells_reused} of them reused")
    print(f"time       about {duration(found.seconds)} with {found.workers} workers")
    print(f"memory     about {found.memory_bytes / 2**30:.1f} GiB")
    print(f"folder     {folder}")


def _as_answer(found: "Estimate") -> dict[str, Any]:
    return {
        "cells": {"total": found.cells, "reused": found.cells_reused},
        "trainings": {"total": found.trainings, "reused": found.trainings_reused},
        "workers": found.workers,
        "seconds": found.seconds,
        "memory_bytes": found.memory_bytes,
    }


def duration(seconds: float) -> str:
    """Return a time that is roughly known, in words.

    Example:
        >>> duration(42), duration(600), duration(9000)
        ('42 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
