"""Wegman-Carter authentication: a polynomial hash under a one-time pad, and the same hash to compare two strings.

The hash of a message of m bits, cut into blocks b_1 ... b_s of t bits, the last filled with zeros, is
b_1 r^(s+1) + ... + b_s r^2 + m r over GF(2^t), r being the secret key. Two messages' hashes differ by a given value for
at most s + 1 keys, so that whoever sees a message with its tag forges another with probability at most (s + 1) / 2^t,
however much it can compute.

Reference: Wegman and Carter 1981, doi 10.1016/0022-0000(81)90033-7; the polynomial hash: den Boer 1993, Journal of
Computer Security 2, 65; one hash key under fresh pads: Krawczyk 1994, doi 10.1007/3-540-48658-5_15.
"""

from collections.abc import Iterator

import numpy as np

from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols.binary_field import BinaryField
from qfl_sec.protocols.bits import checked_bits
from qfl_sec.protocols.key_store import KeyStore

TAG_LENGTHS = (32, 64, 128)
"""Lengths of tags, and degrees of the field."""


class Authenticator:
    """One party's end of an authenticated channel; both ends hold the same key and call in the same order.

    The first t bits of the key are the hash key, kept for all messages; each tag made or checked uses t more as a pad.

    Args:
        key: t bits for the hash and t for each message, (n,).
        tag_bits: t, one of `TAG_LENGTHS`.

    Raises:
        ValueError: If the length of a tag is another.
        KeyExhaustedError: If the key is shorter than t bits.

    Example:
        >>> key = np.random.default_rng(0).integers(0, 2, 3 * 64, dtype=np.uint8)
        >>> alice, bob = Authenticator(key, 64), Authenticator(key, 64)
        >>> bob.verify(b"bases: ZXXZ", alice.tag(b"bases: ZXXZ"))
        True
        >>> bob.verify(b"bases: ZXXX", alice.tag(b"bases: ZXXZ"))
        False
    """

    def __init__(self, key: Bits, tag_bits: int) -> None:
        _check_tag_bits(tag_bits)
        self._tag_bits = tag_bits
        self._pads = KeyStore(key)
        self._hash_key = self._pads.take(tag_bits)

    @property
    def consumed_bits(self) -> int:
        """Pads used up so far, in bits; the hash key is not among them."""
        return self._pads.consumed - self._tag_bits

    def tag(self, message: bytes) -> Bits:
        """Return the tag (t,) of a message.

        Raises:
            KeyExhaustedError: If no pad is left.
        """
        pad = self._pads.take(self._tag_bits)
        return polynomial_hash(np.unpackbits(np.frombuffer(message, dtype=np.uint8)), self._hash_key) ^ pad

    def verify(self, message: bytes, tag: Bits) -> bool:
        """Return whether a tag is that of a message; the pad is used up either way.

        Raises:
            KeyExhaustedError: If no pad is left.
        """
        return bool(np.array_equal(self.tag(message), tag))


def cost_bits(message_bits: int, tag_bits: int) -> tuple[int, float]:
    """Return the key bits that one tag uses up, and the bound on the probability of a forgery.

    Raises:
        ValueError: If the message's length is negative or the tag's is none of `TAG_LENGTHS`.

    Example:
        >>> cost_bits(1000, 64)[0], cost_bits(1000, 64)[1] == 17 / 2**64
        (64, True)
    """
    _check_tag_bits(tag_bits)
    return tag_bits, collision_bound(message_bits, tag_bits)


def verification_hash(bits: Bits, seed: Bits, length: int) -> Bits:
    """Return a hash by which two parties compare strings of one length.

    Different strings agree with probability at most `collision_bound(len(bits), length)`, if the seed is uniform and
    drawn after the strings are fixed: who knows it in advance can make two that agree.

    Args:
        bits: A string, (n,).
        seed: Fresh random bits, (length,); they may be public.
        length: Bits of the hash, one of `TAG_LENGTHS`.

    Raises:
        ValueError: If the seed is not as long as the hash, or that length is none of `TAG_LENGTHS`.
    """
    _check_tag_bits(length)
    if len(seed) != length:
        raise ValueError(f"Expected a seed of {len(seed)} bits to have length={length}.")
    return polynomial_hash(bits, seed)


def collision_bound(message_bits: int, tag_bits: int) -> float:
    """Return the share of keys at most under which two messages' hashes differ by one given value.

    Args:
        message_bits: Of the longer one.
        tag_bits: Of the hash.

    Raises:
        ValueError: If a number of bits is negative, or the message is as long as its length block can count.
    """
    _check_message_bits(message_bits, tag_bits)
    blocks = -(-message_bits // tag_bits)
    return min(1.0, (blocks + 1) / float(2**tag_bits))


def polynomial_hash(message: Bits, key: Bits) -> Bits:
    """Return the hash of the module's first lines.

    Args:
        message: Any number of bits m < 2^t, (m,).
        key: r, (t,), the highest coefficient first.

    Returns:
        The hash, (t,).

    Raises:
        ValueError: If t is no degree of a known field, or the message is too long for its length to fit a block.
    """
    checked_bits(message, "message")
    field = BinaryField(degree=len(checked_bits(key, "key")))
    _check_message_bits(len(message), field.degree)
    return _bits(field.evaluate(_blocks(message, field.degree), _integer(key)), field.degree)


def _blocks(message: Bits, degree: int) -> Iterator[int]:
    """Give the blocks of a message and then its length."""
    width = -(-degree // 8)
    whole = np.zeros((-(-len(message) // degree), degree), dtype=np.uint8)
    whole.reshape(-1)[: len(message)] = message
    octets, spare = np.packbits(whole, axis=1).tobytes(), -degree % 8
    for start in range(0, len(octets), width):
        yield int.from_bytes(octets[start : start + width], "big") >> spare
    yield len(message)


def _integer(bits: Bits) -> int:
    return int.from_bytes(np.packbits(bits).tobytes(), "big") >> (-len(bits) % 8)


def _bits(value: int, count: int) -> Bits:
    octets = (value << (-count % 8)).to_bytes(-(-count // 8), "big")
    return np.unpackbits(np.frombuffer(octets, dtype=np.uint8))[:count]


def _check_tag_bits(tag_bits: int) -> None:
    if tag_bits not in TAG_LENGTHS:
        raise ValueError(f"Expected tag_bits={tag_bits} to be one of {', '.join(map(str, TAG_LENGTHS))}.")


def _check_message_bits(message_bits: int, tag_bits: int) -> None:
    if not 0 <= message_bits < 2**tag_bits:
        raise ValueError(f"Expected 0 <= message_bits={message_bits} < 2^{tag_bits}, so that its length fits a block.")
