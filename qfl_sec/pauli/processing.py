"""The trained part of a circuit as a linear form in the encoded state's words, and that form's derivatives.

Coefficients are found by carrying the observables backwards through the circuit. Their derivatives in the weights
come in two ways: all of them, by carrying a row for each rotation along (forward mode); or contracted with one state
for each observable, by carrying it forwards (an adjoint sweep). Neither builds a graph; both can be differentiated.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from qfl_sec.gates import Array
from qfl_sec.pauli.angles import AngleMap, Source
from qfl_sec.pauli.chains import ChainBank
from qfl_sec.pauli.plan import LocalStep, MapStep, Step, WordRotationStep, WordStep
from qfl_sec.pauli.steps import (
    Action,
    LocalAction,
    MapAction,
    Values,
    WordAction,
    unitary_transfer,
    word_rotation_action,
)
from qfl_sec.pauli.support import Support


class Processing:
    """Steps of a circuit on the coefficients of some observables.

    Args:
        steps: In order of execution.
        observables: (variants, rows, 4^n), what is measured, for all models or one for each.
        source: Where the gates' parameters come from, with the dtype and device used.

    Attributes:
        n_left: Qubits of the left half of a word.
        d_left: 4^n_left
        d_right: 4 to the number of the other qubits.
        n_rows: How many observables.
        live: (live,), the weights on which the coefficients depend at all, by the circuit's structure.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        observables: Array,
        source: Source,
    ) -> None:
        like = source.like
        self.n_qubits = (observables.shape[-1].bit_length() - 1) // 2
        self.n_left = self.n_qubits // 2
        self.d_left, self.d_right = 4**self.n_left, 4 ** (self.n_qubits - self.n_left)
        self.n_rows = observables.shape[1]
        split = observables.reshape(len(observables), self.n_rows, self.d_left, self.d_right)
        self._observables = torch.as_tensor(split.swapaxes(1, 2).copy()).to(like)
        self._source, self._like = source, like
        local = [step for step in steps if isinstance(step, LocalStep)]
        self._chains = ChainBank(local, self.n_qubits, source, slopes=True)
        turned = [step.angle for step in steps if isinstance(step, WordRotationStep)]
        self._turns, self._n_turns = AngleMap(turned, source), len(turned)
        self._maps = [step for step in steps if isinstance(step, MapStep)]
        self._actions, self._order = self._compiled(steps)
        self._picks, self.live = self._live_weights()

    @property
    def is_closed(self) -> bool:
        """Whether derivatives are known in closed form; if not, some gate's matrix is left to autograd."""
        return all(step.matrix is not None for step in self._maps)

    @property
    def variants(self) -> int:
        """How many devices there are; 1 if all models share one."""
        return self._chains.variants

    @property
    def n_local_steps(self) -> int:
        """How many steps turn single qubits."""
        return int(self._chains.used.shape[0])

    @property
    def carried(self) -> int:
        """Multiplications that carry the rows of `jacobian` through all local steps, for one model."""
        rows, total = self.n_rows, 0
        for action in self._actions:
            if isinstance(action, LocalAction):
                total += rows * self.d_left * self.d_right * (self.d_left + self.d_right)
                rows += self.n_rows * (len(action.left_used) + len(action.right_used))
        return total

    @property
    def n_rotations(self) -> int:
        """How many rotations depend on weights."""
        return len(self._order)

    def coefficients(self, weights: Tensor) -> Tensor:
        """Return the observables' coefficients, (models, 4^left, rows, 4^right), at weights (models, k)."""
        values = self._values(weights)
        rows = self._observables.expand(len(weights), -1, -1, -1)
        for action in self._actions:
            rows = action.push(rows, values)
        return rows

    def evolve(self, states: Tensor, sources: Tensor) -> Tensor:
        """Carry states (batch, 4^left, rows, 4^right) through the steps in the order of execution."""
        values = self._values(sources)
        for action in reversed(self._actions):
            states = action.pull(states, values)
        return states

    def linearize(self, weights: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the coefficients, and the function that contracts their derivatives with states.

        The function takes states (models, 4^left, rows, 4^right), one for each observable, to the derivatives of the
        sum of their expectation values in the weights, (models, k).
        """
        if not self.is_closed:
            coefficients, pullback = torch.func.vjp(self.coefficients, weights)[:2]
            return coefficients, lambda states: pullback(states)[0]
        values = self._values(weights)
        before = [self._observables.expand(len(weights), -1, -1, -1)]
        for action in self._actions:
            before.append(action.push(before[-1], values))

        def contract(states: Tensor) -> Tensor:
            for place in range(len(self._actions) - 1, -1, -1):
                states = self._actions[place].backward(before[place], states, values, onward=place > 0)
            return self._pulled(weights, values)

        return before[-1], contract

    def jacobian(self, weights: Tensor) -> Tensor:
        """Return coefficients and derivatives in the live weights: (models, 4^left, 1 + live, rows, 4^right)."""
        if not self.is_closed:
            return self._traced_jacobian(weights)
        values = self._values(weights)
        values.slopes = self._slopes(values)
        rows = self._observables.expand(len(weights), -1, -1, -1)
        for action in self._actions:
            tangents = action.tangents(rows[:, :, : self.n_rows], values)
            rows = action.push(rows, values)
            if tangents:
                rows = torch.cat([rows, *tangents], 2)
        by_angle = rows.view(*rows.shape[:2], -1, self.n_rows, self.d_right)
        if self._picks is not None:
            return by_angle.index_select(2, self._picks)
        parts = (self._chains.angles.jacobian(weights), self._turns.jacobian(weights))
        slopes = torch.cat(parts, 1)[:, self._order].index_select(2, self.live)  # (models, rotations, live)
        by_weight = torch.einsum("mlarw,mak->mlkrw", by_angle[:, :, 1:], slopes)
        return torch.cat([by_angle[:, :, :1], by_weight], 2)

    def spread(self, derivatives: Tensor) -> Tensor:
        """Return derivatives (..., live) in the live weights as derivatives in all, (..., k)."""
        if len(self.live) == self._source.n_weights:
            return derivatives
        zeros = derivatives.new_zeros(*derivatives.shape[:-1], self._source.n_weights)
        return zeros.index_copy(-1, self.live, derivatives)

    def _traced_jacobian(self, weights: Tensor) -> Tensor:
        """Do the same by automatic differentiation, weight by weight."""
        directions = torch.eye(weights.shape[1], dtype=weights.dtype, device=weights.device)
        slopes = [
            torch.func.jvp(self.coefficients, (weights,), (row.expand_as(weights).contiguous(),))[1]
            for row in directions
        ]
        return torch.stack([self.coefficients(weights), *slopes], 2)

    def _values(self, weights: Tensor) -> Values:
        waves = self._chains.waves(weights)
        chains = self._chains.matrices(waves[:, :1])[:, 0]  # (models, steps, qubits, 4, 4)
        left, right = self._halves(chains)
        turns = self._turns(weights) if self._n_turns else weights[:, :0]
        return Values(
            waves=waves,
            chains=chains,
            left=left,
            right=right,
            cosines=turns.cos() if self._n_turns else turns,
            sines=turns.sin() if self._n_turns else turns,
            maps=[self._map(step, weights) for step in self._maps],
        )

    def _halves(self, chains: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Return the Kronecker products (models, d, d) over each half of the qubits, step by step."""
        n_right = self.n_qubits - self.n_left
        if n_right == self.n_left:
            models, steps = chains.shape[:2]
            both = _kron(chains.view(models, steps, 2, n_right, 4, 4).unbind(3)).flatten(1, 2).unbind(1)
            return both[::2], both[1::2]
        qubits = chains.unbind(2)
        right = _kron(qubits[self.n_left :])
        left = _kron(qubits[: self.n_left]) if self.n_left else right.new_ones(*right.shape[:2], 1, 1)
        return left.unbind(1), right.unbind(1)

    def _map(self, step: MapStep, weights: Tensor) -> Tensor:
        if step.matrix is not None:
            return torch.as_tensor(step.matrix).to(self._like)
        assert step.slot is not None
        unitary = self._source.parameters.array(step.slot)(*self._source.columns(weights))
        return unitary_transfer(unitary.flatten(2)).to(self._like.dtype)

    def _slopes(self, values: Values) -> tuple[Tensor, Tensor]:
        """Return the derivatives of both halves' matrices, (models, angles of the half, steps, d, d)."""
        slopes = self._chains.matrices(values.waves[:, 1:]).unbind(3)  # each (models, rotations, steps, 4, 4)
        chains = values.chains.unsqueeze(1).unbind(3)
        halves: list[Tensor] = []
        for wires in (range(self.n_left), range(self.n_left, self.n_qubits)):
            found = [_kron([(slopes if other == wire else chains)[other] for other in wires]) for wire in wires]
            halves.append(torch.stack(found, 1).flatten(1, 2) if found else slopes[0][:, :0])
        return halves[0], halves[1]

    def _pulled(self, weights: Tensor, values: Values) -> Tensor:
        """Return the weights' cotangents (models, k) from those of the steps' matrices."""
        parts = []
        if values.left_cotangents:
            angles = self._chains.pulled(self._qubit_cotangents(values), values.waves[:, 1:])
            parts.append(self._chains.angles.pullback(weights, angles))
        if values.angle_cotangents:
            turns = torch.stack([values.angle_cotangents[k] for k in sorted(values.angle_cotangents)], 1)
            parts.append(self._turns.pullback(weights, turns))
        return sum(parts[1:], parts[0]) if parts else torch.zeros_like(weights)

    def _qubit_cotangents(self, values: Values) -> Tensor:
        """Return the cotangents of the chains' matrices, (models, steps, qubits, 4, 4)."""
        steps = sorted(values.left_cotangents)
        lefts = [values.left_cotangents[step] for step in steps]
        rights = [values.right_cotangents[step] for step in steps]
        if 2 * self.n_left == self.n_qubits:
            both = torch.stack([part for pair in zip(lefts, rights, strict=True) for part in pair], 1)
            chains = values.chains.view(*both.shape[:2], self.n_left, 4, 4).unbind(2)
            return torch.stack(_unkron(both, chains), 2).view(values.chains.shape)
        chains = values.chains.unbind(2)
        left, right = torch.stack(lefts, 1), torch.stack(rights, 1)
        return torch.stack([*_unkron(left, chains[: self.n_left]), *_unkron(right, chains[self.n_left :])], 2)

    def _compiled(self, steps: Sequence[Step]) -> tuple[tuple[Action, ...], list[int]]:
        """Compile the steps, the last one first, as the coefficients meet them.

        Rotations that no observable notices, whatever the angles, get no rows in `jacobian`.

        Returns:
            The actions, and the numbers of the other rotations' angles in the order in which `jacobian` meets them.
        """
        left = {kind: sum(isinstance(step, kind) for step in steps) for kind in (LocalStep, WordRotationStep, MapStep)}
        chains = self._chains
        numbers = np.arange(chains.used.size).reshape(chains.n_rotations, *chains.used.shape[:2])
        support = Support(self._observables.transpose(1, 2).flatten(2).any(0).numpy(), self.n_qubits)
        actions: list[Action] = []
        order: list[int] = []
        for step in reversed(steps):
            counts = {self.n_rows, self.n_rows * (1 + len(order))}
            gather = counts, self.d_right, self._like
            if isinstance(step, WordStep):
                actions.append(WordAction(step.index, step.sign, *gather))
                support.permute(step.index)
                continue
            left[type(step)] -= 1
            number = left[type(step)]
            if isinstance(step, LocalStep):
                noticed = support.notices(chains.pattern[number], chains.slope_pattern[number])
                noticed[~chains.used[number]] = False
                actions.append(self._local(number, noticed))
                order += numbers[:, number].T[noticed].tolist()
                support.mix(chains.pattern[number])
            elif isinstance(step, WordRotationStep):
                actions.append(word_rotation_action(number, step.index, step.sign, *gather))
                order.append(chains.used.size + number)
                support.join(step.index)
            else:
                actions.append(MapAction(number=number, wires=step.wires, n_left=self.n_left, n_qubits=self.n_qubits))
                support.fill(step.wires)
        return tuple(actions), order

    def _local(self, number: int, noticed: Array) -> LocalAction:
        halves = [np.flatnonzero(part.reshape(-1)) for part in (noticed[: self.n_left], noticed[self.n_left :])]
        left, right = (torch.as_tensor(half, device=self._like.device) for half in halves)
        return LocalAction(number=number, left_used=left, right_used=right)

    def _live_weights(self) -> tuple[Tensor | None, Tensor]:
        """Return where each live weight's row stands among the angles' rows, and which weights are live.

        There are no such places if a weight is not simply one angle; then rows are combined.
        """
        every = torch.arange(self._source.n_weights, device=self._like.device)
        parts = (self._chains.angles.matrix, self._turns.matrix)
        if parts[0] is None or parts[1] is None or not self.is_closed:
            return None, every
        matrix = torch.cat([parts[0], parts[1]])[self._order]  # (rotations, weights)
        live = every[(matrix != 0).any(0)]
        single = bool(((matrix != 0).sum(0) <= 1).all()) and bool(((matrix == 0) | (matrix == 1)).all())
        if not single:
            return None, live
        return torch.cat([every.new_zeros(1), 1 + matrix[:, live].mT.nonzero()[:, 1]]), live


def _kron(matrices: Sequence[Tensor]) -> Tensor:
    """Return the Kronecker products (..., d, d) of matrices (..., 4, 4)."""
    result = matrices[0]
    for matrix in matrices[1:]:
        product = result.unsqueeze(-1).unsqueeze(-3) * matrix.unsqueeze(-2).unsqueeze(-4)
        size = 4 * result.shape[-1]
        result = product.reshape(*product.shape[:-4], size, size)
    return result


def _unkron(cotangents: Tensor, matrices: Sequence[Tensor]) -> list[Tensor]:
    """Return the cotangents (..., 4, 4) of each factor of a Kronecker product from those (..., d, d) of the product."""
    if len(matrices) <= 1:
        return [cotangents][: len(matrices)]
    rest = _kron(matrices[1:])
    lead, size = cotangents.shape[:-2], rest.shape[-1]
    split = cotangents.reshape(-1, 4, size, 4, size).transpose(2, 3).reshape(-1, 16, size * size)
    first = torch.bmm(split, rest.reshape(len(split), -1, 1)).view(*lead, 4, 4)
    others = torch.bmm(matrices[0].reshape(len(split), 1, 16), split).view(*lead, size, size)
    return [first, *_unkron(others, matrices[1:])]
