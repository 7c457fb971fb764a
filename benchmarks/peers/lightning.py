"""PennyLane `lightning.qubit` with adjoint differentiation: one circuit a record, as the method asks."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import pennylane as qml
import torch
from torch import Tensor

from benchmarks.peers.default_qubit import mean_loss
from benchmarks.problems import CLASSES, Classification
from benchmarks.sides import Side
from qfl_sec.circuits import variational_circuit


def one_by_one(problem: Classification) -> Side:
    """Compute one model's mean loss () and its gradient (parameters,), in the problem's precision.

    The Jacobian is found on the way forward; contracting it on the device (`device_vjp`) is slower here.
    """
    circuit = variational_circuit(n_qubits=problem.qubits, n_layers=problem.layers, n_classes=CLASSES)
    precision = torch.complex(problem.weights[:1], problem.weights[:1]).numpy().dtype
    device = qml.device("lightning.qubit", wires=problem.qubits, c_dtype=precision)
    node = qml.QNode(circuit, device, interface="torch", diff_method="adjoint")
    shape = (problem.layers, problem.qubits, 3)

    def work() -> tuple[Tensor, Tensor]:
        leaves = problem.weights.clone().requires_grad_()
        weights = leaves.reshape(shape)
        with _default_dtype(problem.weights.dtype):
            scores = torch.stack([torch.stack(node(record, weights)) for record in problem.inputs])
        loss = mean_loss(scores, problem.labels)
        return loss.detach(), torch.autograd.grad(loss, leaves)[0]

    return Side(
        name="PennyLane lightning.qubit, adjoint, one record after another",
        version=f"pennylane-lightning {version('pennylane-lightning')}",
        work=work,
    )


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Set torch's default for a while: PennyLane rounds the device's answers to it, whatever went in."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
