"""Rounds message by message: exact branches, dummies and traps, deviations, blocks, what the server can read."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from qfl_sec.checking import InputError
from qfl_sec.protocols import blind_transcript
from qfl_sec.protocols.angle_grid import AngleGrid
from qfl_sec.protocols.blind_parties import X_ERROR, Z_ERROR, Client, Deviation, Server
from qfl_sec.protocols.blind_qubits import LiveQubits, SentQubits, check_memory
from qfl_sec.protocols.blind_semantic import pattern_probabilities
from qfl_sec.protocols.blind_transcript import run_rounds
from qfl_sec.protocols.brick_ansatz import brick_native, encoded_layers
from qfl_sec.protocols.brickwork import Brickwork
from qfl_sec.protocols.measurement_patterns import PatternCompiler
from qfl_sec.randomness import Streams
from tests.protocols.test_measurement_patterns import probabilities_by_pennylane

GRID = AngleGrid(bits=4)


def traps(graph: Brickwork, colour: int) -> NDArray[np.bool_]:
    found = graph.colours() == colour
    found[:, -1] = ~found[:, -1]
    return found


def test_rounds(graph: Brickwork, colour: int, rounds: int, deviation: Deviation | None = None) -> Any:
    """Return the outcomes of test rounds and those that an honest server gives, (rows, columns, rounds)."""
    found = run_rounds(
        graph,
        np.zeros((graph.rows, graph.columns - 1, 1), np.int32),
        grid=GRID,
        server=Server(graph, GRID, Streams(1), deviation=deviation),
        streams=Streams(2),
        rounds=rounds,
        dummies=(graph.colours() != colour)[..., None],
        adaptive=np.zeros(rounds, bool),
    )
    expected = graph.neighbour_parity(found.dummy_bits)
    expected[:, -1] = found.dummy_bits[:, -1]
    return found.outcomes, expected


test_rounds.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize("bits", [0, 2, 5])
@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_every_branch_ends_in_the_circuits_state(rows: int, bits: int) -> None:
    """Random circuits, secrets and outcomes: the corrected output state has fidelity 1 to 1e-10 with PennyLane's."""
    import pennylane as qml

    generator, grid = np.random.default_rng(rows + 10 * bits), AngleGrid(bits=bits)
    shape = (2, rows, 3)
    compiler = PatternCompiler(encoded_layers, n_features=rows, weight_shape=shape, n_qubits=rows)
    for seed in range(3):
        inputs, weights = (grid.radians(grid.draw(generator, one)) for one in ((rows,), shape))
        pattern, rounds = compiler.pattern(inputs, weights), 16
        graph = pattern.graph
        client = Client(
            graph, grid.rounded(pattern.angles), grid=grid, streams=Streams(seed), rounds=rounds, dtype=np.complex128
        )
        server = Server(graph, grid, Streams(seed + 100))
        messages = list(blind_transcript.exchange(client, server, graph, grid))
        assert len(messages) == 3 * graph.rounds + 2
        assert server._live is not None
        state = server._live.amplitudes()
        theta, _ = client.private_record()
        known, last = client.outcomes(), graph.columns - 1
        x, z = graph.x_correction(known, last), graph.z_correction(known, last)
        operations = qml.tape.make_qscript(encoded_layers)(inputs, weights).operations
        expected = qml.matrix(qml.tape.QuantumScript(operations), wire_order=range(rows))[:, 0]
        for i in range(rounds):
            corrected = state[:, i]
            for row in range(rows):
                phase = np.exp(1j * (np.pi * z[row, i] - grid.radians(theta[row, last, i])))
                pairs = corrected.reshape(1 << row, 2, -1) * np.array([1, phase])[:, None]
                corrected = (pairs[:, ::-1] if x[row, i] else pairs).reshape(-1)
            assert abs(np.vdot(expected, corrected)) ** 2 == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("bits", [0, 6])
