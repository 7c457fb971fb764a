"""Sums gradients as they are and adds the noise all the same."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from qfl_sec.defenses import DpSgd


@dataclass(frozen=True, kw_only=True)
class NoClipping(DpSgd):
    """Sums gradients as they are and adds the noise all the same."""

    name: ClassVar[str] = "no_clipping"

    def expected_gradient(self, per_example, mask):
        return torch.where(mask.unsqueeze(-1), per_example, 0.0).sum(-2) / self._ready().setup.batch_size
