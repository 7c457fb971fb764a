"""The figure on channels from the results: error rates, the eavesdropper's success, bits needed and bits given."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import ceil

from qfl_sec.protocol_results import ChannelEntry
from qfl_sec.reports import wording as w
from qfl_sec.reports.entry_names import (
    CHANNEL,
    DISTANCE,
    FRACTION,
    channel_label,
    fraction,
    other_values,
    shown_channels,
)
from qfl_sec.reports.panels import Mark, Tick
from qfl_sec.reports.sanitising import cut
from qfl_sec.reports.scales import decades, percent_ticks
from qfl_sec.reports.selection import Selection
from qfl_sec.reports.series_panels import Series, SeriesFigure, SeriesPanel
from qfl_sec.results import Measurement

MOST_SERIES = 5
"""Lines that a panel tells apart."""

MOST_COLUMNS = 8
"""Channels side by side in the panel of bits."""


def channel_figure(selection: Selection) -> SeriesFigure | None:
    """Return the figure, with the panels for which the run holds something; None without any."""
    labels: dict[str, int] = {}
    makers = (_error_panel, _success_panel, _bits_panel, _distance_panel)
    found = [made for maker in makers if (made := maker(selection, labels)) is not None]
    panels = tuple(replace(panel, title=f"{'abcd'[index]} {panel.title}") for index, panel in enumerate(found))
    if not panels:
        return None
    return SeriesFigure(
        panels=panels,
        labels=tuple(labels),
        alt=" ".join(f"{panel.title}, {panel.subtitle}: {panel.trend}" for panel in panels),
        caption=" ".join(_caption(selection, panels)),
    )


def _caption(selection: Selection, panels: Sequence[SeriesPanel]) -> Iterable[str]:
    yield f"Channels at the audited setting, {w.plural(len(selection.results.seeds), 'seed')} each."
    if any(series.theory for panel in panels for series in panel.series):
        yield "Dashed: the protocols' closed forms at the points of the sweep, joined by straight lines."
    if any("Error" in panel.title or "bits" in panel.title for panel in panels):
        yield "Bars of error rates and bits: the range over messages; of attack success: 95% intervals."
    if any(mark.zero for panel in panels for series in panel.series for mark in series.marks):
        yield "Triangle: none."


def _families(
    selection: Selection, labels: dict[str, int], entries: Iterable[ChannelEntry], axis: str
) -> list[tuple[str, int, list[ChannelEntry]]]:
    """Return the entries by what they share apart from the axis: label, style, entries."""
    found: dict[str, list[ChannelEntry]] = {}
    for entry in entries:
        with_fraction = () if axis == FRACTION else (fraction(entry),)
        others = other_values(selection, entry, (CHANNEL, FRACTION, axis))
        label = cut(", ".join(text for text in (cut(entry.name, 24), *with_fraction, others) if text), 44)
        found.setdefault(label, []).append(entry)
    return [(label, labels.setdefault(label, len(labels)), group) for label, group in list(found.items())[:MOST_SERIES]]


def _dodged(at: float, style: int) -> float:
    """Move marks that would hide each other a little apart."""
    return at + 0.018 * (style - 1)


def _error_panel(selection: Selection, labels: dict[str, int]) -> SeriesPanel | None:
    """Draw what the parties saw against the intercepted fraction."""
    entries = [entry for entry in shown_channels(selection) if entry.error_rate is not None]
    if not any(entry.attack != "none" for entry in entries):
        return None
    series, words, highest = [], [], 0.05
    for label, style, group in _families(selection, labels, entries, FRACTION):
        marks, theory = [], []
        for entry in sorted(group, key=lambda one: one.attacked_fraction):
            seen, expected, at = entry.error_rate, entry.expected_error_rate, entry.attacked_fraction
            if seen is None:
                continue
            marks.append(Mark(at=_dodged(at, style), value=seen.median, low=seen.least, high=seen.most, zero=False))
            theory += [] if expected is None else [(at, expected)]
            by_theory = "" if expected is None else f", theory {w.rate(expected)}"
            shown = f"{w.rate(seen.median)} ({w.ends(seen.least, seen.most)}){by_theory}"
            words.append(f"{label} at {w.agreed(at)} intercepted {shown}")
            highest = max(highest, seen.most, expected or 0.0)
        series.append(Series(label=label, style=style, marks=tuple(marks), theory=tuple(theory)))
    every = 0.1 if highest > 0.2 else 0.05 if highest > 0.1 else 0.02
    steps = ceil(highest / every)
    return SeriesPanel(
        title="Error rate seen by the parties",
        subtitle="QBER, or the largest check of direct communication",
        axis_label="share of the signals attacked",
        logarithmic=False,
        left=-0.06,
        right=1.06,
        bottom=-0.03 * every * steps,
        top=1.06 * every * steps,
        columns=percent_ticks((0.0, 0.25, 0.5, 0.75, 1.0)),
        ticks=percent_ticks(round(every * index, 2) for index in range(steps + 1)),
        series=tuple(series),
        trend="; ".join(words) + ".",
    )


def _success_panel(selection: Selection, labels: dict[str, int]) -> SeriesPanel | None:
    """Draw what the eavesdropper rebuilds against the intercepted fraction."""
    found = [(entry, _rebuilt(selection, entry)) for entry in shown_channels(selection)]
    measured = {entry.variant: one for entry, one in found if one is not None}
    silent = dict.fromkeys(entry.name for entry, _ in found if _is_silent(selection, entry))
    entries = [entry for entry, one in found if one is not None and entry.attack != "none"]
    if not entries:
        return None
    series, words = [], []
    for label, style, group in _families(selection, labels, entries, FRACTION):
        marks = []
        for entry in sorted(group, key=lambda one: one.attacked_fraction):
            success = measured[entry.variant].success
            if success is None:
                continue
            at, share = _dodged(entry.attacked_fraction, style), success.k / success.n
            marks.append(Mark(at=at, value=share, low=success.low, high=success.high, zero=success.k == 0))
            words.append(f"{label} at {w.agreed(entry.attacked_fraction)} intercepted {w.interval(success)}")
        series.append(Series(label=label, style=style, marks=tuple(marks)))
    hidden = f" Nothing to attack by protocol: {w.listed(silent)}." if silent else ""
    return SeriesPanel(
        title="Records rebuilt by the eavesdropper",
        subtitle=f"nothing to attack by protocol: {w.listed(silent)}" if silent else "strongest attack",
        axis_label="share of the signals attacked; of messages on the plain channel",
        logarithmic=False,
        left=-0.06,
        right=1.06,
        bottom=-0.04,
        top=1.06,
        columns=percent_ticks((0.0, 0.25, 0.5, 0.75, 1.0)),
        ticks=percent_ticks((0.0, 0.25, 0.5, 0.75, 1.0)),
        series=tuple(series),
        trend="; ".join(words) + "." + hidden,
    )


def _of_eavesdropper(selection: Selection, entry: ChannelEntry) -> list[Measurement]:
    return [
        one
        for one in selection.results.measurements
        if (one.variant, one.setting) == (entry.variant, entry.setting)
        and (one.adversary, one.question) == ("eavesdropper", "reconstruction")
    ]


def _rebuilt(selection: Selection, entry: ChannelEntry) -> Measurement | None:
    """Return the eavesdropper's strongest measured attack on a channel."""
    found = [one for one in _of_eavesdropper(selection, entry) if one.success is not None and one.success.n]
    return max(found, key=lambda one: one.success.low if one.success else 0.0, default=None)


