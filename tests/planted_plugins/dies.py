"""Ends its process."""

import os
from dataclasses import dataclass
from typing import ClassVar

from qfl_sec.defenses import Defense


@dataclass(frozen=True, kw_only=True)
class Dies(Defense):
    """Ends its process."""

    name: ClassVar[str] = "dies"

    def guarantees(self, setup):
        os._exit(7)
