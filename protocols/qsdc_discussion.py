"""The public discussion of direct communication, and the ledger of what is proven of a run."""

from dataclasses import dataclass

from qfl_sec.protocol_contracts import EpsilonLedger, EpsilonTerm
from qfl_sec.protocols.authentication import collision_bound
from qfl_sec.protocols.qsdc_checks import ESTIMATION_FAILURE

TAG_BITS = 64
"""Of the tag that ends a message, and of that of each announcement."""

UNPROVEN = EpsilonTerm(
    aspect="secrecy",
    epsilon=1.0,
    theorem="none: the protocol's sources prove no composable secrecy of a delivered message. The secrecy "
    "capacity is asymptotic; the code corrects errors and hides nothing from an attack that checks miss",
)


@dataclass
class Discussion:
    """The authenticated public channel: everybody hears it, nobody can change it.

    Attributes:
        bits: Announced so far.
        messages: Announcements so far, each with a tag of its own.
        longest: Bits of the longest of them.
    """

    bits: int = 0
    messages: int = 0
    longest: int = 0

    def announce(self, bits: int) -> None:
        """Count an announcement."""
        self.bits += bits + TAG_BITS
        self.messages += 1
        self.longest = max(self.longest, bits)

    def ledger(self, message_bits: int, *, checks: bool) -> EpsilonLedger:
        """Return the bounds on everything that may fail in a run, and the key that its tags consumed.

        Args:
            message_bits: Length of the message.
            checks: Whether the parties looked for errors.
        """
        correctness = EpsilonTerm(
            aspect="correctness",
            epsilon=collision_bound(message_bits, TAG_BITS),
            theorem=f"tag of {TAG_BITS} bits over the message, polynomial hash and one-time pad "
            "(Wegman and Carter 1981)",
        )
        authentication = EpsilonTerm(
            aspect="authentication",
            epsilon=min(1.0, self.messages * collision_bound(self.longest, TAG_BITS)),
            theorem=f"a tag of {TAG_BITS} bits for each announcement (Wegman and Carter 1981), union bound",
        )
        terms = (correctness, authentication, _estimation(checks), UNPROVEN)
        return EpsilonLedger(terms=terms, consumed_key_bits=TAG_BITS * self.messages)


def _estimation(checks: bool) -> EpsilonTerm:
    if not checks:
        return EpsilonTerm(aspect="secrecy", epsilon=1.0, theorem="no checks: nothing is known of the line")
    theorem = "error rates of unsampled pairs stay below the stated bounds (Serfling 1974)"
    return EpsilonTerm(aspect="secrecy", epsilon=ESTIMATION_FAILURE, theorem=theorem)
