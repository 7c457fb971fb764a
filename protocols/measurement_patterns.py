"""Variational circuits as measurement patterns: the angle of every node of a brickwork graph.

A row of a brick with angles (a, b, c, 0) is RZ(-c) RX(-b) RZ(-a). A brick with (0, 0, pi/2, 0) on the control's row and
(0, pi/2, 0, -pi/2) on the target's is a CNOT. Every row starts in |+>; the first brick prepares from it the state that
the circuit's first one-qubit gates make of |0>, by angles that stay on every grid where those of RY and RZ are.

Reference: Broadbent, Fitzsimons and Kashefi 2009, arXiv:0807.4154, section 4 and figures 3 to 5.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from qfl_sec.checking import InputError
from qfl_sec.gate_parameters import INPUTS, ParameterMap
from qfl_sec.gates import Dense, Gate, Phase, Turn
from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols.angle_grid import AngleGrid
from qfl_sec.protocols.brickwork import BRICK, Brickwork
from qfl_sec.protocols.pattern_schedule import Run, pattern_schedule
from qfl_sec.statevector import compile_circuit
from qfl_sec.tape import Expectation, Measurement, Probabilities, Recording

Array = NDArray[Any]

_TINY = 1e-9
"""Below this an amplitude is zero, so that angles which then do not matter are chosen on the grid."""


@dataclass(frozen=True, kw_only=True)
class MeasurementPattern:
    """A computation as measurements of a brickwork graph, for one sample or many.

    Attributes:
        graph: Where they happen; whole bricks.
        shared: Angles phi in radians, (rows, bricks, 4), of the bricks that all samples share.
        varying: Of the others, by brick: (rows, 4, samples).
        measurements: What the circuit returns, all diagonal.
    """

    graph: Brickwork
    shared: NDArray[np.float64]
    varying: Mapping[int, NDArray[np.float64]] = field(default_factory=dict)
    measurements: tuple[Measurement, ...] = ()

    def __post_init__(self) -> None:
        bricks = (self.graph.columns - 1) // BRICK
        if self.shared.shape != (self.graph.rows, bricks, BRICK) or self.graph.columns != BRICK * bricks + 1:
            raise ValueError(f"Expected angles of whole bricks of {self.graph}, not of shape {self.shared.shape}.")

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return max((one.shape[-1] for one in self.varying.values()), default=1)

    @property
    def angles(self) -> NDArray[np.float64]:
        """Angles phi of every measured node, (rows, columns - 1, samples)."""
        found = np.repeat(self.shared[..., None], self.samples, -1)
        for brick, own in self.varying.items():
            found[:, brick] = own
        return found.reshape(self.graph.rows, -1, self.samples)

    def rounded(self, grid: AngleGrid) -> "MeasurementPattern":
        """Return the pattern with every angle moved to the nearest one of a grid."""
        if not grid.bits:
            return self
        varying = {brick: np.rint(own / grid.step) * grid.step for brick, own in self.varying.items()}
        return replace(self, shared=np.rint(self.shared / grid.step) * grid.step, varying=varying)

    def estimates(self, output: Bits) -> NDArray[np.float64]:
        """Return what the circuit returns, estimated from results.

        Args:
            output: (rows, ..., shots).

        Returns:
            (..., numbers): of each expectation value one, of the probabilities of k wires 2^k.
        """
        signs = 1 - 2.0 * output
        found: list[Array] = []
        for one in self.measurements:
            if isinstance(one, Probabilities):
                places = 1 << np.arange(len(one.wires))[::-1]
                index = np.tensordot(places, output[list(one.wires)].astype(np.intp), 1)
                found += [(index == k).mean(-1) for k in range(1 << len(one.wires))]
            else:
                means = [np.prod(signs[list(word.wires)], 0).mean(-1) for word in one.words]  # the empty product is 1
                found.append(np.tensordot(one.coefficients, np.array(means), 1))
        return np.stack(found, -1)


class PatternCompiler:
    """A circuit's structure, once; its angles for any inputs and weights.

    Args:
        circuit: A quantum function or QNode of (inputs, weights), as for `qfl_sec.statevector.compile_circuit`.
        n_features: Length of one sample.
        weight_shape: Of the weights.
        n_qubits: Number of qubits; None for those that the circuit uses.

    Raises:
        InputError: If a gate or measurement has no pattern, named in the message.

    Example:
        >>> import pennylane as qml
        >>> def circuit(inputs, weights):
        ...     qml.RY(inputs[0], wires=0)
        ...     qml.CNOT(wires=[0, 1])
        ...     qml.Rot(*weights, wires=1)
        ...     return qml.expval(qml.Z(1))
        >>> PatternCompiler(circuit, n_features=1, weight_shape=(3,)).graph
        Brickwork(rows=2, columns=17)
    """

    def __init__(
        self,
        circuit: Callable[[Any, Any], Any],
        *,
        n_features: int,
        weight_shape: Sequence[int],
        n_qubits: int | None = None,
    ) -> None:
        compiled = compile_circuit(circuit, n_qubits=n_qubits, weight_shape=weight_shape)
        recording = compiled.recorded(n_features, tuple(weight_shape), torch.float64, torch.device("cpu"))
        self._schedule = pattern_schedule(recording)
        self._n_features, self._n_weights = n_features, math.prod(weight_shape)
        self._measurements = _diagonal(recording)
        self._parameters = ParameterMap(recording.graph)
        slots = sorted({slot for run in self._schedule.runs for gate in run.gates for slot in _slots_of(gate)})
        self._banks = [
            self._bank([slot for slot in slots if (self._parameters.levels[slot] == INPUTS) == varies])
            for varies in (False, True)
        ]
        self.graph = Brickwork.of_bricks(rows=self._schedule.rows, bricks=self._schedule.bricks)
        self._cnots = np.zeros((self._schedule.rows, self._schedule.bricks, BRICK))
        for cnot in self._schedule.cnots:
            self._cnots[cnot.control, cnot.brick] = (0, 0, math.pi / 2, 0)
            self._cnots[cnot.target, cnot.brick] = (0, math.pi / 2, 0, -math.pi / 2)

    def pattern(self, inputs: ArrayLike, weights: ArrayLike) -> MeasurementPattern:
        """Return the pattern of given inputs and weights.

        Args:
            inputs: (samples, n_features) or (n_features,).
            weights: (samples, *weight_shape) or weight_shape.
        """
        values = self._values(inputs, weights)
        shared = self._cnots.copy()
        varying: dict[int, list[tuple[int, Array]]] = {}
        for run in self._schedule.runs:
            angles = _run_angles(run, values)
            if angles.shape[1] == 1:
                shared[run.row, run.brick, :3] += angles[:, 0]
            else:
                varying.setdefault(run.brick, []).append((run.row, angles))
        return MeasurementPattern(
            graph=self.graph,
            shared=shared,
            varying={brick: _varied(shared[:, brick], rows) for brick, rows in varying.items()},
            measurements=self._measurements,
        )

    def _bank(self, slots: list[int]) -> tuple[list[int], Callable[..., torch.Tensor] | None]:
        return slots, self._parameters.bank(slots, torch.device("cpu")) if slots else None

    def _values(self, inputs: ArrayLike, weights: ArrayLike) -> dict[int, Array]:
        """Return the gate parameters by slot, each (samples,), or (1,) where all samples share it."""
        x = torch.as_tensor(np.asarray(inputs, float)).reshape(-1, 1, self._n_features).permute(2, 1, 0)
        w = torch.as_tensor(np.asarray(weights, float)).reshape(-1, 1, self._n_weights).permute(2, 1, 0)
        found: dict[int, Array] = {}
        for (slots, bank), sources in zip(self._banks, (x[..., :1], x), strict=True):
            if bank is not None:
                values = bank(sources, w).numpy()
                found.update({slot: values[i].reshape(-1) for i, slot in enumerate(slots)})
        return found


def _diagonal(recording: Recording) -> tuple[Measurement, ...]:
    """Return the measurements, if results in the computational basis tell them."""
    for one in recording.measurements:
        if isinstance(one, Expectation) and any(set(word.letters) - {"Z", "I"} for word in one.words):
            letters = ", ".join(word.letters for word in one.words)
            raise InputError(f"Observable {letters} is not read in the computational basis. Rotate before measuring Z.")
    return recording.measurements


def _slots_of(gate: Gate) -> tuple[int, ...]:
    if isinstance(gate, Phase):
        return gate.slots
    return (gate.slot,) if isinstance(gate, Turn) and gate.slot is not None else ()


def _varied(shared: Array, rows: Sequence[tuple[int, Array]]) -> Array:
    """Return the angles of a brick, (rows, 4, samples), of which some rows' differ between samples."""
    found = np.repeat(shared[..., None], rows[0][1].shape[1], -1)
    for row, angles in rows:
        found[row, :3] += angles
    return found


