"""The statevector program as a torch function: shapes, transforms, higher derivatives, precision, shots, refusals."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pennylane as qml
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.func import grad, jacfwd, jacrev, jvp, vmap

from qfl_sec.checking import InputError
from qfl_sec.statevector import compile_circuit

# The first forward-mode derivative makes torch script some functions of its own.

TOLERANCE = 1e-10


def layered(inputs: Any, weights: Any) -> list[Any]:
    """Encode twice, with shared weights between, so that both kinds of stretches occur."""
    for layer in range(2):
        for i in range(3):
            qml.RX(torch.arctan(inputs[..., i]), wires=i)
            qml.RZ(inputs[..., i] ** 2, wires=i)
        for i in range(3):
            qml.CNOT(wires=[i, (i + 1) % 3])
            qml.Rot(*weights[layer, i], wires=i)
        qml.IsingXX(weights[layer, 0, 1], wires=[0, 2])
    return [qml.expval(qml.Z(0)), qml.expval(qml.X(1) @ qml.Y(2) + 0.5 * qml.Z(1))]


def with_matrices(inputs: Any, weights: Any) -> list[Any]:
    """Use parameters that are no pointwise formula, which take the general path."""
    qml.QubitUnitary(torch.linalg.matrix_exp(1j * torch.outer(inputs, inputs)), wires=[0])
    qml.RY(weights[0, 0] @ inputs, wires=1)
    qml.CNOT([0, 1])
    qml.QubitUnitary(torch.linalg.matrix_exp(1j * torch.outer(weights[1, 0], weights[1, 0])), wires=[1])
    return [qml.expval(qml.Z(0)), qml.expval(qml.Y(1))]


CASES: dict[str, tuple[Callable[[Any, Any], Any], tuple[int, ...], int]] = {
    "layered": (layered, (2, 3, 3), 3),
    "with matrices": (with_matrices, (2, 1, 2), 2),
}


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def single_samples(f: Callable[[Tensor, Tensor], Tensor], inputs: Tensor, weights: Tensor, weight_ndim: int) -> Tensor:
    """Evaluate one sample after the other, as the broadcasting rule says."""
    split = weights.ndim - weight_ndim
    lead = torch.broadcast_shapes(inputs.shape[:-1], weights.shape[:split])  # type: ignore[no-untyped-call]
    rows = inputs.expand(*lead, inputs.shape[-1]).reshape(-1, inputs.shape[-1])
    models = weights.expand(*lead, *weights.shape[split:]).reshape(-1, *weights.shape[split:])
    values = torch.stack([f(x, w) for x, w in zip(rows, models, strict=True)])
    return values.reshape(*lead, values.shape[-1])


@pytest.mark.parametrize(
    ("lead", "weight_lead"),
    [
        ((), ()), ((5,), ()), ((), (4,)), ((5, 1), (3,)), ((3,), (5, 1)), ((2, 1, 7), (3, 1)), ((2, 3), (2, 3)),
        ((30,), (1,)), ((2, 20), (2, 1)), ((1, 20), (2, 1)), ((20, 2), (1, 2)), ((0,), ()),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", CASES)
def test_leading_dimensions_broadcast(name: str, lead: tuple[int, ...], weight_lead: tuple[int, ...]) -> None:
    circuit, weight_shape, n_features = CASES[name]
    f = compile_circuit(circuit, weight_shape=weight_shape)
    inputs, weights = draw(*lead, n_features), draw(*weight_lead, *weight_shape, seed=1)
    values = f(inputs, weights)
    if 0 in lead:
        assert values.shape == (0, 2)
        return
    torch.testing.assert_close(values, single_samples(f, inputs, weights, len(weight_shape)), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_shared_and_own_weights_agree(name: str) -> None:
    """Forty samples take the matrix of the shared weights, expanded weights go gate by gate."""
    circuit, weight_shape, n_features = CASES[name]
    f = compile_circuit(circuit, weight_shape=weight_shape)
    inputs, weights = draw(40, n_features).requires_grad_(), draw(*weight_shape, seed=1).requires_grad_()
    shared = torch.autograd.grad(f(inputs, weights).pow(2).sum(), (inputs, weights))
    own = torch.autograd.grad(f(inputs, weights.expand(40, *weight_shape)).pow(2).sum(), (inputs, weights))
    for a, b in zip(shared, own, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", CASES)
def test_transforms_agree_with_autograd(name: str) -> None:
    circuit, weight_shape, n_features = CASES[name]
    f = compile_circuit(circuit, weight_shape=weight_shape)  # first called inside a transform, on purpose
    inputs, weights, direction = draw(n_features), draw(*weight_shape, seed=1), draw(n_features, seed=2)

    def total(x: Tensor, w: Tensor) -> Tensor:
        return f(x, w).pow(2).sum()

    _, tangent = jvp(lambda x: grad(total, 1)(x, weights), (inputs,), (direction,))
    hessian = torch.autograd.functional.hessian(total, (inputs, weights))
    close = {"rtol": 0, "atol": TOLERANCE}
    torch.testing.assert_close(tangent, hessian[1][0] @ direction, **close)
    torch.testing.assert_close(jacfwd(jacrev(total))(inputs, weights), hessian[0][0], **close)
    torch.testing.assert_close(jacrev(jacfwd(total, 1))(inputs, weights), hessian[1][0], **close)
    torch.testing.assert_close(jacfwd(f)(inputs, weights), jacrev(f)(inputs, weights), **close)


@pytest.mark.parametrize("name", CASES)
def test_vmap_of_gradients(name: str) -> None:
    circuit, weight_shape, n_features = CASES[name]
    f = compile_circuit(circuit, weight_shape=weight_shape)
    inputs, weights = draw(4, n_features), draw(*weight_shape, seed=1)

    def total(x: Tensor, w: Tensor) -> Tensor:
        return f(x, w).pow(2).sum()

    mapped = vmap(grad(total, (0, 1)), (0, None))(inputs, weights)
    expanded = weights.expand(4, *weight_shape).clone().requires_grad_()
    leaves = inputs.clone().requires_grad_()
    direct = torch.autograd.grad(total(leaves, expanded), (leaves, expanded))
    for a, b in zip(mapped, direct, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=TOLERANCE)
    values = vmap(vmap(f, (None, 0)), (0, None))(inputs, torch.stack([weights, -weights]))
    torch.testing.assert_close(values[:, 1], f(inputs, -weights), rtol=0, atol=TOLERANCE)
    jacobians = vmap(jacfwd(grad(total, 1)), (0, None))(inputs, weights)
    torch.testing.assert_close(jacobians[2], jacfwd(grad(total, 1))(inputs[2], weights), rtol=0, atol=TOLERANCE)


def test_second_derivatives_agree_with_pennylane() -> None:
    node = qml.QNode(layered, qml.device("default.qubit", wires=3), interface="torch", diff_method="backprop")
    f = compile_circuit(layered, weight_shape=(2, 3, 3))
    inputs, weights = draw(3), draw(2, 3, 3, seed=1)

    def mixed(function: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, ...]:
        x, w = inputs.clone().requires_grad_(), weights.clone().requires_grad_()
        (first,) = torch.autograd.grad(function(x, w), w, create_graph=True)
        weighted = (first * torch.linspace(-1, 1, first.numel(), dtype=torch.float64).view_as(first)).sum()
        return torch.autograd.grad(weighted, (x, w))

    theirs = mixed(lambda x, w: torch.stack(list(node(x, w))).sum())
    for a, b in zip(mixed(lambda x, w: f(x, w).sum()), theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=TOLERANCE)


def test_second_derivatives_agree_with_central_differences() -> None:
    f = compile_circuit(layered, weight_shape=(2, 3, 3))
    inputs, weights = draw(3), draw(2, 3, 3, seed=1)
    first = grad(lambda x: f(x, weights).sum())
    second = jacrev(first)(inputs)
    step = 1e-5
    differences = torch.stack(
        [(first(inputs + step * e) - first(inputs - step * e)) / (2 * step) for e in torch.eye(3, dtype=torch.float64)]
    )
    # The truncation error is step^2 / 6 times a third derivative of order 10.
    torch.testing.assert_close(second, differences, rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_single_precision(name: str) -> None:
    circuit, weight_shape, n_features = CASES[name]
    f = compile_circuit(circuit, weight_shape=weight_shape)
    inputs, weights = draw(40, n_features), draw(*weight_shape, seed=1)
    single = f(inputs.float(), weights.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), f(inputs, weights), rtol=0, atol=1e-5)
    assert f(inputs.float(), weights).dtype == torch.float64


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", CASES)
def test_on_a_cuda_device(name: str) -> None:
    circuit, weight_shape, n_features = CASES[name]
    f = compile_circuit(circuit, weight_shape=weight_shape)
    inputs, weights = draw(40, n_features), draw(*weight_shape, seed=1)
    torch.testing.assert_close(f(inputs.cuda(), weights.cuda()).cpu(), f(inputs, weights), rtol=0, atol=TOLERANCE)
    sampled = f(inputs.cuda(), weights.cuda(), shots=100, generator=torch.Generator("cuda").manual_seed(0))
    assert sampled.device.type == "cuda"


def test_nothing_is_bound_to_the_cpu() -> None:
    """A tensor on the meta device has no values; mixing it with one on the CPU is an error."""
    f = compile_circuit(layered, weight_shape=(2, 3, 3))
    for samples in (2, 40):
        values = f(torch.empty(samples, 3, device="meta"), torch.empty(2, 3, 3, device="meta"))
        assert values.shape == (samples, 2)
        assert values.device.type == "meta"


def test_inference_mode_at_the_first_call_does_no_harm() -> None:
    f = compile_circuit(layered, weight_shape=(2, 3, 3))
    inputs, weights = draw(3), draw(2, 3, 3, seed=1)
    with torch.inference_mode():
        f(inputs, weights)
    assert grad(lambda w: f(inputs, w).sum())(weights).abs().sum() > 0


def test_unused_arguments_have_zero_gradients() -> None:
    f = compile_circuit(lambda x, w: (qml.RY(w[0], 0), qml.expval(qml.Z(0)))[-1])
    values = f(draw(5, 2), draw(3, 1, 2, seed=1))
    assert values.shape == (3, 5, 1)
    assert (jacrev(f)(draw(2), draw(2)) == 0).all()
    constant = compile_circuit(lambda x, w: (qml.Hadamard(0), qml.expval(qml.X(0)))[-1])
    torch.testing.assert_close(constant(draw(5, 2), draw(2)), torch.ones(5, 1, dtype=torch.float64))


@pytest.mark.parametrize("seed", [0, 1])
def test_shots_lie_within_their_interval(seed: int) -> None:
    def circuit(inputs: Any, weights: Any) -> list[Any]:
        for i in range(3):
            qml.RX(inputs[i], wires=i)
            qml.CNOT(wires=[i, (i + 1) % 3])
            qml.Rot(*weights[0, i], wires=i)
        return [qml.expval(qml.X(1) @ qml.Y(2)), qml.expval(0.5 * qml.Z(0) - 2 * qml.X(1)), qml.probs(wires=[2, 0])]

    f = compile_circuit(circuit, weight_shape=(2, 3, 3))
    inputs, weights, shots = draw(6, 3), draw(2, 3, 3, seed=1), 4000
    exact = f(inputs, weights)
    sampled = f(inputs, weights, shots=shots, generator=torch.Generator().manual_seed(seed))
    again = f(inputs, weights, shots=shots, generator=torch.Generator().manual_seed(seed))
    other = f(inputs, weights, shots=shots, generator=torch.Generator().manual_seed(seed + 10))
    assert torch.equal(sampled, again)
    assert not torch.equal(sampled, other)
    # Six samples of one word and four outcomes each, at an error of 1e-4 in all.
    alpha = 1e-4 / 30
    hits = torch.cat([(1 + sampled[:, :1]) / 2, sampled[:, 2:]], 1) * shots
    chances = torch.cat([(1 + exact[:, :1]) / 2, exact[:, 2:]], 1)
    low, high = stats.binom.interval(1 - alpha, shots, chances.numpy())
    assert ((hits.round().numpy() >= low) & (hits.round().numpy() <= high)).all()
    torch.testing.assert_close(hits, hits.round(), rtol=0, atol=1e-8)
    torch.testing.assert_close(sampled[:, 2:].sum(1), torch.ones(6, dtype=torch.float64))
    # A sum's variance is at most (0.5^2 + 2^2) / shots; six standard deviations have a chance of 2e-9.
    assert ((sampled - exact)[:, 1].abs() < 6 * np.sqrt(4.25 / shots)).all()


def test_few_shots_of_a_certain_outcome() -> None:
    f = compile_circuit(lambda x, w: (qml.X(1), qml.probs(wires=[0, 1]))[-1])
    values = f(torch.zeros(3, 1), torch.zeros(1), shots=1, generator=torch.Generator().manual_seed(0))
    assert torch.equal(values, torch.tensor([[0.0, 1.0, 0.0, 0.0]]).expand(3, 4))


def measured(measurement: Callable[[], Any]) -> Callable[[Any, Any], Any]:
    def circuit(inputs: Any, weights: Any) -> Any:
        qml.RY(inputs[0], 0)
        return measurement()

    return circuit


def applied(gate: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    def circuit(inputs: Any, weights: Any) -> Any:
        gate(inputs)
        return qml.expval(qml.Z(0))

    return circuit


REFUSED: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "state": (measured(qml.state), "StateMP"),
    "sample": (measured(lambda: qml.sample(wires=0)), "SampleMP"),
    "var": (measured(lambda: qml.var(qml.Z(0))), "VarianceMP"),
    "counts": (measured(lambda: qml.counts(wires=0)), "CountsMP"),
    "nothing": (measured(lambda: None), "no measurement"),
    "not returned": (measured(lambda: [qml.expval(qml.Z(0)), qml.expval(qml.X(0))][:1]), "to be returned"),
    "hermitian": (measured(lambda: qml.expval(qml.Hermitian(np.eye(2), 0))), "Hermitian"),
    "projector": (measured(lambda: qml.expval(qml.Projector([0], 0))), "Projector"),
    "mid-circuit": (applied(lambda x: qml.measure(0)), "MidMeasure"),
    "channel": (applied(lambda x: qml.DepolarizingChannel(0.1, 0)), "DepolarizingChannel"),
    "amplitude damping": (applied(lambda x: qml.AmplitudeDamping(0.1, 0)), "AmplitudeDamping"),
    "late state": (applied(lambda x: (qml.X(0), qml.StatePrep(np.array([0, 1]), wires=0))), "first operation"),
    "no matrix": (applied(lambda x: qml.pow(qml.Rot(x[0], x[0], x[0], 0), 0.3)), r"Pow|Rot\*\*0.3"),
    "branch": (applied(lambda x: qml.RX(x[0], 0) if x[0] > 0 else qml.RY(x[0], 0)), "depend on values"),
    "float": (applied(lambda x: qml.RX(float(x[0]), 0)), "Python number"),
    "numpy": (applied(lambda x: qml.RX(torch.as_tensor(np.tanh(x.numpy()))[0], 0)), "outside torch"),
    "whole vector": (applied(lambda x: qml.RX(x, 0)), r"RX has a parameter of shape \(2,\)"),
    "coefficient": (lambda x, w: (qml.RX(x[0], 0), qml.expval(x[1] * qml.Z(0)))[-1], "coefficients"),
    "wire": (applied(lambda x: qml.RX(x[0], 5)), "wire 5"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_run_is_refused_by_name(name: str) -> None:
    circuit, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        compile_circuit(circuit, n_qubits=2)(draw(2), draw(2))


@pytest.mark.parametrize(
    ("inputs", "weights", "options", "message"),
    [
        (draw(3), draw(3, 3), {}, "Expected weights of shape"),
        (draw(3), draw(2, 3), {}, "Expected weights of shape"),
        (draw(5, 3), draw(4, 2, 3, 3), {}, "to broadcast"),
        (draw(1)[0], draw(2, 3, 3), {}, "not a single number"),
        (draw(3), draw(2, 3, 3).to(torch.complex128), {}, "Expected real"),
        (draw(3), draw(2, 3, 3).to("meta"), {}, "on one device"),
        (draw(3), draw(2, 3, 3), {"shots": 10}, "Give both"),
        (draw(3), draw(2, 3, 3), {"generator": torch.Generator()}, "Give both"),
        (draw(3), draw(2, 3, 3), {"shots": 0, "generator": torch.Generator()}, "shots=0"),
        (draw(3), draw(2, 3, 3), {"shots": True, "generator": torch.Generator()}, "shots=True"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    inputs: Tensor, weights: Tensor, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        compile_circuit(layered, weight_shape=(2, 3, 3))(inputs, weights, **options)


def test_impossible_circuits_are_refused() -> None:
    with pytest.raises(InputError, match="n_qubits=0"):
        compile_circuit(layered, n_qubits=0)
    with pytest.raises(InputError, match="quantum function or QNode"):
        compile_circuit("circuit.py")  # type: ignore[arg-type]


def test_a_qnode_with_shots_or_transforms_of_its_own_is_refused() -> None:
    node = qml.QNode(layered, qml.device("default.qubit", wires=3))
    with pytest.raises(InputError, match="Give shots and a generator"):
        compile_circuit(qml.set_shots(node, shots=10))
    with pytest.raises(InputError, match="cancel_inverses"):
        compile_circuit(qml.transforms.cancel_inverses(node))
