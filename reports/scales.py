"""Ticks and ends of the axes of a panel."""

from collections.abc import Iterable
from math import ceil, floor, log10

from qfl_sec.reports import wording as w
from qfl_sec.reports.panels import Tick


def percent_ticks(values: Iterable[float]) -> tuple[Tick, ...]:
    """Return ticks at shares, written in percent."""
    return tuple(Tick(at=value, label=f"{100 * value:g}%") for value in values)


def decades(numbers: Iterable[float]) -> tuple[float, float, tuple[Tick, ...]]:
    """Return the ends of a logarithmic axis that holds the positive ones of some numbers, and its ticks."""
    positive = [number for number in numbers if number > 0] or [1.0]
    low, high = floor(log10(min(positive))), ceil(log10(max(positive)) + 1e-9)
    ticks = tuple(Tick(at=10.0**power, label=_power(power)) for power in range(low, high + 1))
    return 0.5 * 10.0**low, 1.6 * 10.0**high, ticks


def _power(power: int) -> str:
    """Write a power of ten; small ones in decimals, for the figures' font has no raised minus."""
    return w.group(10**power) if 0 <= power < 6 else w.scientific(10.0**power) if power > 0 else decimal(10.0**power)


def decimal(value: float) -> str:
    """Write a power of ten below 1 in decimals.

    Example:
        >>> decimal(1e-7)
        '0.0000001'
    """
    return f"{value:.{-floor(log10(value))}f}"
