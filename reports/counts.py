"""Tables of every attack and setting: counts, rates, intervals, and the other measures."""

import re
from collections.abc import Callable, Iterable
from itertools import groupby

from qfl_sec.intervals import Rate
from qfl_sec.reports import wording as w
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
        else "records rebuilt from one update; rank of the system beside its unknowns, at the median update"
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
    return "–"


def further_tables(selection: Selection) -> tuple[Table, ...]:
    """Return the other measures of both questions."""
    kept, _ = _limited(selection)
    measured = [entry for entry in kept if entry.success is not None]
    membership = ("AUC", "95% interval", "Control AUC", "95% interval", "Found at 10%", "Rate", "Accused / outsiders")
    inversion = ("Exact", "Oracle best", "RMSE", "Skill: mean", "Skill: record", "Skill: control", "Not identifiable")
    return (
        Table(
            caption="Membership, further measures: area under the curve (ties count half; 0.5 is guessing), members "
            "found at a target of 10% false accusations.",
            columns=(Column(title="Setting", align="left"), *(Column(title=title) for title in membership)),
            groups=_groups(selection, [entry for entry in measured if entry.membership], _auc_rows),
        ),
        Table(
            caption="Reconstruction, further measures. Exact: every feature within 10⁻⁶ of its range. Oracle best: if "
            "the truth chose among the restarts, which no attacker can. Skill: 1 − MSE / MSE of the prior mean, a "
            "random record of the class, the control. Not identifiable: updates whose rank is below their unknowns.",
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
