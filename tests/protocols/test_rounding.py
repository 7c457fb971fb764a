"""What the grid of angles costs: two stated ensembles, rounded by gates and as patterns, against the docs' table."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pennylane as qml
import pytest
import torch

from qfl_sec.models import VariationalClassifier
from qfl_sec.protocols.angle_grid import AngleGrid
from qfl_sec.protocols.brick_ansatz import encoded_layers
from qfl_sec.protocols.measurement_patterns import PatternCompiler
from qfl_sec.protocols.rounding import pattern_values, rounding_changes
from qfl_sec.statevector import CompiledCircuit, compile_circuit

DRAWS, SHAPE = 400, (2, 4, 3)
PAGE = Path(__file__).parents[2] / "docs" / "delegated-computing.md"

Ensemble = tuple[CompiledCircuit, Any, Any]


def classifier() -> Ensemble:
    """The default circuit: records uniform in [-1, 1], weights in [-pi, pi); Z of qubits 0 and 1."""
    model = VariationalClassifier(qubits=4, layers=2)
    circuit = model.build(4, 2, generator=torch.Generator(), dtype=torch.float64).circuit
    assert isinstance(circuit, CompiledCircuit)
    generator = np.random.default_rng(0)
    return circuit, generator.uniform(-1, 1, (DRAWS, 4)), generator.uniform(-math.pi, math.pi, (DRAWS, *SHAPE))


def layers() -> Ensemble:
    """RY, RZ and two layers of Rot and CNOTs, every angle uniform in [-pi, pi); Z of every qubit."""
    generator = np.random.default_rng(0)
    angles = (generator.uniform(-math.pi, math.pi, (DRAWS, *shape)) for shape in ((8,), SHAPE))
    return compile_circuit(encoded_layers, weight_shape=SHAPE), *angles


ENSEMBLES = {"classifier": classifier(), "layers": layers()}


def means(ensemble: str, bits: int) -> tuple[Any, Any]:
    """Return mean changes and their standard errors over draws, (2,): gate by gate, and as a pattern."""
    each = [one.mean(-1) for one in rounding_changes(*ENSEMBLES[ensemble], angle_bits=bits)]
    return np.array([one.mean() for one in each]), np.array([one.std(ddof=1) / math.sqrt(DRAWS) for one in each])


@pytest.mark.parametrize(("bits", "low", "high"), [(3, 0.10, 0.15), (6, 0.013, 0.020), (8, 0.003, 0.005)])
def test_the_classifier_s_cost_is_of_the_known_size(bits: int, low: float, high: float) -> None:
    """The range found for several ensembles of 4 qubits and 2 layers; here gates and pattern round alike."""
    found, error = means("classifier", bits)
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert ((low < found) & (found < high)).all()
    assert (error < 0.04 * found).all()


@pytest.mark.parametrize("ensemble", ENSEMBLES)
@pytest.mark.parametrize("bits", [8, 9])
def test_half_the_step_is_half_the_cost(ensemble: str, bits: int) -> None:
    (coarse, coarse_error), (fine, fine_error) = means(ensemble, bits), means(ensemble, bits + 1)
    ratio = coarse / fine
    assert (np.abs(ratio - 2) < 4 * 2 * np.hypot(coarse_error / coarse, fine_error / fine)).all()
    assert (coarse_error / coarse < 0.05).all()


def test_a_pattern_rounds_the_sum_of_rotations_about_z_once() -> None:
    """RZ of the encoding and of the first layer meet: gate by gate more is rounded, and lost; over six grids."""
    gaps = []
    for bits in range(3, 9):
        gates, pattern = rounding_changes(*ENSEMBLES["layers"], angle_bits=bits)
        gaps.append((gates - pattern).mean(-1) / pattern.mean())
        assert np.abs(gates - pattern).max() > 0.1 * pattern.mean()
    each = np.mean(gaps, 0)
    assert each.mean() > 3 * each.std(ddof=1) / math.sqrt(DRAWS)


def test_both_roundings_are_those_of_the_gates_they_name() -> None:
    """Against PennyLane, by circuits that are rounded by hand."""

    def circuit(inputs: Any, weights: Any) -> list[Any]:
        qml.RY(inputs[0], wires=0)
        qml.RZ(weights[0], wires=0)
        qml.RZ(weights[1], wires=0)
        qml.RX(weights[2], wires=0)
        qml.CNOT(wires=[0, 1])
        return [qml.expval(qml.Z(0)), qml.expval(qml.Z(0) @ qml.Z(1) + 0.5 * qml.Z(1)), qml.probs(wires=[1])]

    def by_hand(change: Callable[[float], float], x: Any, w: Any, *, joined: bool) -> Any:
        turns = (change(w[0] + w[1]), 0.0) if joined else (change(w[0]), change(w[1]))
        node = qml.QNode(circuit, qml.device("default.qubit", wires=2))
        return np.concatenate([np.atleast_1d(one) for one in node([change(x[0])], [*turns, change(w[2])])])

    step, generator = math.tau / 8, np.random.default_rng(3)
    inputs, weights = generator.uniform(-3, 3, (5, 1)), generator.uniform(-3, 3, (5, 3))
    found = rounding_changes(compile_circuit(circuit, weight_shape=(3,)), inputs, weights, angle_bits=3)
    for i, (x, w) in enumerate(zip(inputs, weights, strict=True)):
        exact = by_hand(float, x, w, joined=False)
        for changes, joined in zip(found, (False, True), strict=True):
            rounded = by_hand(lambda angle: round(angle / step) * step, x, w, joined=joined)
            assert np.abs(np.abs(rounded - exact) - changes[i]).max() < 1e-9


def test_a_pattern_on_the_grid_returns_what_it_did() -> None:
    compiler = PatternCompiler(encoded_layers, n_features=8, weight_shape=SHAPE)
    pattern = compiler.pattern(np.full(8, math.pi / 4), np.full(SHAPE, -math.pi / 2))
    assert np.abs(pattern_values(pattern) - pattern_values(pattern.rounded(AngleGrid(bits=3)))).max() < 1e-12


@pytest.mark.parametrize(
    ("row", "ensemble", "place"),
    [
        ("the classifier, either way", "classifier", 1),
        ("layers, gate by gate", "layers", 0),
        ("layers, as a pattern", "layers", 1),
    ],
)
def test_the_documentation_s_table_is_what_comes_out(row: str, ensemble: str, place: int) -> None:
    found = [means(ensemble, bits)[0][place] for bits in (3, 6, 8)]
    assert f"| {row} | {found[0]:.3f} | {found[1]:.4f} | {found[2]:.5f} |" in PAGE.read_text()
