"""How long an audit will take and how much memory, before it is run: counted work times a rate measured on the spot."""

import math
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from qfl_sec.computation import Computation
from qfl_sec.compute import BlindCompute, ComputeSpec, LocalCompute
from qfl_sec.contracts import Architecture, Records, Setup
from qfl_sec.executors import single_thread
from qfl_sec.experiment import Experiment
from qfl_sec.federation import TrainingConfig, build_model, make_setup
from qfl_sec.gradients import per_example_gradients
from qfl_sec.grid import CellTask, Plan, TrainingTask, plan
from qfl_sec.models import UserCircuit, flat_weights
from qfl_sec.parameter_shift import circuits_per_gradient
from qfl_sec.population import toss_membership
from qfl_sec.protocols.blind_sampler import BlindSampler
from qfl_sec.randomness import Streams
from qfl_sec.run_folder import RunFolder
from qfl_sec.store import Store
from qfl_sec.views import view_type

START_SECONDS = 6.0
"""What a worker needs to come up."""

PROBE_RECORDS = 256

PROBE_AMPLITUDES = 1 << 16
"""Most amplitudes of a probe, over all records and layers: looking must not take the memory that it warns of."""

PROBE_ROUNDS = 1 << 13
"""Rounds of a blind protocol that a probe sends messages of, for each observable."""

GRADIENT_COST = 3
"""Circuit evaluations that a gradient by backpropagation is worth: one forward, about two back."""

MAX_DEFAULT_WORKERS = 8
"""More only on demand: each worker holds all libraries in memory."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What an audit will do.

    Attributes:
        trainings: Trainings of the plan.
        trainings_reused: How many are there already.
        cells: Cells of the plan.
        cells_reused: How many are there already.
        workers: Processes that will work.
        seconds: Time until the end, roughly.
        memory_bytes: Memory of all processes together, roughly.
    """

    trainings: int
    trainings_reused: int
    cells: int
    cells_reused: int
    workers: int
    seconds: float
    memory_bytes: int


def default_workers() -> int:
    """Return how many processes to use when nobody says: one for each core that this process may use, within reason."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MAX_DEFAULT_WORKERS)


def estimate(experiment: Experiment, *, out: Path | None = None, workers: int | None = None) -> Estimate:
    """Estimate time and memory; nothing is written.

    Args:
        experiment: What is to be audited.
        out: The run's folder, whose results count as done; it need not exist.
        workers: Number of processes; None for the default.

    Raises:
        InputError: If the data set cannot be loaded, the model does not fit it, or the store is not readable.
    """
    workers = default_workers() if workers is None else workers
    laid_out = plan(experiment)
    trainings, cells = _missing(laid_out, out)
    rates: dict[str, _Rate] = {}
    work = [_training_seconds(task, rates) for task in trainings.values()]
    work += [_cell_seconds(cell, rates) for cell in cells.values()]
    busy = min(workers, max(1, len(work)))
    # No task is divided: with few of them the longest one decides.
    seconds = START_SECONDS + max(sum(work) / busy, max(work)) if work else 0.0
    n_trainings = len({task.key for task in laid_out.trainings})
    n_cells = len({cell.key for cell in laid_out.cells})
    return Estimate(
        trainings=n_trainings,
        trainings_reused=n_trainings - len(trainings),
        cells=n_cells,
        cells_reused=n_cells - len(cells),
        workers=workers,
        seconds=seconds,
        memory_bytes=(busy + 1) * _peak_memory() + busy * max((rate.more_bytes for rate in rates.values()), default=0),
    )


@dataclass(frozen=True)
class _Rate:
    """What a training's public metadata and the machine's speed come to.

    Attributes:
        setup: The public metadata.
        candidates: Records of the membership game.
        reference: Records of the reference split.
        seconds_per_evaluation: Of a circuit, exactly; measured.
        seconds_per_gradient: Of a record, as the training takes it: exactly, or from shots; measured.
        more_bytes: What a round takes beyond the probe, whose memory this process has held itself.
    """

    setup: Setup
    candidates: int
    reference: int
    seconds_per_evaluation: float
    seconds_per_gradient: float
    more_bytes: int


def _missing(laid_out: Plan, out: Path | None) -> tuple[dict[str, TrainingTask], dict[str, CellTask]]:
    """Return the trainings and cells of which a run's folder holds no result, by key."""
    trainings = {task.key: task for task in laid_out.trainings}
    cells = {cell.key: cell for cell in laid_out.cells}
    if out is None:
        return trainings, cells
    folder = RunFolder(out)
    there = {key for key, task in trainings.items() if (folder.transcripts / task.folder_name).is_dir()}
    ended: set[str] = set()
    if folder.store.is_file() and folder.store.stat().st_size:
        with Store(folder.store) as store:
            ended = {key for key, status in store.statuses().items() if status != "failed"}
    return (
        {key: task for key, task in trainings.items() if key not in there},
        {key: cell for key, cell in cells.items() if key not in ended},
    )


