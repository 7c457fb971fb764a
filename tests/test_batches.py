"""Batches: sizes, rates, independence of each client's stream."""

import numpy as np
import pytest

from qfl_sec.batches import draw_batches, steps_per_round
from qfl_sec.contracts import Setup
from qfl_sec.randomness import Streams


def setup(sampling: str, *, local_steps: int = 1, batch_size: int = 4, rounds: int = 1) -> Setup:
    return Setup(
        schedule=((0, 1),) * rounds,
        expected_sizes=(10.0, 10.0, 10.0),
        local_steps=(local_steps,) * 3,
        batch_size=batch_size,
        sampling=sampling,  # type: ignore[arg-type]
        optimizer="sgd",
        learning_rate=1.0,
        average="plain",
        n_parameters=1,
    )


OWNED = [np.arange(0, 10), np.arange(10, 17), np.arange(17, 30)]


def test_fixed_batches_of_one_pass_are_disjoint_and_belong_to_the_client() -> None:
    batches = draw_batches(setup("fixed", local_steps=3), OWNED, 0, Streams(0))
    assert batches.records.shape == (2, 3, 4)
    first = batches.records[0][batches.records[0] >= 0]
    assert sorted(first) == list(range(10))  # 4 + 4 + 2: a whole pass
    second = batches.records[1]
    assert set(second[second >= 0]) <= set(OWNED[1])
    assert (second[2] >= 0).sum() == 4  # a second pass has begun


def test_poisson_batches_have_the_stated_rate() -> None:
    rounds = 4000
    plan = setup("poisson", rounds=rounds)
    counts = np.zeros(30)
    sizes = []
    for round_ in range(rounds):
        used = draw_batches(plan, OWNED, round_, Streams(1)).records[0]
        counts[used[used >= 0]] += 1
        sizes.append((used >= 0).sum())
    rate = plan.sample_rate(0)
    assert rate == 0.4
    # Each record's count is Binomial(4000, 0.4): five standard deviations are 155.
    assert np.abs(counts[:10] - rounds * rate).max() < 155
    # Independent records: the batch size is Binomial(10, 0.4), of variance 2.4.
    assert np.var(sizes) == pytest.approx(2.4, rel=0.15)


def test_a_client_draws_the_same_batch_whoever_else_is_selected() -> None:
    together = draw_batches(setup("fixed"), OWNED, 0, Streams(3)).records[1, 0]
    alone = Setup(**{**vars(setup("fixed")), "schedule": ((1, 2),)})
    assert np.array_equal(draw_batches(alone, OWNED, 0, Streams(3)).records[0, 0], together)


def test_an_empty_client_and_an_unfilled_batch_are_padded() -> None:
    batches = draw_batches(setup("fixed"), [np.arange(0), np.arange(2), np.arange(0)], 0, Streams(0))
    assert (batches.records[0] == -1).all()
    assert (batches.records[1, 0] >= 0).sum() == 2
    assert batches.active.all()


@pytest.mark.parametrize(
    ("size", "steps", "epochs", "expected"), [(14, 2, None, 2), (14, None, 1, 4), (16, None, 2, 8), (0, None, 1, 1)]
)
def test_steps_per_round(size: int, steps: int | None, epochs: int | None, expected: int) -> None:
    assert steps_per_round(size, 4, steps, epochs) == expected