def _run_angles(run: Run, values: dict[int, Array]) -> Array:
    """Return a, b, c of a run, (3, samples or 1)."""
    turns = [i for i, gate in enumerate(run.gates) if isinstance(gate, Turn)]
    if len(turns) > 1 or any(isinstance(gate, Dense) for gate in run.gates):
        return _merged_angles(run, values)
    split = turns[0] if turns else len(run.gates)
    before = _sum([_opening(gate, values) for gate in run.gates[:split] if isinstance(gate, Phase)])
    turn = _sum([_turn(gate, values) for gate in run.gates[split : split + 1] if isinstance(gate, Turn)])
    after = _sum([_opening(gate, values) for gate in run.gates[split + 1 :] if isinstance(gate, Phase)])
    quarter = math.pi / 2
    if run.absorbed:
        # The fixed quarters about Z on both sides, which make RX of RY, belong to the turn.
        angles = (quarter - before, -turn, np.zeros(1))
    elif run.start:
        angles = (np.full(1, quarter), quarter - turn, -after - quarter)
    else:
        angles = (quarter - before, -turn, -after - quarter)
    return np.stack(np.broadcast_arrays(*angles))


def _sum(terms: Sequence[Array]) -> Array:
    found = np.zeros(1)
    for term in terms:
        found = found + term
    return found


