"""Scales each client's gradient by the mean norm of all clients."""

from dataclasses import dataclass
from typing import ClassVar

from qfl_sec.defenses import Defense


@dataclass(frozen=True, kw_only=True)
class OtherClients(Defense):
    """Scales each client's gradient by the mean norm of all clients."""

    name: ClassVar[str] = "other_clients"

    def gradient(self, per_example, mask, *, step, generator):
        mean = self.expected_gradient(per_example, mask)
        return mean / (1 + mean.norm())
