"""What the columns of a table mean: labels, numbers, categories, gaps; and how records become numbers alone.

Whatever is fitted, the categories that are told apart and the values that fill gaps, is fitted to the public reference
split and to nothing else.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from qfl_sec.checking import InputError
from qfl_sec.data_files import NUMBER, Cells, Floats, Table, shown

Integers = npt.NDArray[np.int64]

Missing = Literal["refuse", "mean", "median", "most_frequent"]
"""What becomes of a missing value."""

GAPS = frozenset({"", "?", "n/a", "na", "nan", "null"})
"""Cells that count as missing, whatever their case."""

MAX_CLASSES = 20
"""Most labels: more are no classes but measured values."""

MAX_CATEGORIES = 100
"""Most categories of a column: more are names or numbers of records."""

MAX_NUMBERS = 20_000_000
"""Most numbers of all records together, once each category has a number of its own."""

LARGEST = 1e100
"""Largest magnitude of a number: squares of it can still be added up."""

_SEPARATED = re.compile(r"[+-]?\d[\d.,' \u00a0\u202f]*(\d|%)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of features.

    Attributes:
        name: As in the file.
        categories: What the numbers 0, 1, ... in this column stand for; None if they are numbers in their own right.
    """

    name: str
    categories: tuple[str, ...] | None


def read_labels(table: Table, label: str) -> tuple[Integers, tuple[str, ...]]:
    """Return the label of each record, from 0, and the labels in words, in rising order.

    Args:
        table: The file's content.
        label: Name of the label's column.

    Raises:
        InputError: If there is no such column, a label is missing, all are the same or there are too many.
    """
    cells = table.columns[_known(label, table, "label")]
    numbers = _numbers(cells)
    gap = _first([_is_gap(cell) for cell in cells])
    if gap is not None:
        raise InputError(f"{table.place(gap, label)}: the label is missing. Add it, or remove the record.")
    certain = [number for number in numbers if number is not None]
    whole = len(certain) == len(cells)
    texts = [_as_text(number) for number in certain] if whole else [str(cell) for cell in cells]
    known = sorted(set(texts), key=float) if whole else sorted(set(texts))
    place = f"{table.source}: label {shown(label)}"
    if len(known) > MAX_CLASSES:
        remedy = "Name the column of a class, or group the values into classes."
        raise InputError(f"{place} has {len(known)} different values. Expected at most {MAX_CLASSES} classes. {remedy}")
    if len(known) < 2:
        raise InputError(f"{place} is {shown(known[0])} in every record. Expected at least two classes.")
    return np.array([known.index(text) for text in texts], dtype=np.int64), tuple(known)


def read_features(
    table: Table, *, label: str, ignore: Sequence[str], categorical: Sequence[str], missing: Missing
) -> tuple[Floats, tuple[Column, ...]]:
    """Return the features of each record (records, columns), NaN where one is missing, and what the columns are.

    A column whose values are all numbers holds numbers; one without any number holds categories.

    Args:
        table: The file's content.
        label: Name of the label's column, which is no feature.
        ignore: Names of columns to leave out.
        categorical: Names of columns that hold categories even where they are written as numbers.
        missing: "refuse" admits no missing value.

    Raises:
        InputError: If a name is none of the table's, a column mixes numbers and text, a number is not finite or far
            too large, a column has too many categories, or a value is missing that must not be.
    """
    for key, names in (("ignore", ignore), ("categorical", categorical)):
        for name in names:
            if _known(name, table, key) == label:
                raise InputError(f"{table.source}: {key} = {shown(name)} is the label, no feature. Remove it there.")
    chosen = [name for name in table.columns if name != label and name not in ignore]
    if not chosen:
        raise InputError(f"{table.source}: no column is left beside the label. Ignore fewer columns.")
    if missing == "refuse":
        _refuse_gaps(table, chosen)
    read = [_read_column(table, name, as_categories=name in categorical) for name in chosen]
    columns = tuple(column for _, column in read)
    if len(read[0][0]) * width(columns) > MAX_NUMBERS:
        remedy = "Keep fewer records or columns, or merge categories."
        raise InputError(f"{table.source}: {width(columns):,} numbers a record are too many. {remedy}")
    return np.column_stack([values for values, _ in read]), columns


def width(columns: Sequence[Column]) -> int:
    """Return how many numbers a record has at most, once each category has one of its own."""
    return sum(1 if column.categories is None else len(column.categories) for column in columns)


def encode(values: Floats, columns: Sequence[Column], reference: Integers, missing: Missing, *, source: str) -> Floats:
    """Return records as numbers alone: gaps filled, each category a column of 0 and 1, after the other columns.

    Both are fitted to the reference records. A gap gets their mean, median or most frequent value, the smallest among
    equals; in a column of categories always the most frequent one. Only categories that occur among them have a column:
    a record of any other category has 0 in all of them.

    Args:
        values: (records, columns), as `read_features` gave them.
        columns: What they are; without any, all are numbers and nothing is done.
        reference: Indices of the public records.
        missing: How gaps are filled.
        source: The file, for messages.

    Returns:
        (records, numbers).

    Raises:
        InputError: If a column with gaps has no value in the reference records.
    """
    from sklearn.preprocessing import OneHotEncoder

    chosen = np.array([column.categories is not None for column in columns], dtype=bool)
    filled = _fill(values, columns, chosen, reference, missing, source) if np.isnan(values).any() else values
    if not chosen.any():
        return filled
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(filled[reference][:, chosen])
    return np.hstack([filled[:, ~chosen], encoder.transform(filled[:, chosen])])


