"""The protocols' part of what is timed: key exchange and post-processing."""

import torch

from benchmarks import ours
from benchmarks.composing import MS, S, Workload, limit_row, row
from benchmarks.problems import KeyExchange, difference, hashing
from benchmarks.rows import Row
from benchmarks.sides import measure

_CASCADE_LIMIT_SECONDS = 10.0
_PULSES_PER_SECOND = 15e6
_COUNTS_LIMIT_MILLISECONDS = 1.0
_INTERCEPTED = "BB84, single photons, intercept-resend on all, sifted and compared"


def _bb84_pulses() -> list[Row]:
    """Hold the simulation of every pulse against its limit, and its rates against the closed forms."""
    problem = KeyExchange(pulses=10**7)
    return [
        limit_row(
            "bb84_10_million_pulses",
            ours.bb84(problem),
            problem.expected,
            limit=problem.pulses / _PULSES_PER_SECOND,
            scale=S,
            work=f"{_INTERCEPTED}: 10,000,000 pulses, every pulse and message",
            tolerance=problem.tolerance,
        )
    ]


def _bb84_counts() -> list[Row]:
    """Hold the simulation by counts against its limit, and its rates against the closed forms."""
    problem = KeyExchange(pulses=10**12)
    return [
        limit_row(
            "bb84_trillion_pulses_counts",
            ours.bb84_counts(problem),
            problem.expected,
            limit=_COUNTS_LIMIT_MILLISECONDS,
            scale=MS,
            work=f"{_INTERCEPTED}: 10^12 pulses, counts alone",
            tolerance=problem.tolerance,
        )
    ]


def _bb84_sequence() -> list[Row]:
    """Compare the simulation of every pulse with SeQUeNCe's."""
    from benchmarks.peers import sequence_bb84

    problem = KeyExchange(pulses=20_000)
    with sequence_bb84.exchange(problem) as side:
        mine, peer = measure(ours.bb84(problem), side, tolerance=problem.tolerance)
    work = f"{_INTERCEPTED}: 20,000 pulses, every pulse and message"
    note = (
        "The peer runs in an environment of its own; its eavesdropper and single photons are added by this benchmark."
    )
    return [
        row(
            "bb84_20_thousand_pulses_sequence",
            ours=mine,
            peer=peer,
            scale=MS,
            work=work,
            tolerance=problem.tolerance,
            note=note,
        )
    ]


def _toeplitz() -> list[Row]:
    """Compare privacy amplification with one plain convolution."""
    from benchmarks.peers import scipy_convolution

    problem = hashing(n=10**6, length=5 * 10**5)
    mine, peer = measure(ours.toeplitz(problem), scipy_convolution.convolution(problem), tolerance=0.0)
    work = "Toeplitz hash of 1,000,000 bits to 500,000, exact"
    return [row("toeplitz_million_bits", ours=mine, peer=peer, scale=MS, work=work, tolerance=0.0)]


def _cascade() -> list[Row]:
    """Compare reconciliation with its limit; its answer is held against the string that it should find."""
    problem = difference(n=10**6, error_rate=0.03)
    return [
        limit_row(
            "cascade_million_bits",
            ours.cascade(problem),
            torch.from_numpy(problem.alice),
            limit=_CASCADE_LIMIT_SECONDS,
            scale=S,
            work="Cascade, optimised schedule, 1,000,000 bits, 3% errors: all corrected",
        )
    ]


PROTOCOLS = (
    Workload(rows=("bb84_10_million_pulses",), threads=1, run=_bb84_pulses),
    Workload(rows=("bb84_20_thousand_pulses_sequence",), threads=1, run=_bb84_sequence),
    Workload(rows=("bb84_trillion_pulses_counts",), threads=1, run=_bb84_counts),
    Workload(rows=("toeplitz_million_bits",), threads=1, run=_toeplitz),
    Workload(rows=("cascade_million_bits",), threads=1, run=_cascade),
)
"""In the order of the table."""
