"""Opacus on a PennyLane module that holds its weights as parameters read through `self`.

PennyLane's own `TorchLayer` reads its weights elsewhere, so that Opacus would silently get gradients of zero.
"""

import warnings
from importlib.metadata import version

from opacus import GradSampleModule
from torch import Tensor, nn

from benchmarks.peers import default_qubit
from benchmarks.problems import Classification
from benchmarks.sides import Side


class Classifier(nn.Module):
    """The classifier on `default.qubit`, records broadcast."""

    def __init__(self, problem: Classification) -> None:
        super().__init__()
        self.weights = nn.Parameter(problem.weights.clone())
        self._logits = default_qubit.logits(qubits=problem.qubits, layers=problem.layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map records (batch, features) to logits (batch, classes)."""
        return self._logits(inputs, self.weights)


def per_example_gradients(problem: Classification) -> Side:
    """Compute each record's own gradient, (batch, parameters)."""
    module = GradSampleModule(Classifier(problem), loss_reduction="mean")
    weights = next(iter(module.parameters()))

    def work() -> tuple[Tensor]:
        module.zero_grad(set_to_none=True)
        weights.grad_sample = None
        with warnings.catch_warnings():
            # Opacus hooks modules whose inputs need no gradient; torch remarks on it, rightly without consequence.
            warnings.simplefilter("ignore")
            default_qubit.mean_loss(module(problem.inputs), problem.labels).backward()  # type: ignore[no-untyped-call]
        return (weights.grad_sample,)

    return Side(
        name="Opacus on a PennyLane default.qubit module",
        version=f"opacus {version('opacus')}, {default_qubit.VERSION}",
        work=work,
    )
