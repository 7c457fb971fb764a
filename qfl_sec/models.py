"""The models that are trained, and every model as a function of one flat weight vector.

A model holds its weights as `nn.Parameter`s that `forward` reads through `self`, so that `torch.func.functional_call`,
Opacus and `state_dict` all reach them. The models built here go further: their parameters may carry leading dimensions
that broadcast against those of the inputs, so that many models run on many records in one program.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from qfl_sec.checking import InputError
from qfl_sec.circuits import ENCODINGS, ENTANGLERS, Encoding, Entangler, variational_circuit
from qfl_sec.contracts import Architecture
from qfl_sec.statevector import CompiledCircuit, compile_circuit


@runtime_checkable
class _HasAngles(Protocol):
    """A module that names those of its parameters that are angles of period 2 pi."""

    def angle_parameters(self) -> frozenset[str]: ...


class VariationalModule(nn.Module):
    """A variational quantum classifier: <Z> of the first qubits as logits.

    Args:
        circuit: Takes inputs (..., features) and weights (..., layers, qubits, 3).
        weights: Initial angles, (layers, qubits, 3).
    """

    broadcasts_parameters: ClassVar[bool] = True

    def __init__(self, circuit: CompiledCircuit, weights: Tensor) -> None:
        super().__init__()
        self.circuit = circuit
        self.weights = nn.Parameter(weights)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map records (..., features) to logits (..., classes)."""
        return self.circuit(inputs, self.weights)

    def angle_parameters(self) -> frozenset[str]:
        """Return the parameters of period 2 pi: all, since a whole turn of `Rot` only changes the state's sign."""
        return frozenset({"weights"})


