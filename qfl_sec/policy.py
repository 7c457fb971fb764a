"""Rules that fail a pipeline: `update_membership.tpr_at_1pct > 0.1`.

A rule compares one figure of the report's first page, that is of the audited setting, with a number. It reads the
counts and intervals of `results.json`, unrounded. Where several adversaries ran an attack, the one counts that fails
the rule first.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import get_args

from qfl_sec.checking import InputError
from qfl_sec.contracts import Attack
from qfl_sec.intervals import Rate
from qfl_sec.plugins import nearest
from qfl_sec.results import Measurement, Results
from qfl_sec.verdicts import VerdictWord

Figure = Callable[[Measurement], float | None]

COMPARISONS: Mapping[str, Callable[[float, float], bool]] = MappingProxyType(
    {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
)

_RULE = re.compile(
    r"\s*(?P<subject>\w+)\.(?P<measure>\w+)\s*(?P<comparison>[<>]=?)\s*"
    r"(?P<bound>[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)\s*",
    re.ASCII,
)


_PARTS: Mapping[str, Callable[[Rate], float]] = MappingProxyType(
    {"": lambda rate: rate.k / rate.n, "_low": lambda rate: rate.low, "_high": lambda rate: rate.high}
)
"""A rate and the two ends of its 95 % interval, by what is added to its name."""


def _rate_figures(name: str, rate: Callable[[Measurement], Rate | None]) -> dict[str, Figure]:
    def figure(part: Callable[[Rate], float], measured: Measurement) -> float | None:
        found = rate(measured)
        return part(found) if found is not None and found.n else None

    return {name + added: partial(figure, part) for added, part in _PARTS.items()}


def _field(part: str, name: str) -> Figure:
    return lambda measured: getattr(getattr(measured, part), name, None)


MEASURES: Mapping[str, Mapping[str, Figure]] = MappingProxyType(
    {
        "membership": {
            **_rate_figures("tpr_at_1pct", lambda one: one.success),
            **_rate_figures("tpr_at_10pct", lambda one: one.membership.at_ten_percent if one.membership else None),
            "auc": _field("membership", "auc"),
            "auc_low": _field("membership", "auc_low"),
            "auc_high": _field("membership", "auc_high"),
        },
        "reconstruction": {
            **_rate_figures("rebuilt", lambda one: one.success),
            **_rate_figures("exact", lambda one: one.reconstruction.exact if one.reconstruction else None),
            "rmse": _field("reconstruction", "rmse"),
        },
        "linkage": _rate_figures("linked", lambda one: one.success),
    }
)
"""What a rule may say of an attack, by its question."""

GENERAL: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "utility": tuple(f"accuracy{added}" for added in _PARTS),
        "verdicts": tuple(word.replace(" ", "_") for word in get_args(VerdictWord)),
        "instruments": ("failed",),
    }
)
"""What a rule may say of the audited setting as a whole."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What must not be.

    Attributes:
        subject: Name of an attack, or one of `GENERAL`.
        measure: What of it.
        comparison: One of `COMPARISONS`.
        bound: Finite.

    Raises:
        ValueError: If the comparison is unknown or the bound is not finite.
    """

    subject: str
    measure: str
    comparison: str
    bound: float

    def __post_init__(self) -> None:
        if self.comparison not in COMPARISONS:
            raise ValueError(f"Expected comparison={self.comparison!r} to be one of: {', '.join(COMPARISONS)}.")
        if not math.isfinite(self.bound):
            raise ValueError(f"Expected bound={self.bound} to be finite.")

    def __str__(self) -> str:
        return f"{self.subject}.{self.measure} {self.comparison} {self.bound}"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of a rule.

    Attributes:
        rule: The rule.
        value: The figure that it was held against; None if there is none.
        adversary: Whose, of an attack's figure.
        holds: Whether the rule holds, which fails the pipeline; None without a figure.
        reason: Why there is no figure; None where there is one.
    """

    rule: Rule
    value: float | None
    adversary: str | None
    holds: bool | None
    reason: str | None


def parse_rule(text: str, attacks: Sequence[Attack]) -> Rule:
    """Read a rule such as "update_membership.tpr_at_1pct > 0.1".

    Args:
        text: NAME.MEASURE, one of > >= < <=, and a number.
        attacks: Those of the experiment, of which a rule may speak.

    Raises:
        InputError: If it is no rule, or speaks of what the experiment does not measure; the message lists the names.
    """
    place = f"--fail-if {text!r}"
    found = _RULE.fullmatch(text)
    if found is None:
        raise InputError(f"{place}: not a rule. Expected NAME.MEASURE, one of > >= < <=, and a number: a.b > 0.1.")
    known = {**{attack.name: tuple(MEASURES[attack.question]) for attack in attacks}, **GENERAL}
    subject, measure = found["subject"], found["measure"]
    if subject not in known:
        raise InputError(
            f"{place}: unknown name {subject!r}. {nearest(subject, known)}Known: {', '.join(known)}; an attack has to "
            "stand in the experiment."
        )
    if measure not in known[subject]:
        raise InputError(
            f"{place}: unknown measure {measure!r}. {nearest(measure, known[subject])}"
            f"{subject} has: {', '.join(known[subject])}."
        )
    try:
        return Rule(subject=subject, measure=measure, comparison=found["comparison"], bound=float(found["bound"]))
    except ValueError as error:
        raise InputError(f"{place}: {error}") from None


def answer(rule: Rule, results: Results) -> Answer:
    """Hold a rule against what an audit found."""
    figures, reasons = _general(rule, results) if rule.subject in GENERAL else _of_attack(rule, results)
    if not figures:
        reason = next(iter(reasons), f"there is no {rule.measure} at the audited setting")
        return Answer(rule=rule, value=None, adversary=None, holds=None, reason=reason)
    worst = max if rule.comparison.startswith(">") else min
    value, adversary = worst(figures, key=lambda one: one[0])
    holds = COMPARISONS[rule.comparison](value, rule.bound)
    return Answer(rule=rule, value=value, adversary=adversary, holds=holds, reason=None)


_Found = tuple[list[tuple[float, str | None]], list[str]]


def _of_attack(rule: Rule, results: Results) -> _Found:
    """Return the figure of every adversary who ran the attack at the audited setting, and why others have none."""
    figures: list[tuple[float, str | None]] = []
    reasons = []
    for measured in results.measurements:
        if measured.attack == rule.subject and _audited(results, measured.variant, measured.setting):
            value = MEASURES[measured.question][rule.measure](measured) if measured.status == "measured" else None
            if value is not None:
                figures.append((value, measured.adversary))
            elif measured.reason is not None:
                reasons.append(measured.reason)
    return figures, reasons


def _general(rule: Rule, results: Results) -> _Found:
    if rule.subject == "instruments":
        return [(sum(not one.passed for one in results.instruments), None)], []
    if rule.subject == "verdicts":
        word = rule.measure.replace("_", " ")
        here = [one for one in results.verdicts if _audited(results, one.variant, one.setting)]
        return [(sum(one.verdict == word for one in here), None)], []
    part = _PARTS[rule.measure.removeprefix("accuracy")]
    found = (one.accuracy for one in results.utility if _audited(results, one.variant, one.setting))
    return [(part(rate), None) for rate in found if rate.n], []


def _audited(results: Results, variant: str, setting: str) -> bool:
    """Return whether the report's first page shows this."""
    return any(one.id == variant and one.shown for one in results.variants) and any(
        one.id == setting and one.audited for one in results.settings
    )
