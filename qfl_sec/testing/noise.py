"""The noise that a gradient hook adds: how much, and whether each step, client and coordinate gets its own."""

import math
from functools import cached_property

import torch
from scipy import stats
from torch import Tensor

from qfl_sec.testing.bench import BATCH, CLIENTS, PARAMETERS, SLOTS, Bench, first_slots, release
from qfl_sec.testing.scorecard import LEVEL, Finding, SkippedError

RELEASES = 1000
"""Releases from which noise is measured."""

PAIRED = 48
"""Releases of which every two are compared, half of them of another training."""

LAGS = 8
"""Distances between releases over which correlations are averaged."""

DISTINCT = 200
"""Different releases that a correlation between coordinates needs."""

ROUNDING = 1e-9
"""Relative difference that is put down to the order of additions."""


class Noise:
    """Noise measured on the bench; each sample is drawn when it is first needed."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    @cached_property
    def alone(self) -> Tensor:
        """Releases of zero gradients, minus their expectation: (releases, clients, parameters)."""
        return self.residuals(torch.zeros(CLIENTS, SLOTS, PARAMETERS, dtype=torch.float64), BATCH, role="noise")

    @cached_property
    def dependence(self) -> str:
        """Name of the first independence check that fails; empty if none does."""
        for check in (noise_coordinates, noise_steps, noise_clients):
            try:
                if not check(self).passed:
                    return check.__name__
            except SkippedError:
                continue
        return ""

    def residuals(self, per_example: Tensor, records: int, *, role: str, releases: int = RELEASES) -> Tensor:
        """Return released minus expected gradients, two steps a round as a training would: (releases, ...)."""
        prepared, mask = self.bench.prepared, first_slots(records, slots=per_example.shape[1])
        expected = prepared.expected_gradient(per_example.clone(), mask.clone())
        generator = self.bench.generator(role)
        drawn = [release(prepared, per_example, mask, generator, step % 2) for step in range(releases)]
        return torch.stack(drawn) - expected

    def deviation(self) -> tuple[float, float]:
        """Return the noise's standard deviation, and the upper end of its interval."""
        std, width = _deviation(self.alone)
        return std, std * (1 + width * float(stats.norm.isf(LEVEL / 2)))

    def require(self) -> None:
        """Skip a check that has no meaning without noise."""
        if not bool(self.alone.any()):
            raise SkippedError("It adds no noise to zero gradients.")

    def require_independence(self) -> None:
        """Skip a check whose figures presume independent noise."""
        if self.dependence:
            raise SkippedError(f"The noise is not independent, so that no interval holds: see {self.dependence}.")


def _deviation(residuals: Tensor) -> tuple[float, float]:
    """Return a standard deviation by differences of successive releases, and its relative standard error."""
    halves = (residuals[1::2] - residuals[::2]) / math.sqrt(2)
    return float(halves.square().mean().sqrt()), 1 / math.sqrt(2 * halves.numel())


