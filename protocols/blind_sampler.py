"""A federation's circuits on a blind server: what a run takes, and whole trainings message by message."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qfl_sec.checking import InputError
from qfl_sec.compute import BlindCompute
from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols.angle_grid import AngleGrid, Angles
from qfl_sec.protocols.blind import check_rounds, verification_plan
from qfl_sec.protocols.blind_parties import Server
from qfl_sec.protocols.blind_qubits import check_memory
from qfl_sec.protocols.blind_transcript import round_cost, run_rounds
from qfl_sec.protocols.measurement_patterns import MeasurementPattern, PatternCompiler
from qfl_sec.protocols.verification import Verification
from qfl_sec.protocols.verification_rounds import run_jobs
from qfl_sec.randomness import Streams
from qfl_sec.statevector import CompiledCircuit
from qfl_sec.tape import Expectation, Measurement

MAX_ATTEMPTS = 5
"""How often a job runs before the client gives the server up: one that is accepted 99 times in 100 fails so often once
in 10^10 jobs."""

_BATCH_NODES = 1 << 23
"""Nodes of the rounds that run in one call; fixed, so that draws depend on nothing but the seed."""


class BlindSampler:
    """A circuit's measurement pattern, and the server that runs it.

    A job is the shots of one measurement of one circuit, and their test rounds in a secret random order. The client
    throws away the results of a job in which too many tests fail, and has it run again.

    Args:
        spec: Shots, grid, test rounds and the server's noise.
        circuit: Of inputs and one tensor of weights.
        n_features: Length of one record.
        weight_shape: Of the weights.
        streams: Roles of client and server.

    Raises:
        InputError: If a gate or measurement has no pattern, or qubits or rounds do not fit in memory.
    """

    def __init__(
        self,
        spec: BlindCompute,
        circuit: CompiledCircuit,
        *,
        n_features: int,
        weight_shape: tuple[int, ...],
        streams: Streams,
    ) -> None:
        self._compiler = PatternCompiler(
            circuit.circuit, n_features=n_features, weight_shape=weight_shape, n_qubits=circuit.given_n_qubits
        )
        self._graph, self._grid, self._shots = self._compiler.graph, AngleGrid(bits=spec.angle_bits), spec.shots
        self._plan: Verification | None = None
        if spec.mode == "transcript":
            check_memory(self._graph.rows)
            check_rounds(self._graph, spec.shots + spec.test_rounds)
            if spec.test_rounds:
                self._plan = verification_plan(
                    self._graph,
                    shots=spec.shots,
                    test_rounds=spec.test_rounds,
                    depolarizing_probability=spec.depolarizing_probability,
                )
        self._server = Server(self._graph, self._grid, streams, depolarizing_probability=spec.depolarizing_probability)
        self._length = max(1, _BATCH_NODES // (self._graph.nodes * (spec.shots + spec.test_rounds)))  # jobs of a batch
        self._streams, self._batches = streams.child("client"), 0

    @property
    def run_cost(self) -> tuple[int, int]:
        """The qubits and the classical bits of one run, whatever its angles are."""
        cost = round_cost(self._graph, self._grid, 1)
        return cost.qubits, cost.classical_bits

    def sample(self, inputs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Run the circuit message by message, each measurement with shots and test rounds of its own.

        Args:
            inputs: (runs, features)
            weights: (runs, *weight_shape)

        Returns:
            What is measured, (runs, numbers), and how many jobs of each were rejected and run again, (runs,).

        Raises:
            InputError: If a job was rejected `MAX_ATTEMPTS` times.
        """
        pattern = self._compiler.pattern(inputs.detach().numpy(), weights.detach().numpy())
        shared = self._grid.rounded(pattern.angles)
        angles: Any = np.broadcast_to(shared, (*shared.shape[:2], len(inputs)))
        found, rejected = [], np.zeros(len(inputs), np.int64)
        for measurement in pattern.measurements:
            values = []
            for one in _single(measurement):
                value, again = self._measured(replace(pattern, measurements=(one,)), angles)
                values.append(value)
                rejected += again
            found.append(np.sum(values, 0))
        return torch.from_numpy(np.concatenate(found, -1)), torch.from_numpy(rejected)

    def _measured(self, pattern: MeasurementPattern, angles: Angles) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return one measurement of angles (rows, columns - 1, runs), (runs, numbers), and rejected jobs, (runs,)."""
        batches = []
        for start in range(0, angles.shape[-1], self._length):
            output, again = self._run(angles[..., start : start + self._length])
            batches.append((pattern.estimates(output), again))
        return np.concatenate([value for value, _ in batches]), np.concatenate([again for _, again in batches])

    def _run(self, angles: Angles) -> tuple[Bits, NDArray[np.int64]]:
        """Run jobs of angles (rows, columns - 1, jobs) until each is accepted.

        Returns:
            Results (rows, jobs, shots), and how often each was rejected, (jobs,).
        """
        output = np.empty((len(angles), angles.shape[-1], self._shots), np.uint8)
        rejected = np.zeros(angles.shape[-1], np.int64)
        left = np.arange(angles.shape[-1])
        for _ in range(MAX_ATTEMPTS):
            found, accepted = self._attempt(angles[..., left])
            output[:, left[accepted]] = found[:, accepted]
            left = left[~accepted]
            if not len(left):
                return output, rejected
            rejected[left] += 1
        raise InputError(
            f"The quantum server failed verification {MAX_ATTEMPTS} times with one job. Lower [compute] "
            "depolarizing_probability, or leave out test_fraction and verify nothing."
        )

    def _attempt(self, angles: Angles) -> tuple[Bits, NDArray[np.bool_]]:
        """Run jobs of angles (rows, columns - 1, jobs) once.

        Returns:
            Results (rows, jobs, shots), and which jobs are accepted, (jobs,).
        """
        streams = self._streams.child(f"batch {self._batches}")
        self._batches += 1
        if self._plan is None:
            runs, rounds = angles.shape[-1], angles.shape[-1] * self._shots
            each: Any = np.repeat(angles, self._shots, -1)
            found = run_rounds(self._graph, each, grid=self._grid, server=self._server, streams=streams, rounds=rounds)
            return found.output.reshape(-1, runs, self._shots), np.ones(runs, bool)
        jobs = run_jobs(self._plan, self._graph, angles, grid=self._grid, server=self._server, streams=streams)
        return np.stack([one.output for one in jobs], 1), np.array([one.accepted for one in jobs])


def _single(measurement: Measurement) -> tuple[Measurement, ...]:
    """Return what has shots of its own: each Pauli word of a sum, with its coefficient; a list of probabilities."""
    if not isinstance(measurement, Expectation):
        return (measurement,)
    words = zip(measurement.words, measurement.coefficients, strict=True)
    return tuple(Expectation(words=(word,), coefficients=(coefficient,)) for word, coefficient in words)
