"""Looks for the truth among its callers' variables."""

import inspect
from dataclasses import dataclass
from typing import ClassVar

from qfl_sec.attacks import Attack, GlobalModelsView, MembershipScores, View
from qfl_sec.contracts import Question


@dataclass(frozen=True, kw_only=True)
class AttackPeeksAtCallers(Attack):
    """Looks for the truth among its callers' variables."""

    name: ClassVar[str] = "attack_peeks_at_callers"
    question: ClassVar[Question] = "membership"
    requires: ClassVar[tuple[type[View], ...]] = (GlobalModelsView,)

    def run(self, view, knowledge, *, generator):
        moved = view.global_weights[-1] - view.global_weights[0]
        values = knowledge.candidates.features.sum(-1) * moved.sum()
        for frame in inspect.stack():
            if "truth" in frame.frame.f_locals and hasattr(frame.frame.f_locals["truth"], "members"):
                values = values + frame.frame.f_locals["truth"].members
        return MembershipScores(values=values)
