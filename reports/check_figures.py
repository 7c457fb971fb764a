"""Figure 2 as SVG: three panels side by side, in the style of Figure 1."""

from math import log2

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from qfl_sec.reports.checks import LOWEST, SMALLEST_BUDGET, BudgetAudit, Checks, Curve, TradeOff
from qfl_sec.reports.figures import (
    AUDITED,
    BAND,
    HAIR,
    HATCH,
    INK,
    MEASURED,
    MUTE,
    POINTS_A_MM,
    SMALL,
    TITLE,
    WIDTH_MM,
    drawn,
)
from qfl_sec.reports.heat import Cell, Heat
from qfl_sec.reports.sanitising import fitted

HEIGHT_MM = 57.0
PANEL_MM = 47.0
LEFTS_MM = (9.0, 66.5, 123.0)
BOTTOM_MM, TOP_MM = 9.5, 10.5

HATCHED = "//////"


def draw_checks(checks: Checks) -> str:
    """Draw the figure of checks.

    Returns:
        SVG, 170 mm wide, in the report's sans alone.

    Raises:
        RuntimeError: If the drawing uses another font.
    """
    return drawn(lambda: _canvas(checks))


def _canvas(checks: Checks) -> Canvas:
    canvas = Canvas(figsize=(WIDTH_MM / 25.4, HEIGHT_MM / 25.4))
    FigureCanvasSVG(canvas)
    places = list(LEFTS_MM)
    if checks.trade_off is not None:
        _trade_off(_axes(canvas, places.pop(0)), checks.trade_off)
    if checks.audit is not None:
        _audit(_axes(canvas, places.pop(0)), checks.audit)
    if checks.heat is not None:
        _heat(_axes(canvas, places.pop(0)), checks.heat)
    return canvas


def _axes(canvas: Canvas, left: float) -> Axes:
    height = HEIGHT_MM - BOTTOM_MM - TOP_MM
    return canvas.add_axes((left / WIDTH_MM, BOTTOM_MM / HEIGHT_MM, PANEL_MM / WIDTH_MM, height / HEIGHT_MM))


def _titles(axes: Axes, title: str, subtitle: str, axis_label: str) -> None:
    axes.text(0, 1.145, fitted(title, PANEL_MM * POINTS_A_MM, TITLE), transform=axes.transAxes, fontsize=TITLE,
              fontweight=600)  # fmt: skip
    axes.text(0, 1.04, subtitle, transform=axes.transAxes, color=MUTE)
    axes.set_xlabel(axis_label, labelpad=2)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0, pad=2)
    axes.tick_params(axis="x", length=2.5, width=0.6, pad=2)


def _ticks(axes: Axes, places: tuple[float, ...], labels: tuple[str, ...], *, vertical: bool) -> None:
    axis = axes.yaxis if vertical else axes.xaxis
    axis.set_major_locator(FixedLocator(list(places)))
    axis.set_major_formatter(FixedFormatter(list(labels)))
    axis.set_minor_locator(NullLocator())


def _trade_off(axes: Axes, panel: TradeOff) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(LOWEST, 1.0)
    axes.set_ylim(LOWEST, 1.12)
    _titles(axes, panel.title, panel.subtitle, panel.axis_label)
    for vertical in (True, False):
        _ticks(axes, (0.001, 0.01, 0.1, 1.0), ("0.1%", "1%", "10%", "100%"), vertical=vertical)
    axes.grid(color=HAIR, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.plot((LOWEST, 1), (LOWEST, 1), color=INK, linewidth=0.9, linestyle=(0, (1, 1.6)), zorder=2)
    if panel.ceiling:
        places, values = zip(*panel.ceiling, strict=True)
        axes.fill_between(places, values, 1.12, facecolor="none", edgecolor=HATCH, hatch=HATCHED, linewidth=0, zorder=1)
        axes.plot(places, values, color=INK, linewidth=1.1, zorder=4)
        axes.text(0.0013, 0.85, panel.ruled_out, va="top", color=INK, zorder=6, bbox=_PAPER)
    if panel.exact is not None:
        axes.plot(*panel.exact, "s", markersize=4, color=INK, zorder=6)
    for index, curve in enumerate(panel.curves):
        _curve(axes, curve, dashed=index > 0)
    if len(panel.curves) > 1:
        for index, curve in enumerate(panel.curves):
            dash = "dashed" if index else "line"
            words = fitted(f"{dash}: {curve.label}", 0.9 * PANEL_MM * POINTS_A_MM, SMALL)
            axes.text(0.97, 0.13 - 0.09 * index, words, transform=axes.transAxes, ha="right",
                      color=MEASURED, zorder=6, bbox=_PAPER)  # fmt: skip


_PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}