def _is_silent(selection: Selection, entry: ChannelEntry) -> bool:
    return any(one.status == "not visible" for one in _of_eavesdropper(selection, entry))


def _bits_panel(selection: Selection, labels: dict[str, int]) -> SeriesPanel | None:
    """Draw bits needed a message, and bits that the protocol gave, channel by channel."""
    entries = [
        entry
        for entry in shown_channels(selection)
        if entry.kind != "plain" and entry.needed_bits and entry.secret_bits
    ]
    if not entries:
        return None
    entries = entries[:MOST_COLUMNS]
    places = {entry.variant: float(index) for index, entry in enumerate(entries)}
    series, words, levels, numbers = [], [], [], []
    for label, style, group in _families(selection, labels, entries, FRACTION):
        marks = []
        for entry in group:
            needed, given = entry.needed_bits, entry.secret_bits
            if needed is None or given is None:
                continue
            at = places[entry.variant]
            marks.append(Mark(at=at, value=given.median, low=given.least, high=given.most, zero=given.median <= 0))
            levels.append((at, needed.median))
            numbers += [needed.median, given.least, given.most]
            shown = f"needed {w.group(round(needed.median))}, given {w.group(round(given.median))}"
            words.append(f"{channel_label(selection, entry)} {shown} (least {w.group(round(given.least))})")
        series.append(Series(label=label, style=style, marks=tuple(marks)))
    bottom, top, ticks = decades(numbers)
    return SeriesPanel(
        title="Secret bits a message: needed and given",
        subtitle="line: needed; mark: median given, with its range",
        axis_label="each channel, and the share of its signals that is attacked",
        logarithmic=True,
        left=-0.6,
        right=len(entries) - 0.4,
        bottom=bottom,
        top=top,
        columns=tuple(Tick(at=places[entry.variant], label=_column(selection, entry)) for entry in entries),
        ticks=ticks,
        series=tuple(series),
        levels=tuple(levels),
        trend="; ".join(words) + ".",
    )


