"""Shadow models: what the federation would have released, had it been trained on the public reference split."""

import torch
from torch import Tensor

from qfl_sec.contracts import Architecture, Defense, Knowledge, Setup
from qfl_sec.gradients import per_example_gradients
from qfl_sec.optimizers import LocalOptimizer

GRADIENT_COST = 3
"""A gradient in circuit evaluations."""


def train_shadows(count: int, setup: Setup, knowledge: Knowledge, *, size: float, generator: torch.Generator) -> Tensor:
    """Train models as the federation does, all at once, on records drawn from the reference split.

    Rounds, clients a round, local steps, batches, optimizer and defense are the federation's; each batch is drawn anew
    with replacement, full even where the federation's are Poisson batches.

    Args:
        count: Number of models.
        setup: The federation's public metadata.
        knowledge: Model, reference split and defense.
        size: Root mean square of the initial weights that are no angles; angles are uniform over a turn.
        generator: Of initial weights, batches and the defense's noise.

    Returns:
        (count, parameters)
    """
    clients = len(setup.schedule[0])
    weights = _initial_weights(count, knowledge.architecture, size, generator)
    for _ in range(setup.rounds):
        optimizer = LocalOptimizer(setup.optimizer, setup.learning_rate)
        local = weights.unsqueeze(1).expand(-1, clients, -1)  # (count, clients, parameters)
        for _ in range(_local_steps(setup)):
            local = optimizer.step(local, _gradients(local, setup.batch_size, knowledge, generator))
        weights = _sent(local, weights.unsqueeze(1), knowledge.defense, generator).mean(1)
    return weights


def shadow_evaluations(count: int, setup: Setup) -> int:
    """Return how many circuit evaluations the training of shadow models takes."""
    steps = setup.rounds * _local_steps(setup) * len(setup.schedule[0])
    return count * steps * setup.batch_size * GRADIENT_COST


def _local_steps(setup: Setup) -> int:
    """Return the local steps of a typical client."""
    return max(1, round(sum(setup.local_steps) / setup.clients))


def _initial_weights(count: int, architecture: Architecture, size: float, generator: torch.Generator) -> Tensor:
    shape = (count, architecture.n_parameters)
    angles = torch.pi * (1 - 2 * torch.rand(shape, generator=generator, dtype=torch.float64))
    others = size * torch.randn(shape, generator=generator, dtype=torch.float64)
    return torch.where(architecture.wrapped, angles, others)


def _sent(local: Tensor, start: Tensor, defense: Defense | None, generator: torch.Generator) -> Tensor:
    """Return what clients' weights (count, clients, parameters) are to the server, once noise was put on updates."""
    std = 0.0 if defense is None else defense.update_noise_std()
    if defense is None or std == 0:
        return local
    noise = torch.randn(local.shape, generator=generator, dtype=torch.float64)
    return start + defense.expected_update(local - start) + std * noise


def _gradients(weights: Tensor, batch_size: int, knowledge: Knowledge, generator: torch.Generator) -> Tensor:
    """Return a defended gradient of a fresh batch at each of the weights (count, clients, parameters)."""
    reference, defense = knowledge.reference, knowledge.defense
    rows = torch.randint(len(reference), (*weights.shape[:2], batch_size), generator=generator)
    per_example = per_example_gradients(
        knowledge.architecture, weights.unsqueeze(2), reference.features[rows].double(), reference.labels[rows]
    ).detach()
    if defense is None:
        return per_example.mean(2)
    expected = defense.expected_gradient(per_example, torch.ones(rows.shape, dtype=torch.bool))
    noise = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    return expected + defense.noise_std() * noise
