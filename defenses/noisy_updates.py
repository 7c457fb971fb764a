"""What defenses that add noise to whole updates share: clipping, counting releases, and their premises."""

import math
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from qfl_sec.contracts import UPDATE_READERS, Guarantee, MechanismEvidence, PremiseCheck, Setup
from qfl_sec.defenses.noisy_releases import CLIPPING_SLACK, NOISE_DEVIATIONS, for_all

Calibrated = TypeVar("Calibrated")


def clipped(updates: Tensor, clip_norm: float, *, order: int) -> Tensor:
    """Return updates (..., parameters) scaled down to a norm, L1 or L2, where they exceed it; not finite ones are zero.

    Differentiable: below the clip the factor is exactly 1, and no derivative is infinite.
    """
    finite = torch.isfinite(updates).all(-1, keepdim=True)
    kept = torch.where(finite, updates, 0.0)
    if order == 1:
        norm = kept.abs().sum(-1, keepdim=True).clamp(min=clip_norm)
    else:
        norm = kept.square().sum(-1, keepdim=True).clamp(min=clip_norm**2).sqrt()
    return kept * (clip_norm / norm)


def update_releases(setup: Setup) -> dict[int, int]:
    """Return how many updates each client releases that releases any: one in each round that selects it."""
    counts = {client: sum(client in chosen for chosen in setup.schedule) for client in range(setup.clients)}
    return {client: count for client, count in counts.items() if count}


def update_guarantees(
    name: str,
    prepared: tuple[Calibrated, Setup],
    setup: Setup,
    guarantee: Callable[[int, int, Calibrated], Guarantee],
) -> Iterator[Guarantee]:
    """Yield what is proven for each client that releases anything, against each adversary.

    Args:
        name: Of the defense, for messages.
        prepared: What was calibrated, and for which setup.
        setup: The one that is asked about.
        guarantee: Of a client and its number of releases, against the server.

    Raises:
        ValueError: If the defense was prepared for another setup.
    """
    calibrated, prepared_for = prepared
    if setup != prepared_for:
        raise ValueError(f"Expected the setup that {name} was prepared for. Call prepare(setup) again.")
    for client, count in update_releases(setup).items():
        yield from for_all(guarantee(client, count, calibrated), UPDATE_READERS)


def noise_premises(
    evidence: MechanismEvidence, *, largest: float, norm: str, clip_norm: float, noise_std: float, kurtosis: float
) -> tuple[PremiseCheck, ...]:
    """Return what a guarantee of clipped and noisy updates rests on, held against what was measured.

    Args:
        evidence: What was measured.
        largest: The largest update before its noise, in the norm that is clipped.
        norm: That norm's name.
        clip_norm: What no update exceeds.
        noise_std: The calibrated standard deviation.
        kurtosis: Fourth moment of the noise over its squared variance: how far a measured variance may lie off.
    """
    draws = evidence.update_noise_draws
    slack = NOISE_DEVIATIONS * math.sqrt((kurtosis - 1) / max(1, draws)) / 2
    found = evidence.update_noise_std
    return (
        PremiseCheck(
            premise="No update exceeds the clipping norm",
            how=f"largest {norm} norm {largest:.3g}, bound {clip_norm:.3g}, over every release",
            status="machine-checked",
            passed=0 < largest <= clip_norm * (1 + CLIPPING_SLACK),
        ),
        PremiseCheck(
            premise="Every update carries the calibrated noise",
            how=f"deviation {found:.4g}, calibrated {noise_std:.4g}, over {draws} draws",
            status="machine-checked",
            passed=draws > 0 and abs(found / noise_std - 1) <= slack,
        ),
        PremiseCheck(
            premise="How many records a client holds is no secret",
            how="it decides local epochs and weighted averages, which the budget does not cover",
            status="assumed",
            passed=None,
        ),
        PremiseCheck(
            premise="Clients keep their noise to themselves",
            how="each draws its own, and leaves nobody the generator",
            status="assumed",
            passed=None,
        ),
    )
