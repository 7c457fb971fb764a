"""Gradients from shifted circuits: what a device can measure, where a simulator would differentiate."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from qfl_sec.checking import InputError
from qfl_sec.contracts import Architecture, Records
from qfl_sec.gradients import per_example_gradients

Answers = Callable[[Tensor, Tensor], Tensor]
"""(weights (..., parameters), inputs (..., features)) to logits (..., classes), exact or sampled."""

SHIFT = math.pi / 2

LARGEST_GAP = 1e-8
"""Difference of shifted and differentiated gradients that is put down to rounding, in double precision."""


def circuits_per_gradient(n_parameters: int) -> int:
    """Return how many circuits a record's gradient takes: two for each weight, one for the loss's own slope.

    Example:
        >>> circuits_per_gradient(24)
        49
    """
    return 2 * n_parameters + 1


def shifted_points(weights: Tensor) -> Tensor:
    """Return weights (..., parameters) as they are, with each raised, then with each lowered by a quarter of a turn.

    Returns:
        (..., 2 x parameters + 1, parameters)
    """
    unit = torch.eye(weights.shape[-1], dtype=weights.dtype, device=weights.device)
    shifts = SHIFT * torch.cat([torch.zeros_like(unit[:1]), unit, -unit])
    return weights.unsqueeze(-2) + shifts


def shifted_gradients(answers: Answers, weights: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient of each record's cross-entropy from the answers of its 2 x parameters + 1 circuits.

    A logit's slope in the angle of a Pauli rotation is half the difference of the logits at the angle plus and minus
    a quarter of a turn; the chain rule joins these with the slope of the cross-entropy in the logits. All circuits are
    asked in one call. Sampled slopes are unbiased. The cross-entropy's own slope, a function of sampled logits, has a
    bias of the order of one over the shots.

    Args:
        answers: What the circuits answer.
        weights: (..., parameters)
        inputs: (..., features); leading dimensions broadcast against the weights'.
        labels: (...), integers.

    Returns:
        (..., parameters)

    Reference: Mitarai et al. 2018, arXiv 1803.00745, equation 8; Schuld et al. 2019, arXiv 1811.11184, equation 9.
    """
    count = weights.shape[-1]
    found = answers(shifted_points(weights), inputs.unsqueeze(-2))  # (..., circuits, classes)
    slopes = (found[..., 1 : count + 1, :] - found[..., count + 1 :, :]) / 2
    errors = found[..., 0, :].softmax(-1) - one_hot(labels, found.shape[-1])
    return torch.einsum("...pk,...k->...p", slopes, errors)


def check_parameter_shift(architecture: Architecture, weights: Tensor, records: Records) -> float:
    """Hold shifted gradients against differentiated ones, by exact expectation values, at every label.

    Args:
        architecture: The model.
        weights: (parameters,), any that are not special.
        records: A few of them.

    Returns:
        The largest difference, over one plus the largest slope.

    Raises:
        InputError: If the model is not measured, or a weight is not the angle of one Pauli rotation.
    """
    if architecture.sampled is None:
        raise InputError(
            "This model computes its outputs and measures nothing, so that nobody can sample its circuits. "
            'Choose a model that is one circuit, or [compute] name = "local" without shots.'
        )
    vector = weights.double()
    inputs = records.features.double().unsqueeze(1).expand(-1, architecture.n_classes, -1)  # (records, classes, n)
    labels = torch.arange(architecture.n_classes).expand(len(records), -1)  # (records, classes)
    shifted = shifted_gradients(architecture.outputs, vector, inputs, labels).detach()
    true = per_example_gradients(architecture, vector, inputs, labels).detach()
    gaps = (shifted - true).abs().flatten(0, -2).amax(0) / (1 + true.abs().max())  # (parameters,)
    worst = int(gaps.argmax())
    if float(gaps[worst]) > LARGEST_GAP:
        raise InputError(
            f"Weight {worst} is not the angle of one Pauli rotation: its shifted circuits give a gradient that is off "
            f"by {float(gaps[worst]):.2g}. Expected each weight in one RX, RY, RZ, PhaseShift or Rot gate, unscaled: "
            'change the circuit, or set [compute] name = "local" without shots.'
        )
    return float(gaps[worst])
