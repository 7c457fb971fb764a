"""Trainings over the blind protocol's messages: what comes out, what it takes, and what verification throws away."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pennylane as qml
import pytest
import torch
from scipy import stats

from qfl_sec.checking import InputError
from qfl_sec.circuit_module import CircuitModule
from qfl_sec.computation import Computation, check_compute
from qfl_sec.compute import BlindCompute, LocalCompute
from qfl_sec.datasets import DataSpec
from qfl_sec.federation import FederationSpec, TrainingConfig, train
from qfl_sec.models import VariationalClassifier, architecture, flat_weights
from qfl_sec.plugins import get
from qfl_sec.protocol_contracts import Cost
from qfl_sec.protocols import blind, blind_qubits, blind_sampler, verification_rounds
from qfl_sec.protocols.angle_grid import AngleGrid
from qfl_sec.protocols.blind_parties import Deviation, Server
from qfl_sec.protocols.blind_sampler import MAX_ATTEMPTS, BlindSampler
from qfl_sec.protocols.blind_semantic import pattern_probabilities
from qfl_sec.protocols.blind_transcript import run_rounds
from qfl_sec.protocols.brick_ansatz import brick_native
from qfl_sec.protocols.measurement_patterns import PatternCompiler
from qfl_sec.protocols.verification_rounds import noisy_round_failure
from qfl_sec.randomness import Streams
from qfl_sec.rounded_circuit import compiled_on_grid
from qfl_sec.statevector import compile_circuit

TWO_QUBITS = VariationalClassifier(layers=1, qubits=2)


def spoken(**settings: Any) -> BlindCompute:
    return BlindCompute(**{"shots": 50, "angle_bits": 6, "mode": "transcript"} | settings)


def sampler(
    circuit: Callable[[Any, Any], Any], shape: tuple[int, ...], features: int, spec: BlindCompute, seed: int = 0
) -> BlindSampler:
    compiled = compile_circuit(circuit, weight_shape=shape)
    return BlindSampler(spec, compiled, n_features=features, weight_shape=shape, streams=Streams(seed))


def angles(*shape: int, seed: int = 4) -> torch.Tensor:
    return (2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1) * math.pi


@pytest.fixture
def two_qubits(small_training: TrainingConfig) -> TrainingConfig:
    """Two features, two qubits, one layer: a pattern of 34 nodes."""
    return replace(small_training, data=DataSpec(features=2), model=TWO_QUBITS)


def several(inputs: Any, weights: Any) -> list[Any]:
    for row in range(3):
        qml.RY(inputs[row], wires=row)
        qml.Rot(*(weights[row, k] for k in range(3)), wires=row)
    qml.CNOT(wires=[0, 1])
    qml.CNOT(wires=[1, 2])
    zs = [qml.Z(row) for row in range(3)]
    return [qml.expval(zs[0] @ zs[1] + 0.5 * zs[2] + 2 * qml.I(0)), qml.probs(wires=[2, 0]), qml.expval(zs[1])]


def test_what_is_measured_is_that_of_the_rounded_pattern() -> None:
    """Coarse, so that rounding shows: within 4.5 standard errors of the rounded pattern, far from the exact circuit."""
    shape, runs, shots = (3, 3), 6, 4000
    inputs, weights = angles(runs, 3), angles(runs, *shape, seed=5)
    found, rejected = sampler(several, shape, 3, spoken(shots=shots, angle_bits=3)).sample(inputs, weights)
    compiler = PatternCompiler(several, n_features=3, weight_shape=shape)
    pattern = compiler.pattern(inputs.numpy(), weights.numpy())

    def expected(of: Any) -> Any:
        shares = pattern_probabilities(of)  # (8, runs)
        bits = (np.arange(8)[:, None] >> np.arange(2, -1, -1)) & 1  # (8, qubits)
        z = 1 - 2 * bits
        words = [(z[:, 0] * z[:, 1]) @ shares, z[:, 2] @ shares, z[:, 1] @ shares]
        probs = [((2 * bits[:, 2] + bits[:, 0]) == k) @ shares for k in range(4)]
        return np.stack([words[0] + 0.5 * words[1] + 2, *probs, words[2]], -1), np.stack(words, -1), np.stack(probs, -1)

    values, words, probs = expected(pattern.rounded(AngleGrid(bits=3)))
    spread = 1 - words**2
    variance = np.concatenate([spread[:, :1] + spread[:, 1:2] / 4, probs * (1 - probs), spread[:, 2:]], -1) / shots
    assert np.abs((found.numpy() - values) / np.sqrt(variance)).max() < 4.5
    assert np.abs((values - expected(pattern)[0]) / np.sqrt(variance)).max() > 20
    assert not rejected.any()


def correlated(inputs: Any, weights: Any) -> Any:
    qml.RY(inputs[0], wires=0)
    qml.RY(weights[0], wires=1)
    return qml.expval(qml.Z(0) + qml.Z(0) @ qml.Z(1))


def test_each_word_of_a_sum_has_shots_of_its_own() -> None:
    """Z0 and Z0 Z1 agree where qubit 1 is |0>: from the same shots the variance would be 4 / shots, not 2."""
    runs, shots = 2000, 20
    inputs, weights = torch.full((runs, 1), math.pi / 2, dtype=torch.float64), torch.zeros(runs, 1)
    found, _ = sampler(correlated, (1,), 1, spoken(shots=shots)).sample(inputs, weights)
    assert float(found.var()) == pytest.approx(2 / shots, rel=6 * math.sqrt(2 / runs))
    compiled = compile_circuit(correlated, weight_shape=(1,))
    semantic = compiled(inputs, weights.double(), shots=shots, generator=torch.Generator().manual_seed(1))
    assert float(semantic.var()) == pytest.approx(2 / shots, rel=6 * math.sqrt(2 / runs))


def basis(inputs: Any, weights: Any) -> list[Any]:
    qml.RX(inputs[0], wires=0)
    qml.CNOT(wires=[0, 1])
    qml.RX(weights[0], wires=1)
    return [qml.expval(qml.Z(0)), qml.expval(qml.Z(1))]


@pytest.mark.parametrize("test_fraction", [None, 0.3])
def test_batches_keep_runs_apart(monkeypatch: pytest.MonkeyPatch, test_fraction: float | None) -> None:
    """Whatever the batches are: basis states have results without scatter."""
    bits = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1], [1, 0]]).double()
    expected = 1 - 2 * torch.stack([bits[:, 0], (bits[:, 0] + bits[:, 1]) % 2], -1)
    for nodes in (1, 2500, 1 << 23):
        monkeypatch.setattr(blind_sampler, "_BATCH_NODES", nodes)
        runs = sampler(basis, (1,), 1, spoken(test_fraction=test_fraction))
        found, rejected = runs.sample(bits[:, :1] * math.pi, bits[:, 1:] * math.pi)
        assert torch.allclose(found, expected)
        assert rejected.shape == (5,) and not rejected.any()


@pytest.mark.parametrize("test_fraction", [None, 0.2])
def test_both_modes_give_gradients_of_one_distribution(test_fraction: float | None) -> None:
    """Where pattern and gates round alike. Means and variances of 400 draws, against their standard errors."""
    shape, shots, draws = (2, 2, 2), 30, 400
    module = CircuitModule(compile_circuit(brick_native, weight_shape=shape), angles(*shape))
    features, labels = angles(2, 2, seed=6), torch.tensor([0, 1])
    grid = AngleGrid(bits=4)
    pattern = PatternCompiler(brick_native, n_features=2, weight_shape=shape).pattern(
        features.numpy(), module.weights.detach().numpy()
    )
    shares = pattern_probabilities(pattern.rounded(grid))
    z = np.array([[1, 1, -1, -1], [1, -1, 1, -1]]) @ shares
    alike = compiled_on_grid(module.circuit, 4)(features, module.weights).detach().numpy()
    assert np.abs(z.T - alike).max() < 1e-9
    arch, found = architecture(module, 2, 2), {}
    for mode in ("semantic", "transcript"):
        spec = BlindCompute(shots=shots, angle_bits=4, mode=mode, test_fraction=test_fraction)  # type: ignore[arg-type]
        computation = Computation(spec, module, arch, Streams(1), BlindSampler)
        several = features.expand(draws, 2, 2), labels.expand(draws, 2)
        found[mode] = computation.gradients(flat_weights(module), *several).numpy().reshape(draws, -1)
    one, other = found["semantic"], found["transcript"]
    varies = one.std(0) > 1e-9
    assert varies.sum() >= 8 and np.array_equal(varies, other.std(0) > 1e-9)
    one, other = one[:, varies], other[:, varies]
    error = np.sqrt((one.var(0, ddof=1) + other.var(0, ddof=1)) / draws)
    assert np.abs((one.mean(0) - other.mean(0)) / error).max() < 4.5
    # The logarithm of a sample variance has standard error sqrt((kurtosis + 2) / n), about.
    scatter = np.sqrt((stats.kurtosis(one) + stats.kurtosis(other) + 4) / draws)
    assert np.abs(np.log(one.var(0) / other.var(0)) / scatter).max() < 4.5


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Cost]]:
    """The cost of every batch of rounds that was run, by its messages."""
    costs: list[Cost] = []

    def counted(*args: Any, **options: Any) -> Any:
        rounds = run_rounds(*args, **options)
        angles, answers = (
            sum(one.size for one in rounds.messages if one.kind == kind) for kind in ("angles", "outcomes")
        )
        qubits = sum(one.size for one in rounds.messages if one.kind == "qubits")
        count = rounds.outcomes.shape[-1]
        assert rounds.cost.qubits == count * qubits
        assert rounds.cost.classical_bits == count * (angles + answers)
        costs.append(rounds.cost)
        return rounds

    for module in (blind_sampler, verification_rounds):
        monkeypatch.setattr(module, "run_rounds", counted)
    yield costs


@pytest.mark.parametrize(
    ("settings", "defense"),
    [
        ({}, "none"),
        ({"test_fraction": 0.25}, "dp_sgd"),  # Poisson batches: of different sizes, some of them empty
        ({"test_fraction": 0.25, "depolarizing_probability": 0.004}, "none"),
    ],
)
def test_costs_are_those_of_the_messages(
    two_qubits: TrainingConfig, heard: list[Cost], settings: dict[str, Any], defense: str, monkeypatch: Any
) -> None:
    monkeypatch.setattr(blind, "HONEST_ACCEPTANCE", 0.8)
    options = {"epsilon": 8.0} if defense == "dp_sgd" else {}
    federation = FederationSpec(clients=4, clients_per_round=2, rounds=3, batch_size=2)
    compute = spoken(shots=12, **settings)
    config = replace(two_qubits, compute=compute, federation=federation, defense=get("defense", defense)(**options))
    transcript = train(config, open_blind=BlindSampler)
    costs, truth = transcript.metadata.compute_costs, transcript.truth
    total = sum(heard, Cost())
    assert sum(one.runs for one in costs) == total.attempts > 0
    assert sum(one.qubits_sent for one in costs) == total.qubits
    assert sum(one.classical_bits for one in costs) == total.classical_bits
    assert (sum(one.rejected for one in costs) > 0) == ("depolarizing_probability" in settings)
    assert truth is not None
    filled = (truth.batch_records >= 0).sum(-1).flatten().tolist()
    assert len(set(filled)) > 1 or defense == "none"
    tests = compute.test_rounds
    assert tests == (4 if settings else 0)
    for cost, count in zip(costs, filled, strict=True):
        jobs = 13 * count * 2 + cost.rejected
        assert (cost.circuits, cost.runs, cost.test_runs) == (13 * count, jobs * (12 + tests), jobs * tests)


def test_semantic_mode_counts_what_an_honest_run_takes(two_qubits: TrainingConfig) -> None:
    costs = [
        train(replace(two_qubits, compute=spoken(shots=10, mode=mode, test_fraction=0.1)), open_blind=BlindSampler)
        for mode in ("semantic", "transcript")
    ]
    assert costs[0].metadata.compute_costs == costs[1].metadata.compute_costs
    assert costs[0].metadata.compute_costs[0].test_runs > 0


def test_the_same_seed_is_the_same_training(two_qubits: TrainingConfig) -> None:
    config = replace(two_qubits, compute=spoken(test_fraction=0.2, depolarizing_probability=0.01))
    once, again = (train(config, open_blind=BlindSampler) for _ in range(2))
    assert torch.equal(once.global_weights, again.global_weights)
    assert once.metadata.compute_costs == again.metadata.compute_costs
    # Batches are drawn alike without messages; what is measured is not.
    other = train(replace(config, compute=LocalCompute()))
    assert once.truth is not None and other.truth is not None
    assert torch.equal(once.truth.batch_records, other.truth.batch_records)
    assert not torch.equal(once.global_weights, other.global_weights)


def test_training_by_messages_is_as_accurate_as_local_training_with_the_same_shots(two_qubits: TrainingConfig) -> None:
    """One client, a real data set; pairs of the same seed. Four standard errors of the mean difference, and 1 %."""
    alone = FederationSpec(clients=1, clients_per_round=1, rounds=25, batch_size=8, learning_rate=2.0)
    model = replace(TWO_QUBITS, layers=2, entangler="linear")
    hits: dict[str, list[float]] = {"local": [], "blind": []}
    for seed in range(4):
        for compute in (LocalCompute(shots=30), spoken(shots=30, angle_bits=8)):
            config = replace(two_qubits, federation=alone, model=model, compute=compute, seed=seed)
            truth = train(config, open_blind=BlindSampler).truth
            assert truth is not None
            hits[compute.name].append(float(truth.test_hits.double().mean()))
            majority = float(truth.majority_hits.double().mean())
    local, remote = np.array(hits["local"]), np.array(hits["blind"])
    assert min(local.mean(), remote.mean()) > majority + 0.1
    difference = remote - local
    assert abs(difference.mean()) <= 4 * difference.std(ddof=1) / math.sqrt(len(difference)) + 0.01


def test_a_noisy_server_is_rejected_as_often_as_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blind, "HONEST_ACCEPTANCE", 0.7)
    spec = spoken(shots=5, test_fraction=0.5, depolarizing_probability=0.01)
    runs = sampler(basis, (1,), 1, spec)
    count = 600
    _, rejected = runs.sample(torch.zeros(count, 1), torch.zeros(count, 1))
    assert runs._plan is not None
    wanted = runs._plan.honest_acceptance(noisy_round_failure(runs._graph, 0.01))
    assert 0.7 <= wanted < 0.95
    jobs = 2 * count
    assert stats.binomtest(jobs, jobs + int(rejected.sum()), wanted).pvalue > 1e-4


def test_nothing_of_a_rejected_job_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first attempts of every second job are rejected and report ones."""
    attempts: list[int] = []

    def run_jobs(plan: Any, graph: Any, angles: Any, **options: Any) -> Any:
        jobs = verification_rounds.run_jobs(plan, graph, angles, **options)
        attempts.append(len(jobs))
        spoiled = [
            replace(one, failed=np.ones_like(one.failed), output=np.ones_like(one.output)) if i % 2 else one
            for i, one in enumerate(jobs)
        ]
        return tuple(spoiled) if len(attempts) == 1 else jobs

    monkeypatch.setattr(blind_sampler, "run_jobs", run_jobs)
    zeros = torch.zeros(6, 1)
    found, rejected = sampler(basis, (1,), 1, spoken(test_fraction=0.2)).sample(zeros, zeros)
    assert attempts == [6, 3, 6]
    assert torch.equal(found, torch.ones(6, 2).double())
    assert rejected.tolist() == [0, 1, 0, 1, 0, 1]


