"""The boundary: data from files becomes frozen dataclasses, strictly, or a message that says what is wrong and where.

Unknown keys, wrong types (`true` is not 1, `"3"` is not 3), NaN and infinity are refused.
"""

import json
import math
import re
import sys
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")

_MAY_NOT_BE_FINITE = re.compile(rb"NaN|Infinity|[eE]\+?\d{3,}(?=[\s,\]}]|$)|\d{300}")
"""What stands in JSON wherever a number is not finite; it may stand in a text, too."""


class InputError(ValueError):
    """The user's mistake: one message that names the place, the value and the remedy; exit status 2."""


def parse_json(kind: type[T], text: bytes | str, *, source: str) -> T:
    """Read JSON into a dataclass.

    Args:
        kind: The dataclass to build.
        text: JSON.
        source: Where the text comes from, for messages.

    Raises:
        InputError: If the text is no JSON, or not of this shape.
    """
    if not _MAY_NOT_BE_FINITE.search(text.encode(errors="replace") if isinstance(text, str) else text):
        try:
            found: T = _adapter(cast(Any, kind)).validate_json(text, strict=True, extra="forbid")
        except ValidationError:
            pass  # what follows is slower, and says what is wrong and where
        else:
            return found
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: not valid JSON ({error}).") from None
    return parse_value(kind, value, source=source)


def parse_value(kind: type[T], value: Any, *, source: str) -> T:
    """Build a dataclass from plain lists, dictionaries, strings and numbers.

    Raises:
        InputError: If the value is not of this shape.
    """
    bad = _non_finite(value, "")
    if bad is not None:
        place, number = bad
        raise InputError(f"{source}: {place} = {number}. Expected a finite number.")
    try:
        # JSON mode, in which lists become tuples and ISO strings become dates, strictly all the same.
        made: T = _adapter(cast(Any, kind)).validate_json(json.dumps(value), strict=True, extra="forbid")
    except ValidationError as error:
        raise InputError("\n".join(f"{source}: {line}" for line in _explain(error))) from None
    return made


@lru_cache(maxsize=64)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Return what checks a dataclass; making it takes longer than most of its uses."""
    return TypeAdapter(kind)


def _non_finite(value: Any, place: str) -> tuple[str, float] | None:
    """Return the place and value of the first number that is not finite, or a whole number too large for a float."""
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        return place, math.inf if value > 0 else -math.inf
    if isinstance(value, float) and not math.isfinite(value):
        return place, value
    children: Iterable[tuple[str, Any]] = ()
    if isinstance(value, dict):
        children = ((f"{place}.{key}" if place else str(key), child) for key, child in value.items())
    elif isinstance(value, list | tuple):
        children = ((f"{place}[{index}]", child) for index, child in enumerate(value))
    for name, child in children:
        found = _non_finite(child, name)
        if found is not None:
            return found
    return None


def _explain(error: ValidationError) -> list[str]:
    """Turn pydantic's findings into lines of place, value and expectation."""
    lines = []
    for finding in error.errors(include_url=False):
        place = ".".join(str(part) for part in finding["loc"]) or "the whole"
        value = repr(finding["input"])
        shown = value if len(value) <= 80 else value[:77] + "..."
        if finding["type"] == "unexpected_keyword_argument":
            lines.append(f"unknown key {place} = {shown}. Remove it or correct its name.")
        elif finding["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
            lines.append(f"{place} is missing. Add it.")
        elif finding["type"] == "value_error" and not finding["loc"]:
            # A dataclass that refuses itself names the key and its value in its own words.
            lines.append(f"{finding['ctx']['error']}".removesuffix(".") + ".")
        else:
            lines.append(f"{place} = {shown}. {finding['msg'].removeprefix('Value error, ')}.".replace("..", "."))
    return lines
