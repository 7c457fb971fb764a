"""The difference of one run from the first one: paired where they share seeds, else of two proportions."""

from dataclasses import dataclass
from math import hypot, sqrt
from typing import Literal

from qfl_sec.intervals import Rate
from qfl_sec.results import PairedDifference

NORMAL_QUANTILE = 1.959963984540054
"""Of a two-sided 95 % interval."""


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A difference of two rates with its 95 % interval.

    Attributes:
        kind: Whether the two share seeds and split.
        difference: Rate of this run minus rate of the first one; if paired, over the seeds that both have.
        low: Lower end of the interval.
        high: Upper end.
        method: How the interval was computed, in words.
        trainings: Seeds that both have; None if unpaired.
        gained: Trials that succeed in this run alone; None where trials have no partners.
        lost: Trials that succeed in the first run alone; None where trials have no partners.
    """

    kind: Literal["paired", "unpaired"]
    difference: float
    low: float
    high: float
    method: str
    trainings: int | None
    gained: int | None
    lost: int | None

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def from_pairs(found: PairedDifference) -> Contrast:
    """Return a paired difference as a contrast."""
    return Contrast(
        kind="paired",
        difference=found.difference,
        low=found.low,
        high=found.high,
        method=found.method,
        trainings=found.trainings,
        gained=found.gained,
        lost=found.lost,
    )


def unpaired(rate: Rate, first: Rate) -> Contrast:
    """Return the difference of two rates that have nothing in common.

    Newcombe's hybrid score interval. Trials of one training depend on each other, which the score limits do not see:
    each limit is therefore taken no closer than the end of the rate's own interval, which does.

    Args:
        rate: Of this run, with at least one trial.
        first: Of the first one, with at least one trial.

    Reference: Newcombe 1998, Stat. Med. 17, 873, method 10; Zou and Donner 2008, doi:10.1002/sim.3095, for limits
        other than the score's.
    """
    low, high = hybrid(rate.k / rate.n, _limits(rate), first.k / first.n, _limits(first))
    return Contrast(
        kind="unpaired",
        difference=rate.k / rate.n - first.k / first.n,
        low=low,
        high=high,
        method="Newcombe hybrid score, no closer than each rate's own interval",
        trainings=None,
        gained=None,
        lost=None,
    )


def wilson(k: int, n: int) -> tuple[float, float]:
    """Return the score interval of a proportion.

    Reference: Wilson 1927, doi:10.1080/01621459.1927.10502953.

    Example:
        >>> low, high = wilson(56, 70)
        >>> round(low, 4), round(high, 4)
        (0.6918, 0.877)
    """
    z = NORMAL_QUANTILE
    middle, half = k + z * z / 2, z * sqrt(k * (n - k) / n + z * z / 4)
    return max(0.0, (middle - half) / (n + z * z)), min(1.0, (middle + half) / (n + z * z))


def hybrid(
    one: float, one_limits: tuple[float, float], two: float, two_limits: tuple[float, float]
) -> tuple[float, float]:
    """Return the interval of a difference from the limits of its two rates, by squaring and adding.

    Example:
        >>> low, high = hybrid(56 / 70, wilson(56, 70), 48 / 80, wilson(48, 80))
        >>> round(low, 4), round(high, 4)
        (0.0524, 0.3339)
    """
    below = hypot(one - one_limits[0], two_limits[1] - two)
    above = hypot(one_limits[1] - one, two - two_limits[0])
    return max(-1.0, one - two - below), min(1.0, one - two + above)


def _limits(rate: Rate) -> tuple[float, float]:
    low, high = wilson(rate.k, rate.n)
    return min(low, rate.low), max(high, rate.high)
