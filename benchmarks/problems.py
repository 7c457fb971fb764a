"""The classification work: models, records and labels drawn from a fixed seed."""

from dataclasses import dataclass

import torch
from torch import Tensor

CLASSES = 2


@dataclass(frozen=True, kw_only=True)
class Classification:
    """Models and the batches that they train on; every model has records of its own.

    Attributes:
        qubits: Qubits, and features of a record.
        layers: Layers of the circuit.
        weights: (models, parameters), angles; without the first dimension for one model alone.
        inputs: (models, batch, features), likewise.
        labels: (models, batch), likewise.
    """

    qubits: int
    layers: int
    weights: Tensor
    inputs: Tensor
    labels: Tensor

    def first(self, models: int) -> "Classification":
        """Return the first models alone."""
        return Classification(
            qubits=self.qubits,
            layers=self.layers,
            weights=self.weights[:models],
            inputs=self.inputs[:models],
            labels=self.labels[:models],
        )


def classification(
    *, models: int | None = None, batch: int, qubits: int = 4, layers: int = 2, dtype: torch.dtype = torch.float32
) -> Classification:
    """Draw angles from (-3, 3), features from (-1, 1) and labels by a coin; `models` None is one model alone."""
    generator = torch.Generator().manual_seed(2021)
    lead = () if models is None else (models,)

    def uniform(*shape: int) -> Tensor:
        return 2 * torch.rand(*lead, *shape, generator=generator, dtype=torch.float64) - 1

    return Classification(
        qubits=qubits,
        layers=layers,
        weights=(3 * uniform(layers * qubits * 3)).to(dtype),
        inputs=uniform(batch, qubits).to(dtype),
        labels=torch.randint(0, CLASSES, (*lead, batch), generator=generator),
    )
