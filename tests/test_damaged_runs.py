"""Run folders with missing, foreign, newer or damaged files: a clear message or an honest report, nothing else."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import sample_results as sample
import torch

from qfl_sec import plugins
from qfl_sec.cli import main
from qfl_sec.contracts import Attack, Knowledge, MembershipScores, Question, Scores, UpdatesView, View
from qfl_sec.experiment import parse
from qfl_sec.provenance import write_environment, write_timings
from qfl_sec.results import dumps
from qfl_sec.run_folder import open_run_folder
from qfl_sec.workbench import run_audit

TITLE = "A title of two hundred characters " * 6
EXPERIMENT: dict[str, Any] = {
    "federation": {"clients": 2, "clients_per_round": 2, "rounds": 1, "batch_size": 2},
    "model": {"name": "mlp_classifier"},
    "attacks": [{"name": "update_membership"}],
    "report": {"title": TITLE[:200]},
    "run": {"seeds": [0]},
}


@dataclass(frozen=True, kw_only=True)
class AlwaysFails(Attack):
    """An attack that never ends well."""

    name: ClassVar[str] = "always_fails"
    question: ClassVar[Question] = "membership"
    requires: ClassVar[tuple[type[View], ...]] = (UpdatesView,)

    def run(self, view: View, knowledge: Knowledge, *, generator: torch.Generator) -> Scores:
        if knowledge.candidates is None:
            return MembershipScores(values=torch.zeros(0))
        raise RuntimeError("no luck today")


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "audited"
    run_audit(parse(EXPERIMENT, "test"), out=folder, inline=True, command="qfl-sec audit test.toml")
    return folder


@pytest.fixture
def run(audited: Path, tmp_path: Path) -> Path:
    return shutil.copytree(audited, tmp_path / "run")


def refused(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must say one thing, end with status 2 and leave the folder as it is; return the message."""
    before = sorted(path.name for path in folder.rglob("*")) if folder.is_dir() else []
    status = main([command, str(folder)])
    said = capsys.readouterr()
    assert status == 2, said
    assert said.out == ""
    assert said.err.startswith("Error: ")
    assert "Traceback" not in said.err
    assert "itself has failed" not in said.err
    assert len(said.err) < 1500
    assert (sorted(path.name for path in folder.rglob("*")) if folder.is_dir() else []) == before
    return said.err


def edited(name: str, **changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))

    return change