def test_results_are_distributed_as_the_circuits(bits: int) -> None:
    grid, rounds = AngleGrid(bits=bits), 20_000
    compiler = PatternCompiler(brick_native, n_features=3, weight_shape=(3, 3, 2))
    weights = grid.radians(grid.rounded(np.random.default_rng(1).uniform(-3, 3, (3, 3, 2))))
    inputs = grid.radians(grid.rounded([0.3, 1.2, 2.0]))
    pattern = compiler.pattern(inputs, weights)
    server = Server(pattern.graph, grid, Streams(3))
    angles = grid.rounded(pattern.angles)
    found = run_rounds(pattern.graph, angles, grid=grid, server=server, streams=Streams(4), rounds=rounds)
    counts = np.bincount(np.array([4, 2, 1]) @ found.output, minlength=8)
    exact = probabilities_by_pennylane(brick_native, 3, inputs, weights)
    assert np.abs(exact - pattern_probabilities(pattern)[:, 0]).max() < 1e-10
    assert stats.chisquare(counts, exact / exact.sum() * rounds).pvalue > 1e-4


@pytest.mark.parametrize(("rows", "columns"), [(1, 5), (3, 9), (4, 17)])
@pytest.mark.parametrize("colour", [0, 1])
def test_traps_of_an_honest_server_never_fail(rows: int, columns: int, colour: int) -> None:
    graph = Brickwork(rows=rows, columns=columns)
    outcomes, expected = test_rounds(graph, colour, 300)
    where = traps(graph, colour)
    assert np.array_equal(outcomes[where], expected[where])
    others = (outcomes == expected)[~where]
    assert abs(others.mean() - 0.5) < 5 * 0.5 / np.sqrt(others.size)


@pytest.mark.parametrize("error", [X_ERROR, Z_ERROR, X_ERROR + Z_ERROR])
@pytest.mark.parametrize("place", [(1, 2), (0, -1)])
def test_pauli_errors_turn_traps_as_often_as_they_must(error: int, place: tuple[int, int]) -> None:
    """Z always turns a trap, X where the random theta lets it; in the last column X does and Z does not."""
    graph, rounds = Brickwork(rows=2, columns=5), 4000
    paulis = np.zeros((2, 5, 1), np.uint8)
    paulis[place] = error
    colour = 0 if traps(graph, 0)[place] else 1
    outcomes, expected = test_rounds(graph, colour, rounds, Deviation(paulis=paulis))
    wrong = (outcomes != expected) & traps(graph, colour)[..., None]
    if place[1] == -1:
        predicted = float(error & X_ERROR > 0)
    else:
        predicted = {X_ERROR: 0.5, Z_ERROR: 1.0, X_ERROR + Z_ERROR: 0.5}[error]
    assert abs(wrong[place].mean() - predicted) <= 5 * np.sqrt(predicted * (1 - predicted) / rounds)
    wrong[place] = False
    assert not wrong.any()


def test_lost_qubits_and_chosen_answers_are_seen() -> None:
    graph, rounds = Brickwork(rows=2, columns=5), 2000
    where = np.zeros((2, 5, 1), bool)
    where[0, 2] = True
    colour = int(graph.colours()[0, 2])
    for deviation in (Deviation(dropped=where), Deviation(answers=np.where(where, 1, -1).astype(np.int8))):
        outcomes, expected = test_rounds(graph, colour, rounds, deviation)
        assert abs((outcomes != expected)[0, 2].mean() - 0.5) < 5 * 0.5 / np.sqrt(rounds)


def test_deviations_meet_the_rounds_they_name_in_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blind_transcript, "chunk_rounds", lambda *_: 7)
    graph, rounds = Brickwork(rows=2, columns=5), 40
    paulis = np.zeros((2, 5, rounds), np.uint8)
    paulis[0, 2] = np.where(np.arange(rounds) % 3 == 0, Z_ERROR, 0)
    outcomes, expected = test_rounds(graph, 0, rounds, Deviation(paulis=paulis))
    assert np.array_equal((outcomes != expected)[0, 2], paulis[0, 2] > 0)


def test_messages_are_counted_by_the_exchange_and_by_formula() -> None:
    graph = Brickwork.of_bricks(rows=3, bricks=2)
    angles = np.zeros((3, 8, 1), np.int32)
    server = Server(graph, GRID, Streams(1))
    found = run_rounds(graph, angles, grid=GRID, server=server, streams=Streams(2), rounds=10)
    qubits = sum(one.size for one in found.messages if one.kind == "qubits")
    bits = sum(one.size for one in found.messages if one.kind != "qubits")
    assert (found.cost.qubits, found.cost.classical_bits) == (10 * qubits, 10 * bits)
    assert found.cost.seconds == pytest.approx(10 * found.messages[-1].seconds)


