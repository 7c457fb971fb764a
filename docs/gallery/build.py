"""Rebuild the gallery: the reports of the shipped examples, and the page that says how to read them.

    python docs/gallery/build.py [RUNS]

RUNS is where the runs lie or are made, by default `runs`; what is finished there is reused. Every number of the page is
read from the data that the PDFs carry.
"""

import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pypdf

from qfl_sec.checking import parse_json
from qfl_sec.contracts import Adversary, Question
from qfl_sec.reports import findings
from qfl_sec.reports import wording as w
from qfl_sec.reports.comparison import Comparison
from qfl_sec.reports.entry_names import accuracy_of, shown_channels, shown_computations
from qfl_sec.reports.selection import Selection
from qfl_sec.results import Setting, loads, run_id

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
EXAMPLES = ("breast_cancer", "one_record", "chen_yoo", "clinics", "my_circuit", "channels", "blind_training")
COMPARED = ("one_record", "breast_cancer", "chen_yoo")
PAGE = HERE / "README.md"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a run found about one question at one setting, in words."""

    counts: str
    interval: str
    control: str
    guess: str
    ceiling: str
    evidence: str
    verdict: str


NO_ANSWER = Answer(
    counts="none", interval="none", control="none", guess="none", ceiling="none", evidence="not tested",
    verdict="none",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What a run found of one channel, or of one who ran the circuits, in words."""

    rebuilt: str
    arrived: str = "none"
    errors: str = "none"
    accuracy: str = "none"
    change: str = "none"
    nodes: str = "none"


NOTHING = Protocol(rebuilt="none")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the texts quote of a run: at the audited setting, and without a defense; of protocols at that setting."""

    title: str
    headline: str
    run: str
    seeds: str
    setting: str
    tolerance: str
    audited: Mapping[str, Answer]
    bare: Mapping[str, Answer]
    accuracy: str
    bare_accuracy: str
    classical: str
    rank: str
    equations: str
    unknowns: str
    not_identifiable: str
    channels: Mapping[str, Protocol]
    computations: Mapping[str, Protocol]


def facts(content: bytes) -> Facts:
    """Return what the texts quote of a run.

    Args:
        content: The bytes of its `results.json`.
    """
    results = loads(content)
    selection = Selection(results=results)
    bare = selection.undefended or selection.audited
    inversion = selection.strongest(bare, ("server", "reconstruction"))
    rebuilt = inversion.reconstruction if inversion is not None else None
    return Facts(
        title=results.subject.title,
        headline=findings.headline(selection).text,
        run=run_id(content)[:8],
        seeds=w.plural(len(results.seeds), "seed"),
        setting=selection.audited.label,
        tolerance=w.listed(sorted({w.agreed(one.tolerance) for one in results.questions})),
        audited=_answers(selection, selection.audited),
        bare=_answers(selection, bare),
        accuracy=_accuracy(selection, selection.audited.id),
        bare_accuracy=_accuracy(selection, bare.id),
        classical=_accuracy(selection, "classical"),
        rank="none" if rebuilt is None else w.group(rebuilt.rank),
        equations="none" if rebuilt is None else w.group(rebuilt.equations),
        unknowns="none" if rebuilt is None else w.group(rebuilt.unknowns),
        not_identifiable="none" if rebuilt is None else w.fraction(rebuilt.not_identifiable, rebuilt.targets),
        channels=defaultdict(lambda: NOTHING, _channels(selection)),
        computations=defaultdict(lambda: NOTHING, _computations(selection)),
    )


def _answers(selection: Selection, setting: Setting) -> dict[str, Answer]:
    questions: tuple[Question, ...] = ("membership", "reconstruction")
    return {question: _answer(selection, setting, question) for question in questions}


def _answer(selection: Selection, setting: Setting, question: Question) -> Answer:
    measured = selection.strongest(setting, ("server", question))
    verdict = selection.verdict(setting, ("server", question))
    if measured is None or verdict is None:
        return NO_ANSWER
    ceiling = selection.ceiling(setting, ("server", question))
    return Answer(
        counts=w.count(measured.success),
        interval=w.interval(measured.success),
        control=w.rate(w.share(measured.control)),
        guess=w.rate(w.share(measured.guess)),
        ceiling="no formal guarantee" if ceiling is None else f"at most {w.rate(ceiling.rate, up=True)}",
        evidence=verdict.evidence,
        verdict=verdict.verdict,
    )


def _channels(selection: Selection) -> Iterator[tuple[str, Protocol]]:
    """Yield each channel on which everything is attacked, by its name."""
    for entry in shown_channels(selection):
        if entry.attacked_fraction == 1:
            errors = "none" if entry.error_rate is None else w.rate(entry.error_rate.median)
            found = _rebuilt(selection, entry.variant, "eavesdropper")
            arrived = w.fraction(entry.delivered, entry.messages)
            yield entry.name, Protocol(rebuilt=found, arrived=arrived, errors=errors)


def _computations(selection: Selection) -> Iterator[tuple[str, Protocol]]:
    """Yield who ran the circuits, by name, with the bits of a blind angle: blind8."""
    for entry in shown_computations(selection):
        grid = next((one for one in entry.grids if one.angle_bits == entry.angle_bits), None)
        yield (
            f"{entry.name}{entry.angle_bits or ''}",
            Protocol(
                rebuilt=_rebuilt(selection, entry.variant, "quantum_server"),
                accuracy=w.interval(accuracy_of(selection, entry)),
                change="none" if grid is None else w.decimals(grid.mean_change, 3),
                nodes="none" if entry.pattern is None else w.group(entry.pattern.nodes),
            ),
        )


def _rebuilt(selection: Selection, variant: str, adversary: Adversary) -> str:
    """Return how many records an adversary rebuilt at a point of the sweep, in words."""
    found = [
        one
        for one in selection.results.measurements
        if (one.variant, one.setting) == (variant, selection.audited.id)
        and (one.adversary, one.question) == (adversary, "reconstruction")
    ]
    measured = [one.success for one in found if one.success is not None and one.success.n]
    if not measured:
        return "not visible" if any(one.status == "not visible" for one in found) else "none"
    best = max(measured, key=lambda success: success.low)
    return f"{w.count(best)} records, {w.interval(best)}"


def _accuracy(selection: Selection, setting: str) -> str:
    utility = selection.utility(setting)
    return "–" if utility is None else w.interval(utility.accuracy)


HEAD = """# Gallery

