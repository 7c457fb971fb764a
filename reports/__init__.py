"""The reports of qfl-sec, imported as `qfl_sec.reports`.

`writer` writes a run's files. `display` puts a whole report into strings: `findings`, `advice` and `trends` make its
sentences out of `phrases`, `first_page`, `counts`, `grounds`, `pairs` and `chapters` its `tables`, `charts` its
figures over `axes` as `panels`, `checks` and `heat` the checks behind the numbers, and `reproduction` its box and
sources. `wording` writes numbers, `sanitising` makes other people's text fit to print, and `selection` knows what
stands where. `figures` and `check_figures` draw, `pdf` sets `report.typ`, and `html` makes the page with
`report.css` and `report.js`: its chapters out of `html_pages`, its elements out of `html_markup`.
"""

if __name__ != "qfl_sec.reports":
    raise ImportError(
        "Import this folder as qfl_sec.reports: a plain 'import reports' would load a second copy of every class."
    )

from qfl_sec.reports.display import Document, document
from qfl_sec.reports.writer import write_report

__all__ = ["Document", "document", "write_report"]
