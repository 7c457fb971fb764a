"""The Flower example: what its server captures is what the clients did, and can be attacked."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from qfl_sec.capture_folder import capture_experiment
from qfl_sec.captured import Capture, read_capture
from qfl_sec.captured_data import CapturedData
from qfl_sec.cli import main
from qfl_sec.gradients import per_example_gradients
from qfl_sec.models import architecture

pytest.importorskip("flwr", reason="the extra flower is not installed")

APP = Path(__file__).parent.parent / "examples" / "flower_capture" / "capture.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the server of a short federation has written."""
    home = tmp_path_factory.mktemp("flower")
    environment = os.environ | {"FLWR_HOME": str(home / "flwr")}
    command = [sys.executable, str(APP), str(home / "run"), "3"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment)
    assert (home / "run" / "capture.json").is_file(), ran.stderr[-2000:]
    return home / "run"


@pytest.fixture
def capture(folder: Path) -> Capture:
    experiment = capture_experiment(folder)
    assert isinstance(experiment.data, CapturedData)
    return read_capture(folder, experiment.model, experiment.federation, experiment.data.records())


def test_flower_averages_what_was_captured(capture: Capture) -> None:
    starts = [*(one.weights for one in capture.rounds), capture.final_weights]
    assert [len(one.clients) for one in capture.rounds] == [2, 2, 2]
    for one, start, after in zip(capture.rounds, starts[:-1], starts[1:], strict=True):
        torch.testing.assert_close(after, start + one.updates.mean(0), rtol=0, atol=1e-12)
        assert float((after - start).norm()) > 1e-3


def test_each_update_is_the_step_on_the_records_that_the_truth_names(capture: Capture) -> None:
    """torch's optimizer on another process's autograd, against our gradients of each record alone."""
    candidates, dtype = capture.records.candidates, capture.federation.dtype
    module = capture.model.build(4, 2, generator=torch.Generator().manual_seed(0), dtype=dtype)
    arch = architecture(module, 4, 2)
    for one in capture.rounds:
        for rows, update in zip(one.records, one.updates, strict=True):
            gradients = per_example_gradients(
                arch, one.weights[None], candidates.features[rows], candidates.labels[rows]
            )
            expected = -capture.federation.learning_rate * gradients.mean(0)
            torch.testing.assert_close(update, expected, rtol=0, atol=1e-12)


def test_the_capture_is_attacked_like_a_run_of_our_own(
    folder: Path, capture: Capture, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["attack", str(folder), "--attack", "update_membership", "--workers", "1", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert status == 0
    measured = [one for one in answer["results"]["measurements"] if one["attack"] == "update_membership"]
    found = next(one for one in measured if one["status"] == "measured")
    assert found["adversary"] == "server"
    assert found["success"]["n"] + found["membership"]["non_members"] == len(capture.members)
    assert (folder / "report.pdf").read_bytes().startswith(b"%PDF")
