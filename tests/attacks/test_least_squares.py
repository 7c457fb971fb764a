"""The solver, held against scipy's and against problems whose answer is known."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor

from qfl_sec.attacks.least_squares import Solution, System, minimize, rank


def solve(system: System, start: Tensor, *, iterations: int = 200, solved: float = 1e-26, chunk: int = 7) -> Solution:
    """Every problem its own group."""
    found = minimize(
        system,
        start.unsqueeze(1),
        solved=torch.full((len(start),), solved, dtype=start.dtype),
        iterations=iterations,
        chunk=chunk,
        tolerance=1e-10,
    )
    return replace(found, points=found.points.squeeze(1), objectives=found.objectives.squeeze(1))


def linear(matrices: Tensor, targets: Tensor) -> System:
    def system(points: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        return torch.einsum("kru,ku->kr", matrices[which], points) - targets[which], matrices[which]

    return system


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_bounded_linear_problems_equal_scipy() -> None:
    matrices, targets = random(20, 9, 5), 2 * random(20, 9, seed=1)
    found = solve(linear(matrices, targets), torch.full((20, 5), 0.5, dtype=torch.float64))
    at_bound = 0
    for row in range(20):
        expected = scipy.optimize.lsq_linear(matrices[row].numpy(), targets[row].numpy(), bounds=(0, 1), tol=1e-12)
        at_bound += int(np.count_nonzero(expected.active_mask))
        assert float(found.objectives[row]) == pytest.approx(2 * expected.cost, rel=1e-6)
        assert torch.allclose(found.points[row], torch.from_numpy(expected.x), atol=1e-4)
    assert at_bound > 20


def curves(times: Tensor, heights: Tensor) -> System:
    """Fit a exp(-5 b t) + c with (a, b, c) in the unit cube."""

    def system(points: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        a, b, c = points.unsqueeze(-1).unbind(1)  # (k, 1)
        decay = torch.exp(-5 * b * times)
        slopes = torch.stack([decay, -5 * times * a * decay, torch.ones_like(decay)], dim=-1)
        return a * decay + c - heights[which], slopes

    return system


def test_curve_fits_equal_scipy() -> None:
    times = torch.linspace(0, 1, 12, dtype=torch.float64)
    truth = torch.rand(10, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    heights = curves(times, torch.zeros(10, 12, dtype=torch.float64))(truth, torch.arange(10))[0]
    heights = heights + 0.02 * random(10, 12)
    found = solve(curves(times, heights), torch.full((10, 3), 0.5, dtype=torch.float64))
    for row in range(10):

        def residuals(point: np.ndarray, row: int = row) -> np.ndarray:
            return point[0] * np.exp(-5 * point[1] * times.numpy()) + point[2] - heights[row].numpy()

        expected = scipy.optimize.least_squares(residuals, np.full(3, 0.5), bounds=(0, 1), xtol=1e-14, ftol=1e-14)
        assert float(found.objectives[row]) == pytest.approx(2 * expected.cost, rel=1e-5)


def test_exact_data_are_fitted_to_machine_precision() -> None:
    times = torch.linspace(0, 1, 12, dtype=torch.float64)
    truth = 0.2 + 0.6 * torch.rand(10, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    heights = curves(times, torch.zeros(10, 12, dtype=torch.float64))(truth, torch.arange(10))[0]
    found = solve(curves(times, heights), torch.full((10, 3), 0.5, dtype=torch.float64))
    assert torch.allclose(found.points, truth, atol=1e-9)


def test_more_unknowns_than_equations_are_solved_exactly() -> None:
    matrices = random(6, 4, 11)
    inside = torch.rand(6, 11, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    targets = torch.einsum("kru,ku->kr", matrices, inside)
    found = solve(linear(matrices, targets), torch.full((6, 11), 0.5, dtype=torch.float64))
    assert float(found.objectives.max()) < 1e-20
    assert float(found.points.min()) >= 0 and float(found.points.max()) <= 1


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_problems_do_not_influence_each_other(chunk: int) -> None:
    matrices, targets = random(8, 6, 3), random(8, 6, seed=1)
    start = torch.full((8, 3), 0.5, dtype=torch.float64)
    together = solve(linear(matrices, targets), start, chunk=chunk)
    for row in range(8):
        alone = solve(linear(matrices[row : row + 1], targets[row : row + 1]), start[:1])
        assert torch.allclose(together.points[row], alone.points[0], atol=1e-10)


def test_a_solved_restart_stops_its_group_and_no_other() -> None:
    matrices = torch.eye(2, dtype=torch.float64).expand(4, 2, 2)
    targets = torch.tensor([[0.3, 0.4], [0.3, 0.4], [0.9, 0.1], [0.9, 0.1]], dtype=torch.float64)
    start = torch.tensor([[[0.3, 0.4], [0.8, 0.8]], [[0.5, 0.5], [0.2, 0.2]]], dtype=torch.float64)
    found = minimize(
        linear(matrices, targets),
        start,
        solved=torch.full((2,), 1e-20, dtype=torch.float64),
        iterations=50,
        chunk=10,
    )
    assert torch.equal(found.points[0], start[0])
    assert float(found.objectives[1].min()) < 1e-20


def test_local_minima_are_left_to_other_restarts() -> None:
    """Only 0.8 solves; starts left of 0.3 slide to the bound at 0, where the residual cannot vanish."""

    def system(points: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        return points**2 - 0.6 * points - 0.16, (2 * points - 0.6).unsqueeze(-1)

    found = solve(system, torch.tensor([[0.1], [0.2], [0.6], [0.9]], dtype=torch.float64))
    assert found.points.squeeze(-1).tolist() == pytest.approx([0.0, 0.0, 0.8, 0.8], abs=1e-6)


def test_no_iteration_raises_an_objective() -> None:
    times = torch.linspace(0, 1, 12, dtype=torch.float64)
    heights = random(10, 12)
    start = torch.rand(10, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    objectives = [solve(curves(times, heights), start, iterations=count).objectives for count in range(1, 12)]
    assert all(bool((later <= earlier).all()) for earlier, later in itertools.pairwise(objectives))


def test_rank_counts_independent_columns() -> None:
    factors = random(3, 8, 4), random(3, 4, 6, seed=1)
    assert rank(factors[0] @ factors[1]).tolist() == [4, 4, 4]
    assert rank(random(2, 8, 6)).tolist() == [6, 6]
    assert rank(torch.zeros(1, 3, 2, dtype=torch.float64)).tolist() == [0]
