"""From a recorded circuit to the steps of an adjoint sweep."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, fx

from qfl_sec.fusion import complex_type, group_sizes
from qfl_sec.gates import Array, Dense, Gate, Permutation, Phase, Start, Turn
from qfl_sec.steps import local_states, schedule
from qfl_sec.sweep_steps import DiagonalStep, LayerStep, MatrixStep, ShuffleStep, SweepStep
from qfl_sec.tape import Recording

_Block = tuple[type, list[Gate]]
"""Gates that are carried out together; those on one qubit, of whatever kind, go by `Turn`."""


def can_sweep(gates: Sequence[Gate]) -> bool:
    """Return whether every gate can be undone: matrices that are not unitary, or depend on parameters, may not."""
    return all(
        isinstance(gate, Start | Phase | Turn | Permutation)
        or (isinstance(gate, Dense) and gate.constant is not None and _is_unitary(gate.constant))
        for gate in gates
    )


class SweepPlan:
    """A circuit as steps that can be undone.

    Args:
        recording: A circuit that `can_sweep`.

    Attributes:
        n_qubits: Number of qubits.
        product: Whether the circuit begins on |0...0>; its first one-qubit gates then need no step.
        slots: The gates' scalar parameters, in the order of the values.
        columns: The place of each slot in that order.
        layers: The one-qubit gates of each layer, by wire.
    """

    def __init__(self, recording: Recording) -> None:
        self.n_qubits = recording.n_qubits
        gates = list(recording.gates)
        start = gates[0] if gates and isinstance(gates[0], Start) else None
        gates = gates[1:] if start else gates
        self.product = start is None
        self.slots = [slot for gate in gates for slot in _slots(gate)]
        self.columns = {slot: column for column, slot in enumerate(self.slots)}
        self._blocks = _blocks(gates, [(Turn, [])] if self.product else [], self.n_qubits)
        self._permutation = np.arange(2**self.n_qubits)
        while self._blocks and self._blocks[-1][0] is Permutation:
            self._permutation = _index(self._blocks.pop()[1], self.n_qubits)[self._permutation]
        self.layers = [_by_wire(block) for kind, block in self._blocks if kind is Turn]
        self._start_slots = {slot for gate in self._blocks[0][1] for slot in _slots(gate)} if self.product else set()
        if start is not None and start.slot is not None:
            self._start_slots.add(start.slot)
        self._dependence = _dependence(recording.graph)

    def depending(self, wanted: tuple[bool, bool]) -> tuple[frozenset[int], bool]:
        """Return the slots that depend on the wanted ones of inputs and weights, and whether the first state does."""
        chosen = frozenset(
            slot
            for slot, depends in enumerate(self._dependence)
            if any(want and depend for want, depend in zip(wanted, depends, strict=True))
        )
        return chosen, bool(chosen & self._start_slots)

    def alignment(self, permutation: Array, like: Tensor) -> Tensor | None:
        """Return where the amplitudes of a state that is to be read through `permutation` stand; None if in order."""
        index = self._permutation[np.argsort(permutation)]
        ordered = bool((index == np.arange(len(index))).all())
        return None if ordered else torch.as_tensor(index, device=like.device)

    def steps(self, like: Tensor) -> list[SweepStep]:
        """Return the steps, product state excluded."""
        layer = 0
        steps: list[SweepStep] = []
        for position, (kind, gates) in enumerate(self._blocks):
            if position > 0 or not self.product:
                steps.append(self._layer(gates, layer) if kind is Turn else self._step(gates, like))
            layer += kind is Turn
        return steps

    def _layer(self, gates: list[Gate], number: int) -> LayerStep:
        at = 0
        groups: list[frozenset[int] | None] = []
        for size in group_sizes(self.n_qubits):
            members = [gate for gate in gates if at <= gate.wires[0] < at + size]
            groups.append(frozenset(slot for gate in members for slot in _slots(gate)) if members else None)
            at += size
        return LayerStep(number=number, groups=tuple(groups))

    def _step(self, gates: list[Gate], like: Tensor) -> SweepStep:
        if isinstance(gates[0], Permutation):
            index = _index(gates, self.n_qubits)
            return ShuffleStep(index=_tensor(index, like), inverse=_tensor(np.argsort(index), like))
        if isinstance(gates[0], Dense):
            return self._matrix(gates[0], like)
        return self._diagonal([gate for gate in gates if isinstance(gate, Phase)], like)

    def _diagonal(self, gates: list[Phase], like: Tensor) -> DiagonalStep:
        places = [local_states(gate.wires, self.n_qubits) for gate in gates]
        rows = [row[place] for gate, place in zip(gates, places, strict=True) for row in gate.coefficients]
        constant = sum(gate.constant[place] for gate, place in zip(gates, places, strict=True))
        slots = [slot for gate in gates for slot in gate.slots]
        return DiagonalStep(
            slots=frozenset(slots),
            columns=_tensor(np.array([self.columns[slot] for slot in slots], dtype=int), like),
            coefficients=_tensor(np.array(rows).reshape(len(slots), 2**self.n_qubits), like).to(like),
            constant=_tensor(np.asarray(constant), like).to(like),
        )

    def _matrix(self, gate: Dense, like: Tensor) -> MatrixStep:
        others = [wire for wire in range(self.n_qubits) if wire not in gate.wires]
        place = local_states([*gate.wires, *others], self.n_qubits)
        matrix = _tensor(np.asarray(gate.constant), like).to(complex_type(like))
        return MatrixStep(matrix=matrix, front=_tensor(np.argsort(place), like), back=_tensor(place, like))


def _is_unitary(matrix: Array) -> bool:
    return bool(np.abs(matrix @ matrix.conj().T - np.eye(len(matrix))).max() < 1e-12)


def _blocks(gates: Sequence[Gate], blocks: list[_Block], n_qubits: int) -> list[_Block]:
    """Put each gate into the first block that it can join, or else into a new one."""
    last = [0] * n_qubits
    for gate in gates:
        kind = Turn if len(gate.wires) == 1 else type(gate)
        after = max(last[wire] for wire in gate.wires)
        joined = (i for i in range(after, len(blocks)) if blocks[i][0] is kind and kind is not Dense)
        place = next(joined, len(blocks))
        if place == len(blocks):
            blocks.append((kind, []))
        blocks[place][1].append(gate)
        for wire in gate.wires:
            last[wire] = place
    return blocks


def _by_wire(gates: Sequence[Gate]) -> dict[int, list[Gate]]:
    wires: dict[int, list[Gate]] = {}
    for gate in gates:
        wires.setdefault(gate.wires[0], []).append(gate)
    return wires


def _index(gates: Sequence[Gate], n_qubits: int) -> Array:
    """Return which amplitude each one becomes that of, after several permutations."""
    return schedule(gates, n_qubits, phases_are_seen=True).permutation


def _slots(gate: Gate) -> tuple[int, ...]:
    """Return the slots of a gate's scalar parameters."""
    if isinstance(gate, Phase):
        return gate.slots
    return (gate.slot,) if isinstance(gate, Turn) and gate.slot is not None else ()


def _dependence(graph: fx.GraphModule) -> list[tuple[bool, bool]]:
    """Return whether each recorded parameter depends on the inputs, and on the weights."""
    inputs, weights = (node for node in graph.graph.nodes if node.op == "placeholder")
    depends = {inputs: (True, False), weights: (False, True)}
    for node in graph.graph.nodes:
        if node not in depends:
            sources = [depends[source] for source in node.all_input_nodes]
            depends[node] = (any(x for x, _ in sources), any(w for _, w in sources))
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    return [depends[node] for node in output.args[0]]


def _tensor(values: Array, like: Tensor) -> Tensor:
    return torch.as_tensor(values, device=like.device)
