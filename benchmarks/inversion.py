"""The inversion work: many small least-squares problems, each of them 60 second-order steps in double precision."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks import ours
from benchmarks.problems import CLASSES
from benchmarks.sides import Side
from qfl_sec.attacks.inversion_problem import InversionProblem, pose
from qfl_sec.attacks.least_squares import Solution, System, minimize
from qfl_sec.attacks.starting_points import first_points
from qfl_sec.contracts import Architecture, Knowledge, Records, Setup, UpdatesView
from qfl_sec.gradients import per_example_gradients

QUBITS, LAYERS, BATCH = 4, 3, 4
ITERATIONS = 60
_PER_ROUND = 4
_NOISE = 0.02
"""Standard deviation of noise on what was sent: no record fits exactly, so that the steps do not end early."""


@dataclass(frozen=True, kw_only=True)
class Inversion:
    """Updates of single clients, and where the search for their records starts.

    Attributes:
        problem: The equations, as the attack `gradient_inversion` poses them with labels known.
        start: (targets, restarts, unknowns), in the unit cube.
        weights: (targets, parameters), the model that each target started from.
        labels: (targets, batch), of the records behind each target.
        updates: (targets, parameters), what each target sent: its negative mean gradient, with some noise.
    """

    problem: InversionProblem
    start: Tensor
    weights: Tensor
    labels: Tensor
    updates: Tensor

    @property
    def count(self) -> int:
        """How many problems there are."""
        return self.start.shape[0] * self.start.shape[1]

    @property
    def evaluations(self) -> int:
        """How often a system is evaluated if every problem makes every step: at its start, then once a step."""
        return self.count * (ITERATIONS + 1)

    def at_once(self, chosen: Sequence[int]) -> Side:
        """Run all problems at once; the answer is residuals and Jacobians of the chosen ones at the start."""
        made: dict[str, int] = {}

        def solve() -> None:
            made["evaluations"] = run(self.problem.system, self.start, chunk=self.problem.chunk).evaluations

        def answer() -> tuple[Tensor, Tensor]:
            which = torch.tensor(chosen)
            return self.problem.system(self.start.flatten(0, 1)[which], which)

        return ours.side("eager", solve, answer=answer, share=lambda: made["evaluations"] / self.evaluations)


def run(system: System, start: Tensor, *, chunk: int) -> Solution:
    """Run the attack's own optimizer for 60 steps; a problem ends before only if rounding allows no further step."""
    never = torch.full((len(start),), -1.0, dtype=start.dtype)
    return minimize(system, start, solved=never, iterations=ITERATIONS, chunk=chunk, tolerance=0.0)


def inversion(*, targets: int = 64, restarts: int = 16) -> Inversion:
    """Draw models, batches and the updates that clients with them would send, and pose the attack's equations."""
    generator = torch.Generator().manual_seed(2021)
    arch = ours.model(qubits=QUBITS, layers=LAYERS, dtype=torch.float64)
    rounds = -(-targets // _PER_ROUND)
    weights = 3 * (2 * torch.rand(rounds, arch.n_parameters, generator=generator, dtype=torch.float64) - 1)
    reference, batches = _records(100, generator), _records(rounds * _PER_ROUND * BATCH, generator)
    labels = batches.labels.reshape(rounds, _PER_ROUND, BATCH)
    features = batches.features.reshape(rounds, _PER_ROUND, BATCH, QUBITS)
    gradients = per_example_gradients(arch, weights[:, None, None], features, labels).mean(-2)
    noise = _NOISE * torch.randn(gradients.shape, generator=generator, dtype=torch.float64)
    updates = -(gradients + noise)
    view = _view(arch, weights, updates, rounds)
    knowledge = Knowledge(architecture=arch, reference=reference, defense=None, batch_labels=labels, candidates=None)
    problem = pose(
        view, knowledge, targets=targets, restarts=restarts, labels_known=True, margin=0.5, generator=generator
    )
    rows, places = problem.positions.unbind(1)
    assumed = problem.labels.flatten(2).unsqueeze(2)  # (targets, restarts, steps, slots): one client, one step
    return Inversion(
        problem=problem,
        start=first_points(assumed, problem.reference, generator=generator).flatten(2),
        weights=weights[rows],
        labels=labels[rows, places],
        updates=updates[rows, places],
    )


def _records(count: int, generator: torch.Generator) -> Records:
    features = 2 * torch.rand(count, QUBITS, generator=generator, dtype=torch.float64) - 1
    return Records(features=features, labels=torch.randint(0, CLASSES, (count,), generator=generator))


def _view(arch: Architecture, weights: Tensor, updates: Tensor, rounds: int) -> UpdatesView:
    """Return what a server saw of clients that each made one step of rate 1 a round."""
    schedule = (tuple(range(_PER_ROUND)),) * rounds
    setup = Setup(
        schedule=schedule,
        expected_sizes=(float(BATCH),) * _PER_ROUND,
        local_steps=(1,) * _PER_ROUND,
        batch_size=BATCH,
        sampling="fixed",
        optimizer="sgd",
        learning_rate=1.0,
        average="plain",
        n_parameters=arch.n_parameters,
    )
    return UpdatesView(
        adversary="server",
        setup=setup,
        global_weights=torch.cat([weights, weights[-1:]]),
        selected=torch.tensor(schedule),
        updates=updates,
    )
