"""A run's reports as files: each appears whole, or not at all."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from qfl_sec.checking import InputError
from qfl_sec.provenance import Environment, Timings, write_bytes
from qfl_sec.reports.display import Document, document
from qfl_sec.results import loads, run_id

Format = Literal["pdf", "html", "json"]
FORMATS: tuple[Format, ...] = ("pdf", "html", "json")


def write_report(
    results: bytes,
    environment: Environment,
    timings: Timings,
    folder: Path,
    formats: Sequence[Format] = FORMATS,
) -> list[Path]:
    """Write the reports of a run.

    Args:
        results: The bytes of its `results.json`.
        environment: Where it was made.
        timings: When, and at what cost.
        folder: Where the files go; made if it does not exist.
        formats: "pdf" gives `report.pdf`, "html" `report.html`, "json" `results.json`, byte for byte.

    Returns:
        The files, in the order of the formats.

    Raises:
        InputError: If a format is unknown, the results are no `results.json`, or the folder cannot be written to.
    """
    for name in formats:
        if name not in FORMATS:
            raise InputError(f"Unknown report format {name!r}. Expected one of: {', '.join(FORMATS)}.")
    try:
        results.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"results.json: not UTF-8 ({error.reason}). Use the file that the audit wrote.") from None
    found = loads(results)
    text = document(found, environment, timings, run_id=run_id(results))
    written = []
    for name in formats:
        path = folder / _FILES[name]
        write_bytes(path, _made(name, text, results))
        written.append(path)
    return written


_FILES: dict[Format, str] = {"pdf": "report.pdf", "html": "report.html", "json": "results.json"}


def _made(name: Format, text: Document, results: bytes) -> bytes:
    """Return a report's bytes. Typesetter, drawing and fonts are slow to import, and nobody else needs them."""
    if name == "pdf":
        from qfl_sec.reports import pdf

        return pdf.render(text, results)
    if name == "html":
        from qfl_sec.reports import html

        return html.render(text, results)
    return results
