"""The adjoint sweep: exact against plain automatic differentiation, PennyLane and differences, in bounded memory."""

import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pennylane as qml
import pytest
import test_statevector as oracle
import torch
from torch import Tensor
from torch.func import grad, jacfwd, vmap

from qfl_sec import adjoint, program
from qfl_sec.fusion import group_sizes
from qfl_sec.statevector import CompiledCircuit, compile_circuit

TOLERANCE = 1e-12


def reuploading(n_qubits: int, n_layers: int = 2) -> Callable[[Any, Any], Any]:
    """Encode in every layer, with gates of all kinds and parameters of inputs and weights together."""

    def circuit(inputs: Any, weights: Any) -> Any:
        for layer in range(n_layers):
            for i in range(n_qubits):
                qml.RX(inputs[i % 3] * weights[layer, i, 0], wires=i)
                qml.Rot(*weights[layer, i], wires=i)
            for i in range(n_qubits):
                qml.CNOT(wires=[i, (i + 1) % n_qubits])
            qml.CRZ(inputs[1] * weights[layer, 0, 1], wires=[n_qubits - 1, 0])
            qml.IsingZZ(weights[layer, 0, 2], wires=[0, 1])
            qml.SISWAP(wires=[1, 2])
            qml.SX(wires=0)
            qml.RY(weights[layer, 1, 1], wires=2)
            qml.Toffoli(wires=[2, 0, 1])
        word = qml.Z(0) @ qml.X(1)
        return [qml.expval(word), qml.expval(qml.Y(2) + 0.5 * qml.Z(1)), qml.probs(wires=[0, n_qubits - 1])]

    return circuit


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def results(f: CompiledCircuit, inputs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return values and both gradients of one fixed combination of them."""
    inputs, weights = inputs.clone().requires_grad_(), weights.clone().requires_grad_()
    values = f(inputs, weights)
    if not values.requires_grad:
        return values, torch.zeros_like(inputs), torch.zeros_like(weights)
    combination = (values * draw(*values.shape, seed=9).to(values)).sum()
    gradients = torch.autograd.grad(combination, (inputs, weights), materialize_grads=True)
    return values.detach(), *gradients


def assert_close(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...], tolerance: float = TOLERANCE) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweep circuits of any size."""
    monkeypatch.setattr(program, "_MIN_SWEEP_QUBITS", 1)


def plain(monkeypatch: pytest.MonkeyPatch, f: CompiledCircuit, *sources: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the results of plain automatic differentiation."""
    with monkeypatch.context() as context:
        context.setattr(program, "_MIN_SWEEP_QUBITS", 99)
        return results(f, *sources)


@pytest.mark.parametrize("name", oracle.GATES)
@pytest.mark.usefixtures("always")
def test_every_gate_agrees_with_plain_differentiation(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    f = compile_circuit(oracle.sandwich(oracle.GATES[name]))
    sources = draw(3, 1, 4), draw(2, 6, seed=1)
    with torch.no_grad():
        values = f(*sources)
    ours, theirs = results(f, *sources), plain(monkeypatch, f, *sources)
    assert_close((values, *ours), (theirs[0], *theirs))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("lead", "weight_lead"),
    [((), ()), ((5,), ()), ((5,), (5,)), ((2, 1), (3,)), ((3,), (2, 1)), ((2, 3), (2, 1)), ((0,), ()), ((0,), (0,))],
)
@pytest.mark.parametrize("n_qubits", [3, 9])
def test_leading_dimensions(
    n_qubits: int,
    lead: tuple[int, ...],
    weight_lead: tuple[int, ...],
    dtype: torch.dtype,
    always: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    f = compile_circuit(reuploading(n_qubits), weight_shape=(2, n_qubits, 3))
    sources = draw(*lead, 3, dtype=dtype), draw(*weight_lead, 2, n_qubits, 3, seed=1, dtype=dtype)
    tolerance = TOLERANCE if dtype == torch.float64 else 2e-5
    assert_close(results(f, *sources), plain(monkeypatch, f, *sources), tolerance)


@pytest.mark.parametrize("n_qubits", [1, 2, 4, 6, 8])
def test_random_circuits_agree_with_default_qubit(n_qubits: int, always: None) -> None:
    circuit, n_features, n_weights = oracle.random_circuit(n_qubits, seed=n_qubits + 20)
    sources = draw(n_features, seed=n_qubits), draw(n_weights, seed=n_qubits + 1)
    ours = oracle.values_and_gradients(compile_circuit(circuit, n_qubits=n_qubits), *sources)
    theirs = oracle.values_and_gradients(oracle.reference(circuit, n_qubits, diff_method="backprop"), *sources)
    assert_close(ours, theirs, oracle.TOLERANCE)


def test_repeated_weights_give_per_example_gradients() -> None:
    """Each sample's own gradient is that of PennyLane for the sample alone."""
    circuit = reuploading(9)
    f = compile_circuit(circuit, weight_shape=(2, 9, 3))
    inputs, weights = draw(3, 3), draw(2, 9, 3, seed=1)
    repeated = weights.expand(3, 2, 9, 3).clone().requires_grad_()
    cotangents = draw(3, 6, seed=2)
    (ours,) = torch.autograd.grad(f(inputs, repeated), repeated, cotangents)
    node = oracle.reference(circuit, 9, diff_method="backprop")
    for x, cotangent, gradient in zip(inputs, cotangents, ours, strict=True):
        alone = weights.clone().requires_grad_()
        (theirs,) = torch.autograd.grad(node(x, alone), alone, cotangent)
        torch.testing.assert_close(gradient, theirs, rtol=0, atol=TOLERANCE)


def test_gradients_agree_with_central_differences() -> None:
    f = compile_circuit(reuploading(9, 1), weight_shape=(1, 9, 3))
    inputs, weights = draw(3), draw(1, 9, 3, seed=1)
    _, in_inputs, in_weights = results(f, inputs, weights)
    x_step, w_step = 1e-5 * draw(3, seed=7), 1e-5 * draw(1, 9, 3, seed=8)
    difference = f(inputs + x_step, weights + w_step) - f(inputs - x_step, weights - w_step)
    expected = (in_inputs * x_step).sum() + (in_weights * w_step).sum()
    torch.testing.assert_close(difference @ draw(6, seed=9) / 2, expected, rtol=1e-8, atol=0)


def test_a_derivative_can_be_differentiated_again(always: None, monkeypatch: pytest.MonkeyPatch) -> None:
    f = compile_circuit(reuploading(3, 1), weight_shape=(1, 3, 3))

    def mismatch(inputs: Tensor) -> Tensor:
        weights = draw(1, 3, 3, seed=1).requires_grad_()
        (gradient,) = torch.autograd.grad(f(inputs, weights).square().sum(), weights, create_graph=True)
        return gradient.square().sum()

    def derivative() -> Tensor:
        inputs = draw(4, 3).requires_grad_()
        return torch.autograd.grad(mismatch(inputs), inputs)[0]

    ours = derivative()
    monkeypatch.setattr(program, "_MIN_SWEEP_QUBITS", 99)
    torch.testing.assert_close(ours, derivative(), rtol=0, atol=TOLERANCE)


def test_transforms_pass_through() -> None:
    """Under torch.func transforms and forward-mode derivatives the circuit is plain torch operations."""
    f = compile_circuit(reuploading(9, 1), weight_shape=(1, 9, 3))
    inputs, weights = draw(2, 3), draw(1, 9, 3, seed=1)
    repeated = weights.expand(2, 1, 9, 3).clone().requires_grad_()
    (ours,) = torch.autograd.grad(f(inputs, repeated)[:, 0].sum(), repeated)
    each = vmap(grad(lambda w, x: f(x, w)[0]), (None, 0))(weights, inputs)
    forward = torch.stack([jacfwd(lambda w, x=x: f(x, w)[0])(weights) for x in inputs])
    assert_close((each, forward), (ours, ours))


def test_chunks_do_not_change_results(always: None, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = draw(7, 3), draw(2, 4, 3, seed=1)

    def run() -> tuple[Tensor, ...]:
        return results(compile_circuit(reuploading(4), weight_shape=(2, 4, 3)), *sources)

    whole = run()
    monkeypatch.setattr(adjoint, "CHUNK_AMPLITUDES", 3 * 2**4)
    chunked = run()
    monkeypatch.setattr(adjoint, "_KEPT_ENTRIES", 0)
    recomputed = run()
    assert_close((*chunked, *recomputed), (*whole, *whole), 1e-14)


def test_memory_is_bounded() -> None:
    """Plain differentiation stores a state of 8 MiB for nearly every gate: 350 MiB."""
    lines = [
        "import resource, torch",
        "from test_adjoint import compile_circuit, draw, reuploading",
        "f = compile_circuit(reuploading(13, 1), weight_shape=(1, 13, 3))",
        "weights = draw(1, 13, 3).requires_grad_()",
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024",
        "f(draw(1, 3), weights).sum().backward()",
        "before = peak()",
        "f(draw(64, 3), weights.expand(64, -1, -1, -1).clone()).sum().backward()",
        "print(peak() - before)",
    ]
    here = str(pathlib.Path(__file__).parent)
    run = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=here, capture_output=True, text=True, check=True)
    assert float(run.stdout) < 200


def test_matrices_that_cannot_be_undone_are_left_to_plain_differentiation(
    always: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[bool] = []
    evaluate = adjoint.Sweep.evaluate
    monkeypatch.setattr(adjoint.Sweep, "evaluate", lambda *a, **k: (swept.append(True), evaluate(*a, **k))[1])
    expected = {"Rot": True, "QubitUnitary constant": True, "QubitUnitary 2": False, "QubitUnitary of any norm": False}
    for name, sweeps in expected.items():
        swept.clear()
        compile_circuit(oracle.sandwich(oracle.GATES[name]))(draw(4), draw(6).requires_grad_())
        assert bool(swept) == sweeps


def test_values_of_such_circuits_come_in_pieces(always: None, monkeypatch: pytest.MonkeyPatch) -> None:
    f = compile_circuit(oracle.sandwich(oracle.GATES["QubitUnitary 2"]))
    sources = draw(7, 4), draw(2, 1, 6, seed=1)
    whole = f(*sources)
    monkeypatch.setattr(program, "CHUNK_AMPLITUDES", 2**6)
    torch.testing.assert_close(f(*sources), whole, rtol=0, atol=TOLERANCE)
    assert f(draw(0, 4), draw(6)).shape == (0, 6)


@pytest.mark.parametrize("n_qubits", range(1, 21))
def test_groups_cover_all_qubits_evenly(n_qubits: int) -> None:
    sizes = group_sizes(n_qubits)
    assert sum(sizes) == n_qubits
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= 7
