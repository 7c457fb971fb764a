"""What a server learns of the angles: exact states of its view, statistics of its records, sizes and times.

Of one node the server holds the qubit |+_theta> and, in the end, delta = phi + theta + pi r. Averaged over the client's
secrets that is a classical-quantum state; if the states of any two angles are the same, the server learns nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from qfl_sec.checking import InputError
from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols.angle_grid import AngleGrid, Angles
from qfl_sec.protocols.blind_transcript import Message
from qfl_sec.protocols.brickwork import Brickwork

Complex = NDArray[np.complex128]

Secrets = Literal["theta and r", "theta", "r"]
"""Which of the client's secrets are random; the others are zero. All but the first are negative controls."""

MAX_VIEW_ENTRIES = 1 << 26


def view_of_angle(phi: float, *, theta_bits: int, secrets: Secrets = "theta and r") -> dict[float, Complex]:
    """Return the server's view of one node, without correction.

    Args:
        phi: The secret angle in radians.
        theta_bits: theta is uniform on 2 pi j / 2^theta_bits; 0 for the whole circle, where delta is uniform too and
            turns the qubit along, so that delta = 0 stands for all.
        secrets: Which secrets are random.

    Returns:
        For each delta modulo 2 pi that occurs, to 1e-9, the unnormalised state of the qubit, (2, 2); traces add to 1.
    """
    flips = (0, 1) if secrets != "theta" else (0,)
    if not theta_bits and "theta" in secrets:
        states = [_plus(-phi - np.pi * r) for r in flips]
        return {0.0: np.mean(states, 0)}
    thetas = np.arange(1 << theta_bits) * (2 * np.pi / (1 << theta_bits)) if "theta" in secrets else np.zeros(1)
    found: dict[float, Complex] = {}
    for theta, r in product(thetas, flips):
        delta = _key(phi + theta + np.pi * r)
        state = _plus(theta) / (len(thetas) * len(flips))
        found[delta] = found.get(delta, np.zeros((2, 2), complex)) + state
    return found


def _plus(theta: float) -> Complex:
    """Return the state |+_theta>, (2, 2)."""
    amplitudes = np.array([1, np.exp(1j * theta)]) / np.sqrt(2)
    return np.outer(amplitudes, amplitudes.conj())


def trace_distance(first: dict[Any, Complex], second: dict[Any, Complex]) -> float:
    """Return the trace distance of two classical-quantum states: half the sum of trace norms of the differences."""
    nothing = np.zeros_like(next(iter(first.values())))
    both = [first.get(key, nothing) - second.get(key, nothing) for key in {**first, **second}]
    return float(np.abs(np.linalg.eigvalsh(np.array(both))).sum() / 2)


def blindness_trace_distance(angles: Sequence[float] | NDArray[np.float64], *, theta_bits: int) -> float:
    """Return how far the server's view of any of these angles is from that of the first, at most; 0 is perfect.

    Twice this bounds the distance between any two of them.

    Args:
        angles: Secret angles in radians.
        theta_bits: Of theta's grid; 0 for real theta.

    Example:
        >>> round(blindness_trace_distance([0, 0.1], theta_bits=3), 9)
        1.0
        >>> blindness_trace_distance([0, np.pi / 4], theta_bits=3) < 1e-12
        True
    """
    values = np.ravel(angles)
    _, first = np.unique(np.round(np.mod(values, 2 * np.pi), 9), return_index=True)
    different = values[np.sort(first)]
    views = [view_of_angle(float(phi), theta_bits=theta_bits) for phi in different]
    return max(trace_distance(views[0], view) for view in views)


