"""The tables of an experiment file: what keys each holds, read strictly and written out again.

Each table is a frozen dataclass owned by the module that uses it; those that no other module owns stand here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import date
from types import MappingProxyType
from typing import Any

from qfl_sec import plugins
from qfl_sec.captured_data import CapturedData
from qfl_sec.channel import PlainChannel
from qfl_sec.checking import InputError, parse_value
from qfl_sec.compute import COMPUTES, LocalCompute
from qfl_sec.contracts import Attack, Defense
from qfl_sec.datasets import DataSpec
from qfl_sec.defenses.stack import Stack
from qfl_sec.federation import FederationSpec
from qfl_sec.models import MODELS, UserCircuit, UserModule, VariationalClassifier
from qfl_sec.protocol_contracts import KeySource, MessageCarrier
from qfl_sec.results import Scalar

MAX_TITLE = 200
"""Characters that still fit the report's first page."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a sweep.

    Attributes:
        key: Table and key, such as "model.layers"; or a table alone, such as "compute", whose values are tables.
        values: At least one, distinct: of the key, or keys and values of the table.
    """

    key: str
    values: tuple[Scalar | Mapping[str, Scalar], ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"Expected at least one value of sweep key {self.key!r}. Add one or remove the key.")
        if any(value in self.values[:index] for index, value in enumerate(self.values)):
            raise ValueError(f"Expected distinct values of sweep key {self.key!r}, not {list(self.values)}.")
        if any(isinstance(value, Mapping) != ("." not in self.key) for value in self.values):
            remedy = f'Write "{self.key}.layers" = [1, 2], or {self.key} = [{{name = "..."}}]'
            raise ValueError(f"Expected values of a key, or tables, of sweep key {self.key!r}. {remedy}.")

    @property
    def points(self) -> tuple[dict[str, Scalar], ...]:
        """What each value sets, by table and key."""
        return tuple(
            {f"{self.key}.{name}": one for name, one in value.items()}
            if isinstance(value, Mapping)
            else {self.key: value}
            for value in self.values
        )


@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """The highest success rate that is acceptable, per question; to be agreed before the run.

    Attributes:
        membership: Share of members found at 1 % false accusations, in [0, 1].
        reconstruction: Share of records rebuilt, in [0, 1].
        linkage: Share of updates put down to the client who sent them, in [0, 1]; None for 0.05 above guessing, which
            finds one in as many as take part in a round.
        set_on: When this was agreed; None if not stated.
    """

    membership: float = 0.05
    reconstruction: float = 0.05
    linkage: float | None = None
    set_on: date | None = None

    def __post_init__(self) -> None:
        for name in ("membership", "reconstruction", "linkage"):
            if getattr(self, name) is not None and not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"Expected 0 <= {name}={getattr(self, name)} <= 1: it is a share, not a percentage.")


@dataclass(frozen=True, kw_only=True)
class ReportSpec:
    """What the report shows first.

    Attributes:
        title: Of the report.
        audited: Name and as many parameters as tell the first page's setting from the others; None takes the middle
            one of the defended settings. The experiment completes it.
    """

    title: str = "Privacy audit of a federated quantum model"
    audited: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not self.title.strip() or not self.title.isprintable():
            raise ValueError(f"Expected title={self.title[:80]!r} to be one line of text.")
        if len(self.title) > MAX_TITLE:
            raise ValueError(f"Expected a title of at most {MAX_TITLE} characters, not {len(self.title)}. Shorten it.")


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """Which random draws are repeated.

    Attributes:
        seeds: One training of each setting a seed; distinct, from 0.
    """

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7)

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"Expected seeds={list(self.seeds)} to be at least one, all distinct.")
        if not 0 <= min(self.seeds) <= max(self.seeds) < 1 << 63:
            raise ValueError(f"Expected seeds={list(self.seeds)} to be >= 0 and below 2^63.")


SPECS: Mapping[str, type] = MappingProxyType(
    {
        "data": DataSpec,
        "model": VariationalClassifier,
        "federation": FederationSpec,
        "channel": PlainChannel,
        "compute": LocalCompute,
        "tolerances": Tolerances,
        "report": ReportSpec,
        "run": RunSpec,
    }
)
"""The tables that hold keys, by name; what [model], [channel] and [compute] hold depends on their name."""

SWEPT = ("data", "model", "federation", "channel", "compute")
"""Tables whose keys a sweep may name."""

TABLES = (*SWEPT, "defenses", "sweep", "attacks", "tolerances", "report", "run")
"""Every table, in the order in which they are written."""


def read_table(table: str, content: Mapping[str, Any], place: str) -> Any:
    """Build the dataclass of a table that holds keys.

    Args:
        table: A key of `SPECS`.
        content: The table as read from TOML.
        place: Where it stands, for messages.

    Raises:
        InputError: If a key is unknown or a value is wrong.
    """
    for key in content:
        check_key(table, content, key, place)
    plain = {key: value.isoformat() if isinstance(value, date) else value for key, value in content.items()}
    if table in _BY_NAME:
        plain.pop("name", None)
    return parse_value(_kind(table, content, place), plain, source=place)


def _kind(table: str, content: Mapping[str, Any], place: str) -> type:
    """Return the dataclass of a table; those of [model], [channel] and [compute] go by their name."""
    if table == "data" and "captured" in content:
        return CapturedData
    if table == "channel":
        return _channel(content.get("name", PlainChannel.name), place)
    if table == "compute":
        name = content.get("name", LocalCompute.name)
        check_known(name, COMPUTES, f"{place}: unknown name", remedy="Correct [compute] name")
        return COMPUTES[name]
    if table != "model":
        return SPECS[table]
    own = {"circuit": UserCircuit.name, "module": UserModule.name}
    default = next((name for key, name in own.items() if key in content), VariationalClassifier.name)
    name = content.get("name", default)
    check_known(name, MODELS, f"{place}: unknown model", remedy="Correct [model] name")
    return MODELS[name]


def _channel(name: Any, place: str) -> type:
    """Return the dataclass of a channel: the plain one, or a protocol that carries messages or keys."""
    if name == PlainChannel.name:
        return PlainChannel
    known = [one for one in plugins.names("protocol") if issubclass(plugins.get("protocol", one), _CARRIERS)]
    check_known(name, [PlainChannel.name, *known], f"{place}: unknown channel", remedy="Correct [channel] name")
    return plugins.get("protocol", name)


def check_key(table: str, content: Mapping[str, Any], key: str, place: str) -> None:
    """Refuse a key that a table does not have; what some have depends on the name in their content."""
    known = [one.name for one in fields(_kind(table, content, place)) if one.init]
    known = ["name", *known] if table in _BY_NAME else known
    check_known(key, known, f"{place}: unknown key", remedy="Remove it or correct its name")


def as_table(part: Any) -> dict[str, Any]:
    """Return a dataclass as a table of the file: registered name first, then every field that is not None.

    Raises:
        InputError: If a field is None that would be read back as something else.
    """
    if isinstance(part, Stack):
        return {"stack": [as_table(one) for one in part.defenses]}
    name = getattr(type(part), "name", None)
    table: dict[str, Any] = {"name": name} if isinstance(name, str) and isinstance(part, _NAMED) else {}
    for one in fields(part):
        if not one.init:
            continue
        value = getattr(part, one.name)
        if value is not None:
            table[one.name] = _as_toml(value)
        elif one.default is not None:
            raise InputError(f"{type(part).__name__}: {one.name} = None cannot be written to a file. Give it a value.")
    return table


def differing(spec: Any) -> dict[str, Any]:
    """Return the keys of a table in which it differs from the table that only has its name."""
    table = as_table(spec)
    named = {key: value for key, value in table.items() if key == "name"}
    is_field = "name" in {one.name for one in fields(spec)}
    required = {
        one.name: getattr(spec, one.name)
        for one in fields(spec)
        if one.init and one.default is MISSING and one.default_factory is MISSING
    }
    default = as_table(type(spec)(**required, **named if is_field else {}))
    named |= {key: table[key] for key in required}
    return named | {key: value for key, value in table.items() if key not in default or default[key] != value}


def as_mapping(content: Any, place: str) -> dict[str, Any]:
    """Return a table as a dictionary of its own, or refuse what is none."""
    if not isinstance(content, Mapping):
        raise InputError(f"{place}: {content!r} is no table. Write the table's name in brackets, its keys below it.")
    return dict(content)


def as_tables(content: Any, place: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the tables of a list, each with its place, or refuse what is no list of tables."""
    if not isinstance(content, list) or not all(isinstance(one, Mapping) for one in content):
        raise InputError(f"{place}: Expected a list of tables. Write the name in double brackets, once for each table.")
    return [(f"{place} number {number}", dict(table)) for number, table in enumerate(content, start=1)]


def check_known(name: Any, known: Iterable[str], what: str, *, remedy: str) -> None:
    """Refuse a name that is not known; the message names the nearest and all known ones."""
    options = list(known)
    if name not in options:
        near = plugins.nearest(name, options) if isinstance(name, str) else ""
        shown = name if isinstance(name, str) else repr(name)
        raise InputError(f"{what} {shown}. {near}{remedy}. Known: {', '.join(options)}.")


def listed(values: Mapping[str, Any]) -> str:
    """Return keys and values on one line; a whole number reads the same as integer and as float."""
    return ", ".join(
        f"{key}={int(value) if isinstance(value, float) and value.is_integer() else value}"
        for key, value in values.items()
    )


_CARRIERS = (KeySource, MessageCarrier)

_BY_NAME = ("model", "channel", "compute")
"""Tables whose name says which dataclass they are."""

_NAMED = (Defense, Attack, *MODELS.values(), PlainChannel, *_CARRIERS, *COMPUTES.values())


def _as_toml(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return as_table(value)
    if isinstance(value, Mapping):
        return {key: _as_toml(child) for key, child in value.items()}
    if isinstance(value, tuple | list | set | frozenset):
        return [_as_toml(child) for child in value]
    return value
