"""Losses of a model and their gradients, one a record."""

from collections.abc import Callable

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
        return _derivative(losses(architecture, leaf, inputs, labels).sum(), leaf)


def batch_gradients(
    architecture: Architecture, weights: Tensor, inputs: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Return each model's mean loss, and its gradient.

    Args:
        architecture: The model.
        weights: (models, parameters)
        inputs: (models or 1, samples, features)
        labels: (models or 1, samples), integers.

    Returns:
        Losses (models,) in nats, gradients (models, parameters).
    """
    followed = is_followed(weights, inputs)
    if architecture.kernel is not None:
        if followed:
            return architecture.kernel.batch_gradients(weights, inputs, labels)
        with torch.inference_mode():  # no record of views and versions is kept: at small batches, a fifth of the time
            found, gradients = architecture.kernel.batch_gradients(weights, inputs, labels)
        return found.clone(), gradients.clone()

    def mean_losses(each: Tensor) -> Tensor:
        return losses(architecture, each.unsqueeze(1), inputs, labels).mean(1)

    if followed:
        return mean_losses(weights), grad(lambda each: mean_losses(each).sum())(weights)
    with torch.enable_grad():
        leaf = weights.detach().clone().requires_grad_()
        found = mean_losses(leaf)
        return found.detach(), _derivative(found.sum(), leaf)


def compiled_batch_gradients(
    architecture: Architecture,
) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return `batch_gradients` of a model as a function of weights, inputs and labels, compiled by torch.

    Each new shape, dtype or device is compiled on its first call, which takes seconds and needs a C++ compiler; later
    calls save what dispatching single operations costs. It pays in long loops over batches of one small size.
    """

    def step(weights: Tensor, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return batch_gradients(architecture, weights, inputs, labels)

    compiled = torch.compile(step, dynamic=False, options={"cpp_wrapper": True})
    recorded: set[tuple[torch.dtype, torch.device]] = set()

    def run(weights: Tensor, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if (weights.dtype, weights.device) not in recorded:
            step(weights, inputs, labels)  # the circuit is recorded here, not inside the compilation
            recorded.add((weights.dtype, weights.device))
        found: tuple[Tensor, Tensor] = compiled(weights, inputs, labels)
        return found

    return run


def _derivative(total: Tensor, leaf: Tensor) -> Tensor:
    """Return a sum's gradient, zeros where it does not depend on the leaf, as `torch.func.grad` has it."""
    if not total.requires_grad:
        return torch.zeros_like(leaf)
    return torch.autograd.grad(total, leaf, materialize_grads=True)[0]
