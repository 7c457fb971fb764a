"""Membership from updates: a likelihood ratio in each round, accumulated over the rounds of a candidate's client."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from qfl_sec.attacks.likelihood_ratio import gaussian_log_ratios, mixed_with_absence, repeated_log_ratios
from qfl_sec.attacks.protected_gradients import divides_by_batch_size, in_full_batch
from qfl_sec.attacks.reference_statistics import shrunk_covariance
from qfl_sec.attacks.transmissions import present_clients, transmissions
from qfl_sec.contracts import (
    AggregateView,
    AnonymousUpdatesView,
    Attack,
    GlobalModelsView,
    InterceptedView,
    Knowledge,
    MembershipScores,
    NotApplicableError,
    Question,
    Records,
    Setup,
    UpdatesView,
    View,
)
from qfl_sec.gradients import per_example_gradients

_COST = 3
"""A gradient in circuit evaluations."""

_STILL = 1e-12
"""A gradient below this share of the largest is rounding."""


@dataclass(frozen=True, kw_only=True)
class UpdateMembership(Attack):
    """Tell members by how likely each update, or sum of updates, is with and without the candidate's gradient in it.

    An update is a mean of per-record gradients, Gaussian with the mean and covariance that the reference records show
    at the same weights, plus the defense's noise. With the candidate in the batch its gradient shifts the mean and,
    since it is no longer random, narrows the covariance. A member enters a batch only with some probability, so each
    round gives the logarithm of a mixture; rounds add up. Candidates whose client never sent anything score 0.

    Where only the sum of a round's updates is seen, or is told from the broadcasts before and after it, the other
    clients' records count as noise: their mean is subtracted and their covariance, from the reference records too, is
    added. Shares of a weighted average are taken for their expectations, which is all that is public of them. Where
    updates come without names, each of a round is the candidate's client's with the same probability, and the round
    gives the logarithm of that mixture.

    Several local steps are treated as one batch of all their records at the weights the round started from.

    Reference: Neyman and Pearson 1933, doi:10.1098/rsta.1933.0009 (the likelihood ratio is the best test).
    """

    name: ClassVar[str] = "update_membership"
    question: ClassVar[Question] = "membership"
    requires: ClassVar[tuple[type[View], ...]] = (
        UpdatesView,
        AggregateView,
        InterceptedView,
        AnonymousUpdatesView,
        GlobalModelsView,
    )

    def circuit_evaluations(self, setup: Setup, *, view: type[View], candidates: int, reference: int) -> int:
        """Return how many circuit evaluations one run takes: gradients of every record at every round's weights."""
        return setup.rounds * (candidates + reference) * _COST

    def run(self, view: View, knowledge: Knowledge, *, generator: torch.Generator) -> MembershipScores:
        """Score the candidates; see `Attack.run`. Nothing is drawn from the generator.

        Raises:
            NotApplicableError: If the updates are not sums of gradients, as under Adam.
        """
        assert isinstance(view, GlobalModelsView)
        setup, candidates = view.setup, knowledge.candidates
        if candidates is None:
            raise ValueError("Expected knowledge.candidates: the records whose membership is asked.")
        if setup.optimizer != "sgd":
            raise NotApplicableError(
                f"With the optimizer {setup.optimizer} an update is no mean of gradients. Only sgd is covered."
            )
        withheld = knowledge.defense is not None and knowledge.defense.withholds
        scores = torch.zeros(len(candidates), dtype=torch.float64)
        sent = transmissions(view, knowledge.defense, wrapped=knowledge.architecture.wrapped)
        for round_, weights in enumerate(view.global_weights[: setup.rounds].double()):
            gradients = _Gradients.at(weights, knowledge, candidates, setup)
            found = []
            for place in (sent.sent[round_] & sent.known[round_].any(-1)).nonzero().flatten().tolist():
                value, shares = sent.values[round_, place], sent.shares[round_, place]
                clients = sent.clients[round_, place].tolist()
                known = sent.known[round_, place]
                if withheld:
                    known = known | gradients.still
                seen = value[known] / -setup.learning_rate
                given = gradients.at_coordinates(known)
                if isinstance(view, AnonymousUpdatesView):
                    found.append(given.evidence_if_sent(seen, present_clients(view, round_), setup, candidates.clients))
                else:
                    scores += given.evidence(seen, clients, shares, setup, candidates.clients)
            if found:
                scores += torch.stack(found).logsumexp(0) - math.log(len(found))
        return MembershipScores(values=scores)


