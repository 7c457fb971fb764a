"""A run recomputed from what it has stored, and held against what its `results.json` says.

Nothing is trained and no attack is run again: transcripts, truths and raw scores are read, and assembled as the audit
assembles them. The folder is only read.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from qfl_sec import plugins as registry
from qfl_sec.assembly import assemble
from qfl_sec.capture_folder import is_capture
from qfl_sec.checking import InputError
from qfl_sec.evidence import hashes
from qfl_sec.experiment import Experiment, parse, place_files
from qfl_sec.experiment_file import read_toml
from qfl_sec.grid import Plan, plan
from qfl_sec.instruments import Planted
from qfl_sec.provenance import Environment, collect_environment, read_environment, read_timings
from qfl_sec.results import Results, dumps, loads, run_id
from qfl_sec.run_folder import RunFolder, check_at_rest
from qfl_sec.store import Store

COMPARED = ("package_version", "commit", "dirty", "python", "pennylane", "torch", "numpy", "processor")
"""What may change the last digits of a number, or what is computed at all."""

RELATIVE, ABSOLUTE = 1e-9, 1e-12
"""How far a number may be off where it was computed by other versions or on another processor."""

_PLANTED = re.compile(r"planted_leak_(?P<attack>.+?)(?P<sums>_in_sums)?")
_FOUND = re.compile(r"(?P<found>\d+) of (?P<planted>\d+)")


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """A place where a run is not what it says.

    Attributes:
        place: File or key of `results.json`.
        stored: What stands there.
        recomputed: What follows from the rest of the folder.
    """

    place: str
    stored: Any
    recomputed: Any


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What came of recomputing a run.

    Attributes:
        folder: Of the run.
        run_id: sha256 of its `results.json`.
        verdicts: How many verdicts were compared.
        values: How many values of `results.json` were compared, verdicts and first-page numbers among them.
        trainings: Transcripts read.
        cells: Stored scores whose hashes were checked.
        notes: What to know before reading on, such as other versions.
        not_verified: What this says nothing about.
        mismatches: Every difference.
    """

    folder: str
    run_id: str
    verdicts: int
    values: int
    trainings: int
    cells: int
    notes: tuple[str, ...]
    not_verified: tuple[str, ...]
    mismatches: tuple[Mismatch, ...]


def verify(run_dir: Path, *, plugin_files: Sequence[Path] = ()) -> Verification:
    """Recompute a run's results from its stored scores, transcripts and truths, and compare.

    Args:
        run_dir: Folder of a run that `audit` or `attack` has left.
        plugin_files: Files of the plug-ins that its experiment names.

    Raises:
        InputError: If a file is missing, foreign, damaged or of another schema, so that nothing can be recomputed.
    """
    for path in plugin_files:
        registry.load_file(path)
    folder = RunFolder(run_dir)
    text, stored = _read_results(folder)
    environment = read_environment(folder.environment)
    read_timings(folder.timings)
    notes = _other_versions(environment, stored)
    experiment = _read_experiment(folder)
    with Store(folder.store, inspect=True) as store:
        planned = plan(experiment)
        laid_out = _as_recorded(planned, stored, store)
        if laid_out != planned:
            notes.append(
                "Its trainings were made from another experiment, data, source, plug-in or library than are here now; "
                "they are taken as results.json records them."
            )
        cells, changed = store.changed()
        found = [
            Mismatch(place=f"results.sqlite: scores of cell {key}", stored=a, recomputed=b) for key, a, b in changed
        ]
        try:
            again = assemble(experiment, laid_out, store, folder.transcripts, planted=_planted(stored))
        except InputError as error:
            found += _changed_transcripts(folder, stored)
            if not found:
                raise
            return _verification(folder, text, stored, cells, notes, [*found, _not_recomputed(error)], 0)
    own = _as_stored(again, stored, folder)
    exact = not notes
    compared = list(_compare(json.loads(text), json.loads(dumps(own)), "results.json", exact))
    found += [one for one in compared if one is not None]
    if not found and exact and dumps(own) != text:
        found.append(Mismatch(place="results.json: bytes", stored=run_id(text), recomputed=run_id(dumps(own))))
    return _verification(folder, text, stored, cells, notes, found, len(compared))


def _verification(
    folder: RunFolder,
    text: bytes,
    stored: Results,
    cells: int,
    notes: Sequence[str],
    found: Sequence[Mismatch],
    values: int,
) -> Verification:
    beyond = ["that training and attacking again would give the same transcripts and scores"]
    if any(_PLANTED.fullmatch(one.id) for one in stored.instruments):
        beyond.append("what the attacks found of leaks planted for them, which is taken as stored")
    if is_capture(folder.path):
        beyond.append("that the captured updates and records are those of the federation they are said to be from")
    if not stored.trainings:
        beyond.append("the hashes of the transcripts, which these results do not record")
    return Verification(
        folder=str(folder.path),
        run_id=run_id(text),
        verdicts=len(stored.verdicts),
        values=values,
        trainings=len({one.key for one in stored.trainings}),
        cells=cells,
        notes=tuple(notes),
        not_verified=tuple(beyond),
        mismatches=tuple(found),
    )


def _read_results(folder: RunFolder) -> tuple[bytes, Results]:
    """Return what is to be verified, or say what the folder is instead."""
    path = folder.path
    if not path.is_dir():
        raise InputError(f"{path}: no such folder. Name the folder of a finished run.")
    check_at_rest(path)
    if not folder.results.is_file():
        if is_capture(path):
            what = "captured updates that were not attacked yet"
        elif folder.experiment.is_file():
            what = "trained, or begun, but without results"
        else:
            raise InputError(f"{path}: holds no results.json. Name the folder of a finished run.")
        raise InputError(
            f"{path}: {what}: nothing is claimed, so there is nothing to verify. Run `qfl-sec attack {path}` first."
        )
    try:
        text = folder.results.read_bytes()
    except OSError as error:
        raise InputError(f"{folder.results}: cannot be read ({error.strerror}). Correct its permissions.") from None
    return text, loads(text, source=str(folder.results))


