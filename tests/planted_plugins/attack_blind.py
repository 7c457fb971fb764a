"""Scores candidates without a look at its view."""

from dataclasses import dataclass
from typing import ClassVar

from qfl_sec.attacks import Attack, GlobalModelsView, MembershipScores, View
from qfl_sec.contracts import Question


@dataclass(frozen=True, kw_only=True)
class AttackBlind(Attack):
    """Scores candidates without a look at its view."""

    name: ClassVar[str] = "attack_blind"
    question: ClassVar[Question] = "membership"
    requires: ClassVar[tuple[type[View], ...]] = (GlobalModelsView,)

    def run(self, view, knowledge, *, generator):
        return MembershipScores(values=knowledge.candidates.labels.double())
