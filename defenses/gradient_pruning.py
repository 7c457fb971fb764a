"""Gradient pruning: only the largest coordinates of each update are sent."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from qfl_sec.contracts import Defense


@dataclass(frozen=True, kw_only=True)
class GradientPruning(Defense):
    """Gradient pruning: each client sends the largest coordinates of its update and zeros for the rest.

    Guarantee: none. What is sent is exact, and how much it tells is a matter of the attack.

    Attackers who know of it (`withholds`) draw nothing from a coordinate that was sent as zero, instead of taking it
    for a zero gradient.

    | case                                | what happens                                                       |
    |-------------------------------------|--------------------------------------------------------------------|
    | share times coordinates no integer  | rounded to the nearest, at least one coordinate is sent            |
    | coordinates of equal size           | the first of them are sent                                         |

    Attributes:
        share: Of the coordinates that are sent, in (0, 1].

    Raises:
        ValueError: If the share is out of its range.

    Reference: Zhu, Liu and Han 2019, arXiv 1906.08935, section 5.2 (gradient compression and sparsification).
    """

    name: ClassVar[str] = "gradient_pruning"
    neutral: ClassVar[dict[str, Any]] = {"share": 1.0}
    strength_field: ClassVar[str | None] = "share"
    strength_unit: ClassVar[str] = "of the coordinates"

    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"Expected 0 < share={self.share} <= 1.")

    @property
    def withholds(self) -> bool:
        """Whether anything is left out."""
        return self.share < 1

    def update(self, updates: Tensor, *, round: int, generator: torch.Generator) -> Tensor:
        """Return the updates (clients, parameters), all but the largest coordinates of each set to zero."""
        kept = max(1, int(self.share * updates.shape[-1] + 0.5))
        largest = updates.abs().argsort(dim=-1, descending=True, stable=True)[:, :kept]
        return torch.zeros_like(updates).scatter(-1, largest, updates.gather(-1, largest))
