"""`qfl-sec list`: what there is to choose from."""

from typing import Annotated, Any

import typer

from qfl_sec.cli.options import Json, Plugins, answer, load_plugins
from qfl_sec.cli.output import answers_only

KINDS = ("attacks", "defenses", "protocols", "datasets", "models")


def list_(
    kind: Annotated[
        str | None, typer.Argument(metavar="[attacks|defenses|protocols|datasets|models]", show_default=False)
    ] = None,
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """List attacks, defenses, protocols, data sets and models, with their parameters."""
    from qfl_sec.checking import InputError

    if kind is not None and kind not in KINDS:
        raise InputError(f"Unknown kind {kind!r}. Expected one of: {', '.join(KINDS)}.")
    with answers_only():
        load_plugins(plugin)
        found = {name: _entries(name) for name in KINDS if kind in (None, name)}
    if as_json:
        answer(found)
    else:
        _print(found)


def _entries(kind: str) -> list[dict[str, Any]]:
    from qfl_sec import plugins
    from qfl_sec.data_files import SUFFIXES
    from qfl_sec.datasets import DATASETS, DataSpec
    from qfl_sec.models import MODELS

    if kind == "attacks":
        return [_entry(name, plugins.get("attack", name)) for name in plugins.names("attack")]
    if kind == "defenses":
        return [_entry(name, plugins.get("defense", name)) for name in plugins.names("defense")]
    if kind == "protocols":
        return [_entry(name, plugins.get("protocol", name)) for name in plugins.names("protocol")]
    if kind == "models":
        return [_entry(name, cls) for name, cls in MODELS.items()]
    if kind == "datasets":
        return [
            {"name": info.name, "description": info.description, "parameters": _dataset_parameters(DataSpec, info)}
            for info in DATASETS.values()
        ] + [
            {
                "name": "file",
                "description": f"Your own data: {' or '.join(SUFFIXES)}, with a named label column",
                "parameters": {
                    name: value
                    for name, value in plugins.parameters(DataSpec).items()
                    if name not in ("name", "classes")
                },
            }
        ]
    return []


def _entry(name: str, cls: type) -> dict[str, Any]:
    from qfl_sec import plugins

    return {"name": name, "description": plugins.description(cls), "parameters": plugins.parameters(cls)}


def _dataset_parameters(cls: type, info: Any) -> dict[str, Any]:
    from qfl_sec import plugins
    from qfl_sec.datasets import FILE_KEYS

    hidden = ("name", "file", *FILE_KEYS)
    found = {name: value for name, value in plugins.parameters(cls).items() if name not in hidden}
    if info.default_classes is None:
        del found["classes"]
    else:
        found["classes"]["default"] = list(info.default_classes)
    return found


def _print(found: dict[str, list[dict[str, Any]]]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for kind, entries in found.items():
        table = Table(title=kind, title_justify="left", title_style="bold", box=None, pad_edge=False, expand=False)
        for column in ("name", "description", "parameters"):
            table.add_column(column, overflow="fold", no_wrap=column == "name")
        for entry in entries:
            table.add_row(entry["name"], entry["description"], _parameters(entry["parameters"]))
        if entries:
            console.print(table, markup=False)
        else:
            console.print(f"{kind}\nnone in this version", markup=False)
        console.print()


def _parameters(parameters: dict[str, dict[str, Any]]) -> str:
    """Return parameters with their defaults, on one line; those without have to be given."""
    return ", ".join(
        f"{name}={one['default']}" if one.get("default") is not None else name for name, one in parameters.items()
    )
