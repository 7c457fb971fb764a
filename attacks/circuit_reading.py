"""Reading circuits: rebuild the records whose encoding angles a quantum server was handed."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from qfl_sec.attacks.least_squares import minimize, rank
from qfl_sec.attacks.reference_statistics import ReferenceStatistics, reference_statistics
from qfl_sec.contracts import (
    Attack,
    Knowledge,
    NotApplicableError,
    Question,
    Reconstructions,
    ServerComputeView,
    View,
)

_SOLVED = 1e-26
"""A squared residual below this share of the squared angles counts as solved."""

_CHUNK = 4096
"""Problems that are evaluated at a time; bounds the memory."""


@dataclass(frozen=True, kw_only=True)
class CircuitReading(Attack):
    """Rebuild the records of a batch from the angles that encode them, which whoever runs plain circuits is handed.

    The encoding is public, and each record's angles are its own: for each record, least squares on the angles from the
    reference records whose angles are nearest. The answer is the start with the lowest residual. Labels are no part of
    a circuit; the answer leaves them open, -1.

    Attributes:
        targets: Batches attacked in a training, drawn over all rounds and clients; all of them if there are fewer.
        starts: Reference records from which each record's search starts, the nearest ones.
        iterations: Steps of each start at most.
        margin: The search range is the reference's range, widened at either end by this share of it.

    Raises:
        ValueError: If a number is out of its range.
    """

    name: ClassVar[str] = "circuit_reading"
    question: ClassVar[Question] = "reconstruction"
    requires: ClassVar[tuple[type[View], ...]] = (ServerComputeView,)

    targets: int = 8
    starts: int = 4
    iterations: int = 60
    margin: float = 2.0

    def __post_init__(self) -> None:
        for name in ("targets", "starts", "iterations"):
            if getattr(self, name) < 1:
                raise ValueError(f"Expected {name}={getattr(self, name)} >= 1.")
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise ValueError(f"Expected margin={self.margin} >= 0.")

    def run(self, view: View, knowledge: Knowledge, *, generator: torch.Generator) -> Reconstructions:
        """Attack some batches of one training; see `Attack.run`.

        Empty slots of a batch have features 0 in the answer.

        Raises:
            NotApplicableError: If no record was run, or the model has no angles that depend on one.
        """
        assert isinstance(view, ServerComputeView)
        used = view.filled.any(-1).nonzero()
        if knowledge.architecture.encoding is None or view.angles.shape[-1] == 0:
            raise NotApplicableError("No angle of this model's circuits depends on a record: there is nothing to read.")
        if len(used) == 0:
            raise NotApplicableError("No record was run: there is nothing to read.")
        chosen = used[torch.randperm(len(used), generator=generator)[: self.targets].sort().values]
        angles, filled = (part[chosen[:, 0], chosen[:, 1]] for part in (view.angles, view.filled))
        reading = _Reading(
            angles=angles[filled],
            knowledge=knowledge,
            reference=reference_statistics(knowledge.reference, knowledge.architecture.n_classes, margin=self.margin),
        )
        records, residuals, ranks = reading.solve(self.starts, self.iterations)
        return _answers(chosen, filled, records, residuals, ranks, equations=angles.shape[1] * angles.shape[2])


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """Angles (records, angles) that were seen, and what is known beside them."""

    angles: Tensor
    knowledge: Knowledge
    reference: ReferenceStatistics

    def solve(self, starts: int, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return records (records, features), their squared residuals and the ranks of their equations (records,)."""
        known = self._encoded(self.reference.records)  # (reference, angles)
        nearest = torch.cdist(self.angles, known).topk(min(starts, len(known)), largest=False).indices
        start = self.reference.records[nearest].clamp(0, 1)  # (records, starts, features)

        def system(points: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
            value, slopes = self._with_slopes(points)
            return value - self.angles[which // start.shape[1]], slopes

        solved = _SOLVED * self.angles.square().sum(-1)
        solution = minimize(system, start, solved=solved, iterations=iterations, chunk=_CHUNK)
        objectives, best = solution.objectives.min(1)
        points = solution.points[torch.arange(len(best)), best]
        return self.reference.features(points), objectives, rank(self._with_slopes(points)[1])

    def _encoded(self, points: Tensor) -> Tensor:
        """Return the angles of points in unit coordinates (..., features)."""
        encoding = self.knowledge.architecture.encoding
        assert encoding is not None
        return encoding(self.reference.features(points))

    def _with_slopes(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the angles of points (k, features), and their derivatives (k, angles, features)."""
        directions = torch.eye(points.shape[-1], dtype=points.dtype)
        tangents = [(one.expand_as(points).clone(),) for one in directions]
        slopes = [torch.func.jvp(self._encoded, (points,), tangent)[1] for tangent in tangents]
        return self._encoded(points), torch.stack(slopes, dim=-1)


def _answers(
    chosen: Tensor, filled: Tensor, records: Tensor, residuals: Tensor, ranks: Tensor, *, equations: int
) -> Reconstructions:
    """Put the records back into their slots (targets, slots)."""
    features = records.new_zeros(*filled.shape, records.shape[-1])
    features[filled] = records
    by_slot, rank_by_slot = records.new_zeros(filled.shape), ranks.new_zeros(filled.shape)
    by_slot[filled], rank_by_slot[filled] = residuals, ranks
    return Reconstructions(
        targets=chosen,
        records=features.unsqueeze(1),
        labels=torch.full((len(chosen), 1, filled.shape[1]), -1),
        residuals=by_slot.sum(1, keepdim=True),
        ranks=rank_by_slot.sum(1),
        equations=equations,
        unknowns=filled.sum(1) * records.shape[-1],
    )
