"""Masks that each pair of clients agrees on and that cancel in the sum over all clients.

Reference:
    Bonawitz et al. 2017, doi:10.1145/3133956.3133982, section 4.1; X25519 is RFC 7748, HKDF is RFC 5869, ChaCha20 is
    RFC 8439.
"""

from collections.abc import Sequence
from itertools import permutations

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

SECRET_BYTES = 32
"""Length of an X25519 private key."""


def pairwise_masks(secrets: Sequence[bytes], *, length: int, context: bytes) -> NDArray[np.uint64]:
    """Return each client's mask; the masks of all clients add up to zero modulo 2^64.

    Every client agrees on a seed with each other one, from its own private key and the other's public key, and expands
    it into a stream of integers. The earlier client of a pair adds the stream, the later one subtracts it.

    Args:
        secrets: One private key of 32 bytes a client, used for this one sum alone.
        length: Integers a mask.
        context: Names this sum, so that no other one has the same seeds, even if a key came up again.

    Returns:
        (clients, length), each row alone uniform modulo 2^64, hence modulo any smaller power of two.
    """
    keys = [X25519PrivateKey.from_private_bytes(secret) for secret in secrets]
    public = [key.public_key() for key in keys]
    masks = np.zeros((len(keys), length), dtype=np.uint64)
    for own, other in permutations(range(len(keys)), 2):
        pair = f"clients {min(own, other)} and {max(own, other)}".encode()
        stream = expand(agree(keys[own], public[other], info=context + b", " + pair), length)
        masks[own] += stream if own < other else -stream
    return masks


def agree(own: X25519PrivateKey, other: X25519PublicKey, *, info: bytes) -> bytes:
    """Return the 32-byte seed that two clients share for one purpose and nobody else can compute."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(own.exchange(other))


def expand(seed: bytes, length: int) -> NDArray[np.uint64]:
    """Return a pseudorandom stream of integers modulo 2^64 from a seed of 32 bytes that is used once."""
    stream = Cipher(ChaCha20(seed, bytes(16)), mode=None).encryptor().update(bytes(8 * length))
    return np.frombuffer(stream, dtype="<u8").astype(np.uint64)
