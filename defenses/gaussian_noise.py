"""Differential privacy of whole updates by Gaussian noise, added by each client before its update leaves it."""

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import ClassVar, Self

import torch
from torch import Tensor

from qfl_sec.accounting import (
    Releases,
    accountant_name,
    calibrate_noise_multiplier,
    epsilon_pld,
    epsilon_rdp,
    grid_for,
    privacy_curve,
)
from qfl_sec.contracts import Defense, Guarantee, MechanismEvidence, PremiseCheck, Setup
from qfl_sec.defenses.noisy_releases import check_budget
from qfl_sec.defenses.noisy_updates import clipped, noise_premises, update_guarantees, update_releases


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(Defense):
    """Client-level noise on updates: clips each client's update to an L2 norm and adds Gaussian noise for epsilon.

    Each client clips and adds its noise before anything leaves it, so that the server is not trusted. Any change of a
    client's records moves its clipped update by at most twice the norm, whatever its local steps are; one noise
    multiplier serves all clients: the least that keeps the worst of them within the budget over all its rounds.

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
        clip_norm: L2 norm that no update exceeds, > 0.

    Raises:
        ValueError: If a parameter is out of its range or NaN.

    Reference: McMahan et al. 2018, arXiv 1710.06963 (updates clipped a user); Dwork and Roth 2014,
        doi:10.1561/0400000042, appendix A (the Gaussian mechanism).
    """

    name: ClassVar[str] = "gaussian_noise"
    # Not a field: what `prepare` derives is no parameter of the defense.
    _prepared: ClassVar[tuple[float, Setup] | None] = None

    epsilon: float
    delta: float = 1e-3
    clip_norm: float = 0.5

    def __post_init__(self) -> None:
        check_budget(self.epsilon, self.delta, self.clip_norm)

    def prepare(self, setup: Setup) -> Self:
        """Return a copy whose noise is calibrated to every release of the drawn schedule; the worst client decides."""
        schedule = tuple({_releases(count, 1.0) for count in update_releases(setup).values()})
        prepared = replace(self)
        object.__setattr__(prepared, "_prepared", (_calibrated(self.epsilon, self.delta, schedule), setup))
        return prepared

    @property
    def noise_multiplier(self) -> float:
        """Standard deviation of the noise over the clipping norm, half the sensitivity.

        Raises:
            ValueError: If the defense has not been prepared.
        """
        return self._ready()[0]

    def expected_update(self, updates: Tensor) -> Tensor:
        """Return the clipped updates (..., parameters); differentiable."""
        return clipped(updates, self.clip_norm, order=2)

    def update_noise_std(self) -> float:
        """Return the standard deviation of each coordinate's noise.

        Raises:
            ValueError: If the defense has not been prepared.
        """
        return self.noise_multiplier * self.clip_norm

    def update(self, updates: Tensor, *, round: int, generator: torch.Generator) -> Tensor:
        """Return each client's noisy update, (clients, parameters).

        Raises:
            ValueError: If the defense has not been prepared.
        """
        noise = torch.randn(updates.shape, generator=generator, dtype=updates.dtype, device=generator.device)
        return self.expected_update(updates) + self.update_noise_std() * noise.to(updates.device)

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
            largest=evidence.largest_update_l2,
            norm="L2",
            clip_norm=self.clip_norm,
            noise_std=self.update_noise_std(),
            kurtosis=3.0,
        )

    def _ready(self) -> tuple[float, Setup]:
        if self._prepared is None:
            raise ValueError("Expected gaussian_noise to be prepared: its noise depends on the schedule.")
        return self._prepared


def _releases(count: int, noise_multiplier: float) -> Releases:
    """Return a client's releases: replacing its records moves an update from anywhere in a ball to anywhere in it."""
    return Releases(noise_multiplier=noise_multiplier, sample_rate=1.0, sampled=count, adjacency="replace-one")


@lru_cache(maxsize=64)
def _calibrated(epsilon: float, delta: float, schedule: tuple[Releases, ...]) -> float:
    """Remember the calibration: every cell of a training prepares its defense again."""
    return calibrate_noise_multiplier(epsilon, delta, schedule)


def _guarantee(defense: GaussianNoise, client: int, count: int, multiplier: float) -> Guarantee:
    """Return one client's guarantee against the server."""
    released = _releases(count, multiplier)
    curve = privacy_curve(released)
    return Guarantee(
        adversary="server",
        client=client,
        epsilon=epsilon_pld(released, defense.delta, grid=grid_for(released)),
        delta=defense.delta,
        unit="client",
        adjacency="replace-one",
        sampling="none claimed: any change of the client's records counts; selection of clients public",
        mechanism=(
            f"{count} Gaussian releases of clipped updates, noise multiplier {multiplier:g}, clipping L2 norm "
            f"{defense.clip_norm:g}"
        ),
        releases=count,
        accountant=accountant_name(),
        curve=curve,
        in_batch_curve=curve,
        epsilon_rdp=epsilon_rdp(released, defense.delta),
    )
