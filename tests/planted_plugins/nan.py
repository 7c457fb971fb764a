"""Divides by zero."""

from dataclasses import dataclass
from typing import ClassVar

from qfl_sec.defenses import Defense


@dataclass(frozen=True, kw_only=True)
class Nan(Defense):
    """Divides by zero."""

    name: ClassVar[str] = "nan"

    def update(self, updates, *, round, generator):
        return 0 * updates / 0