def written(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def removed(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def cut(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return change


def _a_folder(folder: Path) -> None:
    (folder / "results.json").unlink()
    (folder / "results.json").mkdir()


BOTH: dict[str, tuple[Callable[[Path], None], str]] = {
    "no results": (removed("results.json"), "results"),
    "results are a folder": (_a_folder, "results"),
    "empty results": (written("results.json", b""), "not valid JSON"),
    "half of the results": (cut("results.json"), "not valid JSON"),
    "another encoding": (written("results.json", '{"ä": 1}'.encode("utf-16")), "not UTF-8"),
    "a list": (written("results.json", b"[1, 2]"), "no results of qfl-sec"),
    "somebody else's": (written("results.json", b'{"metrics": {"auc": 0.5}}'), "no results of qfl-sec"),
    "nested": (written("results.json", b"[" * 100_000), "not valid JSON"),
    "newer schema": (edited("results.json", schema="qfl-sec/report-2"), "schema = 'qfl-sec/report-2'. Expected"),
    "unknown key": (edited("results.json", colour="red"), "unknown key colour"),
    "a missing part": (edited("results.json", measurements=None), "measurements"),
    "a number as text": (edited("results.json", seeds=["0"]), "seeds"),
    "no number": (
        written("results.json", b'{"schema": "qfl-sec/report-1", "seeds": [NaN]}'),
        "Expected a finite number",
    ),
    "no environment": (removed("environment.json"), "environment.json"),
    "no timings": (removed("timings.json"), "timings.json"),
    "half of the environment": (cut("environment.json"), "not valid JSON"),
    "another environment": (edited("environment.json", cores=0), "cores"),
    "another timing": (edited("timings.json", wall_seconds=-1.0), "wall_seconds"),
}


@pytest.mark.parametrize("command", ["report", "verify"])
@pytest.mark.parametrize("damage", BOTH)
def test_both_commands_name_what_is_wrong(
    run: Path, damage: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, said = BOTH[damage]
    change(run)
    assert said in refused(command, run, capsys)


@pytest.mark.parametrize("command", ["report", "verify"])
def test_what_is_no_folder_of_a_run_is_named(tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for name in ("file", "empty", "nowhere", "n" * 200):
        assert name in refused(command, tmp_path / name, capsys)


def _statement(text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with sqlite3.connect(folder / "results.sqlite") as database:
            database.execute(text)
        database.close()

    return change


def _other_database(folder: Path) -> None:
    (folder / "results.sqlite").unlink()
    _statement("CREATE TABLE songs (name TEXT)")(folder)


def _training(folder: Path) -> Path:
    key = json.loads((folder / "results.json").read_bytes())["trainings"][0]["key"]
    return folder / "transcripts" / key[:16]


def in_training(change: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda folder: change(_training(folder))


STORED: dict[str, tuple[Callable[[Path], None], str]] = {
    "no store": (removed("results.sqlite"), "results.sqlite: missing or empty"),
    "empty store": (written("results.sqlite", b""), "results.sqlite: missing or empty"),
    "no database": (written("results.sqlite", b"hello" * 1000), "not a readable store"),
    "half of the store": (cut("results.sqlite"), "not a readable store"),
    "somebody else's store": (_other_database, "not a store of qfl-sec"),
    "newer store": (_statement("PRAGMA user_version = 99"), "schema version 99. Expected 1"),
    "no table": (_statement("DROP TABLE cells"), "not a readable store"),
    "no experiment": (removed("experiment.toml"), "experiment.toml: no such file"),
    "no TOML": (written("experiment.toml", b"[[["), "not valid TOML"),
    "unknown attack": (written("experiment.toml", b'[[attacks]]\nname = "nobody"\n'), "nobody"),
    "no transcript": (in_training(shutil.rmtree), "cannot be read"),
    "no truth": (in_training(removed("truth.safetensors")), "truth.safetensors"),
    "half of a truth": (in_training(cut("truth.safetensors")), "not possible"),
    "half of a transcript": (in_training(cut("tensors.safetensors")), "not possible"),
    "newer transcript": (in_training(edited("metadata.json", version="qfl-sec/transcript-9")), "not possible"),
    "no metadata": (in_training(removed("metadata.json")), "metadata.json"),
}


@pytest.mark.parametrize("damage", STORED)
def test_stored_files_that_are_missing_or_damaged_are_named(
    run: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, said = STORED[damage]
    change(run)
    if said != "not possible":
        assert said in refused("verify", run, capsys)
        return
    # Its hash says that the file was changed, which is a finding; that nothing can be recomputed from it is told, too.
    assert main(["verify", str(run)]) == 1
    shown = capsys.readouterr().out
    assert "DIFFERS  transcripts/" in shown
    assert "not possible" in shown


def test_a_run_at_work_is_left_alone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_run_folder(run):
        assert "a run is at work in this folder" in refused("verify", run, capsys)


def sample_run(folder: Path, results: bytes) -> Path:
    folder.mkdir()
    (folder / "results.json").write_bytes(results)
    write_environment(sample.environment(), folder / "environment.json")
    write_timings(sample.timings(), folder / "timings.json")
    return folder


@pytest.mark.parametrize(
    "results", [sample.all_failed(sample.sample_results()), sample.nothing_measured(sample.sample_results())]
)
def test_without_a_finished_cell_the_report_is_written_and_says_so(results: Any, tmp_path: Path) -> None:
    folder = sample_run(tmp_path / "run", dumps(results))
    assert main(["report", str(folder)]) == 0
    assert (folder / "report.pdf").read_bytes().startswith(b"%PDF")


def test_names_of_two_hundred_characters_are_reported(tmp_path: Path) -> None:
    long = "n" * 200
    text = dumps(sample.sample_results()).decode().replace("update_membership", long)
    data = json.loads(text.replace("dp_sgd(epsilon=0.5)", "d" * 200))
    data["subject"]["dataset"] = data["subject"]["model"] = data["adversaries"][0]["label"] = long
    folder = sample_run(tmp_path / "run", json.dumps(data).encode())
    assert main(["report", str(folder)]) == 0
    assert (folder / "report.pdf").stat().st_size > 10_000


def _without_verdicts(data: dict[str, Any]) -> None:
    data["verdicts"] = []


def _better_verdict(data: dict[str, Any]) -> None:
    data["verdicts"][-1]["verdict"] = "within tolerance"


def _fewer_hits(data: dict[str, Any]) -> None:
    next(one for one in data["measurements"] if one["success"] and one["success"]["k"])["success"]["k"] = 0


@pytest.mark.parametrize("lie", [_without_verdicts, _better_verdict, _fewer_hits])
def test_no_report_is_written_of_verdicts_that_do_not_follow(
    lie: Callable[[dict[str, Any]], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = json.loads(dumps(sample.sample_results()))
    lie(data)
    folder = sample_run(tmp_path / "run", json.dumps(data).encode())
    assert "The file was changed or damaged" in refused("report", folder, capsys)


@pytest.mark.parametrize("attacks", [[], [AlwaysFails()]], ids=["no attack", "only failures"])
def test_a_run_without_results_of_attacks_is_reported_and_verified(
    attacks: list[Attack], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plugins, "_registry", plugins._Registry())
    plugins.use(attacks)
    experiment = replace(parse(EXPERIMENT, "test"), attacks=tuple(attacks))
    done = run_audit(experiment, out=tmp_path / "run", inline=True, command="qfl-sec audit test.toml")
    assert all(one.verdict == "open" for one in done.results.verdicts if one.evidence != "not visible")
    assert main(["report", str(tmp_path / "run")]) == 0
    assert main(["verify", str(tmp_path / "run")]) == 0
    assert "everything agrees" in capsys.readouterr().out
