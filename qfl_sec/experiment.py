"""What is audited: the experiment, its settings and the points of its sweep.

The tables of its file are read strictly, held against each other and written out with every default, so that
`parse(tomllib.loads(dumps(experiment)), ...)` is the experiment again.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, time
from itertools import product
from pathlib import Path
from typing import Any, cast

import tomli_w

from qfl_sec import plugins
from qfl_sec.batches import steps_per_round
from qfl_sec.captured_data import CapturedData
from qfl_sec.channel import ChannelSpec, PlainChannel, is_watched
from qfl_sec.checking import InputError
from qfl_sec.computation import check_compute
from qfl_sec.compute import ComputeSpec, LocalCompute, PlainCloud, is_delegated
from qfl_sec.contracts import Attack, Defense, ServerComputeView
from qfl_sec.datasets import DataSpec, inspect
from qfl_sec.defenses.stack import Stack
from qfl_sec.experiment_file import override, read_toml
from qfl_sec.federation import FederationSpec
from qfl_sec.models import ModelSpec, VariationalClassifier
from qfl_sec.protocols.blind_sampler import BlindSampler
from qfl_sec.results import Scalar, Variant
from qfl_sec.settings import read_defenses, read_plugin
from qfl_sec.tables import (
    SPECS,
    SWEPT,
    TABLES,
    Axis,
    ReportSpec,
    RunSpec,
    Tolerances,
    as_mapping,
    as_table,
    as_tables,
    check_known,
    differing,
    listed,
    read_table,
)
from qfl_sec.transcript import MAX_FILE_BYTES

__all__ = ["Experiment", "as_table", "dumps", "load", "parse", "setting_id"]

FILES = {
    "data.file": "",
    "data.captured": "sha256",
    "model.circuit": "sha256",
    "model.module": "sha256",
    "model.checkpoint": "checkpoint_sha256",
}
"""Keys that name a file, whose relative path counts from the experiment's folder, and the field that holds its hash."""

MAX_POINTS = 1_000
"""Most points of a sweep: more is a slip of the pen."""


