"""Figures of protocols as SVG, in the style of Figure 1; shape and place tell series apart, not colour alone."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from qfl_sec.reports.figures import HAIR, INK, MEASURED, MUTE, POINTS_A_MM, SMALL, TITLE, WIDTH_MM, drawn
from qfl_sec.reports.sanitising import fitted
from qfl_sec.reports.series_panels import Series, SeriesFigure, SeriesPanel

ROW_MM, TOP_MM, FOOT_MM, TITLES_MM = 58.0, 7.0, 2.0, 10.0
LEFT_MM, PANEL_MM, AXIS_MM = 10.5, 73.0, 12.0

STYLES = (
    (MEASURED, "o"), (INK, "s"), ("#997700", "^"), ("#BB5566", "D"), (MUTE, "P"), (MEASURED, "X"), (INK, "<"),
    ("#997700", ">"),
)  # fmt: skip
"""Colour and shape of a series."""

LEGEND: dict[str, Any] = {
    "frameon": False, "fontsize": SMALL, "handlelength": 2.0, "handletextpad": 0.5, "borderpad": 0.1,
}  # fmt: skip


def draw_series(figure: SeriesFigure) -> str:
    """Draw the figure.

    Without labels of the whole figure each panel has a legend of its own, unless it shows a single series.

    Returns:
        SVG, 170 mm wide, in the report's sans alone.

    Raises:
        RuntimeError: If the drawing uses another font.
    """
    return drawn(lambda: _canvas(figure))


def _canvas(figure: SeriesFigure) -> Canvas:
    rows = (len(figure.panels) + 1) // 2
    top = TOP_MM if figure.labels else 0.0
    height = top + rows * ROW_MM + FOOT_MM
    canvas = Canvas(figsize=(WIDTH_MM / 25.4, height / 25.4))
    FigureCanvasSVG(canvas)
    if figure.labels:
        _legend(canvas, figure)
    for index, panel in enumerate(figure.panels):
        row, column = divmod(index, 2)
        # An odd last panel takes the whole row.
        width = WIDTH_MM - LEFT_MM if index == len(figure.panels) - 1 and column == 0 else PANEL_MM
        left, bottom = LEFT_MM + 86.5 * column, height - top - (row + 1) * ROW_MM + AXIS_MM
        tall = ROW_MM - TITLES_MM - AXIS_MM
        axes = canvas.add_axes((left / WIDTH_MM, bottom / height, width / WIDTH_MM, tall / height))
        _panel(axes, panel, width * POINTS_A_MM, own_legend=not figure.labels and len(panel.series) > 1)
    return canvas


def _panel(axes: Axes, panel: SeriesPanel, width: float, *, own_legend: bool) -> None:
    _frame(axes, panel, width)
    if own_legend:
        _own_legend(axes, panel, width)
    else:
        axes.text(0, 1.04, fitted(panel.subtitle, width, SMALL), transform=axes.transAxes, color=MUTE)
    for at, value in panel.levels:
        axes.plot((at - 0.38, at + 0.38), (value, value), color=INK, linewidth=1.1, zorder=4)
    for series in panel.series:
        _series(axes, panel, series)


def _frame(axes: Axes, panel: SeriesPanel, width: float) -> None:
    """Set axes, ticks, grid and titles on a panel that is so many points wide."""
    if panel.logarithmic:
        axes.set_yscale("log")
    axes.set_xlim(panel.left, panel.right)
    axes.set_ylim(panel.bottom, panel.top)
    rising = [tick.label for tick in panel.ticks]
    for axis, ticks, labels in ((axes.xaxis, panel.columns, _labels(panel, width)), (axes.yaxis, panel.ticks, rising)):
        axis.set_major_locator(FixedLocator([tick.at for tick in ticks]))
        axis.set_major_formatter(FixedFormatter(labels))
        axis.set_minor_locator(NullLocator())
    axes.tick_params(axis="y", length=0, pad=2)
    axes.tick_params(axis="x", length=2.5, width=0.6, pad=2)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color=HAIR, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.text(0, 1.14, fitted(panel.title, width, TITLE), transform=axes.transAxes, fontsize=TITLE, fontweight=600)
    axes.set_xlabel(fitted(panel.axis_label, width, SMALL), labelpad=2)


def _labels(panel: SeriesPanel, width: float) -> list[str]:
    """Return what stands under the columns: their last words alone where there is no room for more."""
    column, words = 0.95 * width / max(1, len(panel.columns)), [tick.label for tick in panel.columns]
    if all(fitted(word, column, SMALL) == word for word in words):
        return words
    return [word.rpartition(" ")[2] for word in words]


def _series(axes: Axes, panel: SeriesPanel, series: Series) -> None:
    color, shape = STYLES[series.style % len(STYLES)]
    if len(series.theory) > 1:
        axes.plot(*zip(*series.theory, strict=True), color=color, linewidth=0.9, linestyle=(0, (4, 2)), zorder=3)
    lowest = panel.bottom if panel.logarithmic else 0.0
    for mark in series.marks:
        low, high, value = (max(number, lowest) for number in (mark.low, mark.high, mark.value))
        axes.plot((mark.at, mark.at), (low, high), color=color, linewidth=0.9, zorder=4)
        axes.plot(
            mark.at, value, "v" if mark.zero else shape, markersize=4.6, markerfacecolor=color,
            markeredgecolor="white", markeredgewidth=0.6, zorder=6, clip_on=False,
        )  # fmt: skip


def _legend(canvas: Canvas, figure: SeriesFigure) -> None:
    """Set one legend above all panels."""
    width = WIDTH_MM * POINTS_A_MM / max(1, len(figure.labels)) - 30
    labels = [fitted(label, width, SMALL) for label in figure.labels]
    canvas.legend(
        [_key(style) for style in range(len(labels))], labels, loc="upper center", bbox_to_anchor=(0.5, 1.0),
        ncols=len(labels), columnspacing=1.6, **LEGEND,
    )  # fmt: skip


def _own_legend(axes: Axes, panel: SeriesPanel, width: float) -> None:
    """Set a legend in the place of the subtitle."""
    labels = [fitted(series.label, width / len(panel.series) - 18, SMALL) for series in panel.series]
    axes.legend(
        [_key(series.style) for series in panel.series], labels, loc="lower left", bbox_to_anchor=(0.0, 1.0),
        ncols=len(labels), columnspacing=1.0, borderaxespad=0.0, **LEGEND,
    )  # fmt: skip


def _key(style: int) -> Line2D:
    color, shape = STYLES[style % len(STYLES)]
    return Line2D([], [], color=color, marker=shape, markersize=4.6, markeredgecolor="white", linewidth=0.9)