def joint_view(
    graph: Brickwork, angles: Angles, outcomes: Bits, *, grid: AngleGrid, secrets: Secrets = "theta and r"
) -> dict[tuple[int, ...], Complex]:
    """Return the server's exact view of all measured nodes of a small graph, for outcomes that it chose itself.

    Args:
        graph: Small.
        angles: phi, (rows, columns - 1), on the grid.
        outcomes: What the server reports, (rows, columns - 1), whatever it measured.
        grid: Of angles and theta.
        secrets: Which secrets are random.

    Returns:
        For all deltas, column by column, the unnormalised state of all measured qubits, (2^nodes, 2^nodes).

    Raises:
        InputError: If the view is too large.
    """
    measured = graph.rows * (graph.columns - 1)
    keys = (1 << grid.bits * measured) if "theta" in secrets else 1
    entries = keys << (2 * measured)
    if not grid.bits or entries > MAX_VIEW_ENTRIES:
        raise InputError(f"Expected a view of {entries} <= {MAX_VIEW_ENTRIES} numbers. Take fewer nodes or angle bits.")
    found: dict[tuple[int, ...], Complex] = {}
    shape = (graph.rows, graph.columns - 1)
    choices = list(_choices(shape, grid, secrets))
    for theta, r in choices:
        deltas = _deltas(graph, angles, outcomes, theta, r, grid)
        state = np.ones((1, 1), complex)
        for one in grid.radians(theta.T.ravel()):
            state = np.kron(state, _plus(one))
        key = tuple(int(d) for d in deltas.T.ravel())
        found[key] = found.get(key, np.zeros_like(state)) + state / len(choices)
    return found


def _choices(shape: tuple[int, int], grid: AngleGrid, secrets: Secrets) -> Iterator[tuple[Angles, Bits]]:
    size = shape[0] * shape[1]
    thetas = range(1 << grid.bits) if "theta" in secrets else range(1)
    flips = range(2) if secrets != "theta" else range(1)
    for theta in product(thetas, repeat=size):
        for r in product(flips, repeat=size):
            yield np.array(theta, np.int32).reshape(shape), np.array(r, np.uint8).reshape(shape)


def _deltas(graph: Brickwork, angles: Angles, outcomes: Bits, theta: Angles, r: Bits, grid: AngleGrid) -> Angles:
    """Return what the client sends if the server answers with these outcomes."""
    known = outcomes ^ r
    found = np.empty_like(theta)
    for column in range(graph.columns - 1):
        found[:, column] = grid.masked(
            angles[:, column],
            reverse=graph.x_correction(known, column),
            turn=graph.z_correction(known, column) ^ r[:, column],
            by=theta[:, column],
        )
    return found


@dataclass(frozen=True, kw_only=True)
class UniformityTest:
    """Whether recorded angles look uniform.

    Attributes:
        statistic: chi-square, summed over nodes.
        degrees: Of freedom.
        p_value: Probability of a statistic as large if every angle is uniform.
    """

    statistic: float
    degrees: int
    p_value: float


def angles_are_uniform(recorded: Angles, *, bits: int) -> UniformityTest:
    """Test the angles that a server recorded over many runs, each node against the uniform distribution.

    Args:
        recorded: (rows, columns, runs), steps of the grid.
        bits: Of the grid.

    Reference: Pearson 1900, doi:10.1080/14786440009463897.
    """
    runs, cells = recorded.shape[-1], 1 << bits
    counts = np.array([np.bincount(node, minlength=cells) for node in recorded.reshape(-1, runs)])
    statistic = float(((counts - runs / cells) ** 2).sum() * cells / runs)
    degrees = len(counts) * (cells - 1)
    return UniformityTest(statistic=statistic, degrees=degrees, p_value=float(stats.chi2.sf(statistic, degrees)))


def shape_differences(first: Sequence[Message], second: Sequence[Message]) -> tuple[str, ...]:
    """Return what anyone sees to differ between the messages of two runs, their number, sizes and times; () if nothing.

    Two circuits that fit the same graph have to look alike.
    """
    if len(first) != len(second):
        return (f"{len(first)} messages, {len(second)}",)
    return tuple(
        f"message {number}: {name} {getattr(one, name)}, {getattr(other, name)}"
        for number, (one, other) in enumerate(zip(first, second, strict=True))
        for name in ("sender", "kind", "column", "size", "seconds")
        if getattr(one, name) != getattr(other, name)
    )


def _key(angle: float) -> float:
    """Return an angle modulo 2 pi, so that equal ones are equal keys."""
    rounded = round(float(np.mod(angle, 2 * np.pi)), 9)
    return 0.0 if rounded == round(2 * np.pi, 9) else rounded
