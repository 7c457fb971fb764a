"""Encodings and ansaetze as PennyLane quantum functions, in the literature's names.

They run under any PennyLane device and under `qfl_sec.statevector.compile_circuit`.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import pennylane as qml

from qfl_sec.checking import InputError

Encoding = Literal["arctan", "angle"]
Entangler = Literal["ring", "linear"]


def arctan_encoding(inputs: Any, n_qubits: int) -> None:
    """Encode feature i as RY(arctan x_i) RZ(arctan x_i^2) on qubit i.

    Args:
        inputs: (n_features,) or, for PennyLane's parameter broadcasting, (batch, n_features); n_features <= n_qubits.
        n_qubits: Number of qubits.

    Raises:
        InputError: If there are more features than qubits.

    Reference:
        Chen and Yoo, "Federated Quantum Machine Learning", 2021, arXiv:2103.12010, figure 2.
    """
    for i in range(_n_features(inputs, n_qubits)):
        qml.RY(qml.math.arctan(inputs[..., i]), wires=i)
        qml.RZ(qml.math.arctan(inputs[..., i] ** 2), wires=i)


def angle_encoding(inputs: Any, n_qubits: int) -> None:
    """Encode feature i as RY(x_i) on qubit i.

    Args:
        inputs: (n_features,) or, for PennyLane's parameter broadcasting, (batch, n_features); n_features <= n_qubits.
        n_qubits: Number of qubits.

    Raises:
        InputError: If there are more features than qubits.
    """
    for i in range(_n_features(inputs, n_qubits)):
        qml.RY(inputs[..., i], wires=i)


def ring_entangler(n_qubits: int) -> None:
    """Apply a CNOT from each qubit to the next, and from the last to the first if there are more than two."""
    linear_entangler(n_qubits)
    if n_qubits > 2:
        qml.CNOT(wires=[n_qubits - 1, 0])


def linear_entangler(n_qubits: int) -> None:
    """Apply a CNOT from each qubit to the next."""
    for i in range(n_qubits - 1):
        qml.CNOT(wires=[i, i + 1])


def rotation_layer(weights: Any, n_qubits: int) -> None:
    """Apply Rot(alpha_i, beta_i, gamma_i) to each qubit i; weights are (n_qubits, 3)."""
    for i in range(n_qubits):
        qml.Rot(weights[..., i, 0], weights[..., i, 1], weights[..., i, 2], wires=i)


ENCODINGS: dict[Encoding, Callable[[Any, int], None]] = {"arctan": arctan_encoding, "angle": angle_encoding}
ENTANGLERS: dict[Entangler, Callable[[int], None]] = {"ring": ring_entangler, "linear": linear_entangler}


def variational_circuit(
    *, encoding: Encoding = "arctan", entangler: Entangler = "ring", n_qubits: int, n_layers: int, n_classes: int
) -> Callable[[Any, Any], list[Any]]:
    """Return the variational classifier's quantum function.

    Features are encoded once; each layer entangles neighbours and rotates every qubit; the expectation values of Z on
    the first n_classes qubits are the logits.

    Args:
        encoding: How a feature enters its qubit.
        entangler: Whether the chain of CNOTs closes to a ring.
        n_qubits: Number of qubits, at least the number of features.
        n_layers: Number of layers.
        n_classes: Number of logits, at most n_qubits.

    Returns:
        A quantum function of inputs (n_features,) and weights (n_layers, n_qubits, 3).

    Raises:
        InputError: If a name is unknown or a number impossible.

    Reference:
        Chen and Yoo, "Federated Quantum Machine Learning", 2021, arXiv:2103.12010, figures 2 and 3.
    """
    encode = ENCODINGS[_known("encoding", encoding, get_args(Encoding))]
    entangle = ENTANGLERS[_known("entangler", entangler, get_args(Entangler))]
    if n_qubits < 1:
        raise InputError(f"Expected n_qubits={n_qubits} >= 1.")
    if n_layers < 0:
        raise InputError(f"Expected n_layers={n_layers} >= 0.")
    if not 1 <= n_classes <= n_qubits:
        raise InputError(f"Expected n_classes={n_classes} between 1 and n_qubits={n_qubits}. Add qubits.")

    def circuit(inputs: Any, weights: Any) -> list[Any]:
        encode(inputs, n_qubits)
        for layer in range(n_layers):
            entangle(n_qubits)
            rotation_layer(weights[..., layer, :, :], n_qubits)
        return [qml.expval(qml.Z(i)) for i in range(n_classes)]

    return circuit


def _n_features(inputs: Any, n_qubits: int) -> int:
    n_features = int(qml.math.shape(inputs)[-1])
    if n_features > n_qubits:
        raise InputError(f"Expected n_features={n_features} <= n_qubits={n_qubits}. Add qubits or drop features.")
    return n_features


def _known(what: str, name: str, names: tuple[Any, ...]) -> Any:
    if name not in names:
        raise InputError(f"Unknown {what} {name!r}. Expected one of {', '.join(names)}.")
    return name