def _training_seconds(task: TrainingTask, rates: dict[str, _Rate]) -> float:
    rate = _rate(task, rates)
    setup = rate.setup
    records = sum(setup.local_steps[client] for chosen in setup.schedule for client in chosen) * setup.batch_size
    return records * rate.seconds_per_gradient


def _cell_seconds(cell: CellTask, rates: dict[str, _Rate]) -> float:
    rate = _rate(cell.training, rates)
    config = cell.training.config
    seen = view_type(cell.adversary, config.defense, config.channel, config.compute)
    assert seen is not None  # else there would be no cell
    evaluations = cell.attack.circuit_evaluations(
        rate.setup, view=seen, candidates=rate.candidates, reference=rate.reference
    )
    runs = 2 if cell.attack.question == "membership" else 1  # the control is a run of its own
    return runs * evaluations * rate.seconds_per_evaluation


def _rate(task: TrainingTask, rates: dict[str, _Rate]) -> _Rate:
    """Measure once a variant and setting: its seeds are alike."""
    name = f"{task.variant}/{task.setting}"
    if name not in rates:
        rates[name] = _measure(task.config)
    return rates[name]


def _measure(config: TrainingConfig) -> _Rate:
    population = config.population()
    module, arch = build_model(config, population.splits)
    owners = population.clients
    members = toss_membership(len(owners), config.seed)
    sizes = np.bincount(owners[members], minlength=config.federation.clients).tolist()
    setup = make_setup(config.defense, config.federation, owners, sizes, config.seed, arch.n_parameters)
    reference = population.reference(config.federation.dtype)
    if isinstance(config.model, UserCircuit):
        held = config.model.amplitudes(arch.n_features)
    else:
        held = getattr(config.model, "layers", 1) << getattr(config.model, "qubits", 0)
    probed = max(1, min(PROBE_RECORDS, PROBE_AMPLITUDES // held))
    rows = torch.arange(probed) % len(reference)
    few = Records(features=reference.features[rows], labels=reference.labels[rows])
    weights, before = flat_weights(module), _peak_memory()
    exact = _fastest(lambda: per_example_gradients(arch, weights, few.features, few.labels)) / probed
    compute = config.compute if config.kind == "federated" else LocalCompute()
    taken = exact if compute.shots is None else _sampled_seconds(compute, module, arch, few, held)
    at_once = len(setup.schedule[0]) * min(setup.batch_size, max(sizes))
    more = (_peak_memory() - before) * max(0, at_once - probed) // probed
    return _Rate(setup, len(owners), len(reference), exact / GRADIENT_COST, taken, more)


def _sampled_seconds(
    compute: ComputeSpec, module: torch.nn.Module, arch: Architecture, records: Records, held: int
) -> float:
    """Return how long a record's gradient takes from shots.

    Where messages are sent, as few shots as keep a probe short, from which time grows in proportion; without noise, by
    which a job of few test rounds might fail.
    """
    circuits, weights, scale = circuits_per_gradient(arch.n_parameters), flat_weights(module), 1.0
    probed = max(1, min(len(records.labels), PROBE_AMPLITUDES // (held * circuits)))
    if isinstance(compute, BlindCompute) and compute.mode == "transcript":
        shots = max(1, min(compute.shots, PROBE_ROUNDS // circuits))
        probe = replace(compute, shots=shots, depolarizing_probability=0.0)
        probed, scale = 1, (compute.shots + compute.test_rounds) / (probe.shots + probe.test_rounds)
        compute = probe
    computation = Computation(compute, module, arch, Streams(0), BlindSampler)
    features, labels = records.features[:probed], records.labels[:probed]
    return scale * _fastest(lambda: computation.gradients(weights, features, labels)) / probed


def _fastest(work: Callable[[], object]) -> float:
    """Return the seconds of the fastest of three runs."""
    fastest = math.inf
    with single_thread():
        for _ in range(3):
            start = time.perf_counter()
            work()
            fastest = min(fastest, time.perf_counter() - start)
    return fastest


def _peak_memory() -> int:
    """Return the most memory this process has held, in bytes: it has loaded what a worker loads."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
