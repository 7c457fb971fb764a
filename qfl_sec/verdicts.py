"""From evidence to a word: one pure function, never stronger than the evidence."""

from typing import Literal

EvidenceWord = Literal[
    "guarantee contradicted",
    "leak shown",
    "no leak seen",
    "inconclusive",
    "not identifiable",
    "not visible",
    "not tested",
]
VerdictWord = Literal[
    "no verdict", "above tolerance", "within tolerance", "tested only", "conditional", "open"
]
