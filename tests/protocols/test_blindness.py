"""What the server learns: exact states, joint views, statistics; and that each leak put in on purpose is found."""

from typing import Any

import numpy as np
import pytest

from qfl_sec.checking import InputError
from qfl_sec.protocols import blindness
from qfl_sec.protocols.angle_grid import AngleGrid
from qfl_sec.protocols.blind_parties import Client, Server
from qfl_sec.protocols.blind_transcript import exchange, run_rounds
from qfl_sec.protocols.blindness import (
    angles_are_uniform,
    blindness_trace_distance,
    joint_view,
    shape_differences,
    trace_distance,
    view_of_angle,
)
from qfl_sec.protocols.brickwork import Brickwork
from qfl_sec.randomness import Streams


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_the_view_of_every_grid_angle_is_the_same(bits: int) -> None:
    angles = np.arange(1 << bits) * 2 * np.pi / (1 << bits)
    assert blindness_trace_distance(angles, theta_bits=bits) < 1e-12
    view = view_of_angle(angles[1], theta_bits=bits)
    assert sum(np.trace(state).real for state in view.values()) == pytest.approx(1)
    assert len(view) == 1 << bits


def test_real_angles_with_a_real_theta_are_blind() -> None:
    angles = np.random.default_rng(1).uniform(0, 7, 50)
    assert blindness_trace_distance(angles, theta_bits=0) < 1e-12
    # Without r the qubit at delta tells the angle.
    one, other = (view_of_angle(angle, theta_bits=0, secrets="theta") for angle in (0.0, np.pi / 4))
    assert trace_distance(one, other) == pytest.approx(np.sin(np.pi / 8))


def test_the_trap_of_real_angles_with_a_coarse_theta() -> None:
    assert blindness_trace_distance([0.0, 0.1], theta_bits=3) == pytest.approx(1.0)
    assert blindness_trace_distance([0.0, np.pi / 4], theta_bits=3) < 1e-12


def test_without_r_neighbouring_angles_differ_by_the_sine_of_half_their_distance() -> None:
    views = [view_of_angle(j * np.pi / 4, theta_bits=3, secrets="theta") for j in range(8)]
    for j, view in enumerate(views):
        assert trace_distance(views[0], view) == pytest.approx(abs(np.sin(j * np.pi / 8)), abs=1e-12)
    assert trace_distance(views[0], views[1]) == pytest.approx(0.3827, abs=5e-5)


def test_with_theta_fixed_delta_tells_the_angle() -> None:
    views = [view_of_angle(j * np.pi / 4, theta_bits=3, secrets="r") for j in range(8)]
    assert trace_distance(views[0], views[1]) == pytest.approx(1)


@pytest.mark.parametrize(("rows", "columns", "bits"), [(1, 2, 3), (1, 3, 3), (1, 4, 2), (2, 3, 2)])
def test_joint_views_do_not_depend_on_the_angles_whatever_the_server_answers(
    rows: int, columns: int, bits: int
) -> None:
    graph, grid, generator = Brickwork(rows=rows, columns=columns), AngleGrid(bits=bits), np.random.default_rng(columns)
    shape = (rows, columns - 1)
    outcomes = generator.integers(0, 2, shape, np.uint8)
    first, second = (grid.draw(generator, shape) for _ in range(2))
    views = [joint_view(graph, angles, outcomes, grid=grid) for angles in (first, second)]
    assert (first != second).any()
    assert trace_distance(*views) < 1e-12
    leaking = [joint_view(graph, angles, outcomes, grid=grid, secrets="theta") for angles in (first, second)]
    assert trace_distance(*leaking) > 0.3


def test_views_too_large_to_hold_are_refused() -> None:
    graph, grid = Brickwork(rows=2, columns=5), AngleGrid(bits=3)
    with pytest.raises(InputError, match="fewer nodes or angle bits"):
        joint_view(graph, np.zeros((2, 4), np.int32), np.zeros((2, 4), np.uint8), grid=grid)


def recorded(angles: Any, grid: AngleGrid, **options: Any) -> Any:
    graph = Brickwork.of_bricks(rows=2, bricks=2)
    server = Server(graph, grid, Streams(1), curious=True)
    run_rounds(graph, angles, grid=grid, server=server, streams=Streams(2), rounds=20_000, **options)
    return server.record()


def test_recorded_angles_are_uniform_unless_theta_is_not() -> None:
    grid = AngleGrid(bits=4)
    angles = grid.draw(np.random.default_rng(1), (2, 8, 1))
    assert angles_are_uniform(recorded(angles, grid)["angles"], bits=4).p_value > 1e-4
    coarse = recorded(angles, grid, theta_grid=AngleGrid(bits=3))["angles"]
    assert angles_are_uniform(coarse, bits=4).p_value < 1e-12


def test_recorded_angles_are_not_uniform_with_theta_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = AngleGrid(bits=3)
    monkeypatch.setattr(AngleGrid, "draw", lambda self, generator, shape: np.zeros(shape, np.int32))
    assert angles_are_uniform(recorded(np.ones((2, 8, 1), np.int32), grid)["angles"], bits=3).p_value < 1e-12


def test_what_a_coarse_theta_gives_away_is_read_off_a_record() -> None:
    """delta modulo pi/4 is phi modulo pi/4, exactly, for the first column, which has no corrections."""
    grid = AngleGrid(bits=0)
    angles = np.random.default_rng(4).uniform(0, 2 * np.pi, (2, 8, 1))
    deltas = recorded(angles, grid, theta_grid=AngleGrid(bits=3))["angles"]
    difference = np.mod(deltas[:, 0] - angles[:, 0] + 1e-9, np.pi / 4)
    assert difference.max() < 1e-8


def messages(angles: Any, *, rows: int = 2, bricks: int = 1) -> Any:
    graph, grid = Brickwork.of_bricks(rows=rows, bricks=bricks), AngleGrid(bits=3)
    client = Client(graph, angles, grid=grid, streams=Streams(1), rounds=2)
    return list(exchange(client, Server(graph, grid, Streams(2)), graph, grid))


def test_any_two_circuits_of_a_size_look_alike() -> None:
    plain, other = messages(np.zeros((2, 4, 1), np.int32)), messages(np.full((2, 4, 1), 3, np.int32))
    assert shape_differences(plain, other) == ()


def test_nodes_left_out_are_noticed() -> None:
    """A client that leaves out a brick whose angles are all Clifford sends fewer messages."""
    full, short = messages(np.ones((2, 8, 1), np.int32), bricks=2), messages(np.ones((2, 4, 1), np.int32))
    assert shape_differences(full, short)


def test_times_that_depend_on_the_secret_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def late_if_not_clifford(client: Client, column: int) -> float:
        return (column + 1) * 1e-3 + 1e-5 * float((client._angles[:, column] % 2).sum())

    monkeypatch.setattr(Client, "send_time", late_if_not_clifford)
    one, other = messages(np.zeros((2, 4, 1), np.int32)), messages(np.ones((2, 4, 1), np.int32))
    found = shape_differences(one, other)
    assert found
    assert all("seconds" in line for line in found)


def test_an_angle_is_one_key_whatever_its_rounding() -> None:
    assert blindness._key(2 * np.pi - 1e-12) == blindness._key(1e-12) == blindness._key(-1e-12) == 0
