"""The reports of qfl-sec, imported as `qfl_sec.reports`.

`writer` writes a run's files. `display` puts a whole report into strings: `findings`, `advice` and `trends` make its
sentences out of `phrases`, `first_page`, `counts`, `grounds` and `pairs` its `tables`, `charts` its figures over `axes`
as `panels`, and `reproduction` its box and sources. `wording` writes numbers, `sanitising` makes other people's text
fit to print, and `selection` knows what stands where. `figures` draws, and `pdf` sets `report.typ`.
"""

if __name__ != "qfl_sec.reports":
    raise ImportError(
        "Import this folder as qfl_sec.reports: a plain 'import reports' would load a second copy of every class."
    )

from qfl_sec.reports.display import Document, document
from qfl_sec.reports.writer import write_report

__all__ = ["Document", "document", "write_report"]
