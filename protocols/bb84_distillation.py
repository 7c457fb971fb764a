"""From sifted bits to equal secret keys, or an abort with its reason.

Disclosure of the test basis, Cascade, the length that the finite-key bound allows, verification hash, privacy
amplification, authentication of everything that was said.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols import authentication, cascade, finite_key, toeplitz
from qfl_sec.protocols.bb84_messages import DisclosedErrors, Seeds
from qfl_sec.protocols.bb84_session import Session
from qfl_sec.protocols.bits import binary_entropy
from qfl_sec.randomness import Streams


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What the parties have agreed upon.

    Attributes:
        means: Mean photon number of signal, decoy and vacuum; None for single photons.
        intensity_probabilities: Of the three.
        qber_tolerance: Highest error rate of the test basis at which they go on.
        epsilon_correctness: Bound on unequal keys.
        epsilon_secrecy: Bound on the distance from a secret key.
        schedule: Of Cascade.
        block_bits: Bits reconciled at a time.
    """

    means: tuple[float, float, float] | None
    intensity_probabilities: tuple[float, float, float]
    qber_tolerance: float
    epsilon_correctness: float
    epsilon_secrecy: float
    schedule: cascade.Schedule
    block_bits: int

    def hash_bits(self, n: int) -> int:
        """Return the shortest verification hash of n bits that errs no more often than epsilon_correctness."""
        fits = (t for t in authentication.TAG_LENGTHS if n < 2**t)
        *_, longest = authentication.TAG_LENGTHS
        return next((t for t in fits if authentication.collision_bound(n, t) <= self.epsilon_correctness), longest)

    def length(
        self,
        key_counts: Sequence[float],
        test_counts: Sequence[float],
        test_errors: Sequence[float],
        *,
        leak_bits: float,
    ) -> int:
        """Return the secret length that the bound allows, at least 0.

        The formulas charge log2(1 / epsilon_correctness) bits for the verification hash; what it is longer is charged
        here.

        Args:
            key_counts: Bits of the key basis for each intensity.
            test_counts: Bits of the test basis likewise.
            test_errors: Errors among them.
            leak_bits: Parities announced.
        """
        n, k = int(sum(key_counts)), int(sum(test_counts))
        leak = leak_bits + max(0, self.hash_bits(n) - math.floor(-math.log2(self.epsilon_correctness)))
        epsilons = {"epsilon_secrecy": self.epsilon_secrecy, "epsilon_correctness": self.epsilon_correctness}
        if self.means is None:
            tolerance = self.qber_tolerance
            return finite_key.single_photon_length(n, k, qber_tolerance=tolerance, leak_bits=leak, **epsilons)
        counts = finite_key.DecoyCounts(
            intensities=self.means,
            probabilities=self.intensity_probabilities,
            key_counts=finite_key.by_intensity(key_counts),
            test_counts=finite_key.by_intensity(test_counts),
            test_errors=finite_key.by_intensity(test_errors),
        )
        return finite_key.decoy_length(counts, leak_bits=leak, **epsilons).length


@dataclass(kw_only=True)
class Distillation:
    """How far a run came; filled in step by step.

    Attributes:
        disclosed: Test bits and errors; None before they were compared.
        parity_bits: Announced by Cascade.
        hash_bits: Of the verification hash announced.
        efficiency: Parities over n h(errors that Bob corrected); None before verification, or without errors.
        abort_reason: None as long as all is well.
        alice_key: Empty unless all went well.
        bob_key: Likewise.
    """

    disclosed: DisclosedErrors | None = None
    parity_bits: int = 0
    hash_bits: int = 0
    efficiency: float | None = None
    abort_reason: str | None = None
    alice_key: Bits
    bob_key: Bits


class _AbortedError(Exception):
    """The parties stop; the message is the reason."""


def distil(session: Session, terms: Terms, streams: Streams, *, reserved_bits: int, role: str) -> Distillation:
    """Turn sifted bits into keys.

    Args:
        session: Alice and Bob after sifting.
        terms: What they agreed upon.
        streams: Randomness of each role.
        reserved_bits: Bits of the new key that replace what authentication used up; the keys do not hold them.
        role: Of the sender, who draws orders and seeds.

    Returns:
        Keys, or the reason for an abort, before authentication of what was said.
    """
    none = np.zeros(0, np.uint8)
    found = Distillation(alice_key=none, bob_key=none)
    try:
        disclosed = _estimate(session, terms, found)
        corrected = _reconcile(session, terms, streams.numpy(f"{role} orders"), found, disclosed)
        length = _length(session, terms, disclosed, found.parity_bits)
        if length <= reserved_bits:
            raise _AbortedError(_no_length(length, reserved_bits))
        keys = _verify_and_amplify(session, terms, streams.numpy(f"{role} seeds"), found, corrected, length)
        found.alice_key, found.bob_key = (key[reserved_bits:] for key in keys)
    except _AbortedError as abort:
        found.abort_reason = str(abort)
    return found


