"""Gradient inversion: what it rebuilds, what it cannot, and the simulated client behind it."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import scipy.optimize
import torch
from torch import Tensor

from qfl_sec.attacks.client_update import ClientUpdate
from qfl_sec.attacks.gradient_inversion import GradientInversion
from qfl_sec.attacks.inversion_problem import InversionProblem, _assumed_mask, _grid, pose
from qfl_sec.contracts import (
    AggregateView,
    GlobalModelsView,
    NotApplicableError,
    Reconstructions,
    Setup,
    UpdatesView,
    visible,
)

WIDTH = 2.0  # of the features' range


def attack(played, *, seed: int = 0, **fields: object) -> Reconstructions:
    generator = torch.Generator().manual_seed(seed)
    return GradientInversion(**({"labels": "known"} | fields)).run(played.view, played.knowledge, generator=generator)  # type: ignore[arg-type]


def errors(played, found: Reconstructions) -> Tensor:
    """Return the mean squared error of each true record after the best assignment, target after target."""
    result = []
    for (round_, place), records, labels in zip(
        found.targets.tolist(), found.answers(), found.labels[:, 0], strict=True
    ):
        rows = played.used[round_].flatten() if place < 0 else played.used[round_, place]
        truth = played.knowledge.candidates.features[rows[rows >= 0]]
        cost = (records[labels >= 0].unsqueeze(1) - truth).square().mean(-1)
        guess, own = scipy.optimize.linear_sum_assignment(cost.numpy())
        result.append(cost[guess, own])
    return torch.cat(result)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_simulated_update_equals_torch_optimizers(federation: Callable, gaussian: type, optimizer: str, steps: int):
    defense = gaussian(clip_norm=0.2)
    played = federation(
        classical=steps == 3,
        batch_size=2,
        rounds=1,
        local_steps=steps,
        optimizer=optimizer,
        learning_rate=0.1,
        defense=defense,
    )
    rows = played.used[0].reshape(2, steps, 2)
    pool = played.knowledge.candidates
    update, _ = client(played, defense).with_jacobian(pool.features[rows], pool.labels[rows])
    # Adam blows up the rounding of gradients that are zero by up to 1e8.
    assert torch.allclose(update, played.view.updates[0], atol=1e-12 if optimizer == "sgd" else 1e-8)


def client(played, defense) -> ClientUpdate:
    setup, places = played.view.setup, played.view.selected.shape[1]
    steps = setup.local_steps[0]
    return ClientUpdate(
        architecture=played.knowledge.architecture,
        defense=defense,
        optimizer=setup.optimizer,
        learning_rate=setup.learning_rate,
        weights=played.view.global_weights[0].expand(places, -1),
        mask=torch.ones(places, steps, played.used.shape[-1] // steps, dtype=torch.bool),
        steps_made=torch.full((places,), steps),
    )


@pytest.mark.parametrize("clip_norm", [math.inf, 0.2])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_jacobian_equals_central_differences(federation: Callable, gaussian: type, optimizer: str, clip_norm: float):
    defense = gaussian(clip_norm=clip_norm, divisor=None if math.isinf(clip_norm) else 2)
    played = federation(classical=True, batch_size=2, rounds=1, local_steps=2, optimizer=optimizer, learning_rate=0.1)
    model = client(played, defense)
    model = replace(model, steps_made=torch.tensor([2, 1]))
    rows = played.used[0].reshape(2, 2, 2)
    pool = played.knowledge.candidates
    features, labels = pool.features[rows], pool.labels[rows]
    update, jacobian = model.with_jacobian(features, labels)
    assert jacobian.shape == (*update.shape, 16)
    felt = update.abs() > 1e-4  # elsewhere Adam divides rounding by rounding
    size = 1e-6
    for unknown in range(0, 16, 3):
        shift = torch.zeros(16, dtype=torch.float64)
        shift[unknown] = size
        above = model.with_jacobian(features + shift.reshape(2, 2, 4), labels)[0]
        below = model.with_jacobian(features - shift.reshape(2, 2, 4), labels)[0]
        assert torch.allclose(jacobian[..., unknown][felt], ((above - below) / (2 * size))[felt], atol=1e-6)
    assert int(felt.sum()) >= 20
    assert torch.equal(jacobian[1, :, 8:], torch.zeros_like(jacobian[1, :, 8:]))


def test_single_records_are_rebuilt_to_machine_precision(federation: Callable) -> None:
    played = federation(batch_size=1, rounds=12)
    found = attack(played, targets=24)
    exact = errors(played, found).sqrt() / WIDTH < 1e-6
    assert len(exact) == 24
    assert float(exact.double().mean()) >= 0.95
    assert found.ranks.tolist() == [4] * 24 == found.unknowns.tolist()


def test_batches_of_four_are_rebuilt_from_three_layers(federation: Callable) -> None:
    played = federation(rounds=2)
    found = attack(played, targets=4, restarts=48)
    assert found.records.shape == (4, 48, 4, 4)
    assert (found.equations, found.unknowns.tolist(), found.ranks.tolist()) == (36, [16] * 4, [16] * 4)
    assert float((errors(played, found) < 1e-3).double().mean()) >= 0.75


def test_two_layers_fit_exactly_and_rebuild_little(federation: Callable) -> None:
    """Of 24 parameters 15 act on the qubits read out: exact preimages that are not the data."""
    played = federation(layers=2, rounds=2)
    found = attack(played, targets=3, restarts=6, iterations=30)
    assert found.equations == 24
    assert found.ranks.tolist() == [15] * 3
    assert float(found.residuals.amin(1).median()) < 1e-24
    assert float((errors(played, found) < 1e-3).double().mean()) <= 0.25


@pytest.mark.parametrize("labels", ["known", "searched"])
def test_sums_of_two_single_records_are_rebuilt_to_machine_precision(federation: Callable, labels: str) -> None:
    """Eight unknowns, 36 equations."""
    played = federation(batch_size=1, rounds=12).summed()
    found = attack(played, targets=12, labels=labels)
    assert (found.equations, found.unknowns.tolist(), found.ranks.tolist()) == (36, [8] * 12, [8] * 12)
    assert found.targets.tolist() == [[round_, -1] for round_ in range(12)]
    exact = errors(played, found).sqrt() / WIDTH < 1e-6
    assert len(exact) == 24
    assert float(exact.double().mean()) >= 0.95
    moved = replace(found, targets=found.targets.roll(1, 0))
    assert float((errors(played, moved) < 1e-3).double().mean()) <= 0.1


@pytest.mark.parametrize(("dtype", "digits"), [(torch.float64, 1e-6), (torch.float32, 1e-3)])
def test_differences_of_broadcasts_give_away_what_sums_do(
    federation: Callable, dtype: torch.dtype, digits: float
) -> None:
    played = federation(batch_size=1, rounds=12)
    found = attack(played.broadcast(dtype), targets=12)
    assert (found.unknowns.tolist(), found.ranks.tolist()) == ([8] * 12, [8] * 12)
    assert found.targets.tolist() == [[round_, -1] for round_ in range(12)]
    rebuilt = errors(played, found).sqrt() / WIDTH < digits
    assert len(rebuilt) == 24
    assert float(rebuilt.double().mean()) >= 0.95
    if dtype == torch.float64:
        given = attack(played.summed(), targets=12)
        same = (found.answers() - given.answers()).abs().flatten(1).amax(1) < 1e-6
        assert float(same.double().mean()) >= 0.9


def test_a_round_that_left_the_model_alone_is_not_attacked(federation: Callable) -> None:
    played = federation(batch_size=1, rounds=3).summed()
    still = replace(played.view, aggregates=played.view.aggregates * torch.tensor([1.0, 0.0, 1.0]).unsqueeze(1))
    found = attack(replace(played, view=still).broadcast(), restarts=1, iterations=1)
    assert found.targets.tolist() == [[0, -1], [2, -1]]
    quiet = replace(still, aggregates=torch.zeros_like(still.aggregates))
    with pytest.raises(NotApplicableError, match="nothing to rebuild"):
        attack(replace(played, view=quiet).broadcast())


def test_sums_in_fixed_point_are_rebuilt_to_their_resolution(federation: Callable) -> None:
    played = federation(batch_size=2, rounds=3).summed(fraction_bits=24)
    found = attack(played, targets=3)
    assert float((errors(played, found).sqrt() / WIDTH < 1e-4).double().mean()) >= 0.9
    # what rounding leaves counts as solved: the restarts of a target that is stop there
    assert float(found.residuals.amin(1).amax()) < 36 * 2.0**-48
    sent, told = (at_the_records(one)[0] for one in (played, played.broadcast()))
    assert torch.allclose(sent.solved, told.solved, rtol=1e-3)
    assert float(told.solved.min()) > 2.0**-48


def test_the_grid_of_fixed_point_numbers_is_seen() -> None:
    values = torch.randint(-1000, 1000, (4, 36), generator=torch.Generator().manual_seed(0)).double()
    assert _grid(values / 2**24) == 2.0**-24
    assert _grid(values) == 1.0
    assert _grid(values / 3) == 0.0
    off = values / 2**24 + 1e-15
    assert _grid(off) == 0.0
    assert _grid(off, slack=2e-15) == 2.0**-24
    assert _grid(torch.full((4,), 1e-15, dtype=torch.float64), slack=2e-15) < 1e-12  # no grid of ones


def test_a_sum_of_one_is_an_update(federation: Callable) -> None:
    played = federation(batch_size=2, rounds=2, per_round=1)
    single, summed = attack(played, restarts=4), attack(played.summed(), restarts=4)
    assert torch.allclose(single.records, summed.records, atol=1e-6)
    assert torch.equal(single.targets, summed.targets)
    told = attack(played.broadcast(), restarts=4)
    assert torch.allclose(single.answers(), told.answers(), atol=1e-6)
    assert torch.equal(single.targets, told.targets)


def test_sums_that_do_not_fix_their_records_are_reported(federation: Callable) -> None:
    played = federation(rounds=1, per_round=3).summed()
    found = attack(played, restarts=2, iterations=5)
    assert (found.equations, found.unknowns.tolist()) == (36, [48])
    assert bool((found.ranks < found.unknowns).all())


def at_the_records(played, **fields: object) -> tuple[InversionProblem, Tensor]:
    """Return the problem of every sum with told labels, and its records in the problem's coordinates."""
    posed = {"targets": 99, "restarts": 1, "labels_known": True, "margin": 0.5} | fields
    problem = pose(played.view, played.knowledge, generator=torch.Generator().manual_seed(0), **posed)
    truth = played.knowledge.candidates.features[played.used.flatten(1)]  # (rounds, records, features)
    return problem, ((truth - problem.reference.low) / problem.reference.width).flatten(1)


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 40.0), ("adam", 8.0)])
def test_local_steps_and_whole_turns_of_each_client_are_in_the_sum(
    federation: Callable, optimizer: str, rate: float
) -> None:
    """At the records themselves nothing is left, however the clients stepped and turned; Jacobian by differences."""
    played = federation(batch_size=1, local_steps=2, rounds=3, optimizer=optimizer, learning_rate=rate)
    assert float(played.view.updates.abs().amax()) > 3.0
    problem, points = at_the_records(played.summed())
    which = torch.arange(3)
    residuals, jacobian = problem.system(points, which)
    assert float(residuals.abs().amax()) < 1e-7
    assert jacobian.shape == (3, 36, 2 * 2 * 1 * 4)
    straight, _ = replace(problem, wrapped=torch.zeros_like(problem.wrapped)).system(points, which)
    assert float(straight.abs().amax()) > 0.01
    if optimizer == "sgd":
        for unknown in range(0, 16, 5):
            shift = torch.zeros(16, dtype=torch.float64)
            shift[unknown] = 1e-6
            above, below = (problem.system(points + sign * shift, which)[0] for sign in (1, -1))
            assert torch.allclose(jacobian[..., unknown], (above - below) / 2e-6, atol=1e-5)


