"""What a dry run foretells of trainings whose gradients come from shots: by a clock that counts work, not seconds."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from qfl_sec import computation, estimate, federation, rounds
from qfl_sec.batches import draw_batches
from qfl_sec.compute import BlindCompute, ComputeSpec, LocalCompute, PlainCloud
from qfl_sec.datasets import DataSpec
from qfl_sec.federation import FederationSpec, TrainingConfig, train
from qfl_sec.gradients import per_example_gradients
from qfl_sec.grid import training_task
from qfl_sec.models import VariationalClassifier
from qfl_sec.protocols import blind_sampler, verification_rounds
from qfl_sec.protocols.blind_sampler import BlindSampler
from qfl_sec.protocols.blind_transcript import run_rounds
from qfl_sec.statevector import CompiledCircuit

CIRCUITS = [
    LocalCompute(),
    LocalCompute(shots=70),
    PlainCloud(shots=5),
    BlindCompute(),
    BlindCompute(test_fraction=0.5),
]
MESSAGES = [{"shots": 2000}, {"shots": 7}, {"shots": 1500, "test_fraction": 0.25, "depolarizing_probability": 1e-4}]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock for estimates; `now` is what has been worked so far."""
    found = SimpleNamespace(now=0)
    monkeypatch.setattr(estimate, "time", SimpleNamespace(perf_counter=lambda: found.now))
    return found


@pytest.fixture
def config(small_training: TrainingConfig) -> TrainingConfig:
    spec = FederationSpec(clients=4, clients_per_round=2, rounds=2, batch_size=2)
    model = VariationalClassifier(layers=1, qubits=2)
    return replace(small_training, data=DataSpec(features=2), model=model, federation=spec)


def foretold(config: TrainingConfig) -> float:
    return estimate._training_seconds(training_task(config, variant="default", setting="none"), {})


def worked(config: TrainingConfig, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> float:
    """Train, and return what the rounds took; what comes before them is not foretold."""
    started: list[float] = []

    def drawn(*given: Any) -> Any:
        started.append(clock.now)
        return draw_batches(*given)

    monkeypatch.setattr(rounds, "draw_batches", drawn)
    scored = federation.score_test

    def ended(*given: Any) -> Any:
        started.append(clock.now)
        return scored(*given)

    monkeypatch.setattr(federation, "score_test", ended)
    train(config, open_blind=BlindSampler)
    return float(started[-1] - started[0])


@pytest.mark.parametrize("compute", CIRCUITS, ids=str)
def test_circuits_are_counted(
    compute: ComputeSpec, config: TrainingConfig, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shifted circuits one by one, exact gradients at the cost of three: what is foretold is what runs."""
    call = CompiledCircuit.__call__

    def counted(self: CompiledCircuit, inputs: Any, weights: Any, **options: Any) -> Any:
        if options.get("shots"):
            lead = torch.broadcast_shapes(inputs.shape[:-1], weights.shape[:-3])
            clock.now += math.prod(lead)
        return call(self, inputs, weights, **options)

    def exact(arch: Any, weights: Any, inputs: Any, labels: Any) -> Any:
        clock.now += estimate.GRADIENT_COST * labels.numel()
        return per_example_gradients(arch, weights, inputs, labels)

    monkeypatch.setattr(CompiledCircuit, "__call__", counted)
    for module in (estimate, computation):
        monkeypatch.setattr(module, "per_example_gradients", exact)
    config = replace(config, compute=compute)
    evaluations = 3 if compute.shots is None else 13
    assert foretold(config) == pytest.approx(evaluations * 2 * 2 * 2)
    clock.now = 0
    assert worked(config, clock, monkeypatch) == pytest.approx(evaluations * 2 * 2 * 2)


@pytest.mark.parametrize("settings", MESSAGES, ids=str)
def test_rounds_of_messages_are_counted(
    settings: dict[str, Any], config: TrainingConfig, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short probe foretells them; a job that noise fails is not foretold. Within two percent."""

    def counted(*args: Any, **options: Any) -> Any:
        clock.now += options["rounds"]
        return run_rounds(*args, **options)

    for module in (blind_sampler, verification_rounds):
        monkeypatch.setattr(module, "run_rounds", counted)
    config = replace(config, compute=BlindCompute(mode="transcript", **settings))
    seconds = foretold(config)
    assert clock.now <= 3 * 2 * estimate.PROBE_ROUNDS * 1.5
    assert worked(config, clock, monkeypatch) == pytest.approx(seconds, rel=0.02)
