"""Membership from updates: the densities against scipy, the scores against the truth and against chance."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from torch import Tensor

from qfl_sec.attacks.likelihood_ratio import gaussian_log_ratios, mixed_with_absence, repeated_log_ratios
from qfl_sec.attacks.reference_statistics import shrunk_covariance
from qfl_sec.attacks.update_membership import UpdateMembership
from qfl_sec.contracts import (
    AggregateView,
    GlobalModelsView,
    MembershipScores,
    NotApplicableError,
    UpdatesView,
    visible,
)
from qfl_sec.gradients import per_example_gradients


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scores(played) -> Tensor:
    found = UpdateMembership().run(played.view, played.knowledge, generator=torch.Generator().manual_seed(0))
    assert isinstance(found, MembershipScores)
    return found.values


def auc(values: Tensor, positives: Tensor) -> float:
    """Mann-Whitney's statistic; ties count half."""
    gaps = values[positives].unsqueeze(1) - values[~positives]
    return float((gaps > 0).double().mean() + (gaps == 0).double().mean() / 2)


def pooled(played_rounds, *, positive: str) -> float:
    """Return the AUC over several games: records in the batch, or members, against non-members of the same clients."""
    values, truth = [], []
    for played in played_rounds:
        found = scores(played)
        used = torch.zeros(len(played.members), dtype=torch.bool)
        used[played.used[played.used >= 0]] = True
        seen = torch.isin(played.knowledge.candidates.clients, torch.tensor(played.view.setup.schedule))
        kept = seen & (used | ~played.members) if positive == "used" else seen
        values.append(found[kept])
        truth.append(used[kept] if positive == "used" else played.members[kept])
    return auc(torch.cat(values), torch.cat(truth))


def test_gaussian_ratio_equals_scipy() -> None:
    spread, offset, shifts = random(60, 5), random(5), random(7, 5)
    without = spread.mT @ spread / 60
    within = 0.6 * without + 0.1 * torch.eye(5, dtype=torch.float64)
    found = gaussian_log_ratios(offset, shifts, without, within)
    outside = scipy.stats.multivariate_normal(np.zeros(5), without.numpy()).logpdf(offset.numpy())
    for row in range(7):
        inside = scipy.stats.multivariate_normal(shifts[row].numpy(), within.numpy()).logpdf(offset.numpy())
        assert float(found[row]) == pytest.approx(inside - outside, abs=1e-5)


@pytest.mark.parametrize("rate", [0.3, 1.0])
@pytest.mark.parametrize("draws", [1, 3])
def test_repeated_ratio_equals_a_loop_over_counts(draws: int, rate: float) -> None:
    spread, offset, shifts = random(60, 4), random(4), random(5, 4)
    covariance = spread.mT @ spread / 60
    found = repeated_log_ratios(offset, shifts, covariance, draws, rate)
    density = scipy.stats.multivariate_normal(np.zeros(4), covariance.numpy())
    for row in range(5):
        terms = [
            scipy.stats.binom(draws, rate).logpmf(k) + density.logpdf((offset - k * shifts[row]).numpy())
            for k in range(draws + 1)
        ]
        expected = scipy.special.logsumexp(terms) - density.logpdf(offset.numpy())
        assert float(found[row]) == pytest.approx(expected, abs=1e-5)


def test_absence_bounds_the_evidence_against() -> None:
    ratios = torch.tensor([-1e9, 0.0, 800.0, 3.0], dtype=torch.float64)
    found = mixed_with_absence(ratios, 0.25)
    assert found.tolist() == pytest.approx(
        [math.log(0.75), 0.0, 800 + math.log(0.25), math.log(0.75 + 0.25 * math.exp(3))]
    )
    assert torch.equal(mixed_with_absence(ratios, 1.0), ratios)


def test_shrunk_covariance_is_regular_without_variance_and_without_records() -> None:
    flat = random(30, 6) * torch.tensor([1.0, 2.0, 0.0, 0.0, 1.0, 3.0], dtype=torch.float64)
    for samples in (flat, torch.zeros(10, 6, dtype=torch.float64), flat[:1]):
        assert bool(torch.isfinite(torch.linalg.cholesky(shrunk_covariance(samples))).all())
    many = random(20000, 6)
    assert torch.allclose(shrunk_covariance(many), torch.eye(6, dtype=torch.float64), atol=0.05)


