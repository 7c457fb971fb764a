"""Circuits whose gates fit the bricks of a measurement pattern, as PennyLane quantum functions."""

from typing import Any

import pennylane as qml


def brick_native(inputs: Any, weights: Any) -> list[Any]:
    """Apply the ansatz that fills every brick: features by RY and RZ, then RZ, RX and CNOTs, four columns a layer.

    Layer l turns every qubit and joins the pairs that brick l + 1 joins.

    Args:
        inputs: (qubits,) or (2 qubits,): angles of RY, then of RZ.
        weights: (layers, qubits, 2): angles of RZ and RX.

    Returns:
        The expectation values of Z on each qubit.
    """
    layers, qubits, _ = qml.math.shape(weights)
    _encode(inputs, qubits)
    for layer in range(layers):
        for row in range(qubits):
            qml.RZ(weights[..., layer, row, 0], wires=row)
            qml.RX(weights[..., layer, row, 1], wires=row)
        _entangle(layer + 1, qubits)
    return [qml.expval(qml.Z(row)) for row in range(qubits)]


def alternating_layers(inputs: Any, weights: Any) -> list[Any]:
    """Apply layers of Rot and of CNOTs between neighbours, which come in the order of the bricks: 12 columns each.

    Args:
        inputs: Ignored.
        weights: (layers, qubits, 3): angles of Rot.

    Returns:
        The expectation values of Z on each qubit.
    """
    return _rotation_layers(weights, first_brick=0)


def encoded_layers(inputs: Any, weights: Any) -> list[Any]:
    """Encode features by RY and RZ, in a brick of their own, and apply `alternating_layers`.

    Args:
        inputs: (qubits,) or (2 qubits,): angles of RY, then of RZ.
        weights: (layers, qubits, 3): angles of Rot.

    Returns:
        The expectation values of Z on each qubit.
    """
    _encode(inputs, qml.math.shape(weights)[-2])
    return _rotation_layers(weights, first_brick=1)


def _rotation_layers(weights: Any, *, first_brick: int) -> list[Any]:
    layers, qubits, _ = qml.math.shape(weights)
    for layer in range(layers):
        for row in range(qubits):
            qml.Rot(*(weights[..., layer, row, k] for k in range(3)), wires=row)
        for step in (1, 2):
            _entangle(first_brick + 3 * layer + step, qubits)
    return [qml.expval(qml.Z(row)) for row in range(qubits)]


def _encode(inputs: Any, qubits: int) -> None:
    for row in range(qubits):
        qml.RY(inputs[..., row], wires=row)
        if qml.math.shape(inputs)[-1] == 2 * qubits:
            qml.RZ(inputs[..., qubits + row], wires=row)


def _entangle(brick: int, qubits: int) -> None:
    """Apply the CNOTs that a brick has room for, the upper qubit in control."""
    for row in range(brick % 2, qubits - 1, 2):
        qml.CNOT(wires=[row, row + 1])
