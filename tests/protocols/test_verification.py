"""Verification: exact sums against pinned values, brute force and random orders; trap rounds through a real server."""

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, hypergeom

from qfl_sec.checking import InputError
from qfl_sec.protocols.angle_grid import AngleGrid
from qfl_sec.protocols.blind_parties import X_ERROR, Z_ERROR, Deviation, Server
from qfl_sec.protocols.brickwork import Brickwork
from qfl_sec.protocols.verification import (
    Verification,
    WorstCase,
    largest_failing_fraction,
    round_failure_probability,
)
from qfl_sec.protocols.verification_choice import acceptance_threshold, choose_verification
from qfl_sec.protocols.verification_rounds import VerifiedRun, noisy_round_failure, run_verified, trap_places
from qfl_sec.randomness import Streams

PUBLISHED = Verification(computation_rounds=100, test_rounds=100, threshold=12)
GRID = AngleGrid(bits=3)
GRAPH = Brickwork.of_bricks(rows=3, bricks=2)


def run(
    plan: Verification, seed: int, *, graph: Brickwork = GRAPH, angles: np.ndarray | None = None, **server: Any
) -> VerifiedRun:
    streams = Streams(seed)
    if angles is None:
        angles = GRID.draw(streams.numpy("circuit"), (graph.rows, graph.columns - 1))
    return run_verified(
        plan, graph, angles, grid=GRID, server=Server(graph, GRID, streams.child("server"), **server), streams=streams
    )


def errors(graph: Brickwork, row: int, column: int, pauli: int, rounds: int = 1) -> np.ndarray:
    """Return one Pauli error at one node, in each of so many rounds."""
    paulis = np.zeros((graph.rows, graph.columns, rounds), np.uint8)
    paulis[row, column] = pauli
    return paulis


def exact_failure(plan: Verification, corrupted: int, error_rate: Fraction) -> Fraction:
    """Return the failure probability by going through all orders of the rounds, in fractions."""
    k, d, t = plan.colours, plan.computation_rounds, plan.test_rounds
    total, orders = Fraction(0), 0
    for tests in itertools.combinations(range(d + t), t):
        orders += 1
        x = sum(place < corrupted for place in tests)  # the server's rounds are the first ones
        c = corrupted - x
        passes = sum(Fraction(math.comb(x, j) * (k - 1) ** (x - j), k**x) for j in range(min(x, plan.threshold) + 1))
        turned = sum(
            math.comb(d - c, j) * error_rate**j * (1 - error_rate) ** (d - c - j)
            for j in range(d - c + 1)
            if 2 * (c + j) >= d
        )
        total += passes * turned
    return total / orders


def test_the_pinned_failure_probability() -> None:
    worst = PUBLISHED.worst_case()
    assert worst.corrupted == 88
    assert worst.failure_probability == pytest.approx(1.538e-3, abs=5e-7)
    assert PUBLISHED.worst_case(error_rate=0.1).failure_probability > worst.failure_probability


@pytest.mark.parametrize(
    "plan",
    [
        Verification(computation_rounds=4, test_rounds=5, threshold=1),
        Verification(computation_rounds=5, test_rounds=3, threshold=0, colours=3),
        Verification(computation_rounds=3, test_rounds=4, threshold=2, colours=1),
        Verification(computation_rounds=1, test_rounds=2, threshold=1),
    ],
)
@pytest.mark.parametrize("error_rate", [Fraction(0), Fraction(1, 7), Fraction(1)])
def test_failures_are_those_of_all_orders(plan: Verification, error_rate: Fraction) -> None:
    found = [plan.failure_probability(m, error_rate=float(error_rate)) for m in range(plan.rounds + 1)]
    expected = [float(exact_failure(plan, m, error_rate)) for m in range(plan.rounds + 1)]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)
    worst = plan.worst_case(error_rate=float(error_rate))
    assert worst.failure_probability == max(found) == found[worst.corrupted]


@pytest.mark.parametrize("corrupted", [0, 1, 40, 88, 150, 200])
@pytest.mark.parametrize("error_rate", [0.0, 0.2])
def test_failures_are_those_of_another_library(corrupted: int, error_rate: float) -> None:
    tests = np.arange(101)
    law, passes = hypergeom.pmf(tests, 200, 100, corrupted), binom.cdf(12, tests, 0.5)
    c = np.clip(corrupted - tests, 0, 100)
    turned = binom.sf(49 - c, 100 - c, error_rate)
    expected = float((law * passes * turned).sum())
    assert PUBLISHED.failure_probability(corrupted, error_rate=error_rate) == pytest.approx(expected, rel=1e-9)
    assert PUBLISHED.attacked_acceptance(corrupted) == pytest.approx(float((law * passes).sum()), rel=1e-9)


