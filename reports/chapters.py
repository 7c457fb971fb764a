"""The appendix: a chapter for each attack, with its figures at every setting, its control and where it comes from."""

from collections.abc import Iterable
from dataclasses import dataclass

from qfl_sec.reports import wording as w
from qfl_sec.reports.counts import attacked, groups_of, limited
from qfl_sec.reports.reproduction import Source, source_link
from qfl_sec.reports.sanitising import cut
from qfl_sec.reports.selection import Selection
from qfl_sec.reports.tables import Column, Group, Row, Table
from qfl_sec.results import Measurement

ACCUSED = (0.001, 0.005, 0.02, 0.05, 0.2, 0.5)
"""Shares of outsiders at which the curve is told; the tables of measurements tell it at 1 % and 10 %."""

MOST_FEATURES = 8

MOST_CHAPTERS = 12
"""Attacks beyond these are counted, and stand in `results.json`."""


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """One attack.

    Attributes:
        title: Its name.
        does: What it does.
        assumes: What it sees and knows.
        control: What it is compared with, and what that found.
        tables: Its figures.
        sources: Where it comes from.
    """

    title: str
    does: str
    assumes: str
    control: str
    tables: tuple[Table, ...]
    sources: tuple[Source, ...]


def chapters(selection: Selection) -> tuple[Chapter, ...]:
    """Return a chapter for each attack of the tables of measurements, in their order."""
    return tuple(_chapter(selection, *attack) for attack in _attacks(selection)[:MOST_CHAPTERS])


def more_chapters(selection: Selection) -> str:
    """Return the line that counts the attacks without a chapter; empty if there are none."""
    rest = len(_attacks(selection)) - MOST_CHAPTERS
    return f"{w.plural(rest, 'further attack')} in the attached results.json." if rest > 0 else ""


def _attacks(selection: Selection) -> list[tuple[str, list[Measurement]]]:
    found: dict[str, list[Measurement]] = {}
    for entry in limited(selection)[0]:
        if entry.attack is not None:
            found.setdefault(entry.attack, []).append(entry)
    return list(found.items())


def _chapter(selection: Selection, name: str, entries: list[Measurement]) -> Chapter:
    does, _, told = entries[0].attack_description.partition(";")
    measured = [entry for entry in entries if entry.success is not None and entry.success.n]
    return Chapter(
        title=cut(name, 60),
        does=f"{cut(does, 300).rstrip('.') or 'Its author left no description'}.",
        assumes=_assumes(selection, entries, told.strip()),
        control=_control(selection, entries[0].question, measured),
        tables=tuple(table for table in _tables(selection, name, measured) if table.groups),
        sources=tuple(source_link(text, number) for text, number in ATTACK_SOURCES.get(name, ())),
    )


def _assumes(selection: Selection, entries: list[Measurement], told: str) -> str:
    who = dict.fromkeys(entry.adversary for entry in entries)
    sees = "; ".join(
        f"{cut(selection.adversary(one).label, 40)}: {cut(', '.join(selection.adversary(one).sees), 160) or 'nothing'}"
        for one in who
    )
    knows = "the model, the public reference records and the defense with its parameters"
    return f"Sees what its adversary sees ({sees}). Knows {knows}{f'; {cut(told, 160)}' if told else ''}."


def _control(selection: Selection, question: str, measured: list[Measurement]) -> str:
    what = (
        "the same attack asked about what its view does not hold: each candidate laid at the next client's door or, "
        "where that would change nothing, the next candidate's record in its place"
        if question == "membership"
        else "the same attack on updates that each hold something of every client's, at random, so that they have the "
        "mean and the covariance of the true ones but no sender"
        if question == "linkage"
        else f"each answer compared with the records behind an unrelated one, where the attack reads "
        f"{attacked(selection, measured)}"
    )
    audited = [entry for entry in measured if selection.on_first_page(entry.variant, entry.setting) and entry.control]
    seen = "; ".join(
        f"{w.count(entry.control)}, {w.interval(entry.control)}, by {name}"
        for entry in audited
        for name in [cut(selection.adversary(entry.adversary).label, 40)]
    )
    return f"Control: {what}." + (f" At the audited setting it finds {seen}." if seen else "")


def _tables(selection: Selection, name: str, measured: list[Measurement]) -> Iterable[Table]:
    games = [entry for entry in measured if entry.membership is not None]
    inversions = [entry for entry in measured if entry.reconstruction is not None]
    label = cut(name, 40)
    yield _curve_table(selection, label, games)
    yield _area_table(selection, label, games)
    yield _feature_table(selection, label, inversions)
    yield _error_table(selection, label, inversions)


def _table(caption: str, titles: Iterable[str], groups: tuple[Group, ...]) -> Table:
    columns = (Column(title="Setting", align="left"), *(Column(title=title) for title in titles))
    return Table(caption=caption, columns=columns, groups=groups)


def _curve_table(selection: Selection, name: str, games: list[Measurement]) -> Table:
    return _table(
        f"{name}, the curve: members found while at most this share of outsiders is wrongly accused; – where the "
        "outsiders are too few to tell.",
        (*(f"{w.agreed(share)}" for share in ACCUSED), "Members", "Outsiders", "Seeds"),
        groups_of(selection, games, _curve_rows),
    )


