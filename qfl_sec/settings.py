"""The settings of an experiment file: each [[defenses]] table with its lists spread out, and each [[attacks]] table."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from itertools import product
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from qfl_sec import plugins
from qfl_sec.checking import InputError, parse_value
from qfl_sec.contracts import Defense
from qfl_sec.defenses.stack import Stack
from qfl_sec.tables import as_tables, check_known

MAX_SETTINGS = 1_000
"""Most settings of a [[defenses]] table: more is a slip of the pen."""


def read_defenses(content: Any, source: str) -> Iterable[Defense]:
    """Yield one defense a setting: a list for a field that is no list itself is swept, inside a stack, too."""
    for place, table in as_tables(content, f"{source}: [[defenses]]"):
        yield from _read_stack(table, place) if "stack" in table else _read_swept(table, place)


def _read_stack(table: Mapping[str, Any], place: str) -> Iterable[Defense]:
    """Yield one stack for each combination of its defenses' settings."""
    remedy = "Write it into one of the stack's tables"
    for key in table:
        check_known(key, ["stack"], f"{place}: unknown key beside stack", remedy=remedy)
    swept = [list(_read_swept(one, where)) for where, one in as_tables(table["stack"], f"{place}: stack")]
    if math.prod(len(settings) for settings in swept) > MAX_SETTINGS:
        raise InputError(f"{place}: more than {MAX_SETTINGS} settings. List fewer values.")
    try:
        for defenses in product(*swept):
            yield Stack(defenses=defenses)
    except ValueError as error:
        raise InputError(f"{place}: stack: {error}") from None


def _read_swept(table: Mapping[str, Any], place: str) -> Iterable[Defense]:
    """Yield one defense for each combination of the values that a table lists."""
    cls = _plugin_class("defense", table, place)
    hints = get_type_hints(cls)
    swept = {
        key: value
        for key, value in table.items()
        if isinstance(value, list) and key in hints and not _holds_many(hints[key])
    }
    if [] in swept.values():
        empty = next(key for key, value in swept.items() if not value)
        raise InputError(f"{place}: {empty} = []. Expected at least one value: add one or remove the key.")
    if math.prod(len(values) for values in swept.values()) > MAX_SETTINGS:
        raise InputError(f"{place}: more than {MAX_SETTINGS} settings. List fewer values.")
    for values in product(*swept.values()):
        yield cast(Defense, read_plugin("defense", {**table, **dict(zip(swept, values, strict=True))}, place))


def _plugin_class(kind: plugins.Kind, table: Mapping[str, Any], place: str) -> plugins.Plugin:
    name = table.get("name")
    if not isinstance(name, str):
        known = ", ".join(plugins.names(kind))
        raise InputError(f"{place}: name = {name!r}. Expected the name of one {kind}: {known}.")
    try:
        return plugins.get(kind, name)
    except plugins.PluginError as error:
        raise plugins.PluginError(f"{place}: {error}") from None


def read_plugin(kind: plugins.Kind, table: Mapping[str, Any], place: str) -> Any:
    """Build the attack or defense of a table.

    Raises:
        InputError: If there is no such plug-in, a key is unknown, a value is wrong, or the plug-in itself fails.
    """
    cls = _plugin_class(kind, table, place)
    given = {key: value for key, value in table.items() if key != "name"}
    known = [one.name for one in fields(cast(Any, cls))]
    for key in given:
        check_known(key, known, f"{place}: unknown key of {cls.name}", remedy="Remove it or correct its name")
    try:
        return parse_value(cls, given, source=f"{place} {cls.name}")
    except InputError:
        raise
    except Exception as error:
        cause = str(error).splitlines()[0] if str(error) else "no message"
        remedy = "Mend the plug-in or change its parameters"
        raise plugins.PluginError(f"{place} {cls.name}: {type(error).__name__}: {cause}. {remedy}.") from error


def _holds_many(hint: Any) -> bool:
    """Return whether a field of this type takes a list as one value."""
    if get_origin(hint) in (Union, UnionType):
        return any(_holds_many(option) for option in get_args(hint))
    origin = get_origin(hint) or hint
    return isinstance(origin, type) and issubclass(origin, Sequence | set | frozenset) and not issubclass(origin, str)