@pytest.mark.parametrize("corrupted", [60, 88, 110])
def test_failures_are_those_of_random_orders(corrupted: int) -> None:
    plan = Verification(computation_rounds=60, test_rounds=60, threshold=14)
    rng, trials = np.random.default_rng(corrupted), 20_000
    is_test = rng.permuted(np.broadcast_to(np.arange(120) < 60, (trials, 120)), axis=1)
    attacked = np.arange(120) < min(corrupted, 120)
    seen = (is_test & attacked & (rng.random((trials, 120)) < 0.5)).sum(1)
    wrong = (~is_test & attacked).sum(1)
    for rate, expected in (
        ((seen <= 14).mean(), plan.attacked_acceptance(corrupted)),
        (((seen <= 14) & (wrong >= 30)).mean(), plan.failure_probability(corrupted)),
    ):
        assert abs(rate - expected) < 4 * math.sqrt(expected * (1 - expected) / trials) + 4 / trials


def test_more_rounds_help_below_the_limit_and_not_above() -> None:
    """The limit of many rounds: Leichtle et al. 2021, Theorem 1."""
    for error_rate in (0.0, 0.2):
        limit = largest_failing_fraction(error_rate=error_rate)
        assert limit == pytest.approx((1 - 2 * error_rate) / (4 - 4 * error_rate))
        for share, vanishes in ((0.8, True), (1.15, False)):
            found = [
                Verification(computation_rounds=n, test_rounds=n, threshold=int(share * limit * n))
                .worst_case(error_rate=error_rate)
                .failure_probability
                for n in (200, 2000)
            ]
            assert (found[1] < found[0] / 100) if vanishes else (found[1] > found[0] > 0.5)


def test_tiny_probabilities_keep_their_digits() -> None:
    plan = Verification(computation_rounds=1200, test_rounds=1200, threshold=0)
    # All computation rounds and no test round corrupted, one order in C(2400, 1200): below the smallest float64.
    assert plan.failure_probability(2400) == 0.0
    assert 0 < plan.worst_case().failure_probability < 1e-100
    small = Verification(computation_rounds=2, test_rounds=1000, threshold=0)
    # At c = m = 1: the only corrupted round is a computation; a tie of two counts as turned.
    assert small.failure_probability(1) == pytest.approx(2 / 1002, rel=1e-12)


@settings(deadline=None, max_examples=40)
@given(d=st.integers(1, 60), t=st.integers(1, 60), share=st.floats(0, 0.999), k=st.integers(1, 5), p=st.floats(0, 1))
def test_probabilities_are_probabilities_and_monotone(d: int, t: int, share: float, k: int, p: float) -> None:
    plan = Verification(computation_rounds=d, test_rounds=t, threshold=int(share * t), colours=k)
    accepted = [plan.attacked_acceptance(m) for m in range(plan.rounds + 1)]
    failing = [plan.failure_probability(m, error_rate=p) for m in range(plan.rounds + 1)]
    assert accepted[0] == pytest.approx(1)
    assert all(0 <= f <= a + 1e-12 <= 1 + 1e-12 for f, a in zip(failing, accepted, strict=True))
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(accepted))
    assert plan.honest_acceptance(p) <= plan.honest_acceptance(p / 2) + 1e-12


def test_an_expectation_value_is_not_covered() -> None:
    bias = PUBLISHED.expectation_bias(40)
    assert bias.acceptance_probability == pytest.approx(0.83, abs=5e-3)
    assert bias.shift == 0.4
    assert not bias.covered
    assert PUBLISHED.failure_probability(40) < 1e-12  # the majority, which is covered, does not turn


def test_a_plan_keeps_both_promises_and_a_shorter_one_does_not() -> None:
    promises = {"failure_probability": 1e-6, "round_failure_probability": 0.08, "error_rate": 0.1}
    plan = choose_verification(computation_rounds=300, honest_acceptance=0.95, **promises)
    assert plan.worst_case(error_rate=0.1).failure_probability <= 1e-6
    assert plan.honest_acceptance(0.08) >= 0.95
    assert (
        Verification(
            computation_rounds=300, test_rounds=plan.test_rounds, threshold=plan.threshold - 1
        ).honest_acceptance(0.08)
        < 0.95
    )
    half = plan.test_rounds // 2
    shorter = Verification(computation_rounds=300, test_rounds=half, threshold=int(binom.ppf(0.95, half, 0.08)))
    assert shorter.worst_case(error_rate=0.1).failure_probability > 1e-6


