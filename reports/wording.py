"""Numbers as a reader sees them: rates, intervals, natural frequencies, counts, budgets, hashes, durations.

Rounding never flatters: a bound is rounded up, a rate that is not zero never reads as zero, and one that is not
everything never reads as everything.
"""

import re
from collections.abc import Iterable
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from math import ceil, floor, log10

from qfl_sec.intervals import Rate

NARROW = "\u202f"
"""Narrow no-break space: groups thousands without a line break."""

FIXED = "\u00a0"
"""No-break space."""

_EXPONENTS = re.compile(r"(?<![\w.])\d(?:\.\d{1,16})?e[+-]\d{2,3}(?!\w)")

NUMBER_WORDS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")


def group(number: int) -> str:
    """Group the thousands of an integer with narrow spaces.

    Example:
        >>> group(1000).replace(NARROW, "_"), group(12)
        ('1_000', '12')
    """
    return f"{number:,}".replace(",", NARROW)


def share(rate: Rate | None) -> float | None:
    """Return k / n; None where there are no trials."""
    return rate.k / rate.n if rate is not None and rate.n > 0 else None


def _decimal(value: float, places: int, rounding: str) -> str:
    """Round to a fixed number of places; a bound that is a rounding error above a step stays on that step."""
    quantum = Decimal(1).scaleb(-places)
    exact = Decimal(repr(round(value, 12) + 0.0))
    return str(exact.quantize(quantum, rounding=rounding))


def percent(value: float, *, table: bool = False, up: bool = False) -> str:
    """Write a share in [0, 1] in percent, without the sign: 1 decimal below 10 or in tables, else none.

    Args:
        value: The share.
        table: Always 1 decimal.
        up: Round towards 1, as a bound must be.

    Example:
        >>> percent(0.0243), percent(0.568), percent(0.568, table=True), percent(0.0001), percent(0.0331, up=True)
        ('2.4', '57', '56.8', '<0.1', '3.4')
    """
    rounding = ROUND_CEILING if up else ROUND_HALF_EVEN
    text = _decimal(100 * value, 1, rounding)
    if not table and float(text) >= 10:
        text = _decimal(100 * value, 0, rounding)
    if value > 0 and float(text) == 0:
        return "<0.1"
    if value < 1 and float(text) >= 100 and not up:
        return ">99.9" if table else ">99"
    return text


def rate(value: float | None, *, table: bool = False, up: bool = False) -> str:
    """Write a share in percent with its sign; a dash where there is none."""
    return "–" if value is None else percent(value, table=table, up=up) + "%"


def ends(low: float, high: float, *, table: bool = False) -> str:
    """Write the ends of an interval in percent, without signs: 2.0–3.0."""
    return f"{_end(low, table)}–{_end(high, table)}"


def _end(value: float, table: bool) -> str:
    """Write one end of an interval; rounding is to the nearest, without marks."""
    text = _decimal(100 * value, 1, ROUND_HALF_EVEN)
    return text if table or float(text) < 10 else _decimal(100 * value, 0, ROUND_HALF_EVEN)


def interval(value: Rate | None) -> str:
    """Write a rate with its interval: 2.4% (2.0–3.0)."""
    if value is None or value.n == 0:
        return "–"
    return f"{rate(share(value))} ({ends(value.low, value.high)})"


def count(value: Rate | None) -> str:
    """Write a rate's counts: 97 / 4 000."""
    return "–" if value is None else fraction(value.k, value.n)


def fraction(part: int, whole: int) -> str:
    """Write k / n."""
    return f"{group(part)} / {group(whole)}"


def denominator(shares: Iterable[float | None]) -> int:
    """Return the one denominator of a sentence: 100 if every share that is not zero is at least 10 %, else 1 000."""
    positive = [value for value in shares if value]
    return 100 if positive and min(positive) >= 0.1 else 1000


def of(value: float, whole: int, *, up: bool = False) -> str:
    """Write a share as a natural frequency, without its denominator: 34.

    Example:
        >>> of(0.0339, 1000), of(0.0339, 1000, up=True), of(0.0001, 1000), of(0.0331, 100, up=True)
        ('34', '34', 'fewer than 1', '4')
    """
    number = int(_decimal(value * whole, 0, ROUND_CEILING if up else ROUND_HALF_EVEN))
    if value > 0 and number == 0:
        return "fewer than 1"
    if value < 1 and number == whole and not up:
        return f"more than {group(whole - 1)}"
    return group(min(number, whole))


def out_of(value: float, whole: int, *, up: bool = False) -> str:
    """Write a natural frequency with its denominator: 34 of 1 000."""
    return f"{of(value, whole, up=up)} of {group(whole)}"


def points(difference: float) -> str:
    """Write a difference of two shares in percentage points: 11 points."""
    size = percent(abs(difference))
    return f"{size} point" if size == "1.0" else f"{size} points"


def change(difference: float) -> str:
    """Write a signed difference of two shares in percentage points, two decimals: +1.25.

    Example:
        >>> change(-0.0312), change(0.0), change(0.00001)
        ('−3.12', '0.00', '+<0.01')
    """
    size = _decimal(100 * abs(difference), 2, ROUND_HALF_EVEN)
    sign = "" if difference == 0 else "+" if difference > 0 else "−"
    return sign + ("<0.01" if difference and float(size) == 0 else size)


