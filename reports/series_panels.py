"""Figures of protocols as data: panels with marks, lines of theory, ticks and words."""

from dataclasses import dataclass

from qfl_sec.reports.panels import Mark, Tick


@dataclass(frozen=True, kw_only=True)
class Series:
    """Values that belong together.

    Attributes:
        label: For the legend.
        style: Place in the figure's list of colours and shapes.
        marks: Values from left to right, with their ends; `zero` where the value stands at the panel's foot.
        theory: (place, value), joined by a line.
    """

    label: str
    style: int
    marks: tuple[Mark, ...]
    theory: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class SeriesPanel:
    """One panel.

    Attributes:
        title: With its letter.
        subtitle: What is shown.
        axis_label: Below the axis.
        logarithmic: Whether the values' axis is.
        left: Of the places' axis.
        right: Of the places' axis.
        bottom: Of the values' axis; zeros of a logarithmic one stand there.
        top: Of the values' axis.
        columns: Ticks of the places' axis.
        ticks: Ticks of the values' axis.
        series: In the order of the legend.
        levels: (place, value) to compare with, drawn as short lines.
        trend: In words with numbers.
    """

    title: str
    subtitle: str
    axis_label: str
    logarithmic: bool
    left: float
    right: float
    bottom: float
    top: float
    columns: tuple[Tick, ...]
    ticks: tuple[Tick, ...]
    series: tuple[Series, ...]
    levels: tuple[tuple[float, float], ...] = ()
    trend: str


@dataclass(frozen=True, kw_only=True)
class SeriesFigure:
    """The figure: up to four panels, the labels of all series, words."""

    panels: tuple[SeriesPanel, ...]
    labels: tuple[str, ...]
    alt: str
    caption: str
