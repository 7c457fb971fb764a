"""What a guarantee claims, held against what was measured: one record's share, the budget, and a membership game.

Covered are guarantees for single records whose mechanism is the gradient hook. Whatever acts elsewhere is reported as
not applicable, with the reason, and remains its author's to show.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from qfl_sec.accounting import Releases, calibrate_noise_multiplier, epsilon_pld, grid_for
from qfl_sec.ceilings import membership_ceiling
from qfl_sec.contracts import Defense, Guarantee, MechanismEvidence, PrivacyCurve
from qfl_sec.intervals import clopper_pearson
from qfl_sec.testing.bench import BATCH, CLIENTS, PARAMETERS, SLOTS, Bench, first_slots, one_round, release
from qfl_sec.testing.noise import Noise
from qfl_sec.testing.scorecard import LEVEL, Finding, SkippedError

SCALES = (0.0, 1e-3, 0.1, 1.0, 10.0, 1e3, 1e6)
"""Norms of the record that is added, from nothing to absurd."""

CLIMBS = 60
"""Random steps from the worst pair of batches towards a worse one."""

TRIALS = 4000
"""Calls with, and as many without, the record that the audit looks for; each gives one release a client."""

THRESHOLDS = 8

SLACK = 0.01
"""Share by which a claim may fall short of what is measured: grids of accountants, early ends of calibrations."""


@dataclass(frozen=True)
class Pair:
    """Two batches that differ by one record, and how far they move the release.

    Attributes:
        batch: (slots, parameters), the record last.
        records: How many there are without it.
        distance: L2 norm of the difference over all clients.
    """

    batch: Tensor
    records: int
    distance: float


class Privacy:
    """A defense's guarantee, and the measurements it is held against."""

    def __init__(self, bench: Bench, noise: Noise) -> None:
        self.bench, self.noise = bench, noise

    @cached_property
    def claims(self) -> tuple[Guarantee, ...]:
        """The guarantees that are covered.

        Raises:
            SkippedError: If there are none.
        """
        if not self.bench.guarantees:
            raise SkippedError("It claims no guarantee.")
        kind = type(self.bench.defense)
        if kind.gradient is Defense.gradient and (
            kind.update is not Defense.update or kind.aggregate is not Defense.aggregate
        ):
            raise SkippedError("Its mechanism acts on updates or their sum; measured here is the gradient hook.")
        claims = tuple(claim for claim in self.bench.guarantees if claim.unit == "record")
        if not claims:
            raise SkippedError("It protects whole clients; measured here are guarantees for single records.")
        return claims

    @cached_property
    def noise_cancels(self) -> bool:
        """Whether two calls from one generator state differ by what the records do alone."""
        zeros = torch.zeros(CLIENTS, SLOTS, PARAMETERS, dtype=torch.float64)
        calls = (
            release(self.bench.prepared, zeros, first_slots(records), self.bench.generator("pair"))
            for records in (BATCH - 1, BATCH)
        )
        return torch.equal(*calls)

    @cached_property
    def pairs(self) -> dict[float, Pair]:
        """The worst pair found for each norm of the record."""
        sizes = (0, 1, BATCH - 1, SLOTS - 1) if self.bench.setup.sampling == "poisson" else (BATCH - 1,)
        worst: dict[float, Pair] = {}
        for scale in SCALES:
            tried = [
                self.pair(torch.cat([others[:records], scale * record.unsqueeze(0)]), records)
                for record in _directions(self.bench)
                for others in _companies(record, self.bench)
                for records in sizes
            ]
            worst[scale] = max(tried, key=lambda pair: pair.distance)
        return worst

    @cached_property
    def worst(self) -> Pair:
        """The pair that moves the release furthest, after some climbing."""
        best = max(self.pairs.values(), key=lambda pair: pair.distance)
        generator = self.bench.generator("climb")
        for step in range(CLIMBS):
            size = 10.0 ** -(step % 4)
            kick = torch.randn(best.batch.shape, generator=generator, dtype=torch.float64)
            norms = best.batch.norm(dim=-1, keepdim=True)
            tried = self.pair(best.batch + size * norms * kick / PARAMETERS**0.5, best.records)
            best = max(best, tried, key=lambda pair: pair.distance)
        return best

    def pair(self, batch: Tensor, records: int) -> Pair:
        """Measure how far one client's release moves when the last record of its batch is left out."""
        given = torch.zeros(CLIENTS, SLOTS, PARAMETERS, dtype=torch.float64)
        given[0, : len(batch)] = batch
        before, after = (self._release(given, count) for count in (records, len(batch)))
        return Pair(batch=batch, records=records, distance=float((after - before).norm()))

    def _release(self, given: Tensor, records: int) -> Tensor:
        mask = first_slots(1)
        mask[0] = torch.arange(SLOTS) < records
        if self.noise_cancels:
            return release(self.bench.prepared, given, mask, self.bench.generator("pair"))
        return self.bench.prepared.expected_gradient(given.clone(), mask)

    @property
    def bounded(self) -> bool:
        """Whether a record's share stops growing."""
        return self.pairs[1e6].distance <= 1.001 * max(self.pairs[1e3].distance, self.pairs[10.0].distance) + 1e-12

    def releases(self, claim: Guarantee, client: int, noise_multiplier: float) -> Releases:
        """Return what a client releases over the training of the bench."""
        return Releases(
            noise_multiplier=noise_multiplier,
            sample_rate=self.bench.setup.sample_rate(client),
            sampled=self.bench.setup.releases(client),
            adjacency=claim.adjacency,
        )

    def clients(self, claim: Guarantee) -> list[int]:
        """Return whose records a guarantee protects."""
        setup = self.bench.setup
        return [claim.client] if claim.client is not None else [c for c in range(setup.clients) if setup.releases(c)]


