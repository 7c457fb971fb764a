import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sample_results as sample

from qfl_sec import provenance
from qfl_sec.checking import InputError


def test_environment_names_this_process() -> None:
    found = provenance.collect_environment("qfl-sec audit x.toml")
    assert found.command == "qfl-sec audit x.toml"
    assert found.python == ".".join(map(str, sys.version_info[:3]))
    assert found.cores >= 1
    assert found.torch is not None
    assert found.commit is None or (len(found.commit) >= 40 and found.dirty is not None)


def test_collecting_imports_neither_torch_nor_pennylane() -> None:
    code = (
        "import sys; from qfl_sec.provenance import collect_environment; collect_environment('x');"
        "print(sorted({'torch', 'pennylane'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_commit_and_changes_come_from_the_checkout_that_holds_the_package(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert provenance._checkout(tmp_path) == (None, None)
    git("init", "-q")
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (tmp_path / "other.py").write_text("")
    git("add", "other.py")
    git("commit", "-q", "-m", "other")
    assert provenance._checkout(package) == (None, None)
    git("add", ".")
    git("commit", "-q", "-m", "package")
    assert provenance._checkout(package) == (git("rev-parse", "HEAD"), False)
    (package / "__init__.py").write_text("changed = 1\n")
    assert provenance._checkout(package) == (git("rev-parse", "HEAD"), True)


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert provenance.collect_environment("x").commit is None


def test_files_survive_writing_and_reading(tmp_path: Path) -> None:
    provenance.write_environment(sample.environment(), tmp_path / "environment.json")
    provenance.write_timings(sample.timings(), tmp_path / "timings.json")
    assert provenance.read_environment(tmp_path / "environment.json") == sample.environment()
    assert provenance.read_timings(tmp_path / "timings.json") == sample.timings()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["environment.json", "timings.json"]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("cores", 0, "cores"),
        ("cores", "2", "cores"),
        ("dirty", 1, "dirty"),
        ("colour", "red", "unknown key colour"),
    ],
)
def test_a_changed_environment_is_refused(tmp_path: Path, key: str, value: object, said: str) -> None:
    path = tmp_path / "environment.json"
    provenance.write_environment(sample.environment(), path)
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(InputError, match=said):
        provenance.read_environment(path)


def test_negative_costs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "timings.json"
    provenance.write_timings(sample.timings(), path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "wall_seconds": -1.0}))
    with pytest.raises(InputError, match="wall_seconds"):
        provenance.read_timings(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"timings\.json: No such file"):
        provenance.read_timings(tmp_path / "timings.json")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.pdf"
    provenance.write_bytes(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"report\.pdf: cannot be written \(No space left on device\)\. Free"):
        provenance.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.pdf"]


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another folder"):
        provenance.write_bytes(tmp_path / "file" / "report.pdf", b"new")
