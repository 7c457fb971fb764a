"""Reads a user's `.csv` or `.npz` into a table of columns, and refuses what cannot be meant.

The file may come from anybody: its size is checked before it is read, what an archive unpacks to before it is unpacked,
and nothing in it is ever executed.
"""

import csv
import hashlib
import io
import math
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qfl_sec.checking import InputError

Floats = npt.NDArray[np.float64]
Cells = Sequence[str] | Floats
"""A column: the text of each cell, or numbers, of which NaN is a missing one."""

SUFFIXES = (".csv", ".npz")
"""The kinds of files that can be read."""

MAX_BYTES = 50_000_000
"""Largest file, and the most that the arrays of an `.npz` may unpack to."""

MAX_CELLS = 5_000_000
"""Most cells of a table: records times columns."""

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
"""A number as it is read: decimal point, no thousands separators."""

_REMEDY_SIZE = "Keep fewer records, drawn at random, or only the columns that matter."


@dataclass(frozen=True, kw_only=True)
class Table:
    """The content of a data file.

    Attributes:
        source: The file, for messages.
        columns: Each column by name, in the order of the file; all of one length, at least 1.
        lines: The line of the file in which each record starts; empty if the file has no lines.
        fingerprint: sha256 of the file's bytes, in hexadecimal, as `sha256sum` prints it.
    """

    source: str
    columns: Mapping[str, Cells]
    lines: tuple[int, ...]
    fingerprint: str

    def place(self, record: int, column: str) -> str:
        """Return where a cell stands, for messages."""
        where = f"line {self.lines[record]}" if self.lines else f"record {record}, counted from 0"
        return f"{self.source}: {where}, column {shown(column)}"


def shown(text: str) -> str:
    r"""Return text of a file as a message may repeat it: quoted, escaped and short.

    Example:
        >>> print(shown("a\x1b[2J" + "b" * 99))
        'a\x1b[2Jbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb...'
    """
    return repr(text if len(text) <= 40 else text[:38] + "...")


def read_bytes(path: Path) -> bytes:
    """Return the content of a data file.

    Raises:
        InputError: If it is of another kind, missing, no file, empty, not readable or too large.
    """
    if path.suffix.lower() not in SUFFIXES:
        remedy = "Save a spreadsheet as CSV (UTF-8), or arrays with numpy.savez"
        raise InputError(f"{path}: Expected a file that ends in {' or '.join(SUFFIXES)}. {remedy}.")
    try:
        if not path.is_file():
            fault = "not a file" if path.exists() else "no such file"
            remedy = "A relative path counts from the folder of the experiment file"
            raise InputError(f"{path}: {fault}. Correct [data] file. {remedy}.")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Correct the path or its permissions.") from None
    if not content:
        raise InputError(f"{path}: is empty. Expected a header line and records, or arrays.")
    if len(content) > MAX_BYTES:
        raise InputError(f"{path}: larger than {MAX_BYTES // 10**6} MB. {_REMEDY_SIZE}")
    return content


def parse_table(content: bytes, path: Path) -> Table:
    """Read the content of a data file into columns.

    Args:
        content: As `read_bytes` returned it.
        path: Tells the kind of file by its ending; named in messages.

    Raises:
        InputError: If the content is damaged, hostile or no table; the message names the place and the remedy.
    """
    columns, lines = _parse_csv(content, path) if path.suffix.lower() == ".csv" else _parse_npz(content, path)
    return Table(source=str(path), columns=columns, lines=lines, fingerprint=hashlib.sha256(content).hexdigest())


def _parse_csv(content: bytes, path: Path) -> tuple[dict[str, Cells], tuple[int, ...]]:
    records = _csv_records(_decode(content, path), path)
    _, header = next(records, (0, []))
    _check_header(header, path)
    rows: list[list[str]] = []
    lines: list[int] = []
    for line, cells in records:
        if len(cells) != len(header):
            remedy = "A comma inside a value needs quotes around it."
            raise InputError(f"{path}: line {line} has {len(cells)} cells, the header {len(header)}. {remedy}")
        rows.append([cell.strip() for cell in cells])
        lines.append(line)
        if len(rows) * len(header) > MAX_CELLS:
            raise InputError(f"{path}: more than {MAX_CELLS:,} cells. {_REMEDY_SIZE}")
    if not rows:
        raise InputError(f"{path}: has a header line and no records. Add records below it.")
    return dict(zip(header, zip(*rows, strict=True), strict=True)), tuple(lines)


def _decode(content: bytes, path: Path) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}: line {line} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{path}: line {line} holds a zero byte, which text has none of. Save it as UTF-8.")
    return text


