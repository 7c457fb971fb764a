"""Figure 1 as SVG: the same bytes from the same data, and text that stays text."""

import io
import logging
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.font_manager import fontManager
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from qfl_sec.reports.panels import LOWEST, Figure, Mark, Panel
from qfl_sec.reports.sanitising import fitted, font_file

INK, MUTE, HAIR, FOG = "#1A1A1A", "#5F6368", "#B8BCC2", "#F1F3F4"
MEASURED, BAND, AUDITED, HATCH = "#004488", "#B3C6DB", "#F6EBCB", "#C9CDD2"
GREY_BAND = "#D6D8DB"

FAMILY = "Source Sans Pro"
WIDTH_MM, ROW_MM, TOP_MM, BOTTOM_MM = 170.0, 53.0, 7.0, 6.0
TITLES_MM, TICKS_MM = 10.0, 5.5
LEFT_MM, PANEL_MM = 8.5, 76.0
POINTS_A_MM = 72 / 25.4
SMALL, TITLE = 7.4, 9.0

_STYLE: dict[Any, Any] = {
    "font.family": FAMILY,
    "font.size": SMALL,
    "text.color": INK,
    "axes.edgecolor": MUTE,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.unicode_minus": False,
    "xtick.color": MUTE,
    "ytick.color": MUTE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "hatch.linewidth": 0.5,
    # Labels are other people's text: a dollar sign is a dollar sign.
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "qfl-sec",
}


def draw(figure: Figure) -> str:
    """Draw a figure with at least one panel.

    Returns:
        SVG, 170 mm wide, in the report's sans alone.

    Raises:
        RuntimeError: If the drawing uses another font.
    """
    return drawn(lambda: _canvas(figure))


def drawn(canvas: Callable[[], Canvas]) -> str:
    """Return what a function draws, in the report's style, as SVG.

    Raises:
        RuntimeError: If the drawing uses another font than the report's sans.
    """
    _register_fonts()
    with matplotlib.rc_context(_STYLE):
        svg = _save(canvas())
    families = set(re.findall(r"font(?:-family)?: [^;\"']*'?([^;\"']+)", svg))
    if families - {FAMILY}:
        raise RuntimeError(f"Expected the figure's fonts {sorted(families)} to be {FAMILY} alone.")
    return svg


def rows(figure: Figure) -> int:
    """Return how many rows of panels a figure has."""
    return (len(figure.panels) + 1) // 2


def height_mm(figure: Figure) -> float:
    """Return a figure's height."""
    return TOP_MM + rows(figure) * ROW_MM + BOTTOM_MM


@cache
def _register_fonts() -> None:
    """Make the report's sans known to matplotlib, once a process."""
    for weight in ("Regular", "Semibold"):
        fontManager.addfont(font_file(weight))


def _save(canvas: Canvas) -> str:
    buffer = io.StringIO()
    logger = logging.getLogger("matplotlib.font_manager")
    level = logger.level
    # A missing weight is an error below, not a line on the user's terminal.
    logger.setLevel(logging.ERROR)
    try:
        canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    finally:
        logger.setLevel(level)
    return buffer.getvalue()


def _canvas(figure: Figure) -> Canvas:
    height = height_mm(figure)
    canvas = Canvas(figsize=(WIDTH_MM / 25.4, height / 25.4))
    FigureCanvasSVG(canvas)
    _legend(canvas, figure, height)
    for index, panel in enumerate(figure.panels):
        row, column = divmod(index, 2)
        # An odd last panel takes the whole row.
        wide = index == len(figure.panels) - 1 and column == 0
        left = LEFT_MM + 85.5 * column
        bottom = height - TOP_MM - (row + 1) * ROW_MM + TICKS_MM
        width = WIDTH_MM - LEFT_MM if wide else PANEL_MM
        axes = canvas.add_axes(
            (left / WIDTH_MM, bottom / height, width / WIDTH_MM, (ROW_MM - TITLES_MM - TICKS_MM) / height)
        )
        last = row == rows(figure) - 1 or index + 2 >= len(figure.panels)
        _panel(axes, figure, panel, axis_label=last, width=width * POINTS_A_MM)
    return canvas


