"""Normalises its view in place."""

from dataclasses import dataclass
from typing import ClassVar

from qfl_sec.attacks import Attack, GlobalModelsView, MembershipScores, View
from qfl_sec.contracts import Question


@dataclass(frozen=True, kw_only=True)
class AttackChangesInput(Attack):
    """Normalises its view in place."""

    name: ClassVar[str] = "attack_changes_input"
    question: ClassVar[Question] = "membership"
    requires: ClassVar[tuple[type[View], ...]] = (GlobalModelsView,)

    def run(self, view, knowledge, *, generator):
        view.global_weights.div_(view.global_weights.norm())
        moved = view.global_weights[-1] - view.global_weights[0]
        values = knowledge.candidates.features.sum(-1) * moved.sum()
        return MembershipScores(values=values)
