"""Circuits as patterns against PennyLane's simulator; sizes against the literature's count; refusals."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pennylane as qml
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from qfl_sec.checking import InputError
from qfl_sec.circuits import variational_circuit
from qfl_sec.protocols.angle_grid import AngleGrid
from qfl_sec.protocols.blind_parties import Server
from qfl_sec.protocols.blind_semantic import pattern_probabilities, sample_results
from qfl_sec.protocols.blind_transcript import run_rounds
from qfl_sec.protocols.brick_ansatz import alternating_layers, brick_native, encoded_layers
from qfl_sec.protocols.measurement_patterns import MeasurementPattern, PatternCompiler
from qfl_sec.randomness import Streams
from qfl_sec.statevector import compile_circuit

Circuit = Callable[[Any, Any], Any]


def probabilities_by_pennylane(circuit: Circuit, qubits: int, inputs: Any, weights: Any) -> NDArray[np.float64]:
    operations = qml.tape.make_qscript(circuit)(inputs, weights).operations
    script = qml.tape.QuantumScript(operations, [qml.probs(wires=range(qubits))])
    return np.asarray(qml.execute([script], qml.device("default.qubit", wires=qubits))[0])


def many_gates(inputs: Any, weights: Any) -> Any:
    qml.Hadamard(0)
    qml.CZ(wires=[0, 1])
    qml.RX(inputs[0], wires=1)
    qml.IsingZZ(weights[0], wires=[1, 2])
    qml.CNOT(wires=[2, 0])
    qml.SWAP(wires=[0, 3])
    qml.CRZ(weights[1], wires=[3, 1])
    qml.CY(wires=[1, 2])
    qml.S(2)
    qml.T(3)
    qml.X(0)
    qml.RX(weights[2], wires=2)
    qml.CNOT(wires=[2, 1])
    qml.CRX(weights[2], wires=[0, 1])
    qml.ISWAP(wires=[1, 2])
    qml.Rot(weights[0], weights[1], weights[2], wires=3)
    qml.Rot(weights[1], weights[2], weights[0], wires=3)
    return qml.expval(qml.Z(0))


def one_row_varies(inputs: Any, weights: Any) -> Any:
    """Features in the first angle of one row of a brick, whose other row's first angle all samples share."""
    qml.RY(weights[0], wires=0)
    qml.RY(weights[2], wires=1)
    qml.CNOT(wires=[0, 1])
    qml.RZ(inputs[0], wires=0)
    qml.RX(weights[0], wires=0)
    qml.RZ(weights[1], wires=1)
    qml.RX(weights[2], wires=1)
    qml.CNOT(wires=[1, 0])
    return qml.expval(qml.Z(0))


CIRCUITS: list[tuple[str, Circuit, int, int, tuple[int, ...]]] = [
    ("many gates", many_gates, 4, 1, (3,)),
    ("brick native", brick_native, 4, 8, (3, 4, 2)),
    ("brick native, three rows", brick_native, 3, 3, (4, 3, 2)),
    ("alternating", alternating_layers, 4, 4, (2, 4, 3)),
    ("encoded", encoded_layers, 4, 8, (2, 4, 3)),
    ("one qubit", alternating_layers, 1, 1, (2, 1, 3)),
    ("ring", variational_circuit(n_qubits=4, n_layers=2, n_classes=2), 4, 4, (2, 4, 3)),
    ("linear", variational_circuit(entangler="linear", n_qubits=5, n_layers=2, n_classes=2), 5, 5, (2, 5, 3)),
    ("seven rows", variational_circuit(entangler="linear", n_qubits=7, n_layers=1, n_classes=2), 7, 7, (1, 7, 3)),
    (
        "again before each layer",
        variational_circuit(encoding="angle", n_qubits=3, n_layers=2, n_classes=2, frequencies=(1.0, 0.5)),
        3,
        3,
        (2, 3, 3),
    ),
    ("two rows", variational_circuit(encoding="angle", n_qubits=2, n_layers=2, n_classes=2), 2, 2, (2, 2, 3)),
    ("one row varies", one_row_varies, 2, 1, (3,)),
    ("bits", variational_circuit(encoding="basis", n_qubits=3, n_layers=1, n_classes=2), 3, 3, (1, 3, 3)),
]


