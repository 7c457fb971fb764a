"""The scaling figure: three panels, time against qubits, batch and models."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, NullLocator

from benchmarks.scaling import SERIES, SIZES, Axis, Point
from qfl_sec.reports.figures import FAMILY, HAIR, INK, MEASURED, MUTE
from qfl_sec.reports.sanitising import font_file

LABELS: dict[Axis, str] = {"qubits": "qubits", "batch": "records a batch", "models": "models"}

# Colours that stay apart for colour-blind readers; in grey, line and marker tell the series apart.
_LOOKS: dict[str, dict[str, Any]] = {
    SERIES[0]: {"color": MEASURED, "marker": "o", "linestyle": "-", "linewidth": 1.8},
    SERIES[1]: {"color": "#BB5566", "marker": "s", "linestyle": (0, (5, 1.5))},
    SERIES[2]: {"color": "#997700", "marker": "^", "linestyle": (0, (1, 1.2))},
    SERIES[3]: {"color": INK, "marker": "D", "linestyle": (0, (6, 1.5, 1, 1.5)), "markerfacecolor": "white"},
}

_STYLE: dict[Any, Any] = {
    "font.family": FAMILY,
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": MUTE,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.unicode_minus": False,
    "xtick.color": MUTE,
    "ytick.color": MUTE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "svg.fonttype": "path",
    "svg.hashsalt": "qfl-sec",
}


def draw(points: Sequence[Point]) -> str:
    """Return the figure as SVG; the same bytes from the same points."""
    for weight in ("Regular", "Semibold"):
        fontManager.addfont(font_file(weight))
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        canvas = Figure(figsize=(9.0, 3.4))
        FigureCanvasSVG(canvas)
        panels = canvas.subplots(1, 3, sharey=True)
        for axes, axis in zip(panels, SIZES, strict=True):
            _panel(axes, axis, [point for point in points if point.axis == axis])
        panels[0].set_ylabel("time of loss and gradient (ms)")
        handles, labels = panels[0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="upper center", ncols=len(SERIES), frameon=False, handlelength=3.2)
        canvas.subplots_adjust(left=0.07, right=0.995, top=0.88, bottom=0.15, wspace=0.06)
        canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _panel(axes: Axes, axis: Axis, points: Sequence[Point]) -> None:
    for series in SERIES:
        line = sorted((point for point in points if point.series == series), key=lambda point: point.size)
        if not line:
            continue
        look = {"linewidth": 1.2, "markersize": 4.0} | _LOOKS[series]
        sizes = [point.size for point in line]
        low, high = [point.spread[0] for point in line], [point.spread[1] for point in line]
        axes.fill_between(sizes, low, high, color=look["color"], alpha=0.15, linewidth=0)
        axes.plot(sizes, [point.milliseconds for point in line], label=series, **look)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    sizes = list(SIZES[axis])
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_major_formatter(FixedFormatter([f"{size:,}" for size in sizes]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.set_xlabel(f"{LABELS[axis]} (log scale)")
    axes.grid(axis="y", color=HAIR, linewidth=0.5)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
