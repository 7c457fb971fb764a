"""What both protocols of direct communication share: their settings, and how a message goes through, block by block."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from qfl_sec.checking import InputError
from qfl_sec.protocol_contracts import Bits, Cost, MessageCarrier
from qfl_sec.protocols import block_code
from qfl_sec.protocols.bell_errors import NO_ERROR, UNIFORM, PauliErrors, independent_errors, sometimes
from qfl_sec.protocols.channels import (
    check_not_negative,
    check_positive,
    check_probability,
    fibre_microseconds,
    fibre_transmittance,
    memory_replacement_probability,
)
from qfl_sec.protocols.qsdc_checks import totals
from qfl_sec.protocols.qsdc_exchange import Block, Exchange
from qfl_sec.protocols.qsdc_message import PAIRS_PER_FRAME, Plan, checked_message
from qfl_sec.protocols.qsdc_results import QsdcResult
from qfl_sec.randomness import Streams

Adversary = Literal["none", "intercept_resend", "entangle_measure", "capture_message", "man_in_the_middle"]

BLOCK_PAIRS = 1 << 17
"""Pairs put on the channel at once, about: bounds the memory of a run."""

SPARE_SIGMAS = 6
"""Standard deviations by which more pairs are emitted than arrive on average: one block in 10^9 runs short."""


@dataclass(frozen=True, kw_only=True)
class DirectCarrier(MessageCarrier):
    """Settings of direct communication, and how a message goes through it block by block.

    Subclasses are final and add settings of their own. Not all fields stand in one class, as elsewhere: a carrier is
    configured by one flat table, so that the settings which both protocols share would have to be written out twice.

    Attributes:
        distance_km: Of fibre between the parties.
        loss_db_per_km: Of the fibre.
        detector_efficiency: Of every detector.
        memory_time_s: Time that stored qubits wait between the check and their use.
        coherence_time_s: Time after which a memory has shrunk the Bloch vector to 1/e.
        check_pairs: Samples that each check aims at, per block.
        check_threshold: Error rate of a check, in any basis, above which the parties abort.
        checks: Whether there are checks at all; False is a negative control.
        adversary: Who is on the line.
        adversary_fraction: Share of the pairs that it attacks.
        ancilla_flip: Probability b that entangle-measure flips a qubit in Z.
        pair_rate_hz: Pairs produced a second, for the time model.
        max_pairs: Most pairs that a run may use up.

    Raises:
        InputError: If a value is out of its range.
    """

    capture_shows: ClassVar[bool]
    """Whether the (first) check meets the qubits that capture_message replaces."""

    distance_km: float = 0.0
    loss_db_per_km: float = 0.2
    detector_efficiency: float = 1.0
    memory_time_s: float = 0.0
    coherence_time_s: float = 1.0
    check_pairs: int = 1024
    check_threshold: float = 0.11
    checks: bool = True
    adversary: Adversary = "none"
    adversary_fraction: float = 1.0
    ancilla_flip: float = 0.0
    pair_rate_hz: float = 1e6
    max_pairs: int = 100_000_000

    def __post_init__(self) -> None:
        for name in ("detector_efficiency", "check_threshold", "adversary_fraction", "ancilla_flip"):
            check_probability(**{name: getattr(self, name)})
        for name in ("distance_km", "loss_db_per_km", "memory_time_s"):
            check_not_negative(**{name: getattr(self, name)})
        for name in ("coherence_time_s", "pair_rate_hz", "check_pairs", "max_pairs", "detector_efficiency"):
            check_positive(**{name: getattr(self, name)})
        if self.adversary not in get_args(Adversary):
            raise InputError(f"Expected adversary={self.adversary!r} to be one of: {', '.join(get_args(Adversary))}.")

    @property
    def attacked(self) -> bool:
        """Whether an adversary acts on the channel."""
        return self.adversary != "none" and self.adversary_fraction > 0

    @property
    def transmittance(self) -> float:
        """Probability that a photon gets through the fibre."""
        return fibre_transmittance(self.distance_km, self.loss_db_per_km)

    @property
    def memory_errors(self) -> PauliErrors:
        """Errors that one memory causes: F(t) = 1/4 + (F - 1/4) e^(-t/T)."""
        lost = memory_replacement_probability(1e6 * self.memory_time_s, 1e6 * self.coherence_time_s)
        return sometimes(lost, UNIFORM)

    @property
    def attack_errors(self) -> PauliErrors:
        """Errors that the adversary causes in what is compared in the (first) check, per pair.

        Intercept-resend: 1/4 in each basis. Entangle-measure: b in Z and 1/2 in X, (b + 1/2)/2 together, for orthogonal
        ancillas. A substituted pair: 1/2 in each.
        """
        half = independent_errors(0.5, 0.0), independent_errors(0.0, 0.5)
        caused = {
            "intercept_resend": (half[0] + half[1]) / 2,
            "entangle_measure": independent_errors(self.ancilla_flip, 0.5),
            "man_in_the_middle": UNIFORM,
        }
        if self.capture_shows:
            caused["capture_message"] = UNIFORM
        return sometimes(self.adversary_fraction, caused[self.adversary]) if self.adversary in caused else NO_ERROR

    @abstractmethod
    def expected_check_errors(self) -> dict[str, float]:
        """Return the error rate that each check finds on average, the adversary's part included."""

    @abstractmethod
    def transmission_errors(self) -> PauliErrors:
        """Return the errors of what the receiver reads, on both bits of a pair, attack included."""

    @abstractmethod
    def secrecy_capacity(self) -> float:
        """Return the bits an encoded pair can carry in secret at the expected error rates, attack included."""

    @abstractmethod
    def capacity(self) -> float:
        """Return the bits an encoded pair can carry, secret or not."""

    @abstractmethod
    def code_channel(self) -> tuple[float, float]:
        """Return survival and error rate of a coded bit on the calibrated line, for which the code is chosen."""

    @abstractmethod
    def overhead_pairs(self) -> int:
        """Return how many pairs of a block carry no coded bits because they are sampled."""

    @property
    @abstractmethod
    def arrival(self) -> float:
        """Probability that a pair that is put on the channel can be used."""

    @abstractmethod
    def exchange(self, message: Bits, plan: Plan, streams: Streams) -> Exchange:
        """Return the parties of a run, of whom the sender is handed the message."""

    def pairs_to_emit(self, usable: int) -> int:
        """Return how many pairs to put on the channel so that enough are usable, but for `SPARE_SIGMAS`."""
        spare = SPARE_SIGMAS * math.sqrt(usable * (1 - self.arrival)) + SPARE_SIGMAS**2 if self.arrival < 1 else 0.0
        return math.ceil((usable + spare) / self.arrival)

    def copies(self) -> int:
        """Return how often each coded bit is sent.

        Raises:
            InputError: If no number of copies would do.
        """
        survival, error_rate = self.code_channel()
        copies = block_code.copies_needed(survival=survival, error_rate=error_rate)
        if copies is None:
            raise InputError(
                f"{self.name}: a bit survives with probability {survival:.3g} and errs with {error_rate:.3g}: no "
                f"number of copies up to {block_code.MAX_COPIES} carries a message. Reduce distance, loss or noise."
            )
        return copies

    def check_length(self, message_bits: int) -> Plan:
        """Return how a message of this length is cut up.

        Raises:
            InputError: If the message is empty, or longer than the run can carry.
        """
        if message_bits < 1:
            raise InputError(f"Expected message_bits={message_bits} >= 1.")
        copies = self.copies()
        frames = block_code.frame_count(message_bits)
        most = int(BLOCK_PAIRS * self.arrival) // (copies * PAIRS_PER_FRAME)
        plan = Plan(message_bits=message_bits, frames_per_block=max(1, min(frames, most)), copies=copies)
        usable = plan.pairs(frames) + -(-frames // plan.frames_per_block) * self.overhead_pairs()
        needed = self.pairs_to_emit(usable)
        if needed > self.max_pairs:
            raise InputError(
                f"{self.name}: a message of {message_bits} bits needs {needed} pairs, and max_pairs={self.max_pairs} "
                "is all that the run has. Send less, reduce distance or noise, or raise max_pairs."
            )
        return plan

    def send(self, message: Bits, streams: Streams) -> QsdcResult:
        """Carry a message once, block by block, and return what arrived or the reason for an abort.

        Raises:
            InputError: If the message is empty, is not made of bits, or is longer than the run can carry.
        """
        plan = self.check_length(len(message))
        content = checked_message(message)
        exchange = self.exchange(content, plan, streams)
        blocks: list[Block] = []
        for frames in plan.blocks():
            blocks.append(exchange.carry(frames))
            if blocks[-1].abort_reason is not None:
                return self._result(content, None, blocks[-1].abort_reason, blocks, exchange)
        delivered = exchange.verify()
        reason = None if delivered is not None else "verification: the tag does not fit what was decoded"
        return self._result(content, delivered, reason, blocks, exchange)

    def _result(
        self, content: Bits, delivered: Bits | None, reason: str | None, blocks: list[Block], exchange: Exchange
    ) -> QsdcResult:
        estimates = [block.estimated_secrecy_capacity for block in blocks]
        return QsdcResult(
            abort_reason=reason,
            cost=self._cost(blocks, exchange.discussion.bits),
            ledger=exchange.discussion.ledger(len(content), checks=self.checks),
            adversary=exchange.report(len(content)),
            delivered=delivered,
            pairs=sum(block.pairs for block in blocks),
            checks=totals([(block.checks, block.rest) for block in blocks]),
            expected_check_error_rates=self.expected_check_errors() if self.checks else {},
            sent_bits=len(content),
            raw_errors=sum(block.raw_errors for block in blocks),
            raw_bits=sum(block.raw_bits for block in blocks),
            capacity_bits_per_pair=self.capacity(),
            secrecy_capacity_bits_per_pair=self.secrecy_capacity(),
            estimated_secrecy_capacity_bits_per_pair=min((one for one in estimates if one is not None), default=None),
            frame_failures=exchange.frame_failures,
            message_matches=delivered is not None and bool(np.array_equal(delivered, content)),
        )

    def _cost(self, blocks: list[Block], classical_bits: int) -> Cost:
        """Return what the blocks used up; in each, signals cross the fibre four times."""
        pairs = sum(block.pairs for block in blocks)
        flight = 1e-6 * fibre_microseconds(self.distance_km)
        return Cost(
            qubits=sum(block.qubits for block in blocks),
            classical_bits=classical_bits,
            attempts=pairs,
            seconds=pairs / self.pair_rate_hz + len(blocks) * (4 * flight + self.memory_time_s),
        )
