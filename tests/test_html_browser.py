"""The page in a browser: what a reader does with it, and what it never does."""

import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pypdf
import pytest
import sample_results as sample
from test_html import HOSTILE, flat, hostile, leaves, written

from qfl_sec.reports import document
from qfl_sec.reports.html_budgets import sentences
from qfl_sec.results import dumps, run_id

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install 'qfl-sec[dev]'")
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for path in map(shutil.which, NAMES) if path is not None), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is missing (Debian: apt-get install chromium)")

MADE = document(
    sample.sample_results(), sample.environment(), sample.timings(), run_id=run_id(dumps(sample.sample_results()))
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(written(sample.sample_results()), encoding="utf-8")
    return path.as_uri()


class Tab:
    """A page in a tab, with everything that it asked for and said."""

    def __init__(self, browser: Any, address: str, *, width: int = 1100, scripts: bool = True) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900}, java_script_enabled=scripts)
        self.requests: list[str] = []
        self.said: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.stopped: list[tuple[str, str]] = []
        self.page.on("requestfailed", lambda request: self.stopped.append((request.url, request.failure)))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))
        self.page.goto(address)

    def close(self) -> None:
        self.page.close()


@pytest.fixture
def tab(browser: Any, address: str) -> Iterator[Tab]:
    """A tab that asks for the file alone and says nothing, whatever a test does in it."""
    opened = Tab(browser, address)
    yield opened
    assert opened.requests == [address]
    assert opened.said == []
    opened.close()


def test_the_slider_rewrites_the_sentence_by_arrow_keys(tab: Tab) -> None:
    said = sentences(MADE.decision.budgets)
    slider, sentence = tab.page.locator("#budget"), tab.page.locator("#sentence")
    assert sentence.get_attribute("aria-live") == "polite"
    assert flat(sentence.inner_text()) == flat(said[2][1])
    slider.focus()
    for key, index in (
        ("ArrowRight", 3),
        ("ArrowLeft", 2),
        ("ArrowLeft", 1),
        ("Home", 0),
        ("End", 6),
        ("ArrowRight", 6),
    ):
        tab.page.keyboard.press(key)
        assert flat(sentence.inner_text()) == flat(said[index][1])
        assert slider.get_attribute("aria-valuetext") == said[index][0]
        assert tab.page.locator(".budgets thead .chosen").inner_text() == MADE.decision.budgets.columns[index + 1].title


def test_the_filter_shows_one_adversary(tab: Tab) -> None:
    rows = tab.page.locator("#findings tbody tr")
    assert rows.count() == 3
    tab.page.locator("#adversary").focus()
    tab.page.get_by_label("Adversary").select_option("user of the released model")
    visible = [row.inner_text() for row in rows.all() if row.is_visible()]
    assert len(visible) == 1
    assert "user of the released model" in visible[0]
    assert tab.page.locator("#shown").inner_text() == "1 of 3 rows"
    # Paper has no filter: a printed report leaves nothing out.
    tab.page.emulate_media(media="print")
    assert [row.is_visible() for row in rows.all()] == [True] * 3
    assert not tab.page.locator("#adversary").is_visible()
    tab.page.emulate_media(media="screen")
    tab.page.get_by_label("Adversary").select_option("")
    assert [row.is_visible() for row in rows.all()] == [True] * 3


def column(table: Any, place: int) -> list[str]:
    """Return the texts of a column; a row that tells why there are no numbers has none."""
    return table.evaluate(  # type: ignore[no-any-return]
        "(t, place) => [...t.querySelectorAll('tbody tr:not(.group)')].map(r => r.cells[place]?.innerText ?? '')",
        place,
    )


def test_a_column_is_sorted_by_keyboard_and_back(tab: Tab) -> None:
    table = tab.page.locator("table.data.sortable").first
    before = column(table, 2)
    head = table.locator("thead th").nth(2)
    rates = [float(text.rstrip("%")) for text in before[:7]]
    assert rates != sorted(rates, reverse=True)
    head.locator("button").focus()
    tab.page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert [float(text.rstrip("%")) for text in column(table, 2)[:7]] == sorted(rates)
    tab.page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "descending"
    assert [float(text.rstrip("%")) for text in column(table, 2)[:7]] == sorted(rates, reverse=True)
    # Rows stay below the heading of their attack.
    assert "gradient" not in table.locator("tbody").first.inner_text()
    assert "update_membership" in table.locator("tbody").first.locator("tr").first.inner_text()
    tab.page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") is None
    assert column(table, 2) == before


def test_findings_are_sorted_by_severity_and_by_what_is_proven(tab: Tab) -> None:
    table = tab.page.locator("#findings")
    table.get_by_role("button", name="Guarantee").click()
    assert column(table, 3) == ["at most 2.5%", "at most 4.0%", "no formal guarantee"]
    table.get_by_role("button", name="Verdict").click()
    assert [text.strip() for text in column(table, 4)] == ["open", "within tolerance", "within tolerance"]
    assert table.locator("th[aria-sort]").count() == 1


def test_the_downloaded_data_are_the_results_byte_for_byte(tab: Tab) -> None:
    for button in tab.page.locator(".download").all():
        with tab.page.expect_download() as waiting:
            button.click()
        assert waiting.value.suggested_filename == "results.json"
        assert Path(waiting.value.path()).read_bytes() == dumps(sample.sample_results())