def test_weighted_sums_need_public_shares(federation: Callable, gaussian: type) -> None:
    sizes = torch.tensor([30.0, 10.0, 20.0, 20.0], dtype=torch.float64)
    played = federation(batch_size=1, rounds=4, sampling="poisson", defense=gaussian(divisor=1))
    shares = sizes[played.view.selected] / sizes[played.view.selected].sum(1, keepdim=True)
    setup = replace(played.view.setup, average="weighted", expected_sizes=tuple(sizes.tolist()))
    weighted = replace(played, view=replace(played.view, setup=setup)).summed(shares=shares)
    assert float((errors(weighted, attack(weighted, targets=4, restarts=12)) < 1e-3).double().mean()) >= 0.75
    fixed = replace(weighted, view=replace(weighted.view, setup=replace(setup, sampling="fixed")))
    with pytest.raises(NotApplicableError, match="numbers of members"):
        attack(fixed)


def test_sums_of_single_steps_of_adam_are_not_covered(federation: Callable) -> None:
    played = federation(batch_size=1, rounds=1, optimizer="adam", learning_rate=0.01).summed()
    with pytest.raises(NotApplicableError, match="Adam"):
        attack(played)


def test_noise_of_a_sum_is_weighed_by_its_deviation(federation: Callable, gaussian: type) -> None:
    """At the records themselves the residuals of the sum's equations are standard normal."""
    squares = []
    for seed in range(4):
        played = federation(batch_size=1, rounds=12, defense=gaussian(noise=0.1), seed=seed).summed()
        problem, points = at_the_records(played)
        residuals, _ = problem.system(points, torch.arange(12))
        felt = residuals[:, :36].abs().amax(0) > 0
        squares.append(residuals[:, :36][:, felt].square().flatten())
    found = torch.cat(squares)
    assert float(found.mean()) == pytest.approx(1, abs=5 * math.sqrt(2 / len(found)))


