"""The grid of an audit: which trainings and which cells, each with a key that names its result.

A key is the sha256 of the canonical JSON of everything that can change a result, and of nothing else: the resolved
configuration, the data, the source of what computes it, the versions of the libraries that do the arithmetic. Paths,
times and worker counts are no part of it. Equal keys mean equal bytes, so a result is computed once and reused.
"""

import ast
import hashlib
import importlib.metadata
import importlib.util
import json
import marshal
import math
import sys
import typing
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from qfl_sec import datasets
from qfl_sec.captured_data import CapturedData
from qfl_sec.channel import ChannelSpec
from qfl_sec.checking import InputError
from qfl_sec.contracts import Adversary, Attack, Defense, visible
from qfl_sec.defenses.stack import Stack
from qfl_sec.experiment import Experiment, setting_id
from qfl_sec.federation import Kind, TrainingConfig
from qfl_sec.tasks import CellTask, Plan, TrainingTask
from qfl_sec.views import adversaries, view_type

__all__ = [
    "CellTask",
    "Plan",
    "TrainingTask",
    "canonical",
    "cell_task",
    "computing_modules",
    "describe",
    "library_versions",
    "package_source",
    "plan",
    "plugin_sources",
    "training_task",
]

LIBRARIES = ("dp-accounting", "numpy", "pennylane", "scikit-learn", "scipy", "torch")
"""Distributions whose version is part of every key."""

_NOT_PLUG_INS = sys.stdlib_module_names | {
    "qfl_sec",
    "dp_accounting",
    "numpy",
    "pennylane",
    "scipy",
    "sklearn",
    "torch",
}
"""Where a plug-in's bases may stand whose source is counted already, or by its version."""


def plan(experiment: Experiment) -> Plan:
    """Lay out the grid: variants x settings x seeds, undefended baselines, and every attack that fits a view.

    Raises:
        InputError: If the data set cannot be loaded.
    """
    trainings = tuple(_trainings(experiment))
    attacks = {variant.id: resolved.attacks for variant, resolved in experiment.variants()}
    cells = tuple(cell for task in trainings for cell in _cells(task, attacks[task.variant]))
    return Plan(trainings=trainings, cells=cells)


def training_task(config: TrainingConfig, *, variant: str, setting: str) -> TrainingTask:
    """Return the task of a configuration, with its key."""
    key = _digest(
        {
            "training": describe(config),
            "data": _fingerprint(config.data),
            "source": package_source(),
            "plugins": plugin_sources(config.defense) | plugin_sources(config.channel),
            "libraries": library_versions(),
        }
    )
    return TrainingTask(key=key, variant=variant, setting=setting, seed=config.seed, kind=config.kind, config=config)


def cell_task(training: TrainingTask, adversary: Adversary, attack: Attack) -> CellTask:
    """Return the task of an attack on a training, with its key."""
    key = _digest(
        {
            "training": training.key,
            "adversary": adversary,
            "attack": describe(attack),
            "plugins": plugin_sources(attack),
        }
    )
    return CellTask(key=key, training=training, adversary=adversary, attack=attack)


