"""What is timed. Each workload answers with its rows of `results.json`."""

from dataclasses import replace
from functools import partial
from typing import Any

import torch

from benchmarks import inversion, ours
from benchmarks.agreement import FLOAT32, FLOAT64, largest_difference
from benchmarks.blind import BLIND
from benchmarks.composing import MS, S, Workload, other, row
from benchmarks.problems import classification
from benchmarks.protocols import PROTOCOLS
from benchmarks.rows import Row
from benchmarks.sides import Measured, measure, partly
from benchmarks.timing import alternate

_PER_EXAMPLE_LIMIT = 2.5
_INVERSION_LIMIT_SECONDS = 6.0
_MODELS_TIMED = 8
_PROBLEMS_TIMED = 2
_COMPILED = "Our step under torch.compile."


def _batch(name: str, records: int, *, compiled: bool) -> list[Row]:
    """Compare one model's loss and gradient with JAX."""
    from benchmarks.peers import default_qubit, pennylane_jax

    problem = classification(batch=records)
    others = [pennylane_jax.gradients(problem), default_qubit.broadcast(problem)]
    if compiled:
        others += [default_qubit.one_by_one(problem), ours.compiled_batch_gradients(problem)]
    # The slowest side decides on the runs; here it is far slower than the two of the row.
    mine, jax, *rest = measure(ours.batch_gradients(problem), *others, tolerance=FLOAT32, seconds=6.0)
    common: dict[str, Any] = {
        "work": f"One model, {records:,} records: loss and gradient, float32",
        "tolerance": FLOAT32,
    }
    also = tuple(other(one) for one in rest if one.side.name.startswith("PennyLane"))
    rows = [row(name, ours=mine, peer=jax, scale=MS, also=also, **common)]
    if compiled:
        rows.append(row(f"{name}_compiled", ours=rest[-1], peer=jax, scale=MS, note=_COMPILED, **common))
    return rows


def _models(name: str, models: int) -> list[Row]:
    """Compare many models' losses and gradients with JAX, and with `default.qubit` one model after another."""
    from benchmarks.peers import default_qubit, pennylane_jax

    problem = classification(models=models, batch=32)
    mine, jax, slow, compiled = measure(
        ours.batch_gradients(problem),
        pennylane_jax.gradients(problem),
        partly(default_qubit.model_by_model(problem.first(_MODELS_TIMED)), _MODELS_TIMED / models),
        ours.compiled_batch_gradients(problem),
        tolerance=FLOAT32,
    )
    work = f"{models:,} models with 32 records each: losses and gradients, float32"
    common: dict[str, Any] = {"work": work, "tolerance": FLOAT32, "scale": MS}
    part = f"The peer is timed on {_MODELS_TIMED} of the models, the rest is counted by proportion."
    return [
        row(name, ours=mine, peer=jax, **common),
        row(f"{name}_compiled", ours=compiled, peer=jax, note=_COMPILED, **common),
        row(f"{name}_default_qubit", ours=mine, peer=slow, note=part, **common),
    ]


def _per_example() -> list[Row]:
    """Compare per-example gradients with our batch gradient, and with Opacus."""
    from benchmarks.peers import opacus_module, pennylane_jax

    name, problem = "per_example_gradients_batch_256", classification(batch=256)
    each, batch = ours.per_example_gradients(problem), ours.batch_gradients(problem)
    jax = pennylane_jax.gradients(problem, by_record=True)
    gradients = replace(jax, answer=lambda: jax.result()[1:])
    mean = [each.result()[0].mean(0)]
    apart = largest_difference(mean, batch.result()[1:], tolerance=FLOAT32, peer="our gradient of the batch")
    turns = alternate({"each": each.work, "batch": batch.work})
    in_batches = Measured(side=each, timing=turns["each"].over(turns["batch"]))
    mine, opacus, fast = measure(each, opacus_module.per_example_gradients(problem), gradients, tolerance=FLOAT32)
    work = "One model, 256 records: each record's own gradient, float32"
    return [
        row(
            name,
            ours=in_batches,
            limit=_PER_EXAMPLE_LIMIT,
            unit="times our batch gradient",
            work=f"{work}, against our gradient of the batch",
            difference=apart,
            tolerance=FLOAT32,
            compile_seconds={},
        ),
        row(f"{name}_opacus", ours=mine, peer=opacus, scale=MS, work=work, tolerance=FLOAT32, also=(other(fast),)),
    ]


