"""The round loop, held against a slow and obvious one, and against what a federation must be."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from qfl_sec.contracts import Defense
from qfl_sec.federation import FederationSpec, TrainingConfig, build_model, toss_membership, train
from qfl_sec.plugins import get
from qfl_sec.randomness import Streams
from qfl_sec.rounds import wrap_angles
from qfl_sec.transcript import Transcript


def client_by_client(config: TrainingConfig, transcript: Transcript) -> Tensor:
    """Train again with torch's own modules and optimizers, one client after another; return the updates."""
    population = config.population()
    module, _ = build_model(config, population.splits)
    (name, parameter), *_ = [*module.named_parameters()]
    records = population.candidates(config.federation.dtype)
    assert transcript.truth is not None
    weights = parameter.detach().clone()
    everyone = []
    for round_, chosen in enumerate(transcript.metadata.setup.schedule):
        updates = []
        for slot, _client in enumerate(chosen):
            used = transcript.truth.batch_records[round_, slot].reshape(max(transcript.metadata.setup.local_steps), -1)
            local = torch.nn.Parameter(weights.clone())
            optimizer = torch.optim.SGD([local], lr=config.federation.learning_rate)
            for batch in used:
                rows = batch[batch >= 0]
                if len(rows) == 0:
                    continue
                optimizer.zero_grad()
                outputs = functional_call(module, {name: local}, records.features[rows])
                torch.nn.functional.cross_entropy(outputs, records.labels[rows]).backward()
                optimizer.step()
            updates.append((local - weights).detach())
        everyone.append(torch.stack(updates).flatten(1))
        weights = weights + torch.stack(updates).mean(0)
    return torch.stack(everyone)


@pytest.mark.parametrize("steps", [{"local_steps": 1}, {"local_steps": 3}, {"local_epochs": 1}])
def test_one_tensor_program_equals_client_by_client(small_training: TrainingConfig, steps: dict[str, int]) -> None:
    federation = replace(small_training.federation, **({"local_steps": None, "local_epochs": None} | steps))
    config = replace(small_training, federation=federation)
    transcript = train(config)
    expected = client_by_client(config, transcript)
    assert torch.allclose(transcript.updates, wrap_angles(expected, torch.ones(24, dtype=torch.bool)), atol=1e-12)
    assert torch.allclose(transcript.global_weights[1:], transcript.global_weights[:-1] + transcript.aggregates)


def test_batches_hold_members_of_their_client_only(small_training: TrainingConfig) -> None:
    transcript = train(small_training)
    truth = transcript.truth
    assert truth is not None
    for round_, chosen in enumerate(transcript.metadata.setup.schedule):
        for slot, client in enumerate(chosen):
            rows = truth.batch_records[round_, slot]
            rows = rows[rows >= 0]
            assert bool(truth.members[rows].all())
            assert bool((truth.clients[rows] == client).all())
    labels = small_training.population().splits.candidates.labels
    used = truth.batch_records
    assert bool((transcript.batch_labels[used >= 0] == labels[used[used >= 0]]).all())
    assert bool((transcript.batch_labels[used < 0] == -1).all())


def test_same_seed_same_bytes_and_another_seed_others(small_training: TrainingConfig) -> None:
    first, again = train(small_training), train(small_training)
    other = train(replace(small_training, seed=1))
    assert torch.equal(first.updates, again.updates)
    assert not torch.equal(first.global_weights, other.global_weights)


def test_membership_coins_are_fair_and_independent_of_the_model() -> None:
    coins = np.concatenate([toss_membership(1000, seed) for seed in range(10)])
    assert abs(coins.mean() - 0.5) < 5 * 0.5 / math.sqrt(len(coins))


def test_settings_of_one_seed_are_paired(small_training: TrainingConfig) -> None:
    private = replace(small_training, defense=get("defense", "dp_sgd")(epsilon=4.0, delta=1e-3, clip_norm=0.5))
    undefended, defended = train(small_training), train(private)
    assert torch.equal(undefended.global_weights[0], defended.global_weights[0])
    assert torch.equal(undefended.selected, defended.selected)
    assert undefended.truth is not None and defended.truth is not None
    assert torch.equal(undefended.truth.members, defended.truth.members)


def test_a_federation_of_one_client_with_all_records_is_plain_training(small_training: TrainingConfig) -> None:
    central = train(replace(small_training, kind="centralised"))
    assert central.metadata.setup.clients == 1
    assert central.metadata.setup.batch_size == 8
    assert torch.equal(central.aggregates, central.updates[:, 0])


def test_the_classical_control_has_as_many_parameters(small_training: TrainingConfig) -> None:
    classical = train(replace(small_training, kind="classical"))
    assert classical.metadata.setup.n_parameters == train(small_training).metadata.setup.n_parameters == 24


def test_weighted_average_weighs_by_members(small_training: TrainingConfig) -> None:
    federation = replace(small_training.federation, average="weighted", partition="dirichlet", alpha=0.3)
    transcript = train(replace(small_training, federation=federation))
    truth = transcript.truth
    assert truth is not None
    sizes = torch.stack([truth.members[truth.clients == client].sum() for client in range(4)]).double()
    for round_, chosen in enumerate(transcript.metadata.setup.schedule):
        shares = sizes[list(chosen)] / sizes[list(chosen)].sum()
        assert torch.allclose(shares @ transcript.updates[round_], transcript.aggregates[round_], atol=1e-12)