def _column(selection: Selection, entry: ChannelEntry) -> str:
    """Name a channel under its column; where that is too long, its last word alone is shown."""
    share = "" if entry.attack == "none" else w.agreed(entry.attacked_fraction)
    others = other_values(selection, entry, (CHANNEL, FRACTION, "channel.adversary"))
    return " ".join(text for text in (cut(entry.name, 24), share, others) if text)


def _distance_panel(selection: Selection, labels: dict[str, int]) -> SeriesPanel | None:
    """Draw key a run against distance, where the sweep has several distances."""
    entries = [
        entry
        for entry in shown_channels(selection)
        if entry.kind == "key" and entry.distance_km is not None and entry.secret_bits is not None
    ]
    if len({entry.distance_km for entry in entries}) < 2:
        return None
    series, words, numbers = [], [], []
    for label, style, group in _families(selection, labels, entries, DISTANCE):
        marks, theory = [], []
        for entry in sorted(group, key=lambda one: one.distance_km or 0.0):
            given, expected, at = entry.secret_bits, entry.expected_secret_bits, entry.distance_km
            if given is None or at is None:
                continue
            marks.append(Mark(at=at, value=given.median, low=given.least, high=given.most, zero=given.median <= 0))
            theory += [(at, float(expected))] if expected else []
            by_theory = "" if expected is None else f", theory {w.group(expected)}"
            words.append(f"{label} at {w.plain(at)} km {w.group(round(given.median))} bits{by_theory}")
            numbers += [given.least, given.most, float(expected or 0)]
        series.append(Series(label=label, style=style, marks=tuple(marks), theory=tuple(theory)))
    bottom, top, ticks = decades(numbers)
    places = sorted({entry.distance_km for entry in entries if entry.distance_km is not None})
    margin = 0.06 * (places[-1] - places[0])
    return SeriesPanel(
        title="Secret bits against distance",
        subtitle="a run of the key source; mark: median, with its range",
        axis_label="distance, km",
        logarithmic=True,
        left=places[0] - margin,
        right=places[-1] + margin,
        bottom=bottom,
        top=top,
        columns=tuple(Tick(at=at, label=w.plain(at)) for at in places),
        ticks=ticks,
        series=tuple(series),
        trend="; ".join(words) + ".",
    )
