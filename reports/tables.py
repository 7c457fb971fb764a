"""The report's tables as rows of ready strings."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from math import log10
from typing import Literal

from qfl_sec.intervals import Rate
from qfl_sec.reports import wording as w
from qfl_sec.reports.sanitising import cut
from qfl_sec.reports.selection import QUESTIONS, Pair, Selection
from qfl_sec.results import Measurement, Setting, Verdict

FIRST_PAGE_ROWS = 9
BUDGET_COLUMNS = 9
LONGEST_TABLE = 400
PER = 1000

Mark = Literal["no verdict", "above tolerance", "open", "tested only", "within tolerance", "conditional"]


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Places on a log scale from 0.1 % (0) to 100 % (1); None where there is no mark."""

    point: float | None
    low: float | None
    high: float | None
    control: float | None
    guess: float | None
    ceiling: float | None


@dataclass(frozen=True, kw_only=True)
class FindingRow:
    """A row of the first table: a question, who asks it, and what came out."""

    question: str
    adversary: str
    strip: Strip
    evidence: str
    figures: str
    guarantee: str
    proven: bool
    verdict: str
    mark: Mark


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column's heading and how it is set.

    Attributes:
        title: Its heading.
        align: Where its cells stand.
        fill: What lies behind it.
    """

    title: str
    align: Literal["left", "right"] = "right"
    fill: Literal["none", "audited", "grey"] = "none"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A table's row.

    Attributes:
        cells: One string a column; the last spans the remaining columns if there are fewer.
        audited: Whether it is of the audited setting.
        alarm: Index of a cell that says that nothing is proven, -1 for none.
    """

    cells: tuple[str, ...]
    audited: bool = False
    alarm: int = -1


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows under a heading of their own, which repeats on each page; without a title there is no heading."""

    title: str
    note: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        caption: Above it.
        columns: Headings.
        groups: Rows; a table without rows is not printed.
        notes: Below it.
    """

    caption: str
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    notes: tuple[str, ...] = ()


def place(share: float | None) -> float | None:
    """Return where a share stands between 0.1 % and 100 % on a log scale, in [0, 1]."""
    if share is None:
        return None
    return min(1.0, max(0.0, 1 + log10(max(share, 1e-9)) / 3))


def finding_rows(selection: Selection) -> tuple[FindingRow, ...]:
    """Return the rows of the first table."""
    return tuple(_finding_row(selection, row) for row in selection.rows[:FIRST_PAGE_ROWS])


def more_rows(selection: Selection) -> str:
    """Return the line that counts the rows the first table leaves out; empty if it leaves out none."""
    rest = len(selection.rows) - FIRST_PAGE_ROWS
    return f"and {w.group(rest)} more in the attached results.json" if rest > 0 else ""


def _finding_row(selection: Selection, row: Verdict) -> FindingRow:
    pair: Pair = (row.adversary, row.question)
    measured = selection.strongest(selection.audited, pair)
    success = measured.success if measured else None
    return FindingRow(
        question=cut(selection.question(row.question).label, 44),
        adversary=cut(selection.adversary(row.adversary).label, 44),
        strip=Strip(
            point=place(w.share(success)),
            low=place(success.low) if success else None,
            high=place(success.high) if success else None,
            control=place(w.share(measured.control)) if measured else None,
            guess=place(w.share(measured.guess)) if measured else None,
            ceiling=place(row.ceiling),
        ),
        evidence=row.evidence,
        figures=_figures(row, measured),
        guarantee="no formal guarantee" if row.ceiling is None else f"at most {w.rate(row.ceiling, up=True)}",
        proven=row.ceiling is not None,
        verdict=row.verdict,
        mark=row.verdict,
    )


def _figures(row: Verdict, measured: Measurement | None) -> str:
    """Return the figures under the evidence's word."""
    if row.evidence == "not visible":
        return "by protocol"
    if measured is None:
        return "no attack run" if row.attack is None else "no result"
    inversion = measured.reconstruction
    if row.evidence == "not identifiable" and inversion is not None:
        return f"rank {w.half(inversion.rank)}, {w.half(inversion.unknowns)} unknowns"
    return w.interval(measured.success)


def budget_columns(selection: Selection) -> tuple[Setting, ...]:
    """Return the settings of the budget table: all, or the audited, the undefended and the first others."""
    settings = (*selection.budgets, *selection.others)
    if len(settings) <= BUDGET_COLUMNS:
        return settings
    kept = {entry.id for entry in (selection.audited, selection.undefended) if entry is not None}
    for entry in settings:
        if len(kept) < BUDGET_COLUMNS:
            kept.add(entry.id)
    return tuple(entry for entry in settings if entry.id in kept)


