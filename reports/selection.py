"""Which of the results stand on the first pages: look-ups and orders, no words and no numbers."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import log2

from qfl_sec.checking import InputError
from qfl_sec.contracts import ADVERSARIES, Adversary, Question
from qfl_sec.results import (
    AdversaryEntry,
    Ceiling,
    CeilingCurve,
    GuaranteeEntry,
    Measurement,
    QuestionEntry,
    Results,
    Setting,
    Utility,
    Variant,
    Verdict,
)

QUESTIONS: tuple[Question, ...] = ("membership", "reconstruction")
BASELINES = ("classical", "centralised")
VERDICT_ORDER = ("no verdict", "above tolerance", "open", "tested only", "within tolerance", "conditional")

Pair = tuple[Adversary, Question]


def check_references(results: Results, *, source: str = "results.json") -> None:
    """Check that ids are unique and that every id that is used is defined.

    Raises:
        InputError: If one is not.
    """
    known = {
        "variant": _unique([entry.id for entry in results.variants], "variants", source),
        "setting": _unique([entry.id for entry in results.settings], "settings", source),
        "adversary": _unique([entry.id for entry in results.adversaries], "adversaries", source),
        "question": _unique([entry.id for entry in results.questions], "questions", source),
    }
    if not results.variants or not results.settings:
        raise InputError(f"{source}: Expected at least one variant and one setting.")
    for name in ("measurements", "utility", "ceilings", "ceiling_curves", "guarantees", "premises", "verdicts"):
        for index, entry in enumerate(getattr(results, name)):
            for kind, ids in known.items():
                value = getattr(entry, kind, None)
                allowed = ids | set(BASELINES) if name == "utility" and kind == "setting" else ids
                if value is not None and value not in allowed:
                    place = f"{source}: {name}[{index}].{kind} = {value!r:.80}"
                    raise InputError(f"{place}. Expected one of: {', '.join(sorted(allowed))[:300]}.")


def _unique(ids: list[str], name: str, source: str) -> set[str]:
    """Return the ids as a set.

    Raises:
        InputError: If one occurs twice.
    """
    for identifier in ids:
        if ids.count(identifier) > 1:
            raise InputError(f"{source}: {name}: id {identifier!r:.80} occurs twice. Give each its own.")
    return set(ids)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The results, seen from the first page.

    Attributes:
        results: Everything that was found; its ids refer to what is there.
    """

    results: Results

    @cached_property
    def variant(self) -> Variant:
        """The variant of the first two pages."""
        return next((entry for entry in self.results.variants if entry.shown), self.results.variants[0])

    @cached_property
    def audited(self) -> Setting:
        """The setting of the first page."""
        return next((entry for entry in self.results.settings if entry.audited), self.results.settings[0])

    @cached_property
    def undefended(self) -> Setting | None:
        """The setting without a defense."""
        return next((entry for entry in self.results.settings if entry.defense == "none"), None)

    @cached_property
    def budgets(self) -> tuple[Setting, ...]:
        """One defense's settings with a budget, the strictest first: the audited one's, else the first one's."""
        claimed = [entry for entry in self.results.settings if entry.epsilon is not None]
        if not claimed:
            return ()
        family = self.audited.defense if self.audited.epsilon is not None else claimed[0].defense
        chosen: dict[float, Setting] = {}
        for entry in sorted(claimed, key=lambda entry: not entry.audited):
            if entry.defense == family and entry.epsilon is not None:
                chosen.setdefault(entry.epsilon, entry)
        return tuple(chosen[epsilon] for epsilon in sorted(chosen))

    @cached_property
    def others(self) -> tuple[Setting, ...]:
        """The other settings: the one without a defense first, the audited one next."""
        rest = [entry for entry in self.results.settings if entry not in self.budgets]
        return tuple(sorted(rest, key=lambda entry: (entry.defense != "none", not entry.audited)))

    @cached_property
    def rows(self) -> tuple[Verdict, ...]:
        """The verdicts of the first page, in its order."""
        order = {pair: index for index, pair in enumerate(self.pairs_in_order(QUESTIONS, ADVERSARIES))}
        rows = [entry for entry in self.results.verdicts if self.on_first_page(entry.variant, entry.setting)]
        return tuple(
            sorted(rows, key=lambda row: (VERDICT_ORDER.index(row.verdict), order[(row.adversary, row.question)]))
        )

    @staticmethod
    def pairs_in_order(questions: Iterable[Question], adversaries: Iterable[Adversary]) -> tuple[Pair, ...]:
        """Return every adversary with every question, adversaries first."""
        kinds = tuple(questions)
        return tuple((adversary, question) for adversary in adversaries for question in kinds)

    def on_first_page(self, variant: str, setting: str) -> bool:
        """Return whether the first page shows this."""
        return variant == self.variant.id and setting == self.audited.id

    @cached_property
    def measured_pairs(self) -> tuple[Pair, ...]:
        """Adversaries and questions with figures in the shown variant, the server first."""
        found = {
            (entry.adversary, entry.question)
            for entry in self.results.measurements
            if entry.variant == self.variant.id and entry.success is not None
        }
        return tuple(pair for pair in self.pairs_in_order(QUESTIONS, ADVERSARIES) if pair in found)

    def adversary(self, identifier: Adversary) -> AdversaryEntry:
        """Return an adversary by its id."""
        return next(entry for entry in self.results.adversaries if entry.id == identifier)

    def question(self, identifier: Question) -> QuestionEntry:
        """Return a question by its id."""
        return next(entry for entry in self.results.questions if entry.id == identifier)

    def setting(self, identifier: str) -> Setting:
        """Return a setting by its id."""
        return next(entry for entry in self.results.settings if entry.id == identifier)

    def verdict(self, setting: Setting, pair: Pair) -> Verdict | None:
        """Return the verdict of one question by one adversary at a setting of the shown variant."""
        for entry in self.results.verdicts:
            if (entry.variant, entry.setting) == (self.variant.id, setting.id) and _pair(entry) == pair:
                return entry
        return None

    def measurements(self, setting: Setting, pair: Pair) -> tuple[Measurement, ...]:
        """Return every measurement of a question by an adversary at a setting of the shown variant."""
        return tuple(
            entry
            for entry in self.results.measurements
            if (entry.variant, entry.setting) == (self.variant.id, setting.id) and _pair(entry) == pair
        )

    def strongest(self, setting: Setting, pair: Pair) -> Measurement | None:
        """Return the measurement that the verdict rests on; without a verdict the one with the highest lower limit."""
        measured = [entry for entry in self.measurements(setting, pair) if entry.success and entry.success.n]
        verdict = self.verdict(setting, pair)
        if verdict is not None:
            measured = [entry for entry in measured if entry.attack == verdict.attack] or measured
        return max(measured, key=lambda entry: entry.success.low if entry.success else 0.0, default=None)

    def ceiling(self, setting: Setting, pair: Pair) -> Ceiling | None:
        """Return the proven ceiling at a setting of the shown variant."""
        for entry in self.results.ceilings:
            if (entry.variant, entry.setting) == (self.variant.id, setting.id) and _pair(entry) == pair:
                return entry
        return None

    def curve(self, pair: Pair) -> CeilingCurve | None:
        """Return the ceiling between the budgets."""
        for entry in self.results.ceiling_curves:
            family = self.budgets[0].defense if self.budgets else None
            if (entry.variant, entry.defense) == (self.variant.id, family) and _pair(entry) == pair:
                return entry
        return None

    def guarantees(self, setting: Setting, adversary: Adversary) -> tuple[GuaranteeEntry, ...]:
        """Return what is claimed against an adversary at a setting of the shown variant."""
        return tuple(
            entry
            for entry in self.results.guarantees
            if (entry.variant, entry.setting, entry.adversary) == (self.variant.id, setting.id, adversary)
        )

    def utility(self, setting: str) -> Utility | None:
        """Return the accuracy of a setting or baseline of the shown variant."""
        for entry in self.results.utility:
            if (entry.variant, entry.setting) == (self.variant.id, setting) and entry.accuracy.n:
                return entry
        return None

    @cached_property
    def positions(self) -> dict[str, float]:
        """Places of the settings along the figures' axis, by id: log2 of the budget, then the others after a break.

        Budgets that would fall on top of each other on a log scale are spaced equally instead.
        """
        places = [float(index) for index in range(len(self.budgets))] if self.spaced_equally else self._logarithms
        found = {entry.id: place for entry, place in zip(self.budgets, places, strict=True)}
        start = places[-1] + 1.5 * self.step if places else 0.0
        for index, entry in enumerate(self.others):
            found[entry.id] = start + 1.2 * self.step * index
        return found

    @cached_property
    def _logarithms(self) -> list[float]:
        return [log2(entry.epsilon) for entry in self.budgets if entry.epsilon is not None]

    @cached_property
    def step(self) -> float:
        """Typical distance of two budgets along the axis."""
        if self.spaced_equally or len(self.budgets) < 2:
            return 1.0
        return (self._logarithms[-1] - self._logarithms[0]) / (len(self.budgets) - 1)

    @cached_property
    def spaced_equally(self) -> bool:
        """Whether a log scale would press two budgets together."""
        gaps = [right - left for left, right in pairwise(self._logarithms)]
        return bool(gaps) and min(gaps) < 0.45 * sum(gaps) / len(gaps)

    @property
    def failed_instruments(self) -> tuple[str, ...]:
        """Labels of the instrument checks that failed."""
        return tuple(entry.label for entry in self.results.instruments if not entry.passed)


def _pair(entry: Verdict | Measurement | Ceiling | CeilingCurve) -> Pair:
    return entry.adversary, entry.question
