"""Gives one score too few."""

from dataclasses import dataclass
from typing import ClassVar

from qfl_sec.attacks import Attack, GlobalModelsView, MembershipScores, View
from qfl_sec.contracts import Question


@dataclass(frozen=True, kw_only=True)
class AttackWrongShape(Attack):
    """Gives one score too few."""

    name: ClassVar[str] = "attack_wrong_shape"
    question: ClassVar[Question] = "membership"
    requires: ClassVar[tuple[type[View], ...]] = (GlobalModelsView,)

    def run(self, view, knowledge, *, generator):
        moved = view.global_weights[-1] - view.global_weights[0]
        values = knowledge.candidates.features.sum(-1) * moved.sum()
        return MembershipScores(values=values[1:])