def _inversion() -> list[Row]:
    """Compare 1,024 least-squares problems with the limit, and with PennyLane."""
    from benchmarks.peers import default_qubit_inversion

    problems = inversion.inversion()
    chosen = [i * problems.count // _PROBLEMS_TIMED for i in range(_PROBLEMS_TIMED)]
    mine, slow = measure(
        problems.at_once(chosen),
        default_qubit_inversion.one_by_one(problems, chosen),
        tolerance=FLOAT64,
        seconds=10.0,
        fewest=1,
    )
    work = "64 targets x 16 restarts, 4 records each, 36 parameters: 60 Levenberg-Marquardt steps, float64"
    early = f"{100 * (1 - mine.side.share()):.1f}% of our steps, where rounding left none to make, count by proportion."
    part = f"The peer is timed on {_PROBLEMS_TIMED} of the problems, the rest is counted by proportion."
    common: dict[str, Any] = {"work": work, "tolerance": FLOAT64}
    return [
        row(
            "inversion_1024_problems",
            ours=mine,
            limit=_INVERSION_LIMIT_SECONDS,
            unit="s",
            difference=slow.difference,
            compile_seconds={},
            note=early,
            **common,
        ),
        row("inversion_1024_problems_default_qubit", ours=mine, peer=slow, scale=S, note=f"{part} {early}", **common),
    ]


def _statevector(qubits: int) -> list[Row]:
    """Compare many qubits with `lightning.qubit`."""
    from benchmarks.peers import lightning

    problem = classification(batch=8, qubits=qubits, layers=4, dtype=torch.float64)
    mine, peer = measure(
        ours.batch_gradients(problem), lightning.one_by_one(problem), tolerance=FLOAT64, seconds=8.0, fewest=3
    )
    work = f"One model of {qubits} qubits and 4 layers, 8 records: loss and gradient, float64"
    return [row(f"statevector_{qubits}_qubits", ours=mine, peer=peer, scale=MS, work=work, tolerance=FLOAT64)]


WORKLOADS = (
    Workload(
        rows=("forward_backward_batch_32", "forward_backward_batch_32_compiled"),
        threads=1,
        run=partial(_batch, "forward_backward_batch_32", 32, compiled=True),
    ),
    Workload(
        rows=("forward_backward_batch_4096",),
        threads=1,
        run=partial(_batch, "forward_backward_batch_4096", 4096, compiled=False),
    ),
    Workload(
        rows=("models_64_batch_32", "models_64_batch_32_compiled", "models_64_batch_32_default_qubit"),
        threads=1,
        run=partial(_models, "models_64_batch_32", 64),
    ),
    Workload(
        rows=("models_1024_batch_32", "models_1024_batch_32_compiled", "models_1024_batch_32_default_qubit"),
        threads=1,
        run=partial(_models, "models_1024_batch_32", 1024),
    ),
    Workload(
        rows=("per_example_gradients_batch_256", "per_example_gradients_batch_256_opacus"), threads=1, run=_per_example
    ),
    *PROTOCOLS,
    *BLIND,
    Workload(rows=("inversion_1024_problems", "inversion_1024_problems_default_qubit"), threads=2, run=_inversion),
    Workload(rows=("statevector_12_qubits",), threads=2, run=partial(_statevector, 12)),
    Workload(rows=("statevector_16_qubits",), threads=2, run=partial(_statevector, 16)),
)
"""All work, in the order of the table; a workload needs two cores where `threads` is 2."""
