"""The checks of direct communication: what samples tell of an error rate, and when the parties stop for it."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qfl_sec.protocol_contracts import Bits

ESTIMATION_FAILURE = 1e-10
"""Probability, per run, that any of the bounds from check samples does not hold."""

LOWEST_RATE, HIGHEST_RATE = 1e-3, 0.499
"""A decoder is told error rates between these: at 0 no evidence could correct a bit, from 1/2 on none would count."""

Found: TypeAlias = "Mapping[str, tuple[int, int]]"
"""Errors and samples of each check in one block, by name."""


@dataclass(frozen=True, kw_only=True)
class Count:
    """Errors among announced samples.

    Attributes:
        errors: Samples that disagree.
        trials: Samples.
        bound: Highest rate that the pairs which were not sampled may have had, unless a bound fails.
    """

    errors: int = 0
    trials: int = 0
    bound: float = 1.0

    @property
    def rate(self) -> float | None:
        """The error rate of the samples; None without samples."""
        return self.errors / self.trials if self.trials else None


def sampling_bound(errors: int, trials: int, rest: int, failure: float) -> float:
    """Return a bound on the error rate of what was not sampled, at most 1.

    Args:
        errors: Among the samples, which were drawn at random without replacement.
        trials: Samples.
        rest: What was not sampled.
        failure: Probability that the bound does not hold.

    Reference: Serfling 1974, doi:10.1214/aos/1176342611, as in Tomamichel et al. 2012, arXiv:1103.4130.

    Example:
        >>> round(sampling_bound(50, 1000, 100_000, 1e-10), 4)
        0.1579
    """
    if not trials or not rest:
        return 1.0
    width = math.sqrt((rest + trials) * (trials + 1) * math.log(1 / failure) / (2 * rest * trials**2))
    return min(1.0, errors / trials + width)


def totals(blocks: Sequence[tuple[Found, int]]) -> dict[str, Count]:
    """Return what each check found over all blocks, with the worst block's bound.

    Args:
        blocks: What the checks of each block found, and the pairs of it that were not sampled.
    """
    share = ESTIMATION_FAILURE / max(1, len(blocks[0][0]) * len(blocks))
    errors: Counter[str] = Counter()
    trials: Counter[str] = Counter()
    bounds: dict[str, float] = {}
    for found, rest in blocks:
        for name, (wrong, seen) in found.items():
            errors[name] += wrong
            trials[name] += seen
            bounds[name] = max(bounds.get(name, 0.0), sampling_bound(wrong, seen, rest, share))
    return {name: Count(errors=errors[name], trials=trials[name], bound=bounds[name]) for name in bounds}


def errors_by_basis(wrong: NDArray[np.bool_], basis: Bits, clicked: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return errors and samples in Z and in X, among the samples (samples,) for which detectors clicked."""
    chosen = [clicked & (basis == one) for one in (0, 1)]
    return [(int((wrong & here).sum()), int(here.sum())) for here in chosen]


def smoothed(errors: int, trials: int) -> float:
    """Return the rate that samples suggest to a decoder: never 0, never above a half.

    Reference: Krichevsky and Trofimov 1981, doi:10.1109/TIT.1981.1056331: half an error added.
    """
    return min(HIGHEST_RATE, (errors + 0.5) / (trials + 1))


def decodable(rate: float) -> float:
    """Return an error rate of the calibrated line as a decoder is told it."""
    return min(max(rate, LOWEST_RATE), HIGHEST_RATE)


def abort_reason(found: Found, threshold: float, check: str) -> str | None:
    """Return the reason for an abort if some rate is above the threshold, or could not be measured."""
    for name, (errors, trials) in found.items():
        if not trials:
            return f"{check}: no sample was detected for {name}"
        if errors / trials > threshold:
            return f"{check}: error rate {errors / trials:.4f} of {name} is above {threshold:g}"
    return None


def rates(found: Found, names: Iterable[str]) -> list[float]:
    """Return the error rates of these checks, of which each has samples."""
    return [found[name][0] / found[name][1] for name in names]
