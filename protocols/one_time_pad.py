"""Encryption of messages with distributed key: the one-time pad while it lasts, else AES-256-GCM."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols.key_store import KeyStore

AES_KEY_BITS = 256

_NONCE = bytes(12)
"""Each key encrypts one message, so one nonce does for all."""


class DecryptionError(Exception):
    """A ciphertext that was altered, or met with another key."""


@dataclass(frozen=True, kw_only=True)
class Ciphertext:
    """An encrypted message.

    Attributes:
        data: The bytes on the channel.
        method: "one_time_pad", or "aes_256_gcm" where the key did not suffice for one.
    """

    data: bytes
    method: Literal["one_time_pad", "aes_256_gcm"]

    @property
    def security(self) -> Literal["information-theoretic", "computational"]:
        """What secrecy rests on, the key's own epsilon aside. A one-time pad alone authenticates nothing."""
        return "information-theoretic" if self.method == "one_time_pad" else "computational"


def one_time_pad(message: bytes, pad: Bits) -> bytes:
    """Encrypt or decrypt, which is the same.

    Args:
        message: Any bytes.
        pad: Bits never used before, eight a byte.

    Raises:
        ValueError: If the pad is not exactly as long as the message.

    Example:
        >>> pad = np.random.default_rng(0).integers(0, 2, 40, dtype=np.uint8)
        >>> one_time_pad(one_time_pad(b"hello", pad), pad)
        b'hello'
    """
    if len(pad) != 8 * len(message):
        raise ValueError(f"Expected a pad of {len(pad)} bits to have 8 x {len(message)} bytes of message.")
    return bytes(np.frombuffer(message, dtype=np.uint8) ^ np.packbits(pad))


def encrypt(message: bytes, store: KeyStore) -> Ciphertext:
    """Encrypt with a one-time pad if the store holds enough, else with AES-256-GCM under a fresh key.

    Raises:
        KeyExhaustedError: If there are not even the bits for that.
    """
    if 8 * len(message) <= store.remaining:
        return Ciphertext(data=one_time_pad(message, store.take(8 * len(message))), method="one_time_pad")
    return Ciphertext(data=_aes(store).encrypt(_NONCE, message, None), method="aes_256_gcm")


def decrypt(ciphertext: Ciphertext, store: KeyStore) -> bytes:
    """Decrypt with the other party's copy of the store, which must have given out the same bits before.

    Raises:
        DecryptionError: If AES-256-GCM finds the ciphertext altered.
        KeyExhaustedError: If the store holds less key than the sender's did.
    """
    if ciphertext.method == "one_time_pad":
        return one_time_pad(ciphertext.data, store.take(8 * len(ciphertext.data)))
    try:
        return _aes(store).decrypt(_NONCE, ciphertext.data, None)
    except InvalidTag:
        raise DecryptionError("The ciphertext was altered, or the two key stores are out of step.") from None


def _aes(store: KeyStore) -> AESGCM:
    return AESGCM(np.packbits(store.take(AES_KEY_BITS)).tobytes())
