"""Encodings and ansaetze as PennyLane quantum functions, in the literature's names.

They run under any PennyLane device and under `qfl_sec.statevector.compile_circuit`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import pennylane as qml

from qfl_sec.checking import InputError

Encoding = Literal["arctan", "angle", "amplitude", "basis"]
Entangler = Literal["ring", "linear"]

PADDING = 1.0
"""Amplitude, before normalising, of the basis states that no feature belongs to."""


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


def amplitude_encoding(inputs: Any, n_qubits: int) -> None:
    """Encode feature k as the amplitude of basis state k, by one state preparation.

    Basis states left over get the amplitude `PADDING`; then all are divided by their norm. Such a constant makes the
    encoding injective and its norm at least 1. Without it, which takes exactly 2^n_qubits features, the state keeps
    neither the record's length nor its sign, and a record of zeros, which has no direction, becomes |0...0>.

    Args:
        inputs: (n_features,) or, for PennyLane's parameter broadcasting, (batch, n_features); n_features <= 2^n_qubits.
        n_qubits: Number of qubits; the first is the most significant bit of k.

    Raises:
        InputError: If there are more features than basis states.

    Reference:
        Schuld and Petruccione, "Supervised Learning with Quantum Computers", 2018, doi:10.1007/978-3-319-96424-9.
    """
    *lead, n_features = qml.math.shape(inputs)
    n_states = 2**n_qubits
    if n_features > n_states:
        raise InputError(f"Expected n_features={n_features} <= 2^n_qubits={n_states}. Add qubits or drop features.")
    if n_features < n_states:
        padding = np.full((*lead, n_states - n_features), PADDING)
        amplitudes = qml.math.concatenate([inputs, _constant_like(padding, inputs)], axis=-1)
    else:
        # The replacement comes before the root, whose derivative at zero is infinite.
        empty = qml.math.sum(inputs**2, axis=-1)[..., None] == 0
        amplitudes = qml.math.where(empty, _constant_like(np.eye(1, n_states)[0], inputs), inputs)
    norm = qml.math.sqrt(qml.math.sum(amplitudes**2, axis=-1))[..., None]
    qml.StatePrep(amplitudes / norm, wires=range(n_qubits), validate_norm=False)


def basis_encoding(inputs: Any, n_qubits: int) -> None:
    """Encode whether feature i is positive as the bit of qubit i, RY(pi) or nothing: a record becomes a basis state.

    Where features are scaled to [-1, 1], the threshold is the middle of the range. The derivative in the inputs is zero
    wherever it exists: an attack that follows it learns nothing, one that tries the 2^n_features bit patterns may.

    Args:
        inputs: (n_features,) or, for PennyLane's parameter broadcasting, (batch, n_features); n_features <= n_qubits.
        n_qubits: Number of qubits.

    Raises:
        InputError: If there are more features than qubits.

    Reference:
        Schuld and Petruccione, "Supervised Learning with Quantum Computers", 2018, doi:10.1007/978-3-319-96424-9.
    """
    for i in range(_n_features(inputs, n_qubits)):
        sign = qml.math.sign(inputs[..., i])
        # A comparison would bring torch's default precision; (s + |s|) / 2 is the bit in that of the inputs.
        qml.RY(math.pi / 2 * (sign + qml.math.abs(sign)), wires=i)


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


ENCODINGS: dict[Encoding, Callable[[Any, int], None]] = {
    "arctan": arctan_encoding,
    "angle": angle_encoding,
    "amplitude": amplitude_encoding,
    "basis": basis_encoding,
}
ENTANGLERS: dict[Entangler, Callable[[int], None]] = {"ring": ring_entangler, "linear": linear_entangler}


def qubits_needed(encoding: Encoding, n_features: int) -> int:
    """Return the fewest qubits that hold a record.

    Example:
        >>> qubits_needed("angle", 30), qubits_needed("amplitude", 30)
        (30, 5)
    """
    return max(1, (n_features - 1).bit_length()) if encoding == "amplitude" else n_features


def check_frequencies(frequencies: Sequence[float], encoding: str, n_layers: int) -> None:
    """Refuse frequencies that no circuit can have.

    Raises:
        InputError: If the encoding is not by angles, the layers are not as many, or a frequency is zero or not finite.
    """
    shown = list(frequencies)
    if not shown:
        return
    if encoding != "angle":
        remedy = 'Set encoding = "angle" or remove frequencies'
        raise InputError(f"Expected encoding={encoding!r} to be 'angle' with frequencies={shown}. {remedy}.")
    if len(shown) != n_layers:
        remedy = f"Give {n_layers} of them or set layers = {len(shown)}"
        raise InputError(f"Expected frequencies={shown} to be as many as layers={n_layers}, one a layer. {remedy}.")
    if not all(math.isfinite(frequency) and frequency != 0 for frequency in shown):
        raise InputError(f"Expected frequencies={shown} to be finite and not 0, which would encode nothing.")


def variational_circuit(
    *,
    encoding: Encoding = "arctan",
    entangler: Entangler = "ring",
    n_qubits: int,
    n_layers: int,
    n_classes: int,
    frequencies: Sequence[float] = (),
) -> Callable[[Any, Any], list[Any]]:
    """Return the variational classifier's quantum function.

    Features are encoded once, or with `frequencies` before each layer; each layer entangles neighbours and rotates
    every qubit; the expectation values of Z on the first n_classes qubits are the logits.

    Re-uploaded features enter layer l as RY(frequency_l x). The logits are then trigonometric polynomials of each
    feature, whose frequencies are among the sums of the layers' own, each taken with factor -1, 0 or 1.

    Args:
        encoding: How a record enters the circuit.
        entangler: Whether the chain of CNOTs closes to a ring.
        n_qubits: Number of qubits, at least `qubits_needed`.
        n_layers: Number of layers.
        n_classes: Number of logits, at most n_qubits.
        frequencies: One a layer, of the angle encoding; none to encode once, before the first layer.

    Returns:
        A quantum function of inputs (n_features,) and weights (n_layers, n_qubits, 3).

    Raises:
        InputError: If a name is unknown or a number impossible.

    Reference:
        Chen and Yoo, "Federated Quantum Machine Learning", 2021, arXiv:2103.12010, figures 2 and 3;
        Perez-Salinas et al., "Data re-uploading for a universal quantum classifier", 2020, arXiv:1907.02085; Schuld,
        Sweke and Meyer, "Effect of data encoding on the expressive power of variational quantum-machine-learning
        models", 2021, arXiv:2008.08605 (the frequencies).
    """
    encode = ENCODINGS[_known("encoding", encoding, get_args(Encoding))]
    entangle = ENTANGLERS[_known("entangler", entangler, get_args(Entangler))]
    if n_qubits < 1:
        raise InputError(f"Expected n_qubits={n_qubits} >= 1.")
    if n_layers < 0:
        raise InputError(f"Expected n_layers={n_layers} >= 0.")
    if not 1 <= n_classes <= n_qubits:
        raise InputError(f"Expected n_classes={n_classes} between 1 and n_qubits={n_qubits}. Add qubits.")

    check_frequencies(frequencies, encoding, n_layers)
    scales = tuple(frequencies)

    def circuit(inputs: Any, weights: Any) -> list[Any]:
        if not scales:
            encode(inputs, n_qubits)
        for layer in range(n_layers):
            if scales:
                encode(scales[layer] * inputs, n_qubits)
            entangle(n_qubits)
            rotation_layer(weights[..., layer, :, :], n_qubits)
        return [qml.expval(qml.Z(i)) for i in range(n_classes)]

    return circuit


def _n_features(inputs: Any, n_qubits: int) -> int:
    n_features = int(qml.math.shape(inputs)[-1])
    if n_features > n_qubits:
        raise InputError(f"Expected n_features={n_features} <= n_qubits={n_qubits}. Add qubits or drop features.")
    return n_features


def _constant_like(values: Any, like: Any) -> Any:
    return qml.math.cast_like(qml.math.convert_like(values, like), like)


def _known(what: str, name: str, names: tuple[Any, ...]) -> Any:
    if name not in names:
        raise InputError(f"Unknown {what} {name!r}. Expected one of {', '.join(names)}.")
    return name
