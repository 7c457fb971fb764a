"""Releases half of what expected_gradient says."""

from dataclasses import dataclass
from typing import ClassVar

from qfl_sec.defenses import Defense


@dataclass(frozen=True, kw_only=True)
class Misleading(Defense):
    """Releases half of what expected_gradient says."""

    name: ClassVar[str] = "misleading"

    def gradient(self, per_example, mask, *, step, generator):
        return self.expected_gradient(per_example, mask) / 2