def test_noise_ends_it(federation: Callable, gaussian: type) -> None:
    rates = []
    for noise in (0.001, 0.1):
        played = federation(batch_size=1, rounds=5, defense=gaussian(noise=noise))
        rates.append(float((errors(played, attack(played, targets=8, restarts=3)) < 1e-3).double().mean()))
    assert rates[0] >= 0.6
    assert rates[1] <= 0.2


def test_knowing_the_noise_helps(federation: Callable, gaussian: type) -> None:
    """Under strong noise the adaptive attacker's error stays near the prior's; the blind one fits the noise."""
    played = federation(batch_size=1, rounds=2, defense=gaussian(noise=0.2))
    blind = replace(played, knowledge=replace(played.knowledge, defense=None))
    adaptive_error = errors(played, attack(played, restarts=4)).mean()
    blind_error = errors(played, attack(blind, restarts=2, iterations=15)).mean()
    assert float(adaptive_error) < 0.7 * float(blind_error)
    prior_error = played.knowledge.reference.features.var(0).mean()
    assert float(adaptive_error) < 1.3 * float(prior_error)


def test_knowing_the_clipping_is_needed(federation: Callable, gaussian: type) -> None:
    defense = gaussian(clip_norm=0.1, divisor=1)
    played = federation(batch_size=1, rounds=3, defense=defense)
    blind = replace(played, knowledge=replace(played.knowledge, defense=None))
    assert float((errors(played, attack(played, restarts=8)) < 1e-3).double().mean()) >= 0.75
    assert float((errors(played, attack(blind, restarts=2, iterations=15)) < 1e-3).double().mean()) <= 0.25


