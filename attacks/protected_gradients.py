"""Per-record gradients as a defense lets them through: what an adaptive attacker reckons with."""

import torch
from torch import Tensor

from qfl_sec.contracts import Defense


def in_full_batch(defense: Defense | None, gradients: Tensor, batch_size: int) -> Tensor:
    """Return what the defense makes of each gradient (records, parameters): its contribution times the batch size.

    A batch that holds nothing but copies of one record shows it, whatever the defense divides by.
    """
    if defense is None:
        return gradients
    copies = gradients.unsqueeze(1).expand(-1, batch_size, -1)
    return defense.expected_gradient(copies, torch.ones(copies.shape[:2], dtype=torch.bool))


def divides_by_batch_size(defense: Defense | None, gradients: Tensor) -> bool:
    """Return whether half a batch gives half the gradient, rather than the mean over the records that are there."""
    if defense is None:
        return False
    pairs = gradients.unsqueeze(1).expand(-1, 2, -1)
    full = torch.ones(pairs.shape[:2], dtype=torch.bool)
    half = torch.tensor([True, False]).expand_as(full)
    return torch.allclose(2 * defense.expected_gradient(pairs, half), defense.expected_gradient(pairs, full))