def test_a_curious_server_records_what_it_was_told_and_changes_nothing() -> None:
    graph = Brickwork.of_bricks(rows=2, bricks=1)
    angles = GRID.draw(np.random.default_rng(1), (2, 4, 1))
    found = {}
    for curious in (False, True):
        server = Server(graph, GRID, Streams(1), curious=curious)
        run = run_rounds(graph, angles, grid=GRID, server=server, streams=Streams(2), rounds=3000)
        found[curious] = (run.outcomes, server.record())
    assert np.array_equal(found[False][0], found[True][0])
    assert not found[False][1]
    record = found[True][1]
    assert record["angles"].shape == (2, 4, 3000)
    assert record["outcomes"].shape == (2, 5, 3000)
    hidden = record["outcomes"] ^ found[True][0]
    assert abs(hidden.mean() - 0.5) < 5 * 0.5 / np.sqrt(hidden.size)


def test_same_streams_same_rounds() -> None:
    graph, angles = Brickwork.of_bricks(rows=2, bricks=1), np.ones((2, 4, 1), np.int32)
    first, again = (
        run_rounds(graph, angles, grid=GRID, server=Server(graph, GRID, Streams(1)), streams=Streams(2), rounds=50)
        for _ in range(2)
    )
    assert np.array_equal(first.outcomes, again.outcomes)


def test_live_qubits_agree_with_a_state_of_the_whole_graph() -> None:
    """Six qubits at once, dummies among them: the probability of every string of outcomes, brute force."""
    generator, rounds, rows, columns = np.random.default_rng(3), 40_000, 2, 3
    graph = Brickwork(rows=rows, columns=columns)
    theta = generator.uniform(0, 2 * np.pi, (rows, columns))
    delta = generator.uniform(0, 2 * np.pi, (rows, columns - 1))
    dummies = np.array([[False, False, True], [False, True, False]])
    bits = np.array([[0, 0, 1], [0, 1, 0]], np.uint8)
    single = [
        np.eye(2)[bits[i, j]] if dummies[i, j] else np.array([1, np.exp(1j * theta[i, j])]) / np.sqrt(2)
        for j in range(columns)
        for i in range(rows)
    ]
    state = np.ones(1)
    for one in single:
        state = np.kron(state, one)
    state = state.reshape([2] * 6)
    edges = [
        (0, 2),
        (1, 3),
        (2, 4),
        (3, 5),
        *((rows * j + i, rows * j + i + 1) for j in range(3) for i in graph.vertical(j)),
    ]
    for one, other in edges:
        index: list[Any] = [slice(None)] * 6
        index[one] = index[other] = 1
        state[tuple(index)] *= -1
    for node in range(4):
        angle = delta.T.ravel()[node]
        basis = np.array([[1, np.exp(-1j * angle)], [1, -np.exp(-1j * angle)]]) / np.sqrt(2)
        state = np.moveaxis(np.tensordot(basis, state, (1, node)), 0, node)
    exact = np.abs(state.reshape(-1)) ** 2

    def column(j: int) -> SentQubits:
        def repeat(values: Any) -> Any:
            return np.repeat(values[:, j, None], rounds, 1)

        return SentQubits(repeat(np.exp(1j * theta)), repeat(dummies), repeat(bits))

    live, found = LiveQubits(column(0)), []
    for j in range(columns - 1):
        phases = np.exp(-1j * delta)
        for i in range(rows):
            found.append(live.advance(i, np.full(rounds, phases[i, j]), column(j + 1), generator))
        for i in graph.vertical(j + 1):
            live.entangle(i)
    strings = np.array([*found, *live.measure(generator)])
    counts = np.bincount((1 << np.arange(5, -1, -1)) @ strings, minlength=64)
    possible = exact > 1e-12
    assert not counts[~possible].any()
    assert stats.chisquare(counts[possible], exact[possible] * rounds).pvalue > 1e-4


def test_too_many_live_qubits_are_refused_with_the_largest_number_that_fits() -> None:
    with pytest.raises(InputError, match="Set qubits = 27 or fewer"):
        check_memory(28)
    check_memory(27)
    with pytest.raises(InputError, match="qubits=27 <= 26"):
        check_memory(27, np.complex128)


@pytest.mark.parametrize("bits", [1, -1, 17])
def test_grids_that_cannot_be_are_refused(bits: int) -> None:
    with pytest.raises(InputError, match=rf"angle_bits={bits} .*Give 2 bits or more"):
        AngleGrid(bits=bits)
