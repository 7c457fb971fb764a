"""Membership from the released model: its confidence in a record, beside that of models that never saw it."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from qfl_sec.attacks.shadow_models import shadow_evaluations, train_shadows
from qfl_sec.contracts import (
    Attack,
    GlobalModelsView,
    Knowledge,
    MembershipScores,
    NotApplicableError,
    Question,
    ReleasedModelView,
    Setup,
    View,
)


@dataclass(frozen=True, kw_only=True)
class LossMembership(Attack):
    """Tell members by the released model's loss, compared with that of shadow models trained on public records.

    The score is ln p - ln(1 - p) of the record's own label, which falls with its loss and spreads evenly, less its mean
    over the shadow models: a record that is easy for everybody says nothing. With one variance for all records this is
    the likelihood ratio against the record being out. Without shadow models it is the plain loss threshold.

    Whoever holds the released model can do this: its recipient, and clients and server, too.

    Attributes:
        shadows: Number of shadow models; 0 compares losses as they are.
        shots: How often a device repeats each measurement behind an answer about a record; None if the recipient holds
            the weights and computes answers exactly. The attacker's own shadow models are exact.

    Raises:
        ValueError: If a number is out of its range.

    Reference: Yeom et al. 2018, arXiv 1709.01604, Adversary 1 (threshold); Carlini et al. 2022, arXiv 2112.03570,
        section VI (offline likelihood ratio); Watson et al. 2022, arXiv 2111.08440 (calibration by difficulty).
    """

    name: ClassVar[str] = "loss_membership"
    question: ClassVar[Question] = "membership"
    requires: ClassVar[tuple[type[View], ...]] = (ReleasedModelView, GlobalModelsView)

    shadows: int = 8
    shots: int | None = None

    def __post_init__(self) -> None:
        if self.shadows < 0:
            raise ValueError(f"Expected shadows={self.shadows} >= 0.")
        if self.shots is not None and self.shots < 1:
            raise ValueError(f"Expected shots={self.shots} >= 1, or none at all for exact answers.")

    def circuit_evaluations(self, setup: Setup, *, view: type[View], candidates: int, reference: int) -> int:
        """Return how many circuit evaluations one run takes: the shadows' training, and every model's answers."""
        return shadow_evaluations(self.shadows, setup) + (self.shadows + 1) * candidates

    def run(self, view: View, knowledge: Knowledge, *, generator: torch.Generator) -> MembershipScores:
        """Score the candidates; see `Attack.run`.

        Raises:
            NotApplicableError: If shots are asked of a model that nobody measures.
        """
        assert isinstance(view, ReleasedModelView | GlobalModelsView)
        candidates, architecture = knowledge.candidates, knowledge.architecture
        if candidates is None:
            raise ValueError("Expected knowledge.candidates: the records whose membership is asked.")
        weights = (view.weights if isinstance(view, ReleasedModelView) else view.global_weights[-1]).double()
        inputs = candidates.features.double()
        if self.shots is None:
            answers = architecture.outputs(weights, inputs).detach()
        elif architecture.sampled is not None:
            answers = architecture.sampled(weights, inputs, self.shots, generator)
        else:
            raise NotApplicableError(f"shots = {self.shots}: this model computes its answers, it measures nothing.")
        scores = confidence(answers, candidates.labels)
        if self.shadows:
            size = float(weights.square().mean().sqrt())
            models = train_shadows(self.shadows, view.setup, knowledge, size=size, generator=generator)
            unseen = architecture.outputs(models.unsqueeze(1), inputs).detach()  # (shadows, candidates, classes)
            scores = scores - confidence(unseen, candidates.labels).mean(0)
        return MembershipScores(values=scores)


def confidence(logits: Tensor, labels: Tensor) -> Tensor:
    """Return ln p - ln(1 - p) of the label's probability under logits (..., records, classes).

    Example:
        >>> confidence(torch.tensor([[2.0, 0.5]]), torch.tensor([0]))
        tensor([1.5000])
    """
    own = labels.expand(logits.shape[:-1]).unsqueeze(-1)
    others = logits.scatter(-1, own, -torch.inf)
    return logits.gather(-1, own).squeeze(-1) - others.logsumexp(-1)
