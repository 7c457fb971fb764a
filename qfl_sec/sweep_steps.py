"""The steps of an adjoint sweep: each can be done, and undone while its parameters' derivatives are read off.

States are (batch, 2^n), complex, because one-qubit gates are complex matrix products here (`qfl_sec.fusion`). The
costate is the complex conjugate of the loss's derivative in the state, so that no large tensor need be conjugated.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Given:
    """The parameters of a batch, and where the derivatives in them are gathered.

    Attributes:
        values: (slots, batch), the gates' parameters.
        matrices: (layers, batch, d, d), one a group of wires.
        wanted: The slots whose derivatives are asked for.
        in_values: Like `values`.
        in_matrices: Like `matrices`; derivatives of complex numbers as torch defines them.
    """

    values: Tensor
    matrices: Sequence[Tensor]
    wanted: frozenset[int] = frozenset()
    in_values: Tensor | None = None
    in_matrices: Sequence[Tensor] = ()


@dataclass(frozen=True, kw_only=True)
class LayerStep:
    """One-qubit gates. The groups of wires take turns at the front, so that each is a plain matrix product."""

    number: int
    groups: tuple[frozenset[int] | None, ...]  # the slots of each; None where it has no gates

    @property
    def slots(self) -> frozenset[int]:
        """The parameters."""
        return frozenset().union(*(slots for slots in self.groups if slots))

    def forward(self, state: Tensor, given: Given) -> Tensor:
        """Return the state after the step."""
        for group, slots in enumerate(self.groups):
            matrix = given.matrices[group][self.number]  # (batch, d, d)
            rows = state.view(len(state), matrix.shape[-1], -1).mT
            state = (rows if slots is None else rows @ matrix.mT).reshape(state.shape)
        return state

    def backward(self, state: Tensor, costate: Tensor, given: Given, *, last: bool) -> tuple[Tensor, Tensor]:
        """Gather the wanted derivatives; return state and costate before the step, unless this is the last one."""
        pending = [group for group, slots in enumerate(self.groups) if slots and slots & given.wanted]
        for group in reversed(range(len(self.groups))):
            matrix = given.matrices[group][self.number]
            rows, corows = (vector.view(len(vector), -1, matrix.shape[-1]) for vector in (state, costate))
            if group in pending:
                given.in_matrices[group][self.number] = (corows.mT @ rows @ matrix.conj()).conj()
                if last and group == pending[0]:
                    break
            if self.groups[group] is None:
                state, costate = rows.mT.reshape(state.shape), corows.mT.reshape(state.shape)
            else:
                state = (matrix.mH.resolve_conj() @ rows.mT).view(state.shape)
                costate = (matrix.mT @ corows.mT).view(state.shape)
        return state, costate


@dataclass(frozen=True, kw_only=True)
class DiagonalStep:
    """Amplitude b is multiplied by exp(i (constant_b + sum_k coefficients_kb value_k))."""

    slots: frozenset[int]
    columns: Tensor  # (k,), which values
    coefficients: Tensor  # (k, 2^n)
    constant: Tensor  # (2^n,)

    def _factor(self, values: Tensor) -> Tensor:
        angles = self.constant[None]
        if len(self.columns):
            angles = angles + values.index_select(0, self.columns).mT @ self.coefficients
        return torch.complex(angles.cos(), angles.sin())  # (1 or batch, 2^n)

    def forward(self, state: Tensor, given: Given) -> Tensor:
        """Return the state after the step."""
        return state * self._factor(given.values)

    def backward(self, state: Tensor, costate: Tensor, given: Given, *, last: bool) -> tuple[Tensor, Tensor]:
        """Gather the wanted derivatives; return state and costate before the step, unless this is the last one."""
        if self.slots & given.wanted and given.in_values is not None:
            in_angles = -(costate * state).imag  # (batch, 2^n)
            given.in_values.index_add_(0, self.columns, self.coefficients @ in_angles.mT)
        if last:
            return state, costate
        factor = self._factor(given.values)
        return state * factor.conj(), costate * factor


@dataclass(frozen=True, kw_only=True)
class ShuffleStep:
    """The new amplitude b is the old one of index[b]."""

    index: Tensor
    inverse: Tensor
    slots: frozenset[int] = frozenset()

    def forward(self, state: Tensor, given: Given) -> Tensor:
        """Return the state after the step."""
        return state.index_select(1, self.index)

    def backward(self, state: Tensor, costate: Tensor, given: Given, *, last: bool) -> tuple[Tensor, Tensor]:
        """Gather the wanted derivatives; return state and costate before the step, unless this is the last one."""
        return state.index_select(1, self.inverse), costate.index_select(1, self.inverse)


@dataclass(frozen=True, kw_only=True)
class MatrixStep:
    """A constant unitary on several wires."""

    matrix: Tensor  # (d, d)
    front: Tensor  # (2^n,), which amplitude comes where when the wires are brought to the front
    back: Tensor
    slots: frozenset[int] = frozenset()

    def forward(self, state: Tensor, given: Given) -> Tensor:
        """Return the state after the step."""
        return self._applied(self.matrix, state)

    def backward(self, state: Tensor, costate: Tensor, given: Given, *, last: bool) -> tuple[Tensor, Tensor]:
        """Gather the wanted derivatives; return state and costate before the step, unless this is the last one."""
        return self._applied(self.matrix.mH, state), self._applied(self.matrix.mT, costate)

    def _applied(self, matrix: Tensor, state: Tensor) -> Tensor:
        rows = state.index_select(1, self.front).view(len(state), len(matrix), -1)
        return (matrix @ rows).view(state.shape).index_select(1, self.back)


SweepStep = LayerStep | DiagonalStep | ShuffleStep | MatrixStep
