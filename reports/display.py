"""The whole report as ready strings: the template prints them as they are and adds only page and caption numbers."""

from dataclasses import dataclass
from datetime import date

from qfl_sec.checking import InputError
from qfl_sec.provenance import Environment, Timings
from qfl_sec.reports import advice, chapters, counts, findings, first_page, grounds, pairs, trends
from qfl_sec.reports import wording as w
from qfl_sec.reports.channels import channels
from qfl_sec.reports.charts import figures
from qfl_sec.reports.checks import Checks, checks
from qfl_sec.reports.computing import computing
from qfl_sec.reports.first_page import FindingRow
from qfl_sec.reports.panels import Figure
from qfl_sec.reports.reproduction import Entry, Source, methods, reproduction, sources, words
from qfl_sec.reports.sanitising import cut, printable_tree
from qfl_sec.reports.sections import Section
from qfl_sec.reports.selection import Selection, check_references
from qfl_sec.reports.tables import Table
from qfl_sec.results import Results

SAMPLE = "SAMPLE, invented numbers"

UNDATED = date(1970, 1, 1)
"""The PDF's date where the results state none: PDF/A wants one, and it must not depend on the day of printing."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """What stands on every page, and in the file's own data."""

    product: str
    title: str
    short_title: str
    sample: str
    run: str
    date: str
    schema: str
    year: int
    month: int
    day: int


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Page 1."""

    kicker: str
    title: str
    subject: str
    headline: str
    tone: str
    lead: str
    bounded: str
    findings_caption: str
    findings: tuple[FindingRow, ...]
    more: str
    scale: tuple[str, ...]
    scale_places: tuple[float, ...]
    legend: tuple[str, ...]
    budgets: Table
    do_next: tuple[str, ...]
    not_shown: tuple[str, ...]
    box: tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Page 2, with the words that page 3 explains.

    Of the figures the first stands here; those of further defenses stand in the appendix.
    """

    title: str
    figures: tuple[Figure, ...]
    checks: Checks | None
    nothing: str
    says: tuple[trends.Says, ...]
    words_title: str
    words: tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Pages 3 and 4.

    Attributes:
        title: Of page 4.
        counts: Success of every attack, one table a question, on page 4; accuracy and paired differences, appendix.
        rests_on: Title of page 3.
        promise: The guarantee in a full sentence.
        headings: On page 3: who sees what, the guarantee, the instruments. In the appendix: guarantees.
        evidence: Who sees what; guarantees of every setting, in the appendix; premises; instrument checks.
        reproduction: Lines of the box.
        methods: What each attack and defense does.
        sources: Where methods come from.
        closing: What else the file carries.
        back: Words of the link to the first table.
    """

    title: str
    counts: tuple[Table, ...]
    rests_on: str
    promise: str
    headings: tuple[str, ...]
    evidence: tuple[Table, ...]
    reproduction: tuple[Entry, ...]
    methods: tuple[Entry, ...]
    sources: tuple[Source, ...]
    closing: str
    back: str


@dataclass(frozen=True, kw_only=True)
class Appendix:
    """A chapter for each attack, how many more there are, and headings of what follows: other defenses, accuracy.

    Between these stand the sections on protocols: channels, delegated computing.
    """

    title: str
    chapters: tuple[chapters.Chapter, ...]
    more: str
    headings: tuple[str, ...]
    sections: tuple[Section, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Document:
    """The report: every word and number that a reader finds in it."""

    head: Head
    decision: Decision
    budget: Budget
    measurements: Measurements
    appendix: Appendix


def document(
    results: Results, environment: Environment, timings: Timings, *, run_id: str = "", source: str = "results.json"
) -> Document:
    """Put the whole report into words.

    Args:
        results: What was found.
        environment: Where.
        timings: When, and at what cost.
        run_id: sha256 of the bytes of `results.json`.
        source: Their place, for messages.

    Raises:
        InputError: If the results refer to what they do not define.
    """
    check_references(results, source=source)
    selection = Selection(results=results)
    made = Document(
        head=_head(results, run_id),
        decision=_decision(selection),
        budget=_budget(selection),
        measurements=_measurements(selection, environment, timings, run_id),
        appendix=Appendix(
            title="Appendix: each attack in detail",
            chapters=chapters.chapters(selection),
            more=chapters.more_chapters(selection),
            headings=("Other defenses", "Accuracy and paired differences"),
            sections=tuple(one for one in (channels(selection), computing(selection)) if one is not None),
        ),
    )
    return printable_tree(made)


def _head(results: Results, run_id: str) -> Head:
    day = _day(results.date)
    return Head(
        product="qfl-sec privacy audit",
        title=cut(results.subject.title, 200) or "untitled",
        short_title=cut(results.subject.title, 70),
        sample=SAMPLE if results.sample else "",
        run=run_id[:8],
        date=day.isoformat() if results.date is not None else "no date stated",
        schema=f"schema {results.schema}",
        year=day.year,
        month=day.month,
        day=day.day,
    )


def _day(text: str | None) -> date:
    """Return the day that the report bears.

    Raises:
        InputError: If it is no date.
    """
    if text is None:
        return UNDATED
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(f"results.json: date = {text!r:.80}. Expected a day like 2026-11-01, or null.") from None


def _decision(selection: Selection) -> Decision:
    results = selection.results
    answer, label = findings.headline(selection), w.label(cut(selection.audited.label, 30))
    membership = any(row.question == "membership" for row in selection.rows)
    rate = "Success rate on a log scale" + (
        "; for membership, members found at a target of 1% outsiders wrongly accused." if membership else "."
    )
    joint = any(row.basis is not None and row.basis.comparisons > 1 for row in selection.rows)
    together = " Intervals hold for all rows together." if joint else ""
    return Decision(
        kicker="Privacy and security audit" + (f" · {SAMPLE}" if results.sample else ""),
        title=cut(results.subject.title, 100) or "untitled",
        subject=_subject(selection),
        headline=answer.text,
        tone=answer.tone,
        lead=" ".join(findings.lead(selection)),
        bounded=findings.bounded(selection),
        findings_caption=f"What each adversary gained at the audited setting ({label}). {rate}{together}",
        findings=first_page.finding_rows(selection),
        more=first_page.more_rows(selection),
        scale=("0.1%", "1%", "10%", "100%"),
        scale_places=(0.0, 1 / 3, 2 / 3, 1.0),
        legend=(
            "strongest attack, 95% interval",
            "control",
            "guessing",
            "most the proof allows; hatched: ruled out",
        ),
        budgets=first_page.budget_table(selection),
        do_next=tuple(advice.do_next(selection)) or ("Nothing follows from these results.",),
        not_shown=tuple(advice.not_shown(selection)),
        box=_box(selection),
    )


def _subject(selection: Selection) -> str:
    subject, setting = selection.results.subject, selection.audited
    records = round(subject.records_per_client, 1)
    each = w.group(int(records)) if records == int(records) else f"{records:.1f}"
    budget = (
        f"{w.epsilon(setting.epsilon)}, {w.delta(setting.delta)}"
        if setting.epsilon is not None and setting.delta is not None
        else cut(setting.label, 40)
    )
    return (
        f"{cut(subject.model_summary, 120)} · {w.plural(subject.clients, 'client')} × {each} records · "
        f"{w.plural(subject.rounds, 'round')} · audited setting {budget}{_point(selection)}"
    )


def _point(selection: Selection) -> str:
    """Return which point of the sweep the first two pages show; nothing if nothing is swept."""
    swept = len(selection.results.variants) > 1
    return f" · of the sweep, the point {cut(selection.variant.id, 100)}" if swept else ""


def _box(selection: Selection) -> tuple[Entry, ...]:
    results = selection.results
    passed = sum(entry.passed for entry in results.instruments)
    total = len(results.instruments)
    checks = f"{w.group(passed)} of {w.group(total)} checks passed" if total else "no check was made"
    attacks = dict.fromkeys(entry.attack for entry in results.measurements if entry.attack)
    names = cut(w.listed(attacks), 60)
    return (
        Entry(label="Tolerance", text=_tolerance(selection)),
        Entry(label="Unit of privacy", text=_unit(selection)),
        Entry(label="Attacks", text=f"{w.group(len(attacks))}, each told the defense: {names}" if attacks else "none"),
        Entry(label="Instruments", text=checks),
    )


def _tolerance(selection: Selection) -> str:
    results = selection.results
    agreed = {entry.id: entry.tolerance for entry in results.questions}
    if len(set(agreed.values())) == 1:
        text = w.agreed(next(iter(agreed.values())))
    else:
        text = ", ".join(f"{name} {w.agreed(value)}" for name, value in agreed.items()) or "none"
    return f"{text}, set before the run ({results.date})" if results.date is not None else f"{text}, no date stated"


def _unit(selection: Selection) -> str:
    """Name unit and neighbours of the audited setting's guarantees."""
    here = [entry for entry in selection.results.guarantees if selection.on_first_page(entry.variant, entry.setting)]
    words = {"add-remove": "add or remove one", "replace-one": "replace one"}
    units = sorted(
        {f"one {cut(entry.unit, 20)}, {words.get(entry.adjacency, cut(entry.adjacency, 20))}" for entry in here}
    )
    return cut("; ".join(units), 70) if units else "no formal guarantee at this setting"


