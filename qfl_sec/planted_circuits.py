"""Leaks planted for attacks on circuits: public records whose circuits a quantum server runs in clear.

What the encoding does not keep of a record cannot be read from its circuit, whoever reads: that much is decided here,
by the encoding itself, and not by what the attack says of its own equations.
"""

import math
from typing import Any

import torch
from torch import Tensor

from qfl_sec.contracts import (
    Architecture,
    Attack,
    Candidates,
    Knowledge,
    MembershipScores,
    Reconstructions,
    Records,
    ServerComputeView,
    Setup,
)
from qfl_sec.reconstruction import score

SAME_CIRCUIT = 1e-6
"""Circuits whose angles differ by less than this share of the largest angle count as the same."""

FULL_RANK = 1e-10
"""Singular values of the encoding's derivative below this share of the largest count as zero."""

SLOTS = torch.tensor([[True, True, True], [True, False, True]])
"""Which slots of a round's clients hold a record: who mixes up rounds, clients or slots reads something else."""


def find_in_circuits(
    attack: Attack,
    architecture: Architecture,
    weights: Tensor,
    records: Records,
    *,
    most: int,
    ranges: Any,
    tolerance: float,
    generator: torch.Generator,
) -> tuple[int, int]:
    """Return how many planted records an attack finds in circuits that it sees, and how many were planted.

    No two of the records have the same circuit: half of them is run, the other half is left out. A membership attack
    has found a record that it scores above the one left out in its place. A reconstruction has found a record when
    every feature lies within the tolerance. A record does not count as planted for it if the derivative of its angles
    has a lower rank than there are features, or if the attack names another record of the very same circuit.

    Args:
        attack: Reads a `ServerComputeView`, and attacks all that it sees.
        architecture: The model; without an encoding nothing is planted.
        weights: Of the model, (parameters,).
        records: Public ones; those that are not asked about are the attacker's reference.
        most: Records that are planted.
        ranges: (features,), reference range of each feature, > 0.
        tolerance: Share of that range.
        generator: Of the attack.
    """
    if architecture.encoding is None or architecture.encoding(records.features).shape[-1] == 0:
        return 0, 0
    chosen = _unlike(architecture.encoding(records.features), 2 * most)
    half = len(chosen) // 2
    if half == 0:
        return 0, 0
    planted, absent = _rows(records, chosen[:half]), _rows(records, chosen[half : 2 * half])
    others = torch.ones(len(records), dtype=torch.bool)
    others[chosen[: 2 * half]] = False
    view = _view(architecture, weights, planted)
    asked = Candidates(
        features=torch.cat([planted.features, absent.features]),
        labels=torch.cat([planted.labels, absent.labels]),
        clients=_clients(view)[view.filled].repeat(2),
    )
    knowledge = Knowledge(
        architecture=architecture,
        reference=_rows(records, others),
        defense=None,
        candidates=asked if attack.question == "membership" else None,
    )
    scores = attack.run(view, knowledge, generator=generator)
    if isinstance(scores, MembershipScores):
        return int((scores.values[:half] > scores.values[half:]).sum()), half
    assert isinstance(scores, Reconstructions)
    return _rebuilt(scores, architecture, view, planted, ranges, tolerance)


def _unlike(angles: Tensor, most: int) -> Tensor:
    """Return the first rows of (records, angles) that are unlike all rows before them."""
    same, kept = SAME_CIRCUIT * float(angles.abs().max()), [0]
    for row in range(1, len(angles)):
        if len(kept) == most:
            break
        if float((angles[kept] - angles[row]).abs().amax(1).min()) > same:
            kept.append(row)
    return torch.tensor(kept)


def _rows(records: Records, which: Tensor) -> Records:
    return Records(features=records.features[which], labels=records.labels[which])


def _view(architecture: Architecture, weights: Tensor, planted: Records) -> ServerComputeView:
    """Return what a quantum server sees of rounds in which pairs of clients have their records run, in order."""
    assert architecture.encoding is not None
    encoded, count = architecture.encoding(planted.features), len(planted)
    (clients, slots), a_round = SLOTS.shape, int(SLOTS.sum())
    rounds = math.ceil(count / a_round)
    filled = SLOTS.repeat(rounds, 1, 1)
    filled &= filled.flatten().cumsum(0).reshape(filled.shape) <= count
    angles = encoded.new_zeros(*filled.shape, encoded.shape[-1])
    angles[filled] = encoded
    everybody = torch.arange(rounds * clients).reshape(rounds, clients)
    setup = Setup(
        schedule=tuple(tuple(chosen) for chosen in everybody.tolist()),
        expected_sizes=(float(slots),) * everybody.numel(),
        local_steps=(1,) * everybody.numel(),
        batch_size=slots,
        sampling="poisson",
        optimizer="sgd",
        learning_rate=1.0,
        average="plain",
        n_parameters=architecture.n_parameters,
    )
    return ServerComputeView(
        adversary="quantum_server",
        setup=setup,
        global_weights=weights.expand(rounds + 1, -1).clone(),
        angles=angles,
        filled=filled,
    )


def _clients(view: ServerComputeView) -> Tensor:
    """Return the client of each slot, (rounds, clients a round, slots)."""
    return torch.tensor(view.setup.schedule).unsqueeze(-1).expand(view.filled.shape)


def _rebuilt(
    scores: Reconstructions,
    architecture: Architecture,
    view: ServerComputeView,
    planted: Records,
    ranges: Any,
    tolerance: float,
) -> tuple[int, int]:
    """Return how many records were rebuilt, of those that their circuit determines; no answer is a miss."""
    assert architecture.encoding is not None
    answers = dict(zip(((round_, slot) for round_, slot in scores.targets.tolist()), scores.answers(), strict=True))
    same = SAME_CIRCUIT * float(view.angles.abs().max())
    determined = _determined(architecture, planted.features)
    batches = view.filled.nonzero()[:, :2]  # (records, 2)
    found = counted = 0
    for place in view.filled.any(-1).nonzero():
        rows = (batches == place).all(1)
        truth, guesses = planted.features[rows].double(), answers.get((int(place[0]), int(place[1])))
        hit = alike = torch.zeros(len(truth), dtype=torch.bool)
        if guesses is not None:
            hit = torch.from_numpy(score(guesses.double(), truth, ranges=ranges, tolerance=tolerance).hits)
            apart = architecture.encoding(truth).unsqueeze(1) - architecture.encoding(guesses)
            alike = (apart.abs().amax(-1) <= same).any(1)  # a guess that is no number is like nothing
        counts = determined[rows] & (hit | ~alike)
        found, counted = found + int((hit & counts).sum()), counted + int(counts.sum())
    return found, counted


def _determined(architecture: Architecture, features: Tensor) -> Tensor:
    """Return whether the angles of each record (records, features) change with all of its features: (records,)."""
    assert architecture.encoding is not None
    points = features.double()
    directions = torch.eye(points.shape[-1], dtype=points.dtype)
    slopes = [
        torch.func.jvp(architecture.encoding, (points,), (one.expand_as(points).clone(),))[1] for one in directions
    ]
    ranks: Tensor = torch.linalg.matrix_rank(torch.stack(slopes, dim=-1), rtol=FULL_RANK)
    return ranks == points.shape[-1]