def _directions(bench: Bench) -> list[Tensor]:
    """Return unit vectors (parameters,): even, along one axis, random, and the opposite of the first."""
    even = torch.full((PARAMETERS,), PARAMETERS**-0.5, dtype=torch.float64)
    axis = torch.eye(PARAMETERS, dtype=torch.float64)[0]
    drawn = torch.randn(PARAMETERS, generator=bench.generator("direction"), dtype=torch.float64)
    return [even, axis, drawn / drawn.norm(), -even]


def _companies(record: Tensor, bench: Bench) -> list[Tensor]:
    """Return what else may be in the batch (slots, parameters): nothing, the like, the opposite, anything, giants."""
    like = record.expand(SLOTS, PARAMETERS)
    return [torch.zeros_like(like), like, -like, bench.gradients("company")[0], 1e4 * like, -1e4 * like]


def clipping(privacy: Privacy) -> Finding:
    """One record's share of a release must stay bounded, however large its gradient."""
    privacy.claims  # noqa: B018 - skips where nothing is claimed
    large, huge = privacy.pairs[1e3].distance, privacy.pairs[1e6].distance
    passed = privacy.bounded
    return Finding(
        passed=passed,
        measured=f"a gradient of norm 1e3 moves the release by {large:.4g}, one of 1e6 by {huge:.4g}",
        expected="no growth",
        reason="One record's share is bounded."
        if passed
        else "One record's share grows with its gradient: nothing is clipped. Scale each record's gradient down to a "
        "norm before summing.",
    )


def sensitivity(privacy: Privacy) -> Finding:
    """The largest share that a record can have must be at most the one that the guarantee counts on."""
    privacy.claims  # noqa: B018
    if not privacy.bounded:
        raise SkippedError("One record's share has no bound: see clipping.")
    bound, source = _claimed_bound(privacy)
    found = privacy.worst
    passed = found.distance <= bound * (1 + SLACK)
    return Finding(
        passed=passed,
        measured=f"{found.distance:.5g}, with a record of norm {float(found.batch[-1].norm()):.3g} "
        f"beside {found.records} others",
        expected=f"at most {bound:.5g}, {source}",
        reason="No record moves the release further than the guarantee counts on."
        if passed
        else "A record can move the release further than the guarantee counts on. Clip by the L2 norm of the whole "
        "gradient, and divide the sum by a public number.",
    )


