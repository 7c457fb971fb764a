"""The work of classification, key exchange, post-processing and delegated circuits, drawn from fixed seeds."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qfl_sec.protocol_contracts import Bits

CLASSES = 2


@dataclass(frozen=True, kw_only=True)
class Classification:
    """Models and the batches that they train on; every model has records of its own.

    Attributes:
        qubits: Qubits, and features of a record.
        layers: Layers of the circuit.
        weights: (models, parameters), angles; without the first dimension for one model alone.
        inputs: (models, batch, features), likewise.
        labels: (models, batch), likewise.
    """

    qubits: int
    layers: int
    weights: Tensor
    inputs: Tensor
    labels: Tensor

    def first(self, models: int) -> "Classification":
        """Return the first models alone."""
        return Classification(
            qubits=self.qubits,
            layers=self.layers,
            weights=self.weights[:models],
            inputs=self.inputs[:models],
            labels=self.labels[:models],
        )


def classification(
    *, models: int | None = None, batch: int, qubits: int = 4, layers: int = 2, dtype: torch.dtype = torch.float32
) -> Classification:
    """Draw angles from (-3, 3), features from (-1, 1) and labels by a coin; `models` None is one model alone."""
    generator = torch.Generator().manual_seed(2021)
    lead = () if models is None else (models,)

    def uniform(*shape: int) -> Tensor:
        return 2 * torch.rand(*lead, *shape, generator=generator, dtype=torch.float64) - 1

    return Classification(
        qubits=qubits,
        layers=layers,
        weights=(3 * uniform(layers * qubits * 3)).to(dtype),
        inputs=uniform(batch, qubits).to(dtype),
        labels=torch.randint(0, CLASSES, (*lead, batch), generator=generator),
    )


@dataclass(frozen=True, kw_only=True)
class Hashing:
    """Bits to be hashed by a Toeplitz matrix.

    Attributes:
        bits: (n,).
        seed: Diagonals of the matrix, (n + length - 1,).
        length: Bits of the hash.
    """

    bits: Bits
    seed: Bits
    length: int


def hashing(*, n: int, length: int) -> Hashing:
    """Draw bits and seed by a coin."""
    rng = np.random.default_rng(2021)
    bits, seed = (rng.integers(0, 2, count, dtype=np.uint8) for count in (n, n + length - 1))
    return Hashing(bits=bits, seed=seed, length=length)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Two strings that differ here and there.

    Attributes:
        alice: (n,).
        bob: (n,).
        error_rate: The probability of a difference.
    """

    alice: Bits
    bob: Bits
    error_rate: float


def difference(*, n: int, error_rate: float) -> Difference:
    """Draw one string by a coin, and the other by flipping each of its bits with a probability."""
    rng = np.random.default_rng(2021)
    alice = rng.integers(0, 2, n, dtype=np.uint8)
    bob = alice ^ (rng.random(n) < error_rate).astype(np.uint8)
    return Difference(alice=alice, bob=bob, error_rate=error_rate)


@dataclass(frozen=True, kw_only=True)
class KeyExchange:
    """BB84 with single photons in unbiased bases, every one measured and sent again by an eavesdropper.

    Attributes:
        pulses: To be sent.
    """

    pulses: int

    @property
    def expected(self) -> Tensor:
        """The share of pulses that are sifted, and their error rate, (2,)."""
        return torch.tensor([1 / 2, 1 / 4], dtype=torch.float64)

    @property
    def tolerance(self) -> float:
        """How far two samples of these may lie apart, as a share of the larger: five standard deviations.

        The error rate deviates most: sqrt(3/16 / (n/4)) where one basis of two is compared, sqrt(3/16 / (n/2)) where
        both are.
        """
        return 5 * math.sqrt(3 / 16 * (4 + 2) / self.pulses) / (1 / 2)


@dataclass(frozen=True, kw_only=True)
class Delegation:
    """A circuit for a server: features by RY and RZ, then layers of Rot on every qubit and of CNOTs between neighbours.

    Attributes:
        angle_bits: K of the grid 2 pi j / 2^K that all angles lie on.
        inputs: Angles of RY, then of RZ, (samples, 2 qubits).
        weights: Angles of Rot, (layers, qubits, 3).
    """

    angle_bits: int
    inputs: NDArray[np.float64]
    weights: NDArray[np.float64]

    @property
    def qubits(self) -> int:
        """Qubits of the circuit."""
        return self.weights.shape[1]

    def tolerance(self, shots: int) -> float:
        """How far frequencies of two samples of results may lie apart, as a share of the largest.

        Five standard deviations, sqrt(2 p / shots), of the largest probability p, which is 2^-qubits at least.
        """
        return 5 * math.sqrt(2 * 2**self.qubits / shots)


def delegation(*, samples: int = 1, qubits: int = 4, layers: int = 2, angle_bits: int = 8) -> Delegation:
    """Draw all angles from their grid."""
    rng = np.random.default_rng(2021)

    def angles(*shape: int) -> NDArray[np.float64]:
        return math.tau / 2**angle_bits * rng.integers(0, 2**angle_bits, shape)

    return Delegation(angle_bits=angle_bits, inputs=angles(samples, 2 * qubits), weights=angles(layers, qubits, 3))
