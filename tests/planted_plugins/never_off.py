"""Shrinks updates even where its strength is zero."""

from dataclasses import dataclass
from typing import ClassVar

from qfl_sec.defenses import Defense


@dataclass(frozen=True, kw_only=True)
class NeverOff(Defense):
    """Shrinks updates even where its strength is zero."""

    name: ClassVar[str] = "never_off"
    neutral: ClassVar = {"strength": 0.0}

    strength: float = 0.5

    def update(self, updates, *, round, generator):
        return 0.9 * (1 - self.strength) * updates
