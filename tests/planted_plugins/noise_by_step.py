"""Seeds its noise by the number of the step, which every round begins at 0."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from qfl_sec.defenses import DpSgd


@dataclass(frozen=True, kw_only=True)
class NoiseByStep(DpSgd):
    """Seeds its noise by the number of the step, which every round begins at 0."""

    name: ClassVar[str] = "noise_by_step"

    def gradient(self, per_example, mask, *, step, generator):
        again = torch.Generator().manual_seed(step)
        return super().gradient(per_example, mask, step=step, generator=again)
