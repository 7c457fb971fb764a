"""Who runs the clients' circuits: each client its own, a quantum cloud that sees them, or one that computes blindly.

Here are the choices of an experiment, their premises and costs, and what makes gradients under each. A cloud runs
circuits and returns outcomes, so that gradients come from shifted circuits and a number of shots of each.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from qfl_sec.checking import InputError
from qfl_sec.circuit_module import CircuitModule
from qfl_sec.contracts import Architecture, PremiseCheck, Records, ServerComputeView, View
from qfl_sec.gradients import per_example_gradients
from qfl_sec.models import ModelSpec, architecture, flat_weights, unflatten
from qfl_sec.parameter_shift import check_parameter_shift, circuits_per_gradient, shifted_gradients
from qfl_sec.randomness import Streams
from qfl_sec.rounded_circuit import compiled_on_grid
from qfl_sec.statevector import CompiledCircuit

MAX_SHOTS = 1 << 40
"""More would not be whole numbers to single precision, and nobody waits for them."""

MIN_ANGLE_BITS, MAX_ANGLE_BITS = 2, 16
"""Shifts by a quarter of a turn have to lie on the grid; the protocol's grids end there."""

_CHUNK_AMPLITUDES = 1 << 22
"""Amplitudes of the circuits that are sampled together; fixed, so that draws depend on nothing but the seed."""


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
            gate by gate; a pattern that measures the product of several rotations about different axes rounds it once.

    Reference: Broadbent, Fitzsimons and Kashefi 2009, arXiv 0807.4154.
    """

    name: ClassVar[str] = "blind"

    shots: int = 1000
    angle_bits: int = 8
    mode: Literal["semantic"] = "semantic"

    def __post_init__(self) -> None:
        _check_shots(self.shots)
        if not MIN_ANGLE_BITS <= self.angle_bits <= MAX_ANGLE_BITS:
            raise ValueError(
                f"Expected {MIN_ANGLE_BITS} <= angle_bits={self.angle_bits} <= {MAX_ANGLE_BITS}: shifts by a quarter "
                "of a turn have to lie on the grid."
            )


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
        runs: Runs of a circuit: its shots, for each observable anew.
        nodes: Qubits of one run's measurement pattern; 0 unless the server computes blindly.
        qubits_sent: Qubits from client to server, over all runs; likewise.
        classical_bits: Angles to the server and outcomes back, over all runs; likewise.
    """

    round: int
    client: int
    circuits: int
    runs: int
    nodes: int = 0
    qubits_sent: int = 0
    classical_bits: int = 0


@lru_cache(maxsize=64)
def check_compute(spec: ComputeSpec, model: ModelSpec, n_features: int, n_classes: int) -> None:
    """Refuse a model that cannot be trained so, before anything runs.

    Raises:
        InputError: If gradients come from shots and the model is not measured, a weight is not the angle of one Pauli
            rotation, or, under blind computing, a gate has no pattern.
    """
    if spec.shots is None:
        return
    streams = Streams(0)
    module = model.build(n_features, n_classes, generator=streams.torch("weights"), dtype=torch.float64)
    found = architecture(module, n_features, n_classes)
    features = 2 * torch.rand(2, n_features, generator=streams.torch("records"), dtype=torch.float64) - 1
    check_parameter_shift(found, flat_weights(module), Records(features=features, labels=torch.zeros(2).long()))
    Computation(spec, module, found, streams).gradients(flat_weights(module), features, torch.zeros(2).long())


class PatternCost(Protocol):
    """What tells the size of a circuit's measurement pattern: `qfl_sec.protocols` has it."""

    def __call__(
        self, circuit: CompiledCircuit, *, n_features: int, weight_shape: tuple[int, ...], angle_bits: int
    ) -> tuple[int, int]:
        """Return the qubits and the classical bits of one run."""
        ...


class Computation:
    """The gradients of one training, by whoever computes them.

    Args:
        spec: Who that is.
        module: The model.
        architecture: The same as a function of its weights.
        streams: Of the training.
        pattern_cost: Tells what blind runs take; None leaves that out of the costs.

    Raises:
        InputError: If the model cannot be run so.
    """

    def __init__(
        self,
        spec: ComputeSpec,
        module: nn.Module,
        architecture: Architecture,
        streams: Streams,
        pattern_cost: PatternCost | None = None,
    ) -> None:
        self._spec, self._module, self._architecture = spec, module, architecture
        self._generator = streams.torch("shots")
        if spec.shots is not None and architecture.sampled is None:
            raise InputError(f"[compute] {spec.name} with shots: this model computes its outputs, it measures nothing.")
        if isinstance(spec, BlindCompute) and not isinstance(module, CircuitModule):
            raise InputError('[compute] name = "blind": this model is not one circuit. Choose one that is.')
        self._pattern = (0, 0)
        if isinstance(spec, BlindCompute) and isinstance(module, CircuitModule) and pattern_cost is not None:
            self._pattern = pattern_cost(
                module.circuit,
                n_features=architecture.n_features,
                weight_shape=tuple(module.weights.shape),
                angle_bits=spec.angle_bits,
            )

    def gradients(self, weights: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return the gradient of each record's own cross-entropy, without derivatives of its own.

        Args:
            weights: (..., parameters)
            inputs: (..., features); leading dimensions broadcast against the weights'.
            labels: (...), integers.

        Returns:
            (..., parameters)
        """
        if self._spec.shots is None:
            return per_example_gradients(self._architecture, weights, inputs, labels).detach()
        return shifted_gradients(self._answers, weights, inputs, labels)

    def cost(self, round_: int, clients: Sequence[int], records: Tensor) -> tuple[ComputeCost, ...]:
        """Return what each client's circuits of a round took, for this many records (clients,); none if exact."""
        shots = self._spec.shots
        if shots is None:
            return ()
        circuits = circuits_per_gradient(self._architecture.n_parameters)
        runs = circuits * shots * self._observables
        nodes, bits = self._pattern
        return tuple(
            ComputeCost(
                round=round_,
                client=client,
                circuits=circuits * count,
                runs=runs * count,
                nodes=nodes,
                qubits_sent=nodes * runs * count,
                classical_bits=bits * runs * count,
            )
            for client, count in zip(clients, records.tolist(), strict=True)
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
    def _observables(self) -> int:
        """How often a circuit runs for one shot of all that is read out."""
        module = self._module
        return module.observables(self._architecture.n_features) if isinstance(module, CircuitModule) else 1

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


def _check_shots(shots: int | None) -> None:
    if shots is not None and not 1 <= shots <= MAX_SHOTS:
        raise ValueError(f"Expected 1 <= shots={shots} <= {MAX_SHOTS}.")
