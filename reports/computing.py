"""Who ran the clients' circuits, as a section of the appendix: what a quantum server found, and what hiding it cost."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from qfl_sec.contracts import Question
from qfl_sec.protocol_results import (
    AttackPoint,
    ComputationEntry,
    GridEntry,
    NoisePoint,
    PatternEntry,
    VerificationEntry,
)
from qfl_sec.reports import wording as w
from qfl_sec.reports.computing_charts import computing_figure, most_telling
from qfl_sec.reports.entry_names import accuracy_of, computation_label, shown_computations
from qfl_sec.reports.sections import Section
from qfl_sec.reports.selection import Selection
from qfl_sec.reports.tables import Column, Group, Row, Table
from qfl_sec.results import Measurement

MOST_ROWS = 40
"""Computations beyond these are counted, and stand in `results.json`."""

MOST_GROUPS = 4
"""Blind computations whose grids, sizes and tests are told in full."""

HARDLY = 0.001
"""Below this acceptance one row is enough."""

Point = TypeVar("Point", NoisePoint, AttackPoint)

QUESTIONS: tuple[Question, ...] = ("membership", "reconstruction")


def computing(selection: Selection) -> Section | None:
    """Return the section; None where every client computed exactly for itself."""
    entries = shown_computations(selection)
    if not entries:
        return None
    blind = [entry for entry in entries if entry.pattern is not None]
    tables = (
        _finding_table(selection, entries),
        _cost_table(selection, entries),
        _grid_table(selection, blind),
        _test_table(selection, blind),
        _size_table(selection, blind),
    )
    return Section(
        title="Protocols: who ran the circuits",
        says=tuple(_says(selection, entries)),
        tables=tuple(table for table in tables if table.groups),
        figure=computing_figure(selection),
    )


def _says(selection: Selection, entries: list[ComputationEntry]) -> Iterable[str]:
    names = {entry.name for entry in entries}
    if "plain_cloud" in names:
        yield (
            "On a plain cloud the quantum server is handed every circuit as it is: the model, and the angles that "
            "encode each record."
        )
    main = most_telling(selection)
    if main is not None:
        yield " ".join(_blindness(main))
        if main.verification is not None:
            yield " ".join(_verification(main.verification))
    if any(entry.shots is not None for entry in entries):
        local = ", local computing included" if "local" in names else ""
        yield (
            f"Gradients come from shifted circuits and a number of shots of each{local}. Shot noise is no guarantee: "
            "attacks here take gradients for exact, and sharper ones may find more."
        )


def _blindness(entry: ComputationEntry) -> Iterable[str]:
    yield (
        "Under blind computing it is sent qubits at secret angles, and angles that look random. What it learns are "
        "sizes: qubits, columns of the graph, runs, and when."
    )
    own = next((grid for grid in entry.grids if grid.angle_bits == entry.angle_bits), None)
    if own is not None and own.view_distance is not None and own.unrounded_view_distance is not None:
        yield (
            f"Its views of any two angles of the released circuit are {_apart(own.view_distance)} apart in trace "
            f"distance on the grid of {w.group(2**own.angle_bits)} angles; had the angles been left off it, "
            f"{_apart(own.unrounded_view_distance)} (0: alike, 1: told apart for certain)."
        )
    yield (
        "Every message was simulated."
        if entry.mode == "transcript"
        else "The rounded circuit was run itself, and the protocol's messages were counted, not simulated."
    )


def _verification(plan: VerificationEntry) -> Iterable[str]:
    runs = plan.computation_rounds + plan.test_rounds
    allowed = w.plural(plan.threshold, "failure")
    failing = f"more than {allowed} reject" if plan.threshold else "any failure rejects"
    example = (
        ""
        if plan.asked
        else "No run tested the server: one that deviates is not noticed. Had as many runs been tests as computations: "
    )
    yield (
        f"{example}{w.group(plan.test_rounds)} of {w.group(runs)} runs of a measurement test the server, and {failing} "
        f"it. A wrong majority is then accepted with probability "
        f"{w.upper(plan.security_error)} at most."
    )
    worst = max(plan.attack, key=lambda point: point.acceptance * point.shift)
    yield (
        "Gradients are made of expectation values, which tests do not cover: a server that spoils "
        f"{w.group(worst.corrupted)} of {w.group(runs)} runs passes with probability {w.rate(worst.acceptance)} and "
        f"shifts a value by up to {_short(worst.shift)}."
    )


def _apart(distance: float) -> str:
    return w.plain(round(distance, 4))


def _short(value: float) -> str:
    """Write a number with two digits."""
    return w.plain(float(f"{value:.2g}"))


def _table(caption: str, first: str, titles: Iterable[str], groups: tuple[Group, ...], note: str = "") -> Table:
    columns = (Column(title=first, align="left"), *(Column(title=title) for title in titles))
    return Table(caption=caption, columns=columns, groups=groups, notes=(note,) if note else ())


def _rows(selection: Selection, entries: list[ComputationEntry], cells: Sequence[tuple[str, ...]]) -> tuple[Group, ...]:
    rows = tuple(
        Row(cells=row, audited=entry.variant == selection.variant.id)
        for entry, row in zip(entries, cells, strict=True)
    )  # fmt: skip
    return (Group(title="", note="", rows=rows[:MOST_ROWS]),)


def _rest(selection: Selection, entries: list[ComputationEntry]) -> str:
    rest = len(selection.results.computations) - len(entries[:MOST_ROWS])
    return f"{w.group(rest)} more {'is' if rest == 1 else 'are'} in results.json." if rest else ""


def _finding_table(selection: Selection, entries: list[ComputationEntry]) -> Table:
    cells = [
        (
            computation_label(selection, entry),
            "exact" if entry.shots is None else w.group(entry.shots),
            *(_found(selection, entry, question) for question in QUESTIONS),
            w.interval(accuracy_of(selection, entry)),
            _changed(entry),
        )
        for entry in entries
    ]
    return _table(
        "Who ran the circuits, and what a quantum server found in them, at the audited setting. Accuracy: of the "
        "released models on fresh records, pooled over seeds. Grid: what rounding its angles changes in an output.",
        "Computing",
        ("Shots", "Members found", "Records rebuilt", "Accuracy", "Grid: mean change"),
        _rows(selection, entries, cells),
        _rest(selection, entries),
    )


def _found(selection: Selection, entry: ComputationEntry, question: Question) -> str:
    """Write what the quantum server's strongest attack found."""
    found: list[Measurement] = [
        one
        for one in selection.results.measurements
        if (one.variant, one.setting) == (entry.variant, entry.setting)
        and (one.adversary, one.question) == ("quantum_server", question)
    ]
    measured = [one.success for one in found if one.success is not None and one.success.n]
    if measured:
        return w.interval(max(measured, key=lambda success: success.low))
    if any(one.status == "not visible" for one in found):
        return "not visible"
    return "not tested" if found else "–"


