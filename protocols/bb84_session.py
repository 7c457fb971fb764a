"""The quantum part of BB84: trains of pulses from Alice past an adversary to Bob, and what they announce of them."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols.adversary_contract import Adversary, PublicSetting
from qfl_sec.protocols.bb84_messages import Detections, Sifting
from qfl_sec.protocols.bb84_parties import Alice, Bob, PackedBits
from qfl_sec.protocols.bits import binary_entropy
from qfl_sec.protocols.pulses import Pulses

TRAIN = 2**17
"""Pulses handled at once: they stay in the cache, and bound the memory."""


@dataclass
class PublicLog:
    """Everything said in public, in order: what the parties authenticate, and what it cost.

    Attributes:
        parts: The messages' bytes.
    """

    parts: list[bytes] = field(default_factory=list)

    def add(self, payload: bytes) -> None:
        """Add a message."""
        self.parts.append(payload)

    def joined(self) -> bytes:
        """Return all messages, one after the other."""
        return b"".join(self.parts)

    @property
    def bits(self) -> int:
        """Length in bits, with the padding of packed messages."""
        return 8 * sum(map(len, self.parts))


class Listener:
    """The adversary's notebook: after each train it hears the announcements and writes down what it makes of them.

    Args:
        adversary: Whose.
        setting: What everyone knows of the devices.
        rng: The adversary's random numbers.
    """

    def __init__(self, adversary: Adversary, setting: PublicSetting, rng: np.random.Generator) -> None:
        self._adversary, self._setting, self._rng = adversary, setting, rng
        self._guesses = {0: PackedBits(), 1: PackedBits()}
        self._informed = PackedBits()
        self._bits, self._heard = 0.0, 0

    def intercept(self, pulses: Pulses) -> Any:
        """Act on a train and return the record of it."""
        return self._adversary.intercept(pulses, self._setting, self._rng)

    def listen(self, record: Any, detections: Detections, sifting: Sifting) -> None:
        """Hear which pulses of the train were sifted, and in which bases."""
        clicked = np.flatnonzero(np.unpackbits(detections.clicked, count=detections.pulses))
        kept = np.unpackbits(sifting.kept, count=detections.clicks).view(bool)
        bases = np.unpackbits(detections.bases, count=detections.clicks).compress(kept)
        guess = self._adversary.conclude(record, clicked.compress(kept), bases, self._rng)
        for basis, bits in self._guesses.items():
            bits.append(guess.bits.compress(bases == basis))
        self._informed.append((guess.confidence > 0.5).view(np.uint8))
        self._heard += len(bases)
        self._bits += _known_bits(guess.confidence)

    @property
    def information(self) -> float:
        """Bits known per sifted bit, as the adversary reckons; 0 before anything was sifted."""
        return self._bits / self._heard if self._heard else 0.0

    def held(self) -> dict[str, Bits]:
        """Return guesses of the key basis and of the test basis, and for all in time which are more than a toss."""
        return {
            "key_basis_guesses": self._guesses[0].bits(),
            "test_basis_guesses": self._guesses[1].bits(),
            "informed": self._informed.bits(),
        }


def _known_bits(confidence: NDArray[np.float32]) -> float:
    """Return the sum of 1 - h(c), quickly where there are two values of c at most."""
    if not len(confidence):
        return 0.0
    low, high = confidence.min(), confidence.max()
    certain = int(np.count_nonzero(confidence == high))
    if certain + np.count_nonzero(confidence == low) >= len(confidence):
        pairs = [(float(high), certain), (float(low), len(confidence) - certain)]
    else:
        values, counts = np.unique(confidence, return_counts=True)
        pairs = list(zip(values.tolist(), counts.tolist(), strict=True))
    return math.fsum(count * (1 - binary_entropy(value)) for value, count in pairs)


@dataclass(frozen=True, kw_only=True)
class Session:
    """Alice and Bob after the last pulse.

    Attributes:
        alice: She holds her sifted bits.
        bob: He holds his.
        listener: What the adversary made of it.
        log: What was said.
    """

    alice: Alice
    bob: Bob
    listener: Listener
    log: PublicLog


def exchange(alice: Alice, listener: Listener, bob: Bob, pulses: int) -> Session:
    """Send pulses, measure and sift, train by train.

    Args:
        alice: Sender.
        listener: The adversary on the way.
        bob: Receiver.
        pulses: How many.
    """
    log = PublicLog()
    for start in range(0, pulses, TRAIN):
        train = alice.send(min(TRAIN, pulses - start))
        record = listener.intercept(train)
        detections = bob.measure(train)
        sifting = alice.sift(detections)
        bob.sift(sifting)
        listener.listen(record, detections, sifting)
        for message in (detections, sifting):
            log.add(message.payload())
    return Session(alice=alice, bob=bob, listener=listener, log=log)
