"""Our side of the work: all calls to the kernel that the benchmarks make."""

from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from benchmarks.problems import CLASSES, Classification
from benchmarks.sides import Side
from qfl_sec.contracts import Architecture
from qfl_sec.gradients import batch_gradients as _batch_gradients
from qfl_sec.gradients import compiled_batch_gradients as _compiled_batch_gradients
from qfl_sec.gradients import per_example_gradients as _per_example_gradients
from qfl_sec.models import VariationalClassifier, architecture


def model(*, qubits: int, layers: int, dtype: torch.dtype) -> Architecture:
    """Return the Chen-Yoo classifier as a function of its weights."""
    spec = VariationalClassifier(encoding="arctan", entangler="ring", qubits=qubits, layers=layers)
    module = spec.build(qubits, CLASSES, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return architecture(module, qubits, CLASSES)


def batch_gradients(problem: Classification) -> Side:
    """Compute each model's mean loss (models,) and its gradient (models, parameters)."""
    arch = model(qubits=problem.qubits, layers=problem.layers, dtype=problem.weights.dtype)
    step = _over_models(partial(_batch_gradients, arch))
    return side("eager", lambda: step(problem.weights, problem.inputs, problem.labels))


def compiled_batch_gradients(problem: Classification) -> Side:
    """Compute the same, compiled by torch for these shapes on its first call."""
    arch = model(qubits=problem.qubits, layers=problem.layers, dtype=problem.weights.dtype)
    step = _over_models(_compiled_batch_gradients(arch))
    return side("torch.compile", lambda: step(problem.weights, problem.inputs, problem.labels), compiles=True)


def per_example_gradients(problem: Classification) -> Side:
    """Compute each record's own gradient, (batch, parameters)."""
    arch = model(qubits=problem.qubits, layers=problem.layers, dtype=problem.weights.dtype)
    return side("eager", lambda: (_per_example_gradients(arch, problem.weights, problem.inputs, problem.labels),))


def side(how: str, work: Callable[[], Any], **options: Any) -> Side:
    """Return work of ours as a side of a comparison; for the options see `Side`."""
    return Side(name=f"qfl-sec, {how}", version=f"qfl-sec {version('qfl-sec')}", work=work, **options)


def _over_models(
    gradients: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]],
) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the step for one model (parameters,) or many (models, parameters)."""

    def step(weights: Tensor, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if weights.ndim == 1:
            loss, gradient = step(weights.unsqueeze(0), inputs.unsqueeze(0), labels.unsqueeze(0))
            return loss.squeeze(0), gradient.squeeze(0)
        return gradients(weights, inputs, labels)

    return step
