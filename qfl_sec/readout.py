"""From amplitudes to what is measured: expectation values, probabilities and samples of them.

The state has its real and imaginary parts on the first axis and its batch axes last: (1 or 2, 2^n, models, samples);
one part alone means that the amplitudes are real.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qfl_sec.gates import Array
from qfl_sec.steps import local_states
from qfl_sec.tape import Expectation, Measurement, Probabilities, Word


@dataclass(frozen=True, kw_only=True)
class _Flip:
    """Words that flip the same qubits: Re sum_b weights_bk conj(amplitude_b) amplitude_partner(b)."""

    partner: Tensor  # (2^n,)
    real: Tensor | None  # (k, 2^n)
    imaginary: Tensor | None  # (k, 2^n)


@dataclass(frozen=True, kw_only=True)
class Form:
    """Real quadratic forms of the state.

    Attributes:
        diagonal: (k, 2^n), weights of the probabilities; None if all are zero.
        flips: The other terms.
        count: k, the number of forms.
    """

    diagonal: Tensor | None
    flips: tuple[_Flip, ...]
    count: int

    def __call__(self, state: Tensor) -> Tensor:
        """Return (k, models, samples)."""
        result: Tensor | None = None
        if self.diagonal is not None:
            result = _contract(self.diagonal, (state * state).sum(0) if len(state) > 1 else state[0] * state[0])
        for flip in self.flips:
            partner = state.index_select(1, flip.partner)
            if flip.real is not None:
                term = _contract(flip.real, (state * partner).sum(0))
                result = term if result is None else result + term
            if flip.imaginary is not None and len(state) > 1:
                term = _contract(flip.imaginary, state[1] * partner[0] - state[0] * partner[1])
                result = term if result is None else result + term
        return state.new_zeros(self.count, *state.shape[2:]) if result is None else result


class Readout:
    """The measurements of a circuit.

    Args:
        measurements: What is measured.
        n_qubits: Number of qubits.
        permutation: (2^n,), which of the state's amplitudes is that of basis state b.
        like: A tensor whose dtype and device are those of the state.
    """

    def __init__(self, measurements: Sequence[Measurement], n_qubits: int, permutation: Array, like: Tensor) -> None:
        self._measurements = measurements
        # Shots see single words; exact values need only the sums of them.
        columns: list[Word | Array] = []
        for item in measurements:
            columns += list(item.words) if isinstance(item, Expectation) else list(_indicators(item, n_qubits))
        self._single = _Builder(columns, n_qubits, permutation, like)
        self._mixing = _mixing(measurements, [_width(item) for item in measurements])
        self.exact = self._single.form(self._mixing)
        self.count = self.exact.count

    def sample(self, state: Tensor, shots: int, generator: torch.Generator) -> Tensor:
        """Estimate every measurement from `shots` runs of its own: (k, models, samples).

        Each Pauli word of a sum is measured in its own basis, independently of the others, so the number of ones is
        binomial and needs no rotated state.
        """
        state = state.detach()
        single = self._single.form(np.eye(self._mixing.shape[1]))(state)
        results, at, row = [], 0, 0
        for item in self._measurements:
            width = _width(item)
            values = single[at : at + width]
            at += width
            if isinstance(item, Probabilities):
                results.append(_multinomial(values, shots, generator) / shots)
                row += width
            else:
                ones = torch.full_like(values, float(shots))
                hits = torch.binomial(ones, ((1 + values) / 2).clamp(0, 1), generator=generator)
                weights = values.new_tensor(item.coefficients)
                results.append(torch.einsum("k,k...->...", weights, 2 * hits / shots - 1)[None])
                row += 1
        return torch.cat(results)


def phases_are_seen(measurements: Sequence[Measurement]) -> bool:
    """Return whether a measurement depends on more than the probabilities of the basis states."""
    words = [word for item in measurements if isinstance(item, Expectation) for word in item.words]
    return any(letter in "XY" for word in words for letter in word.letters)


class _Builder:
    """The weights of single columns, from which forms are combined."""

    def __init__(self, columns: Sequence[Word | Array], n_qubits: int, permutation: Array, like: Tensor) -> None:
        self._like = like
        inverse = np.argsort(permutation)
        states = np.arange(2**n_qubits)
        self._weights = np.zeros((len(columns), 2**n_qubits), dtype=complex)
        self._masks = np.zeros(len(columns), dtype=int)
        self._partners: dict[int, Array] = {}
        for k, column in enumerate(columns):
            if isinstance(column, Word):
                self._masks[k], phases = _word(column, n_qubits)
            else:
                phases = column
            self._weights[k] = phases[inverse]
            mask = int(self._masks[k])
            self._partners[mask] = permutation[(states ^ mask)[inverse]]

    def form(self, mixing: Array) -> Form:
        """Return the forms that are linear combinations of the columns; mixing is (k, columns)."""
        flips = []
        diagonal: Tensor | None = None
        for mask in sorted(self._partners):
            chosen = self._masks == mask
            weights = mixing[:, chosen] @ self._weights[chosen]
            if mask == 0:
                diagonal = self._tensor(weights.real)
            else:
                partner = torch.as_tensor(self._partners[mask], device=self._like.device)
                # Re(w conj(a) b) = Re(w) Re(conj(a) b) - Im(w) Im(conj(a) b)
                flips.append(
                    _Flip(partner=partner, real=self._tensor(weights.real), imaginary=self._tensor(weights.imag))
                )
        return Form(diagonal=diagonal, flips=tuple(flips), count=len(mixing))

    def _tensor(self, weights: Array) -> Tensor | None:
        if not weights.any():
            return None
        return torch.as_tensor(weights).to(self._like)


def _contract(weights: Tensor, values: Tensor) -> Tensor:
    """Multiply (k, 2^n) by (2^n, models, samples)."""
    return (weights @ values.flatten(1)).view(len(weights), *values.shape[1:])


def _word(word: Word, n_qubits: int) -> tuple[int, Array]:
    """Return the flipped bits of a Pauli word, and w_b in <P> = sum_b w_b conj(amplitude_b) amplitude_(b ^ flipped)."""
    states = np.arange(2**n_qubits)
    mask, phases = 0, np.ones(2**n_qubits, dtype=complex)
    for letter, wire in zip(word.letters, word.wires, strict=True):
        shift = n_qubits - 1 - wire
        sign = 1.0 - 2.0 * ((states >> shift) & 1)
        if letter in "XY":
            mask |= 1 << shift
        # <0|Y|1> = -i and <1|Y|0> = i
        phases = phases * {"X": np.ones_like(sign), "Y": -1j * sign, "Z": sign}[letter]
    return mask, phases


def _indicators(item: Probabilities, n_qubits: int) -> Array:
    """Return (2^wires, 2^n), one where a basis state counts towards an outcome."""
    local = local_states(item.wires, n_qubits)
    result: Array = (np.arange(2 ** len(item.wires))[:, None] == local).astype(float)
    return result


def _width(item: Measurement) -> int:
    return len(item.words) if isinstance(item, Expectation) else int(2 ** len(item.wires))


def _mixing(measurements: Sequence[Measurement], widths: Sequence[int]) -> Array:
    """Return the matrix from single columns to measured numbers."""
    rows: list[Array] = []
    at = 0
    for item, width in zip(measurements, widths, strict=True):
        block = np.array([item.coefficients]) if isinstance(item, Expectation) else np.eye(width)
        padded = np.zeros((len(block), sum(widths)))
        padded[:, at : at + width] = block
        rows.append(padded)
        at += width
    return np.concatenate(rows)


def _multinomial(probabilities: Tensor, shots: int, generator: torch.Generator) -> Tensor:
    """Draw counts (outcomes, ...) by halving the outcomes again and again: binomial at every branching."""
    totals = [probabilities.clamp(min=0)]
    while len(totals[-1]) > 1:
        totals.append(totals[-1][0::2] + totals[-1][1::2])
    counts = torch.full_like(totals[-1], float(shots))
    for level, parent in zip(totals[-2::-1], totals[:0:-1], strict=True):
        share = (level[0::2] / parent.clamp(min=torch.finfo(level.dtype).tiny)).clamp(0, 1)
        first = torch.binomial(counts, share, generator=generator)
        counts = torch.stack([first, counts - first], 1).flatten(0, 1)
    return counts
