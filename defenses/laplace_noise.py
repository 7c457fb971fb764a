"""Differential privacy of whole updates by Laplace noise, added by each client before its update leaves it."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import ClassVar, Self

import numpy as np
import torch
from dp_accounting.pld import common
from dp_accounting.pld import privacy_loss_distribution as pld
from torch import Tensor

from qfl_sec.accounting import CURVE_DELTA, CURVE_POINTS, accountant_name
from qfl_sec.contracts import (
    Defense,
    Guarantee,
    MechanismEvidence,
    PremiseCheck,
    PrivacyCurve,
    Setup,
)
from qfl_sec.defenses.noisy_releases import check_budget
from qfl_sec.defenses.noisy_updates import clipped, noise_premises, update_guarantees, update_releases

_GRID_SHARE = 100
"""Grid points of a release's privacy loss, up to the finest grid."""

_FINEST, _SHARP = 1e-4, 1e-3


@dataclass(frozen=True, kw_only=True)
class LaplaceNoise(Defense):
    """Client-level noise on updates: clips each client's update to an L1 norm and adds Laplace noise for epsilon.

    As `gaussian_noise`, by the L1 norm. Each release is purely differentially private, and the budget of all is that of
    the composition of as many mechanisms which are no more than that.

    Guarantee: (epsilon, delta)-differential privacy of all records of a client together, replaced by any others, hence
        of each record, against the server, who sees each update and who was selected. No amplification by sampling is
        claimed. Against clients, recipients and eavesdroppers too, whose views are computed from updates; not against
        a quantum server that runs the client's circuits.

    | case                        | what happens                                                              |
    |-----------------------------|---------------------------------------------------------------------------|
    | zero update                 | stays zero before the noise; the clip's derivative is finite              |
    | update that is not finite   | counts as zero: the noise then still hides it                             |
    | client never selected       | releases nothing; no guarantee is listed for it                           |
    | several local steps         | one release a round, however many there are                               |

    Attributes:
        epsilon: Budget over the whole training, > 0.
        delta: In (0, 1).
        clip_norm: L1 norm that no update exceeds, > 0.

    Raises:
        ValueError: If a parameter is out of its range or NaN.

    Reference: Dwork, McSherry, Nissim and Smith 2006, doi:10.1007/11681878_14, Proposition 1 (the Laplace mechanism);
        Kairouz, Oh and Viswanath 2015, arXiv 1311.0776, Theorem 3.3 (composition of pure mechanisms).
    """

    name: ClassVar[str] = "laplace_noise"
    # Not a field: what `prepare` derives is no parameter of the defense.
    _prepared: ClassVar[tuple[float, Setup] | None] = None

    epsilon: float
    delta: float = 1e-3
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        check_budget(self.epsilon, self.delta, self.clip_norm)

    def prepare(self, setup: Setup) -> Self:
        """Return a copy whose noise is calibrated to every release of the drawn schedule; the worst client decides."""
        budget = budget_of_a_release(self.epsilon, self.delta, max(update_releases(setup).values()))
        prepared = replace(self)
        object.__setattr__(prepared, "_prepared", (budget, setup))
        return prepared

    @property
    def scale(self) -> float:
        """The noise's scale b, of density exp(-|x| / b) / (2 b): the sensitivity over the budget of one release.

        Raises:
            ValueError: If the defense has not been prepared.
        """
        return 2 * self.clip_norm / self._ready()[0]

    def expected_update(self, updates: Tensor) -> Tensor:
        """Return the clipped updates (..., parameters); differentiable."""
        return clipped(updates, self.clip_norm, order=1)

    def update_noise_std(self) -> float:
        """Return the standard deviation of each coordinate's noise.

        Raises:
            ValueError: If the defense has not been prepared.
        """
        return math.sqrt(2) * self.scale

    def update(self, updates: Tensor, *, round: int, generator: torch.Generator) -> Tensor:
        """Return each client's noisy update, (clients, parameters).

        Raises:
            ValueError: If the defense has not been prepared.
        """
        first, second = -torch.rand((2, *updates.shape), generator=generator, dtype=torch.float64).neg().log1p()
        noise: Tensor = self.scale * (first - second)
        return self.expected_update(updates) + noise.to(updates)

    def guarantees(self, setup: Setup) -> tuple[Guarantee, ...]:
        """Return what is proven for each client that releases anything, against each adversary.

        Raises:
            ValueError: If the defense has not been prepared, or for another setup.
        """
        return tuple(update_guarantees(self.name, self._ready(), setup, partial(_guarantee, self)))

    def premises(self, evidence: MechanismEvidence) -> tuple[PremiseCheck, ...]:
        """Return what the guarantee rests on, held against what was measured.

        Raises:
            ValueError: If the defense has not been prepared.
        """
        return noise_premises(
            evidence,
            largest=evidence.largest_update_l1,
            norm="L1",
            clip_norm=self.clip_norm,
            noise_std=self.update_noise_std(),
            kurtosis=6.0,
        )

    def _ready(self) -> tuple[float, Setup]:
        if self._prepared is None:
            raise ValueError("Expected laplace_noise to be prepared: its noise depends on the schedule.")
        return self._prepared


@lru_cache(maxsize=64)
def _composed(budget: float, count: int) -> pld.PrivacyLossDistribution:
    """Return the privacy loss of some releases that are each purely private within a budget, and nothing more."""
    grid = max(_FINEST, budget / _GRID_SHARE)
    pure = common.DifferentialPrivacyParameters(budget, 0.0)
    return pld.from_privacy_parameters(pure, value_discretization_interval=grid).self_compose(count)


@lru_cache(maxsize=64)
def budget_of_a_release(epsilon: float, delta: float, count: int) -> float:
    """Return the largest pure budget a release may take so that `count` releases stay within (epsilon, delta).

    Basic composition gives the least one, epsilon / count; it is kept if nothing larger fits.
    """
    low, high = epsilon / count, epsilon
    while high / low > 1 + _SHARP:
        middle = math.sqrt(low * high)
        fits = _composed(middle, count).get_epsilon_for_delta(delta) <= epsilon
        low, high = (middle, high) if fits else (low, middle)
    return low


def _curve(budget: float, count: int) -> PrivacyCurve:
    """Return the (epsilon, delta) points of some releases, until delta is below 1e-9."""
    loss = _composed(budget, count)
    last = min(float(loss.get_epsilon_for_delta(CURVE_DELTA / 2)), budget * count)
    epsilons = np.linspace(0.0, last, CURVE_POINTS)
    deltas = np.minimum.accumulate(np.clip(loss.get_delta_for_epsilon(epsilons), 0.0, 1.0))
    return tuple(zip(epsilons.tolist(), deltas.tolist(), strict=True))


def _guarantee(defense: LaplaceNoise, client: int, count: int, budget: float) -> Guarantee:
    """Return one client's guarantee against the server."""
    curve = _curve(budget, count)
    return Guarantee(
        adversary="server",
        client=client,
        epsilon=min(float(_composed(budget, count).get_epsilon_for_delta(defense.delta)), budget * count),
        delta=defense.delta,
        unit="client",
        adjacency="replace-one",
        sampling="none claimed: any change of the client's records counts; selection of clients public",
        mechanism=(
            f"{count} Laplace releases of clipped updates, scale {defense.scale:g}, clipping L1 norm "
            f"{defense.clip_norm:g}"
        ),
        releases=count,
        accountant=accountant_name(),
        curve=curve,
        in_batch_curve=curve,
    )