def _changed(entry: ComputationEntry) -> str:
    own = next((grid for grid in entry.grids if grid.angle_bits == entry.angle_bits), None)
    return "–" if own is None else _short(own.mean_change)


def _cost_table(selection: Selection, entries: list[ComputationEntry]) -> Table:
    cells = [
        (
            computation_label(selection, entry), w.group(entry.circuits), w.group(entry.runs),
            *((w.group(entry.test_runs), w.group(entry.rejected)) if entry.pattern else ("–", "–")),
            *((_large(entry.qubits_sent), _large(entry.classical_bits)) if entry.pattern else ("–", "–")),
        )
        for entry in entries
    ]  # fmt: skip
    return _table(
        "What running them took, all seeds together. Qubits go from the clients to the blind server, bits both ways: "
        "angles and outcomes.",
        "Computing",
        ("Circuits", "Runs", "Of them tests", "Repeated jobs", "Qubits sent", "Bits"),
        _rows(selection, entries, cells),
    )


def _large(number: int) -> str:
    """Write a number that may be beyond what is read digit by digit."""
    return w.group(number) if number < 10**9 else w.scientific(float(number))


def _grid_table(selection: Selection, entries: list[ComputationEntry]) -> Table:
    groups = [
        Group(
            title=_group_title(selection, entries, entry),
            note="",
            rows=(*(_grid_row(entry, grid) for grid in entry.grids), _unrounded(entry)),
        )
        for entry in entries[:MOST_GROUPS]
    ]
    return _table(
        "The grid of angles: what it costs the released models, and what it hides. Views apart: largest trace distance "
        "of a server's views of two angles of a pattern, secret angles being of this grid; 0 is blind, 1 is in clear. "
        "Angles are rounded gate by gate.",
        "Angle bits",
        ("Mean change of an output", "Largest", "Right on fresh records", "Views apart", "Angles left off the grid"),
        tuple(groups),
    )


