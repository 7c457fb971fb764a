"""Leaks planted for attacks on senders: nameless updates that are the same whenever their client takes part.

Each client holds one public record and sends its exact gradient, at the same weights in every round. The clients differ
as much as any could: each next one is that whose update is farthest from all chosen before it. Every set of so many
clients meets in one round. The rounds in which an update comes back are thus those of one client alone, whose name is
certain.
"""

from itertools import combinations

import torch
from torch import Tensor

from qfl_sec.contracts import AnonymousUpdatesView, Architecture, Attack, Knowledge, LinkageScores, Records, Setup
from qfl_sec.gradients import per_example_gradients

SAME_UPDATE = 1e-6
"""Updates that differ by less than this share of the largest count as the same."""

MOST_CLIENTS, A_ROUND = 6, 3
"""20 rounds of 3 updates each: guessing is right for one in three."""


def find_senders(
    attack: Attack, architecture: Architecture, weights: Tensor, records: Records, *, generator: torch.Generator
) -> tuple[int, int]:
    """Return how many nameless updates of planted clients an attack puts down to their sender, and how many came.

    Args:
        attack: Reads an `AnonymousUpdatesView` and names senders.
        architecture: The model.
        weights: Of the model, (parameters,).
        records: Public ones; those that no client holds are the attacker's reference.
        generator: Of the order in which updates come, and of the attack.
    """
    updates = -per_example_gradients(architecture, weights, records.features, records.labels).detach()
    chosen = _farthest(updates, min(MOST_CLIENTS, len(records) // 3))
    if len(chosen) <= A_ROUND:
        return 0, 0
    schedule = torch.tensor(list(combinations(range(len(chosen)), A_ROUND)))  # (rounds, clients a round)
    senders = torch.stack([one[torch.randperm(A_ROUND, generator=generator)] for one in schedule])
    others = torch.ones(len(records), dtype=torch.bool)
    others[chosen] = False
    knowledge = Knowledge(
        architecture=architecture,
        reference=Records(features=records.features[others], labels=records.labels[others]),
        defense=None,
    )
    setup = Setup(
        schedule=tuple(tuple(one) for one in schedule.tolist()),
        expected_sizes=(1.0,) * len(chosen),
        local_steps=(1,) * len(chosen),
        batch_size=1,
        sampling="fixed",
        optimizer="sgd",
        learning_rate=1.0,
        average="plain",
        n_parameters=architecture.n_parameters,
    )
    view = AnonymousUpdatesView(
        adversary="server",
        setup=setup,
        global_weights=weights.expand(setup.rounds + 1, -1).clone(),
        updates=updates[chosen][senders],
    )
    scores = attack.run(view, knowledge, generator=generator)
    assert isinstance(scores, LinkageScores)
    return int((scores.senders == senders).sum()), senders.numel()


def _farthest(updates: Tensor, most: int) -> Tensor:
    """Return rows of (records, parameters), each the farthest from those before it and from an update of zeros.

    Reference: Gonzalez 1985, doi:10.1016/0304-3975(85)90224-5.
    """
    chosen: list[int] = []
    gaps = sizes = updates.norm(dim=-1)
    while len(chosen) < most and float(gaps.max()) > SAME_UPDATE * float(sizes.max()):
        chosen.append(int(gaps.argmax()))
        gaps = torch.minimum(gaps, (updates - updates[chosen[-1]]).norm(dim=-1))
    return torch.tensor(chosen, dtype=torch.int64)
