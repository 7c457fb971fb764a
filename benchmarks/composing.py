"""What a workload is, the goal of each row, and how measured sides become rows of `results.json`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from benchmarks.agreement import largest_difference
from benchmarks.rows import Other, Row, rounded
from benchmarks.sides import Measured, Side
from benchmarks.timing import Timing, alternate

GOALS: Mapping[str, float] = MappingProxyType(
    {
        "forward_backward_batch_32": 0.25,
        "forward_backward_batch_32_compiled": 0.5,
        "forward_backward_batch_4096": 2.5,
        "models_64_batch_32": 1.0,
        "models_64_batch_32_compiled": 1.5,
        "models_64_batch_32_default_qubit": 100.0,
        "models_1024_batch_32": 1.5,
        "models_1024_batch_32_compiled": 1.5,
        "models_1024_batch_32_default_qubit": 100.0,
        "per_example_gradients_batch_256": 1.0,
        "per_example_gradients_batch_256_opacus": 10.0,
        "bb84_10_million_pulses": 1.0,
        "bb84_20_thousand_pulses_sequence": 30.0,
        "bb84_trillion_pulses_counts": 1.0,
        "toeplitz_million_bits": 2.0,
        "cascade_million_bits": 1.0,
        "blind_transcript_4096_shots": 300.0,
        "blind_transcript_113_columns": 1.0,
        "blind_semantic_1_sample": 0.5,
        "blind_semantic_256_samples": 0.5,
        "inversion_1024_problems": 1.0,
        "inversion_1024_problems_default_qubit": 1000.0,
        "statevector_12_qubits": 1.0,
        "statevector_16_qubits": 1.0,
    }
)
"""The ratio that each row is to reach; for a limit, 1 is the limit itself."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Work that is timed in one go.

    Attributes:
        rows: The rows it answers with.
        threads: Threads that each side may use.
        run: Does the work.
    """

    rows: tuple[str, ...]
    threads: int
    run: Callable[[], list[Row]]


US, MS, S = 1e6, 1e3, 1.0
"""From seconds to the unit of a row."""

UNITS = {US: "us", MS: "ms", S: "s"}


def row(name: str, *, ours: Measured, peer: Measured | None = None, scale: float = 1.0, **rest: Any) -> Row:
    """Return a row; without a peer, `rest` brings limit, unit and difference."""
    if peer is not None:
        sides = {"ours": ours, "peer": peer}
        rest = {
            "unit": UNITS[scale],
            "peer": peer.side.name,
            "peer_version": peer.side.version,
            "peers": rounded(scale * peer.timing.median),
            "peers_spread": spread(peer.timing, scale),
            "difference": max(ours.difference, peer.difference),
            "compile_seconds": {
                key: rounded(one.compile_seconds) for key, one in sides.items() if one.compile_seconds is not None
            },
        } | rest
    return Row(
        name=name,
        ours=rounded(scale * ours.timing.median),
        ours_spread=spread(ours.timing, scale),
        goal=GOALS[name],
        runs=len(ours.timing.samples),
        threads=torch.get_num_threads(),
        **rest,
    )


def other(one: Measured, scale: float = MS) -> Other:
    """Return another side of a row in the row's unit."""
    return Other(
        name=one.side.name,
        version=one.side.version,
        value=rounded(scale * one.timing.median),
        spread=spread(one.timing, scale),
    )


def spread(timing: Timing, scale: float) -> tuple[float, float]:
    """Return the quartiles of a timing in a row's unit."""
    low, high = timing.spread
    return rounded(scale * low), rounded(scale * high)


def limit_row(
    name: str, side: Side, expected: Tensor, *, limit: float, scale: float, work: str, tolerance: float = 0.0
) -> Row:
    """Time a side against a limit in the row's unit, its answer held against what is expected."""
    apart = largest_difference(side.result(), [expected], tolerance=tolerance, peer="what is expected")
    (timing,) = alternate({"ours": side.work}).values()
    return row(
        name,
        ours=Measured(side=side, timing=timing),
        scale=scale,
        limit=rounded(limit),
        unit=UNITS[scale],
        work=work,
        difference=apart,
        tolerance=tolerance,
        compile_seconds={},
    )