def plain(value: float) -> str:
    """Write a number without an exponent where six decimals hold it, else in scientific notation.

    Example:
        >>> plain(0.00001), plain(4.0), plain(6e-8), plain(0.001)
        ('0.00001', '4', '6 × 10⁻⁸', '0.001')
    """
    text = f"{value:.4g}"
    if value == 0 or 1e-6 <= abs(value) < 1e6:
        exact = format(Decimal(text), "f")
        return (exact.rstrip("0").rstrip(".") if "." in exact else exact).replace("-", "−")
    return scientific(value)


def scientific(value: float) -> str:
    """Write a number as a × 10ⁿ, at most two digits."""
    mantissa, exponent = f"{value:.1e}".split("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    digits = mantissa.removesuffix(".0").replace("-", "−")
    return f"10{raised}" if digits == "1" else f"{digits} × 10{raised}"


def upper(value: float) -> str:
    """Write a bound on a probability, rounded up to two digits.

    Example:
        >>> upper(1.0), upper(0.0), upper(1.234e-8)
        ('1', '0', '1.3 × 10⁻⁸')
    """
    if value <= 0 or value >= 1:
        return "1" if value >= 1 else "0"
    step = 10.0 ** (floor(log10(value)) - 1)
    return plain(min(1.0, ceil(round(value / step, 6)) * step))


def readable(text: str) -> str:
    """Write the numbers with exponents in a text as a × 10ⁿ.

    Example:
        >>> readable("gap below 1e-04, norm 2.5e-01")
        'gap below 0.0001, norm 0.25'
    """
    return _EXPONENTS.sub(lambda found: plain(float(found[0])), text)


def budget(epsilon: float, *, up: bool = False) -> str:
    """Write an epsilon: as set, or as a bound, rounded up to two decimals."""
    return _decimal(epsilon, 2, ROUND_CEILING) if up else plain(epsilon)


def at_least(value: float) -> str:
    """Write a lower bound, rounded down to two decimals.

    Example:
        >>> at_least(0.929), at_least(0.0)
        ('0.92', '0')
    """
    return "0" if value <= 0 else _decimal(value, 2, ROUND_FLOOR)


def epsilon(value: float | None) -> str:
    """Write a budget that holds together on a line: ε = 2."""
    return f"ε{FIXED}={FIXED}{plain(value or 0.0)}"


def delta(value: float | None) -> str:
    """Write a delta that holds together on a line: δ = 0.001."""
    return f"δ{FIXED}={FIXED}{plain(value or 0.0)}"


def label(text: str) -> str:
    """Keep a setting's label together on a line."""
    return text.replace(" = ", f"{FIXED}={FIXED}")


def agreed(value: float) -> str:
    """Write a share that somebody set, as it was set: 5%.

    Example:
        >>> agreed(0.05), agreed(0.125)
        ('5%', '12.5%')
    """
    return plain(100 * value) + "%"


def inside(text: str) -> str:
    """Put a sentence inside another one: without capital and full stop; names like RuntimeError keep theirs."""
    bare = text.strip().rstrip(".")
    first = bare.split(" ", 1)[0]
    return bare[:1].lower() + bare[1:] if first[1:].islower() or len(first) == 1 else bare


def decimals(value: float | None, places: int = 2) -> str:
    """Write a number with a fixed number of decimals; a dash where there is none."""
    return "–" if value is None else f"{value + 0.0:.{places}f}".replace("-", "−")


def digits(text: str, blocks: int) -> str:
    """Return the first blocks of four characters of a hash."""
    return " ".join(text[4 * index : 4 * index + 4] for index in range(blocks))


def duration(seconds: float) -> str:
    """Write a time in its two largest units: 3 h 12 min.

    Example:
        >>> duration(11520), duration(75), duration(2.4)
        ('3 h 12 min', '1 min 15 s', '2.4 s')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{group(hours)} h {minutes} min" if hours else f"{minutes} min {rest} s"


def number_word(number: int) -> str:
    """Write a small number in a word, with a capital, as sentences begin."""
    return NUMBER_WORDS[number] if number < len(NUMBER_WORDS) else group(number)


def spelled(number: int, noun: str) -> str:
    """Write a small number in a word, inside a sentence, with its noun: six questions."""
    word = number_word(number).lower()
    return f"{word} {noun}" + ("" if number == 1 else "s")


def plural(number: int, noun: str) -> str:
    """Write a number with its noun: 1 seed, 8 seeds."""
    return f"{group(number)} {noun}" + ("" if number == 1 else "s")


def listed(words: Iterable[str]) -> str:
    """Join words: a, b and c."""
    items = list(words)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def subject(name: str) -> str:
    """Turn an adversary's label into the subject of a sentence: The curious server; another client stays as it is."""
    for article in ("the ", "a ", "an "):
        if name.lower().startswith(article):
            name = name[len(article) :]
            break
    if name.lower().startswith(("another ", "any", "one ", "every")):
        return name[:1].upper() + name[1:]
    return "The " + name[:1].lower() + name[1:]
