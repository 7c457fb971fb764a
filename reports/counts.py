"""Tables of every attack and setting: counts, rates, intervals, and the other measures."""

import re
from collections.abc import Callable, Iterable
from itertools import groupby

from qfl_sec.contracts import Question
from qfl_sec.intervals import Rate
from qfl_sec.reports import wording as w
from qfl_sec.reports.phrases import source
from qfl_sec.reports.sanitising import cut
from qfl_sec.reports.selection import QUESTIONS, Selection
from qfl_sec.reports.tables import Column, Group, Row, Table, variant_label
from qfl_sec.results import Measurement

LONGEST_TABLE = 400


def methods(selection: Selection) -> dict[str, str]:
    """Return a letter for each way in which an interval was computed."""
    found: dict[str, str] = {}
    for entry in selection.results.measurements:
        if entry.success is not None:
            found.setdefault(family(entry.success.method), chr(ord("a") + min(len(found), 25)))
    return found


def family(method: str) -> str:
    """Return how an interval was computed, without the figures that belong to one of them alone."""
    bare = re.sub(r"\s*\([^)]*\)", "", method)
    return " ".join(re.sub(r"\b\d+ (?=(\w+ )?clusters)", "", bare).split())


def letters(selection: Selection, measurements: Iterable[Measurement]) -> tuple[str, ...]:
    """Return the note that explains the letters of these measurements' intervals; nothing where there is none."""
    known = methods(selection)
    used = sorted({known[family(entry.success.method)] for entry in measurements if entry.success is not None})
    text = "; ".join(f"{letter} {cut(method, 110)}" for method, letter in known.items() if letter in used)
    if not text:
        return ()
    return (
        f"Intervals: {text}. The number beside the letter counts the independent clusters; in brackets p of their "
        "homogeneity, where tested.",
    )


def success_tables(selection: Selection) -> tuple[Table, ...]:
    """Return the counts, rates and intervals of every attack, one table a question."""
    kept, dropped = limited(selection)
    asked = [question for question in QUESTIONS if question in {entry.id for entry in selection.results.questions}]
    return tuple(_success_table(selection, question, kept, dropped) for question in asked)


def limited(selection: Selection) -> tuple[tuple[Measurement, ...], int]:
    """Return the measurements that are printed, and how many are not: of too many the strongest a question stay."""
    measurements = selection.results.measurements
    if len(measurements) <= LONGEST_TABLE:
        return measurements, 0
    strongest = {(v.variant, v.setting, v.adversary, v.question, v.attack) for v in selection.results.verdicts}
    kept = [m for m in measurements if (m.variant, m.setting, m.adversary, m.question, m.attack) in strongest]
    kept.sort(key=lambda entry: entry.variant != selection.variant.id)
    return tuple(kept[:LONGEST_TABLE]), len(measurements) - len(kept[:LONGEST_TABLE])


_TITLES: dict[Question, tuple[str, str]] = {
    "membership": ("Found / members", "Accused / outsiders"),
    "reconstruction": ("Rebuilt / records", "Rank / unknowns"),
    "linkage": ("Named / updates", "Rounds"),
}
"""Of the first and the last column of figures."""


def _success_table(selection: Selection, question: Question, kept: tuple[Measurement, ...], dropped: int) -> Table:
    found, side = _TITLES[question]
    titles = (found, "Rate", "95% interval", "Clusters", "Control", "Guess", "Ceiling", side)
    asked = [entry for entry in kept if entry.question == question]
    seen = attacked(selection, asked)
    what = {
        "membership": "members found while outsiders are wrongly accused at the realised rate of the last column",
        "reconstruction": f"records rebuilt from {seen}; rank of the system beside its unknowns, at the median of them",
        "linkage": "updates put down to the client who sent them, of those that arrived",
    }[question]
    groups = groups_of(selection, asked, _success_rows)
    more = (f"{w.group(dropped)} further rows are in the attached results.json.",) if dropped else ()
    return Table(
        caption=f"{question.capitalize()}, every attack and setting: {what}. Control: the same attack without signal.",
        columns=(Column(title="Setting", align="left"), *(Column(title=title) for title in titles)),
        groups=groups,
        notes=(*letters(selection, asked), *more) if groups else (),
    )


