"""The gradients of one training, by whoever computes them, and what that takes.

A cloud runs circuits and returns outcomes, so that gradients come from shifted circuits and a number of shots of each.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Protocol

import torch
from torch import Tensor, nn

from qfl_sec.checking import InputError
from qfl_sec.circuit_module import CircuitModule
from qfl_sec.compute import BlindCompute, ComputeCost, ComputeSpec, quantum_server_view
from qfl_sec.contracts import Architecture, PremiseCheck, Records
from qfl_sec.gradients import per_example_gradients
from qfl_sec.models import ModelSpec, architecture, flat_weights, unflatten
from qfl_sec.parameter_shift import check_parameter_shift, circuits_per_gradient, shifted_gradients
from qfl_sec.randomness import Streams
from qfl_sec.rounded_circuit import compiled_on_grid
from qfl_sec.statevector import CompiledCircuit

_CHUNK_AMPLITUDES = 1 << 22
"""Amplitudes of the circuits that are sampled together; fixed, so that draws depend on nothing but the seed."""


class BlindRuns(Protocol):
    """One circuit as a blind server runs it."""

    @property
    def run_cost(self) -> tuple[int, int]:
        """The qubits and the classical bits of one run, whatever its angles are."""
        ...

    def sample(self, inputs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Run the circuit message by message.

        Args:
            inputs: (runs, features)
            weights: (runs, *weight_shape)

        Returns:
            What is measured, (runs, numbers), and how many jobs of each were rejected and run again, (runs,).
        """
        ...


class OpenBlind(Protocol):
    """What makes `BlindRuns`: `qfl_sec.protocols` has it."""

    def __call__(
        self,
        spec: BlindCompute,
        circuit: CompiledCircuit,
        *,
        n_features: int,
        weight_shape: tuple[int, ...],
        streams: Streams,
    ) -> BlindRuns:
        """Compile the circuit's measurement pattern; refuse what has none."""
        ...


@lru_cache(maxsize=64)
def check_compute(
    spec: ComputeSpec, model: ModelSpec, n_features: int, n_classes: int, open_blind: OpenBlind | None = None
) -> None:
    """Refuse a model that cannot be trained so, before anything runs.

    Raises:
        InputError: If gradients come from shots and the model is not measured, a weight is not the angle of one Pauli
            rotation, or, under blind computing, a gate or a measurement has no pattern, or rounds do not fit in memory.
    """
    if spec.shots is None:
        return
    streams = Streams(0)
    module = model.build(n_features, n_classes, generator=streams.torch("weights"), dtype=torch.float64)
    found = architecture(module, n_features, n_classes)
    features = 2 * torch.rand(2, n_features, generator=streams.torch("records"), dtype=torch.float64) - 1
    check_parameter_shift(found, flat_weights(module), Records(features=features, labels=torch.zeros(2).long()))
    trial = replace(spec, mode="semantic", depolarizing_probability=0.0) if isinstance(spec, BlindCompute) else spec
    Computation(trial, module, found, streams).gradients(flat_weights(module), features, torch.zeros(2).long())
    if open_blind is not None:
        Computation(spec, module, found, streams, open_blind)  # refuses what has no pattern, or does not fit


