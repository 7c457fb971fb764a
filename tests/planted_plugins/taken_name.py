"""Bears the name of another."""

from dataclasses import dataclass
from typing import ClassVar

from qfl_sec.defenses import Defense


@dataclass(frozen=True, kw_only=True)
class TakenName(Defense):
    """Bears the name of another."""

    name: ClassVar[str] = "dp_sgd"
