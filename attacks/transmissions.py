"""What an adversary saw of each round: every client's update, or nothing but their weighted sum.

A single update is a sum of one. Attacks on updates are therefore written for sums, and run on either view. Who sees the
broadcasts alone has the sums all the same: each is the difference of two of them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from qfl_sec.broadcasts import sums_from_broadcasts
from qfl_sec.contracts import (
    AggregateView,
    AnonymousUpdatesView,
    Defense,
    GlobalModelsView,
    InterceptedView,
    Setup,
    UpdatesView,
    View,
)


@dataclass(frozen=True, kw_only=True)
class Transmissions:
    """The sums that were seen, and what is public about each.

    Attributes:
        values: (rounds, sums, parameters)
        clients: (rounds, sums, summands), whose updates are in each sum; where updates come without names, a client of
            middling size stands for all.
        shares: (rounds, sums, summands), what each update was multiplied by.
        known: (rounds, sums, parameters), false where a coordinate is not held; all true where nothing was withheld.
        sent: (rounds, sums), false where nothing came, because a channel aborted.
        as_sent: Whether values are digit for digit what was sent; else they are told from models, with their rounding.
    """

    values: Tensor
    clients: Tensor
    shares: Tensor
    known: Tensor
    sent: Tensor
    as_sent: bool

    @property
    def summands(self) -> int:
        """How many updates make up a sum."""
        return self.clients.shape[-1]

    def by_sum(self, slots: Tensor) -> Tensor:
        """Return what belongs to each selected client, (rounds, clients, ...), as (rounds, sums, summands, ...)."""
        return slots.reshape(*self.clients.shape, *slots.shape[2:])

    def positions(self, drawn: Tensor) -> Tensor:
        """Return rounds and sums (targets, 2) as `Reconstructions.targets` names them: -1 is all clients of a round."""
        if self.summands == 1:
            return drawn
        return torch.stack([drawn[:, 0], torch.full_like(drawn[:, 0], -1)], 1)


def transmissions(view: View, defense: Defense | None = None, *, wrapped: Tensor | None = None) -> Transmissions:
    """Read what was sent from a view that shows it.

    An eavesdropper counts as sent what it did not get: an update of which it knows no coordinate.

    Args:
        view: Updates, parts of them, or their sums; or the broadcasts alone, whose differences are the sums.
        defense: The one in place, as far as it is known: it may leave out coordinates, which are then sent as zero.
        wrapped: (parameters,), true where a parameter is an angle of period 2 pi; None if there are none.

    Raises:
        TypeError: If the view shows neither updates nor their sums.
    """
    as_sent = isinstance(view, UpdatesView | AnonymousUpdatesView | AggregateView)
    if not as_sent and isinstance(view, GlobalModelsView):
        long = defense is not None and defense.update_noise_std() > 0  # an angle's noise is not taken modulo 2 pi
        view = sums_from_broadcasts(view, wrapped=None if long else wrapped)
    if isinstance(view, UpdatesView):
        clients = view.selected.unsqueeze(-1)
        shares = torch.ones(clients.shape, dtype=torch.float64)
        values, sent = view.updates.double(), _sent(view.delivered, clients.shape[:2])
    elif isinstance(view, AnonymousUpdatesView):
        clients = torch.full((*view.updates.shape[:2], 1), _middling(view.setup))
        shares = torch.ones(clients.shape, dtype=torch.float64)
        values = view.updates.double()
        came = [len(present_clients(view, round_)) for round_ in range(view.setup.rounds)]
        sent = torch.arange(values.shape[1]) < torch.tensor(came).unsqueeze(1)
    elif isinstance(view, AggregateView):
        clients = torch.tensor(view.setup.schedule).unsqueeze(1)
        present = None if view.delivered is None else view.delivered.unsqueeze(1)
        shares = expected_shares(view.setup, clients, present)
        values = view.aggregates.double().unsqueeze(1)
        sent = _sent(None if present is None else present.any(-1), clients.shape[:2])
    else:
        raise TypeError(f"Expected updates or their sums, not {type(view).__name__}.")
    known = view.known if isinstance(view, InterceptedView) else torch.ones_like(values, dtype=torch.bool)
    if defense is not None and defense.withholds:
        known = known & (values != 0)
    return Transmissions(values=values, clients=clients, shares=shares, known=known, sent=sent, as_sent=as_sent)


def present_clients(view: AnonymousUpdatesView, round_: int) -> list[int]:
    """Return whose updates arrived in a round, in the order of the schedule, which is not that of the updates."""
    chosen = view.setup.schedule[round_]
    came = [True] * len(chosen) if view.delivered is None else view.delivered[round_].tolist()
    return [client for client, arrived in zip(chosen, came, strict=True) if arrived]


def _middling(setup: Setup) -> int:
    """Return a client of median expected size."""
    order = sorted(range(setup.clients), key=lambda client: setup.expected_sizes[client])
    return order[setup.clients // 2]


def _sent(delivered: Tensor | None, shape: torch.Size) -> Tensor:
    return torch.ones(shape, dtype=torch.bool) if delivered is None else delivered


def expected_shares(setup: Setup, clients: Tensor, present: Tensor | None = None) -> Tensor:
    """Return each client's share in the average of those beside it (..., summands), as far as it is public.

    With fixed batches a weighted average goes by the numbers of members, of which only the expectation is public.

    Args:
        setup: The public metadata.
        clients: (..., summands)
        present: (..., summands), false for clients whose update is not in the sum; None if all are.
    """
    sizes = torch.tensor(setup.expected_sizes, dtype=torch.float64)[clients]
    weights = sizes if setup.average == "weighted" else torch.ones_like(sizes)
    if present is not None:
        weights = weights * present
    return weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)


def shares_are_public(setup: Setup, summands: int) -> bool:
    """Return whether the shares are known exactly; `RoundLoop` weighs Poisson batches by public expectations."""
    return summands == 1 or setup.average == "plain" or setup.sampling == "poisson"
