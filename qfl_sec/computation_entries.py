"""Who ran the clients' circuits, at what cost, as `results.json` tells it: one entry a variant and setting.

Where computing is blind, two questions are answered of the models that the trainings released: what a grid of angles
does to their answers, and what it hides of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import product

import torch
from torch import Tensor

from qfl_sec.circuit_module import CircuitModule
from qfl_sec.compute import BlindCompute, ComputeSpec, is_delegated
from qfl_sec.evidence import Evidence, Trained
from qfl_sec.experiment import Experiment, setting_id
from qfl_sec.federation import build_model
from qfl_sec.models import ModelSpec, VariationalClassifier, unflatten
from qfl_sec.parameter_shift import circuits_per_gradient
from qfl_sec.protocol_results import (
    AttackPoint,
    ComputationEntry,
    GridEntry,
    NoisePoint,
    PatternEntry,
    VerificationEntry,
)
from qfl_sec.protocols.angle_grid import AngleGrid
from qfl_sec.protocols.blind import verification_plan
from qfl_sec.protocols.blind_transcript import round_cost
from qfl_sec.protocols.blindness import blindness_trace_distance
from qfl_sec.protocols.brickwork import Brickwork
from qfl_sec.protocols.measurement_patterns import MeasurementPattern, PatternCompiler
from qfl_sec.protocols.verification import largest_failing_fraction
from qfl_sec.protocols.verification_rounds import noisy_round_error, noisy_round_failure
from qfl_sec.rounded_circuit import compiled_on_grid

GRIDS = (2, 3, 4, 5, 6, 7, 8)
"""Angle bits that are compared, beside those of the training."""

MOST_VIEW_BITS = 8
"""Up to here views are computed; beyond, they take long, and the theorem says the same."""

QUBITS, LAYERS = (2, 4, 6, 8), (1, 2, 4, 8)
"""Sizes of the same model that are compared, beside the training's."""

NOISE = (0.0, 1e-6, 1e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2)
"""Depolarizing probabilities of a node at which acceptance is told."""

SPOILED = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
"""Shares of the runs that a malicious server spoils."""

MOST_SUMMED = 10_000
"""Rounds of one circuit beyond which exact sums take too long."""


def computation_entries(evidence: Evidence, variant: str, experiment: Experiment) -> Iterable[ComputationEntry]:
    """Yield who computed at each setting of a variant; nothing where clients compute exactly for themselves.

    Args:
        evidence: What the runs left.
        variant: Its id.
        experiment: At this point of the sweep.
    """
    compute = experiment.compute
    if not is_delegated(compute) and compute.shots is None:
        return
    for defense in experiment.defenses:
        setting = setting_id(defense)
        if trained := evidence.trainings(variant, setting):
            yield summarise(trained, compute, variant=variant, setting=setting)


def summarise(trained: Sequence[Trained], compute: ComputeSpec, *, variant: str, setting: str) -> ComputationEntry:
    """Sum up all trainings of one setting.

    Args:
        trained: At least one.
        compute: Who ran their circuits.
        variant: Id of the variant.
        setting: Id of the setting.
    """
    costs = [cost for one in trained for cost in one.metadata.compute_costs]
    entry = ComputationEntry(
        variant=variant,
        setting=setting,
        name=compute.name,
        shots=compute.shots,
        angle_bits=None,
        mode=None,
        depolarizing_probability=0.0,
        trainings=len(trained),
        circuits=sum(cost.circuits for cost in costs),
        runs=sum(cost.runs for cost in costs),
        test_runs=sum(cost.test_runs for cost in costs),
        rejected=sum(cost.rejected for cost in costs),
        qubits_sent=sum(cost.qubits_sent for cost in costs),
        classical_bits=sum(cost.classical_bits for cost in costs),
        fresh_records=0,
        correct=0,
        grids=(),
        pattern=None,
        other_sizes=(),
        verification=None,
    )
    return _blind(entry, trained, compute) if isinstance(compute, BlindCompute) else entry


def _blind(entry: ComputationEntry, trained: Sequence[Trained], compute: BlindCompute) -> ComputationEntry:
    """Add what is said of blind computing alone."""
    config, splits = trained[0].task.config, trained[0].population.splits
    module, architecture = build_model(config, splits)
    assert isinstance(module, CircuitModule)  # no other model computes blindly
    compiler = _compiler(module, architecture.n_features)
    bits = tuple(sorted({*GRIDS, compute.angle_bits}))
    weights = torch.stack([one.final_weights for one in trained]).double()
    features = torch.stack([one.population.splits.test.features for one in trained]).double()
    labels = torch.stack([one.population.splits.test.labels for one in trained])
    pattern = compiler.pattern(features[0, 0].numpy(), weights[0].numpy().reshape(module.weights.shape))
    exact = _outputs(module, weights, features, None)
    return replace(
        entry,
        angle_bits=compute.angle_bits,
        mode=compute.mode,
        depolarizing_probability=compute.depolarizing_probability,
        fresh_records=labels.numel(),
        correct=_right(exact, labels),
        grids=tuple(_grid(one, pattern, exact, _outputs(module, weights, features, one), labels) for one in bits),
        pattern=_size(
            replace(config.model, checkpoint=None),
            architecture.n_features,
            architecture.n_classes,
            compute.angle_bits,
        ),
        other_sizes=tuple(
            other_sizes(config.model, architecture.n_features, architecture.n_classes, compute.angle_bits)
        ),
        verification=_verification(compiler.graph, compute),
    )


