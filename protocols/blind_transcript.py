"""Blind rounds, message by message: many rounds at once, of which only the live qubits of one column are held.

How other protocols run rounds of their own, test rounds with traps among them, through the same server:

    found = run_rounds(graph, angles, grid=grid, server=server, streams=streams,
                       rounds=rounds, dummies=dummies, adaptive=adaptive)

- Every array has its axes in the order (rows, columns, rounds); an axis of rounds may have length 1 where rounds agree.
- `angles` are of the measured columns, all but the last: (rows, columns - 1, rounds or 1), values of `grid`
  (`AngleGrid.rounded` makes them from radians).
- `dummies` (rows, columns, rounds or 1) says which nodes are |0> or |1>, drawn for each round, instead of |+_theta>. A
  dummy's angle message is uniformly random, so that messages of all rounds look alike.
- `adaptive` (rounds,) says which rounds are corrected by flow: computations are, test rounds are not (there the angle 0
  everywhere is what isolated traps want). None for all.
- `found.outcomes` (rows, columns, rounds) are the server's answers without the client's own bits r. In the last column,
  which is measured in the computational basis, adaptive rounds hold the corrected result, the others the bare answer.
- `found.dummy_bits` (rows, columns, rounds) are 1 for dummies |1>, 0 for |0> and for nodes that are no dummies.
- In a test round of colour c (`graph.colours()`), where every node of another colour is a dummy, an honest server
  answers without noise: `outcomes == graph.neighbour_parity(dummy_bits)` on nodes of colour c before the last column,
  and `outcomes == dummy_bits` on dummies in the last column. No other answer is determined.
- `server` is `Server(graph, grid, streams, ...)` of `blind_parties`: honest, noisy (`depolarizing`), curious, or with a
  `Deviation` (Pauli errors, lost qubits, answers of its own) of shape (rows, columns, rounds or 1).

Reference: Broadbent, Fitzsimons and Kashefi 2009, arXiv:0807.4154, protocol 1; Fitzsimons and Kashefi 2012,
arXiv:1203.5217 (dummies isolate traps).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from qfl_sec.protocol_contracts import Bits, Cost
from qfl_sec.protocols.angle_grid import AngleGrid, Angles
from qfl_sec.protocols.blind_parties import SLOT_SECONDS, Client, Server
from qfl_sec.protocols.blind_qubits import Mask, check_memory, chunk_rounds
from qfl_sec.protocols.brickwork import Brickwork
from qfl_sec.randomness import Streams


@dataclass(frozen=True, kw_only=True)
class Message:
    """What anyone sees of a message of one round without reading it.

    Attributes:
        sender: Who sent it.
        kind: Of its content.
        column: What it is about.
        size: Qubits, or bits of angles and outcomes.
        seconds: When it was sent, from the start of the round, modelled; the server answers at once.
    """

    sender: Literal["client", "server"]
    kind: Literal["qubits", "angles", "outcomes"]
    column: int
    size: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """What rounds gave the client.

    Attributes:
        outcomes: (rows, columns, rounds), without the client's bits r; the last column corrected where adaptive.
        dummy_bits: (rows, columns, rounds), of the client's dummies.
        messages: Of one round, in order; every round has the same.
        cost: Of all rounds.
    """

    outcomes: Bits
    dummy_bits: Bits
    messages: tuple[Message, ...]
    cost: Cost

    @property
    def output(self) -> Bits:
        """The results, (rows, rounds)."""
        return self.outcomes[:, -1]


def run_rounds(
    graph: Brickwork,
    angles: Angles,
    *,
    grid: AngleGrid,
    server: Server,
    streams: Streams,
    rounds: int,
    dummies: Mask | None = None,
    adaptive: Mask | None = None,
    theta_grid: AngleGrid | None = None,
    dtype: DTypeLike = np.complex64,
) -> Rounds:
    """Run rounds with a fresh client and a given server; see the module for the meaning and shape of every argument.

    Args:
        graph: The public graph.
        angles: phi, (rows, columns - 1, rounds or 1), on the grid.
        grid: Of the angles.
        server: May have run rounds before.
        streams: The client's; give each call its own (`Streams.child`).
        rounds: How many.
        dummies: Which nodes are dummies, (rows, columns, rounds or 1); None for none.
        adaptive: Which rounds are corrected by flow, (rounds,); None for all.
        theta_grid: Where theta is drawn; None for `grid`.
        dtype: Of the simulated amplitudes, complex64 or complex128.

    Raises:
        InputError: If the live qubits of a column do not fit in memory.
    """
    check_memory(graph.rows, dtype)
    chunk = chunk_rounds(graph.rows, dtype)
    outcomes = np.empty((graph.rows, graph.columns, rounds), np.uint8)
    dummy_bits = np.zeros((graph.rows, graph.columns, rounds if dummies is not None else 1), np.uint8)
    messages: tuple[Message, ...] = ()
    for number, start in enumerate(range(0, rounds, chunk)):
        here = slice(start, min(start + chunk, rounds))
        client = Client(
            graph,
            _part(angles, here),
            grid=grid,
            streams=streams.child(f"rounds {number}"),
            rounds=here.stop - start,
            dummies=None if dummies is None else _part(dummies, here),
            adaptive=None if adaptive is None else adaptive[here],
            theta_grid=theta_grid,
            dtype=dtype,
        )
        server.begin(start)
        messages = tuple(exchange(client, server, graph, grid))
        outcomes[..., here] = client.outcomes()
        if dummies is not None:
            dummy_bits[..., here] = client.dummy_bits()
    shape = (graph.rows, graph.columns, rounds)
    cost = round_cost(graph, grid, rounds)
    return Rounds(outcomes=outcomes, dummy_bits=np.broadcast_to(dummy_bits, shape), messages=messages, cost=cost)


def exchange(client: Client, server: Server, graph: Brickwork, grid: AngleGrid) -> Iterator[Message]:
    """Run one block of rounds; yield its messages as they pass.

    The qubits of a column are sent when the one before is about to be measured, so that few live at a time.
    """
    rows, last, seconds = graph.rows, graph.columns - 1, 0.0
    server.receive(0, client.prepare(0))
    yield Message(sender="client", kind="qubits", column=0, size=rows, seconds=0.0)
    for column in range(last):
        seconds = client.send_time(column)
        server.receive(column + 1, client.prepare(column + 1))
        yield Message(sender="client", kind="qubits", column=column + 1, size=rows, seconds=seconds)
        angles = client.angles(column)
        yield Message(sender="client", kind="angles", column=column, size=rows * grid.message_bits, seconds=seconds)
        client.hear(column, server.measure(column, angles))
        yield Message(sender="server", kind="outcomes", column=column, size=rows, seconds=seconds)
    client.hear(last, server.read_output())
    yield Message(sender="server", kind="outcomes", column=last, size=rows, seconds=seconds)


def round_cost(graph: Brickwork, grid: AngleGrid, rounds: int) -> Cost:
    """Return what rounds use up: a qubit a node, an angle a measured one, an outcome a node; all by size alone."""
    measured = graph.rows * (graph.columns - 1)
    return Cost(
        qubits=rounds * graph.nodes,
        classical_bits=rounds * (measured * grid.message_bits + graph.nodes),
        attempts=rounds,
        seconds=rounds * graph.rounds * SLOT_SECONDS,
    )


def _part(table: NDArray[Any], here: slice) -> NDArray[Any]:
    return table if table.shape[-1] == 1 else table[..., here]
