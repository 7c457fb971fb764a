"""Membership from updates: a likelihood ratio in each round, accumulated over the rounds of a candidate's client."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from qfl_sec.attacks.likelihood_ratio import gaussian_log_ratios, mixed_with_absence, repeated_log_ratios
from qfl_sec.attacks.reference_statistics import shrunk_covariance
from qfl_sec.contracts import (
    Attack,
    Defense,
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


@dataclass(frozen=True, kw_only=True)
class UpdateMembership(Attack):
    """Tell members by how likely each update is with and without the candidate's gradient in it.

    An update is a mean of per-record gradients, Gaussian with the mean and covariance that the reference records show
    at the same weights, plus the defense's noise. With the candidate in the batch its gradient shifts the mean and,
    since it is no longer random, narrows the covariance. A member enters a batch only with some probability, so each
    round gives the logarithm of a mixture; rounds add up. Candidates whose client never sent anything score 0.

    Several local steps are treated as one batch of all their records at the weights the round started from.

    Reference: Neyman and Pearson 1933, doi:10.1098/rsta.1933.0009 (the likelihood ratio is the best test).
    """

    name: ClassVar[str] = "update_membership"
    question: ClassVar[Question] = "membership"
    requires: ClassVar[tuple[type[View], ...]] = (UpdatesView,)

    def circuit_evaluations(self, setup: Setup, *, candidates: int, reference: int) -> int:
        """Return how many circuit evaluations one run takes: gradients of every record at every round's weights."""
        return setup.rounds * (candidates + reference) * _COST

    def run(self, view: View, knowledge: Knowledge, *, generator: torch.Generator) -> MembershipScores:
        """Score the candidates; see `Attack.run`. Nothing is drawn from the generator.

        Raises:
            NotApplicableError: If the updates are not sums of gradients, as under Adam.
        """
        assert isinstance(view, UpdatesView)
        setup, candidates = view.setup, knowledge.candidates
        if candidates is None:
            raise ValueError("Expected knowledge.candidates: the records whose membership is asked.")
        if setup.optimizer != "sgd":
            raise NotApplicableError(
                f"With the optimizer {setup.optimizer} an update is no mean of gradients. Only sgd is covered."
            )
        scores = torch.zeros(len(candidates), dtype=torch.float64)
        for round_, chosen in enumerate(setup.schedule):
            gradients = _Gradients.at(view.global_weights[round_].double(), knowledge, candidates, setup.batch_size)
            for place, client in enumerate(chosen):
                rows = (candidates.clients == client).nonzero().squeeze(-1)
                sent = view.updates[round_, place].double() / (-setup.learning_rate * setup.local_steps[client])
                scores[rows] += gradients.log_ratios(sent, rows, setup, client)
        return MembershipScores(values=scores)


@dataclass(frozen=True, kw_only=True)
class _Gradients:
    """Per-record gradients at one round's weights, as the defense lets them through.

    Attributes:
        candidates: (candidates, parameters)
        mean: (parameters,), of the reference records.
        covariance: (parameters, parameters), of the same, shrunk.
        noise: Variance of the noise on one step's mean gradient.
        fixed_divisor: Whether a batch's sum is divided by the batch size whatever the batch holds.
    """

    candidates: Tensor
    mean: Tensor
    covariance: Tensor
    noise: float
    fixed_divisor: bool

    @classmethod
    def at(cls, weights: Tensor, knowledge: Knowledge, candidates: Records, batch_size: int) -> "_Gradients":
        """Compute them at these weights (parameters,)."""

        def protected(records: Records) -> Tensor:
            gradients = per_example_gradients(
                knowledge.architecture, weights, records.features.double(), records.labels
            )
            return _in_full_batch(knowledge.defense, gradients, batch_size)

        reference = protected(knowledge.reference)
        return cls(
            candidates=protected(candidates),
            mean=reference.mean(0),
            covariance=shrunk_covariance(reference),
            noise=0.0 if knowledge.defense is None else knowledge.defense.noise_std() ** 2,
            fixed_divisor=_divides_by_batch_size(knowledge.defense, reference),
        )

    def log_ratios(self, sent: Tensor, rows: Tensor, setup: Setup, client: int) -> Tensor:
        """Return ln P(sent | member) - ln P(sent | no member) of the candidates in these rows, all of one client.

        Args:
            sent: (parameters,), the mean gradient that the client's update amounts to.
            rows: (k,)
            setup: The public metadata.
            client: Whose update it is.
        """
        steps, rate, size = setup.local_steps[client], setup.sample_rate(client), setup.expected_sizes[client]
        noise = self.noise / steps * torch.eye(len(self.mean), dtype=self.mean.dtype)
        if setup.sampling == "poisson" and self.fixed_divisor:
            share = size * rate / setup.batch_size  # of a full batch that is expected to be there
            second = self.covariance + torch.outer(self.mean, self.mean)
            spread = second * (1 - rate + steps * rate) - steps * rate * torch.outer(self.mean, self.mean)
            records = steps * setup.batch_size
            return repeated_log_ratios(
                sent - share * self.mean,
                self.candidates[rows] / records,
                spread * share / records + noise,
                draws=steps,
                rate=rate,
            )
        records = min(steps * setup.batch_size, max(1, round(size)))
        ratios = gaussian_log_ratios(
            sent - self.mean,
            (self.candidates[rows] - self.mean) / records,
            self.covariance / records + noise,
            self.covariance * (records - 1) / records**2 + noise,
        )
        return mixed_with_absence(ratios, min(1.0, steps * rate))


def _in_full_batch(defense: Defense | None, gradients: Tensor, batch_size: int) -> Tensor:
    """Return what the defense makes of each gradient (records, parameters): its contribution times the batch size.

    A batch that holds nothing but copies of one record shows it, whatever the defense divides by.
    """
    if defense is None:
        return gradients
    copies = gradients.unsqueeze(1).expand(-1, batch_size, -1)
    return defense.expected_gradient(copies, torch.ones(copies.shape[:2], dtype=torch.bool))


def _divides_by_batch_size(defense: Defense | None, gradients: Tensor) -> bool:
    """Return whether half a batch gives half the gradient, rather than the mean over the records that are there."""
    if defense is None:
        return False
    pairs = gradients.unsqueeze(1).expand(-1, 2, -1)
    full = torch.ones(pairs.shape[:2], dtype=torch.bool)
    half = torch.tensor([True, False]).expand_as(full)
    return torch.allclose(2 * defense.expected_gradient(pairs, half), defense.expected_gradient(pairs, full))