def _compiler(module: CircuitModule, n_features: int) -> PatternCompiler:
    shape = tuple(module.weights.shape)
    circuit = module.circuit
    return PatternCompiler(circuit.circuit, n_features=n_features, weight_shape=shape, n_qubits=circuit.given_n_qubits)


def _outputs(module: CircuitModule, weights: Tensor, features: Tensor, bits: int | None) -> Tensor:
    """Return exact outputs, (trainings, records, outputs), of weights (trainings, parameters) rounded to a grid."""
    circuit = module.circuit if bits is None else compiled_on_grid(module.circuit, bits)
    (parameters,) = unflatten(module, weights.unsqueeze(1)).values()
    with torch.no_grad():
        return circuit(features, parameters)


def _right(outputs: Tensor, labels: Tensor) -> int:
    """Return how many records are right; outputs of coarse grids that differ by an error of rounding count as equal."""
    return int(((outputs * 1e9).round().argmax(-1) == labels).sum())


def _grid(bits: int, pattern: MeasurementPattern, exact: Tensor, rounded: Tensor, labels: Tensor) -> GridEntry:
    changes = (rounded - exact).abs()
    views = bits <= MOST_VIEW_BITS
    return GridEntry(
        angle_bits=bits,
        mean_change=float(changes.mean()),
        largest_change=float(changes.max()),
        correct=_right(rounded, labels),
        view_distance=_distance(pattern.rounded(AngleGrid(bits=bits)), bits) if views else None,
        unrounded_view_distance=_distance(pattern, bits) if views else None,
    )


def _distance(pattern: MeasurementPattern, bits: int) -> float:
    """Return how far the server's views of a pattern's angles are apart, with secret angles of a grid; 0 to 1."""
    distance = blindness_trace_distance(pattern.angles, theta_bits=bits)
    return 0.0 if distance < 1e-12 else min(1.0, distance)


@lru_cache(maxsize=256)
def _size(model: ModelSpec, n_features: int, n_classes: int, angle_bits: int) -> PatternEntry:
    """Return the pattern of a model.

    Raises:
        ValueError: If the model does not come for so many features and classes.
    """
    module = model.build(n_features, n_classes, generator=torch.Generator(), dtype=torch.float64)
    assert isinstance(module, CircuitModule)  # no other model computes blindly
    graph = _compiler(module, n_features).graph
    return PatternEntry(
        qubits=graph.rows,
        layers=getattr(model, "layers", None),
        columns=graph.columns,
        nodes=graph.nodes,
        edges=graph.edges,
        message_rounds=graph.rounds,
        classical_bits=round_cost(graph, AngleGrid(bits=angle_bits), 1).classical_bits,
        circuits=circuits_per_gradient(module.weights.numel()),
        observables=module.observables(n_features),
    )


def other_sizes(model: ModelSpec, n_features: int, n_classes: int, angle_bits: int) -> Iterable[PatternEntry]:
    """Yield the patterns of the same model with other qubits and layers, by qubits, then layers.

    Nothing is yielded of a model without these, nor of sizes that the model does not come in.

    Args:
        model: As trained.
        n_features: As trained; where each has a qubit, there are as many as qubits.
        n_classes: As trained.
        angle_bits: Of the grid.
    """
    if not isinstance(model, VariationalClassifier):
        return
    for qubits, layers in product(sorted({*QUBITS, model.qubits}), sorted({*LAYERS, model.layers})):
        features = qubits if model.qubits == n_features else n_features
        try:
            spec = replace(model, qubits=qubits, layers=layers, checkpoint=None)
            yield _size(spec, features, n_classes, angle_bits)
        except ValueError:  # too few qubits for the classes, frequencies of other layers
            continue


@lru_cache(maxsize=64)
def _verification(graph: Brickwork, compute: BlindCompute) -> VerificationEntry | None:
    """Return what test rounds prove.

    Where the training has none, an example: as many as computations, of which half the share may fail up to which the
    failure probability still vanishes with many rounds.
    """
    asked = compute.test_fraction is not None
    tests = compute.test_rounds if asked else compute.shots
    if compute.shots + tests > MOST_SUMMED:
        return None
    # an example is of half the share of failures up to which many rounds still prove something
    plan = verification_plan(
        graph,
        shots=compute.shots,
        test_rounds=tests,
        depolarizing_probability=compute.depolarizing_probability,
        threshold=None if asked else min(tests - 1, int(tests * largest_failing_fraction() / 2)),
    )
    worst = plan.worst_case(error_rate=noisy_round_error(graph, compute.depolarizing_probability))
    spoiled = sorted({round(share * plan.rounds) for share in SPOILED})
    return VerificationEntry(
        asked=asked,
        computation_rounds=compute.shots,
        test_rounds=tests,
        threshold=plan.threshold,
        security_error=worst.failure_probability,
        worst_corrupted=worst.corrupted,
        noise=tuple(
            NoisePoint(
                depolarizing_probability=noise, acceptance=plan.honest_acceptance(noisy_round_failure(graph, noise))
            )
            for noise in NOISE
        ),
        attack=tuple(
            AttackPoint(
                corrupted=count,
                acceptance=plan.attacked_acceptance(count),
                wrong_majority=plan.failure_probability(count),
                shift=plan.expectation_bias(count).shift,
            )
            for count in spoiled
        ),
    )
