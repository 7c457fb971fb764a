"""The comparison's forest plot as SVG, written by hand: the same bytes from the same lines, and text that stays text.

Left every run's success on one scale, right its difference from the first run. The marks are those of a report's
figures: filled circle and band for what was measured, open diamond for the control, dots for guessing, a bar with
hatching for the ceiling, a triangle where nothing was hit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10

from qfl_sec.intervals import Rate
from qfl_sec.reports import wording as w
from qfl_sec.reports.comparison import AccuracyEntry, Entry, Line
from qfl_sec.reports.comparison_contrast import Contrast
from qfl_sec.reports.sanitising import cut, printable

INK, MUTE, HAIR, FOG = "#1A1A1A", "#5F6368", "#B8BCC2", "#F1F3F4"
MEASURED, BAND, HATCH, GREY_BAND = "#004488", "#B3C6DB", "#C9CDD2", "#D6D8DB"

WIDTH = 728
LEFT, LEFT_END = 128, 400
RIGHT, RIGHT_END = 500, 716
TOP, ROW, HEADING = 44, 14, 17

LOWEST = 0.001
EASY_GUESS = 0.05

MOST_ROWS = 26
"""Rows of one chart: as many as a page holds."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A drawing with its words.

    Attributes:
        svg: 728 units wide, in the report's sans.
        alt: What it shows, with numbers.
        caption: Below it.
    """

    svg: str
    alt: str
    caption: str


@dataclass(frozen=True)
class _Scale:
    """From values to places along one axis."""

    start: float
    end: float
    low: float
    high: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        low, high, shown = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, shown = log10(low), log10(high), log10(shown)
        return self.start + (self.end - self.start) * (shown - low) / (high - low)


def chart(lines: Sequence[Line], accuracies: Sequence[AccuracyEntry]) -> Chart | None:
    """Draw one level; None where no attack has figures."""
    drawn = [line for line in lines if any(entry.success is not None and entry.success.n for entry in line.entries)]
    if not drawn:
        return None
    kept = _fitting(drawn, len(accuracies))
    success, change = _success_scale(kept), _change_scale(kept, accuracies)
    body: list[str] = []
    y = float(TOP)
    for line in kept:
        body += _heading(y, f"{cut(line.question_label, 40)} · {cut(line.adversary_label, 40)}", line.attack or "")
        y += HEADING
        for index, entry in enumerate(line.entries):
            body += _row(y, index, entry, success, change)
            y += ROW
    body += _heading(y, "Accuracy on unseen records", "the price")
    y += HEADING
    for index, level in enumerate(accuracies):
        body += _accuracy_row(y, index, level, change)
        y += ROW
    parts = [*_frame(y, success, change), *body]
    return Chart(svg=_svg(y + 6, parts), alt=_alt(kept, accuracies), caption=_caption(drawn, kept, success))


def _fitting(lines: Sequence[Line], runs: int) -> list[Line]:
    """Return the lines for which a page has room, at least one: those with figures in most runs first."""
    room = max(1, (MOST_ROWS - runs) // (runs + 1))
    ranked = sorted(lines, key=lambda line: -sum(entry.success is not None for entry in line.entries))[:room]
    return [line for line in lines if line in ranked]


def _success_scale(lines: Iterable[Line]) -> _Scale:
    guesses = [
        share for line in lines for entry in line.entries if (share := w.share(entry.guess)) is not None
    ]  # fmt: skip
    if guesses and min(guesses) > EASY_GUESS:
        return _Scale(LEFT, LEFT_END, 0.0, 1.0)
    return _Scale(LEFT, LEFT_END, LOWEST, 1.0, logarithmic=True)


def _change_scale(lines: Iterable[Line], accuracies: Iterable[AccuracyEntry]) -> _Scale:
    contrasts = [entry.contrast for line in lines for entry in line.entries]
    contrasts += [entry.contrast for entry in accuracies]
    ends = [end for one in contrasts if one is not None for end in (one.low, one.high)]
    most = max((abs(end) for end in ends), default=0.1)
    step = _step(most)
    reach = step * (floor(most / step) + 1)
    low = -reach if min(ends, default=-1) < 0 else -step
    high = reach if max(ends, default=1) > 0 else step
    return _Scale(RIGHT, RIGHT_END, low, high)


def _step(most: float) -> float:
    """Return a round distance of ticks, of which two or three reach the largest value."""
    size = 10.0 ** floor(log10(max(most, 1e-4) / 2))
    return next(factor * size for factor in (1, 2, 5, 10) if factor * size * 3 >= most)


def _line(x: float, y: float, x2: float, y2: float, colour: str, width: float, dash: str = "") -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    ends = f'x1="{x:.2f}" y1="{y:.2f}" x2="{x2:.2f}" y2="{y2:.2f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}"{dashed}/>'


def _word(x: float, y: float, text: str, *, colour: str = INK, weight: int = 400, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.2f}" y="{y:.2f}" fill="{colour}" font-weight="{weight}" text-anchor="{anchor}">'
        f"{escape(printable(text).replace(chr(0x200B), ''))}</text>"
    )


def _frame(bottom: float, success: _Scale, change: _Scale) -> list[str]:
    """Return titles, ticks, grid and legend."""
    parts = _legend()
    parts.append(_word(LEFT, 26, "Success of the attack, 95% interval", weight=600))
    parts.append(_word(RIGHT, 26, "Change against the first run, points", weight=600))
    ticks = (0.001, 0.01, 0.1, 1.0) if success.logarithmic else (0.0, 0.25, 0.5, 0.75, 1.0)
    for value in ticks:
        parts.append(_line(success.at(value), TOP - 4, success.at(value), bottom, HAIR, 0.5))
        parts.append(_word(success.at(value), TOP - 7, f"{100 * value:g}%", colour=MUTE, anchor="middle"))
    step = _step(max(-change.low, change.high) * 0.99)
    for count in range(round(change.low / step), round(change.high / step) + 1):
        value, zero = count * step, count == 0
        x = change.at(value)
        parts.append(_line(x, TOP - 4, x, bottom, INK if zero else HAIR, 0.9 if zero else 0.5))
        sign = "+" if count > 0 else "−" if count < 0 else ""
        parts.append(_word(x, TOP - 7, f"{sign}{100 * abs(value):g}", colour=MUTE, anchor="middle"))
    return parts


def _legend() -> list[str]:
    y, parts = 8.0, []
    parts += [_line(LEFT, y, LEFT + 18, y, BAND, 4), _circle(LEFT + 9, y, MEASURED, "white")]
    parts += [_word(LEFT + 22, y + 3, "measured")]
    parts += [_diamond(LEFT + 74, y), _word(LEFT + 81, y + 3, "control")]
    parts += [_line(LEFT + 118, y - 5, LEFT + 118, y + 5, INK, 0.9, "1 1.4"), _word(LEFT + 123, y + 3, "guessing")]
    parts += [f'<rect x="{LEFT + 166}" y="{y - 5}" width="12" height="10" fill="url(#hatch)"/>']
    parts += [_line(LEFT + 166, y - 5, LEFT + 166, y + 5, INK, 1.4)]
    parts += [_word(LEFT + 182, y + 3, "ceiling by proof; hatched: ruled out")]
    parts += [_line(RIGHT, y, RIGHT + 18, y, BAND, 4), _circle(RIGHT + 9, y, MEASURED, "white")]
    parts += [_word(RIGHT + 22, y + 3, "paired")]
    parts += [_line(RIGHT + 58, y, RIGHT + 76, y, BAND, 4), _circle(RIGHT + 67, y, "white", MEASURED)]
    return [*parts, _word(RIGHT + 80, y + 3, "unpaired")]


def _circle(x: float, y: float, fill: str, stroke: str) -> str:
    return f'<circle cx="{x:.2f}" cy="{y:.2f}" r="2.7" fill="{fill}" stroke="{stroke}" stroke-width="0.9"/>'


def _square(x: float, y: float, fill: str, stroke: str) -> str:
    return (
        f'<rect x="{x - 2.4:.2f}" y="{y - 2.4:.2f}" width="4.8" height="4.8" fill="{fill}" stroke="{stroke}" '
        'stroke-width="0.9"/>'
    )


def _diamond(x: float, y: float) -> str:
    return (
        f'<path d="M{x - 3:.2f} {y:.2f}L{x:.2f} {y - 3:.2f}L{x + 3:.2f} {y:.2f}L{x:.2f} {y + 3:.2f}Z" fill="white" '
        f'stroke="{MUTE}" stroke-width="0.8"/>'
    )


def _triangle(x: float, y: float) -> str:
    return f'<path d="M{x - 3:.2f} {y:.2f}L{x + 3:.2f} {y - 3.2:.2f}L{x + 3:.2f} {y + 3.2:.2f}Z" fill="{MEASURED}"/>'


def _heading(y: float, text: str, note: str) -> list[str]:
    line = _line(0, y + 2, WIDTH, y + 2, HAIR, 0.5)
    title = f'<tspan font-weight="600">{escape(_bare(text))}</tspan>'
    rest = f'<tspan dx="6" fill="{MUTE}">{escape(_bare(cut(note, 40)))}</tspan>' if note else ""
    return [
        f'<rect x="0" y="{y + 2:.2f}" width="{WIDTH}" height="{HEADING - 3}" fill="{FOG}"/>',
        line,
        f'<text x="2" y="{y + 12.5:.2f}" fill="{INK}">{title}{rest}</text>',
    ]


def _bare(text: str) -> str:
    return printable(text).replace("\u200b", "")


def _row(y: float, index: int, entry: Entry, success: _Scale, change: _Scale) -> list[str]:
    middle = y + ROW / 2
    parts = [_word(2, middle + 3, cut(entry.run, 24))]
    if entry.success is None or entry.success.n == 0:
        status = "not asked" if entry.status == "absent" else entry.status
        return [*parts, _word(LEFT + 4, middle + 3, status, colour=MUTE)]
    if entry.ceiling is not None:
        x = success.at(entry.ceiling)
        width = max(0.0, success.end - x)
        parts.append(f'<rect x="{x:.2f}" y="{y + 1:.2f}" width="{width:.2f}" height="{ROW - 2}" fill="url(#hatch)"/>')
        parts.append(_line(x, y + 1, x, y + ROW - 1, INK, 1.4))
    guess = w.share(entry.guess)
    if guess is not None:
        parts.append(_line(success.at(guess), y + 1, success.at(guess), y + ROW - 1, INK, 0.9, "1 1.4"))
    parts.append(_line(success.at(entry.success.low), middle, success.at(entry.success.high), middle, BAND, 4))
    control = w.share(entry.control)
    if control is not None:
        parts.append(_diamond(success.at(control), middle))
    x = success.at(entry.success.k / entry.success.n)
    parts.append(_triangle(x, middle) if entry.success.k == 0 else _circle(x, middle, MEASURED, "white"))
    parts.append(_word(LEFT_END + 8, middle + 3, _figure(entry.success), colour=MEASURED, weight=600))
    return parts + _change(middle, index, entry.contrast, entry.no_contrast, change, price=False)


def _figure(rate: Rate) -> str:
    return f"0 of {w.group(rate.n)}" if rate.k == 0 else w.interval(rate)


def _change(
    middle: float, index: int, contrast: Contrast | None, why: str | None, change: _Scale, *, price: bool
) -> list[str]:
    if contrast is None:
        text = "first run" if index == 0 else why or ""
        return [_word(change.at(0.0) + 5, middle + 3, text, colour=MUTE)]
    colour, band = (INK, GREY_BAND) if price else (MEASURED, BAND)
    fill, stroke = (colour, "white") if contrast.kind == "paired" else ("white", colour)
    mark = _square if price else _circle
    return [
        _line(change.at(contrast.low), middle, change.at(contrast.high), middle, band, 4),
        mark(change.at(contrast.difference), middle, fill, stroke),
    ]


def _accuracy_row(y: float, index: int, entry: AccuracyEntry, change: _Scale) -> list[str]:
    middle = y + ROW / 2
    parts = [_word(2, middle + 3, cut(entry.run, 24))]
    if entry.accuracy is None or not entry.accuracy.n:
        return [*parts, _word(LEFT + 4, middle + 3, "not measured", colour=MUTE)]
    # On the scale of rare successes accuracies could not be told apart: they have a scale of their own.
    own = _Scale(LEFT, LEFT_END, 0.0, 1.0)
    share = entry.accuracy.k / entry.accuracy.n
    parts.append(f'<rect x="{LEFT}" y="{middle - 2:.2f}" width="{LEFT_END - LEFT}" height="4" fill="{FOG}"/>')
    parts.append(
        f'<rect x="{LEFT}" y="{middle - 2:.2f}" width="{own.at(share) - LEFT:.2f}" height="4" fill="{GREY_BAND}"/>'
    )
    parts.append(_line(own.at(entry.accuracy.low), middle, own.at(entry.accuracy.high), middle, MUTE, 1.2))
    parts.append(_square(own.at(share), middle, INK, "white"))
    parts.append(_word(LEFT_END + 8, middle + 3, w.interval(entry.accuracy), weight=600))
    return parts + _change(middle, index, entry.contrast, entry.no_contrast, change, price=True)


def _svg(height: float, parts: Iterable[str]) -> str:
    hatch = (
        '<defs><pattern id="hatch" width="4" height="4" patternUnits="userSpaceOnUse">'
        f'<path d="M0 4L4 0" stroke="{HATCH}" stroke-width="0.6"/></pattern></defs>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" height="{height:g}" '
        f'font-family="Source Sans Pro, sans-serif" font-size="8.4">{hatch}{"".join(parts)}</svg>'
    )


def _alt(lines: Iterable[Line], accuracies: Iterable[AccuracyEntry]) -> str:
    texts = []
    for line in lines:
        found = [
            f"{cut(entry.run, 24)} {w.interval(entry.success)}" + _changed(entry.contrast)
            for entry in line.entries
            if entry.success is not None and entry.success.n
        ]
        texts.append(f"{cut(line.attack or '', 40)}, {cut(line.adversary_label, 40)}: {'; '.join(found)}.")
    found = [
        f"{cut(entry.run, 24)} {w.interval(entry.accuracy)}" + _changed(entry.contrast)
        for entry in accuracies
        if entry.accuracy is not None and entry.accuracy.n
    ]
    return " ".join([*texts, *([f"Accuracy: {'; '.join(found)}."] if found else [])])


def _changed(contrast: Contrast | None) -> str:
    return "" if contrast is None else f", change {w.change(contrast.difference)} points"


def _caption(drawn: Sequence[Line], kept: Sequence[Line], success: _Scale) -> str:
    scale = "a log scale from 0.1%" if success.logarithmic else "a linear scale"
    parts = [
        f"Left: success on {scale}, accuracy as squares on a linear one from 0 to 100%. Right: change against the "
        "first run; an interval that leaves out zero shows one.",
    ]
    if any(entry.success is not None and entry.success.k == 0 for line in kept for entry in line.entries):
        parts.append("Triangle: no hit, with its upper limit.")
    if len(kept) < len(drawn):
        parts.append(f"{w.plural(len(drawn) - len(kept), 'further attack')} in the table below.")
    return " ".join(parts)