def test_wrap_angles_maps_to_the_half_open_circle() -> None:
    angles = torch.tensor([0.0, math.pi, -math.pi, 3 * math.pi / 2, -3 * math.pi / 2, 2 * math.pi], dtype=torch.float64)
    expected = torch.tensor([0.0, math.pi, math.pi, -math.pi / 2, math.pi / 2, 0.0], dtype=torch.float64)
    assert torch.allclose(wrap_angles(angles, torch.ones(6, dtype=torch.bool)), expected, atol=1e-12)
    assert torch.equal(wrap_angles(angles, torch.zeros(6, dtype=torch.bool)), angles)


@dataclass(frozen=True, kw_only=True)
class NoiseOnly(Defense):
    """Replaces every gradient by noise of standard deviation one, so that nothing else varies."""

    name: ClassVar[str] = "noise_only"

    def expected_gradient(self, per_example: Tensor, mask: Tensor) -> Tensor:
        return torch.zeros_like(per_example[..., 0, :])

    def gradient(self, per_example: Tensor, mask: Tensor, *, step: int, generator: torch.Generator) -> Tensor:
        shape = per_example[..., 0, :].shape
        return torch.randn(shape, generator=generator, dtype=per_example.dtype)


@pytest.mark.parametrize("steps", [1, 4])
def test_released_noise_adds_up_over_local_steps(small_training: TrainingConfig, steps: int) -> None:
    federation = FederationSpec(
        clients=4, clients_per_round=4, rounds=40, local_steps=steps, learning_rate=0.1, precision="double"
    )
    transcript = train(replace(small_training, federation=federation, defense=NoiseOnly()))
    expected = 0.1 * math.sqrt(steps)
    draws = transcript.updates.numel()
    # The standard deviation of n normal draws has a relative error of 1 / sqrt(2 n).
    assert float(transcript.updates.std()) == pytest.approx(expected, rel=5 / math.sqrt(2 * draws))


@pytest.mark.parametrize("steps", [1, 3])
def test_released_dp_noise_has_the_calibrated_standard_deviation(small_training: TrainingConfig, steps: int) -> None:
    """The model forgets its inputs: with a clip far below the gradients' scale, updates are almost pure noise."""
    clip = 1e-9
    federation = FederationSpec(clients=4, clients_per_round=4, rounds=30, local_steps=steps, learning_rate=0.5)
    defense = get("defense", "dp_sgd")(epsilon=2.0, delta=1e-3, clip_norm=clip)
    config = replace(small_training, federation=federation, defense=defense)
    transcript = train(config)
    prepared = defense.prepare(transcript.metadata.setup)
    noise = prepared.noise_std()
    assert noise > 0.2 * clip / federation.batch_size
    signal = clip * 2  # at most a few records of norm `clip` over the batch size, each step
    measured = float(transcript.updates.std())
    expected = 0.5 * noise * math.sqrt(steps)
    slack = 5 / math.sqrt(2 * transcript.updates.numel()) + (signal / noise / 24) ** 2
    assert measured == pytest.approx(expected, rel=slack)


def test_adam_moves_each_weight_by_the_learning_rate_at_first(small_training: TrainingConfig) -> None:
    federation = replace(small_training.federation, optimizer="adam", learning_rate=0.01)
    transcript = train(replace(small_training, federation=federation))
    moved = transcript.updates[transcript.updates.abs() > 1e-6].abs()
    assert float(moved.max()) <= 0.01 + 1e-9
    assert float(moved.median()) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"clients": 0}, "Expected clients=0 >= 1"),
        ({"clients_per_round": 11}, "clients_per_round=11 <= clients=10"),
        ({"rounds": -1}, "Expected rounds=-1 >= 1"),
        ({"learning_rate": 0.0}, "Expected learning_rate=0.0 > 0"),
        ({"learning_rate": float("nan")}, "Expected learning_rate=nan > 0"),
        ({"local_steps": 1, "local_epochs": 1}, "not both"),
        ({"partition": "dirichlet"}, "has no alpha"),
        ({"alpha": 0.5}, "Remove it"),
    ],
)
def test_impossible_federations_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        FederationSpec(**change)  # type: ignore[arg-type]


def test_streams_differ_by_role() -> None:
    assert Streams(0).numpy("noise").random() != Streams(0).numpy("split").random()


@dataclass(frozen=True, kw_only=True)
class Meddler(Defense):
    """Writes into what it is handed, or returns something of another shape."""

    name: ClassVar[str] = "meddler"
    fault: str = "writes"

    def gradient(self, per_example: Tensor, mask: Tensor, *, step: int, generator: torch.Generator) -> Tensor:
        result = super().gradient(per_example, mask, step=step, generator=generator)
        per_example.zero_()
        mask.zero_()
        faults = {"narrow": result[:, :1], "single": result.float(), "writes": result}
        return faults[self.fault]

    def aggregate(self, updates: Tensor, weights: Tensor, *, round: int, generator: torch.Generator) -> Tensor:
        result = super().aggregate(updates, weights, round=round, generator=generator)
        updates.zero_()
        return result


def test_a_defense_that_writes_into_its_input_changes_nothing(small_training: TrainingConfig) -> None:
    meddled, plain = train(replace(small_training, defense=Meddler())), train(small_training)
    assert torch.equal(meddled.updates, plain.updates)
    assert torch.equal(meddled.global_weights, plain.global_weights)


@pytest.mark.parametrize("fault", ["narrow", "single"])
def test_a_hook_that_returns_something_else_is_refused(small_training: TrainingConfig, fault: str) -> None:
    with pytest.raises(ValueError, match="The defense's gradient hook returned"):
        train(replace(small_training, defense=Meddler(fault=fault)))