@dataclass(frozen=True, kw_only=True)
class _Gradients:
    """Per-record gradients at one round's weights, as the defense lets them through.

    Attributes:
        candidates: (candidates, parameters)
        mean: (parameters,), of the reference records.
        covariance: (parameters, parameters), of the same, shrunk.
        noise: Variance of the noise on one step's mean gradient.
        added: Variance of the noise on an update, over the squared learning rate.
        fixed_divisor: Whether a batch's sum is divided by the batch size whatever the batch holds.
    """

    candidates: Tensor
    mean: Tensor
    covariance: Tensor
    noise: float
    added: float
    fixed_divisor: bool

    @classmethod
    def at(cls, weights: Tensor, knowledge: Knowledge, candidates: Records, setup: Setup) -> "_Gradients":
        """Compute them at these weights (parameters,)."""

        def protected(records: Records) -> Tensor:
            gradients = per_example_gradients(
                knowledge.architecture, weights, records.features.double(), records.labels
            )
            return in_full_batch(knowledge.defense, gradients, setup.batch_size)

        reference = protected(knowledge.reference)
        return cls(
            candidates=protected(candidates),
            mean=reference.mean(0),
            covariance=shrunk_covariance(reference),
            noise=0.0 if knowledge.defense is None else knowledge.defense.noise_std() ** 2,
            added=0.0
            if knowledge.defense is None
            else (knowledge.defense.update_noise_std() / setup.learning_rate) ** 2,
            fixed_divisor=divides_by_batch_size(knowledge.defense, reference),
        )

    @property
    def still(self) -> Tensor:
        """True where no candidate has a gradient, (parameters,): zero whatever is left out."""
        largest = self.candidates.abs().amax(0)
        return largest <= _STILL * largest.max()

    def at_coordinates(self, known: Tensor) -> "_Gradients":
        """Return the same at the coordinates that are known, (parameters,); a defense left the others out."""
        covariance = self.covariance[known][:, known]
        return replace(self, candidates=self.candidates[:, known], mean=self.mean[known], covariance=covariance)

    def evidence(self, seen: Tensor, clients: list[int], shares: Tensor, setup: Setup, owners: Tensor) -> Tensor:
        """Return ln P(seen | member) - ln P(seen | no member) of every candidate, 0 if its client sent nothing.

        Args:
            seen: (parameters,), a sum of updates over minus the learning rate.
            clients: Whose updates.
            shares: (clients,), what each was multiplied by.
            setup: The public metadata.
            owners: (candidates,), the client of each.
        """
        found = torch.zeros(len(owners), dtype=torch.float64)
        weights = shares * torch.tensor([setup.local_steps[client] for client in clients])  # of the mean gradients
        moments = [self._moments(setup, client) for client in clients]
        means = torch.stack([mean for mean, _ in moments]) * weights.unsqueeze(-1)
        covariances = torch.stack([covariance for _, covariance in moments]) * weights.square().reshape(-1, 1, 1)
        for place, (client, weight) in enumerate(zip(clients, weights, strict=True)):
            rows = (owners == client).nonzero().squeeze(-1)
            others = torch.arange(len(clients)) != place
            own = (seen - means[others].sum(0)) / weight
            found[rows] = self._log_ratios(own, rows, setup, client, covariances[others].sum(0) / weight**2)
        return found

    def evidence_if_sent(self, seen: Tensor, clients: list[int], setup: Setup, owners: Tensor) -> Tensor:
        """Return the evidence of an update (parameters,) for every candidate, each as if its own client had sent it."""
        alone = torch.ones(1, dtype=torch.float64)
        return torch.stack([self.evidence(seen, [client], alone, setup, owners) for client in clients]).sum(0)

    def _moments(self, setup: Setup, client: int) -> tuple[Tensor, Tensor]:
        """Return mean and covariance of what a client's update amounts to: its mean gradient, with the noise."""
        steps, rate, size = setup.local_steps[client], setup.sample_rate(client), setup.expected_sizes[client]
        noise = (self.noise / steps + self.added / steps**2) * torch.eye(len(self.mean), dtype=self.mean.dtype)
        if not (setup.sampling == "poisson" and self.fixed_divisor):
            return self.mean, self.covariance / _records(setup, client) + noise
        share = size * rate / setup.batch_size  # of a full batch that is expected to be there
        second = self.covariance + torch.outer(self.mean, self.mean)
        spread = second * (1 - rate + steps * rate) - steps * rate * torch.outer(self.mean, self.mean)
        return share * self.mean, spread * share / (steps * setup.batch_size) + noise

    def _log_ratios(self, sent: Tensor, rows: Tensor, setup: Setup, client: int, around: Tensor) -> Tensor:
        """Return ln P(sent | member) - ln P(sent | no member) of the candidates in these rows, all of one client.

        Args:
            sent: (parameters,), the mean gradient that the client's update amounts to.
            rows: (k,)
            setup: The public metadata.
            client: Whose update it is.
            around: (parameters, parameters), the covariance of what other clients added to it.
        """
        steps, rate = setup.local_steps[client], setup.sample_rate(client)
        mean, covariance = self._moments(setup, client)
        if setup.sampling == "poisson" and self.fixed_divisor:
            shifts = self.candidates[rows] / (steps * setup.batch_size)
            return repeated_log_ratios(sent - mean, shifts, covariance + around, draws=steps, rate=rate)
        records = _records(setup, client)
        ratios = gaussian_log_ratios(
            sent - mean,
            (self.candidates[rows] - mean) / records,
            covariance + around,
            covariance - self.covariance / records**2 + around,
        )
        return mixed_with_absence(ratios, min(1.0, steps * rate))


def _records(setup: Setup, client: int) -> int:
    """Return how many records are taken to be behind a client's update."""
    return min(setup.local_steps[client] * setup.batch_size, max(1, round(setup.expected_sizes[client])))
