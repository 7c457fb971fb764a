"""The rounds of one training: local steps, defense, update, average; and the record of what happened."""

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from qfl_sec.batches import Batches, draw_batches
from qfl_sec.channel import Carried, Channel, Link
from qfl_sec.computation import Computation
from qfl_sec.compute import ComputeCost
from qfl_sec.contracts import (
    ADVERSARIES,
    AggregateView,
    AnonymousUpdatesView,
    Architecture,
    Candidates,
    Defense,
    Forwarded,
    InterceptedView,
    LostRoundError,
    MechanismEvidence,
    Setup,
    UpdatesView,
    visible,
)
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
        channel: What carries updates to the server, open.
        computation: What gives gradients.
        seed: Of the batches and the noise.
    """

    def __init__(
        self,
        setup: Setup,
        defense: Defense,
        arch: Architecture,
        candidates: Candidates,
        owned: list[NDArray[np.int64]],
        channel: Channel,
        computation: Computation,
        seed: int,
    ) -> None:
        self.setup = setup
        self.defense = defense
        self.arch = arch
        self.candidates = candidates
        self.owned = owned
        self.channel = channel
        self.computation = computation
        self.streams = Streams(seed)
        self.noise = self.streams.torch("noise")
        single = (UpdatesView, AnonymousUpdatesView)
        self.updates_seen = any(visible(single, view_type(one, defense)) for one in ADVERSARIES)
        self.updates_tapped = defense.view_for("eavesdropper", InterceptedView) is InterceptedView
        self.sums_only = view_type("server", defense) is AggregateView
        self.global_weights: list[Tensor] = []
        self.updates: list[Tensor] = []
        self.aggregates: list[Tensor] = []
        self.carried: list[Carried] = []
        self.orders: list[Tensor] = []
        self.forwarded: list[Forwarded | None] = []
        self.used: list[Tensor] = []
        self.largest_contribution = 0.0
        self.noise_squares = 0.0
        self.noise_draws = 0
        self.largest_update = [0.0, 0.0]  # in the L1 and in the L2 norm
        self.update_noise_squares = 0.0
        self.update_noise_draws = 0
        self.costs: list[ComputeCost] = []

    def run_round(self, round_: int, weights: Tensor) -> Tensor:
        """Advance all selected clients together from the broadcast weights (parameters,) to the next ones."""
        chosen = self.setup.schedule[round_]
        batches = draw_batches(self.setup, self.owned, round_, self.streams)
        local = self._local_steps(weights.expand(len(chosen), -1), batches)
        updates = wrap_angles(local - weights, self.arch.wrapped)
        sent = self.defense.update(updates.clone(), round=round_, generator=self.noise)
        _check("update", sent, updates)
        self._observe_update(updates, sent)
        self.costs += self.computation.cost(round_, chosen, torch.from_numpy(batches.records >= 0).flatten(1).sum(1))
        carried, received, order, aggregate = self._collect(sent, weights, round_)
        _check("aggregate", aggregate, weights)
        self.global_weights.append(weights)
        self.updates.append(received.clone() if self.updates_seen else torch.zeros_like(sent))
        self.aggregates.append(aggregate.clone())
        self.carried.append(carried)
        self.orders.append(order)
        self.used.append(torch.from_numpy(batches.records)[order])
        return weights + aggregate

    def _collect(self, sent: Tensor, broadcast: Tensor, round_: int) -> tuple[Carried, Tensor, Tensor, Tensor]:
        """Send the updates (clients, parameters) on their way.

        Where the server gets masked updates, one that is missing spoils the sum, and the round is lost: nothing here
        recovers the masks of clients who drop out.

        Returns:
            What became of them; the updates as the server has them, zeros where one is missing; the places (clients,)
            they had when they left; and the server's aggregate.
        """
        carried = self.channel.carry(sent, broadcast=broadcast, clients=self.setup.schedule[round_], round=round_)
        received, order = self._pass_on(carried, round_)
        arrived = carried.delivered[order]
        if bool(arrived.any()) and (bool(arrived.all()) or not self.sums_only):
            shares = self._average_weights(
                tuple(self.setup.schedule[round_][place] for place in order[arrived].tolist())
            )
            try:
                handed = received[arrived].clone()
                aggregate = self.defense.aggregate(handed, shares, round=round_, generator=self.noise)
                return carried, received, order, aggregate
            except LostRoundError:
                pass
        lost = replace(carried, delivered=torch.zeros_like(arrived))
        return lost, received, order, torch.zeros_like(broadcast)

    def _pass_on(self, carried: Carried, round_: int) -> tuple[Tensor, Tensor]:
        """Return the updates (clients, parameters) as the server gets them, and the places they had before (clients,).

        Those that others passed on come first, and those that never arrived last.
        """
        arrived = carried.delivered
        came = carried.received[arrived].clone()
        forwarded = self.defense.forward(came, round=round_, generator=self.noise) if len(came) else None
        self.forwarded.append(forwarded)
        if forwarded is None:
            return carried.received, torch.arange(len(arrived))
        _check("forward", forwarded.received, came)
        places, lost = arrived.nonzero().flatten(), (~arrived).nonzero().flatten()
        received = torch.cat([forwarded.received, carried.received.new_zeros(len(lost), came.shape[1])])
        return received, torch.cat([places[forwarded.order], lost])

    def _local_steps(self, weights: Tensor, batches: Batches) -> Tensor:
        """Make every client's local steps from weights (clients, parameters)."""
        optimizer = LocalOptimizer(self.setup.optimizer, self.setup.learning_rate)
        for step in range(batches.records.shape[1]):
            records = torch.from_numpy(batches.records[:, step])  # (clients, batch)
            mask = records >= 0
            rows = records.clamp(min=0)
            per_example = self.computation.gradients(
                weights.unsqueeze(1), self.candidates.features[rows], self.candidates.labels[rows], mask
            )
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

    def _observe_update(self, updates: Tensor, sent: Tensor) -> None:
        """Measure what the defense's update hook did: the largest expected update, and the noise."""
        expected = self.defense.expected_update(updates.clone())
        for place, order in enumerate((1, 2)):
            self.largest_update[place] = max(self.largest_update[place], float(expected.norm(p=order, dim=-1).max()))
        self.update_noise_squares += float(((sent - expected) ** 2).sum())
        self.update_noise_draws += sent.numel()

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
        """Return what was measured of the defense's gradient and update hooks over the whole training."""
        return MechanismEvidence(
            largest_contribution=self.largest_contribution,
            noise_std=math.sqrt(self.noise_squares / max(1, self.noise_draws)),
            noise_draws=self.noise_draws,
            sampling=self.setup.sampling,
            largest_update_l1=self.largest_update[0],
            largest_update_l2=self.largest_update[1],
            update_noise_std=math.sqrt(self.update_noise_squares / max(1, self.update_noise_draws)),
            update_noise_draws=self.update_noise_draws,
        )

    def delivered(self) -> Tensor | None:
        """Return which updates arrived, (rounds, clients a round); None if all did."""
        arrived = torch.stack([one.delivered for one in self.carried])
        return None if bool(arrived.all()) else arrived

    def intercepted(self) -> tuple[Tensor | None, Tensor | None]:
        """Return which coordinates of updates the eavesdropper has, and their values: (rounds, clients a round, P).

        None twice if it gets none by protocol, or sees no single update because a defense hides them.
        """
        known = [one.known for one in self.carried if one.known is not None]
        values = [one.intercepted for one in self.carried if one.intercepted is not None]
        if len(known) < len(self.carried) or not self.updates_tapped:
            return None, None
        return torch.stack(known), torch.stack(values)

    def senders(self) -> Tensor | None:
        """Return whose each update is, (rounds, clients a round), -1 where none came; None if nobody passed them on."""
        if all(one is None for one in self.forwarded):
            return None
        rows = zip(torch.tensor(self.setup.schedule), self.orders, self.carried, strict=True)
        return torch.stack([torch.where(one.delivered, clients, -1)[order] for clients, order, one in rows])

    def shuffles(self) -> Tensor | None:
        """Return what colluding hops tell of their orders, (rounds, hops, clients a round); None if there are none."""
        told = [None if one is None else one.shuffles for one in self.forwarded]
        hops = next((len(one) for one in told if one is not None), None)
        if hops is None:
            return None
        clients = len(self.setup.schedule[0])
        silent = torch.full((hops, clients), -1)
        return torch.stack([silent if one is None else pad(one, (0, clients - one.shape[1]), value=-1) for one in told])

    def links(self) -> tuple[Link, ...]:
        """Return what carrying each update took."""
        return (*self.channel.pair_links, *(link for one in self.carried for link in one.links))

    def batch_records(self) -> Tensor:
        """Return the records behind each update, (rounds, clients a round, steps x slots), empty slots -1.

        Steps and slots are padded to the same numbers in every round, so that a slot tells its step.
        """
        steps, slots = max(self.setup.local_steps), max(used.shape[2] for used in self.used)
        padded = [pad(used, (0, slots - used.shape[2], 0, steps - used.shape[1]), value=-1) for used in self.used]
        return torch.stack(padded).flatten(2)

    def circuit_angles(self) -> Tensor | None:
        """Return what a quantum server read of each record, (rounds, clients a round, steps x slots, angles).

        In the order of `batch_records`, zeros in empty slots; None if nobody saw circuits.
        """
        if not self.computation.is_seen or self.arch.encoding is None:
            return None
        records = self.batch_records()
        angles = self.arch.encoding(self.candidates.features[records.clamp(min=0)])
        return torch.where((records >= 0).unsqueeze(-1), angles, 0.0).detach()

    def batch_labels(self) -> Tensor:
        """Return the labels behind each update, in the same order."""
        records = self.batch_records()
        return torch.where(records >= 0, self.candidates.labels[records.clamp(min=0)], -1)
