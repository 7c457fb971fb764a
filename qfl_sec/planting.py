"""Planted leaks: updates that certainly give records away, to see whether the attacks can find anything at all.

An attack that finds nothing may be blunt. Each built-in attack therefore runs on the easiest case there is: clients
that send the exact gradient of one public record each, no defense. What can be found there is known: it was planted.
"""

from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from qfl_sec.contracts import (
    Architecture,
    Attack,
    Candidates,
    Knowledge,
    MembershipScores,
    Reconstructions,
    Records,
    Setup,
    UpdatesView,
    visible,
)
from qfl_sec.federation import TrainingConfig, build_model
from qfl_sec.gradients import per_example_gradients
from qfl_sec.models import flat_weights
from qfl_sec.randomness import Streams
from qfl_sec.reconstruction import score

MOST_PLANTED = 20
"""Records that are planted, or a third of the reference split; as many others stay out, for comparison."""


def can_plant(attack: Attack) -> bool:
    """Return whether there is a planted leak for this attack: it reads updates, and is one of this package."""
    return visible(attack.requires, UpdatesView) and type(attack).__module__.startswith("qfl_sec.")


def find_planted(attack: Attack, config: TrainingConfig, *, tolerance: float) -> tuple[int, int]:
    """Return how many planted records an attack finds, and how many were planted.

    A membership attack has found a record that it scores above another one of the same client that was left out; a
    reconstruction has, when every feature lies within the tolerance. Records that one update does not determine (the
    rank of its equations is below the number of features) cannot be rebuilt, and do not count as planted.

    Args:
        attack: As in the experiment; if it has a field `targets`, all planted updates are attacked.
        config: A training whose data and model are used, at its initial weights.
        tolerance: Share of each feature's reference range.
    """
    population = config.population()
    module, architecture = build_model(config, population.splits)
    records = population.reference(config.federation.dtype)
    count = min(MOST_PLANTED, len(records) // 3)
    planted, absent, rest = (_rows(records, *ends) for ends in ((0, count), (count, 2 * count), (2 * count, None)))
    weights = flat_weights(module)
    view = _view(architecture, weights, planted)
    knowledge = Knowledge(
        architecture=architecture,
        reference=rest,
        defense=None,
        batch_labels=planted.labels.reshape(1, -1, 1) if attack.knows_labels else None,
        candidates=_candidates(planted, absent) if attack.question == "membership" else None,
    )
    generator = Streams(config.seed).torch(f"planted {attack.name}")
    scores = _attacking_all(attack, count).run(view, knowledge, generator=generator)
    if isinstance(scores, MembershipScores):
        return int((scores.values[:count] > scores.values[count:]).sum()), count
    splits = population.splits
    ranges = (splits.feature_high - splits.feature_low).numpy()
    return _rebuilt(scores, planted.features, ranges, tolerance)


def _rows(records: Records, start: int, stop: int | None) -> Records:
    return Records(features=records.features[start:stop], labels=records.labels[start:stop])


def _view(architecture: Architecture, weights: Tensor, planted: Records) -> UpdatesView:
    """Return what a server sees of one round in which each client sends the gradient of one planted record."""
    count = len(planted)
    updates = -per_example_gradients(architecture, weights, planted.features, planted.labels).detach()
    setup = Setup(
        schedule=(tuple(range(count)),),
        expected_sizes=(1.0,) * count,
        local_steps=(1,) * count,
        batch_size=1,
        sampling="fixed",
        optimizer="sgd",
        learning_rate=1.0,
        average="plain",
        n_parameters=architecture.n_parameters,
    )
    return UpdatesView(
        adversary="server",
        setup=setup,
        global_weights=torch.stack([weights, weights + updates.mean(0)]),
        selected=torch.arange(count).unsqueeze(0),
        updates=updates.unsqueeze(0),
    )


def _candidates(planted: Records, absent: Records) -> Candidates:
    return Candidates(
        features=torch.cat([planted.features, absent.features]),
        labels=torch.cat([planted.labels, absent.labels]),
        clients=torch.arange(len(planted)).repeat(2),
    )


def _attacking_all(attack: Attack, count: int) -> Any:
    """Return the attack, set to attack every update if it would draw some."""
    has_targets = any(field.name == "targets" for field in fields(attack))  # type: ignore[arg-type]
    return replace(attack, targets=count) if has_targets else attack  # type: ignore[type-var]


def _rebuilt(scores: Reconstructions, truth: Tensor, ranges: Any, tolerance: float) -> tuple[int, int]:
    """Return how many records were rebuilt, of those that their update determines."""
    answers = scores.answers().double().numpy()
    determined = (scores.ranks >= scores.unknowns).tolist()
    hits = [
        bool(score(answers[row], truth[slot : slot + 1].double().numpy(), ranges=ranges, tolerance=tolerance).hits[0])
        for row, slot in enumerate(scores.targets[:, 1].tolist())
        if determined[row]
    ]
    return sum(hits), len(hits)
