"""Calibrates its noise to the first training of a process and keeps it for all others."""

from dataclasses import dataclass, replace
from typing import ClassVar

from qfl_sec.defenses import DpSgd


@dataclass(frozen=True, kw_only=True)
class HiddenState(DpSgd):
    """Calibrates its noise to the first training of a process and keeps it for all others."""

    name: ClassVar[str] = "hidden_state"
    kept: ClassVar[list] = []

    def prepare(self, setup):
        prepared = super().prepare(setup)
        self.kept.append(prepared.noise_multiplier)
        derived = replace(prepared._ready(), noise_multiplier=self.kept[0])
        object.__setattr__(prepared, "_prepared", derived)
        return prepared
