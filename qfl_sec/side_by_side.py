"""Several runs side by side: what their experiments say, and the paired differences over the seeds that they share.

A seed fixes split and membership whatever is trained, so that the same records are asked about in two runs of the same
data. Whether they are is read from the runs' own records, never from their names.
"""

import hashlib
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qfl_sec.checking import InputError
from qfl_sec.contracts import Adversary
from qfl_sec.differences import paired_difference
from qfl_sec.evidence import Evidence, ScoredCell, Trained
from qfl_sec.experiment import FILES, Experiment, dumps, load, setting_id
from qfl_sec.grid import plan
from qfl_sec.measuring import linkage_trial, membership_trial, reconstruction_trial
from qfl_sec.results import Measurement, PairedDifference, Results
from qfl_sec.run_folder import RunFolder
from qfl_sec.scoring import found_members, named_senders, rebuilt_records
from qfl_sec.store import Store

Place = tuple[str, str]
"""Ids of a variant and of a setting."""

Asked = tuple[Adversary, str] | None
"""Adversary and attack; None for accuracy on the test split."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training's hits.

    Attributes:
        hits: (trials,), truth values.
        names: (trials, parts), what each trial is about: in one split, equal names are equal trials.
        split: Hash of the data set and of how it was split.
    """

    hits: NDArray[np.bool_]
    names: NDArray[np.int64]
    split: str


Trials = Mapping[tuple[Place, Asked], Mapping[int, Trial]]
"""The trials of a run at some places, by seed."""


def read_keys(folder: Path) -> dict[str, str]:
    """Return a run's resolved experiment as keys in one level, each with its value in words; files without folders.

    Raises:
        InputError: If the folder holds no readable experiment.
    """
    path = RunFolder(folder).experiment
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}. Name the folder of a finished run.") from None
    except ValueError as error:
        raise InputError(f"{path}: not a readable experiment ({error}). Restore it from a copy.") from None
    found: dict[str, list[str]] = {}
    for key, value in _keys(tables, ""):
        found.setdefault(key, []).append(PurePath(str(value)).name if key in FILES else _text(value))
    return {key: "; ".join(values if len(set(values)) > 1 else values[:1]) for key, values in found.items()}


