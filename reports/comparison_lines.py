"""Several runs, line by line: one question by one adversary with one attack, and what each run answers.

Nothing is judged here: every verdict is the one of its own run, and no figure is averaged over runs.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from qfl_sec.checking import InputError
from qfl_sec.contracts import ADVERSARIES, Adversary, Question
from qfl_sec.intervals import Rate
from qfl_sec.reports.comparison import (
    SCHEMA,
    Accuracies,
    AccuracyEntry,
    Change,
    ComparedRun,
    Comparison,
    Entry,
    Level,
    Line,
    Run,
)
from qfl_sec.reports.comparison_contrast import Contrast, from_pairs, unpaired
from qfl_sec.reports.selection import QUESTIONS, Pair, Selection, check_references
from qfl_sec.results import Measurement, PairedDifference, Results, Setting, run_id

FEWEST, MOST = 2, 12
"""Runs in one comparison: more could not be told apart on a page."""


def check_number(runs: int) -> None:
    """Refuse a comparison of too few or too many runs.

    Raises:
        InputError: If it is one.
    """
    if not FEWEST <= runs <= MOST:
        why = "one run has a report of its own" if runs < FEWEST else "more cannot be told apart on a page"
        raise InputError(f"Expected {FEWEST} to {MOST} runs to compare, got {runs}: {why}. Name other folders.")


def unique_names(stems: Sequence[str], length: int = 24) -> tuple[str, ...]:
    """Return a name for each folder: its own, cut, with a number where it would occur twice.

    Example:
        >>> unique_names(["tiny", "other", "tiny"])
        ('tiny', 'other', 'tiny (2)')
    """
    names: list[str] = []
    for stem in stems:
        plain = " ".join(stem.split()) or "run"
        number, name = 1, plain[:length]
        while name in names:
            number += 1
            tail = f" ({number})"
            name = plain[: length - len(tail)] + tail
        names.append(name)
    return tuple(names)


def places(results: Results) -> dict[Level, tuple[str, str]]:
    """Return variant and setting of each level that a run has."""
    selection = Selection(results=results)
    found: dict[Level, tuple[str, str]] = {"audited": (selection.variant.id, selection.audited.id)}
    if selection.undefended is not None:
        found["undefended"] = (selection.variant.id, selection.undefended.id)
    return found


def compare(runs: Sequence[Run]) -> Comparison:
    """Set runs side by side.

    Args:
        runs: 2 to 12, of different names; the first is what the others are compared with.

    Raises:
        InputError: If there are too few or too many, or a run's results refer to what they do not define.
    """
    check_number(len(runs))
    for run in runs:
        check_references(run.found, source=f"{run.name}: results.json")
    sides = [_Side(run, Selection(results=run.found)) for run in runs]
    defended = any(side.setting("audited") != side.setting("undefended") for side in sides)
    levels: tuple[Level, ...] = ("audited", "undefended") if defended else ("audited",)
    return Comparison(
        schema=SCHEMA,
        runs=tuple(side.described() for side in sides),
        without_experiment=tuple(run.name for run in runs if run.keys is None),
        differing=tuple(_differing(runs)),
        lines=tuple(line for level in levels for line in _lines(sides, level)),
        accuracies=tuple(_accuracies(sides, level) for level in levels),
    )


def _differing(runs: Sequence[Run]) -> Iterable[Change]:
    """Yield the keys that are not the same in all experiments that there are; the title is no setting."""
    known = [run.keys for run in runs if run.keys is not None]
    for key in dict.fromkeys(key for keys in known for key in keys):
        if key != "report.title" and len({keys.get(key) for keys in known}) > 1:
            yield Change(key=key, values=tuple(None if run.keys is None else run.keys.get(key) for run in runs))


@dataclass(frozen=True)
class _Side:
    """A run, seen at its levels."""

    run: Run
    selection: Selection

    def setting(self, level: Level) -> Setting | None:
        return self.selection.audited if level == "audited" else self.selection.undefended

    def label(self, level: Level) -> str:
        setting = self.setting(level)
        return "none" if setting is None else setting.label

    def described(self) -> ComparedRun:
        found = self.run.found
        return ComparedRun(
            name=self.run.name,
            run_id=run_id(self.run.results),
            title=found.subject.title,
            package_version=found.package_version,
            date=found.date,
            sample=found.sample,
            seeds=found.seeds,
            dataset=found.subject.dataset,
            data_fingerprint=found.subject.data_fingerprint,
            model_summary=found.subject.model_summary,
            setting=self.selection.audited.label,
            tolerances={entry.id: entry.tolerance for entry in found.questions},
            failed_instruments=self.selection.failed_instruments,
            unpaired_reason=self.run.unpaired_reason,
        )

    def pairs(self, level: Level) -> dict[Pair, list[Measurement]]:
        """Return the measurements of each adversary and question at a level."""
        setting, found = self.setting(level), {}
        for pair in self.selection.pairs_in_order(QUESTIONS, ADVERSARIES):
            entries = self.selection.measurements(setting, pair) if setting is not None else ()
            if entries:
                found[pair] = list(entries)
        return found

    def measure(self, question: Question, measured: Measurement | None) -> str:
        """Return what counts as a success, with the tolerance of a rebuilt record."""
        text = next((entry.measure for entry in self.run.found.questions if entry.id == question), "")
        rebuilt = measured.reconstruction if measured is not None else None
        return text if rebuilt is None else f"{text}; hit tolerance {rebuilt.hit_tolerance:g}"

    def unit(self, level: Level, adversary: Adversary) -> str | None:
        setting = self.setting(level)
        claims = self.selection.guarantees(setting, adversary) if setting is not None else ()
        return "; ".join(sorted({f"{entry.unit}, {entry.adjacency}" for entry in claims})) or None

    def accuracy(self, level: Level) -> Rate | None:
        setting = self.setting(level)
        utility = None if setting is None else self.selection.utility(setting.id)
        return None if utility is None else utility.accuracy


def _lines(sides: Sequence[_Side], level: Level) -> Iterable[Line]:
    """Yield a line for each attack that some run made on a pair, and one for a pair that no run attacked."""
    tables = [side.pairs(level) for side in sides]
    for pair in Selection.pairs_in_order(QUESTIONS, ADVERSARIES):
        entries = [entry for table in tables for entry in table.get(pair, [])]
        attacks = dict.fromkeys(entry.attack for entry in entries if entry.attack is not None)
        unattacked: tuple[str | None, ...] = (None,) if entries else ()
        for attack in tuple(attacks) or unattacked:
            yield _line(sides, tables, level, pair, attack)


def _line(
    sides: Sequence[_Side],
    tables: Sequence[dict[Pair, list[Measurement]]],
    level: Level,
    pair: Pair,
    attack: str | None,
) -> Line:
    found = [_chosen(table.get(pair, []), attack) for table in tables]
    first = next(side for side, table in zip(sides, tables, strict=True) if pair in table)
    return Line(
        level=level,
        question=pair[1],
        question_label=first.selection.question(pair[1]).label,
        adversary=pair[0],
        adversary_label=first.selection.adversary(pair[0]).label,
        attack=attack,
        entries=tuple(
            _entry(side, measured, sides[0], found[0], level, pair, attack)
            for side, measured in zip(sides, found, strict=True)
        ),
    )


def _chosen(entries: Sequence[Measurement], attack: str | None) -> Measurement | None:
    """Return the measurement by an attack, else the one that says why the pair was not attacked."""
    return next((entry for entry in entries if entry.attack == attack), None) or next(
        (entry for entry in entries if entry.attack is None), None
    )


def _entry(
    side: _Side,
    measured: Measurement | None,
    first: _Side,
    reference: Measurement | None,
    level: Level,
    pair: Pair,
    attack: str | None,
) -> Entry:
    setting = side.setting(level)
    verdict = side.selection.verdict(setting, pair) if setting is not None else None
    ceiling = side.selection.ceiling(setting, pair) if setting is not None else None
    own = verdict is not None and (verdict.attack == attack or measured is None or measured.attack is None)
    contrast, why = None, None
    if side is not first:
        contrast, why = _contrast(side, measured, first, reference, level, pair[1])
    return Entry(
        run=side.run.name,
        setting=side.label(level),
        status="absent" if measured is None else measured.status,
        reason=_reason(side, measured, level, pair),
        success=None if measured is None else measured.success,
        control=None if measured is None else measured.control,
        guess=None if measured is None else measured.guess,
        ceiling=None if ceiling is None else ceiling.rate,
        unit=side.unit(level, pair[0]),
        measure=side.measure(pair[1], measured),
        evidence=verdict.evidence if verdict is not None and own else None,
        verdict=None if verdict is None else verdict.verdict,
        rests_on=None if verdict is None else verdict.attack,
        accuracy=side.accuracy(level),
        contrast=contrast,
        no_contrast=why,
    )


def _reason(side: _Side, measured: Measurement | None, level: Level, pair: Pair) -> str | None:
    if measured is not None:
        return measured.reason
    if side.setting(level) is None:
        return "the run has no such setting"
    asked = any(entry.id == pair[1] for entry in side.run.found.questions)
    return "the run has no such attack" if asked else "the run does not ask this question"


def _contrast(
    side: _Side, mine: Measurement | None, first: _Side, theirs: Measurement | None, level: Level, question: Question
) -> tuple[Contrast | None, str | None]:
    """Return the difference of two measurements, or why there is none."""
    if mine is None or theirs is None or not (mine.success and mine.success.n and theirs.success and theirs.success.n):
        return None, "no figure on both sides"
    if side.measure(question, mine) != first.measure(question, theirs):
        return None, "another measure"
    if mine.scores_sha256 and mine.scores_sha256 == theirs.scores_sha256:
        return None, "the same raw scores"
    return _difference(
        side, mine.success, first, theirs.success, level,
        lambda one: (one.adversary, one.attack) == (mine.adversary, mine.attack),
    )  # fmt: skip


def _difference(
    side: _Side,
    mine: Rate,
    first: _Side,
    theirs: Rate,
    level: Level,
    wanted: Callable[[PairedDifference], bool],
) -> tuple[Contrast | None, str | None]:
    if side.run.results == first.run.results:
        return None, "the same results.json"
    if side.selection.failed_instruments or first.selection.failed_instruments:
        return None, "an instrument check failed"
    for found in side.run.paired.get(level, ()):
        if wanted(found):
            return from_pairs(found), None
    return unpaired(mine, theirs), None


def _accuracies(sides: Sequence[_Side], level: Level) -> Accuracies:
    return Accuracies(level=level, entries=tuple(_accuracy(side, sides[0], level) for side in sides))


def _accuracy(side: _Side, first: _Side, level: Level) -> AccuracyEntry:
    setting = side.setting(level)
    utility = None if setting is None else side.selection.utility(setting.id)
    mine, theirs = side.accuracy(level), first.accuracy(level)
    contrast: Contrast | None = None
    why: str | None = None
    if side is not first and (mine is None or theirs is None):
        why = "no figure on both sides"
    elif side is not first and mine is not None and theirs is not None:
        contrast, why = _difference(side, mine, first, theirs, level, lambda one: one.measure == "accuracy")
    return AccuracyEntry(
        run=side.run.name,
        setting=side.label(level),
        accuracy=mine,
        majority=None if utility is None else utility.majority,
        trainings=0 if utility is None else utility.trainings,
        contrast=contrast,
        no_contrast=why,
    )
