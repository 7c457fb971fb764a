import base64
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sample_results as sample
from fontTools.ttLib import TTFont

from qfl_sec.checking import InputError
from qfl_sec.provenance import write_environment, write_timings
from qfl_sec.reports import document, html_pages, write_report
from qfl_sec.reports.html import render
from qfl_sec.reports.html_budgets import ACCURACY, FOUND, REBUILT, sentences
from qfl_sec.reports.html_figures import inline
from qfl_sec.reports.html_markup import Html, island, tag
from qfl_sec.reports.html_tables import sort_key
from qfl_sec.reports.sanitising import supported
from qfl_sec.reports.tables import Table
from qfl_sec.results import Results, dumps, run_id

VOID = {"meta", "link", "br", "wbr", "input"}
NOT_SHOWN = {"closing", "panels", "columns", "legend", "tone", "mark", "align", "fill", "axis_label", "address", "code"}


class Page(HTMLParser):
    """A page as a list of elements (name, attributes) and its texts; it refuses what is not well nested."""

    def __init__(self, content: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []
        self.pieces: list[str] = []
        self.raw: dict[str, list[str]] = {"style": [], "script": []}
        self.headings: list[int] = []
        self.feed(content)
        self.close()
        assert self.inside == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({key for key, _ in attrs}) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        if re.fullmatch(r"h\d", tag):
            self.headings.append(int(tag[1]))
        if tag in self.raw:
            self.raw[tag].append("")
        if tag not in VOID:
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.inside.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.inside and self.inside[-1] in self.raw:
            self.raw[self.inside[-1]][-1] += data
        elif "head" not in self.inside:
            self.pieces.append(data)

    @property
    def text(self) -> str:
        return flat("".join(self.pieces))

    def values(self, key: str) -> list[str]:
        return [attributes[key] or "" for _, attributes in self.elements if key in attributes]


def flat(text: str) -> str:
    """Return a text without any white space: elements beside each other have none between them."""
    return re.sub(r"[\s\u200b]", "", text)


def write(results: Results, folder: Path) -> Path:
    return write_report(dumps(results), sample.environment(), sample.timings(), folder, ("html",))[0]


def written(results: Results) -> str:
    data = dumps(results)
    return render(document(results, sample.environment(), sample.timings(), run_id=run_id(data)), data).decode()


@pytest.fixture(scope="module")
def content() -> str:
    return written(sample.sample_results())


@pytest.fixture(scope="module")
def page(content: str) -> Page:
    return Page(content)


def leaves(value: Any) -> Iterator[str]:
    """Return every string of a document that a reader sees, in its order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for child in value:
            yield from leaves(child)
    elif is_dataclass(value) and not (isinstance(value, Table) and not value.groups):
        for entry in fields(value):
            if isinstance(value, Table) or entry.name not in NOT_SHOWN:
                yield from leaves(getattr(value, entry.name))


def test_every_word_of_the_document_stands_in_the_page(page: Page) -> None:
    made = document(sample.sample_results(), sample.environment(), sample.timings(),
                    run_id=run_id(dumps(sample.sample_results())))  # fmt: skip
    attributes = " ".join(map(flat, page.values("aria-label")))
    # Headings of what this run has not, and what the top of the page says in two parts.
    elsewhere = {"Other defenses", made.decision.kicker}
    missing = [
        text
        for part in (made.decision, made.budget, made.measurements, made.appendix)
        for text in leaves(part)
        if flat(text) not in page.text and flat(text) not in attributes and text not in elsewhere
    ]
    assert missing == []
    assert [word for word in made.decision.legend if flat(word) not in page.text] == []
    assert sum(1 for _ in leaves(made)) > 300
    assert made.head.sample in made.decision.kicker
    assert flat(f"run {made.head.run} {made.head.sample}") in page.text


def test_chapters_stand_in_the_order_of_the_pdf(page: Page) -> None:
    made = document(sample.sample_results(), sample.environment(), sample.timings())
    decision, grounds = made.decision, made.measurements
    expected = (
        decision.title, decision.subject, decision.headline, decision.lead, decision.bounded, decision.findings_caption,
        decision.budgets.caption, "Do next", "Not shown here", decision.box[0].text, made.budget.title,
        made.budget.figures[0].caption, grounds.rests_on, grounds.promise, made.budget.words_title, grounds.title,
        grounds.counts[0].caption, "Reproduce this report", "Methods and sources", made.appendix.title,
    )  # fmt: skip
    places = [page.text.index(flat(text)) for text in expected]
    assert places == sorted(places)


def test_the_policy_allows_this_pages_style_and_script_and_nothing_else(page: Page) -> None:
    policy = next(attributes["content"] for name, attributes in page.elements if "http-equiv" in attributes)
    assert policy is not None

    def digest(content: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    data, script = page.raw["script"]
    assert rules == {
        "default-src": "'none'", "style-src": digest(page.raw["style"][0]), "script-src": digest(script),
        "font-src": "data:", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'",
    }  # fmt: skip
    assert len(page.raw["style"]) == 1
    assert json.loads(data)
    for word in ("fetch", "XMLHttpRequest", "import", "eval", "innerHTML", "WebSocket", "//"):
        assert word not in script
    assert set(re.findall(r"url\((.{5})", page.raw["style"][0])) == {"data:"}
    assert "@import" not in page.raw["style"][0]


def check_inert(page: Page) -> None:
    """Check that nothing in a page loads, runs or styles anything that is not the page's own."""
    assert Counter(name for name, _ in page.elements)["script"] == 2
    assert not {name for name, _ in page.elements} & {"img", "iframe", "object", "form", "foreignobject", "base"}
    for name, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on") or key in ("src", "style", "srcset", "action")]
        for key in ("href", "xlink:href"):
            if key in attributes:
                address = attributes[key] or ""
                assert address == "data:," if name == "link" else address.startswith(("#", "https://"))
                assert address.isascii()


def test_nothing_is_loaded_and_every_reference_is_found_once(page: Page) -> None:
    check_inert(page)
    names = Counter(page.values("id"))
    assert max(names.values()) == 1
    references = [value[1:] for value in page.values("href") if value.startswith("#")] + page.values("for")
    references += [
        found for _, attributes in page.elements for value in attributes.values()
        for found in re.findall(r"url\(#(.*?)\)", value or "")
    ]  # fmt: skip
    assert len(references) > 50
    assert set(references) <= set(names)


def test_headings_tables_and_drawings_speak_to_a_screen_reader(page: Page) -> None:
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(page.headings))
    made = document(sample.sample_results(), sample.environment(), sample.timings())
    images = [
        flat(attributes["aria-label"] or "") for _, attributes in page.elements if attributes.get("role") == "img"
    ]
    assert made.budget.checks is not None
    assert images == [flat(item.alt) for item in (made.budget.figures[0], made.budget.checks)]
    assert all(
        attributes.get("aria-hidden") == "true" or attributes.get("role") == "img" or attributes.get("class") == "free"
        for name, attributes in page.elements
        if name == "svg"
    )
    assert all("scope" in attributes for name, attributes in page.elements if name == "th")
    names = Counter(name for name, _ in page.elements)
    assert names["caption"] == names["table"] > 8
    numbers = [
        int(found) for found in re.findall(r"<caption><span><b>Table (\d+)</b>", written(sample.sample_results()))
    ]
    assert numbers == list(range(1, names["table"] + 1))


