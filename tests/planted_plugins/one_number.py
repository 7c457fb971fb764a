"""Adds one number of noise to all coordinates."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from qfl_sec.defenses import DpSgd


@dataclass(frozen=True, kw_only=True)
class OneNumber(DpSgd):
    """Adds one number of noise to all coordinates."""

    name: ClassVar[str] = "one_number"

    def gradient(self, per_example, mask, *, step, generator):
        expected = self.expected_gradient(per_example.nan_to_num(), mask)
        noise = torch.randn((len(expected), 1), generator=generator, dtype=expected.dtype)
        return expected + self.noise_std() * noise