Reports of the shipped examples, as `make gallery` builds them, and how to read each. Every number on this page is read
from the data that the PDFs carry: do not edit it, edit `build.py`. In brackets stand 95% intervals. What each part of a
report means: [reading a report](../reading-a-report.md).
"""

TEXTS = {
    "breast_cancer": """
The default audit: ten clients, batches of four, {seeds}, audited at {setting}. Page 1 opens with its answer:
“{headline}”. Begin with Table 1, one row for each question and adversary. For “was this record used?” the curious
server found {audited[membership].counts} members, {audited[membership].interval}; the control in the same row, the
same attack without signal, finds {audited[membership].control}. The evidence is “{audited[membership].evidence}”, the
guarantee “{audited[membership].ceiling}”, the verdict “{audited[membership].verdict}” at a tolerance of {tolerance}.
Evidence and guarantee are two things: the first speaks of the attacks that were run, the second of every attack there
could be.

Then compare the columns of Table 2, or the panels of Figure 1, from the audited setting to “no DP”. Without a defense
the same server rebuilds {bare[reconstruction].counts} records, {bare[reconstruction].interval}, against
{audited[reconstruction].counts}, {audited[reconstruction].interval}, at the audited setting. That has its price:
accuracy on unseen records is {bare_accuracy} without a defense and {accuracy} with it; a classical model of equal
size reaches {classical}. Where an interval spans the tolerance the verdict is “open”, and “Do next” says what would
decide.
""",
    "one_record": """
The worst case: each update is computed from a single record, so that {equations} numbers are sent for {unknowns}
unknown features. The audited setting has no defense, and the report says “{headline}”. The curious server rebuilt
{bare[reconstruction].counts} records, {bare[reconstruction].interval}; an attack on an unrelated update rebuilds
{bare[reconstruction].control}, and the best fixed guesses {bare[reconstruction].guess}. Look for the column “Rank /
unknowns” under Measurements: at the median update the system has rank {rank} for {unknowns} unknowns, and where the
rank reaches the unknowns the answer is locally unique. The evidence reads “{bare[reconstruction].evidence}”.

The budget's column in Table 2 shows the same attack under differential privacy at a generous budget. Hold what was
measured there against what is proven there, the ceiling in Figure 1: a low dot under a high ceiling is a statement
about our attack, not about all attacks. The verdict, “{bare[reconstruction].verdict}”, is drawn from the lower end of
the interval and the tolerance of {tolerance}, never from the point alone.
""",
    "chen_yoo": """
A federation from the literature: batches of 32 and a whole local epoch before anything is sent. One update then
depends on far more unknowns than it has numbers: {unknowns} against {equations} at the median update. The evidence
for reconstruction reads “{bare[reconstruction].evidence}”: {not_identifiable} updates do not determine their records,
whatever the attack. The attack was run all the same, and rebuilt {bare[reconstruction].counts} records,
{bare[reconstruction].interval}, where its control reaches {bare[reconstruction].control} and fixed guesses
{bare[reconstruction].guess}.

