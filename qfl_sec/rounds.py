"""The rounds of one training: local steps, defense, update, average; and the record of what happened."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from qfl_sec.batches import Batches, draw_batches
from qfl_sec.contracts import (
    ADVERSARIES,
    Architecture,
    Candidates,
    Defense,
    MechanismEvidence,
    Setup,
    UpdatesView,
    visible,
)
from qfl_sec.gradients import per_example_gradients
from qfl_sec.optimizers import LocalOptimizer
from qfl_sec.randomness import Streams
from qfl_sec.views import view_type


def wrap_angles(updates: Tensor, wrapped: Tensor) -> Tensor:
    """Wrap the angles among updates (..., parameters) to (-pi, pi]; `wrapped` (parameters,) says which they are."""
    turn = 2 * math.pi
    return torch.where(wrapped, math.pi - torch.remainder(math.pi - updates, turn), updates)


def _check(hook: str, result: object, like: Tensor) -> None:
    """Refuse what a defense's hook returned unless it is a tensor of the right shape and dtype."""
    if not isinstance(result, Tensor):
        raise ValueError(f"The defense's {hook} hook returned {type(result).__name__}. Expected a tensor.")
    if result.shape != like.shape or result.dtype != like.dtype:
        raise ValueError(
            f"The defense's {hook} hook returned {result.dtype} of shape {tuple(result.shape)}. "
            f"Expected {like.dtype} of shape {tuple(like.shape)}."
        )


class RoundLoop:
    """The state of one training between rounds, and the record of what happened.

    Args:
        setup: The public metadata, schedule included.
        defense: Prepared for it.
        arch: The model as a function of its weights.
        candidates: All candidates; only those in `owned` are used.
        owned: Row numbers of each client's records.
        seed: Of the batches and the noise.
    """

    def __init__(
        self,
        setup: Setup,
        defense: Defense,
        arch: Architecture,
        candidates: Candidates,
        owned: list[NDArray[np.int64]],
        seed: int,
    ) -> None:
        self.setup = setup
        self.defense = defense
        self.arch = arch
        self.candidates = candidates
        self.owned = owned
        self.streams = Streams(seed)
        self.noise = self.streams.torch("noise")
        self.updates_seen = any(visible((UpdatesView,), view_type(one, defense)) for one in ADVERSARIES)
        self.global_weights: list[Tensor] = []
        self.updates: list[Tensor] = []
        self.aggregates: list[Tensor] = []
        self.used: list[Tensor] = []
        self.largest_contribution = 0.0
        self.noise_squares = 0.0
        self.noise_draws = 0

    def run_round(self, round_: int, weights: Tensor) -> Tensor:
        """Advance all selected clients together from the broadcast weights (parameters,) to the next ones."""
        chosen = self.setup.schedule[round_]
        batches = draw_batches(self.setup, self.owned, round_, self.streams)
        local = self._local_steps(weights.expand(len(chosen), -1), batches)
        updates = wrap_angles(local - weights, self.arch.wrapped)
        sent = self.defense.update(updates.clone(), round=round_, generator=self.noise)
        _check("update", sent, updates)
        shares = self._average_weights(chosen)
        aggregate = self.defense.aggregate(sent.clone(), shares, round=round_, generator=self.noise)
        _check("aggregate", aggregate, weights)
        self.global_weights.append(weights)
        self.updates.append(sent.clone() if self.updates_seen else torch.zeros_like(sent))
        self.aggregates.append(aggregate.clone())
        self.used.append(torch.from_numpy(batches.records))
        return weights + aggregate

    def _local_steps(self, weights: Tensor, batches: Batches) -> Tensor:
        """Make every client's local steps from weights (clients, parameters)."""
        optimizer = LocalOptimizer(self.setup.optimizer, self.setup.learning_rate)
        for step in range(batches.records.shape[1]):
            records = torch.from_numpy(batches.records[:, step])  # (clients, batch)
            mask = records >= 0
            rows = records.clamp(min=0)
            per_example = per_example_gradients(
                self.arch, weights.unsqueeze(1), self.candidates.features[rows], self.candidates.labels[rows]
            ).detach()
            handed = per_example.clone(), mask.clone()  # a hook that writes into its input must not reach the record
            gradient = self.defense.gradient(*handed, step=step, generator=self.noise)
            _check("gradient", gradient, weights)
            active = torch.from_numpy(batches.active[:, step])
            self._observe(per_example, mask, gradient, active)
            weights = torch.where(active.unsqueeze(-1), optimizer.step(weights, gradient), weights)
        return weights

    def _observe(self, per_example: Tensor, mask: Tensor, gradient: Tensor, active: Tensor) -> None:
        """Measure what the defense's gradient hook did: the largest share of one record, and the noise."""
        alone = self.defense.expected_gradient(per_example.unsqueeze(-2).clone(), mask.unsqueeze(-1))
        counted = mask & active.unsqueeze(-1)
        if bool(counted.any()):
            self.largest_contribution = max(self.largest_contribution, float(alone[counted].norm(dim=-1).max()))
        residual = (gradient - self.defense.expected_gradient(per_example.clone(), mask))[active]
        self.noise_squares += float((residual**2).sum())
        self.noise_draws += residual.numel()

    def _average_weights(self, chosen: tuple[int, ...]) -> Tensor:
        """Return the clients' shares in the average; public expectations where numbers of members must not show."""
        if self.setup.average == "plain":
            shares = torch.ones(len(chosen), dtype=self.candidates.features.dtype)
        elif self.setup.sampling == "poisson":
            shares = torch.tensor([self.setup.expected_sizes[c] for c in chosen], dtype=self.candidates.features.dtype)
        else:
            shares = torch.tensor([float(len(self.owned[c])) for c in chosen], dtype=self.candidates.features.dtype)
        total = shares.sum()
        return shares / total if total > 0 else shares

    def evidence(self) -> MechanismEvidence:
        """Return what was measured of the defense's gradient hook over the whole training."""
        return MechanismEvidence(
            largest_contribution=self.largest_contribution,
            noise_std=math.sqrt(self.noise_squares / max(1, self.noise_draws)),
            noise_draws=self.noise_draws,
            sampling=self.setup.sampling,
        )

    def batch_records(self) -> Tensor:
        """Return the records behind each update, (rounds, clients a round, steps x slots), empty slots -1.

        Steps and slots are padded to the same numbers in every round, so that a slot tells its step.
        """
        steps, slots = max(self.setup.local_steps), max(used.shape[2] for used in self.used)
        padded = [pad(used, (0, slots - used.shape[2], 0, steps - used.shape[1]), value=-1) for used in self.used]
        return torch.stack(padded).flatten(2)

    def batch_labels(self) -> Tensor:
        """Return the labels behind each update, in the same order."""
        records = self.batch_records()
        return torch.where(records >= 0, self.candidates.labels[records.clamp(min=0)], -1)
