"""The reproduction box, the methods and their sources, and the words used in verdicts."""

from dataclasses import dataclass

from qfl_sec.provenance import Environment, Timings
from qfl_sec.reports import wording as w
from qfl_sec.reports.sanitising import cut, link
from qfl_sec.reports.selection import Selection


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


_WORDS = {
    "guarantee contradicted": "The lower end of the interval lies above the proven ceiling: no conclusion is drawn.",
    "leak shown": "The interval of the strongest attack lies above the interval of its control.",
    "no leak seen": "Not above the control, and within the tolerance. It speaks of the attacks we ran.",
    "inconclusive": "Neither a leak nor its absence is shown: too wide an interval, too few targets, or no control.",
    "not identifiable": "The equations of one update, or sum, have a lower rank than needed. More rounds or side "
    "knowledge may change this.",
    "not visible": "By protocol the quantity never reaches this adversary. The premises are not tested by an attack.",
    "not tested": "No attack gave a result, so nothing was measured.",
    "no verdict": "An instrument failed, or a guarantee is contradicted: nothing is concluded.",
    "above tolerance": "The lower end of the interval lies above the tolerance.",
    "within tolerance": "The proven ceiling lies within the tolerance, and every premise that can be checked holds.",
    "tested only": "The upper end of the interval lies within the tolerance, and no proven ceiling does.",
    "conditional": "Not visible by protocol, as long as the premises hold.",
    "open": "Neither above nor within the tolerance by what is known.",
    "no formal guarantee": "Nothing is proven for this adversary and this unit, whatever the attacks showed.",
}


def words(selection: Selection) -> tuple[Entry, ...]:
    """Explain the words that this report uses."""
    rows = selection.rows
    used: set[str] = {row.evidence for row in rows} | {row.verdict for row in rows}
    if any(row.ceiling is None for row in rows):
        used.add("no formal guarantee")
    return tuple(Entry(label=word, text=text + _here(selection, word)) for word, text in _WORDS.items() if word in used)


def _here(selection: Selection, word: str) -> str:
    """Return what would decide an inconclusive row of this report; empty for other words."""
    reasons = dict.fromkeys(row.evidence_reason for row in selection.rows if row.evidence == word == "inconclusive")
    return f" Here: {cut('; '.join(reasons), 160)}." if reasons else ""


def reproduction(selection: Selection, environment: Environment, timings: Timings, run_id: str) -> tuple[Entry, ...]:
    """Return the lines of the reproduction box."""
    results, subject = selection.results, selection.results.subject
    commit = "no checkout" if environment.commit is None else f"commit {cut(environment.commit, 12)[:7]}"
    state = {True: ", changed", False: ", clean", None: ""}[environment.dirty]
    versions = (("PennyLane", environment.pennylane), ("torch", environment.torch), ("numpy", environment.numpy))
    packages = ", ".join(f"{name} {cut(version, 20)}" for name, version in versions if version is not None)
    machine = [cut(environment.operating_system, 50), cut(environment.processor or "", 60)]
    cpu = [text for text in machine if text]
    return (
        Entry(label="Command", text="", code=cut(environment.command, 300)),
        Entry(label="Run id", text="", code=w.digits(run_id, 16)),
        Entry(
            label="Verify",
            text="recomputes every verdict and number from the stored scores",
            code="qfl-sec verify RUN_DIR",
        ),
        Entry(
            label="Software",
            text=f"qfl-sec {cut(results.package_version, 20)} ({commit}{state}), Python {cut(environment.python, 20)}"
            + (f", {packages}" if packages else ""),
        ),
        Entry(label="Machine", text=f"{', '.join(cpu)}, {w.plural(environment.cores, 'core')}"),
        Entry(
            label="Data",
            text=f"{cut(subject.dataset, 50)}, {w.group(subject.records)} records, "
            f"{w.group(subject.features)} features, {w.group(subject.classes)} classes, fingerprint",
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


def methods(selection: Selection) -> tuple[Entry, ...]:
    """Name every attack and defense with what it does."""
    results = selection.results
    attacks = {entry.attack: entry.attack_description for entry in results.measurements if entry.attack}
    defenses = {entry.defense: entry.description for entry in results.settings}
    both = (*attacks.items(), *defenses.items())
    return tuple(Entry(label=cut(name, 40), text=cut(text, 200)) for name, text in both)


def source_link(text: str, number: str) -> Source:
    """Return a source by its arXiv number or DOI."""
    doi = number.startswith("10.")
    address = f"https://doi.org/{number}" if doi else f"https://arxiv.org/abs/{number}"
    return Source(text=text, name=f"{'doi' if doi else 'arXiv'} {number}", address=link(address) or "")


_SOURCES = {
    "membership": ("Membership as a game with few false accusations", "2112.03570"),
    "reconstruction": ("Rebuilding records from gradients", "1906.08935"),
    "membership ceiling": ("Ceiling: trade-off of the mechanism", "1905.02383"),
    "audit": ("Lower bounds on ε from counts", "2101.04535"),
    "reconstruction ceiling": ("Ceiling of reconstruction", "2302.07225"),
    "guarantee": ("Differentially private SGD", "1607.00133"),
}


def sources(selection: Selection) -> tuple[Source, ...]:
    """Name the sources of what this run used."""
    results = selection.results
    used: set[str] = {entry.question for entry in results.measurements if entry.success is not None}
    used |= {f"{entry.question} ceiling" for entry in results.ceilings}
    used |= {"guarantee"} if results.guarantees else set()
    used |= {"audit"} if {"guarantee", "membership"} <= used else set()
    return tuple(source_link(text, number) for key, (text, number) in _SOURCES.items() if key in used)
