"""Returns one gradient for all clients."""

from dataclasses import dataclass
from typing import ClassVar

from qfl_sec.defenses import Defense


@dataclass(frozen=True, kw_only=True)
class WrongShape(Defense):
    """Returns one gradient for all clients."""

    name: ClassVar[str] = "wrong_shape"

    def gradient(self, per_example, mask, *, step, generator):
        return super().gradient(per_example, mask, step=step, generator=generator).mean(0, keepdim=True)
