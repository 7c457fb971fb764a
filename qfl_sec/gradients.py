"""Losses of a model and their gradients, one a record."""

import numpy as np
import torch
from torch import Tensor
from torch.func import grad

from qfl_sec.contracts import Architecture


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

    The weights are repeated for each record, so that one backward pass of the summed loss gives every record's gradient
    apart. The result can be differentiated again, and taken under `torch.func.vmap`, `jvp`, `jacfwd`.

    Args:
        architecture: The model.
        weights: (..., parameters)
        inputs: (..., features); leading dimensions broadcast against the weights'.
        labels: (...), integers.

    Returns:
        (..., parameters)
    """
    lead = np.broadcast_shapes(weights.shape[:-1], inputs.shape[:-1])
    repeated = weights.expand(*lead, weights.shape[-1])

    def total(each: Tensor) -> Tensor:
        return losses(architecture, each, inputs, labels).sum()

    gradients: Tensor = grad(total)(repeated)
    return gradients