def _claimed_bound(privacy: Privacy) -> tuple[float, str]:
    """Return the bound that a defense's premises state; else the largest under which its epsilon would hold."""
    low, high = 1e-12, 1e12
    if not _turns(privacy, low, high):
        return _implied_bound(privacy), "which its epsilon leaves room for"
    while high / low > 1 + 1e-9:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if _turns(privacy, low, middle) else (middle, high)
    return high, "which its premises state"


def _turns(privacy: Privacy, small: float, large: float) -> bool:
    """Return whether a premise holds for the small share of a record and not for the large one."""

    def verdicts(largest: float) -> list[bool | None]:
        prepared = privacy.bench.prepared
        evidence = MechanismEvidence(
            largest_contribution=largest,
            noise_std=prepared.noise_std(),
            noise_draws=1_000_000,
            sampling=privacy.bench.setup.sampling,
        )
        return [premise.passed for premise in prepared.premises(evidence)]

    return any(a is True and b is False for a, b in zip(verdicts(small), verdicts(large), strict=True))


def _implied_bound(privacy: Privacy) -> float:
    """Return the noise over the noise multiplier that the weakest claim needs."""
    if privacy.bench.setup.sampling != "poisson":
        raise SkippedError("Its premises state no bound, and budgets of fixed batches are not computed here.")
    needed = max(
        calibrate_noise_multiplier(claim.epsilon, claim.delta, [privacy.releases(claim, client, 1.0)])
        for claim in privacy.claims
        if claim.adversary == privacy.claims[0].adversary
        for client in privacy.clients(claim)
    )
    return privacy.bench.prepared.noise_std() / needed


def guarantee(privacy: Privacy) -> Finding:
    """The claimed budget must not be below what the measured noise and sensitivity allow."""
    privacy.claims  # noqa: B018
    trouble = _no_budget(privacy)
    if trouble:
        return _judged(False, "no finite epsilon", "a finite one", trouble)
    if privacy.bench.setup.sampling != "poisson":
        raise SkippedError("Budgets of fixed batches are not computed here: no Poisson sampling.")
    if not all("gauss" in claim.mechanism.lower() for claim in privacy.claims):
        raise SkippedError("Its noise is not said to be Gaussian, which is the only kind accounted for here.")
    _, noise = privacy.noise.deviation()
    multiplier = noise / privacy.worst.distance if privacy.worst.distance else math.inf
    shortfalls = [
        (claimed / needed, needed, claimed, what)
        for claim in {(one.client, one.epsilon, one.delta): one for one in privacy.claims}.values()
        for client in privacy.clients(claim)
        for needed, claimed, what in _budgets(privacy, claim, client, multiplier)
    ]
    ratio, needed, claimed, what = min(shortfalls)
    passed = ratio >= 1 - SLACK
    reason = (
        "The measured noise and sensitivity bear out the claimed budget."
        if passed
        else "The guarantee claims less than the measured noise and sensitivity allow: it promises too much."
    )
    return _judged(passed, f"epsilon {needed:.4g} {what}", f"claimed {claimed:.4g}", reason)


def _judged(passed: bool, measured: str, expected: str, reason: str) -> Finding:
    return Finding(passed=passed, measured=measured, expected=expected, reason=reason)


def _no_budget(privacy: Privacy) -> str:
    """Return why no budget holds at all; empty if one may."""
    if not privacy.bounded:
        return "One record's share has no bound (clipping), so that no noise hides it."
    if not bool(privacy.noise.alone.any()):
        return "It claims a guarantee and adds no noise."
    if privacy.noise.dependence:
        return f"The accountant composes independent noise, and this is not ({privacy.noise.dependence})."
    return ""


