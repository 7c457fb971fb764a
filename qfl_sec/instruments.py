"""Did the instruments work? Checks of the workbench itself, made on this very run; one failure voids all verdicts."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qfl_sec.evidence import Trained
from qfl_sec.intervals import clopper_pearson
from qfl_sec.results import GuaranteeEntry, Instrument, Measurement

GRADIENT_GAP = 1e-4
"""Largest tolerated gap between vectorised and looped per-record gradients, relative; single precision stays below."""

PLANTED_SHARE = 0.9
"""Share of planted leaks that an attack must find."""

FALSE_ALARM = 0.01
"""Probability that sound controls fail their check, over all measurements together."""


@dataclass(frozen=True, kw_only=True)
class Planted:
    """What an attack found of the leaks planted for it: in sums of updates, or in updates, models or circuits."""

    attack: str
    found: int
    planted: int
    sums: bool = False


def check_instruments(
    trained: Sequence[Trained],
    measurements: Sequence[Measurement],
    guarantees: Sequence[GuaranteeEntry],
    planted: Sequence[Planted] = (),
) -> list[Instrument]:
    """Return every check that this run allows.

    Args:
        trained: The finished trainings.
        measurements: All of them, with their controls.
        guarantees: All of them, each by two accountants.
        planted: What each attack found of leaks planted for it.
    """
    checks = [_gradients(trained), *(_planted(one) for one in planted if one.planted)]
    membership = [one for one in measurements if one.membership is not None]
    if membership:
        checks.append(_membership_control(membership))
    reconstruction = [one for one in measurements if one.reconstruction is not None]
    if reconstruction:
        checks.append(_reconstruction_control(reconstruction))
    linkage = [one for one in measurements if one.question == "linkage" and one.success is not None]
    if linkage:
        checks.append(_linkage_control(linkage))
    doubly_accounted = [one for one in guarantees if one.epsilon_rdp is not None]
    if doubly_accounted:
        checks.append(_accountants(doubly_accounted))
    return checks


def _gradients(trained: Sequence[Trained]) -> Instrument:
    gap = max(one.metadata.gradient_gap for one in trained)
    norm = min(one.metadata.gradient_norm for one in trained)
    return Instrument(
        id="gradient_conformance",
        label="Per-record gradients equal the loop",
        result=f"largest gap {gap:.1e}, smallest norm {norm:.1e}, in {len(trained)} trainings",
        required=f"gap below {GRADIENT_GAP:.0e}, norm above 0",
        passed=gap < GRADIENT_GAP and norm > 0,
    )


def _planted(one: Planted) -> Instrument:
    """An attack that misses leaks made for it proves nothing by finding none elsewhere."""
    least = math.ceil(PLANTED_SHARE * one.planted)
    return Instrument(
        id=f"planted_leak_{one.attack}{'_in_sums' if one.sums else ''}",
        label=f"Leaks planted for {one.attack} are found{' in sums' if one.sums else ''}",
        result=f"{one.found} of {one.planted}",
        required=f"at least {least} of {one.planted}",
        passed=one.found >= least,
    )


def _membership_control(measured: Sequence[Measurement]) -> Instrument:
    """The control finds members no more often than it accuses non-members, by exact one-sided limits."""
    confidence = 1 - FALSE_ALARM / len(measured)
    worst, passed = 0.0, True
    for one in measured:
        if one.control is None or one.membership is None:
            return _without_control("membership_control", _MEMBERSHIP_LABEL)
        low, _ = clopper_pearson(one.control.k, one.control.n, confidence=confidence)
        _, allowed = clopper_pearson(
            one.membership.control_false_positives, one.membership.non_members, confidence=confidence
        )
        worst = max(worst, one.control.k / one.control.n)
        passed = passed and low <= allowed
    return Instrument(
        id="membership_control",
        label=_MEMBERSHIP_LABEL,
        result=f"at most {100 * worst:.1f}% found, in {_counted(measured, 'measurement')}",
        required="the rate of false accusations",
        passed=passed,
    )


def _reconstruction_control(measured: Sequence[Measurement]) -> Instrument:
    """The control rebuilds no more than the best fixed guesses can hit."""
    worst, highest, passed = 0.0, 0.0, True
    for one in measured:
        if one.control is None or one.reconstruction is None:
            return _without_control("reconstruction_control", _RECONSTRUCTION_LABEL)
        worst = max(worst, one.control.k / max(1, one.control.n))
        highest = max(highest, one.reconstruction.guess_probability_high)
        passed = passed and one.control.low <= one.reconstruction.guess_probability_high
    return Instrument(
        id="reconstruction_control",
        label=_RECONSTRUCTION_LABEL,
        result=f"at most {100 * worst:.1f}% rebuilt, in {_counted(measured, 'measurement')}",
        required=f"at most {100 * highest:.1f}%, what the best fixed guesses can hit",
        passed=passed,
    )


def _linkage_control(measured: Sequence[Measurement]) -> Instrument:
    """The control names senders no more often than guessing.

    Hits of one round come together: their variance is k / (k - 1) times that of independent ones, as of the fixed
    points of a random permutation of k, hence at most twice. Half as many trials allow for that.
    """
    confidence = 1 - FALSE_ALARM / len(measured)
    worst, guessed, passed = 0.0, 0.0, True
    for one in measured:
        if one.control is None or one.guess is None:
            return _without_control("linkage_control", _LINKAGE_LABEL)
        low, _ = clopper_pearson(one.control.k / 2, one.control.n / 2, confidence=confidence)
        worst = max(worst, one.control.k / one.control.n)
        guessed = max(guessed, one.guess.high)
        passed = passed and low <= one.guess.high
    return Instrument(
        id="linkage_control",
        label=_LINKAGE_LABEL,
        result=f"at most {100 * worst:.1f}% named, in {_counted(measured, 'measurement')}",
        required=f"the {100 * guessed:.1f}% of guessing",
        passed=passed,
    )


_LINKAGE_LABEL = "Updates that are everybody's are no one's"
_MEMBERSHIP_LABEL = "Scores for the wrong client or record find no members"
_RECONSTRUCTION_LABEL = "An unrelated update rebuilds nothing"


def _without_control(name: str, label: str) -> Instrument:
    return Instrument(
        id=name,
        label=label,
        result="no control: nothing unrelated to compare with, as in a federation of one client",
        required="a control",
        passed=False,
    )


def _accountants(guarantees: Sequence[GuaranteeEntry]) -> Instrument:
    """The tighter accountant never exceeds the looser one by more than its rounding."""
    pairs = [(one.epsilon, one.epsilon_rdp) for one in guarantees if one.epsilon_rdp is not None]
    closest = max(pairs, key=lambda pair: pair[0] / pair[1])
    return Instrument(
        id="accountants_agree",
        label="Two accountants agree",
        result=f"PLD {closest[0]:.3f}, RDP {closest[1]:.3f} at the closest, of {_counted(pairs, 'guarantee')}",
        required="PLD at most RDP",
        passed=all(tight <= loose * 1.005 for tight, loose in pairs),
    )


def _counted(things: Iterable[object], noun: str) -> str:
    count = sum(1 for _ in things)
    return f"{count} {noun}{'' if count == 1 else 's'}"
