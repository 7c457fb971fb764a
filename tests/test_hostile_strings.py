"""Text that others wrote, in every text field of a run's files: it neither breaks the PDF nor leaves the page."""

import dataclasses
import re
import shutil
import subprocess
import typing
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pypdf
import pytest
import sample_results as sample

from qfl_sec.provenance import Environment, Timings
from qfl_sec.reports import write_report
from qfl_sec.results import Results, dumps, loads

HOSTILE = {
    "markup": '#image("/etc/passwd") *b* _i_ $x^2$ <l> @r `c` \\ // /* [a] {b} = - + 1. ~ \' " #panic() </svg><script>',
    "unseen": "\u202edesrever\u202c \u2066x\u2069 \u200f\u061c \x00\x01\x1b[31m \x7f \x9f \u2028 \u2029 \t\r\n "
    "\ufeff\ue000\U000f0000\u200d\u200b\ufffe \uffff \ud7ff end",
    "scripts": "東京 😀 שלום عربى ไทย 𝒜 e\u0301 ﷽ Ǽ",
    "long": "W" * 10_000,
    "wordy": "word " * 2_000,
    "empty": "",
}

KEPT = {"date", "schema", "started"}
"""Fields that are no free text: they are checked on reading."""

IDENTIFIERS = {"id", "variant", "setting", "attack", "defense"}
"""Free text that other fields refer to: it keeps an end of its own, the same everywhere."""

REFERRED = {"Instrument.id", "Verdict.reason"}
"""Codes of fixed lists."""

BASELINES = ("classical", "centralised")


def texts(kind: type) -> Iterator[str]:
    """Yield the names of a file's free text fields, as Class.field, from its types."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        yield from _texts(hints[field.name], f"{kind.__name__}.{field.name}")


def _texts(hint: Any, name: str) -> Iterator[str]:
    if hint is str and name.partition(".")[2] not in KEPT:
        yield name
    elif dataclasses.is_dataclass(hint) and isinstance(hint, type):
        yield from texts(hint)
    elif typing.get_origin(hint) is not Literal:
        for part in typing.get_args(hint):
            yield from _texts(part, name)


FIELDS = sorted({name for kind in (Results, Environment, Timings) for name in texts(kind)})


def planted(value: Any, text: str, name: str = "") -> Any:
    """Return a tree with another text in every free text field."""
    if isinstance(value, str):
        if name not in FIELDS or name in REFERRED or value in BASELINES:
            return value
        return f"{text}{value}" if name.partition(".")[2] in IDENTIFIERS else text
    if isinstance(value, tuple):
        return tuple(planted(child, text, name) for child in value)
    if isinstance(value, dict):
        return {f"{text}{key}": text if isinstance(child, str) else child for key, child in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        changed = {one: planted(getattr(value, one), text, f"{type(value).__name__}.{one}") for one in names}
        return replace(value, **changed)
    return value


def written(text: str, folder: Path) -> Path:
    results: Results = planted(sample.sample_results(), text)
    environment: Environment = planted(sample.environment(), text)
    return write_report(dumps(results), environment, sample.timings(), folder, ("pdf",))[0]


def pages(path: Path) -> list[str]:
    return [" ".join(page.extract_text().split()) for page in pypdf.PdfReader(path).pages]


def test_every_text_field_of_the_files_is_found() -> None:
    assert {"Subject.title", "Instrument.result", "Premise.how", "FailedCell.reason", "Rate.method"} <= set(FIELDS)
    assert {"Environment.command", "Environment.processor", "GuaranteeEntry.mechanism", "Strength.unit"} <= set(FIELDS)
    assert {"AdversaryEntry.sees", "PairedDifference.shared", "Measurement.reason"} <= set(FIELDS)
    assert len(FIELDS) > 50


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("plain")
    return pages(
        write_report(dumps(sample.sample_results()), sample.environment(), sample.timings(), folder, ("pdf",))[0]
    )


@pytest.fixture(scope="module", params=HOSTILE.values(), ids=HOSTILE.keys())
def hostile(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(request.param, tmp_path_factory.mktemp("hostile"))


def test_no_text_changes_what_the_report_says(hostile: Path, plain: list[str]) -> None:
    shown = pages(hostile)
    for part in ("No finding lies above the agreed tolerance of 5%", "leak shown 2.3% (1.6–3.1)", "at most 4.0%"):
        assert part in plain[0]
        assert part in shown[0]
    for word in ("within tolerance", "tested only", "open", "no formal guarantee", "above tolerance"):
        # Each verdict's word stands as often as in the report of the same numbers, as far as no text adds to it.
        assert shown[0].count(word) >= plain[0].count(word)
    table = re.search(r"Members found, measured .* Do next", plain[0])
    assert table is not None
    assert table[0] in shown[0]
    starts = ("", "Attack success against privacy budget", "What the verdicts rest on", "Measurements and reproduction")
    assert all(start in page for start, page in zip(starts, shown, strict=False))
    assert "of 5 checks" in shown[0] or "5 of 5 checks passed" in shown[0]


def test_no_text_leaves_the_page(hostile: Path) -> None:
    poppler = shutil.which("pdftotext")
    if poppler is None:
        pytest.skip("needs poppler")
    boxes = subprocess.run([poppler, "-bbox", str(hostile), "-"], check=True, capture_output=True, text=True).stdout
    words = re.findall(r'<word xMin="([-\d.]+)" yMin="([-\d.]+)" xMax="([-\d.]+)" yMax="([-\d.]+)">(.*?)</word>', boxes)
    assert len(words) > 500
    left, right, header, bottom = 54.0, 595.3 - 54.0, 62.0, 842.0 - 20.0
    outside = [
        (word, x, top)
        for x, top, end, low, word in ((*map(float, found[:4]), found[4]) for found in words)
        # The title in the header is cut at the edge of its box, which the boxes of words do not tell.
        if top > header and not (left <= x and end <= right and low <= bottom)
    ]
    assert outside == []


def test_markup_is_printed_as_typed_and_the_attachment_keeps_the_raw_text(hostile: Path) -> None:
    reader = pypdf.PdfReader(hostile)
    (attached,) = reader.attachments["results.json"]
    title = loads(attached).subject.title
    assert title in HOSTILE.values()
    if title == HOSTILE["markup"]:
        assert '#image("/etc/passwd") *b* _i_ $x^2$ <l> @r `c`' in pages(hostile)[0]