def embedded(page: Page) -> list[TTFont]:
    files = re.findall(r"base64,([^)]*)\)", page.raw["style"][0])
    return [TTFont(io.BytesIO(base64.b64decode(content))) for content in files]


def test_the_font_shows_every_character_of_the_page(page: Page) -> None:
    fonts = embedded(page)
    assert [font["OS/2"].usWeightClass for font in fonts] == [400, 600]
    shown = {ord(character) for character in "".join(page.pieces) if character not in "\n\u200b⁻"}
    for font in fonts:
        assert shown <= set(font.getBestCmap())
    assert len(shown) < len(supported()) / 4
    widths = {
        (font["OS/2"].usWeightClass, font["hmtx"][font.getBestCmap()[ord(d)]][0])
        for font in fonts
        for d in "0123456789"
    }
    assert len(widths) == 2


def test_the_same_json_gives_the_same_bytes_in_another_process(content: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_bytes(dumps(sample.sample_results()))
    write_environment(sample.environment(), tmp_path / "environment.json")
    write_timings(sample.timings(), tmp_path / "timings.json")
    code = (
        "import sys; from pathlib import Path; from qfl_sec.provenance import read_environment, read_timings;"
        "from qfl_sec.reports import write_report; a = Path(sys.argv[1]);"
        "write_report((a / 'results.json').read_bytes(), read_environment(a / 'environment.json'),"
        "read_timings(a / 'timings.json'), a, ('html',))"
    )
    other = {**os.environ, "TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "123", "LC_ALL": "C", "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=other, cwd=tmp_path)
    assert (tmp_path / "report.html").read_text() == content


def test_the_page_is_small_beside_its_data(content: str) -> None:
    data = Page(content).raw["script"][0]
    assert len(content) - len(data) < 260_000
    assert json.loads(data) == dumps(sample.sample_results()).decode()


@pytest.mark.parametrize(
    "text",
    ["</script><!--<script>", '{"a": "\\u003c \\\\u003c <&>"}\r\n\r', "\ufeff\u2028\u2029 東京 😀", "", "a" * 10_000],
    ids=["markup", "escapes", "scripts", "empty", "long"],
)
def test_data_come_back_character_for_character(text: str) -> None:
    made = Page(island("data", text))
    assert json.loads(made.raw["script"][0]) == text
    assert not set(made.raw["script"][0]) & set("<>&\r\n")
    assert made.raw["script"][0].isascii()


HOSTILE = {
    "markup": '</td></table><script>alert(1)</script><img src=x onerror=alert(1)> " onload=" \' &lt;b&gt; -->',
    "style": '}</style> @import url(//x) \\22 { } " ; */ /* \\',
    "controls": "\u202edesrever \u2066x\u2069 \ufeff \x00\x01\x1b[31m \x7f \x9f \ue000 \U000f0000 \u200d\u2028",
    "scripts": "東京 😀 שלום عربى ไทย 𝒜 e\u0301 \t\r\n ﷽ Ǽ \ud7ff ￿",
    "long": "x" * 10_000,
    "wordy": "word " * 2_000,
    "empty": "",
}
IDENTIFIERS = {
    "variant", "setting", "adversary", "question", "id", "schema", "date", "status", "verdict", "evidence", "attack",
}  # fmt: skip


def hostile(value: Any, text: str, path: str = "") -> Any:
    """Return a tree in which every string that a person or plug-in wrote is another one."""
    if isinstance(value, str):
        return value if path in IDENTIFIERS else text
    if isinstance(value, tuple):
        return tuple(hostile(child, text, path) for child in value)
    if is_dataclass(value) and not isinstance(value, type):
        names = [entry.name for entry in fields(value)]
        return replace(value, **{name: hostile(getattr(value, name), text, name) for name in names})
    return value


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_text_becomes_markup_style_or_script(kind: str, page: Page) -> None:
    results = hostile(sample.sample_results(), HOSTILE[kind])
    data = dumps(results)
    environment = hostile(sample.environment(), HOSTILE[kind])
    made = Page(render(document(results, environment, sample.timings()), data).decode())
    check_inert(made)
    assert json.loads(made.raw["script"][0]).encode() == data
    assert made.raw["script"][1] == page.raw["script"][1]
    assert {name for name, _ in made.elements} <= {name for name, _ in page.elements} | {"wbr"}
    assert "Donext" in made.text
    running = re.search(
        r"@page\{@top-left\{content:\"(?:\\[0-9a-f]{6})*\"\}@top-right\{content:\"", made.raw["style"][0]
    )
    assert running is not None
    assert not re.search("[\u0000-\u0008\u202a-\u202e\u2066-\u2069\ue000-\uf8ff]", "".join(made.pieces))


def test_markup_is_shown_as_typed() -> None:
    results = sample.sample_results()
    title = "<b>bold</b> & \"quoted\" &amp; 'single'"
    made = written(replace(results, subject=replace(results.subject, title=title)))
    assert flat(title) in Page(made).text
    assert "<b>bold" not in made


@pytest.mark.parametrize(
    "results",
    [
        sample.audited_at(sample.sample_results(), "none"),
        sample.without_dp(sample.sample_results()),
        sample.all_failed(sample.sample_results()),
        sample.nothing_measured(replace(sample.sample_results(), date=None)),
    ],
    ids=["undefended", "no-dp", "failed", "nothing"],
)
def test_poor_results_make_an_honest_page(results: Results) -> None:
    made = Page(written(results))
    check_inert(made)
    shown = document(results, sample.environment(), sample.timings())
    assert flat(shown.decision.headline) in made.text
    assert flat(shown.budget.nothing) in made.text
    targets = {value[1:] for value in made.values("href") if value.startswith("#")}
    assert targets <= set(made.values("id"))


def test_sentences_say_what_the_table_says() -> None:
    table = document(sample.sample_results(), sample.environment(), sample.timings()).decision.budgets
    labels = {row.cells[0] for row in table.groups[0].rows}
    # A row of another name would be missing from the sentences.
    assert labels == {*FOUND, *REBUILT, ACCURACY}
    said = dict(sentences(table))
    assert len(said) == len(table.columns) - 1
    plain = {
        key.replace("\u00a0", " "): value.replace("\u00a0", " ").replace("\u202f", " ") for key, value in said.items()
    }
    assert plain["ε = 2"] == (
        "At ε = 2 the attack finds 23 of 1 000 members while wrongly accusing 9 of 1 000 outsiders (at most 40 of "
        "1 000 by proof), and it rebuilds 0 of 1 000 records (at most 25 of 1 000 by proof). Accuracy on unseen "
        "records is 78%."
    )
    assert plain["no DP"] == (
        "With no DP the attack finds 568 of 1 000 members while wrongly accusing 9 of 1 000 outsiders (no formal "
        "guarantee), and it rebuilds 881 of 1 000 records (no formal guarantee). Accuracy on unseen records is 90%."
    )


def test_sentences_of_a_setting_without_results() -> None:
    table = document(sample.sample_results(), sample.environment(), sample.timings()).decision.budgets
    rows = tuple(replace(row, cells=(row.cells[0], *("–" for _ in row.cells[1:]))) for row in table.groups[0].rows)
    said = sentences(replace(table, groups=(replace(table.groups[0], rows=rows),)))
    assert said[-1] == ("no DP", "With no DP no attack was measured.")
    some = tuple(replace(row, cells=(row.cells[0], *("<1" for _ in row.cells[1:]))) for row in table.groups[0].rows[:2])
    said = sentences(replace(table, groups=(replace(table.groups[0], rows=some),)))
    assert "finds fewer than 1 of" in said[0][1]


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("20 / 1\u202f704", 20.0), ("<0.01", 0.01), ("−3.12", -3.12), ("+<0.01", 0.01), ("0.7–1.8", 0.7),
        ("a 8 (0.21)", 8.0), ("–", None), ("none", None), ("10⁻⁵", 1e-5), ("−2.5 × 10⁻³", -2.5e-3), ("12.5%", 12.5),
        ("not tested", None), ("1\u202f128\u202f000 / 2", 1128000.0), ("−1.25–0.3", -1.25),
    ],
)  # fmt: skip
def test_numbers_by_which_cells_are_sorted(cell: str, number: float | None) -> None:
    assert sort_key(cell, number_first=True) == number


