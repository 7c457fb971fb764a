"""The whole report as ready strings: the template prints them as they are and adds only page and caption numbers."""

from dataclasses import dataclass
from datetime import date

from qfl_sec.checking import InputError
from qfl_sec.provenance import Environment, Timings
from qfl_sec.reports import findings, grounds, tables
from qfl_sec.reports import wording as w
from qfl_sec.reports.panels import Figure, figure
from qfl_sec.reports.sanitising import cut, link, printable_tree
from qfl_sec.reports.selection import Selection, check_references
from qfl_sec.results import Results

SAMPLE = "SAMPLE, invented numbers"
UNDATED = date(1970, 1, 1)
"""The PDF's date where the results state none: PDF/A wants one, and it must not depend on the day of printing."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A labelled line; `code` is set in the mono."""

    label: str
    text: str
    code: str = ""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a method comes from; `address` is empty where nothing may be linked."""

    text: str
    name: str
    address: str


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
    findings: tuple[tables.FindingRow, ...]
    more: str
    scale: tuple[str, ...]
    scale_places: tuple[float, ...]
    legend: tuple[str, ...]
    budgets: tables.Table
    do_next: tuple[str, ...]
    not_shown: tuple[str, ...]
    box: tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Page 2."""

    title: str
    figure: Figure
    nothing: str
    says: tuple[findings.Says, ...]
    words_title: str
    words: tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Page 3 and on."""

    title: str
    tables: tuple[tables.Table, ...]
    rests_on: str
    evidence: tuple[tables.Table, ...]
    reproduction: tuple[Entry, ...]
    methods: tuple[Entry, ...]
    sources: tuple[Source, ...]
    closing: str


@dataclass(frozen=True, kw_only=True)
class Document:
    """The report: every word and number that a reader finds in it."""

    head: Head
    decision: Decision
    budget: Budget
    measurements: Measurements


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
    answer = findings.headline(selection)
    membership = any(row.question == "membership" for row in selection.rows)
    rate = "Success rate on a log scale" + (
        "; for membership, members found at a target of 1% outsiders wrongly accused." if membership else "."
    )
    return Decision(
        kicker="Privacy and security audit" + (f" · {SAMPLE}" if results.sample else ""),
        title=cut(results.subject.title, 100) or "untitled",
        subject=_subject(selection),
        headline=answer.text,
        tone=answer.tone,
        lead=" ".join(findings.lead(selection)),
        bounded=findings.bounded(selection),
        findings_caption=f"What each adversary gained at the audited setting ({w.label(cut(selection.audited.label, 30))}). {rate}",
        findings=tables.finding_rows(selection),
        more=tables.more_rows(selection),
        scale=("0.1%", "1%", "10%", "100%"),
        scale_places=(0.0, 1 / 3, 2 / 3, 1.0),
        legend=(
            "strongest attack, 95% interval",
            "control",
            "guessing",
            "most the proof allows; hatched: ruled out",
        ),
        budgets=tables.budget_table(selection),
        do_next=tuple(findings.do_next(selection)) or ("Nothing follows from these results.",),
        not_shown=tuple(findings.not_shown(selection)),
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
        f"{cut(subject.model_summary, 70)} · {w.plural(subject.clients, 'client')} × {each} records · "
        f"{w.plural(subject.rounds, 'round')} · audited setting {budget}"
    )


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
    here = [
        entry
        for entry in selection.results.guarantees
        if selection.on_first_page(entry.variant, entry.setting)
    ]
    words = {"add-remove": "add or remove one", "replace-one": "replace one"}
    units = sorted({f"one {entry.unit}, {words.get(entry.adjacency, entry.adjacency)}" for entry in here})
    return cut("; ".join(units), 70) if units else "no formal guarantee at this setting"


def _budget(selection: Selection) -> Budget:
    drawing = figure(selection)
    return Budget(
        title="Attack success against privacy budget" if selection.budgets else "Attack success and its price",
        figure=drawing,
        nothing="" if drawing.panels else "Nothing was measured, so there is nothing to draw.",
        says=tuple(findings.figure_says(selection)),
        words_title="Words used in verdicts",
        words=_words(selection),
    )


def _measurements(selection: Selection, environment: Environment, timings: Timings, run_id: str) -> Measurements:
    return Measurements(
        title="Measurements and reproduction",
        tables=(
            *tables.success_tables(selection),
            *tables.further_tables(selection),
            grounds.utility_table(selection),
        ),
        rests_on="What the verdicts rest on",
        evidence=(
            grounds.sight_table(selection),
            grounds.guarantee_table(selection),
            grounds.premise_table(selection),
            grounds.instrument_table(selection),
        ),
        reproduction=_reproduction(selection, environment, timings, run_id),
        methods=_methods(selection),
        sources=_sources(selection),
        closing="This PDF carries its data: open the attachment results.json.",
    )


def _reproduction(selection: Selection, environment: Environment, timings: Timings, run_id: str) -> tuple[Entry, ...]:
    results, subject = selection.results, selection.results.subject
    commit = "no checkout" if environment.commit is None else f"commit {cut(environment.commit, 12)[:7]}"
    state = {True: ", changed", False: ", clean", None: ""}[environment.dirty]
    versions = (("PennyLane", environment.pennylane), ("torch", environment.torch), ("numpy", environment.numpy))
    packages = ", ".join(f"{name} {cut(version, 20)}" for name, version in versions if version is not None)
    machine = [cut(environment.operating_system, 50), cut(environment.processor or "", 60)]
    cpu = [text for text in machine if text]
    return (
        Entry(label="Command", text="", code=cut(environment.command, 300)),
        Entry(label="Run id", text="", code=run_id),
        Entry(
            label="Software",
            text=f"qfl-sec {cut(results.package_version, 20)} ({commit}{state}), Python {cut(environment.python, 20)}"
            + (f", {packages}" if packages else ""),
        ),
        Entry(label="Machine", text=f"{', '.join(cpu)}, {w.plural(environment.cores, 'core')}"),
        Entry(
            label="Data",
            text=f"{cut(subject.dataset, 50)}, {w.group(subject.records)} records, {w.group(subject.features)} features, "
            f"{w.group(subject.classes)} classes, fingerprint",
            code=w.digits(cut(subject.data_fingerprint, 64), 4),
        ),
        Entry(label="Federation", text=cut(subject.federation_summary, 200)),
        Entry(
            label="Randomness",
            text=f"{w.plural(len(results.seeds), 'seed')} ({cut(', '.join(map(str, results.seeds)), 80)}); each seeds "
            "the split, the training and the attacks, one numpy SeedSequence stream a role",
        ),
        Entry(label="Experiment", text="sha256", code=w.digits(cut(results.experiment_sha256, 64), 4)),
        Entry(
            label="Cost",
            text=f"{w.duration(timings.wall_seconds)} wall clock, {w.duration(timings.cpu_seconds)} CPU, "
            f"{w.plural(timings.workers, 'worker')}; {w.plural(timings.trainings, 'training')}, "
            f"{w.plural(timings.cells, 'cell')}, {w.group(timings.reused)} reused; started {cut(timings.started, 30)}",
        ),
    )


def _methods(selection: Selection) -> tuple[Entry, ...]:
    """Name every attack and defense with what it does."""
    results = selection.results
    attacks = {entry.attack: entry.attack_description for entry in results.measurements if entry.attack}
    defenses = {entry.defense: entry.description for entry in results.settings}
    both = (*attacks.items(), *defenses.items())
    return tuple(Entry(label=cut(name, 40), text=cut(text, 200)) for name, text in both)


_WORDS = {
    "guarantee contradicted": "The lower end of the interval lies above the proven ceiling. The report draws no conclusion.",
    "leak shown": "The interval of the strongest attack lies above the interval of its control.",
    "no leak seen": "The upper end of the interval stays within the tolerance. It speaks of the attacks we ran, no others.",
    "inconclusive": "The interval contains both the control and more than the tolerance. More targets are needed.",
    "not identifiable": "The view holds fewer equations than unknowns. More rounds or side knowledge may change this.",
    "not visible": "By protocol the quantity never reaches this adversary. The premises are not tested by an attack.",
    "not tested": "No attack was run, so nothing is known.",
    "no verdict": "An instrument failed, or a guarantee is contradicted: nothing is concluded.",
    "above tolerance": "The lower end of the interval lies above the tolerance.",
    "within tolerance": "The proven ceiling lies within the tolerance, and every premise that can be checked held.",
    "tested only": "The upper end of the interval lies within the tolerance, and nothing is proven.",
    "conditional": "Not visible by protocol, as long as the premises hold.",
    "open": "Neither above nor within the tolerance by what is known.",
    "no formal guarantee": "Nothing is proven for this adversary and this unit, whatever the attacks showed.",
}


def _words(selection: Selection) -> tuple[Entry, ...]:
    """Explain the words that this report uses."""
    rows = selection.rows
    used = {row.evidence for row in rows} | {row.verdict for row in rows}
    if any(row.ceiling is None for row in rows):
        used.add("no formal guarantee")  # type: ignore[arg-type]
    return tuple(Entry(label=word, text=text) for word, text in _WORDS.items() if word in used)


_SOURCES = {
    "membership": ("Membership as a game with few false accusations", "arXiv 2112.03570", "2112.03570"),
    "reconstruction": ("Rebuilding records from gradients", "arXiv 1906.08935", "1906.08935"),
    "membership ceiling": ("Ceiling: trade-off of the mechanism", "arXiv 1905.02383", "1905.02383"),
    "reconstruction ceiling": ("Ceiling of reconstruction", "arXiv 2302.07225", "2302.07225"),
    "guarantee": ("Differentially private SGD", "arXiv 1607.00133", "1607.00133"),
}


def _sources(selection: Selection) -> tuple[Source, ...]:
    """Name the sources of what this run used."""
    results = selection.results
    used = {entry.question for entry in results.measurements if entry.success is not None}
    used |= {f"{entry.question} ceiling" for entry in results.ceilings}
    used |= {"guarantee"} if results.guarantees else set()
    return tuple(
        Source(text=text, name=name, address=link(f"https://arxiv.org/abs/{number}") or "")
        for key, (text, name, number) in _SOURCES.items()
        if key in used
    )
