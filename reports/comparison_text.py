"""A comparison as ready strings: PDF and HTML print them as they are, so that both say the same."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date

from qfl_sec.checking import InputError
from qfl_sec.intervals import Rate
from qfl_sec.reports import wording as w
from qfl_sec.reports.comparison import AccuracyEntry, Comparison, Entry, Level, Line
from qfl_sec.reports.comparison_chart import Chart, chart
from qfl_sec.reports.comparison_contrast import Contrast
from qfl_sec.reports.comparison_notes import notes
from qfl_sec.reports.sanitising import cut, printable_tree
from qfl_sec.reports.tables import Column, Group, Row, Table

LONGEST = 60
"""Differing keys that are printed; more stand in `comparison.json`."""

UNDATED = date(1970, 1, 1)
"""The PDF's date where no run states one."""

TITLES: dict[Level, str] = {
    "audited": "At the audited setting of each run",
    "undefended": "Without a defense",
}


@dataclass(frozen=True, kw_only=True)
class Section:
    """One level of the comparison: its chart and its tables."""

    title: str
    chart: Chart | None
    tables: tuple[Table, ...]


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """The comparison: every word and number that a reader finds in it."""

    product: str
    title: str
    lead: str
    sample: str
    identifier: str
    schema: str
    date: str
    year: int
    month: int
    day: int
    runs: Table
    differing: Table
    sections: tuple[Section, ...]
    notes_title: str
    notes: tuple[str, ...]
    closing: str


def sheet(comparison: Comparison, identifier: str) -> Sheet:
    """Put a comparison into words.

    Args:
        comparison: What was found.
        identifier: sha256 of the bytes of `comparison.json`.

    Raises:
        InputError: If a run's date is no date.
    """
    levels = tuple(entry.level for entry in comparison.accuracies)
    days = [_day(run.date, run.name) for run in comparison.runs if run.date is not None]
    day = max(days, default=UNDATED)
    made = Sheet(
        product="qfl-sec comparison",
        title=f"{w.number_word(len(comparison.runs))} audits side by side",
        lead=" ".join(_lead(comparison)),
        sample="SAMPLE, invented numbers" if any(run.sample for run in comparison.runs) else "",
        identifier=identifier[:8],
        schema=f"schema {comparison.schema}",
        date=day.isoformat() if days else "no date stated",
        year=day.year,
        month=day.month,
        day=day.day,
        runs=_run_table(comparison),
        differing=_differing_table(comparison),
        sections=tuple(_section(comparison, level) for level in levels),
        notes_title="How far these runs can be compared",
        notes=notes(comparison),
        closing="Verdicts are those of each run's own report, unchanged. Differences are rates of a run minus rates of "
        "the first one. Everything that is shown here stands in comparison.json.",
    )
    shown = printable_tree(made)
    return replace(shown, sections=tuple(map(_as_drawn, shown.sections, made.sections)))


def _as_drawn(section: Section, raw: Section) -> Section:
    """Give a section back its drawing, whose words are printable already and whose markup must stay whole."""
    if section.chart is None or raw.chart is None:
        return section
    return replace(section, chart=replace(section.chart, svg=raw.chart.svg))


def _day(text: str, name: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"{name}: results.json: date = {text!r:.80}. Expected a day like 2026-11-01, or null."
        ) from None


def _lead(comparison: Comparison) -> Iterable[str]:
    """Yield the verdicts of each run in numbers of their own, then the largest difference that is shown."""
    lines = [line for line in comparison.lines if line.level == "audited"]
    above = []
    for index, run in enumerate(comparison.runs):
        own = {
            (line.question, line.adversary)
            for line in lines
            if line.entries[index].verdict == "above tolerance"
        }  # fmt: skip
        none = any(line.entries[index].verdict == "no verdict" for line in lines) or bool(run.failed_instruments)
        found = "no verdicts" if none else f"{w.plural(len(own), 'finding')} above its tolerance"
        above.append(f"{cut(run.name, 24)}: {found}")
    yield f"At the audited settings, {'; '.join(above)}."
    shown = [
        (abs(entry.contrast.difference), line, entry, entry.contrast)
        for line in lines
        for entry in line.entries
        if entry.contrast is not None and entry.contrast.shown
    ]
    first = cut(comparison.runs[0].name, 24)
    if not any(entry.contrast is not None for line in comparison.lines for entry in line.entries):
        yield "No attack's success could be compared."
    elif not shown:
        yield f"No attack's success is shown to differ from that in {first}."
    else:
        _, line, entry, contrast = max(shown, key=lambda one: one[0])
        bare = " without a defense" if line.level == "undefended" else ""
        yield (
            f"The largest difference from {first} that is shown: {cut(line.attack or '', 40)} by "
            f"{w.inside(w.subject(cut(line.adversary_label, 40)))} in {cut(entry.run, 24)}{bare}, "
            f"{_in_words(contrast)}."
        )