class MlpModule(nn.Module):
    """A classical network with one hidden layer and no biases: logits = tanh(x w1) w2.

    Args:
        w1: Initial weights, (features, hidden).
        w2: Initial weights, (hidden, classes).
    """

    broadcasts_parameters: ClassVar[bool] = True

    def __init__(self, w1: Tensor, w2: Tensor) -> None:
        super().__init__()
        self.w1 = nn.Parameter(w1)
        self.w2 = nn.Parameter(w2)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map records (..., features) to logits (..., classes)."""
        hidden = torch.tanh(torch.einsum("...i,...ij->...j", inputs, self.w1))  # (..., hidden)
        return torch.einsum("...i,...ij->...j", hidden, self.w2)


@lru_cache(maxsize=32)
def _circuit(encoding: Encoding, entangler: Entangler, qubits: int, layers: int, classes: int) -> CompiledCircuit:
    """Trace a built-in circuit once."""
    function = variational_circuit(
        encoding=encoding, entangler=entangler, n_qubits=qubits, n_layers=layers, n_classes=classes
    )
    return compile_circuit(function, n_qubits=qubits, weight_shape=(layers, qubits, 3))


@dataclass(frozen=True, kw_only=True)
class VariationalClassifier:
    """Variational quantum classifier: encoded features, CNOTs and Rot gates in layers, Z readout.

    Attributes:
        encoding: "arctan", RY(arctan x) RZ(arctan x^2) on each qubit, or "angle", RY(x).
        entangler: How the CNOTs of a layer chain the qubits: "ring" or "linear".
        qubits: One a feature, 1 to 20: a record's state takes 2^qubits complex numbers.
        layers: At least 1; each has 3 angles a qubit.

    Raises:
        ValueError: If a value is impossible.

    Reference:
        Chen & Yoo 2021 (arXiv 2103.12010), figure 3.
    """

    name: ClassVar[str] = "variational_classifier"
    encoding: Encoding = "arctan"
    entangler: Entangler = "ring"
    qubits: int = 4
    layers: int = 3

    def __post_init__(self) -> None:
        for key, known in (("encoding", ENCODINGS), ("entangler", ENTANGLERS)):
            if getattr(self, key) not in known:
                raise ValueError(f"Unknown {key}={getattr(self, key)!r}. Known: {', '.join(known)}")
        if not 1 <= self.qubits <= 20:
            raise ValueError(f"Expected 1 <= qubits={self.qubits} <= 20")
        if self.layers < 1:
            raise ValueError(f"Expected layers={self.layers} >= 1")

    def build(
        self, n_features: int, n_classes: int, *, generator: torch.Generator, dtype: torch.dtype
    ) -> VariationalModule:
        """Return the module, its angles drawn uniformly from (-pi, pi].

        The angles are drawn in double precision whatever `dtype`, so that both precisions start from the same model.

        Raises:
            InputError: If the qubits do not fit the features or the classes.
        """
        if self.qubits != n_features:
            remedy = f"Set qubits = {n_features}, or give the data {self.qubits} features."
            raise InputError(f"Expected qubits={self.qubits} = features={n_features}: one qubit a feature. {remedy}")
        if n_classes > self.qubits:
            remedy = f"Use at least {n_classes} qubits and features."
            raise InputError(f"Expected classes={n_classes} <= qubits={self.qubits}: one is read out a class. {remedy}")
        shape = (self.layers, self.qubits, 3)
        angles = math.pi - 2 * math.pi * torch.rand(shape, generator=generator, dtype=torch.float64)
        circuit = _circuit(self.encoding, self.entangler, self.qubits, self.layers, n_classes)
        return VariationalModule(circuit, angles.to(dtype))

    def summary(self) -> str:
        """Return the model in words.

        Example:
            >>> VariationalClassifier(layers=2).summary()
            'arctan encoding, 4 qubits, 2 layers of ring CNOTs and Rot gates, Z readout'
        """
        layers = f"{self.layers} layer{'s' if self.layers > 1 else ''}"
        qubits = f"{self.qubits} qubit{'s' if self.qubits > 1 else ''}"
        return f"{self.encoding} encoding, {qubits}, {layers} of {self.entangler} CNOTs and Rot gates, Z readout"


@dataclass(frozen=True, kw_only=True)
class MlpClassifier:
    """Classical control: one hidden tanh layer, no biases.

    Attributes:
        hidden: Width of the hidden layer, at least 1. The model has (features + classes) x hidden parameters.

    Raises:
        ValueError: If the width is impossible.
    """

    name: ClassVar[str] = "mlp_classifier"
    hidden: int = 6

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise ValueError(f"Expected hidden={self.hidden} >= 1")

    def build(self, n_features: int, n_classes: int, *, generator: torch.Generator, dtype: torch.dtype) -> MlpModule:
        """Return the module, weights uniform within 1 / sqrt(fan in) as in `nn.Linear`, drawn in double precision."""

        def draw(rows: int, columns: int) -> Tensor:
            uniform = torch.rand((rows, columns), generator=generator, dtype=torch.float64)
            return ((2 * uniform - 1) / math.sqrt(rows)).to(dtype)

        return MlpModule(draw(n_features, self.hidden), draw(self.hidden, n_classes))

    def summary(self) -> str:
        """Return the model in words.

        Example:
            >>> MlpClassifier(hidden=6).summary()
            'one hidden tanh layer of width 6, no biases'
        """
        return f"one hidden tanh layer of width {self.hidden}, no biases"


ModelSpec = VariationalClassifier | MlpClassifier

MODELS: Mapping[str, type[VariationalClassifier] | type[MlpClassifier]] = MappingProxyType(
    {model.name: model for model in (VariationalClassifier, MlpClassifier)}
)
"""Every model's dataclass by name."""


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """A model as lists show it.

    Attributes:
        name: Its registered name.
        description: One line.
        parameters: Its fields with their defaults.
    """

    name: str
    description: str
    parameters: Mapping[str, str | int]


def model_table() -> tuple[ModelInfo, ...]:
    """Return every model as lists show it, by name.

    Example:
        >>> [info.name for info in model_table()]
        ['mlp_classifier', 'variational_classifier']
    """
    return tuple(
        ModelInfo(
            name=name, description=(MODELS[name].__doc__ or "").splitlines()[0], parameters=asdict(MODELS[name]())
        )
        for name in sorted(MODELS)
    )


