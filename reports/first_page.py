"""The first page's tables: what each adversary gained, and what another setting would mean."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import log10
from typing import Literal

from qfl_sec.contracts import Adversary, Question
from qfl_sec.intervals import Rate
from qfl_sec.reports import wording as w
from qfl_sec.reports.sanitising import cut
from qfl_sec.reports.selection import Pair, Selection
from qfl_sec.reports.tables import Column, Group, Row, Table
from qfl_sec.results import Measurement, Setting, Verdict

FIRST_PAGE_ROWS = 9

BUDGET_COLUMNS = 9

PER = 1000

Mark = Literal["no verdict", "above tolerance", "open", "tested only", "within tolerance", "conditional"]


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Places on a log scale from 0.1 % (0) to 100 % (1); None where there is no mark.

    `zero` where nothing was hit: the point is a triangle, and the interval's upper end a limit.
    """

    point: float | None
    low: float | None
    high: float | None
    control: float | None
    guess: float | None
    ceiling: float | None
    zero: bool = False


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
    success, control = _rates(row, measured)
    return FindingRow(
        question=cut(selection.question(row.question).label, 44),
        adversary=cut(selection.adversary(row.adversary).label, 44),
        strip=Strip(
            point=place(w.share(success)),
            low=place(success.low) if success else None,
            high=place(success.high) if success else None,
            control=place(w.share(control)),
            guess=place(w.share(measured.guess)) if measured else None,
            ceiling=place(row.ceiling),
            zero=success is not None and success.k == 0,
        ),
        evidence=row.evidence,
        figures=_figures(row, measured),
        guarantee="no formal guarantee" if row.ceiling is None else f"at most {w.rate(row.ceiling, up=True)}",
        proven=row.ceiling is not None,
        verdict=row.verdict,
        mark=row.verdict,
    )


def _rates(row: Verdict, measured: Measurement | None) -> tuple[Rate | None, Rate | None]:
    """Return the success and control that a verdict rests on; those measured where an earlier version judged."""
    if row.basis is not None:
        return row.basis.success, row.basis.control
    return (measured.success, measured.control) if measured else (None, None)


def _figures(row: Verdict, measured: Measurement | None) -> str:
    """Return the figures under the evidence's word."""
    if row.evidence == "not visible":
        return "by protocol"
    if measured is None:
        return "no attack run" if row.attack is None else "no result"
    inversion = measured.reconstruction
    if row.evidence == "not identifiable" and inversion is not None:
        return f"rank {w.group(inversion.rank)}, needs {w.group(inversion.unknowns)}"
    success, _ = _rates(row, measured)
    if success is not None and success.n and success.k == 0:
        return f"0 of {w.group(success.n)} (to {w.rate(success.high, up=True)})"
    return w.interval(success)


Cells = Callable[[Selection, Pair, tuple[Setting, ...]], list[Row]]


def budget_columns(selection: Selection) -> tuple[Setting, ...]:
    """Return the settings of the budget table: all, or the audited, the undefended and the first others."""
    strengths = [entry for family in selection.strengths for entry in family]
    others = [entry for entry in selection.others if entry not in strengths]
    settings = (*selection.budgets, *others, *strengths)
    if len(settings) <= BUDGET_COLUMNS:
        return settings
    kept = {entry.id for entry in (selection.audited, selection.undefended) if entry is not None}
    for entry in settings:
        if len(kept) < BUDGET_COLUMNS:
            kept.add(entry.id)
    return tuple(entry for entry in settings if entry.id in kept)


def budget_table(selection: Selection) -> Table:
    """Return what each tested setting means, per 1 000: of each question the first measured row of the first table."""
    settings = budget_columns(selection)
    rows: list[Row] = []
    shown: dict[Adversary, list[str]] = {}
    judged = [(row.adversary, row.question) for row in selection.rows]
    measured = [pair for pair in judged if pair in selection.measured_pairs]
    kinds: tuple[tuple[Question, str, Cells], ...] = (
        ("membership", "members", _membership_cells),
        ("reconstruction", "records", _reconstruction_cells),
        ("linkage", "senders", _linkage_cells),
    )
    for question, noun, cells in kinds:
        pair = next((pair for pair in (*measured, *selection.measured_pairs) if pair[1] == question), None)
        if pair is not None:
            rows.extend(cells(selection, pair, settings))
            shown.setdefault(pair[0], []).append(noun)
    if any(selection.utility(entry.id) for entry in settings):
        rows.append(_cells("Accuracy on unseen records", settings, lambda entry: _accuracy(selection, entry.id)))
    who = w.listed(
        cut(selection.adversary(adversary).label, 40) + (f" ({w.listed(nouns)})" if len(shown) > 1 else "")
        for adversary, nouns in shown.items()
    )
    rest = len(selection.budgets) + len(selection.others) - len(settings)
    linked = any(pair[1] == "linkage" for pair in selection.measured_pairs)
    things = ", records or updates" if linked else " or records"
    return Table(
        caption=f"What another setting would mean{f' for the view of: {who}' if who else ''}. Per {w.group(PER)} "
        f"members, outsiders{things}{f'; {w.group(rest)} more settings in the measurements' if rest else ''}.",
        columns=(
            Column(title="Privacy budget ε" if selection.budgets else "Setting", align="left"),
            *(_column(selection, entry) for entry in settings),
        ),
        groups=(Group(title="", note="", rows=tuple(rows)),),
    )


def _column(selection: Selection, setting: Setting) -> Column:
    if setting in selection.budgets and setting.epsilon is not None:
        title = w.budget(setting.epsilon)
    elif setting.strength is not None:
        title = f"{cut(setting.strength.name, 8)} {w.plain(setting.strength.value)}"
    else:
        title = w.label(cut(setting.label, 8))
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


def _linkage_cells(selection: Selection, pair: Pair, settings: tuple[Setting, ...]) -> list[Row]:
    return [_cells("Senders named, measured", settings, lambda entry: _per(_success(selection, entry, pair)))]


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