def budget_table(selection: Selection) -> Table:
    """Return what each tested setting means, per 1 000."""
    settings = budget_columns(selection)
    rows: list[Row] = []
    for question, cells in (("membership", _membership_cells), ("reconstruction", _reconstruction_cells)):
        pair = next((pair for pair in selection.measured_pairs if pair[1] == question), None)
        if pair is not None:
            rows.extend(cells(selection, pair, settings))
    if any(selection.utility(entry.id) for entry in settings):
        rows.append(_cells("Accuracy on unseen records", settings, lambda entry: _accuracy(selection, entry.id)))
    shown = sorted({pair[0] for pair in selection.measured_pairs[:2]})
    who = w.listed(cut(selection.adversary(adversary).label, 40) for adversary in shown)
    rest = len(selection.budgets) + len(selection.others) - len(settings)
    return Table(
        caption=f"What another setting would mean{f' for the view of: {who}' if who else ''}. Per {w.group(PER)} members, "
        f"outsiders or records{f'; {w.group(rest)} more settings in the measurements' if rest else ''}.",
        columns=(
            Column(title="Privacy budget ε" if selection.budgets else "Setting", align="left"),
            *(_column(selection, entry) for entry in settings),
        ),
        groups=(Group(title="", note="", rows=tuple(rows)),),
    )


def _column(selection: Selection, setting: Setting) -> Column:
    known = setting in selection.budgets and setting.epsilon is not None
    title = w.budget(setting.epsilon or 0.0) if known else w.label(cut(setting.label, 12))
    fill: Literal["none", "audited", "grey"] = "none" if setting.epsilon is not None else "grey"
    return Column(title=title, fill="audited" if setting.id == selection.audited.id else fill)


def _cells(label: str, settings: Iterable[Setting], text: Callable[[Setting], str]) -> Row:
    return Row(cells=(label, *(text(setting) for setting in settings)))


def _membership_cells(selection: Selection, pair: Pair, settings: tuple[Setting, ...]) -> list[Row]:
    return [
        _cells("Members found, measured", settings, lambda entry: _per(_success(selection, entry, pair))),
        _cells("Outsiders wrongly accused", settings, lambda entry: _per(_accused(selection, entry, pair))),
        _cells("Members found, at most by proof", settings, lambda entry: _proof(selection, entry, pair)),
    ]


def _reconstruction_cells(selection: Selection, pair: Pair, settings: tuple[Setting, ...]) -> list[Row]:
    return [
        _cells("Records rebuilt, measured", settings, lambda entry: _per(_success(selection, entry, pair))),
        _cells("Records rebuilt, at most by proof", settings, lambda entry: _proof(selection, entry, pair)),
    ]


def _success(selection: Selection, setting: Setting, pair: Pair) -> float | None:
    measured = selection.strongest(setting, pair)
    return w.share(measured.success) if measured else None


def _accused(selection: Selection, setting: Setting, pair: Pair) -> float | None:
    measured = selection.strongest(setting, pair)
    game = measured.membership if measured else None
    return game.false_positives / game.non_members if game and game.non_members else None


def _proof(selection: Selection, setting: Setting, pair: Pair) -> str:
    ceiling = selection.ceiling(setting, pair)
    return "none" if ceiling is None else w.of(ceiling.rate, PER, up=True)


def _per(share: float | None) -> str:
    """Write a share per 1 000, short enough for a narrow column."""
    if share is None:
        return "–"
    return w.of(share, PER).replace("fewer than ", "<").replace("more than ", ">")


def _accuracy(selection: Selection, setting: str) -> str:
    utility = selection.utility(setting)
    return w.rate(w.share(utility.accuracy)) if utility else "–"


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


def _letters(selection: Selection, measurements: Iterable[Measurement]) -> tuple[str, ...]:
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
    kept, dropped = _limited(selection)
    return tuple(_success_table(selection, question, kept, dropped) for question in QUESTIONS)


def _limited(selection: Selection) -> tuple[tuple[Measurement, ...], int]:
    """Return the measurements that are printed, and how many are not: of too many the strongest a question stay."""
    measurements = selection.results.measurements
    if len(measurements) <= LONGEST_TABLE:
        return measurements, 0
    strongest = {(v.variant, v.setting, v.adversary, v.question, v.attack) for v in selection.results.verdicts}
    kept = [m for m in measurements if (m.variant, m.setting, m.adversary, m.question, m.attack) in strongest]
    kept.sort(key=lambda entry: entry.variant != selection.variant.id)
    return tuple(kept[:LONGEST_TABLE]), len(measurements) - len(kept[:LONGEST_TABLE])


