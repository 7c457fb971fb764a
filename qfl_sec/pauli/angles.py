"""The angles of a program's rotations, and how they follow from the weights or the inputs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from qfl_sec.gate_parameters import ParameterMap
from qfl_sec.pauli.plan import Angle


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the parameters of one part of a circuit come from: the weights, or the inputs.

    Attributes:
        parameters: How gate parameters arise from the two.
        reads_inputs: Whether this part reads the inputs; if not, the weights.
        n_features: Length of a record.
        n_weights: Number of weights of a model.
        like: A tensor whose dtype and device are used.
    """

    parameters: ParameterMap
    reads_inputs: bool
    n_features: int
    n_weights: int
    like: Tensor
    _other: Tensor = field(init=False)  # of what is not read, whose values do not matter

    def __post_init__(self) -> None:
        other = self.n_weights if self.reads_inputs else self.n_features
        object.__setattr__(self, "_other", self.like.new_ones(other, 1, 1))

    @property
    def size(self) -> int:
        """Length of one row."""
        return self.n_features if self.reads_inputs else self.n_weights

    def columns(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs and weights as `ParameterMap` takes them, at rows (batch, size) of the one that is read."""
        return (rows.mT.unsqueeze(1), self._other) if self.reads_inputs else (self._other, rows.mT.unsqueeze(2))


class AngleMap:
    """Angles as an affine function of gate parameters, which are any function of the weights or of the inputs.

    Args:
        angles: The angles, None in places that no rotation uses.
        source: Where their parameters come from.

    Attributes:
        matrix: (angles, weights), if each parameter is one of the weights; None if not.
    """

    def __init__(self, angles: Sequence[Angle | None], source: Source) -> None:
        slots = source.parameters.grouped([angle.slot for angle in angles if angle is not None])
        scales = torch.zeros(len(angles), len(slots), dtype=torch.float64)
        offsets = torch.zeros(len(angles), dtype=torch.float64)
        for row, angle in enumerate(angles):
            if angle is not None:
                scales[row, slots.index(angle.slot)] = angle.scale
                offsets[row] = angle.offset
        weights = [source.parameters.weight(slot) for slot in slots]
        chosen = torch.zeros(len(slots), source.n_weights, dtype=torch.float64)
        is_linear = not source.reads_inputs and None not in weights
        if is_linear:
            chosen[range(len(slots)), weights] = 1.0
        self._source = source
        self._exact = scales, offsets, scales @ chosen
        self._scales, self._offsets, matrix = (part.to(source.like) for part in self._exact)
        self._bank = source.parameters.bank(slots, source.like.device) if slots else None
        self.matrix = matrix if is_linear else None

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the angles (batch, angles) at rows (batch, size) of the source."""
        return self._affine(rows, self._scales, self._offsets, self.matrix)

    def combined(self, multipliers: Tensor, shifts: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the function from rows to (batch, combinations), for multipliers (combinations, angles) and shifts."""
        like = self._source.like
        exact = (multipliers @ self._exact[0]).to(like)
        matrix = None if self.matrix is None else (multipliers @ self._exact[2]).to(like)
        offsets = (multipliers @ self._exact[1] + shifts).to(like)
        return lambda rows: self._affine(rows, exact, offsets, matrix)

    def _affine(self, rows: Tensor, scales: Tensor, offsets: Tensor, matrix: Tensor | None) -> Tensor:
        if matrix is not None:
            return torch.addmm(offsets, rows, matrix.mT)
        if self._bank is None:
            return offsets.expand(len(rows), -1)
        values = self._bank(*self._source.columns(rows)).flatten(1)  # (slots, batch)
        if values.shape[1] != len(rows):
            values = values.expand(-1, len(rows))
        return torch.addmm(offsets, values.mT, scales.mT)

    def pullback(self, rows: Tensor, cotangents: Tensor) -> Tensor:
        """Return sum_a cotangents_a d angle_a / d row, (batch, size), for cotangents (batch, angles)."""
        if self.matrix is not None:
            return cotangents @ self.matrix
        gradients: Tensor = torch.func.vjp(self.__call__, rows)[1](cotangents)[0]
        return gradients

    def jacobian(self, rows: Tensor) -> Tensor:
        """Return d angle / d row, (batch, angles, size)."""
        if self.matrix is not None:
            return self.matrix.expand(len(rows), -1, -1)
        directions = torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
        slopes = [torch.func.jvp(self.__call__, (rows,), (row.expand_as(rows).contiguous(),))[1] for row in directions]
        return torch.stack(slopes, 2)
