"""The figures from the results: which panels, which marks, which words."""

from collections.abc import Iterable
from itertools import pairwise
from math import ceil, floor, log2
from typing import Literal

from qfl_sec.contracts import Question
from qfl_sec.intervals import Rate
from qfl_sec.reports import wording as w
from qfl_sec.reports.axes import Axis, axes, column_label
from qfl_sec.reports.counts import family
from qfl_sec.reports.panels import Figure, Foot, Level, Mark, Panel, Tick
from qfl_sec.reports.phrases import HITS
from qfl_sec.reports.sanitising import cut
from qfl_sec.reports.selection import Pair, Selection
from qfl_sec.results import Measurement, Utility

FLOOR = 0.00032

ATTACK_PANELS = 3
EASY_GUESS = 0.05


def figures(selection: Selection) -> tuple[Figure, ...]:
    """Return the figures of the shown variant, one for each axis: attacks, and the price in accuracy."""
    return tuple(_figure(selection, axis) for axis in axes(selection))


def _figure(selection: Selection, axis: Axis) -> Figure:
    panels = _panels(selection, axis)
    places, step = axis.positions, axis.step
    at = list(places.values())
    # A few columns keep the width that they have among many.
    spare = max(0.0, 6 * step - (max(at) - min(at))) / 2
    grey = axis.settings if axis.defense else axis.alone
    claiming = {entry.setting for entry in selection.results.guarantees}
    bare = "no ceiling drawn" if any(entry.id in claiming for entry in grey) else "no formal guarantee"
    return Figure(
        panels=panels,
        legend=("measured, 95% interval", "control", "guessing", "ceiling by proof", "audited setting", bare),
        columns=_columns(selection, axis),
        grey=tuple(places[entry.id] for entry in grey),
        audited=places.get(selection.audited.id),
        broken_at=places[axis.swept[-1].id] + 0.8 * step if axis.swept and axis.alone else None,
        step=step,
        left=min(at) - 0.55 * step - spare,
        right=max(at) + 0.6 * step + spare,
        axis_label=axis.label,
        alt=" ".join(f"{panel.title}, {panel.subtitle}: {panel.trend}" for panel in panels),
        caption=_caption(selection, axis, panels),
    )


def _columns(selection: Selection, axis: Axis) -> tuple[Tick, ...]:
    every = ceil(len(axis.swept) / 10) or 1
    ticks = []
    for index, entry in enumerate(axis.settings):
        bold = entry.id == selection.audited.id
        shown = bold or entry in axis.alone or index % every == 0
        label = column_label(axis, entry) if shown else ""
        ticks.append(Tick(at=axis.positions[entry.id], label=label, bold=bold))
    return tuple(ticks)


def _panels(selection: Selection, axis: Axis) -> tuple[Panel, ...]:
    """Return up to three attack panels and the price."""
    pairs = selection.measured_pairs[:ATTACK_PANELS]
    guesses = [
        w.share(measured.guess) or 0.0
        for pair in pairs
        for entry in axis.settings
        if (measured := selection.strongest(entry, pair)) is not None
    ]
    # One scale for all attacks. A log scale serves the rare event best, and a frequent one well enough.
    linear = bool(guesses) and min(guesses) > EASY_GUESS
    panels = [_attack_panel(selection, axis, pair, linear=linear) for pair in pairs]
    for pair in pairs:
        if pair[1] == "membership" and len(panels) < ATTACK_PANELS:
            panels.append(_auc_panel(selection, axis, pair))
    price = _price_panel(selection, axis)
    return (*panels, price) if price is not None else tuple(panels)


def _mark(at: float, rate: Rate) -> Mark:
    return Mark(at=at, value=rate.k / rate.n, low=rate.low, high=rate.high, zero=rate.k == 0)


