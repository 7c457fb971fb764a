"""Computation and test rounds through a real server: traps isolated by dummies, in a secret random order.

In a test round of a colour class every node outside the class is a dummy, |0> or |1>, so that each node of the class is
alone; measured at angle 0 it answers the parity of the dummies around it. In the last column, which is read in the
computational basis, the dummies themselves are the traps. Errors that act on one node alone are thus seen by one of the
two classes.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.special import xlog1py

from qfl_sec.checking import InputError
from qfl_sec.protocol_contracts import Bits, Cost
from qfl_sec.protocols.angle_grid import AngleGrid, Angles
from qfl_sec.protocols.blind_parties import Server
from qfl_sec.protocols.blind_qubits import Mask
from qfl_sec.protocols.blind_transcript import round_cost, run_rounds
from qfl_sec.protocols.brickwork import Brickwork
from qfl_sec.protocols.channels import check_probability
from qfl_sec.protocols.verification import COVERED, NOT_COVERED, Verification, round_failure_probability
from qfl_sec.randomness import Streams

FLIPS_PER_ERROR = 2 / 3
"""Share of the Pauli errors X, Y, Z that turn a trap: Z always and the others every second time, theta being random;
in the last column X and Y."""


@dataclass(frozen=True, kw_only=True)
class VerifiedRun:
    """How a verified computation ended.

    Attributes:
        plan: Of the rounds.
        is_test: Which rounds were tests, (rounds,), in the order in which they ran.
        failed: Which of the tests failed, (test_rounds,), in their order.
        output: Results of the computation rounds, (rows, computation_rounds), in their order.
        cost: Of all rounds.
        covers: What `security_error` is about.
        does_not_cover: What it is not about, although it can be computed from `output`.
    """

    plan: Verification
    is_test: Mask
    failed: Mask
    output: Bits
    cost: Cost
    covers: str = COVERED
    does_not_cover: str = NOT_COVERED

    @property
    def test_failures(self) -> int:
        """How many test rounds failed."""
        return int(np.count_nonzero(self.failed))

    @property
    def accepted(self) -> bool:
        """Whether these are not too many."""
        return self.test_failures <= self.plan.threshold

    @property
    def security_error(self) -> float:
        """The largest probability of accepting a wrong majority, whatever the server does, where honest rounds err not.

        With honest rounds that err, `plan.worst_case(error_rate=...)`.
        """
        return self.plan.worst_case().failure_probability

    def decision(self, row: int = 0) -> int | None:
        """Return the majority of a row's results, None if the run was rejected; a tie gives 1."""
        if not self.accepted:
            return None
        return int(2 * np.count_nonzero(self.output[row]) >= self.output.shape[1])


def run_verified(
    plan: Verification,
    graph: Brickwork,
    angles: Angles,
    *,
    grid: AngleGrid,
    server: Server,
    streams: Streams,
    dtype: DTypeLike = np.complex64,
) -> VerifiedRun:
    """Run a plan on a server.

    Args:
        plan: How many rounds of which kind.
        graph: The public graph.
        angles: phi of the computation, (rows, columns - 1), on the grid.
        grid: Of the angles.
        server: Honest or not; its deviations are numbered by round, and the order is drawn here.
        streams: The client's; role "verification order", and those of its rounds.
        dtype: Of the simulated amplitudes.

    Raises:
        InputError: If the plan's colours are not those of a brickwork graph, or angles are not of its shape.
    """
    if angles.shape != (graph.rows, graph.columns - 1):
        raise InputError(f"Expected angles of shape {angles.shape} to have {(graph.rows, graph.columns - 1)}.")
    (run,) = run_jobs(plan, graph, angles[..., None], grid=grid, server=server, streams=streams, dtype=dtype)
    return run


