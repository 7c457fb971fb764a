"""The built-in circuits: what they are, and that they are traced once."""

from typing import Any

import pennylane as qml
import pytest
import torch
from torch import Tensor

from qfl_sec.checking import InputError
from qfl_sec.circuits import variational_circuit
from qfl_sec.statevector import compile_circuit


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("encoding", ["arctan", "angle"])
@pytest.mark.parametrize("entangler", ["ring", "linear"])
@pytest.mark.parametrize("n_qubits", [1, 2, 4])
def test_compiled_and_plain_pennylane_agree(encoding: Any, entangler: Any, n_qubits: int) -> None:
    circuit = variational_circuit(
        encoding=encoding, entangler=entangler, n_qubits=n_qubits, n_layers=2, n_classes=min(2, n_qubits)
    )
    node = qml.QNode(circuit, qml.device("default.qubit", wires=n_qubits), interface="torch")
    inputs, weights = draw(5, n_qubits), draw(2, n_qubits, 3, seed=1)
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoding": "amplitude"}, "Unknown encoding 'amplitude'. Expected one of arctan, angle"),
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


def test_more_features_than_qubits_are_refused() -> None:
    f = compile_circuit(variational_circuit(n_qubits=2, n_layers=1, n_classes=1), weight_shape=(1, 2, 3))
    with pytest.raises(InputError, match="n_features=3"):
        f(draw(3), draw(1, 2, 3))
