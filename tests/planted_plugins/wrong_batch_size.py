"""Scales its noise by the records that happen to be in the batch."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from qfl_sec.defenses import DpSgd


@dataclass(frozen=True, kw_only=True)
class WrongBatchSize(DpSgd):
    """Scales its noise by the records that happen to be in the batch."""

    name: ClassVar[str] = "wrong_batch_size"

    def gradient(self, per_example, mask, *, step, generator):
        expected = self.expected_gradient(per_example.nan_to_num(), mask)
        scale = self._ready().setup.batch_size / mask.sum(-1, keepdim=True).clamp(min=1)
        return expected + self.noise_std() * scale * torch.randn(expected.shape, generator=generator).to(expected)
