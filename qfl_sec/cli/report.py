"""`qfl-sec report`: write the report of a finished run again."""

from pathlib import Path
from typing import Annotated, cast

import typer

from qfl_sec.cli.later import refuse_later


def report(
    run_dirs: Annotated[
        list[Path], typer.Argument(metavar="RUN_DIR...", help="Folders of finished runs.", show_default=False)
    ],
    formats: Annotated[
        list[str] | None, typer.Option("--format", metavar="pdf|json", help="What to write; by default pdf.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to; by default into each run's own folder.")
    ] = None,
) -> None:
    """Write the report of each run from its results, without computing anything."""
    from qfl_sec.checking import InputError
    from qfl_sec.provenance import read_environment, read_timings
    from qfl_sec.reports import write_report
    from qfl_sec.reports.writer import Format

    if "html" in (formats or ()):
        refuse_later("--format html")
    chosen = cast(list[Format], formats or ["pdf"])
    names = [folder.resolve().name for folder in run_dirs]
    if out is not None and len(set(names)) < len(names):
        raise InputError(f"--out {out}: two runs have the same name. Write their reports one after the other.")
    for folder, name in zip(run_dirs, names, strict=True):
        results = _read_results(folder)
        environment, timings = read_environment(folder / "environment.json"), read_timings(folder / "timings.json")
        target = folder if out is None else out if len(names) == 1 else out / name
        for path in write_report(results, environment, timings, target, formats=chosen):
            print(path)


def _read_results(folder: Path) -> bytes:
    from qfl_sec.checking import InputError
    from qfl_sec.results import loads

    path = folder / "results.json"
    if not path.is_file():
        raise InputError(f"{path}: no such file. Name the folder of a finished run, or run `qfl-sec audit` first.")
    content = path.read_bytes()
    loads(content, source=str(path))
    return content
