"""Adds up the scores of all its runs."""

from dataclasses import dataclass
from typing import ClassVar

from qfl_sec.attacks import Attack, GlobalModelsView, MembershipScores, View
from qfl_sec.contracts import Question


@dataclass(frozen=True, kw_only=True)
class AttackHiddenState(Attack):
    """Adds up the scores of all its runs."""

    name: ClassVar[str] = "attack_hidden_state"
    kept: ClassVar[list] = []
    question: ClassVar[Question] = "membership"
    requires: ClassVar[tuple[type[View], ...]] = (GlobalModelsView,)

    def run(self, view, knowledge, *, generator):
        moved = view.global_weights[-1] - view.global_weights[0]
        values = knowledge.candidates.features.sum(-1) * moved.sum()
        self.kept.append(values)
        return MembershipScores(values=sum(self.kept))
