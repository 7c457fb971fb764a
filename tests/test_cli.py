import errno
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qfl_sec import __version__, experiment, plugins
from qfl_sec.cli import main
from qfl_sec.cli.errors import TRACEBACK, describe
from qfl_sec.cli.progress import shown
from qfl_sec.runner import Progress

ROOT = Path(__file__).parent.parent
TINY = """
[federation]
clients = 2
clients_per_round = 2
rounds = 2

[model]
layers = 1

[[attacks]]
name = "update_membership"

[run]
seeds = [0]
"""
PLUGIN = """
from dataclasses import dataclass
from typing import ClassVar
from qfl_sec.contracts import Defense

@dataclass(frozen=True, kw_only=True)
class Rounding(Defense):
    \"\"\"Round updates to a grid.\"\"\"

    name: ClassVar[str] = "rounding"
    step: float = 0.1

    def update(self, updates, *, round, generator):
        return (updates / self.step).round() * self.step
"""

Answer = tuple[int, str, str]
Call = Callable[..., Answer]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run the command line in this process; return its status and what it printed."""
    monkeypatch.setattr(plugins, "_registry", plugins._Registry())

    def run(*arguments: object) -> Answer:
        status = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def qfl_sec(*arguments: object, cwd: Path) -> Answer:
    """Run the command line as a process of its own."""
    code = "import sys; from qfl_sec.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *(str(argument) for argument in arguments)]
    run = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    return run.returncode, run.stdout, run.stderr


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    """A tiny audit by the command line, with a plug-in file, in a folder of its own."""
    folder = tmp_path_factory.mktemp("audited")
    (folder / "tiny.toml").write_text(TINY + '[[defenses]]\nname = "rounding"\n')
    (folder / "mine.py").write_text(PLUGIN)
    answer = qfl_sec("audit", "tiny.toml", "--plugin", "mine.py", "--workers", 1, "--json", cwd=folder)
    return folder, answer


@pytest.fixture
def copied(audited: tuple[Path, Answer], tmp_path: Path) -> Path:
    """A copy of that folder for a test to change."""
    return Path(shutil.copytree(audited[0], tmp_path / "copied"))


def test_help_is_quick_and_loads_no_heavy_library() -> None:
    heavy = ("torch", "pennylane", "pydantic", "matplotlib", "sklearn", "scipy", "numpy")
    code = (
        "import sys; from qfl_sec.cli import main; main(['--help']); main(['audit', '--help']);"
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=10)
    assert run.stderr.strip() == "[]"
    for command in ("audit", "train", "attack", "report", "verify", "verify-plugin", "protocol", "list", "init"):
        assert f" {command} " in run.stdout


def test_the_bare_name_shows_help_and_the_version_is_the_packages(call: Call) -> None:
    assert call()[0] == 0
    assert call("--version") == (0, f"{__version__}\n", "")


WRONG = {
    "no command": (["audti"], "No such command 'audti'"),
    "no file": (["audit"], "Missing argument 'EXPERIMENT.toml'. See `qfl-sec audit --help`."),
    "no such option": (["audit", "x.toml", "--ot", "x"], "--ot"),
    "no workers": (["audit", "x.toml", "--workers", "0"], "'--workers': 0"),
    "workers in words": (["audit", "x.toml", "--workers", "many"], "'--workers': 'many'"),
    "engine": (["audit", "x.toml", "--engine", "cluster"], "--engine cluster: unknown. Expected: local or ray."),
    "missing file": (["audit", "absent.toml"], "absent.toml: no such file"),
    "folder": (["audit", "."], ".: not a file"),
    "no plug-in": (["audit", "x.toml", "--plugin", "absent.py"], "Plug-in absent.py: not a Python file"),
    "train without out": (["train", "x.toml"], "Missing option '--out'"),
    "attack on nothing": (["attack", "absent"], "absent"),
    "report on nothing": (["report", "absent"], "absent/results.json: no such file"),
    "report without runs": (["report"], "Missing argument"),
    "kind": (["list", "atacks"], "Unknown kind 'atacks'. Expected one of: attacks, "),
    "init into nothing": (["init", "absent/x.toml"], "absent/x.toml: its folder does not exist"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_users_mistake_gives_one_message_and_status_2(
    case: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.toml").write_text("")
    arguments, expected = WRONG[case]
    status, out, err = call(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("Error: ")
    assert expected in err
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[federation]\nclients = 0\n", "[federation]: Expected clients=0 >= 1."),
        ("[federation]\nround = 3\n", "unknown key round. Did you mean 'rounds'?"),
        ("[[defenses]]\nname = 'dp_sgd'\nepsilon = -1\n", "epsilon=-1"),
        ("[model]\nqubits = 9\n", "qubits=9"),
        ("[federation\n", "not valid TOML"),
    ],
)
@pytest.mark.parametrize("command", ["audit", "train"])
def test_a_wrong_experiment_is_refused_before_anything_is_written(
    command: str, text: str, expected: str, call: Call, tmp_path: Path
) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    status, out, err = call(command, path, "--out", tmp_path / "run")
    assert (status, out) == (2, "")
    assert f"{path}" in err
    assert expected in err
    assert not (tmp_path / "run").exists()


def test_a_change_that_is_wrong_is_named(call: Call, tiny: Path) -> None:
    status, _, err = call("audit", tiny, "--set", "federation.round=5")
    assert status == 2
    assert "--set federation.round=5: unknown key round. Did you mean 'rounds'?" in err


def test_a_plugin_that_fails_on_import_is_the_users_mistake(call: Call, tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("import no_such_module_anywhere\n")
    for arguments in (("audit", tiny), ("list",), ("train", tiny, "--out", tmp_path / "run")):
        status, out, err = call(*arguments, "--plugin", path)
        assert (status, out) == (2, "")
        assert "broken.py: fails on import in line 1 with ModuleNotFoundError" in err


def test_init_writes_the_default_example_and_overwrites_nothing(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    assert call("init", path) == (0, f"{path}\n", "")
    written = experiment.load(path)
    example = experiment.load(ROOT / "examples" / "breast_cancer.toml")
    same = replace(example, report=written.report, tolerances=written.tolerances)
    assert written == same
    assert written.report.audited == example.report.audited
    defaults = {name: table for name, table in tomllib.loads(path.read_text()).items() if isinstance(table, dict)}
    shown = tomllib.loads(experiment.dumps(experiment.Experiment()))
    for name in ("data", "model", "federation", "channel", "compute", "tolerances", "run"):
        assert defaults[name] == shown[name]
    path.write_text("mine")
    status, _, err = call("init", path)
    assert status == 2
    assert "exists already" in err
    assert path.read_text() == "mine"


def test_init_in_an_empty_folder_takes_a_name_of_its_own(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("init") == (0, "experiment.toml\n", "")


def test_list_as_json_has_every_kind_with_its_parameters(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    status, out, err = call("list", "--json", "--plugin", tmp_path / "mine.py")
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert list(found) == ["attacks", "defenses", "protocols", "datasets", "models"]
    assert [entry["name"] for entry in found["defenses"]] == [*plugins.BUILT_IN["defense"], "rounding"]
    assert found["defenses"][-1] == {
        "name": "rounding",
        "description": "Round updates to a grid",
        "parameters": {"step": {"type": "float", "default": 0.1}},
    }
    assert [entry["name"] for entry in found["attacks"]] == [*plugins.BUILT_IN["attack"]]
    assert [entry["name"] for entry in found["datasets"]] == ["breast_cancer", "digits", "iris", "wine", "file"]
    assert found["datasets"][1]["parameters"]["classes"]["default"] == [3, 8]
    assert found["models"][0]["parameters"]["layers"] == {"type": "int", "default": 3}
    assert [entry["name"] for entry in found["protocols"]] == ["bb84", "two_step_qsdc", "one_step_qsdc", "blind"]


def test_list_prints_a_table_or_one_kind(call: Call) -> None:
    status, out, _ = call("list")
    assert status == 0
    assert all(word in out for word in ("gradient_inversion", "dp_sgd", "breast_cancer", "two_step_qsdc"))
    assert list(json.loads(call("list", "models", "--json")[1])) == ["models"]


def test_a_dry_run_writes_nothing(call: Call, tiny: Path, tmp_path: Path) -> None:
    status, out, err = call("audit", tiny, "--dry-run", "--json", "--out", tmp_path / "run", "--workers", 2)
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert found["trainings"] == {"total": 3, "reused": 0}
    assert found["cells"] == {"total": 2, "reused": 0}
    assert found["seconds"] > 0
    assert found["memory_bytes"] > 1 << 20
    changed = ("--set", 'sweep."model.layers"=[1, 2]', "--set", "run.seeds=[0, 1]")
    status, out, _ = call("audit", tiny, "--dry-run", "--out", tmp_path / "run", *changed)
    assert "trainings  12, 0 of them reused" in out
    assert "cells      8, 0 of them reused" in out
    assert not (tmp_path / "run").exists()


def test_an_audit_ends_with_one_json_object_and_a_whole_folder(audited: tuple[Path, Answer]) -> None:
    folder, (status, out, err) = audited
    assert status == 0, err
    answer = json.loads(out)
    run = folder / "runs" / "tiny"
    assert answer["folder"] == "runs/tiny"
    assert answer["files"] == ["runs/tiny/report.pdf", "runs/tiny/report.html", "runs/tiny/results.json"]
    assert answer["cells"] == {"total": 4, "reused": 0, "failed": 0}
    assert answer["trainings"] == {"total": 4, "reused": 0, "failed": 0}
    assert answer["results"] == json.loads((run / "results.json").read_bytes())
    assert (run / "report.pdf").read_bytes().startswith(b"%PDF-")
    assert {"experiment.toml", "results.sqlite", "environment.json", "timings.json", "transcripts"} <= {
        path.name for path in run.iterdir()
    }
    assert "[0/8] reused 0 of " in err
    assert "[8/8] " in err
    assert "Cells: reused 0 of 4, 0 failed." in err
    assert "\x1b" not in err, "no terminal codes into a file"


def test_the_written_experiment_is_the_resolved_one(
    audited: tuple[Path, Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "_registry", plugins._Registry())
    folder, _ = audited
    plugins.load_file(folder / "mine.py")
    resolved = folder / "runs" / "tiny" / "experiment.toml"
    assert experiment.load(resolved) == experiment.load(folder / "tiny.toml")
    assert "learning_rate = 1.0" in resolved.read_text()
    assert "step = 0.1" in resolved.read_text()


def test_run_again_everything_is_reused_and_the_bytes_are_the_same(
    copied: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copied)
    run = copied / "runs" / "tiny"
    before = {name: (run / name).read_bytes() for name in ("results.json", "experiment.toml")}
    status, out, err = call("audit", "tiny.toml", "--plugin", "mine.py")
    assert (status, out) == (0, "runs/tiny/report.pdf\n")
    assert "Cells: reused 4 of 4, 0 failed." in err
    assert {name: (run / name).read_bytes() for name in before} == before


def test_train_and_attack_work_on_the_same_folder(copied: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copied)
    status, out, err = call("train", "tiny.toml", "--plugin", "mine.py", "--out", "runs/tiny", "--json")
    assert status == 0
    assert json.loads(out)["trainings"] == {"total": 4, "reused": 4, "failed": 0}
    assert "Trainings: reused 4 of 4, 0 failed." in err
    (copied / "runs" / "tiny" / "report.pdf").unlink()
    status, out, _ = call("attack", "runs/tiny", "--attack", "update_membership", "--plugin", "mine.py", "--json")
    assert status == 0
    assert json.loads(out)["cells"] == {"total": 4, "reused": 4, "failed": 0}
    assert (copied / "runs" / "tiny" / "report.pdf").exists()


def test_attack_refuses_an_unknown_attack_and_a_run_without_its_plugin(
    copied: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copied)
    status, _, err = call("attack", "runs/tiny")
    assert status == 2
    assert "'rounding'" in err
    status, _, err = call("attack", "runs/tiny", "--plugin", "mine.py", "--attack", "update_membreship")
    assert status == 2
    assert "Did you mean 'update_membership'?" in err


def test_report_writes_the_same_report_again(copied: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copied)
    before = Path("runs/tiny/report.pdf").read_bytes()
    status, out, err = call("report", "runs/tiny", "--format", "pdf", "--format", "json", "--out", "again")
    assert (status, err) == (0, "")
    assert out == "again/report.pdf\nagain/results.json\n"
    assert Path("again/report.pdf").read_bytes() == before
    assert Path("again/results.json").read_bytes() == Path("runs/tiny/results.json").read_bytes()


def test_report_sets_several_runs_side_by_side(copied: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copied)
    shutil.copytree("runs/tiny", "elsewhere/tiny")
    status, out, _ = call("report", "runs/tiny", "elsewhere/tiny", "--format", "json", "--out", "both")
    assert (status, out) == (0, "both/comparison.json\n")
    runs = json.loads(Path("both/comparison.json").read_text())["runs"]
    assert [run["name"] for run in runs] == ["tiny", "tiny (2)"]


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[1]", b"\xff"])
def test_report_refuses_damaged_results(
    content: bytes, copied: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copied)
    Path("runs/tiny/results.json").write_bytes(content)
    status, out, err = call("report", "runs/tiny")
    assert (status, out) == (2, "")
    assert "results.json: " in err
    status, _, err = call("report", "runs/tiny", "--format", "docx")
    assert status == 2


def test_a_failing_cell_gives_status_1_and_its_reason(
    copied: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qfl_sec import executors, workbench

    monkeypatch.setattr(workbench, "LocalExecutor", lambda *_: executors.InlineExecutor())
    body = PLUGIN.replace("return (updates", "raise RuntimeError('no grid today')\n        return (updates")
    (copied / "mine.py").write_text(body)
    run = copied / "runs" / "tiny"
    status, out, err = call(
        "audit", copied / "tiny.toml", "--plugin", copied / "mine.py", "--out", run, "--workers", 1, "--json"
    )
    assert status == 1, err
    answer = json.loads(out)
    assert answer["trainings"] == {"total": 4, "reused": 3, "failed": 1}
    assert answer["cells"] == {"total": 4, "reused": 2, "failed": 2}
    assert "RuntimeError: no grid today" in answer["failures"][0]
    assert "failed: training rounding" in err
    assert "Run the same command again" in err


HOSTILE = """
import os
from dataclasses import dataclass
from typing import ClassVar
from qfl_sec.contracts import Defense