def canonical(value: Any) -> bytes:
    """Return the one JSON text of plain data: sorted keys, no spaces, floats in their shortest exact form.

    Example:
        >>> canonical({"b": 0.1, "a": [1, None]})
        b'{"a":[1,null],"b":0.1}'

    Raises:
        ValueError: If a number is not finite.
        TypeError: If a value is no plain data.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def describe(value: Any) -> Any:
    """Return a configuration as plain data: dataclasses by registered name and fields, in depth.

    An integer in a field that is declared a float counts as that float, as it does when it is read from a file. Fields
    whose metadata say `in_key=False`, such as paths, are left out.

    Raises:
        InputError: If a value is neither plain data nor a dataclass, or not finite: it could not be part of a key.
    """
    if is_dataclass(value) and not isinstance(value, type):
        hints = typing.get_type_hints(type(value))
        keyed = [field.name for field in fields(value) if field.metadata.get("in_key", True)]
        content = {name: _as_declared(getattr(value, name), hints[name]) for name in keyed}
        return {"type": _type_name(type(value)), "fields": {name: describe(one) for name, one in content.items()}}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: describe(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [describe(one) for one in value]
    if isinstance(value, set | frozenset):
        return sorted((describe(one) for one in value), key=canonical)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    raise InputError(
        f"{value!r} cannot be a parameter. Expected finite numbers, text, or lists or dataclasses of them."
    )


@cache
def package_source() -> str:
    """Return the sha256 over the source of the modules that workers compute with."""
    return _digest({name: _sha256(path) for name, path in computing_modules().items()})


def computing_modules() -> dict[str, Path]:
    """Return this package's modules that a training or attack can pass through, and their files.

    These are all attacks, defenses and protocols, the harness that runs them, and whatever they import in turn. What
    plans, keeps, judges or shows is not among them: changing it does not make a transcript or a score another one. Of
    this very module the workers use the tasks alone, so its own imports do not count.
    """
    methods = {name: path for folder in ("attacks", "defenses", "protocols") for name, path in _modules_in(folder)}
    known = dict(_modules_in("")) | dict(_modules_in("pauli")) | methods
    found = {"qfl_sec", "qfl_sec.grid"}
    pending = [*methods, "qfl_sec.harness", "qfl_sec.executors"]
    while pending:
        name = pending.pop()
        if name in known and name not in found:
            found.add(name)
            pending += _imported(known[name])
    return {name: known[name] for name in sorted(found)}


def plugin_sources(part: Defense | Attack | ChannelSpec) -> dict[str, str]:
    """Return the sha256 of each source that defines the class of a plug-in, or a base of it, outside this package.

    A single file counts alone; of a package all its modules count. Names are module names, never paths. Of a class
    without a file, typed into a notebook, the compiled methods count.
    """
    found: dict[str, str] = {}
    classes = [type(one) for one in part.defenses] if isinstance(part, Stack) else [type(part)]
    for kind in (base for cls in classes for base in cls.__mro__):
        top = kind.__module__.partition(".")[0]
        if top not in _NOT_PLUG_INS:
            found |= _module_source(kind.__module__) or {kind.__qualname__: _code_digest(kind)}
    return found


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries whose arithmetic results depend on."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def _trainings(experiment: Experiment) -> Iterator[TrainingTask]:
    """Yield all trainings, a seed's together, so that an interrupted run holds whole seeds."""
    for variant, resolved in experiment.variants():
        for seed in resolved.run.seeds:
            for defense in resolved.defenses:
                yield _task(resolved, variant.id, setting_id(defense), defense, seed, "federated")
            if isinstance(resolved.data, CapturedData):
                continue  # there is the one training that was captured, and no baseline of it
            undefended = resolved.defenses[0]
            yield _task(resolved, variant.id, "centralised", undefended, seed, "centralised")
            yield _task(resolved, variant.id, "classical", undefended, seed, "classical")


def _task(experiment: Experiment, variant: str, setting: str, defense: Defense, seed: int, kind: Kind) -> TrainingTask:
    config = TrainingConfig(
        data=experiment.data,
        model=experiment.model,
        federation=experiment.federation,
        channel=experiment.channel,
        compute=experiment.compute,
        defense=defense,
        seed=seed,
        kind=kind,
    )
    return training_task(config, variant=variant, setting=setting)


def _cells(training: TrainingTask, attacks: tuple[Attack, ...]) -> Iterator[CellTask]:
    """Yield the cells of a training; baselines are not attacked."""
    if training.kind != "federated":
        return
    config = training.config
    for adversary in adversaries(config.channel, config.compute):
        seen = view_type(adversary, config.defense, config.channel, config.compute)
        for attack in attacks:
            if visible(attack.requires, seen):
                yield cell_task(training, adversary, attack)


def _modules_in(folder: str) -> Iterator[tuple[str, Path]]:
    """Yield name and file of each module right in the package, or in one of its folders."""
    package = f"qfl_sec.{folder}".rstrip(".")
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        for path in Path(location).glob("*.py"):
            yield package if path.stem == "__init__" else f"{package}.{path.stem}", path


def _imported(path: Path) -> Iterator[str]:
    """Yield every name that a file imports anywhere in it, of modules and of what stands in them."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(value: Any) -> str:
    return hashlib.sha256(canonical(value)).hexdigest()


def _fingerprint(spec: datasets.DataSpec | CapturedData) -> str:
    return spec.sha256 if isinstance(spec, CapturedData) else datasets.load(spec).fingerprint


def _type_name(kind: type) -> str:
    """Return the registered name where there is one; `name` may also be an ordinary field."""
    registered = getattr(kind, "name", None)
    is_field = any(field.name == "name" for field in fields(kind))
    return registered if isinstance(registered, str) and not is_field else kind.__qualname__


def _as_declared(value: Any, hint: Any) -> Any:
    options = {hint} | set(typing.get_args(hint))
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if is_whole and float in options and int not in options else value


def _module_source(name: str) -> dict[str, str]:
    """Return the hashes of a module's file, or of all modules of its top-level package."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if file is None:
        return {}
    top = sys.modules.get(name.partition(".")[0])
    locations = list(getattr(top, "__path__", ()))
    if not locations:
        return {Path(file).stem: _sha256(Path(file))}
    found = {}
    for location in map(Path, locations):
        for path in sorted(location.rglob("*.py")):
            inside = path.relative_to(location.parent).with_suffix("")
            found[".".join(inside.parts)] = _sha256(path)
    return found


def _code_digest(kind: type) -> str:
    methods = (getattr(one, "fget", getattr(one, "__func__", one)) for one in vars(kind).values())
    # Version 2 of the format: later ones mark shared objects by reference count, which varies from call to call.
    codes = [marshal.dumps(method.__code__, 2) for method in methods if hasattr(method, "__code__")]
    return hashlib.sha256(b"".join(codes)).hexdigest()