def test_one_round_equals_brute_force(federation: Callable) -> None:
    """Gradients by autograd, densities by scipy, the formula written out record after record."""
    played = federation(batch_size=2, rounds=1, layers=2)
    view, known, setup = played.view, played.knowledge, played.view.setup

    def gradients(records) -> Tensor:
        rows = []
        for feature, label in zip(records.features, records.labels, strict=True):
            leaf = view.global_weights[0].clone().requires_grad_()
            logits = known.architecture.outputs(leaf, feature).unsqueeze(0)
            rows.append(torch.autograd.grad(torch.nn.functional.cross_entropy(logits, label.unsqueeze(0)), leaf)[0])
        return torch.stack(rows)

    reference, own = gradients(known.reference), gradients(known.candidates)
    mean, covariance = reference.mean(0), shrunk_covariance(reference)
    without = scipy.stats.multivariate_normal(mean.numpy(), (covariance / 2).numpy())
    expected = torch.zeros(len(own), dtype=torch.float64)
    for place, client in enumerate(setup.schedule[0]):
        sent = -view.updates[0, place] / setup.learning_rate
        rate = 2 / setup.expected_sizes[client]
        for row in (known.candidates.clients == client).nonzero().squeeze(-1).tolist():
            within = scipy.stats.multivariate_normal((mean + (own[row] - mean) / 2).numpy(), (covariance / 4).numpy())
            ratio = within.logpdf(sent.numpy()) - without.logpdf(sent.numpy())
            expected[row] = np.logaddexp(math.log(1 - rate), math.log(rate) + ratio)
    assert torch.allclose(scores(played), expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 2])
