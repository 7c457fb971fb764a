"""The figure on delegated computing from the results: what a grid of angles hides and costs, tests, sizes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import log2, log10

from qfl_sec.protocol_results import ComputationEntry
from qfl_sec.reports import wording as w
from qfl_sec.reports.entry_names import COMPUTE, other_values, shown_computations
from qfl_sec.reports.panels import Mark, Tick
from qfl_sec.reports.scales import decades, decimal, percent_ticks
from qfl_sec.reports.selection import Selection
from qfl_sec.reports.series_panels import Series, SeriesFigure, SeriesPanel

MOST_SERIES = 5
"""Lines that a panel tells apart."""


def most_telling(selection: Selection) -> ComputationEntry | None:
    """Return the blind computation that words and figure are about: the first page's, else the first; None of none."""
    blind = [entry for entry in shown_computations(selection) if entry.pattern is not None]
    here = [entry for entry in blind if entry.variant == selection.variant.id]
    return next(iter(here or blind), None)


def computing_figure(selection: Selection) -> SeriesFigure | None:
    """Return the figure, with the panels for which the run holds something; None where nothing is blind."""
    entry = most_telling(selection)
    if entry is None:
        return None
    makers = (_leak_panel, _change_panel, _accuracy_panel, _noise_panel, _attack_panel, _size_panel)
    others = other_values(selection, entry, (COMPUTE,))
    found = [made for maker in makers if (made := maker(entry)) is not None]
    panels = tuple(replace(panel, title=f"{'abcdef'[index]} {panel.title}") for index, panel in enumerate(found))
    return SeriesFigure(
        panels=panels,
        labels=(),
        alt=" ".join(f"{panel.title}, {panel.subtitle}: {panel.trend}" for panel in panels),
        caption=f"Blind computing{f' ({others})' if others else ''}: what the grid of angles hides, what it costs "
        "the released models, how often test rounds accept a server, and what a run takes. Dashed lines join values; "
        "those of tests are exact.",
    )


def _series(label: str, style: int, points: Sequence[tuple[float, float]]) -> Series:
    marks = tuple(Mark(at=at, value=value, low=value, high=value, zero=False) for at, value in points)
    return Series(label=label, style=style, marks=marks, theory=tuple(points))


def _words(series: Iterable[Series], place: Callable[[float], str], value: Callable[[float], str]) -> str:
    """Tell each series by its first and last value."""
    told = []
    for one in series:
        first, last = one.marks[0], one.marks[-1]
        told.append(f"{one.label} {value(first.value)} at {place(first.at)}, {value(last.value)} at {place(last.at)}")
    return "; ".join(told) + "."


def _by_bits(
    entry: ComputationEntry, title: str, subtitle: str, series: Sequence[Series], written: Callable[[float], str]
) -> SeriesPanel:
    """Return a linear panel over angle bits; its values' axis ends at 0 and 1."""
    bits = [grid.angle_bits for grid in entry.grids]
    return SeriesPanel(
        title=title,
        subtitle=subtitle,
        axis_label="angle bits",
        logarithmic=False,
        left=min(bits) - 0.5,
        right=max(bits) + 0.5,
        bottom=-0.04,
        top=1.06,
        columns=tuple(Tick(at=one, label=str(one)) for one in bits),
        ticks=percent_ticks((0.0, 0.25, 0.5, 0.75, 1.0)),
        series=tuple(series),
        trend=_words(series, lambda at: f"{at:g} bits", written),
    )


def _leak_panel(entry: ComputationEntry) -> SeriesPanel | None:
    """Draw how far the server's views are apart, on the grid and off it."""
    seen = [grid for grid in entry.grids if grid.view_distance is not None]
    if not seen:
        return None
    series = [
        _series(label, style, [(grid.angle_bits, getattr(grid, name) or 0.0) for grid in seen])
        for style, (label, name) in enumerate(
            (("angles on the grid", "view_distance"), ("left off it", "unrounded_view_distance"))
        )
    ]
    panel = _by_bits(
        entry,
        "What the grid hides",
        "trace distance of the server's views",
        series,
        lambda value: w.plain(round(value, 4)),
    )
    plain = tuple(Tick(at=at, label=f"{at:g}") for at in (0.0, 0.25, 0.5, 0.75, 1.0))
    return replace(panel, ticks=plain, axis_label="angle bits; 0: blind, 1: in clear")


