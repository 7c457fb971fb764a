"""A comparison as files: each appears whole, or not at all."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from qfl_sec.checking import InputError
from qfl_sec.provenance import write_bytes
from qfl_sec.reports.comparison import Run, dumps
from qfl_sec.reports.comparison_lines import compare
from qfl_sec.reports.comparison_text import sheet

Format = Literal["pdf", "html", "json"]
FORMATS: tuple[Format, ...] = ("pdf", "html", "json")


def write_comparison(runs: Sequence[Run], folder: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write the comparison of several runs.

    Args:
        runs: 2 to 12; the first is what the others are compared with.
        folder: Where the files go; made if it does not exist.
        formats: "pdf", "html" and "json" give `comparison.pdf` and so on.

    Returns:
        The files, in the order of the formats.

    Raises:
        InputError: If a format is unknown, there are too few or too many runs, or the folder cannot be written to.
    """
    for name in formats:
        if name not in FORMATS:
            raise InputError(f"Unknown report format {name!r}. Expected one of: {', '.join(FORMATS)}.")
    comparison = compare(runs)
    content = dumps(comparison)
    text = sheet(comparison, hashlib.sha256(content).hexdigest())
    made: dict[str, bytes] = {}
    for name in formats:
        if name == "json":
            made[name] = content
        elif name == "html":
            from qfl_sec.reports.comparison_html import page

            made[name] = page(text).encode()
        else:
            # The typesetter is slow to import, and nobody else needs it.
            from qfl_sec.reports.comparison_pdf import render

            made[name] = render(text, content)
    written = []
    for name, data in made.items():
        path = folder / f"comparison.{name}"
        write_bytes(path, data)
        written.append(path)
    return written
