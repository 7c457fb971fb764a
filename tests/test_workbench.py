"""The workbench fills a run's folder: the same bytes whoever computes, however often it is interrupted."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor

import qfl_sec
from qfl_sec import plugins, results
from qfl_sec.checking import InputError
from qfl_sec.contracts import Attack
from qfl_sec.datasets import DataSpec
from qfl_sec.estimate import estimate
from qfl_sec.experiment import Experiment, dumps, load
from qfl_sec.federation import FederationSpec
from qfl_sec.grid import plan
from qfl_sec.models import MlpClassifier, VariationalClassifier
from qfl_sec.provenance import read_environment, read_timings
from qfl_sec.run_folder import open_run_folder
from qfl_sec.runner import Progress, is_trained
from qfl_sec.store import Store
from qfl_sec.tables import RunSpec
from qfl_sec.workbench import NothingTrainedError, attack, audit, run_audit, train

TESTS = Path(__file__).parent


def small(seeds: tuple[int, ...] = (0, 1), attacks: tuple[str, ...] = ("update_membership",)) -> Experiment:
    """Return an experiment of a few seconds: a classical model, three rounds."""
    made: list[Attack] = [plugins.get("attack", name)() for name in attacks]
    return Experiment(
        data=DataSpec(),
        model=MlpClassifier(),
        federation=FederationSpec(clients=4, clients_per_round=2, rounds=3),
        attacks=tuple(made),
        run=RunSpec(seeds=seeds),
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an audit that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    run_audit(small(), out=folder, inline=True, command="as typed")
    return folder


def test_the_folder_of_a_run_holds_what_it_should(whole: Path) -> None:
    names = {path.name for path in whole.iterdir() if not path.name.startswith(".")}
    assert names == {
        "environment.json",
        "experiment.toml",
        "results.json",
        "results.sqlite",
        "timings.json",
        "transcripts",
    }
    assert load(whole / "experiment.toml") == small()
    assert len(list((whole / "transcripts").iterdir())) == 2 * 3
    assert read_environment(whole / "environment.json").command == "as typed"
    timings = read_timings(whole / "timings.json")
    assert (timings.trainings, timings.cells, timings.reused, timings.workers) == (6, 4, 0, 1)
    assert timings.wall_seconds > 0 and timings.cpu_seconds > 0


def test_results_are_canonical_and_name_no_place(whole: Path) -> None:
    text = (whole / "results.json").read_bytes()
    read = results.loads(text)
    assert results.dumps(read) == text
    assert read.seeds == (0, 1)
    for secret in (str(whole), "as typed", str(Path.home()), os.sep + "tmp"):
        assert secret.encode() not in text


def test_the_python_function_gives_the_same_and_leaves_nothing(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: list[Progress] = []
    found = audit(small(), progress=seen.append)
    assert results.dumps(found) == (whole / "results.json").read_bytes()
    assert (seen[-1].cells_done, seen[-1].cells, seen[-1].trainings_done, seen[-1].failed) == (4, 4, 6, 0)
    assert not list(tmp_path.iterdir())


def test_running_again_reuses_everything_and_changes_no_byte(whole: Path) -> None:
    before = (whole / "results.json").read_bytes()
    again = run_audit(small(), out=whole, inline=True, command="as typed")
    assert (again.summary.reused, again.summary.total, again.summary.done) == (4, 4, 0)
    assert again.summary.trainings_reused == 6
    assert (whole / "results.json").read_bytes() == before


def test_two_workers_and_a_plug_in_file_give_the_same_bytes(tmp_path: Path) -> None:
    file = tmp_path / "workbench_plugin.py"
    file.write_text(
        '''
from dataclasses import dataclass
from typing import ClassVar
from qfl_sec.contracts import Defense

@dataclass(frozen=True, kw_only=True)
class Halving(Defense):
    """Halves what leaves a client."""
    name: ClassVar[str] = "halving"
    def update(self, updates, *, round, generator):
        return updates / 2
'''
    )
    kind = plugins.load_file(file)[0]
    experiment = replace(small(seeds=(0,)), defenses=(kind(),))  # type: ignore[arg-type]
    inline = run_audit(experiment, out=tmp_path / "inline", inline=True)
    workers = run_audit(experiment, out=tmp_path / "workers", workers=2, plugin_files=(file,))
    assert workers.summary.failures == inline.summary.failures == ()
    assert (tmp_path / "workers/results.json").read_bytes() == (tmp_path / "inline/results.json").read_bytes()
    assert {entry.setting for entry in workers.results.measurements} == {"none", "halving"}


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_workbench import run_audit, small
run_audit(small(), out=Path({out!r}), inline=True, progress=lambda progress: print(progress.message, flush=True))
"""