@pytest.mark.parametrize("noise", [0.0, 0.03, 0.5])
def test_thresholds_accept_an_honest_server_and_are_the_lowest(noise: float) -> None:
    threshold = acceptance_threshold(80, round_failure_probability=noise, honest_acceptance=0.9)

    def accepted(w: int) -> float:
        return Verification(computation_rounds=1, test_rounds=80, threshold=w).honest_acceptance(noise)

    assert accepted(threshold) >= 0.9
    assert threshold == 0 or accepted(threshold - 1) < 0.9
    with pytest.raises(InputError, match="test_rounds=0"):
        acceptance_threshold(0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_rounds": 0, "threshold": 0}, r"test_rounds=0 >= 1: without test rounds nothing is verified"),
        ({"threshold": 100}, r"threshold=100 < test_rounds=100"),
        ({"threshold": -1}, r"0 <= threshold=-1"),
        ({"colours": 0}, r"colours=0 >= 1"),
        ({"computation_rounds": 0}, r"computation_rounds=0 >= 1"),
    ],
)
def test_impossible_plans_are_refused(changes: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Verification(**{"computation_rounds": 100, "test_rounds": 100, "threshold": 12} | changes)


def test_impossible_questions_are_refused() -> None:
    for corrupted in (-1, 201):
        with pytest.raises(InputError, match=f"corrupted={corrupted}"):
            PUBLISHED.failure_probability(corrupted)
    for rate in (-0.1, 1.1, math.nan):
        with pytest.raises(InputError, match="error_rate"):
            PUBLISHED.worst_case(error_rate=rate)
        with pytest.raises(InputError, match="round_failure_probability"):
            PUBLISHED.honest_acceptance(rate)
        with pytest.raises(InputError, match="flip_probability"):
            round_failure_probability(rate, (1, 1))
    with pytest.raises(InputError, match="traps"):
        round_failure_probability(0.1, ())
    with pytest.raises(InputError, match=r"error_rate=0\.5 < 1/2"):
        largest_failing_fraction(error_rate=0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"failure_probability": 0.0}, "0 < failure_probability=0.0 < 1"),
        ({"honest_acceptance": 1.0}, "0 < honest_acceptance=1.0 < 1"),
        ({"round_failure_probability": -0.1}, "round_failure_probability=-0.1"),
        ({"round_failure_probability": 0.3}, "round_failure_probability=0.3 < 0.25"),
        ({"computation_rounds": 3, "round_failure_probability": 0.1}, "Ask for more computation rounds"),
    ],
)
def test_promises_that_nothing_keeps_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose_verification(**{"computation_rounds": 100, "failure_probability": 1e-6} | changes)


@pytest.mark.parametrize("graph", [GRAPH, Brickwork.of_bricks(rows=1, bricks=1), Brickwork.of_bricks(rows=4, bricks=3)])
def test_an_honest_server_without_noise_never_fails_a_trap(graph: Brickwork) -> None:
    plan = Verification(computation_rounds=50, test_rounds=1000, threshold=0)
    found = run(plan, 1, graph=graph)
    assert found.test_failures == 0
    assert found.accepted
    assert found.output.shape == (graph.rows, 50)
    assert found.is_test.sum() == 1000
    assert found.cost.qubits == 1050 * graph.nodes


def test_every_node_is_a_trap_of_one_class() -> None:
    traps = trap_places(GRAPH, np.array([0, 1], np.uint8))
    assert (traps.sum(-1) == 1).all()


def test_orders_and_classes_are_drawn_anew_and_evenly() -> None:
    plan = Verification(computation_rounds=3, test_rounds=3, threshold=0)
    orders = [tuple(run(plan, seed, graph=Brickwork.of_bricks(rows=1, bricks=1)).is_test) for seed in range(400)]
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == math.comb(6, 3)
    assert ((counts - 20) ** 2 / 20).sum() < 50  # chi-square, 19 degrees of freedom: 1.3e-4


@pytest.mark.parametrize(
    ("row", "column", "pauli", "given_trap"),
    [
        (1, 3, Z_ERROR, 1.0),
        (1, 3, X_ERROR, 0.5),
        (1, 3, X_ERROR + Z_ERROR, 0.5),
        (0, 0, Z_ERROR, 1.0),
        (2, 8, X_ERROR, 1.0),
        (2, 8, X_ERROR + Z_ERROR, 1.0),
        (2, 8, Z_ERROR, 0.0),
    ],
)
def test_an_error_on_a_node_flips_its_trap(row: int, column: int, pauli: int, given_trap: float) -> None:
    plan = Verification(computation_rounds=1, test_rounds=4000, threshold=0)
    found = run(plan, 2, deviation=Deviation(paulis=errors(GRAPH, row, column, pauli)))
    expected = given_trap / 2  # the class of the node is drawn in half of the tests
    assert abs(found.failed.mean() - expected) <= 4 * math.sqrt(expected * (1 - expected) / 4000)


