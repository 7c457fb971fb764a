"""The channel between clients and server: what arrives, what is lost, what an eavesdropper gets on the way.

A round hands a channel the updates that leave the clients. Here are its contract and the plain channel, on which
updates travel in the clear; `qfl_sec.protocols` has channels that quantum protocols protect.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from qfl_sec.contracts import InterceptedView, View
from qfl_sec.protocol_contracts import KeySource, MessageCarrier
from qfl_sec.randomness import Streams

Cipher = Literal["none", "one-time pad", "AES-256-GCM", "direct"]
"""What hides an update: nothing, perfect or computational encryption, or the quantum channel that carries its bits."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """What carrying one client's update of one round took, leaked, or failed for.

    Attributes:
        round: From 0.
        client: From 0.
        peer: The other client of a pair that shares a key; None for the server.
        cipher: What hid the update.
        abort_reason: Why nothing arrived; None if it did.
        needed_bits: Secret bits that one-time pads and tags of both messages want; bits of the update on a channel that
            carries it directly.
        secret_bits: Secret bits that the protocol gave, or message bits that it delivered; 0 if aborted.
        error_rate: What the parties saw: QBER, or the largest check error rate; None where nothing is checked.
        leaked_bits: Bits of the update that the eavesdropper has for certain.
        qubits: Quantum systems put on the channel.
        classical_bits: Bits of public discussion.
        seconds: Modelled time.
        epsilon: Bound on the failure of the link's proofs altogether; None where none applies.
    """

    round: int
    client: int
    cipher: Cipher
    abort_reason: str | None
    needed_bits: int
    secret_bits: int
    error_rate: float | None
    leaked_bits: int
    qubits: int
    classical_bits: int
    seconds: float
    epsilon: float | None
    peer: int | None = None


@dataclass(frozen=True, kw_only=True)
class Carried:
    """What became of one round's updates.

    Attributes:
        received: (clients, parameters), what the server holds; zeros where nothing arrived.
        delivered: (clients,), whether the update arrived.
        known: (clients, parameters), the coordinates that the eavesdropper has; None if it gets none by protocol.
        intercepted: (clients, parameters), their values, zero elsewhere; None if it gets none by protocol.
        links: What each took; empty on a channel that takes nothing.
    """

    received: Tensor
    delivered: Tensor
    known: Tensor | None = None
    intercepted: Tensor | None = None
    links: tuple[Link, ...] = ()


class Channel(ABC):
    """A channel that is open for one training.

    Attributes:
        pair_links: What the keys of pairs took, as far as they were asked for.
    """

    def __init__(self) -> None:
        self.pair_links: list[Link] = []

    @property
    def pair_keys(self) -> Callable[[int, int], bytes] | None:
        """Return what gives two clients, the lower number first, 32 secret bytes of their own; None without keys."""
        return None

    @abstractmethod
    def carry(self, updates: Tensor, *, broadcast: Tensor, clients: Sequence[int], round: int) -> Carried:
        """Carry one round's messages.

        Args:
            updates: (clients, parameters), what goes up.
            broadcast: (parameters,), the global model that went down to each of these clients before.
            clients: Who they are.
            round: From 0.
        """


@dataclass(frozen=True, kw_only=True)
class PlainChannel:
    """Updates travel in the clear: whoever taps a message reads it, and may send another in its place.

    Attributes:
        adversary: "none" leaves the channel out of the audit, "intercept_resend" reads and forwards, "tamper" forwards
            the negative.
        adversary_fraction: Probability that a message is tapped, in [0, 1].
    """

    name: ClassVar[str] = "plain"

    adversary: Literal["none", "intercept_resend", "tamper"] = "none"
    adversary_fraction: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.adversary_fraction <= 1:
            raise ValueError(f"Expected 0 <= adversary_fraction={self.adversary_fraction} <= 1.")


ChannelSpec: TypeAlias = PlainChannel | KeySource | MessageCarrier
"""What [channel] names: the plain channel, or a protocol that protects it."""


def is_watched(spec: ChannelSpec) -> bool:
    """Return whether the audit has an eavesdropper."""
    return not isinstance(spec, PlainChannel) or spec.adversary != "none"


def eavesdropper_view(spec: ChannelSpec) -> type[View] | None:
    """Return what an eavesdropper sees at most; None if the protocol shows it nothing but sizes."""
    if isinstance(spec, KeySource):
        exposed = not spec.authenticated
    elif isinstance(spec, MessageCarrier):
        exposed = spec.attacked
    else:
        exposed = is_watched(spec)
    return InterceptedView if exposed else None


class Plain(Channel):
    """The plain channel at work.

    Args:
        spec: Its adversary.
        streams: Of the training.
    """

    def __init__(self, spec: PlainChannel, streams: Streams) -> None:
        super().__init__()
        self._spec = spec
        self._generator = streams.torch("eavesdropper")

    def carry(self, updates: Tensor, *, broadcast: Tensor, clients: Sequence[int], round: int) -> Carried:
        """See `Channel.carry`."""
        delivered = torch.ones(len(updates), dtype=torch.bool)
        if self._spec.adversary == "none":
            return Carried(received=updates, delivered=delivered)
        tapped = torch.rand(len(updates), generator=self._generator, dtype=torch.float64)
        known = (tapped < self._spec.adversary_fraction).unsqueeze(-1).expand_as(updates)
        received = torch.where(known, -updates, updates) if self._spec.adversary == "tamper" else updates
        intercepted = torch.where(known, updates, torch.zeros_like(updates))
        links = tuple(
            Link(
                round=round,
                client=client,
                cipher="none",
                abort_reason=None,
                needed_bits=0,
                secret_bits=0,
                error_rate=None,
                leaked_bits=int(known[place].sum()) * updates.element_size() * 8,
                qubits=0,
                classical_bits=updates[place].numel() * updates.element_size() * 8,
                seconds=0.0,
                epsilon=None,
            )
            for place, client in enumerate(clients)
        )
        return Carried(received=received, delivered=delivered, known=known, intercepted=intercepted, links=links)


def open_plain(spec: ChannelSpec, streams: Streams) -> Channel:
    """Open a plain channel.

    Raises:
        TypeError: If the channel is another one.
    """
    if not isinstance(spec, PlainChannel):
        raise TypeError(f"Expected a plain channel, not {type(spec).__name__}: its protocol has to open it.")
    return Plain(spec, streams)
