"""Client and server of blind quantum computing: separate objects that exchange messages of one column at a time.

Angles hide by theta, outcomes by r: the client asks for delta = (-1)^s_X phi + pi s_Z + theta + pi r and reads
s = b XOR r. The last column is measured in the computational basis; its outcomes hide by the s_X of the column before,
and so need no r.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols.angle_grid import AngleGrid, Angles
from qfl_sec.protocols.blind_qubits import LiveQubits, Mask, SentQubits
from qfl_sec.protocols.brickwork import Brickwork
from qfl_sec.protocols.channels import check_probability
from qfl_sec.randomness import Streams

X_ERROR, Z_ERROR = 1, 2
"""A Pauli error as a number: the sum of these; 0 is none, 3 is Y."""

SLOT_SECONDS = 1e-3
"""The client speaks once in a slot of this length, whatever the angles."""


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """What a malicious server does, node by node.

    Attributes:
        paulis: Errors right before the measurement, `X_ERROR`, `Z_ERROR` or their sum, (rows, columns, rounds or 1).
        dropped: Which qubits it loses; |0> stands in for them. Same shape.
        answers: Outcomes that it reports whatever it measured: 0, 1, or -1 for what it measured. Same shape.
    """

    paulis: NDArray[np.uint8] | None = None
    dropped: Mask | None = None
    answers: NDArray[np.int8] | None = None


class Client:
    """Holds the computation and every secret. It sees outcomes alone.

    Args:
        graph: The public graph.
        angles: phi of the measured columns, (rows, columns - 1, rounds or 1), on the grid.
        grid: Of the angles that are sent.
        streams: Its randomness: roles "client angles", "client bits" and "client dummies".
        rounds: How many run at once.
        dummies: Which nodes are dummies, (rows, columns, rounds or 1); None for none.
        adaptive: Which rounds are corrected by flow, (rounds,); None for all.
        theta_grid: Where theta is drawn; None for the grid of the angles. A coarser one is a leak.
        dtype: Of the qubits' amplitudes.
    """

    def __init__(
        self,
        graph: Brickwork,
        angles: Angles,
        *,
        grid: AngleGrid,
        streams: Streams,
        rounds: int,
        dummies: Mask | None = None,
        adaptive: Mask | None = None,
        theta_grid: AngleGrid | None = None,
        dtype: DTypeLike = np.complex64,
    ) -> None:
        self._graph, self._angles, self._grid, self._dtype = graph, angles, grid, dtype
        shape = (graph.rows, graph.columns, rounds)
        self._theta = _thetas(grid, theta_grid, streams.numpy("client angles"), shape)
        self._r = streams.numpy("client bits").integers(0, 2, shape, np.uint8)
        self._r[:, -1] = 0
        self._dummies = None if dummies is None else np.broadcast_to(dummies, shape)
        self._dummy_bits = np.zeros(shape, np.uint8)
        if self._dummies is not None:
            drawn = streams.numpy("client dummies").integers(0, 2, shape, np.uint8)
            self._dummy_bits = drawn * self._dummies.astype(np.uint8)
        self._adaptive = np.uint8(1) if adaptive is None else adaptive.astype(np.uint8)
        self._outcomes = np.zeros(shape, np.uint8)

    def prepare(self, column: int) -> SentQubits:
        """Prepare the qubits of a column."""
        phases = self._grid.phases(self._theta[:, column], self._dtype)
        if self._dummies is None:
            return SentQubits(phases)
        return SentQubits(phases, self._dummies[:, column], self._dummy_bits[:, column])

    def angles(self, column: int) -> Angles:
        """Return delta of a column, (rows, rounds)."""
        return self._grid.masked(
            self._angles[:, column],
            reverse=self._graph.x_correction(self._outcomes, column) & self._adaptive,
            turn=self._graph.z_correction(self._outcomes, column) & self._adaptive ^ self._r[:, column],
            by=self._theta[:, column],
        )

    def send_time(self, column: int) -> float:
        """Return when the angles of a column are sent, in seconds from the start: in its slot."""
        return (column + 1) * SLOT_SECONDS

    def hear(self, column: int, reported: Bits) -> None:
        """Take the server's outcomes of a column, (rows, rounds)."""
        found = reported ^ self._r[:, column]
        if column == self._graph.columns - 1:
            found ^= self._graph.x_correction(self._outcomes, column) & self._adaptive
        self._outcomes[:, column] = found

    def outcomes(self) -> Bits:
        """Return s of every node, (rows, columns, rounds); the last column is the result."""
        return self._outcomes

    def dummy_bits(self) -> Bits:
        """Return the bits of the dummies, (rows, columns, rounds)."""
        return self._dummy_bits

    def private_record(self) -> tuple[Angles, Bits]:
        """Return theta and r, (rows, columns, rounds), for the auditor alone."""
        return self._theta, self._r


