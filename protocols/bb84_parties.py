"""Alice and Bob of BB84, each with random numbers and secrets of its own; they meet in pulses and messages only."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols.bb84_messages import Detections, DisclosedBits, DisclosedErrors, Sifting
from qfl_sec.protocols.drawing import Bytes, ByteTable, bernoulli, poisson_probabilities, random_bytes
from qfl_sec.protocols.pulses import MOST_PHOTONS, Pulses

KEY_BASIS, TEST_BASIS = 0, 1
"""The key is made of what was sent and measured in Z; everything in X is disclosed."""

SIGNAL = 0
"""The intensity of signals; 1 is the decoy, 2 the vacuum."""


class PackedBits:
    """Bits that arrive train by train, held 8 to a byte."""

    def __init__(self) -> None:
        self._parts: list[tuple[Bytes, int]] = []

    def __len__(self) -> int:
        """Return the number of bits."""
        return sum(count for _, count in self._parts)

    def append(self, bits: Bits) -> None:
        """Add the bits (n,) of a train."""
        self._parts.append((np.packbits(bits), len(bits)))

    def bits(self) -> Bits:
        """Return all bits (total,) in the order of their arrival."""
        parts = [np.unpackbits(packed, count=count) for packed, count in self._parts]
        return np.concatenate(parts) if parts else np.zeros(0, np.uint8)


def choose_bases(key_basis_probability: float, count: int, rng: np.random.Generator) -> Bytes:
    """Return bases (count,), 0 for the key basis, with its probability, and 1 for the test basis."""
    return bernoulli(1 - key_basis_probability, count, rng).view(np.uint8)


class Source:
    """Alice's laser or single-photon source.

    Args:
        means: Mean photon number of signal, decoy and vacuum; None for exactly one photon a pulse.
        probabilities: Of the three intensities.
        choices: Alice's random numbers.
        nature: Draws photon numbers.
    """

    def __init__(
        self,
        means: tuple[float, float, float] | None,
        probabilities: tuple[float, float, float],
        choices: np.random.Generator,
        nature: np.random.Generator,
    ) -> None:
        self._choices, self._nature = choices, nature
        self._intensity = ByteTable(np.array([probabilities]))
        laws = [poisson_probabilities(mean, MOST_PHOTONS) for mean in means or ()]
        self._photons = ByteTable(np.array(laws)) if laws else None

    @property
    def has_decoys(self) -> bool:
        """Whether pulses come in three intensities."""
        return self._photons is not None

    def emit(self, count: int) -> tuple[Bytes, Bytes]:
        """Return intensities and photon numbers (count,) of a train."""
        if self._photons is None:
            return np.zeros(count, np.uint8), np.ones(count, np.uint8)
        intensities = self._intensity.draw(np.zeros(count, np.uint8), self._choices)
        return intensities, self._photons.draw(intensities, self._nature)


class Alice:
    """Sends random bits in random bases.

    Args:
        source: Her device.
        key_basis_probability: How often she sends in Z.
        rng: Her random numbers.
        nature: Of what happens to the pulses on their way.
    """

    def __init__(
        self, source: Source, key_basis_probability: float, rng: np.random.Generator, nature: np.random.Generator
    ) -> None:
        self._source, self._p, self._rng, self._nature = source, key_basis_probability, rng, nature
        self._decoys = source.has_decoys
        self._key, self._test = PackedBits(), PackedBits()
        self._test_intensities: list[Bytes] = []
        self.key_counts = np.zeros(3, np.int64)

    def send(self, count: int) -> Pulses:
        """Prepare a train of pulses and let it go."""
        bits = np.unpackbits(random_bytes(-(-count // 8), self._rng), count=count)
        bases = choose_bases(self._p, count, self._rng)
        intensities, photons = self._source.emit(count)
        self._sent = bits | (bases << np.uint8(1)) | (intensities << np.uint8(2))
        return Pulses((bits << np.uint8(2)) | (bases << np.uint8(1)), photons, self._nature)

    def sift(self, message: Detections) -> Sifting:
        """Keep the bits that Bob measured in their basis, and tell him which."""
        sent = self._sent.compress(np.unpackbits(message.clicked, count=message.pulses).view(bool))
        kept = ((sent >> np.uint8(1)) & np.uint8(1)) == np.unpackbits(message.bases, count=message.clicks)
        sent = sent.compress(kept)
        is_test = (sent & np.uint8(2)) > 0
        key, test = sent.compress(~is_test), sent.compress(is_test)
        self._key.append(key & np.uint8(1))
        self._test.append(test & np.uint8(1))
        if not self._decoys:
            self.key_counts[SIGNAL] += len(key)
            return Sifting(kept=np.packbits(kept), intensities=np.zeros((2, 0), np.uint8))
        self.key_counts += np.bincount(key >> np.uint8(2), minlength=3)
        self._test_intensities.append(test >> np.uint8(2))
        planes = [sent & np.uint8(4), sent & np.uint8(8)]
        return Sifting(kept=np.packbits(kept), intensities=np.packbits(planes, axis=1))

    def compare(self, message: DisclosedBits) -> DisclosedErrors:
        """Compare Bob's test bits with hers."""
        wrong = (self._test.bits() != np.unpackbits(message.bits, count=message.count)).view(np.uint8)
        total, errors = len(wrong), int(np.count_nonzero(wrong))
        if not self._decoys:
            return DisclosedErrors(counts=(total, 0, 0), errors=(errors, 0, 0))
        intensities = _joined(self._test_intensities)
        counts = np.bincount(intensities, minlength=3)
        failed = np.bincount(intensities.compress(wrong.view(bool)), minlength=3)
        return DisclosedErrors(counts=_triple(counts), errors=_triple(failed))

    def sifted_key(self) -> Bits:
        """Return her bits of the key basis."""
        return self._key.bits()