def _curve_rows(selection: Selection, entry: Measurement) -> tuple[Row, ...]:
    game, success = entry.membership, entry.success
    if game is None or success is None:
        return ()
    counts = list(zip(game.false_positives_curve, game.true_positives_curve, strict=False))
    found = []
    for share in ACCUSED:
        admitted = [true for false, true in counts if false <= share * game.non_members]
        found.append(w.group(max(admitted)) if admitted and share * game.non_members >= 1 else "–")
    ends = w.group(success.n), w.group(game.non_members), w.group(entry.trainings)
    return (_row(selection, entry, (*found, *ends)),)


def _area_table(selection: Selection, name: str, games: list[Measurement]) -> Table:
    return _table(
        f"{name}: area under the curve (ties count half; 0.5 is guessing), and members found at a target of 10% false "
        "accusations.",
        ("AUC", "95% interval", "Control AUC", "95% interval", "Found at 10%", "Rate", "Accused / outsiders"),
        groups_of(selection, games, _area_rows),
    )


def _area_rows(selection: Selection, entry: Measurement) -> tuple[Row, ...]:
    game = entry.membership
    if game is None:
        return ()
    cells = (
        w.decimals(game.auc, 3), f"{w.decimals(game.auc_low, 3)}–{w.decimals(game.auc_high, 3)}",
        w.decimals(game.control_auc, 3),
        f"{w.decimals(game.control_auc_low, 3)}–{w.decimals(game.control_auc_high, 3)}",
        w.count(game.at_ten_percent), w.rate(w.share(game.at_ten_percent), table=True),
        w.fraction(game.false_positives_at_ten_percent, game.non_members),
    )  # fmt: skip
    return (_row(selection, entry, cells),)


def _feature_table(selection: Selection, name: str, inversions: list[Measurement]) -> Table:
    features = max((len(one.reconstruction.feature_hits) for one in inversions if one.reconstruction), default=0)
    more = f"; the first {MOST_FEATURES} of {w.group(features)} features" if features > MOST_FEATURES else ""

    def rows(selection: Selection, entry: Measurement) -> tuple[Row, ...]:
        found, success = entry.reconstruction, entry.success
        if found is None or success is None:
            return ()
        hits = [w.group(count) for count in found.feature_hits[:MOST_FEATURES]]
        hits += ["–"] * (min(features, MOST_FEATURES) - len(hits))
        ends = w.group(success.k), w.group(success.n), w.group(found.targets), w.group(entry.trainings)
        return (_row(selection, entry, (*hits, *ends)),)

    return _table(
        f"{name}, feature by feature: records of which this feature was rebuilt, within the tolerance of a hit{more}.",
        (*(f"No. {index + 1}" for index in range(min(features, MOST_FEATURES))), "All", "Records", "Targets", "Seeds"),
        groups_of(selection, inversions, rows),
    )


def _error_table(selection: Selection, name: str, inversions: list[Measurement]) -> Table:
    return _table(
        f"{name}, further measures. Exact: every feature within 10⁻⁶ of its range. Oracle best: if the truth chose "
        "among the restarts, which no attacker can. Skill: 1 − MSE / MSE of the prior mean, a random record of the "
        "class, the control. Not identifiable: targets whose rank is below their unknowns.",
        ("Exact", "Oracle best", "RMSE", "Skill: mean", "Skill: record", "Skill: control", "Not identifiable"),
        groups_of(selection, inversions, _error_rows),
    )


def _error_rows(selection: Selection, entry: Measurement) -> tuple[Row, ...]:
    found = entry.reconstruction
    if found is None:
        return ()
    cells = (
        w.count(found.exact), w.count(found.oracle_best), w.rate(found.rmse, table=True),
        w.decimals(found.skill_prior_mean), w.decimals(found.skill_random_record), w.decimals(found.skill_control),
        w.fraction(found.not_identifiable, found.targets),
    )  # fmt: skip
    return (_row(selection, entry, cells),)


def _row(selection: Selection, entry: Measurement, cells: Iterable[str]) -> Row:
    setting = selection.setting(entry.setting)
    return Row(cells=(w.label(cut(setting.label, 22)), *cells), audited=setting.id == selection.audited.id)


ATTACK_SOURCES: dict[str, tuple[tuple[str, str], ...]] = {
    "gradient_inversion": (("Zhu, Liu and Han 2019, gradient matching", "1906.08935"),),
    "update_membership": (("Neyman and Pearson 1933, the likelihood ratio", "10.1098/rsta.1933.0009"),),
    "sender_linkage": (("Kuhn 1955, assignments", "10.1002/nav.3800020109"),),
    "loss_membership": (
        ("Yeom et al. 2018, loss threshold", "1709.01604"),
        ("Carlini et al. 2022, likelihood ratio", "2112.03570"),
        ("Watson et al. 2022, calibration by difficulty", "2111.08440"),
    ),
}
"""Of the attacks that come with the package: an arXiv number or a DOI; a plug-in's documentation names its own."""