This is not a guarantee, and the report does not sell it as one: under Guarantee stands
“{bare[reconstruction].ceiling}”. Counting equations speaks of one update alone; several rounds, or something known
beforehand, may change it. Nor does it say anything of membership, the other row of Table 1: there the server found
{bare[membership].counts} members, {bare[membership].interval}, with {bare[membership].control} for the control,
evidence “{bare[membership].evidence}”, verdict “{bare[membership].verdict}”. The headline: “{headline}”.
""",
    "clinics": """
A file of one's own: clinics of unequal size, text labels, missing values, audited at {setting}. The headline is
“{headline}”. Sizes matter here in one place above all, the table of guarantees: ε holds for each client by itself,
and each record of a small client is drawn more often, so that small clients have the larger ε. The largest stands in
the column “Worst”. For membership the server found {audited[membership].counts}, {audited[membership].interval};
evidence “{audited[membership].evidence}”, guarantee “{audited[membership].ceiling}”, verdict
“{audited[membership].verdict}”.

For reconstruction compare {bare[reconstruction].counts} rebuilt records without a defense,
{bare[reconstruction].interval}, with {audited[reconstruction].counts}, {audited[reconstruction].interval}, at the
audited setting, each beside its control ({bare[reconstruction].control} and {audited[reconstruction].control}).
Trials of one client or one seed resemble each other; the column “Clusters” counts how many independent groups there
are, and intervals are widened by what the spread between them shows. Accuracy is {bare_accuracy} without a defense
and {accuracy} at that setting, and intervals that overlap are no proof of equality: the table “Each setting against
no defense” pairs the seeds and is the sharper one.
""",
    "my_circuit": """
A circuit of one's own, given as a PennyLane function and audited at {setting}: “{headline}”. Nothing in the report is
particular to built-in models. In Figure 1 every filled circle is the attack, every open diamond beside it the same
attack without signal: as long as their bars overlap, the attack has shown nothing. Without a defense the server
rebuilt {bare[reconstruction].counts} records, {bare[reconstruction].interval}, control
{bare[reconstruction].control}; the system has rank {rank} for {unknowns} unknowns at the median update.

At the audited setting it rebuilt {audited[reconstruction].counts}, {audited[reconstruction].interval}, with the
verdict “{audited[reconstruction].verdict}”, and found {audited[membership].counts} members,
{audited[membership].interval}, with “{audited[membership].verdict}”. What a circuit of one's own can and cannot do
was checked in the run itself: the table of instrument checks shows whether per-record gradients equal the loop over
records and whether planted leaks were found. Were one of them to fail, all verdicts would be withdrawn, and the
headline would say so.
""",
    "channels": """
Four channels that carry the same federation, each with an eavesdropper on a tenth or on all of what travels: eight
points of a sweep, of which page 1 shows one and says which: “{headline}”. The section “Protocols: what carried the
updates” sets them side by side. With everything tapped, the eavesdropper rebuilt {channels[plain].rebuilt}, on the
plain channel, where {channels[plain].arrived} updates arrived and nobody noticed anything. Over BB84
{channels[bb84].arrived} arrived: the parties saw {channels[bb84].errors} errors where theory says 25%, made no key, and
what an eavesdropper sees of an update that is not sent is “{channels[bb84].rebuilt}”. The two protocols of direct
communication stopped at their check, at {channels[two_step_qsdc].errors} and {channels[one_step_qsdc].errors}.

Compare the two tables' words for what hides an update: one-time pads as long as the key lasts, then AES-256-GCM, whose
secrecy is computational and stands among the premises as assumed. What the protocols of direct communication leak is
what the simulated eavesdropper holds for certain; their sources prove no more, so that ε is 1 there.
""",
    "blind_training": """
Clients without a quantum computer have their circuits run elsewhere. Page 1 shows the plain cloud: “{headline}”. The
quantum server rebuilt {computations[plain_cloud].rebuilt}, from the angles that encode them, at the audited setting,
{setting}: noise on the updates is added after the circuits were run, and does not hide them. The section “Protocols:
who ran the circuits” holds what blindness changes. To a blind server the records are “{computations[blind8].rebuilt}”,
and accuracy on unseen records is {computations[blind8].accuracy}, where the plain cloud's is
{computations[plain_cloud].accuracy} and that of clients who compute for themselves, with the same shots,
{computations[local].accuracy}.

What it costs stands there too. Angles lie on a grid: one of 8 bits changes an output of the released models by
{computations[blind8].change} in the mean, one of 4 bits by {computations[blind4].change}. A run of the circuit takes
{computations[blind8].nodes} qubits, and half of the runs test the server. Read the paragraph on what tests cover before
relying on them: a majority vote, and not the expectation values that gradients are made of. The server that averages
updates sees what it always saw; its rows of Table 1 are what noise on updates is for.
""",
}

COMPARISON = """
## Several runs: {title}

