"""Linkage: tell which client sent each nameless update, by what it says of the data behind it."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from qfl_sec.attacks.assignment import Clues, assign
from qfl_sec.attacks.fingerprints import clues, records_of
from qfl_sec.attacks.transmissions import present_clients
from qfl_sec.contracts import (
    AnonymousUpdatesView,
    Attack,
    Knowledge,
    LinkageScores,
    NotApplicableError,
    Question,
    Setup,
    View,
)

_COST = 3
"""A gradient in circuit evaluations."""

_SPREADS = (0.0, 0.2, 0.5, 1.0)
"""By how much clients' distributions differ: the standard deviation of a fingerprint, without that of few records."""


@dataclass(frozen=True, kw_only=True)
class SenderLinkage(Attack):
    """Tell the senders of nameless updates by fingerprints of their data, across rounds.

    An update is a mean of per-record gradients. What a client's records look like, in the mean of a few functions of a
    record, moves it in directions which the reference records show at the same weights; what is drawn anew in every
    round is noise, Gaussian with the covariance of the reference gradients. Who takes part when is public, so that the
    updates of a client lie somewhere among those of its rounds. The answer is the assignment under which all updates
    are most likely, a client's fingerprint integrated out: it is improved round by round, each time by the best
    assignment of that round given the others, from several starts. How much clients differ is chosen by the same
    likelihood.

    If every forwarding client tells the server how it shuffled, senders are read off instead. Where all clients take
    part in every round, updates of one client can be found to belong together, but nothing gives them a name.

    Attributes:
        restarts: Starting assignments.
        sweeps: Most passes over the rounds from each.

    Reference: the marginal likelihood of a Bayesian linear model is Bishop 2006, Pattern Recognition and Machine
        Learning, eq. 3.86; assignments are Kuhn 1955, doi:10.1002/nav.3800020109.
    """

    name: ClassVar[str] = "sender_linkage"
    question: ClassVar[Question] = "linkage"
    requires: ClassVar[tuple[type[View], ...]] = (AnonymousUpdatesView,)

    restarts: int = 20
    sweeps: int = 50

    def __post_init__(self) -> None:
        for name in ("restarts", "sweeps"):
            if getattr(self, name) < 1:
                raise ValueError(f"Expected {name}={getattr(self, name)} >= 1.")

    def circuit_evaluations(self, setup: Setup, *, view: type[View], candidates: int, reference: int) -> int:
        """Return how many circuit evaluations one run takes: gradients of the reference at every round's weights."""
        return setup.rounds * reference * _COST

    def run(self, view: View, knowledge: Knowledge, *, generator: torch.Generator) -> LinkageScores:
        """Name the sender of every update; see `Attack.run`.

        Raises:
            NotApplicableError: If the updates are not sums of gradients, as under Adam.
        """
        assert isinstance(view, AnonymousUpdatesView)
        setup = view.setup
        if (told := _told(view)) is not None:
            return LinkageScores(senders=told)
        if setup.optimizer != "sgd":
            raise NotApplicableError(
                f"With the optimizer {setup.optimizer} an update is no mean of gradients. Only sgd is covered."
            )
        found: list[Clues] = clues(view, knowledge)
        few = 1 / np.array([records_of(setup, client) for client in range(setup.clients)])
        answers = [
            assign([one.scaled(spread) for one in found], setup.clients, self.restarts, self.sweeps, generator)
            for spread in (np.sqrt(between**2 + few) for between in _SPREADS)
        ]
        senders = torch.full(view.updates.shape[:2], -1)
        best = max(answers, key=lambda answer: answer.log_evidence)
        for round_, clients in enumerate(best.clients):
            senders[round_, : len(clients)] = torch.tensor(clients)
        return LinkageScores(senders=senders)


def _told(view: AnonymousUpdatesView) -> Tensor | None:
    """Return the senders of all updates if every hop has told how it shuffled; None otherwise."""
    if view.shuffles is None:
        return None
    senders = torch.full(view.updates.shape[:2], -1)
    for round_, shuffles in enumerate(view.shuffles):
        order = torch.tensor(present_clients(view, round_), dtype=torch.int64)
        came = len(order)
        for shuffle in shuffles[:, :came]:
            if bool((shuffle < 0).any()):
                return None
            order = order[shuffle]
        senders[round_, :came] = order
    return senders