def _in_words(contrast: Contrast) -> str:
    """Write a difference with its interval and its kind: −3.10 points (95% interval −4.40 to −1.80, paired)."""
    ends = f"95% interval {w.change(contrast.low)} to {w.change(contrast.high)}"
    return f"{w.change(contrast.difference)} points ({ends}, {contrast.kind})"


def _run_table(comparison: Comparison) -> Table:
    rows = tuple(
        Row(
            cells=(
                cut(run.name, 24), cut(run.title, 70) or "untitled", cut(run.model_summary, 70), cut(run.dataset, 24),
                w.digits(run.data_fingerprint, 2), w.label(cut(run.setting, 26)), w.group(len(run.seeds)),
                w.digits(run.run_id, 2),
            )
        )
        for run in comparison.runs
    )  # fmt: skip
    titles = ("Run", "Title", "Model", "Data", "Data's hash", "Audited setting", "Seeds", "Run id")
    return Table(
        caption="The runs. The first is what the others are compared with.",
        columns=tuple(Column(title=title, align="right" if title == "Seeds" else "left") for title in titles),
        groups=(Group(title="", note="", rows=rows),),
    )


def _differing_table(comparison: Comparison) -> Table:
    known = [index for index, run in enumerate(comparison.runs) if run.name not in comparison.without_experiment]
    length = 60 if len(known) < 4 else 26
    rows = tuple(
        Row(
            cells=(
                cut(change.key, 44),
                *("–" if (text := change.values[index]) is None else cut(text, length) or "empty" for index in known),
            )
        )
        for change in comparison.differing[:LONGEST]
    )
    more = len(comparison.differing) - LONGEST
    return Table(
        caption="What differs between the resolved experiments; every key that is not listed is the same in all.",
        columns=tuple(
            Column(title=title, align="left")
            for title in ("Key", *(cut(comparison.runs[index].name, 24) for index in known))
        ),
        groups=(Group(title="", note="", rows=rows),) if rows else (),
        notes=(f"{w.group(more)} further keys stand in comparison.json.",) if more > 0 else (),
    )


def _section(comparison: Comparison, level: Level) -> Section:
    lines = [line for line in comparison.lines if line.level == level]
    accuracies = next(entry for entry in comparison.accuracies if entry.level == level)
    return Section(
        title=TITLES[level],
        chart=chart(lines, accuracies.entries),
        tables=(_success_table(lines), _accuracy_table(accuracies.entries)),
    )


def _success_table(lines: Sequence[Line]) -> Table:
    titles = (
        "Success / of", "Rate", "95% interval", "Control", "Ceiling", "Accuracy", "Change, points", "95% interval",
        "How",
    )  # fmt: skip
    return Table(
        caption="Success of each attack in each run, and its change against the first run in percentage points. "
        "Control: the same attack without signal. Ceiling: the most that the run's guarantee allows. Paired: over the "
        "same seeds and split; unpaired: as two independent samples.",
        columns=(
            *(Column(title=title, align="left") for title in ("Run", "Setting")),
            *(Column(title=title) for title in titles),
            *(Column(title=title, align="left") for title in ("Evidence", "Verdict of the run")),
        ),
        groups=(*(_group(line) for line in lines if line.attack is not None), *_unattacked(lines)),
    )