def _merged_angles(run: Run, values: dict[int, Array]) -> Array:
    """Return a, b, c of a run by its matrix, (3, samples or 1)."""
    matrix = np.eye(2, dtype=complex)[..., None]
    for gate in run.gates:
        matrix = np.einsum("ijs,jks->iks", *_same(_matrix(gate, values), matrix))
    return _preparing(matrix) if run.start else _turning(matrix)


def _same(left: Array, right: Array) -> tuple[Array, Array]:
    """Return both with as many samples."""
    shape = (2, 2, max(left.shape[-1], right.shape[-1]))
    return np.broadcast_to(left, shape), np.broadcast_to(right, shape)


def _matrix(gate: Gate, values: dict[int, Array]) -> Array:
    """Return the matrix of a one-qubit gate, (2, 2, samples or 1)."""
    if isinstance(gate, Turn):
        half = _turn(gate, values) / 2
        return np.array([[np.cos(half), -np.sin(half)], [np.sin(half), np.cos(half)]], complex)
    if isinstance(gate, Phase):
        half = _opening(gate, values) / 2
        none = np.zeros_like(half)
        return np.array([[np.exp(-1j * half), none], [none, np.exp(1j * half)]])
    assert isinstance(gate, Dense) and gate.constant is not None
    return np.asarray(gate.constant, complex)[..., None]


def _turn(gate: Turn, values: dict[int, Array]) -> Array:
    return gate.scale * (values[gate.slot] if gate.slot is not None else np.zeros(1)) + gate.offset


def _opening(gate: Phase, values: dict[int, Array]) -> Array:
    """Return the angle of RZ that a phase is."""
    angle = np.full(1, gate.constant[1] - gate.constant[0])
    for slot, (zero, one) in zip(gate.slots, gate.coefficients, strict=True):
        angle = angle + (one - zero) * values[slot]
    return angle


def _turning(matrix: Array) -> Array:
    """Return the angles of a row that applies a unitary, (3, samples)."""
    matrix = matrix / np.sqrt(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0])
    cosine, sine = np.abs(matrix[1, 1]), np.abs(matrix[1, 0])
    half_sum, half_difference = np.angle(matrix[1, 1]), np.angle(matrix[1, 0]) + math.pi / 2
    half_difference = np.where(sine < _TINY, -half_sum, half_difference)
    half_sum = np.where(cosine < _TINY, -half_difference, half_sum)
    middle = 2 * np.arctan2(sine, cosine)
    return -np.stack([half_sum - half_difference, middle, half_sum + half_difference])


def _preparing(matrix: Array) -> Array:
    """Return the angles of a row that makes of |+> what a unitary makes of |0>, (3, samples)."""
    zero, one = matrix[0, 0], matrix[1, 0]
    polar = 2 * np.arctan2(np.abs(one), np.abs(zero))
    free = np.minimum(np.abs(zero), np.abs(one)) < _TINY
    azimuth = np.where(free, 0.0, np.angle(one) - np.angle(zero))
    quarter = np.full_like(polar, math.pi / 2)
    return np.stack([quarter, quarter - polar, -azimuth - quarter])