def _attack_panel(selection: Selection, axis: Axis, pair: Pair, *, linear: bool) -> Panel:
    found = {entry.id: selection.strongest(entry, pair) for entry in axis.settings}
    marks, controls, guesses = {}, [], {}
    for identifier, measured in found.items():
        if measured is None or measured.success is None:
            continue
        at = axis.positions[identifier]
        marks[identifier] = _mark(at, measured.success)
        if measured.control is not None and measured.control.n:
            controls.append(_mark(at + 0.17 * axis.step, measured.control))
        if measured.guess is not None and measured.guess.n:
            guesses[identifier] = (at, measured.guess.k / measured.guess.n)
    swept = [entry.id for entry in axis.swept]
    name = cut(selection.adversary(pair[0]).label, 26)
    measure = _measure(pair[1], found.values())
    return Panel(
        title=f"{pair[1].capitalize()}: {HITS[pair[1]]}",
        subtitle=f"{name} · {measure}",
        price=False,
        logarithmic=not linear,
        bottom=-0.2 if linear else FLOOR,
        top=1.04 if linear else 1.35,
        ticks=_percent_ticks((0.0, 0.25, 0.5, 0.75, 1.0) if linear else (0.001, 0.01, 0.1, 1.0)),
        line=tuple(marks[key] for key in swept if key in marks),
        alone=tuple(mark for key, mark in marks.items() if key not in swept),
        control=tuple(controls),
        guess=tuple(guesses[key] for key in swept if key in guesses),
        guess_alone=tuple(point for key, point in guesses.items() if key not in swept),
        ceiling=_ceiling(selection, axis, pair),
        levels=(),
        foot=_feet(selection, axis, {key: _foot(found[key]) for key in marks}),
        trend=_attack_trend(selection, axis, found),
    )


def _measure(question: Question, measurements: Iterable[Measurement | None]) -> str:
    """Name what counts as a success; as rebuilt, by the tolerance that was used."""
    if question != "reconstruction":
        return f"{HITS[question]} at 1% false accusations" if question == "membership" else "updates, by their client"
    for entry in measurements:
        if entry is not None and entry.reconstruction is not None:
            return f"every feature within {w.agreed(entry.reconstruction.hit_tolerance)} of its range"
    return "records rebuilt"


def _percent_ticks(values: Iterable[float]) -> tuple[Tick, ...]:
    def label(value: float) -> str:
        return f"{100 * value:g}%"

    return tuple(Tick(at=value, label=label(value)) for value in values)


def _ceiling(selection: Selection, axis: Axis, pair: Pair) -> tuple[tuple[float, float], ...]:
    """Return the ceiling's points along the figure's axis."""
    curve = selection.curve(pair)
    if curve is None or axis.defense:
        return ()
    known = [
        (log2(entry.epsilon), axis.positions[entry.id]) for entry in selection.budgets if entry.epsilon is not None
    ]
    points = []
    for epsilon, rate in zip(curve.epsilon, curve.rate, strict=False):
        if epsilon > 0 and known and known[0][0] - 1e-9 <= log2(epsilon) <= known[-1][0] + 1e-9:
            points.append((_between(known, log2(epsilon)), rate))
    return tuple(points)


def _between(known: list[tuple[float, float]], value: float) -> float:
    """Interpolate linearly between known pairs."""
    for (left, low), (right, high) in pairwise(known):
        if value <= right:
            return low + (high - low) * (value - left) / (right - left)
    return known[-1][1]


def _foot(measured: Measurement | None) -> str:
    if measured is None or measured.success is None:
        return ""
    if measured.success.k == 0:
        return f"0 of {w.group(measured.success.n)}"
    return w.rate(w.share(measured.success))


def _feet(selection: Selection, axis: Axis, texts: dict[str, str]) -> tuple[Foot, ...]:
    """Keep the values of the audited setting and of the grey columns."""
    alone = {entry.id for entry in axis.alone}
    return tuple(
        Foot(at=axis.positions[key], text=text)
        for key, text in texts.items()
        if text and (key == selection.audited.id or key in alone)
    )


