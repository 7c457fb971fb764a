"""Alice and Bob of one-step QSDC, each with secrets and random numbers of its own; they meet in photons and messages.

Reference: Sheng, Zhou and Long 2022, Science Bulletin 67, 367, doi:10.1016/j.scib.2021.11.002.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols.bell_errors import combined, error_rates, independent_errors
from qfl_sec.protocols.bell_pairs import Photons, Places, QubitStore, all_but
from qfl_sec.protocols.qsdc_checks import Found, decodable, errors_by_basis, smoothed
from qfl_sec.protocols.qsdc_message import IncomingMessage, OutgoingMessage
from qfl_sec.randomness import Streams

if TYPE_CHECKING:
    from qfl_sec.protocols.one_step_qsdc import OneStepQsdc

CHECKS = ("polarization_z", "polarization_x", "spatial_z", "spatial_x")


@dataclass(frozen=True, kw_only=True)
class CheckAnnouncement:
    """What the receiver announces in the check.

    Attributes:
        positions: Pairs that he measured, (samples,).
        basis: Z (0) or X (1) for polarization and for spatial mode, (2, samples).
        outcome: What he found, (2, samples).
        clicked: Whether his detector did, (samples,).
    """

    positions: Places
    basis: Bits
    outcome: Bits
    clicked: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Announcement:
    """What the sender announces at the end: her outcomes.

    Attributes:
        outcome: Bit and phase, (2, pairs).
        clicked: Whether her detector did, (pairs,).
    """

    outcome: Bits
    clicked: NDArray[np.bool_]


class Alice:
    """Sends the message. She knows it, her settings, her generators, her photons and what is announced.

    Args:
        carrier: The settings.
        message: What she sends.
        streams: Of the run.
    """

    def __init__(self, carrier: "OneStepQsdc", message: OutgoingMessage, streams: Streams) -> None:
        self._carrier, self._message = carrier, message
        self._generator, self._detector = streams.numpy("alice"), streams.numpy("alice detector")

    def prepare(self, store: QubitStore, pairs: int) -> Photons:
        """Prepare pairs phi+ in both degrees of freedom, keep one photon of each, and return the other."""
        ends = [store.entangle(pairs, bit=0, phase=0) for _ in range(2)]
        self._kept = Photons(ends[0][0], ends[1][0])
        return Photons(ends[0][1], ends[1][1])

    def keep_arrived(self, arrived: Places) -> None:
        """Drop every pair whose photon did not arrive."""
        self._kept = self._kept[arrived]

    def compare(self, check: CheckAnnouncement) -> Found:
        """Measure the partners of the samples: outcomes have to be equal. Return errors and samples by basis."""
        photons = self._kept[check.positions]
        mine = photons.measure(check.basis, self._detector)
        clicked = check.clicked & (self._detector.random(len(photons)) < self._carrier.detector_efficiency)
        self._kept = self._kept[all_but(check.positions, len(self._kept))]
        wrong = mine != check.outcome
        polarization, spatial = (errors_by_basis(wrong[half], check.basis[half], clicked) for half in (0, 1))
        return dict(zip(CHECKS, (*polarization, *spatial), strict=True))

    def encode(self) -> Photons:
        """Put the next block on the polarizations: I, Z, X, iY for 00, 10, 01, 11; return the photons."""
        self._sent = self._message.next_block()[::-1]  # the first bit is the phase, (2, pairs)
        self._kept = self._kept[np.arange(self._sent.shape[1])]
        self._kept.polarization.apply(self._sent[0], self._sent[1])
        return self._kept

    def measure(self) -> Announcement:
        """Measure her photons in the Bell basis and announce what came out."""
        outcome = self._kept.bell_measure(self._detector)
        clicked = self._detector.random(len(self._kept)) < self._carrier.detector_efficiency
        return Announcement(outcome=outcome, clicked=clicked)

    def tag(self) -> Bits:
        """Announce the tag of the whole message."""
        return self._message.tag()

    def private_record(self) -> Bits:
        """Return every operation, for the auditor alone, (2, pairs)."""
        return self._sent


class Bob:
    """Receives the message. He knows his settings, his generators, his photons and what is announced.

    Args:
        carrier: The settings.
        message: Where he puts together what he reads.
        streams: Of the run.
    """

    def __init__(self, carrier: "OneStepQsdc", message: IncomingMessage, streams: Streams) -> None:
        self._carrier, self._message = carrier, message
        self._generator, self._detector = streams.numpy("bob"), streams.numpy("bob detector")

    def receive(self, photons: Photons) -> None:
        """Store the photons that arrived."""
        self._stored = photons

    def check(self) -> CheckAnnouncement:
        """Measure a random subset, each degree of freedom in a random basis, and say what came out."""
        positions = np.sort(self._generator.permutation(len(self._stored))[: self._carrier.overhead_pairs()])
        basis = self._generator.integers(0, 2, (2, len(positions)), np.uint8)
        outcome = self._stored[positions].measure(basis, self._detector)
        clicked = self._detector.random(len(positions)) < self._carrier.detector_efficiency
        self._stored = self._stored[all_but(positions, len(self._stored))]
        return CheckAnnouncement(positions=positions, basis=basis, outcome=outcome, clicked=clicked)

    def stored(self, pairs: int) -> Photons:
        """Return the photons in his memory that are used; the rest is not needed."""
        self._stored = self._stored[np.arange(pairs)]
        return self._stored

    def measure(self) -> None:
        """Measure his photons in the Bell basis."""
        self._outcome = self._stored.bell_measure(self._detector)
        self._clicked = self._detector.random(len(self._stored)) < self._carrier.detector_efficiency

    def read(self, announced: Announcement, found: Found) -> None:
        """XOR his outcomes with the announced ones, and decode.

        Args:
            announced: Alice's outcomes.
            found: What the check of this block found.
        """
        self._symbols = self._outcome ^ announced.outcome
        self._usable = self._clicked & announced.clicked
        bit, phase = self._rates(found)
        self._message.decode(self._symbols[::-1], (phase, bit), self._usable)  # the first bit is the phase

    def _rates(self, found: Found) -> tuple[float, float]:
        """Return the error rates to decode with: both degrees of freedom as checked, and four calibrated memories."""
        carrier = self._carrier
        errors = [carrier.line_errors] * 2
        if carrier.checks:
            polarization_z, polarization_x, spatial_z, spatial_x = (smoothed(*found[name]) for name in CHECKS)
            errors = [independent_errors(polarization_z, polarization_x), independent_errors(spatial_z, spatial_x)]
            errors += [carrier.memory_errors] * 4
        bit, phase = error_rates(combined(*errors))
        return decodable(bit), decodable(phase)

    def verify(self, tag: Bits) -> Bits | None:
        """Return the message if the tag fits it."""
        return self._message.verify(tag)

    def frame_failures(self) -> int:
        """Tell how many frames he could not settle."""
        return self._message.frame_failures

    def private_record(self) -> tuple[Bits, NDArray[np.bool_]]:
        """Return what he read, (2, pairs), and where he could, (pairs,), for the auditor alone."""
        return self._symbols, self._usable
