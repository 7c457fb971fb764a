"""Alice and Bob of two-step QSDC, each with secrets and random numbers of its own; they meet in qubits and messages.

Reference: Deng, Long and Liu 2003, Phys. Rev. A 68, 042317, quant-ph/0308173.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols.bell_errors import error_rates
from qfl_sec.protocols.bell_pairs import Places, Qubits, QubitStore, all_but
from qfl_sec.protocols.qsdc_checks import Found, decodable, errors_by_basis, smoothed
from qfl_sec.protocols.qsdc_message import IncomingMessage, OutgoingMessage
from qfl_sec.randomness import Streams

if TYPE_CHECKING:
    from qfl_sec.protocols.two_step_qsdc import TwoStepQsdc

PSI_MINUS = np.uint8(1)
"""Bit and phase of the state that encodes 00."""


@dataclass(frozen=True, kw_only=True)
class FirstCheck:
    """What Bob announces in the first check.

    Attributes:
        positions: Pairs that he measured, (samples,).
        basis: In Z (0) or X (1), (samples,).
        outcome: What he found, (samples,).
        clicked: Whether his detector did, (samples,).
    """

    positions: Places
    basis: Bits
    outcome: Bits
    clicked: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class SecondCheck:
    """What Alice announces for the second check.

    Attributes:
        positions: Pairs of M that carry random operations, (samples,).
        operations: Bit and phase of each, (2, samples).
    """

    positions: Places
    operations: Bits


class Alice:
    """Sends the message. She knows it, her settings, her generators, her qubits and what is announced.

    Args:
        carrier: The settings.
        message: What she sends.
        streams: Of the run.
    """

    def __init__(self, carrier: "TwoStepQsdc", message: OutgoingMessage, streams: Streams) -> None:
        self._carrier, self._message = carrier, message
        self._generator, self._detector = streams.numpy("alice"), streams.numpy("alice detector")

    def prepare(self, store: QubitStore, pairs: int) -> Qubits:
        """Prepare pairs psi-, keep sequence M, and return sequence C."""
        self._kept, sent = store.entangle(pairs, bit=1, phase=1)
        return sent

    def keep_arrived(self, arrived: Places) -> None:
        """Drop every pair whose photon did not arrive."""
        self._kept = self._kept[arrived]

    def compare(self, check: FirstCheck) -> Found:
        """Measure the partners of Bob's samples: outcomes have to be opposite. Return errors and samples by basis."""
        mine = self._kept[check.positions].measure(check.basis, self._detector)
        clicked = check.clicked & (self._detector.random(len(mine)) < self._carrier.detector_efficiency)
        wrong = mine == check.outcome
        self._kept = self._kept[all_but(check.positions, len(self._kept))]
        found = errors_by_basis(wrong, check.basis, clicked)
        return dict(zip(("check_1_z", "check_1_x"), found, strict=True))

    def encode(self) -> Qubits:
        """Put the next block on the pairs, and random operations on secret sampling positions; return sequence M."""
        symbols = self._message.next_block()  # (2, pairs): I, Z, X, iY for 00, 01, 10, 11
        samples = self._carrier.sampling_positions()
        total = symbols.shape[1] + samples
        order = self._generator.permutation(total)
        operations = np.empty((2, total), np.uint8)
        operations[:, order[:samples]] = self._generator.integers(0, 2, (2, samples), np.uint8)
        operations[:, np.sort(order[samples:])] = symbols
        self._sampled, self._operations = np.sort(order[:samples]), operations
        self._kept = self._kept[np.arange(total)]
        self._kept.apply(operations[0], operations[1])
        return self._kept

    def announce_samples(self) -> SecondCheck:
        """Tell which positions were sampling positions, and what was done on them."""
        return SecondCheck(positions=self._sampled, operations=self._operations[:, self._sampled])

    def tag(self) -> Bits:
        """Announce the tag of the whole message."""
        return self._message.tag()

    def private_record(self) -> Bits:
        """Return every operation, for the auditor alone, (2, pairs)."""
        return self._operations


class Bob:
    """Receives the message. He knows his settings, his generators, his qubits and what is announced.

    Args:
        carrier: The settings.
        message: Where he puts together what he reads.
        streams: Of the run.
    """

    def __init__(self, carrier: "TwoStepQsdc", message: IncomingMessage, streams: Streams) -> None:
        self._carrier, self._message = carrier, message
        self._generator, self._detector = streams.numpy("bob"), streams.numpy("bob detector")

    def receive(self, qubits: Qubits) -> None:
        """Store the photons of C that arrived."""
        self._stored = qubits

    def check(self) -> FirstCheck:
        """Measure a random subset in random bases and say what came out."""
        positions = np.sort(self._generator.permutation(len(self._stored))[: self._carrier.check_samples()])
        basis = self._generator.integers(0, 2, len(positions), np.uint8)
        outcome = self._stored[positions].measure(basis, self._detector)
        clicked = self._detector.random(len(positions)) < self._carrier.detector_efficiency
        self._stored = self._stored[all_but(positions, len(self._stored))]
        return FirstCheck(positions=positions, basis=basis, outcome=outcome, clicked=clicked)

    def stored(self, pairs: int) -> Qubits:
        """Return the qubits in his memory that wait for M; the rest is not needed."""
        self._stored = self._stored[np.arange(pairs)]
        return self._stored

    def measure(self, message: Qubits, arrived: NDArray[np.bool_]) -> None:
        """Measure both sequences in the Bell basis, and note which operation each pair carries."""
        outcome = message.bell_measure(self._stored, self._detector)
        self._symbols = outcome ^ PSI_MINUS
        self._clicked = arrived & (self._detector.random(len(message)) < self._carrier.detector_efficiency**2)

    def compare(self, check: SecondCheck) -> Found:
        """Compare the sampling positions with what Alice announces. Return errors and samples."""
        here = check.positions[self._clicked[check.positions]]
        wrong = (self._symbols[:, check.positions] ^ check.operations)[:, self._clicked[check.positions]]
        errors = {"check_2_bit": wrong[0], "check_2_phase": wrong[1], "check_2_symbol": wrong.any(axis=0)}
        self._found = {name: (int(found.sum()), len(here)) for name, found in errors.items()}
        return self._found

    def read(self, check: SecondCheck) -> None:
        """Decode the pairs that are no sampling positions."""
        message = all_but(check.positions, len(self._clicked))
        self._message.decode(self._symbols[:, message], self._rates(), self._clicked[message])

    def _rates(self) -> tuple[float, float]:
        """Return the error rates to decode with: as his check found them, or those of the calibrated line."""
        if self._carrier.checks:
            return smoothed(*self._found["check_2_bit"]), smoothed(*self._found["check_2_phase"])
        bit, phase = error_rates(self._carrier.line_errors())
        return decodable(bit), decodable(phase)

    def verify(self, tag: Bits) -> Bits | None:
        """Return the message if the tag fits it."""
        return self._message.verify(tag)

    def frame_failures(self) -> int:
        """Tell how many frames he could not settle."""
        return self._message.frame_failures

    def private_record(self) -> tuple[Bits, NDArray[np.bool_]]:
        """Return what he read, (2, pairs), and where he could, (pairs,), for the auditor alone."""
        return self._symbols, self._clicked
