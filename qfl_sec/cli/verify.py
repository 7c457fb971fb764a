"""`qfl-sec verify`: recompute a run from what it has stored."""

import json
from typing import TYPE_CHECKING, Any

import typer

from qfl_sec.cli.options import Json, Plugins, RunFolder, answer, say
from qfl_sec.cli.output import answers_only

if TYPE_CHECKING:
    from qfl_sec.verify import Verification

MAX_SHOWN = 60
"""Most mismatches that are listed; `--json` gives all."""


def verify(run_dir: RunFolder, plugin: Plugins = None, as_json: Json = False) -> None:
    """Recompute every verdict and number of a run from its stored scores; status 1 if something differs."""
    from qfl_sec.verify import as_answer
    from qfl_sec.verify import verify as recompute

    with answers_only():
        found = recompute(run_dir, plugin_files=plugin or ())
    if as_json:
        answer(as_answer(found))
    else:
        _say(found)
    if found.mismatches:
        raise typer.Exit(1)


def _say(found: "Verification") -> None:
    """Tell what was compared, what differs, and what this says nothing about."""
    for note in found.notes:
        print(f"Note: {note}")
    for one in found.mismatches[:MAX_SHOWN]:
        print(f"DIFFERS  {one.place}\n  stored      {_short(one.stored)}\n  recomputed  {_short(one.recomputed)}")
    if len(found.mismatches) > MAX_SHOWN:
        print(f"and {len(found.mismatches) - MAX_SHOWN} more: see --json")
    read = f"{found.cells} stored scores and {found.trainings} transcripts"
    compared = f"{found.verdicts} verdicts and {found.values} values compared with {read}"
    verdict = f"{len(found.mismatches)} differ" if found.mismatches else "everything agrees"
    print(f"{compared}: {verdict}.")
    print(f"Run {found.run_id}")
    for beyond in found.not_verified:
        say(f"Not verified: {beyond}.")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 300 else text[:297] + "..."
