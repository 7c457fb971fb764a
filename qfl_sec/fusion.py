"""One-qubit gates, multiplied along each wire and joined into the matrices of groups of neighbouring wires.

A state of many qubits is limited by memory traffic: one product with a 16 x 16 matrix reads it once for four qubits,
whatever the gates on them.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from qfl_sec.gates import Array, Dense, Gate, Permutation, Phase, Turn

_GROUP = 4  # wires; smaller groups leave the matrix product waiting for memory, larger ones for arithmetic

_ABOUT_Y = np.array([[0, -1], [1, 0]], dtype=complex)
_ABOUT_Z = np.array([[-1j, 0], [0, 1j]])


def group_sizes(n_qubits: int) -> list[int]:
    """Return how many neighbouring wires each group has: four or little more, alike.

    Example:
        >>> group_sizes(13)
        [5, 4, 4]
    """
    count = max(n_qubits // _GROUP, 1)
    return [n_qubits // count + (i < n_qubits % count) for i in range(count)]


def complex_type(like: Tensor) -> torch.dtype:
    """Return the complex dtype of a real tensor's precision."""
    return torch.complex128 if like.dtype == torch.float64 else torch.complex64


class GroupMatrices:
    """The matrices of all layers of one-qubit gates, as a differentiable function of the gates' parameters.

    Global phases are dropped.

    Args:
        layers: The gates on each wire, in order; wires without gates may be missing.
        n_qubits: Number of qubits.
        columns: Which of the values belongs to each parameter's slot.
        like: A tensor whose dtype and device are those of the values.
    """

    def __init__(
        self, layers: Sequence[dict[int, list[Gate]]], n_qubits: int, columns: dict[int, int], like: Tensor
    ) -> None:
        self._sizes = group_sizes(n_qubits)
        self._shape = (len(layers), n_qubits)
        rotations: list[tuple[Array, int, float, float]] = []  # axis, column, half the scale, half the offset
        constants: list[Array] = [np.eye(2)]
        chains: list[list[int]] = []  # rotations count from 0 on, constants from -1 down
        for layer in layers:
            for wire in range(n_qubits):
                chain: list[int] = []
                for gate in layer.get(wire, []):
                    elements = _rotations(gate, columns)
                    if elements is None:
                        constants.append(_matrix(gate))
                        chain.append(-len(constants))
                    else:
                        chain += range(len(rotations), len(rotations) + len(elements))
                        rotations += elements
                chains.append(chain)
        device, dtype = like.device, complex_type(like)
        self._axes = torch.as_tensor(np.array([axis for axis, *_ in rotations]).reshape(-1, 1, 2, 2)).to(device, dtype)
        self._columns = torch.tensor([column for _, column, _, _ in rotations], dtype=torch.long, device=device)
        self._scales, self._offsets = (
            torch.tensor([rotation[i] for rotation in rotations], dtype=torch.float64).to(like)[:, None] for i in (2, 3)
        )
        self._constants = torch.as_tensor(np.stack(constants)).to(device, dtype)[:, None]
        self._orders = [
            torch.tensor(order, dtype=torch.long, device=device) for order in _orders(chains, len(rotations))
        ]

    def __call__(self, values: Tensor) -> list[Tensor]:
        """Return one tensor a group, (layers, batch, 2^wires, 2^wires), complex, from values (slots, batch)."""
        batch = values.shape[1]
        padded = torch.cat([values, values.new_zeros(1, batch)])  # what constant angles refer to
        halves = padded.index_select(0, self._columns) * self._scales + self._offsets
        identity = self._constants[:1]
        cosine, sine = halves.cos()[..., None, None], halves.sin()[..., None, None]
        elements = torch.cat([cosine * identity + sine * self._axes, self._constants.expand(-1, batch, 2, 2)])
        wires = elements.index_select(0, self._orders[0])
        for order in self._orders[1:]:
            wires = elements.index_select(0, order) @ wires
        wires = wires.view(*self._shape, batch, 2, 2)
        results, at = [], 0
        for size in self._sizes:
            joined = wires[:, at]
            for wire in range(at + 1, at + size):
                joined = _kron(joined, wires[:, wire])
            results.append(joined)
            at += size
        return results


def _rotations(gate: Gate, columns: dict[int, int]) -> list[tuple[Array, int, float, float]] | None:
    """Write a gate as cos(h) + sin(h) axis, h = scale * value + offset; None for a constant matrix."""
    none = len(columns)
    if isinstance(gate, Turn):
        column = none if gate.slot is None else columns[gate.slot]
        return [(_ABOUT_Y, column, 0.5 * gate.scale * (gate.slot is not None), 0.5 * gate.offset)]
    if isinstance(gate, Phase):
        turns = [
            (_ABOUT_Z, columns[slot], 0.5 * float(row[1] - row[0]), 0.0)
            for slot, row in zip(gate.slots, gate.coefficients, strict=True)
        ]
        fixed = 0.5 * float(gate.constant[1] - gate.constant[0])
        return turns if turns and fixed == 0.0 else [*turns, (_ABOUT_Z, none, 0.0, fixed)]
    return None


def _matrix(gate: Gate) -> Array:
    if isinstance(gate, Permutation):
        return np.eye(2)[gate.index]
    assert isinstance(gate, Dense)
    assert gate.constant is not None
    return gate.constant


def _orders(chains: Sequence[list[int]], n_rotations: int) -> list[list[int]]:
    """Return the element that each chain has at each position, the identity where it has ended."""
    length = max((len(chain) for chain in chains), default=1)
    padded = [chain + [-1] * (max(length, 1) - len(chain)) for chain in chains]
    return [[i if i >= 0 else n_rotations - i - 1 for i in order] for order in zip(*padded, strict=True)]


def _kron(first: Tensor, second: Tensor) -> Tensor:
    """Return the Kronecker product of the last two axes."""
    size = first.shape[-1] * second.shape[-1]
    product = first[..., :, None, :, None] * second[..., None, :, None, :]
    return product.reshape(*product.shape[:-4], size, size)
