"""Claims half the epsilon that its noise gives."""

from dataclasses import dataclass, replace
from typing import ClassVar

from qfl_sec.defenses import DpSgd


@dataclass(frozen=True, kw_only=True)
class LyingGuarantee(DpSgd):
    """Claims half the epsilon that its noise gives."""

    name: ClassVar[str] = "lying_guarantee"

    def guarantees(self, setup):
        return tuple(
            replace(
                claim,
                epsilon=claim.epsilon / 2,
                curve=tuple((epsilon / 2, delta) for epsilon, delta in claim.curve),
                in_batch_curve=tuple((epsilon / 2, delta) for epsilon, delta in claim.in_batch_curve),
            )
            for claim in super().guarantees(setup)
        )
