"""Cascade: corrected strings, charged parities, efficiencies of the literature, and what Bob can know."""

import inspect
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols import cascade, cascade_pass
from qfl_sec.protocols.cascade import ParityOracle, Reconciled, Schedule, block_sizes, correct, reconcile
from qfl_sec.protocols.cascade_pass import Pass, Places

SCHEDULES: tuple[Schedule, ...] = ("original", "optimised")


def strings(n: int, errors: float, seed: int) -> tuple[Bits, Bits]:
    rng = np.random.default_rng(seed)
    alice = rng.integers(0, 2, n, dtype=np.uint8)
    return alice, alice ^ (rng.random(n) < errors).astype(np.uint8)


def run(n: int, errors: float, schedule: Schedule, *, seed: int = 0, guess: float | None = None) -> Reconciled:
    alice, bob = strings(n, errors, seed)
    rate = errors if guess is None else guess
    found = reconcile(alice, bob, error_rate=rate, schedule=schedule, rng=np.random.default_rng(seed + 1000))
    assert guess is not None or np.array_equal(found.corrected, alice)
    return found


@pytest.mark.parametrize(("rate", "expected"), [(0.01, 1.13), (0.03, 1.17), (0.05, 1.19), (0.08, 1.22)])
def test_the_original_schedule_has_its_known_efficiency(rate: float, expected: float) -> None:
    runs = 40  # their mean moves with the number of errors
    found = np.mean([run(10_000, rate, "original", seed=seed).efficiency for seed in range(runs)])
    spread = math.sqrt((1 - rate) / (10_000 * rate * runs))
    assert found == pytest.approx(expected, abs=0.01 + 3 * expected * spread)


@pytest.mark.parametrize("rate", [0.01, 0.02, 0.03, 0.04, 0.05])
def test_the_optimised_schedule_is_within_ten_percent_of_the_limit(rate: float) -> None:
    n = 100_000
    found = run(n, rate, "optimised")
    actual = np.count_nonzero(np.not_equal(*strings(n, rate, 0))) / n
    assert 1.0 < found.disclosed_bits / (n * cascade.binary_entropy(actual)) < 1.06
    assert found.efficiency < 1.10


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_everything_that_alice_tells_is_charged(schedule: Schedule) -> None:
    alice, bob = strings(3000, 0.04, 3)
    told: list[int] = []

    class Listening(ParityOracle):
        def parities(self, number: int, starts: Places, stops: Places) -> Bits:
            answer = super().parities(number, starts, stops)
            told.append(len(answer))
            assert (starts < stops).all()
            return answer

    oracle = Listening(alice)
    corrected = correct(bob, oracle, error_rate=0.04, schedule=schedule, rng=np.random.default_rng(0))
    found = reconcile(alice, bob, error_rate=0.04, schedule=schedule, rng=np.random.default_rng(0))
    assert np.array_equal(corrected, alice)
    assert (sum(told), len(told)) == (oracle.disclosed_bits, oracle.rounds)
    assert (found.disclosed_bits, found.rounds) == (oracle.disclosed_bits, oracle.rounds)
    assert found.efficiency == found.disclosed_bits / (3000 * cascade.binary_entropy(0.04))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_bob_depends_on_alice_through_her_answers_alone(schedule: Schedule) -> None:
    """Played again without Alice's bits, from a recording of her answers, Bob ends up with the same string."""
    alice, bob = strings(2000, 0.05, 4)
    answers: list[Bits] = []

    class Recording(ParityOracle):
        def parities(self, number: int, starts: Places, stops: Places) -> Bits:
            answers.append(super().parities(number, starts, stops))
            return answers[-1].copy()

    class Replaying(ParityOracle):
        def __init__(self) -> None:
            super().__init__(np.zeros(2000, dtype=np.uint8))

        def parities(self, number: int, starts: Places, stops: Places) -> Bits:
            return answers.pop(0)

    def play(oracle: ParityOracle) -> Bits:
        return correct(bob, oracle, error_rate=0.05, schedule=schedule, rng=np.random.default_rng(0))

    assert np.array_equal(play(Recording(alice)), alice)
    assert np.array_equal(play(Replaying()), alice)
    assert not answers


def test_alices_bits_have_no_other_way_out() -> None:
    oracle = ParityOracle(np.ones(4, dtype=np.uint8))
    public = {name for name in dir(oracle) if not name.startswith("_")}
    assert public == {"disclosed_bits", "parities", "rounds", "shuffle"}
    for function in (correct, cascade._bisect, cascade._compare_blocks):
        assert "alice" not in inspect.signature(function).parameters
        assert "_ParityOracle" not in inspect.getsource(function)
    assert "alice" not in inspect.getsource(cascade_pass).replace("Alice", "")


def test_an_oracle_copies_what_it_was_given() -> None:
    bits = np.ones(3, dtype=np.uint8)
    oracle = ParityOracle(bits)
    bits[:] = 0
    oracle.shuffle(np.array([2, 0, 1]))
    assert oracle.parities(0, np.array([0, 0]), np.array([3, 2])).tolist() == [1, 0]
    assert len(oracle) == 3