def test_labels_are_found_with_the_records(federation: Callable) -> None:
    played = federation(batch_size=2, rounds=3)
    told = played.knowledge.batch_labels
    found = attack(
        replace(played, knowledge=replace(played.knowledge, batch_labels=None)), targets=6, labels="searched"
    )
    best = found.residuals.argmin(1)
    labels = found.labels[torch.arange(6), best].sort(-1).values
    truth = told[found.targets[:, 0], found.targets[:, 1]].sort(-1).values
    right = (labels == truth).all(-1)
    assert float(right.double().mean()) >= 0.8
    assert float((errors(played, found) < 1e-3).double().mean()) >= 0.75
    assert len(found.labels[0].sort(-1).values.unique(dim=0)) == 3


def test_two_local_steps_are_unrolled(federation: Callable) -> None:
    played = federation(batch_size=1, local_steps=2, rounds=2, learning_rate=0.5)
    found = attack(played, targets=4, restarts=8)
    assert found.unknowns.tolist() == [8] * 4
    assert float((errors(played, found) < 1e-3).double().mean()) >= 0.75


def test_one_step_of_adam_hides_nothing_in_double_precision(federation: Callable) -> None:
    played = federation(batch_size=1, rounds=2, optimizer="adam", learning_rate=0.01)
    found = attack(played, targets=4, restarts=6)
    assert float((errors(played, found) < 1e-3).double().mean()) >= 0.75


def test_updates_that_turn_past_half_a_circle_are_compared_as_angles(federation: Callable) -> None:
    played = federation(batch_size=1, rounds=3, learning_rate=20.0)
    assert 3.0 < float(played.view.updates.abs().amax()) <= math.pi
    turned = (errors(played, attack(played, restarts=12, iterations=40)) < 1e-3).double().mean()
    arch = played.knowledge.architecture
    straight = replace(arch, wrapped=torch.zeros_like(arch.wrapped))
    naive = replace(played, knowledge=replace(played.knowledge, architecture=straight))
    assert float(turned) >= 0.6
    assert float(turned) > float((errors(naive, attack(naive, restarts=3, iterations=15)) < 1e-3).double().mean())


def test_poisson_batches_keep_their_empty_slots(federation: Callable, gaussian: type) -> None:
    played = federation(batch_size=2, rounds=4, sampling="poisson", defense=gaussian(divisor=2))
    sizes = (played.used >= 0).sum(-1)
    assert len(sizes.unique()) > 2
    found = attack(played, targets=8, restarts=4, iterations=8)
    realised = sizes[found.targets[:, 0], found.targets[:, 1]]
    assert torch.equal((found.labels[:, 0] >= 0).sum(-1), realised)
    assert torch.equal(found.unknowns, 4 * realised)
    assert bool((found.ranks <= found.unknowns).all())
    assert not bool(found.records[found.labels < 0].any())
    assert len(found.targets) == int((sizes > 0).sum().clamp(max=8))


