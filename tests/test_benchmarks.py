"""The benchmarks: both sides compute the same, rows add up, and the document says what was measured."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import blind, ours
from benchmarks import inversion as inversion_module
from benchmarks.__main__ import DOCUMENT, IMAGE, MACHINE, RESULTS, SCALING, main
from benchmarks.agreement import FLOAT32, FLOAT64, DisagreementError, largest_difference
from benchmarks.composing import GOALS, MS, limit_row
from benchmarks.document import BEGIN, END, tables, with_tables
from benchmarks.figure import draw
from benchmarks.inversion import inversion
from benchmarks.machine import PACKAGES, limited
from benchmarks.peers import default_qubit, default_qubit_inversion, lightning, opacus_module, sequence_bb84
from benchmarks.problems import Classification, KeyExchange, classification, delegation
from benchmarks.rows import Row, read_rows, write_rows
from benchmarks.scaling import SERIES, SIZES, read_points
from benchmarks.sides import Side, measure, partly
from benchmarks.timing import Timing, alternate
from benchmarks.workloads import WORKLOADS
from qfl_sec.protocols.brick_ansatz import encoded_layers

INTERFACE = ["name", "ours", "peer", "peer_version", "peers", "unit", "ratio", "goal", "direction", "work"]


def row(**changes: Any) -> Row:
    values: dict[str, Any] = {
        "name": "some_work",
        "work": "Some work",
        "unit": "ms",
        "ours": 2.0,
        "ours_spread": (1.9, 2.2),
        "peer": "Peer",
        "peer_version": "peer 1",
        "peers": 5.0,
        "peers_spread": (4.0, 6.0),
        "goal": 2.5,
        "runs": 5,
        "threads": 1,
        "difference": 1e-7,
        "tolerance": 2e-5,
        "compile_seconds": {},
    }
    return Row(**values | changes)


LIMIT = {"peer": None, "peer_version": None, "peers": None, "peers_spread": None}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("peer", [default_qubit.broadcast, default_qubit.one_by_one, lightning.one_by_one])
def test_one_models_loss_and_gradient_are_the_peers(peer: Callable[[Classification], Side], dtype: torch.dtype) -> None:
    problem = classification(batch=3, qubits=3, dtype=dtype)
    tolerance = FLOAT32 if dtype == torch.float32 else FLOAT64
    answer = ours.batch_gradients(problem).result()
    assert answer[1].abs().max() > 0.01
    largest_difference(answer, peer(problem).result(), tolerance=tolerance, peer="peer")


def test_many_models_losses_and_gradients_are_the_peers() -> None:
    problem = classification(models=3, batch=4)
    mine = ours.batch_gradients(problem).result()
    assert [tuple(part.shape) for part in mine] == [(3,), (3, 24)]
    largest_difference(mine, default_qubit.model_by_model(problem).result(), tolerance=FLOAT32, peer="peer")
    first = default_qubit.model_by_model(problem.first(2)).result()
    largest_difference([part[:2] for part in mine], first, tolerance=FLOAT32, peer="peer")


def test_opacus_on_the_module_gives_each_records_gradient() -> None:
    problem = classification(batch=3)
    side = opacus_module.per_example_gradients(problem)
    for _ in range(2):  # nothing is left over from the call before
        difference = largest_difference(
            ours.per_example_gradients(problem).result(), side.result(), tolerance=FLOAT32, peer="Opacus"
        )
        assert difference < FLOAT32
    whole = ours.batch_gradients(problem).result()[1]
    largest_difference([side.result()[0].mean(0)], [whole], tolerance=FLOAT32, peer="Opacus")


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is in the bench extra only")
@pytest.mark.parametrize("models", [None, 2])
def test_jax_computes_the_same(models: int | None) -> None:
    from benchmarks.peers import pennylane_jax

    problem = classification(models=models, batch=2, qubits=2, layers=1)
    side = pennylane_jax.gradients(problem)
    largest_difference(ours.batch_gradients(problem).result(), side.result(), tolerance=FLOAT32, peer="JAX")
    if models is None:
        each = pennylane_jax.gradients(problem, by_record=True).result()[1:]
        largest_difference(ours.per_example_gradients(problem).result(), each, tolerance=FLOAT32, peer="JAX")


@pytest.mark.parametrize("side", [ours.bb84, ours.bb84_counts])
def test_key_exchange_shows_the_eavesdropper_at_its_rates(side: Callable[[KeyExchange], Side]) -> None:
    problem = KeyExchange(pulses=400_000)
    (rates,) = side(problem).result()
    largest_difference([rates], [problem.expected], tolerance=problem.tolerance, peer="the closed forms")
    assert problem.tolerance < 0.02  # an error rate without the eavesdropper is off by half of the share


@pytest.mark.skipif(not sequence_bb84.interpreter().exists(), reason="SeQUeNCe has an environment of its own")
def test_sequence_computes_the_same_rates() -> None:
    problem = KeyExchange(pulses=4000)
    with sequence_bb84.exchange(problem) as side:
        assert side.version == "sequence 0.8.5"
        again = [side.result() for _ in range(2)]
    assert torch.equal(again[0][0], again[1][0])  # nothing is left over from the call before
    for rates in (problem.expected, *ours.bb84(problem).result()):
        largest_difference(again[0], [rates], tolerance=problem.tolerance, peer="SeQUeNCe")


def test_sequence_without_its_environment_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(sequence_bb84.VARIABLE, str(tmp_path / "python"))
    with pytest.raises(FileNotFoundError, match=r"Run make bench"), sequence_bb84.exchange(KeyExchange(pulses=1)):
        pass


def test_sequences_environment_is_pinned_and_agrees_with_ours() -> None:
    def pins(path: Path) -> dict[str, str]:
        lines = [line.strip() for line in path.read_text().splitlines()]
        return dict(line.split("==") for line in lines if line and not line.startswith("#"))

    root = RESULTS.parent.parent
    its, mine = pins(RESULTS.parent / "peers" / "sequence.txt"), pins(root / "constraints.txt")
    assert its["sequence"] == "0.8.5"
    assert {name: mine[name] for name in its.keys() & mine.keys()} == {name: its[name] for name in its.keys() & mine}
    assert "benchmarks/peers/sequence.txt" in (root / "Makefile").read_text()


def test_blind_rounds_results_are_distributed_as_graphixs(monkeypatch: pytest.MonkeyPatch) -> None:
    # Otherwise its import compiles for ten seconds what small states do not need.
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    from benchmarks.peers import graphix_pattern

    problem, shots = delegation(), 1 << 15
    exact = graphix_pattern.one_shot(problem).result()
    (program,) = ours.statevector_program(problem).result()
    for same in (graphix_pattern.one_shot(problem, every_node=False).result(), [program[0]]):
        largest_difference(same, exact, tolerance=FLOAT64, peer="graphix")
    for real_angles in (False, True):
        found = ours.blind_rounds(problem, shots=1, checked=shots, real_angles=real_angles).result()
        largest_difference(found, exact, tolerance=problem.tolerance(shots), peer="graphix")
    another = graphix_pattern.one_shot(delegation(layers=3)).result()
    with pytest.raises(DisagreementError):
        largest_difference(found, another, tolerance=problem.tolerance(shots), peer="graphix")


def test_graphix_measures_as_many_nodes_whatever_the_angles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    from benchmarks.peers import graphix_pattern

    problem = delegation()
    patterns = [
        graphix_pattern.pattern(encoded_layers, factor * problem.inputs[0], factor * problem.weights, qubits=4)
        for factor in (0, 1)
    ]
    assert len({graphix_pattern.prepared(one).n_node for one in patterns}) == 1
    removed = [graphix_pattern.without_pauli_measurements(one).n_node for one in patterns]
    assert removed[0] < removed[1] < graphix_pattern.prepared(patterns[1]).n_node


@pytest.mark.parametrize("samples", [1, 3])
def test_results_without_messages_are_the_statevector_programs(samples: int) -> None:
    problem = delegation(samples=samples)
    mine = ours.blind_semantic(problem).result()
    assert mine[0].shape == (samples, 16)
    largest_difference(mine, ours.statevector_program(problem).result(), tolerance=FLOAT64, peer="the program")


def test_blind_circuits_have_the_columns_that_their_row_names() -> None:
    columns = [ours.pattern_compiler(delegation(layers=layers)).graph.columns for layers in blind._LAYERS]
    assert columns == [29, 113]
    assert "blind_transcript_113_columns" in GOALS


def test_a_limits_row_holds_the_answer_against_what_is_expected(clock: "Clock") -> None:
    side = Side(name="ours", version="1", work=clock.work("s", 0.5), answer=lambda: (torch.ones(2),))
    made = limit_row("bb84_trillion_pulses_counts", side, torch.ones(2), limit=1e3, scale=MS, work="w")
    assert (made.ours, made.limit, made.unit, made.ratio) == (500.0, 1e3, "ms", 2.0)
    with pytest.raises(DisagreementError, match="what is expected"):
        limit_row("bb84_trillion_pulses_counts", side, torch.zeros(2), limit=1e3, scale=MS, work="w")


def test_inversion_poses_the_same_equations_to_both_sides() -> None:
    work = inversion(targets=5, restarts=2)
    assert work.count == 10
    chosen = [0, 3, 9]
    mine, its = work.at_once(chosen), default_qubit_inversion.one_by_one(work, chosen)
    assert [tuple(part.shape) for part in mine.result()] == [(3, 36), (3, 36, 16)]
    largest_difference(mine.result(), its.result(), tolerance=FLOAT64, peer="PennyLane")
    shifted = default_qubit_inversion.one_by_one(replace(work, updates=work.updates + 1e-6), chosen)
    with pytest.raises(DisagreementError):
        largest_difference(mine.result(), shifted.result(), tolerance=FLOAT64, peer="PennyLane")


def test_inversion_counts_the_steps_that_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inversion_module, "ITERATIONS", 4)
    work = inversion_module.inversion(targets=1, restarts=1)
    assert work.evaluations == 5
    side = work.at_once([0])
    side.work()
    assert side.share() == 1.0
    residuals = work.problem.system(work.start.flatten(0, 1), torch.tensor([0]))[0]
    solution = inversion_module.run(work.problem.system, work.start, chunk=1)
    assert solution.evaluations == 5
    assert solution.objectives.item() < 0.5 * residuals.square().sum()


def test_agreement_tells_the_difference_as_a_share_of_the_largest_entry() -> None:
    theirs = torch.tensor([100.0, 1.0], dtype=torch.float64)
    mine = theirs + torch.tensor([0.0, 0.5], dtype=torch.float64)
    assert largest_difference([mine], [theirs], tolerance=0.01, peer="peer") == pytest.approx(0.005)
    with pytest.raises(DisagreementError, match=r"difference=0.005 from peer to be at most 0.001"):
        largest_difference([mine], [theirs], tolerance=0.001, peer="peer")


@pytest.mark.parametrize("wrong", [[torch.tensor([1.0, float("nan")])], [torch.ones(3)], [torch.ones(2)] * 2])
def test_agreement_fails_on_what_cannot_be_compared(wrong: list[torch.Tensor]) -> None:
    with pytest.raises(DisagreementError):
        largest_difference([torch.ones(2)], wrong, tolerance=1.0, peer="peer")
    with pytest.raises(DisagreementError):
        largest_difference(wrong, [torch.ones(2)], tolerance=1.0, peer="peer")


class Clock:
    """Time that passes only in the work."""

    def __init__(self) -> None:
        self.now = 0.0
        self.done: list[str] = []

    def work(self, name: str, *seconds: float) -> Callable[[], None]:
        """Take so long in the first calls; in all later ones, as long as in the last of these."""
        left = list(seconds)

        def call() -> None:
            self.done.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return call


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    return clock


def test_timing_alternates_and_leaves_the_first_call_out(clock: Clock) -> None:
    timings = alternate(
        {"fast": clock.work("f", 3.0, 1.0), "slow": clock.work("s", 4.0, 2.0, 2.0, 8.0, 5.0)}, seconds=0.0, fewest=3
    )
    assert "".join(clock.done) == "ffss" + "fs" * 3
    assert timings["fast"].samples == (1.0, 1.0, 1.0)
    assert timings["slow"].samples == (2.0, 8.0, 5.0)
    assert timings["slow"].median == 5.0
    assert timings["slow"].spread == (2.0, 8.0)


def test_timing_averages_short_calls_and_counts_long_first_calls(clock: Clock) -> None:
    timings = alternate({"short": clock.work("s", 0.001), "long": clock.work("l", 60.0)}, seconds=10.0, fewest=1)
    assert clock.done.count("s") == 1 + 1 + 20
    assert clock.done.count("l") == 1
    assert timings["short"].median == pytest.approx(0.001)
    assert timings["long"].samples == (60.0,)


def test_timings_scale_and_divide_run_by_run() -> None:
    timing = Timing(samples=(1.0, 2.0, 3.0, 4.0, 5.0))
    assert timing.spread == (2.0, 4.0)
    assert timing.times(10).median == 30.0
    assert timing.over(Timing(samples=(2.0,) * 5)).samples == (0.5, 1.0, 1.5, 2.0, 2.5)


def test_sides_are_checked_and_their_shares_counted(clock: Clock) -> None:
    def side(name: str, values: torch.Tensor, seconds: float) -> Side:
        return Side(name=name, version="1", work=clock.work(name, seconds), answer=lambda: (values,))

    mine = replace(side("ours", torch.arange(4.0), 1.0), compiles=True)
    half = partly(side("half", torch.arange(2.0) + 1e-6, 3.0), 0.5)
    first, second = measure(mine, half, tolerance=FLOAT32, fewest=3)
    assert (first.timing.median, second.timing.median) == (1.0, 6.0)
    assert (first.compile_seconds, second.compile_seconds) == (1.0, None)
    assert first.difference == 0.0
    assert second.difference == pytest.approx(1e-6, rel=0.1)
    with pytest.raises(DisagreementError, match="wrong"):
        measure(mine, side("wrong", torch.ones(4), 1.0), tolerance=FLOAT32)


def test_a_row_says_how_many_times_better_ours_is() -> None:
    assert row().ratio == 2.5
    assert row().met
    assert not row(goal=2.6).met
    limited_row = row(limit=3.0, **LIMIT)
    assert limited_row.ratio == 1.5
    assert list(row().as_json())[: len(INTERFACE)] == INTERFACE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"limit": 3.0}, "one of peers"),
        (LIMIT, "one of peers"),
        ({"peer": None}, "Expected peer=None with its version"),
        ({"ours": float("nan")}, "Expected ours=nan > 0"),
        ({"difference": 1e-3}, "Expected difference=0.001 <= tolerance"),
        ({"difference": float("nan")}, "Expected difference=nan"),
    ],
)
def test_rows_that_prove_nothing_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        row(**changes)


def test_rows_are_read_back_and_a_ratio_is_not_taken_on_trust(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    rows = [row(), row(name="limited", limit=3.0, **LIMIT)]
    write_rows(rows, path)
    assert read_rows(path) == rows
    path.write_text(path.read_text().replace('"ratio": 2.5', '"ratio": 25.0'))
    with pytest.raises(ValueError, match=r"ratio=25.0 to be 2.5"):
        read_rows(path)


def test_a_missed_goal_is_shown(tmp_path: Path) -> None:
    machine = {"processor": "p", "cores": 2, "system": "s", "python": "3", "packages": {"torch": "2"}}
    text = tables([row(), row(name="missed", goal=3.0)], machine)
    assert "**1 of 2 goals are met.** Not met: `missed`." in text
    assert "| 2.5x | 3x | **no** |" in text
    document = with_tables(f"a\n{BEGIN}\nold\n{END}\nb\n", [row()], machine)
    assert document.startswith(f"a\n{BEGIN}\n")
    assert document.endswith(f"{END}\nb\n")
    assert "old" not in document
    with pytest.raises(ValueError, match="Expected the document to hold"):
        with_tables("no markers", [row()], machine)


def test_workloads_answer_for_every_goal_once() -> None:
    names = [name for workload in WORKLOADS for name in workload.rows]
    assert sorted(names) == sorted(GOALS)
    assert len(set(names)) == len(names)


def test_an_unknown_row_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no_such_row"]) == 2
    assert "Unknown row 'no_such_row'" in capsys.readouterr().err


def test_a_worker_is_held_to_its_threads() -> None:
    code = "import os; from benchmarks.machine import cores, limit_this_process as limit; print(limit(), len(cores()))"
    command = [sys.executable, "-c", code]
    root = RESULTS.parent.parent
    said = subprocess.run(command, env=limited(1), cwd=root, capture_output=True, text=True, check=True).stdout.split()
    assert said[0] == "1"
    assert said[1] == "1" or not hasattr(os, "sched_setaffinity")


def test_results_hold_every_row_with_its_goal() -> None:
    entries = json.loads(RESULTS.read_text())
    assert [entry["name"] for entry in entries] == list(GOALS)
    for entry in entries:
        assert list(entry)[: len(INTERFACE)] == INTERFACE
        assert entry["goal"] == GOALS[entry["name"]]
        assert entry["direction"] == "lower"
        assert entry["unit"] in ("us", "ms", "s", "times our batch gradient", "times that of 29 columns")
        reference = entry["limit"] if entry["peer"] is None else entry["peers"]
        assert entry["ratio"] == pytest.approx(reference / entry["ours"], rel=1e-3)
        # Rates of random runs agree within their standard deviations, everything else to the rounding.
        largest = 0.1 if entry["name"].startswith(("bb84", "blind_transcript")) else FLOAT32
        assert 0 <= entry["difference"] <= entry["tolerance"] <= largest
        assert entry["ours_spread"][0] <= entry["ours"] <= entry["ours_spread"][1]
        assert entry["runs"] >= 1
        assert all(other["value"] > 0 for other in entry["also"])


def test_limits_and_peers_are_those_of_the_goals() -> None:
    rows = {one.name: one for one in read_rows(RESULTS)}
    assert rows["inversion_1024_problems"].limit == 6.0
    assert rows["per_example_gradients_batch_256"].limit == 2.5
    assert rows["bb84_10_million_pulses"].limit == pytest.approx(10 / 15, rel=1e-3)
    assert rows["bb84_trillion_pulses_counts"].limit == 1.0
    assert rows["blind_transcript_113_columns"].limit == 1.15
    for name, one in rows.items():
        if one.peer is None:
            continue
        peers = {
            "default_qubit": "default.qubit",
            "opacus": "Opacus",
            "_qubits": "lightning.qubit",
            "_bits": "scipy",
            "_sequence": "SeQUeNCe",
            "_shots": "graphix",
            "_sample": "statevector program",
            "_samples": "statevector program",
        }
        expected = next((word for ending, word in peers.items() if name.endswith(ending)), "JAX")
        assert expected in one.peer
        assert ("by proportion" in one.note) == name.endswith("default_qubit")


def test_the_document_is_generated_from_the_results() -> None:
    machine, text = json.loads(MACHINE.read_text()), DOCUMENT.read_text()
    assert with_tables(text, read_rows(RESULTS), machine) == text, "Run make bench."
    assert set(machine["packages"]) == set(PACKAGES)
    assert "](images/scaling.svg)" in text


def test_scaling_covers_its_axes() -> None:
    points = read_points(SCALING)
    found = {(point.axis, point.size, point.series) for point in points}
    assert len(found) == len(points)
    for axis, sizes in SIZES.items():
        for size in sizes:
            series = {name for one, at, name in found if (one, at) == (axis, size)}
            assert series == set(SERIES if axis == "qubits" else SERIES[:3])
    assert all(point.spread[0] <= point.milliseconds <= point.spread[1] for point in points)


def test_the_figure_is_drawn_from_the_points() -> None:
    points = read_points(SCALING)
    svg = draw(points)
    assert svg == draw(points)
    assert svg.count('<g id="axes_') == 3
    moved = [replace(points[0], milliseconds=2 * points[0].milliseconds), *points[1:]]
    assert draw(moved) != svg
    assert IMAGE.read_text().startswith("<?xml")
