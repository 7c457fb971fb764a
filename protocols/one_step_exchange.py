"""A run of one-step QSDC: the line between Alice and Bob, with Eve on it."""

from typing import TYPE_CHECKING

import numpy as np

from qfl_sec.protocol_contracts import AdversaryReport, Bits
from qfl_sec.protocols.bell_errors import (
    PauliErrors,
    combined,
    independent_errors,
    one_step_secrecy_capacity,
    werner_errors,
)
from qfl_sec.protocols.bell_pairs import Photons, QubitStore
from qfl_sec.protocols.one_step_eve import Eve
from qfl_sec.protocols.one_step_parties import CHECKS, Alice, Bob
from qfl_sec.protocols.qsdc_checks import Found, abort_reason, rates
from qfl_sec.protocols.qsdc_discussion import TAG_BITS, Discussion
from qfl_sec.protocols.qsdc_exchange import Block, Exchange, check_arrivals, disturb, stop_for
from qfl_sec.protocols.qsdc_message import Plan, message_ends
from qfl_sec.randomness import Streams

if TYPE_CHECKING:
    from qfl_sec.protocols.one_step_qsdc import OneStepQsdc


def audit(alice: Alice, bob: Bob) -> tuple[int, int]:
    """Compare both parties' private records: wrong bits, and bits measured."""
    sent, (read, usable) = alice.private_record(), bob.private_record()
    return int((sent ^ read)[:, usable].sum()), 2 * int(usable.sum())


class OneStepExchange(Exchange):
    """One run: who hands what to whom.

    Args:
        carrier: The settings.
        message: For Alice alone.
        plan: How it is cut up.
        streams: Of the run.
    """

    def __init__(self, carrier: "OneStepQsdc", message: Bits, plan: Plan, streams: Streams) -> None:
        self.discussion = Discussion()
        self._carrier, self._plan, self._line = carrier, plan, streams.numpy("line")
        outgoing, incoming = message_ends(message, plan, streams)
        self._alice, self._bob = Alice(carrier, outgoing, streams), Bob(carrier, incoming, streams)
        self._eve = Eve(carrier, streams)

    def _carry(self, block: Block, frames: int) -> None:
        """Carry one block, as the reference numbers its steps."""
        arrived = self._send_photons(block, self._plan.pairs(frames) + self._carrier.overhead_pairs())  # 1
        found = self._check(block, arrived)  # 2
        self._read_out(block, found, frames)  # 3 to 5

    def _send_photons(self, block: Block, needed: int) -> int:
        """Send one photon of each pair; return how many arrived."""
        store = QubitStore()
        block.pairs = block.qubits = self._carrier.pairs_to_emit(needed)
        sent = self._eve.intercept(self._alice.prepare(store, block.pairs), store)
        arrived = np.flatnonzero(self._line.random(block.pairs) < self._carrier.arrival)
        self._disturb(sent, werner_errors(self._carrier.fidelity))
        self._bob.receive(sent[arrived])
        self.discussion.announce(block.pairs)
        self._alice.keep_arrived(arrived)
        self._eve.hear_arrivals(arrived)
        check_arrivals(len(arrived), needed)
        return len(arrived)

    def _check(self, block: Block, arrived: int) -> Found:
        """Compare samples."""
        check = self._bob.check()
        self._eve.hear_check(check.positions, arrived)
        self.discussion.announce(arrived + 5 * len(check.positions))  # each one's two bases, two outcomes and click
        found = self._alice.compare(check)
        self.discussion.announce(1)
        block.rest = arrived - len(check.positions)
        if self._carrier.checks:
            block.checks = found
            block.estimated_secrecy_capacity, reason = self._judge(found)
            stop_for(reason)
        return found

    def _read_out(self, block: Block, found: Found, frames: int) -> None:
        """Let Alice encode, measure and announce, and Bob read."""
        kept = self._alice.encode()
        self._disturb(kept, self._carrier.memory_errors)
        self._disturb(self._bob.stored(len(kept)), self._carrier.memory_errors)
        announced = self._alice.measure()
        self.discussion.announce(3 * len(kept))  # each one's two outcomes and click
        self._eve.hear_outcomes(announced.outcome, frames=frames)
        self._bob.measure()
        self._bob.read(announced, found)
        block.raw_errors, block.raw_bits = audit(self._alice, self._bob)

    def _judge(self, found: Found) -> tuple[float | None, str | None]:
        """Return the secrecy capacity that the samples suggest, and a reason to stop."""
        carrier = self._carrier
        reason = abort_reason(found, carrier.check_threshold, "check")
        if reason:
            return None, reason
        polarization_z, polarization_x, spatial_z, spatial_x = rates(found, CHECKS)
        memories = combined(carrier.memory_errors, carrier.memory_errors)
        polarization = combined(independent_errors(polarization_z, polarization_x), memories)
        spatial = combined(independent_errors(spatial_z, spatial_x), memories)
        capacity = one_step_secrecy_capacity(polarization, spatial, survival=carrier.survival)
        return capacity, None if capacity > 0 else "check: at the error rates found the secrecy capacity is zero"

    def _disturb(self, photons: Photons, errors: PauliErrors) -> None:
        """Let the line cause errors in both degrees of freedom."""
        for half in (photons.polarization, photons.spatial):
            disturb(half, errors, self._line)

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