[comparison.pdf](comparison.pdf) · {runs}

`qfl-sec report {folders}` sets runs side by side, the first being what the others are compared with. Read the second
table first: it lists every key in which the experiments differ, and here they differ in many, so that a change of
success cannot be laid to any one of them. Without a defense the curious server's `gradient_inversion` rebuilt
{rebuilt}. The changes are {changes}; one is shown where its interval leaves out zero.

The column “How” says what the interval of a change rests on. “Paired” means that both runs asked about the same
records: same data, same split, same seeds, as found in their transcripts; trial by trial where the trials are the
same, else seed by seed. “Unpaired” takes the runs as independent samples, which is wider. Verdicts stand as in each
run's own report; nothing is averaged, and no run is called the best. The last list of the document says how far these
runs can be compared at all.
"""


def comparison_facts(comparison: Comparison) -> dict[str, str]:
    """Return what the text quotes of a comparison."""
    line = next(
        one for one in comparison.lines
        if (one.level, one.adversary, one.attack) == ("undefended", "server", "gradient_inversion")
    )  # fmt: skip
    rebuilt = [f"{w.count(one.success)} records in `{one.run}`" for one in line.entries if one.success is not None]
    changes = [
        f"{w.change(one.contrast.difference)} points ({w.change(one.contrast.low)} to {w.change(one.contrast.high)}, "
        f"{one.contrast.kind}) in `{one.run}`"
        for one in line.entries
        if one.contrast is not None
    ]
    return {
        "title": w.listed(f"`{one.name}`" for one in comparison.runs),
        "runs": "runs " + ", ".join(f"`{one.run_id[:8]}`" for one in comparison.runs),
        "folders": " ".join(f"runs/{one.name}" for one in comparison.runs),
        "rebuilt": w.listed(rebuilt),
        "changes": w.listed(changes) or "none that could be drawn",
    }


def page(results: Mapping[str, bytes], comparison: bytes) -> str:
    """Return the gallery's page.

    Args:
        results: The bytes of `results.json` of every example.
        comparison: The bytes of `comparison.json`.
    """
    parts = [HEAD]
    for name in EXAMPLES:
        known = facts(results[name])
        link = f"[{name}.pdf]({name}.pdf) · `examples/{name}.toml` · run `{known.run}`"
        parts.append(f"\n## {known.title}\n\n{link}\n{TEXTS[name].format_map(vars(known))}")
    read = parse_json(Comparison, comparison, source="comparison.json")
    parts.append("\n" + COMPARISON.format_map(comparison_facts(read)))
    return _filled("".join(parts))


def _filled(text: str) -> str:
    """Break the lines of each paragraph anew: numbers are of any length."""
    blocks = []
    for block in text.split("\n\n"):
        # Numbers hold their thousands together with narrow spaces, which must stay.
        words, lines = [word for word in re.split("[ \n]", block) if word], [""]
        if block.lstrip().startswith("#"):
            blocks.append(" ".join(words))
            continue
        for word in words:
            if lines[-1] and len(lines[-1]) + 1 + len(word) > 120:
                lines.append("")
            lines[-1] = f"{lines[-1]} {word}".strip()
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks).strip() + "\n"


def attached(path: Path, name: str) -> bytes:
    """Return a file that a PDF carries."""
    return bytes(pypdf.PdfReader(path).attachments[name][0])


def written_page() -> str:
    """Return the page that belongs to the PDFs that lie here."""
    results = {name: attached(HERE / f"{name}.pdf", "results.json") for name in EXAMPLES}
    return page(results, attached(HERE / "comparison.pdf", "comparison.json"))


def _command(*arguments: str) -> None:
    program = Path(sys.executable).with_name("qfl-sec")
    subprocess.run([str(program), *arguments], cwd=ROOT, check=True)


def build(runs: str) -> None:
    """Audit every example, compare some of them, and write the gallery.

    Args:
        runs: Folder of the runs, from the repository's root.
    """
    for name in EXAMPLES:
        _command("audit", f"examples/{name}.toml", "--out", f"{runs}/{name}")
    _command("report", *(f"{runs}/{name}" for name in COMPARED), "--out", f"{runs}/comparison")
    collect(runs)


def collect(runs: str) -> None:
    """Take the reports out of their runs, and write the page.

    Args:
        runs: Folder of the runs, from the repository's root.
    """
    for name in EXAMPLES:
        (HERE / f"{name}.pdf").write_bytes((ROOT / runs / name / "report.pdf").read_bytes())
    (HERE / "comparison.pdf").write_bytes((ROOT / runs / "comparison" / "comparison.pdf").read_bytes())
    PAGE.write_text(written_page(), encoding="utf-8")
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    build(sys.argv[1] if len(sys.argv) > 1 else "runs")
