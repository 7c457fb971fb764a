"""The data's side of a Pauli program: expectation values of Pauli words in the encoded records.

A product encoding is kept as one vector a qubit, whose products over the left and the right half of the qubits are
small; all words of a record are the outer product of the two. Any other encoding is carried through its own steps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qfl_sec.gates import Start
from qfl_sec.pauli.angles import Source
from qfl_sec.pauli.chains import ChainBank
from qfl_sec.pauli.plan import LocalStep, Plan, Rotation, zero_state
from qfl_sec.pauli.processing import Processing
from qfl_sec.steps import local_states


@dataclass(frozen=True, kw_only=True)
class Features:
    """Pauli words' expectation values of some records, which depend on no weight.

    Attributes:
        left: (..., 4^left), the words of the left half of the qubits; ones (..., 1) if the state is no product.
        right: (..., 4^right); all words (..., 4^n) if the state is no product.
    """

    left: Tensor
    right: Tensor

    def words(self) -> Tensor:
        """Return phi, the expectation value of every word, (..., 4^n)."""
        if self.left.shape[-1] == 1:
            return self.right
        return (self.left.unsqueeze(-1) * self.right.unsqueeze(-2)).flatten(-2)

    def split(self, counts: list[int]) -> Iterator["Features"]:
        """Yield the features of so many records at a time."""
        for left, right in zip(torch.split(self.left, counts), torch.split(self.right, counts), strict=True):
            yield Features(left=left, right=right)


class Encoder:
    """The encoding of a circuit.

    Args:
        plan: The circuit.
        n_qubits: Number of qubits.
        source: Where the encoding's parameters come from.
        n_left: Qubits of the left half.

    Attributes:
        is_product: Whether encoded states are products.
        variants: How many devices the models run on, each with noise of its own in the encoding; records then come
            model by model.
    """

    def __init__(self, plan: Plan, n_qubits: int, source: Source, n_left: int) -> None:
        self._n_qubits, self._n_left, self._source = n_qubits, n_left, source
        self.is_product = plan.is_product
        self.variants = 1
        if self.is_product:
            steps = [step for step in plan.encoding if isinstance(step, LocalStep)]
            self._n_steps = len(steps)
            self._chains = ChainBank(steps, n_qubits, source, slopes=False)
            self.variants = self._chains.variants
            self._wires = self._wires_of_features(plan)
            self._colours = _colouring(self._wires)
            self._zero = torch.tensor([1.0, 0.0, 0.0, 1.0]).to(source.like)
        else:
            self._start = _Start(plan.start, n_qubits, source)
            self._steps = Processing(plan.encoding, zero_state(n_qubits)[None, None], source)
            self.variants = self._steps.variants

    def __call__(self, inputs: Tensor) -> Features:
        """Return the features of records (records, n_features)."""
        if self.is_product:
            qubits = self._qubits(inputs)
            if 2 * self._n_left == self._n_qubits:
                both = _product(qubits.view(len(inputs), 2, self._n_left, 4).unbind(2), inputs)
                return Features(left=both[:, 0], right=both[:, 1])
            left, right = self._halves(qubits.unbind(1), inputs)
            return Features(left=left, right=right)
        states = self._start(inputs)
        evolved = self._steps.evolve(states.reshape(len(inputs), self._steps.d_left, 1, -1), inputs)
        return _whole(evolved.flatten(1))

    def with_slopes(self, inputs: Tensor) -> Features:
        """Return the features, and their derivatives in each feature of a record, (records, 1 + n_features, ...)."""
        if not self.is_product:
            return self._traced_slopes(inputs)
        terms: list[tuple[int, Tensor, Tensor]] = []
        for colour, features in enumerate(self._colours):
            direction = torch.zeros_like(inputs)
            direction[:, features] = 1.0
            qubits, slopes = torch.func.jvp(self._qubits, (inputs,), (direction,))[:2]
            if colour == 0:
                terms.append((0, *self._halves(qubits.unbind(1), inputs)))
            for feature in features:
                for wire in self._wires[feature]:
                    replaced = list(qubits.unbind(1))
                    replaced[wire] = slopes[:, wire]
                    terms.append((1 + feature, *self._halves(replaced, inputs)))
        owners = [owner for owner, _, _ in terms]
        lefts = torch.stack([left for _, left, _ in terms], 1)
        rights = torch.stack([right for _, _, right in terms], 1)
        products = Features(left=lefts, right=rights)  # one a term
        if owners == list(range(1 + inputs.shape[1])):
            return products
        words = products.words()  # (records, terms, 4^n)
        sums = words.new_zeros(len(words), 1 + inputs.shape[1], words.shape[-1])
        return _whole(sums.index_add(1, torch.tensor(owners, device=words.device), words))

    def _traced_slopes(self, inputs: Tensor) -> Features:
        """Differentiate the whole encoding, feature by feature."""
        slopes = []
        for feature in range(inputs.shape[1]):
            direction = torch.zeros_like(inputs)
            direction[:, feature] = 1.0
            slopes.append(torch.func.jvp(lambda x: self(x).words(), (inputs,), (direction,))[1])
        return _whole(torch.stack([self(inputs).words(), *slopes], 1))

    def _qubits(self, inputs: Tensor) -> Tensor:
        """Return the expectation values of I, X, Y, Z of each encoded qubit, (records, qubits, 4)."""
        if self._n_steps == 0:
            return self._zero.expand(len(inputs), self._n_qubits, 4)
        waves = self._chains.waves(inputs)
        state = self._chains.from_zero(waves)
        if self._n_steps > 1:
            for matrix in self._chains.matrices(waves)[:, 0, 1:].unbind(1):  # (records, qubits, 4, 4)
                state = (matrix @ state.unsqueeze(-1)).squeeze(-1)
        return state

    def _halves(self, qubits: Sequence[Tensor], inputs: Tensor) -> tuple[Tensor, Tensor]:
        return _product(qubits[: self._n_left], inputs), _product(qubits[self._n_left :], inputs)

    def _wires_of_features(self, plan: Plan) -> list[list[int]]:
        """Return the wires that each feature enters."""
        parameters, n_features = self._source.parameters, self._source.n_features
        found: list[set[int]] = [set() for _ in range(n_features)]
        for step in plan.encoding:
            for wire, chain in enumerate(step.chains if isinstance(step, LocalStep) else ()):
                for factor in chain:
                    if isinstance(factor, Rotation):
                        for feature in parameters.features(factor.angle.slot, n_features):
                            found[feature].add(wire)
        return [sorted(wires) for wires in found]


class _Start:
    """The state that an encoding begins with, as expectation values of all words."""

    def __init__(self, start: Start | None, n_qubits: int, source: Source) -> None:
        self._source, self._n_qubits = source, n_qubits
        wires = () if start is None else start.wires
        others = local_states([wire for wire in range(n_qubits) if wire not in wires], n_qubits)
        self._place = torch.as_tensor(np.where(others == 0, local_states(wires, n_qubits), 2 ** len(wires)))
        self._slot = None if start is None else start.slot
        vector = np.ones(1) if start is None or start.constant is None else start.constant
        self._vector = torch.as_tensor(np.asarray(vector, dtype=complex))
        letters = np.array([[1, 0, 0, 1], [0, 1, 1, 0], [0, 1j, -1j, 0], [1, 0, 0, -1]])  # of |b><c|, b slowest
        self._letters = torch.as_tensor(letters)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return (records, 4^n)."""
        if self._slot is None:
            vector = self._vector.expand(len(inputs), -1)
        else:
            evaluated = self._source.parameters.array(self._slot)(*self._source.columns(inputs))
            vector = evaluated.flatten(1).mT.expand(len(inputs), -1)
        complex_type = torch.complex64 if inputs.dtype == torch.float32 else torch.complex128
        padded = torch.cat([vector, torch.zeros_like(vector[:, :1])], 1).to(complex_type)
        amplitudes = padded.index_select(1, self._place.to(inputs.device))  # (records, 2^n)
        density = (amplitudes.unsqueeze(2) * amplitudes.conj().unsqueeze(1)).reshape(-1, *[2] * (2 * self._n_qubits))
        n = self._n_qubits
        density = density.permute(0, *(1 + axis for wire in range(n) for axis in (wire, n + wire)))
        words = density.reshape(len(inputs), *[4] * n)
        letters = self._letters.to(device=inputs.device, dtype=complex_type)
        for _ in range(n):  # the first axis of letters goes to the end each time
            words = torch.tensordot(words, letters, dims=([1], [1]))
        return words.real.reshape(len(inputs), -1)


def _colouring(wires: Sequence[Sequence[int]]) -> list[list[int]]:
    """Group features so that no wire depends on two of a group: one derivative then serves the whole group.

    Reference: Curtis, Powell and Reid 1974, doi:10.1093/imamat/13.1.117.
    """
    groups: list[tuple[list[int], set[int]]] = []
    for feature, own in enumerate(wires):
        for members, taken in groups:
            if not taken & set(own):
                members.append(feature)
                taken |= set(own)
                break
        else:
            groups.append(([feature], set(own)))
    return [members for members, _ in groups]


def _whole(words: Tensor) -> Features:
    """Return words (..., 4^n) of states that are no products."""
    return Features(left=torch.ones_like(words[..., :1]), right=words)


def _product(qubits: Sequence[Tensor], inputs: Tensor) -> Tensor:
    """Return the outer products (..., 4^k) of k qubits' vectors (..., 4); ones (records, 1) if there are none."""
    if not qubits:
        return inputs.new_ones(len(inputs), 1)
    result = qubits[0]
    for qubit in qubits[1:]:
        result = (result.unsqueeze(-1) * qubit.unsqueeze(-2)).view(*result.shape[:-1], 4 * result.shape[-1])
    return result
