"""The transfer matrices of all chains of a program at once: linear forms in products of cosines and sines."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from qfl_sec.pauli.angles import AngleMap, Source
from qfl_sec.pauli.plan import Angle, Factor, LocalStep, Rotation, monomials


class ChainBank:
    """Every chain of every local step.

    The angles of a chain stand in a row, padded to the length of the longest: angle k of chain c is number
    c * n_rotations + k. The products of (1, cos, sin) of a chain's angles, and their derivatives in each angle, are all
    found with one sine, as every factor and its derivative is sin(m angle + s) for some m and s.

    Args:
        steps: The local steps.
        n_qubits: Chains of a step.
        source: Where the angles' parameters come from.
        slopes: Whether derivatives are wanted.

    Attributes:
        n_rotations: Rotations of the longest chain, at least one.
        used: (steps, qubits, n_rotations), true where there is a rotation.
        angles: The padded angles.
    """

    def __init__(self, steps: Sequence[LocalStep], n_qubits: int, source: Source, *, slopes: bool) -> None:
        chains = [chain for step in steps for chain in step.chains]
        rotations = [[factor for factor in chain if isinstance(factor, Rotation)] for chain in chains]
        self.n_rotations = max((len(found) for found in rotations), default=1) or 1
        padded: list[Angle | None] = [
            angle
            for found in rotations
            for angle in [*(rotation.angle for rotation in found), *[None] * (self.n_rotations - len(found))]
        ]
        self._shape = (len(steps), n_qubits)
        self.used = np.array([angle is not None for angle in padded], dtype=bool).reshape(
            *self._shape, self.n_rotations
        )
        self.angles = AngleMap(padded, source)
        n_rows = 1 + self.n_rotations if slopes else 1
        self._factor_shape = (n_rows, len(chains), self.n_rotations, 3)
        self._phases = self.angles.combined(*_factor_phases(len(chains), self.n_rotations, n_rows))
        forms = _stacked(chains, self.n_rotations).to(source.like)
        self._is_uniform = forms.shape[1] == 1 and len(forms) > 0 and bool((forms == forms[:1]).all())
        self._forms = forms[:1] if self._is_uniform else forms

    def products(self, rows: Tensor) -> Tensor:
        """Return the products of (1, cos, sin) of each chain's angles, and their derivatives in each angle if wanted.

        Returns:
            (batch, 1 or 1 + n_rotations, chains, 3^n_rotations), the products first.
        """
        factors = self._phases(rows).sin().view(len(rows), *self._factor_shape).unbind(3)
        product = factors[0]
        for factor in factors[1:]:
            product = (product.unsqueeze(-1) * factor.unsqueeze(-2)).view(*product.shape[:-1], 3 * product.shape[-1])
        return product

    def matrices(self, products: Tensor) -> Tensor:
        """Return matrices (batch, k, steps, qubits, 4, 4) for products (batch, k, chains, monomials)."""
        if self._is_uniform:
            flat = products.reshape(-1, products.shape[-1]) @ self._forms[0, 0]
        elif self._forms.shape[1] == 1:
            flat = (products.flatten(0, 1).transpose(0, 1) @ self._forms[:, 0]).transpose(0, 1)
        else:  # one form a model
            flat = (products.transpose(1, 2) @ self._forms.transpose(0, 1)).transpose(1, 2)
        return flat.reshape(*products.shape[:2], *self._shape, 4, 4)

    def pulled(self, cotangents: Tensor, slopes: Tensor) -> Tensor:
        """Return the cotangents of the angles, (batch, angles).

        Args:
            cotangents: (batch, steps, qubits, 4, 4), those of the matrices.
            slopes: (batch, n_rotations, chains, 3^n_rotations), the products' derivatives.
        """
        flat = cotangents.reshape(len(cotangents), self._shape[0] * self._shape[1], 16)  # (batch, chains, 16)
        if self._is_uniform:
            products = (flat.view(-1, 16) @ self._forms[0, 0].mT).view(*flat.shape[:2], len(self._forms[0, 0]))
        elif self._forms.shape[1] == 1:
            products = (flat.transpose(0, 1) @ self._forms[:, 0].mT).transpose(0, 1)
        else:
            products = (flat.unsqueeze(2) @ self._forms.transpose(0, 1).mT).squeeze(2)
        return (slopes * products.unsqueeze(1)).sum(-1).transpose(1, 2).reshape(len(flat), self.used.size)


def _factor_phases(n_chains: int, n_rotations: int, n_rows: int) -> tuple[Tensor, Tensor]:
    """Return m and s of all factors sin(m angle + s), by row, chain, rotation and one of (1, cos, sin).

    Row r > 0 has the derivative of factor r - 1 in place of that factor.
    """
    angle = torch.arange(n_chains * n_rotations).reshape(n_chains, n_rotations, 1)
    multipliers = torch.zeros(n_rows, n_chains, n_rotations, 3, n_chains * n_rotations, dtype=torch.float64)
    for which in (1, 2):
        multipliers[..., which, :].scatter_(-1, angle.expand(n_rows, -1, -1, -1), 1.0)
    shifts = torch.tensor([math.pi / 2, math.pi / 2, 0.0], dtype=torch.float64).repeat(n_rows, n_chains, n_rotations, 1)
    for k in range(n_rows - 1):
        shifts[1 + k, :, k] = torch.tensor([0.0, math.pi, math.pi / 2], dtype=torch.float64)  # of 0, -sin, cos
    return multipliers.flatten(0, -2), shifts.flatten()


def _stacked(chains: Sequence[Sequence[Factor]], n_rotations: int) -> Tensor:
    """Return the chains' linear forms, (chains, variants, 3^n_rotations, 16)."""
    forms = [monomials(chain, n_rotations) for chain in chains]
    variants = max((len(form) for form in forms), default=1)
    stacked = [np.broadcast_to(form, (variants, *form.shape[1:])) for form in forms]
    shape = (len(chains), variants, 3**n_rotations, 16)
    return torch.as_tensor(np.stack(stacked) if stacked else np.zeros(shape)).reshape(shape)