def _thetas(
    grid: AngleGrid, theta_grid: AngleGrid | None, generator: np.random.Generator, shape: tuple[int, ...]
) -> Angles:
    if theta_grid is None or theta_grid == grid:
        return grid.draw(generator, shape)
    return grid.rounded(theta_grid.radians(theta_grid.draw(generator, shape)))


class Server:
    """Entangles and measures as the graph says. It knows the graph and the messages.

    Args:
        graph: The public graph.
        grid: Of the angles that it hears.
        streams: Its randomness: roles "server" (outcomes) and "server noise".
        depolarizing_probability: Probability, of each node, of a Pauli error drawn from X, Y and Z alike.
        curious: Whether it records every message.
        deviation: What it does otherwise; None for nothing.

    Raises:
        InputError: If the probability is none.
    """

    def __init__(
        self,
        graph: Brickwork,
        grid: AngleGrid,
        streams: Streams,
        *,
        depolarizing_probability: float = 0.0,
        curious: bool = False,
        deviation: Deviation | None = None,
    ) -> None:
        check_probability(depolarizing_probability=depolarizing_probability)
        self._graph, self._grid, self._noise = graph, grid, depolarizing_probability
        self._generator, self._errors = streams.numpy("server"), streams.numpy("server noise")
        self._curious, self._deviation = curious, deviation or Deviation()
        self._heard: list[Angles] = []
        self._reported: list[Bits] = []
        self._first_round = 0
        self._live: LiveQubits | None = None

    def begin(self, first_round: int) -> None:
        """Forget the qubits of earlier rounds; the next ones start with this number."""
        self._live, self._first_round = None, first_round

    def receive(self, column: int, qubits: SentQubits) -> None:
        """Take the qubits of a column; those of the first live at once, others when the column before is measured."""
        dropped = self._part(self._deviation.dropped, column, qubits.rounds)
        self._next = qubits if dropped is None else qubits.lost(dropped)
        if column == 0:
            self._live = LiveQubits(self._next)
            self._entangle(column)

    def measure(self, column: int, angles: Angles) -> Bits:
        """Measure a column, joined to the next one, at angles (rows, rounds); return the outcomes it reports."""
        assert self._live is not None
        rounds = angles.shape[1]
        paulis = self._paulis(column, rounds)
        phases = self._grid.phases(angles, self._live.dtype).conj()
        if paulis is not None:
            phases = np.where(paulis & X_ERROR, phases.conj(), phases)
        outcomes = np.array(
            [self._live.advance(row, phases[row], self._next, self._generator) for row in range(self._graph.rows)]
        )
        self._entangle(column + 1)
        if paulis is not None:
            outcomes ^= (paulis & Z_ERROR) >> 1
        return self._report(column, outcomes, angles)

    def read_output(self) -> Bits:
        """Measure the last column in the computational basis; return the outcomes it reports, (rows, rounds)."""
        assert self._live is not None
        outcomes, column = self._live.measure(self._generator), self._graph.columns - 1
        paulis = self._paulis(column, outcomes.shape[1])
        if paulis is not None:
            outcomes ^= paulis & X_ERROR
        return self._report(column, outcomes, None)

    def _entangle(self, column: int) -> None:
        assert self._live is not None
        for row in self._graph.vertical(column):
            self._live.entangle(row)

    def _paulis(self, column: int, rounds: int) -> NDArray[np.uint8] | None:
        """Return the errors of a column, (rows, rounds); None for none."""
        chosen: NDArray[np.uint8] | None = self._part(self._deviation.paulis, column, rounds)
        if not self._noise:
            return chosen
        shape = (self._graph.rows, rounds)
        drawn = self._errors.integers(1, 4, shape, np.uint8) * (self._errors.random(shape) < self._noise)
        return drawn if chosen is None else drawn ^ chosen

    def _report(self, column: int, outcomes: Bits, angles: Angles | None) -> Bits:
        answers = self._part(self._deviation.answers, column, outcomes.shape[1])
        if answers is not None:
            outcomes = np.where(answers < 0, outcomes, answers).astype(np.uint8)
        if self._curious:
            self._reported.append(outcomes)
            if angles is not None:
                self._heard.append(angles)
        return outcomes

    def _part(self, table: NDArray[Any] | None, column: int, rounds: int) -> Any:
        """Return a column of a table (rows, columns, rounds or 1) for the rounds at hand; None for no table."""
        if table is None:
            return None
        part = table[:, column]
        return part if part.shape[-1] == 1 else part[:, self._first_round : self._first_round + rounds]

    def record(self) -> dict[str, NDArray[np.generic]]:
        """Return what a curious server has recorded of all its rounds.

        Returns:
            "angles" (rows, columns - 1, rounds) in units of the grid, "outcomes" (rows, columns, rounds).
        """
        found = {}
        for name, parts, columns in (
            ("angles", self._heard, self._graph.columns - 1),
            ("outcomes", self._reported, self._graph.columns),
        ):
            blocks = [np.stack(parts[i : i + columns], 1) for i in range(0, len(parts), max(1, columns))]
            if blocks:
                found[name] = np.concatenate(blocks, -1)
        return found
