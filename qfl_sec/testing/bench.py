"""The bench on which a defense's hooks are tried: a small federation without a model, its gradients drawn at random."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from qfl_sec.contracts import Defense, Guarantee, Setup
from qfl_sec.randomness import Streams
from qfl_sec.testing.surroundings import global_seed, in_a_copy, outcome

PARAMETERS = 64
CLIENTS = 3
"""Clients a round."""

BATCH = 4
SLOTS = 6
"""Slots of a batch; those beyond its records are empty."""


def bench_setup(defense: Defense) -> Setup:
    """Return a federation of five clients of unequal size, three of them in each of four rounds of two steps."""
    return Setup(
        schedule=((0, 1, 3), (1, 2, 4), (0, 2, 3), (0, 1, 4)),
        expected_sizes=(12.0, 16.0, 20.0, 24.0, 16.0),
        local_steps=(2,) * 5,
        batch_size=BATCH,
        sampling=defense.sampling,
        optimizer="sgd",
        learning_rate=1.0,
        average="plain",
        n_parameters=PARAMETERS,
    )


def one_round(setup: Setup) -> Setup:
    """Return a federation whose every client makes one step in one round: one release each."""
    return replace(setup, schedule=((0, 1, 2),), local_steps=(1,) * setup.clients)


@dataclass(frozen=True)
class Bench:
    """A defense on the bench.

    Attributes:
        defense: As its author built it, not prepared.
        seed: Of everything that is drawn.
    """

    defense: Defense
    seed: int = 0

    @cached_property
    def setup(self) -> Setup:
        """The federation."""
        return bench_setup(self.defense)

    @cached_property
    def prepared(self) -> Defense:
        """The defense, prepared for the federation."""
        return self.defense.prepare(self.setup)

    @cached_property
    def guarantees(self) -> tuple[Guarantee, ...]:
        """What it claims there."""
        return self.prepared.guarantees(self.setup)

    @cached_property
    def fresh(self) -> tuple[bytes, bytes]:
        """Hashes of a training in two copies of this process, in which it is the first, with other global seeds."""
        return in_a_copy(lambda: rehearsed(self, self.setup, 1)), in_a_copy(lambda: rehearsed(self, self.setup, 2))

    def generator(self, role: str) -> torch.Generator:
        """Return the generator of a role."""
        return Streams(self.seed).torch(f"conformance {role}")

    def gradients(self, role: str, *, dtype: torch.dtype = torch.float64) -> Tensor:
        """Draw per-example gradients (clients, slots, parameters) of norm about 1."""
        drawn = torch.randn(CLIENTS, SLOTS, PARAMETERS, generator=self.generator(role), dtype=torch.float64)
        return (drawn / math.sqrt(PARAMETERS)).to(dtype)

    def updates(self, role: str, *, dtype: torch.dtype = torch.float64) -> Tensor:
        """Draw updates (clients, parameters)."""
        return self.gradients(role, dtype=dtype).mean(1)


def first_slots(records: int, *, slots: int = SLOTS, clients: int = CLIENTS) -> Tensor:
    """Return the mask (clients, slots) of batches that hold this many records each."""
    return (torch.arange(slots) < records).expand(clients, slots).clone()


def release(defense: Defense, per_example: Tensor, mask: Tensor, generator: torch.Generator, step: int = 0) -> Tensor:
    """Return what the gradient hook gives, on copies of its arguments."""
    released: Tensor = defense.gradient(per_example.clone(), mask.clone(), step=step, generator=generator)
    return released


def hook_results(defense: Defense, bench: Bench, *, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    """Return what each hook of a prepared defense gives, once."""
    per_example, mask = bench.gradients("records", dtype=dtype), first_slots(BATCH)
    updates = bench.updates("updates", dtype=dtype)
    generator = bench.generator("hooks")
    weights = torch.full((CLIENTS,), 1 / CLIENTS, dtype=dtype)
    return {
        "expected_gradient": defense.expected_gradient(per_example.clone(), mask.clone()),
        "gradient": release(defense, per_example, mask, generator),
        "update": defense.update(updates.clone(), round=0, generator=generator),
        "aggregate": defense.aggregate(updates.clone(), weights, round=0, generator=generator),
    }


def rehearsed(bench: Bench, setup: Setup, seed: int) -> bytes:
    """Return a hash of all that a training's hooks give, or of what they raise, under this global seed."""
    with global_seed(seed):
        return outcome(lambda: _rehearse(bench, setup))


def _rehearse(bench: Bench, setup: Setup) -> list[Any]:
    """Run a training's hooks in their order, on gradients that are drawn beforehand; return all they gave."""
    prepared = bench.defense.prepare(setup)
    generator = bench.generator("noise")
    weights = torch.full((CLIENTS,), 1 / CLIENTS, dtype=torch.float64)
    seen: list[Any] = [prepared.noise_std()]
    for round_ in range(setup.rounds):
        for step in range(setup.local_steps[0]):
            gradients = bench.gradients(f"round {round_} step {step}")
            seen.append(release(prepared, gradients, first_slots(BATCH), generator, step))
        updates = bench.updates(f"round {round_}")
        seen.append(prepared.update(updates.clone(), round=round_, generator=generator))
        seen.append(prepared.aggregate(updates.clone(), weights, round=round_, generator=generator))
    return seen


def neutral_parameters(plugin: object) -> Mapping[str, Any] | None:
    """Return the parameters at which a plug-in says that it does nothing; None if it does not say.

    A defense that overrides no hook does nothing whatever its parameters.
    """
    hooks = ("expected_gradient", "gradient", "update", "aggregate", "view_for", "guarantees")
    declared = getattr(type(plugin), "neutral", None)
    if declared is None and all(getattr(type(plugin), hook) is getattr(Defense, hook) for hook in hooks):
        return {}
    return declared
