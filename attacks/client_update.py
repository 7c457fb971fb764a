"""What a client's update would be if its batches held these records, and how it changes with them.

The update of several local steps is unrolled. Its Jacobian is built step by step from two small blocks, the derivatives
of each record's gradient in its own features and in the weights: the number of directional derivatives through the
circuit grows with the features and the parameters, but not with the records.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from torch import Tensor

from qfl_sec.contracts import Architecture, Defense
from qfl_sec.gradients import per_example_gradients
from qfl_sec.optimizers import LocalOptimizer

# Added under Adam's square root, whose slope at zero would be infinite; too small to change a digit of anything else.
_TINY = 1e-40

with warnings.catch_warnings():
    # On the first use of forward mode torch calls a function that it has itself deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    torch.func.jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))


@dataclass(frozen=True, kw_only=True)
class ClientUpdate:
    """The updates of some clients as a function of the records in their batches.

    Attributes:
        architecture: The model that is trained.
        defense: The defense as the attacker models it; None for the plain mean of the gradients.
        optimizer: The clients' optimizer, fresh in each round.
        learning_rate: Its step size.
        weights: (clients, parameters), where each client starts.
        mask: (clients, steps, slots), true where a slot of a batch holds a record.
        steps_made: (clients,), how many steps each client makes; later ones change nothing.
        prepared: What the model's closed forms know of the starting weights; None to differentiate the circuit.
        rows: (clients,), the row of `prepared` of each client; None without it.
    """

    architecture: Architecture
    defense: Defense | None
    optimizer: Literal["sgd", "adam"]
    learning_rate: float
    weights: Tensor
    mask: Tensor
    steps_made: Tensor
    prepared: Tensor | None = None
    rows: Tensor | None = None

    def with_closed_forms(self) -> Self:
        """Return the same with the model's closed forms prepared at the starting weights, if it has any."""
        kernel = self.architecture.kernel
        prepared = None if kernel is None else kernel.prepare(self.weights)
        return self if prepared is None else replace(self, prepared=prepared, rows=torch.arange(len(self.weights)))

    def select(self, which: Tensor) -> Self:
        """Return the same for the clients at these indices, each as often as it occurs."""
        rows = None if self.rows is None else self.rows[which]
        return replace(
            self, weights=self.weights[which], mask=self.mask[which], steps_made=self.steps_made[which], rows=rows
        )

    def with_jacobian(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return each client's update and its derivative in all features.

        Args:
            features: (clients, steps, slots, features)
            labels: (clients, steps, slots)

        Returns:
            (clients, parameters) and (clients, parameters, steps x slots x features). Angles are not wrapped.
        """
        n_steps, slots, n_features = features.shape[1:]
        block = slots * n_features
        weights = self.weights
        slope = weights.new_zeros(*weights.shape, n_steps * block)  # (clients, parameters, unknowns)
        optimizer = _Adam() if self.optimizer == "adam" else _Sgd()
        for step in range(n_steps):
            gradient, by_features, by_weights = self._gradient(
                weights, features[:, step], labels[:, step], self.mask[:, step], with_weights=step > 0
            )
            if n_steps == 1:
                gradient_slope = by_features  # large arrays: each pass over them counts
            else:
                gradient_slope = torch.zeros_like(slope) if by_weights is None else by_weights @ slope
                gradient_slope[..., step * block : (step + 1) * block] += by_features
            change, change_slope = optimizer.step(gradient, gradient_slope)
            rate = self.learning_rate * (step < self.steps_made).to(weights.dtype).unsqueeze(-1)
            weights = weights - change * rate
            slope = slope - change_slope * rate.unsqueeze(-1)
        return weights - self.weights, slope

    def _gradient(
        self, weights: Tensor, features: Tensor, labels: Tensor, mask: Tensor, *, with_weights: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return one step's gradient (k, P), its derivative (k, P, slots x features), and in the weights (k, P, P)."""

        def by_record(inputs: Tensor, at: Tensor) -> Tensor:
            return per_example_gradients(self.architecture, at.unsqueeze(-2), inputs, labels)

        slots = features.shape[-2]
        kernel = self.architecture.kernel
        if kernel is not None and self.prepared is not None and self.rows is not None and not with_weights:
            per_example, own = kernel.slopes(self.prepared, self.rows, features, labels)  # own is (n, k, slots, P)
        else:
            per_example, own = _directions(lambda inputs: by_record(inputs, weights), features)
        shared = (
            _directions(lambda at: by_record(features, at), weights)[1] if with_weights else None
        )  # (P, k, slots, P)
        if self.defense is None or type(self.defense).expected_gradient is Defense.expected_gradient:
            return _mean(per_example, own, shared, mask)
        alone = torch.eye(slots, dtype=own.dtype, device=own.device)
        tangents = torch.einsum("nksp,st->tnksp", own, alone).flatten(0, 1)  # record by record, feature by feature
        if shared is not None:
            tangents = torch.cat([tangents, shared])
        gradient, derivatives = _defended(self.defense, per_example, mask, tangents)
        split = slots * features.shape[-1]
        by_weights = None if shared is None else derivatives[split:].permute(1, 2, 0)
        return gradient, derivatives[:split].permute(1, 2, 0), by_weights


def _mean(
    per_example: Tensor, own: Tensor, shared: Tensor | None, mask: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the mean gradient (k, P), its derivative (k, P, slots x features), and in the weights (k, P, P)."""
    share = (mask / mask.sum(-1, keepdim=True).clamp(min=1)).to(per_example.dtype)  # (k, slots)
    by_features = torch.einsum("ks,nksp->kpsn", share, own).flatten(2)
    by_weights = None if shared is None else torch.einsum("ks,dksp->kpd", share, shared)
    return torch.einsum("ks,ksp->kp", share, per_example), by_features, by_weights


def _defended(defense: Defense, per_example: Tensor, mask: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
    """Return the defense's expected gradient and its derivatives along the tangents (directions, k, slots, P)."""

    def expected(gradients: Tensor) -> Tensor:
        return defense.expected_gradient(gradients, mask)

    return expected(per_example), torch.func.vmap(lambda tangent: _along(expected, per_example, tangent))(tangents)


def _along(function: Callable[[Tensor], Tensor], point: Tensor, tangent: Tensor) -> Tensor:
    """Return the function's derivative along a tangent."""
    derivative: Tensor = torch.func.jvp(function, (point,), (tangent,))[1]
    return derivative


def _directions(function: Callable[[Tensor], Tensor], point: Tensor) -> tuple[Tensor, Tensor]:
    """Return the function's value and its derivative along each coordinate of the last dimension of its argument."""
    basis = torch.eye(point.shape[-1], dtype=point.dtype, device=point.device)

    def along(direction: Tensor) -> tuple[Tensor, Tensor]:
        value, derivative = torch.func.jvp(function, (point,), (direction.expand_as(point).contiguous(),))[:2]
        return value, derivative

    # The value is the same in every direction; torch accepts None for one output, its annotation does not.
    value, derivatives = torch.func.vmap(along, out_dims=(None, 0))(basis)  # type: ignore[arg-type]
    return value, derivatives


class _Sgd:
    """Plain gradient descent: the step is the gradient."""

    def step(self, gradient: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        return gradient, slope


class _Adam:
    """Adam with fresh state, carrying the derivative of its moments along.

    Reference: Kingma and Ba 2015, arXiv 1412.6980, algorithm 1, in the order of operations of `torch.optim.Adam`.
    """

    def __init__(self) -> None:
        self._steps = 0
        self._first: Tensor | float = 0.0
        self._second: Tensor | float = 0.0
        self._first_slope: Tensor | float = 0.0
        self._second_slope: Tensor | float = 0.0

    def step(self, gradient: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Return the step (k, P) over the learning rate, and its derivative (k, P, unknowns)."""
        one, two = LocalOptimizer.BETAS
        self._steps += 1
        self._first = one * self._first + (1 - one) * gradient
        self._second = two * self._second + (1 - two) * gradient.square()
        self._first_slope = one * self._first_slope + (1 - one) * slope
        self._second_slope = two * self._second_slope + 2 * (1 - two) * gradient.unsqueeze(-1) * slope
        mean = self._first / (1 - one**self._steps)
        mean_slope = self._first_slope / (1 - one**self._steps)
        root = (self._second / (1 - two**self._steps) + _TINY).sqrt()
        root_slope = self._second_slope / (1 - two**self._steps) / (2 * root.unsqueeze(-1))
        size = root + LocalOptimizer.EPSILON
        return mean / size, (mean_slope - (mean / size).unsqueeze(-1) * root_slope) / size.unsqueeze(-1)