@given(n=st.integers(1, 400), errors=st.floats(0, 0.5), guess=st.floats(0, 0.5), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_any_size_and_any_guess_ends_with_fewer_errors(
    schedule: Schedule, n: int, errors: float, guess: float, seed: int
) -> None:
    alice, bob = strings(n, errors, seed)
    found = reconcile(alice, bob, error_rate=guess, schedule=schedule, rng=np.random.default_rng(seed))
    before, after = (np.count_nonzero(alice != one) for one in (bob, found.corrected))
    assert after <= before
    assert after % 2 == 0  # the parity of the whole string is known in the end
    assert found.disclosed_bits <= 2 * n * len(block_sizes(n, guess, schedule))
    assert not math.isnan(found.efficiency)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_without_errors_little_is_told(schedule: Schedule) -> None:
    found = run(5000, 0.0, schedule)
    assert found.disclosed_bits <= 16
    assert found.efficiency == math.inf


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_an_estimate_far_too_high_costs_bits(schedule: Schedule) -> None:
    assert run(5000, 0.002, schedule, guess=0.002).disclosed_bits < 500
    found = run(5000, 0.002, schedule, guess=0.2)
    assert np.array_equal(found.corrected, strings(5000, 0.002, 0)[0])
    assert found.disclosed_bits > 1250


def test_an_estimate_far_too_low_costs_bits_or_leaves_errors() -> None:
    alice = strings(5000, 0.2, 0)[0]
    assert np.count_nonzero(run(5000, 0.2, "original", guess=0.001).corrected != alice) > 800
    found = run(5000, 0.2, "optimised", guess=0.001)
    assert np.array_equal(found.corrected, alice)
    assert found.disclosed_bits > 1.05 * run(5000, 0.2, "optimised").disclosed_bits


def test_errors_that_hide_in_every_block_stay_for_the_verification_hash() -> None:
    """Two errors in every block of every pass: none is odd."""
    alice = np.zeros(2, dtype=np.uint8)
    found = reconcile(alice, alice ^ 1, error_rate=0.4, schedule="original", rng=np.random.default_rng(0))
    assert found.corrected.tolist() == [1, 1]


def test_the_same_randomness_gives_the_same_run_and_leaves_the_input_alone() -> None:
    alice, bob = strings(1000, 0.05, 1)
    before = alice.copy(), bob.copy()
    first, again = (reconcile(alice, bob, error_rate=0.05, rng=np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first.corrected, again.corrected)
    assert (first.disclosed_bits, first.rounds) == (again.disclosed_bits, again.rounds)
    assert np.array_equal(alice, before[0])
    assert np.array_equal(bob, before[1])


def test_block_sizes_are_those_of_the_papers() -> None:
    assert block_sizes(10_000, 0.05, "original") == [15, 30, 60, 120]
    assert block_sizes(100_000, 0.03, "optimised") == [32, 512, 4096, *[50_000] * 11]
    assert block_sizes(1000, 0.03, "optimised") == [32, *[500] * 13]


@pytest.mark.parametrize(("n", "size"), [(10, 4), (11, 4), (7, 7), (16, 5), (5, 1), (1, 1), (9, 6)])
def test_nodes_of_a_depth_are_disjoint_and_halves_make_up_the_whole(n: int, size: int) -> None:
    one = Pass(number=0, order=np.arange(n), size=size, reuse=True)
    blocks = len(one.blocks()[0])
    for depth in range(one.depth + 1):
        start, stop = one.bounds(depth, np.arange(blocks << depth))
        assert start[0] == 0
        assert stop[-1] == n
        assert np.array_equal(start[1:], stop[:-1])
        assert (stop - start <= one.width(depth)).all()
    assert (stop - start <= 1).all()


def naive(alice: Bits, bob: Bits, size: int, orders: list[Places]) -> Bits:
    """Cascade as in the first paper, one block at a time, with blocks of one size and without memory of halves."""
    bob = bob.copy()
    seen: list[Places] = []
    for order in orders:
        seen += [order[start : start + size] for start in range(0, len(order), size)]
        while odd := [block for block in seen if (alice ^ bob)[block].sum() % 2]:
            block = odd[0]
            while len(block) > 1:
                half = -(-len(block) // 2)
                block = block[:half] if (alice ^ bob)[block[:half]].sum() % 2 else block[half:]
            bob[block] ^= 1
    return bob


def test_batches_leave_what_one_correction_at_a_time_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few passes of small blocks leave errors: each outcome has no odd block in any pass, in batches or one by one."""
    left = []
    for seed in range(30):
        alice, bob = strings(120, 0.12, seed)
        monkeypatch.setattr(cascade, "block_sizes", lambda n, rate, schedule: [8, 8])
        for schedule in SCHEDULES:
            rng = np.random.default_rng(seed)
            found = reconcile(alice, bob, error_rate=0.12, schedule=schedule, rng=rng).corrected
            rng = np.random.default_rng(seed)
            orders = [rng.permutation(120) for _ in range(2)]
            slow = naive(alice, bob, 8, orders)
            for outcome in (found, slow):
                blocks = [order[start : start + 8] for order in orders for start in range(0, 120, 8)]
                assert not any((alice ^ outcome)[block].sum() % 2 for block in blocks)
            left.append((np.count_nonzero(found != alice), np.count_nonzero(slow != alice)))
    mine, its = np.array(left).T
    assert 0 < mine.mean() == pytest.approx(its.mean(), rel=0.35)


@pytest.mark.parametrize(
    ("bob", "rate", "message"),
    [
        (np.zeros(3, np.uint8), 0.1, "4 bits of Alice and 3 of Bob"),
        (np.zeros(4, np.uint8), 0.6, "error_rate=0.6"),
        (np.zeros(4, np.uint8), math.nan, "error_rate=nan"),
        (np.zeros(4), 0.1, "Expected bob"),
    ],
)
def test_what_makes_no_sense_is_refused(bob: Bits, rate: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reconcile(np.zeros(4, np.uint8), bob, error_rate=rate, rng=np.random.default_rng(0))


def test_empty_strings_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        reconcile(np.zeros(0, np.uint8), np.zeros(0, np.uint8), error_rate=0.1, rng=np.random.default_rng(0))
