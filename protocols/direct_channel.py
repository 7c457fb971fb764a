"""A channel of a federation on which the bits of updates travel as qubits."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from qfl_sec.channel import Carried, Channel, Link
from qfl_sec.protocol_contracts import Bits, MessageCarrier, MessageResult
from qfl_sec.protocols.number_bytes import FLOATS, from_bytes, to_bytes
from qfl_sec.randomness import Streams

MANTISSA_BITS = 16
"""A number counts as intercepted when its sign, exponent and so many bits of its fraction are known: 1.5e-5 of it."""


class DirectChannel(Channel):
    """The bits of an update travel on the quantum channel itself; the broadcast is public.

    Args:
        carrier: Carries them, in one run a client and round.
        streams: Of the channel.
    """

    def __init__(self, carrier: MessageCarrier, streams: Streams) -> None:
        super().__init__()
        self._carrier, self._streams = carrier, streams

    def carry(self, updates: Tensor, *, broadcast: Tensor, clients: Sequence[int], round: int) -> Carried:
        """See `Channel.carry`."""
        received, intercepted = torch.zeros_like(updates), torch.zeros_like(updates)
        known = torch.zeros(updates.shape, dtype=torch.bool)
        links = []
        for place, client in enumerate(clients):
            message = np.unpackbits(np.frombuffer(to_bytes(updates[place]), dtype=np.uint8))
            run = self._carrier.send(message, self._streams.child(f"client {client} round {round}"))
            if run.delivered is not None:
                received[place] = from_bytes(np.packbits(run.delivered).tobytes(), updates)
            held, bits = _held(run, len(message))
            known[place], intercepted[place] = _numbers(held, bits, updates)
            links.append(_direct_link(run, round, client, len(message), int(held.sum())))
        delivered = torch.tensor([link.abort_reason is None for link in links])
        if not self._carrier.attacked:
            return Carried(received=received, delivered=delivered, links=tuple(links))
        return Carried(received=received, delivered=delivered, known=known, intercepted=intercepted, links=tuple(links))


def _direct_link(run: MessageResult, round: int, client: int, length: int, leaked: int) -> Link:
    return Link(
        round=round,
        client=client,
        cipher="direct",
        abort_reason=run.abort_reason,
        needed_bits=length,
        secret_bits=0 if run.delivered is None else length,
        error_rate=run.error_rate,
        leaked_bits=leaked,
        qubits=run.cost.qubits,
        classical_bits=run.cost.classical_bits,
        seconds=run.cost.seconds,
        epsilon=run.ledger.total,
    )


def _held(run: MessageResult, length: int) -> tuple[Bits, Bits]:
    """Return which bits of a message the adversary has for certain, and what they are; none unless it says so."""
    nothing = np.zeros(length, dtype=np.uint8)
    held = run.adversary.held
    if "known" not in held or len(held["known"]) != length:
        return nothing, nothing
    return held["known"].astype(np.uint8), held["bits"].astype(np.uint8)


def _numbers(held: Bits, bits: Bits, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return which numbers are known from some of their bits (parameters x bits,), and their values, zero elsewhere."""
    kind, exponent = FLOATS[like.dtype]
    width = 8 * np.dtype(kind).itemsize
    leading = 1 + exponent + MANTISSA_BITS
    known = torch.from_numpy(held.reshape(-1, width)[:, :leading].all(1))
    values = from_bytes(np.packbits(held * bits).tobytes(), like)
    return known, torch.where(known, values, torch.zeros_like(values))
