"""A plug-in gives the same results as an object in Python, as a file and as an installed package."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PACKAGE = HERE / "plugin_package" / "qfl_sec_example"

EXPERIMENT = """
[data]
name = "breast_cancer"
[model]
name = "mlp_classifier"
[federation]
clients = 4
clients_per_round = 2
rounds = 2
[[defenses]]
name = "keep_largest"
share = [0.25, 0.5]
[[attacks]]
name = "gradient_alignment"
[run]
seeds = [0]
"""

OBJECTS = """
import sys
from pathlib import Path
from qfl_sec import audit, Experiment
from qfl_sec.datasets import DataSpec
from qfl_sec.federation import FederationSpec
from qfl_sec.models import MlpClassifier
from qfl_sec.results import dumps
from qfl_sec.tables import RunSpec
from qfl_sec_example import GradientAlignment, KeepLargest

results = audit(
    Experiment(
        data=DataSpec(name="breast_cancer"),
        model=MlpClassifier(),
        federation=FederationSpec(clients=4, clients_per_round=2, rounds=2),
        defenses=(KeepLargest(share=0.25), KeepLargest(share=0.5)),
        attacks=(GradientAlignment(),),
        run=RunSpec(seeds=(0,)),
    )
)
Path(sys.argv[1]).write_bytes(dumps(results))
"""


AUDIT = ("audit", "mine.toml", "--out", "out", "--workers", "1")
MAIN = "import sys; from qfl_sec.cli import main; sys.exit(main())"


def run(folder: Path, *command: str, path: Path | None = None) -> None:
    """Run a command as a user would, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(path) if path else ""}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def as_package(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The results with the example package installed, its plug-ins found by their entry point."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(HERE / "plugin_package", folder / "source")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    run(folder, sys.executable, "-m", "pip", "install", *options, "--target", "site", "./source")
    (folder / "mine.toml").write_text(EXPERIMENT)
    run(folder, sys.executable, "-c", MAIN, *AUDIT, path=folder / "site")
    return (folder / "out" / "results.json").read_bytes()


def test_as_a_file(as_package: bytes, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(EXPERIMENT)
    plugins = [f"--plugin={PACKAGE / name}.py" for name in ("keep_largest", "gradient_alignment")]
    run(tmp_path, sys.executable, "-c", MAIN, *AUDIT, *plugins)
    found = (tmp_path / "out" / "results.json").read_bytes()
    assert without_keys(found) == without_keys(as_package)
    assert found != as_package


def without_keys(results: bytes) -> dict[str, Any]:
    """Return results without what names the sources of a plug-in: a single file here, a whole package there."""
    content: dict[str, Any] = json.loads(results)
    for training in content["trainings"]:
        del training["key"], training["transcript_sha256"]
    return content


def test_as_objects(as_package: bytes, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OBJECTS)
    run(tmp_path, sys.executable, "mine.py", "results.json", path=PACKAGE.parent)
    assert (tmp_path / "results.json").read_bytes() == as_package


def test_the_results_hold_what_the_plug_ins_found(as_package: bytes) -> None:
    from qfl_sec.results import loads

    results = loads(as_package)
    measured = [one for one in results.measurements if one.status == "measured"]
    assert {(one.setting, one.attack) for one in measured} == {
        (setting, "gradient_alignment") for setting in ("none", "keep_largest(share=0.25)", "keep_largest(share=0.5)")
    }
    assert [one.strength.value for one in results.settings if one.strength is not None] == [0.25, 0.5]
    assert {one.setting for one in results.paired} == {"keep_largest(share=0.25)", "keep_largest(share=0.5)"}
