"""What defenses that release noisy sums share: their parameters, their guarantees' reach, their tolerances."""

import math
from collections.abc import Iterable
from dataclasses import replace

from qfl_sec.contracts import Adversary, Guarantee

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


def for_all(server: Guarantee, adversaries: Iterable[Adversary]) -> list[Guarantee]:
    """Return a guarantee against the server, and the same against those whose views are computed from the server's."""
    mechanism = f"{server.mechanism}; this view is computed from the server's"
    others = (other for other in adversaries if other != "server")
    return [server, *(replace(server, adversary=other, mechanism=mechanism) for other in others)]