def test_a_killed_audit_ends_in_the_same_results(whole: Path, tmp_path: Path) -> None:
    script = SCRIPT.format(tests=str(TESTS), out=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while "done in" not in (line := process.stdout.readline()):
        assert line, "ended early"
    time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (tmp_path / "results.json").exists()
    finished = run_audit(small(), out=tmp_path, inline=True)
    assert finished.summary.reused >= 1
    assert (tmp_path / "results.json").read_bytes() == (whole / "results.json").read_bytes()


def test_train_then_attack_is_an_audit(whole: Path, tmp_path: Path) -> None:
    trained = train(small(), out=tmp_path, inline=True)
    assert (trained.trainings, trained.total, trained.failures) == (6, 0, ())
    assert not (tmp_path / "results.json").exists()
    attacked = attack(tmp_path, inline=True)
    assert (attacked.summary.trainings_reused, attacked.summary.done) == (6, 4)
    assert (tmp_path / "results.json").read_bytes() == (whole / "results.json").read_bytes()


def test_an_attack_can_be_added_to_a_run(whole: Path, tmp_path: Path) -> None:
    experiment = small(seeds=(0,))
    run_audit(experiment, out=tmp_path, inline=True)
    attacked = attack(tmp_path, attacks=["gradient_inversion"], inline=True)
    assert attacked.summary.total == 2
    measured = {one.attack for one in attacked.results.measurements if one.status == "measured"}
    assert measured == {"update_membership", "gradient_inversion"}
    assert [one.name for one in load(tmp_path / "experiment.toml").attacks] == [
        "update_membership",
        "gradient_inversion",
    ]


def test_attack_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no experiment\.toml"):
        attack(tmp_path, inline=True)
    (tmp_path / "experiment.toml").write_text(dumps(small()))
    with pytest.raises(InputError, match=r"6 of 6 trainings are missing.*qfl-sec train"):
        attack(tmp_path, inline=True)
    with pytest.raises(InputError, match=r"Unknown attack 'gradient_inversoin'\. Did you mean"):
        attack(tmp_path, attacks=["gradient_inversoin"], inline=True)


def test_another_experiment_in_the_same_folder_shares_what_is_equal(tmp_path: Path) -> None:
    run_audit(small(seeds=(0,)), out=tmp_path, inline=True)
    first = (tmp_path / "results.json").read_bytes()
    both = run_audit(small(seeds=(0, 1)), out=tmp_path, inline=True)
    assert (both.summary.reused, both.summary.total, both.summary.trainings_reused) == (2, 4, 3)
    assert (tmp_path / "results.json").read_bytes() != first
    run_audit(small(seeds=(0,)), out=tmp_path, inline=True)
    assert (tmp_path / "results.json").read_bytes() == first


def test_an_interrupted_run_leaves_no_other_experiment_s_results(tmp_path: Path) -> None:
    run_audit(small(seeds=(0,)), out=tmp_path, inline=True)

    def interrupt(progress: Progress) -> None:
        if "trained" in progress.message:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_audit(small(seeds=(1,)), out=tmp_path, inline=True, progress=interrupt)
    assert not (tmp_path / "results.json").exists()
    assert load(tmp_path / "experiment.toml") == small(seeds=(1,))


@pytest.mark.parametrize("place", ["file", "file/below", "/dev/null/run", "/proc/run"])
def test_an_unusable_output_folder_is_named_before_anything_is_computed(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    started: list[Progress] = []
    with pytest.raises(InputError, match=r"cannot be used as output folder .*choose another"):
        run_audit(small(), out=tmp_path / place, inline=True, progress=started.append)
    assert not started


def test_a_full_output_folder_is_named_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(InputError, match=r"No space left on device\). Free some space, or choose another"):
        run_audit(small(), out=tmp_path, inline=True)
    assert not list(tmp_path.glob(".probe"))


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with open_run_folder(tmp_path), pytest.raises(InputError, match="another run is at work in this folder"):
        run_audit(small(), out=tmp_path, inline=True)
    with open_run_folder(tmp_path):
        pass


def test_a_failing_cell_is_reported_and_the_rest_stands(tmp_path: Path) -> None:
    from test_runner import Ordered  # its run raises NotImplementedError

    experiment = replace(small(seeds=(0,)), attacks=(*small().attacks, Ordered(order="none")))
    done = run_audit(experiment, out=tmp_path, inline=True)
    assert (done.summary.done, done.summary.failed) == (2, 1)
    assert done.summary.failures == ("ordered by server on none seed 0: NotImplementedError",)
    failed = next(one for one in done.results.measurements if one.attack == "ordered")
    assert failed.status == "failed"
    assert [(cell.seed, cell.reason) for cell in failed.failed] == [(0, "NotImplementedError")]


@pytest.mark.parametrize("error", [InputError, ArithmeticError])
def test_when_nothing_can_be_trained_the_message_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(self: object, *arguments: object, **keywords: object) -> None:
        raise error("Expected something else.")

    monkeypatch.setattr(MlpClassifier, "build", fail)
    expected = InputError if error is InputError else NothingTrainedError
    with pytest.raises(expected, match=r"No federated training could be finished.*Expected something else"):
        run_audit(small(), out=tmp_path, inline=True)
    with pytest.raises(expected, match=r"No federated training could be finished"):
        train(small(), out=tmp_path, inline=True)


def test_an_impossible_number_of_workers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Expected workers=0 >= 1"):
        run_audit(small(), out=tmp_path, workers=0)


def test_an_estimate_takes_no_more_memory_than_it_warns_of(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []

    def probe(arch: object, weights: object, inputs: Tensor, labels: object) -> None:
        rows.append(len(inputs))

    monkeypatch.setattr("qfl_sec.estimate.per_example_gradients", probe)
    for qubits in (4, 12):
        model = VariationalClassifier(qubits=qubits, layers=1)
        estimate(replace(small(), data=DataSpec(features=qubits), model=model, run=RunSpec(seeds=(0,))), workers=1)
    assert (rows[0], rows[-1]) == (256, 16)


def test_a_diverging_training_fails_with_its_reason_and_leaves_nothing_behind(tmp_path: Path) -> None:
    experiment = small(seeds=(0,))
    experiment = replace(experiment, federation=replace(experiment.federation, learning_rate=1e308))
    for _ in range(2):
        with pytest.raises(InputError, match=r"numbers that are not finite\. Set a lower .* learning_rate"):
            run_audit(experiment, out=tmp_path, inline=True)
        kept = [is_trained(task, tmp_path / "transcripts") for task in plan(experiment).trainings]
        assert len(list((tmp_path / "transcripts").iterdir())) == sum(kept) < len(kept)


def test_the_estimate_counts_what_is_left(whole: Path, tmp_path: Path) -> None:
    fresh = estimate(small(), out=tmp_path / "nowhere", workers=2)
    assert (fresh.trainings, fresh.trainings_reused, fresh.cells, fresh.cells_reused) == (6, 0, 4, 0)
    assert 0 < fresh.seconds < 120
    assert 1e8 < fresh.memory_bytes < 2e10
    assert not (tmp_path / "nowhere").exists()
    left = estimate(small(), out=whole, workers=2)
    assert (left.trainings_reused, left.cells_reused, left.seconds) == (6, 4, 0.0)
    more = estimate(small(seeds=(0, 1, 2, 3)), out=whole, workers=1)
    assert (more.trainings, more.trainings_reused, more.cells_reused) == (12, 6, 4)
    with Store(whole / "results.sqlite") as store:
        assert len(store) == 4


def test_the_package_answers_without_loading_anything_heavy() -> None:
    code = (
        "import sys, qfl_sec; assert set(qfl_sec.__all__) <= set(dir(qfl_sec)); "
        "assert not hasattr(qfl_sec, 'nothing'); "
        "assert not {'torch', 'pennylane', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_public_names_are_the_real_ones() -> None:
    assert (qfl_sec.audit, qfl_sec.Experiment) == (audit, Experiment)