def attacked(selection: Selection, measurements: Iterable[Measurement]) -> str:
    """Return what attacks on transmissions worked on: what `source` says of each of them."""
    seen = dict.fromkeys(source(selection, entry) for entry in measurements if entry.success is not None)
    return " or ".join(seen) or "one update"


def groups_of(
    selection: Selection,
    measurements: Iterable[Measurement],
    rows: Callable[[Selection, Measurement], tuple[Row, ...]],
) -> tuple[Group, ...]:
    """Group rows by attack, adversary and variant; budgets come first, the strictest at the top."""
    found: dict[tuple[str, str], list[Row]] = {}
    order = {entry.id: index for index, entry in enumerate((*selection.budgets, *reversed(selection.others)))}
    for entry in sorted(measurements, key=lambda entry: order[entry.setting]):
        title = cut(entry.attack, 50) if entry.attack else "no attack"
        note = cut(selection.adversary(entry.adversary).label, 50)
        if len(selection.results.variants) > 1:
            note += f" · {variant_label(selection, entry.variant)}"
        found.setdefault((title, note), []).extend(rows(selection, entry))
    return tuple(Group(title=title, note=note, rows=_merged(lines)) for (title, note), lines in found.items() if lines)


def _merged(rows: list[Row]) -> tuple[Row, ...]:
    """Put rows that say the same in words, and have no figures, into one."""
    merged: list[Row] = []
    for _, same in groupby(rows, key=lambda row: row.cells[1:]):
        lines = list(same)
        if len(lines) > 1 and len(lines[0].cells) == 2:
            merged.append(Row(cells=(w.plural(len(lines), "setting"), lines[0].cells[1])))
        else:
            merged.extend(lines)
    return tuple(merged)


def _success_rows(selection: Selection, entry: Measurement) -> tuple[Row, ...]:
    setting = selection.setting(entry.setting)
    audited = setting.id == selection.audited.id
    label = w.label(cut(setting.label, 22))
    rows: list[Row] = []
    if entry.success is None or entry.success.n == 0:
        reason = "" if entry.failed else f": {w.inside(cut(entry.reason or 'no figure', 110))}"
        if reason:
            rows.append(Row(cells=(label, f"{entry.status}{reason}"), audited=audited))
    else:
        ceiling = _exact_ceiling(selection, entry)
        cells = (
            label, w.count(entry.success), w.rate(w.share(entry.success), table=True),
            w.ends(entry.success.low, entry.success.high, table=True), _clusters(selection, entry.success),
            w.rate(w.share(entry.control), table=True), w.rate(w.share(entry.guess), table=True),
            "none" if ceiling is None else w.rate(ceiling, table=True, up=True), _side(entry),
        )  # fmt: skip
        rows.append(Row(cells=cells, audited=audited, alarm=7 if ceiling is None else -1))
    if entry.failed:
        first = entry.failed[0]
        text = f"{w.plural(len(entry.failed), 'cell')} failed, seed {first.seed} with: {cut(first.reason, 90)}"
        rows.append(Row(cells=("" if rows else label, text), audited=audited))
    return tuple(rows)


def _exact_ceiling(selection: Selection, entry: Measurement) -> float | None:
    for ceiling in selection.results.ceilings:
        same = (ceiling.variant, ceiling.setting, ceiling.adversary) == (entry.variant, entry.setting, entry.adversary)
        if same and ceiling.question == entry.question:
            return ceiling.rate
    return None


def _clusters(selection: Selection, rate: Rate) -> str:
    p = re.search(r"p = (0?\.\d+|1\.0*)", rate.method)
    tested = f" ({w.decimals(float(p[1]))})" if p else ""
    return f"{methods(selection)[family(rate.method)]} {w.group(rate.clusters)}{tested}"


def _side(entry: Measurement) -> str:
    """Return the realised false accusations, or the rank beside the unknowns."""
    if entry.membership is not None:
        return w.fraction(entry.membership.false_positives, entry.membership.non_members)
    if entry.reconstruction is not None:
        return f"{w.group(entry.reconstruction.rank)} / {w.group(entry.reconstruction.unknowns)}"
    if entry.question == "linkage" and entry.guess is not None:
        return w.group(entry.guess.k)  # guessing is right once a round
    return "–"
