"""What each setting changes against no defense, seed by seed: a table, and its figures in a sentence."""

from collections.abc import Iterable

from qfl_sec.reports import wording as w
from qfl_sec.reports.sanitising import cut
from qfl_sec.reports.selection import Selection
from qfl_sec.reports.tables import Column, Group, Row, Table, variant_label
from qfl_sec.results import PairedDifference

BATCHES = "batches"

LONGEST = 200
"""Rows that are printed; more stand in `results.json`."""


def paired_table(selection: Selection) -> Table:
    """Return the paired differences of every setting, one group for accuracy and one for each attack and adversary."""
    entries = selection.results.paired
    groups: dict[tuple[str, str], list[Row]] = {}
    for entry in entries[:LONGEST]:
        groups.setdefault(_heading(selection, entry), []).append(_row(selection, entry))
    titles = ("Change, points", "95% interval", "Gained / lost", "Trials", "Seeds", "Batches", "Reading")
    return Table(
        caption="Each setting against no defense, seed by seed: rate of the setting minus rate without a defense, in "
        "percentage points. What both trainings of a seed share cancels, so that smaller effects show than in the "
        "rates themselves.",
        columns=(Column(title="Setting", align="left"), *(Column(title=title) for title in titles)),
        groups=tuple(Group(title=title, note=note, rows=tuple(rows)) for (title, note), rows in groups.items()),
        notes=tuple(_notes(entries)),
    )


def in_words(entry: PairedDifference) -> str:
    """Write a difference with its interval: −3.1 points (95% interval −4.4 to −1.8)."""
    ends = f"95% interval {w.change(entry.low)} to {w.change(entry.high)}"
    return f"{w.change(entry.difference)} points ({ends})"


def shown(entry: PairedDifference) -> bool:
    """Return whether the interval leaves out zero."""
    return entry.low > 0 or entry.high < 0


def _heading(selection: Selection, entry: PairedDifference) -> tuple[str, str]:
    title = "accuracy on unseen records" if entry.attack is None else cut(entry.attack, 50)
    notes = [] if entry.adversary is None else [cut(selection.adversary(entry.adversary).label, 50)]
    if len(selection.results.variants) > 1:
        notes.append(variant_label(selection, entry.variant))
    return title, " · ".join(notes)


def _row(selection: Selection, entry: PairedDifference) -> Row:
    reading = ("higher" if entry.difference > 0 else "lower") if shown(entry) else "no difference shown"
    partners = "–" if entry.gained is None or entry.lost is None else w.fraction(entry.gained, entry.lost)
    cells = (
        w.label(cut(selection.setting(entry.setting).label, 22)), w.change(entry.difference),
        f"{w.change(entry.low)} to {w.change(entry.high)}", partners, w.group(entry.trials), w.group(entry.trainings),
        "same" if BATCHES in entry.shared else "own", reading,
    )  # fmt: skip
    return Row(cells=cells, audited=entry.setting == selection.audited.id)


def _notes(entries: tuple[PairedDifference, ...]) -> Iterable[str]:
    if not entries:
        return
    common = [part for part in entries[0].shared if all(part in entry.shared for entry in entries)]
    found = f"share {w.listed(cut(part, 40) for part in common)}" if common else "share nothing"
    same = all(BATCHES in entry.shared for entry in entries)
    yield f"Both trainings of every seed {found}, as found in their records." + (
        "" if same else " Own batches: the defense draws them in its own way, and the difference includes that."
    )
    methods = dict.fromkeys(cut(entry.method, 110) for entry in entries)
    yield (
        "Gained, lost: trials that succeed on one side alone; – where trials have no partners. Each interval holds "
        f"with 95% by itself, not all at once: {cut('; '.join(methods), 400)}."
    )
    if len(entries) > LONGEST:
        yield f"{w.group(len(entries) - LONGEST)} further rows are in the attached results.json."
