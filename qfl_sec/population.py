"""The people behind the data: who holds which candidate, before and after the coins of membership are tossed."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from qfl_sec.contracts import Candidates, Records
from qfl_sec.datasets import DataSpec, Splits, load, split
from qfl_sec.partition import Scheme, deal
from qfl_sec.randomness import Streams


@dataclass(frozen=True, kw_only=True)
class Population:
    """The data of one training as dealt out, before anybody is known to be a member.

    Attributes:
        splits: Candidates, test and reference records, scaled.
        clients: (candidates,), the client each candidate is dealt to.
        fingerprint: Of the raw data set.
        records: Records of the raw data set.
    """

    splits: Splits
    clients: NDArray[np.int64]
    fingerprint: str
    records: int

    def candidates(self, dtype: torch.dtype) -> Candidates:
        """Return the records of the membership game, without their membership."""
        chosen = self.splits.candidates
        return Candidates(
            features=chosen.features.to(dtype), labels=chosen.labels, clients=torch.from_numpy(self.clients)
        )

    def reference(self, dtype: torch.dtype) -> Records:
        """Return the public reference split."""
        return Records(features=self.splits.reference.features.to(dtype), labels=self.splits.reference.labels)


def populate(data: DataSpec, *, clients: int, scheme: Scheme, alpha: float | None, seed: int) -> Population:
    """Load, split and deal the data of a training; the same for every defense and baseline of a seed.

    Args:
        data: The data set and its splits.
        clients: Number of clients.
        scheme: How candidates are dealt.
        alpha: Concentration, for schemes that have one.
        seed: Of the split and the deal.

    Raises:
        InputError: If the data set cannot be loaded, split or dealt as asked.
    """
    streams = Streams(seed)
    raw = load(data)
    splits = split(raw, data, rng=streams.numpy("split"))
    labels = splits.candidates.labels.numpy()
    owners = deal(labels, clients, scheme=scheme, alpha=alpha, rng=streams.numpy("partition"))
    return Population(splits=splits, clients=owners, fingerprint=raw.fingerprint, records=len(raw.labels))


def toss_membership(candidates: int, seed: int) -> NDArray[np.bool_]:
    """Toss a fair coin for each candidate: who is a member. Add-remove adjacency is what this realises."""
    return Streams(seed).numpy("membership").random(candidates) < 0.5
