"""The statevector program against PennyLane's default.qubit: every gate, values and first derivatives."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pennylane as qml
import pytest
import torch
from torch import Tensor

from qfl_sec.statevector import compile_circuit

TOLERANCE = 1e-10

ANGLES = torch.tensor([0.7, -1.3, 2.1, 0.4], dtype=torch.float64)
WEIGHTS = torch.tensor([0.9, 0.3, -0.8, 1.7, -2.2, 0.5], dtype=torch.float64)


def unitary(x: Any, size: int) -> Any:
    """Return exp(i H(x)) of a fixed pattern of Hermitian matrices."""
    rng = np.random.default_rng(size)
    matrices = rng.normal(size=(2, size, size)) + 1j * rng.normal(size=(2, size, size))
    first, second = (torch.as_tensor(m + m.conj().T) / size for m in matrices)
    return torch.linalg.matrix_exp(1j * (x[0] * first + x[1] * second))


FIXED = np.asarray(unitary(torch.tensor([0.4, 0.6]), 4))

# What each entry does with the inputs x and the weights w on wires 0 to 3.
GATES: dict[str, Callable[[Any, Any], Any]] = {
    "Identity": lambda x, w: qml.Identity(0),
    "GlobalPhase": lambda x, w: qml.GlobalPhase(x[0]),
    "Hadamard": lambda x, w: qml.Hadamard(1),
    "PauliX": lambda x, w: qml.X(2),
    "PauliY": lambda x, w: qml.Y(2),
    "PauliZ": lambda x, w: qml.Z(1),
    "S": lambda x, w: qml.S(0),
    "T": lambda x, w: qml.T(3),
    "SX": lambda x, w: qml.SX(1),
    "RX": lambda x, w: qml.RX(x[0] * w[1], 1),
    "RX constant": lambda x, w: qml.RX(0.3, 1),
    "RX constant tensor": lambda x, w: qml.RX(torch.tensor(0.3, dtype=torch.float64), 1),
    "RY": lambda x, w: qml.RY(w[0] + torch.arctan(x[1]), 2),
    "RZ": lambda x, w: qml.RZ(x[2] ** 2, 0),
    "Rot": lambda x, w: qml.Rot(w[0], x[1], w[2], 2),
    "PhaseShift": lambda x, w: qml.PhaseShift(w[3], 1),
    "U1": lambda x, w: qml.U1(x[0], 1),
    "U2": lambda x, w: qml.U2(w[0], x[1], 1),
    "U3": lambda x, w: qml.U3(w[0], x[1], w[2], 1),
    "QubitUnitary 1": lambda x, w: qml.QubitUnitary(unitary(x, 2), 1),
    "DiagonalQubitUnitary": lambda x, w: qml.DiagonalQubitUnitary(torch.exp(1j * x[:2]), 1),
    "CNOT": lambda x, w: qml.CNOT([2, 0]),
    "CZ": lambda x, w: qml.CZ([1, 3]),
    "CY": lambda x, w: qml.CY([3, 1]),
    "CH": lambda x, w: qml.CH([0, 2]),
    "SWAP": lambda x, w: qml.SWAP([0, 3]),
    "ISWAP": lambda x, w: qml.ISWAP([1, 2]),
    "SISWAP": lambda x, w: qml.SISWAP([2, 1]),
    "ECR": lambda x, w: qml.ECR([0, 2]),
    "CRX": lambda x, w: qml.CRX(x[0], [1, 0]),
    "CRY": lambda x, w: qml.CRY(w[0], [3, 0]),
    "CRZ": lambda x, w: qml.CRZ(x[0], [0, 2]),
    "CRot": lambda x, w: qml.CRot(x[0], w[1], x[2], [2, 1]),
    "ControlledPhaseShift": lambda x, w: qml.ControlledPhaseShift(x[0], [2, 1]),
    "CPhaseShift00": lambda x, w: qml.CPhaseShift00(w[0], [2, 1]),
    "CPhaseShift01": lambda x, w: qml.CPhaseShift01(x[0], [2, 1]),
    "CPhaseShift10": lambda x, w: qml.CPhaseShift10(w[0], [2, 1]),
    "IsingXX": lambda x, w: qml.IsingXX(x[0], [0, 3]),
    "IsingYY": lambda x, w: qml.IsingYY(w[0], [3, 2]),
    "IsingZZ": lambda x, w: qml.IsingZZ(x[0], [1, 3]),
    "IsingXY": lambda x, w: qml.IsingXY(w[0], [1, 0]),
    "PSWAP": lambda x, w: qml.PSWAP(x[0], [1, 3]),
    "SingleExcitation": lambda x, w: qml.SingleExcitation(x[0], [1, 3]),
    "SingleExcitationPlus": lambda x, w: qml.SingleExcitationPlus(w[0], [2, 0]),
    "SingleExcitationMinus": lambda x, w: qml.SingleExcitationMinus(x[0], [1, 3]),
    "FermionicSWAP": lambda x, w: qml.FermionicSWAP(w[0], [1, 2]),
    "QubitUnitary 2": lambda x, w: qml.QubitUnitary(unitary(w, 4), [3, 1]),
    "QubitUnitary constant": lambda x, w: qml.QubitUnitary(FIXED, [2, 0]),
    "QubitUnitary constant tensor": lambda x, w: qml.QubitUnitary(torch.as_tensor(FIXED), [2, 0]),
    "ControlledQubitUnitary": lambda x, w: qml.ControlledQubitUnitary(unitary(x, 2), [3, 1], control_values=[0]),
    "QubitUnitary of any norm": lambda x, w: qml.QubitUnitary(np.diag([1.0, 0.5]), 2),
    "Toffoli": lambda x, w: qml.Toffoli([2, 0, 1]),
    "CSWAP": lambda x, w: qml.CSWAP([3, 0, 1]),
    "CCZ": lambda x, w: qml.CCZ([3, 0, 1]),
    "MultiControlledX": lambda x, w: qml.MultiControlledX([3, 0, 1, 2], control_values=[0, 1, 0]),
    "MultiRZ": lambda x, w: qml.MultiRZ(x[0] * x[1], [0, 2, 3]),
    "PauliRot": lambda x, w: qml.PauliRot(x[0], "XYZ", [1, 3, 0]),
    "QubitUnitary 3": lambda x, w: qml.QubitUnitary(unitary(x, 8), [0, 3, 2]),
    "QubitUnitary 4": lambda x, w: qml.QubitUnitary(unitary(w, 16), [1, 0, 3, 2]),
    "QFT": lambda x, w: qml.QFT([0, 2, 1]),
    "DoubleExcitation": lambda x, w: qml.DoubleExcitation(x[0], [1, 0, 2, 3]),
    "OrbitalRotation": lambda x, w: qml.OrbitalRotation(w[0], [0, 2, 1, 3]),
    "ctrl Rot": lambda x, w: qml.ctrl(qml.Rot(x[0], w[1], x[2], 1), control=[3, 0], control_values=[1, 0]),
    "ctrl IsingXX": lambda x, w: qml.ctrl(qml.IsingXX(x[0], [0, 1]), control=2, control_values=0),
    "ctrl MultiRZ": lambda x, w: qml.ctrl(qml.MultiRZ(x[0], [0, 1]), control=2, control_values=0),
    "ctrl PhaseShift": lambda x, w: qml.ctrl(qml.PhaseShift(x[0], 0), control=[2, 3]),
    "adjoint Rot": lambda x, w: qml.adjoint(qml.Rot(w[0], x[1], w[2], 3)),
    "adjoint U2": lambda x, w: qml.adjoint(qml.U2(w[0], x[1], 3)),
    "adjoint CNOT": lambda x, w: qml.adjoint(qml.CNOT([1, 0])),
    "adjoint QFT": lambda x, w: qml.adjoint(qml.QFT([0, 1])),
    "adjoint QubitUnitary": lambda x, w: qml.adjoint(qml.QubitUnitary(unitary(x, 4), [3, 1])),
    "adjoint CRX": lambda x, w: qml.adjoint(qml.CRX(x[0], [3, 1])),
    "pow RX": lambda x, w: qml.pow(qml.RX(x[0], 1), 0.3),
    "pow Rot": lambda x, w: qml.pow(qml.Rot(x[0], w[1], w[2], 1), 2),
    "pow T": lambda x, w: qml.pow(qml.T(1), 3),
    "pow X": lambda x, w: qml.pow(qml.X(1), 0.5),
    "prod": lambda x, w: qml.prod(qml.RX(x[0], 1), qml.RY(w[0], 2), qml.CNOT([1, 2])),
    "exp": lambda x, w: qml.exp(qml.X(0) @ qml.Z(1), 1j * x[0]),
    "evolve": lambda x, w: qml.evolve(qml.X(0) @ qml.Y(2), x[0]),
    "StronglyEntanglingLayers": lambda x, w: qml.StronglyEntanglingLayers(w.reshape(1, 2, 3), [1, 2]),
    "BasicEntanglerLayers": lambda x, w: qml.BasicEntanglerLayers(w.reshape(2, 3), [0, 1, 3]),
    "AngleEmbedding": lambda x, w: qml.AngleEmbedding(x, range(4), rotation="X"),
    "IQPEmbedding": lambda x, w: qml.IQPEmbedding(x, range(4), n_repeats=2),
    "QAOAEmbedding": lambda x, w: qml.QAOAEmbedding(x[:2], w[:3].reshape(1, 3), [0, 1]),
    "numbers of tensors": lambda x, w: qml.RX(w[:2] @ x[:2] + x.sum() - 2 * torch.linalg.norm(w), 1),
    "slices and arithmetic": lambda x, w: [
        qml.RY(a * b / 2, i) for i, (a, b) in enumerate(zip(x, w[1:5], strict=True))
    ],
    "qml.math": lambda x, w: qml.RY(qml.math.arctan(x[0]) + qml.math.sin(w[..., 1]), 1),
    "one weight many times": lambda x, w: [qml.RX(w[0], i) for i in range(4)],
    "written tensor": lambda x, w: qml.RX(overwritten(x)[0], 0),
    "stacked": lambda x, w: qml.Rot(*torch.stack([x[0], w[1], x[2] * 0.5]), 0),
    "whole tensors": lambda x, w: qml.Rot(*torch.tanh(x * 0.5 + w[:4])[1:].flip(0), 0),
}


def overwritten(x: Any) -> Any:
    y = x.clone()
    y[0] = x[1] * 2
    return y


def sandwich(gate: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Put a gate between entangling layers, and measure words that see phases."""

    def circuit(inputs: Any, weights: Any) -> list[Any]:
        for i in range(4):
            qml.Rot(0.3 + i, 1.1 - 0.4 * i, 0.2 * i, i)
        for i in range(3):
            qml.CNOT([i, i + 1])
        gate(inputs, weights)
        for i in range(4):
            qml.Rot(0.5 - i, 0.9 + 0.3 * i, 0.7, i)
        observable = 0.5 * qml.X(0) @ qml.Y(2) - 0.25 * qml.Z(1) @ qml.Z(3) + 2.0 * qml.I(0)
        return [qml.expval(qml.Y(1)), qml.expval(observable), qml.probs(wires=[3, 0])]

    return circuit