print("on import")
os.system("echo from a process")

class Odd(BaseException): ...

@dataclass(frozen=True, kw_only=True)
class Hostile(Defense):
    name: ClassVar[str] = "hostile"
    how: str

    def update(self, updates, *, round, generator):
        print("at work")
        if self.how == "odd":
            raise Odd("at odds")
        return updates[:, :1] if self.how == "shape" else updates * (float("nan") if self.how == "nan" else 0.5)
"""


def test_a_hostile_plugin_spoils_its_own_cells_and_nothing_else(tiny: Path) -> None:
    (tiny.parent / "mine.py").write_text(HOSTILE)
    defenses = 'defenses=[{name="hostile", how=["nan", "odd", "shape", "fine"]}]'
    audited = 'report.audited={name="hostile", how="fine"}'
    changes = ("--set", defenses, "--set", audited, "--set", "model={name='mlp_classifier'}")
    arguments = ("audit", "tiny.toml", "--plugin", "mine.py", *changes, "--workers", 2, "--json")
    status, out, err = qfl_sec(*arguments, cwd=tiny.parent)
    assert status == 1, err
    answer = json.loads(out)
    assert answer["trainings"] == {"total": 7, "reused": 0, "failed": 3}
    assert answer["cells"]["failed"] == 6
    reasons = "\n".join(answer["failures"])
    assert "global_weights holds numbers that are not finite" in reasons
    assert "Odd: at odds" in reasons and "update hook returned torch.float64 of shape (2, 1)" in reasons
    assert "on import" in err and "from a process" in err and "at work" in err
    assert "Traceback" not in err and "\x1b" not in err
    assert Path(tiny.parent, "runs", "tiny", "report.pdf").is_file()


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), 2, "runs/x: No space left on device. Free some"),
        (PermissionError(errno.EACCES, "Permission denied", "runs/x"), 2, "runs/x: Permission denied. Change its"),
        (OSError(errno.EROFS, "Read-only file system", "/mnt"), 2, "/mnt: Read-only file system. Choose a place"),
        (OSError(errno.EIO, "Input/output error"), 2, "a file of this run: Input/output error. Check the place"),
        (KeyError("layers"), 1, "qfl-sec itself has failed, not your input: KeyError: 'layers'."),
        (RuntimeError(), 1, "RuntimeError: no message"),
    ],
)
def test_every_failure_has_its_message_and_status(
    error: Exception, status: int, expected: str, call: Call, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.delenv(TRACEBACK, raising=False)
    monkeypatch.setattr(experiment, "load", fail)
    found, out, err = call("audit", tiny)
    assert (found, out) == (status, "")
    assert expected in err
    assert "Traceback" not in err
    assert (TRACEBACK in err) == (status == 1)


def test_a_traceback_is_there_for_the_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRACEBACK, "1")
    message, status = describe(KeyError("layers"))
    assert status == 1
    assert "KeyError: 'layers'\n" in message


PROGRESS = Progress(trainings_done=3, trainings=8, cells_done=2, cells=9, failed=0, message="[bold] is no markup")


@pytest.mark.parametrize("told", [True, False])
def test_an_interrupted_run_says_what_is_kept(
    told: bool, call: Call, tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from qfl_sec import workbench

    def interrupted(*_: Any, progress: Callable[[Progress], None], **__: Any) -> None:
        if told:
            progress(PROGRESS)
        raise KeyboardInterrupt

    monkeypatch.setattr(workbench, "run_audit", interrupted)
    status, out, err = call("audit", tiny, "--out", tmp_path / "run")
    assert (status, out) == (130, "")
    kept = "3 of 8 trainings and 2 of 9 cells are kept" if told else "what was there is kept"
    assert f"{kept} in {tmp_path / 'run'}. Run the same command again to go on." in err


def test_ctrl_c_before_the_work_begins(call: Call, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "load", interrupted)
    assert call("audit", tiny) == (130, "", "Interrupted.\n")


def test_a_terminal_gets_a_bar_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with shown(tmp_path) as listen:
        listen(PROGRESS)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "5/17" in printed.err
    assert "time left" in printed.err
    assert "[bold] is no markup" in printed.err
