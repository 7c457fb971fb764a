import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pypdf
import pytest
import sample_results as sample

from qfl_sec.checking import InputError
from qfl_sec.provenance import write_environment, write_timings
from qfl_sec.reports import Document, document, write_report
from qfl_sec.results import Results, dumps, run_id

FONTS = {
    "SourceSansPro-Regular",
    "SourceSansPro-Semibold",
    "LibertinusSerif-Regular",
    "LibertinusSerif-Bold",
    "DejaVuSansMono",
}


def write(results: Results, folder: Path) -> Path:
    return write_report(dumps(results), sample.environment(), sample.timings(), folder)[0]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(sample.sample_results(), tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def reader(written: Path) -> pypdf.PdfReader:
    return pypdf.PdfReader(written)


def pages(path: Path) -> list[str]:
    return [page.extract_text() for page in pypdf.PdfReader(path).pages]


def flat(text: str) -> str:
    return " ".join(text.replace("\u200b", "").split())


def leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for child in value.values():
            yield from leaves(child)
    elif isinstance(value, list | tuple):
        for child in value:
            yield from leaves(child)


def made(results: Results) -> Document:
    return document(results, sample.environment(), sample.timings(), run_id=run_id(dumps(results)))


def test_the_template_has_no_words_with_numbers() -> None:
    source = (Path(__file__).parents[1] / "reports" / "report.typ").read_text()
    code = "\n".join(line.split("//")[0] if "https:" not in line else line for line in source.splitlines())
    # Content blocks are the only place from which the template itself could print a number.
    printed = re.findall(r"\[([^\[\]#]*)\]", code)
    assert printed
    assert [text for text in printed if re.search(r"\d", text) and "95%" not in text] == []


def test_first_page_shows_the_first_page(reader: pypdf.PdfReader) -> None:
    text = flat(reader.pages[0].extract_text())
    page = made(sample.sample_results()).decision
    for part in (page.title, page.headline, page.lead, page.bounded, page.subject, page.findings_caption):
        assert flat(part) in text
    for row in page.findings:
        for part in (row.question, row.adversary, row.evidence, row.figures, row.guarantee, row.verdict):
            assert flat(part) in text
    for line in page.budgets.groups[0].rows:
        assert flat(" ".join(line.cells)) in text
    assert "5 of 5 checks passed" in text
    assert "page 1 of" in text


def test_each_page_begins_where_it_should(reader: pypdf.PdfReader) -> None:
    texts = [flat(page.extract_text()) for page in reader.pages]
    starts = (
        "Attack success against privacy budget",
        "What the verdicts rest on",
        "Measurements and reproduction",
        "Appendix: each attack in detail",
    )
    assert all(start in text for start, text in zip(starts, texts[1:], strict=False))
    assert all("SAMPLE, invented numbers" in text for text in texts)
    assert "Figure 2" in texts[1]
    assert "Words used in verdicts" in texts[2]
    assert "Reproduce this report" in texts[3]
    assert "page 3" in texts[0]


def test_the_file_carries_its_data_byte_for_byte(reader: pypdf.PdfReader) -> None:
    assert reader.attachments["results.json"] == [dumps(sample.sample_results())]


def test_only_the_named_fonts_are_used_and_embedded(reader: pypdf.PdfReader) -> None:
    found = set()
    for page in reader.pages:
        for entry in page["/Resources"]["/Font"].values():  # type: ignore[index]
            inner = entry.get_object()["/DescendantFonts"][0].get_object()
            descriptor = inner["/FontDescriptor"].get_object()
            assert any(key in descriptor for key in ("/FontFile2", "/FontFile3"))
            found.add(inner["/BaseFont"].split("+")[1].removesuffix("-Identity-H"))
    assert found <= FONTS
    assert {"SourceSansPro-Regular", "LibertinusSerif-Regular", "DejaVuSansMono"} <= found


def _elements(node: Any) -> Iterator[Any]:
    node = node.get_object() if hasattr(node, "get_object") else node
    if isinstance(node, list):
        for child in node:
            yield from _elements(child)
    elif isinstance(node, dict):
        if "/S" in node:
            yield node
        if "/K" in node:
            yield from _elements(node["/K"])


def test_a_screen_reader_finds_title_language_headings_and_the_figures_trend(reader: pypdf.PdfReader) -> None:
    root = reader.trailer["/Root"]
    assert root["/Lang"] == "en"  # type: ignore[index]
    assert root["/MarkInfo"]["/Marked"]  # type: ignore[index]
    assert root["/ViewerPreferences"]["/DisplayDocTitle"]  # type: ignore[index]
    metadata = root["/Metadata"].get_data().decode()  # type: ignore[index]
    assert "<pdfaid:part>3</pdfaid:part>" in metadata
    assert "<pdfuaid:part>1</pdfuaid:part>" in metadata
    assert "2026-11-21" in metadata
    elements = list(_elements(root["/StructTreeRoot"]))  # type: ignore[index]
    kinds = [element["/S"] for element in elements]
    levels = [int(kind[2:]) for kind in kinds if re.fullmatch(r"/H\d", kind)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    figures = [element for element in elements if element["/S"] == "/Figure"]
    page = made(sample.sample_results()).budget
    assert page.checks is not None
    assert [flat(figure["/Alt"]) for figure in figures] == [flat(page.figures[0].alt), flat(page.checks.alt)]
    assert kinds.count("/TH") > 20


def test_the_same_json_gives_the_same_bytes_in_another_process(written: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    write_report(dumps(sample.sample_results()), sample.environment(), sample.timings(), source, ("json",))
    write_environment(sample.environment(), source / "environment.json")
    write_timings(sample.timings(), source / "timings.json")
    code = (
        "import sys; from pathlib import Path; from qfl_sec.provenance import read_environment, read_timings;"
        "from qfl_sec.reports import write_report; a = Path(sys.argv[1]);"
        "write_report((a / 'results.json').read_bytes(), read_environment(a / 'environment.json'),"
        "read_timings(a / 'timings.json'), Path(sys.argv[2]), ('pdf',))"
    )
    other = {**os.environ, "TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "123", "LC_ALL": "C", "HOME": str(tmp_path)}
    command = [sys.executable, "-c", code, str(source), str(tmp_path / "out")]
    subprocess.run(command, check=True, env=other, cwd=tmp_path)
    twin = (tmp_path / "out" / "report.pdf").read_bytes()
    assert hashlib.sha256(twin).hexdigest() == hashlib.sha256(written.read_bytes()).hexdigest()


def test_five_hundred_measurements_fit(tmp_path: Path) -> None:
    results = sample.sample_results()
    some = [entry for entry in results.measurements if entry.success is not None]
    many = tuple(replace(some[index % len(some)], attack=f"attack_{index // len(some):02d}") for index in range(500))
    # The header repeats on every page of the table.
    texts = pages(write(replace(results, measurements=(*results.measurements, *many[:140])), tmp_path))
    assert sum("Found / members" in text for text in texts) >= 2
    texts = pages(write(replace(results, measurements=(*results.measurements, *many)), tmp_path))
    assert len(texts) < 12
    assert any("further rows are in the attached results.json" in text for text in texts)


def full_page() -> Results:
    """Return nine rows, long words, and findings of every kind."""
    results = sample.audited_at(sample.sample_results(), "none")
    words = {e.id: "Is this record of that person in the data?" for e in results.questions}
    rows = [entry for entry in results.verdicts if entry.setting == "none"]
    return replace(
        results,
        subject=replace(results.subject, title="A long title " * 12, model_summary="a long summary of a model " * 5),
        questions=tuple(replace(e, label=words[e.id]) for e in results.questions),
        adversaries=tuple(replace(e, label="a curious server that keeps everything") for e in results.adversaries),
        verdicts=tuple(rows * 4),
    )


@pytest.mark.parametrize(
    "results",
    [
        full_page(),
        sample.audited_at(sample.sample_results(), "none"),
        sample.without_dp(sample.sample_results()),
        sample.all_failed(sample.sample_results()),
        sample.nothing_measured(replace(sample.sample_results(), date=None)),
    ],
    ids=["full", "undefended", "no-dp", "failed", "nothing"],
)
def test_the_decision_stands_on_one_page(results: Results, tmp_path: Path) -> None:
    first, second, *_ = pages(write(results, tmp_path))
    assert "checks passed" in first
    assert "Attack success" in second


def test_unknown_formats_and_folders_are_the_users_mistakes(tmp_path: Path) -> None:
    data = dumps(sample.sample_results())
    with pytest.raises(InputError, match="docx"):
        write_report(data, sample.environment(), sample.timings(), tmp_path, ("docx",))  # type: ignore[arg-type]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_report(data, sample.environment(), sample.timings(), tmp_path / "file", ("json",))
    with pytest.raises(InputError, match="not valid JSON"):
        write_report(b"{", sample.environment(), sample.timings(), tmp_path)
    with pytest.raises(InputError, match="not UTF-8"):
        write_report(data.decode().encode("utf-16"), sample.environment(), sample.timings(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_no_place_for_temporary_files_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(InputError, match=r"absent: cannot be written .*TMPDIR"):
        write(sample.sample_results(), tmp_path / "out")
