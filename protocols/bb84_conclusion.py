"""The end of a run of BB84: tags over all that was said, the ledger, and who holds what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qfl_sec.protocol_contracts import AdversaryReport, Cost, EpsilonLedger, EpsilonTerm
from qfl_sec.protocols import finite_key
from qfl_sec.protocols.bb84_distillation import Distillation, authenticate
from qfl_sec.protocols.bb84_results import BB84Result
from qfl_sec.protocols.bb84_session import Session
from qfl_sec.protocols.bits import binary_entropy
from qfl_sec.protocols.channels import fibre_microseconds
from qfl_sec.randomness import Streams

if TYPE_CHECKING:
    from qfl_sec.protocols.bb84 import BB84

UNAUTHENTICATED = EpsilonTerm(
    aspect="authentication", epsilon=1.0, theorem="None: nothing is authenticated, and the partner may be anybody"
)


@dataclass(frozen=True, kw_only=True)
class Authentication:
    """What came of the tags.

    Attributes:
        abort_reason: Why there is no key; None if there is.
        tag_bits: Of all tags sent.
        forgery: Bound on the probability that a forged tag fits.
    """

    abort_reason: str | None
    tag_bits: int = 0
    forgery: float = 0.0


def authenticated(sessions: Sequence[Session], streams: Streams, *, tag_bits: int) -> Authentication:
    """Let the parties of each session tag what they heard; of two sessions, an adversary is a partner in both."""
    checked = [authenticate(session, streams, tag_bits=tag_bits, forged=len(sessions) > 1) for session in sessions]
    fits = all(passed for passed, _ in checked)
    return Authentication(
        abort_reason=None if fits else "authentication failed: a tag does not fit what was said",
        tag_bits=2 * tag_bits,
        forgery=max(bound for _, bound in checked),
    )


def summarise(
    protocol: "BB84", sessions: Sequence[Session], distilled: Sequence[Distillation], tags: Authentication
) -> BB84Result:
    """Return the result; Alice's figures are those of the first session, Bob's of the last."""
    first, last = distilled[0], distilled[-1]
    none = np.zeros(0, np.uint8)
    counts = sessions[0].alice.key_counts
    test = first.disclosed
    return BB84Result(
        abort_reason=tags.abort_reason,
        cost=_cost(protocol, sessions, distilled, tags),
        ledger=_ledger(protocol, tags),
        adversary=_report(protocol, sessions, distilled),
        alice_key=none if tags.abort_reason else first.alice_key,
        bob_key=none if tags.abort_reason else last.bob_key,
        pulses=protocol.pulses,
        detected=sessions[-1].bob.detected,
        sifted=int(counts.sum()) + (sum(test.counts) if test else 0),
        qber=test.error_rate if test and sum(test.counts) else None,
        disclosed_bits=first.parity_bits + first.hash_bits,
        reconciliation_efficiency=first.efficiency,
        key_counts=(int(counts[0]), int(counts[1]), int(counts[2])),
        test=test,
    )


def _cost(
    protocol: "BB84", sessions: Sequence[Session], distilled: Sequence[Distillation], tags: Authentication
) -> Cost:
    said = sum(session.log.bits for session in sessions) + sum(one.parity_bits for one in distilled)
    seconds = protocol.pulses / protocol.pulses_per_second + fibre_microseconds(protocol.distance_km) * 1e-6
    return Cost(qubits=protocol.pulses, classical_bits=said + tags.tag_bits, attempts=protocol.pulses, seconds=seconds)


def _ledger(protocol: "BB84", tags: Authentication) -> EpsilonLedger:
    ledger = finite_key.key_ledger(
        epsilon_secrecy=protocol.epsilon_secrecy,
        epsilon_correctness=protocol.epsilon_correctness,
        decoys=protocol.means is not None,
        authentication=tags.forgery,
        consumed=tags.tag_bits,
    )
    return ledger if protocol.authenticated else ledger + EpsilonLedger(terms=(UNAUTHENTICATED,))


def _report(protocol: "BB84", sessions: Sequence[Session], distilled: Sequence[Distillation]) -> AdversaryReport:
    """Return what the adversary holds: guesses of the sifted bits, or a key of each of two sessions."""
    if len(sessions) == 1:
        listener = sessions[0].listener
        information: float = listener.information
        held: Mapping[str, NDArray[np.generic]] = listener.held()
    else:
        disclosed = distilled[0].disclosed
        information = 1 - binary_entropy(min(0.5, disclosed.error_rate)) if disclosed else 0.0
        held = {"key_with_alice": distilled[0].bob_key, "key_with_bob": distilled[1].alice_key}
    return AdversaryReport(
        name=protocol.eve.name,
        power=protocol.eve.power,
        information=information,
        unit="bits per sifted bit",
        held=held,
    )