def _curve(axes: Axes, curve: Curve, *, dashed: bool) -> None:
    """Draw what each number of false accusations finds; it holds until the next one."""
    places = [max(place, LOWEST) for place, _ in curve.points]
    values = [max(value, LOWEST / 10) for _, value in curve.points]
    style = (0, (4, 1.6)) if dashed else "solid"
    axes.plot(places, values, color=MEASURED, linewidth=1.3, linestyle=style, drawstyle="steps-post", zorder=5)
    if curve.band and not dashed:
        low, high = [max(end, LOWEST / 10) for _, end, _ in curve.band], [end for _, _, end in curve.band]
        axes.fill_between(places, low, high, step="post", facecolor=BAND, linewidth=0, zorder=1.5)
    for place, bottom, top in curve.bars:
        ends = max(bottom, LOWEST), top
        axes.plot((place, place), ends, color=BAND, linewidth=3.2, solid_capstyle="butt", zorder=3)


def _audit(axes: Axes, panel: BudgetAudit) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    claims = [mark.claimed for mark in panel.marks]
    left, right = min(claims) / 1.6, max(claims) * 1.6
    top = 1.5 * right
    axes.set_xlim(left, right)
    axes.set_ylim(SMALLEST_BUDGET, top)
    _titles(axes, panel.title, panel.subtitle, panel.axis_label)
    _ticks(axes, tuple(claims), tuple(mark.label for mark in panel.marks), vertical=False)
    levels = tuple(level for level in (0.1, 1.0, 10.0, 100.0) if level < top)
    _ticks(axes, levels, tuple(f"{level:g}" for level in levels), vertical=True)
    axes.grid(axis="y", color=HAIR, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.fill_between((left, right), (left, right), top, facecolor="none", edgecolor=HATCH, hatch=HATCHED, linewidth=0)
    axes.plot((left, right), (left, right), color=INK, linewidth=1.1, zorder=4)
    axes.text(0.03, 0.97, panel.impossible, transform=axes.transAxes, va="top", zorder=6, bbox=_PAPER)
    half = 2 ** (0.21 * min(1.0, log2(right / left) / len(claims)))
    for mark, tick in zip(panel.marks, axes.get_xticklabels(), strict=True):
        if mark.audited:
            tick.set_fontweight(600)
            axes.axvspan(mark.claimed / half, mark.claimed * half, facecolor=AUDITED, linewidth=0, zorder=0.1)
        low, point = max(mark.low, SMALLEST_BUDGET), max(mark.point, SMALLEST_BUDGET)
        axes.plot(
            (mark.claimed, mark.claimed), (low, point), color=BAND, linewidth=3.2, solid_capstyle="butt", zorder=4
        )
        shape = "_" if mark.low > SMALLEST_BUDGET else "v"
        axes.plot(mark.claimed, low, shape, markersize=7 if shape == "_" else 5, markeredgewidth=1.6 if shape == "_"
                  else 0.6, color=MEASURED, zorder=5, clip_on=False)  # fmt: skip
        if mark.point > SMALLEST_BUDGET:
            axes.plot(mark.claimed, point, "o", markersize=3.4, markerfacecolor="white", markeredgecolor=MEASURED,
                      markeredgewidth=0.9, zorder=6)  # fmt: skip


def _heat(axes: Axes, panel: Heat) -> None:
    rows, columns = len(panel.rows), len(panel.columns)
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    _titles(axes, panel.title, panel.subtitle, panel.axis_label)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="x", length=0)
    _ticks(axes, tuple(index + 0.5 for index in range(columns)), panel.columns, vertical=False)
    names = tuple(fitted(label, 8.5 * POINTS_A_MM, SMALL) for label in panel.rows)
    _ticks(axes, tuple(index + 0.5 for index in range(rows)), names, vertical=True)
    for row, line in enumerate(panel.cells):
        for column, cell in enumerate(line):
            if cell is not None:
                _cell(axes, cell, column, row)


def _cell(axes: Axes, cell: Cell, column: int, row: int) -> None:
    fill = _shade(cell.share)
    axes.add_patch(
        Rectangle(
            (column, row), 1, 1, facecolor=fill, edgecolor=HATCH, hatch=HATCHED if cell.hatched else None, linewidth=0
        )
    )
    axes.add_patch(Rectangle((column, row), 1, 1, facecolor="none", edgecolor="white", linewidth=1.2))
    paper = {"facecolor": fill, "edgecolor": "none", "pad": 1.2} if cell.hatched else None
    axes.text(column + 0.5, row + 0.5, cell.text, ha="center", va="center", bbox=paper,
              color="white" if cell.share > 0.45 else INK)  # fmt: skip


def _shade(share: float) -> tuple[float, float, float]:
    """Return a colour between paper and the colour of measured values, as dark as the share is large."""
    full = tuple(int(MEASURED[index : index + 2], 16) / 255 for index in (1, 3, 5))
    red, green, blue = (1 - share * (1 - part) for part in full)
    return red, green, blue
