"""Averages over all slots of a batch, empty ones included."""

from dataclasses import dataclass
from typing import ClassVar

from qfl_sec.defenses import Defense


@dataclass(frozen=True, kw_only=True)
class PaddingCounted(Defense):
    """Averages over all slots of a batch, empty ones included."""

    name: ClassVar[str] = "padding_counted"

    def expected_gradient(self, per_example, mask):
        return per_example.mean(-2)
