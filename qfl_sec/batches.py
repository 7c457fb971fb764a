"""Which records a client uses in a round: fixed batches without replacement, or Poisson batches."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qfl_sec.contracts import Setup
from qfl_sec.randomness import Streams


@dataclass(frozen=True, kw_only=True)
class Batches:
    """The batches of all selected clients in one round, padded to a common shape.

    Attributes:
        records: (clients, steps, batch), row numbers of the records; -1 where there is none.
        active: (clients, steps), false where a client has made all its steps already.
    """

    records: NDArray[np.int64]
    active: NDArray[np.bool_]


def steps_per_round(size: float, batch_size: int, local_steps: int | None, local_epochs: int | None) -> int:
    """Return how many optimizer steps a client with `size` records makes in a round, at least one."""
    if local_steps is not None:
        return local_steps
    assert local_epochs is not None
    return local_epochs * max(1, math.ceil(size / batch_size))


def draw_batches(setup: Setup, owned: list[NDArray[np.int64]], round_: int, streams: Streams) -> Batches:
    """Draw the batches of a round's selected clients, each from its own random stream.

    Args:
        setup: Says who is selected, how many steps each makes, and how batches are drawn.
        owned: The row numbers of each client's records.
        round_: The round.
        streams: Of the training; the stream of a client in a round is its own, whoever else is selected.
    """
    drawn = []
    for client in setup.schedule[round_]:
        rng = streams.numpy(f"client {client} round {round_}")
        if setup.sampling == "poisson":
            drawn.append(_poisson(owned[client], setup.sample_rate(client), setup.local_steps[client], rng))
        else:
            drawn.append(_fixed(owned[client], setup.batch_size, setup.local_steps[client], rng))
    steps = max(len(batches) for batches in drawn)
    width = max(1, max(len(batch) for batches in drawn for batch in batches))
    records = np.full((len(drawn), steps, width), -1, dtype=np.int64)
    active = np.zeros((len(drawn), steps), dtype=np.bool_)
    for row, batches in enumerate(drawn):
        active[row, : len(batches)] = True
        for step, batch in enumerate(batches):
            records[row, step, : len(batch)] = batch
    return Batches(records=records, active=active)


def _poisson(owned: NDArray[np.int64], rate: float, steps: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Take each record into each batch independently with the same probability."""
    return [owned[rng.random(len(owned)) < rate] for _ in range(steps)]


def _fixed(owned: NDArray[np.int64], batch_size: int, steps: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Cut shuffled passes over the records into batches; the last batch of a pass may be smaller."""
    batches: list[NDArray[np.int64]] = []
    while len(batches) < steps:
        order = rng.permutation(owned)
        batches += [order[i : i + batch_size] for i in range(0, max(1, len(order)), batch_size)]
    return batches[:steps]