def test_a_text_column_is_sorted_as_text_unless_it_names_settings() -> None:
    assert sort_key("Gradient clipped to norm 0.5", number_first=False) is None
    assert sort_key("classical model of equal size", number_first=False) is None
    assert sort_key("clip norm\u00a0=\u00a00.25", number_first=False) == 0.25


def test_markup_is_never_built_from_text() -> None:
    assert tag("p", "<i>", Html("<b>"), title='"') == '<p title="&quot;">&lt;i&gt;<b></p>'
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 1 1">'
        '<style>*{x:y}</style><g id="unused"><path id="a" d="M 0 0\nL 1 1" style="fill: url(#b); stroke: #fff"/></g>'
        '<use xlink:href="#a"/><text>&lt;b&gt;</text></svg>'
    )
    assert inline(svg, "f-", 'x "y"') == (
        '<svg viewBox="0 0 1 1" role="img" aria-label="x &quot;y&quot;" stroke-linejoin="round" stroke-linecap="butt">'
        '<path id="f-a" d="M 0 0 L 1 1" fill="url(#f-b)" stroke="#fff"></path><use href="#f-a"></use>'
        "<text>&lt;b&gt;</text></svg>"
    )


def test_a_page_that_cannot_be_made_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> str:
        raise RuntimeError("no drawing")

    monkeypatch.setattr(html_pages, "draw", fail)
    with pytest.raises(RuntimeError, match="no drawing"):
        write(sample.sample_results(), tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "report.html").mkdir()
    monkeypatch.undo()
    with pytest.raises(InputError, match="cannot be written"):
        write(sample.sample_results(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