def _grid_row(entry: ComputationEntry, grid: GridEntry) -> Row:
    views = (
        "by theorem 0" if grid.view_distance is None else _apart(grid.view_distance),
        "–" if grid.unrounded_view_distance is None else _apart(grid.unrounded_view_distance),
    )
    cells = (
        w.group(grid.angle_bits), w.decimals(grid.mean_change, 4), w.decimals(grid.largest_change, 4),
        w.fraction(grid.correct, entry.fresh_records), *views,
    )  # fmt: skip
    return Row(cells=cells, audited=grid.angle_bits == entry.angle_bits)


def _unrounded(entry: ComputationEntry) -> Row:
    return Row(cells=("not rounded", "0", "0", w.fraction(entry.correct, entry.fresh_records), "–", "–"))


def _group_title(selection: Selection, entries: list[ComputationEntry], entry: ComputationEntry) -> str:
    """Name a group of rows; a single one needs no name."""
    return computation_label(selection, entry) if len(entries) > 1 else ""


def _test_table(selection: Selection, entries: list[ComputationEntry]) -> Table:
    different = {entry.verification: entry for entry in reversed(entries) if entry.verification is not None}
    groups = [
        Group(title=_group_title(selection, entries, entry), note="", rows=tuple(_test_rows(plan)))
        for plan, entry in list(reversed(different.items()))[:MOST_GROUPS]
    ]
    return _table(
        "Test rounds: how often one measurement's runs are accepted, exactly. Wrong majority: accepted although most "
        "results are spoiled, which tests are for; shift: of an expectation value, which they do not cover.",
        "The quantum server",
        ("Accepted", "And a wrong majority", "Shift, up to"),
        tuple(groups),
    )


def _test_rows(plan: VerificationEntry) -> Iterable[Row]:
    runs = plan.computation_rounds + plan.test_rounds
    for noise in _told(plan.noise):
        chance = w.plain(noise.depolarizing_probability)
        errors = f"error {chance} a qubit" if noise.depolarizing_probability else "without errors"
        yield Row(cells=(f"honest, {errors}", w.rate(noise.acceptance, table=True), "–", "–"))
    for attack in _told(plan.attack):
        if attack.corrupted:
            cells = (
                f"spoils {w.group(attack.corrupted)} of {w.group(runs)} runs", w.rate(attack.acceptance, table=True),
                w.upper(attack.wrong_majority), _short(attack.shift),
            )  # fmt: skip
            yield Row(cells=cells)


def _told(points: Sequence[Point]) -> Sequence[Point]:
    """Return the points up to the first at which hardly anything is accepted."""
    last = next((index for index, point in enumerate(points) if point.acceptance < HARDLY), len(points))
    return points[: last + 1]


def _size_table(selection: Selection, entries: list[ComputationEntry]) -> Table:
    different = {(_shape(entry), entry.shots): entry for entry in reversed(entries)}
    groups = [
        Group(
            title=_group_title(selection, entries, entry),
            note="",
            rows=tuple(_size_row(entry, size) for size in sizes(entry)),
        )
        for entry in list(reversed(different.values()))[:MOST_GROUPS]
    ]
    return _table(
        "Resources of this model at other sizes. Of one run: columns of the graph, qubits sent, controlled-Z gates, "
        "rounds of messages, bits. Of one record's gradient: circuits, and qubits at the shots of this run.",
        "Qubits × layers",
        ("Columns", "Qubits a run", "Gates", "Rounds", "Bits a run", "Circuits", "Qubits a gradient"),
        tuple(groups),
    )


def sizes(entry: ComputationEntry) -> tuple[PatternEntry, ...]:
    """Return the patterns of a model at all its sizes, its own among them."""
    own = () if entry.pattern is None or entry.pattern in entry.other_sizes else (entry.pattern,)
    return (*own, *entry.other_sizes)


def _shape(entry: ComputationEntry) -> tuple[PatternEntry, ...]:
    """Return what tells models apart whose angles may be of different grids."""
    return tuple(replace(size, classical_bits=0) for size in sizes(entry))


def _size_row(entry: ComputationEntry, size: PatternEntry) -> Row:
    name = w.group(size.qubits) if size.layers is None else f"{w.group(size.qubits)} × {w.group(size.layers)}"
    runs = size.circuits * size.observables * (entry.shots or 1)
    cells = (
        name, w.group(size.columns), w.group(size.nodes), w.group(size.edges), w.group(size.message_rounds),
        w.group(size.classical_bits), w.group(size.circuits), _large(size.nodes * runs),
    )  # fmt: skip
    return Row(cells=cells, audited=size == entry.pattern)