def _read_experiment(folder: RunFolder) -> Experiment:
    """Return the run's experiment; a capture's own folder counts, wherever it has been moved to."""
    tables = read_toml(folder.experiment)
    place_files(tables, folder.path)
    data = tables.get("data")
    if is_capture(folder.path) and isinstance(data, dict):
        data["captured"] = str(folder.path)
    return parse(tables, str(folder.experiment))


def _other_versions(environment: Environment, stored: Results) -> list[str]:
    """Say which versions differ from those that are at work here."""
    here = collect_environment("")
    pairs = [(name, getattr(environment, name), getattr(here, name)) for name in COMPARED]
    if stored.package_version != here.package_version:
        pairs.append(("package_version of results.json", stored.package_version, here.package_version))
    other = [f"{name} {_shown(then)} (here {_shown(now)})" for name, then, now in pairs if then != now]
    if not other:
        return []
    within = f"numbers may differ by {RELATIVE:g} of their size"
    return [f"Made elsewhere or by other versions, compared all the same: {', '.join(other)}; {within}."]


def _as_recorded(laid_out: Plan, stored: Results, store: Store) -> Plan:
    """Return the plan with the keys under which this run has kept its trainings and scores."""
    recorded = {(one.variant, one.setting, one.seed): one.key for one in stored.trainings}
    cells = store.keys()
    trainings = {
        id(task): replace(task, key=recorded.get((task.variant, task.setting, task.seed), task.key))
        for task in laid_out.trainings
    }
    return Plan(
        trainings=tuple(trainings.values()),
        cells=tuple(
            replace(
                cell,
                training=trainings[id(cell.training)],
                key=cell.key
                if cell.key in cells.values()
                else cells.get((trainings[id(cell.training)].key, cell.adversary, cell.attack.name), cell.key),
            )
            for cell in laid_out.cells
        ),
    )


def _planted(stored: Results) -> list[Planted]:
    """Return what the instruments say about planted leaks, which would take attacks to find again."""
    found = []
    for one in stored.instruments:
        name, counts = _PLANTED.fullmatch(one.id), _FOUND.fullmatch(one.result)
        if name and counts:
            found.append(
                Planted(
                    attack=name["attack"],
                    found=int(counts["found"]),
                    planted=int(counts["planted"]),
                    sums=name["sums"] is not None,
                )
            )
    return found


def _changed_transcripts(folder: RunFolder, stored: Results) -> list[Mismatch]:
    """Return which transcripts and truths are not those that the results were made from.

    Raises:
        InputError: If one is missing.
    """
    found = []
    for one in stored.trainings:
        place = folder.transcripts / one.key[:16]
        for name, then, now in zip(
            ("transcript", "truth"), (one.transcript_sha256, one.truth_sha256), hashes(place), strict=True
        ):
            if then != now:
                found.append(Mismatch(place=f"transcripts/{place.name}: {name}", stored=then, recomputed=now))
    return found


def _not_recomputed(error: InputError) -> Mismatch:
    return Mismatch(place="results.json", stored="results", recomputed=f"not possible: {error}")


def _as_stored(again: Results, stored: Results, folder: RunFolder) -> Results:
    """Return recomputed results without differences that are none of the run's content."""
    own = replace(again, package_version=stored.package_version)
    if not stored.trainings:
        own = replace(own, trainings=())
    # Another version may write out more defaults; the file itself is then what was hashed.
    if hashlib.sha256(folder.experiment.read_bytes()).hexdigest() == stored.experiment_sha256:
        own = replace(own, experiment_sha256=stored.experiment_sha256)
    return own


def _compare(stored: Any, again: Any, place: str, exact: bool) -> Iterator[Mismatch | None]:
    """Yield a mismatch for each value that differs, and None for each that does not."""
    if isinstance(stored, dict) and isinstance(again, dict):
        for key in sorted({*stored, *again}):
            if key in stored and key in again:
                yield from _compare(
                    stored[key], again[key], f"{place}: {key}" if place == "results.json" else f"{place}.{key}", exact
                )
            else:
                yield Mismatch(place=f"{place}.{key}", stored=stored.get(key), recomputed=again.get(key))
    elif isinstance(stored, list) and isinstance(again, list):
        if len(stored) != len(again):
            yield Mismatch(place=f"{place}: entries", stored=len(stored), recomputed=len(again))
        for index, (one, other) in enumerate(zip(stored, again, strict=False)):
            yield from _compare(one, other, f"{place}[{index}]{_named(other)}", exact)
    else:
        yield None if _same(stored, again, exact) else Mismatch(place=place, stored=stored, recomputed=again)


def _named(entry: Any) -> str:
    """Return who and what an entry of a list is about."""
    if not isinstance(entry, Mapping):
        return ""
    names = [entry.get(key) for key in ("variant", "setting", "question", "adversary", "attack", "seed", "id")]
    words = [str(name) for name in names if name is not None and name != "default"]
    return f" ({', '.join(words)})" if words else ""


def _same(stored: Any, again: Any, exact: bool) -> bool:
    if type(stored) is not type(again):
        return False
    if isinstance(stored, float) and not exact:
        return math.isclose(stored, again, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return bool(stored == again)


def _shown(value: object) -> str:
    return "unknown" if value is None else str(value)[:40]


def as_answer(found: Verification) -> dict[str, Any]:
    """Return a verification as plain data, for `--json`."""
    return {"verified": not found.mismatches, **asdict(found)}
