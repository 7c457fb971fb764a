"""What the documentation shows runs, and what it names exists."""

import importlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pypdf
import pytest
import sample_results as sample
import torch
import typer
from safetensors.torch import save_file

import qfl_sec
from qfl_sec import plugins, workbench
from qfl_sec.capture_folder import VERSION
from qfl_sec.cli import _app, main
from qfl_sec.cli.audit import write_reports
from qfl_sec.contracts import ADVERSARIES
from qfl_sec.experiment import Experiment, parse, place_files
from qfl_sec.federation import FederationSpec
from qfl_sec.reports import write_report
from qfl_sec.results import dumps
from qfl_sec.tables import SPECS, RunSpec

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
OPTIONAL = {"protocols.md", "comparing-runs.md", "verify.md", "gallery/README.md"}
"""Pages that the site does without where they are missing; the gallery's is written by a program."""

PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
NAVIGATION = re.findall(r"^ +- ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^|\n\n)((?:    [^\n]*(?:\n|$))+)")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    page: str
    language: str
    text: str


def text_of(page: str) -> str:
    return (DOCS / page).read_text()


def blocks(page: str, language: str) -> list[Block]:
    return [
        Block(page=page, language=found[1], text=found[2])
        for found in FENCE.finditer(text_of(page))
        if found[1] == language
    ]


def commands(page: str) -> list[list[str]]:
    """Return the words of each qfl-sec command in a page's shell blocks: indented ones, and those marked as shell."""
    text = text_of(page)
    shell = [found[2] for found in FENCE.finditer(text) if found[1] in ("sh", "bash", "shell", "console")]
    shell += INDENTED.findall(FENCE.sub("", text))
    lines = "\n".join(shell).replace("\\\n", " ").splitlines()
    found = [shlex.split(line.strip().removeprefix("$ "), comments=True) for line in lines if "qfl-sec " in line]
    return [words[words.index("qfl-sec") + 1 :] for words in found if "qfl-sec" in words]


