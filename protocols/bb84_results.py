"""How a run of BB84 ended, and what a run is expected to give."""

from dataclasses import dataclass

import numpy as np

from qfl_sec.protocol_contracts import KeyResult
from qfl_sec.protocols.bb84_counts import Tally
from qfl_sec.protocols.bb84_messages import DisclosedErrors
from qfl_sec.protocols.finite_key import NO_STATEMENT


@dataclass(frozen=True, kw_only=True)
class BB84Result(KeyResult):
    """How a run of BB84 ended.

    Attributes:
        pulses: Sent.
        detected: Clicks at Bob.
        sifted: Clicks with equal bases.
        qber: Error rate of the disclosed test basis; None if nothing was disclosed.
        disclosed_bits: Parities and hash bits announced, to be subtracted from the key.
        reconciliation_efficiency: Parities over n h(errors corrected); None if no key, or no error, came of it.
        key_counts: Bits of the key basis by intensity: signal, decoy, vacuum.
        test: Disclosed counts and errors by intensity; None if nothing was disclosed.
    """

    pulses: int
    detected: int
    sifted: int
    qber: float | None
    disclosed_bits: int
    reconciliation_efficiency: float | None
    key_counts: tuple[int, int, int]
    test: DisclosedErrors | None

    @property
    def error_rate(self) -> float | None:
        """The error rate of the disclosed test basis."""
        return self.qber

    @property
    def secret_bits(self) -> int:
        """Length of the key, authentication paid for."""
        return len(self.alice_key)

    @property
    def keys_match(self) -> bool | None:
        """Whether the keys are equal, which the parties themselves cannot see; None if they aborted."""
        return None if self.aborted else bool(np.array_equal(self.alice_key, self.bob_key))


@dataclass(frozen=True, kw_only=True)
class ExpectedLength:
    """A key length at expected counts.

    Attributes:
        secret_bits: Bits, before authentication is paid for.
        tally: The counts.
        statement: What this does not say.
    """

    secret_bits: int
    tally: Tally
    statement: str = NO_STATEMENT
