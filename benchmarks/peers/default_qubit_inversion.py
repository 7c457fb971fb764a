"""The inversion work one problem after another, on PennyLane `default.qubit` with torch."""

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.inversion import BATCH, LAYERS, QUBITS, Inversion, run
from benchmarks.peers.default_qubit import VERSION, logits, mean_loss
from benchmarks.sides import Side
from qfl_sec.attacks.least_squares import System


def one_by_one(work: Inversion, chosen: Sequence[int]) -> Side:
    """Run some of the problems; the answer is their residuals and Jacobians at the start."""
    made: dict[str, int] = {}

    def solve() -> None:
        each = [run(system(work, one), starts[one].reshape(1, 1, -1), chunk=1).evaluations for one in chosen]
        made["evaluations"] = sum(each)

    def answer() -> tuple[Tensor, Tensor]:
        parts = [system(work, one)(starts[one : one + 1], torch.tensor([one])) for one in chosen]
        return torch.cat([residuals for residuals, _ in parts]), torch.cat([jacobian for _, jacobian in parts])

    starts = work.start.flatten(0, 1)
    return Side(
        name="PennyLane default.qubit, torch, one problem after another",
        version=VERSION,
        work=solve,
        answer=answer,
        share=lambda: made["evaluations"] / work.evaluations,
    )


def system(work: Inversion, which: int) -> System:
    """Return one problem's residuals and Jacobian, by torch's batched second derivatives of the circuit's gradient.

    Args:
        work: All problems.
        which: Its number, counted target after target.
    """
    target = which // work.start.shape[1]
    weights, labels, update = work.weights[target], work.labels[target], work.updates[target]
    reference = work.problem.reference
    function = logits(qubits=QUBITS, layers=LAYERS)
    directions = torch.eye(len(weights), dtype=weights.dtype)

    def evaluate(points: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        unit = points.reshape(BATCH, QUBITS).clone().requires_grad_()
        leaves = weights.clone().requires_grad_()
        loss = mean_loss(function(reference.low + unit * reference.width, leaves), labels)
        (gradient,) = torch.autograd.grad(loss, leaves, create_graph=True)
        (jacobian,) = torch.autograd.grad(gradient, unit, directions, is_grads_batched=True)
        return (-gradient.detach() - update).unsqueeze(0), -jacobian.flatten(1).unsqueeze(0)

    return evaluate
