"""A circuit of your own, for examples/my_circuit.toml: data re-uploading on four qubits."""

import pennylane as qml

QUBITS = 4


def circuit(inputs, weights):
    """Upload the record before each of the layers; weights are (layers, qubits, 2)."""
    for layer in range(2):
        for wire in range(QUBITS):
            qml.RX(inputs[wire], wires=wire)
            qml.RY(weights[layer, wire, 0], wires=wire)
            qml.RZ(weights[layer, wire, 1], wires=wire)
        for wire in range(QUBITS):
            qml.CZ(wires=[wire, (wire + 1) % QUBITS])
    return [qml.expval(qml.X(0) @ qml.X(1)), qml.expval(qml.X(2) @ qml.X(3))]
