"""The runner computes each thing once, whatever fails, dies, fills up or is interrupted.

Trainings and cells are stand-ins that obey orders; processes, files and signals are real. Workers import this module.
"""

import errno
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
import torch
from safetensors.torch import save

from qfl_sec.checking import InputError
from qfl_sec.contracts import Attack, Knowledge, NotApplicableError, Question, Scores, Setup, UpdatesView, View
from qfl_sec.executors import Executor, InlineExecutor, LocalExecutor, WorkerStartError
from qfl_sec.runner import Progress, Summary, is_trained, run
from qfl_sec.store import Store
from qfl_sec.tasks import CellTask, Plan, TrainingTask, one_line
from qfl_sec.transcript import Metadata, Transcript, Truth

TESTS = Path(__file__).parent

SETUP = Setup(
    schedule=((0,),),
    expected_sizes=(2.0,),
    local_steps=(1,),
    batch_size=1,
    sampling="fixed",
    optimizer="sgd",
    learning_rate=1.0,
    average="plain",
    n_parameters=3,
)


@dataclass(frozen=True, kw_only=True)
class Ordered(Attack):
    """Does as it is told."""

    name: ClassVar[str] = "ordered"
    question: ClassVar[Question] = "membership"
    requires: ClassVar[tuple[type[View], ...]] = (UpdatesView,)
    order: str

    def run(self, view: View, knowledge: Knowledge, *, generator: torch.Generator) -> Scores:
        raise NotImplementedError


class OddError(BaseException):
    """Nothing that `except Exception` would catch."""


def obey(order: str, folder: Path) -> None:
    """Do what an order says: "sleep 0.1", "raise", "exit", "die", "full", "impossible", "fine"."""
    verb, _, rest = order.partition(" ")
    if verb == "sleep":
        time.sleep(float(rest))
    elif verb == "raise":
        raise ArithmeticError(f"no such luck\nin {folder}/x at <object at 0x7f3a00ff1200>")
    elif verb == "exit":
        sys.exit("I give up")
    elif verb == "odd":
        raise OddError("at odds")
    elif verb == "print":
        print("from a worker")
    elif verb == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif verb == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "tensors.safetensors"))
    elif verb == "impossible":
        raise NotApplicableError("One record a batch is needed.")


def stand_in_training(task: TrainingTask, folder: Path) -> None:
    """Leave a tiny transcript that depends on the key alone."""
    obey(cast(str, task.config), folder)
    generator = torch.Generator().manual_seed(int(task.key[:8], 16))
    weights = torch.rand(2, 3, generator=generator)
    Transcript(
        metadata=Metadata(
            version="qfl-sec/transcript-1",
            key=task.key,
            data_fingerprint="f",
            setup=SETUP,
            guarantees=(),
            premises=(),
            gradient_gap=0.0,
            gradient_norm=1.0,
            gradients_checked=1,
            test_records=1,
        ),
        global_weights=weights,
        selected=torch.zeros(1, 1, dtype=torch.int64),
        updates=weights[1:, None],
        aggregates=weights[1:],
        batch_labels=torch.zeros(1, 1, 1, dtype=torch.int64),
        state={"weights": weights[1]},
        truth=Truth(
            members=torch.ones(2, dtype=torch.bool),
            clients=torch.zeros(2, dtype=torch.int64),
            batch_records=torch.zeros(1, 1, 1, dtype=torch.int64),
            test_hits=torch.ones(1, dtype=torch.bool),
            majority_hits=torch.ones(1, dtype=torch.bool),
        ),
    ).save(folder)


def stand_in_cell(task: CellTask, folder: Path) -> bytes:
    """Return scores that depend on the transcript and the key."""
    obey(cast(Ordered, task.attack).order, folder)
    weights = Transcript.load(folder).global_weights.double()
    generator = torch.Generator().manual_seed(int(task.key[:8], 16))
    # A product long enough to be cut into pieces if there were more than one thread.
    product = torch.rand(64, 4096, generator=generator) @ torch.rand(4096, 3, generator=generator)
    return save({"scores.values": product.double() @ weights.T + torch.get_num_threads()})


