"""Draws its noise from a generator that starts anew on every call."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from qfl_sec.defenses import DpSgd


@dataclass(frozen=True, kw_only=True)
class NoiseReused(DpSgd):
    """Draws its noise from a generator that starts anew on every call."""

    name: ClassVar[str] = "noise_reused"

    def gradient(self, per_example, mask, *, step, generator):
        again = torch.Generator().manual_seed(7)
        return super().gradient(per_example, mask, step=step, generator=again)
