"""The variational quantum classifier: its fields, what they may be together, and its module."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch

from qfl_sec.checking import InputError
from qfl_sec.checkpoints import InitialWeights
from qfl_sec.circuit_module import CircuitModule
from qfl_sec.circuits import (
    ENCODINGS,
    ENTANGLERS,
    Encoding,
    Entangler,
    check_frequencies,
    qubits_needed,
    variational_circuit,
)
from qfl_sec.statevector import CompiledCircuit, compile_circuit

MAX_QUBITS = 16
"""Up to here circuits are tested to run within a few gigabytes: a record's state takes 2^qubits complex numbers."""

MAX_LAYERS = 1_000
"""Beyond what anyone trains; the circuit is recorded gate by gate, which takes up to a minute for so many."""

MAX_AMPLITUDES = 1 << 20
"""Most layers x 2^qubits: a gradient holds every layer's state, at 16 qubits 4 GB for a single record here."""


class VariationalModule(CircuitModule):
    """A variational quantum classifier: <Z> of the first qubits as logits of weights (layers, qubits, 3)."""

    def angle_parameters(self) -> frozenset[str]:
        """Return the parameters of period 2 pi: all, since a whole turn of `Rot` only changes the state's sign."""
        return frozenset({"weights"})


@lru_cache(maxsize=32)
def _circuit(spec: "VariationalClassifier", classes: int) -> CompiledCircuit:
    """Trace a built-in circuit once."""
    function = variational_circuit(
        encoding=spec.encoding,
        entangler=spec.entangler,
        n_qubits=spec.qubits,
        n_layers=spec.layers,
        n_classes=classes,
        frequencies=spec.frequencies,
    )
    return compile_circuit(function, n_qubits=spec.qubits, weight_shape=(spec.layers, spec.qubits, 3))


@dataclass(frozen=True, kw_only=True)
class VariationalClassifier(InitialWeights):
    """Variational quantum classifier: encoded features, CNOTs and Rot gates in layers, Z readout.

    Attributes:
        encoding: How a record enters the circuit: "arctan", RY(arctan x) RZ(arctan x^2) on each qubit; "angle", RY(x);
            "amplitude", the features are the amplitudes of the first basis states, those left over are 1, and the
            whole is normalised; "basis", each qubit is one bit, whether the feature is positive.
        entangler: How the CNOTs of a layer chain the qubits: "ring" or "linear".
        qubits: One a feature, or with "amplitude" as many as make 2^qubits >= features; 1 to 16.
        layers: 1 to 1,000, and layers x 2^qubits at most 2^20; each has 3 angles a qubit.
        frequencies: None of them encodes once, before the first layer. One a layer, of the "angle" encoding, encodes
            again before each layer: RY(frequency x).

    Raises:
        ValueError: If a value is impossible.

    Reference:
        Chen & Yoo 2021 (arXiv 2103.12010), figure 3; see `qfl_sec.circuits` for the encodings.
    """

    name: ClassVar[str] = "variational_classifier"
    encoding: Encoding = "arctan"
    entangler: Entangler = "ring"
    qubits: int = 4
    layers: int = 3
    frequencies: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for key, known in (("encoding", ENCODINGS), ("entangler", ENTANGLERS)):
            if getattr(self, key) not in known:
                raise ValueError(f"Unknown {key}={getattr(self, key)!r}. Known: {', '.join(known)}")
        if not 1 <= self.qubits <= MAX_QUBITS:
            raise ValueError(f"Expected 1 <= qubits={self.qubits} <= {MAX_QUBITS}")
        if self.layers < 1:
            raise ValueError(f"Expected layers={self.layers} >= 1")
        deepest = min(MAX_LAYERS, MAX_AMPLITUDES >> self.qubits)
        if self.layers > deepest:
            raise ValueError(f"Expected layers={self.layers} <= {deepest}, the most with qubits={self.qubits}")
        object.__setattr__(self, "frequencies", tuple(float(frequency) for frequency in self.frequencies))
        check_frequencies(self.frequencies, self.encoding, self.layers)
        self.settle_checkpoint()

    def check_fit(self, n_features: int, n_classes: int) -> None:
        """Refuse data that the qubits cannot hold or tell apart.

        Raises:
            InputError: If the qubits do not fit the features or the classes.
        """
        needed = qubits_needed(self.encoding, n_features)
        amplitude = self.encoding == "amplitude"
        if self.qubits < needed or (self.qubits > needed and not amplitude):
            expected = "2^qubits >= features" if amplitude else "qubits = features, one each"
            enough = f"Set [model] qubits = {needed} or" if needed <= MAX_QUBITS else "Set"
            remedy = f"{enough} [data] features = {2**self.qubits if amplitude else self.qubits}"
            found = f"[model] qubits={self.qubits} and [data] features={n_features}"
            raise InputError(f"Expected {expected}, not {found}, with {self.encoding} encoding. {remedy}.")
        if n_classes > self.qubits:
            expected = f"[model] qubits={self.qubits} >= {n_classes}, one for each class to be read out"
            raise InputError(f"Expected {expected}. Set more qubits.")

    def build(
        self, n_features: int, n_classes: int, *, generator: torch.Generator, dtype: torch.dtype
    ) -> VariationalModule:
        """Return the module, its angles drawn uniformly from (-pi, pi].

        The angles are drawn in double precision whatever `dtype`, so that both precisions start from the same model.

        Raises:
            InputError: If the qubits do not fit the features or the classes.
        """
        self.check_fit(n_features, n_classes)
        shape = (self.layers, self.qubits, 3)
        angles = math.pi - 2 * math.pi * torch.rand(shape, generator=generator, dtype=torch.float64)
        return VariationalModule(_circuit(self, n_classes), angles.to(dtype))

    def n_parameters(self, n_features: int, n_classes: int) -> int:
        """Return how many weights there are."""
        return 3 * self.layers * self.qubits

    def summary(self) -> str:
        """Return the model in words.

        Example:
            >>> VariationalClassifier(layers=2).summary()
            'arctan encoding, 4 qubits, 2 layers of ring CNOTs and Rot gates, Z readout'
        """
        layers = f"{self.layers} layer{'s' if self.layers > 1 else ''}"
        qubits = f"{self.qubits} qubit{'s' if self.qubits > 1 else ''}"
        listed = ", ".join(f"{frequency:g}" for frequency in self.frequencies)
        when = f" before each layer at frequencies {listed}" if listed else ""
        return f"{self.encoding} encoding{when}, {qubits}, {layers} of {self.entangler} CNOTs and Rot gates, Z readout"