def _built_in_attacks(*, cloud: bool) -> tuple[Attack, ...]:
    found = tuple(plugins.get("attack", name)() for name in plugins.BUILT_IN["attack"])
    asked = (attack for attack in found if attack.question != "linkage")
    return tuple(attack for attack in asked if cloud or attack.requires != (ServerComputeView,))


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything that an audit is about.

    Attributes:
        data: The data and its splits, or what was captured elsewhere.
        model: What is trained.
        federation: How.
        channel: What carries updates from the clients to the server.
        compute: Who runs the circuits.
        defenses: One entry a setting, without repetition; the undefended baseline comes first and is always there.
        sweep: Further axes.
        attacks: One of each name; by default all built-in ones but those that ask who sent an update, and those that
            read circuits where no cloud sees any.
        tolerances: What leak is acceptable.
        report: What the report shows first.
        run: The seeds.

    Raises:
        ValueError: If the parts do not fit together.
    """

    data: DataSpec | CapturedData = field(default_factory=DataSpec)
    model: ModelSpec = field(default_factory=VariationalClassifier)
    federation: FederationSpec = field(default_factory=FederationSpec)
    channel: ChannelSpec = field(default_factory=PlainChannel)
    compute: ComputeSpec = field(default_factory=LocalCompute)
    defenses: tuple[Defense, ...] = ()
    sweep: tuple[Axis, ...] = ()
    attacks: tuple[Attack, ...] = cast("tuple[Attack, ...]", None)  # until the other tables are known
    tolerances: Tolerances = field(default_factory=Tolerances)
    report: ReportSpec = field(default_factory=ReportSpec)
    run: RunSpec = field(default_factory=RunSpec)

    def __post_init__(self) -> None:
        undefended = plugins.get("defense", "none")()
        object.__setattr__(self, "defenses", tuple(_distinct([undefended, *self.defenses])))
        object.__setattr__(self, "report", replace(self.report, audited=as_table(self._find_audited())))
        if cast("tuple[Attack, ...] | None", self.attacks) is None:
            swept = {point.get("compute.name") for axis in self.sweep for point in axis.points}
            cloud = isinstance(self.compute, PlainCloud) or PlainCloud.name in swept
            object.__setattr__(self, "attacks", _built_in_attacks(cloud=cloud))
        attacks = [attack.name for attack in self.attacks]
        for name in attacks:
            if attacks.count(name) > 1:
                raise ValueError(f"[[attacks]]: {name!r} stands there twice, and its results could not be told apart.")
        self._check_fit()
        self.variants()

    @property
    def audited(self) -> Defense:
        """The setting of the report's first page."""
        return self._find_audited()

    def variants(self) -> "tuple[tuple[Variant, Experiment], ...]":
        """Return every point of the sweep with the experiment there; the point "default" if nothing is swept.

        The point that has the experiment's own values is shown first; if none has, the first one is.

        Raises:
            ValueError: If a key cannot be swept, or the experiment is impossible at a point.
        """
        if not self.sweep:
            return ((Variant(id="default", values={}, shown=True), self),)
        if math.prod(len(axis.values) for axis in self.sweep) > MAX_POINTS:
            raise ValueError(f"[sweep]: more than {MAX_POINTS} points. Sweep fewer values.")
        named = [key for axis in self.sweep for key in dict.fromkeys(key for point in axis.points for key in point)]
        if twice := next((key for key in named if named.count(key) > 1), None):
            raise ValueError(f"[sweep]: {twice} is set by two of its keys. Remove one.")
        points = [
            {key: value for part in parts for key, value in part.items()}
            for parts in product(*(axis.points for axis in self.sweep))
        ]
        resolved = [self._at(point) for point in points]
        own = replace(self, sweep=())
        shown = resolved.index(own) if own in resolved else 0
        return tuple(
            (Variant(id=listed(point), values=point, shown=index == shown), experiment)
            for index, (point, experiment) in enumerate(zip(points, resolved, strict=True))
        )

    def _at(self, point: Mapping[str, Scalar]) -> "Experiment":
        """Return the experiment at one point of its sweep."""
        parts: dict[str, Any] = {}
        for key, value in point.items():
            table, _, name = key.partition(".")
            check_known(table, SWEPT, "[sweep]: unknown table", remedy='Write a key such as "model.layers"')
            if key in FILES:
                raise ValueError(f"[sweep]: {key} cannot be swept. Audit each file by an experiment of its own.")
            parts.setdefault(table, differing(getattr(self, table)))[name] = value
        place = f"[sweep]: {listed(point)}"
        specs = {table: read_table(table, content, f"{place}: [{table}]") for table, content in parts.items()}
        try:
            return replace(self, sweep=(), **specs)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None

    def _find_audited(self) -> Defense:
        wanted = self.report.audited
        if wanted is None:
            defended = self.defenses[1:]
            return defended[len(defended) // 2] if defended else self.defenses[0]
        found = [defense for defense in self.defenses if _matches(as_table(defense), wanted)]
        if len(found) != 1:
            known = "; ".join(setting_id(defense) for defense in (found or self.defenses))
            fault = "fits several settings" if found else "is none of the settings"
            remedy = "Add parameters that tell them apart" if found else "Name one of them"
            raise ValueError(f"[report]: audited = {listed(wanted)} {fault}: {known}. {remedy}.")
        return found[0]

    def _check_fit(self) -> None:
        """Refuse tables that contradict each other."""
        if isinstance(self.data, CapturedData):
            self.model.check_fit(self.data.features, self.data.classes)
            if self.defenses[1:] or self.sweep or len(self.run.seeds) > 1:
                remedy = "Remove [[defenses]] and [sweep], and set [run] seeds = [0]"
                raise ValueError(f"[data] captured is one training, of one setting and one seed. {remedy}.")
            if is_watched(self.channel):
                raise ValueError("[channel]: updates captured elsewhere came over a channel unknown here. Remove it.")
            if is_delegated(self.compute) or self.compute.shots is not None:
                raise ValueError("[compute]: who computed updates captured elsewhere is unknown here. Remove it.")
            return
        info = inspect(self.data)
        self.model.check_fit(self.data.features, info.classes)
        check_compute(self.compute, self.model, self.data.features, info.classes, BlindSampler)
        left = 1 - self.data.test_fraction - self.data.reference_fraction
        if self.federation.clients > max(1.0, info.records * left * 1.1):
            raise ValueError(
                f"Expected [federation] clients={self.federation.clients} <= {int(info.records * left)}, the records "
                f"of {info.name} left to train on. Set fewer clients."
            )
        size = self._transcript_bytes(
            int(info.records * left) // self.federation.clients + 1, self.data.features, info.classes
        )
        if size > MAX_FILE_BYTES:
            raise ValueError(
                f"Expected a transcript of at most {MAX_FILE_BYTES >> 30} GiB, not {size / 2**30:,.0f}, which rounds="
                f"{self.federation.rounds} come to here. Set fewer rounds, clients_per_round, local steps or epochs."
            )

    def _transcript_bytes(self, records: int, features: int, classes: int) -> int:
        """Return roughly how large the tensors of one training are, with so many records at a client."""
        spec, parameters = self.federation, self.model.n_parameters(features, classes)
        steps = steps_per_round(records, spec.batch_size, spec.local_steps, spec.local_epochs)
        slots = steps * min(spec.batch_size, records)
        numbers = (spec.clients_per_round + 2) * parameters + spec.clients_per_round * (slots + 1)
        return 8 * spec.rounds * numbers


def setting_id(defense: Defense) -> str:
    """Return what tells a setting from the others: its name, with the parameters if it has any; of a stack, all."""
    if isinstance(defense, Stack):
        return " + ".join(setting_id(one) for one in defense.defenses)
    given = {key: value for key, value in as_table(defense).items() if key != "name"}
    return f"{defense.name}({listed(given)})" if given else defense.name


def dumps(experiment: Experiment, *, folders: bool = True) -> str:
    """Return the experiment as the text of its file, every default written out.

    Args:
        experiment: What to write.
        folders: Whether files are written with their folders; without, the text is the same wherever they lie, and is
            no experiment to be run.
    """
    tables: dict[str, Any] = {name: as_table(getattr(experiment, name)) for name in SPECS}
    for table, key in (place.split(".") for place in FILES if not folders):
        if key in tables[table]:
            digest = getattr(getattr(experiment, table), FILES[f"{table}.{key}"], None)
            tables[table][key] = " ".join(filter(None, (Path(tables[table][key]).name, digest)))
    tables["defenses"] = [as_table(defense) for defense in experiment.defenses]
    tables["attacks"] = [as_table(attack) for attack in experiment.attacks]
    tables["sweep"] = {
        axis.key: [dict(value) if isinstance(value, Mapping) else value for value in axis.values]
        for axis in experiment.sweep
    }
    return tomli_w.dumps({name: tables[name] for name in TABLES})


def load(path: str | Path, *, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment file.

    Args:
        path: A TOML file; a relative [data] file counts from its folder.
        overrides: Changes to it, each "table.key=value" with a TOML value; a bare word is a string.

    Raises:
        InputError: If the file or a change is wrong; the message names the place, the value and the remedy.
    """
    tables = read_toml(Path(path))
    for change in overrides:
        override(tables, change)
    place_files(tables, Path(path).parent)
    changes = f" with --set {' --set '.join(overrides)}" if overrides else ""
    return parse(tables, f"{path}{changes}")


def parse(tables: Mapping[str, Any], source: str) -> Experiment:
    """Build an experiment from the tables of its file.

    Args:
        tables: As read from TOML.
        source: Where they come from, for messages.

    Raises:
        InputError: If a table or key is unknown, or a value is wrong.
    """
    _check_plain(tables, source)
    for name in tables:
        check_known(name, TABLES, f"{source}: unknown table", remedy="Remove it or correct its name")
    parts = {
        name: read_table(name, as_mapping(tables[name], f"{source}: [{name}]"), f"{source}: [{name}]")
        for name in SPECS
        if name in tables
    }
    if "defenses" in tables:
        parts["defenses"] = tuple(read_defenses(tables["defenses"], source))
    if "attacks" in tables:
        places = as_tables(tables["attacks"], f"{source}: [[attacks]]")
        parts["attacks"] = tuple(read_plugin("attack", content, place) for place, content in places)
    try:
        if "sweep" in tables:
            parts["sweep"] = tuple(_read_sweep(tables["sweep"], f"{source}: [sweep]"))
        return Experiment(**parts)
    except ValueError as error:
        known = str(error).startswith(f"{source}: ")
        raise InputError(str(error) if known else f"{source}: {error}") from None


def place_files(tables: Mapping[str, Any], folder: Path) -> None:
    """Let relative paths count from the experiment's folder, in place."""
    for table, key in (place.split(".") for place in FILES):
        content = tables.get(table)
        if isinstance(content, dict) and isinstance(content.get(key), str):
            content[key] = str(folder / content[key])


def _read_sweep(content: Any, place: str) -> Iterable[Axis]:
    for key, value in as_mapping(content, place).items():
        if isinstance(value, dict):
            first = next(iter(value), "key")
            raise InputError(f'{place}: {key}.{first}: write the key in quotes: "{key}.{first}" = [...].')
        plain = isinstance(value, list) and all(
            isinstance(one, str | int | float)
            for entry in value
            for one in (entry.values() if isinstance(entry, dict) else (entry,))
        )
        if not plain:
            raise InputError(f"{place}: {key} = {value!r}. Expected a list of plain values, or of tables of these.")
        yield Axis(key=key, values=tuple(value))


def _check_plain(value: Any, place: str) -> None:
    """Refuse what TOML can say and no table can mean: dates where none belongs, and integers beyond 64 bits."""
    if isinstance(value, date | time) and not place.endswith(": [tolerances]: set_on"):
        raise InputError(f"{place} = {value} is a date or time. Expected none here: correct the value.")
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise InputError(f"{place} is an integer beyond 64 bits. Expected a smaller one.")
    children = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        _check_plain(child, f"{place}: [{key}]" if isinstance(child, Mapping | list) else f"{place}: {key}")


def _distinct(settings: Iterable[Defense]) -> list[Defense]:
    found: list[Defense] = []
    for defense in settings:
        if defense not in found:
            found.append(defense)
    return found


def _matches(found: Any, wanted: Any) -> bool:
    """Return whether a table has every key that is wanted of it, and so has each table of a stack."""
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        return all(key in found and _matches(found[key], value) for key, value in wanted.items())
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        return all(map(_matches, found, wanted))
    return bool(found == wanted) and isinstance(found, bool) == isinstance(wanted, bool)