def _csv_records(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield each record that is not blank, with the line it starts in; the header is the first."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}: not valid CSV from line {line} on ({error}). Correct it there.") from None


def _check_header(header: list[str], path: Path) -> None:
    """Strip the names of columns in place, and refuse what can be none."""
    header[:] = [name.strip() for name in header]
    if len(header) == 1:
        for separator, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if separator in header[0]:
                raise InputError(f"{path}: is separated by {word}. Save it with commas, and numbers with points.")
    if len(header) < 2:
        raise InputError(f"{path}: Expected at least two columns, a label and a feature, with names in line 1.")
    if all(NUMBER.fullmatch(name) for name in header):
        raise InputError(f"{path}: line 1 holds numbers. Expected the names of the columns there: add a header line.")
    if "" in header:
        remedy = "Name it, or remove it: from pandas, write with index=False."
        raise InputError(f"{path}: column {header.index('') + 1} of line 1 has no name. {remedy}")
    _check_distinct(header, path)


def _check_distinct(names: Sequence[str], path: Path) -> None:
    if len(set(names)) < len(names):
        twice = next(name for number, name in enumerate(names) if name in names[:number])
        raise InputError(f"{path}: column {shown(twice)} stands there twice. Rename or remove one.")


def _parse_npz(content: bytes, path: Path) -> tuple[dict[str, Cells], tuple[int, ...]]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            _check_distinct([entry.filename for entry in entries], path)
            size = sum(entry.file_size for entry in entries)
            if size > MAX_BYTES:
                found = f"unpacks to {size:,} bytes, more than {MAX_BYTES // 10**6} MB"
                raise InputError(f"{path}: {found}. {_REMEDY_SIZE}")
            arrays = {entry.filename.removesuffix(".npy"): _read_array(archive, entry, path) for entry in entries}
    except InputError:
        raise
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a readable .npz ({reason}). Write it with numpy.savez.") from None
    columns = dict(column for name, array in arrays.items() for column in _array_columns(name, array, path))
    lengths = {len(cells) for cells in columns.values()}
    if len(lengths) != 1 or len(columns) < 2:
        sizes = ", ".join(f"{shown(name)} {array.shape}" for name, array in list(arrays.items())[:10])
        expected = "a label array (records,) and at least one feature array (records,) or (records, features)"
        raise InputError(f"{path}: Expected {expected}, all of one length. Found: {sizes or 'nothing'}.")
    if lengths == {0}:
        raise InputError(f"{path}: has no records. Add some.")
    if lengths.pop() * len(columns) > MAX_CELLS:
        raise InputError(f"{path}: more than {MAX_CELLS:,} cells. {_REMEDY_SIZE}")
    return columns, ()


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> npt.NDArray[np.generic]:
    """Read one array, whose header is checked before memory is taken for it."""
    place = f"{path}: array {shown(entry.filename.removesuffix('.npy'))}"
    with archive.open(entry) as stream:
        header = np.lib.format
        version = header.read_magic(stream)
        readers = {(1, 0): header.read_array_header_1_0, (2, 0): header.read_array_header_2_0}
        if version not in readers:
            raise InputError(f"{place} is in format {version}. Expected plain numbers or text.")
        shape, _, kind = readers[version](stream)
        if kind.hasobject:
            raise InputError(f"{place} holds Python objects, which are never unpickled. Store it as numbers or text.")
        if kind.kind not in "biufU":
            raise InputError(f"{place} has dtype {kind}. Expected real numbers or text.")
        if len(shape) not in (1, 2) or min(shape) < 0:
            raise InputError(f"{place} has shape {shape}. Expected (records,) or (records, features): reshape it.")
        if math.prod(max(1, size) for size in shape) > MAX_CELLS:
            raise InputError(f"{place} has shape {shape}, more than {MAX_CELLS:,} cells. {_REMEDY_SIZE}")
        if math.prod(shape) * kind.itemsize != entry.file_size - stream.tell():
            raise InputError(f"{place} announces shape {shape}, which its size does not bear out. Write it again.")
    with archive.open(entry) as stream:
        array: npt.NDArray[np.generic] = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def _array_columns(name: str, array: npt.NDArray[np.generic], path: Path) -> Iterator[tuple[str, Cells]]:
    """Yield the columns of an array: one of its name, or one for each feature of a matrix."""
    single = array.ndim == 1 or array.shape[1] == 1
    for number, column in enumerate(array.reshape(len(array), -1).T if len(array) else [array.reshape(-1)]):
        cells: Cells = [str(cell).strip() for cell in column] if array.dtype.kind == "U" else column.astype(np.float64)
        yield name if single else f"{name}[{number}]", cells
