"""The comparison's PDF, set by typst from memory, with `comparison.json` attached byte for byte."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import resources

import typst

from qfl_sec.reports.comparison_text import Sheet
from qfl_sec.reports.pdf import STANDARDS, folders


def render(sheet: Sheet, comparison: bytes) -> bytes:
    """Return the comparison's PDF; the same bytes from the same sheet.

    Args:
        sheet: Every string that is printed.
        comparison: The bytes of `comparison.json`, attached as they are.

    Raises:
        RuntimeError: If the typesetter warns or refuses: a fault of ours, not of the data.
    """
    template = resources.files("qfl_sec.reports").joinpath("comparison.typ").read_bytes()
    inputs = {"data": json.dumps(asdict(sheet)), "comparison": comparison.decode()}
    with folders() as (root, fonts):
        known = typst.Fonts(include_system_fonts=False, include_embedded_fonts=True, font_paths=[fonts])
        compiler = typst.Compiler(template, root=root, font_paths=known, sys_inputs=inputs)
        try:
            pdf, warnings = compiler.compile_with_warnings(
                format="pdf",
                pdf_standards=[*STANDARDS],
                timestamp=datetime(sheet.year, sheet.month, sheet.day, tzinfo=UTC),
            )
        except typst.TypstError as error:
            raise RuntimeError(f"The comparison does not compile: {error.message}. {error.diagnostic}") from None
    if warnings or not isinstance(pdf, bytes):
        raise RuntimeError(f"The comparison compiles with warnings: {[str(item) for item in warnings]}")
    return pdf
