"""PennyLane `default.qubit` with torch and backpropagation."""

from collections.abc import Callable
from importlib.metadata import version

import pennylane as qml
import torch
from torch import Tensor

from benchmarks.problems import CLASSES, Classification
from benchmarks.sides import Side
from qfl_sec.circuits import variational_circuit

VERSION = f"pennylane {version('pennylane')}, torch {version('torch')}"


def logits(*, qubits: int, layers: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the circuit as a function of inputs (..., features) and weights (parameters,) to logits (..., classes)."""
    circuit = variational_circuit(n_qubits=qubits, n_layers=layers, n_classes=CLASSES)
    node = qml.QNode(circuit, qml.device("default.qubit", wires=qubits), interface="torch", diff_method="backprop")
    return lambda inputs, weights: torch.stack(node(inputs, weights.reshape(layers, qubits, 3)), dim=-1)


def mean_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits (batch, classes)."""
    return torch.nn.functional.cross_entropy(scores, labels)


def broadcast(problem: Classification) -> Side:
    """Compute one model's mean loss () and its gradient (parameters,), all records in one circuit."""
    function = logits(qubits=problem.qubits, layers=problem.layers)

    def work() -> tuple[Tensor, Tensor]:
        leaves = problem.weights.clone().requires_grad_()
        loss = mean_loss(function(problem.inputs, leaves), problem.labels)
        return loss.detach(), torch.autograd.grad(loss, leaves)[0]

    return _side("records broadcast", work)


def one_by_one(problem: Classification) -> Side:
    """Compute the same with one circuit a record."""
    function = logits(qubits=problem.qubits, layers=problem.layers)

    def work() -> tuple[Tensor, Tensor]:
        leaves = problem.weights.clone().requires_grad_()
        scores = torch.stack([function(record, leaves) for record in problem.inputs])
        loss = mean_loss(scores, problem.labels)
        return loss.detach(), torch.autograd.grad(loss, leaves)[0]

    return _side("one record after another", work)


def model_by_model(problem: Classification) -> Side:
    """Compute several models' losses (models,) and gradients (models, parameters)."""
    function = logits(qubits=problem.qubits, layers=problem.layers)

    def work() -> tuple[Tensor, Tensor]:
        answers = []
        for weights, inputs, labels in zip(problem.weights, problem.inputs, problem.labels, strict=True):
            leaves = weights.clone().requires_grad_()
            loss = mean_loss(function(inputs, leaves), labels)
            answers.append((loss.detach(), torch.autograd.grad(loss, leaves)[0]))
        return torch.stack([loss for loss, _ in answers]), torch.stack([gradient for _, gradient in answers])

    return _side("one model after another, records broadcast", work)


def _side(how: str, work: Callable[[], tuple[Tensor, Tensor]]) -> Side:
    return Side(name=f"PennyLane default.qubit, torch, {how}", version=VERSION, work=work)
