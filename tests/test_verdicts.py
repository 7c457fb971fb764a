from itertools import product
from typing import Any

import pytest

from qfl_sec.intervals import Rate
from qfl_sec.verdicts import Identifiability, VerdictInputs, judge


def rate(low: float, high: float) -> Rate:
    return Rate(k=round(50 * (low + high)), n=100, low=low, high=high, method="given", clusters=100)


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

EVIDENCE_ORDER = [
    "not visible",
    "not tested",
    "guarantee contradicted",
    "too few",
    "leak shown",
    "not identifiable",
    "no leak seen",
]


def expected(
    status: str,
    success: Rate | None,
    control: Rate | None,
    ceiling: float | None,
    game: dict[str, Any],
    instruments: bool,
    premises: bool,
) -> tuple[str, str]:
    """The table, written as the set of words that hold, of which the first in order is taken."""
    holds = set()
    if status == "not visible":
        holds.add("not visible")
    if status in ("not tested", "failed"):
        holds.add("not tested")
    if success is not None:
        if ceiling is not None and success.low > ceiling:
            holds.add("guarantee contradicted")
        if game.get("non_members") == 999:
            holds.add("too few")
        if control is not None and success.low > control.high:
            holds.add("leak shown")
        if "identifiable" in game and game["identifiable"].rank < game["identifiable"].unknowns:
            holds.add("not identifiable")
        if control is not None and success.low <= control.high and success.high <= TOLERANCE:
            holds.add("no leak seen")
    first = next((word for word in EVIDENCE_ORDER if word in holds), "inconclusive")
    evidence = "inconclusive" if first == "too few" else first
    verdicts = {
        "no verdict": not instruments or evidence == "guarantee contradicted",
        "above tolerance": success is not None and success.low > TOLERANCE,
        "within tolerance": ceiling is not None and ceiling <= TOLERANCE and premises,
        "tested only": success is not None and success.high <= TOLERANCE,
        "conditional": evidence == "not visible" and premises,
        "open": True,
    }
    return evidence, next(word for word, applies in verdicts.items() if applies)


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


def test_every_case_of_the_truth_table() -> None:
    seen = set()
    for case in every_case():
        found = judge(inputs(*case))
        assert (found.evidence, found.verdict) == expected(*case), case
        seen.add((found.evidence, found.verdict))
    assert {verdict for _, verdict in seen} == {
        "no verdict", "above tolerance", "within tolerance", "tested only", "conditional", "open",
    }  # fmt: skip
    assert {evidence for evidence, _ in seen} == {*EVIDENCE_ORDER, "inconclusive"} - {"too few"}


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
