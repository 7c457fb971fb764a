"""Universal blind quantum computing: a server runs the client's circuit and learns only how large it is.

The client sends single qubits at secret angles and, column by column, measurement angles that look random; the server
entangles the qubits in a brickwork graph, measures, and reports. Test rounds among the computations catch a server that
deviates; see `verification` for what that covers.

Reference: Broadbent, Fitzsimons and Kashefi 2009, arXiv:0807.4154, protocol 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from qfl_sec.checking import InputError
from qfl_sec.protocol_contracts import (
    AdversaryReport,
    Bits,
    ComputationResult,
    Cost,
    DelegatedComputation,
    EpsilonLedger,
    EpsilonTerm,
)
from qfl_sec.protocols.angle_grid import AngleGrid
from qfl_sec.protocols.blind_parties import X_ERROR, Deviation, Server
from qfl_sec.protocols.blind_qubits import MEMORY_BYTES, check_memory
from qfl_sec.protocols.blind_semantic import pattern_probabilities, sample_results
from qfl_sec.protocols.blind_transcript import round_cost, run_rounds
from qfl_sec.protocols.blindness import blindness_trace_distance
from qfl_sec.protocols.brickwork import Brickwork
from qfl_sec.protocols.channels import check_probability
from qfl_sec.protocols.verification import Verification
from qfl_sec.protocols.verification_choice import acceptance_threshold
from qfl_sec.protocols.verification_rounds import noisy_round_error, noisy_round_failure, run_verified
from qfl_sec.randomness import Streams

if TYPE_CHECKING:
    from qfl_sec.protocols.measurement_patterns import MeasurementPattern

HONEST_ACCEPTANCE = 0.99
"""Probability with which the chosen threshold accepts the server at its stated noise."""

_BYTES_PER_NODE = 8
_POWERS = {
    "honest": "does as the protocol says and remembers nothing",
    "curious": "does as the protocol says and records every message",
    "malicious": "holds all qubits, hears all angles, may err, lose qubits and report what it likes",
}
_BLIND = (
    "Broadbent, Fitzsimons and Kashefi 2009, arXiv:0807.4154, theorem 4; distance computed for the circuit's angles"
)
_VERIFIED = (
    "exact failure probability of a majority vote; Leichtle, Music, Kashefi and Ollivier 2021, PRX Quantum 2, 040302"
)


@dataclass(frozen=True, kw_only=True)
class BlindResult(ComputationResult):
    """How a blind computation ended.

    Attributes:
        columns: Of the graph, the output included.
        nodes: Qubits of a round.
        edges: Controlled-Z gates of a round.
        message_rounds: Exchanges of angles for outcomes in a round.
        total_variation_to_circuit: Between the results and the exact distribution of the circuit, unrounded; None if
            aborted.
        total_variation_floor: What sampling alone makes of it on average, about.
        rounding_total_variation: What the grid alone makes of it, exactly.
        blindness_trace_distance: Between the server's views of the circuit's angles; 0 is perfect.
        accepted: Whether few enough test rounds failed; None without any.
        test_failures: How many failed.
        security_error: Largest probability that a wrong majority of the results is accepted; None without test rounds.
            A round in which noise strikes counts as wrong. It says nothing of an expectation value.
    """

    columns: int
    nodes: int
    edges: int
    message_rounds: int
    total_variation_to_circuit: float | None
    total_variation_floor: float
    rounding_total_variation: float
    blindness_trace_distance: float
    accepted: bool | None
    test_failures: int
    security_error: float | None

    @property
    def qubits_sent(self) -> int:
        """From the client to the server."""
        return self.cost.qubits

    @property
    def classical_bits(self) -> int:
        """Of angles and outcomes."""
        return self.cost.classical_bits


@dataclass(frozen=True, kw_only=True)
class Blind(DelegatedComputation):
    """Universal blind quantum computing on a brickwork graph.

    Attributes:
        qubits: Of the circuit.
        layers: Of the circuit; its angles are drawn from the role "circuit".
        ansatz: "rotations", Rot on every qubit and CNOTs between neighbours, 12 columns a layer; or "brick_native", RZ,
            RX and half of the CNOTs, 4 columns a layer.
        angle_bits: K of the grid 2 pi j / 2^K of all angles, 2 to 16; 0 for real angles.
        theta_bits: Of the grid of theta; None for that of the angles. A coarser one leaks the angles.
        shots: Computation rounds.
        test_rounds: Rounds with traps among them; 0 for no verification.
        failure_threshold: Most test rounds that may fail; None for one that accepts the server at its stated noise with
            probability 0.99 or more.
        server: What it does: "honest", "curious" (records every message) or "malicious".
        attack: Of the malicious server: "flip" the first output qubit, "drop" it, or "choose": report 0 for it.
        attack_fraction: Share of the rounds that it attacks, chosen at random.
        depolarizing_probability: Probability, of each node, of a Pauli error at any server.
        mode: "transcript", every message; or "semantic", exact results and cost without messages, of a server that
            neither errs nor attacks.

    Raises:
        InputError: If a value is out of its range, or the live qubits or the rounds do not fit in memory.
    """

    name: ClassVar[str] = "blind"

    qubits: int = 4
    layers: int = 2
    ansatz: Literal["rotations", "brick_native"] = "rotations"
    angle_bits: int = 8
    theta_bits: int | None = None
    shots: int = 4096
    test_rounds: int = 0
    failure_threshold: int | None = None
    server: Literal["honest", "curious", "malicious"] = "honest"
    attack: Literal["flip", "drop", "choose"] = "flip"
    attack_fraction: float = 0.5
    depolarizing_probability: float = 0.0
    mode: Literal["transcript", "semantic"] = "transcript"

    def __post_init__(self) -> None:
        for name, least in (("qubits", 1), ("layers", 1), ("shots", 1), ("test_rounds", 0)):
            if getattr(self, name) < least:
                raise InputError(f"Expected {name}={getattr(self, name)} >= {least}.")
        check_probability(attack_fraction=self.attack_fraction, depolarizing_probability=self.depolarizing_probability)
        AngleGrid(bits=self.angle_bits)
        AngleGrid(bits=self.theta_bits or self.angle_bits)
        self._check_verification()
        if self.mode == "semantic" and (self.depolarizing_probability or self.server == "malicious"):
            raise InputError("Expected an honest server without noise with mode='semantic'. Set mode = 'transcript'.")
        check_memory(self.qubits, np.complex64 if self.mode == "transcript" else np.complex128)

    def _check_verification(self) -> None:
        threshold = self.failure_threshold
        if threshold is not None and not 0 <= threshold < self.test_rounds:
            raise InputError(
                f"Expected 0 <= failure_threshold={threshold} < test_rounds={self.test_rounds}. Give more test rounds."
            )
        if self.test_rounds and self.theta_bits is not None:
            raise InputError(f"Expected no theta_bits={self.theta_bits} with test rounds. Set test_rounds = 0.")

    @property
    def grid(self) -> AngleGrid:
        """The grid of all angles."""
        return AngleGrid(bits=self.angle_bits)

    def circuit(self) -> tuple[Callable[[Any, Any], Any], tuple[int, ...]]:
        """Return the quantum function of (inputs, weights), one zero input a qubit, and the shape of its weights."""
        from qfl_sec.protocols.brick_ansatz import alternating_layers, brick_native

        if self.ansatz == "rotations":
            return alternating_layers, (self.layers, self.qubits, 3)
        return brick_native, (self.layers, self.qubits, 2)

    def compute(self, streams: Streams) -> BlindResult:
        """Run the circuit, its angles drawn uniformly, and compare the results with its exact distribution.

        Raises:
            InputError: If the rounds do not fit in memory.
        """
        # PennyLane takes seconds to load, which other protocols need not wait for.
        from qfl_sec.protocols.measurement_patterns import PatternCompiler

        function, shape = self.circuit()
        compiler = PatternCompiler(function, n_features=self.qubits, weight_shape=shape, n_qubits=self.qubits)
        weights = streams.numpy("circuit").uniform(-math.pi, math.pi, shape)
        return self.run(compiler.pattern(np.zeros(self.qubits), weights), streams)

    def run(self, pattern: "MeasurementPattern", streams: Streams) -> BlindResult:
        """Run a pattern of one sample; `qubits`, `layers` and `ansatz` do not matter.

        Args:
            pattern: Not rounded; the grid's rounding is done here.
            streams: Roles of client and server, and "results" in semantic mode.

        Raises:
            InputError: If the rounds do not fit in memory, or there are several samples.
        """
        self._check_run(pattern)
        rounded = pattern.rounded(self.grid)
        exact, moved = pattern_probabilities(pattern)[:, 0], pattern_probabilities(rounded)[:, 0]
        plan = self._plan(pattern)
        server = self._server(pattern, streams)
        output, failures, cost = self._results(rounded, plan, server, moved, streams)
        reason = None
        if plan and failures > plan.threshold:
            reason = f"verification: {failures} of {plan.test_rounds} test rounds failed, more than {plan.threshold}"
        distance = blindness_trace_distance(rounded.angles, theta_bits=self.theta_bits or self.angle_bits)
        error = None if plan is None else self._security_error(plan, pattern)
        return BlindResult(
            abort_reason=reason,
            cost=cost,
            ledger=_ledger(distance, error),
            adversary=AdversaryReport(
                name="quantum server",
                power=_POWERS[self.server],
                information=0.0 if distance < 1e-12 else None,
                unit="bits per angle",
                held=server.record(),
            ),
            output=None if reason else output,
            columns=pattern.graph.columns,
            nodes=pattern.graph.nodes,
            edges=pattern.graph.edges,
            message_rounds=pattern.graph.rounds,
            total_variation_to_circuit=None if reason else total_variation(output, exact),
            total_variation_floor=float(np.sqrt(exact * (1 - exact) / (2 * math.pi * self.shots)).sum()),
            rounding_total_variation=float(np.abs(exact - moved).sum() / 2),
            blindness_trace_distance=distance,
            accepted=None if plan is None else reason is None,
            test_failures=failures,
            security_error=error,
        )

    def _check_run(self, pattern: "MeasurementPattern") -> None:
        if pattern.samples > 1:
            raise InputError(f"Expected a pattern of one sample, not {pattern.samples}. Run them one after another.")
        check_memory(pattern.graph.rows, np.complex64 if self.mode == "transcript" else np.complex128)
        if self.mode == "transcript":
            check_rounds(pattern.graph, self.shots + self.test_rounds)

    def _plan(self, pattern: "MeasurementPattern") -> Verification | None:
        if not self.test_rounds:
            return None
        return verification_plan(
            pattern.graph,
            shots=self.shots,
            test_rounds=self.test_rounds,
            depolarizing_probability=self.depolarizing_probability,
            threshold=self.failure_threshold,
        )

    def _security_error(self, plan: Verification, pattern: "MeasurementPattern") -> float:
        """Return the largest probability of accepting a wrong majority, rounds spoiled by noise counting as wrong."""
        rate = noisy_round_error(pattern.graph, self.depolarizing_probability)
        return plan.worst_case(error_rate=rate).failure_probability

    def _server(self, pattern: "MeasurementPattern", streams: Streams) -> Server:
        return Server(
            pattern.graph,
            self.grid,
            streams,
            depolarizing_probability=self.depolarizing_probability,
            curious=self.server != "honest",
            deviation=self._deviation(pattern, streams) if self.server == "malicious" else None,
        )

    def _deviation(self, pattern: "MeasurementPattern", streams: Streams) -> Deviation:
        rounds = self.shots + self.test_rounds
        shape = (pattern.graph.rows, pattern.graph.columns, rounds)
        order = streams.numpy("server attack").permutation(rounds)
        attacked = order < round(self.attack_fraction * rounds)
        where = np.zeros(shape, bool)
        where[0, -1] = attacked
        if self.attack == "flip":
            return Deviation(paulis=where.astype(np.uint8) * np.uint8(X_ERROR))
        if self.attack == "drop":
            return Deviation(dropped=where)
        return Deviation(answers=np.where(where, 0, -1).astype(np.int8))

    def _results(
        self,
        pattern: "MeasurementPattern",
        plan: Verification | None,
        server: Server,
        probabilities: NDArray[np.float64],
        streams: Streams,
    ) -> tuple[Bits, int, Cost]:
        """Return the results (qubits, shots), how many test rounds failed, and the cost."""
        graph, grid = pattern.graph, self.grid
        if self.mode == "semantic":
            cost = round_cost(graph, grid, self.shots + self.test_rounds)
            return sample_results(probabilities[:, None], self.shots, streams.numpy("results"))[:, 0], 0, cost
        angles, client = grid.rounded(pattern.angles), streams.child("client")
        if plan is not None:
            run = run_verified(plan, graph, angles[..., 0], grid=grid, server=server, streams=client)
            return run.output, run.test_failures, run.cost
        theta_grid = None if self.theta_bits is None else AngleGrid(bits=self.theta_bits)
        found = run_rounds(
            graph, angles, grid=grid, server=server, streams=client, rounds=self.shots, theta_grid=theta_grid
        )
        return found.output, 0, found.cost


def verification_plan(
    graph: Brickwork,
    *,
    shots: int,
    test_rounds: int,
    depolarizing_probability: float = 0.0,
    threshold: int | None = None,
) -> Verification:
    """Return a plan of computation and test rounds.

    Args:
        graph: The public graph.
        shots: Computation rounds.
        test_rounds: One or more.
        depolarizing_probability: Of a Pauli error at each node of an honest server.
        threshold: Most test rounds that may fail; None for one that accepts the server at its stated noise with
            probability 0.99 or more, where less than all may fail.

    Raises:
        InputError: If there are no test rounds, or the threshold lets all of them fail.
    """
    if threshold is None:
        failing = noisy_round_failure(graph, depolarizing_probability)
        least = acceptance_threshold(
            test_rounds, round_failure_probability=failing, honest_acceptance=HONEST_ACCEPTANCE
        )
        threshold = min(test_rounds - 1, least)
    return Verification(computation_rounds=shots, test_rounds=test_rounds, threshold=threshold)


def check_rounds(graph: Brickwork, rounds: int) -> None:
    """Refuse more rounds at a time than fit in memory.

    Raises:
        InputError: If they are too many; the message names the largest number that fits.
    """
    largest = MEMORY_BYTES // (_BYTES_PER_NODE * graph.nodes)
    if rounds > largest:
        raise InputError(f"Expected shots + test_rounds={rounds} <= {largest}, as {graph.nodes} nodes fit.")


def total_variation(output: Bits, probabilities: NDArray[np.float64]) -> float:
    """Return the total variation distance between results (rows, shots) and a distribution (2^rows,)."""
    places = 1 << np.arange(len(output) - 1, -1, -1)
    counts = np.bincount(places @ output.astype(np.intp), minlength=len(probabilities))
    return float(np.abs(counts / output.shape[1] - probabilities).sum() / 2)


def _ledger(distance: float, error: float | None) -> EpsilonLedger:
    terms = [EpsilonTerm(aspect="secrecy", epsilon=min(1.0, distance), theorem=_BLIND)]
    if error is not None:
        terms.append(EpsilonTerm(aspect="correctness", epsilon=error, theorem=_VERIFIED))
    return EpsilonLedger(terms=tuple(terms))
