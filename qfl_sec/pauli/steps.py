"""What each step of a Pauli program does to coefficients, and to a state, for a batch of models.

Coefficients are (models, 4^left, rows, 4^right): the qubits' letters are divided into a left and a right half, so that
a local step is two real matrix products, one from each side. `push` carries coefficients against the circuit's time,
c -> c T; `pull` is its adjoint and carries states along with it, phi -> T phi.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from qfl_sec.gates import Array
from qfl_sec.pauli.transfer import word_matrices


@dataclass
class Values:
    """The parameters of one batch of models, as the steps take them.

    Attributes:
        waves: (models, 1 + rotations, chains, waves), see `ChainBank.waves`.
        chains: (models, local steps, qubits, 4, 4), the transfer matrices of the chains.
        left: By local step, their products over the left half, (models, 4^left, 4^left).
        right: By local step, the same over the right half, (models, 4^right, 4^right).
        cosines: (models, word rotations)
        sines: (models, word rotations)
        maps: Transfer matrices (models or 1, 4^k, 4^k) of the map steps.
        slopes: Derivatives of `left` and `right`, (models, angles of the half, local steps, d, d); for `tangents` only.
        halfway: By local step, the rows that `push` has multiplied from the left only.
        left_cotangents: By local step, those of `left` that `backward` found; likewise for the others.
    """

    waves: Tensor
    chains: Tensor
    left: Sequence[Tensor]
    right: Sequence[Tensor]
    cosines: Tensor
    sines: Tensor
    maps: list[Tensor]
    slopes: tuple[Tensor, Tensor] | None = None
    halfway: dict[int, Tensor] = field(default_factory=dict)
    left_cotangents: dict[int, Tensor] = field(default_factory=dict)
    right_cotangents: dict[int, Tensor] = field(default_factory=dict)
    angle_cotangents: dict[int, Tensor] = field(default_factory=dict)


class Action(Protocol):
    """One step, compiled."""

    def push(self, rows: Tensor, values: Values) -> Tensor:
        """Carry coefficients one step against the circuit's time."""
        ...

    def pull(self, rows: Tensor, values: Values) -> Tensor:
        """Carry states one step along with the circuit's time."""
        ...

    def backward(self, before: Tensor, cotangents: Tensor, values: Values, *, onward: bool) -> Tensor:
        """Pull cotangents of `push(before)`; record those of the step's own parameters in `values`.

        What is pulled may be anything unless it is needed, `onward`.
        """
        ...

    def tangents(self, rows: Tensor, values: Values) -> list[Tensor]:
        """Return the derivatives of `push(rows)` in the step's parameters, parameter by parameter along the rows."""
        ...


@dataclass(frozen=True, kw_only=True)
class LocalAction:
    """One-qubit maps on all qubits.

    Attributes:
        number: Which local step.
        left_used: Which of the left half's angles belong to a rotation.
        right_used: The same of the right half.
    """

    number: int
    left_used: Tensor
    right_used: Tensor

    def push(self, rows: Tensor, values: Values) -> Tensor:
        """Return T_left^t X T_right."""
        left, right = values.left[self.number], values.right[self.number]
        halfway = torch.bmm(left.mT, rows.reshape(len(left), left.shape[-1], -1))
        values.halfway[self.number] = halfway = halfway.view(len(left), -1, right.shape[-1])
        return torch.bmm(halfway, right).view(rows.shape)

    def pull(self, rows: Tensor, values: Values) -> Tensor:
        """Return T_left X T_right^t."""
        return _from_right(_from_left(values.left[self.number], rows), values.right[self.number].mT)

    def backward(self, before: Tensor, cotangents: Tensor, values: Values, *, onward: bool) -> Tensor:
        """Record the cotangents of both matrices."""
        left, right = values.left[self.number], values.right[self.number]
        flat = cotangents.reshape(len(right), -1, right.shape[-1])
        values.right_cotangents[self.number] = torch.bmm(values.halfway[self.number].mT, flat)
        carried = torch.bmm(flat, right.mT).view(len(left), left.shape[-1], -1)
        values.left_cotangents[self.number] = torch.bmm(before.reshape(len(left), left.shape[-1], -1), carried.mT)
        return torch.bmm(left, carried).view(cotangents.shape) if onward else cotangents

    def tangents(self, rows: Tensor, values: Values) -> list[Tensor]:
        """Return the rows' derivatives in the left half's angles, then in the right half's."""
        assert values.slopes is not None
        left, right = values.left[self.number], values.right[self.number]
        models, (_, d_left, n_rows, d_right) = len(left), rows.shape
        found = []
        if len(self.left_used):
            slopes = values.slopes[0][:, self.left_used, self.number]  # (models, angles, d, d)
            half = _from_right(rows, right).reshape(models, d_left, -1)  # (models, d, rows * d')
            moved = (slopes.mT.flatten(1, 2) @ half).view(models, -1, d_left, n_rows * d_right)
            found.append(moved.transpose(1, 2).reshape(models, d_left, -1, d_right))
        if len(self.right_used):
            slopes = values.slopes[1][:, self.right_used, self.number]
            half = _from_left(left.mT, rows).flatten(1, 2)  # (models, d * rows, d')
            moved = half @ slopes.transpose(1, 2).flatten(2)  # (models, d * rows, angles * d')
            moved = moved.reshape(models, d_left, n_rows, -1, d_right).transpose(2, 3)
            found.append(moved.reshape(models, d_left, -1, d_right))
        return found


