"""Gradient pruning keeps what is largest, and its attackers know what a zero means."""

import pytest
import torch

from qfl_sec.contracts import Defense
from qfl_sec.defenses import GradientPruning, NoDefense, SecureAggregation, Stack
from qfl_sec.plugins import get


def sent(updates: torch.Tensor, share: float) -> torch.Tensor:
    return GradientPruning(share=share).update(updates, round=0, generator=torch.Generator())


@pytest.mark.parametrize(("share", "kept"), [(0.01, 1), (0.25, 3), (0.3, 3), (0.5, 5), (0.99, 10), (1.0, 10)])
def test_it_sends_the_largest_coordinates_of_each_update(share: float, kept: int) -> None:
    updates = torch.randn(4, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for before, after in zip(updates, sent(updates, share), strict=True):
        order = sorted(range(10), key=lambda place: -abs(float(before[place])))
        expected = [float(before[place]) if place in order[:kept] else 0.0 for place in range(10)]
        assert after.tolist() == expected


def test_of_equal_coordinates_the_first_are_sent() -> None:
    assert sent(torch.tensor([[1.0, -2.0, 1.0, 1.0]]), 0.5).tolist() == [[1.0, -2.0, 0.0, 0.0]]


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, float("nan")])
def test_impossible_shares_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match="Expected 0 < share="):
        GradientPruning(share=share)


def test_it_says_when_it_leaves_something_out() -> None:
    assert get("defense", "gradient_pruning") is GradientPruning
    cases: list[tuple[Defense, bool]] = [
        (NoDefense(), False),
        (GradientPruning(share=1.0), False),
        (GradientPruning(share=0.9), True),
        (Stack(defenses=(GradientPruning(share=0.9), SecureAggregation())), True),
        (Stack(defenses=(GradientPruning(share=1.0), SecureAggregation())), False),
    ]
    for defense, withholds in cases:
        assert defense.withholds == withholds
