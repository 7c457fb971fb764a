"""The models that are trained, and every model as a function of one flat weight vector.

A model holds its weights as `nn.Parameter`s that `forward` reads through `self`, so that `torch.func.functional_call`,
Opacus and `state_dict` all reach them. The models built here go further: their parameters may carry leading dimensions
that broadcast against those of the inputs, so that many models run on many records in one program.
"""

import inspect
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from qfl_sec.checking import InputError
from qfl_sec.checkpoints import InitialWeights
from qfl_sec.contracts import Architecture, GradientKernel
from qfl_sec.user_circuit import UserCircuit
from qfl_sec.user_module import UserModule
from qfl_sec.variational import VariationalClassifier

__all__ = [
    "MODELS",
    "MlpClassifier",
    "MlpModule",
    "ModelSpec",
    "UserCircuit",
    "UserModule",
    "VariationalClassifier",
    "architecture",
    "equal_size_mlp",
    "flat_weights",
    "load_flat_weights",
    "unflatten",
]


@runtime_checkable
class _HasAngles(Protocol):
    """A module that names those of its parameters that are angles of period 2 pi."""

    def angle_parameters(self) -> frozenset[str]: ...


@runtime_checkable
class _Encodes(Protocol):
    """A module that tells how records become parameters of its gates."""

    def encoding_angles(self, inputs: Tensor) -> Tensor: ...


@runtime_checkable
class _HasKernel(Protocol):
    """A module whose gradients have closed forms, at least for some data."""

    def gradient_kernel(self, n_features: int, n_classes: int) -> GradientKernel | None: ...


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


@dataclass(frozen=True, kw_only=True)
class MlpClassifier(InitialWeights):
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
        self.settle_checkpoint()

    def check_fit(self, n_features: int, n_classes: int) -> None:
        """Accept any data."""

    def build(self, n_features: int, n_classes: int, *, generator: torch.Generator, dtype: torch.dtype) -> MlpModule:
        """Return the module, weights uniform within 1 / sqrt(fan in) as in `nn.Linear`, drawn in double precision."""

        def draw(rows: int, columns: int) -> Tensor:
            uniform = torch.rand((rows, columns), generator=generator, dtype=torch.float64)
            return ((2 * uniform - 1) / math.sqrt(rows)).to(dtype)

        return MlpModule(draw(n_features, self.hidden), draw(self.hidden, n_classes))

    def n_parameters(self, n_features: int, n_classes: int) -> int:
        """Return how many weights there are."""
        return self.hidden * (n_features + n_classes)

    def summary(self) -> str:
        """Return the model in words.

        Example:
            >>> MlpClassifier(hidden=6).summary()
            'one hidden tanh layer of width 6, no biases'
        """
        return f"one hidden tanh layer of width {self.hidden}, no biases"


ModelSpec = VariationalClassifier | MlpClassifier | UserCircuit | UserModule

MODELS: Mapping[str, type[ModelSpec]] = MappingProxyType(
    {model.name: model for model in (VariationalClassifier, MlpClassifier, UserCircuit, UserModule)}
)
"""Every model's dataclass by name."""


def equal_size_mlp(n_features: int, n_classes: int, n_parameters: int) -> MlpClassifier:
    """Return the classical model whose parameters are nearest in number; of two equally near, the smaller.

    Example:
        >>> equal_size_mlp(4, 2, 36).hidden
        6
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
            parameters that are angles of period 2 pi, a method `gradient_kernel` may give the gradients' closed forms
            for numbers of features and classes. A `forward` with keywords `shots` and `generator` gives
            sampled outputs, too. A method `encoding_angles` tells which gate parameters a record becomes.
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

    def sampled(weights: Tensor, inputs: Tensor, shots: int, generator: torch.Generator) -> Tensor:
        with torch.no_grad():
            logits: Tensor = functional_call(
                module, unflatten(module, weights), (inputs,), {"shots": shots, "generator": generator}
            )
        return logits

    return Architecture(
        n_parameters=sum(parameter.numel() for _, parameter in named),
        n_features=n_features,
        n_classes=n_classes,
        wrapped=torch.cat(wrapped),
        outputs=outputs,
        sampled=sampled if "shots" in inspect.signature(module.forward).parameters else None,
        kernel=module.gradient_kernel(n_features, n_classes) if isinstance(module, _HasKernel) else None,
        encoding=module.encoding_angles if isinstance(module, _Encodes) else None,
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