def reference(circuit: Callable[..., Any], n_qubits: int, **options: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """Return PennyLane's own evaluation of one sample, its measurements joined."""
    node = qml.QNode(circuit, qml.device("default.qubit", wires=n_qubits), interface="torch", **options)

    def run(inputs: Tensor, weights: Tensor) -> Tensor:
        values = node(inputs, weights)
        parts = values if isinstance(values, tuple | list) else [values]
        return torch.cat([torch.atleast_1d(part) for part in parts])

    return run


def values_and_gradients(function: Callable[..., Tensor], inputs: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
    """Return the values, and the gradients of one fixed combination of them."""
    inputs, weights = inputs.clone().requires_grad_(), weights.clone().requires_grad_()
    values = function(inputs, weights)
    combination = (values * torch.linspace(0.5, 1.5, len(values), dtype=torch.float64)).sum()
    if not combination.requires_grad:
        return values, torch.zeros_like(inputs), torch.zeros_like(weights)
    gradients = torch.autograd.grad(combination, (inputs, weights), allow_unused=True)
    filled = [
        torch.zeros_like(like) if gradient is None else gradient
        for gradient, like in zip(gradients, (inputs, weights), strict=True)
    ]
    return values.detach(), *filled


def assert_close(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", GATES)
def test_every_gate_agrees_with_default_qubit(name: str) -> None:
    circuit = sandwich(GATES[name])
    ours = values_and_gradients(compile_circuit(circuit), ANGLES, WEIGHTS)
    theirs = values_and_gradients(reference(circuit, 4, diff_method="backprop"), ANGLES, WEIGHTS)
    assert_close(ours, theirs)


@pytest.mark.parametrize("name", GATES)
def test_every_gate_takes_batches(name: str) -> None:
    f = compile_circuit(sandwich(GATES[name]))
    rng = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, 1, 4, generator=rng, dtype=torch.float64)
    weights = torch.randn(2, 6, generator=rng, dtype=torch.float64)
    single = torch.stack([torch.stack([f(x[0], w) for w in weights]) for x in inputs])
    torch.testing.assert_close(f(inputs, weights), single, rtol=0, atol=TOLERANCE)


def random_circuit(n_qubits: int, seed: int) -> tuple[Callable[[Any, Any], Any], int, int]:
    """Return a circuit of random gates on random wires, with its numbers of features and weights."""
    rng = np.random.default_rng(seed)
    kinds: list[tuple[int, int, Callable[..., Any]]] = [
        (1, 1, qml.RX), (1, 1, qml.RY), (1, 1, qml.RZ), (1, 3, qml.Rot), (1, 1, qml.PhaseShift), (1, 3, qml.U3),
        (1, 0, qml.Hadamard), (1, 0, qml.S), (1, 0, qml.Y), (1, 0, qml.SX),
        (2, 0, qml.CNOT), (2, 0, qml.CZ), (2, 0, qml.SWAP), (2, 0, qml.ISWAP), (2, 1, qml.IsingXX), (2, 1, qml.CRY),
        (2, 1, qml.IsingXY), (2, 1, qml.ControlledPhaseShift), (2, 1, qml.SingleExcitation),
        (3, 0, qml.Toffoli), (3, 0, qml.CSWAP), (3, 1, qml.MultiRZ),
    ]  # fmt: skip
    fitting = [kind for kind in kinds if kind[0] <= n_qubits]
    chosen = []
    for _ in range(5 * n_qubits + 5):
        size, parameters, gate = fitting[rng.integers(len(fitting))]
        wires = [int(w) for w in rng.permutation(n_qubits)[:size]]
        sources = [(bool(rng.integers(2)), int(rng.integers(6))) for _ in range(parameters)]
        chosen.append((gate, wires, sources))
    letters = [{"I": qml.I, "X": qml.X, "Y": qml.Y, "Z": qml.Z}[k] for k in rng.choice(list("IXYZ"), n_qubits)]

    def circuit(inputs: Any, weights: Any) -> list[Any]:
        for gate, wires, sources in chosen:
            gate(*(inputs[i] if from_inputs else weights[i] for from_inputs, i in sources), wires=wires)
        word = qml.prod(*(letter(i) for i, letter in enumerate(letters)))
        return [qml.expval(qml.Z(0)), qml.expval(word), qml.expval(qml.X(n_qubits - 1) + 0.5 * qml.Y(0))]

    return circuit, 6, 6


@pytest.mark.parametrize("n_qubits", range(1, 11))
def test_random_circuits_agree_with_default_qubit(n_qubits: int) -> None:
    circuit, n_features, n_weights = random_circuit(n_qubits, seed=n_qubits)
    rng = torch.Generator().manual_seed(n_qubits)
    inputs = torch.randn(n_features, generator=rng, dtype=torch.float64)
    weights = torch.randn(n_weights, generator=rng, dtype=torch.float64)
    ours = values_and_gradients(compile_circuit(circuit, n_qubits=n_qubits), inputs, weights)
    theirs = values_and_gradients(reference(circuit, n_qubits, diff_method="backprop"), inputs, weights)
    assert_close(ours, theirs)


@pytest.mark.parametrize("method", ["backprop", "adjoint", "parameter-shift"])
def test_gradients_agree_with_every_method(method: str) -> None:
    def circuit(inputs: Any, weights: Any) -> list[Any]:
        for i in range(3):
            qml.RX(inputs[i] * weights[i], wires=i)
        for i in range(3):
            qml.CNOT([i, (i + 1) % 3])
            qml.Rot(weights[i], inputs[i], weights[i + 3], wires=i)
        return [qml.expval(qml.Z(0)), qml.expval(qml.X(1) @ qml.Y(2))]

    ours = values_and_gradients(compile_circuit(circuit), ANGLES, WEIGHTS)
    assert_close(ours, values_and_gradients(reference(circuit, 3, diff_method=method), ANGLES, WEIGHTS))


@pytest.mark.parametrize("point", [0.0, np.pi, -np.pi / 2])
def test_special_points(point: float) -> None:
    circuit = sandwich(GATES["CRot"])
    inputs, weights = torch.full((4,), point, dtype=torch.float64), torch.full((6,), point, dtype=torch.float64)
    theirs = values_and_gradients(reference(circuit, 4, diff_method="backprop"), inputs, weights)
    assert_close(values_and_gradients(compile_circuit(circuit), inputs, weights), theirs)


def test_from_the_ground_state_at_zero() -> None:
    f = compile_circuit(lambda x, w: (qml.RY(x[0], 0), qml.RX(w[0], 0), qml.expval(qml.Z(0)))[-1])
    zero = torch.zeros(1, dtype=torch.float64)
    assert_close(values_and_gradients(f, zero, zero), (torch.ones(1, dtype=torch.float64), zero, zero))


def test_a_qnode_with_named_wires() -> None:
    device = qml.device("default.qubit", wires=["b", "a"])

    @qml.qnode(device, interface="torch")
    def node(inputs: Any, weights: Any) -> Any:
        qml.RY(inputs[0], wires="a")
        qml.CRX(weights[0], wires=["a", "b"])
        return qml.probs()

    f = compile_circuit(node)
    torch.testing.assert_close(f(ANGLES, WEIGHTS), node(ANGLES, WEIGHTS), rtol=0, atol=TOLERANCE)
    assert (f.n_qubits, f.n_features, f.n_measurements) == (2, 4, 4)


def test_amplitude_embedding() -> None:
    def circuit(inputs: Any, weights: Any) -> Any:
        qml.AmplitudeEmbedding(inputs, wires=[2, 0], normalize=True)
        qml.CRX(weights[0], wires=[0, 1])
        return qml.expval(qml.X(0) @ qml.Z(1) @ qml.Z(2))

    theirs = values_and_gradients(reference(circuit, 3, diff_method="backprop"), ANGLES, WEIGHTS)
    assert_close(values_and_gradients(compile_circuit(circuit), ANGLES, WEIGHTS), theirs)


def test_a_state_that_is_normalised_already() -> None:
    def circuit(inputs: Any, weights: Any) -> Any:
        qml.StatePrep(inputs, wires=[0, 1])
        qml.CRX(weights[0], wires=[0, 1])
        return qml.probs(wires=[1])

    inputs = ANGLES / ANGLES.norm()
    expected = reference(circuit, 2)(inputs, WEIGHTS)
    torch.testing.assert_close(compile_circuit(circuit)(inputs, WEIGHTS), expected, rtol=0, atol=TOLERANCE)


def test_a_constant_state() -> None:
    state = np.array([0.5, 0.5j, -0.5, 0.5])

    def circuit(inputs: Any, weights: Any) -> Any:
        qml.StatePrep(state, wires=[1, 0])
        qml.Rot(*inputs[:3], wires=0)
        return qml.expval(qml.Y(0) @ qml.X(1))

    theirs = values_and_gradients(reference(circuit, 2, diff_method="backprop"), ANGLES, WEIGHTS)
    assert_close(values_and_gradients(compile_circuit(circuit), ANGLES, WEIGHTS), theirs)
