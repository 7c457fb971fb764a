"""Secure aggregation: the server learns the sum of a round's updates and no single one."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from qfl_sec.checking import InputError
from qfl_sec.contracts import (
    Adversary,
    AggregateView,
    Defense,
    MechanismEvidence,
    PremiseCheck,
    Setup,
    UpdatesView,
    View,
)
from qfl_sec.defenses.fixed_point import FixedPoint, Integers
from qfl_sec.defenses.pairwise_masks import SECRET_BYTES, agreed_seeds, derived_seed, pair_name, pairwise_masks
from qfl_sec.randomness import Streams


@dataclass(frozen=True, kw_only=True)
class SecureAggregation(Defense):
    """Secure aggregation: pairwise masks hide each update from the server, which learns only their weighted sum.

    In each round every selected client makes a fresh X25519 key pair, agrees on a seed with each other one, and adds
    the masks that these seeds expand to. On a channel that distributes keys, pairs take their seeds from it instead.
    Before, it multiplies its update by its share of the average and encodes it
    as integers modulo 2^bits; the masks cancel in the sum, which the server decodes. The average differs from the
    exact one by at most clients_per_round x 2^-(fraction_bits + 1) a coordinate.

    Guarantee: none of differential privacy. The sum itself leaks, and the released model does.

    Simulated: key agreement, masks, encoding, the server's sum. Not simulated, because nobody drops out here: the
    self masks and Shamir shares that make the protocol survive clients who leave in mid-round, and the signatures
    that keep a malicious server from making up keys. It is void if all other selected clients collude with the server.
    The private keys come from the training's seed, so that a run can be repeated: a simulation's generator, not one to
    deploy.

    | case                                | what happens                                                     |
    |-------------------------------------|------------------------------------------------------------------|
    | coordinate beyond `limit`           | clipped to it before encoding                                    |
    | coordinate that is not finite       | refused                                                          |
    | sum that could overflow             | refused before training                                          |
    | one client a round                  | refused before training: a sum of one hides nothing              |

    Attributes:
        bits: Size of a masked number, 8 to 52.
        fraction_bits: Bits after the binary point: the resolution is 2^-fraction_bits.
        limit: Largest absolute value of a coordinate of an update, > 0; angles stay below 3.15.

    Raises:
        ValueError: If a parameter is out of its range, or an update at the limit would overflow.

    Reference: Bonawitz et al. 2017, doi:10.1145/3133956.3133982.
    """

    name: ClassVar[str] = "secure_aggregation"
    # Not fields: who is selected when, and which keys a channel gave, are no parameters of the defense.
    _schedule: ClassVar[tuple[tuple[int, ...], ...] | None] = None
    _shared: ClassVar[tuple[Callable[[int, int], bytes], ...]] = ()

    bits: int = 32
    fraction_bits: int = 24
    limit: float = 8.0

    def __post_init__(self) -> None:
        if not 0 < self.limit < math.inf:
            raise ValueError(f"Expected limit={self.limit} > 0 and finite.")
        self._check_overflow(summands=1)

    @property
    def code(self) -> FixedPoint:
        """How numbers are encoded."""
        return FixedPoint(bits=self.bits, fraction_bits=self.fraction_bits)

    def prepare(self, setup: Setup) -> Self:
        """Return a copy that knows who is selected when.

        Raises:
            InputError: If a round has a single client.
            ValueError: If a sum could overflow.
        """
        clients = len(setup.schedule[0])
        if clients < 2:
            raise InputError(
                "Expected at least 2 clients a round for secure_aggregation: a sum of one hides nothing. "
                "Set [federation] clients_per_round."
            )
        self._check_overflow(summands=clients)
        prepared = replace(self)
        object.__setattr__(prepared, "_schedule", setup.schedule)
        return prepared

    def with_shared_keys(self, keys: Callable[[int, int], bytes]) -> Self:
        """Return a copy whose masks grow from keys that pairs of clients got over a quantum channel."""
        keyed = replace(self)
        object.__setattr__(keyed, "_schedule", self._schedule)
        object.__setattr__(keyed, "_shared", (keys,))
        return keyed

    def uploads(self, updates: Tensor, weights: Tensor, *, round: int, generator: torch.Generator) -> Integers:
        """Return what each client sends: its weighted update, encoded and masked.

        The keys depend on the generator's seed, client and round, and nothing is drawn from it: the other draws of a
        training stay what they are without this defense.

        Args:
            updates: (clients, parameters)
            weights: (clients,), shares of the average.
            round: Names the sum.
            generator: Of the training.

        Returns:
            (clients, parameters), each row alone uniform modulo 2^bits.

        Raises:
            ValueError: If the defense has not been prepared for these clients, or an update is not finite.
        """
        if self._schedule is None or len(self._schedule[round]) != len(updates):
            raise ValueError(
                f"Expected secure_aggregation to be prepared for {len(updates)} clients in round {round}. "
                "Call prepare(setup)."
            )
        if not bool(torch.isfinite(updates).all()):
            raise ValueError(
                "Expected finite updates: secure_aggregation cannot encode others. Lower the learning rate."
            )
        masks = pairwise_masks(
            self._seeds(round, generator.initial_seed()), clients=len(updates), length=updates.shape[1]
        )
        scaled = updates.double().clamp(-self.limit, self.limit) * weights.double().unsqueeze(1)
        return self.code.reduce(self.code.encode(scaled) + masks)

    def _seeds(self, round: int, seed: int) -> Callable[[int, int], bytes]:
        """Return what pairs of a round's clients share: from the channel if it distributes keys, else agreed on."""
        assert self._schedule is not None
        chosen, context = self._schedule[round], f"qfl-sec round {round}".encode()
        if self._shared:
            (shared,) = self._shared
            return lambda own, other: derived_seed(
                shared(*sorted((chosen[own], chosen[other]))), context=context + pair_name(own, other)
            )
        streams = Streams(seed)
        roles = [f"secure aggregation client {client} round {round}" for client in chosen]
        return agreed_seeds([streams.numpy(role).bytes(SECRET_BYTES) for role in roles], context=context)

    def aggregate(self, updates: Tensor, weights: Tensor, *, round: int, generator: torch.Generator) -> Tensor:
        """Return the decoded sum of the uploads, (parameters,): all that the server gets.

        Raises:
            ValueError: If the defense has not been prepared for these clients, or an update is not finite.
        """
        uploads = self.uploads(updates, weights, round=round, generator=generator)
        return self.code.decode(uploads.sum(axis=0, dtype=np.uint64), updates.dtype).to(updates.device)

    def view_for(self, adversary: Adversary, default: type[View]) -> type[View] | None:
        """Return the aggregate where single updates would be seen."""
        return AggregateView if issubclass(default, UpdatesView) else default

    def premises(self, evidence: MechanismEvidence) -> tuple[PremiseCheck, ...]:
        """Return what the server's narrower view rests on; no budget follows from it."""
        return (
            PremiseCheck(
                premise="The server sees only the sum of each round's updates",
                how="no client shows it a mask, and it forwards the clients' own public keys",
                status="assumed",
                passed=None,
            ),
            PremiseCheck(
                premise="No client drops out of a round",
                how="the masks that survive this are not simulated",
                status="assumed",
                passed=None,
            ),
        )

    def _check_overflow(self, *, summands: int) -> None:
        if not self.code.sum_fits(self.limit, summands):
            raise ValueError(
                f"Expected limit={self.limit:g} < {2 ** (self.bits - 1) * self.code.resolution:g}: a sum of {summands} "
                f"would overflow bits={self.bits} with fraction_bits={self.fraction_bits}. Set more bits, or a lower "
                "limit."
            )