@pytest.mark.parametrize("probability", [0.001, 0.01, 0.05])
def test_a_noisy_honest_server_fails_as_often_as_predicted(probability: float) -> None:
    plan = Verification(computation_rounds=1, test_rounds=6000, threshold=0)
    found = run(plan, 3, depolarizing_probability=probability)
    expected = noisy_round_failure(GRAPH, probability)
    assert abs(found.failed.mean() - expected) < 4 * math.sqrt(expected * (1 - expected) / 6000)


def test_a_noisy_honest_server_is_accepted_as_often_as_predicted() -> None:
    plan = Verification(computation_rounds=2, test_rounds=20, threshold=2)
    expected = plan.honest_acceptance(noisy_round_failure(GRAPH, 0.01))
    accepted = [run(plan, seed, depolarizing_probability=0.01).accepted for seed in range(300)]
    assert 0.5 < expected < 0.9
    assert abs(np.mean(accepted) - expected) < 4 * math.sqrt(expected * (1 - expected) / 300)


def test_a_malicious_server_fails_the_client_as_often_as_predicted() -> None:
    """The adversary of the exact sum: outputs turned in m rounds, seen by one class of two."""
    graph, trials = Brickwork.of_bricks(rows=1, bricks=1), 600
    plan = Verification(computation_rounds=6, test_rounds=6, threshold=1)
    corrupted = plan.worst_case().corrupted
    paulis = errors(graph, 0, graph.columns - 1, X_ERROR, plan.rounds)
    paulis[..., corrupted:] = 0
    rotation = GRID.rounded([[np.pi / 2, np.pi / 2, 0, 0]])  # turns the input |+> to an eigenstate of Z
    truth = run(plan, 0, graph=graph, angles=rotation)
    accepted = failed = 0
    for seed in range(trials):
        found = run(plan, seed, graph=graph, angles=rotation, deviation=Deviation(paulis=paulis))
        turned = np.count_nonzero(found.output[0] != truth.output[0, 0]) >= plan.wrong_majority
        accepted += found.accepted
        failed += found.accepted and turned
    assert (truth.output == truth.output[0, 0]).all()  # a circuit with one answer
    for count, expected in (
        (accepted, plan.attacked_acceptance(corrupted)),
        (failed, plan.failure_probability(corrupted)),
    ):
        assert 0.02 < expected < 0.98
        assert abs(count / trials - expected) < 4 * math.sqrt(expected * (1 - expected) / trials)


def test_an_expectation_value_is_shifted_unnoticed_as_far_as_predicted() -> None:
    graph, trials = Brickwork.of_bricks(rows=1, bricks=1), 200
    paulis = errors(graph, 0, graph.columns - 1, X_ERROR, PUBLISHED.rounds)
    paulis[..., 40:] = 0
    rotation = GRID.rounded([[np.pi / 2, np.pi / 2, 0, 0]])
    honest = run(PUBLISHED, 0, graph=graph, angles=rotation)
    runs = [
        run(PUBLISHED, seed, graph=graph, angles=rotation, deviation=Deviation(paulis=paulis)) for seed in range(trials)
    ]
    bias = PUBLISHED.expectation_bias(40)
    shifts = [abs(2 * float(one.output.mean() - honest.output.mean())) for one in runs]
    spread = hypergeom.std(200, 100, 40) * 2 / 100
    assert abs(np.mean(shifts) - bias.shift) < 4 * spread / math.sqrt(trials)
    p = bias.acceptance_probability
    assert abs(np.mean([one.accepted for one in runs]) - p) < 4 * math.sqrt(p * (1 - p) / trials)
    assert {one.decision() for one in runs if one.accepted} == {honest.decision()}


def test_a_run_says_what_it_covers() -> None:
    plan = Verification(computation_rounds=5, test_rounds=40, threshold=3)
    found = run(plan, 5)
    assert "majority" in found.covers
    assert "expectation value" in found.does_not_cover
    assert found.security_error == plan.worst_case().failure_probability
    assert found.decision(1) in (0, 1)
    rejected = run(plan, 5, deviation=Deviation(answers=np.zeros((3, 9, 1), np.int8)))
    assert rejected.test_failures > 3
    assert rejected.decision() is None


def test_runs_that_do_not_fit_the_graph_are_refused() -> None:
    with pytest.raises(InputError, match="colours=3"):
        run(Verification(computation_rounds=1, test_rounds=2, threshold=0, colours=3), 0)
    with pytest.raises(InputError, match="angles of shape"):
        run(PUBLISHED, 0, angles=GRID.rounded(np.zeros((2, 2))))


def test_worst_case_counts_ties_of_the_maximum_once() -> None:
    always = Verification(computation_rounds=2, test_rounds=2, threshold=1, colours=1)
    assert always.worst_case(error_rate=1.0) == WorstCase(corrupted=0, failure_probability=1.0)
