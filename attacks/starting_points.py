"""Where the restarts of an inversion begin: assumed labels and first guesses of the features."""

import math
from itertools import combinations_with_replacement, product

import torch
from torch import Tensor

from qfl_sec.attacks.reference_statistics import ReferenceStatistics

_JITTER = 0.05
"""Standard deviation of the noise added to reference records, in the width of the search range."""


def label_guesses(mask: Tensor, shares: Tensor, restarts: int, *, generator: torch.Generator) -> Tensor:
    """Spread restarts over the possible labels of a client's batches.

    The order of records within a batch changes nothing, so that only compositions count. If there are no more
    compositions than restarts, each is tried, the likelier ones first and most often; else labels are drawn from the
    class shares.

    Args:
        mask: (steps, slots), true where a slot holds a record.
        shares: (classes,), the prior probability of each label.
        restarts: Number of restarts.
        generator: For the draws.

    Returns:
        (restarts, steps, slots), -1 in empty slots.
    """
    n_classes = len(shares)
    sizes = mask.sum(-1).tolist()
    filled = torch.full((restarts, *mask.shape), -1)
    if math.prod(math.comb(size + n_classes - 1, n_classes - 1) for size in sizes) > restarts:
        drawn = torch.multinomial(shares, restarts * int(mask.sum()), replacement=True, generator=generator)
        filled[:, mask] = drawn.reshape(restarts, -1)
        return filled
    compositions = list(product(*(combinations_with_replacement(range(n_classes), size) for size in sizes)))
    compositions.sort(key=lambda steps: -sum(_log_probability(labels, shares) for labels in steps))
    flat = torch.tensor([sum(steps, ()) for steps in compositions], dtype=torch.int64)
    filled[:, mask] = flat[torch.arange(restarts) % len(flat)]
    return filled


def _log_probability(labels: tuple[int, ...], shares: Tensor) -> float:
    """Return the logarithm of the probability of a batch's composition."""
    counts = [labels.count(label) for label in set(labels)]
    orders = math.lgamma(len(labels) + 1) - sum(math.lgamma(count + 1) for count in counts)
    return orders + sum(math.log(float(shares[label])) for label in labels)


def first_points(labels: Tensor, reference: ReferenceStatistics, *, generator: torch.Generator) -> Tensor:
    """Draw first guesses: three of four restarts from reference records of the assumed label, the fourth uniformly.

    Args:
        labels: (targets, restarts, steps, slots), -1 in empty slots.
        reference: The reference split.
        generator: For the draws.

    Returns:
        (targets, restarts, steps, slots, features), in the unit cube; 0.5 in empty slots.
    """
    shape = (*labels.shape, len(reference.low))
    bottom, top = reference.records.amin(0), reference.records.amax(0)
    uniform = bottom + (top - bottom) * torch.rand(shape, dtype=torch.float64, generator=generator)
    picks = torch.rand(labels.shape, dtype=torch.float64, generator=generator)
    noise = _JITTER * torch.randn(shape, dtype=torch.float64, generator=generator)
    counts = reference.counts[labels.clamp(min=0)]
    first = (reference.counts.cumsum(0) - reference.counts)[labels.clamp(min=0)]
    whole = counts == 0  # a label without reference records starts from any of them
    counts, first = torch.where(whole, len(reference.records), counts), torch.where(whole, 0, first)
    known = (reference.records[first + (picks * counts).long()] + noise).clamp(0, 1)
    fourth = (torch.arange(labels.shape[1]) % 4 == 3).reshape(1, -1, 1, 1, 1)
    return torch.where((labels < 0).unsqueeze(-1), 0.5, torch.where(fourth, uniform, known))
