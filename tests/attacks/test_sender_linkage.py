"""Linkage: the likelihood against dense Gaussians, the search against all assignments, the names against the truth."""

import math
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from qfl_sec.attacks.assignment import Clues, assign
from qfl_sec.attacks.fingerprints import MOST_FUNCTIONS, principal_functions
from qfl_sec.attacks.gradient_inversion import GradientInversion
from qfl_sec.attacks.sender_linkage import SenderLinkage
from qfl_sec.attacks.update_membership import UpdateMembership
from qfl_sec.contracts import (
    AggregateView,
    AnonymousUpdatesView,
    LinkageScores,
    MembershipScores,
    NotApplicableError,
    Reconstructions,
    Records,
    UpdatesView,
    visible,
)
from qfl_sec.harness import attack_with_control, scores_from_bytes
from qfl_sec.randomness import Streams


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def anonymous(played, seed: int = 0) -> tuple[AnonymousUpdatesView, Tensor]:  # type: ignore[no-untyped-def]
    """Return a game's view with the updates of each round shuffled, and who sent them."""
    view, drawn = played.view, generator(seed)
    assert isinstance(view, UpdatesView)
    orders = torch.stack([torch.randperm(view.selected.shape[1], generator=drawn) for _ in view.updates])
    updates = torch.stack([one[order] for one, order in zip(view.updates, orders, strict=True)])
    hidden = AnonymousUpdatesView(
        adversary="server", setup=view.setup, global_weights=view.global_weights, updates=updates
    )
    return hidden, view.selected.gather(1, orders)


def named(view: AnonymousUpdatesView, knowledge, **options) -> Tensor:  # type: ignore[no-untyped-def]
    found = SenderLinkage(**options).run(view, knowledge, generator=generator())
    assert isinstance(found, LinkageScores)
    return found.senders


def skewed(seed: int, *, clients: int, each: int, strength: float) -> tuple[Records, Records]:
    """Reference and candidate records: a client's own differ from the reference's in labels and features."""
    drawn = generator(seed)
    count = clients * each
    owners = torch.arange(count) % clients
    share = torch.where(owners % 2 == 0, 0.5 + strength / 2, 0.5 - strength / 2)
    labels = (torch.rand(count, generator=drawn, dtype=torch.float64) < share).long()
    shift = strength * (torch.rand(clients, 4, generator=drawn, dtype=torch.float64) - 0.5)
    features = torch.rand(count, 4, generator=drawn, dtype=torch.float64) - 0.5 + shift[owners]
    pool = Records(features=features, labels=labels)
    chosen = torch.randperm(count, generator=drawn)[:150]  # the population as a whole
    return Records(features=features[chosen], labels=labels[chosen]), pool


def rate(federation, *, strength: float, each: int, seeds: range, **options) -> tuple[int, int]:  # type: ignore[no-untyped-def]
    hits = total = 0
    for seed in seeds:
        records = skewed(seed, clients=6, each=each, strength=strength)
        played = federation(
            rounds=16, clients=6, per_round=3, batch_size=8, layers=2, records=records, seed=seed, **options
        )
        view, senders = anonymous(played, seed)
        hits += int((named(view, played.knowledge, restarts=8) == senders).sum())
        total += senders.numel()
    return hits, total


