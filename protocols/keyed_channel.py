"""A channel of a federation on which distributed key encrypts and authenticates all messages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qfl_sec.channel import Carried, Channel, Cipher, Link
from qfl_sec.contracts import LostRoundError
from qfl_sec.protocol_contracts import KeyResult, KeySource
from qfl_sec.protocols.authentication import Authenticator, collision_bound
from qfl_sec.protocols.key_store import KeyExhaustedError, KeyStore
from qfl_sec.protocols.number_bytes import from_bytes, to_bytes
from qfl_sec.protocols.one_time_pad import AES_KEY_BITS, Ciphertext, decrypt, encrypt
from qfl_sec.randomness import Streams

TAG_BITS = 64
"""Of the tag of each message."""

PAIR_BITS = 256
"""Of the key that two clients share as the seed of their masks."""


def authentication_bits() -> int:
    """Return the key bits that tags take for one client and round: a hash key, and a pad each way."""
    return 3 * TAG_BITS


class KeyedChannel(Channel):
    """Messages are encrypted and authenticated with distributed key.

    The one-time pad hides a message as long as there is key for it; after that AES-256-GCM does, which is secure only
    computationally, and the link says so. Without key for that, or with a tag that does not fit, the link aborts.

    Args:
        source: Distributes the key, in one run a client and round.
        streams: Of the channel.
    """

    def __init__(self, source: KeySource, streams: Streams) -> None:
        super().__init__()
        self._source, self._streams = source, streams
        self._pairs: dict[tuple[int, int], KeyResult] = {}

    @property
    def pair_keys(self) -> Callable[[int, int], bytes]:
        """Return what gives two clients 32 secret bytes of their own, from one run of the source a pair."""
        return self._pair_key

    def _pair_key(self, first: int, second: int) -> bytes:
        if (first, second) not in self._pairs:
            run = self._source.distribute(self._streams.child(f"clients {first} and {second}"))
            self._pairs[first, second] = run
            self.pair_links.append(_pair_link(run, first, second))
        run = self._pairs[first, second]
        if len(run.alice_key) < PAIR_BITS:
            reason = run.abort_reason or f"key budget: {len(run.alice_key)} bits are no seed of {PAIR_BITS}"
            raise LostRoundError(f"Clients {first} and {second} share no key: {reason}.")
        return np.packbits(run.alice_key[:PAIR_BITS]).tobytes()

    def carry(self, updates: Tensor, *, broadcast: Tensor, clients: Sequence[int], round: int) -> Carried:
        """See `Channel.carry`."""
        received = torch.zeros_like(updates)
        links = []
        for place, client in enumerate(clients):
            run = self._source.distribute(self._streams.child(f"client {client} round {round}"))
            down, up = to_bytes(broadcast), to_bytes(updates[place])
            passage = _passage(run, down, up)
            if passage.arrived is not None:
                received[place] = from_bytes(passage.arrived, updates)
            links.append(self._link(run, passage, len(down), len(up), client=client, round=round))
        delivered = torch.tensor([link.abort_reason is None for link in links])
        if self._source.authenticated:
            return Carried(received=received, delivered=delivered, links=tuple(links))
        known = delivered.unsqueeze(-1).expand_as(updates).clone()
        return Carried(received=received, delivered=delivered, known=known, intercepted=received, links=tuple(links))

    def _link(self, run: KeyResult, passage: "_Passage", down: int, up: int, *, client: int, round: int) -> Link:
        """Return what messages of these lengths in bytes, one each way, took."""
        hidden = self._source.authenticated or passage.arrived is None
        forgery = 2 * collision_bound(8 * max(down, up), TAG_BITS)
        return Link(
            round=round,
            client=client,
            cipher=passage.cipher,
            abort_reason=passage.abort_reason,
            needed_bits=8 * (down + up) + authentication_bits(),
            secret_bits=len(run.alice_key),
            error_rate=run.error_rate,
            leaked_bits=0 if hidden else 8 * up,
            qubits=run.cost.qubits,
            classical_bits=run.cost.classical_bits + 8 * (down + up) + 2 * TAG_BITS,
            seconds=run.cost.seconds,
            epsilon=min(1.0, run.ledger.total + forgery),
        )


@dataclass(frozen=True, kw_only=True)
class _Passage:
    """How encrypted messages fared.

    Attributes:
        arrived: The update as the server reads it; None if the link aborted.
        cipher: The weakest that hid one of them.
        abort_reason: Why it aborted; None if it did not.
    """

    arrived: bytes | None
    cipher: Cipher = "none"
    abort_reason: str | None = None


def _passage(run: KeyResult, down: bytes, up: bytes) -> _Passage:
    """Send the broadcast down and the update up, as far as the key that a run gave lasts."""
    if run.abort_reason is not None:
        return _Passage(arrived=None, abort_reason=run.abort_reason)
    try:
        arrived, methods = _exchange(run, down, up)
    except KeyExhaustedError as error:
        return _Passage(arrived=None, abort_reason=f"key budget: {error}")
    reason = None if arrived is not None else "authentication: a tag does not fit its message"
    cipher: Cipher = "AES-256-GCM" if "aes_256_gcm" in methods else "one-time pad"
    return _Passage(arrived=arrived, cipher=cipher, abort_reason=reason)


def _exchange(run: KeyResult, down: bytes, up: bytes) -> tuple[bytes | None, set[str]]:
    """Send the broadcast down and the update up; return the update as the server reads it, and how both were hidden.

    None in its place says that a tag did not fit. Where the key does not last for two one-time pads, the update gets
    the first.

    Raises:
        KeyExhaustedError: If there is too little key even for tags and AES.
    """
    server, client = KeyStore(run.alice_key), KeyStore(run.bob_key)
    tagging = [Authenticator(store.take(authentication_bits()), TAG_BITS) for store in (server, client)]
    lasts = server.remaining >= 8 * len(up) + AES_KEY_BITS
    for_update = [KeyStore(store.take(8 * len(up) if lasts else AES_KEY_BITS)) for store in (server, client)]
    first = encrypt(down, server)
    if not _fits(tagging[0], tagging[1], first):
        return None, {first.method}
    decrypt(first, client)
    second = encrypt(up, for_update[1])
    if not _fits(tagging[1], tagging[0], second):
        return None, {first.method, second.method}
    return decrypt(second, for_update[0]), {first.method, second.method}


def _fits(sender: Authenticator, receiver: Authenticator, ciphertext: Ciphertext) -> bool:
    return receiver.verify(ciphertext.data, sender.tag(ciphertext.data))


def _pair_link(run: KeyResult, first: int, second: int) -> Link:
    return Link(
        round=0,
        client=first,
        peer=second,
        cipher="none",
        abort_reason=run.abort_reason,
        needed_bits=PAIR_BITS,
        secret_bits=len(run.alice_key),
        error_rate=run.error_rate,
        leaked_bits=0,
        qubits=run.cost.qubits,
        classical_bits=run.cost.classical_bits,
        seconds=run.cost.seconds,
        epsilon=run.ledger.total,
    )