class WordAction:
    """A signed permutation of the words.

    Args:
        index: (4^n,), which old coefficient each new one is.
        sign: (4^n,)
        counts: How many rows there may be.
        d_right: 4^right.
        like: A tensor whose dtype and device are used.
    """

    def __init__(self, index: Array, sign: Array, counts: Collection[int], d_right: int, like: Tensor) -> None:
        inverse = np.argsort(index)
        self._there = _Gather(index, sign, counts, d_right, like)
        self._back = _Gather(inverse, sign[inverse], counts, d_right, like)

    def push(self, rows: Tensor, values: Values) -> Tensor:
        """Permute."""
        return self._there(rows)

    def pull(self, rows: Tensor, values: Values) -> Tensor:
        """Permute back."""
        return self._back(rows)

    def backward(self, before: Tensor, cotangents: Tensor, values: Values, *, onward: bool) -> Tensor:
        """Permute back."""
        return self._back(cotangents)

    def tangents(self, rows: Tensor, values: Values) -> list[Tensor]:
        """There are no parameters."""
        return []


@dataclass(frozen=True, kw_only=True)
class WordRotationAction:
    """A rotation about a word: pairs of words that anticommute with it turn into each other.

    Attributes:
        number: Which word rotation.
        partner: The signed other word of the pair; zero for words that commute.
        moved: (4^left, 1, 4^right), one for words that anticommute.
    """

    number: int
    partner: "_Gather"
    moved: Tensor

    def push(self, rows: Tensor, values: Values) -> Tensor:
        """Turn by the angle."""
        cosine, sine = self._trigonometry(values)
        return rows + (cosine - 1) * (self.moved * rows) + sine * self.partner(rows)

    def pull(self, rows: Tensor, values: Values) -> Tensor:
        """Turn back."""
        cosine, sine = self._trigonometry(values)
        return rows + (cosine - 1) * (self.moved * rows) - sine * self.partner(rows)

    def backward(self, before: Tensor, cotangents: Tensor, values: Values, *, onward: bool) -> Tensor:
        """Record the angle's cotangent."""
        values.angle_cotangents[self.number] = (self._slope(before, values) * cotangents).flatten(1).sum(1)
        return self.pull(cotangents, values)

    def tangents(self, rows: Tensor, values: Values) -> list[Tensor]:
        """Return the derivative in the angle."""
        return [self._slope(rows, values)]

    def _slope(self, rows: Tensor, values: Values) -> Tensor:
        cosine, sine = self._trigonometry(values)
        return cosine * self.partner(rows) - sine * (self.moved * rows)

    def _trigonometry(self, values: Values) -> tuple[Tensor, Tensor]:
        cosine, sine = (part[:, self.number, None, None, None] for part in (values.cosines, values.sines))
        return cosine, sine


