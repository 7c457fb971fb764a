"""Record-level differential privacy for each client's gradients."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, Literal, Self

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
from qfl_sec.contracts import UPDATE_READERS, Defense, Guarantee, MechanismEvidence, PremiseCheck, Setup
from qfl_sec.defenses.noisy_releases import CLIPPING_SLACK, NOISE_DEVIATIONS, check_budget, for_all


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """What `prepare` found: the noise for this very schedule.

    Attributes:
        noise_multiplier: Standard deviation of the noise on a sum of clipped gradients, over the clipping norm.
        setup: What it was calibrated for.
    """

    noise_multiplier: float
    setup: Setup


@dataclass(frozen=True, kw_only=True)
class DpSgd(Defense):
    """Record-level DP-SGD: clips each record's gradient to a norm and adds Gaussian noise calibrated to epsilon.

    Each client adds its own noise to each local step's gradient before anything leaves it, so that the server is not
    trusted. One noise multiplier serves all clients: the least that keeps the worst of them within the budget over
    all its releases in the drawn schedule.

    Guarantee: (epsilon, delta)-differential privacy of every record of every client, a record more or less, against
        the server, who sees each update and who was selected but not which records entered a batch. Against clients
        and recipients too, whose views are computed from the server's.

    | case                       | what happens                                                               |
    |----------------------------|----------------------------------------------------------------------------|
    | zero gradient              | stays zero; its derivative is finite                                       |
    | gradient that is not finite| counts as zero, in `gradient`: the noise then still hides it               |
    | empty Poisson batch        | noise alone is released                                                    |
    | client never selected      | releases nothing; no guarantee is listed for it                            |
    | batches larger than wanted | no effect: the sum is divided by the public batch size, not by the count   |

    Attributes:
        epsilon: Budget over the whole training, > 0.
        delta: In (0, 1); well below one over the number of records of a client is customary.
        clip_norm: L2 norm that no record's gradient exceeds, > 0.

    Raises:
        ValueError: If a parameter is out of its range or NaN.

    Reference: Abadi et al. 2016, arXiv 1607.00133, Algorithm 1.
    """

    name: ClassVar[str] = "dp_sgd"
    sampling: ClassVar[Literal["fixed", "poisson"]] = "poisson"
    # Not a field: what `prepare` derives is no parameter of the defense, so it is neither swept, compared nor written.
    _prepared: ClassVar[_Prepared | None] = None

    epsilon: float
    delta: float = 1e-3
    clip_norm: float = 0.5

    def __post_init__(self) -> None:
        check_budget(self.epsilon, self.delta, self.clip_norm)

    def prepare(self, setup: Setup) -> Self:
        """Return a copy whose noise is calibrated to every release of the drawn schedule; the worst client decides.

        Raises:
            ValueError: If batches are not drawn by Poisson sampling, on which the accounting rests.
        """
        if setup.sampling != "poisson":
            raise ValueError(f"Expected sampling={setup.sampling!r} to be 'poisson': dp_sgd accounts for it.")
        schedule = tuple(_releases(setup, client, 1.0) for client in _selected(setup))
        noise_multiplier = _calibrated(self.epsilon, self.delta, schedule)
        prepared = replace(self)
        object.__setattr__(prepared, "_prepared", _Prepared(noise_multiplier=noise_multiplier, setup=setup))
        return prepared

    @property
    def noise_multiplier(self) -> float:
        """Standard deviation of the noise on a sum of clipped gradients, over the clipping norm.

        Raises:
            ValueError: If the defense has not been prepared.
        """
        return self._ready().noise_multiplier

    def expected_gradient(self, per_example: Tensor, mask: Tensor) -> Tensor:
        """Return the sum of the clipped gradients over the public batch size, without the noise; differentiable.

        Args:
            per_example: (..., batch, parameters), one gradient a record.
            mask: (..., batch), true where the slot holds a record.

        Returns:
            (..., parameters)

        Raises:
            ValueError: If the defense has not been prepared.
        """
        squares = (per_example**2).sum(-1, keepdim=True)
        # The clamp keeps the root off zero, where its derivative is infinite; below the clip the factor is exactly 1.
        clipped = per_example * (self.clip_norm / squares.clamp(min=self.clip_norm**2).sqrt())
        return torch.where(mask.unsqueeze(-1), clipped, 0.0).sum(-2) / self._ready().setup.batch_size

    def noise_std(self) -> float:
        """Return z C / batch size, the standard deviation of each coordinate of a released gradient.

        Raises:
            ValueError: If the defense has not been prepared.
        """
        ready = self._ready()
        return ready.noise_multiplier * self.clip_norm / ready.setup.batch_size

    def gradient(self, per_example: Tensor, mask: Tensor, *, step: int, generator: torch.Generator) -> Tensor:
        """Return each client's noisy gradient: (clients, batch, parameters) to (clients, parameters).

        Raises:
            ValueError: If the defense has not been prepared.
        """
        finite = torch.isfinite(per_example).all(-1, keepdim=True)
        expected = self.expected_gradient(torch.where(finite, per_example, 0.0), mask)
        noise = torch.randn(expected.shape, generator=generator, dtype=expected.dtype, device=generator.device)
        return expected + self.noise_std() * noise.to(expected.device)

    def guarantees(self, setup: Setup) -> tuple[Guarantee, ...]:
        """Return what is proven for each client that releases anything, against each adversary.

        Raises:
            ValueError: If the defense has not been prepared, or for another setup.
        """
        ready = self._ready()
        if setup != ready.setup:
            raise ValueError("Expected the setup that dp_sgd was prepared for. Call prepare(setup) again.")
        by_client = [_guarantees_of(self, setup, client, ready.noise_multiplier) for client in _selected(setup)]
        return tuple(one for found in by_client for one in found)

    def premises(self, evidence: MechanismEvidence) -> tuple[PremiseCheck, ...]:
        """Return what the guarantee rests on, held against what was measured.

        Raises:
            ValueError: If the defense has not been prepared.
        """
        bound, noise = self.clip_norm / self._ready().setup.batch_size, self.noise_std()
        slack = NOISE_DEVIATIONS / math.sqrt(2 * max(1, evidence.noise_draws))
        largest = evidence.largest_contribution
        return (
            PremiseCheck(
                premise="No record contributes more than the clipping norm",
                how=f"largest contribution {largest:.3g}, bound {bound:.3g}, over every release",
                status="machine-checked",
                passed=0 < largest <= bound * (1 + CLIPPING_SLACK),
            ),
            PremiseCheck(
                premise="Every release carries the calibrated noise",
                how=f"deviation {evidence.noise_std:.4g}, calibrated {noise:.4g}, over {evidence.noise_draws} draws",
                status="machine-checked",
                passed=evidence.noise_draws > 0 and abs(evidence.noise_std / noise - 1) <= slack,
            ),
            PremiseCheck(
                premise="Each record enters each batch independently",
                how=f"batches were drawn by {evidence.sampling} sampling",
                status="machine-checked",
                passed=evidence.sampling == "poisson",
            ),
            PremiseCheck(
                premise="The adversary does not see which records enter a batch",
                how="the client keeps its draws and its noise to itself",
                status="assumed",
                passed=None,
            ),
        )

    def _ready(self) -> _Prepared:
        if self._prepared is None:
            raise ValueError("Expected dp_sgd to be prepared: its noise depends on the schedule. Call prepare(setup).")
        return self._prepared


def _selected(setup: Setup) -> list[int]:
    """Return the clients that release anything."""
    return [client for client in range(setup.clients) if setup.releases(client)]


def _releases(setup: Setup, client: int, noise_multiplier: float) -> Releases:
    """Return what a client releases over the whole training."""
    return Releases(
        noise_multiplier=noise_multiplier,
        sample_rate=setup.sample_rate(client),
        sampled=setup.releases(client),
    )


@lru_cache(maxsize=64)
def _calibrated(epsilon: float, delta: float, schedule: tuple[Releases, ...]) -> float:
    """Remember the calibration: every cell of a training prepares its defense again."""
    return calibrate_noise_multiplier(epsilon, delta, schedule)


def _guarantees_of(defense: DpSgd, setup: Setup, client: int, noise_multiplier: float) -> list[Guarantee]:
    """Return one client's guarantee against each adversary."""
    released = _releases(setup, client, noise_multiplier)
    steps = setup.local_steps[client]
    grid = grid_for(released)
    mechanism = (
        f"{released.sampled} Gaussian releases of clipped sums, noise multiplier {noise_multiplier:g}, "
        f"clipping norm {defense.clip_norm:g}"
    )
    server = Guarantee(
        adversary="server",
        client=client,
        epsilon=epsilon_pld(released, defense.delta, grid=grid),
        delta=defense.delta,
        unit="record",
        adjacency="add-remove",
        sampling=f"Poisson, rate {released.sample_rate:.4g}, batches secret, selection of clients public",
        mechanism=mechanism,
        releases=released.sampled,
        accountant=accountant_name(),
        curve=privacy_curve(released, grid=grid),
        in_batch_curve=privacy_curve(released.known_in(steps), grid=grid),
        epsilon_rdp=epsilon_rdp(released, defense.delta),
    )
    return for_all(server, UPDATE_READERS)
