"""Exact and clustered confidence intervals of success rates."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A count of successes with its 95 % interval.

    Attributes:
        k: Successes.
        n: Trials.
        low: Lower end of the interval of k / n.
        high: Upper end.
        method: How the interval was computed, in words.
        clusters: Number of independent groups the trials fall into; equal to n where trials are independent.
    """

    k: int
    n: int
    low: float
    high: float
    method: str
    clusters: int
