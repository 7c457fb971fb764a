"""Who runs the clients' circuits: each client its own, a quantum cloud that sees them, or one that computes blindly.

Here are the choices of an experiment, their premises and costs; `qfl_sec.computation` makes gradients under each.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from qfl_sec.contracts import ServerComputeView, View

MAX_SHOTS = 1 << 40
"""More would not be whole numbers to single precision, and nobody waits for them."""

MIN_ANGLE_BITS, MAX_ANGLE_BITS = 2, 16
"""Shifts by a quarter of a turn have to lie on the grid; the protocol's grids end there."""


@dataclass(frozen=True, kw_only=True)
class LocalCompute:
    """Each client runs its own circuits, and nobody else sees them.

    Attributes:
        shots: Repetitions of each measurement behind a gradient; None for exact gradients, as of a simulator.
    """

    name: ClassVar[str] = "local"

    shots: int | None = None

    def __post_init__(self) -> None:
        _check_shots(self.shots)


@dataclass(frozen=True, kw_only=True)
class PlainCloud:
    """A quantum cloud runs the clients' circuits as they are: it sees every angle of encoding and model.

    Attributes:
        shots: Repetitions of each measurement behind a gradient.
    """

    name: ClassVar[str] = "plain_cloud"

    shots: int = 1000

    def __post_init__(self) -> None:
        _check_shots(self.shots)


@dataclass(frozen=True, kw_only=True)
class BlindCompute:
    """A quantum server runs the clients' circuits by universal blind quantum computing: it learns their size alone.

    Attributes:
        shots: Repetitions of each measurement behind a gradient.
        angle_bits: Every angle of a circuit is rounded to 2 pi j / 2^angle_bits, the grid of the secret angles that
            hide it; 2 to 16.
        mode: "semantic" runs the rounded circuit itself and counts what the protocol would take. Angles are rounded
            gate by gate; a pattern measures rotations about Z that meet on a qubit as one angle, which it rounds once.
            "transcript" runs the patterns, message by message, which takes far longer.
        test_fraction: Share of a job's rounds that test the server, a job being the shots of one circuit's measurement;
            None for no verification. A job in which too many tests fail is thrown away and run again.
        depolarizing_probability: Probability, of each node, of a Pauli error at the quantum server, in transcript mode.

    Reference: Broadbent, Fitzsimons and Kashefi 2009, arXiv 0807.4154.
    """

    name: ClassVar[str] = "blind"

    shots: int = 1000
    angle_bits: int = 8
    mode: Literal["semantic", "transcript"] = "semantic"
    test_fraction: float | None = None
    depolarizing_probability: float = 0.0

    def __post_init__(self) -> None:
        _check_shots(self.shots)
        if not MIN_ANGLE_BITS <= self.angle_bits <= MAX_ANGLE_BITS:
            raise ValueError(
                f"Expected {MIN_ANGLE_BITS} <= angle_bits={self.angle_bits} <= {MAX_ANGLE_BITS}: shifts by a quarter "
                "of a turn have to lie on the grid."
            )
        if self.mode not in ("semantic", "transcript"):
            raise ValueError(f'Expected mode={self.mode!r} to be "semantic" or "transcript".')
        if self.test_fraction is not None and not 0 < self.test_fraction < 1:
            raise ValueError(
                f"Expected 0 < test_fraction={self.test_fraction} < 1: without test rounds nothing is verified, "
                "without others nothing is computed. Leave it out for no verification."
            )
        if not 0 <= self.depolarizing_probability <= 1:
            raise ValueError(f"Expected 0 <= depolarizing_probability={self.depolarizing_probability} <= 1.")
        if self.depolarizing_probability and self.mode == "semantic":
            raise ValueError(
                f'Expected depolarizing_probability={self.depolarizing_probability} to be 0 with mode = "semantic", '
                'which runs no node. Set mode = "transcript".'
            )

    @property
    def test_rounds(self) -> int:
        """Test rounds of one job: their share of all its rounds, at least one; 0 for no verification."""
        if self.test_fraction is None:
            return 0
        return max(1, round(self.shots * self.test_fraction / (1 - self.test_fraction)))


ComputeSpec: TypeAlias = LocalCompute | PlainCloud | BlindCompute

COMPUTES: dict[str, type[ComputeSpec]] = {one.name: one for one in (LocalCompute, PlainCloud, BlindCompute)}
"""What [compute] may name."""


def is_delegated(spec: ComputeSpec) -> bool:
    """Return whether somebody else than the clients runs their circuits."""
    return not isinstance(spec, LocalCompute)


def quantum_server_view(spec: ComputeSpec) -> type[View] | None:
    """Return what the quantum server sees; None if there is none, or it computes blindly."""
    return ServerComputeView if isinstance(spec, PlainCloud) else None


@dataclass(frozen=True, kw_only=True)
class ComputeCost:
    """What one client's circuits of one round took.

    Attributes:
        round: From 0.
        client: From 0.
        circuits: Different circuits: shifted ones of every record, in every local step.
        runs: Runs of a circuit: its shots, for each observable anew; test rounds and repeated jobs included.
        nodes: Qubits of one run's measurement pattern; 0 unless the server computes blindly.
        qubits_sent: Qubits from client to server, over all runs; likewise.
        classical_bits: Angles to the server and outcomes back, over all runs; likewise.
        test_runs: How many of the runs test the server.
        rejected: Jobs, each the shots of one circuit's measurement and its test rounds, in which more test rounds
            failed than accepted; their results were thrown away and they ran again.
    """

    round: int
    client: int
    circuits: int
    runs: int
    nodes: int = 0
    qubits_sent: int = 0
    classical_bits: int = 0
    test_runs: int = 0
    rejected: int = 0


def _check_shots(shots: int | None) -> None:
    if shots is not None and not 1 <= shots <= MAX_SHOTS:
        raise ValueError(f"Expected 1 <= shots={shots} <= {MAX_SHOTS}.")
