"""Membership by the direction of a record's gradient."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from qfl_sec.attacks import Attack, Knowledge, MembershipScores, UpdatesView, View
from qfl_sec.contracts import Question
from qfl_sec.gradients import per_example_gradients


@dataclass(frozen=True, kw_only=True)
class GradientAlignment(Attack):
    """Score each candidate by how far its client's updates point along its gradient."""

    name: ClassVar[str] = "gradient_alignment"
    question: ClassVar[Question] = "membership"
    requires: ClassVar[tuple[type[View], ...]] = (UpdatesView,)

    def run(self, view: View, knowledge: Knowledge, *, generator: torch.Generator) -> MembershipScores:
        """Score the candidates; nothing is drawn."""
        assert isinstance(view, UpdatesView)
        candidates = knowledge.candidates
        assert candidates is not None
        values = torch.zeros(len(candidates), dtype=torch.float64)
        for round_, chosen in enumerate(view.setup.schedule):
            gradients = per_example_gradients(
                knowledge.architecture, view.global_weights[round_], candidates.features, candidates.labels
            )
            for place, client in enumerate(chosen):
                own = candidates.clients == client
                values[own] -= (gradients[own] @ view.updates[round_, place]).detach().double()
        return MembershipScores(values=values)