COMMANDS = [(page, words) for page in [*PAGES, "../README.md"] for words in commands(page)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that holds what the pages assume: the examples, a file of one's own, a checkpoint, a plug-in."""
    for path in (ROOT / "examples").iterdir():
        if path.suffix in (".py", ".toml", ".csv"):
            shutil.copy(path, tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "patients.csv").write_text(
        "patient,name,age,dose,outcome,size,rate\n"
        + "\n".join(f"{i},p{i},{i % 71},{i % 13},{'ab'[i % 2]},{i % 7},{i % 29}" for i in range(400))
    )
    save_file({"weights": torch.zeros(3, 4, 3)}, tmp_path / "start.safetensors")
    (defense,) = [block.text for block in blocks("your-defense.md", "python") if "(Defense)" in block.text]
    (tmp_path / "my_defense.py").write_text(defense)
    (tmp_path / "first.toml").write_text(blocks("tutorial.md", "toml")[0].text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(plugins, "_registry", plugins._Registry())
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def small(experiment: Experiment, **options: Any) -> Any:
    """Audit the same model with a minimal federation."""
    federation = FederationSpec(clients=4, clients_per_round=2, rounds=1, batch_size=1)
    attacks = (plugins.get("attack", "update_membership")(),)
    experiment = replace(experiment, federation=federation, run=RunSpec(seeds=(0,)), attacks=attacks)
    return workbench.audit(experiment, **options)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python_blocks_run(
    page: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In order, in one namespace; what stands behind a printed line is what it prints. Audits are made small."""
    monkeypatch.setattr(qfl_sec, "audit", small, raising=False)
    module = ModuleType("__main__")
    for number, block in enumerate(blocks(page, "python")):
        path = folder / f"snippet_{number}.py"
        path.write_text(block.text)
        exec(compile(block.text, str(path), "exec"), module.__dict__)
        printed = capsys.readouterr().out
        for line in block.text.splitlines():
            shown = line.partition("  # ")[2] if line.startswith("print(") else ""
            assert shown in printed, line


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml") and page != "tutorial.md"])
def test_toml_blocks_are_experiments(page: str, folder: Path) -> None:
    """A package's declaration aside, which is read as TOML."""
    for block in blocks(page, "toml"):
        tables = tomllib.loads(block.text)
        if "project" not in tables:
            place_files(tables, folder)
            assert parse(tables, page).defenses


def test_the_captures_header_is_one(folder: Path) -> None:
    (block,) = blocks("captured-updates.md", "json")
    header = json.loads(block.text)
    place_files(header["experiment"], folder)
    assert header["version"] == VERSION
    assert parse(header["experiment"], "capture.json").federation.rounds == 10


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=[f"{page}: {' '.join(words)}" for page, words in COMMANDS])
def test_commands_can_be_given(page: str, words: list[str], folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Every option and argument is one; what an audit would do is estimated."""
    group: Any = typer.main.get_command(_app())
    if words[0] in ("--version", "--help"):
        assert main(words) == 0
        return
    command = group.get_command(click.Context(group), words[0])
    assert command is not None, words[0]
    if any(word.startswith("[-") for word in words):  # a synopsis
        named = set(re.findall(r"--[a-z-]+", " ".join(words)))
        assert named <= {option for one in command.params for option in one.opts}
        return
    command.make_context(words[0], list(words[1:]))
    if words[0] in ("list", "init"):
        assert main(words) == 0, capfd.readouterr().err
    if words[0] == "audit" and "ray" not in words:
        if not Path(words[1]).exists():
            assert main(["init", words[1]]) == 0
            Path(words[1]).write_text(Path(words[1]).read_text().replace("epsilon = [1, 2, 4, 8]", "epsilon = [4]"))
        assert main([*words, "--dry-run", "--set", "run.seeds=[0]"]) == 0, capfd.readouterr().err


def printed_text(pdf: Path) -> str:
    return flat(" ".join(page.extract_text() for page in pypdf.PdfReader(pdf).pages))


def flat(text: str) -> str:
    return " ".join(text.replace("\u200b", "").replace("\u202f", " ").replace("\xa0", " ").split())


def quotes(text: str) -> list[str]:
    return [flat(found.replace("\n>", " ")) for found in re.findall(r"^> (.*(?:\n> .*)*)", text, re.MULTILINE)]


def test_the_tutorial_tells_what_happens(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its two runs, in this process; its quotes are in the reports, its output lines are printed."""
    first, second = blocks("tutorial.md", "toml")
    texts = [block.text.strip() for block in blocks("tutorial.md", "text")]
    before, after = text_of("tutorial.md").split("## 5.")
    assert main(["audit", "first.toml", "--dry-run", "--workers", "1"]) == 0
    said = capfd.readouterr().out
    for lines, content, part in (
        (texts[1], first.text, before),
        (texts[2], first.text + second.text, after),
    ):
        assert texts[0] in said
        experiment = parse(tomllib.loads(content), "first.toml")
        done = workbench.run_audit(experiment, out=folder / "runs" / "first", inline=True)
        pdf, *_ = write_reports(done)
        run = done.summary
        assert lines.splitlines() == [
            f"Trainings: reused {run.trainings_reused} of {run.trainings}, {run.trainings_failed} failed.",
            f"Cells: reused {run.reused} of {run.total}, {run.failed} failed.",
            str(pdf.relative_to(folder)),
        ]
        shown = printed_text(pdf)
        assert len(quotes(part)) >= 3
        assert [quote for quote in quotes(part) if quote not in shown] == []
        assert [name for name in re.findall(r"\*\*(.+?)\*\*", part) if name not in shown] == []


def test_what_reading_a_report_names_is_printed_in_a_report(tmp_path: Path) -> None:
    pdf = write_report(dumps(sample.sample_results()), sample.environment(), sample.timings(), tmp_path, ("pdf",))[0]
    answers, words = text_of("reading-a-report.md").split("## Words")
    asked = re.findall(r"^\| (\d+)\. ", answers, re.MULTILINE)
    assert asked == [str(number) for number in range(1, 11)]
    named = re.findall(r"\*\*(.+?)\*\*", answers.partition("## ")[2])
    assert len(named) > 20
    shown = printed_text(pdf)
    assert [name for name in named if name not in shown] == []
    assert "Words used in verdicts" in words


@pytest.mark.parametrize("page", [*PAGES, "../README.md"])
def test_internal_links_lead_somewhere(page: str) -> None:
    for target in LINK.findall(FENCE.sub("", text_of(page))):
        place, _, anchor = target.partition("#")
        if "://" in place or place.startswith("mailto:"):
            continue
        found = ((DOCS / page).parent / place).resolve() if place else DOCS / page
        assert found.exists(), target
        if anchor and found.suffix == ".md":
            titles = re.findall(r"^#+ (.*)$", FENCE.sub("", found.read_text()), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, target


@pytest.mark.parametrize("page", ["theory/index.md", *[page for page in PAGES if page.startswith("theory/")]])
def test_modules_that_theory_names_exist(page: str) -> None:
    for name in re.findall(r"`(qfl_sec(?:\.\w+)+)`", text_of(page)):
        parent, _, last = name.rpartition(".")
        assert hasattr(importlib.import_module(parent), last) or importlib.util.find_spec(name), name


def test_every_adversary_has_its_row() -> None:
    for adversary in ADVERSARIES:
        assert f"| `{adversary}`" in text_of("theory/threat-model.md")


def hook(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"hook_{name}", DOCS / "hooks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_has_every_key_and_every_command() -> None:
    generated = hook("generated")
    keys = generated.on_page_markdown(text_of("reference/experiment-file.md"))
    assert "{{" not in keys
    for name, spec in SPECS.items():
        assert f"`[{name}]`" in keys
        for field in fields(spec):
            assert not field.init or f"| `{field.name}` |" in keys, field.name
    assert "Share of the records kept for measuring accuracy" in keys
    listed = generated.on_page_markdown(text_of("reference/command-line.md"))
    group: Any = typer.main.get_command(_app())
    for name, command in group.commands.items():
        assert f"## `qfl-sec {name}`" in listed
        for option in (one for one in command.params if one.name != "help"):
            assert option.param_type_name != "option" or option.opts[0] in listed


def test_missing_pages_leave_the_navigation() -> None:
    navigation = hook("navigation")
    tree = ["a.md", {"One": ["b.md", {"Two": ["c.md"]}]}, {"Named": "d.md"}]
    assert navigation.pages(tree) == ["a.md", "b.md", "c.md", "d.md"]
    assert navigation.without(tree, ["c.md", "d.md"]) == ["a.md", {"One": ["b.md"]}]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built in strict mode: any broken link or reference fails it."""
    for needed in ("mkdocs", "material", "mkdocstrings", "latex2mathml"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed: pip install -e '.[docs]'")
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(target)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return target


def test_the_navigation_has_every_page_and_no_other() -> None:
    assert len(NAVIGATION) == len(set(NAVIGATION)) > 30
    assert set(NAVIGATION) - OPTIONAL <= set(PAGES)
    assert {page for page in PAGES if not page.startswith("gallery/")} <= set(NAVIGATION)


def test_the_site_has_every_page_fetches_nothing_and_draws_its_formulas(site: Path) -> None:
    for name in NAVIGATION:
        built = (site / re.sub(r"README\.md$", "index.md", name)).with_suffix(".html")
        assert built.exists() == (DOCS / name).exists(), name
    loads = re.compile(r"<(?:script|img|iframe|link)[^>]*\b(?:src|href)=[\"'](?:https?:)?//", re.IGNORECASE)
    formulas = 0
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert not loads.search(text), page
        assert "arithmatex" not in text, page
        formulas += text.count("<math")
    assert formulas > 80
    assert "fonts.googleapis" not in "".join(path.read_text() for path in site.rglob("*.css"))


def test_the_search_works_from_files_and_nothing_else_is_asked_for(site: Path) -> None:
    browser = shutil.which("chromium")
    if browser is None or importlib.util.find_spec("playwright") is None:
        pytest.skip("chromium or playwright is not installed: apt install chromium; pip install playwright")
    from playwright.sync_api import sync_playwright

    asked: list[str] = []
    said: list[str] = []
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = opened.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        for name in ("reference/experiment-file.html", "reference/python.html", "theory/ceilings.html"):
            page.goto((site / name).as_uri())
        page.click("input.md-search__input")
        page.keyboard.type("tolerances", delay=20)
        page.wait_for_selector(".md-search-result__item", timeout=10_000)
        opened.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
