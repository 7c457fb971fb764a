"""The gate before private training: per-example gradients must be what they claim to be, or nothing is trained.

Differential privacy clips the gradient of each record by itself. If a model hides its parameters from
`torch.func.functional_call`, vectorised per-example gradients come out as zeros without any warning: clipping and noise
still run, a budget is still printed, and the model has learnt nothing. The gate compares with an independent route that
knows nothing of `torch.func`: the module called as it stands, one record at a time.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from qfl_sec.checking import InputError
from qfl_sec.contracts import Architecture, Records
from qfl_sec.gradients import per_example_gradients
from qfl_sec.models import flat_weights, unflatten

READ_THROUGH_SELF = (
    "Hold the weights as nn.Parameter attributes and read them through self in forward. pennylane.qnn.TorchLayer does "
    "not: give its circuit to qfl_sec.statevector.compile_circuit instead."
)
KEEP_RECORDS_APART = (
    "Let every record pass the model by itself: no normalisation over the batch (LayerNorm and GroupNorm are fine)."
)
KEEP_DIFFERENTIABLE = (
    "Let forward use the weights in differentiable torch operations: no detach, no numpy, no rounding."
)
USE_MAPPABLE_OPERATIONS = "Write forward in torch operations that torch.func.vmap and grad support."


class GradientConformanceError(RuntimeError):
    """Per-example gradients are wrong or cannot be checked, so no private training starts; the message says why."""


@dataclass(frozen=True, kw_only=True)
class GradientCheck:
    """What the gate saw when it let a model pass.

    Attributes:
        largest_gap: Largest distance between a per-example gradient and the loop's, or between their mean and the
            batch gradient, over the norm of the longest gradient.
        smallest_norm: Norm of the shortest per-example gradient.
        records: Number of records checked.
    """

    largest_gap: float
    smallest_norm: float
    records: int


def check_gradients(module: nn.Module, architecture: Architecture, records: Records) -> GradientCheck:
    """Check per-example gradients at the module's present weights, or raise.

    The gradients must be finite, differ from zero, equal those of a loop that differentiates `module(record)` by plain
    autograd, and average to the gradient of the whole batch, all within the square root of the machine epsilon of the
    longest gradient.

    Args:
        module: The model as its author wrote it, with the weights that training starts from.
        architecture: The model as the training uses it, built from `module`.
        records: A few of the public reference records, at least 2; all are checked.

    Raises:
        GradientConformanceError: If any of this fails, or cannot be computed.
        InputError: If there are fewer than 2 records.

    Guarantee:
        None by itself: it is a premise of every guarantee that clips per-example gradients.
    """
    if len(records) < 2:
        raise InputError(f"Expected records={len(records)} >= 2 to check gradients on. Raise reference_fraction.")
    weights = flat_weights(module)
    inputs, labels = records.features.to(weights), records.labels.to(weights.device)
    loop, batch = _independent_gradients(module, inputs, labels)
    _require_signal(loop)
    mapped = _mapped_gradients(module, architecture, weights, inputs, labels, loop)
    tolerance = torch.finfo(weights.dtype).eps ** 0.5
    gap = _largest(mapped - loop, loop)
    if not gap <= tolerance:  # NaN fails, too
        raise GradientConformanceError(_explain_hidden(module, inputs, loop) or _explain_gap(mapped, loop, gap))
    batch_gap = _largest((mapped.mean(0) - batch)[None], loop)
    if not batch_gap <= tolerance:
        raise GradientConformanceError(
            f"The gradient of a batch is not the mean of its records' gradients (off by {batch_gap:.1e} of the "
            f"longest): records of one batch influence each other. {KEEP_RECORDS_APART}"
        )
    shortest = float(mapped.norm(dim=-1).min())
    return GradientCheck(largest_gap=max(gap, batch_gap), smallest_norm=shortest, records=len(inputs))


def _mapped_gradients(
    module: nn.Module, architecture: Architecture, weights: Tensor, inputs: Tensor, labels: Tensor, loop: Tensor
) -> Tensor:
    """Return per-example gradients (records, parameters) as training computes them, clients first."""
    try:
        gradients = per_example_gradients(architecture, weights.expand(1, 1, -1), inputs[None], labels[None])
        return gradients[0].detach()
    except Exception as error:
        cause = _explain_hidden(module, inputs, loop) or (
            f"Per-example gradients of {type(module).__name__} cannot be computed. {USE_MAPPABLE_OPERATIONS}"
        )
        raise GradientConformanceError(f"{cause} ({type(error).__name__}: {_first_line(error)})") from error


def _independent_gradients(module: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradient of each record (records, parameters) and of their batch (parameters,) by plain autograd."""
    try:
        each = [_gradient(module, inputs[i : i + 1], labels[i : i + 1]) for i in range(len(inputs))]
        return torch.stack(each), _gradient(module, inputs, labels)
    except Exception as error:
        raise GradientConformanceError(
            f"The model cannot be differentiated on one record and on a batch. {KEEP_RECORDS_APART} "
            f"{KEEP_DIFFERENTIABLE} ({type(error).__name__}: {_first_line(error)})"
        ) from error


