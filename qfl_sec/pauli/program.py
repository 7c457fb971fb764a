"""A PennyLane circuit that encodes once, as a linear form in its data's Pauli words."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from qfl_sec.batched_circuit import BatchedCircuit
from qfl_sec.checking import InputError
from qfl_sec.noise import NoiseModel
from qfl_sec.pauli.kernel import PauliKernel, expectations, mixtures
from qfl_sec.tape import Recording

_RANK_TOLERANCE = 1e-10


class PauliProgram(BatchedCircuit[PauliKernel]):
    """A circuit U(weights) V(record)|0>, noise included, whose outputs are linear in the encoded record's Pauli words.

    Output o is sum_P c_oP(weights) phi_P(record): phi depends on no weight and c on no record. Noise is exact. Words
    are numbered in base four, I X Y Z for 0 to 3, the first wire most significant.

    Args:
        circuit: As for `qfl_sec.statevector.compile_circuit`; noise channels of PennyLane are allowed, and no gate that
            depends on the weights may come before one that depends on the inputs.
        n_features: Length of a record.
        weight_shape: Shape of one model's weights.
        n_qubits: Number of qubits, on wires 0 to n_qubits - 1; None for the wires of the QNode's device or, failing
            that, those that the circuit uses. At most 8.
        noise: The noise of the device that all models run on, or one device for each model, in the order of the models
            (of all leading dimensions in which the weights differ, flattened).

    Attributes:
        n_devices: How many devices were given.

    Example:
        >>> import pennylane as qml
        >>> def circuit(inputs, weights):
        ...     qml.RY(inputs[0], wires=0)
        ...     qml.RX(weights[0], wires=0)
        ...     return qml.expval(qml.Z(0))
        >>> program = PauliProgram(circuit, n_features=1, weight_shape=(1,))
        >>> program.chi(torch.zeros(1)).shape  # outputs, words, weights
        torch.Size([1, 4, 1])
    """

    def __init__(
        self,
        circuit: Callable[[Any, Any], Any],
        *,
        n_features: int,
        weight_shape: Sequence[int],
        n_qubits: int | None = None,
        noise: NoiseModel | Sequence[NoiseModel] | None = None,
    ) -> None:
        devices = () if noise is None else (noise,) if isinstance(noise, NoiseModel) else tuple(noise)
        super().__init__(circuit, n_qubits=n_qubits, weight_shape=weight_shape, devices=devices)
        self._features, self._shape = n_features, tuple(weight_shape)
        self.n_devices = len(devices)

    def __call__(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """Evaluate the circuit; torch can differentiate the result.

        Args:
            inputs: (..., n_features), real.
            weights: (..., *weight_shape), real. The leading dimensions of the two broadcast.

        Returns:
            (..., n_measurements)

        Raises:
            InputError: If the circuit is no Pauli program, or an argument does not fit.
        """
        kernel, layout, (columns, angles) = self._arranged(inputs, weights)
        coefficients = kernel.processing.coefficients(angles[..., 0].mT)
        outputs = expectations(coefficients, kernel.features(columns.permute(1, 2, 0)))
        return layout.restore(outputs.permute(2, 0, 1))

    def words(self, inputs: Tensor) -> Tensor:
        """Return phi, the Pauli words' expectation values of encoded records (..., n_features): (..., 4^n).

        With one device for each model, the first dimension is the model.
        """
        flat = inputs.reshape(-1, inputs.shape[-1])
        return self.kernel(inputs).encoder(flat).words().reshape(*inputs.shape[:-1], -1)

    def word_slopes(self, inputs: Tensor) -> Tensor:
        """Return dphi/dx, (..., n_features, 4^n), for records (..., n_features)."""
        slopes = self.kernel(inputs).encoder.with_slopes(inputs.reshape(-1, inputs.shape[-1])).words()[:, 1:]
        return slopes.reshape(*inputs.shape[:-1], *slopes.shape[1:])

    def coefficients(self, weights: Tensor) -> Tensor:
        """Return c, the coefficient of every word in every output, (..., n_measurements, 4^n)."""
        flat, lead = self._flat(weights)
        rows = self.kernel(weights).processing.coefficients(flat).transpose(1, 2).flatten(2)
        return rows.reshape(*lead, *rows.shape[1:])

    def chi(self, weights: Tensor) -> Tensor:
        """Return chi = dc/dweights, (..., n_measurements, 4^n, weights).

        The gradient of one record's loss is chi contracted with the loss's derivatives in the outputs and with phi: a
        linear system for their product, whose rank says what of the record a gradient can tell at most.
        """
        flat, lead = self._flat(weights)
        processing = self.kernel(weights).processing
        rows = processing.jacobian(flat)[:, :, 1:]  # (models, d, live weights, outputs, d')
        chi = processing.spread(rows.permute(0, 3, 1, 4, 2).flatten(2, 3))
        return chi.reshape(*lead, *chi.shape[1:])

    def rank(self, weights: Tensor) -> Tensor:
        """Return the numerical rank of chi as a matrix (weights, outputs x words), (...,) integers.

        Singular values above 1e-10 of the largest count; use double precision.
        """
        chi = self.chi(weights)
        singular = torch.linalg.svdvals(chi.movedim(-1, -3).flatten(-2))
        ranks: Tensor = (singular > _RANK_TOLERANCE * singular[..., :1]).sum(-1)
        return ranks

    def with_pullback(self, inputs: Tensor, weights: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Evaluate the circuit, and return the way from a loss's derivatives in the outputs to those in the weights.

        The function takes cotangents of the outputs' shape to the gradient of the batch, in the shape of `weights`: the
        sum over the samples that share their weights. It may be called once for each evaluation.
        """
        kernel, layout, (columns, angles) = self._arranged(inputs, weights)
        features = kernel.features(columns.permute(1, 2, 0))
        coefficients, contract = kernel.processing.linearize(angles[..., 0].mT)
        outputs = expectations(coefficients, features)

        def pullback(cotangents: Tensor) -> Tensor:
            shares = layout.columns(cotangents).permute(1, 2, 0)  # (models, samples, outputs)
            gradients = contract(mixtures(shares, features, kernel.processing.d_left))
            return gradients.reshape(weights.shape)

        return layout.restore(outputs.permute(2, 0, 1)), pullback

    def example_pullback(self, inputs: Tensor, weights: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Do the same with a gradient (*weight_shape) for each sample, in the leading dimensions of the outputs."""
        kernel, layout, (columns, angles) = self._arranged(inputs, weights)
        words = kernel.features(columns.permute(1, 2, 0)).words()  # (models or 1, samples, 4^n)
        rows = kernel.processing.jacobian(angles[..., 0].mT)  # (models, d, 1 + live weights, outputs, d')
        values = words @ rows.permute(0, 1, 4, 2, 3).flatten(3).flatten(1, 2)
        values = values.view(*values.shape[:2], *rows.shape[2:4])  # (models, samples, 1 + live weights, outputs)

        def pullback(cotangents: Tensor) -> Tensor:
            shares = layout.columns(cotangents).permute(1, 2, 0)
            gradients = kernel.processing.spread((values[:, :, 1:] * shares.unsqueeze(2)).sum(-1))
            restored = layout.restore(gradients.permute(2, 0, 1))
            return restored.reshape(*restored.shape[:-1], *self._shape)

        return layout.restore(values[:, :, 0].permute(2, 0, 1)), pullback

    def kernel(self, like: Tensor) -> PauliKernel:
        """Return the compiled circuit for the dtype and device of `like`.

        Raises:
            InputError: If the circuit is no Pauli program.
        """
        return self._program(self._features, self._shape, like)

    def _flat(self, weights: Tensor) -> tuple[Tensor, torch.Size]:
        """Return weights (models, k), and their leading dimensions."""
        split = weights.ndim - len(self._shape)
        if tuple(weights.shape[split:]) != self._shape:
            raise InputError(f"Expected weights of shape (..., {self._shape}), not {tuple(weights.shape)}.")
        return weights.reshape(-1, math.prod(self._shape)), weights.shape[:split]

    def _build(self, recording: Recording, weight_shape: tuple[int, ...], n_features: int, like: Tensor) -> PauliKernel:
        return PauliKernel(recording, self._devices, n_features, math.prod(weight_shape), like)