def _change_panel(entry: ComputationEntry) -> SeriesPanel | None:
    """Draw what rounding changes in an output."""
    grids = [grid for grid in entry.grids if grid.mean_change > 0]
    if not grids:
        return None
    series = [
        _series("mean", 0, [(grid.angle_bits, grid.mean_change) for grid in grids]),
        _series("largest", 1, [(grid.angle_bits, grid.largest_change) for grid in grids]),
    ]
    bottom, top, ticks = decades(mark.value for one in series for mark in one.marks)
    panel = _by_bits(
        entry,
        "What it costs: change of an output",
        "fresh records, released models",
        series,
        lambda value: w.plain(float(f"{value:.2g}")),
    )
    return replace(panel, logarithmic=True, bottom=bottom, top=top, ticks=ticks)


def _accuracy_panel(entry: ComputationEntry) -> SeriesPanel | None:
    """Draw accuracy against the grid; the line is that of angles as they are."""
    if not entry.fresh_records:
        return None
    points = [(grid.angle_bits, grid.correct / entry.fresh_records) for grid in entry.grids]
    series = [_series("rounded", 0, points)]
    whole = entry.correct / entry.fresh_records
    panel = _by_bits(entry, "What it costs: accuracy", "line: angles not rounded", series, w.rate)
    return replace(
        panel,
        levels=tuple((at, whole) for at, _ in points),
        trend=f"{panel.trend} Not rounded: {w.rate(whole)}.",
    )


def _noise_panel(entry: ComputationEntry) -> SeriesPanel | None:
    """Draw how often a noisy honest server is accepted."""
    plan = entry.verification
    if plan is None:
        return None
    noisy = [point for point in plan.noise if point.depolarizing_probability > 0]
    points = [(log10(point.depolarizing_probability), point.acceptance) for point in noisy]
    series = [_series("accepted", 0, points)]
    return SeriesPanel(
        title="Honest server: accepted",
        subtitle=f"{w.group(plan.test_rounds)} tests, at most {w.plural(plan.threshold, 'failure')}",
        axis_label="probability of an error of each qubit",
        logarithmic=False,
        left=points[0][0] - 0.3,
        right=points[-1][0] + 0.3,
        bottom=-0.04,
        top=1.06,
        columns=tuple(Tick(at=at, label=decimal(10.0**at)) for at, _ in points if abs(at - round(at)) < 1e-9),
        ticks=percent_ticks((0.0, 0.25, 0.5, 0.75, 1.0)),
        series=tuple(series),
        trend=_words(series, lambda at: f"error {w.plain(10.0**at)}", w.rate),
    )


def _attack_panel(entry: ComputationEntry) -> SeriesPanel | None:
    """Draw how often a malicious server is accepted, and what it shifts."""
    plan = entry.verification
    if plan is None:
        return None
    runs = plan.computation_rounds + plan.test_rounds
    series = [
        _series(label, style, [(point.corrupted / runs, getattr(point, name)) for point in plan.attack])
        for style, (label, name) in enumerate(
            (("accepted", "acceptance"), ("wrong majority", "wrong_majority"), ("shift of a value", "shift"))
        )
    ]
    ticks = tuple(Tick(at=at, label=f"{at:g}") for at in (0.0, 0.25, 0.5, 0.75, 1.0))
    return SeriesPanel(
        title="Malicious server: accepted, and what it shifts",
        subtitle="probability; expectation value",
        axis_label="share of the runs that it spoils",
        logarithmic=False,
        left=-0.02,
        right=0.52,
        bottom=-0.04,
        top=1.06,
        columns=percent_ticks((0.0, 0.1, 0.2, 0.3, 0.4, 0.5)),
        ticks=ticks,
        series=tuple(series),
        trend=_words(series, w.agreed, lambda value: w.plain(float(f"{value:.2g}"))),
    )


def _size_panel(entry: ComputationEntry) -> SeriesPanel | None:
    """Draw qubits a run against layers, a series for each number of qubits."""
    found: dict[int, list[tuple[float, float]]] = {}
    for size in entry.other_sizes:
        if size.layers is not None:
            found.setdefault(size.qubits, []).append((log2(size.layers), float(size.nodes)))
    if not found:
        return None
    chosen = list(found.items())[:MOST_SERIES]
    series = [_series(w.plural(qubits, "qubit"), style, points) for style, (qubits, points) in enumerate(chosen)]
    places = sorted({at for _, points in chosen for at, _ in points})
    bottom, top, ticks = decades(mark.value for one in series for mark in one.marks)
    return SeriesPanel(
        title="Qubits a run",
        subtitle="of this model at other sizes",
        axis_label="layers",
        logarithmic=True,
        left=places[0] - 0.2,
        right=places[-1] + 0.2,
        bottom=bottom,
        top=top,
        columns=tuple(Tick(at=at, label=f"{2**at:g}") for at in places),
        ticks=ticks,
        series=tuple(series),
        trend=_words(series, lambda at: f"{2**at:g} layers", lambda value: w.group(round(value))),
    )
