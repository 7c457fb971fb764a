"""Adds noise of the right deviation and the wrong shape."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from qfl_sec.defenses import DpSgd


@dataclass(frozen=True, kw_only=True)
class UniformNoise(DpSgd):
    """Adds noise of the right deviation and the wrong shape."""

    name: ClassVar[str] = "uniform_noise"

    def gradient(self, per_example, mask, *, step, generator):
        expected = self.expected_gradient(per_example.nan_to_num(), mask)
        noise = 12**0.5 * (torch.rand(expected.shape, generator=generator, dtype=expected.dtype) - 0.5)
        return expected + self.noise_std() * noise
