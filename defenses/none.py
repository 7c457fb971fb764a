"""The absence of a defense, against which every other is measured."""

from dataclasses import dataclass
from typing import ClassVar

from qfl_sec.contracts import Defense


@dataclass(frozen=True, kw_only=True)
class NoDefense(Defense):
    """No defense: updates leave as they are.

    Guarantee: none.
    """

    name: ClassVar[str] = "none"
