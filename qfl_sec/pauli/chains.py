"""The transfer matrices of all chains of a program at once: linear forms in sines of sums of angles."""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor

from qfl_sec.gates import Array
from qfl_sec.pauli.angles import AngleMap, Source
from qfl_sec.pauli.plan import Angle, Factor, LocalStep, Rotation, monomials


class ChainBank:
    """Every chain of every local step.

    Chains are padded to the length of the longest, and their angles stand rotation by rotation: angle k of chain c is
    number k * chains + c. An entry of a chain's matrix is a trigonometric polynomial of degree one in each angle: a sum
    of sines of sums of angles. All waves, and their derivatives in each angle, are found with one sine.

    Args:
        steps: The local steps.
        n_qubits: Chains of a step.
        source: Where the angles' parameters come from.
        slopes: Whether derivatives are wanted.

    Attributes:
        n_rotations: Rotations of the longest chain, at least one.
        variants: How many devices there are, each model having its own; 1 if all share one.
        used: (steps, qubits, n_rotations), true where there is a rotation.
        pattern: (steps, qubits, 4, 4), false where a matrix has a zero whatever the angles.
        slope_pattern: (steps, qubits, n_rotations, 4, 4), the same of the derivatives.
        angles: The padded angles.
    """

    def __init__(self, steps: Sequence[LocalStep], n_qubits: int, source: Source, *, slopes: bool) -> None:
        chains = [chain for step in steps for chain in step.chains]
        rotations = [[factor for factor in chain if isinstance(factor, Rotation)] for chain in chains]
        self.n_rotations = max((len(found) for found in rotations), default=1) or 1
        padded: list[Angle | None] = [
            found[k].angle if k < len(found) else None for k in range(self.n_rotations) for found in rotations
        ]
        self._shape = (len(steps), n_qubits)
        used = np.array([angle is not None for angle in padded], dtype=bool)
        self.used = np.moveaxis(used.reshape(self.n_rotations, *self._shape), 0, -1)
        self.angles = AngleMap(padded, source)
        n_rows = 1 + self.n_rotations if slopes else 1
        self._wave_shape = (n_rows, len(chains), 3**self.n_rotations)
        self._phases = self.angles.combined(*_phases(len(chains), self.n_rotations, n_rows))
        forms = _stacked(chains, self.n_rotations)
        occurs = (
            (forms != 0).any(1).numpy().reshape(*self._shape, 3**self.n_rotations, 4, 4)
        )  # (steps, qubits, waves, 4, 4)
        moves = (_frequencies(self.n_rotations)[0] != 0).T  # (n_rotations, waves)
        self.pattern = np.asarray(occurs.any(2))
        self.slope_pattern = np.stack([(occurs[:, :, wave]).any(2) for wave in moves], 2)
        forms = forms.to(source.like)
        self.variants = int(forms.shape[1])
        self._is_uniform = forms.shape[1] == 1 and len(forms) > 0 and bool((forms == forms[:1]).all())
        self._forms = forms[:1] if self._is_uniform else forms
        by_entry = self._forms[:n_qubits].reshape(-1, self.variants, 3**self.n_rotations, 4, 4)
        self._from_zero = by_entry[..., 0] + by_entry[..., 3]  # |0> has the words I and Z

    def waves(self, rows: Tensor) -> Tensor:
        """Return the waves of each chain's angles, and their derivatives in each angle if wanted.

        Returns:
            (batch, 1 or 1 + n_rotations, chains, 3^n_rotations), the waves themselves first.
        """
        return self._phases(rows).sin().view(len(rows), *self._wave_shape)

    def matrices(self, waves: Tensor) -> Tensor:
        """Return matrices (batch, k, steps, qubits, 4, 4) for waves (batch, k, chains, waves)."""
        return self._applied(waves, self._forms).view(*waves.shape[:2], *self._shape, 4, 4)

    def from_zero(self, waves: Tensor) -> Tensor:
        """Return what the first step's chains make of |0>: the words' expectation values (batch, qubits, 4)."""
        n_qubits = self._shape[1]
        return self._applied(waves[:, :1, :n_qubits], self._from_zero)[:, 0]

    def _applied(self, waves: Tensor, forms: Tensor) -> Tensor:
        """Apply linear forms (chains or 1, variants, waves, m) to waves (batch, k, chains, waves)."""
        variants, size = forms.shape[1], forms.shape[-1]
        if self._is_uniform:
            return (waves.reshape(-1, waves.shape[-1]) @ forms[0, 0]).view(*waves.shape[:3], size)
        split = waves.reshape(
            variants, len(waves) // variants, *waves.shape[1:]
        )  # models come in order, each with all its samples
        return torch.einsum("vskcw,cvwx->vskcx", split, forms).reshape(*waves.shape[:3], size)

    def pulled(self, cotangents: Tensor, slopes: Tensor) -> Tensor:
        """Return the cotangents of the angles, (batch, n_rotations x chains): rotation by rotation.

        Args:
            cotangents: (batch, steps, qubits, 4, 4), those of the matrices.
            slopes: (batch, n_rotations, chains, 3^n_rotations), the waves' derivatives.
        """
        flat = cotangents.reshape(len(cotangents), 1, self._shape[0] * self._shape[1], 16)
        waves = self._applied(flat, self._forms.mT)
        return (slopes * waves).sum(-1).flatten(1)


