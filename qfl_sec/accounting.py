"""Privacy accounting of noisy gradient releases: Poisson-subsampled Gaussian mechanisms and their compositions.

The headline comes from privacy loss distributions (PLD), with Renyi differential privacy (RDP) as a second, looser
opinion; both are Google's `dp-accounting`. What a guarantee means for an attack stands in `qfl_sec.ceilings`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from typing import Literal

import numpy as np
import numpy.typing as npt
from dp_accounting import dp_event, rdp
from dp_accounting.pld import privacy_loss_distribution as pld
from scipy import special

from qfl_sec.contracts import PrivacyCurve

Adjacency = Literal["add-remove", "replace-one"]

FINEST_GRID = 1e-4
"""Spacing of privacy losses where nothing else is asked for."""

CURVE_POINTS = 256
CURVE_DELTA = 1e-9
"""A privacy curve ends below this delta."""

SMALLEST_NOISE = 0.1
"""Calibration goes no lower: at this noise multiplier one release alone costs a budget of tens."""

_SHARP = 1e-3
"""Calibration stops when the budget reached lies within this share below the target."""

_GRIDS = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3)
_ORDERS = (*range(2, 33), 40, 48, 64, 96, 128, 256, 512)
_RELATIONS = {
    "add-remove": pld.NeighborRel.ADD_OR_REMOVE_ONE,
    "replace-one": pld.NeighborRel.REPLACE_ONE,
}


@dataclass(frozen=True, kw_only=True)
class Releases:
    """A composition of Gaussian sums of records' contributions, each of L2 norm at most one before the noise.

    Attributes:
        noise_multiplier: Standard deviation of the noise over the bound on one record's contribution, > 0.
        sample_rate: Probability that a record enters a sampled release, independently of all others, in (0, 1].
        sampled: Number of releases whose batch was drawn secretly at `sample_rate`.
        known: Number of further releases whose batch is known to hold the record: no amplification by sampling.
        adjacency: A record more or less, or one replaced by another.

    Raises:
        ValueError: If a number is out of its range or NaN, or nothing is released.
    """

    noise_multiplier: float
    sample_rate: float
    sampled: int
    known: int = 0
    adjacency: Adjacency = "add-remove"

    def __post_init__(self) -> None:
        if not 0 < self.noise_multiplier < math.inf:
            raise ValueError(f"Expected noise_multiplier={self.noise_multiplier} > 0 and finite.")
        if not 0 < self.sample_rate <= 1:
            raise ValueError(f"Expected 0 < sample_rate={self.sample_rate} <= 1.")
        if self.sampled < 0 or self.known < 0 or self.sampled + self.known < 1:
            raise ValueError(f"Expected sampled={self.sampled} and known={self.known} >= 0, at least one release.")
        if self.adjacency not in _RELATIONS:
            raise ValueError(f"Expected adjacency={self.adjacency!r} to be one of {', '.join(_RELATIONS)}.")

    def known_in(self, count: int) -> "Releases":
        """Return the same releases for a record that is known to be in the batches of `count` sampled ones.

        Raises:
            ValueError: If there are fewer sampled releases.
        """
        return replace(self, sampled=self.sampled - count, known=self.known + count)


def accountant_name() -> str:
    """Return the accountant of the headline, with its version."""
    return f"PLD (dp-accounting {version('dp-accounting')})"


def grid_for(releases: Releases) -> float:
    """Return a coarse grid of privacy losses that is still accurate: it raises epsilon by less than 0.5 %.

    Rounding is pessimistic on any grid ("connect the dots"), so a coarse one can only overstate epsilon. It adds at
    most a quarter of its squared spacing to the variance of one release's loss, so the spacing follows that
    loss's standard deviation, about `sample_rate` sqrt(exp(1 / z^2) - 1).

    Reference: Doroshenko et al. 2022, arXiv 2207.04380.
    """
    z = releases.noise_multiplier
    spread = releases.sample_rate * math.sqrt(math.expm1(min(1 / z**2, 50.0)))
    return max([grid for grid in _GRIDS if grid <= spread / 10], default=FINEST_GRID)


def epsilon_pld(releases: Releases, delta: float, *, grid: float = FINEST_GRID) -> float:
    """Return the smallest epsilon at this delta by privacy loss distributions, rounded pessimistically.

    Guarantee: the composition is (epsilon, delta)-differentially private under `releases.adjacency`, the worse of
    both directions counted.

    Args:
        releases: What is released.
        delta: In (0, 1).
        grid: Spacing of the discretised privacy losses.

    Raises:
        ValueError: If delta is not in (0, 1).

    Reference: Koskela et al. 2020, arXiv 1906.03049; Doroshenko et al. 2022, arXiv 2207.04380.

    Example:
        >>> round(epsilon_pld(Releases(noise_multiplier=1.0, sample_rate=0.1, sampled=100), 1e-5), 3)
        7.047
    """
    _check_delta(delta)
    return _epsilon_at(_composed(releases, grid), delta)


def epsilon_rdp(releases: Releases, delta: float) -> float:
    """Return an epsilon at this delta by Renyi differential privacy: valid, and usually larger than by PLD.

    For a replaced record the divergence is integrated between the two mixtures that dominate all others.

    Args:
        releases: What is released.
        delta: In (0, 1).

    Raises:
        ValueError: If delta is not in (0, 1).

    Reference: Mironov, Talwar, Zhang 2019, arXiv 1908.10530; Canonne, Kamath, Steinke 2020, arXiv 2004.00010,
        Proposition 12 (conversion).
    """
    _check_delta(delta)
    divergences = _divergences(releases, _ORDERS)
    _, best = rdp.compute_epsilon(_ORDERS, divergences, delta)
    # The optimum over all orders lies beside the best whole one; orders below 2 may not converge.
    tenths = tuple(t / 10 for t in range(10 * int(best) - 9, 10 * int(best) + 10) if t > 20 and t % 10)
    orders = (*_ORDERS, *tenths) if best <= 32 else _ORDERS
    return _rdp(releases, delta, tuple(sorted(orders)))


def privacy_curve(releases: Releases, *, grid: float | None = None, points: int = CURVE_POINTS) -> PrivacyCurve:
    """Return the privacy profile: (epsilon, delta) pairs, epsilon rising from 0 until delta is below 1e-9.

    Guarantee: every pair holds for the worse of both directions of `releases.adjacency`.

    Args:
        releases: What is released.
        grid: Spacing of the discretised privacy losses; None for `grid_for(releases)`.
        points: Number of pairs, at least 2.
    """
    loss = _composed(releases, grid_for(releases) if grid is None else grid)
    last = _epsilon_at(loss, CURVE_DELTA / 2)
    epsilons = np.linspace(0.0, max(last, 1e-6), points)
    deltas = np.minimum.accumulate(np.clip(loss.get_delta_for_epsilon(epsilons), 0.0, 1.0))
    return tuple(zip(epsilons.tolist(), deltas.tolist(), strict=True))


def calibrate_noise_multiplier(epsilon: float, delta: float, schedule: Iterable[Releases]) -> float:
    """Return the least noise multiplier that keeps every composition of a schedule within (epsilon, delta).

    Guarantee: no composition of the schedule exceeds epsilon at delta, by PLD on `grid_for`; the worst one lies less
    than 0.2 % below it.

    | case                                          | result                                              |
    |-----------------------------------------------|-----------------------------------------------------|
    | a budget so large that 0.1 suffices           | 0.1, less budget used than allowed                  |
    | several compositions                          | the one that needs most noise decides               |

    Args:
        epsilon: Budget, > 0 and finite.
        delta: In (0, 1).
        schedule: One composition for each client; their noise multipliers are ignored.

    Raises:
        ValueError: If epsilon or delta is out of its range, or the schedule is empty.
    """
    if not 0 < epsilon < math.inf:
        raise ValueError(f"Expected epsilon={epsilon} > 0 and finite.")
    _check_delta(delta)
    worst = _undominated(schedule)
    if not worst:
        raise ValueError("Expected a schedule of at least one composition: nothing is released.")
    noise = SMALLEST_NOISE
    for one in sorted(worst, key=lambda one: (one.sampled + one.known) * one.sample_rate**2, reverse=True):
        if _budget(one, noise, delta) > epsilon:
            noise = _calibrate_one(one, epsilon, delta)
    return noise


def _epsilon_at(loss: pld.PrivacyLossDistribution, delta: float) -> float:
    """Return epsilon at this delta; the library divides by vanishing masses on its way, harmlessly."""
    with np.errstate(over="ignore"):
        return float(loss.get_epsilon_for_delta(delta))


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"Expected 0 < delta={delta} < 1.")


@lru_cache(maxsize=16)
def _one_release(z: float, sample_rate: float, adjacency: Adjacency, grid: float) -> pld.PrivacyLossDistribution:
    """Return the privacy loss distribution of one release."""
    return pld.from_gaussian_mechanism(
        standard_deviation=z,
        value_discretization_interval=grid,
        sampling_prob=sample_rate,
        neighboring_relation=_RELATIONS[adjacency],
    )


@lru_cache(maxsize=8)
def _composed(releases: Releases, grid: float) -> pld.PrivacyLossDistribution:
    """Return the privacy loss distribution of the whole composition."""
    z, adjacency = releases.noise_multiplier, releases.adjacency
    # A numpy integer would overflow in the size estimate of `self_compose`, which then takes a very slow path.
    sampled, known = int(releases.sampled), int(releases.known)
    if releases.sample_rate == 1:
        sampled, known = 0, sampled + known
    # Gaussian releases without sampling compose to one with less noise.
    plain = _one_release(z / math.sqrt(known), 1.0, adjacency, grid) if known else None
    if not sampled:
        return plain
    hidden = _one_release(z, releases.sample_rate, adjacency, grid).self_compose(sampled)
    return hidden if plain is None else hidden.compose(plain)


def _divergences(releases: Releases, orders: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Return the composition's Renyi divergence at each order, the worse direction of its adjacency."""
    z, rate, adjacency = releases.noise_multiplier, releases.sample_rate, releases.adjacency
    sensitivity = 1 if adjacency == "add-remove" else 2
    plain = np.asarray(orders, dtype=np.float64) * sensitivity**2 / (2 * z**2)
    if rate == 1 or not releases.sampled:
        return (releases.sampled + releases.known) * plain
    hidden = _added(z, rate, orders) if adjacency == "add-remove" else _replaced(z, rate, orders)
    return releases.sampled * hidden + releases.known * plain


