"""Blind computing without its messages: the exact state of a pattern, and samples of its results.

The result of an honest blind round is distributed as that of the pattern's rounded angles, exactly; what a round costs
and leaks depends on sizes alone. Whole bricks are gates on pairs of rows: CZ (C x D) CZ (A x B) of rotations
RX(-b) RZ(-a) and RX(-d) RZ(-c) on each row. Those that all samples share are multiplied together where rows are few;
where only the angles a differ between samples, they are phases before a brick that all share.
"""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols.blind_qubits import check_memory

if TYPE_CHECKING:
    from qfl_sec.protocols.measurement_patterns import MeasurementPattern

Complex = NDArray[np.complex128]

MAX_MATRIX_ROWS = 6
"""Up to here shared bricks become one matrix."""

_CZ = np.array([1.0, 1.0, 1.0, -1.0])


def pattern_state(pattern: "MeasurementPattern") -> Complex:
    """Return the state of the output column after all corrections, (2^rows, samples or 1).

    Raises:
        InputError: If it does not fit in memory.
    """
    rows, bricks = pattern.graph.rows, pattern.shared.shape[1]
    check_memory(rows, np.complex128)
    state = np.full((1 << rows, 1), 2 ** (-rows / 2), complex)
    phases, shared = _split_phases(pattern)
    gates = _rotations(shared)  # (2, rows, bricks, 2, 2)
    wholes = _brick_matrices(gates) if rows <= MAX_MATRIX_ROWS else None  # (bricks, 2^rows, 2^rows)
    matrix: Complex | None = None
    for brick in range(bricks):
        if brick in pattern.varying:
            state, matrix = state if matrix is None else matrix @ state, None
        if brick in phases:
            state = state * _product(phases[brick])
        elif brick in pattern.varying:
            own = pattern.varying[brick]
            prepares = brick == 0 and not own[:, 3].any()
            state = _prepared(own) if prepares else _apply(state, _rotations(own.transpose(0, 2, 1)), brick)
            continue
        if wholes is not None:
            matrix = wholes[brick] if matrix is None else wholes[brick] @ matrix
        else:
            state = _apply(state, gates[:, :, brick, None], brick)
    return state if matrix is None else matrix @ state


def pattern_probabilities(pattern: "MeasurementPattern") -> NDArray[np.float64]:
    """Return the probability of each result, (2^rows, samples or 1); the first row is the most significant bit."""
    state = pattern_state(pattern)
    return np.asarray(state.real**2 + state.imag**2)


def sample_results(probabilities: NDArray[np.float64], shots: int, generator: np.random.Generator) -> Bits:
    """Draw results.

    Args:
        probabilities: (2^rows, samples).
        shots: Of each sample.
        generator: Decides.

    Returns:
        (rows, samples, shots); the shots of a sample are ordered, not as they would follow each other.
    """
    rows = (len(probabilities) - 1).bit_length()
    counts = generator.multinomial(shots, (probabilities / probabilities.sum(0)).T)  # (samples, 2^rows)
    index = np.stack([np.repeat(np.arange(len(probabilities)), one) for one in counts])  # (samples, shots)
    shifts = np.arange(rows - 1, -1, -1)[:, None, None]
    return ((index >> shifts) & 1).astype(np.uint8)


def _split_phases(pattern: "MeasurementPattern") -> tuple[dict[int, Complex], NDArray[np.float64]]:
    """Return RZ(-a) of bricks that differ in a alone, (rows, 2, samples), and all shared angles without these a."""
    phases, shared = {}, pattern.shared.copy()
    for brick, own in pattern.varying.items():
        if (own[:, 1:] == own[:, 1:, :1]).all():
            shared[:, brick, 0], shared[:, brick, 1:] = 0, own[:, 1:, 0]
            turns = np.exp(0.5j * own[:, 0])
            phases[brick] = np.stack([turns, turns.conj()], 1)
    return phases, shared


def _product(vectors: Iterable[Complex]) -> Complex:
    """Return the Kronecker product of each row's vector, (2, samples or 1), as (2^rows, samples)."""
    whole = np.ones((1, 1), complex)
    for vector in vectors:
        whole = (whole[:, None] * vector).reshape(2 * len(whole), -1)
    return whole


