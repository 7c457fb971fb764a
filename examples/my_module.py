"""A torch module of your own, audited from Python.

python examples/my_module.py
"""

import pennylane as qml
from torch import nn

from qfl_sec import Experiment, audit
from qfl_sec.federation import FederationSpec
from qfl_sec.models import UserModule
from qfl_sec.statevector import compile_circuit
from qfl_sec.tables import RunSpec
from qfl_sec.user_files import reference_to


def circuit(inputs, weights):
    """Two qubits; weights are (2, 3)."""
    for wire in range(2):
        qml.RY(inputs[wire], wires=wire)
    qml.CNOT(wires=[0, 1])
    for wire in range(2):
        qml.Rot(*weights[wire], wires=wire)
    return [qml.expval(qml.Z(0)), qml.expval(qml.Z(1))]


class Hybrid(nn.Module):
    """A linear layer, a circuit of two qubits, a linear layer."""

    def __init__(self, n_features, n_classes):
        super().__init__()
        self.before = nn.Linear(n_features, 2)
        self.circuit = compile_circuit(circuit, weight_shape=(2, 3))
        self.angles = nn.Parameter(nn.init.uniform_(self.before.weight.new_empty(2, 3), -3, 3))
        self.after = nn.Linear(2, n_classes)

    def forward(self, records):
        """Map records (batch, features) to logits (batch, classes)."""
        return self.after(self.circuit(self.before(records).tanh(), self.angles))


def main(seeds=(0, 1, 2, 3), rounds=20):
    """Audit it, and print what each attack found."""
    model = UserModule(module=reference_to(Hybrid))
    federation = FederationSpec(clients=10, clients_per_round=5, rounds=rounds, batch_size=1, learning_rate=0.5)
    results = audit(Experiment(model=model, federation=federation, run=RunSpec(seeds=seeds)))
    for found in results.measurements:
        if found.success is not None:
            print(f"{found.adversary}: {found.attack} {found.success.k} of {found.success.n}")
    return results


if __name__ == "__main__":
    main()
