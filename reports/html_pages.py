"""The report's chapters as sections of a page, in the order of the PDF's pages and with its words."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from qfl_sec.reports.chapters import Chapter
from qfl_sec.reports.check_figures import draw_checks
from qfl_sec.reports.checks import Checks
from qfl_sec.reports.display import Appendix, Budget, Decision, Document, Head, Measurements
from qfl_sec.reports.figures import draw
from qfl_sec.reports.html_budgets import slider
from qfl_sec.reports.html_figures import inline
from qfl_sec.reports.html_markup import Html, join, tag, text
from qfl_sec.reports.html_tables import data_table, findings_table, legend
from qfl_sec.reports.panels import Figure
from qfl_sec.reports.reproduction import Entry, Source
from qfl_sec.reports.sanitising import ZERO_WIDTH_SPACE
from qfl_sec.reports.sections import Section
from qfl_sec.reports.series_figures import draw_series
from qfl_sec.reports.series_panels import SeriesFigure
from qfl_sec.reports.tables import Table

CLOSING = "This page carries its data: results.json, byte for byte as the audit wrote it."
DOWNLOAD = "Download results.json"


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """The next number of a table and of a figure."""

    tables: Iterator[int] = field(default_factory=lambda: count(1))
    figures: Iterator[int] = field(default_factory=lambda: count(1))


def sections(document: Document) -> Html:
    """Return the report's chapters."""
    numbers = Numbers()
    return join(
        (
            _decision(document.decision, document.head, numbers),
            _budget(document.budget, numbers),
            _grounds(document.measurements, document.budget, numbers),
            _measurements(document.measurements, numbers, back=bool(document.decision.findings)),
            _appendix(document.appendix, document, numbers),
        )
    )


def _paragraph(words: str, class_: str | None = None) -> Html:
    return tag("p", words, class_=class_) if words else Html("")


def _decision(page: Decision, head: Head, numbers: Numbers) -> Html:
    kicker = page.kicker.removesuffix(f" · {head.sample}") if head.sample else page.kicker
    sample = tag("b", head.sample, class_="sample") if head.sample else ""
    rows = page.budgets.groups[0].rows if page.budgets.groups else ()
    return tag(
        "section",
        tag("p", f"{kicker} · run {head.run} ", sample, class_="kicker"),
        _paragraph(page.title, "title"),
        _paragraph(page.subject, "subject"),
        tag("h1", page.headline, class_=page.tone),
        _paragraph(page.lead, "lead"),
        _paragraph(page.bounded),
        _findings(page, numbers) if page.findings else "",
        join((data_table(page.budgets, next(numbers.tables), name="budgets"), slider(page.budgets))) if rows else "",
        tag(
            "div",
            tag("div", tag("h2", "Do next"), tag("ol", *(tag("li", step) for step in page.do_next))),
            tag("div", tag("h2", "Not shown here"), tag("ul", *(tag("li", gap) for gap in page.not_shown))),
            class_="columns",
        ),
        _entries(page.box, linked="#checks"),
    )


def _findings(page: Decision, numbers: Numbers) -> Html:
    return join(
        (
            _controls([row.adversary for row in page.findings]),
            findings_table(page, next(numbers.tables)),
            legend(page.legend),
            _paragraph(page.more, "note"),
        )
    )


def _controls(adversaries: Sequence[str]) -> Html:
    """Return the filter and the download, hidden where no script serves them."""
    known = list(dict.fromkeys(adversaries))
    options = (tag("option", "all", value=""), *(tag("option", name, value=name) for name in known))
    rows = f"{len(adversaries)} of {len(adversaries)} rows"
    chosen = (
        tag("label", "Adversary ", tag("select", *options, id="adversary")),
        tag("span", rows, id="shown", aria_live="polite"),
    )
    return tag("p", *(chosen if len(known) > 1 else ()), _download(), class_="controls scripted", hidden=True)


def _download() -> Html:
    return tag("button", DOWNLOAD, type="button", class_="download")


def _entries(entries: Sequence[Entry], *, linked: str = "") -> Html:
    """Return labelled lines; the last one's text is a link where one is given."""
    lines = []
    for index, entry in enumerate(entries):
        last = index + 1 == len(entries)
        words = tag("a", entry.text, href=linked) if linked and last else text(entry.text)
        parts = (words, tag("code", entry.code) if entry.code else "")
        lines.append(tag("div", tag("dt", entry.label), tag("dd", join((part for part in parts if part), " "))))
    return tag("dl", *lines, class_="box")