def test_a_server_that_always_fails_ends_the_training(
    two_qubits: TrainingConfig, heard: list[Cost], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that turns a result in every round; without test rounds it goes unnoticed."""

    def cheating(graph: Any, grid: Any, streams: Any, **options: Any) -> Server:
        paulis = np.zeros((graph.rows, graph.columns, 1), np.uint8)
        paulis[0, -1] = 1
        return Server(graph, grid, streams, deviation=Deviation(paulis=paulis), **options)

    monkeypatch.setattr(blind_sampler, "Server", cheating)
    config = replace(two_qubits, compute=spoken(shots=12))
    train(config, open_blind=BlindSampler)
    heard.clear()
    with pytest.raises(InputError, match=f"failed verification {MAX_ATTEMPTS} times .*leave out test_fraction"):
        train(replace(config, compute=spoken(shots=12, test_fraction=0.5)), open_blind=BlindSampler)
    assert len(heard) == MAX_ATTEMPTS


def test_noise_pulls_what_is_measured_towards_nothing() -> None:
    zeros = torch.zeros(1, 1)
    clean, _ = sampler(basis, (1,), 1, spoken(shots=2000)).sample(zeros, zeros)
    noisy, _ = sampler(basis, (1,), 1, spoken(shots=2000, depolarizing_probability=0.02)).sample(zeros, zeros)
    assert bool((clean == 1).all())
    assert bool((noisy < 0.95).all()) and bool((noisy > 0.2).all())


def test_any_leading_dimensions(two_qubits: TrainingConfig) -> None:
    """Models x clients x records; records that are not there take no messages and have no gradient."""
    module = TWO_QUBITS.build(2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float32)
    computation = Computation(spoken(), module, architecture(module, 2, 2), Streams(0), BlindSampler)
    weights = flat_weights(module).expand(3, 1, 1, -1)
    inputs, labels = angles(2, 4, 2).float(), torch.zeros(3, 2, 4).long()
    found = computation.gradients(weights, inputs, labels)
    assert found.shape == (3, 2, 4, 6) and found.dtype == torch.float32
    mask = torch.tensor([True, False, True, True])
    few = computation.gradients(weights[0], inputs, labels[0], mask.expand(2, 4))
    assert not few[:, 1].any() and bool(few[:, mask].any(-1).all())
    assert not computation.gradients(weights[0], inputs, labels[0], torch.zeros(2, 4).bool()).any()
    single = computation.gradients(weights[0, 0, 0], inputs[0, 0], labels[0, 0, 0])
    assert single.shape == (6,)


def by_x(inputs: Any, weights: Any) -> list[Any]:
    qml.RY(inputs[0], wires=0)
    qml.RY(weights[0], wires=1)
    return [qml.expval(qml.X(0)), qml.expval(qml.Z(1))]


def test_what_has_no_pattern_is_refused_before_anything_runs(heard: list[Cost]) -> None:
    amplitudes = VariationalClassifier(encoding="amplitude", qubits=2)
    for mode in ("semantic", "transcript"):
        with pytest.raises(InputError, match="StatePrep has no pattern"):
            check_compute(spoken(mode=mode), amplitudes, 4, 2, BlindSampler)
    with pytest.raises(InputError, match="Rotate before measuring Z"):
        sampler(by_x, (1,), 1, spoken())
    check_compute(spoken(), VariationalClassifier(layers=2), 4, 2, BlindSampler)
    assert heard == []


def test_what_does_not_fit_in_memory_is_refused_with_what_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blind, "MEMORY_BYTES", 1 << 20)
    with pytest.raises(InputError, match=r"shots \+ test_rounds=\d+ <= \d+"):
        sampler(basis, (1,), 1, spoken(shots=1 << 20))
    sampler(basis, (1,), 1, spoken(shots=1 << 20, mode="semantic"))
    monkeypatch.setattr(blind_qubits, "MEMORY_BYTES", 1 << 5)
    with pytest.raises(InputError, match="Set qubits = 1 or fewer"):
        sampler(basis, (1,), 1, spoken())


def test_messages_need_the_protocol(two_qubits: TrainingConfig) -> None:
    with pytest.raises(TypeError, match="Expected open_blind"):
        train(replace(two_qubits, compute=spoken()))
