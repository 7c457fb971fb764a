"""What Alice and Bob say to each other in public, as the bytes that are authenticated."""

from dataclasses import dataclass

import numpy as np

from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols.drawing import Bytes


@dataclass(frozen=True, kw_only=True)
class Detections:
    """Bob: which pulses of a train gave a click, and in which basis he measured those.

    Attributes:
        pulses: Length of the train.
        clicked: (pulses,), packed, 8 to a byte.
        bases: (clicks,), packed; 0 Z, 1 X.
        clicks: How many.
    """

    pulses: int
    clicked: Bytes
    bases: Bytes
    clicks: int

    def payload(self) -> bytes:
        """Return the message as bytes."""
        return self.clicked.tobytes() + self.bases.tobytes()


@dataclass(frozen=True, kw_only=True)
class Sifting:
    """Alice: which clicks she keeps, as the bases agree, and how bright those pulses were.

    Attributes:
        kept: (clicks,), packed.
        intensities: (2, kept), packed: which are decoys, which are vacuum; (2, 0) if all pulses are alike.
    """

    kept: Bytes
    intensities: Bytes

    def payload(self) -> bytes:
        """Return the message as bytes."""
        return self.kept.tobytes() + self.intensities.tobytes()


@dataclass(frozen=True, kw_only=True)
class DisclosedBits:
    """Bob: all his bits of the test basis, which are worth nothing afterwards.

    Attributes:
        bits: (count,), packed.
        count: How many.
    """

    bits: Bytes
    count: int

    def payload(self) -> bytes:
        """Return the message as bytes."""
        return self.bits.tobytes()


@dataclass(frozen=True, kw_only=True)
class DisclosedErrors:
    """Alice: how many test bits, and wrong ones among them, there are for each intensity.

    Attributes:
        counts: Of signal, decoy and vacuum.
        errors: Likewise.
    """

    counts: tuple[int, int, int]
    errors: tuple[int, int, int]

    @property
    def error_rate(self) -> float:
        """Of all test bits; 0 if there are none."""
        return sum(self.errors) / max(1, sum(self.counts))

    def payload(self) -> bytes:
        """Return the message as bytes."""
        return np.array([self.counts, self.errors], "<i8").tobytes()


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """Alice: the seeds of the verification hash and of privacy amplification, and her hash.

    Attributes:
        verification: Seed of the verification hash.
        digest: Hash of her key.
        amplification: Seed of the Toeplitz matrix; fresh in every run.
    """

    verification: Bits
    digest: Bits
    amplification: Bits

    def payload(self) -> bytes:
        """Return the message as bytes."""
        parts = (self.verification, self.digest, self.amplification)
        return b"".join(np.packbits(part).tobytes() for part in parts)
