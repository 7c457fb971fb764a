"""The conformance kit for protocols: sound ones pass, planted bad ones fail the check that is meant for them."""

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import pytest

from qfl_sec.protocol_contracts import AdversaryReport, Cost, EpsilonLedger, KeyResult, KeySource
from qfl_sec.protocols.bb84 import BB84
from qfl_sec.protocols.one_step_qsdc import OneStepQsdc
from qfl_sec.protocols.two_step_qsdc import TwoStepQsdc
from qfl_sec.randomness import Streams
from qfl_sec.testing import check_protocol

BITS = 256


@dataclass(frozen=True, kw_only=True)
class Toy(KeySource):
    """Hands out a key of Alice's, unless the adversary is seen; each flaw is one planted mistake."""

    name: ClassVar[str] = "toy"

    adversary: str = "none"
    adversary_fraction: float = 1.0
    flaw: str = ""

    def distribute(self, streams: Streams) -> KeyResult:
        seed = Streams(0) if self.flaw == "same key" else streams
        generator = np.random.default_rng() if self.flaw == "global" else seed.numpy("alice")
        noticed = streams.numpy("bob").random(400) < self.adversary_fraction / 4
        attacked = self.adversary != "none"
        if attacked and self.flaw == "shared stream":
            generator.random(3)
        alice = generator.integers(0, 2, BITS, np.uint8)
        bob = alice ^ np.uint8(1) if self.flaw == "keys differ" else alice
        reason = "errors" if attacked and noticed.mean() > 0.11 and self.flaw != "no abort" else None
        given = reason is None or self.flaw == "key in spite of the abort"
        return KeyResult(
            abort_reason=reason,
            cost=Cost() if self.flaw == "no cost" else Cost(qubits=1000, classical_bits=10, attempts=1000),
            ledger=EpsilonLedger(),
            adversary=AdversaryReport(
                name=self.adversary,
                power="",
                information=float("nan") if self.flaw == "nan" else -1.0 if self.flaw == "negative" else 0.0,
                unit="bits per sifted bit",
                held={"bits": alice.copy()} if self.flaw == "peeks" else {},
            ),
            alice_key=alice if given else alice[:0],
            bob_key=bob if given else bob[:0],
        )


SOUND: list[Any] = [
    Toy(),
    TwoStepQsdc(error_rate=0.03),
    OneStepQsdc(fidelity=0.97),
    OneStepQsdc(adversary="intercept_resend", adversary_fraction=0.1),
    BB84(pulses=100_000, adversary="intercept_resend"),
]

PLANTED = {
    # flaw: the check that is meant for it, and what that one says
    "keys differ": ("delivers", "keys differ", "is not, though nobody is on the line"),
    "no abort": ("aborts", "no abort, 512 bits handed out", "goes unnoticed"),
    "key in spite of the abort": ("aborts", "aborted, 512 bits handed out", "handed out all the same"),
    "peeks": ("secrets_kept", "bits is the secret", "what only the parties know"),
    "same key": ("fresh_keys", "equal keys of two seeds", "does not depend on the seed"),
    "global": ("determinism", "different results", "something else than the streams"),
    "shared stream": ("streams", "different bits with an idle adversary", "changes what the honest parties draw"),
    "no cost": ("cost_counted", "no qubits, no classical_bits, no attempts", "count what it uses up"),
    "nan": ("numbers", "honest information = nan", "negative or not finite"),
    "negative": ("numbers", "honest information = -1.0", "negative or not finite"),
}


@pytest.mark.parametrize("protocol", SOUND, ids=lambda one: type(one).__name__)
def test_a_sound_protocol_passes(protocol: Any) -> None:
    card = check_protocol(protocol)
    assert card.passed, card.text()
    assert card.kind == "protocol"
    assert card.false_alarm == 0


@pytest.mark.parametrize("flaw", PLANTED)
def test_a_planted_protocol_fails_for_the_right_reason(flaw: str) -> None:
    check, measured, reason = PLANTED[flaw]
    card = check_protocol(Toy(flaw=flaw))
    found = {one.name: one for one in card.checks}[check]
    assert found.status == "failed", card.text()
    assert measured in found.measured
    assert reason in found.reason
    if flaw != "global":  # which is unequal wherever two runs are compared
        also = ("streams",) if flaw == "same key" else ()  # Alice asks for no stream
        assert card.failures == (check, *also)


def test_what_cannot_be_attacked_is_not_failed_for_it() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Unattackable(KeySource):
        name: ClassVar[str] = "unattackable"

        def distribute(self, streams: Streams) -> KeyResult:
            return Toy().distribute(streams)

    card = check_protocol(Unattackable())
    states = {one.name: one.status for one in card.checks}
    assert card.passed
    assert states["aborts"] == states["streams"] == "not applicable"


def test_an_error_fails_the_check_it_is_raised_in() -> None:
    card = check_protocol(cast(Any, TwoStepQsdc(max_pairs=10)))
    assert not card.passed
    assert "max_pairs=10" in {one.name: one for one in card.checks}["delivers"].measured