def _budgets(privacy: Privacy, claim: Guarantee, client: int, multiplier: float) -> list[tuple[float, float, str]]:
    """Return needed and claimed epsilon of a guarantee, and of some points of its curves."""
    if not math.isfinite(multiplier):
        return [(1e-12, claim.epsilon, "by zero sensitivity")]
    released = privacy.releases(claim, client, multiplier)
    known = released.known_in(privacy.bench.setup.local_steps[client])
    grid = grid_for(released)
    asked = [(released, claim.epsilon, claim.delta, f"of client {client} at delta {claim.delta:g}")]
    for curve, composition, name in ((claim.curve, released, "curve"), (claim.in_batch_curve, known, "in-batch curve")):
        asked += [
            (composition, epsilon, delta, f"of client {client} at delta {delta:.2g} of its {name}")
            for epsilon, delta in _points(curve)
        ]
    return [(epsilon_pld(one, delta, grid=grid), max(epsilon, 1e-12), what) for one, epsilon, delta, what in asked]


def _points(curve: PrivacyCurve) -> list[tuple[float, float]]:
    """Return some points of a curve, away from its ends."""
    inside = [(epsilon, delta) for epsilon, delta in curve if epsilon > 0.1 and 1e-7 < delta < 0.5]
    return [inside[len(inside) // 4], inside[3 * len(inside) // 4]] if inside else []


def audit(privacy: Privacy) -> Finding:
    """Nobody may tell the worst record's presence from one release better than the guarantee allows.

    The record that moves the release furthest is in the batch or not; the release is projected on the direction in
    which it moves. Thresholds come from half of the releases, counts from the other half: Clopper-Pearson limits.
    """
    claims = [claim for claim in privacy.claims if claim.in_batch_curve]
    privacy.noise.require_independence()
    if not claims:
        raise SkippedError("Its guarantee has no curve for a record that is known to be in the batch.")
    setup = one_round(privacy.bench.setup)
    prepared = privacy.bench.defense.prepare(setup)
    claim = next((one for one in prepared.guarantees(setup) if one.client in (0, None)), claims[0])
    absent, present = (_projected(privacy, prepared, joined) for joined in (False, True))
    half = len(absent) // 2
    levels = torch.cat([absent[:half], present[:half]]).quantile(torch.linspace(0.05, 0.95, THRESHOLDS).double())
    confidence = 1 - LEVEL / (2 * THRESHOLDS)
    rows = []
    for level in levels:
        hits, alarms = (int((values[half:] > level).sum()) for values in (present, absent))
        found, _ = clopper_pearson(hits, half, confidence=confidence)
        _, accused = clopper_pearson(alarms, half, confidence=confidence)
        epsilon = max(math.log(max(found - claim.delta, 1e-12) / accused), 0.0)
        rows.append((found - membership_ceiling(claim.in_batch_curve, accused), epsilon, found, accused))
    passed = max(rows)[0] <= 0
    excess, epsilon, found, accused = max(rows, key=lambda row: row[1] if passed else row[0])
    return Finding(
        passed=passed,
        measured=f"at least {100 * found:.1f}% found at {100 * accused:.1f}% accused: "
        f"epsilon at least {epsilon:.3g} in one release",
        expected=f"at most {100 * (found - excess):.1f}% found",
        reason="A membership game on single releases stays below the guarantee's ceiling."
        if passed
        else "A membership game on single releases is won more often than the guarantee allows.",
    )


def _projected(privacy: Privacy, prepared: Defense, joined: bool) -> Tensor:
    """Release the worst pair's batch, with or without its record, many times; project on the direction it moves."""
    worst = privacy.worst
    given = torch.zeros(CLIENTS, SLOTS, PARAMETERS, dtype=torch.float64)
    given[:, : len(worst.batch)] = worst.batch
    masks = [first_slots(records) for records in (worst.records, len(worst.batch))]
    before, after = (prepared.expected_gradient(given.clone(), mask.clone())[0] for mask in masks)
    direction = after - before
    if not bool(direction.any()):
        direction = torch.ones_like(direction)
    generator = privacy.bench.generator(f"audit {joined}")
    drawn = [release(prepared, given, masks[joined], generator) for _ in range(TRIALS)]
    along: Tensor = direction / direction.norm()
    return (torch.stack(drawn) @ along).flatten()
