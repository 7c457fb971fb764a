"""The ceilings of an audit: what the claimed guarantees allow any attack, at each setting and between them."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator

from qfl_sec.ceilings import membership_ceiling, reconstruction_ceiling
from qfl_sec.contracts import Defense, Guarantee, Question, Setup
from qfl_sec.evidence import Evidence
from qfl_sec.experiment import Experiment, setting_id
from qfl_sec.results import Ceiling, CeilingCurve, Measurement
from qfl_sec.scoring import STRICT

DRAWN_POINTS = 161
"""Points of a drawn ceiling."""

BETWEEN = 2
"""Budgets between two tested ones at which a drawn ceiling is computed; the rest is interpolated."""


def ceilings_of(evidence: Evidence, measurements: Sequence[Measurement]) -> list[Ceiling]:
    """Return the ceiling of each measurement whose setting claims a guarantee against its adversary.

    The weakest guarantee over clients and seeds counts. Nothing is proven where a training claims nothing.
    """
    found: dict[tuple[str, str, Question, str], Ceiling] = {}
    guessing: dict[tuple[str, str], float] = {}
    for one in measurements:
        if one.reconstruction is not None:
            place = (one.variant, one.setting)
            guessing[place] = max(guessing.get(place, 0.0), one.reconstruction.guess_probability_high)
    for one in measurements:
        at = _read_at(one, guessing.get((one.variant, one.setting)))
        claims = [
            [claim for claim in trained.metadata.guarantees if claim.adversary == one.adversary]
            for trained in evidence.trainings(one.variant, one.setting)
        ]
        if at is None or not claims or not all(claims):
            continue
        rate = max(bound(claim, one.question, at) for claimed in claims for claim in claimed)
        where = (one.variant, one.setting, one.question, one.adversary)
        if where not in found or rate > found[where].rate:
            found[where] = Ceiling(
                variant=one.variant,
                setting=one.setting,
                question=one.question,
                adversary=one.adversary,
                rate=rate,
                at=at,
            )
    return list(found.values())


def bound(claim: Guarantee, question: Question, at: float) -> float:
    """Return the highest success rate that a guarantee allows.

    Args:
        claim: The guarantee.
        question: Membership is a game over records in or out of the batches; a reconstruction's targets are in them.
        at: False positive rate, or the success of the best fixed guesses.
    """
    if question == "membership":
        return membership_ceiling(claim.curve, at)
    return reconstruction_ceiling(claim.in_batch_curve, at)


def _read_at(one: Measurement, guessing: float | None) -> float | None:
    """Return where a measurement's ceiling is read; None where that is unknown.

    A question that was not tested counts as asked the usual way: at the nominal false positive rate, or with as many
    guesses as an attack on the same setting made.
    """
    if one.membership is not None:
        return one.membership.false_positive_rate_high
    if one.reconstruction is not None:
        return one.reconstruction.guess_probability_high
    if one.question == "linkage":
        return None  # a guarantee for records bounds nothing about clients
    return STRICT if one.question == "membership" else guessing


def drawn_curves(
    evidence: Evidence, variant: str, experiment: Experiment, ceilings: Sequence[Ceiling]
) -> list[CeilingCurve]:
    """Return ceilings between the tested budgets, for drawing.

    A defense with a field `epsilon` is calibrated anew at `BETWEEN` budgets between any two tested ones, for the
    schedule of the first seed; a monotone interpolation in log-log joins these and the exact ceilings at the tested.
    """
    families: dict[str, list[Any]] = {}
    for defense in experiment.defenses:
        if isinstance(getattr(defense, "epsilon", None), float | int):
            families.setdefault(defense.name, []).append(defense)
    curves: list[CeilingCurve] = []
    for family in families.values():
        family.sort(key=lambda defense: float(defense.epsilon))
        budgets = [float(defense.epsilon) for defense in family]
        trained = evidence.trainings(variant, setting_id(family[0]))
        if len(set(budgets)) < max(2, len(family)) or not trained:
            continue
        settings = [setting_id(defense) for defense in family]
        own = [one for one in ceilings if one.variant == variant and one.setting in settings]
        claims = {
            epsilon: _claims(replace(family[0], epsilon=epsilon), trained[0].metadata.setup)
            for epsilon in _budgets_between(budgets)
        }
        for question, adversary in sorted({(one.question, one.adversary) for one in own}):
            exact = {one.setting: one for one in own if (one.question, one.adversary) == (question, adversary)}
            if set(exact) != set(settings):
                continue
            tested = {epsilon: exact[setting] for epsilon, setting in zip(budgets, settings, strict=True)}
            visible_claims = {
                epsilon: [claim for claim in found if claim.adversary == adversary] for epsilon, found in claims.items()
            }
            curves.append(_joined(tested, visible_claims, family[0].name))
    return curves


def _claims(defense: Defense, setup: Setup) -> tuple[Guarantee, ...]:
    return defense.prepare(setup).guarantees(setup)


def _budgets_between(budgets: Sequence[float]) -> list[float]:
    """Return `BETWEEN` budgets inside each gap of the rising ones, evenly on a log scale."""
    inside = [np.geomspace(low, high, BETWEEN + 2)[1:-1] for low, high in pairwise(budgets)]
    return [float(epsilon) for epsilon in np.concatenate(inside)]


def _joined(tested: dict[float, Ceiling], claims: dict[float, list[Guarantee]], defense: str) -> CeilingCurve:
    """Return the curve through the exact ceilings and through those of the claims at further budgets."""
    first = next(iter(tested.values()))
    points = {epsilon: one.rate for epsilon, one in tested.items()}
    for epsilon, found in claims.items():
        at = float(np.interp(np.log(epsilon), np.log(list(tested)), [one.at for one in tested.values()]))
        points[epsilon] = max(bound(claim, first.question, at) for claim in found)
    known = np.array(sorted(points.items()))  # (points, 2)
    curve = PchipInterpolator(np.log(known[:, 0]), np.log(np.clip(known[:, 1], 1e-12, 1.0)))
    budgets = np.geomspace(known[0, 0], known[-1, 0], DRAWN_POINTS)
    rates = np.minimum(1.0, np.exp(curve(np.log(budgets))))
    return CeilingCurve(
        variant=first.variant,
        defense=defense,
        question=first.question,
        adversary=first.adversary,
        epsilon=tuple(float(epsilon) for epsilon in budgets),
        rate=tuple(float(rate) for rate in rates),
    )
