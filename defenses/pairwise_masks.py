"""Masks that each pair of clients agrees on and that cancel in the sum over all clients.

Reference:
    Bonawitz et al. 2017, doi:10.1145/3133956.3133982, section 4.1; X25519 is RFC 7748, HKDF is RFC 5869, ChaCha20 is
    RFC 8439.
"""

from collections.abc import Callable, Sequence
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


def pairwise_masks(seeds: Callable[[int, int], bytes], *, clients: int, length: int) -> NDArray[np.uint64]:
    """Return each client's mask; the masks of all clients add up to zero modulo 2^64.

    Every pair of clients expands the seed that it shares into a stream of integers. The earlier client of a pair adds
    the stream, the later one subtracts it.

    Args:
        seeds: The 32 bytes that a client, named first, shares with another: the same both ways round, and used once.
        clients: How many there are.
        length: Integers a mask.

    Returns:
        (clients, length), each row alone uniform modulo 2^64, hence modulo any smaller power of two.
    """
    masks = np.zeros((clients, length), dtype=np.uint64)
    for own, other in permutations(range(clients), 2):
        stream = expand(seeds(own, other), length)
        masks[own] += stream if own < other else -stream
    return masks


def agreed_seeds(secrets: Sequence[bytes], *, context: bytes) -> Callable[[int, int], bytes]:
    """Return the seeds that clients agree on, each from its own private key and the other's public key.

    Args:
        secrets: One private key of 32 bytes a client, used for one sum alone.
        context: Names this sum, so that no other one has the same seeds, even if a key came up again.
    """
    keys = [X25519PrivateKey.from_private_bytes(secret) for secret in secrets]
    public = [key.public_key() for key in keys]
    return lambda own, other: agree(keys[own], public[other], info=context + pair_name(own, other))


def derived_seed(shared: bytes, *, context: bytes) -> bytes:
    """Return the 32 bytes for one purpose from a secret that two clients share for many."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=context).derive(shared)


def pair_name(own: int, other: int) -> bytes:
    """Return the same name of a pair for both of its clients."""
    return f", clients {min(own, other)} and {max(own, other)}".encode()


def agree(own: X25519PrivateKey, other: X25519PublicKey, *, info: bytes) -> bytes:
    """Return the 32-byte seed that two clients share for one purpose and nobody else can compute."""
    return derived_seed(own.exchange(other), context=info)


def expand(seed: bytes, length: int) -> NDArray[np.uint64]:
    """Return a pseudorandom stream of integers modulo 2^64 from a seed of 32 bytes that is used once."""
    stream = Cipher(ChaCha20(seed, bytes(16)), mode=None).encryptor().update(bytes(8 * length))
    return np.frombuffer(stream, dtype="<u8").astype(np.uint64)
