"""Never comes back from its update."""

from dataclasses import dataclass
from typing import ClassVar

from qfl_sec.defenses import Defense


@dataclass(frozen=True, kw_only=True)
class Hangs(Defense):
    """Never comes back from its update."""

    name: ClassVar[str] = "hangs"

    def update(self, updates, *, round, generator):
        while True:
            pass