def _gradient(module: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient (parameters,) of the mean cross-entropy, by plain autograd on the module's own parameters."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    loss = nn.functional.cross_entropy(module(inputs), labels)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    blocks = [
        torch.zeros_like(parameter) if gradient is None else gradient
        for parameter, gradient in zip(parameters, gradients, strict=True)
    ]
    return torch.cat([block.reshape(-1) for block in blocks])


def _require_signal(loop: Tensor) -> None:
    """Refuse gradients that are not finite, or zero up to rounding: there is nothing to compare with, or to learn."""
    norms = loop.norm(dim=-1)
    if not bool(torch.isfinite(norms).all()):
        raise GradientConformanceError("The model's gradient is not finite. Lower the weights or scale the records.")
    if float(norms.min()) <= 10 * torch.finfo(loop.dtype).eps:
        silent = int((norms <= 10 * torch.finfo(loop.dtype).eps).sum())
        raise GradientConformanceError(
            f"The gradient of {silent} of {len(norms)} records is zero: their loss does not depend on the weights. "
            f"{KEEP_DIFFERENTIABLE}"
        )


def _explain_hidden(module: nn.Module, inputs: Tensor, loop: Tensor) -> str | None:
    """Name the parameters that matter to the module but keep their stored values when others are substituted."""
    matters = {name: bool(block.abs().max() > 0) for name, block in unflatten(module, loop).items()}
    hidden = [name for name in matters if matters[name] and not _is_read(module, name, inputs)]
    if not hidden:
        return None
    return (
        f"{type(module).__name__} does not read its parameters through functional_call: substituting "
        f"{', '.join(hidden)} changes nothing, so that their per-example gradients would all be zero. "
        f"{READ_THROUGH_SELF}"
    )


def _is_read(module: nn.Module, name: str, inputs: Tensor) -> bool:
    """Return whether another value of one parameter, substituted without any mapping, changes the outputs."""
    with torch.no_grad():
        try:
            substituted = functional_call(module, {name: module.get_parameter(name) + 0.5}, (inputs,))
            return not torch.equal(substituted, module(inputs))
        except RuntimeError:
            return True  # it objects to the other value, so it saw it


def _explain_gap(mapped: Tensor, loop: Tensor, gap: float) -> str:
    if not bool(torch.isfinite(mapped).all()):
        return f"Per-example gradients are not finite where a plain loop's are. {USE_MAPPABLE_OPERATIONS}"
    if not bool(mapped.any()):
        return f"Per-example gradients are all zero where a plain loop's are not. {KEEP_DIFFERENTIABLE}"
    ratio = float((mapped * loop).sum() / (loop * loop).sum())
    return (
        f"Per-example gradients differ from those of a plain loop by {gap:.1e} of the longest (about {ratio:.3g} times "
        f"as long). Give each record its own cross-entropy, unscaled, and no gradient hooks. {KEEP_RECORDS_APART}"
    )


def _largest(differences: Tensor, loop: Tensor) -> float:
    """Return the largest norm of the differences over the longest gradient; NaN if anything is not finite."""
    return float(differences.norm(dim=-1).max() / loop.norm(dim=-1).max())


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:200]
