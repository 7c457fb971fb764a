"""A recorded circuit as batched tensor operations.

The state holds its real and imaginary parts on the first axis and the batch last, (1 or 2, 2^n, models, samples), so
that every gate is a few operations on long contiguous rows; one part alone means real amplitudes. Stretches of the
circuit that do not depend on the inputs are carried out on the basis states, and applied to all samples of a model as
one matrix, where that is less work.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qfl_sec.adjoint import CHUNK_AMPLITUDES, Measured, Sweep
from qfl_sec.differentiation import is_transformed
from qfl_sec.gate_parameters import CONSTANT, INPUTS, WEIGHTS, ParameterMap, Sources, broadcast_shapes
from qfl_sec.gates import Array, Dense, Start
from qfl_sec.readout import Readout, phases_are_seen
from qfl_sec.steps import PermutationStep, PhaseStep, Schedule, Step, TurnStep, local_states, schedule
from qfl_sec.sweep_plan import SweepPlan, can_sweep
from qfl_sec.tape import Recording

_MAX_MATRIX_QUBITS = 8
_MIN_SWEEP_QUBITS = 9
_FIXED = -1  # the level of angles that are plain numbers


Turns = tuple[Sequence[Tensor], Sequence[Tensor]]
"""Cosines and sines of half the angles of RY gates; (models, samples) each."""


class _Parameters:
    """The parameters of one batch, as the steps take them."""

    def __init__(self) -> None:
        self.turns: dict[int, Turns] = {}
        self.phases: dict[int, Sequence[Tensor]] = {}
        self.sources: Sources


@dataclass(frozen=True, kw_only=True)
class _PhaseAction:
    """exp(i theta), theta a constant plus linear forms of the parameters of each level."""

    forms: tuple[tuple[int, int, Tensor], ...]  # level, which piece of that level's phases, (2^n, parameters)
    constant: Tensor | None  # (2^n, 1, 1)
    sign: Tensor | None  # (2^n, 1, 1), instead of all others, where the phases are constant signs

    def __call__(self, state: Tensor, parameters: _Parameters) -> Tensor:
        if self.sign is not None:
            return state * self.sign
        theta = self.constant
        for level, piece, coefficients in self.forms:
            rows = parameters.phases[level][piece]
            term = (coefficients @ rows.flatten(1)).view(len(coefficients), *rows.shape[1:])
            theta = term if theta is None else theta + term
        assert theta is not None
        cosine, sine = theta.cos(), theta.sin()
        if len(state) == 1:
            return torch.stack([state[0] * cosine, state[0] * sine])
        real, imaginary = state.unbind(0)
        return torch.stack(_rotated(real, imaginary, cosine, sine))


@dataclass(frozen=True, kw_only=True)
class _PermutationAction:
    index: Tensor

    def __call__(self, state: Tensor, parameters: _Parameters) -> Tensor:
        return state.index_select(1, self.index)


@dataclass(frozen=True, kw_only=True)
class _TurnAction:
    turns: tuple[tuple[int, int, int], ...]  # wire, level, which of that level's turns
    product: Tensor | None  # where each amplitude of a product state lies, if the step acts on |0...0>

    def __call__(self, state: Tensor, parameters: _Parameters) -> Tensor:
        if self.product is not None:
            return self._product_state(parameters)
        dimension = state.shape[1]
        for wire, level, column in self.turns:
            cosine, sine = (values[column] for values in parameters.turns[level])
            pairs = state.reshape(len(state) << wire, 2, dimension >> (wire + 1), *state.shape[2:])
            zero, one = pairs.unbind(1)
            pairs = torch.stack(_rotated(zero, one, cosine, sine), 1)
            state = pairs.reshape(len(state), dimension, *pairs.shape[3:])
        return state

    def _product_state(self, parameters: _Parameters) -> Tensor:
        assert self.product is not None
        state: Tensor | None = None
        for _, level, column in self.turns:
            qubit = torch.stack([values[column] for values in parameters.turns[level]])
            state = qubit if state is None else (state.unsqueeze(1) * qubit).flatten(0, 1)
        assert state is not None
        if len(state) < len(self.product):
            state = torch.cat([state, torch.zeros_like(state[:1])]).index_select(0, self.product)
        return state[None]


@dataclass(frozen=True, kw_only=True)
class _DenseAction:
    wires: tuple[int, ...]
    n_qubits: int
    matrix: Callable[[Tensor, Tensor], Tensor]  # (d, d, models, samples), complex

    def __call__(self, state: Tensor, parameters: _Parameters) -> Tensor:
        amplitudes = torch.complex(state[0], state[1] if len(state) > 1 else torch.zeros_like(state[0]))
        matrix = self.matrix(*parameters.sources).to(amplitudes.dtype)
        batch: tuple[int, ...] = tuple(amplitudes.shape[1:])
        others = [wire for wire in range(self.n_qubits) if wire not in self.wires]
        order = [*self.wires, *others]
        split = amplitudes.reshape(*[2] * self.n_qubits, *batch)
        tail = [self.n_qubits, self.n_qubits + 1]
        rows = split.permute(*order, *tail).reshape(len(matrix), len(amplitudes) // len(matrix), *batch)
        if matrix.shape[2:] == (1, 1):
            rows = (matrix[:, :, 0, 0] @ rows.flatten(1)).view_as(rows)
        else:
            batch = broadcast_shapes(batch, matrix.shape[2:])
            pair = matrix.expand(-1, -1, *batch).flatten(2), rows.expand(-1, -1, *batch).flatten(2)
            rows = torch.einsum("ijb,jrb->irb", *pair)
            rows = rows.reshape(*rows.shape[:2], *batch)
        back = [order.index(wire) for wire in range(self.n_qubits)]
        amplitudes = rows.reshape(*[2] * self.n_qubits, *batch).permute(*back, *tail).flatten(0, self.n_qubits - 1)
        return torch.stack([amplitudes.real, amplitudes.imag])


def _rotated(x: Tensor, y: Tensor, cosine: Tensor, sine: Tensor) -> list[Tensor]:
    """Rotate the pairs (x, y)."""
    return [x * cosine - y * sine, x * sine + y * cosine]


_Action = _PhaseAction | _PermutationAction | _TurnAction | _DenseAction


@dataclass(frozen=True, kw_only=True)
class _Stretch:
    """Consecutive actions that all depend on the inputs, or all not."""

    actions: tuple[_Action, ...]
    shared: bool


class Program:
    """A recorded circuit with everything constant computed, for one dtype and device."""

    def __init__(
        self, recording: Recording, weight_shape: Sequence[int], *, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.weight_shape = tuple(weight_shape)
        self.n_qubits = recording.n_qubits
        self._like = torch.empty(0, dtype=dtype, device=device)
        plan = schedule(recording.gates, recording.n_qubits, phases_are_seen=phases_are_seen(recording.measurements))
        self.readout = Readout(recording.measurements, recording.n_qubits, plan.permutation, self._like)
        self.n_measurements = self.readout.count
        self._map = ParameterMap(recording.graph)
        self._compile(plan)
        self._sweep: Sweep | None = None
        if self.n_qubits >= _MIN_SWEEP_QUBITS and can_sweep(recording.gates):
            self._sweep = Sweep(
                SweepPlan(recording), self._map, self._start, self.readout, plan.permutation, self._like
            )

    def measured(self, sources: Sources) -> Tensor:
        """Return all measurements, (k, models, samples); axes along which nothing varies may have length one.

        From `_MIN_SWEEP_QUBITS` qubits on, memory is bounded: samples are taken in chunks, and the gradient is an
        adjoint sweep, which stores no intermediate states. What it cannot do takes plain torch operations, which store
        all of them: derivatives that are differentiated again, torch.func transforms, forward-mode derivatives, and
        gradients of circuits with matrices that are computed or not unitary.
        """
        if self.n_qubits < _MIN_SWEEP_QUBITS or is_transformed():
            return self._plain(sources)
        differentiated = torch.is_grad_enabled() and any(source.requires_grad for source in sources)
        if self._sweep is None:
            return self._plain(sources) if differentiated else self._piecewise(sources)
        if not differentiated:
            return self._sweep.outputs(sources)
        outputs: Tensor = Measured.apply(*sources, self._sweep, self._plain)  # type: ignore[no-untyped-call]
        return outputs

    def _plain(self, sources: Sources) -> Tensor:
        return self.readout.exact(self.state(sources))

    def _piecewise(self, sources: Sources) -> Tensor:
        """Evaluate a few samples at a time."""
        models, samples = broadcast_shapes(*(source.shape[1:] for source in sources))
        length = max(CHUNK_AMPLITUDES // (2**self.n_qubits * max(models, 1)), 1)
        pieces = []
        for at in range(0, max(samples, 1), length):
            inputs, weights = (x[:, :, at : at + length] if x.shape[2] > 1 else x for x in sources)
            pieces.append(self._plain((inputs, weights)).expand(-1, -1, min(length, samples - at)))
        return torch.cat(pieces, 2)

    def state(self, sources: Sources) -> Tensor:
        """Return the final state, (1 or 2, 2^n, models, samples)."""
        parameters = self._evaluate(sources)
        state = self._start(sources)
        for stretch in self._stretches:
            dimension = state.shape[1]
            if stretch.shared and self.n_qubits <= _MAX_MATRIX_QUBITS and state.shape[3] > dimension:
                basis = torch.eye(dimension, dtype=state.dtype, device=state.device)[None, :, None, :]
                for action in stretch.actions:
                    basis = action(basis, parameters)
                state = _multiply(basis, state)
            else:
                for action in stretch.actions:
                    state = action(state, parameters)
        return state

    def _compile(self, plan: Schedule) -> None:
        self._turn_slots: dict[int, list[tuple[int | None, float, float]]] = {}
        self._phase_slots: dict[int, list[list[int]]] = {}
        self._start = self._starter(plan.start)
        stretches: list[_Stretch] = []
        for position, step in enumerate(plan.steps):
            action, level = self._action(step, first=position == 0 and plan.start is None)
            shared = level != INPUTS
            earlier = stretches.pop().actions if stretches and stretches[-1].shared == shared else ()
            stretches.append(_Stretch(actions=(*earlier, action), shared=shared))
        self._stretches = [self._worth_a_matrix(stretch) for stretch in stretches]
        self._banks = {
            level: _Bank(self._map, self._turn_slots.get(level, []), self._phase_slots.get(level, []), self._like)
            for level in {*self._turn_slots, *self._phase_slots}
        }

    @staticmethod
    def _worth_a_matrix(stretch: _Stretch) -> _Stretch:
        """Leave permutations and product states alone: they are cheaper than a matrix."""
        heavy = any(not isinstance(action, _PermutationAction) for action in stretch.actions)
        product = any(isinstance(action, _TurnAction) and action.product is not None for action in stretch.actions)
        return _Stretch(actions=stretch.actions, shared=stretch.shared and heavy and not product)

    def _evaluate(self, sources: Sources) -> _Parameters:
        parameters = _Parameters()
        parameters.sources = sources
        inputs, weights = sources
        for level, bank in self._banks.items():
            one = (inputs[:, :1, :1], weights[:, :1, :1])  # constants have no batch
            parameters.turns[level], parameters.phases[level] = bank(*(one if level <= CONSTANT else sources))
        return parameters

    def _starter(self, start: Start | None) -> Callable[[Sources], Tensor]:
        dimension = 2**self.n_qubits
        if start is None or start.slot is None:
            vector = np.eye(1, dimension)[0].astype(complex)
            if start is not None and start.constant is not None:
                vector = _embedded(start.constant, start.wires, self.n_qubits)
            parts = [vector.real, vector.imag] if vector.imag.any() else [vector.real]
            constant = torch.as_tensor(np.stack(parts)).to(self._like)[..., None, None]
            return lambda sources: constant
        evaluate = self._map.array(start.slot)
        local = local_states(start.wires, self.n_qubits)
        others = local_states([w for w in range(self.n_qubits) if w not in start.wires], self.n_qubits)
        place = torch.as_tensor(np.where(others == 0, local, 2 ** len(start.wires)), device=self._like.device)

        def prepare(sources: Sources) -> Tensor:
            vector = evaluate(*sources)
            planes = torch.stack([vector.real, vector.imag]) if vector.is_complex() else vector[None]
            return torch.cat([planes, torch.zeros_like(planes[:, :1])], 1).index_select(1, place).to(self._like.dtype)

        return prepare

    def _action(self, step: Step, *, first: bool) -> tuple[_Action, int]:
        """Return what a step does, and what it depends on."""
        if isinstance(step, PhaseStep):
            return self._phase(step)
        if isinstance(step, PermutationStep):
            return _PermutationAction(index=torch.as_tensor(step.index, device=self._like.device)), CONSTANT
        if isinstance(step, TurnStep):
            return self._turn(step, first=first)
        return self._dense(step.gate)

    def _phase(self, step: PhaseStep) -> tuple[_PhaseAction, int]:
        forms = []
        level = CONSTANT
        for part in (CONSTANT, WEIGHTS, INPUTS):
            chosen = [k for k, slot in enumerate(step.slots) if self._map.levels[slot] == part]
            if chosen:
                pieces = self._phase_slots.setdefault(part, [])
                coefficients = self._tensor(np.stack([step.coefficients[k] for k in chosen], 1))
                forms.append((part, len(pieces), coefficients))
                pieces.append([step.slots[k] for k in chosen])
                level = part
        phases = np.exp(1j * step.constant)
        sign = self._column(phases.real) if not forms and np.abs(phases.imag).max() < 1e-15 else None
        constant = self._column(step.constant) if step.constant.any() or not forms else None
        return _PhaseAction(forms=tuple(forms), constant=constant, sign=sign), level

    def _turn(self, step: TurnStep, *, first: bool) -> tuple[_TurnAction, int]:
        turns = []
        for turn in sorted(step.turns, key=lambda turn: turn.wires):
            level = _FIXED if turn.slot is None else self._map.levels[turn.slot]
            columns = self._turn_slots.setdefault(level, [])
            turns.append((turn.wires[0], level, len(columns)))
            columns.append((turn.slot, turn.scale, turn.offset))
        product = None
        if first:
            wires = [wire for wire, _, _ in turns]
            others = local_states([w for w in range(self.n_qubits) if w not in wires], self.n_qubits)
            place = np.where(others == 0, local_states(wires, self.n_qubits), 2 ** len(wires))
            product = torch.as_tensor(place, device=self._like.device)
        return _TurnAction(turns=tuple(turns), product=product), max(level for _, level, _ in turns)

    def _dense(self, gate: Dense) -> tuple[_DenseAction, int]:
        if gate.slot is not None:
            matrix = self._map.array(gate.slot)
            return _DenseAction(wires=gate.wires, n_qubits=self.n_qubits, matrix=matrix), self._map.levels[gate.slot]
        complex_type = torch.complex128 if self._like.dtype == torch.float64 else torch.complex64
        constant = torch.as_tensor(gate.constant).to(device=self._like.device, dtype=complex_type)[..., None, None]
        action = _DenseAction(wires=gate.wires, n_qubits=self.n_qubits, matrix=lambda inputs, weights: constant)
        return action, CONSTANT

    def _tensor(self, values: Array) -> Tensor:
        return torch.as_tensor(values).to(self._like)

    def _column(self, values: Array) -> Tensor:
        return self._tensor(values)[:, None, None]


class _Bank:
    """All scalar parameters of one level, evaluated together: cosines and sines of half the turns, phases."""

    def __init__(
        self,
        parameters: ParameterMap,
        turns: Sequence[tuple[int | None, float, float]],
        phases: Sequence[Sequence[int]],
        like: Tensor,
    ) -> None:
        slots = [slot for slot, _, _ in turns if slot is not None]
        self._fixed = not slots
        self._sizes = [len(slots), *map(len, phases)]
        everything = [*slots, *(slot for piece in phases for slot in piece)]
        self._evaluate = parameters.bank(everything, like.device) if everything else None
        self._scale = torch.tensor([0.5 * scale for _, scale, _ in turns]).to(like)[:, None, None]
        self._offset = torch.tensor([0.5 * offset for _, _, offset in turns], dtype=torch.float64).to(like)[
            :, None, None
        ]
        self._scaled = any(scale != 1.0 for _, scale, _ in turns)
        self._shifted = any(offset != 0.0 for _, _, offset in turns)
        self._count = len(turns)

    def __call__(self, inputs: Tensor, weights: Tensor) -> tuple[Turns, Sequence[Tensor]]:
        """Return the turns' (cosines, sines), and the pieces of the phases."""
        pieces: Sequence[Tensor] = ()
        halves = self._offset
        if self._evaluate is not None:
            rows, *pieces = torch.split(self._evaluate(inputs, weights), self._sizes)
            if not self._fixed:
                halves = rows * self._scale if self._scaled else rows * 0.5
                halves = halves + self._offset if self._shifted else halves
        if self._count == 0:
            return ((), ()), pieces
        return (halves.cos().unbind(0), halves.sin().unbind(0)), pieces


