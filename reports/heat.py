"""Panel c of Figure 2: which records, or which of their features, are rebuilt, and where counting forbids it."""

from collections.abc import Iterable
from dataclasses import dataclass

from qfl_sec.reports import wording as w
from qfl_sec.reports.sanitising import cut
from qfl_sec.reports.selection import Pair, Selection
from qfl_sec.results import Measurement, Reconstruction

MOST_ROWS = 6
MOST_COLUMNS = 7


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A share, as a colour and as text; hatched where the equations do not determine the unknowns."""

    share: float
    text: str
    hatched: bool


@dataclass(frozen=True, kw_only=True)
class Heat:
    """A heat table.

    Attributes:
        title: With its letter.
        subtitle: What the rows are, and what is hatched.
        columns: Labels from left to right.
        rows: Labels from top to bottom.
        cells: One row each; None where nothing was measured.
        axis_label: Below the columns.
        says: For the caption.
        trend: In words with numbers.
    """

    title: str
    subtitle: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    cells: tuple[tuple[Cell | None, ...], ...]
    axis_label: str
    says: str
    trend: str


def heat(selection: Selection) -> Heat | None:
    """Return records rebuilt over batch and model sizes if both questions were swept, else features over settings."""
    pair = next((pair for pair in selection.measured_pairs if pair[1] == "reconstruction"), None)
    if pair is None:
        return None
    return _sizes(selection, pair) or _features(selection, pair)


def _sizes(selection: Selection, pair: Pair) -> Heat | None:
    """Return records rebuilt without a defense over records an update and parameters, pooled over equal sizes."""
    bare = selection.undefended
    found: dict[tuple[int, int], list[tuple[Measurement, Reconstruction]]] = {}
    for entry in selection.results.measurements:
        inversion = entry.reconstruction
        if bare is None or inversion is None or entry.setting != bare.id or entry.adversary != pair[0]:
            continue
        if entry.success is not None and entry.success.n and inversion.feature_hits:
            size = inversion.equations, round(inversion.unknowns / len(inversion.feature_hits))
            found.setdefault(size, []).append((entry, inversion))
    if len(found) < 2:
        return None
    parameters = sorted({size[0] for size in found}, reverse=True)[:MOST_ROWS]
    batches = sorted({size[1] for size in found})[:MOST_COLUMNS]
    cells = tuple(
        tuple(_pooled(found[size]) if (size := (rows, columns)) in found else None for columns in batches)
        for rows in parameters
    )
    return Heat(
        title="c Rebuilt records, no defense, %",
        subtitle="parameters P (y); hatched: rank too low",
        columns=tuple(w.group(size) for size in batches),
        rows=tuple(w.group(size) for size in parameters),
        cells=cells,
        axis_label="records per update B",
        says="Records rebuilt without a defense. Hatched: the equations do not determine the record from one update. "
        "That is a statement about one update, not a guarantee.",
        trend=_told((f"{w.group(p)} parameters" for p in parameters), (f"B {w.group(b)}" for b in batches), cells),
    )


def _pooled(found: list[tuple[Measurement, Reconstruction]]) -> Cell:
    hits = sum(entry.success.k for entry, _ in found if entry.success is not None)
    records = sum(entry.success.n for entry, _ in found if entry.success is not None)
    return _cell(hits, records, hatched=all(_short(inversion) for _, inversion in found))


def _cell(hits: int, records: int, *, hatched: bool) -> Cell:
    return Cell(share=hits / records, text=w.percent(hits / records), hatched=hatched)


def _short(inversion: Reconstruction) -> bool:
    """Return whether the median update's equations are too few."""
    return inversion.rank < inversion.unknowns


def _features(selection: Selection, pair: Pair) -> Heat | None:
    """Return how often each feature was rebuilt, and the whole record, at each setting."""
    settings = (*selection.budgets, *selection.others)
    found = [(entry, selection.strongest(entry, pair)) for entry in settings]
    rows, cells, shown = [], [], 0
    for setting, measured in found[-MOST_ROWS:]:
        inversion = measured.reconstruction if measured is not None else None
        if measured is None or inversion is None or measured.success is None or not measured.success.n:
            continue
        hits = (*inversion.feature_hits[: MOST_COLUMNS - 1], measured.success.k)
        shown = max(shown, len(hits) - 1)
        rows.append(w.label(cut(setting.label, 8)))
        cells.append(tuple(_cell(k, measured.success.n, hatched=_short(inversion)) for k in hits))
    if not rows:
        return None
    columns = (*(str(index + 1) for index in range(shown)), "all")
    even = tuple((*row[:-1], *(None,) * (shown + 1 - len(row)), row[-1]) for row in cells)
    what = "one round's sum" if selection.sums(selection.audited, pair[0]) else "one update"
    return Heat(
        title="c Rebuilt, feature by feature, %",
        subtitle="setting (y); hatched: rank too low",
        columns=columns,
        rows=tuple(rows),
        cells=even,
        axis_label="feature, and all of a record",
        says="Features rebuilt within the tolerance of a hit, and whole records. Hatched: the equations of the median "
        f"target, {what}, do not determine its records.",
        trend=_told(rows, (f"feature {label}" if label != "all" else "all features" for label in columns), even),
    )


def _told(rows: Iterable[str], columns: Iterable[str], cells: tuple[tuple[Cell | None, ...], ...]) -> str:
    """Write every cell in words."""
    names = list(columns)
    texts = []
    for row, line in zip(rows, cells, strict=True):
        shown = [f"{name} {cell.text}%" for name, cell in zip(names, line, strict=True) if cell is not None]
        texts.append(f"{row}: {', '.join(shown)}")
    return "; ".join(texts) + "."