def little_problem(seed: int) -> tuple[list[Clues], list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Three rounds of two of three parties, whose messages are M_t a + noise; also messages, slopes and covariances."""
    rng = np.random.default_rng(seed)
    schedule, truth = [[0, 1], [1, 2], [0, 2]], rng.normal(size=(3, 2))
    found, messages, slopes, spreads = [], [], [], []
    for parties in schedule:
        slope, root = rng.normal(size=(4, 2)), rng.normal(size=(4, 4))
        spread = root @ root.T + np.eye(4)
        sent = np.stack([slope @ truth[party] + rng.multivariate_normal(np.zeros(4), spread) for party in parties])
        inverse = np.linalg.inv(spread)
        density = scipy.stats.multivariate_normal(np.zeros(4), spread).logpdf(sent)
        found.append(
            Clues(
                parties=parties,
                base=np.repeat(density.reshape(2, 1), 2, 1),
                evidence=np.repeat((sent @ inverse @ slope).reshape(2, 1, 2), 2, 1),
                precision=np.stack([slope.T @ inverse @ slope] * 2),
            )
        )
        messages.append(sent)
        slopes.append(slope)
        spreads.append(spread)
    return found, messages, slopes, spreads


@pytest.mark.parametrize("seed", range(6))
def test_the_search_finds_the_assignment_that_dense_gaussians_find_by_trying_all(seed: int) -> None:
    found, messages, slopes, spreads = little_problem(seed)
    best, most = None, -math.inf
    for orders in product(*(list(permutations(one.parties)) for one in found)):
        total = 0.0
        for party in range(3):
            rows = [(t, order.index(party)) for t, order in enumerate(orders) if party in order]
            slope = np.concatenate([slopes[t] for t, _ in rows])
            noise = scipy.linalg.block_diag(*(spreads[t] for t, _ in rows))
            sent = np.concatenate([messages[t][place] for t, place in rows])
            joint = scipy.stats.multivariate_normal(np.zeros(len(sent)), slope @ slope.T + noise)
            total += float(joint.logpdf(sent))
        if total > most:
            best, most = [list(order) for order in orders], total
    answer = assign(found, 3, 30, 20, generator())
    assert answer.log_evidence == pytest.approx(most, abs=1e-8)
    assert answer.clients == best


def test_scaling_is_the_prior_s_deviation() -> None:
    found = little_problem(0)[0]
    twice = found[0].scaled(np.array([2.0, 3.0, 4.0]))
    assert np.allclose(twice.evidence[:, 1], 3 * found[0].evidence[:, 1])
    assert np.allclose(twice.precision[0], 4 * found[0].precision[0])


def test_functions_have_mean_zero_variance_one_and_no_correlation() -> None:
    gradients = [torch.randn(60, 5, generator=generator(seed), dtype=torch.float64) for seed in range(2)]
    functions = principal_functions(gradients)
    assert functions.shape[1] == min(10, MOST_FUNCTIONS)
    assert torch.allclose(functions.mean(0), torch.zeros(10, dtype=torch.float64), atol=1e-8)
    assert torch.allclose(functions.T @ functions / 60, torch.eye(10, dtype=torch.float64), atol=1e-10)
    # they span the gradients' deviations: nothing is left over
    centred = gradients[0] - gradients[0].mean(0)
    assert torch.allclose(functions @ (functions.T @ centred) / 60, centred, atol=1e-8)


def test_clients_who_differ_are_named(federation) -> None:  # type: ignore[no-untyped-def]
    hits, total = rate(federation, strength=0.9, each=200, seeds=range(4))
    assert scipy.stats.binomtest(hits, total, 1 / 3).proportion_ci(0.999).low > 0.5


def test_clients_who_hold_many_records_of_one_kind_are_not(federation) -> None:  # type: ignore[no-untyped-def]
    hits, total = rate(federation, strength=0.0, each=1500, seeds=range(6))
    # hits of a round of 3 come together: the variance is 3 / 2 of independent ones'
    assert abs(hits - total / 3) < 4 * math.sqrt(1.5 * total * 2 / 9)


def test_few_records_are_a_fingerprint_though_of_one_kind(federation) -> None:  # type: ignore[no-untyped-def]
    hits, total = rate(federation, strength=0.0, each=24, seeds=range(3))
    assert scipy.stats.binomtest(hits, total, 1 / 3).proportion_ci(0.999).low > 0.5


def test_noise_hides_the_sender(federation, gaussian) -> None:  # type: ignore[no-untyped-def]
    hits, total = rate(federation, strength=0.9, each=200, seeds=range(3), defense=gaussian(noise=30.0))
    assert abs(hits - total / 3) < 4 * math.sqrt(1.5 * total * 2 / 9)


def test_unequal_steps_are_told_apart_by_the_size_of_updates(federation) -> None:  # type: ignore[no-untyped-def]
    played = federation(rounds=4, clients=2, per_round=2, batch_size=8, layers=2)
    view, senders = anonymous(played)
    assert isinstance(played.view, UpdatesView)
    setup = replace(view.setup, local_steps=(1, 4))
    grown = torch.where((senders == 1).unsqueeze(-1), 4 * view.updates, view.updates)
    assert torch.equal(named(replace(view, setup=setup, updates=grown), played.knowledge), senders)


def test_colluding_hops_give_all_senders_away(federation) -> None:  # type: ignore[no-untyped-def]
    played = federation(rounds=5, clients=5, per_round=3)
    view, _ = anonymous(played)
    shuffles = torch.stack([torch.stack([torch.randperm(3, generator=generator(9)) for _ in range(2)])] * 5)
    told = replace(view, shuffles=shuffles)
    expected = torch.tensor(
        [[chosen[shuffles[0, 0, place]] for place in shuffles[0, 1]] for chosen in view.setup.schedule]
    )
    assert torch.equal(named(told, played.knowledge), expected)
    # one silent hop, and they are worth nothing
    silent = shuffles.clone()
    silent[:, 0] = -1
    assert torch.equal(named(replace(view, shuffles=silent), played.knowledge), named(view, played.knowledge))


def test_lost_updates_get_no_name(federation) -> None:  # type: ignore[no-untyped-def]
    played = federation(rounds=4, clients=5, per_round=3)
    view, _ = anonymous(played)
    delivered = torch.tensor([[True] * 3, [True, False, True], [False] * 3, [False, True, False]])
    updates = view.updates * torch.tensor([[1, 1, 1], [1, 1, 0], [0, 0, 0], [1, 0, 0]]).unsqueeze(-1)
    found = named(replace(view, delivered=delivered, updates=updates), played.knowledge)
    schedule = view.setup.schedule
    assert (found >= 0).sum(1).tolist() == [3, 2, 0, 1]
    assert set(found[1, :2].tolist()) == {schedule[1][0], schedule[1][2]}
    assert found[3].tolist() == [schedule[3][1], -1, -1]


def test_empty_updates_go_to_the_client_who_may_hold_nothing(federation) -> None:  # type: ignore[no-untyped-def]
    played = federation(rounds=3, clients=4, per_round=2)
    view, _ = anonymous(played)
    setup = replace(view.setup, schedule=((0, 1), (0, 2), (0, 3)), expected_sizes=(0.5, 20.0, 20.0, 20.0))
    updates = view.updates.clone()
    updates[:, 1] = 0
    assert (named(replace(view, setup=setup, updates=updates), played.knowledge)[:, 1] == 0).all()


def test_adam_is_refused(federation) -> None:  # type: ignore[no-untyped-def]
    played = federation(optimizer="adam")
    with pytest.raises(NotApplicableError, match="adam"):
        named(anonymous(played)[0], played.knowledge)


@pytest.mark.parametrize("field", ["restarts", "sweeps"])
def test_parameters_out_of_range(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field}=0"):
        SenderLinkage(**{field: 0})


def test_it_reads_nameless_updates_alone() -> None:
    attack = SenderLinkage()
    assert visible(attack.requires, AnonymousUpdatesView)
    assert not visible(attack.requires, UpdatesView)
    assert not visible(attack.requires, AggregateView)


def test_the_control_names_nobody(federation) -> None:  # type: ignore[no-untyped-def]
    hits = total = 0
    for seed in range(6):
        records = skewed(seed, clients=6, each=200, strength=0.9)
        played = federation(rounds=16, clients=6, per_round=3, batch_size=8, layers=2, records=records, seed=seed)
        view, senders = anonymous(played, seed)
        told = torch.stack([torch.arange(3)] * 16).unsqueeze(1)
        blob = attack_with_control(
            SenderLinkage(restarts=4), replace(view, shuffles=told), replace(played.knowledge, candidates=None),
            Streams(seed),
        )  # fmt: skip
        scores, control = scores_from_bytes(blob)
        assert isinstance(scores, LinkageScores) and isinstance(control, LinkageScores)
        assert torch.equal(scores.senders, torch.tensor(view.setup.schedule))
        hits += int((control.senders == senders).sum())
        total += senders.numel()
    assert abs(hits - total / 3) < 4 * math.sqrt(1.5 * total * 2 / 9)


def test_membership_averages_over_who_may_have_sent_an_update(federation) -> None:  # type: ignore[no-untyped-def]
    played = federation(rounds=1, clients=4, per_round=2)
    view, _ = anonymous(played)
    attack, both = UpdateMembership(), []
    for order in ((0, 1), (1, 0)):
        known = UpdatesView(
            adversary="server",
            setup=view.setup,
            global_weights=view.global_weights,
            selected=torch.tensor(view.setup.schedule),
            updates=view.updates[:, order],
        )
        both.append(attack.run(known, played.knowledge, generator=generator()).values)
    found = attack.run(view, played.knowledge, generator=generator())
    assert isinstance(found, MembershipScores)
    assert torch.allclose(found.values, torch.stack(both).logsumexp(0) - math.log(2))


def test_inversion_needs_no_sender(federation) -> None:  # type: ignore[no-untyped-def]
    played = federation(rounds=2, clients=4, per_round=2, batch_size=1)
    view, _ = anonymous(played)
    attack = GradientInversion(targets=4, restarts=8)
    knowledge = replace(played.knowledge, batch_labels=None)
    found = attack.run(view, knowledge, generator=generator())
    known = UpdatesView(
        adversary="server", setup=view.setup, global_weights=view.global_weights,
        selected=torch.tensor(view.setup.schedule), updates=view.updates,
    )  # fmt: skip
    same = attack.run(known, knowledge, generator=generator())
    assert isinstance(found, Reconstructions) and isinstance(same, Reconstructions)
    assert torch.equal(found.answers(), same.answers())
    uneven = replace(view, setup=replace(view.setup, local_steps=(1, 2, 1, 1)))
    with pytest.raises(NotApplicableError, match="different numbers of local steps"):
        attack.run(uneven, knowledge, generator=generator())
