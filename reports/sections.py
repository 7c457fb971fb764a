"""A section of the appendix about protocols: words, tables, a figure."""

from dataclasses import dataclass

from qfl_sec.reports.series_panels import SeriesFigure
from qfl_sec.reports.tables import Table


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of the appendix.

    Attributes:
        title: Of the section.
        says: Paragraphs.
        tables: In order.
        figure: None where nothing can be drawn.
    """

    title: str
    says: tuple[str, ...]
    tables: tuple[Table, ...]
    figure: SeriesFigure | None
