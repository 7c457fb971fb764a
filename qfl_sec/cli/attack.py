"""`qfl-sec attack`: attack a run that is already trained."""

from typing import Annotated

import typer

from qfl_sec.cli.audit import conclude, write_reports
from qfl_sec.cli.options import Json, Plugins, RunFolder, Workers, load_plugins
from qfl_sec.cli.output import answers_only
from qfl_sec.cli.progress import shown


def attack(
    run_dir: RunFolder,
    attacks: Annotated[
        list[str] | None,
        typer.Option("--attack", metavar="NAME", help="Attack to run; by default those of the experiment."),
    ] = None,
    plugin: Plugins = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Attack a run that `train` or `audit` has left, or updates captured elsewhere, and write the report."""
    from qfl_sec import workbench

    with answers_only(), shown(run_dir) as listen:
        load_plugins(plugin)
        done = workbench.attack(run_dir, attacks=attacks or (), workers=workers, progress=listen)
        files = write_reports(done)
    conclude(done, files, as_json=as_json)