class Bob:
    """Measures in random bases.

    Args:
        table: What his device does, see `detection_table`.
        after_pulse_probability: Of his detectors.
        key_basis_probability: How often he measures in Z.
        rng: His random numbers.
        nature: Of what happens in his device.
    """

    def __init__(
        self,
        table: ByteTable,
        after_pulse_probability: float,
        key_basis_probability: float,
        rng: np.random.Generator,
        nature: np.random.Generator,
    ) -> None:
        self._table, self._after_pulse, self._p = table, after_pulse_probability, key_basis_probability
        self._rng, self._nature = rng, nature
        self._last = 0
        self._key, self._test = PackedBits(), PackedBits()
        self.detected = 0

    def measure(self, pulses: Pulses) -> Detections:
        """Measure a train of pulses and tell which of them clicked."""
        self._bases = choose_bases(self._p, len(pulses), self._rng)
        outcomes = pulses.detect(self._table, self._bases, self._nature)
        if self._after_pulse:
            outcomes = self._with_after_pulses(outcomes)
        clicked = outcomes > 0
        found = ((outcomes & np.uint8(2)) | self._bases).compress(clicked)
        self._bits, self._bases = found >> np.uint8(1), found & np.uint8(1)
        self.detected += len(self._bits)
        return Detections(
            pulses=len(outcomes),
            clicked=np.packbits(clicked),
            bases=np.packbits(self._bases),
            clicks=len(self._bits),
        )

    def sift(self, message: Sifting) -> None:
        """Keep the bits that Alice keeps."""
        kept = np.unpackbits(message.kept, count=len(self._bits)).view(bool)
        bits, is_test = self._bits.compress(kept), self._bases.compress(kept).view(bool)
        self._key.append(bits.compress(~is_test))
        self._test.append(bits.compress(is_test))

    def disclose(self) -> DisclosedBits:
        """Tell all bits of the test basis."""
        return DisclosedBits(bits=np.packbits(self._test.bits()), count=len(self._test))

    def sifted_key(self) -> Bits:
        """Return his bits of the key basis."""
        return self._key.bits()

    def _with_after_pulses(self, outcomes: Bytes) -> Bytes:
        """Let detectors that clicked fire once more in the next gate; two clicks give a random bit."""
        before = np.concatenate(([np.uint8(self._last)], outcomes[:-1]))
        self._last = int(outcomes[-1])
        clicks = np.flatnonzero(before)
        again = clicks[bernoulli(self._after_pulse, len(clicks), self._nature)]
        both = outcomes[again] | before[again]  # 3: one click in each detector
        result = outcomes.copy()
        result[again] = np.where(both == 3, 1 + (random_bytes(len(again), self._nature) & 1), both)
        return result


def _joined(parts: Iterable[Bytes]) -> Bytes:
    return np.concatenate([np.zeros(0, np.uint8), *parts])


def _triple(values: NDArray[np.intp]) -> tuple[int, int, int]:
    first, second, third = (int(value) for value in values)
    return first, second, third
