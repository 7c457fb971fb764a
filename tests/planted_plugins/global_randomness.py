"""Draws from the global generator."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from qfl_sec.defenses import Defense


@dataclass(frozen=True, kw_only=True)
class GlobalRandomness(Defense):
    """Draws from the global generator."""

    name: ClassVar[str] = "global_randomness"

    def update(self, updates, *, round, generator):
        return updates + 0.01 * torch.randn(updates.shape)
