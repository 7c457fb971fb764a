"""The built-in circuits: what they are, and that they are traced once."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qfl_sec.checking import InputError
from qfl_sec.circuits import ENCODINGS, PADDING, qubits_needed, variational_circuit
from qfl_sec.statevector import compile_circuit

records = st.lists(st.floats(-4, 4, allow_subnormal=False), min_size=1, max_size=4)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def probabilities(encoding: Any, record: Sequence[float], n_qubits: int) -> Tensor:
    """Return the probabilities of the basis states of an encoded record, (2^n_qubits,)."""

    def circuit(inputs: Any, weights: Any) -> Any:
        ENCODINGS[encoding](inputs, n_qubits)
        return qml.probs(wires=range(n_qubits))

    inputs = torch.tensor(record, dtype=torch.float64)
    return compile_circuit(circuit, n_qubits=n_qubits)(inputs, torch.zeros(1, dtype=torch.float64))


def model(n_qubits: int, *, seed: int = 1, **options: Any) -> Callable[[Tensor], Tensor]:
    """Return a two-layer circuit at drawn weights, as a function of the inputs."""
    f = compile_circuit(
        variational_circuit(n_qubits=n_qubits, n_layers=2, n_classes=1, **options), weight_shape=(2, n_qubits, 3)
    )
    weights = draw(2, n_qubits, 3, seed=seed)
    return lambda inputs: f(inputs, weights)


@pytest.mark.parametrize(
    ("encoding", "frequencies", "n_qubits", "n_features"),
    [
        *((encoding, (), n, n) for encoding in ENCODINGS for n in (1, 2, 4)),
        *(("amplitude", (), *sizes) for sizes in ((2, 3), (2, 4), (4, 9))),
        *(("angle", frequencies, n, n) for frequencies in ((1, 3), (-0.7, 2.5)) for n in (1, 2, 4)),
    ],
)
@pytest.mark.parametrize("entangler", ["ring", "linear"])
def test_compiled_and_plain_pennylane_agree(
    encoding: Any, frequencies: Any, n_qubits: int, n_features: int, entangler: Any
) -> None:
    circuit = variational_circuit(
        encoding=encoding,
        entangler=entangler,
        n_qubits=n_qubits,
        n_layers=2,
        n_classes=min(2, n_qubits),
        frequencies=frequencies,
    )
    node = qml.QNode(circuit, qml.device("default.qubit", wires=n_qubits), interface="torch")
    inputs, weights = draw(5, n_features), draw(2, n_qubits, 3, seed=1)
    f = compile_circuit(circuit, weight_shape=(2, n_qubits, 3))
    one_by_one = torch.stack([torch.stack(list(node(x, weights))) for x in inputs])
    torch.testing.assert_close(f(inputs, weights), one_by_one, rtol=0, atol=1e-10)
    broadcast = torch.stack(list(node(inputs, weights)), -1)
    torch.testing.assert_close(f(inputs, weights), broadcast, rtol=0, atol=1e-10)


def test_the_encoding_of_one_qubit_in_closed_form() -> None:
    """RY(arctan x) RZ(arctan x^2) on |0>: <Z> = cos(arctan x) = 1 / sqrt(1 + x^2)."""
    f = compile_circuit(variational_circuit(n_qubits=1, n_layers=0, n_classes=1), weight_shape=(0, 1, 3))
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    torch.testing.assert_close(f(x, torch.zeros(0, 1, 3, dtype=torch.float64)), 1 / (1 + x**2).sqrt())


def test_the_gates_of_the_paper() -> None:
    circuit = variational_circuit(n_qubits=3, n_layers=1, n_classes=2)
    tape = qml.tape.make_qscript(circuit)(draw(3), draw(1, 3, 3))
    gates = [(operation.name, tuple(operation.wires)) for operation in tape.operations]
    encoded = [(name, (i,)) for i in range(3) for name in ("RY", "RZ")]
    chained = [("CNOT", (0, 1)), ("CNOT", (1, 2)), ("CNOT", (2, 0))]
    assert gates == encoded + chained + [("Rot", (i,)) for i in range(3)]
    assert [tuple(measurement.wires) for measurement in tape.measurements] == [(0,), (1,)]


def test_a_linear_chain_does_not_close() -> None:
    circuit = variational_circuit(entangler="linear", n_qubits=3, n_layers=1, n_classes=2)
    tape = qml.tape.make_qscript(circuit)(draw(3), draw(1, 3, 3))
    assert [tuple(op.wires) for op in tape.operations if op.name == "CNOT"] == [(0, 1), (1, 2)]


def test_the_quantum_function_is_not_run_again() -> None:
    calls = []
    inner = variational_circuit(n_qubits=2, n_layers=1, n_classes=2)

    def counted(inputs: Any, weights: Any) -> Any:
        calls.append(1)
        return inner(inputs, weights)

    f = compile_circuit(counted, weight_shape=(1, 2, 3))
    weights = draw(1, 2, 3)
    f(draw(2), weights)
    traced = len(calls)
    for seed in range(3):
        f(draw(7, 2, seed=seed), draw(7, 1, 2, 3, seed=seed))
        torch.func.vmap(torch.func.grad(lambda x: f(x, weights).sum()))(draw(4, 2))
    assert len(calls) == traced > 0


@settings(max_examples=15, deadline=None)
@given(records)
def test_one_qubit_a_feature_gives_a_product_state(record: list[float]) -> None:
    """RY(x) on |0> gives 1 with probability sin^2(x / 2); RZ changes none; cos(arctan x) = 1 / hypot(1, x)."""
    ones = {
        "angle": [math.sin(x / 2) ** 2 for x in record],
        "arctan": [(1 - 1 / math.hypot(1, x)) / 2 for x in record],
        "basis": [float(x > 0) for x in record],
    }
    for encoding, each in ones.items():
        expected = np.ones(1)
        for one in each:
            expected = np.kron(expected, [1 - one, one])
        np.testing.assert_allclose(probabilities(encoding, record, len(record)), expected, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(records, st.integers(2, 3))
def test_amplitudes_are_the_features_then_the_padding_normalised(record: list[float], n_qubits: int) -> None:
    amplitudes = np.full(2**n_qubits, PADDING)
    amplitudes[: len(record)] = record
    if not amplitudes.any():
        amplitudes[0] = 1.0
    found = probabilities("amplitude", record, n_qubits)
    np.testing.assert_allclose(found, amplitudes**2 / (amplitudes**2).sum(), atol=1e-12)
    assert float(found.sum()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("n_qubits", "n_features"), [(2, 4), (3, 5)])
def test_amplitudes_are_those_of_pennylanes_embedding(n_qubits: int, n_features: int) -> None:
    @qml.qnode(qml.device("default.qubit", wires=n_qubits), interface="torch")
    def embedded(record: Tensor, weights: Tensor) -> Any:
        qml.AmplitudeEmbedding(record, wires=range(n_qubits), pad_with=PADDING, normalize=True)
        for layer in weights:
            for i in range(n_qubits):
                qml.CNOT(wires=[i, (i + 1) % n_qubits]) if i + 1 < n_qubits or n_qubits > 2 else None
            for i in range(n_qubits):
                qml.Rot(*layer[i], wires=i)
        return qml.expval(qml.Z(0))

    inputs, weights = draw(6, n_features), draw(2, n_qubits, 3, seed=1)
    expected = torch.stack([embedded(record, weights) for record in inputs])[:, None]
    torch.testing.assert_close(model(n_qubits, encoding="amplitude")(inputs), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("factor", [0.01, 7.0, -1.0])
def test_amplitudes_keep_length_and_sign_only_where_they_are_padded(factor: float) -> None:
    full, padded = model(2, encoding="amplitude"), model(3, encoding="amplitude")
    inputs = draw(5, 4)
    torch.testing.assert_close(full(factor * inputs), full(inputs), rtol=0, atol=1e-12)
    assert (padded(factor * inputs) - padded(inputs)).abs().max() > 0.01


@pytest.mark.parametrize("n_qubits", [2, 3])
def test_a_record_of_zeros_has_finite_amplitudes_and_derivatives(n_qubits: int) -> None:
    f, zeros = model(n_qubits, encoding="amplitude"), torch.zeros(4, dtype=torch.float64)
    assert torch.func.jacrev(f)(zeros).isfinite().all()
    assert torch.func.hessian(f)(zeros).isfinite().all()
    mixed = torch.stack([zeros, draw(4)])
    torch.testing.assert_close(f(mixed)[1], f(mixed[1]))  # the one does not disturb the others
    if n_qubits == 2:  # no padding
        torch.testing.assert_close(f(zeros), f(torch.eye(4, dtype=torch.float64)[0]))


@pytest.mark.parametrize(("n_qubits", "n_features"), [(2, 4), (3, 5)])
def test_amplitudes_derivatives_are_difference_quotients(n_qubits: int, n_features: int) -> None:
    f, inputs, step = model(n_qubits, encoding="amplitude"), draw(n_features), 1e-6
    around = step * torch.eye(n_features, dtype=torch.float64)
    quotients = (f(inputs + around) - f(inputs - around)) / (2 * step)
    torch.testing.assert_close(torch.func.jacrev(f)(inputs)[0], quotients[:, 0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_basis_state_only_shows_which_features_are_positive(dtype: torch.dtype) -> None:
    f = compile_circuit(
        variational_circuit(encoding="basis", n_qubits=4, n_layers=0, n_classes=4), weight_shape=(0, 4, 3)
    )
    weights, inputs = torch.zeros(0, 4, 3, dtype=dtype), torch.tensor([0.3, -0.2, 0.0, 1e-30], dtype=dtype)
    expected = torch.tensor([-1.0, 1.0, 1.0, -1.0], dtype=dtype)
    torch.testing.assert_close(f(inputs, weights), expected, rtol=0, atol=torch.finfo(dtype).eps)
    slope = torch.func.jacfwd(lambda x: f(x, weights))(inputs)
    assert torch.equal(slope, torch.zeros_like(slope))


@pytest.mark.parametrize("encoding", ["arctan", "angle", "basis"])
def test_permuted_features_are_permuted_qubits(encoding: Any) -> None:
    f = compile_circuit(
        variational_circuit(encoding=encoding, n_qubits=4, n_layers=0, n_classes=4), weight_shape=(0, 4, 3)
    )
    weights, inputs, order = torch.zeros(0, 4, 3, dtype=torch.float64), draw(5, 4), [2, 0, 3, 1]
    torch.testing.assert_close(f(inputs[:, order], weights), f(inputs, weights)[:, order])


def test_reuploading_at_frequency_one_is_the_angle_encoding() -> None:
    options: dict[str, Any] = {"encoding": "angle", "n_qubits": 3, "n_layers": 1, "n_classes": 2}
    once, again = (
        compile_circuit(variational_circuit(**options, frequencies=given), weight_shape=(1, 3, 3))
        for given in ((), (1,))
    )
    inputs, weights = draw(5, 3), draw(1, 3, 3)
    torch.testing.assert_close(once(inputs, weights), again(inputs, weights))


def test_reuploaded_features_are_encoded_before_each_layer() -> None:
    circuit = variational_circuit(encoding="angle", frequencies=(1, 4), n_qubits=2, n_layers=2, n_classes=1)
    tape = qml.tape.make_qscript(circuit)(torch.tensor([0.1, 0.2]), draw(2, 2, 3))
    gates = [operation.name for operation in tape.operations]
    assert gates == ["RY", "RY", "CNOT", "Rot", "Rot"] * 2
    angles = torch.stack([operation.data[0] for operation in tape.operations if operation.name == "RY"])
    torch.testing.assert_close(angles, torch.tensor([0.1, 0.2, 0.4, 0.8]))


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(-9, 9).filter(bool), min_size=2, max_size=2), st.integers(0, 2))
def test_whole_frequencies_give_a_period_of_one_turn(frequencies: list[int], feature: int) -> None:
    f, inputs = model(3, encoding="angle", frequencies=frequencies), draw(5, 3)
    turned = inputs + 2 * math.pi * torch.eye(3, dtype=torch.float64)[feature]
    torch.testing.assert_close(f(turned), f(inputs), rtol=0, atol=1e-10)


def test_a_broken_frequency_breaks_the_period() -> None:
    f, inputs = model(3, encoding="angle", frequencies=(1, 1.5)), draw(5, 3)
    turned = inputs + 2 * math.pi * torch.eye(3, dtype=torch.float64)[0]
    assert (f(turned) - f(inputs)).abs().max() > 0.01


@pytest.mark.parametrize("frequencies", [(1, 1), (1, 3), (1, 4), (2, 7), (7, -2)])
@pytest.mark.parametrize("n_qubits", [1, 3])
def test_the_spectrum_is_that_of_theory(frequencies: tuple[int, int], n_qubits: int) -> None:
    """The frequencies in one feature are the sums of -f, 0 or f over the layers' f (Schuld, Sweke and Meyer 2021).

    A qubit alone has no 0 in its first layer: RY(f x) on |0> gives <X> = sin f x, <Y> = 0 and <Z> = cos f x.
    """
    first = (-1, 1) if n_qubits == 1 else (-1, 0, 1)
    spectrum = {abs(i * frequencies[0] + j * frequencies[1]) for i in first for j in (-1, 0, 1)}
    samples = 32
    inputs = draw(n_qubits).repeat(samples, 1)
    inputs[:, 0] = 2 * math.pi * torch.arange(samples, dtype=torch.float64) / samples
    largest = np.zeros(samples // 2 + 1)
    for seed in range(3):
        values = model(n_qubits, encoding="angle", frequencies=frequencies, seed=seed)(inputs)[:, 0]
        largest = np.maximum(largest, np.abs(np.fft.rfft(values.numpy())) / samples)
    assert set(np.flatnonzero(largest > 1e-3)) == spectrum
    assert all(largest[k] < 1e-12 for k in range(len(largest)) if k not in spectrum)


@pytest.mark.parametrize("n_features", [1, 2, 3, 4, 5, 8, 9, 64])
def test_the_qubits_needed_are_the_fewest(n_features: int) -> None:
    assert qubits_needed("angle", n_features) == qubits_needed("basis", n_features) == n_features
    needed = qubits_needed("amplitude", n_features)
    assert needed == min(n for n in range(1, 8) if 2**n >= n_features)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoding": "phase"}, "Unknown encoding 'phase'. Expected one of arctan, angle, amplitude, basis"),
        ({"frequencies": (1,)}, "encoding='arctan' to be 'angle' with frequencies="),
        ({"encoding": "angle", "frequencies": (1, 2)}, "as many as layers=1.*set layers = 2"),
        ({"encoding": "angle", "frequencies": (0.0,)}, "finite and not 0"),
        ({"encoding": "angle", "frequencies": (math.inf,)}, "finite and not 0"),
        ({"entangler": "star"}, "Unknown entangler 'star'"),
        ({"n_qubits": 0}, "n_qubits=0"),
        ({"n_layers": -1}, "n_layers=-1"),
        ({"n_classes": 3}, "n_classes=3"),
        ({"n_classes": 0}, "n_classes=0"),
    ],
)
def test_impossible_choices_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        variational_circuit(**{"n_qubits": 2, "n_layers": 1, "n_classes": 2, **options})


@pytest.mark.parametrize(("encoding", "n_features"), [("arctan", 3), ("angle", 3), ("basis", 3), ("amplitude", 5)])
def test_more_features_than_the_qubits_hold_are_refused(encoding: Any, n_features: int) -> None:
    circuit = variational_circuit(encoding=encoding, n_qubits=2, n_layers=1, n_classes=1)
    with pytest.raises(InputError, match=f"n_features={n_features} <= .*Add qubits or drop features"):
        compile_circuit(circuit, weight_shape=(1, 2, 3))(draw(n_features), draw(1, 2, 3))
