"""Gradients of the cross-entropy of a Pauli program's outputs, and their derivatives in the records, in closed form.

A softmax sees only differences of outputs, so one observable fewer is carried: with e = softmax - one-hot, the gradient
of a record's loss is sum_o e_o chi_o phi over all outputs but the last, chi_o that of output o's difference to it.
"""

import torch
from torch import Tensor

from qfl_sec.pauli.kernel import PauliKernel, expectations, mixtures


def batch_gradients(kernel: PauliKernel, inputs: Tensor, weights: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return each model's mean loss, and its gradient.

    Args:
        kernel: The circuit.
        inputs: (models or 1, samples, features)
        weights: (models, k)
        labels: (models or 1, samples), integers.

    Returns:
        Losses (models,) in nats, gradients (models, k); zeros for empty batches.
    """
    features = kernel.features(inputs)
    coefficients, contract = kernel.contrasts.linearize(weights)
    contrasts = expectations(coefficients, features)
    losses, errors = _losses_and_errors(contrasts, labels)
    count = max(1, errors.shape[1])
    return losses.sum(1) / count, contract(mixtures(errors / count, features, kernel.contrasts.d_left))


def example_gradients(kernel: PauliKernel, inputs: Tensor, weights: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient of each record's own loss, (models, samples, k); arguments as for `batch_gradients`."""
    systems = linear_system(kernel, weights)
    words = kernel.features(inputs).words()
    values = (words @ systems.flatten(1, 2).mT).view(len(weights), -1, *systems.shape[1:3])
    _, errors = _losses_and_errors(values[..., 0], labels)  # of values (models, samples, rows, 1 + live)
    return kernel.contrasts.spread((values[..., 1:] * errors.unsqueeze(-1)).sum(2))


def linear_system(kernel: PauliKernel, weights: Tensor) -> Tensor:
    """Return contrasts and their derivatives in the live weights as forms in words, (models, rows, 1 + live, 4^n)."""
    rows = kernel.contrasts.jacobian(weights)  # (models, d, 1 + live, rows, d')
    return rows.permute(0, 3, 2, 1, 4).flatten(3)


def gradient_slopes(
    kernel: PauliKernel, systems: Tensor, which: Tensor, inputs: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of records' losses, and their derivatives in the records' features.

    Args:
        kernel: The circuit.
        systems: (models, rows, 1 + live, 4^n), from `linear_system`.
        which: (problems,), the model of each problem.
        inputs: (problems, samples, features)
        labels: (problems, samples)

    Returns:
        (problems, samples, k) and (features, problems, samples, k).
    """
    values = _values(kernel, systems, which, inputs)
    contrasts, slopes = values[..., 0, :, 0], values[..., 1:, :, 0]
    _, errors = _losses_and_errors(contrasts, labels)  # (problems, samples, rows)
    shares = torch.softmax(torch.nn.functional.pad(contrasts, (0, 1)), -1)[..., :-1].unsqueeze(-2)
    turned = shares * (slopes - (shares * slopes).sum(-1, keepdim=True))  # of the errors, in each feature
    here, along = values[..., 0, :, 1:], values[..., 1:, :, 1:]
    changes = torch.einsum("psr,psfrk->fpsk", errors, along) + torch.einsum("psfr,psrk->fpsk", turned, here)
    gradients = torch.einsum("psr,psrk->psk", errors, here)
    return kernel.contrasts.spread(gradients), kernel.contrasts.spread(changes)


def _values(kernel: PauliKernel, systems: Tensor, which: Tensor, inputs: Tensor) -> Tensor:
    """Return contrasts and their derivatives, (problems, samples, 1 + features, rows, 1 + live).

    The last axis runs over derivatives in weights, the third over derivatives in features, values first. All records of
    a model are one matrix product.
    """
    if bool((which[1:] < which[:-1]).any()):
        order = which.argsort(stable=True)
        return _values(kernel, systems, which[order], inputs[order])[order.argsort()]
    models, runs = torch.unique_consecutive(which, return_counts=True)
    records = kernel.encoder.with_slopes(inputs.flatten(0, 1)).split((runs * inputs.shape[1]).tolist())
    parts = [  # words model by model: all of them at once would go through memory
        own.words().flatten(0, 1) @ systems[model].flatten(0, 1).mT
        for model, own in zip(models.tolist(), records, strict=True)
    ]
    return torch.cat(parts).view(*inputs.shape[:2], 1 + inputs.shape[2], *systems.shape[1:3])


def _losses_and_errors(contrasts: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return cross-entropies (...), and softmax minus one-hot (..., rows), of contrasts (..., rows)."""
    if contrasts.shape[-1] == 1:  # two classes: fewer, smaller operations
        contrast, first = contrasts.squeeze(-1), (labels == 0).to(contrasts.dtype)
        losses = torch.nn.functional.softplus(contrast) - contrast * first
        return losses, (contrast.sigmoid() - first).unsqueeze(-1)
    chosen = (labels.unsqueeze(-1) == torch.arange(contrasts.shape[-1], device=labels.device)).to(contrasts.dtype)
    logarithms = torch.log_softmax(torch.nn.functional.pad(contrasts, (0, 1)), -1)
    losses = -(logarithms[..., -1] + (chosen * contrasts).sum(-1))
    return losses, logarithms[..., :-1].exp() - chosen
