"""Error correction of direct communication: it mends what it should and says when it cannot."""

import numpy as np
import pytest
from scipy.special import entr

from qfl_sec.protocols import block_code

FRAMES = 60


def sent(copies: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    frames = np.random.default_rng(seed).integers(0, 2, (FRAMES, block_code.FRAME_BITS), np.uint8)
    return frames, block_code.repeat(block_code.encode(frames), copies)


def received(coded: np.ndarray, error_rate: float, survival: float, seed: int) -> np.ndarray:  # type: ignore[type-arg]
    generator = np.random.default_rng(seed)
    read = coded ^ (generator.random(coded.shape) < error_rate)
    weight = np.log((1 - max(error_rate, 1e-4)) / max(error_rate, 1e-4))
    return np.where(generator.random(coded.shape) < survival, weight * (1.0 - 2.0 * read), 0.0)


@pytest.mark.parametrize(
    ("error_rate", "survival"), [(0.0, 1.0), (0.02, 1.0), (0.05, 1.0), (0.11, 1.0), (0.0, 0.1), (0.05, 0.3)]
)
def test_frames_are_decoded_with_as_many_copies_as_are_asked_for(error_rate: float, survival: float) -> None:
    copies = block_code.copies_needed(error_rate=error_rate, survival=survival)
    assert copies is not None
    frames, coded = sent(copies)
    decoded, settled = block_code.decode(block_code.combine(received(coded, error_rate, survival, 1), copies))
    assert settled.all()
    assert np.array_equal(decoded, frames)


def test_a_channel_worse_than_the_code_is_noticed() -> None:
    _, coded = sent(1)
    _, settled = block_code.decode(received(coded, 0.2, 1.0, 2))
    assert not settled.any()
    _, settled = block_code.decode(np.zeros((2, block_code.CODED_BITS)))
    assert not settled.any()


def test_each_information_bit_enters_four_checks_and_no_two_meet_twice() -> None:
    sums = block_code._layout().sums
    assert np.bincount(sums.ravel()).tolist() == [block_code.REPEATS] * block_code.FRAME_BITS
    pairs = [tuple(sorted((a, b))) for row in sums.tolist() for i, a in enumerate(row) for b in row[i + 1 :]]
    assert len(set(pairs)) == len(pairs)


def test_what_is_recovered_from_erasures_is_right_and_no_less_than_what_was_read() -> None:
    frames, coded = sent(1)
    known = np.random.default_rng(3).random(coded.shape) < 0.4
    bits, certain = block_code.recover(np.where(known, block_code.CERTAIN * (1.0 - 2.0 * coded), 0.0))
    assert (certain >= known[:, : block_code.FRAME_BITS]).all()
    assert certain.mean() > 0.42
    assert np.array_equal(bits[certain], frames[certain])


def test_information_of_copies_has_its_closed_forms() -> None:
    for error_rate in (0.01, 0.11, 0.3):
        entropy = entr([error_rate, 1 - error_rate]).sum() / np.log(2)
        assert block_code.information_of_copies(1, survival=1.0, error_rate=error_rate) == pytest.approx(1 - entropy)
        half = block_code.information_of_copies(1, survival=0.5, error_rate=error_rate)
        assert half == pytest.approx((1 - entropy) / 2)
    assert block_code.information_of_copies(3, survival=0.5, error_rate=0.0) == pytest.approx(0.875)
    # two copies: equal with (1-e)^2 or e^2, different and worthless otherwise
    equal = 0.9**2 + 0.1**2
    posterior = 0.9**2 / equal
    entropy = entr([posterior, 1 - posterior]).sum() / np.log(2)
    two = block_code.information_of_copies(2, survival=1.0, error_rate=0.1)
    assert two == pytest.approx(equal * (1 - entropy))


@pytest.mark.parametrize(("error_rate", "survival"), [(0.5, 1.0), (0.0, 0.0), (0.0, 1e-9)])
def test_a_hopeless_channel_has_no_number_of_copies(error_rate: float, survival: float) -> None:
    assert block_code.copies_needed(error_rate=error_rate, survival=survival) is None
