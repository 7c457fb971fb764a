"""Losses of a model and their gradients, one a record."""

import torch
from torch import Tensor
from torch.func import grad

from qfl_sec.batched_circuit import Layout, lead_shape
from qfl_sec.contracts import Architecture
from qfl_sec.differentiation import is_followed


def losses(architecture: Architecture, weights: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return each record's cross-entropy.

    Args:
        architecture: The model.
        weights: (..., parameters)
        inputs: (..., features); leading dimensions broadcast against the weights'.
        labels: (...), integers; broadcast to the leading dimensions of the two.

    Returns:
        (...), in nats.
    """
    log_probabilities = torch.log_softmax(architecture.outputs(weights, inputs), dim=-1)
    index = labels.expand(log_probabilities.shape[:-1]).unsqueeze(-1)
    return -log_probabilities.gather(-1, index).squeeze(-1)


def per_example_gradients(architecture: Architecture, weights: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient of each record's own cross-entropy with respect to the weights.

    Where the architecture has closed forms and they pay, they are taken. Otherwise the weights are repeated for each
    record, so that one backward pass of the summed loss gives every record's gradient apart. The result can be
    differentiated again, and taken under `torch.func.vmap`, `jvp`, `jacfwd`.

    Args:
        architecture: The model.
        weights: (..., parameters)
        inputs: (..., features); leading dimensions broadcast against the weights'.
        labels: (...), integers.

    Returns:
        (..., parameters)
    """
    layout = Layout(lead_shape(inputs.shape[:-1], weights.shape[:-1]), weights.shape[:-1])
    kernel = architecture.kernel
    if kernel is not None and kernel.pays(layout.models, layout.samples):
        columns, vectors = layout.sources(inputs, weights)
        rows = layout.columns(labels.unsqueeze(-1))[0]
        closed = kernel.example_gradients(vectors[..., 0].mT, columns.permute(1, 2, 0), rows)
        return layout.restore(closed.permute(2, 0, 1))
    repeated = weights.expand(*layout.lead, weights.shape[-1])
    if is_followed(weights, inputs):
        gradients: Tensor = grad(lambda each: losses(architecture, each, inputs, labels).sum())(repeated)
        return gradients
    with torch.enable_grad():  # plain autograd reaches the sweep of large circuits, which bounds the memory
        leaf = repeated.detach().clone().requires_grad_()
        return torch.autograd.grad(losses(architecture, leaf, inputs, labels).sum(), leaf)[0]


def batch_gradients(
    architecture: Architecture, weights: Tensor, inputs: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Return each record's loss, and the gradient of each model's mean loss.

    Args:
        architecture: The model.
        weights: (models, parameters)
        inputs: (models or 1, samples, features)
        labels: (models or 1, samples), integers.

    Returns:
        Losses (models, samples) in nats, gradients (models, parameters).
    """
    followed = is_followed(weights, inputs)
    if architecture.kernel is not None:
        if followed:
            return architecture.kernel.batch_gradients(weights, inputs, labels)
        with torch.inference_mode():  # no record of views and versions is kept: at small batches, a fifth of the time
            found, gradients = architecture.kernel.batch_gradients(weights, inputs, labels)
        return found.clone(), gradients.clone()
    if followed:
        gradients = grad(lambda each: losses(architecture, each.unsqueeze(1), inputs, labels).mean(1).sum())(weights)
        return losses(architecture, weights.unsqueeze(1), inputs, labels), gradients
    with torch.enable_grad():
        leaf = weights.detach().clone().requires_grad_()
        found = losses(architecture, leaf.unsqueeze(1), inputs, labels)
        return found.detach(), torch.autograd.grad(found.mean(1).sum(), leaf)[0]
