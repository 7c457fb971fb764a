"""The text of an experiment file, and changes to it from the command line."""

import tomllib
from pathlib import Path
from typing import Any

from qfl_sec.checking import InputError
from qfl_sec.tables import SPECS, TABLES, as_mapping, check_key, check_known

MAX_FILE_BYTES = 1_000_000

MAX_SHOWN = 80
"""How much of a change from the command line a message repeats."""

MAX_DEPTH = 20
"""How deep tables and lists may stand in each other: no key of an experiment needs half of that."""


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        InputError: If it is missing, no file, not readable, too large, not UTF-8 or not TOML.
    """
    try:
        if not path.exists():
            raise InputError(f"{path}: no such file. Correct the path, or write one with `qfl-sec init {path}`.")
        if not path.is_file():
            raise InputError(f"{path}: not a file. Name an experiment file, such as {path / 'experiment.toml'}.")
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Correct the path or its permissions.") from None
    if len(content) > MAX_FILE_BYTES:
        raise InputError(f"{path}: larger than {MAX_FILE_BYTES:,} bytes. An experiment file is a few lines of TOML.")
    try:
        tables = tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}). Save it as UTF-8.") from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise InputError(f"{path}: not valid TOML: {reason}. Correct it there.") from None
    _check_depth(tables, str(path))
    return tables


def _check_depth(value: Any, place: str) -> None:
    """Refuse what is nested too deeply to be meant, such as a key of a thousand dotted parts."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for one in level
            if isinstance(one, dict | list)
            for child in (one.values() if isinstance(one, dict) else one)
        ]
    if level:
        raise InputError(f"{place}: nested more than {MAX_DEPTH} levels deep. Remove dots, brackets or braces.")


def override(tables: dict[str, Any], change: str) -> None:
    """Apply one `--set table.key=value` to the tables, in place.

    Raises:
        InputError: If there is no such table or key, or the value is neither a TOML value nor a word.
    """
    place = f"--set {change if len(change) <= MAX_SHOWN else change[:MAX_SHOWN] + '...'}"
    key, equals, text = change.partition("=")
    path = [part.strip(" \"'") for part in key.split(".")]
    if not equals or not all(path):
        raise InputError(f"{place}: Expected table.key=value, such as federation.rounds=5.")
    check_known(path[0], TABLES, f"{place}: unknown table", remedy="Correct its name")
    value = _toml_value(text.strip(), place)
    if len(path) == 1:
        tables[path[0]] = value
        return
    if path[0] in ("defenses", "attacks"):
        raise InputError(f"{place}: {path[0]} is a list. Set it as a whole, such as --set '{path[0]}=[]'.")
    table = as_mapping(tables.get(path[0], {}), place)
    name = ".".join(path[1:])
    if path[0] in SPECS:
        check_key(path[0], table | {name: value}, name, place)
    tables[path[0]] = table | {name: value}


def _toml_value(text: str, place: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        if not text or text[0] in "[{\"'" or "\n" in text:
            shown = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."
            raise InputError(
                f"{place}: {shown!r} is no TOML value. Expected one such as 5, [0, 1] or a word."
            ) from None
        return text
    if set(parsed) != {"value"}:
        raise InputError(f"{place}: Expected one value, without line breaks.")
    _check_depth(parsed["value"], place)
    return parsed["value"]