def _fill(
    values: Floats,
    columns: Sequence[Column],
    chosen: npt.NDArray[np.bool_],
    reference: Integers,
    missing: Missing,
    source: str,
) -> Floats:
    from sklearn.impute import SimpleImputer

    unknown = _first(np.atleast_1d(np.isnan(values[reference]).all(axis=0)))
    if unknown is not None:
        raise InputError(
            f"{source}: column {shown(columns[unknown].name)} has no value in any of the {len(reference)} reference "
            "records, so nothing can fill its gaps. Name it in ignore, or raise reference_fraction."
        )
    filled = values.copy()
    for part, strategy in ((~chosen, missing), (chosen, "most_frequent")):
        if np.isnan(values[:, part]).any():
            imputer = SimpleImputer(strategy=strategy).fit(values[reference][:, part])
            filled[:, part] = imputer.transform(values[:, part])
    return filled


def _known(name: str, table: Table, key: str) -> str:
    """Return the name of a column, or refuse it; the message names the nearest and the first columns."""
    if name in table.columns:
        return name
    names = list(table.columns)
    like = [one for one in names if one.casefold() == name.casefold() or one.startswith(f"{name}[")]
    near = like or difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {shown(near[0])}?" if near else ""
    more = f" and {len(names) - 20:,} more" if len(names) > 20 else ""
    listed = ", ".join(shown(one) for one in names[:20])
    raise InputError(f"{table.source}: {key} = {shown(name)} is none of its columns.{hint} Columns: {listed}{more}.")


def _refuse_gaps(table: Table, chosen: Sequence[str]) -> None:
    gaps = {name: [number for number, cell in enumerate(table.columns[name]) if _is_gap(cell)] for name in chosen}
    count = sum(len(records) for records in gaps.values())
    if count:
        record, name = min((records[0], name) for name, records in gaps.items() if records)
        affected = len({record for records in gaps.values() for record in records})
        values = f"{count} missing value{'s' if count > 1 else ''} in {affected} record{'s' if affected > 1 else ''}"
        remedy = 'Set [data] missing = "mean", "median" or "most_frequent" to fill them in from the public reference'
        raise InputError(f"{table.place(record, name)}: the first of {values}. {remedy} split, or remove the records.")


def _read_column(table: Table, name: str, *, as_categories: bool) -> tuple[Floats, Column]:
    cells = table.columns[name]
    numbers = _numbers(cells)
    texts = [number for number, value in enumerate(numbers) if value is None]
    is_text = bool(texts) and all(value is None or np.isnan(value) for value in numbers)
    if as_categories or is_text:
        if not as_categories:
            _refuse_separated(table, name, texts)
        return _read_categories(table, name)
    if texts:
        _refuse_separated(table, name, texts)
        others = len(cells) - len(texts)
        remedy = "Correct it, leave the cell empty, or name the column in [data] categorical"
        raise InputError(
            f"{table.place(texts[0], name)}: {shown(str(cells[texts[0]]))} is no number, while {others} of its "
            f"{len(cells)} values are numbers or missing. {remedy}."
        )
    values = np.array(numbers, dtype=np.float64)
    large = _first(np.abs(values) > LARGEST)
    if large is not None:
        found = f"{values[large]:g} is too large a number"
        raise InputError(f"{table.place(large, name)}: {found}. Expected at most {LARGEST:g} in magnitude.")
    return values, Column(name=name, categories=None)


def _read_categories(table: Table, name: str) -> tuple[Floats, Column]:
    texts = ["" if _is_gap(cell) else _as_text(cell) for cell in table.columns[name]]
    known = sorted(set(texts) - {""})
    if len(known) > MAX_CATEGORIES:
        remedy = "Name it in [data] ignore if it tells records apart, such as a name or a date; else merge categories"
        found = f"has {len(known)} different texts. Expected at most {MAX_CATEGORIES} categories"
        raise InputError(f"{table.source}: column {shown(name)} {found}. {remedy}.")
    codes = {text: float(code) for code, text in enumerate(known)}
    values = np.array([codes.get(text, np.nan) for text in texts], dtype=np.float64)
    return values, Column(name=name, categories=tuple(known))


def _refuse_separated(table: Table, name: str, texts: Sequence[int]) -> None:
    """Refuse text that a reader takes for a number: one written with separators or a percent sign, or no finite one."""
    cells = table.columns[name]
    for number in texts:
        text = str(cells[number])
        if text.lower().lstrip("+-") in ("inf", "infinity"):
            raise InputError(f"{table.place(number, name)}: {shown(text)} is no finite number. Correct or remove it.")
        if _SEPARATED.fullmatch(text) and not _looks_like_date(text):
            found = f"{shown(text)} is not written as a number"
            remedy = "Write it as 1234.5, with a point and no other signs, or name the column in [data] categorical"
            raise InputError(f"{table.place(number, name)}: {found}. {remedy}.")


def _looks_like_date(text: str) -> bool:
    return text.count(".") == 2 and "," not in text


def _numbers(cells: Cells) -> list[float | None]:
    """Return each cell as a number: NaN for a missing one, None for text."""
    if isinstance(cells, np.ndarray):
        return [float(cell) for cell in cells]
    return [float(cell) if NUMBER.fullmatch(cell) else np.nan if _is_gap(cell) else None for cell in cells]


def _is_gap(cell: str | float) -> bool:
    return cell.casefold() in GAPS if isinstance(cell, str) else bool(np.isnan(cell))


def _as_text(value: str | float) -> str:
    """Return a label or category in words; a whole number without a decimal point."""
    if isinstance(value, str):
        return value
    return str(int(value)) if np.isfinite(value) and value == int(value) else repr(float(value))


def _first(flags: Iterable[bool] | npt.NDArray[np.bool_]) -> int | None:
    """Return the index of the first flag that is set."""
    return next((number for number, flag in enumerate(flags) if flag), None)
