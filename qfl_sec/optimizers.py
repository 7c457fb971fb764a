"""The clients' optimizers, as pure functions of many clients' weights at once.

An attacker unrolls the same steps inside its own equations, so they are differentiable and hold their state outside.
"""

from typing import Literal

import torch
from torch import Tensor


class LocalOptimizer:
    """One round's optimizer, fresh at its start, for weights with any leading dimensions.

    Reference:
        Kingma & Ba 2015, arXiv 1412.6980, algorithm 1, with the usual constants.

    Args:
        name: Plain gradient descent, or Adam.
        learning_rate: Step size.
    """

    BETAS = (0.9, 0.999)
    EPSILON = 1e-8

    def __init__(self, name: Literal["sgd", "adam"], learning_rate: float) -> None:
        self.name = name
        self.learning_rate = learning_rate
        self.steps = 0
        self.mean: Tensor | float = 0.0
        self.square: Tensor | float = 0.0

    def step(self, weights: Tensor, gradient: Tensor) -> Tensor:
        """Return the next weights (..., parameters) from a gradient of the same shape."""
        if self.name == "sgd":
            return weights - self.learning_rate * gradient
        first, second = self.BETAS
        self.steps += 1
        self.mean = first * self.mean + (1 - first) * gradient
        self.square = second * self.square + (1 - second) * gradient**2
        mean = self.mean / (1 - first**self.steps)
        square = self.square / (1 - second**self.steps)
        return weights - self.learning_rate * mean / (torch.sqrt(square) + self.EPSILON)