@lru_cache(maxsize=256)
def _added(z: float, sample_rate: float, orders: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Return one subsampled release's Renyi divergence at each order, for a record more or less."""
    accountant = rdp.RdpAccountant(orders)
    accountant.compose(dp_event.PoissonSampledDpEvent(sample_rate, dp_event.GaussianDpEvent(z)))
    return np.asarray(accountant.rdp)


@lru_cache(maxsize=256)
def _replaced(z: float, sample_rate: float, orders: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Return the same for a replaced record, between the mixtures with the record at +1 and at -1, by quadrature."""
    result = []
    for order in orders:
        # P^order Q^(1 - order) has its last bump at 2 order - 1, of width z; trapezoids converge fast on it.
        x = np.arange(-2 - 12 * z, 2 * order + 12 * z, z / 8)
        upper, lower = (
            np.logaddexp(
                math.log1p(-sample_rate) - x**2 / (2 * z**2), math.log(sample_rate) - (x - at) ** 2 / (2 * z**2)
            )
            for at in (1.0, -1.0)
        )
        scale = math.log(z / 8) - math.log(z * math.sqrt(2 * math.pi))
        result.append((special.logsumexp(order * upper + (1 - order) * lower) + scale) / (order - 1))
    return np.asarray(result)


def _rdp(releases: Releases, delta: float, orders: tuple[float, ...]) -> float:
    """Return epsilon by Renyi divergences at these orders."""
    return float(rdp.compute_epsilon(orders, _divergences(releases, orders), delta)[0])


def _undominated(schedule: Iterable[Releases]) -> list[Releases]:
    """Drop compositions that another one of the schedule exceeds in every respect."""
    each = list(dict.fromkeys(replace(one, noise_multiplier=1.0) for one in schedule))

    def exceeds(one: Releases, other: Releases) -> bool:
        pairs = ((one.sample_rate, other.sample_rate), (one.known, other.known), (one.sampled, other.sampled))
        return one.adjacency == other.adjacency and all(mine >= its for mine, its in pairs)

    return [one for one in each if not any(exceeds(other, one) and other != one for other in each)]


def _budget(releases: Releases, noise: float, delta: float) -> float:
    """Return epsilon at this noise multiplier, on the coarse grid."""
    trial = replace(releases, noise_multiplier=noise)
    return epsilon_pld(trial, delta, grid=grid_for(trial))


def _calibrate_one(releases: Releases, epsilon: float, delta: float) -> float:
    """Return the noise multiplier for one composition, which needs more than the smallest."""
    low, high = _bracket(releases, epsilon, delta)
    above, below = _budget(releases, low, delta) - epsilon, _budget(releases, high, delta) - epsilon
    aim = -_SHARP / 2 * epsilon
    while below < 2 * aim and high / low > 1 + 1e-5:
        # The secant in log z, kept off the ends so that the bracket shrinks from both sides.
        share = min(max((above - aim) / (above - below), 0.02), 0.98)
        middle = _rounded_up(low * (high / low) ** share)
        if not low < middle < high:
            break
        gap = _budget(releases, middle, delta) - epsilon
        low, above, high, below = (middle, gap, high, below) if gap > 0 else (low, above, middle, gap)
    return high


def _bracket(releases: Releases, epsilon: float, delta: float) -> tuple[float, float]:
    """Return noise multipliers whose budgets lie above and at or below epsilon; RDP finds the neighbourhood."""
    high = SMALLEST_NOISE
    while _rdp(replace(releases, noise_multiplier=high), delta, _ORDERS) > epsilon:
        high *= 1.25
    high = _rounded_up(high)
    while _budget(releases, high, delta) > epsilon:
        high = _rounded_up(1.25 * high)
    low = high / 1.25
    while low > SMALLEST_NOISE and _budget(releases, low, delta) <= epsilon:
        low, high = low / 1.25, _rounded_up(low)
    return max(low, SMALLEST_NOISE), high


def _rounded_up(noise: float) -> float:
    """Return the least number of six significant digits that is not below `noise`."""
    digits = 5 - math.floor(math.log10(noise))
    scale = 10.0**digits
    return round(math.ceil(noise * scale - 1e-6) / scale, max(digits, 0))
