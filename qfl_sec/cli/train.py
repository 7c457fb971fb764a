"""`qfl-sec train`: train only."""

from pathlib import Path
from typing import Annotated

import typer

from qfl_sec.cli.options import (
    Changes,
    ExperimentFile,
    Json,
    Plugins,
    Workers,
    answer,
    as_answer,
    finish,
    load_experiment,
    say_summary,
)
from qfl_sec.cli.output import answers_only
from qfl_sec.cli.progress import shown


def train(
    experiment: ExperimentFile,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The run's folder.", show_default=False)],
    changes: Changes = None,
    plugin: Plugins = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Train only: leaves models, transcripts and the resolved experiment in a folder, for `qfl-sec attack`."""
    from qfl_sec import workbench

    with answers_only(), shown(out) as listen:
        parsed = load_experiment(experiment, changes, plugin)
        summary = workbench.train(parsed, out=out, workers=workers, progress=listen)
    say_summary(summary)
    if as_json:
        answer({"folder": str(out)} | as_answer(summary))
    else:
        print(out)
    finish(summary)
