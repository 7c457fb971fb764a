"""Noise on updates: its size, its guarantee against closed forms, its premises, and attackers who know it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.optimize import brentq

from qfl_sec.contracts import UPDATE_READERS, MechanismEvidence, Setup
from qfl_sec.defenses import GaussianNoise, LaplaceNoise, SecureAggregation, Stack
from qfl_sec.defenses.laplace_noise import budget_of_a_release
from qfl_sec.defenses.noisy_updates import clipped
from qfl_sec.federation import TrainingConfig, train
from qfl_sec.testing import check_defense

SETUP = Setup(
    schedule=((0, 1), (0, 2), (0, 1), (2, 0), (1, 0)),
    expected_sizes=(14.0, 14.0, 40.0, 14.0),
    local_steps=(1, 1, 2, 1),
    batch_size=4,
    sampling="fixed",
    optimizer="sgd",
    learning_rate=1.0,
    average="plain",
    n_parameters=6,
)
BOTH = [GaussianNoise(epsilon=2.0), LaplaceNoise(epsilon=2.0)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian_delta(epsilon: float, sensitivity: float, sigma: float) -> float:
    """Balle and Wang 2018, arXiv 1805.06530, Theorem 8."""
    a, b = sensitivity / (2 * sigma), epsilon * sigma / sensitivity
    return float(stats.norm.cdf(a - b) - math.exp(epsilon) * stats.norm.cdf(-a - b))


def pure_delta(epsilon: float, budget: float, count: int) -> float:
    """Kairouz, Oh and Viswanath 2015, arXiv 1311.0776: as many answers of randomized response."""
    p = 1 / (1 + math.exp(-budget))
    k = np.arange(count + 1)
    gap = stats.binom.pmf(k, count, p) - math.exp(epsilon) * stats.binom.pmf(k, count, 1 - p)
    return float(np.maximum(gap, 0).sum())


def test_gaussian_noise_is_the_least_by_the_closed_form() -> None:
    prepared = GaussianNoise(epsilon=2.0, delta=1e-3, clip_norm=0.5).prepare(SETUP)
    sigma = prepared.update_noise_std()
    exact = brentq(lambda s: gaussian_delta(2.0, 2 * 0.5 * math.sqrt(5), s) - 1e-3, 0.1, 100.0)
    assert exact <= sigma <= 1.005 * exact


@pytest.mark.parametrize(("epsilon", "count"), [(1.0, 1), (2.0, 5), (1.0, 40), (8.0, 40)])
def test_laplace_budget_is_the_largest_by_the_closed_form(epsilon: float, count: int) -> None:
    found = budget_of_a_release(epsilon, 1e-3, count)
    assert found >= epsilon / count
    if count > 1:
        exact = brentq(lambda b: pure_delta(epsilon, b, count) - 1e-3, epsilon / count / 2, epsilon)
        assert 0.98 * exact <= found <= 1.0001 * max(exact, epsilon / count)


@pytest.mark.parametrize("defense", BOTH, ids=lambda one: one.name)
def test_guarantees_are_for_clients_and_not_against_who_runs_their_circuits(
    defense: GaussianNoise | LaplaceNoise,
) -> None:
    found = defense.prepare(SETUP).guarantees(SETUP)
    assert {(one.adversary, one.client) for one in found} == {(who, c) for who in UPDATE_READERS for c in (0, 1, 2)}
    assert "quantum_server" not in UPDATE_READERS
    for one in found:
        assert (one.unit, one.adjacency, one.delta) == ("client", "replace-one", 1e-3)
        assert one.epsilon <= 2.0 and one.curve == one.in_batch_curve
        assert one.sampling.startswith("none claimed")
    worst = max(found, key=lambda one: one.epsilon)
    assert worst.client == 0 and worst.releases == 5 and worst.epsilon > 1.99
    for epsilon, delta in worst.curve[1:-1:32]:
        if isinstance(defense, GaussianNoise):
            exact = gaussian_delta(epsilon, 2 * math.sqrt(5), defense.prepare(SETUP).noise_multiplier)
        else:
            exact = pure_delta(epsilon, budget_of_a_release(2.0, 1e-3, 5), 5)
        assert exact <= delta + 1e-12
        assert delta <= 1.05 * exact + 1e-4


@pytest.mark.parametrize(("order", "norm"), [(1, 0.7), (2, 0.3)])
def test_clipping(order: int, norm: float) -> None:
    updates = torch.randn(50, 6, generator=generator(), dtype=torch.float64)
    updates[0] = 0
    updates[1] *= 1e-3
    updates[2, 3] = math.nan
    found = clipped(updates, norm, order=order)
    assert torch.equal(found[0], updates[0]) and torch.equal(found[1], updates[1]) and not found[2].any()
    norms = updates[3:].norm(p=order, dim=-1, keepdim=True)
    assert torch.allclose(found[3:], updates[3:] * (norm / norms).clamp(max=1), rtol=1e-12)
    point = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    slope = torch.autograd.grad(clipped(point, norm, order=order).sum(), point)[0]
    assert torch.equal(slope, torch.ones_like(slope))


@pytest.mark.parametrize("defense", BOTH, ids=lambda one: one.name)
def test_noise_is_what_was_calibrated(defense: GaussianNoise | LaplaceNoise) -> None:
    prepared = defense.prepare(SETUP)
    updates = 100 * torch.ones(2000, 6, dtype=torch.float64)
    noise = prepared.update(updates, round=0, generator=generator()) - prepared.expected_update(updates)
    unit = (noise / prepared.update_noise_std()).flatten().numpy()
    law = stats.norm if isinstance(defense, GaussianNoise) else stats.laplace(scale=math.sqrt(0.5))
    assert stats.kstest(unit, law.cdf).pvalue > 1e-3
    single = prepared.update(updates.float(), round=0, generator=generator())
    assert single.dtype == torch.float32


@pytest.mark.parametrize("defense", BOTH, ids=lambda one: one.name)
def test_a_training_bears_the_premises_out(
    defense: GaussianNoise | LaplaceNoise, small_training: TrainingConfig
) -> None:
    transcript = train(replace(small_training, defense=defense))
    assert [one.passed for one in transcript.metadata.premises] == [True, True, None, None]
    prepared = defense.prepare(SETUP)
    weak = MechanismEvidence(
        largest_contribution=1.0,
        noise_std=0.0,
        noise_draws=1000,
        sampling="fixed",
        largest_update_l1=2 * defense.clip_norm,
        largest_update_l2=2 * defense.clip_norm,
        update_noise_std=0.8 * prepared.update_noise_std(),
        update_noise_draws=10_000,
    )
    assert [one.passed for one in prepared.premises(weak)][:2] == [False, False]


@pytest.mark.parametrize("defense", BOTH, ids=lambda one: one.name)
def test_conformance(defense: GaussianNoise | LaplaceNoise) -> None:
    card = check_defense(defense)
    assert [one.name for one in card.checks if one.status == "failed"] == []


def test_bad_parameters_and_use_before_preparing() -> None:
    for kind in (GaussianNoise, LaplaceNoise):
        for field in ({"epsilon": 0.0}, {"epsilon": math.nan}, {"delta": 1.0}, {"clip_norm": -1.0}):
            with pytest.raises(ValueError, match=f"{next(iter(field))}="):
                kind(**{"epsilon": 1.0, **field})
        with pytest.raises(ValueError, match="to be prepared"):
            kind(epsilon=1.0).update_noise_std()
        with pytest.raises(ValueError, match="prepared for"):
            kind(epsilon=1.0).prepare(SETUP).guarantees(replace(SETUP, batch_size=5))


def test_a_stack_passes_the_noise_on() -> None:
    stack = Stack(defenses=(GaussianNoise(epsilon=2.0), SecureAggregation())).prepare(SETUP)
    alone = GaussianNoise(epsilon=2.0).prepare(SETUP)
    updates = 5 * torch.ones(2, 6, dtype=torch.float64)
    assert stack.update_noise_std() == pytest.approx(alone.update_noise_std())
    assert torch.equal(stack.expected_update(updates), alone.expected_update(updates))