def _rotations(angles: NDArray[np.float64]) -> Complex:
    """Return RX(-b) RZ(-a) and RX(-d) RZ(-c) for angles (..., 4), as (2, ..., 2, 2)."""
    pairs = np.moveaxis(angles.reshape(*angles.shape[:-1], 2, 2), -2, 0) / 2  # (2, ..., 2)
    phase = np.exp(1j * pairs[..., 0])
    cosine, sine = np.cos(pairs[..., 1]), 1j * np.sin(pairs[..., 1])
    back = phase.conj()
    rows = [np.stack([cosine * phase, sine * back], -1), np.stack([sine * phase, cosine * back], -1)]
    return np.stack(rows, -2)


def _prepared(angles: NDArray[np.float64]) -> Complex:
    """Return what a brick makes of |+...+>, (2^rows, samples), where d = 0 and so the brick's CZs cancel.

    Args:
        angles: (rows, 4, samples).
    """
    parts = angles[:, :3].swapaxes(0, 1) / 2  # (3, rows, samples)
    a, b, c = (one[:, :1] if (one == one[:, :1]).all() else one for one in parts)
    phase, cosine, sine = np.exp(1j * a), np.cos(b), 1j * np.sin(b)
    zero, one = cosine * phase + sine * phase.conj(), sine * phase + cosine * phase.conj()
    turn = np.exp(1j * c) * math.sqrt(0.5)
    vectors = np.stack(np.broadcast_arrays(zero * turn, one * turn.conj()), 1)  # (rows, 2, samples)
    return _product(vectors)


def _pairs(rows: int, brick: int) -> list[tuple[int, ...]]:
    """Return which rows a brick joins, in order; rows by themselves included."""
    start = brick % 2
    found: list[tuple[int, ...]] = [(0,)] if start else []
    found += [(row, row + 1) for row in range(start, rows - 1, 2)]
    return [*found, (rows - 1,)] if found == [] or found[-1][-1] < rows - 1 else found


def _pair_matrix(gates: Complex, members: tuple[int, ...]) -> Complex:
    """Return the gate of one row or a pair, (..., d, d), from rotations (2, rows, ..., 2, 2)."""
    first, second = gates
    if len(members) == 1:
        return np.asarray(second[members[0]] @ first[members[0]])
    early, late = (_kron(part[members[0]], part[members[1]]) for part in (first, second))
    return np.asarray(_CZ[:, None] * late * _CZ @ early)


def _kron(left: Complex, right: Complex) -> Complex:
    """Return Kronecker products of matrices with the same leading axes."""
    product = left[..., :, None, :, None] * right[..., None, :, None, :]
    size = left.shape[-1] * right.shape[-1]
    return product.reshape(*product.shape[:-4], size, size)


def _brick_matrices(gates: Complex) -> Complex:
    """Return bricks of rotations (2, rows, bricks, 2, 2) as matrices on all rows, (bricks, 2^rows, 2^rows)."""
    rows, bricks = gates.shape[1:3]
    found = np.empty((bricks, 1 << rows, 1 << rows), complex)
    for parity in (0, 1):
        whole = np.ones((len(range(parity, bricks, 2)), 1, 1), complex)
        for members in _pairs(rows, parity):
            whole = _kron(whole, _pair_matrix(gates[:, :, parity::2], members))
        found[parity::2] = whole
    return found


def _apply(state: Complex, gates: Complex, brick: int) -> Complex:
    """Apply a brick of rotations (2, rows, samples or 1, 2, 2) to states (2^rows, samples or 1)."""
    for members in _pairs(gates.shape[1], brick):
        matrix = _pair_matrix(gates, members)  # (samples or 1, d, d)
        split = state.reshape(1 << members[0], matrix.shape[-1], -1, state.shape[1])
        if len(matrix) == 1:
            moved = np.tensordot(matrix[0], split, (1, 1)).swapaxes(0, 1)
        else:
            moved = np.einsum("sij,ajbs->aibs", matrix, np.broadcast_to(split, (*split.shape[:3], len(matrix))))
        state = moved.reshape(len(state), -1)
    return state
