"""What a defense leaves out of an update gives no equation: attackers who know of it lose little by it."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from qfl_sec.attacks.gradient_inversion import GradientInversion
from qfl_sec.attacks.update_membership import UpdateMembership
from qfl_sec.defenses import GradientPruning


def pruned(played, share: float):  # type: ignore[no-untyped-def]
    """Return the same, with the updates pruned and the attacker told."""
    defense = GradientPruning(share=share)
    updates = torch.stack([defense.update(one, round=0, generator=torch.Generator()) for one in played.view.updates])
    return replace(
        played,
        view=replace(played.view, updates=updates),
        knowledge=replace(played.knowledge, defense=defense),
    )


def blind(played):  # type: ignore[no-untyped-def]
    return replace(played, knowledge=replace(played.knowledge, defense=None))


def rebuilt(played) -> int:  # type: ignore[no-untyped-def]
    """Return how many single records are rebuilt to a thousandth."""
    found = GradientInversion(targets=8, restarts=8, labels="known").run(
        played.view, played.knowledge, generator=torch.Generator().manual_seed(0)
    )
    answers = found.answers()[:, 0]
    features = played.knowledge.candidates.features
    truth = torch.stack([features[played.used[round_, slot, 0]] for round_, slot in found.targets.tolist()])
    return int(((answers - truth).abs().amax(1) < 1e-3).sum())


def test_single_records_are_rebuilt_from_a_fifth_of_the_coordinates(federation: Callable) -> None:
    played = pruned(federation(batch_size=1, rounds=4), 0.2)
    assert int((played.view.updates[0, 0] != 0).sum()) == 7
    assert rebuilt(played) >= 7
    assert rebuilt(blind(played)) <= 2


def test_the_rank_counts_what_was_sent(federation: Callable) -> None:
    played = pruned(federation(batch_size=4, rounds=2), 0.2)
    found = GradientInversion(targets=4, restarts=2, labels="known").run(
        played.view, played.knowledge, generator=torch.Generator().manual_seed(0)
    )
    assert int(found.ranks.max()) <= 7 < int(found.unknowns.min()) == 16


def scores(played) -> Tensor:  # type: ignore[no-untyped-def]
    return UpdateMembership().run(played.view, played.knowledge, generator=torch.Generator()).values


def test_membership_reads_the_coordinates_that_were_sent(federation: Callable) -> None:
    played = federation(batch_size=1, rounds=12)
    everything = scores(pruned(played, 1.0))
    assert torch.equal(everything, scores(blind(pruned(played, 1.0))))
    # Pruning coordinates that no record moves leaves out nothing that could be known.
    moved = int((played.view.updates.abs() > 1e-12).any(0).any(0).sum())
    assert moved < played.view.updates.shape[-1]
    assert scores(pruned(played, (moved + 0.4) / played.view.updates.shape[-1])) == pytest.approx(everything)
    members = played.members
    told, not_told = scores(pruned(played, 0.2)), scores(blind(pruned(played, 0.2)))

    def gap(values: Tensor) -> float:
        ranks = values.argsort().argsort().double()
        return float(ranks[members].mean() - ranks[~members].mean())

    assert gap(told) > gap(not_told)
