"""What a server saw of each round: every client's update, or nothing but their weighted sum.

A single update is a sum of one. Attacks on updates are therefore written for sums, and run on either view.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from qfl_sec.contracts import AggregateView, Setup, UpdatesView, View


@dataclass(frozen=True, kw_only=True)
class Transmissions:
    """The sums that were seen, and what is public about each.

    Attributes:
        values: (rounds, sums, parameters)
        clients: (rounds, sums, summands), whose updates are in each sum.
        shares: (rounds, sums, summands), what each update was multiplied by.
    """

    values: Tensor
    clients: Tensor
    shares: Tensor

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


def transmissions(view: View) -> Transmissions:
    """Read what was sent from a view that shows it.

    Raises:
        TypeError: If the view shows neither updates nor their sums.
    """
    if isinstance(view, UpdatesView):
        clients = view.selected.unsqueeze(-1)
        return Transmissions(
            values=view.updates.double(), clients=clients, shares=torch.ones(clients.shape, dtype=torch.float64)
        )
    if not isinstance(view, AggregateView):
        raise TypeError(f"Expected an UpdatesView or an AggregateView, not {type(view).__name__}.")
    clients = torch.tensor(view.setup.schedule).unsqueeze(1)
    return Transmissions(
        values=view.aggregates.double().unsqueeze(1), clients=clients, shares=expected_shares(view.setup, clients)
    )


def expected_shares(setup: Setup, clients: Tensor) -> Tensor:
    """Return each client's share in the average of those beside it (..., summands), as far as it is public.

    With fixed batches a weighted average goes by the numbers of members, of which only the expectation is public.
    """
    sizes = torch.tensor(setup.expected_sizes, dtype=torch.float64)[clients]
    weights = sizes if setup.average == "weighted" else torch.ones_like(sizes)
    return weights / weights.sum(-1, keepdim=True)


def shares_are_public(setup: Setup, summands: int) -> bool:
    """Return whether the shares are known exactly; `RoundLoop` weighs Poisson batches by public expectations."""
    return summands == 1 or setup.average == "plain" or setup.sampling == "poisson"
