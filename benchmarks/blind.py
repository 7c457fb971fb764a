"""Blind quantum computing's part of what is timed: every message of many shots, and the exact results without any."""

from functools import partial

from benchmarks import ours
from benchmarks.agreement import FLOAT64, largest_difference
from benchmarks.composing import MS, US, Workload, other, row
from benchmarks.problems import delegation
from benchmarks.rows import Row
from benchmarks.sides import Measured, measure, partly
from benchmarks.timing import alternate

_SHOTS = 4096
_CHECKED = 1 << 18
_LAYERS = (2, 9)
"""Of the circuits whose columns are compared: 29 and 113."""

_PER_COLUMN_LIMIT = 1.15
_CIRCUIT = "4 qubits and 2 layers, features by RY and RZ"


def _transcript() -> list[Row]:
    """Compare a shot of the protocol, every message, with a shot of graphix's pattern of the same circuit."""
    from benchmarks.peers import graphix_pattern

    problem = delegation()
    columns = ours.pattern_compiler(problem).graph.columns
    # The whole is one shot; ours does 4,096 of them at once.
    mine, peer, shorter, real = measure(
        partly(ours.blind_rounds(problem, shots=_SHOTS, checked=_CHECKED), _SHOTS),
        graphix_pattern.one_shot(problem),
        graphix_pattern.one_shot(problem, every_node=False),
        partly(ours.blind_rounds(problem, shots=_SHOTS, checked=_CHECKED, real_angles=True), _SHOTS),
        tolerance=problem.tolerance(_CHECKED),
    )
    note = (
        "Ours runs 4,096 shots at once, the peer one after another, without client, secrets and messages. Its pattern "
        "is its own compiler's, made before; signals shifted, nodes prepared late, outcomes drawn without computing "
        "probabilities."
    )
    return [
        row(
            "blind_transcript_4096_shots",
            ours=mine,
            peer=peer,
            scale=US,
            work=f"A shot of {_CIRCUIT}: 4 x {columns} nodes and every message, against graphix's pattern",
            tolerance=problem.tolerance(_CHECKED),
            note=note,
            also=(other(shorter, US), other(real, US)),
        )
    ]


def _columns() -> list[Row]:
    """Hold the time per column of a long pattern against that of a short one."""
    problems = [delegation(layers=layers) for layers in _LAYERS]
    short, long = (ours.blind_rounds(problem, shots=_SHOTS, checked=_CHECKED) for problem in problems)
    widths = [ours.pattern_compiler(problem).graph.columns for problem in problems]
    tolerance = problems[0].tolerance(_CHECKED)
    apart = max(
        largest_difference(
            one.result(),
            [exact[0] for exact in ours.statevector_program(problem).result()],
            tolerance=tolerance,
            peer="the statevector program",
        )
        for one, problem in zip((short, long), problems, strict=True)
    )
    turns = alternate({"short": short.work, "long": long.work})
    per_column = turns["long"].over(turns["short"]).times(widths[0] / widths[1])
    return [
        row(
            "blind_transcript_113_columns",
            ours=Measured(side=long, timing=per_column),
            limit=_PER_COLUMN_LIMIT,
            unit=f"times that of {widths[0]} columns",
            work=f"4,096 shots, every message, 4 rows, {widths[1]} columns: time a column",
            difference=apart,
            tolerance=tolerance,
            compile_seconds={},
        )
    ]


def _semantic(name: str, samples: int) -> list[Row]:
    """Compare the exact results of blind runs with our program that computes the circuit without a pattern."""
    problem = delegation(samples=samples)
    mine, peer = measure(ours.blind_semantic(problem), ours.statevector_program(problem), tolerance=FLOAT64)
    counted = f"{samples:,} sample{'s' if samples > 1 else ''}"
    work = f"{counted}, {_CIRCUIT}: probabilities of blind results, angles of the pattern included, float64"
    return [row(name, ours=mine, peer=peer, scale=MS, work=work, tolerance=FLOAT64)]


BLIND = (
    Workload(rows=("blind_transcript_4096_shots",), threads=1, run=_transcript),
    Workload(rows=("blind_transcript_113_columns",), threads=1, run=_columns),
    Workload(rows=("blind_semantic_1_sample",), threads=1, run=partial(_semantic, "blind_semantic_1_sample", 1)),
    Workload(
        rows=("blind_semantic_256_samples",), threads=1, run=partial(_semantic, "blind_semantic_256_samples", 256)
    ),
)
"""In the order of the table."""