def _keys(value: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield every key in one level; of a list of tables each entry stands under its name."""
    for key, child in value.items():
        place = f"{prefix}{key}"
        if isinstance(child, Mapping):
            yield from _keys(child, f"{place}.")
        elif isinstance(child, list) and child and all(isinstance(one, Mapping) for one in child):
            for one in child:
                rest = {name: content for name, content in one.items() if name != "name"} or one
                yield from _keys(rest, f"{place}.{one.get('name', 'combined')}.")
        else:
            yield place, child


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_text(one) for one in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_trials(folder: Path, results: Results, places: Collection[Place]) -> Trials:
    """Return a run's trials, from its raw scores and transcripts.

    Args:
        folder: The run's.
        results: Its `results.json`; the trials are held against its counts.
        places: Variants and settings to read.

    Raises:
        InputError: If the run's records are gone, damaged, of another version, or not those of its results.
    """
    run = RunFolder(folder)
    missing = [path.name for path in (run.experiment, run.store, run.transcripts) if not path.exists()]
    if missing:
        raise InputError(f"its folder holds no {' and no '.join(missing)}")
    experiment = load(run.experiment)
    if hashlib.sha256(dumps(experiment, folders=False).encode()).hexdigest() != results.experiment_sha256:
        raise InputError("its experiment.toml, as this version reads it, is not the one of its results.json")
    whole = plan(experiment)
    wanted = replace(
        whole,
        trainings=tuple(task for task in whole.trainings if (task.variant, task.setting) in places),
        cells=tuple(cell for cell in whole.cells if (cell.training.variant, cell.training.setting) in places),
    )
    with Store(run.store) as store:
        found = dict(_read(Evidence(wanted, store, run.transcripts), experiment, results, places))
    if not any(found.values()):
        raise InputError("its transcripts were made by another version of this program, its libraries or plug-ins")
    return found


def _read(
    evidence: Evidence, experiment: Experiment, results: Results, places: Collection[Place]
) -> Iterator[tuple[tuple[Place, Asked], dict[int, Trial]]]:
    settings = {setting_id(defense) for defense in experiment.defenses}
    attacks = {attack.name: attack for attack in experiment.attacks}
    for place in places:
        if place[1] not in settings:
            continue
        trained = evidence.trainings(*place)
        accuracy = {one.task.seed: _of_test(one) for one in trained}
        counts = [entry.accuracy for entry in results.utility if (entry.variant, entry.setting) == place]
        if trained:
            _check(accuracy, counts[0].k if counts else None, counts[0].n if counts else None)
            yield (place, None), accuracy
        for entry in results.measurements:
            if (entry.variant, entry.setting) != place or entry.success is None or entry.attack not in attacks:
                continue
            cells, _ = evidence.cells(*place, entry.adversary, attacks[entry.attack])
            if cells:
                trials = {cell.trained.task.seed: _of_cell(cell, entry) for cell in cells}
                _check(trials, entry.success.k, entry.success.n)
                yield (place, (entry.adversary, entry.attack)), trials


def _check(trials: Mapping[int, Trial], k: int | None, n: int | None) -> None:
    """Hold trials against the counts that were reported."""
    seen = sum(int(one.hits.sum()) for one in trials.values()), sum(len(one.hits) for one in trials.values())
    if seen != (k, n):
        raise InputError(f"its raw scores give {seen[0]} of {seen[1]} where its results.json says {k} of {n}")


def _of_test(trained: Trained) -> Trial:
    hits = trained.truth.test_hits.numpy()
    return Trial(hits=hits, names=np.arange(len(hits)).reshape(-1, 1), split=_split(trained))


def _of_cell(cell: ScoredCell, entry: Measurement) -> Trial:
    if entry.question == "membership":
        threshold = None if entry.membership is None else entry.membership.threshold
        hits, names = found_members(membership_trial(cell), threshold)
    elif entry.question == "linkage":
        hits, names = named_senders(linkage_trial(cell))
    else:
        hits, names = rebuilt_records(reconstruction_trial(cell))
    return Trial(hits=hits, names=names, split=_split(cell.trained))


def _split(trained: Trained) -> str:
    """Return a hash of the data and of who stands where: the labels of each split, in their order."""
    splits = trained.population.splits
    digest = hashlib.sha256(trained.population.fingerprint.encode())
    for records in (splits.candidates, splits.test, splits.reference):
        digest.update(len(records.labels).to_bytes(8, "big") + records.labels.numpy().astype(np.int64).tobytes())
    return digest.hexdigest()


def pair_runs(first: Trials, other: Trials, places: tuple[Place, Place]) -> Iterator[PairedDifference]:
    """Yield the differences of one run from another: accuracy, and every attack with figures in both.

    Only seeds with the same split in both count, and without any there is no difference. Intervals are those of
    `differences.paired_difference`: trial by trial where all trials are the same in both, else seed by seed.

    Args:
        first: The run that is subtracted.
        other: The run that it is subtracted from.
        places: Variant and setting of the first and of the other.
    """
    for place, asked in other:
        if place != places[1]:
            continue
        mine, theirs = other[place, asked], first.get((places[0], asked), {})
        seeds = [seed for seed in mine if seed in theirs and mine[seed].split == theirs[seed].split]
        pairs = [(mine[seed], theirs[seed]) for seed in seeds]
        if not sum(len(one.hits) for one, _ in pairs) or not sum(len(one.hits) for _, one in pairs):
            continue
        matched = all(np.array_equal(one.names, two.names) for one, two in pairs)
        found = paired_difference([one.hits for one, _ in pairs], [two.hits for _, two in pairs], matched=matched)
        yield PairedDifference(
            variant=place[0],
            setting=place[1],
            measure="accuracy" if asked is None else "success",
            adversary=None if asked is None else asked[0],
            attack=None if asked is None else asked[1],
            trainings=found.clusters,
            shared=("split", "trials") if matched else ("split",),
            difference=found.value,
            low=found.low,
            high=found.high,
            method=found.method,
            gained=found.gained,
            lost=found.lost,
            trials=sum(len(one.hits) for one, _ in pairs),
        )
