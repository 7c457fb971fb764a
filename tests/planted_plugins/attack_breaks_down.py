"""Fails where there is a single client."""

from dataclasses import dataclass
from typing import ClassVar

from qfl_sec.attacks import Attack, GlobalModelsView, MembershipScores, View
from qfl_sec.contracts import Question


@dataclass(frozen=True, kw_only=True)
class AttackBreaksDown(Attack):
    """Fails where there is a single client."""

    name: ClassVar[str] = "attack_breaks_down"
    question: ClassVar[Question] = "membership"
    requires: ClassVar[tuple[type[View], ...]] = (GlobalModelsView,)

    def run(self, view, knowledge, *, generator):
        first, second = view.setup.schedule[0]
        moved = view.global_weights[-1] - view.global_weights[0]
        values = knowledge.candidates.features.sum(-1) * moved.sum()
        return MembershipScores(values=values + 0 * (first + second))