def _frequencies(n_rotations: int) -> tuple[Array, Array]:
    """Return m (3^n, n) and s (3^n,) of the waves sin(m . angles + s): s 0 and pi/2 for one of each pair m and -m."""
    every = np.array(list(product((0, 1, -1), repeat=n_rotations)))
    first = [next((entry for entry in row if entry), 1) > 0 for row in every]
    waves = [(row, shift) for row in every[first] for shift in ((0.0, math.pi / 2) if row.any() else (math.pi / 2,))]
    return np.array([row for row, _ in waves], dtype=float), np.array([shift for _, shift in waves])


def _phases(n_chains: int, n_rotations: int, n_rows: int) -> tuple[Tensor, Tensor]:
    """Return all waves' phases as multipliers of the angles (rows x chains x waves, angles) and shifts.

    Row r > 0 has the waves' derivatives in angle r - 1: m cos(x) is sin(x + m pi/2) for m = 1, 0 (with x = 0) and -1.
    """
    frequencies, shifts = _frequencies(n_rotations)
    multipliers = np.zeros((n_rows, n_chains, len(shifts), n_rotations, n_chains))
    for chain in range(n_chains):
        multipliers[:, chain, :, :, chain] = frequencies
    moved = np.broadcast_to(shifts, (n_rows, n_chains, len(shifts))).copy()
    for k in range(n_rows - 1):
        moved[1 + k] += frequencies[:, k] * math.pi / 2
        still = frequencies[:, k] == 0
        multipliers[1 + k][:, still], moved[1 + k][:, still] = 0.0, 0.0
    flat = multipliers.reshape(multipliers[..., 0, 0].size if n_chains else 0, n_rotations * n_chains)
    return torch.as_tensor(flat), torch.as_tensor(moved.reshape(-1))


def _in_waves(n_rotations: int) -> Array:
    """Return the products of (1, cos, sin) of angles as sums of waves, (products, waves).

    The coefficients are multiples of 2^-n, to which a least-squares fit at more points than there are waves is rounded.
    """
    frequencies, shifts = _frequencies(n_rotations)
    points = np.random.default_rng(0).uniform(-math.pi, math.pi, (4 * len(shifts), n_rotations))
    products = np.ones((len(points), 1))
    for angle in points.T:
        trio = np.stack([np.ones_like(angle), np.cos(angle), np.sin(angle)], 1)
        products = (products[:, :, None] * trio[:, None]).reshape(len(points), -1)
    fitted = np.linalg.lstsq(np.sin(points @ frequencies.T + shifts), products, rcond=None)[0]
    result: Array = np.round(fitted.T * 2**n_rotations) / 2**n_rotations
    return result


def _stacked(chains: Sequence[Sequence[Factor]], n_rotations: int) -> Tensor:
    """Return the chains' linear forms, (chains, variants, waves, 16)."""
    change = _in_waves(n_rotations)
    forms = [np.einsum("vpij,pw->vwij", monomials(chain, n_rotations), change) for chain in chains]
    variants = max((len(form) for form in forms), default=1)
    stacked = [np.broadcast_to(form, (variants, *form.shape[1:])) for form in forms]
    shape = (len(chains), variants, 3**n_rotations, 16)
    return torch.as_tensor(np.stack(stacked) if stacked else np.zeros(shape)).reshape(shape)
