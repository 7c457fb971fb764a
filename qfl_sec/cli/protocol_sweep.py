"""Sweeps of `qfl-sec protocol`: one run a point, a CSV table, and a figure."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qfl_sec.cli.protocol import Settings

MAX_AXES = 2
MAX_POINTS = 2_000

PANELS = (
    ("secret_bits", "secret bits"),
    ("qber", "QBER"),
    ("error_rate", "largest check error rate"),
    ("bit_error_rate", "bit error rate before correction"),
    ("secrecy_capacity_bits_per_pair", "secrecy capacity, bits a pair"),
    ("delivered_bits", "delivered bits"),
)
"""What a figure may show, as far as the rows have it; the first three of them are drawn."""


@dataclass(frozen=True)
class Axis:
    """A parameter and the values it takes.

    Attributes:
        name: Of the field.
        values: In order.
    """

    name: str
    values: tuple[int | float, ...]


def axes(texts: Sequence[str], settings: "Settings") -> tuple[Axis, ...]:
    """Read "name=start:stop:step" options.

    Raises:
        InputError: If one is malformed, names no number of the protocol, or there are too many points.
    """
    from qfl_sec.checking import InputError

    if len(texts) > MAX_AXES:
        raise InputError(f"--sweep is given {len(texts)} times. Expected at most {MAX_AXES}.")
    found = tuple(_axis(text, settings) for text in texts)
    if len({axis.name for axis in found}) < len(found):
        raise InputError(f"--sweep {found[0].name}: given twice. Sweep two different parameters.")
    points = math.prod(len(axis.values) for axis in found)
    if points > MAX_POINTS:
        raise InputError(f"--sweep: {points} points. Expected at most {MAX_POINTS}: take a larger step.")
    return found


def _axis(text: str, settings: "Settings") -> Axis:
    from qfl_sec.checking import InputError

    key, _, bounds = text.partition("=")
    name = key.strip().replace("-", "_")
    given = settings.given.items()
    numbers = [one for one, value in given if isinstance(value, int | float) and not isinstance(value, bool)]
    if name not in numbers:
        raise InputError(f"--sweep {text}: Expected a number of this protocol, one of: {', '.join(numbers)}.")
    try:
        start, stop, step = (float(part) for part in bounds.split(":"))
    except ValueError:
        raise InputError(f"--sweep {text}: Expected name=start:stop:step, such as {name}=0:10:2.") from None
    if not all(map(math.isfinite, (start, stop, step))) or step <= 0 or stop < start:
        raise InputError(f"--sweep {text}: Expected finite numbers, start <= stop and step > 0.")
    count = (stop - start) / step
    if count > MAX_POINTS:
        raise InputError(f"--sweep {text}: more than {MAX_POINTS} points. Take a larger step.")
    values: tuple[int | float, ...] = tuple(
        float(f"{start + index * step:.12g}") for index in range(math.floor(count + 1e-9) + 1)
    )
    if isinstance(settings.given[name], int):
        if any(value != round(value) for value in values):
            raise InputError(f"--sweep {text}: Expected whole numbers for {name}.")
        values = tuple(round(value) for value in values)
    return Axis(name, values)


def rows(settings: "Settings", axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """Run every point and return one flat row each; a point that is refused says why.

    Raises:
        InputError: If every point is refused.
    """
    from qfl_sec.checking import InputError

    found, refused = [], None
    for values in product(*(axis.values for axis in axes)):
        point = dict(zip((axis.name for axis in axes), values, strict=True))
        try:
            one = settings.figures(**point)
            found.append({**point, **dict(_flat(one)), "refused": None})
        except InputError as error:
            refused = error
            found.append({**point, "refused": str(error)})
    if refused is not None and all(row["refused"] for row in found):
        raise refused
    return found


def _flat(values: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            if place or name not in ("parameters", "checks"):
                yield from _flat(value, f"{place}{name}.")
        elif not isinstance(value, list) and f"{place}{name}" not in ("protocol", "seed"):
            yield f"{place}{name}", value


def write(rows: Sequence[Mapping[str, Any]], axes: Sequence[Axis], folder: Path, *, title: str) -> list[Path]:
    """Write the table and the figure, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / "_".join([title, *(axis.name for axis in axes)])
    table = stem.with_suffix(".csv")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return [table, *_draw(rows, axes, stem, title)]


def _draw(rows: Sequence[Mapping[str, Any]], axes: Sequence[Axis], stem: Path, title: str) -> list[Path]:
    """Draw one panel for each of the main figures, and a line for each value of the second parameter."""
    import matplotlib
    from matplotlib.figure import Figure

    shown = [(name, label) for name, label in PANELS if any(row.get(name) is not None for row in rows)][:3]
    with matplotlib.rc_context({"svg.hashsalt": "qfl-sec"}):
        figure = Figure(figsize=(6.4, 1.2 + 2.2 * len(shown)), layout="constrained")
        panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        for panel, (name, label) in zip(panels, shown, strict=True):
            for line, points in _lines(rows, axes, name):
                panel.plot(*zip(*points, strict=True), marker="o", markersize=3, label=line)
            panel.set_ylabel(label)
            panel.grid(alpha=0.3)
        if len(axes) > 1:
            panels[0].legend(title=axes[1].name.replace("_", " "), fontsize=7)
        panels[-1].set_xlabel(axes[0].name.replace("_", " "))
        panels[0].set_title(title.replace("_", " "))
        paths = [stem.with_suffix(".svg"), stem.with_suffix(".png")]
        figure.savefig(paths[0], metadata={"Date": None})
        figure.savefig(paths[1], metadata={"Software": None}, dpi=150)
    return paths


def _lines(
    rows: Sequence[Mapping[str, Any]], axes: Sequence[Axis], name: str
) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    for value in axes[1].values if len(axes) > 1 else (None,):
        chosen = [row for row in rows if value is None or row[axes[1].name] == value]
        points = [(row[axes[0].name], row[name]) for row in chosen if row.get(name) is not None]
        if points:
            yield "" if value is None else f"{value:g}", points