class Computation:
    """The gradients of one training, by whoever computes them.

    Args:
        spec: Who that is.
        module: The model.
        architecture: The same as a function of its weights.
        streams: Of the training.
        open_blind: Runs circuits blindly. None leaves what that takes out of the costs, where no message is sent.

    Raises:
        InputError: If the model cannot be run so.
        TypeError: If messages are to be sent and nothing is given that sends them.
    """

    def __init__(
        self,
        spec: ComputeSpec,
        module: nn.Module,
        architecture: Architecture,
        streams: Streams,
        open_blind: OpenBlind | None = None,
    ) -> None:
        self._spec, self._module, self._architecture = spec, module, architecture
        self._generator = streams.torch("shots")
        self._rejected: list[Tensor] = []  # of each call since costs were last asked for, (clients,)
        self._blind: BlindRuns | None = None
        if spec.shots is not None and architecture.sampled is None:
            raise InputError(f"[compute] {spec.name} with shots: this model computes its outputs, it measures nothing.")
        if not isinstance(spec, BlindCompute):
            return
        if not isinstance(module, CircuitModule):
            raise InputError('[compute] name = "blind": this model is not one circuit. Choose one that is.')
        if open_blind is not None:
            try:
                self._blind = open_blind(
                    spec,
                    module.circuit,
                    n_features=architecture.n_features,
                    weight_shape=tuple(module.weights.shape),
                    streams=streams.child("blind computing"),
                )
            except InputError as error:
                remedy = 'Or set [compute] name = "plain_cloud" or "local"'
                raise InputError(f'[compute] name = "blind": {error} {remedy}.') from None
        elif self._is_spoken:
            raise TypeError(f"Expected open_blind for mode={spec.mode!r}: the protocol has to run its messages.")

    def gradients(self, weights: Tensor, inputs: Tensor, labels: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the gradient of each record's own cross-entropy, without derivatives of its own.

        Args:
            weights: (..., parameters)
            inputs: (..., features); leading dimensions broadcast against the weights'.
            labels: (...), integers.
            mask: (...), which records there are: no message is sent for others. None for all.

        Returns:
            (..., parameters)
        """
        if self._spec.shots is None:
            return per_example_gradients(self._architecture, weights, inputs, labels).detach()
        answers = partial(self._spoken, mask=mask) if self._is_spoken else self._answers
        return shifted_gradients(answers, weights, inputs, labels)

    def cost(self, round_: int, clients: Sequence[int], records: Tensor) -> tuple[ComputeCost, ...]:
        """Return what each client's circuits of a round took, for this many records (clients,); none if exact.

        Jobs that were rejected since the last call are this round's; the gradients' first dimension was the clients.
        """
        if self._spec.shots is None:
            return ()
        circuits = circuits_per_gradient(self._architecture.n_parameters)
        rejected, self._rejected = sum(self._rejected, torch.zeros(len(clients), dtype=torch.int64)), []
        return tuple(
            self._cost(round_, client, circuits * count, again)
            for client, count, again in zip(clients, records.tolist(), rejected.tolist(), strict=True)
        )

    def _cost(self, round_: int, client: int, circuits: int, rejected: int) -> ComputeCost:
        assert self._spec.shots is not None
        jobs = circuits * self._observables + rejected
        tests = self._spec.test_rounds if isinstance(self._spec, BlindCompute) else 0
        runs = jobs * (self._spec.shots + tests)
        qubits, bits = self._blind.run_cost if self._blind is not None else (0, 0)
        return ComputeCost(
            round=round_,
            client=client,
            circuits=circuits,
            runs=runs,
            nodes=qubits,
            qubits_sent=qubits * runs,
            classical_bits=bits * runs,
            test_runs=jobs * tests,
            rejected=rejected,
        )

    def premises(self) -> tuple[PremiseCheck, ...]:
        """Return what the quantum server's ignorance rests on; nothing unless it computes blindly."""
        if not isinstance(self._spec, BlindCompute):
            return ()
        return tuple(
            PremiseCheck(premise=premise, how=how, status="assumed", passed=None)
            for premise, how in (
                (
                    "Each client prepares its qubits alone, at angles that are secret, random and used once",
                    f"both circuit and secret angles lie on the grid of {2**self._spec.angle_bits} angles; off it a "
                    "circuit's angle would show its remainder",
                ),
                (
                    "Sizes are no secret: qubits, layers, records, shots, and when they are sent",
                    "every pattern of a training has the same nodes whatever the angles are",
                ),
            )
        )

    @property
    def is_seen(self) -> bool:
        """Whether a quantum server sees the circuits as they are."""
        return quantum_server_view(self._spec) is not None

    @property
    def _is_spoken(self) -> bool:
        """Whether circuits run message by message."""
        return isinstance(self._spec, BlindCompute) and self._spec.mode == "transcript"

    @property
    def _observables(self) -> int:
        """How often a circuit runs for one shot of all that is read out."""
        module = self._module
        return module.observables(self._architecture.n_features) if isinstance(module, CircuitModule) else 1

    def _spoken(self, weights: Tensor, inputs: Tensor, *, mask: Tensor | None) -> Tensor:
        """Run the circuits of weights (..., circuits, parameters) on inputs (..., 1, features) blindly.

        Returns:
            Logits (..., circuits, classes), zeros where the mask (...) has no record.
        """
        assert self._blind is not None
        lead = torch.broadcast_shapes(weights.shape[:-1], inputs.shape[:-1])  # type: ignore[no-untyped-call]
        chosen = torch.ones(lead, dtype=torch.bool)
        if mask is not None:
            chosen &= mask.unsqueeze(-1)
        logits = weights.new_zeros(*lead, self._architecture.n_classes)
        if bool(chosen.any()):
            (parameters,) = unflatten(self._module, weights.expand(*lead, -1)[chosen]).values()
            found, again = self._blind.sample(inputs.expand(*lead, -1)[chosen], parameters)
            logits[chosen] = found.to(logits)
            rejected = torch.zeros(lead, dtype=torch.int64).masked_scatter(chosen, again)
            self._rejected.append(rejected.flatten(1).sum(1) if len(lead) > 1 else rejected.sum().view(1))
        return logits

    def _answers(self, weights: Tensor, inputs: Tensor) -> Tensor:
        """Sample the logits of weights (..., circuits, parameters) on inputs (..., 1, features), some at a time."""
        lead = math.prod(torch.broadcast_shapes(weights.shape[:-2], inputs.shape[:-2]))  # type: ignore[no-untyped-call]
        qubits = getattr(getattr(self._module, "circuit", None), "n_qubits", None) or 0
        length = max(1, _CHUNK_AMPLITUDES // max(1, lead << qubits))
        return torch.cat([self._sampled(part, inputs) for part in torch.split(weights, length, dim=-2)], dim=-2)

    def _sampled(self, weights: Tensor, inputs: Tensor) -> Tensor:
        shots, architecture, module = self._spec.shots, self._architecture, self._module
        assert shots is not None and architecture.sampled is not None
        if not isinstance(self._spec, BlindCompute):
            return architecture.sampled(weights, inputs, shots, self._generator)
        assert isinstance(module, CircuitModule)
        circuit = compiled_on_grid(module.circuit, self._spec.angle_bits)
        (parameters,) = unflatten(module, weights).values()
        with torch.no_grad():
            return circuit(inputs, parameters, shots=shots, generator=self._generator)
