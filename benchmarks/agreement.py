"""The check that two sides of a benchmark answered the same."""

from collections.abc import Sequence

import torch
from torch import Tensor

FLOAT32 = 2e-5
"""How far single precision may be off, as a share of the largest entry; rounding of some hundred operations."""

FLOAT64 = 1e-9
"""The same in double precision."""


class DisagreementError(Exception):
    """Two sides of a benchmark did not compute the same; their times say nothing."""


def largest_difference(ours: Sequence[Tensor], peers: Sequence[Tensor], *, tolerance: float, peer: str) -> float:
    """Return the largest difference of any two entries as a share of that result's largest entry.

    Args:
        ours: Our results.
        peers: The peer's, of the same shapes.
        tolerance: The largest share that is allowed.
        peer: Its name, for the message.

    Raises:
        DisagreementError: If the difference exceeds the tolerance, is not finite, or the shapes differ.
    """
    if [mine.shape for mine in ours] != [its.shape for its in peers]:
        shapes = [tuple(mine.shape) for mine in ours], [tuple(its.shape) for its in peers]
        raise DisagreementError(f"Expected shapes {shapes[0]} of ours and {shapes[1]} of {peer} to be the same.")
    largest = 0.0
    for mine, its in zip(ours, peers, strict=True):
        mine, its = mine.detach().double(), its.detach().double()
        scale = float(its.abs().max().clamp(min=torch.finfo(torch.float64).tiny))
        difference = float((mine - its).abs().max()) / scale
        # Written so that a difference that is not a number fails, too.
        if not difference <= tolerance:
            raise DisagreementError(
                f"Expected the largest difference={difference:.3g} from {peer} to be at most {tolerance:.3g}."
            )
        largest = max(largest, difference)
    return largest