def _embedded(vector: Array, wires: Sequence[int], n_qubits: int) -> Array:
    """Return the state (2^n,) of some wires in `vector` and the others in |0>."""
    others = local_states([wire for wire in range(n_qubits) if wire not in wires], n_qubits)
    result: Array = np.where(others == 0, vector[local_states(wires, n_qubits)], 0.0)
    return result


def _multiply(matrix: Tensor, state: Tensor) -> Tensor:
    """Apply the matrix with these columns (1 or 2, 2^n, models, 2^n) to the state (1 or 2, 2^n, models, samples)."""
    columns = matrix.permute(2, 0, 1, 3)  # (models, parts, 2^n, 2^n)
    block = columns.flatten(1, 2)  # (models, parts * 2^n, 2^n)
    if len(matrix) == 2 and len(state) == 2:
        block = torch.cat([block, torch.cat([-columns[:, 1], columns[:, 0]], 1)], 2)
    elif len(state) == 2:
        product = torch.matmul(columns, state.permute(2, 0, 1, 3))
        return product.permute(1, 2, 0, 3)
    rows = state.permute(2, 0, 1, 3).flatten(1, 2)  # (models, parts * 2^n, samples)
    product = torch.matmul(block, rows)  # (models, parts * 2^n, samples)
    return product.reshape(len(product), -1, state.shape[1], state.shape[3]).permute(1, 2, 0, 3)
