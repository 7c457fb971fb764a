"""A run of two-step QSDC: the line between Alice and Bob, with Eve on it."""

from typing import TYPE_CHECKING

import numpy as np

from qfl_sec.protocol_contracts import AdversaryReport, Bits
from qfl_sec.protocols.bell_errors import combined, independent_errors, two_step_secrecy_capacity
from qfl_sec.protocols.bell_pairs import QubitStore, all_but
from qfl_sec.protocols.qsdc_checks import Found, abort_reason, rates
from qfl_sec.protocols.qsdc_discussion import TAG_BITS, Discussion
from qfl_sec.protocols.qsdc_exchange import Block, Exchange, check_arrivals, disturb, stop_for
from qfl_sec.protocols.qsdc_message import Plan, message_ends
from qfl_sec.protocols.two_step_eve import Eve
from qfl_sec.protocols.two_step_parties import Alice, Bob, SecondCheck
from qfl_sec.randomness import Streams

if TYPE_CHECKING:
    from qfl_sec.protocols.two_step_qsdc import TwoStepQsdc


def audit(alice: Alice, bob: Bob, check: SecondCheck) -> tuple[int, int]:
    """Compare both parties' private records on message positions: wrong bits, and bits measured."""
    sent, (read, clicked) = alice.private_record(), bob.private_record()
    message = clicked & all_but(check.positions, len(clicked))
    return int((sent ^ read)[:, message].sum()), 2 * int(message.sum())


class TwoStepExchange(Exchange):
    """One run: who hands what to whom.

    Args:
        carrier: The settings.
        message: For Alice alone.
        plan: How it is cut up.
        streams: Of the run.
    """

    def __init__(self, carrier: "TwoStepQsdc", message: Bits, plan: Plan, streams: Streams) -> None:
        self.discussion = Discussion()
        self._carrier, self._plan, self._line = carrier, plan, streams.numpy("line")
        outgoing, incoming = message_ends(message, plan, streams)
        self._alice, self._bob = Alice(carrier, outgoing, streams), Bob(carrier, incoming, streams)
        self._eve = Eve(carrier, streams)

    def _carry(self, block: Block, frames: int) -> None:
        """Carry one block: C, first check, M, second check, as the reference numbers them."""
        store = QubitStore()
        arrived = self._send_first(block, store, self._plan.pairs(frames) + self._carrier.overhead_pairs())  # 1
        self._check_first(block, arrived)  # 2
        sent = self._send_message(block, store)  # 3
        samples = self._check_message(block, sent, frames)  # 4
        self._bob.read(samples)  # 5

    def _send_first(self, block: Block, store: QubitStore, needed: int) -> int:
        """Send sequence C; return how many of its photons arrived."""
        carrier = self._carrier
        block.pairs = block.qubits = carrier.pairs_to_emit(needed)
        sent = self._eve.intercept_first(self._alice.prepare(store, block.pairs), store)
        arrived = np.flatnonzero(self._line.random(block.pairs) < carrier.arrival)
        disturb(sent, carrier.first_errors, self._line)
        self._bob.receive(sent[arrived])
        self.discussion.announce(block.pairs)
        self._alice.keep_arrived(arrived)
        self._eve.hear_arrivals(arrived)
        check_arrivals(len(arrived), needed)
        return len(arrived)

    def _check_first(self, block: Block, arrived: int) -> None:
        """Compare samples of C."""
        check = self._bob.check()
        self._eve.hear_check(check.positions, arrived)
        self.discussion.announce(arrived + 3 * len(check.positions))  # each one's basis, outcome and click
        found = self._alice.compare(check)
        self.discussion.announce(1)
        block.rest = arrived - len(check.positions)
        if self._carrier.checks:
            block.checks = found
            stop_for(abort_reason(found, self._carrier.check_threshold, "check 1"))

    def _send_message(self, block: Block, store: QubitStore) -> int:
        """Send sequence M and let Bob measure both; return its length."""
        carrier = self._carrier
        message = self._eve.intercept_second(self._alice.encode(), store)
        block.qubits += len(message)
        came = self._line.random(len(message)) < carrier.transmittance
        disturb(message, combined(carrier.memory_errors, carrier.message_errors), self._line)
        disturb(self._bob.stored(len(message)), carrier.memory_errors, self._line)
        self._bob.measure(message, came)
        return len(message)

    def _check_message(self, block: Block, sent: int, frames: int) -> SecondCheck:
        """Compare the sampling positions of M, which Alice tells now."""
        samples = self._alice.announce_samples()
        self.discussion.announce(sent + 2 * len(samples.positions))  # each one's bit and phase
        self._eve.hear_samples(samples.positions, sent, frames=frames)
        found = self._bob.compare(samples)
        self.discussion.announce(1)
        block.rest = min(block.rest, sent - len(samples.positions))
        block.raw_errors, block.raw_bits = audit(self._alice, self._bob, samples)
        if self._carrier.checks:
            block.checks = {**block.checks, **found}
            block.estimated_secrecy_capacity, reason = self._judge(block.checks)
            stop_for(reason)
        return samples

    def _judge(self, found: Found) -> tuple[float | None, str | None]:
        """Return the secrecy capacity that the samples suggest, and a reason to stop if there is none."""
        halves = {name: found[name] for name in ("check_2_bit", "check_2_phase")}
        reason = abort_reason(halves, self._carrier.message_check_threshold, "check 2")
        if reason:
            return None, reason
        z, x, bit, phase, symbol = rates(
            found, ("check_1_z", "check_1_x", "check_2_bit", "check_2_phase", "check_2_symbol")
        )
        errors = independent_errors(bit, phase)
        capacity = two_step_secrecy_capacity((z, x), errors, survival=self._carrier.survival)
        if capacity > 0:
            return capacity, None
        return 0.0, f"check 2: at a symbol error rate of {symbol:.4f} the secrecy capacity is zero"

    def verify(self) -> Bits | None:
        """Let Alice announce the tag of the message; return what Bob accepts, None if he rejects."""
        self.discussion.announce(TAG_BITS)
        return self._bob.verify(self._alice.tag())

    @property
    def frame_failures(self) -> int:
        """Frames so far that Bob's error correction did not settle."""
        return self._bob.frame_failures()

    def report(self, message_bits: int) -> AdversaryReport:
        """Return what Eve holds of a message of this length."""
        return self._eve.report(message_bits)
