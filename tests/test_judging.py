"""Which attack a verdict names, what its limits promise together, and files whose verdicts do not follow."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import sample_results as sample

from qfl_sec.checking import InputError
from qfl_sec.intervals import Rate, clopper_pearson
from qfl_sec.judging import check_verdicts, comparisons, verdicts
from qfl_sec.measuring import Measured
from qfl_sec.results import Ceiling, Measurement, Results, Verdict
from qfl_sec.scoring import Hits, Targets

TARGETS = 200
TOLERANCE = 0.05
QUESTIONS = sample.sample_results().questions
TEMPLATE = sample.reconstruction_measurement(None)


def targets(hits: np.ndarray, *, per_cluster: int = 1) -> Targets:
    index = np.arange(len(hits))
    clusters = index // per_cluster
    return Targets(hits=hits, clusters=clusters, second=clusters % 2 == 1)


def measured(attack: str, hits: np.ndarray, control: np.ndarray, *, adversary: str = "server") -> Measured:
    found = Hits(targets(hits), targets(control))
    rates = (found.attack.rate(rng=np.random.default_rng(0)), targets(control).rate(rng=np.random.default_rng(0)))
    measurement = replace(TEMPLATE, attack=attack, adversary=adversary, success=rates[0], control=rates[1])  # type: ignore[arg-type]
    return Measured(replace(measurement, reconstruction=None), found)


def judged(row: list[Measured], ceilings: tuple[Ceiling, ...] = ()) -> list[Verdict]:
    return verdicts(row, ceilings, (), (), QUESTIONS)


def drawn(rng: np.random.Generator, rate: float, size: int = TARGETS) -> np.ndarray:
    return rng.random(size) < rate


def test_many_null_attacks_rarely_make_one_false_claim() -> None:
    """Every attack's true rate is the tolerance, the ceiling and its control's rate: any claim about it is false."""
    rng, repetitions, attacks = np.random.default_rng(5), 300, 15
    bounds = tuple(
        Ceiling(variant="default", setting="none", question="reconstruction", adversary=who, rate=TOLERANCE, at=0.01)  # type: ignore[arg-type]
        for who in ("server", "client")
    )
    claims = {"above tolerance": 0, "guarantee contradicted": 0, "leak shown": 0, "uncorrected": 0}
    for _ in range(repetitions):
        rows = [
            measured(f"a{i}", drawn(rng, TOLERANCE), drawn(rng, TOLERANCE), adversary=who)
            for who in ("server", "client")
            for i in range(attacks)
        ]
        without, bounded = judged(rows), judged(rows, bounds)
        claims["above tolerance"] += any(one.verdict == "above tolerance" for one in without)
        claims["leak shown"] += any(one.evidence == "leak shown" for one in without)
        claims["guarantee contradicted"] += any(one.evidence == "guarantee contradicted" for one in bounded)
        claims["uncorrected"] += any(one.measurement.success.low > TOLERANCE for one in rows)  # type: ignore[union-attr]
    allowed = 0.05 * repetitions + 3 * np.sqrt(0.05 * 0.95 * repetitions)
    assert all(claims[name] <= allowed for name in ("above tolerance", "guarantee contradicted", "leak shown")), claims
    assert claims["uncorrected"] > 3 * allowed, "the game must be one that an uncorrected choice loses"


def test_a_strong_attack_among_weak_ones_is_rarely_called_tested_only() -> None:
    """The upper limit covers the strongest attack, also where a half of the targets prefers another one."""
    rng, repetitions, wrong = np.random.default_rng(6), 300, 0
    for _ in range(repetitions):
        weak = [measured(f"weak{i}", drawn(rng, 0.005), drawn(rng, 0.005)) for i in range(4)]
        [verdict] = judged([*weak, measured("strong", drawn(rng, TOLERANCE + 0.001), drawn(rng, 0.005))])
        wrong += verdict.verdict == "tested only"
    assert wrong <= 0.025 * repetitions + 3 * np.sqrt(0.025 * 0.975 * repetitions)


def test_a_real_leak_is_found_among_many_attacks_and_by_name() -> None:
    rng = np.random.default_rng(7)
    row = [measured(f"null{i}", drawn(rng, 0.01), drawn(rng, 0.01)) for i in range(20)]
    [verdict] = judged([*row[:7], measured("leaky", drawn(rng, 0.5), drawn(rng, 0.01)), *row[7:]])
    assert (verdict.attack, verdict.evidence, verdict.verdict) == ("leaky", "leak shown", "above tolerance")


def test_both_directions_are_recorded_and_score_only_what_did_not_choose() -> None:
    first, second = np.arange(TARGETS) % 2 == 0, np.arange(TARGETS) % 2 == 1
    never = np.zeros(TARGETS, dtype=bool)
    [verdict] = judged([measured("even", first, never), measured("odd", second, never)])
    assert verdict.basis is not None
    assert [one.attack for one in verdict.basis.choices] == ["even", "odd"]
    for choice in verdict.basis.choices:
        assert (choice.chosen_at.k, choice.chosen_at.n) == (100, 100)
        assert (choice.success.k, choice.success.n) == (0, 100), "each hits nothing on the half that did not choose it"
        assert choice.control is not None
        assert choice.control.n == 100
    assert verdict.basis.success.low == 0
    assert verdict.basis.success.high == pytest.approx(clopper_pearson(100, 200, confidence=0.975)[1]), (
        "the upper end is that of all targets"
    )
    assert verdict.verdict == "open"


def test_records_of_one_update_are_never_parted() -> None:
    split = targets(np.ones(12, dtype=bool), per_cluster=4)
    assert set(split.half(False).clusters) == {0, 2}
    assert set(split.half(True).clusters) == {1}


@pytest.mark.parametrize(("attacks", "spread"), [(1, 1), (2, 2), (9, 2)])
def test_more_than_two_attacks_cost_nothing_and_every_row_counts(attacks: int, spread: int) -> None:
    never = np.zeros(TARGETS, dtype=bool)
    rows = [measured(f"a{i}", never, never, adversary=who) for who in ("server", "client") for i in range(attacks)]
    assert comparisons(one.measurement for one in rows) == {("default", "none"): 2 * spread}
    for verdict in judged(rows):
        assert verdict.basis is not None
        assert verdict.basis.comparisons == 2 * spread
        assert verdict.basis.confidence == 1 - 0.05 / (2 * spread)


def test_one_attack_alone_at_a_setting_keeps_its_own_interval() -> None:
    hits = drawn(np.random.default_rng(8), 0.3)
    [verdict] = judged([measured("only", hits, ~hits)])
    assert verdict.basis is not None
    low, high = clopper_pearson(int(hits.sum()), TARGETS)
    assert (verdict.basis.success.low, verdict.basis.success.high) == pytest.approx((low, high))
    assert verdict.basis.choices == ()


def test_a_contradicted_guarantee_withdraws_every_verdict_of_its_setting() -> None:
    rng = np.random.default_rng(9)
    rows = [
        measured("a", drawn(rng, 0.9), drawn(rng, 0.01), adversary="server"),
        measured("a", drawn(rng, 0.01), drawn(rng, 0.01), adversary="client"),
    ]
    bound = Ceiling(
        variant="default", setting="none", question="reconstruction", adversary="server", rate=0.02, at=0.01
    )
    broken, other = judged(rows, (bound,))
    assert (broken.evidence, broken.verdict) == ("guarantee contradicted", "no verdict")
    assert (other.evidence, other.verdict, other.reason) == ("no leak seen", "no verdict", "guarantee_contradicted")


VERSIONS: dict[str, Callable[[], Results]] = {
    "sample": sample.sample_results,
    "without_dp": lambda: sample.without_dp(sample.sample_results()),
    "failed": lambda: sample.all_failed(sample.sample_results()),
    "nothing": lambda: sample.nothing_measured(sample.sample_results()),
}


@pytest.mark.parametrize("results", VERSIONS.values(), ids=VERSIONS)
def test_verdicts_that_follow_are_accepted(results: Callable[[], Results]) -> None:
    check_verdicts(results())


def changed_verdict(results: Results, **changes: object) -> Results:
    first, *rest = results.verdicts
    return replace(results, verdicts=(replace(first, **changes), *rest))  # type: ignore[arg-type]


def changed_measurement(results: Results, change: Callable[[Measurement], Measurement]) -> Results:
    first, *rest = results.measurements
    return replace(results, measurements=(change(first), *rest))


def _more_hits(one: Measurement) -> Measurement:
    assert one.success is not None
    return replace(one, success=replace(one.success, k=one.success.k + 40))


def _narrower(one: Measurement) -> Measurement:
    assert one.success is not None
    return replace(one, success=Rate(k=5, n=10, low=0.49, high=0.51, method="wished for", clusters=10))


LIES: dict[str, tuple[Callable[[Results], Results], str]] = {
    "word": (lambda r: changed_verdict(r, verdict="above tolerance"), "verdict = 'above tolerance'"),
    "evidence": (lambda r: changed_verdict(r, evidence="not tested"), "evidence = 'not tested'"),
    "reason": (lambda r: changed_verdict(r, reason="not_visible"), "reason = 'not_visible'"),
    "ceiling": (lambda r: changed_verdict(r, ceiling=0.001), "ceiling = 0.001"),
    "attack": (lambda r: changed_verdict(r, attack="nobody"), "attack = 'nobody'"),
    "missing": (lambda r: replace(r, verdicts=r.verdicts[1:]), "0 verdicts. Expected 1"),
    "twice": (lambda r: replace(r, verdicts=(*r.verdicts, r.verdicts[0])), "2 verdicts. Expected 1"),
    "none": (lambda r: replace(r, verdicts=()), "0 verdicts. Expected 1"),
    "about nothing": (lambda r: replace(r, measurements=r.measurements[1:]), "1 verdicts. Expected 0"),
    "count": (lambda r: changed_measurement(r, _more_hits), "success of"),
    "interval": (lambda r: changed_measurement(r, _narrower), "success of 5 in 10"),
    "tolerance": (
        lambda r: replace(r, questions=tuple(replace(one, tolerance=1.0) for one in r.questions)),
        "From the rest of the file follows",
    ),
    "instrument": (
        lambda r: replace(r, instruments=(replace(r.instruments[0], passed=False), *r.instruments[1:])),
        "'no verdict'",
    ),
    "question": (lambda r: replace(r, questions=r.questions[1:]), "'membership' is missing"),
}


@pytest.mark.parametrize("lie", LIES, ids=str)
def test_verdicts_that_do_not_follow_are_refused(lie: str) -> None:
    change, said = LIES[lie]
    with pytest.raises(InputError, match="run the audit again") as caught:
        check_verdicts(change(sample.sample_results()))
    assert said in str(caught.value)
    assert len(str(caught.value)) < 600
