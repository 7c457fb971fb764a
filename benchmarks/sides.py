"""The sides of a comparison, their answers checked and their times taken in turn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from benchmarks.agreement import largest_difference
from benchmarks.timing import Timing, alternate, first_call


@dataclass(frozen=True, kw_only=True)
class Side:
    """One way to do the work.

    Attributes:
        name: Which way.
        version: Of the software.
        work: Does the work once, and returns when it is done.
        answer: Does it and returns the result; None if `work` returns it.
        share: What `work` did of the whole, asked after it; the time of the rest is counted by proportion.
        compiles: Whether the first call compiles.
    """

    name: str
    version: str
    work: Callable[[], Any]
    answer: Callable[[], Sequence[Tensor]] | None = None
    share: Callable[[], float] = lambda: 1.0
    compiles: bool = False

    def result(self) -> Sequence[Tensor]:
        """Return the result of the work."""
        answer: Sequence[Tensor] = (self.answer or self.work)()
        return answer


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A side, measured.

    Attributes:
        side: Which.
        timing: Of the whole work.
        difference: The largest difference from our result, as a share of its largest entry; 0 for ours.
        compile_seconds: What the first call took; None if it does not compile.
    """

    side: Side
    timing: Timing
    difference: float = 0.0
    compile_seconds: float | None = None


def measure(ours: Side, *others: Side, tolerance: float, seconds: float = 2.0, fewest: int = 5) -> list[Measured]:
    """Compile, compare the answers, and time all sides in turn.

    A side that answers for the first part of the work only is held against that part of ours.

    Raises:
        DisagreementError: If a side's answer is not ours.
    """
    sides = (ours, *others)
    compiling = [first_call(side.work) if side.compiles else None for side in sides]
    expected = ours.result()
    differences = [0.0]
    for side in others:
        found = side.result()
        part = [mine[: len(its)] if mine.ndim else mine for mine, its in zip(expected, found, strict=True)]
        differences.append(largest_difference(part, found, tolerance=tolerance, peer=side.name))
    timings = alternate({str(i): side.work for i, side in enumerate(sides)}, seconds=seconds, fewest=fewest)
    return [
        Measured(side=side, timing=timings[str(i)].times(1 / side.share()), difference=difference, compile_seconds=once)
        for i, (side, difference, once) in enumerate(zip(sides, differences, compiling, strict=True))
    ]


def partly(side: Side, share: float) -> Side:
    """Return a side that does only a share of the whole work."""
    return replace(side, share=lambda: share)
