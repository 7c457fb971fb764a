"""The auditor of BB84: the only one who sees Alice's bits, Bob's bits and the adversary's guesses at once.

Nothing here flows back into a run: the parties learn error rates from what they disclose.
"""

from dataclasses import dataclass

import numpy as np

from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols.bb84_rates import best_guess
from qfl_sec.protocols.bb84_session import Session

SIGMAS = 5
"""How far above the limit of quantum mechanics an adversary's success has to lie to be called impossible."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What really happened in a session.

    Attributes:
        sifted: Sifted bits, both bases.
        key_errors: Wrong bits among Bob's of the key basis.
        test_errors: Likewise of the test basis.
        guessed_right: The adversary's right guesses.
    """

    sifted: int
    key_errors: int
    test_errors: int
    guessed_right: int

    @property
    def error_rate(self) -> float:
        """Of all sifted bits; 0 if there are none."""
        return (self.key_errors + self.test_errors) / max(1, self.sifted)

    @property
    def guess_rate(self) -> float:
        """Share of the sifted bits that the adversary guesses right; 1/2 if there are none."""
        return self.guessed_right / self.sifted if self.sifted else 0.5

    @property
    def basis_leaked(self) -> bool:
        """Whether the adversary knows more than measurements of single photons with so few errors allow.

        Then it learned the bases before it measured, or held a second photon until they were announced.
        """
        if not self.sifted:
            return False
        rate, n = min(0.5, self.error_rate), self.sifted
        highest = min(0.5, rate + SIGMAS * np.sqrt(max(rate * (1 - rate), 1 / n) / n))
        return bool(self.guess_rate > best_guess(highest) + SIGMAS * 0.5 / np.sqrt(n))


def audit(session: Session) -> Audit:
    """Compare what everybody holds in secret."""
    hers = [session.alice._key.bits(), session.alice._test.bits()]
    his = [session.bob._key.bits(), session.bob._test.bits()]
    held = session.listener.held()
    guesses = [held["key_basis_guesses"], held["test_basis_guesses"]]
    return Audit(
        sifted=sum(map(len, hers)),
        key_errors=_differences(hers[0], his[0]),
        test_errors=_differences(hers[1], his[1]),
        guessed_right=sum(len(bits) - _differences(bits, guess) for bits, guess in zip(hers, guesses, strict=True)),
    )


def _differences(first: Bits, second: Bits) -> int:
    return int(np.count_nonzero(first != second))
