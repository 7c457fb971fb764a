"""A small federation played with torch's own autograd and optimizers, for attacks to look at."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import pytest
import torch
from torch import Tensor

from qfl_sec.contracts import (
    AggregateView,
    Architecture,
    Candidates,
    Defense,
    GlobalModelsView,
    Knowledge,
    Records,
    Setup,
    UpdatesView,
)
from qfl_sec.models import MlpClassifier, VariationalClassifier, architecture, flat_weights


@dataclass(frozen=True, kw_only=True)
class Gaussian(Defense):
    """Clips each record's gradient, divides by a fixed batch size where one is given, and adds Gaussian noise."""

    name: ClassVar[str] = "test_gaussian"
    noise: float = 0.0
    clip_norm: float = math.inf
    divisor: int | None = None

    def expected_gradient(self, per_example: Tensor, mask: Tensor) -> Tensor:
        if not math.isinf(self.clip_norm):
            per_example = per_example * (self.clip_norm / per_example.norm(dim=-1, keepdim=True)).clamp(max=1)
        if self.divisor is None:
            return super().expected_gradient(per_example, mask)
        return (per_example * mask.unsqueeze(-1)).sum(-2) / self.divisor

    def noise_std(self) -> float:
        return self.noise


@dataclass(frozen=True, kw_only=True)
class Played:
    """What an attack is given, and the truth to hold it against."""

    view: GlobalModelsView
    knowledge: Knowledge
    used: Tensor  # (rounds, clients a round, records a round), -1 where there is none
    members: Tensor  # (candidates,)

    def summed(self, *, fraction_bits: int | None = None, shares: Tensor | None = None) -> "Played":
        """Return the same, of which only each round's average is seen, of updates sent in fixed point if asked."""
        assert isinstance(self.view, UpdatesView)
        weighted = self.view.updates * (1 / self.view.selected.shape[1] if shares is None else shares.unsqueeze(-1))
        if fraction_bits is not None:
            weighted = (weighted * 2**fraction_bits).round() / 2**fraction_bits
        setup, known = self.view.setup, self.view.global_weights
        view = AggregateView(adversary="server", setup=setup, global_weights=known, aggregates=weighted.sum(1))
        return replace(self, view=view)

    def broadcast(self, dtype: torch.dtype = torch.float64) -> "Played":
        """Return the same, of which only the global models are seen, each the one before and the average."""
        view = self.view if isinstance(self.view, AggregateView) else self.summed().view
        assert isinstance(view, AggregateView)
        models = torch.cat([view.global_weights[:1], view.aggregates]).cumsum(0).to(dtype)
        return replace(self, view=GlobalModelsView(adversary="client", setup=view.setup, global_weights=models))


def uniform_records(count: int, generator: torch.Generator) -> Records:
    """Records with features in (-1, 1) and coin-toss labels."""
    features = 2 * torch.rand(count, 4, generator=generator, dtype=torch.float64) - 1
    return Records(features=features, labels=torch.randint(0, 2, (count,), generator=generator))


def mean_gradient(arch: Architecture, weights: Tensor, records: Records, rows: Tensor, defense: Defense) -> Tensor:
    """Return the defended gradient of a batch."""
    leaves = weights.expand(len(rows), -1).clone().requires_grad_()
    logits = arch.outputs(leaves, records.features[rows])
    loss = torch.nn.functional.cross_entropy(logits, records.labels[rows], reduction="sum")
    gradients = torch.autograd.grad(loss, leaves)[0]
    return defense.expected_gradient(gradients, torch.ones(len(rows), dtype=torch.bool))


def play(
    *,
    layers: int = 3,
    classical: bool = False,
    batch_size: int = 4,
    rounds: int = 4,
    clients: int = 4,
    per_round: int = 2,
    local_steps: int = 1,
    optimizer: Literal["sgd", "adam"] = "sgd",
    learning_rate: float = 1.0,
    sampling: Literal["fixed", "poisson"] = "fixed",
    defense: Defense | None = None,
    records: tuple[Records, Records] | None = None,
    seed: int = 0,
) -> Played:
    """Play some rounds; `records` are reference and candidates."""
    generator = torch.Generator().manual_seed(seed)
    reference, pool = records or (uniform_records(100, generator), uniform_records(160, generator))
    spec = MlpClassifier(hidden=5) if classical else VariationalClassifier(layers=layers)
    model = spec.build(4, 2, generator=generator, dtype=torch.float64)
    arch = architecture(model, 4, 2)
    weights = flat_weights(model)
    owners = torch.arange(len(pool)) % clients
    members = torch.rand(len(pool), generator=generator) < 0.5
    active = defense or Gaussian()
    width = batch_size if sampling == "fixed" else 4 * batch_size
    broadcast, sent, used, schedule = [weights], [], [], []
    for _ in range(rounds):
        chosen = torch.randperm(clients, generator=generator)[:per_round].sort().values.tolist()
        updates = []
        for client in chosen:
            mine = ((owners == client) & members).nonzero().squeeze(-1)
            local = weights.clone().requires_grad_()
            stepper = (torch.optim.SGD if optimizer == "sgd" else torch.optim.Adam)([local], lr=learning_rate)
            order = mine[torch.randperm(len(mine), generator=generator)]
            slots = torch.full((local_steps, width), -1)
            for step in range(local_steps):
                if sampling == "fixed":
                    batch = order[step * batch_size : (step + 1) * batch_size]
                else:
                    rate = batch_size / (len(pool) / clients / 2)
                    batch = mine[torch.rand(len(mine), generator=generator) < rate]
                slots[step, : len(batch)] = batch
                noise = active.noise_std() * torch.randn(len(weights), generator=generator, dtype=torch.float64)
                local.grad = mean_gradient(arch, local.detach(), pool, batch, active) + noise
                stepper.step()
            change = local.detach() - weights
            turned = math.pi - torch.remainder(math.pi - change, 2 * math.pi)
            updates.append(torch.where(arch.wrapped, turned, change))
            used.append(slots.flatten())
        sent.append(torch.stack(updates))
        schedule.append(tuple(chosen))
        weights = weights + sent[-1].mean(0)
        broadcast.append(weights)
    rows = torch.stack(used).reshape(rounds, per_round, -1)
    setup = Setup(
        schedule=tuple(schedule),
        expected_sizes=tuple(float((owners == client).sum()) / 2 for client in range(clients)),
        local_steps=(local_steps,) * clients,
        batch_size=batch_size,
        sampling=sampling,
        optimizer=optimizer,
        learning_rate=learning_rate,
        average="plain",
        n_parameters=arch.n_parameters,
    )
    return Played(
        view=UpdatesView(
            adversary="server",
            setup=setup,
            global_weights=torch.stack(broadcast),
            selected=torch.tensor(schedule),
            updates=torch.stack(sent),
        ),
        knowledge=Knowledge(
            architecture=arch,
            reference=reference,
            defense=defense,
            batch_labels=torch.where(rows >= 0, pool.labels[rows.clamp(min=0)], -1),
            candidates=Candidates(features=pool.features, labels=pool.labels, clients=owners),
        ),
        used=rows,
        members=members,
    )


@pytest.fixture(scope="session")
def federation() -> Callable[..., Played]:
    """Return `play`."""
    return play


@pytest.fixture(scope="session")
def gaussian() -> type[Gaussian]:
    """Return the test's own defense."""
    return Gaussian