def _drawing(svg: str, figure: Figure | Checks | SeriesFigure, number: int) -> Html:
    framed = tag(
        "div", inline(svg, f"figure-{number}-", figure.alt), class_="frame drawing", role="region", tabindex="0",
        aria_label=f"Figure {number}",
    )  # fmt: skip
    return tag("figure", framed, tag("figcaption", tag("b", f"Figure {number}"), " ", figure.caption))


def _budget(page: Budget, numbers: Numbers) -> Html:
    drawn = [_drawing(draw(figure), figure, next(numbers.figures)) for figure in page.figures[:1]]
    says = (tag("li", tag("b", item.lead), " ", item.rest) for item in page.says)
    heard = (tag("h3", "What the figure says"), tag("ul", *says)) if page.says else ()
    checks = page.checks
    checked = () if checks is None else (
        tag("h3", checks.title), _drawing(draw_checks(checks), checks, next(numbers.figures)),
    )  # fmt: skip
    return tag("section", tag("h2", page.title), *drawn, _paragraph(page.nothing), *heard, *checked)


def _tables(tables: Iterable[Table], numbers: Numbers, *, sortable: bool = False, marks: bool = False) -> Html:
    """Return the tables that have rows."""
    return join(
        data_table(table, next(numbers.tables), sortable=sortable, marks=marks) for table in tables if table.groups
    )


def _grounds(page: Measurements, budget: Budget, numbers: Numbers) -> Html:
    sight, _, premises, checks = page.evidence
    sees, promised, instruments, _ = page.headings
    words = (tag("div", tag("dt", entry.label), tag("dd", entry.text)) for entry in budget.words)
    return tag(
        "section",
        tag("h2", page.rests_on),
        tag("h3", sees),
        _tables((sight,), numbers, marks=True),
        tag("h3", promised),
        _paragraph(page.promise),
        _tables((premises,), numbers),
        tag("h3", instruments, id="checks"),
        _tables((checks,), numbers),
        *((tag("h3", budget.words_title), tag("dl", *words, class_="words")) if budget.words else ()),
    )


def _measurements(page: Measurements, numbers: Numbers, *, back: bool) -> Html:
    """Return the success of every attack, and how to do it again. Accuracy and pairs follow in the appendix."""
    link = tag("a", page.back, href="#findings") if back else ""
    return tag(
        "section",
        tag("h2", page.title),
        _tables(page.counts[:-2], numbers, sortable=True),
        tag("h3", "Reproduce this report"),
        _entries(page.reproduction),
        tag("h3", "Methods and sources"),
        *(tag("p", tag("b", entry.label), ": ", entry.text, class_="method") for entry in page.methods),
        _cited(page.sources),
        tag("p", f"{CLOSING} ", link, class_="note"),
        tag("p", _download(), class_="scripted", hidden=True),
    )


def _cited(sources: Sequence[Source]) -> Html:
    return tag("p", join((_source(source) for source in sources), ". "), ".") if sources else Html("")


def _source(source: Source) -> Html:
    address = source.address.replace(ZERO_WIDTH_SPACE, "")
    name = tag("a", source.name, href=address, rel="noreferrer") if address else text(source.name)
    return join((source.text, " (", name, ")"))


def _appendix(page: Appendix, document: Document, numbers: Numbers) -> Html:
    others, accuracy = page.headings
    chapters = [_chapter(chapter, numbers) for chapter in page.chapters]
    sections = [_section(section, numbers) for section in page.sections]
    figures = [_drawing(draw(figure), figure, next(numbers.figures)) for figure in document.budget.figures[1:]]
    measurements = document.measurements
    further = _tables(measurements.counts[-2:], numbers, sortable=True)
    guarantees = _tables(measurements.evidence[1:2], numbers)
    return tag(
        "section",
        tag("h2", page.title),
        *chapters,
        *sections,
        *((tag("h3", others), *figures) if figures else ()),
        *((tag("h3", accuracy), further) if further else ()),
        *((tag("h3", measurements.headings[-1]), guarantees) if guarantees else ()),
    )


def _section(section: Section, numbers: Numbers) -> Html:
    tables = _tables(section.tables, numbers, sortable=True)
    drawing = section.figure
    drawn = "" if drawing is None else _drawing(draw_series(drawing), drawing, next(numbers.figures))
    return join((tag("h3", section.title), *(_paragraph(words) for words in section.says), tables, drawn))


def _chapter(chapter: Chapter, numbers: Numbers) -> Html:
    return join(
        (
            tag("h3", chapter.title),
            *(_paragraph(words) for words in (chapter.does, chapter.assumes, chapter.control)),
            _cited(chapter.sources),
            _tables(chapter.tables, numbers, sortable=True),
        )
    )
