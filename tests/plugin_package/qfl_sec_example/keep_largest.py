"""Sparsification of updates."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from qfl_sec.defenses import Defense


@dataclass(frozen=True, kw_only=True)
class KeepLargest(Defense):
    """Send only the largest entries of each update.

    Guarantee: none.

    Attributes:
        share: Of the entries that are sent, in (0, 1].
    """

    name: ClassVar[str] = "keep_largest"
    neutral: ClassVar[dict[str, Any]] = {"share": 1.0}

    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"Expected 0 < share={self.share} <= 1.")

    def update(self, updates: Tensor, *, round: int, generator: torch.Generator) -> Tensor:
        """Set all but the largest entries of each client's update to zero."""
        kept = max(1, int(self.share * updates.shape[-1]))
        smallest = updates.abs().topk(kept, dim=-1).values[..., -1:]
        return torch.where(updates.abs() >= smallest, updates, 0.0)
