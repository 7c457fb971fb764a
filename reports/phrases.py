"""Parts of sentences: who asks, what is asked, what an attack does."""

from qfl_sec.contracts import Question
from qfl_sec.reports import wording as w
from qfl_sec.reports.sanitising import cut
from qfl_sec.reports.selection import Selection
from qfl_sec.results import Measurement, Verdict

VERBS: dict[Question, tuple[str, str]] = {
    "membership": ("finds", "members"),
    "reconstruction": ("rebuilds", "records"),
    "linkage": ("names", "senders"),
}

HITS: dict[Question, str] = {
    "membership": "members found",
    "reconstruction": "records rebuilt",
    "linkage": "senders named",
}
"""What an attack on each question is measured by."""


def who(selection: Selection, adversary: str) -> str:
    """Return an adversary's name as the subject of a sentence."""
    return w.subject(cut(next(e.label for e in selection.results.adversaries if e.id == adversary), 44))


def inside(selection: Selection, adversary: str) -> str:
    """Return an adversary's name inside a sentence."""
    name = who(selection, adversary)
    return name[:1].lower() + name[1:]


def source(selection: Selection, measured: Measurement) -> str:
    """Return what an attack on transmissions worked on: one update, or one round's sum where nothing else is seen."""
    place = selection.setting(measured.setting), measured.adversary
    if selection.broadcasts_only(*place):
        return "the difference of two broadcasts"
    return "one round's sum" if selection.sums(*place) else "one update"


def question(selection: Selection, row: Verdict) -> str:
    """Return a row's question as a sentence of its own."""
    label = cut(selection.question(row.question).label, 50)
    return label if label.endswith("?") else f"{label}."


def false_share(measured: Measurement) -> float | None:
    """Return the realised false positive rate."""
    game = measured.membership
    return game.false_positives / game.non_members if game is not None and game.non_members else None
