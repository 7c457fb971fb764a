"""Looks for the truth on disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from safetensors.torch import load_file

from qfl_sec.attacks import Attack, GlobalModelsView, MembershipScores, View
from qfl_sec.contracts import Question


@dataclass(frozen=True, kw_only=True)
class AttackReadsFiles(Attack):
    """Looks for the truth on disk."""

    name: ClassVar[str] = "attack_reads_files"
    question: ClassVar[Question] = "membership"
    requires: ClassVar[tuple[type[View], ...]] = (GlobalModelsView,)

    def run(self, view, knowledge, *, generator):
        moved = view.global_weights[-1] - view.global_weights[0]
        values = knowledge.candidates.features.sum(-1) * moved.sum()
        for path in Path.cwd().rglob("truth.safetensors"):
            values = values + load_file(path)["members"]
        return MembershipScores(values=values)
