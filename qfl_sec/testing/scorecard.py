"""What the conformance kit found: one line a check, as text and as plain values for JSON."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

Status = Literal["passed", "failed", "not applicable"]
T = TypeVar("T")

FALSE_ALARM = 1e-3
"""Probability that a sound plug-in fails any check, over all statistical checks of a scorecard together."""

STATISTICAL_CHECKS = 7
"""How many checks share it, in equal parts."""

LEVEL = FALSE_ALARM / STATISTICAL_CHECKS
"""Probability that one statistical check fails a sound plug-in."""


class SkippedError(Exception):
    """A check has no meaning for this plug-in; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check saw.

    Attributes:
        passed: Whether it is as it should be.
        measured: The figure that was seen.
        expected: What it should be.
        reason: What that means.
    """

    passed: bool
    measured: str
    expected: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check of a scorecard.

    Attributes:
        name: The check's name, the same in every scorecard.
        status: Whether it passed, or why it could not be made.
        measured: The figure that was seen; empty if nothing could be measured.
        expected: What it should be; empty likewise.
        reason: What that means, in words.
    """

    name: str
    status: Status
    measured: str
    expected: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Scorecard:
    """All checks of one plug-in.

    Attributes:
        plugin: Its name.
        kind: Attack, defense or protocol.
        parameters: The parameters it was checked with, as Python shows them.
        checks: Every check, in the order in which it was made.
        false_alarm: Probability that a sound plug-in fails any of them.
    """

    plugin: str
    kind: Literal["attack", "defense", "protocol"]
    parameters: str
    checks: tuple[Check, ...]
    false_alarm: float = FALSE_ALARM

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[str, ...]:
        """Names of the failed checks."""
        return tuple(check.name for check in self.checks if check.status == "failed")

    def text(self) -> str:
        """Return the scorecard for people to read."""
        counted = [sum(check.status == status for check in self.checks) for status in _MARKS]
        return "\n".join(
            [
                f"{self.kind} {self.plugin}: {'passed' if self.passed else 'FAILED'}",
                f"  checked: {self.parameters}",
                *(line for check in self.checks for line in _lines(check)),
                f"  {counted[0]} passed, {counted[1]} failed, {counted[2]} not applicable. "
                + (
                    f"A sound plug-in fails with probability {self.false_alarm:g} at most."
                    if self.false_alarm
                    else "No check leaves anything to chance."
                ),
            ]
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the scorecard as plain values, for JSON."""
        return {"passed": self.passed} | asdict(self) | {"checks": [asdict(check) for check in self.checks]}


_MARKS: dict[Status, str] = {"passed": "ok  ", "failed": "FAIL", "not applicable": "-   "}


def _lines(check: Check) -> Iterator[str]:
    yield f"  {_MARKS[check.status]} {check.name}: {check.reason}"
    if check.measured:
        yield f"         measured {check.measured}; expected {check.expected}"


Listener = Callable[[str, Check | None], None]
"""Told each check's name before it starts (with None), and the check when it is done."""


def silent(name: str, check: Check | None) -> None:
    """Listen and do nothing."""


def make_checks(checks: Iterable[tuple[str, Callable[[T], Finding]]], bench: T, listen: Listener) -> tuple[Check, ...]:
    """Make checks one after the other; what a plug-in raises fails the check it was raised in."""
    made = []
    for name, check in checks:
        listen(name, None)
        made.append(_make(name, check, bench))
        listen(name, made[-1])
    return tuple(made)


def _make(name: str, check: Callable[[T], Finding], bench: T) -> Check:
    try:
        found = check(bench)
    except SkippedError as skipped:
        return Check(name=name, status="not applicable", measured="", expected="", reason=str(skipped))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plug-in may raise anything, SystemExit included
        return Check(
            name=name, status="failed", measured=shown(error), expected="no error", reason="It raises an error here."
        )
    return Check(
        name=name,
        status="passed" if found.passed else "failed",
        measured=found.measured,
        expected=found.expected,
        reason=found.reason,
    )


def shown(error: BaseException) -> str:
    """Return an error's kind and the first line of its message."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:200] if text else 'no message'}"