def _budget(selection: Selection) -> Budget:
    drawings = tuple(drawing for drawing in figures(selection) if drawing.panels)
    return Budget(
        title=_budget_title(selection),
        figures=drawings,
        checks=checks(selection),
        nothing="" if drawings else "Nothing was measured, so there is nothing to draw.",
        says=tuple(trends.figure_says(selection)),
        words_title="Words used in verdicts",
        words=words(selection),
    )


def _budget_title(selection: Selection) -> str:
    against = ["privacy budget"] if selection.budgets else []
    against += ["strength"] if selection.strengths else []
    return f"Attack success against {w.listed(against)}" if against else "Attack success and its price"


def _measurements(selection: Selection, environment: Environment, timings: Timings, run_id: str) -> Measurements:
    return Measurements(
        title="Measurements and reproduction",
        counts=(
            *counts.success_tables(selection),
            grounds.utility_table(selection),
            pairs.paired_table(selection),
        ),
        rests_on="What the verdicts rest on",
        promise=grounds.promise(selection),
        headings=("Who sees what", "What the guarantee rests on", "Did the instruments work?", "Guarantees"),
        evidence=(
            grounds.sight_table(selection),
            grounds.guarantee_table(selection),
            grounds.premise_table(selection),
            grounds.instrument_table(selection),
        ),
        reproduction=reproduction(selection, environment, timings, run_id),
        methods=methods(selection),
        sources=sources(selection),
        closing="This PDF carries its data: open the attachment results.json.",
        back="Back to the verdicts.",
    )
