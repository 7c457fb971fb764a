"""Clips each coordinate, and counts on a norm that is then larger."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from qfl_sec.defenses import DpSgd


@dataclass(frozen=True, kw_only=True)
class WrongSensitivity(DpSgd):
    """Clips each coordinate, and counts on a norm that is then larger."""

    name: ClassVar[str] = "wrong_sensitivity"

    def expected_gradient(self, per_example, mask):
        clipped = per_example.clamp(-self.clip_norm, self.clip_norm)
        return torch.where(mask.unsqueeze(-1), clipped, 0.0).sum(-2) / self._ready().setup.batch_size
