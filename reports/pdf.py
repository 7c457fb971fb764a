"""The PDF: the document's strings, set by typst from memory, with `results.json` attached byte for byte."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

import typst

from qfl_sec.checking import InputError
from qfl_sec.reports.check_figures import draw_checks
from qfl_sec.reports.display import Document
from qfl_sec.reports.figures import draw
from qfl_sec.reports.sanitising import font_file
from qfl_sec.reports.series_figures import draw_series

STANDARDS: list[Literal["a-3a", "ua-1"]] = ["a-3a", "ua-1"]


def render(document: Document, results: bytes) -> bytes:
    """Return the report's PDF.

    The same document and results give the same bytes on the same machine, in any process, zone and locale.

    Args:
        document: Every string that is printed.
        results: The bytes of `results.json`, attached as they are.

    Raises:
        RuntimeError: If the typesetter warns or refuses: a fault of ours, not of the data.
    """
    drawings = {f"figure-{index}": draw(figure) for index, figure in enumerate(document.budget.figures)}
    if document.budget.checks is not None:
        drawings["checks"] = draw_checks(document.budget.checks)
    for index, section in enumerate(document.appendix.sections):
        if section.figure is not None:
            drawings[f"section-{index}"] = draw_series(section.figure)
    inputs = {"data": json.dumps(asdict(document)), "results": results.decode(), **drawings}
    head = document.head
    with folders() as (root, fonts):
        known = typst.Fonts(include_system_fonts=False, include_embedded_fonts=True, font_paths=[fonts])
        compiler = typst.Compiler(_template(), root=root, font_paths=known, sys_inputs=inputs)
        try:
            pdf, warnings = compiler.compile_with_warnings(
                format="pdf",
                pdf_standards=[*STANDARDS],
                timestamp=datetime(head.year, head.month, head.day, tzinfo=UTC),
            )
        except typst.TypstError as error:
            raise RuntimeError(f"The report's template does not compile: {error.message}. {error.diagnostic}") from None
    if warnings:
        raise RuntimeError(f"The report's template compiles with warnings: {[str(item) for item in warnings]}")
    if not isinstance(pdf, bytes):
        raise RuntimeError(f"Expected one PDF, got {type(pdf).__name__}.")
    return pdf


@cache
def _template() -> bytes:
    return resources.files("qfl_sec.reports").joinpath("report.typ").read_bytes()


@contextmanager
def folders() -> Iterator[tuple[str, str]]:
    """Lend two folders: an empty one to read from, and one that holds the two weights of the sans and nothing else.

    Raises:
        InputError: If there is no place for temporary files.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="qfl-sec-report-")
        root, fonts = Path(folder.name, "root"), Path(folder.name, "fonts")
        root.mkdir()
        fonts.mkdir()
        for weight in ("Regular", "Semibold"):
            shutil.copyfile(font_file(weight), fonts / font_file(weight).name)
    except OSError as error:
        place = f"{tempfile.tempdir or 'the folder for temporary files'}: cannot be written"
        raise InputError(f"{place} ({error.strerror or error}). Free some space or set TMPDIR.") from None
    with folder:
        yield str(root), str(fonts)
