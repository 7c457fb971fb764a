"""Strings that others wrote, made fit to print: what a typesetter or a font cannot show becomes visible or goes.

The raw text stays in `results.json`. Markup needs no escaping: the template prints values, it never evaluates them.
"""

import dataclasses
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import font_source_sans_pro
from fontTools.ttLib import TTFont

T = TypeVar("T")

LONGEST = 4000
LONGEST_RUN = 24
ZERO_WIDTH_SPACE = "\u200b"
# Glyphs that the report's serif or mono has and the sans has not; the text falls back to them.
_BORROWED = frozenset("⁻")


def font_file(weight: str) -> Path:
    """Return the file of the report's sans in a weight, "Regular" or "Semibold"."""
    return Path(font_source_sans_pro.font_directory) / f"SourceSansPro-{weight}.ttf"


@cache
def supported() -> frozenset[int]:
    """Return the code points that every weight of the sans can show."""
    maps = []
    for weight in ("Regular", "Semibold"):
        with TTFont(font_file(weight), lazy=True) as font:
            maps.append(frozenset(font.getBestCmap()))
    return frozenset.intersection(*maps) | frozenset(map(ord, _BORROWED))


@cache
def _advances() -> dict[int, float]:
    """Return how wide the glyphs of the sans are in its heavier weight, in multiples of the size."""
    with TTFont(font_file("Semibold"), lazy=True) as font:
        widths, unit = font["hmtx"].metrics, font["head"].unitsPerEm
        return {code: widths[name][0] / unit for code, name in font.getBestCmap().items()}


def fitted(text: str, width: float, size: float) -> str:
    """Cut a printable text to a width on paper, with an ellipsis where something is missing.

    Args:
        text: What is set in the sans.
        width: In points.
        size: Of the type, in points.
    """
    advances, room = _advances(), width / size
    if sum(advances.get(ord(character), 1.0) for character in text) <= room:
        return text
    room -= advances[ord("…")]
    for end, character in enumerate(text):
        room -= advances.get(ord(character), 1.0)
        if room < 0:
            return text[:end].rstrip() + "…"
    return text


def cut(text: str, length: int) -> str:
    """Cut a text to a length as it is shown, with an ellipsis where something is missing."""
    flat = " ".join(printable(text).replace(ZERO_WIDTH_SPACE, "").split())
    return flat if len(flat) <= length else flat[: length - 1].rstrip() + "…"


def printable(text: str) -> str:
    r"""Return a text that every font of the report can show, in one line.

    Example:
        >>> printable("a\tb\x00\u202ec \u6771")
        'a bc [U+6771]'
    """
    shown = [_shown(character) for character in unicodedata.normalize("NFC", text[:LONGEST])]
    return _broken("".join(shown))


def _shown(character: str) -> str:
    """Return what stands for one character."""
    if character in "\t\n\r":
        return " "
    # Controls, bidirectional and other invisible format characters, surrogates, private use.
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co"):
        return ""
    if ord(character) in supported():
        return character
    return f"[U+{ord(character):04X}]"


def _broken(text: str) -> str:
    """Allow a line break in every run of more than 24 characters without a space."""
    words = text.split(" ")
    return " ".join(
        ZERO_WIDTH_SPACE.join(word[start : start + LONGEST_RUN] for start in range(0, len(word), LONGEST_RUN)) or word
        for word in words
    )


def printable_tree(value: T) -> T:
    """Make every string of a tree of dataclasses, tuples and mappings printable."""
    return _walk(value)  # type: ignore[no-any-return]


def _walk(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, tuple):
        return tuple(_walk(child) for child in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return dataclasses.replace(value, **{name: _walk(getattr(value, name)) for name in names})
    return value


def link(address: str) -> str | None:
    """Return an address that may be linked, None otherwise: https alone, and nothing that could hide in it."""
    plain = address.isascii() and address.isprintable() and " " not in address
    return address if plain and address.startswith("https://") and len(address) <= 200 else None