def key_of(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def make_plan(trainings: int = 2, *, orders: tuple[str, ...] = ("fine", "fine"), training_order: str = "fine") -> Plan:
    """Return a plan of stand-ins: one cell an order and training, and a baseline without cells."""
    tasks = [
        TrainingTask(
            key=key_of("training", seed),
            variant="default",
            setting="none",
            seed=seed,
            kind="federated",
            config=cast(Any, training_order),
        )
        for seed in range(trainings)
    ]
    cells = tuple(
        CellTask(key=key_of(task.key, index), training=task, adversary="server", attack=Ordered(order=order))
        for task in tasks
        for index, order in enumerate(orders)
    )
    baseline = replace(
        tasks[0], key=key_of("baseline"), setting="classical", kind="classical", config=cast(Any, "fine")
    )
    return Plan(trainings=(*tasks, baseline), cells=cells)


def execute(
    plan: Plan, folder: Path, executor: Executor, progress: Callable[[Progress], None] | None = None
) -> Summary:
    (folder / "transcripts").mkdir(exist_ok=True)
    with Store(folder / "results.sqlite") as store:
        return run(
            plan,
            store,
            folder / "transcripts",
            executor=executor,
            progress=progress,
            run_training=stand_in_training,
            run_cell=stand_in_cell,
        )


def content(plan: Plan, folder: Path) -> dict[str, Any]:
    """Return everything that results are made of: rows and the bytes of transcripts."""
    with Store(folder / "results.sqlite") as store:
        rows = {cell.key: store.get(cell.key) for cell in plan.cells}
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted((folder / "transcripts").rglob("*"))
        if path.is_file()
    }
    return {"rows": rows, "files": files}