def _panel(axes: Axes, figure: Figure, panel: Panel, *, axis_label: bool, width: float) -> None:
    _frame(axes, figure, panel, axis_label=axis_label, width=width)
    _columns(axes, figure)
    if panel.ceiling:
        _ceiling(axes, panel)
    _references(axes, figure, panel)
    _measured(axes, figure, panel)
    _feet(axes, panel)


def _frame(axes: Axes, figure: Figure, panel: Panel, *, axis_label: bool, width: float) -> None:
    """Set axes, ticks, grid and titles on a panel that is so many points wide."""
    column = 1.1 * width * figure.step / (figure.right - figure.left)
    labels = [fitted(tick.label, column, SMALL) for tick in figure.columns]
    if panel.logarithmic:
        axes.set_yscale("log")
    axes.set_xlim(figure.left, figure.right)
    axes.set_ylim(panel.bottom, panel.top)
    axes.xaxis.set_major_locator(FixedLocator([tick.at for tick in figure.columns]))
    axes.xaxis.set_major_formatter(FixedFormatter(labels))
    axes.yaxis.set_major_locator(FixedLocator([tick.at for tick in panel.ticks]))
    axes.yaxis.set_major_formatter(FixedFormatter([tick.label for tick in panel.ticks]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="y", length=0, pad=2)
    axes.tick_params(axis="x", length=2.5, width=0.6, pad=2)
    for label, tick in zip(axes.get_xticklabels(), figure.columns, strict=True):
        label.set_fontweight(600 if tick.bold else 400)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color=HAIR, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.text(0, 1.125, fitted(panel.title, width, TITLE), transform=axes.transAxes, fontsize=TITLE, fontweight=600)
    axes.text(0, 1.035, fitted(panel.subtitle, width, SMALL), transform=axes.transAxes, color=MUTE)
    if axis_label:
        axes.set_xlabel(fitted(figure.axis_label, width, SMALL), labelpad=2)


def _columns(axes: Axes, figure: Figure) -> None:
    """Draw the audited band, the grey columns and the break between them."""
    half = 0.42 * figure.step
    for place in figure.grey:
        axes.axvspan(place - half, place + half, color=FOG, linewidth=0, zorder=0)
    if figure.audited is not None:
        edge = {"edgecolor": HAIR, "linewidth": 0.5} if figure.audited in figure.grey else {"linewidth": 0}
        axes.axvspan(figure.audited - half, figure.audited + half, facecolor=AUDITED, zorder=0.1, **edge)
    if figure.broken_at is not None:
        transform = axes.get_xaxis_transform()
        for shift in (-0.05, 0.05):
            at = figure.broken_at + shift * figure.step
            lean = 0.045 * figure.step
            axes.plot(
                (at - lean, at + lean), (-0.03, 0.03), color="white", linewidth=3, transform=transform, clip_on=False
            )
        for shift in (-0.05, 0.05):
            at = figure.broken_at + shift * figure.step
            lean = 0.045 * figure.step
            axes.plot(
                (at - lean, at + lean), (-0.03, 0.03), color=MUTE, linewidth=0.7, transform=transform, clip_on=False
            )


def _ceiling(axes: Axes, panel: Panel) -> None:
    places, values = zip(*panel.ceiling, strict=True)
    axes.fill_between(
        places, values, panel.top, facecolor="none", edgecolor=HATCH, hatch="//////", linewidth=0, zorder=1
    )
    axes.plot(places, values, color=INK, linewidth=1.1, zorder=4)


def _references(axes: Axes, figure: Figure, panel: Panel) -> None:
    """Draw guessing, baselines and the control."""
    if panel.guess:
        places, values = zip(*panel.guess, strict=True)
        first, last = (places[0] - 0.4 * figure.step, values[0]), (places[-1] + 0.4 * figure.step, values[-1])
        line = [first, *panel.guess, last]
        axes.plot(*zip(*line, strict=True), color=INK, linewidth=0.9, linestyle=(0, (1, 1.6)), zorder=2)
    half = 0.42 * figure.step
    for at, value in panel.guess_alone:
        axes.plot((at - half, at + half), (value, value), color=INK, linewidth=0.9, linestyle=(0, (1, 1.6)), zorder=2)
    styles = {"dashed": (0, (5, 2)), "dashdot": (0, (6, 1.6, 1, 1.6)), "dotted": (0, (1, 1.6))}
    for level in panel.levels:
        axes.axhline(level.value, color=INK, linewidth=0.8, linestyle=styles[level.style], zorder=2)
    for mark in panel.control:
        _bar(axes, panel, mark, MUTE, 0.7)
        value = max(mark.value, _axis(panel))
        shape = "v" if mark.zero else "D"
        axes.plot(
            mark.at,
            value,
            shape,
            markersize=3.2,
            markerfacecolor="white",
            markeredgecolor=MUTE,
            markeredgewidth=0.8,
            zorder=5,
        )


def _axis(panel: Panel) -> float:
    """Return the lowest value at which marks are drawn; below it stand the values at the foot."""
    return LOWEST if panel.logarithmic else max(0.0, panel.bottom)


def _bar(axes: Axes, panel: Panel, mark: Mark, color: str, width: float) -> None:
    low, high = max(mark.low, _axis(panel)), max(mark.high, _axis(panel))
    axes.plot((mark.at, mark.at), (low, high), color=color, linewidth=width, solid_capstyle="butt", zorder=3)


def _measured(axes: Axes, figure: Figure, panel: Panel) -> None:
    """Draw the measured values with their band, and those of the grey columns with a bar."""
    color, band, shape = (INK, GREY_BAND, "s") if panel.price else (MEASURED, BAND, "o")
    lowest = _axis(panel)
    if panel.line:
        places = [mark.at for mark in panel.line]
        if len(places) > 1:
            low, high = [max(m.low, lowest) for m in panel.line], [max(m.high, lowest) for m in panel.line]
            axes.fill_between(places, low, high, facecolor=band, linewidth=0, zorder=1.5)
            axes.plot(places, [max(m.value, lowest) for m in panel.line], color=color, linewidth=1.3, zorder=5)
        else:
            _bar(axes, panel, panel.line[0], band, 4.0)
    for mark in panel.alone:
        _bar(axes, panel, mark, band, 4.0)
    for mark in (*panel.line, *panel.alone):
        size = 5.0 if mark.zero else 4.2
        axes.plot(
            mark.at, max(mark.value, lowest), "v" if mark.zero else shape, markersize=size, markerfacecolor=color,
            markeredgecolor="white", markeredgewidth=0.6, zorder=6,
        )  # fmt: skip


def _feet(axes: Axes, panel: Panel) -> None:
    for foot in panel.foot:
        axes.text(
            foot.at, 0.035, foot.text, transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=SMALL,
            fontweight=600, color=INK if panel.price else MEASURED, zorder=7,
        )  # fmt: skip


def _legend(canvas: Canvas, figure: Figure, height: float) -> None:
    """Draw one row of marks and words above the panels."""
    has_ceiling = any(panel.ceiling for panel in figure.panels)
    shown = (True, any(p.control for p in figure.panels), any(p.guess or p.guess_alone for p in figure.panels),
             has_ceiling, figure.audited is not None, bool(figure.grey))  # fmt: skip
    keys: list[Any] = [
        (
            Patch(facecolor=BAND),
            Line2D([], [], color=MEASURED, marker="o", markersize=4.2, markeredgecolor="white", linewidth=1.3),
        ),
        Line2D([], [], color=MUTE, marker="D", markersize=3.2, markerfacecolor="white", linewidth=0.7),
        Line2D([], [], color=INK, linewidth=0.9, linestyle=(0, (1, 1.6))),
        (
            Patch(facecolor="none", edgecolor=HATCH, hatch="///////", linewidth=0),
            Line2D([], [], color=INK, linewidth=1.1),
        ),
        Patch(facecolor=AUDITED),
        Patch(facecolor=FOG, edgecolor=HAIR, linewidth=0.4),
    ]
    pairs = [(key, word) for key, word, show in zip(keys, figure.legend, shown, strict=True) if show]
    canvas.legend(
        [key for key, _ in pairs], [word for _, word in pairs], loc="upper center", bbox_to_anchor=(0.5, 1.0),
        ncols=len(pairs), frameon=False, fontsize=SMALL, handlelength=2.4, handletextpad=0.6, columnspacing=1.6,
        borderpad=0.1, handler_map={tuple: HandlerTuple(ndivide=1, pad=0)},
    )  # fmt: skip
