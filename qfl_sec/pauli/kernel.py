"""A circuit compiled as a linear form in Pauli words, for one dtype and device.

Everything is batched over models and samples: inputs are (models or 1, samples, features), weights (models, k).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from qfl_sec.checking import InputError
from qfl_sec.gate_parameters import ParameterMap
from qfl_sec.gates import Array
from qfl_sec.noise import NoiseModel
from qfl_sec.pauli.angles import Source
from qfl_sec.pauli.features import Encoder, Features
from qfl_sec.pauli.plan import plan
from qfl_sec.pauli.processing import Processing
from qfl_sec.pauli.transfer import LETTERS, digits, word_number
from qfl_sec.tape import Expectation, Measurement, Recording

MAX_QUBITS = 8
"""Qubits of the largest program: a form has 4^n coefficients."""


class PauliKernel:
    """A recorded circuit whose outputs are sum_P c_P(weights) phi_P(record).

    Args:
        recording: The circuit.
        devices: The noise of all models' device, or of each model's; empty for none.
        n_features: Length of a record.
        n_weights: Number of weights of a model.
        like: A tensor whose dtype and device are used.

    Attributes:
        n_qubits: Number of qubits.
        n_measurements: How many numbers are measured.
        encoder: From records to words' expectation values.
        processing: From weights to the outputs' coefficients.
        contrasts: The same for the differences of all outputs but the last to the last, all that a softmax sees.
    """

    def __init__(
        self, recording: Recording, devices: Sequence[NoiseModel], n_features: int, n_weights: int, like: Tensor
    ) -> None:
        parameters = ParameterMap(recording.graph)
        self.n_qubits = recording.n_qubits
        if self.n_qubits > MAX_QUBITS:
            raise InputError(f"Expected n_qubits={self.n_qubits} <= {MAX_QUBITS} in a Pauli program.")
        division = plan(recording.gates, self.n_qubits, levels=parameters.levels, mixed=parameters.mixed)
        observables = measured_words(recording.measurements, self.n_qubits, devices)
        self.n_measurements = observables.shape[1]
        inputs, weights = (
            Source(parameters=parameters, reads_inputs=reads, n_features=n_features, n_weights=n_weights, like=like)
            for reads in (True, False)
        )
        self.processing = Processing(division.processing, observables, weights)
        self.contrasts = Processing(division.processing, observables[:, :-1] - observables[:, -1:], weights)
        self.encoder = Encoder(division, self.n_qubits, inputs, self.processing.n_left)

    def features(self, inputs: Tensor) -> Features:
        """Return the features of inputs, (models or 1, samples, ...)."""
        if self.encoder.variants > 1:
            inputs = inputs.expand(self.encoder.variants, -1, -1)
        flat = self.encoder(inputs.flatten(0, 1))
        left, right = (part.reshape(*inputs.shape[:2], part.shape[-1]) for part in (flat.left, flat.right))
        return Features(left=left, right=right)


def expectations(coefficients: Tensor, features: Features) -> Tensor:
    """Return sum_P c_P phi_P, (models, samples, rows), for coefficients (models, 4^left, rows, 4^right)."""
    models, d_left, rows, d_right = coefficients.shape
    if features.left.shape[-1] < d_left:
        return features.right @ coefficients.transpose(2, 3).reshape(models, -1, rows)
    half = _product(features.left, coefficients.reshape(models, d_left, -1))
    half = half.view(models, half.shape[1], rows, d_right)
    return (half * features.right.unsqueeze(2)).sum(-1)


def mixtures(shares: Tensor, features: Features, d_left: int) -> Tensor:
    """Return sum_s share_sr phi_s, (models, 4^left, rows, 4^right), for shares (models, samples, rows)."""
    models, _, rows = shares.shape
    if features.left.shape[-1] < d_left:
        words = features.right.mT @ shares  # (models, 4^n, rows)
        return words.view(models, d_left, -1, rows).transpose(2, 3).contiguous()
    weighted = (shares.unsqueeze(-1) * features.right.unsqueeze(2)).flatten(2)  # (models, samples, rows * 4^right)
    return _product(features.left.mT, weighted).view(models, d_left, rows, -1)


def _product(first: Tensor, second: Tensor) -> Tensor:
    """Return first @ second for (models or 1, a, b) and (models, b, c); `matmul` spends time on what it might be."""
    return torch.bmm(first, second) if len(first) == len(second) else first @ second


def measured_words(measurements: Sequence[Measurement], n_qubits: int, devices: Sequence[NoiseModel]) -> Array:
    """Return what is measured as sums of words, after errors of the readout: (variants, outputs, 4^n)."""
    rows: list[Array] = []
    for item in measurements:
        if isinstance(item, Expectation):
            row = np.zeros(4**n_qubits)
            for word, coefficient in zip(item.words, item.coefficients, strict=True):
                letters = [0] * n_qubits
                for letter, wire in zip(word.letters, word.wires, strict=True):
                    letters[wire] = LETTERS.index(letter)
                row[word_number(letters)] += coefficient
            rows.append(row)
        else:
            rows += _outcomes(item.wires, n_qubits)
    stacked = np.stack(rows)[None]
    if devices:
        stacked = np.concatenate([_read_out(stacked, device, n_qubits) for device in devices])
    return stacked


def _outcomes(wires: Sequence[int], n_qubits: int) -> list[Array]:
    """Return the projectors onto the basis states of some wires, as sums of words of Z."""
    letters = digits(n_qubits)
    elsewhere = [wire for wire in range(n_qubits) if wire not in wires]
    plain = ((letters == 0) | (letters == 3)).all(1) & (letters[:, elsewhere] == 0).all(1)
    return [
        np.where(
            plain,
            (-1.0) ** sum((letters[:, wire] == 3) * (state >> place & 1) for place, wire in enumerate(reversed(wires))),
            0.0,
        )
        / 2 ** len(wires)
        for state in range(2 ** len(wires))
    ]


def _read_out(rows: Array, device: NoiseModel, n_qubits: int) -> Array:
    """Mix each measured letter with what its report says when it errs."""
    for wire in range(n_qubits):
        split = rows.reshape(*rows.shape[:2], 4**wire, 4, -1)
        rows = np.einsum("vrajb,jk->vrakb", split, device.readout(wire)).reshape(rows.shape)
    return rows
