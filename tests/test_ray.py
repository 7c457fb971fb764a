"""The Ray engine: the same bytes as local processes, whoever dies on the way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from qfl_sec import ray_executor
from qfl_sec.checking import InputError
from qfl_sec.cli import main
from qfl_sec.store import Store

EXPERIMENT = """
[model]
name = "mlp_classifier"

[federation]
clients = 2
clients_per_round = 2
rounds = 2

[[attacks]]
name = "deadly"

[run]
seeds = [0, 1]
"""
DEADLY = '''
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from qfl_sec.contracts import Attack, MembershipScores, UpdatesView


@dataclass(frozen=True, kw_only=True)
class Deadly(Attack):
    """Guess, but die of it the first time where a file named bullet lies."""

    name: ClassVar[str] = "deadly"
    question: ClassVar[str] = "membership"
    requires: ClassVar = (UpdatesView,)

    def run(self, view, knowledge, *, generator):
        print("printed by a plug-in")
        try:
            Path("bullet").unlink()
        except FileNotFoundError:
            assert torch.get_num_threads() == 1
            scores = torch.rand(len(knowledge.candidates), generator=generator, dtype=torch.float64)
            return MembershipScores(values=scores)
        os.kill(os.getpid(), signal.SIGKILL)
'''


def test_without_the_extra_the_message_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    path = tmp_path / "small.toml"
    path.write_text('[[attacks]]\nname = "update_membership"\n')
    assert main(["audit", str(path), "--out", str(tmp_path / "run"), "--engine", "ray"]) == 2
    assert "pip install 'qfl-sec[cluster]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def audit(folder: Path, out: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """Audit in a process of its own, as from the command line."""
    code = "import sys; from qfl_sec.cli import main; sys.exit(main())"
    arguments = ["audit", "small.toml", "--plugin", "deadly.py", "--out", out, "--workers", "2", "--json", *options]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=180)


def test_ray_gives_the_bytes_of_local_processes_though_a_worker_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra cluster is not installed")
    (tmp_path / "small.toml").write_text(EXPERIMENT)
    (tmp_path / "deadly.py").write_text(DEADLY)
    local = audit(tmp_path, "local")
    assert local.returncode == 0, local.stderr
    (tmp_path / "bullet").touch()
    ray = audit(tmp_path, "ray", "--engine", "ray")
    assert ray.returncode == 0, ray.stderr
    assert not (tmp_path / "bullet").exists()
    assert (tmp_path / "ray" / "results.json").read_bytes() == (tmp_path / "local" / "results.json").read_bytes()
    assert json.loads(ray.stdout)["cells"] == {"total": 2, "reused": 0, "failed": 0}
    assert "printed by a plug-in" in ray.stderr
    with Store(tmp_path / "ray" / "results.sqlite") as store:
        assert len(store) == 2  # the cell that was started twice has one row
    spent = json.loads((tmp_path / "ray" / "timings.json").read_text())["cpu_seconds"]
    assert spent > 0.3 * json.loads((tmp_path / "local" / "timings.json").read_text())["cpu_seconds"]


CHECKS = """
import os, sys, time
from concurrent.futures import BrokenExecutor
from pathlib import Path
from qfl_sec.checking import InputError
from qfl_sec.executors import WorkerStartError
from qfl_sec.ray_executor import RayExecutor
import ray_tasks

here = Path.cwd()
pool = RayExecutor(1, (), here)
assert pool.capacity == 1
assert pool.submit(ray_tasks.double, 21).result() == 42
assert isinstance(pool.submit(ray_tasks.fail, "so it is").exception(), ZeroDivisionError)
assert isinstance(pool.submit(ray_tasks.die).exception(), BrokenExecutor)
assert pool.submit(ray_tasks.double, 4).result() == 8
assert pool.submit(ray_tasks.double, lambda: 0).exception() is not None
assert pool.cpu_seconds > 0

elsewhere = RayExecutor(1, (), here / "absent")
assert elsewhere._owned is False
error = elsewhere.submit(ray_tasks.double, 1).exception()
assert isinstance(error, WorkerStartError) and "does not see" in str(error) and "absent" in str(error), error
elsewhere.close()

(here / "plugin.py").write_text(ray_tasks.PLUGIN)
changed = RayExecutor(1, (here / "plugin.py",), here)
(here / "plugin.py").write_text(ray_tasks.PLUGIN + "# changed")
error = changed.submit(ray_tasks.double, 1).exception()
assert isinstance(error, WorkerStartError) and "other versions" in str(error), error

running = pool.submit(ray_tasks.double, 10_000, 60)
time.sleep(1)
started = time.monotonic()
pool.cancel()
assert time.monotonic() - started < 20
print("all held")
"""
TASKS = '''
import os, time
PLUGIN = """
from dataclasses import dataclass
from typing import ClassVar
from qfl_sec.contracts import Defense

@dataclass(frozen=True, kw_only=True)
class Mine(Defense):
    name: ClassVar[str] = "mine"
"""
def double(number, seconds=0):
    time.sleep(seconds)
    return 2 * number

def fail(text):
    raise ZeroDivisionError(text)

def die():
    os._exit(3)
'''


def test_the_executor_keeps_the_contract_of_engines(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra cluster is not installed")
    (tmp_path / "ray_tasks.py").write_text(TASKS)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), environment.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    command = [sys.executable, "-c", CHECKS]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180)
    assert ran.stdout.endswith("all held\n"), ran.stderr


def test_an_address_where_no_cluster_answers_is_the_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ray:
        @staticmethod
        def init(address: str, logging_level: str) -> None:
            raise ConnectionError(f"Failed to connect to Ray cluster at {address}")

    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(InputError, match=r"RAY_ADDRESS=10\.0\.0\.1:6379: .* Start the cluster, or unset RAY_ADDRESS"):
        ray_executor._connect(Ray, 2)
