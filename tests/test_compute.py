"""Delegated circuits: gradients from shots against autograd, the grid of angles, and what a quantum server sees."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pennylane as qml
import pytest
import torch

from qfl_sec.checking import InputError
from qfl_sec.circuit_module import CircuitModule
from qfl_sec.computation import Computation, check_compute
from qfl_sec.compute import BlindCompute, LocalCompute, PlainCloud
from qfl_sec.contracts import Architecture, Records, ServerComputeView
from qfl_sec.federation import FederationSpec, TrainingConfig, train
from qfl_sec.gradients import per_example_gradients
from qfl_sec.models import VariationalClassifier, architecture, flat_weights
from qfl_sec.parameter_shift import check_parameter_shift, shifted_gradients
from qfl_sec.plugins import get
from qfl_sec.protocols.blind_sampler import BlindSampler
from qfl_sec.randomness import Streams
from qfl_sec.rounded_circuit import compiled_on_grid, grid_step, on_grid
from qfl_sec.statevector import compile_circuit
from qfl_sec.transcript import Transcript
from qfl_sec.views import adversaries, project, view_type

SPEC = VariationalClassifier(layers=2)


def model(spec: VariationalClassifier = SPEC) -> tuple[CircuitModule, Architecture]:
    module = spec.build(4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return module, architecture(module, 4, 2)


def records(count: int = 3) -> Records:
    generator = torch.Generator().manual_seed(2)
    features = 2 * torch.rand(count, 4, generator=generator, dtype=torch.float64) - 1
    return Records(features=features, labels=torch.arange(count) % 2)


def module_of(circuit: Callable[[Any, Any], Any], shape: tuple[int, ...]) -> CircuitModule:
    weights = torch.rand(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return CircuitModule(compile_circuit(circuit, weight_shape=shape), weights)


def test_exact_shifts_are_the_gradient() -> None:
    module, arch = model()
    some = records()
    for lead in ((), (2, 1)):
        weights = flat_weights(module).expand(*lead, -1)
        inputs, labels = some.features.expand(*lead[:1], -1, -1), some.labels.expand(*lead[:1], -1)
        shifted = shifted_gradients(arch.outputs, weights, inputs, labels)
        assert torch.allclose(shifted, per_example_gradients(arch, weights, inputs, labels), atol=1e-12)


@pytest.mark.parametrize("compute", [LocalCompute(shots=10**11), PlainCloud(shots=10**11)])
def test_shots_without_end_are_the_gradient(compute: LocalCompute | PlainCloud) -> None:
    module, arch = model()
    some = records()
    computation = Computation(compute, module, arch, Streams(0))
    found = computation.gradients(flat_weights(module), some.features, some.labels)
    true = per_example_gradients(arch, flat_weights(module), some.features, some.labels)
    assert float((found - true).abs().max()) < 5 * 2 / math.sqrt(10**11)


def standard_errors(arch: Architecture, weights: torch.Tensor, some: Records, shots: int) -> torch.Tensor:
    """By first order in the sampled logits, each of variance (1 - z^2) / shots: those shifted, and those not."""
    units = math.pi / 2 * torch.eye(len(weights), dtype=torch.float64)
    raised, lowered = (arch.outputs(weights + sign * units, some.features.unsqueeze(1)) for sign in (1, -1))
    plain = arch.outputs(weights, some.features)
    shares = plain.softmax(-1)
    errors = (shares - torch.nn.functional.one_hot(some.labels, 2)).unsqueeze(1)
    slopes = (raised - lowered) / 2  # (records, parameters, classes)
    by_shifts = (errors**2 * ((1 - raised**2) + (1 - lowered**2)) / 4).sum(-1)
    curvature = torch.diag_embed(shares) - shares.unsqueeze(-1) * shares.unsqueeze(-2)  # (records, classes, classes)
    by_loss = ((slopes @ curvature) ** 2 * (1 - plain**2).unsqueeze(1)).sum(-1)
    variance: torch.Tensor = (by_shifts + by_loss) / shots
    return variance.sqrt().detach()


def test_shot_gradients_scatter_as_stated() -> None:
    module, arch = model()
    some, shots, draws = records(2), 400, 400
    computation = Computation(PlainCloud(shots=shots), module, arch, Streams(0))
    weights = flat_weights(module)
    found = torch.stack([computation.gradients(weights, some.features, some.labels) for _ in range(draws)])
    true = per_example_gradients(arch, weights, some.features, some.labels)
    error = standard_errors(arch, weights, some, shots)
    visible = error > 1e-3 / math.sqrt(shots)
    bias = 2 / shots  # of the loss's own slope, a nonlinear function of sampled logits
    z = ((found.mean(0) - true).abs() - bias).clamp(min=0)[visible] / error[visible] * math.sqrt(draws)
    assert float(z.max()) < 4.5
    ratio = found.std(0)[visible] / error[visible]
    assert float((ratio - 1).abs().max()) < 4.5 / math.sqrt(2 * draws) + 0.05


def doubled(inputs: Any, weights: Any) -> Any:
    qml.RY(inputs[0], wires=0)
    qml.RX(2 * weights[0], wires=0)
    qml.RY(weights[1], wires=0)
    return [qml.expval(qml.Z(0)), qml.expval(qml.X(0))]


def reused(inputs: Any, weights: Any) -> Any:
    qml.RY(inputs[0], wires=0)
    qml.RX(weights[1], wires=0)
    qml.RY(weights[0], wires=0)
    qml.RX(weights[1], wires=0)
    return [qml.expval(qml.Z(0)), qml.expval(qml.X(0))]


def controlled(inputs: Any, weights: Any) -> Any:
    qml.RY(inputs[0], wires=0)
    qml.RY(weights[1], wires=1)
    qml.CRX(weights[0], wires=[0, 1])
    return [qml.expval(qml.X(0)), qml.expval(qml.Z(1))]


@pytest.mark.parametrize(("circuit", "weight"), [(doubled, 0), (reused, 1), (controlled, 0)])
def test_weights_that_are_no_single_rotation_are_refused(circuit: Callable[[Any, Any], Any], weight: int) -> None:
    module = module_of(circuit, (2,))
    arch = architecture(module, 1, 2)
    some = Records(features=records().features[:, :1], labels=records().labels)
    with pytest.raises(InputError, match=f"Weight {weight} is not the angle of one Pauli rotation"):
        check_parameter_shift(arch, flat_weights(module), some)


def test_every_encoding_passes_the_check() -> None:
    for spec in (SPEC, VariationalClassifier(encoding="angle", layers=2, frequencies=(1.0, 2.0))):
        module, arch = model(spec)
        assert check_parameter_shift(arch, flat_weights(module), records()) < 1e-12


def test_a_model_that_measures_nothing_is_refused(mlp_training: TrainingConfig) -> None:
    with pytest.raises(InputError, match="measures nothing"):
        train(replace(mlp_training, compute=PlainCloud()))
    with pytest.raises(InputError, match="measures nothing"):
        check_compute(LocalCompute(shots=5), mlp_training.model, 4, 2)
    check_compute(LocalCompute(), mlp_training.model, 4, 2)


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_every_angle_lies_on_the_grid(bits: int) -> None:
    spec = VariationalClassifier(layers=2)
    module, _ = model(spec)
    inputs, weights = records(1).features[0], module.weights.detach()
    script = qml.tape.make_qscript(on_grid(module.circuit.circuit, bits))(inputs, weights)
    plain = qml.tape.make_qscript(module.circuit.circuit)(inputs, weights)
    given, wanted = (
        torch.tensor([float(a) for gate in tape.operations for a in gate.data]) for tape in (script, plain)
    )
    assert [gate.name for gate in script.operations] == [gate.name for gate in plain.operations]
    steps = given / grid_step(bits)
    assert float((steps - steps.round()).abs().max()) < 1e-4
    assert float((given - wanted).abs().max()) <= grid_step(bits) / 2 + 1e-6
    compiled = compiled_on_grid(module.circuit, bits)(inputs, weights)
    device = qml.device("default.qubit", wires=4)
    oracle = qml.QNode(on_grid(module.circuit.circuit, bits), device)(inputs, weights)
    assert torch.allclose(compiled, torch.stack(list(oracle)).double(), atol=1e-10)


def test_a_state_preparation_has_no_pattern() -> None:
    with pytest.raises(InputError, match="StatePrep has no pattern"):
        check_compute(BlindCompute(), VariationalClassifier(encoding="amplitude", qubits=2), 4, 2)
    check_compute(PlainCloud(), VariationalClassifier(encoding="amplitude", qubits=2), 4, 2)


@pytest.mark.parametrize("kind", [partial(BlindCompute, angle_bits=1), partial(BlindCompute, angle_bits=17)])
def test_grids_without_quarter_turns_are_refused(kind: Callable[[], BlindCompute]) -> None:
    with pytest.raises(ValueError, match="angle_bits="):
        kind()


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.0, 1.5, math.nan])
def test_verification_without_test_rounds_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"test_fraction=.* without test rounds nothing is verified.*Leave it out"):
        BlindCompute(test_fraction=fraction)


@pytest.mark.parametrize(("fraction", "tests"), [(None, 0), (1e-9, 1), (0.1, 111), (0.5, 1000), (0.9, 9000)])
def test_the_share_of_test_rounds_is_one_of_all_rounds(fraction: float | None, tests: int) -> None:
    assert BlindCompute(shots=1000, test_fraction=fraction).test_rounds == tests


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depolarizing_probability": 0.1}, 'Set mode = "transcript"'),
        ({"depolarizing_probability": -0.1, "mode": "transcript"}, "depolarizing_probability=-0.1 <= 1"),
        ({"depolarizing_probability": math.nan, "mode": "transcript"}, "depolarizing_probability=nan <= 1"),
        ({"mode": "exact"}, 'mode=\'exact\' to be "semantic" or "transcript"'),
    ],
)
def test_noise_and_modes_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BlindCompute(**settings)


@pytest.mark.parametrize("kind", [LocalCompute, PlainCloud, BlindCompute])
def test_no_shots_are_refused(kind: type[PlainCloud]) -> None:
    with pytest.raises(ValueError, match="shots=0"):
        kind(shots=0)


def test_who_looks() -> None:
    none, channel = get("defense", "none")(), TrainingConfig.__dataclass_fields__["channel"].default_factory()  # type: ignore[misc]
    assert "quantum_server" not in adversaries(channel)
    assert "quantum_server" not in adversaries(channel, LocalCompute(shots=5))
    assert "quantum_server" in adversaries(channel, PlainCloud())
    assert "quantum_server" in adversaries(channel, BlindCompute())
    assert view_type("quantum_server", none, channel, PlainCloud()) is ServerComputeView
    assert view_type("quantum_server", none, channel, BlindCompute()) is None
    summed = get("defense", "secure_aggregation")()
    assert view_type("quantum_server", summed, channel, PlainCloud()) is ServerComputeView


def test_a_cloud_holds_the_angles_and_a_blind_one_nothing(small_training: TrainingConfig, tmp_path: Path) -> None:
    cloud = PlainCloud(shots=20)
    seen = train(replace(small_training, compute=cloud))
    hidden = train(replace(small_training, compute=BlindCompute(shots=20)), open_blind=BlindSampler)
    assert seen.circuit_angles is not None and hidden.circuit_angles is None
    assert project(hidden, "quantum_server", small_training.defense, compute=BlindCompute()) is None
    assert [one.status for one in hidden.metadata.premises] == ["assumed", "assumed"]
    seen.save(tmp_path / "t")
    loaded = Transcript.load(tmp_path / "t")
    assert loaded.circuit_angles is not None and torch.equal(loaded.circuit_angles, seen.circuit_angles)
    assert loaded.metadata.compute_costs == seen.metadata.compute_costs
    view = project(loaded, "quantum_server", small_training.defense, compute=cloud)
    assert isinstance(view, ServerComputeView) and seen.truth is not None
    rows = seen.truth.batch_records
    features = small_training.population().splits.candidates.features[rows.clamp(min=0)]
    by_hand = torch.stack([features.atan(), features.square().atan()], dim=-1).flatten(-2)
    assert torch.allclose(view.angles, torch.where((rows >= 0).unsqueeze(-1), by_hand, 0.0), atol=1e-12)


def test_costs_count_records_circuits_and_shots(small_training: TrainingConfig) -> None:
    compute = BlindCompute(shots=30, angle_bits=6)
    transcript = train(replace(small_training, compute=compute), open_blind=BlindSampler)
    costs, truth = transcript.metadata.compute_costs, transcript.truth
    assert truth is not None and len(costs) == transcript.selected.numel()
    filled = (truth.batch_records >= 0).sum(-1).flatten().tolist()
    for cost, client, count in zip(costs, transcript.selected.flatten().tolist(), filled, strict=True):
        assert (cost.client, cost.circuits, cost.runs) == (client, 49 * count, 49 * count * 30 * 2)
        assert cost.nodes > 4 * 12 and cost.qubits_sent == cost.nodes * cost.runs
        assert cost.classical_bits == cost.runs * ((cost.nodes - 4) * 6 + cost.nodes)
    assert train(small_training).metadata.compute_costs == ()


def test_baselines_compute_for_themselves(small_training: TrainingConfig) -> None:
    for kind in ("centralised", "classical"):
        plain = replace(small_training, kind=kind)
        delegated = train(replace(plain, compute=PlainCloud(shots=1)))
        assert torch.equal(train(plain).global_weights, delegated.global_weights)
        assert delegated.circuit_angles is None


def test_nobody_s_shots_shift_other_draws(small_training: TrainingConfig) -> None:
    exact, cloud = train(small_training), train(replace(small_training, compute=PlainCloud(shots=10**10)))
    assert exact.truth is not None and cloud.truth is not None
    assert torch.equal(exact.truth.batch_records, cloud.truth.batch_records)
    assert float((exact.global_weights - cloud.global_weights).abs().max()) < 1e-3
    again = train(replace(small_training, compute=PlainCloud(shots=10**10)))
    assert torch.equal(cloud.global_weights, again.global_weights)


def test_delegated_training_is_as_accurate_as_local_training_with_the_same_shots(
    small_training: TrainingConfig,
) -> None:
    """One client, a real data set; pairs of the same seed. Four standard errors of the mean difference, and 1 %."""
    alone = FederationSpec(clients=1, clients_per_round=1, rounds=25, batch_size=8)
    differences: dict[str, list[float]] = {"plain_cloud": [], "blind": []}
    accuracies = []
    for seed in range(4):
        base = replace(small_training, federation=alone, seed=seed)
        hits = {
            compute.name: train(replace(base, compute=compute)).truth.test_hits.double()  # type: ignore[union-attr]
            for compute in (LocalCompute(shots=200), PlainCloud(shots=200), BlindCompute(shots=200, angle_bits=8))
        }
        accuracies.append(float(hits["local"].mean()))
        assert torch.equal(hits["local"], hits["plain_cloud"])
        for name, found in differences.items():
            found.append(float((hits[name] - hits["local"]).mean()))
    assert np.mean(accuracies) > 0.75
    blind = np.array(differences["blind"])
    assert abs(blind.mean()) <= 4 * blind.std(ddof=1) / math.sqrt(len(blind)) + 0.01
