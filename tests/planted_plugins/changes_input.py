"""Clips updates in place."""

from dataclasses import dataclass
from typing import ClassVar

from qfl_sec.defenses import Defense


@dataclass(frozen=True, kw_only=True)
class ChangesInput(Defense):
    """Clips updates in place."""

    name: ClassVar[str] = "changes_input"

    def update(self, updates, *, round, generator):
        return updates.clamp_(-0.01, 0.01)