@pytest.mark.parametrize(("circuit", "qubits", "features", "shape"), [one[1:] for one in CIRCUITS], ids=lambda _: "")
def test_patterns_give_the_circuits_distribution(
    circuit: Circuit, qubits: int, features: int, shape: tuple[int, ...]
) -> None:
    generator = np.random.default_rng(5)
    compiler = PatternCompiler(circuit, n_features=features, weight_shape=shape, n_qubits=qubits)
    inputs, weights = generator.normal(size=(3, features)), generator.uniform(-4, 4, (3, *shape))
    shared = pattern_probabilities(compiler.pattern(inputs, weights[0]))
    several = pattern_probabilities(compiler.pattern(inputs, weights))
    for i in range(3):
        expected = probabilities_by_pennylane(circuit, qubits, inputs[i], weights[0])
        assert np.abs(shared[:, i % shared.shape[1]] - expected).max() < 1e-12
        assert np.abs(several[:, i] - probabilities_by_pennylane(circuit, qubits, inputs[i], weights[i])).max() < 1e-12


@pytest.mark.parametrize(
    ("circuit", "qubits", "features", "shape"), [one[1:] for one in CIRCUITS[1:9]], ids=lambda _: ""
)
def test_angles_on_the_grid_stay_there(circuit: Circuit, qubits: int, features: int, shape: tuple[int, ...]) -> None:
    grid, generator = AngleGrid(bits=3), np.random.default_rng(6)
    compiler = PatternCompiler(circuit, n_features=features, weight_shape=shape, n_qubits=qubits)
    weights = grid.radians(grid.draw(generator, shape)) - np.pi
    # Of the arctan encoding, arctan 0 = 0 is on every grid.
    pattern = compiler.pattern(np.zeros(features), weights)
    assert np.abs(pattern.angles - pattern.rounded(grid).angles).max() < 1e-12


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_sizes_are_the_literatures(layers: int) -> None:
    def fixed_order(inputs: Any, weights: Any) -> Any:
        for layer in range(layers):
            for row in range(4):
                qml.Rot(*(weights[layer, row, k] for k in range(3)), wires=row)
            qml.CNOT(wires=[1, 2])
            qml.CNOT(wires=[0, 1])
            qml.CNOT(wires=[2, 3])
        return qml.expval(qml.Z(0))

    def columns(circuit: Circuit, shape: tuple[int, ...]) -> int:
        return PatternCompiler(circuit, n_features=4, weight_shape=shape, n_qubits=4).graph.columns

    assert columns(alternating_layers, (layers, 4, 3)) == 12 * layers + 1
    assert columns(encoded_layers, (layers, 4, 3)) == 12 * layers + 5
    assert columns(fixed_order, (layers, 4, 3)) == 16 * layers - 3
    assert columns(brick_native, (layers, 4, 2)) == 4 * layers + 5


def test_size_does_not_depend_on_angles() -> None:
    """Clifford angles, which need no qubits at all, take as many nodes as any."""
    compiler = PatternCompiler(brick_native, n_features=4, weight_shape=(2, 4, 2))
    zero = compiler.pattern(np.zeros(4), np.zeros((2, 4, 2)))
    other = compiler.pattern(np.ones(4), np.ones((2, 4, 2)))
    assert zero.graph == other.graph
    assert zero.angles.shape == other.angles.shape


