"""A PennyLane circuit in a file of the user's own, as a model: its fields, what is refused, and its module."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import torch

from qfl_sec.checking import InputError
from qfl_sec.checkpoints import InitialWeights
from qfl_sec.circuit_module import CircuitModule
from qfl_sec.gates import Channel
from qfl_sec.statevector import CompiledCircuit, compile_circuit
from qfl_sec.tape import Expectation, Recording
from qfl_sec.user_files import content_hash, first_line, load_object, settled, title
from qfl_sec.variational import MAX_QUBITS

MAX_GATE_AMPLITUDES = 1 << 25
"""Most gates x 2^qubits, as many as the built-in circuits may have: a gradient holds many of these states at once."""

MAX_WEIGHTS = 1_000_000
"""Beyond what anyone trains in a circuit."""


@dataclass(frozen=True, kw_only=True)
class UserCircuit(InitialWeights):
    """A PennyLane quantum function or QNode in a file of your own; its measurements are the logits.

    Attributes:
        circuit: "FILE.py:NAME" of a quantum function or QNode of (inputs, weights), with one measurement a class. A
            relative path counts from the working directory, in an experiment file from that file's folder; it is kept
            as an absolute one.
        weight_shape: Shape of its weights. They start uniform in (-pi, pi] unless there is a checkpoint.
        function: The name in the file; set by itself.
        sha256: Of the file's content; set by itself.

    Raises:
        ValueError: If a value is impossible or the file does not exist.
    """

    name: ClassVar[str] = "user_circuit"
    circuit: str = field(metadata={"in_key": False})
    weight_shape: tuple[int, ...]
    function: str = field(init=False)
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight_shape", tuple(self.weight_shape))
        shape = list(self.weight_shape)
        if not shape or min(shape) < 1 or math.prod(shape) > MAX_WEIGHTS:
            raise ValueError(f"Expected weight_shape={shape} to be sizes >= 1 of at most {MAX_WEIGHTS:,} weights")
        object.__setattr__(self, "circuit", settled(self.circuit, "circuit"))
        file, _, function = self.circuit.rpartition(":")
        object.__setattr__(self, "function", function)
        object.__setattr__(self, "sha256", content_hash(Path(file)))
        self.settle_checkpoint()

    def check_fit(self, n_features: int, n_classes: int) -> None:
        """Run the circuit once, without any state, and refuse what cannot be trained on such data.

        Raises:
            InputError: If the file cannot be used, the circuit fails, has too many wires or gates or a gate that is not
                supported, or not one measurement a class.
        """
        recording = _recorded(self, n_features)
        if recording.n_qubits > MAX_QUBITS:
            raise InputError(f"{self._place}: Expected {recording.n_qubits} wires <= {MAX_QUBITS}. Use fewer.")
        for gate in recording.gates:
            if isinstance(gate, Channel):
                raise InputError(f"{self._place}: {gate.name} is noise, which training does not model. Remove it.")
        amplitudes = len(recording.gates) << recording.n_qubits
        if amplitudes > MAX_GATE_AMPLITUDES:
            found = f"{len(recording.gates)} gates x 2^{recording.n_qubits}"
            raise InputError(f"{self._place}: Expected {found} <= {MAX_GATE_AMPLITUDES}. Use fewer gates or wires.")
        outputs = sum(1 if isinstance(one, Expectation) else 2 ** len(one.wires) for one in recording.measurements)
        if outputs != n_classes:
            remedy = "Return as many expectation values, or probabilities, as there are classes"
            raise InputError(f"{self._place}: Expected its {outputs} outputs to be {n_classes}, the classes. {remedy}.")

    def build(
        self, n_features: int, n_classes: int, *, generator: torch.Generator, dtype: torch.dtype
    ) -> CircuitModule:
        """Return the module, its weights drawn uniformly from (-pi, pi] in double precision whatever `dtype`.

        Raises:
            InputError: As of `check_fit`.
        """
        self.check_fit(n_features, n_classes)
        drawn = math.pi - 2 * math.pi * torch.rand(self.weight_shape, generator=generator, dtype=torch.float64)
        return CircuitModule(_compiled(self), drawn.to(dtype))

    def n_parameters(self, n_features: int, n_classes: int) -> int:
        """Return how many weights there are."""
        return math.prod(self.weight_shape)

    def amplitudes(self, n_features: int) -> int:
        """Return how many amplitudes a record's states take, with one state for a layer of two gates a qubit."""
        recording = _recorded(self, n_features)
        return max(1, len(recording.gates) // (2 * recording.n_qubits)) << recording.n_qubits

    def summary(self) -> str:
        """Return the model in words."""
        shape = " x ".join(map(str, self.weight_shape))
        return f"own circuit {title(self.circuit)} (sha256 {self.sha256[:16]}), weights {shape}"

    @property
    def _place(self) -> str:
        return f"circuit {title(self.circuit)}"


@lru_cache(maxsize=32)
def _compiled(spec: UserCircuit) -> CompiledCircuit:
    circuit = load_object(spec.circuit, spec.sha256, "circuit")
    return compile_circuit(circuit, weight_shape=spec.weight_shape)


@lru_cache(maxsize=32)
def _recorded(spec: UserCircuit, n_features: int) -> Recording:
    """Write the circuit down; whatever the user's code raises becomes one message."""
    compiled = _compiled(spec)
    place = f"circuit {title(spec.circuit)}"
    try:
        return compiled.recorded(n_features, spec.weight_shape, torch.float64, torch.device("cpu"))
    except InputError as error:
        raise InputError(f"{place}: {error}") from None
    except Exception as error:
        given = f"inputs of shape {_shown((n_features,))} and weights of shape {_shown(spec.weight_shape)}"
        remedy = "Correct the circuit, [model] weight_shape or [data] features"
        raise InputError(f"{place}: fails with {given} ({first_line(error)}). {remedy}.") from error


def _shown(shape: Sequence[int]) -> str:
    return str(tuple(shape))
