"""Tables of the reference that are made of the program itself, so that they cannot go stale.

A line of a page such as `{{ table data }}` is replaced by what the function of that name gives.
"""

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

MARK = re.compile(r"^\{\{ (\w+)(?: ([\w-]+))? \}\}$", re.MULTILINE)

PLAIN = MappingProxyType(
    {"str": "text", "int": "integer", "float": "number", "bool": "true or false", "datetime.date": "date"}
)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the marks of a page."""
    return MARK.sub(lambda found: MAKERS[found[1]](found[2]), markdown)


def table(name: str) -> str:
    """Return the keys of a table of the experiment file."""
    from qfl_sec.tables import SPECS

    return _keys(SPECS[name])


def captured(_: str) -> str:
    """Return the keys of [data] for updates captured elsewhere."""
    from qfl_sec.captured_data import CapturedData

    return _keys(CapturedData)


def models(_: str) -> str:
    """Return every model with its keys."""
    from qfl_sec.models import MODELS

    return "\n\n".join(_titled(name, cls) for name, cls in MODELS.items())


def channels(_: str) -> str:
    """Return every channel with its keys: the plain one, and the protocols that carry keys or messages."""
    from qfl_sec import plugins as registry
    from qfl_sec.channel import PlainChannel
    from qfl_sec.protocol_contracts import KeySource, MessageCarrier

    found = {name: registry.get("protocol", name) for name in registry.BUILT_IN.get("protocol", ())}
    carriers = {name: cls for name, cls in found.items() if issubclass(cls, (KeySource, MessageCarrier))}
    return "\n\n".join(_titled(name, cls) for name, cls in {PlainChannel.name: PlainChannel, **carriers}.items())


def computes(_: str) -> str:
    """Return everybody who may run the circuits, with the keys of each."""
    from qfl_sec.compute import COMPUTES

    return "\n\n".join(_titled(name, cls) for name, cls in COMPUTES.items())


def plugins(kind: Any) -> str:
    """Return every built-in plug-in of a kind with its keys."""
    from qfl_sec import plugins as registry

    names = registry.BUILT_IN[kind]
    return "\n\n".join(_titled(name, registry.get(kind, name)) for name in names)


def datasets(_: str) -> str:
    """Return the data that come along."""
    from qfl_sec.datasets import DATASETS

    rows = [f"| `{one.name}` | {one.description} | {one.records} | {one.features} |" for one in DATASETS.values()]
    return "\n".join(["| name | | records | raw features |", "|---|---|---|---|", *rows])


def commands(_: str) -> str:
    """Return every command with its arguments and options."""
    import typer

    from qfl_sec.cli import _app

    group: Any = typer.main.get_command(_app())
    return "\n\n".join(_command(name, command) for name, command in group.commands.items())


MAKERS: Mapping[str, Any] = MappingProxyType(
    {made.__name__: made for made in (table, captured, models, channels, computes, plugins, datasets, commands)}
)


def _titled(name: str, cls: type) -> str:
    from qfl_sec.plugins import description

    return f"### `{name}`\n\n{description(cls)}.\n\n{_keys(cls)}"


def _keys(cls: type) -> str:
    """Return a table of a dataclass's fields: name, type, default, and what its docstring says of it."""
    from qfl_sec.plugins import parameters

    said = {name: text for one in reversed(cls.__mro__) for name, text in attributes(one.__doc__ or "").items()}
    rows = [
        f"| `{name}` | {_type(one['type'])} | {_default(one)} | {_cell(said.get(name, ''))} |"
        for name, one in parameters(cls).items()
    ]
    return "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows]) if rows else "It has no keys."


def attributes(docstring: str) -> dict[str, str]:
    """Return what the section Attributes of a docstring says of each field."""
    _, _, section = docstring.partition("Attributes:\n")
    found: dict[str, str] = {}
    name, indent = "", 0
    for line in section.splitlines():
        text = line.strip()
        depth = len(line) - len(line.lstrip())
        indent = indent or depth
        if not text or depth < indent:
            break
        if depth == indent:
            name, _, text = text.partition(":")
        found[name] = f"{found.get(name, '')} {text.strip()}".strip()
    return found


def _type(hint: str) -> str:
    """Return a type as a reader of TOML knows it; that a key may be left out stands in its default."""
    plain = re.sub(r" \| None$|^Optional\[(.*)\]$", r"\1", hint)
    choices = re.fullmatch(r"Literal\[(.*)\]", plain)
    if choices:
        return ", ".join(f"`{one.strip()}`" for one in choices[1].replace("'", '"').split(","))
    several = re.fullmatch(r"tuple\[(\w+), (?:\.\.\.|\1)\]", plain)
    return f"list of {PLAIN[several[1]]}s" if several else PLAIN.get(plain, "table")


def _default(one: Mapping[str, Any]) -> str:
    if "default" not in one:
        return "to be given"
    value = one["default"]
    if value is None:
        return ""
    return f"`{json.dumps(value)}`" if isinstance(value, str | int | float | tuple) else f"`{value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _command(name: str, command: Any) -> str:
    rows = [row for parameter in command.params if (row := _parameter(parameter))]
    head = f"## `qfl-sec {name}`\n\n{_cell(command.help or '')}"
    return "\n".join([f"{head}\n", "| given | what it does | default |", "|---|---|---|", *rows])


def _parameter(one: Any) -> str:
    if one.name == "help":
        return ""
    shown = "/".join(one.opts) if one.param_type_name == "option" else (one.metavar or one.name.upper())
    if one.param_type_name == "option" and not one.is_flag and one.metavar:
        shown = f"{shown} {one.metavar}"
    known = one.default is not None and one.default is not False and not callable(one.default) and not one.required
    default = "to be given" if one.required else f"`{one.default}`" if known else ""
    again = " May be given several times." if getattr(one, "multiple", False) else ""
    return f"| `{shown}` | {_cell(one.help or '')}{again} | {default} |"
