"""The difference between two success rates that were measured on the same seeds, with its interval.

What two trainings of a seed share (split, initial weights, batches) moves both rates alike and cancels in their
difference, so that effects show which are far smaller than the spread between seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from qfl_sec.intervals import ASSUMED_CORRELATION, clopper_pearson

Truths = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

FEWEST_EXACT, MOST_EXACT = 6, 14
"""Seeds for which the interval over subsets is computed: fewer leave it unbounded, more take too many subsets."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A difference of two rates with its 95 % interval.

    Attributes:
        value: Rate of the first minus rate of the second, each over all its trials.
        low: Lower end of the interval.
        high: Upper end.
        method: How the interval was computed, in words.
        clusters: Seeds.
        gained: Trials that only the first hits; None if trials have no partners.
        lost: Trials that only the second hits; None if trials have no partners.
    """

    value: float
    low: float
    high: float
    method: str
    clusters: int
    gained: int | None
    lost: int | None


def paired_difference(first: Sequence[Truths], second: Sequence[Truths], *, matched: bool) -> Difference:
    """Return the difference of two success rates, one pair of arrays of hits a seed.

    The interval is the hull of two. One looks at the trials: with partners, Clopper-Pearson of the gained among those
    that differ, else Newcombe's combination of two Clopper-Pearson intervals. The other looks at the seeds' shares d
    of the difference:

    | seeds   | over seeds                                                                                         |
    |---------|----------------------------------------------------------------------------------------------------|
    | 1       | none; trials count as n / (1 + (m - 1) 0.05), m the trials of a seed                               |
    | 2 to 5  | mean of d, t quantiles                                                                             |
    | 6 to 14 | k-th smallest to k-th largest mean of a subset of d, k = floor(0.025 2^seeds)                      |
    | 15 up   | mean of d, t quantiles                                                                             |

    Where fewer than two trials differ, seeds show no spread, and trials count as for one seed.

    Guarantee: if first and second are exchangeable within each seed, the interval of 6 to 14 seeds leaves out zero
        with probability 0.05 at most, whatever the records of a seed have in common. Never a single point.

    Args:
        first: (seeds), each (trials,), truth values.
        second: (seeds), the same seeds in the same order.
        matched: Whether trial i of a seed is the same in both.

    Raises:
        ValueError: If there is no seed, the numbers of seeds differ, a side has no trial, or matched trials differ in
            number.

    Reference: Hartigan 1969, J. Am. Stat. Assoc. 64, 1303 (means of subsets); McNemar 1947, doi:10.1007/BF02295996;
        Newcombe 1998, Stat. Med. 17, 873, method 10 (with exact limits).
    """
    if not first or len(first) != len(second):
        raise ValueError(f"Expected the same seeds on both sides, at least one, got {len(first)} and {len(second)}.")
    one, two = np.concatenate(first), np.concatenate(second)
    if not len(one) or not len(two):
        raise ValueError("Expected at least one trial on both sides.")
    if matched and [len(hits) for hits in first] != [len(hits) for hits in second]:
        raise ValueError("Expected as many trials on both sides of each seed: they are matched.")
    shares = len(first) * np.array(
        [hits.sum() / len(one) - others.sum() / len(two) for hits, others in zip(first, second, strict=True)]
    )
    gained, lost = (int((one & ~two).sum()), int((two & ~one).sum())) if matched else (None, None)
    low, high, method = _interval(one, two, shares, matched=matched)
    return Difference(
        value=float(one.mean() - two.mean()),
        low=max(-1.0, low),
        high=min(1.0, high),
        method=method,
        clusters=len(first),
        gained=gained,
        lost=lost,
    )


def _interval(one: Truths, two: Truths, shares: Floats, *, matched: bool) -> tuple[float, float, str]:
    """Return the hull of the trials' and the seeds' intervals, and how it came about."""
    differing = int((one != two).sum()) if matched else int(one.sum() + two.sum())
    of_trials = "gained and lost trials" if matched else "two rates"
    if len(shares) == 1 or differing < 2:
        shrink = 1 / (1 + (len(one) / len(shares) - 1) * ASSUMED_CORRELATION)
        low, high = _of_trials(one, two, matched=matched, shrink=shrink)
        return low, high, f"{of_trials}, spread between {len(shares)} clusters not visible, correlation 0.05 assumed"
    trials, seeds = _of_trials(one, two, matched=matched), _of_seeds(shares)
    exact = FEWEST_EXACT <= len(shares) <= MOST_EXACT
    over = "means of subsets" if exact else "t"
    return min(trials[0], seeds[0]), max(trials[1], seeds[1]), f"{over} over {len(shares)} clusters, {of_trials}"


def _of_trials(one: Truths, two: Truths, *, matched: bool, shrink: float = 1.0) -> tuple[float, float]:
    """Return the interval of independent trials, their number multiplied by `shrink`."""
    n = len(one)
    if matched:
        gained, lost = int((one & ~two).sum()) * shrink, int((two & ~one).sum()) * shrink
        differing = gained + lost
        if differing == 0:
            most = clopper_pearson(0, n * shrink)[1]
            return -most, most
        low, high = clopper_pearson(gained, differing)
        share = differing / (n * shrink)
        return (2 * low - 1) * share, (2 * high - 1) * share
    rates, ends = [], []
    for hits in (one, two):
        rates.append(float(hits.mean()))
        ends.append(clopper_pearson(rates[-1] * len(hits) * shrink, len(hits) * shrink))
    below = np.hypot(rates[0] - ends[0][0], ends[1][1] - rates[1])
    above = np.hypot(ends[0][1] - rates[0], rates[1] - ends[1][0])
    return rates[0] - rates[1] - float(below), rates[0] - rates[1] + float(above)


def _of_seeds(shares: Floats) -> tuple[float, float]:
    """Return the interval of the mean over two seeds or more."""
    seeds = len(shares)
    if FEWEST_EXACT <= seeds <= MOST_EXACT:
        subsets = (np.arange(1, 2**seeds)[:, None] >> np.arange(seeds)) & 1  # (subsets, seeds), the empty one left out
        means = np.sort(subsets @ shares / subsets.sum(axis=1))
        rank = int(0.025 * 2**seeds)
        return float(means[rank - 1]), float(means[-rank])
    half = stats.t.ppf(0.975, seeds - 1) * shares.std(ddof=1) / np.sqrt(seeds)
    return float(shares.mean() - half), float(shares.mean() + half)
