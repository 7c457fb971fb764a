"""What a table is, whatever stands in it: a caption, columns, groups of rows, notes."""

from dataclasses import dataclass
from typing import Literal

from qfl_sec.reports import wording as w
from qfl_sec.reports.sanitising import cut
from qfl_sec.reports.selection import Selection

Fill = Literal["none", "audited", "grey"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column's heading and how it is set.

    Attributes:
        title: Its heading.
        align: Where its cells stand.
        fill: What lies behind it.
    """

    title: str
    align: Literal["left", "right"] = "right"
    fill: Fill = "none"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A table's row.

    Attributes:
        cells: One string a column; the last spans the remaining columns if there are fewer.
        audited: Whether it is of the audited setting.
        alarm: Index of a cell that says that nothing is proven, -1 for none.
    """

    cells: tuple[str, ...]
    audited: bool = False
    alarm: int = -1


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows under a heading of their own, which repeats on each page; without a title there is no heading."""

    title: str
    note: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        caption: Above it.
        columns: Headings.
        groups: Rows; a table without rows is not printed.
        notes: Below it.
    """

    caption: str
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    notes: tuple[str, ...] = ()


def variant_label(selection: Selection, identifier: str) -> str:
    """Return a variant's swept values in words."""
    values = next(entry.values for entry in selection.results.variants if entry.id == identifier)
    return cut(", ".join(f"{key} = {_scalar(value)}" for key, value in values.items()) or identifier, 70)


def _scalar(value: object) -> str:
    if isinstance(value, float):
        return w.plain(value)
    return w.group(value) if isinstance(value, int) and not isinstance(value, bool) else str(value)
