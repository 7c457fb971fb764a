"""Medians over runs that alternate between the candidates, so that a slow minute hits all of them."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_BLOCK = 0.02
"""Calls shorter than this many seconds are timed several at a time."""

_SLOW = 5.0
"""A first call of so many seconds counts as a run: what it traces and caches is lost in it."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long one call took.

    Attributes:
        samples: Seconds a call in each run, in the order of the runs.
    """

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median over runs, in seconds."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """The lower and upper quartile over runs, in seconds; the extremes of fewer than four runs."""
        if len(self.samples) < 4:
            return min(self.samples), max(self.samples)
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return low, high

    def times(self, factor: float) -> "Timing":
        """Return the timing of work that is larger by a factor, by proportion."""
        return Timing(samples=tuple(factor * sample for sample in self.samples))

    def over(self, other: "Timing") -> "Timing":
        """Return this timing in units of another's, run by run."""
        return Timing(samples=tuple(mine / its for mine, its in zip(self.samples, other.samples, strict=True)))


def alternate(
    candidates: Mapping[str, Callable[[], object]], *, seconds: float = 2.0, fewest: int = 5, most: int = 25
) -> dict[str, Timing]:
    """Time each candidate in turn, over and over.

    Args:
        candidates: The work by name; a call returns when its work is done.
        seconds: How long the slowest candidate runs, within the limits on the runs.
        fewest: Runs at least.
        most: Runs at most.
    """
    calls, slowest = {}, 0.0
    samples: dict[str, list[float]] = {}
    for name, work in candidates.items():
        first = first_call(work)  # traces and fills caches
        once = first if first >= _SLOW else _time(work, 1)
        samples[name] = [first] if first >= _SLOW else []
        calls[name] = max(1, round(_BLOCK / once))
        slowest = max(slowest, once * calls[name])
    runs = min(most, max(fewest, int(seconds / slowest)))
    for run in range(runs):
        for name, work in candidates.items():
            if len(samples[name]) <= run:
                samples[name].append(_time(work, calls[name]))
    return {name: Timing(samples=tuple(values)) for name, values in samples.items()}


def first_call(work: Callable[[], object]) -> float:
    """Return the seconds of a first call, which traces and compiles."""
    return _time(work, 1)


def _time(work: Callable[[], object], calls: int) -> float:
    """Return seconds a call."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = time.perf_counter()
        for _ in range(calls):
            work()
        return (time.perf_counter() - start) / calls
    finally:
        if collecting:
            gc.enable()
