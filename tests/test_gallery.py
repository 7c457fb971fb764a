"""The gallery: its texts say what its reports say, and its reports are of the examples that are shipped."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sample_results as sample

from qfl_sec.experiment import load, setting_id
from qfl_sec.reports.comparison import Run, dumps
from qfl_sec.reports.comparison_lines import compare
from qfl_sec.results import dumps as dump_results
from qfl_sec.results import loads

ROOT = Path(__file__).parent.parent
GALLERY = ROOT / "docs" / "gallery"


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gallery_build", GALLERY / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gallery_build"] = module
    spec.loader.exec_module(module)
    return module


def paragraphs(text: str) -> list[list[str]]:
    """Return the paragraphs of each section, without its heading and its line of links."""
    sections = text.split("\n## ")[1:]
    return [section.strip().split("\n\n")[2:] for section in sections]


def test_the_page_is_the_one_that_its_reports_give(build: ModuleType) -> None:
    assert build.PAGE.read_text(encoding="utf-8") == build.written_page()


def test_every_example_has_two_paragraphs(build: ModuleType) -> None:
    found = paragraphs(build.PAGE.read_text(encoding="utf-8"))
    assert len(found) == len(build.EXAMPLES) + 1
    assert {len(section) for section in found} == {2}
    assert set(build.EXAMPLES) <= {path.stem for path in (ROOT / "examples").glob("*.toml")}


def counts(value: Any) -> set[tuple[int, int]]:
    """Return every k of n in plain data."""
    found = set()
    if isinstance(value, dict):
        if isinstance(value.get("k"), int) and isinstance(value.get("n"), int):
            found.add((value["k"], value["n"]))
        if "not_identifiable" in value:
            found.add((value["not_identifiable"], value["targets"]))
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        found |= counts(child)
    return found


def test_the_numbers_of_the_texts_are_those_of_the_stored_results(build: ModuleType) -> None:
    texts = paragraphs(build.PAGE.read_text(encoding="utf-8"))
    stored = [build.attached(GALLERY / f"{name}.pdf", "results.json") for name in build.EXAMPLES]
    stored.append(build.attached(GALLERY / "comparison.pdf", "comparison.json"))
    for content, section in zip(stored, texts, strict=True):
        rates = counts(json.loads(content))
        text = " ".join(section).replace("\u202f", "").replace("\n", " ")
        quoted = [(int(part), int(whole)) for part, whole in re.findall(r"(\d+) / (\d+)", text)]
        assert quoted
        assert set(quoted) <= rates
        shares = {round(100 * k / n, places) for k, n in rates if n for places in (0, 1)}
        for number in re.findall(r"(\d+(?:\.\d)?)% \(", text):
            assert float(number) in shares


def test_the_reports_are_of_the_examples_as_they_are(build: ModuleType) -> None:
    for name in build.EXAMPLES:
        results = loads(build.attached(GALLERY / f"{name}.pdf", "results.json"))
        experiment = load(ROOT / "examples" / f"{name}.toml")
        assert results.subject.title == experiment.report.title
        assert results.seeds == experiment.run.seeds
        assert [one.id for one in results.settings] == [setting_id(one) for one in experiment.defenses]


def test_the_comparison_is_of_the_reports_beside_it(build: ModuleType) -> None:
    compared = json.loads(build.attached(GALLERY / "comparison.pdf", "comparison.json"))
    own = {name: build.facts(build.attached(GALLERY / f"{name}.pdf", "results.json")).run for name in build.COMPARED}
    assert {run["name"]: run["run_id"][:8] for run in compared["runs"]} == own


def test_the_gallery_is_small(build: ModuleType) -> None:
    reports = len(build.EXAMPLES) + 1  # and the comparison
    assert sum(path.stat().st_size for path in GALLERY.glob("*") if path.is_file()) < 500_000 * reports


def test_texts_follow_the_results(build: ModuleType) -> None:
    first = sample.sample_results()
    content = dump_results(first)
    runs = [
        Run(name=name, results=content, found=first, keys={}, paired={}, unpaired_reason=None)
        for name in build.COMPARED
    ]
    results = dict.fromkeys(build.EXAMPLES, content)
    text = build.page(results, dumps(compare(runs)))
    assert "rebuilds 1\u202f128 / 1\u202f280 records" in " ".join(text.split("\n"))
    assert max(map(len, text.split("\n"))) <= 200
    assert "{" not in text
    other = dump_results(sample.audited_at(first, "none"))
    assert build.page(results | {"breast_cancer": other}, dumps(compare(runs))) != text