def run_jobs(
    plan: Verification,
    graph: Brickwork,
    angles: Angles,
    *,
    grid: AngleGrid,
    server: Server,
    streams: Streams,
    dtype: DTypeLike = np.complex64,
) -> tuple[VerifiedRun, ...]:
    """Run a plan for each of several computations, all rounds in one batch; see `run_verified`.

    Args:
        plan: How many rounds of which kind, of each.
        graph: The public graph.
        angles: phi, (rows, columns - 1, computations), on the grid.
        grid: Of the angles.
        server: As for `run_verified`; it gets the rounds of one computation after those of another.
        streams: As for `run_verified`.
        dtype: Of the simulated amplitudes.

    Raises:
        InputError: If the plan's colours are not those of a brickwork graph.
    """
    if plan.colours != 2:
        raise InputError(f"Expected colours={plan.colours} to be 2, those of a brickwork graph.")
    jobs, rng = angles.shape[-1], streams.numpy("verification order")
    is_test = np.array([rng.permutation(plan.rounds) < plan.test_rounds for _ in range(jobs)])  # (jobs, rounds)
    classes = rng.integers(0, plan.colours, (jobs, plan.test_rounds), np.uint8)
    dummies = np.zeros((graph.rows, graph.columns, jobs, plan.rounds), bool)
    dummies[..., is_test] = graph.colours()[..., None] != classes.ravel()
    found = run_rounds(
        graph,
        np.where(is_test, np.zeros((), angles.dtype), angles[..., None]).reshape(*angles.shape[:2], -1),
        grid=grid,
        server=server,
        streams=streams.child("verification rounds"),
        rounds=is_test.size,
        dummies=dummies.reshape(graph.rows, graph.columns, -1),
        adaptive=~is_test.ravel(),
        dtype=dtype,
    )
    tests = is_test.ravel()
    wrong = wrong_traps(graph, classes.ravel(), found.outcomes[..., tests], found.dummy_bits[..., tests])
    failed = wrong.any((0, 1)).reshape(jobs, -1)
    output = found.output[:, ~tests].reshape(graph.rows, jobs, -1)
    cost = round_cost(graph, grid, plan.rounds)
    return tuple(
        VerifiedRun(plan=plan, is_test=is_test[job], failed=failed[job], output=output[:, job], cost=cost)
        for job in range(jobs)
    )


def trap_places(graph: Brickwork, classes: NDArray[np.uint8]) -> Mask:
    """Return which nodes are traps in tests of these classes (tests,): (rows, columns, tests)."""
    traps: Mask = graph.colours()[..., None] == classes
    traps[:, -1] = ~traps[:, -1]
    return traps


def wrong_traps(graph: Brickwork, classes: NDArray[np.uint8], outcomes: Bits, dummy_bits: Bits) -> Mask:
    """Return which traps gave the wrong outcome, (rows, columns, tests).

    Args:
        graph: The public graph.
        classes: The colour class of each test round, (tests,).
        outcomes: Of every node, the client's own bits removed, (rows, columns, tests).
        dummy_bits: Of the dummies, 0 elsewhere; same shape.
    """
    expected = graph.neighbour_parity(dummy_bits)
    expected[:, -1] = dummy_bits[:, -1]
    wrong: Mask = trap_places(graph, classes) & (outcomes != expected)
    return wrong


def noisy_round_error(graph: Brickwork, depolarizing_probability: float) -> float:
    """Return a bound on the probability that noise makes a computation round wrong: that any node suffers an error.

    Args:
        graph: The public graph.
        depolarizing_probability: Of an error at each node.

    Raises:
        InputError: If it is no probability.
    """
    check_probability(depolarizing_probability=depolarizing_probability)
    return -math.expm1(float(xlog1py(graph.nodes, -depolarizing_probability)))


def noisy_round_failure(graph: Brickwork, depolarizing_probability: float) -> float:
    """Return the probability that a test round fails at an honest server whose every node suffers a random Pauli error.

    Args:
        graph: The public graph.
        depolarizing_probability: Of an error at each node, X, Y and Z alike.

    Raises:
        InputError: If it is no probability.
    """
    traps = trap_places(graph, np.arange(2, dtype=np.uint8)).sum((0, 1))
    return round_failure_probability(FLIPS_PER_ERROR * depolarizing_probability, tuple(traps.tolist()))