def noise_coordinates(noise: Noise) -> Finding:
    """Coordinates must not share noise."""
    noise.require()
    rows = torch.unique(noise.alone[:, 0], dim=0)
    if len(rows) < DISTINCT:
        raise SkippedError(f"Only {len(rows)} of {RELEASES} releases differ: see noise_steps.")
    unit = rows / rows.norm(dim=0).clamp(min=1e-300)
    between = (unit.T @ unit)[~torch.eye(PARAMETERS, dtype=torch.bool)]
    return _independence(float(between.abs().max()), len(rows), len(between) // 2, "coordinates of a release")


def noise_steps(noise: Noise) -> Finding:
    """No release may repeat, or follow from, the noise of another one, in this training or in another."""
    noise.require()
    if _shared_by_coordinates(noise):
        raise SkippedError("Coordinates share noise, so that releases are alike in any case: see noise_coordinates.")
    other = noise.residuals(
        torch.zeros(CLIENTS, SLOTS, PARAMETERS, dtype=torch.float64), BATCH, role="other training", releases=PAIRED // 2
    )
    several = torch.cat([noise.alone[: PAIRED // 2], other])
    unit = (several / several.norm(dim=-1, keepdim=True).clamp(min=1e-300)).flatten(0, 1)
    release_of = torch.arange(PAIRED).repeat_interleave(CLIENTS)
    apart = release_of.unsqueeze(0) > release_of.unsqueeze(1)
    largest = float((unit @ unit.T)[apart].abs().max())
    first = noise.alone[:, 0]
    lagged = [float((first[:-lag] * first[lag:]).mean() / first.square().mean()) for lag in range(1, LAGS + 1)]
    found = _independence(largest, PARAMETERS, 2 * int(apart.sum()), "steps")
    slow = _independence(max(lagged, key=abs), first[LAGS:].numel(), 2 * LAGS, "steps")
    return found if not found.passed else slow


def _shared_by_coordinates(noise: Noise) -> bool:
    try:
        return not noise_coordinates(noise).passed
    except SkippedError:
        return False


def noise_clients(noise: Noise) -> Finding:
    """Clients must not share noise: whoever sees two of them would subtract it."""
    noise.require()
    if not noise_steps(noise).passed:
        raise SkippedError("The noise repeats itself, so that correlations between clients say nothing: noise_steps.")
    unit = noise.alone.transpose(0, 1).flatten(1)
    unit = unit / unit.norm(dim=-1, keepdim=True).clamp(min=1e-300)
    between = (unit @ unit.T)[~torch.eye(CLIENTS, dtype=torch.bool)]
    largest = between[between.abs().argmax()]
    return _independence(float(largest), unit.shape[1], len(between) // 2, "clients")


def _independence(correlation: float, samples: int, pairs: int, between: str) -> Finding:
    """Judge the largest of `pairs` correlations, each over `samples` independent Gaussian numbers.

    The cosine of two such vectors is symmetric Beta with (samples - 1) / 2, stretched to [-1, 1].
    """
    half = (samples - 1) / 2
    p = min(1.0, 2 * pairs * float(stats.beta.sf((1 + min(1.0, abs(correlation))) / 2, half, half)))
    passed = p > LEVEL
    return Finding(
        passed=passed,
        measured=f"largest correlation between {between} {correlation:.3f}, p = {p:.2g} over {pairs} pairs",
        expected=f"p above {LEVEL:.1e}",
        reason=f"Noise is independent between {between}."
        if passed
        else f"Noise is not independent between {between}: draw all of it from the generator, anew on every call.",
    )


def noise_level(noise: Noise) -> Finding:
    """The noise must be what `noise_std` says: whatever the batch holds, if anything is guaranteed."""
    noise.require_independence()
    claimed = noise.bench.prepared.noise_std()
    normal = noise.bench.gradients("records")
    cases = {f"zero gradients in a batch of {BATCH}": noise.alone}
    if noise.bench.guarantees:
        sizes = (0, 2, BATCH, SLOTS) if noise.bench.setup.sampling == "poisson" else (2, BATCH)
        cases |= {f"{size} records": noise.residuals(normal, size, role=f"noise of {size}") for size in sizes}
        cases["huge gradients"] = noise.residuals(1e3 * normal, BATCH, role="noise of huge")
    tail = float(stats.norm.isf(LEVEL / 2 / len(cases)))
    intervals = {case: (*_deviation(drawn), drawn) for case, drawn in cases.items()}
    gaps = {case: abs(std - claimed) / max(tail * error * std, 1e-12) for case, (std, error, _) in intervals.items()}
    worst = max(gaps, key=lambda case: gaps[case])
    std, error, _ = intervals[worst]
    passed = gaps[worst] <= 1
    return Finding(
        passed=passed,
        measured=f"{std:.5g} +- {tail * error * std:.2g} with {worst}",
        expected=f"noise_std() = {claimed:.5g}",
        reason="The noise is what noise_std() says, whatever the batch holds."
        if passed
        else "The noise differs from noise_std(). Scale it by public numbers alone, such as setup.batch_size, never by "
        "what the batch holds.",
    )


def noise_shape(noise: Noise) -> Finding:
    """Noise that is accounted for as Gaussian must be Gaussian."""
    noise.require()
    if not any("gauss" in claim.mechanism.lower() for claim in noise.bench.guarantees):
        raise SkippedError("It does not claim Gaussian noise.")
    noise.require_independence()
    values = noise.alone.flatten()[:20_000]
    p = float(stats.kstest((values / values.square().mean().sqrt()).numpy(), "norm").pvalue)
    return Finding(
        passed=p > LEVEL,
        measured=f"Kolmogorov-Smirnov p = {p:.2g} over {len(values)} draws",
        expected=f"p above {LEVEL:.1e}",
        reason="The noise is Gaussian." if p > LEVEL else "The noise is not Gaussian, as its guarantee says it is.",
    )


def expected_gradient(noise: Noise) -> Finding:
    """`expected_gradient`, by which attackers model the defense, must be what `gradient` gives on average."""
    noise.require_independence()
    normal = noise.bench.gradients("records")
    worst, p = 0.0, 1.0
    cases = ((1.0, BATCH), (1e3, BATCH), (1.0, SLOTS))
    for scale, records in cases:
        drawn = noise.residuals(scale * normal, records, role=f"mean {scale} {records}", releases=RELEASES // 2)
        mean, std = drawn.mean(0), drawn.std(0)
        worst = max(worst, float(mean.abs().max()))
        visible = (mean.abs() > ROUNDING * scale) & (std <= ROUNDING * scale)
        t = (mean / (std.clamp(min=1e-300) / math.sqrt(len(drawn))))[std > ROUNDING * scale]
        tails = 2 * stats.t.sf(float(t.abs().max()), len(drawn) - 1) * t.numel() * len(cases) if t.numel() else 1.0
        p = 0.0 if bool(visible.any()) else min(p, float(tails))
    return Finding(
        passed=p > LEVEL,
        measured=f"largest mean difference {worst:.3g}, p = {p:.2g}",
        expected=f"p above {LEVEL:.1e}",
        reason="expected_gradient is what gradient gives on average."
        if p > LEVEL
        else "expected_gradient is not what gradient gives on average, so that adaptive attackers are misled.",
    )