def equal_size_mlp(n_features: int, n_classes: int, n_parameters: int) -> MlpClassifier:
    """Return the classical model whose parameters are nearest in number; of two equally near, the smaller.

    Example:
        >>> equal_size_mlp(4, 2, 36)
        MlpClassifier(hidden=6)
    """
    per_unit = n_features + n_classes
    return MlpClassifier(hidden=max(1, math.ceil(n_parameters / per_unit - 0.5)))


def flat_weights(module: nn.Module) -> Tensor:
    """Return a copy of the trainable parameters as one vector (parameters,), in the order of `named_parameters`."""
    return torch.cat([parameter.detach().reshape(-1) for _, parameter in _trainable(module)])


def load_flat_weights(module: nn.Module, weights: Tensor) -> None:
    """Write a vector (parameters,) into the module's trainable parameters.

    Raises:
        InputError: If its shape is another.
    """
    total = sum(parameter.numel() for _, parameter in _trainable(module))
    if weights.shape != (total,):
        raise InputError(f"Expected weights of shape {tuple(weights.shape)} to be ({total},), the model's parameters.")
    with torch.no_grad():
        for name, part in unflatten(module, weights).items():
            module.get_parameter(name).copy_(part)


def unflatten(module: nn.Module, weights: Tensor) -> dict[str, Tensor]:
    """Cut vectors (..., parameters) into the module's parameters by name, leading dimensions kept."""
    named = list(_trainable(module))
    parts = torch.split(weights, [parameter.numel() for _, parameter in named], dim=-1)
    return {
        name: part.reshape(*weights.shape[:-1], *parameter.shape)
        for (name, parameter), part in zip(named, parts, strict=True)
    }


def architecture(module: nn.Module, n_features: int, n_classes: int) -> Architecture:
    """Return the module as a function of a flat weight vector.

    Leading dimensions of weights and inputs broadcast. A module with the class attribute `broadcasts_parameters = True`
    does so by itself: its parameters may carry leading dimensions that come before their own shape. Any other is mapped
    with `torch.func.vmap` over single records, given as batches of one, and is right if it reads its parameters through
    `self`. `qfl_sec.conformance.check_gradients` proves it.

    Args:
        module: Takes records (batch, features) to logits (batch, classes). A method `angle_parameters` may name the
            parameters that are angles of period 2 pi.
        n_features: Length of a record.
        n_classes: Number of labels.
    """
    angles = module.angle_parameters() if isinstance(module, _HasAngles) else frozenset()
    named = list(_trainable(module))
    wrapped = [torch.full((parameter.numel(),), name in angles) for name, parameter in named]

    def outputs(weights: Tensor, inputs: Tensor) -> Tensor:
        if getattr(module, "broadcasts_parameters", False):
            logits: Tensor = functional_call(module, unflatten(module, weights), (inputs,))
        else:
            logits = _mapped_outputs(module, weights, inputs)
        if logits.shape[-1] != n_classes:
            found = f"Expected the model's {logits.shape[-1]} outputs to be classes={n_classes}."
            raise InputError(f"{found} Give it one output a class.")
        return logits

    return Architecture(
        n_parameters=sum(parameter.numel() for _, parameter in named),
        n_features=n_features,
        n_classes=n_classes,
        wrapped=torch.cat(wrapped),
        outputs=outputs,
    )


def _lead(weights: Tensor, inputs: Tensor) -> torch.Size:
    """Return the leading dimensions that weights (..., parameters) and inputs (..., features) broadcast to."""
    return torch.Size(np.broadcast_shapes(weights.shape[:-1], inputs.shape[:-1]))


def _trainable(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad)


def _mapped_outputs(module: nn.Module, weights: Tensor, inputs: Tensor) -> Tensor:
    """Run any module on broadcast weights (..., parameters) and inputs (..., features), one pair at a time, mapped."""
    lead = _lead(weights, inputs)

    def single(vector: Tensor, record: Tensor) -> Tensor:
        logits: Tensor = functional_call(module, unflatten(module, vector), (record.unsqueeze(0),))
        return logits.squeeze(0)

    vectors = weights.expand(*lead, weights.shape[-1]).reshape(-1, weights.shape[-1])
    records = inputs.expand(*lead, inputs.shape[-1]).reshape(-1, inputs.shape[-1])
    return vmap(single)(vectors, records).reshape(*lead, -1)
