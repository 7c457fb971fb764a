"""Messages in layers of encryption, one for each party on their way, and the parties who take them off.

Reference:
    Chaum 1981, doi:10.1145/358549.358563 (mixes); X25519 is RFC 7748, HKDF is RFC 5869, AES-GCM is NIST SP 800-38D.
"""

from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from qfl_sec.defenses.pairwise_masks import SECRET_BYTES, agree

LAYER_BYTES = SECRET_BYTES + 16
"""By which a layer makes a message longer: a public key that is used once, and AES-GCM's tag."""

_NONCE = bytes(12)  # a key encrypts one message
_PURPOSE = b"qfl-sec layer"


def wrap(message: bytes, route: Sequence[X25519PublicKey], secrets: Sequence[bytes]) -> bytes:
    """Return a message in a layer for each party of its route, the first one's outermost.

    Args:
        message: For the last party.
        route: Their public keys.
        secrets: A private key of 32 bytes for each layer, used for it alone.
    """
    for party, secret in zip(reversed(route), reversed(secrets), strict=True):
        own = X25519PrivateKey.from_private_bytes(secret)
        key = agree(own, party, info=_PURPOSE)
        message = own.public_key().public_bytes_raw() + AESGCM(key).encrypt(_NONCE, message, None)
    return message


def unwrap(message: bytes, key: X25519PrivateKey) -> bytes:
    """Return what is under the outermost layer.

    Raises:
        cryptography.exceptions.InvalidTag: If the layer is another party's, or the message was changed.
    """
    sender = X25519PublicKey.from_public_bytes(message[:SECRET_BYTES])
    return AESGCM(agree(key, sender, info=_PURPOSE)).decrypt(_NONCE, message[SECRET_BYTES:], None)


def pass_on(messages: Sequence[bytes], key: X25519PrivateKey, order: Sequence[int]) -> list[bytes]:
    """Return what a hop sends on: a layer less, and in another order.

    Args:
        messages: All of a round.
        key: The hop's.
        order: Which message goes to each place.

    Raises:
        ValueError: If messages differ in length, by which they could be told apart.
    """
    if len({len(one) for one in messages}) > 1:
        raise ValueError("Expected messages of one length: others could be told apart on their way.")
    opened = [unwrap(one, key) for one in messages]
    return [opened[place] for place in order]
