"""`qfl-sec report`: write the report of a finished run again, or set several runs side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from qfl_sec.cli.options import Plugins, load_plugins
from qfl_sec.cli.output import answers_only

if TYPE_CHECKING:
    from qfl_sec.reports.comparison import Level, Run
    from qfl_sec.results import PairedDifference, Results

COMPARISONS = Path("runs", "comparison")
"""Where a comparison goes by default: it belongs to none of its runs."""


def report(
    run_dirs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN_DIR...", help="A finished run; or 2 to 12 to be compared.", show_default=False),
    ],
    formats: Annotated[
        list[str] | None, typer.Option("--format", metavar="pdf|html|json", help="What to write; by default pdf.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help=f"Where to; by default the run's own folder, and {COMPARISONS} for a comparison."
        ),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Write the report of a run from its results; of several, one comparison. Nothing is trained or attacked.

    Everything is compared with the first run. Differences are paired where both runs still hold their transcripts and
    raw scores and share seeds and split.
    """
    from qfl_sec.reports.comparison_lines import check_number

    if len(run_dirs) == 1:
        _report(run_dirs[0], formats or ["pdf"], out)
        return
    check_number(len(run_dirs))
    from qfl_sec.reports.comparison_writer import write_comparison

    with answers_only():
        load_plugins(plugin)
        written = write_comparison(_runs(run_dirs), COMPARISONS if out is None else out, formats or ["pdf"])
    for path in written:
        print(path)


def _report(folder: Path, formats: Sequence[str], out: Path | None) -> None:
    from qfl_sec.provenance import read_environment, read_timings
    from qfl_sec.reports import write_report
    from qfl_sec.reports.writer import Format

    results = _read_results(folder)
    environment, timings = read_environment(folder / "environment.json"), read_timings(folder / "timings.json")
    chosen = cast(list[Format], formats)
    for path in write_report(results, environment, timings, folder if out is None else out, formats=chosen):
        print(path)


def _read_results(folder: Path) -> bytes:
    from qfl_sec.checking import InputError
    from qfl_sec.results import loads

    path = folder / "results.json"
    if not path.is_file():
        raise InputError(f"{path}: no such file. Name the folder of a finished run, or run `qfl-sec audit` first.")
    content = path.read_bytes()
    loads(content, source=str(path), judged=True)
    return content


def _runs(folders: Sequence[Path]) -> "list[Run]":
    """Read every run, and its differences from the first one."""
    from qfl_sec.reports.comparison import Run
    from qfl_sec.reports.comparison_lines import unique_names
    from qfl_sec.reports.selection import check_references
    from qfl_sec.results import loads

    names = unique_names([folder.resolve().name for folder in folders])
    contents = [_read_results(folder) for folder in folders]
    found = [loads(content, source=f"{folder}/results.json") for content, folder in zip(contents, folders, strict=True)]
    for results, folder in zip(found, folders, strict=True):
        check_references(results, source=f"{folder}/results.json")
    pairs = _pairs(folders, found)
    return [
        Run(name=name, results=content, found=results, keys=_keys(folder), paired=paired, unpaired_reason=reason)
        for name, content, results, folder, (paired, reason) in zip(names, contents, found, folders, pairs, strict=True)
    ]


def _keys(folder: Path) -> dict[str, str] | None:
    from qfl_sec.side_by_side import read_keys

    return read_keys(folder) if (folder / "experiment.toml").is_file() else None


def _pairs(
    folders: Sequence[Path], found: "Sequence[Results]"
) -> "list[tuple[dict[Level, tuple[PairedDifference, ...]], str | None]]":
    """Return each run's paired differences from the first at each level, or why there are none."""
    from qfl_sec.reports.comparison_lines import places
    from qfl_sec.side_by_side import Trials, pair_runs, read_trials

    def read(index: int) -> "tuple[Trials, str | None]":
        try:
            return read_trials(folders[index], found[index], set(places(found[index]).values())), None
        except ValueError as error:
            return {}, " ".join(str(error).split())

    here = places(found[0])
    first, gone = read(0)
    pairs: list[tuple[dict[Level, tuple[PairedDifference, ...]], str | None]] = [({}, None)]
    for index in range(1, len(folders)):
        there = places(found[index])
        other, reason = ({}, f"of the first run: {gone}") if gone is not None else read(index)
        levels = {level: (here[level], there[level]) for level in here if level in there}
        paired = {level: tuple(pair_runs(first, other, both)) for level, both in levels.items()}
        if reason is None and not any(paired.values()):
            reason = "they share no seed with the same data and split"
        pairs.append((paired, reason))
    return pairs
