"""What defenses that add noise to whole updates share: clipping, counting releases, and their premises."""

import math
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from qfl_sec.contracts import Adversary, Guarantee, MechanismEvidence, PremiseCheck, Setup

CLIPPING_SLACK = 1e-5
"""Relative rounding error of a clipped norm that is no violation; single precision stays below."""

NOISE_DEVIATIONS = 5.0
"""How many standard errors the measured noise may lie from the calibrated one."""


def check_budget(epsilon: float, delta: float, clip_norm: float) -> None:
    """Refuse parameters that mean nothing.

    Raises:
        ValueError: If one is out of its range or NaN.
    """
    if not 0 < epsilon < math.inf:
        raise ValueError(f"Expected epsilon={epsilon} > 0 and finite.")
    if not 0 < delta < 1:
        raise ValueError(f"Expected 0 < delta={delta} < 1.")
    if not 0 < clip_norm < math.inf:
        raise ValueError(f"Expected clip_norm={clip_norm} > 0 and finite.")


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


def for_all(server: Guarantee, adversaries: Iterable[Adversary]) -> list[Guarantee]:
    """Return a guarantee against the server, and the same against those whose views are computed from the server's."""
    mechanism = f"{server.mechanism}; this view is computed from the server's"
    others = (other for other in adversaries if other != "server")
    return [server, *(replace(server, adversary=other, mechanism=mechanism) for other in others)]


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