def _course(selection: Selection, axis: Axis, rates: dict[str, Rate]) -> str:
    """Tell what becomes of a rate along the axis, as far as its intervals tell."""
    ends = [entry.id for entry in axis.swept if entry.id in rates]
    if len(ends) < 2:
        return ""
    first, last = rates[ends[0]], rates[ends[-1]]
    apart = first.high < last.low or last.high < first.low
    verb = ("rises" if last.low > first.high else "falls") if apart else "shows no clear change"
    names = [w.label(cut(selection.setting(end).label, 24)) for end in (ends[0], ends[-1])]
    return f"{verb} from {w.rate(w.share(first))} at {names[0]} to {w.rate(w.share(last))} at {names[1]}. In full: "


def _attack_trend(selection: Selection, axis: Axis, found: dict[str, Measurement | None]) -> str:
    rates = {key: one.success for key, one in found.items() if one is not None and one.success is not None}
    texts = []
    for identifier, measured in found.items():
        if measured is not None and measured.success is not None:
            label = w.label(cut(selection.setting(identifier).label, 24))
            control = f", control {w.rate(w.share(measured.control))}" if measured.control is not None else ""
            texts.append(f"{label} {w.interval(measured.success)}{control}")
    return _course(selection, axis, rates) + "; ".join(texts) + "."


def _auc_panel(selection: Selection, axis: Axis, pair: Pair) -> Panel:
    """Show the area under the membership curve, which counts every threshold."""
    marks, controls, texts, feet = {}, [], [], {}
    for entry in axis.settings:
        measured = selection.strongest(entry, pair)
        game = measured.membership if measured else None
        if game is None:
            continue
        at = axis.positions[entry.id]
        marks[entry.id] = Mark(at=at, value=game.auc, low=game.auc_low, high=game.auc_high, zero=False)
        controls.append(
            Mark(
                at=at + 0.17 * axis.step, value=game.control_auc, low=game.control_auc_low,
                high=game.control_auc_high, zero=False,
            )
        )  # fmt: skip
        feet[entry.id] = w.decimals(game.auc)
        shown = f"{w.decimals(game.auc)} ({w.decimals(game.auc_low)}–{w.decimals(game.auc_high)})"
        texts.append(f"{w.label(cut(entry.label, 24))} {shown}, control {w.decimals(game.control_auc)}")
    swept = [entry.id for entry in axis.swept]
    lowest = min((m.low for m in (*marks.values(), *controls)), default=0.5)
    start = min(0.4, floor(10 * lowest) / 10)
    ticks = [round(start + 0.1 * index, 1) for index in range(round((1 - start) * 10) + 1)]
    places = [axis.positions[key] for key in swept]
    return Panel(
        title="Membership: ranking at every threshold",
        subtitle=f"{cut(selection.adversary(pair[0]).label, 26)} · area under the curve, no ceiling computed",
        price=False,
        logarithmic=False,
        bottom=start - 0.15 * (1.02 - start),
        top=1.02,
        ticks=tuple(Tick(at=value, label=w.decimals(value, 1)) for value in ticks),
        line=tuple(marks[key] for key in swept if key in marks),
        alone=tuple(mark for key, mark in marks.items() if key not in swept),
        control=tuple(controls),
        guess=tuple((place, 0.5) for place in places),
        guess_alone=tuple((mark.at, 0.5) for key, mark in marks.items() if key not in swept),
        ceiling=(),
        levels=(),
        foot=_feet(selection, axis, feet),
        trend="; ".join(texts) + ".",
    )