def authenticate(session: Session, streams: Streams, *, tag_bits: int, forged: bool) -> tuple[bool, float]:
    """Let Alice tag all that was said, as she heard it, and Bob tag that he agrees.

    Args:
        session: After distillation: its log is complete.
        streams: They hold the key that Alice and Bob share from before.
        tag_bits: Of each tag.
        forged: Whether one of the two is somebody else, who has to guess that key.

    Returns:
        Whether both tags fit, and the bound on the probability that a forged one does.
    """
    key_bits = 3 * tag_bits  # the hash key and a pad for each tag
    key = streams.numpy("pre-shared key").integers(0, 2, key_bits, dtype=np.uint8)
    other = streams.numpy("eve's guess of the key").integers(0, 2, key_bits, dtype=np.uint8) if forged else key
    here, there = (authentication.Authenticator(one, tag_bits) for one in (key, other))
    said = session.log.joined()
    agreed = there.verify(said, here.tag(said))
    confirmed = here.verify(b"agreed", there.tag(b"agreed"))
    bounds = [authentication.cost_bits(bits, tag_bits)[1] for bits in (session.log.bits, 8 * len(b"agreed"))]
    return agreed and confirmed, min(1.0, sum(bounds))


def _estimate(session: Session, terms: Terms, found: Distillation) -> DisclosedErrors:
    """Disclose the test basis and go on only if what is left can become a key."""
    bits = session.bob.disclose()
    disclosed = session.alice.compare(bits)
    session.log.add(bits.payload())
    session.log.add(disclosed.payload())
    found.disclosed = disclosed
    key, test = int(session.alice.key_counts.sum()), sum(disclosed.counts)
    if min(key, test) == 0:
        raise _AbortedError(f"too few bits: {key} in the key basis, {test} in the test basis")
    if disclosed.error_rate > terms.qber_tolerance:
        rate = f"error rate {disclosed.error_rate:.4g} of {test} test bits"
        raise _AbortedError(f"{rate} above the tolerance {terms.qber_tolerance:g}")
    if _length(session, terms, disclosed, 0) == 0:
        raise _AbortedError(f"{_no_length(0, 0)}, even before reconciliation ({key} key bits, {test} test bits)")
    return disclosed


def _reconcile(
    session: Session, terms: Terms, rng: np.random.Generator, found: Distillation, disclosed: DisclosedErrors
) -> Bits:
    """Return Bob's corrected bits; Alice only answers questions about parities."""
    mine = session.bob.sifted_key()
    parts = []
    blocks = -(-len(mine) // terms.block_bits)
    for block, hers in zip(
        np.array_split(mine, blocks), np.array_split(session.alice.sifted_key(), blocks), strict=True
    ):
        oracle = cascade.ParityOracle(hers)
        rate = min(0.5, disclosed.error_rate)
        parts.append(cascade.correct(block, oracle, error_rate=rate, schedule=terms.schedule, rng=rng))
        found.parity_bits += oracle.disclosed_bits
    return np.concatenate(parts)


def _verify_and_amplify(
    session: Session, terms: Terms, rng: np.random.Generator, found: Distillation, corrected: Bits, length: int
) -> tuple[Bits, Bits]:
    """Compare hashes of Alice's and of Bob's corrected bits, then shorten both with the same Toeplitz matrix."""
    hers = session.alice.sifted_key()
    found.hash_bits = terms.hash_bits(len(hers))
    seed = rng.integers(0, 2, found.hash_bits, dtype=np.uint8)
    amplification = rng.integers(0, 2, len(hers) + length - 1, dtype=np.uint8)
    digest = authentication.verification_hash(hers, seed, found.hash_bits)
    session.log.add(Seeds(verification=seed, digest=digest, amplification=amplification).payload())
    if not np.array_equal(authentication.verification_hash(corrected, seed, found.hash_bits), digest):
        raise _AbortedError("verification hash mismatch: reconciliation left errors")
    found.efficiency = _efficiency(session.bob.sifted_key(), corrected, found.parity_bits)
    return toeplitz.hash_bits(hers, amplification, length), toeplitz.hash_bits(corrected, amplification, length)


def _length(session: Session, terms: Terms, disclosed: DisclosedErrors, leak_bits: int) -> int:
    counts = session.alice.key_counts.tolist()
    return terms.length(counts, disclosed.counts, disclosed.errors, leak_bits=leak_bits)


def _efficiency(before: Bits, after: Bits, parity_bits: int) -> float | None:
    """Return parities over the Shannon limit at the error rate that Bob has seen by correcting; None without errors."""
    limit = len(before) * binary_entropy(np.count_nonzero(before != after) / len(before))
    return parity_bits / limit if limit else None


def _no_length(length: int, reserved_bits: int) -> str:
    """Say that nothing is left."""
    if length:
        return f"no secret bits left: {length} bits, of which authentication needs {reserved_bits}"
    return "no secret bits left: the bound on the key length is not positive"
