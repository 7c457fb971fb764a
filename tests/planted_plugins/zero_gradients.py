"""Releases noise alone: the gradients it clips are zero."""

from dataclasses import dataclass
from typing import ClassVar

from qfl_sec.defenses import DpSgd


@dataclass(frozen=True, kw_only=True)
class ZeroGradients(DpSgd):
    """Releases noise alone: the gradients it clips are zero."""

    name: ClassVar[str] = "zero_gradients"

    def expected_gradient(self, per_example, mask):
        return super().expected_gradient(0 * per_example.nan_to_num(), mask)