def _price_panel(selection: Selection, axis: Axis) -> Panel | None:
    """Show the accuracy that each setting leaves."""
    found = {entry.id: utility for entry in axis.settings if (utility := selection.utility(entry.id)) is not None}
    if not found:
        return None
    marks = {key: _mark(axis.positions[key], utility.accuracy) for key, utility in found.items()}
    levels, words = _levels(selection, next(iter(found.values())))
    low = min(*(mark.low for mark in marks.values()), *(level.value for level in levels))
    high = max(*(mark.high for mark in marks.values()), *(level.value for level in levels))
    start, end = floor(10 * low) / 10, ceil(10 * high) / 10
    every = 0.2 if end - start > 0.5 else 0.1
    ticks = [value for value in (round(every * index, 1) for index in range(round(1 / every) + 1)) if value >= start]
    swept = [entry.id for entry in axis.swept]
    texts = [
        f"{w.label(cut(selection.setting(key).label, 24))} {w.interval(entry.accuracy)}" for key, entry in found.items()
    ]
    texts += [f"{word} {w.rate(level.value)}" for word, level in zip(words, levels, strict=True)]
    return Panel(
        title="Price paid: accuracy on unseen records",
        subtitle=" · ".join(
            f"{level.style.replace('dashdot', 'dash-dot')}: {word}" for word, level in zip(words, levels, strict=True)
        ),
        price=True,
        logarithmic=False,
        bottom=start - 0.16 * (end - start),
        top=end + 0.03 * (end - start),
        ticks=_percent_ticks(ticks),
        line=tuple(marks[key] for key in swept if key in marks),
        alone=tuple(mark for key, mark in marks.items() if key not in swept),
        control=(),
        guess=(),
        guess_alone=(),
        ceiling=(),
        levels=tuple(levels),
        foot=_feet(selection, axis, {key: w.rate(w.share(entry.accuracy)) for key, entry in found.items()}),
        trend=_course(selection, axis, {key: entry.accuracy for key, entry in found.items()}) + "; ".join(texts) + ".",
    )


def _levels(selection: Selection, any_setting: Utility) -> tuple[list[Level], list[str]]:
    """Return the baselines' lines and what they are."""
    levels, words = [], []
    styles: tuple[tuple[str, Literal["dashed", "dashdot"], str], ...] = (
        ("classical", "dashed", "classical"),
        ("centralised", "dashdot", "not federated"),
    )
    for setting, style, word in styles:
        utility = selection.utility(setting)
        if utility is not None:
            levels.append(Level(value=utility.accuracy.k / utility.accuracy.n, style=style))
            words.append(word)
    majority = w.share(any_setting.majority)
    if majority is not None:
        levels.append(Level(value=majority, style="dotted"))
        words.append("majority")
    return levels, words


def _caption(selection: Selection, axis: Axis, panels: tuple[Panel, ...]) -> str:
    methods = dict.fromkeys(
        family(measured.success.method)
        for pair in selection.measured_pairs
        for entry in axis.settings
        if (measured := selection.strongest(entry, pair)) is not None and measured.success is not None
    )
    over, seeds = _swept(axis), w.plural(len(selection.results.seeds), "seed")
    parts = [f"Attack success and accuracy over {over}, {seeds} each."]
    if axis.defense:
        parts.append(f"{axis.defense} claims no guarantee: nothing is proven here.")
    if any(panel.foot for panel in panels):
        parts.append(f"Numbers at the foot: the audited setting and those without a {_quantity(axis)}.")
    if methods:
        named = "; ".join(methods) if len(methods) == 1 else "methods under the tables of measurements"
        parts.append(f"Bands and bars are 95% intervals ({cut(named, 120)}).")
    if any(panel.ceiling for panel in panels):
        parts.append("Black: the accountant's curve, for the same unit and neighbours; hatched: ruled out.")
    if any(mark.zero for panel in panels for mark in (*panel.line, *panel.alone)):
        parts.append("Triangle: no hit, with its upper limit.")
    if axis.rest:
        parts.append(f"{w.plural(axis.rest, 'further setting')} in the measurements.")
    return " ".join(parts)


def _quantity(axis: Axis) -> str:
    return "strength" if axis.defense else "budget"


def _swept(axis: Axis) -> str:
    """Return what the columns are, in words."""
    alone = f"{w.plural(len(axis.alone), 'setting')} without a {_quantity(axis)}"
    if axis.defense:
        swept = f"{len(axis.swept)} strengths of {axis.defense}"
    else:
        delta = next((entry.delta for entry in axis.swept if entry.delta is not None), None)
        swept = f"{w.plural(len(axis.swept), 'budget')} at {w.delta(delta)}" if delta is not None else ""
    return w.listed([text for text in (swept, alone if axis.alone else "") if text])
