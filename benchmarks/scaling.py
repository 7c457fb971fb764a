"""Cost against qubits, batch and models: one axis at a time, the others at 4 qubits, 32 records, 1 model."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks import ours
from benchmarks.agreement import FLOAT32
from benchmarks.problems import Classification, classification
from benchmarks.rows import rounded
from benchmarks.sides import Measured, Side, measure, partly

Axis = Literal["qubits", "batch", "models"]

SIZES: dict[Axis, tuple[int, ...]] = {
    "qubits": (2, 4, 6, 8, 10, 12),
    "batch": (1, 8, 64, 512, 4096),
    "models": (1, 8, 64, 512),
}

SERIES = ("qfl-sec", "PennyLane + JAX", "PennyLane default.qubit", "PennyLane lightning.qubit")
"""How the figure calls ours, JAX, `default.qubit` (models one by one) and lightning (records one by one)."""

_MODELS_TIMED = 8


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of the figure: loss and gradient, float32, one thread, 2 layers.

    Attributes:
        axis: What varies.
        size: How many qubits, records or models.
        series: One of `SERIES`.
        milliseconds: The median over runs.
        spread: The quartiles over runs.
    """

    axis: Axis
    size: int
    series: str
    milliseconds: float
    spread: tuple[float, float]

    def as_json(self) -> dict[str, Any]:
        """Return the point for `scaling.json`."""
        return asdict(self)


def measure_scaling() -> list[Point]:
    """Measure all points; ours is the eager step, and JAX's compilation is not counted."""
    points = []
    for axis, sizes in SIZES.items():
        for size in sizes:
            print(f"scaling, {axis} = {size} ...", file=sys.stderr, flush=True)
            points += _points(axis, size)
    return points


def _points(axis: Axis, size: int) -> list[Point]:
    from benchmarks.peers import default_qubit, lightning, pennylane_jax

    problem = _problem(axis, size)
    others: list[tuple[str, Callable[[Classification], Side]]] = [(SERIES[1], pennylane_jax.gradients)]
    others.append((SERIES[2], _model_by_model if axis == "models" else default_qubit.broadcast))
    if axis == "qubits":
        others.append((SERIES[3], lightning.one_by_one))
    sides = [make(problem) for _, make in others]
    measured = measure(ours.batch_gradients(problem), *sides, tolerance=FLOAT32, seconds=0.5, fewest=3)
    names = (SERIES[0], *(name for name, _ in others))
    return [_point(axis, size, name, one) for name, one in zip(names, measured, strict=True)]


def _problem(axis: Axis, size: int) -> Classification:
    if axis == "qubits":
        return classification(batch=32, qubits=size)
    return classification(batch=size) if axis == "batch" else classification(models=size, batch=32)


def _model_by_model(problem: Classification) -> Side:
    from benchmarks.peers import default_qubit

    timed = min(_MODELS_TIMED, len(problem.weights))
    return partly(default_qubit.model_by_model(problem.first(timed)), timed / len(problem.weights))


def _point(axis: Axis, size: int, series: str, one: Measured) -> Point:
    low, high = one.timing.spread
    return Point(
        axis=axis,
        size=size,
        series=series,
        milliseconds=rounded(1e3 * one.timing.median),
        spread=(rounded(1e3 * low), rounded(1e3 * high)),
    )


def write_points(points: Sequence[dict[str, Any]], path: Path) -> None:
    """Write `scaling.json`."""
    path.write_text(json.dumps(points, indent=1, allow_nan=False) + "\n")


def read_points(path: Path) -> list[Point]:
    """Read `scaling.json`."""
    return [Point(**entry | {"spread": tuple(entry["spread"])}) for entry in json.loads(path.read_text())]