@pytest.mark.parametrize("width", [320, 400, 768])
def test_no_sideways_scroll_on_narrow_screens(browser: Any, address: str, width: int) -> None:
    opened = Tab(browser, address, width=width)
    opened.page.evaluate("document.fonts.ready.then(() => 0)")
    assert opened.page.evaluate("document.documentElement.scrollWidth") == width
    # What is wider scrolls in its own frame, which the keyboard reaches.
    frames = opened.page.evaluate(
        "[...document.querySelectorAll('.frame')].map(f => [f.scrollWidth > f.clientWidth, f.tabIndex])"
    )
    assert all((place == 0) == wide for wide, place in frames)
    assert any(wide for wide, _ in frames) or width > 700
    assert opened.page.get_by_role("row").count() > 50
    assert opened.page.locator("#findings").get_by_role("cell").count() == 12
    opened.close()


def test_everything_is_there_without_scripts(browser: Any, address: str) -> None:
    opened = Tab(browser, address, scripts=False)
    text = flat(opened.page.locator("body").inner_text())
    parts = (MADE.decision.findings, MADE.decision.budgets, MADE.decision.do_next, MADE.decision.not_shown,
             MADE.budget.says, MADE.measurements.evidence, MADE.measurements.counts[:2], MADE.appendix)  # fmt: skip
    plain = [entry for part in parts for entry in leaves(part) if entry != "Other defenses"]
    assert [entry for entry in plain if flat(entry) not in text] == []
    assert flat(sentences(MADE.decision.budgets)[2][1]) in text
    for control in ("#budget", "#adversary", ".download"):
        assert not any(found.is_visible() for found in opened.page.locator(control).all())
    assert opened.requests == [address]
    opened.close()


def test_paper_shows_the_report_with_page_numbers(tab: Tab) -> None:
    tab.page.locator("#adversary").select_option("curious server")
    pages = pypdf.PdfReader(io.BytesIO(tab.page.pdf(prefer_css_page_size=True))).pages
    texts = [page.extract_text() for page in pages]
    assert flat(MADE.decision.headline) in flat(texts[0])
    assert flat(MADE.decision.findings[0].adversary) in flat(texts[0])
    assert flat(MADE.decision.box[0].text) in flat(texts[0])
    assert all("SAMPLE, invented numbers" in text for text in texts)
    assert f"page 2 of {len(texts)}" in texts[1]
    assert not any("Download" in text for text in texts)
    assert float(pages[0].mediabox.width) == pytest.approx(595, abs=1)


def test_the_policy_stops_what_a_stranger_would_load(browser: Any, address: str) -> None:
    opened = Tab(browser, address)
    opened.page.evaluate(
        """() => {
          for (const markup of ['<img src="http://127.0.0.1:9/a.png">', '<iframe src="http://127.0.0.1:9/"></iframe>',
            '<p onclick="document.title = 1" style="color: red">x</p>', '<style>body { color: red }</style>',
            '<link rel="stylesheet" href="http://127.0.0.1:9/a.css">'])
            document.querySelector("footer").insertAdjacentHTML("beforeend", markup);
          const script = document.createElement("script");
          script.textContent = "document.title = 'run'";
          document.body.append(script);
          document.querySelector("footer p[onclick]").click();
        }"""
    )
    opened.page.wait_for_timeout(200)
    asked = [url for url in opened.requests if url.startswith("http")]
    assert {url.rsplit(".", 1)[1] for url in asked} >= {"png", "css"}
    assert dict(opened.stopped) == dict.fromkeys(asked, "csp")
    assert opened.page.title().startswith("qfl-sec privacy audit")
    assert opened.page.evaluate("getComputedStyle(document.body).color") == "rgb(26, 26, 26)"
    assert len(opened.said) >= 5
    assert all("Content Security Policy" in text for text in opened.said)
    opened.close()


CONTRASTS = """() => {
  const light = (colour) => {
    const [r, g, b] = colour.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, a = 1] = parse(getComputedStyle(at).backgroundColor);
      if (a > 0) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *:not(script):not(svg *)")) {
    if (![...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
    const pair = [parse(getComputedStyle(element).color), ground(element)].map(light).sort((a, b) => b - a);
    found.push([(pair[0] + 0.05) / (pair[1] + 0.05), element.outerHTML.slice(0, 80)]);
  }
  return found;
}"""


def test_text_is_dark_on_light(tab: Tab) -> None:
    found = tab.page.evaluate(CONTRASTS)
    assert len(found) > 300
    assert [entry for entry in found if entry[0] < 4.5] == []


def test_the_report_is_set_in_its_own_font(tab: Tab) -> None:
    faces = tab.page.evaluate(
        "document.fonts.ready.then(() => [...document.fonts].map(f => [f.family, f.weight, f.status]))"
    )
    assert [(re.sub('"', "", family), weight, status) for family, weight, status in faces] == [
        ("Source Sans Pro", "400", "loaded"), ("Source Sans Pro", "600", "loaded"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["markup", "scripts", "long"])
def test_hostile_texts_stay_texts(browser: Any, tmp_path: Path, kind: str) -> None:
    results = hostile(sample.sample_results(), HOSTILE[kind])
    path = tmp_path / "report.html"
    path.write_text(written(results), encoding="utf-8")
    opened = Tab(browser, path.as_uri(), width=400)
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 400
    assert opened.page.locator("script").count() == 2
    assert opened.page.locator("h2", has_text="Do next").count() == 1
    assert opened.page.evaluate("JSON.parse(document.getElementById('results').textContent)") == dumps(results).decode()
    assert json.loads(dumps(results))["subject"]["title"] == HOSTILE[kind]
    opened.page.locator("#budget").press("Home")
    assert flat(opened.page.locator("#sentence").inner_text()).startswith("Atε=0.5")
    assert opened.requests == [path.as_uri()]
    assert opened.said == []
    opened.close()
