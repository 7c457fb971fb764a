"""Bounded Levenberg-Marquardt for many small problems at once.

All problems advance in one tensor program; each has its own damping, accepts or rejects its own step, and leaves the
program when it is done. Chunks have a fixed size, so that results do not depend on the machine's memory.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

System = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(points (problems, unknowns), their indices (problems,)) to residuals (problems, rows) and their Jacobian."""

INITIAL_DAMPING = 1e-3
MAX_DAMPING = 1e12
RANK_TOLERANCE = 1e-10


@dataclass(frozen=True, kw_only=True)
class Solution:
    """Where each problem ended.

    Attributes:
        points: (groups, restarts, unknowns), in the unit cube.
        objectives: (groups, restarts), the sum of squared residuals there.
        evaluations: How often a problem's residuals and Jacobian were evaluated, over all problems.
    """

    points: Tensor
    objectives: Tensor
    evaluations: int


@dataclass
class _State:
    """The iterates; rows are problems, group after group."""

    points: Tensor
    residuals: Tensor
    jacobians: Tensor
    objectives: Tensor
    damping: Tensor
    growth: Tensor
    done: Tensor


def minimize(
    system: System,
    start: Tensor,
    *,
    solved: Tensor,
    iterations: int,
    chunk: int,
    tolerance: float = 1e-6,
) -> Solution:
    """Minimize the sum of squared residuals of each problem over the unit cube.

    Steps are damped Gauss-Newton steps in the free variables, projected onto the cube; a variable at a bound whose
    descent points outwards is held there. The problems of a group are restarts of the same question: as soon as one is
    solved, none can do better, and the whole group stops.

    Args:
        system: The residuals and their Jacobian; it numbers problems group after group.
        start: (groups, restarts, unknowns), in the unit cube.
        solved: (groups,), the objective at which nothing is left to gain; negative for never.
        iterations: How many steps each restart tries at most.
        chunk: How many problems `system` is handed at a time.
        tolerance: End a restart when an accepted step lowers its objective by less than this share of it.

    Reference: Nielsen 1999, Damping parameter in Marquardt's method, IMM-REP-1999-05, equation 2.4 (the update of the
        damping); Kanzow, Yamashita and Fukushima 2004, doi:10.1016/j.cam.2004.02.013 (the projection).
    """
    shape = start.shape[:2]
    every = torch.arange(shape.numel(), device=start.device)
    state = _begin(system, start.flatten(0, 1), every, chunk)
    evaluations = len(every)
    for _ in range(iterations):
        solved_groups = (state.objectives.reshape(shape) <= solved.unsqueeze(1)).any(1, keepdim=True)
        which = every[~(state.done.reshape(shape) | solved_groups).flatten()]
        if len(which) == 0:
            break
        _advance(system, state, which, chunk, tolerance)
        evaluations += len(which)
    return Solution(
        points=state.points.reshape(start.shape), objectives=state.objectives.reshape(shape), evaluations=evaluations
    )


def rank(jacobians: Tensor) -> Tensor:
    """Return the numerical rank of each matrix (..., rows, columns): singular values above 1e-10 of the largest."""
    singular: Tensor = torch.linalg.svdvals(jacobians)
    return (singular > RANK_TOLERANCE * singular[..., :1]).sum(-1)


def _begin(system: System, start: Tensor, every: Tensor, chunk: int) -> _State:
    """Evaluate the starting points."""
    residuals, jacobians = _evaluate(system, start, every, chunk)
    return _State(
        points=start.clone(),
        residuals=residuals,
        jacobians=jacobians,
        objectives=residuals.square().sum(-1),
        damping=INITIAL_DAMPING * jacobians.square().sum(-2).amax(-1).clamp(min=torch.finfo(start.dtype).tiny),
        growth=torch.full_like(start[:, 0], 2.0),
        done=torch.zeros_like(every, dtype=torch.bool),
    )


def _advance(system: System, state: _State, which: Tensor, chunk: int, tolerance: float) -> None:
    """Try one step of each running problem; accept, damp and end each on its own."""
    points, residuals, jacobians = (_rows(one, which) for one in (state.points, state.residuals, state.jacobians))
    before, damping, growth = state.objectives[which], state.damping[which], state.growth[which]

    gradients = torch.einsum("kru,kr->ku", jacobians, residuals)
    held = ((points <= 0) & (gradients > 0)) | ((points >= 1) & (gradients < 0))
    free = jacobians * ~held.unsqueeze(1) if bool(held.any()) else jacobians
    steps = _damped_step(free, residuals, damping)
    trials = (points + steps).clamp(0, 1)
    steps = trials - points
    new_residuals, new_jacobians = _evaluate(system, trials, which, chunk)
    after = new_residuals.square().sum(-1)

    predicted = -(2 * (gradients * steps).sum(-1) + torch.einsum("kru,ku->kr", jacobians, steps).square().sum(-1))
    accepted = after < before
    ratio = torch.where(predicted > 0, (before - after) / predicted, torch.zeros_like(before))
    shrink = (1 - (2 * ratio.clamp(0, 1) - 1) ** 3).clamp(min=1 / 3)
    still = steps.abs().amax(-1) <= 4 * torch.finfo(points.dtype).eps
    flat = accepted & (before - after <= tolerance * before) & (ratio > 0.25)
    stuck = ~accepted
    stuck[~accepted] = damping[~accepted] > MAX_DAMPING * jacobians[~accepted].square().sum((-2, -1))

    state.done[which] = still | flat | stuck
    state.damping[which] = torch.where(accepted, damping * shrink, damping * growth)
    state.growth[which] = torch.where(accepted, 2.0, 2 * growth)
    moved = which[accepted]
    state.points[moved], state.objectives[moved] = trials[accepted], after[accepted]
    state.residuals[moved], state.jacobians[moved] = new_residuals[accepted], new_jacobians[accepted]


def _rows(values: Tensor, which: Tensor) -> Tensor:
    """Return the rows of running problems; without a copy while all of them run."""
    return values if len(which) == len(values) else values[which]


def _damped_step(jacobians: Tensor, residuals: Tensor, damping: Tensor) -> Tensor:
    """Return -(J^T J + damping I)^-1 J^T r, by whichever of the two equal forms has the smaller matrix."""
    rows, unknowns = jacobians.shape[-2:]
    transposed = jacobians.mT
    small = jacobians @ transposed if rows < unknowns else transposed @ jacobians
    small.diagonal(dim1=-2, dim2=-1).add_(damping.unsqueeze(-1))
    factor = torch.linalg.cholesky_ex(small)[0]
    if rows < unknowns:
        inner = torch.cholesky_solve(residuals.unsqueeze(-1), factor)
        return -(transposed @ inner).squeeze(-1)
    return -torch.cholesky_solve(transposed @ residuals.unsqueeze(-1), factor).squeeze(-1)


def _evaluate(system: System, points: Tensor, which: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """Evaluate the system in chunks of a fixed number of problems."""
    parts = [system(points[i : i + chunk], which[i : i + chunk]) for i in range(0, len(points), chunk)]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