def test_expectation_values_are_estimated() -> None:
    def circuit(inputs: Any, weights: Any) -> list[Any]:
        for row in range(3):
            qml.RY(weights[row], wires=row)
        qml.CNOT(wires=[0, 1])
        return [qml.expval(qml.Z(0) @ qml.Z(1) + 0.5 * qml.Z(2) + 2 * qml.I(0)), qml.probs(wires=[2, 0])]

    weights = np.array([0.4, 1.1, 2.0])
    compiler = PatternCompiler(circuit, n_features=1, weight_shape=(3,))
    pattern = compiler.pattern(np.zeros(1), weights)
    exact = compile_circuit(circuit, weight_shape=(3,))(torch.zeros(1, dtype=torch.float64), torch.tensor(weights))
    shots = 40_000
    output = sample_results(pattern_probabilities(pattern), shots, np.random.default_rng(3))
    assert np.abs(pattern.estimates(output)[0] - exact.numpy()).max() < 5 * 1.5 / np.sqrt(shots)


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        (lambda: qml.Toffoli(wires=[0, 1, 2]), "has no measurement pattern. Use one-qubit rotations and CNOT or CZ"),
        (lambda: qml.QFT(wires=[0, 1]), "has no measurement pattern"),
        (lambda: qml.DepolarizingChannel(0.1, wires=0), "channel on wires 0"),
        (lambda: qml.StatePrep(np.array([1, 0]), wires=[0]), "state preparation on wires 0"),
    ],
)
def test_gates_without_a_pattern_are_refused(gate: Callable[[], Any], message: str) -> None:
    def circuit(inputs: Any, weights: Any) -> Any:
        gate()
        return qml.expval(qml.Z(0))

    with pytest.raises(InputError, match=message):
        PatternCompiler(circuit, n_features=1, weight_shape=(1,), n_qubits=3)


def test_observables_that_results_do_not_tell_are_refused() -> None:
    def circuit(inputs: Any, weights: Any) -> Any:
        qml.RY(weights[0], wires=0)
        return qml.expval(qml.X(0))

    with pytest.raises(InputError, match="Rotate before measuring Z"):
        PatternCompiler(circuit, n_features=1, weight_shape=(1,))


def test_graphix_agrees_on_small_circuits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another compiler to measurements and another simulator of them, for the state and for blind rounds' results."""
    # Otherwise its import compiles for ten seconds what small states do not need.
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    from benchmarks.peers import graphix_pattern

    generator, rounds = np.random.default_rng(8), 20_000
    for name, circuit, qubits, features, shape in CIRCUITS:
        inputs, weights = generator.normal(size=features), generator.uniform(-4, 4, shape)
        theirs = graphix_pattern.pattern(circuit, inputs, weights, qubits=qubits)
        expected = graphix_pattern.probabilities(graphix_pattern.prepared(theirs), generator)
        compiler = PatternCompiler(circuit, n_features=features, weight_shape=shape, n_qubits=qubits)
        pattern = compiler.pattern(inputs, weights)
        assert np.abs(pattern_probabilities(pattern)[:, 0] - expected).max() < 1e-12, name
        if qubits <= 4 and pattern.graph.columns < 50:  # the others take long
            counts = blind_counts(pattern, rounds)
            assert stats.chisquare(counts, expected / expected.sum() * rounds).pvalue > 1e-4, name
            # Sampling alone makes a distance of sum sqrt(2 p (1 - p) / (pi rounds)) / 2 on average.
            floor = np.sqrt(2 * expected * (1 - expected) / (np.pi * rounds)).sum() / 2
            assert np.abs(counts / rounds - expected).sum() / 2 < 2 * floor, name
            assert np.abs(counts / rounds - np.roll(expected, 1)).sum() / 2 > 5 * floor, name


def blind_counts(pattern: MeasurementPattern, rounds: int) -> NDArray[np.intp]:
    """Return how often each result came out of blind rounds with real angles, (2^rows,)."""
    grid, graph = AngleGrid(bits=0), pattern.graph
    found = run_rounds(
        graph,
        grid.rounded(pattern.angles),
        grid=grid,
        server=Server(graph, grid, Streams(1)),
        streams=Streams(2),
        rounds=rounds,
    )
    return np.bincount((1 << np.arange(graph.rows)[::-1]) @ found.output, minlength=1 << graph.rows)