def test_noisy_poisson_batches_are_attacked_without_labels_too(federation: Callable, gaussian: type) -> None:
    played = federation(batch_size=2, rounds=3, sampling="poisson", defense=gaussian(divisor=2, noise=0.1))
    found = attack(played, targets=4, restarts=2, iterations=10, labels="searched")
    assert found.unknowns.tolist() == [8] * 4
    assert bool(torch.isfinite(found.residuals).all())


def test_more_unknowns_than_equations_are_reported(federation: Callable) -> None:
    played = federation(batch_size=10, rounds=1)
    found = attack(played, restarts=2, iterations=5)
    assert found.unknowns.tolist() == [40, 40]
    assert found.equations == 36
    assert bool((found.ranks < found.unknowns).all())


def test_answers_of_one_target_are_not_another_targets_records(federation: Callable) -> None:
    played = federation(batch_size=1, rounds=12)
    found = attack(played, targets=24)
    moved = replace(found, targets=found.targets.roll(1, 0))
    assert float((errors(played, moved) < 1e-3).double().mean()) <= 0.1


def test_fewer_updates_than_targets_are_all_attacked_once(federation: Callable) -> None:
    played = federation(batch_size=1, rounds=2)
    found = attack(played, targets=50, restarts=1, iterations=1)
    assert found.targets.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


@pytest.mark.parametrize("labels", ["known", "searched"])
def test_same_generator_same_bytes_and_no_global_randomness(federation: Callable, labels: str) -> None:
    played = federation(batch_size=2, rounds=3)
    before = torch.get_rng_state()
    first, again = (attack(played, targets=2, restarts=4, iterations=4, labels=labels) for _ in range(2))
    other = attack(played, targets=2, restarts=4, iterations=4, labels=labels, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(torch.as_tensor(getattr(first, f)), torch.as_tensor(getattr(again, f))) for f in vars(first))
    assert not torch.equal(first.records, other.records)


def test_without_labels_it_is_not_applicable(federation: Callable) -> None:
    played = federation(batch_size=1, rounds=1)
    with pytest.raises(NotApplicableError, match="searched"):
        attack(replace(played, knowledge=replace(played.knowledge, batch_labels=None)))
    with pytest.raises(NotApplicableError, match="nothing to rebuild"):
        empty = torch.full_like(played.knowledge.batch_labels, -1)
        attack(replace(played, knowledge=replace(played.knowledge, batch_labels=empty)))


@pytest.mark.parametrize(
    ("field", "value"), [("targets", 0), ("restarts", 0), ("iterations", -1), ("margin", -0.1), ("margin", math.nan)]
)
def test_impossible_values_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"Expected {field}="):
        GradientInversion(**{field: value})


def test_it_declares_what_it_needs(federation: Callable) -> None:
    assert GradientInversion(labels="known").knows_labels
    assert not GradientInversion(labels="searched").knows_labels
    assert visible(GradientInversion.requires, UpdatesView)
    assert visible(GradientInversion.requires, AggregateView)
    setup = federation(batch_size=1, rounds=1).view.setup

    def cost(view: type = UpdatesView, **fields: int) -> int:
        return GradientInversion(**fields).circuit_evaluations(setup, view=view, candidates=9, reference=9)

    assert 0 < cost(restarts=1) < cost(restarts=2)
    # one sum of two clients against one update of two
    assert cost(GlobalModelsView, targets=8) == cost(AggregateView, targets=8)
    assert cost(AggregateView, targets=8) == cost(AggregateView, targets=1) == 2 * cost(targets=1) == cost(targets=8)


@pytest.mark.parametrize(
    ("expected", "steps", "sizes"), [(35.6, 2, [32, 4]), (30.0, 1, [30]), (30.0, 2, [30, 30]), (64.0, 2, [32, 32])]
)
def test_one_pass_ends_with_the_records_that_are_left(expected: float, steps: int, sizes: list[int]) -> None:
    setup = Setup(
        schedule=((0,),),
        expected_sizes=(expected,),
        local_steps=(steps,),
        batch_size=32,
        sampling="fixed",
        optimizer="sgd",
        learning_rate=1.0,
        average="plain",
        n_parameters=24,
    )
    assert _assumed_mask(setup, [0]).sum(-1).tolist() == [sizes]
