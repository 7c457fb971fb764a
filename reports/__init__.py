"""The reports of qfl-sec, imported as `qfl_sec.reports`.

`writer` writes a run's files; `display` puts a whole report into strings, with the help of `findings` (sentences),
`tables` and `grounds` (tables), `panels` (Figure 1 as data), `wording` (numbers), `sanitising` (other people's text)
and `selection` (what stands where); `figures` draws, and `pdf` sets `report.typ`.
"""

if __name__ != "qfl_sec.reports":
    raise ImportError(
        "Import this folder as qfl_sec.reports: a plain 'import reports' would load a second copy of every class."
    )

from qfl_sec.reports.display import Document, document
from qfl_sec.reports.writer import write_report

__all__ = ["Document", "document", "write_report"]
