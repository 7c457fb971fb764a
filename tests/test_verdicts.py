import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from qfl_sec.intervals import Rate
from qfl_sec.verdicts import Identifiability, VerdictInputs, judge


def rate(low: float, high: float) -> Rate:
    return Rate(k=round(50 * (low + high)), n=100, low=low, high=high, method="given", clusters=100)


LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Five levels hold every order of five numbers, ties among them: lo, hi, c, t and ch."""

LIMITS = [(low, high) for low in LEVELS for high in LEVELS if low <= high]
INTERVALS = [rate(0.0, 0.04), rate(0.0, 0.05), rate(0.05, 0.2), rate(0.06, 0.3), rate(0.4, 0.6), rate(0.9, 1.0)]
CONTROLS = [None, rate(0.0, 0.03), rate(0.0, 0.06), rate(0.3, 0.5)]
CEILINGS = [None, 0.0, 0.05, 0.06, 0.5, 1.0]
GAMES: list[dict[str, Any]] = [
    {},
    {"non_members": 999, "false_positive_rate": 0.01},
    {"non_members": 1000, "false_positive_rate": 0.01},
    {"identifiable": Identifiability(rank=15, unknowns=16, equations=24)},
    {"identifiable": Identifiability(rank=16, unknowns=16, equations=24)},
]
TOLERANCE = 0.05


def holds(words: str, given: VerdictInputs) -> bool:
    """Say whether one condition of the table holds; every word of it stands for one line here."""
    lo, hi = (given.success.low, given.success.high) if given.success else (None, None)
    ch = given.control.high if given.control else None
    c, t, known = given.ceiling, given.tolerance, given.identifiable
    n0, fpr = given.non_members, given.false_positive_rate
    return {
        "not visible": given.status == "not visible",
        "not tested": given.status in ("not tested", "failed"),
        "lo > c": lo is not None and c is not None and lo > c,
        "n0 FPR < 10": lo is not None and n0 is not None and fpr is not None and round(n0 * fpr, 9) < 10,
        "lo > ch": lo is not None and ch is not None and lo > ch,
        "rank < unknowns": lo is not None and known is not None and known.rank < known.unknowns,
        "lo <= ch and hi <= t": lo is not None and hi is not None and ch is not None and lo <= ch and hi <= t,
        "instrument failed": not given.instruments_passed,
        "contradicted": given.contradicted or (lo is not None and c is not None and lo > c),
        "lo > t": lo is not None and lo > t,
        "c <= t and premises": c is not None and c <= t and given.premises_passed,
        "hi <= t": hi is not None and hi <= t,
        "not visible and premises": given.status == "not visible" and given.premises_passed,
        "always": True,
    }[words]


EVIDENCE = [
    ("not visible", "not visible"),
    ("not tested", "not tested"),
    ("lo > c", "guarantee contradicted"),
    ("n0 FPR < 10", "inconclusive"),
    ("lo > ch", "leak shown"),
    ("rank < unknowns", "not identifiable"),
    ("lo <= ch and hi <= t", "no leak seen"),
    ("always", "inconclusive"),
]
VERDICTS = [
    ("instrument failed", "no verdict"),
    ("contradicted", "no verdict"),
    ("lo > t", "above tolerance"),
    ("c <= t and premises", "within tolerance"),
    ("hi <= t", "tested only"),
    ("not visible and premises", "conditional"),
    ("always", "open"),
]


def expected(given: VerdictInputs) -> tuple[str, str]:
    """The two tables, read from the top: the first condition that holds decides."""
    evidence = next(word for condition, word in EVIDENCE if holds(condition, given))
    return evidence, next(word for condition, word in VERDICTS if holds(condition, given))


def every_case() -> list[tuple[Any, ...]]:
    measured = product(["measured"], INTERVALS, CONTROLS, CEILINGS, GAMES, [True, False], [True, False])
    unmeasured = product(
        ["failed", "not tested", "not visible"], [None], CONTROLS, CEILINGS, GAMES, [True, False], [True, False]
    )
    return [*measured, *unmeasured]


def inputs(
    status: Any,
    success: Rate | None,
    control: Rate | None,
    ceiling: float | None,
    game: dict[str, Any],
    instruments: bool,
    premises: bool,
) -> VerdictInputs:
    return VerdictInputs(
        status=status,
        success=success,
        control=control,
        ceiling=ceiling,
        tolerance=TOLERANCE,
        instruments_passed=instruments,
        premises_passed=premises,
        **game,
    )


def every_order() -> Iterator[VerdictInputs]:
    """Every order of lo, hi, c, t and ch, ties and missing numbers included, with everything else that counts."""
    flags = list(product(GAMES, [True, False], [True, False], [True, False]))
    success, controls = {ends: rate(*ends) for ends in LIMITS}, {high: rate(0.0, high) for high in LEVELS}
    measured = product(success.values(), [None, *LEVELS], LEVELS, [None, *controls.values()])
    unmeasured = product(["failed", "not tested", "not visible"], [None, *LEVELS], LEVELS, [None, controls[0.5]])
    for (status, found), ceiling, tolerance, control in [
        *((("measured", one), *rest) for one, *rest in measured),
        *(((one, None), *rest) for one, *rest in unmeasured),
    ]:
        for game, instruments, premises, contradicted in flags:
            yield VerdictInputs(
                status=status,  # type: ignore[arg-type]
                success=found,
                control=control,
                ceiling=ceiling,
                tolerance=tolerance,
                instruments_passed=instruments,
                premises_passed=premises,
                contradicted=contradicted,
                **game,
            )


def test_every_order_of_limits_ceiling_tolerance_and_control_is_judged_by_the_table() -> None:
    seen = set()
    for given in every_order():
        found = judge(given)
        assert (found.evidence, found.verdict) == expected(given), given
        seen.add((found.evidence, found.verdict))
    assert {verdict for _, verdict in seen} == {word for _, word in VERDICTS}
    assert {evidence for evidence, _ in seen} == {word for _, word in EVIDENCE}


BANNED = re.compile(r"\b(safe|secure|private|anonymous|unhackable|passed|protected)\b", re.IGNORECASE)


def test_no_word_says_more_than_the_evidence() -> None:
    for case in every_case():
        found = judge(inputs(*case))
        assert not BANNED.search(" ".join(found)), found
        if found.verdict == "within tolerance":
            assert case[3] is not None, "only a guarantee bounds"
        if found.evidence == "not visible":
            assert "premises" in found.evidence_reason
        if found.evidence == "not identifiable":
            assert "from one update or sum; more rounds or side knowledge may change this" in found.evidence_reason


def test_a_contradiction_elsewhere_at_the_setting_withdraws_a_verdict_and_keeps_its_evidence() -> None:
    given = inputs("measured", INTERVALS[0], CONTROLS[1], 0.05, {}, True, True)
    assert judge(given).verdict == "within tolerance"
    found = judge(replace(given, contradicted=True))
    assert (found.evidence, found.verdict, found.reason) == ("no leak seen", "no verdict", "guarantee_contradicted")


def test_every_reason_code_is_documented_and_reached() -> None:
    codes = {judge(inputs(*case)).reason for case in every_case()}
    documented = {code for code in (judge.__doc__ or "").split("`") if code.replace("_", "").isalpha() and "_" in code}
    assert codes == documented


def test_reasons_carry_figures_and_fit_a_line() -> None:
    for case in every_case():
        reason = judge(inputs(*case)).evidence_reason
        assert 0 < len(reason) <= 120, reason
    few = judge(inputs("measured", INTERVALS[2], CONTROLS[1], None, GAMES[1], True, True))
    assert few.evidence_reason == "999 non-members; 1000 would decide"
    assert few.reason == "too_few_non_members"
    short = judge(inputs("measured", INTERVALS[2], CONTROLS[2], None, GAMES[3], True, True))
    assert "rank 15" in short.evidence_reason
    assert "16 unknowns" in short.evidence_reason


@pytest.mark.parametrize(("non_members", "fpr", "enough"), [(1000, 0.01, True), (99, 0.1, False), (100, 0.1, True)])
def test_ten_false_accusations_are_needed(non_members: int, fpr: float, enough: bool) -> None:
    game = {"non_members": non_members, "false_positive_rate": fpr}
    found = judge(inputs("measured", INTERVALS[4], CONTROLS[1], None, game, True, True))
    assert found.evidence == ("leak shown" if enough else "inconclusive")


def test_a_limit_at_the_ceiling_is_no_contradiction() -> None:
    assert judge(inputs("measured", rate(0.5, 0.7), CONTROLS[1], 0.5, {}, True, True)).verdict == "above tolerance"
    assert judge(inputs("measured", rate(0.501, 0.7), CONTROLS[1], 0.5, {}, True, True)).verdict == "no verdict"


def test_more_trials_are_asked_for_in_proportion() -> None:
    success = Rate(k=4, n=100, low=0.011, high=0.0993, method="given", clusters=100)
    found = judge(inputs("measured", success, rate(0.0, 0.05), None, {}, True, True))
    # Half-width 0.0593 has to shrink to 0.01: 35.2 times as many trials. Against a control at 0.02: fewer.
    assert found.evidence == "inconclusive"
    assert "trials would decide" in found.evidence_reason


@pytest.mark.parametrize(
    "change",
    [
        {"success": None},
        {"status": "not tested"},
        {"tolerance": 1.5},
        {"tolerance": float("nan")},
        {"ceiling": -0.1},
        {"non_members": 5},
        {"non_members": 5, "false_positive_rate": 0.0},
    ],
)
def test_inputs_that_do_not_fit_are_refused(change: dict[str, Any]) -> None:
    given: dict[str, Any] = {
        "status": "measured", "success": INTERVALS[0], "control": None, "ceiling": None, "tolerance": 0.05,
        "instruments_passed": True, "premises_passed": True,
    }  # fmt: skip
    with pytest.raises(ValueError, match="Expected"):
        VerdictInputs(**(given | change))