def test_a_sum_equals_brute_force(federation: Callable, gaussian: type, steps: int) -> None:
    """Two clients of different shares and steps: the density of their noisy sum, written out for every candidate."""
    noise = 0.05
    played = federation(batch_size=2, rounds=1, layers=2, defense=gaussian(noise=noise))
    sizes = torch.tensor([30.0, 10.0, 10.0, 30.0], dtype=torch.float64)
    chosen = list(played.view.setup.schedule[0])
    shares = sizes[chosen] / sizes[chosen].sum()
    setup = replace(
        played.view.setup,
        expected_sizes=tuple(sizes.tolist()),
        average="weighted",
        local_steps=tuple(steps if client == chosen[0] else 1 for client in range(4)),
    )
    played = replace(played, view=replace(played.view, setup=setup)).summed(shares=shares.expand(1, 2))
    view, known = played.view, played.knowledge
    assert isinstance(view, AggregateView)
    arch, weights = known.architecture, view.global_weights[0]
    reference, own = (
        per_example_gradients(arch, weights, records.features, records.labels)
        for records in (known.reference, known.candidates)
    )
    mean, covariance = reference.mean(0), shrunk_covariance(reference)
    eye = torch.eye(len(mean), dtype=torch.float64)
    counts = [2 * setup.local_steps[client] for client in chosen]
    factors = [-setup.learning_rate * float(s) * setup.local_steps[c] for s, c in zip(shares, chosen, strict=True)]
    spreads = [
        f**2 * (covariance / count + noise**2 * 2 / count * eye) for f, count in zip(factors, counts, strict=True)
    ]
    without = scipy.stats.multivariate_normal((sum(factors) * mean).numpy(), sum(spreads).numpy())
    expected = torch.zeros(len(own), dtype=torch.float64)
    for client, factor, count in zip(chosen, factors, counts, strict=True):
        inside = sum(spreads) - factor**2 * covariance / count**2
        rate = min(1.0, count / float(sizes[client]))
        for row in (known.candidates.clients == client).nonzero().squeeze(-1).tolist():
            middle = sum(factors) * mean + factor * (own[row] - mean) / count
            within = scipy.stats.multivariate_normal(middle.numpy(), inside.numpy())
            seen = view.aggregates[0].numpy()
            ratio = within.logpdf(seen) - without.logpdf(seen)
            expected[row] = np.logaddexp(math.log1p(-rate), math.log(rate) + ratio)
    assert torch.allclose(scores(played), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sampling", ["fixed", "poisson"])
def test_a_sum_of_one_is_an_update(federation: Callable, gaussian: type, sampling: str) -> None:
    defense = gaussian(clip_norm=0.2, divisor=4, noise=0.01)
    played = federation(rounds=2, per_round=1, sampling=sampling, defense=defense)
    assert torch.allclose(scores(played.summed()), scores(played), atol=1e-9)


@pytest.mark.parametrize("sampling", ["fixed", "poisson"])
def test_differences_of_broadcasts_score_like_sums(federation: Callable, gaussian: type, sampling: str) -> None:
    defense = gaussian(clip_norm=0.2, divisor=4, noise=0.01)
    played = federation(rounds=3, per_round=3, sampling=sampling, defense=defense)
    given = scores(played.summed())
    assert torch.allclose(scores(played.broadcast()), given, atol=1e-9)
    assert torch.allclose(scores(played.broadcast(torch.float32)), given, atol=0.05, rtol=0.01)
    assert float(given.abs().max()) > 0.1


@pytest.mark.parametrize("sampling", ["fixed", "poisson"])
def test_sums_hide_records_like_larger_batches(federation: Callable, gaussian: type, sampling: str) -> None:
    """What matters is how many records are behind what is seen, not how many clients."""
    fields = {"sampling": sampling, "rounds": 4, "defense": gaussian(clip_norm=1.0, divisor=2)}
    games = [federation(batch_size=2, per_round=2, seed=seed, **fields) for seed in range(4)]
    single = pooled(games, positive="used")
    pair = pooled([game.summed() for game in games], positive="used")
    four = pooled(
        [federation(batch_size=2, per_round=4, seed=seed, **fields).summed() for seed in range(4)], positive="used"
    )
    assert single > pair > four > 0.55
    fields["defense"] = gaussian(clip_norm=1.0, divisor=4)
    larger = pooled([federation(batch_size=4, per_round=2, seed=seed, **fields) for seed in range(4)], positive="used")
    assert pair == pytest.approx(larger, abs=0.1)
    assert pair > 0.7


def test_noise_of_all_clients_adds_up_in_a_sum(federation: Callable, gaussian: type) -> None:
    found = []
    for noise in (0.01, 3.0):
        games = [federation(rounds=2, seed=seed, defense=gaussian(noise=noise)).summed() for seed in range(6)]
        found.append(pooled(games, positive="used"))
    assert found[0] > found[1]
    assert abs(found[1] - 0.5) < 0.15


def test_without_signal_sums_are_at_chance(federation: Callable) -> None:
    """The next candidate's record in each candidate's place; its owner stays, so that only signal could tell."""
    values, truth = [], []
    for seed in range(6):
        played = federation(rounds=6, per_round=4, batch_size=1, seed=seed).summed()
        candidates = played.knowledge.candidates
        rolled = replace(candidates, features=candidates.features.roll(1, 0), labels=candidates.labels.roll(1, 0))
        values.append(scores(replace(played, knowledge=replace(played.knowledge, candidates=rolled))))
        truth.append(played.members)
    positives = torch.cat(truth)
    n1, n0 = int(positives.sum()), int((~positives).sum())
    assert abs(auc(torch.cat(values), positives) - 0.5) < 3.3 * math.sqrt((n0 + n1 + 1) / (12 * n0 * n1))


def test_records_in_the_batch_stand_out_less_in_larger_batches(federation: Callable) -> None:
    found = [
        pooled([federation(batch_size=size, rounds=1, seed=seed) for seed in range(6)], positive="used")
        for size in (1, 4, 12)
    ]
    assert found[0] > 0.99
    assert 0.8 < found[1] < 0.99
    assert found[0] > found[1] > found[2] > 0.5


def test_noise_hides_the_records(federation: Callable, gaussian: type) -> None:
    found = [
        pooled(
            [federation(batch_size=4, rounds=1, seed=seed, defense=gaussian(noise=noise)) for seed in range(6)],
            positive="used",
        )
        for noise in (0.01, 0.1, 3.0)
    ]
    assert found[0] > found[1] > found[2]
    assert abs(found[2] - 0.5) < 0.15


@pytest.mark.parametrize("batch_size", [1, 2])
def test_both_covariances_beat_one(federation: Callable, batch_size: int) -> None:
    """With the covariance of a batch without the record used for both, small batches are judged worse."""
    played = federation(rounds=1, batch_size=1)
    candidates, reference = played.knowledge.candidates, played.knowledge.reference
    generator = torch.Generator().manual_seed(1)
    both, one, truth = [], [], []
    for _ in range(30):
        weights = 2 * math.pi * torch.rand(36, generator=generator, dtype=torch.float64)
        arch = played.knowledge.architecture
        own = per_example_gradients(arch, weights, candidates.features, candidates.labels)
        public = per_example_gradients(arch, weights, reference.features, reference.labels)
        mean, covariance = public.mean(0), shrunk_covariance(public)
        rows = torch.randperm(len(own), generator=generator)[:batch_size]
        noise = 0.05 * torch.randn(36, generator=generator, dtype=torch.float64)
        offset, shifts = own[rows].mean(0) + noise - mean, (own - mean) / batch_size
        added = 0.05**2 * torch.eye(36, dtype=torch.float64)
        without = covariance / batch_size + added
        within = covariance * (batch_size - 1) / batch_size**2 + added
        both.append(gaussian_log_ratios(offset, shifts, without, within))
        one.append(gaussian_log_ratios(offset, shifts, without, without))
        truth.append(torch.zeros(len(own), dtype=torch.bool).index_fill(0, rows, True))
    assert auc(torch.cat(both), torch.cat(truth)) > auc(torch.cat(one), torch.cat(truth)) + 0.005


def test_evidence_adds_up_over_rounds(federation: Callable) -> None:
    few = pooled([federation(rounds=1, seed=seed) for seed in range(4)], positive="members")
    many = pooled([federation(rounds=12, per_round=4, seed=seed) for seed in range(4)], positive="members")
    assert many > few + 0.1
    assert many > 0.7


@pytest.mark.parametrize("sampling", ["fixed", "poisson"])
def test_clipped_and_noisy_sums_are_understood(federation: Callable, gaussian: type, sampling: str) -> None:
    defense = gaussian(clip_norm=0.2, divisor=4, noise=0.002)
    games = [federation(rounds=8, per_round=4, seed=seed, sampling=sampling, defense=defense) for seed in range(3)]
    assert pooled(games, positive="members") > 0.65
    blind = [replace(game, knowledge=replace(game.knowledge, defense=None)) for game in games]
    assert pooled(games, positive="members") > pooled(blind, positive="members")


def test_several_local_steps_still_leak(federation: Callable) -> None:
    games = [federation(rounds=8, per_round=4, local_steps=2, learning_rate=0.2, seed=seed) for seed in range(3)]
    assert pooled(games, positive="members") > 0.65


def test_without_signal_it_is_at_chance(federation: Callable) -> None:
    """Every candidate is laid at the next client's door, whose updates it never entered."""
    values, truth = [], []
    for seed in range(6):
        played = federation(rounds=6, per_round=4, seed=seed)
        candidates = played.knowledge.candidates
        moved = replace(candidates, clients=(candidates.clients + 1) % 4)
        values.append(scores(replace(played, knowledge=replace(played.knowledge, candidates=moved))))
        truth.append(played.members)
    positives = torch.cat(truth)
    n1, n0 = int(positives.sum()), int((~positives).sum())
    deviation = math.sqrt((n0 + n1 + 1) / (12 * n0 * n1))  # of the Mann-Whitney statistic under the null
    assert abs(auc(torch.cat(values), positives) - 0.5) < 3.3 * deviation


def test_clients_never_selected_score_zero(federation: Callable) -> None:
    played = federation(rounds=1, clients=4, per_round=2)
    absent = ~torch.isin(played.knowledge.candidates.clients, played.view.selected)
    found = scores(played)
    assert bool(absent.any())
    assert torch.equal(found[absent], torch.zeros_like(found[absent]))
    assert bool((found[~absent] != 0).all())


def test_same_scores_again_and_no_randomness_used(federation: Callable) -> None:
    played = federation(rounds=2)
    before = torch.get_rng_state()
    generator = torch.Generator().manual_seed(3)
    untouched = generator.get_state()
    first = UpdateMembership().run(played.view, played.knowledge, generator=generator).values
    assert torch.equal(first, scores(played))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(untouched, generator.get_state())


def test_single_precision_updates_are_read(federation: Callable) -> None:
    played = federation(rounds=2)
    view = replace(played.view, updates=played.view.updates.float(), global_weights=played.view.global_weights.float())
    single = scores(replace(played, view=view))
    assert single.dtype == torch.float64
    assert torch.allclose(single, scores(played), atol=0.05, rtol=0.01)


def test_adam_is_not_applicable(federation: Callable) -> None:
    played = federation(rounds=1, optimizer="adam", learning_rate=0.01)
    with pytest.raises(NotApplicableError, match="adam"):
        scores(played)


def test_it_declares_what_it_needs(federation: Callable) -> None:
    assert not UpdateMembership().knows_labels
    assert visible(UpdateMembership.requires, UpdatesView)
    assert visible(UpdateMembership.requires, AggregateView)
    assert visible(UpdateMembership.requires, GlobalModelsView)
    assert not visible(UpdateMembership.requires, None)
    played = federation(rounds=1)
    with pytest.raises(ValueError, match="candidates"):
        scores(replace(played, knowledge=replace(played.knowledge, candidates=None)))
    setup = played.view.setup
    assert UpdateMembership().circuit_evaluations(setup, view=UpdatesView, candidates=10, reference=5) == 3 * 15
