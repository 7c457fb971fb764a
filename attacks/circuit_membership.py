"""Membership from circuits: a record whose encoding angles a quantum server was handed is a member."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from qfl_sec.contracts import (
    Attack,
    Knowledge,
    MembershipScores,
    NotApplicableError,
    Question,
    ServerComputeView,
    View,
)

_CHUNK = 1 << 22
"""Pairs of a candidate and a circuit that are compared at a time; bounds the memory."""


@dataclass(frozen=True, kw_only=True)
class CircuitMembership(Attack):
    """Tell members by whether some circuit that was run encodes the candidate, as whoever runs plain circuits can.

    The score is minus the largest difference of an angle between the candidate's encoding and the nearest circuit's. A
    member whose record never entered a batch was never run, and is not found.
    """

    name: ClassVar[str] = "circuit_membership"
    question: ClassVar[Question] = "membership"
    requires: ClassVar[tuple[type[View], ...]] = (ServerComputeView,)

    def run(self, view: View, knowledge: Knowledge, *, generator: torch.Generator) -> MembershipScores:
        """Score the candidates; see `Attack.run`. Nothing is drawn from the generator.

        Raises:
            NotApplicableError: If no record was run, or the model has no angles that depend on one.
        """
        assert isinstance(view, ServerComputeView)
        if knowledge.candidates is None:
            raise ValueError("Expected knowledge.candidates: the records whose membership is asked.")
        seen = torch.unique(view.angles[view.filled], dim=0)  # (circuits, angles)
        if knowledge.architecture.encoding is None or seen.numel() == 0:
            raise NotApplicableError("No circuit with an angle that depends on a record was run: nothing to read.")
        asked = knowledge.architecture.encoding(knowledge.candidates.features)
        rows = torch.split(asked, max(1, _CHUNK // len(seen)))
        nearest = torch.cat([torch.cdist(part, seen, p=torch.inf).amin(1) for part in rows])
        return MembershipScores(values=-nearest)