@dataclass(frozen=True, kw_only=True)
class MapAction:
    """Any map on a few qubits.

    Attributes:
        number: Which map step.
        wires: Where it acts.
        n_left: Qubits of the left half.
        n_qubits: All qubits.
    """

    number: int
    wires: tuple[int, ...]
    n_left: int
    n_qubits: int

    def push(self, rows: Tensor, values: Values) -> Tensor:
        """Apply the matrix to the wires' letters."""
        return self._apply(rows, values.maps[self.number])

    def pull(self, rows: Tensor, values: Values) -> Tensor:
        """Apply the transposed matrix."""
        return self._apply(rows, values.maps[self.number].mT)

    def backward(self, before: Tensor, cotangents: Tensor, values: Values, *, onward: bool) -> Tensor:
        """Maps with parameters are left to automatic differentiation."""
        return self.pull(cotangents, values)

    def tangents(self, rows: Tensor, values: Values) -> list[Tensor]:
        """Maps with parameters are left to automatic differentiation."""
        return []

    def _apply(self, rows: Tensor, matrix: Tensor) -> Tensor:
        shape = rows.shape
        n_right = self.n_qubits - self.n_left
        split = rows.reshape(shape[0], *[4] * self.n_left, shape[2], *[4] * n_right)
        places = [1 + wire if wire < self.n_left else 2 + wire for wire in self.wires]
        others = [axis for axis in range(split.ndim) if axis not in places]
        order = [*others, *places]
        moved = split.permute(order)
        flat = moved.reshape(shape[0], -1, matrix.shape[-1]) @ matrix
        back = flat.reshape(len(flat), *moved.shape[1:]).permute([order.index(axis) for axis in range(split.ndim)])
        return back.reshape(len(flat), *shape[1:])


class _Gather:
    """Signed gathering of words in the layout (models, 4^left, rows, 4^right), for some numbers of rows."""

    def __init__(self, index: Array, sign: Array, counts: Collection[int], d_right: int, like: Tensor) -> None:
        left, right = (part.reshape(-1, 1, d_right) for part in np.divmod(index, d_right))
        self._known: dict[int, tuple[Tensor, Tensor]] = {}
        for count in counts:
            places = (left * count + np.arange(count)[None, :, None]) * d_right + right
            signs = np.broadcast_to(sign.reshape(-1, 1, d_right), places.shape)
            self._known[count] = (
                torch.as_tensor(places.reshape(-1), device=like.device),
                torch.as_tensor(signs.reshape(-1).copy()).to(like),
            )

    def __call__(self, rows: Tensor) -> Tensor:
        index, sign = self._known[rows.shape[2]]
        return (rows.reshape(len(rows), -1).index_select(1, index) * sign).view(rows.shape)


def word_rotation_action(
    number: int, index: Array, sign: Array, counts: Collection[int], d_right: int, like: Tensor
) -> WordRotationAction:
    """Return the action of a rotation about a word; index and sign are those of `transfer.word_rotation`."""
    moved = torch.as_tensor(np.abs(sign).reshape(-1, 1, d_right)).to(like)
    return WordRotationAction(number=number, partner=_Gather(index, sign, counts, d_right, like), moved=moved)


def unitary_transfer(unitary: Tensor) -> Tensor:
    """Return the transfer matrices (batch, 4^k, 4^k) of unitaries (2^k, 2^k, batch)."""
    n_qubits = len(unitary).bit_length() - 1
    words = torch.as_tensor(word_matrices(n_qubits)).to(device=unitary.device)
    matrix = unitary.permute(2, 0, 1).to(words.dtype if unitary.dtype.itemsize >= 16 else torch.complex64)
    words = words.to(matrix.dtype)
    images = torch.einsum("bij,qjk,blk->bqil", matrix, words, matrix.conj())
    return torch.einsum("pij,bqji->bpq", words, images).real / len(unitary)


def _from_left(matrix: Tensor, rows: Tensor) -> Tensor:
    """Multiply the left letters of rows (models, d, r, d') by matrices (models, d, d)."""
    return torch.bmm(matrix, rows.reshape(len(rows), rows.shape[1], -1)).view(rows.shape)


def _from_right(rows: Tensor, matrix: Tensor) -> Tensor:
    """Multiply the right letters of rows (models, d, r, d') by matrices (models, d', d')."""
    return torch.bmm(rows.reshape(len(rows), -1, rows.shape[-1]), matrix).view(rows.shape)