def _success_table(selection: Selection, question: str, kept: tuple[Measurement, ...], dropped: int) -> Table:
    membership = question == "membership"
    found = "Found / members" if membership else "Rebuilt / records"
    side = "Accused / outsiders" if membership else "Rank / unknowns"
    titles = (found, "Rate", "95% interval", "Clusters", "Control", "Guess", "Ceiling", side)
    what = (
        "members found while outsiders are wrongly accused at the realised rate of the last column"
        if membership
        else "records rebuilt from one update; rank of the system beside its unknowns, medians over targets"
    )
    asked = [entry for entry in kept if entry.question == question]
    groups = _groups(selection, asked, _success_rows)
    more = (f"{w.group(dropped)} further rows are in the attached results.json.",) if dropped else ()
    return Table(
        caption=f"{question.capitalize()}, every attack and setting: {what}. Control: the same attack without signal.",
        columns=(Column(title="Setting", align="left"), *(Column(title=title) for title in titles)),
        groups=groups,
        notes=(*_letters(selection, asked), *more) if groups else (),
    )


def _groups(
    selection: Selection,
    measurements: Iterable[Measurement],
    rows: Callable[[Selection, Measurement], tuple[Row, ...]],
) -> tuple[Group, ...]:
    """Group rows by attack, adversary and variant."""
    found: dict[tuple[str, str], list[Row]] = {}
    for entry in measurements:
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


def variant_label(selection: Selection, identifier: str) -> str:
    """Return a variant's swept values in words."""
    values = next(entry.values for entry in selection.results.variants if entry.id == identifier)
    return cut(", ".join(f"{key} = {_scalar(value)}" for key, value in values.items()) or identifier, 70)


def _scalar(value: object) -> str:
    if isinstance(value, float):
        return w.plain(value)
    return w.group(value) if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _success_rows(selection: Selection, entry: Measurement) -> tuple[Row, ...]:
    setting = selection.setting(entry.setting)
    audited = setting.id == selection.audited.id
    label = w.label(cut(setting.label, 22))
    rows: list[Row] = []
    if entry.success is None or entry.success.n == 0:
        rows.append(Row(cells=(label, f"{entry.status}: {w.inside(cut(entry.reason or 'no figure', 110))}"), audited=audited))
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
        rows.append(Row(cells=("", text), audited=audited))
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
        return f"{w.half(entry.reconstruction.rank)} / {w.half(entry.reconstruction.unknowns)}"
    return "–"


def further_tables(selection: Selection) -> tuple[Table, ...]:
    """Return the other measures of both questions."""
    kept, _ = _limited(selection)
    measured = [entry for entry in kept if entry.success is not None]
    membership = ("AUC", "95% interval", "Control AUC", "95% interval", "Found at 10%", "Rate", "Accused / outsiders")
    inversion = ("Exact", "Oracle best", "RMSE", "Skill: mean", "Skill: record", "Skill: control", "Not identifiable")
    return (
        Table(
            caption="Membership, further measures: area under the curve (ties count half; 0.5 is guessing), and members "
            "found at a target of 10% false accusations.",
            columns=(Column(title="Setting", align="left"), *(Column(title=title) for title in membership)),
            groups=_groups(selection, [entry for entry in measured if entry.membership], _auc_rows),
        ),
        Table(
            caption="Reconstruction, further measures. Exact: every feature within 10⁻⁶ of its range. Oracle best: if "
            "the truth chose among the restarts, which no attacker can. Skill: 1 − MSE / MSE of the prior mean, a random "
            "record of the class, the control. Not identifiable: updates whose rank is below their unknowns.",
            columns=(Column(title="Setting", align="left"), *(Column(title=title) for title in inversion)),
            groups=_groups(selection, [entry for entry in measured if entry.reconstruction], _inversion_rows),
        ),
    )


def _auc_rows(selection: Selection, entry: Measurement) -> tuple[Row, ...]:
    game = entry.membership
    if game is None:
        return ()
    cells = (
        w.label(cut(selection.setting(entry.setting).label, 22)), w.decimals(game.auc, 3),
        f"{w.decimals(game.auc_low, 3)}–{w.decimals(game.auc_high, 3)}", w.decimals(game.control_auc, 3),
        f"{w.decimals(game.control_auc_low, 3)}–{w.decimals(game.control_auc_high, 3)}",
        w.count(game.at_ten_percent), w.rate(w.share(game.at_ten_percent), table=True),
        w.fraction(game.false_positives_at_ten_percent, game.non_members),
    )  # fmt: skip
    return (Row(cells=cells, audited=entry.setting == selection.audited.id),)


def _inversion_rows(selection: Selection, entry: Measurement) -> tuple[Row, ...]:
    found = entry.reconstruction
    if found is None:
        return ()
    cells = (
        w.label(cut(selection.setting(entry.setting).label, 22)), w.count(found.exact), w.count(found.oracle_best),
        w.rate(found.rmse, table=True), w.decimals(found.skill_prior_mean), w.decimals(found.skill_random_record),
        w.decimals(found.skill_control), w.fraction(found.not_identifiable, found.targets),
    )  # fmt: skip
    return (Row(cells=cells, audited=entry.setting == selection.audited.id),)
