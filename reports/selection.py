"""Which of the results stand on the first pages: look-ups and orders, no words and no numbers."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from qfl_sec.checking import InputError
from qfl_sec.contracts import ADVERSARIES, Adversary, Question
from qfl_sec.results import (
    AdversaryEntry,
    Ceiling,
    CeilingCurve,
    GuaranteeEntry,
    Measurement,
    PairedDifference,
    QuestionEntry,
    Results,
    Setting,
    Utility,
    Variant,
    Verdict,
)

QUESTIONS: tuple[Question, ...] = ("membership", "reconstruction", "linkage")
BASELINES = ("classical", "centralised")
VERDICT_ORDER = ("no verdict", "above tolerance", "open", "tested only", "within tolerance", "conditional")

Pair = tuple[Adversary, Question]

SUM = "the sum of the updates"
"""What an adversary sees in place of single updates, as `AdversaryEntry.sees` says it."""

BROADCAST = "global model of each round"
"""What every client sees; the difference of two of them is a sum of updates."""

INSTEAD = "instead only "
"""How `AdversaryEntry.sees` begins what a defense leaves; after " under " follow the defenses, divided by commas."""


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
    for name in (
        "measurements",
        "utility",
        "ceilings",
        "ceiling_curves",
        "guarantees",
        "premises",
        "verdicts",
        "paired",
        "channels",
        "computations",
    ):
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
    def strengths(self) -> tuple[tuple[Setting, ...], ...]:
        """Each defense that claims nothing and was set to several strengths, the audited one first, by strength.

        Of settings that are equally strong the audited one, else the first, is kept.
        """
        claiming = {entry.setting for entry in self.results.guarantees}
        families: dict[tuple[str, str], dict[float, Setting]] = {}
        for entry in sorted(self.results.settings, key=lambda entry: not entry.audited):
            if entry.epsilon is None and entry.strength is not None and entry.id not in claiming:
                family = families.setdefault((entry.defense, entry.strength.name), {})
                family.setdefault(entry.strength.value, entry)
        return tuple(
            tuple(family[value] for value in sorted(family)) for family in families.values() if len(family) > 1
        )

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

    def narrowed(self, identifier: Adversary) -> dict[str, tuple[str, ...]]:
        """Return what is left to an adversary under some defenses, and under which."""
        found = {}
        for text in self.adversary(identifier).sees:
            left, under, defenses = text.removeprefix(INSTEAD).partition(" under ")
            if text.startswith(INSTEAD) and under:
                found[left] = tuple(defenses.split(", "))
        return found

    def sums(self, setting: Setting, adversary: Adversary) -> bool:
        """Return whether an adversary has only each round's sum of updates at a setting: sees it, or has broadcasts."""
        seen = setting.defense in self.narrowed(adversary).get(SUM, ())
        return seen or self.broadcasts_only(setting, adversary)

    def broadcasts_only(self, setting: Setting, adversary: Adversary) -> bool:
        """Return whether an adversary has the sums of updates from nothing but differences of broadcasts."""
        usual = [text for text in self.adversary(adversary).sees if not text.startswith(INSTEAD)]
        return usual == [BROADCAST] or setting.defense in self.narrowed(adversary).get(BROADCAST, ())

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

    def paired(self, setting: Setting, measured: Measurement | None) -> PairedDifference | None:
        """Return what a setting of the shown variant changes against no defense: an attack's success, or accuracy.

        Args:
            setting: The setting.
            measured: Of the attack; None for accuracy.
        """
        attack = None if measured is None else (measured.adversary, measured.attack)
        for entry in self.results.paired:
            same = attack == (None if entry.attack is None else (entry.adversary, entry.attack))
            if (entry.variant, entry.setting) == (self.variant.id, setting.id) and same:
                return entry
        return None

    def utility(self, setting: str) -> Utility | None:
        """Return the accuracy of a setting or baseline of the shown variant."""
        for entry in self.results.utility:
            if (entry.variant, entry.setting) == (self.variant.id, setting) and entry.accuracy.n:
                return entry
        return None

    @property
    def failed_instruments(self) -> tuple[str, ...]:
        """Labels of the instrument checks that failed."""
        return tuple(entry.label for entry in self.results.instruments if not entry.passed)


def _pair(entry: Verdict | Measurement | Ceiling | CeilingCurve) -> Pair:
    return entry.adversary, entry.question
