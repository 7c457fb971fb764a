"""Adds the same noise to every client."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from qfl_sec.defenses import DpSgd


@dataclass(frozen=True, kw_only=True)
class SeedShared(DpSgd):
    """Adds the same noise to every client."""

    name: ClassVar[str] = "seed_shared"

    def gradient(self, per_example, mask, *, step, generator):
        expected = self.expected_gradient(per_example.nan_to_num(), mask)
        noise = torch.randn(expected.shape[1:], generator=generator, dtype=expected.dtype)
        return expected + self.noise_std() * noise
