"""Anonymous forwarding: updates reach the server through other clients, who shuffle them."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import torch
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from torch import Tensor

from qfl_sec.checking import InputError
from qfl_sec.contracts import (
    Adversary,
    AnonymousUpdatesView,
    Defense,
    Forwarded,
    GlobalModelsView,
    InterceptedView,
    MechanismEvidence,
    PremiseCheck,
    Setup,
    UpdatesView,
    View,
)
from qfl_sec.defenses.onion import LAYER_BYTES, pass_on, unwrap, wrap
from qfl_sec.defenses.pairwise_masks import SECRET_BYTES
from qfl_sec.randomness import Streams


@dataclass(frozen=True, kw_only=True)
class AnonymousForwarding(Defense):
    """Anonymous forwarding: encrypted updates pass through a chain of clients, each of whom shuffles them.

    Each selected client wraps its update in a layer of encryption for every hop of the chain and one for the server.
    A hop waits for all messages of the round, takes its layer off, and sends them on in an order of its own. What the
    server gets from the last hop are the round's updates, each readable, none with a name. Who took part in a round
    stays public.

    Guarantee: none of differential privacy. As long as one hop does not collude with the server, the order of the
        messages says nothing of who sent them; the updates themselves may, which `sender_linkage` measures.

    Cost: each update travels `hops` + 1 times, and as many layers of 48 bytes make it longer; a client agrees on as
    many keys a round, a hop on one for each message.

    Simulated: keys, layers, hops and shuffles, on the bytes of each update. Not simulated: timing, clients who leave in
    mid-round, and the proofs that keep a hop from replacing messages. Keys come from the training's seed, so that a run
    can be repeated: a simulation's generator, not one to deploy. Where [channel] protects or taps updates, that is on
    their way to the first hop: who listens there gets layers of encryption, and where it aborts a client is missing,
    which the server is told. Bits are counted there without the layers, and that a layer's tag exposes whoever
    tampers is not simulated.

    | case                                | what happens                                                     |
    |-------------------------------------|------------------------------------------------------------------|
    | every hop colludes                  | the server knows each sender: a control, not a protection        |
    | one client a round                  | refused before training: the schedule names the sender           |
    | weighted average                    | refused before training: a weight would name the sender          |

    Attributes:
        hops: Clients in the chain, at least 1.
        colluding_hops: How many of them, from the first on, tell the server how they shuffled; 0 to `hops`.

    Raises:
        ValueError: If a parameter is out of its range.

    Reference: Chaum 1981, doi:10.1145/358549.358563.
    """

    name: ClassVar[str] = "anonymous_forwarding"

    hops: int = 3
    colluding_hops: int = 0
    # Not a field: the length of an update is no parameter of the defense.
    _update_numbers: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        if self.hops < 1:
            raise ValueError(f"Expected hops={self.hops} >= 1.")
        if not 0 <= self.colluding_hops <= self.hops:
            raise ValueError(f"Expected 0 <= colluding_hops={self.colluding_hops} <= hops={self.hops}.")

    def prepare(self, setup: Setup) -> Self:
        """Return a copy that knows how long an update is.

        Raises:
            InputError: If nothing could be hidden in this federation, or there are too few clients for the chain.
        """
        if len(setup.schedule[0]) < 2:
            raise InputError(
                "Expected at least 2 clients a round for anonymous_forwarding: the schedule names a single one. "
                "Set [federation] clients_per_round."
            )
        if setup.clients < self.hops:
            raise InputError(f"Expected hops={self.hops} <= {setup.clients} clients, who pass updates on. Set fewer.")
        if setup.average != "plain":
            raise InputError(
                f"Expected the average to be plain, not {setup.average}, for anonymous_forwarding: the server could "
                'tell senders by their weights. Set [federation] average = "plain".'
            )
        prepared = replace(self)
        object.__setattr__(prepared, "_update_numbers", setup.n_parameters)
        return prepared

    def forward(self, updates: Tensor, *, round: int, generator: torch.Generator) -> Forwarded:
        """Send the updates (clients, parameters) through the chain.

        Keys and shuffles depend on the generator's seed and the round, and nothing is drawn from it: the other draws of
        a training stay what they are without this defense.
        """
        rng = Streams(generator.initial_seed()).numpy(f"anonymous forwarding round {round}")
        parties = [X25519PrivateKey.from_private_bytes(rng.bytes(SECRET_BYTES)) for _ in range(self.hops + 1)]
        route = [party.public_key() for party in parties]
        sent = updates.detach().cpu().numpy()
        messages = [wrap(one.tobytes(), route, [rng.bytes(SECRET_BYTES) for _ in route]) for one in sent]
        shuffles = np.stack([rng.permutation(len(updates)) for _ in range(self.hops)])
        order = np.arange(len(updates))
        for key, shuffle in zip(parties[:-1], shuffles, strict=True):
            messages, order = pass_on(messages, key, shuffle.tolist()), order[shuffle]
        received = np.stack([np.frombuffer(unwrap(one, parties[-1]), dtype=sent.dtype) for one in messages])
        told = torch.from_numpy(shuffles.copy())
        told[self.colluding_hops :] = -1
        return Forwarded(
            received=torch.from_numpy(received).to(updates.device),
            order=torch.from_numpy(order),
            shuffles=told if self.colluding_hops else None,
        )

    def view_for(self, adversary: Adversary, default: type[View]) -> type[View] | None:
        """Return updates without names for who saw each; to who listens on their way they are ciphertexts."""
        if issubclass(default, InterceptedView):
            return GlobalModelsView
        return AnonymousUpdatesView if issubclass(default, UpdatesView) else default

    def premises(self, evidence: MechanismEvidence) -> tuple[PremiseCheck, ...]:
        """Return what hides the senders, and what it costs."""
        honest = self.hops - self.colluding_hops
        cost = f"each update travels {self.hops + 1} times, {(self.hops + 1) * LAYER_BYTES} bytes longer at first"
        size = "" if self._update_numbers is None else f" than its {self._update_numbers} numbers"
        return (
            PremiseCheck(
                premise="A forwarding client does not tell the server how it shuffled",
                how=f"{honest} of {self.hops} hops do not; {cost}{size}",
                status="declared",
                passed=honest > 0,
            ),
            PremiseCheck(
                premise="The server cannot tell updates apart by when they come",
                how="every hop waits for all messages of a round, which are of one length",
                status="assumed",
                passed=None,
            ),
        )