def wait_until_gone(pids: list[int], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(is_running(pid) for pid in pids):
            return
        time.sleep(0.05)
    raise AssertionError(f"still running: {[pid for pid in pids if is_running(pid)]}")


def is_running(pid: int) -> bool:
    """Return whether a process exists and is no zombie waiting for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_everything_is_computed_once_and_then_reused(tmp_path: Path) -> None:
    plan, seen = make_plan(), list[Progress]()
    first = execute(plan, tmp_path, InlineExecutor(), seen.append)
    assert (first.total, first.reused, first.done, first.failed) == (4, 0, 4, 0)
    assert (first.trainings, first.trainings_reused) == (3, 0)
    assert set(first.seconds) == {task.key for task in plan.trainings} | {cell.key for cell in plan.cells}
    assert (seen[-1].cells_done, seen[-1].trainings_done, seen[-1].failed) == (4, 3, 0)
    before = content(plan, tmp_path)
    again = execute(plan, tmp_path, InlineExecutor(), seen.append)
    assert (again.total, again.reused, again.done, again.trainings_reused) == (4, 4, 0, 3)
    assert seen[-1].message == "reused 3 of 3 trainings, 4 of 4 cells"
    assert content(plan, tmp_path) == before


def test_cells_that_share_a_key_count_and_run_once(tmp_path: Path) -> None:
    plan = make_plan(1)
    twice = Plan(trainings=plan.trainings * 2, cells=plan.cells * 2)
    summary = execute(twice, tmp_path, InlineExecutor())
    assert (summary.total, summary.done, summary.trainings) == (2, 2, 2)


def test_one_failing_cell_and_an_inapplicable_one_leave_the_rest_alone(tmp_path: Path) -> None:
    plan = make_plan(2, orders=("fine", "raise", "impossible", "exit"))
    summary = execute(plan, tmp_path, InlineExecutor())
    assert (summary.total, summary.done, summary.failed) == (8, 4, 4)
    with Store(tmp_path / "results.sqlite") as store:
        fine, failed, impossible, gone = (store.get(cell.key) for cell in plan.cells[:4])
    assert fine is not None and failed is not None and impossible is not None and gone is not None
    assert gone.reason == "SystemExit: I give up"
    assert fine.status == "done"
    folder = plan.trainings[0].folder_name
    assert failed.reason == f"ArithmeticError: no such luck in {folder}/x at <object at 0x...>"
    assert (impossible.status, impossible.reason) == ("not_applicable", "One record a batch is needed.")
    assert summary.failures[0] == f"ordered by server on none seed 0: {failed.reason}"
    again = execute(plan, tmp_path, InlineExecutor())
    assert (again.reused, again.done, again.failed) == (4, 0, 4)


@pytest.mark.parametrize("executor", [InlineExecutor, lambda: LocalExecutor(1)], ids=["inline", "worker"])
def test_what_is_no_exception_fails_its_task_alone(executor: Callable[[], Executor], tmp_path: Path) -> None:
    summary = execute(make_plan(1, orders=("odd", "fine")), tmp_path, executor())
    assert (summary.done, summary.failed) == (1, 1)
    assert summary.failures == ("ordered by server on none seed 0: OddError: at odds",)


def test_what_a_worker_prints_is_not_on_standard_output(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    execute(make_plan(1, orders=("print",)), tmp_path, LocalExecutor(1))
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "from a worker\n")


def test_a_failed_cell_is_tried_again_and_its_new_row_counts(tmp_path: Path) -> None:
    plan = make_plan(1, orders=("raise", "fine"))
    execute(plan, tmp_path, InlineExecutor())
    mended = replace(plan, cells=(replace(plan.cells[0], attack=Ordered(order="fine")), plan.cells[1]))
    summary = execute(mended, tmp_path, InlineExecutor())
    assert (summary.reused, summary.done, summary.failed) == (1, 1, 0)
    with Store(tmp_path / "results.sqlite") as store:
        assert set(store.statuses().values()) == {"done"}


def test_a_failing_training_fails_its_cells_with_the_reason(tmp_path: Path) -> None:
    plan = make_plan(2)
    broken = replace(plan.trainings[0], config=cast(Any, "raise"))
    cells = tuple(replace(cell, training=broken) if cell.training.seed == 0 else cell for cell in plan.cells)
    summary = execute(Plan(trainings=(broken, *plan.trainings[1:]), cells=cells), tmp_path, InlineExecutor())
    assert (summary.done, summary.failed, summary.trainings_failed, summary.trainings_refused) == (2, 2, 1, 0)
    assert len(summary.failures) == 1
    with Store(tmp_path / "results.sqlite") as store:
        row = store.get(plan.cells[0].key)
    assert row is not None and row.reason is not None
    assert row.reason.startswith("Its training failed: ArithmeticError: no such luck")
    assert str(tmp_path) not in row.reason
    assert not (tmp_path / "transcripts" / broken.folder_name).exists()


def test_one_and_two_workers_and_none_give_the_same_bytes(tmp_path: Path) -> None:
    plan = make_plan(2, orders=("fine", "raise"))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for name, executor in (("inline", InlineExecutor()), ("two", LocalExecutor(2)), ("one", LocalExecutor(1))):
            (tmp_path / name).mkdir()
            execute(plan, tmp_path / name, executor)
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    expected = content(plan, tmp_path / "inline")
    assert content(plan, tmp_path / "one") == expected
    assert content(plan, tmp_path / "two") == expected


def test_a_cell_that_kills_its_worker_is_tried_twice_and_costs_no_other_cell(tmp_path: Path) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Local(Ordered):
        """No other process can import it."""

    plan = make_plan(1, orders=("die", "fine", "sleep 1", "fine"))
    cells = (*plan.cells[:3], replace(plan.cells[3], attack=Local(order="fine")))
    executor = LocalExecutor(2)
    summary = execute(replace(plan, cells=cells), tmp_path, executor)
    wait_until_gone(list(executor.pids()))
    assert (summary.done, summary.failed) == (2, 2)
    with Store(tmp_path / "results.sqlite") as store:
        assert [store.statuses()[cell.key] for cell in cells] == ["failed", "done", "done", "failed"]
        died, _, _, local = (store.get(cell.key) for cell in cells)
    assert died is not None and died.reason is not None and died.reason.startswith("Its process died 2 times")
    assert local is not None and local.reason is not None and "Local" in local.reason


class Mortal(InlineExecutor):
    """Computes inline, but the process dies of each task at the first attempt."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def submit(self, function: Callable[..., Any], /, *args: Any) -> "Future[Any]":
        if args[1].key in self.seen:
            return super().submit(function, *args)
        self.seen.add(args[1].key)
        future: Future[Any] = Future()
        future.set_exception(BrokenExecutor("killed"))
        return future


def test_a_task_that_dies_once_is_done_at_the_second_attempt(tmp_path: Path) -> None:
    summary = execute(make_plan(2), tmp_path, Mortal())
    assert (summary.done, summary.failures) == (4, ())


def test_a_full_disk_ends_the_run_and_keeps_what_is_finished(tmp_path: Path) -> None:
    plan = make_plan(2, orders=("fine", "full"))
    with pytest.raises(InputError, match=r"transcripts: cannot be written .*No space left.*what is finished is kept"):
        execute(plan, tmp_path, InlineExecutor())
    with Store(tmp_path / "results.sqlite") as store:
        assert store.statuses() == {plan.cells[0].key: "done"}


def test_a_store_that_fills_up_ends_the_run_and_keeps_what_is_finished(tmp_path: Path) -> None:
    plan = make_plan(4)
    (tmp_path / "transcripts").mkdir()
    with Store(tmp_path / "results.sqlite") as store:
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(InputError, match=r"results\.sqlite: no space left"):
            run(
                plan,
                store,
                tmp_path / "transcripts",
                executor=InlineExecutor(),
                run_training=stand_in_training,
                run_cell=stand_in_cell,
            )
        kept = len(store.statuses())
    assert 0 < kept < 8
    assert execute(plan, tmp_path, InlineExecutor()).reused == kept


def test_another_training_s_folder_is_refused_by_name(tmp_path: Path) -> None:
    plan = make_plan(1)
    execute(plan, tmp_path, InlineExecutor())
    folder = tmp_path / "transcripts" / plan.trainings[0].folder_name
    twin = replace(plan.trainings[0], key=plan.trainings[0].key[:16] + "0" * 48)
    assert is_trained(plan.trainings[0], tmp_path / "transcripts")
    with pytest.raises(InputError, match=f"{folder.name}: holds the transcript of .*remove the folder"):
        is_trained(twin, tmp_path / "transcripts")
    (folder / "metadata.json").write_text("{}")
    with pytest.raises(InputError, match=r"metadata\.json"):
        execute(plan, tmp_path, InlineExecutor())


def test_leftovers_of_a_killed_training_are_removed(tmp_path: Path) -> None:
    leftover = tmp_path / "transcripts" / "0123456789abcdef.00ff00ff.partial"
    leftover.mkdir(parents=True)
    (leftover / "tensors.safetensors").write_bytes(b"half")
    execute(make_plan(1), tmp_path, InlineExecutor())
    assert not leftover.exists()


class CountingExecutor:
    """Computes inline, but late: keeps the order of submissions and how many were out at once."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.out: list[Future[Any]] = []
        self.most = 0
        self.order: list[str] = []

    def submit(self, function: Callable[..., Any], /, *args: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        self.out = [one for one in self.out if not one.done()] + [future]
        self.most = max(self.most, len(self.out))
        self.order.append(type(args[1]).__name__)
        threading.Timer(0.01, lambda: future.set_result(function(*args))).start()
        return future

    def close(self) -> None:
        pass

    def cancel(self) -> None:
        pass


def test_any_engine_will_do_with_bounded_submissions_and_cells_first(tmp_path: Path) -> None:
    engine = CountingExecutor(2)
    summary = execute(make_plan(3), tmp_path, engine)
    assert summary.done == 6
    assert engine.most == 2
    first_cell = engine.order.index("CellTask")
    assert first_cell <= 3  # the third training waits until the first one's cells are out
    assert "TrainingTask" in engine.order[first_cell:]


@pytest.mark.parametrize("workers", [0, -1])
def test_a_pool_of_no_workers_is_refused(workers: int) -> None:
    with pytest.raises(ValueError, match=f"Expected workers={workers} >= 1"):
        LocalExecutor(workers)


def test_workers_that_never_come_up_end_the_run(tmp_path: Path) -> None:
    executor = LocalExecutor(1, plugin_files=(tmp_path / "missing.py",))
    with pytest.raises(WorkerStartError, match="do not start"):
        execute(make_plan(1), tmp_path, executor)
    assert not isinstance(WorkerStartError(), BrokenExecutor)


def test_a_reason_names_no_place_and_no_address() -> None:
    folder = Path("/somewhere/run/transcripts/0123")
    assert one_line(KeyError(), folder) == "KeyError"
    assert one_line(InputError(f"{folder}/metadata.json: bad\nkey"), folder) == "0123/metadata.json: bad key"
    assert one_line(ValueError("at 0x7fabc0123456"), folder) == "ValueError: at 0x..."
    missing = FileNotFoundError(errno.ENOENT, "No such file", "/home/me/my-data/x.csv")
    assert one_line(missing, folder) == "FileNotFoundError: [Errno 2] No such file: 'x.csv'"
    assert one_line(ValueError("a/b and (x)/y/z and 1/2/3"), folder) == "ValueError: a/b and (x)/y/z and 1/2/3"


SCRIPT = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background would hand down that it is ignored
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_runner import LocalExecutor, execute, make_plan
executor = LocalExecutor({workers})
def tell(progress):
    print(progress.cells_done, *executor.pids(), flush=True)
try:
    execute(make_plan({trainings}, orders={orders!r}), Path({folder!r}), executor, tell)
except KeyboardInterrupt:
    sys.exit(130)
"""


def start(folder: Path, *, workers: int, trainings: int, orders: tuple[str, ...]) -> "subprocess.Popen[str]":
    script = SCRIPT.format(tests=str(TESTS), workers=workers, trainings=trainings, orders=orders, folder=str(folder))
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def read_until(process: "subprocess.Popen[str]", cells: int) -> list[int]:
    """Read progress until so many cells are done; return the workers' process ids."""
    assert process.stdout is not None
    while line := process.stdout.readline():
        done, *pids = map(int, line.split())
        if done >= cells:
            return pids
    raise AssertionError(process.stderr.read() if process.stderr else "ended early")


def end(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None and process.stderr is not None
    return process.communicate(timeout=30)[1]


def test_a_killed_run_goes_on_where_it_was_and_ends_in_the_same_bytes(tmp_path: Path) -> None:
    orders = ("sleep 0.05", "sleep 0.5", "raise")
    plan = make_plan(3, orders=orders)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    execute(plan, tmp_path / "whole", InlineExecutor())
    process = start(tmp_path / "killed", workers=2, trainings=3, orders=orders)
    pids = read_until(process, cells=3)
    time.sleep(random.Random(2026).uniform(0.0, 0.3))
    process.kill()
    assert len(pids) == 2
    wait_until_gone(pids)
    end(process)
    with Store(tmp_path / "killed" / "results.sqlite") as store:
        kept = sum(status == "done" for status in store.statuses().values())
    summary = execute(plan, tmp_path / "killed", InlineExecutor())
    assert 0 < summary.reused == kept
    assert content(plan, tmp_path / "killed") == content(plan, tmp_path / "whole")


def test_ctrl_c_stops_at_once_keeps_what_is_finished_and_leaves_no_process(tmp_path: Path) -> None:
    process = start(tmp_path, workers=1, trainings=1, orders=("fine", "sleep 60"))
    pids = read_until(process, 1)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: everybody in the foreground hears it
    errors = end(process)
    assert time.monotonic() - began < 15
    assert process.returncode == 130
    assert errors == ""
    wait_until_gone(pids)
    with Store(tmp_path / "results.sqlite") as store:
        assert set(store.statuses().values()) == {"done"}
        assert len(store) == 1
    assert not list((tmp_path / "transcripts").glob("*.partial"))
