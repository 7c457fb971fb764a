"""A federation of your own, outside qfl-sec, whose server captures what clients send: then qfl-sec attacks that.

    python examples/captured_updates.py captured
    qfl-sec attack captured

Plain PennyLane and torch train here; the last two functions alone know qfl-sec. The format: docs/captured-updates.md.
"""

import sys
from pathlib import Path

import numpy as np
import pennylane as qml
import torch
from my_circuit import QUBITS, circuit
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA

from qfl_sec.capture_folder import save_capture
from qfl_sec.captured import Capture, CapturedRound
from qfl_sec.captured_data import CapturedRecords
from qfl_sec.contracts import Candidates, Records
from qfl_sec.federation import FederationSpec
from qfl_sec.models import UserCircuit

CLIENTS, PER_ROUND, ROUNDS, LEARNING_RATE = 6, 2, 10, 0.5
SHAPE = (2, QUBITS, 2)

qnode = qml.QNode(circuit, qml.device("default.qubit", wires=QUBITS), interface="torch")


def prepared(rng):
    """Return features in [-1, 1] and labels, of 300 candidates, 130 reference and 130 test records."""
    data = load_breast_cancer()
    rows = rng.permutation(len(data.target))[:560]
    reduced = PCA(QUBITS).fit_transform(data.data[rows] / data.data[rows].std(axis=0))
    features = 2 * (reduced - reduced.min(0)) / np.ptp(reduced, axis=0) - 1
    parts = zip(np.split(features, (300, 430)), np.split(data.target[rows], (300, 430)), strict=True)
    return [(torch.from_numpy(inputs), torch.from_numpy(labels).long()) for inputs, labels in parts]


def local_update(weights, record, label):
    """Make one step on one record, by PennyLane's own simulator; return new weights minus old."""
    trained = weights.clone().requires_grad_()
    logits = torch.stack(qnode(record, trained.reshape(SHAPE)))
    torch.nn.functional.cross_entropy(logits[None], label[None]).backward()
    return -LEARNING_RATE * trained.grad


def federation():
    """Train, and return what the server saw, and who was in it."""
    rng = np.random.default_rng(0)
    (features, labels), reference, test = prepared(rng)
    owners = torch.from_numpy(rng.integers(CLIENTS, size=len(labels)))
    members = torch.from_numpy(rng.random(len(labels)) < 0.5)
    weights = torch.from_numpy(rng.uniform(-np.pi, np.pi, int(np.prod(SHAPE))))
    rounds = []
    for number in range(ROUNDS):
        chosen = sorted(rng.choice(CLIENTS, PER_ROUND, replace=False).tolist())
        used = [int(rng.choice(np.flatnonzero((owners == one) & members))) for one in chosen]
        updates = torch.stack([local_update(weights, features[row], labels[row]) for row in used])
        rounds.append((number, weights, chosen, updates, used))
        weights = weights + updates.mean(0)
    return rounds, weights, members, (features, labels, owners), reference, test


def captured():
    """Return all of it as qfl-sec takes it."""
    rounds, final, members, (features, labels, owners), reference, test = federation()
    return Capture(
        model=UserCircuit(circuit=str(Path(__file__).with_name("my_circuit.py")) + ":circuit", weight_shape=SHAPE),
        federation=FederationSpec(
            clients=CLIENTS,
            clients_per_round=PER_ROUND,
            rounds=ROUNDS,
            local_steps=1,
            batch_size=1,
            learning_rate=LEARNING_RATE,
        ),
        records=CapturedRecords(
            candidates=Candidates(features=features, labels=labels, clients=owners),
            reference=Records(features=reference[0], labels=reference[1]),
            test=Records(features=test[0], labels=test[1]),
        ),
        members=members,
        rounds=tuple(
            CapturedRound(
                number=number, weights=start, clients=tuple(chosen), updates=sent, records=torch.tensor(used)[:, None]
            )
            for number, start, chosen, sent, used in rounds
        ),
        final_weights=final,
    )


def save(folder):
    """Hand all of it to qfl-sec."""
    save_capture(captured(), Path(folder))


if __name__ == "__main__":
    save(sys.argv[1] if len(sys.argv) > 1 else "captured")