def _group(line: Line) -> Group:
    return Group(
        title=f"{cut(line.question_label, 50)} · {cut(line.adversary_label, 50)}",
        note=cut(line.attack or "", 50),
        rows=tuple(_row(line, entry) for entry in line.entries),
    )


def _unattacked(lines: Sequence[Line]) -> Iterable[Group]:
    """Yield one group of the questions that no run attacked; runs that say the same share a row."""
    rows: list[Row] = []
    for line in lines:
        said: dict[str, list[str]] = {}
        for entry in line.entries if line.attack is None else ():
            said.setdefault(_without_figures(entry), []).append(cut(entry.run, 24))
        for text, names in said.items():
            who = "all runs" if len(names) == len(line.entries) else cut(w.listed(names), 60)
            asked = f"{cut(line.question_label, 50)} · {cut(line.adversary_label, 50)}"
            rows.append(Row(cells=(who, f"{asked}: {text}")))
    if rows:
        yield Group(title="No attack", note="in any run", rows=tuple(rows))


def _without_figures(entry: Entry) -> str:
    status = "not asked" if entry.status == "absent" else entry.status
    verdict = f" Verdict of the run: {entry.verdict}." if entry.verdict is not None else ""
    return f"{status}: {w.inside(cut(entry.reason or 'no figure', 110))}.{verdict}"


def _row(line: Line, entry: Entry) -> Row:
    name, setting = cut(entry.run, 24), w.label(cut(entry.setting, 22))
    if entry.success is None or entry.success.n == 0:
        return Row(cells=(name, setting, _without_figures(entry)))
    alarm = 6 if entry.ceiling is None else -1
    cells = (
        name, setting, w.count(entry.success), _percent(entry.success),
        w.ends(entry.success.low, entry.success.high, table=True), _percent(entry.control),
        "none" if entry.ceiling is None else w.rate(entry.ceiling, table=True, up=True), _percent(entry.accuracy),
        *_contrast_cells(entry.contrast, entry.no_contrast), *_verdict_cells(line, entry),
    )  # fmt: skip
    return Row(cells=cells, alarm=alarm)


def _percent(rate: Rate | None) -> str:
    return w.rate(w.share(rate), table=True)


def _contrast_cells(contrast: Contrast | None, why: str | None) -> tuple[str, str, str]:
    """Return change, interval and how; of the first run and where there is none, why."""
    if contrast is None:
        return "–", "–", why or "first run"
    how: str = contrast.kind
    if contrast.trainings is not None:
        how += f", {w.plural(contrast.trainings, 'seed')}"
    return w.change(contrast.difference), f"{w.change(contrast.low)} to {w.change(contrast.high)}", how


def _verdict_cells(line: Line, entry: Entry) -> tuple[str, str]:
    if entry.verdict is None:
        return "–", "none given"
    if entry.evidence is None:
        return "–", f"rests on {cut(entry.rests_on or 'no attack', 30)}"
    return entry.evidence, entry.verdict


def _accuracy_table(entries: Sequence[AccuracyEntry]) -> Table:
    titles = ("Correct / records", "Accuracy", "95% interval", "Majority class", "Seeds", "Change, points",
              "95% interval", "How")  # fmt: skip
    rows = tuple(_accuracy_row(entry) for entry in entries)
    return Table(
        caption="Utility: accuracy on unseen records, and its change against the first run in percentage points.",
        columns=(
            *(Column(title=title, align="left") for title in ("Run", "Setting")),
            *(Column(title=title) for title in titles),
        ),
        groups=(Group(title="", note="", rows=rows),),
    )


def _accuracy_row(entry: AccuracyEntry) -> Row:
    name, setting = cut(entry.run, 24), w.label(cut(entry.setting, 22))
    if entry.accuracy is None or entry.accuracy.n == 0:
        return Row(cells=(name, setting, "no accuracy was measured."))
    cells = (
        name, setting, w.count(entry.accuracy), _percent(entry.accuracy),
        w.ends(entry.accuracy.low, entry.accuracy.high, table=True), _percent(entry.majority),
        w.group(entry.trainings), *_contrast_cells(entry.contrast, entry.no_contrast),
    )  # fmt: skip
    return Row(cells=cells)
