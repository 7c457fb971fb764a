"""The fast states of many pairs against state vectors of four qubits, branch by branch."""

from collections import Counter
from collections.abc import Iterator
from functools import reduce

import numpy as np
import pytest
from numpy.typing import NDArray

from qfl_sec.protocols.bell_pairs import Photons, Qubits, QubitStore

COPIES = 4000
PAULI_X, PAULI_Z = np.array([[0, 1], [1, 0]]), np.diag([1, -1])
HADAMARD = np.array([[1, 1], [1, -1]]) / np.sqrt(2)

Step = tuple[str, tuple[int, ...], tuple[int, ...]]


def on(operators: dict[int, NDArray[np.float64]]) -> NDArray[np.float64]:
    return reduce(np.kron, [operators.get(qubit, np.eye(2)) for qubit in range(4)])


def bell_state(bit: int, phase: int) -> NDArray[np.float64]:
    operation = np.linalg.matrix_power(PAULI_X, bit) @ np.linalg.matrix_power(PAULI_Z, phase)
    return np.kron(operation, np.eye(2)) @ np.array([1, 0, 0, 1]) / np.sqrt(2)


def projectors(step: Step) -> Iterator[tuple[tuple[int, ...], NDArray[np.float64]]]:
    kind, qubits, values = step
    if kind == "measure":
        for outcome in (0, 1):
            column = (HADAMARD if values[0] else np.eye(2))[:, outcome]
            yield (outcome,), on({qubits[0]: np.outer(column, column)})
        return
    for bit in (0, 1):
        for phase in (0, 1):
            parity = on(dict.fromkeys(qubits, PAULI_Z)), on(dict.fromkeys(qubits, PAULI_X))
            halves = [(np.eye(16) + (-1) ** value * one) / 2 for value, one in zip((bit, phase), parity, strict=True)]
            yield (bit, phase), halves[0] @ halves[1]


def exact(state: NDArray[np.float64], steps: list[Step]) -> dict[tuple[int, ...], float]:
    """Joint probabilities of all outcomes, by following every branch."""
    if not steps:
        return {(): float(state @ state)}
    (kind, qubits, values), *rest = steps
    if kind == "apply":
        operator = np.linalg.matrix_power(PAULI_X, values[0]) @ np.linalg.matrix_power(PAULI_Z, values[1])
        return exact(on({qubits[0]: operator}) @ state, rest)
    found: dict[tuple[int, ...], float] = {}
    for outcome, projector in projectors(steps[0]):
        for others, probability in exact(projector @ state, rest).items():
            found[outcome + others] = found.get(outcome + others, 0.0) + probability
    return {outcome: probability for outcome, probability in found.items() if probability > 1e-12}


def drawn_steps(generator: np.random.Generator) -> list[Step]:
    """Some operations and measurements, then a Bell measurement of two qubits and something on the other two."""
    steps: list[Step] = []
    for _ in range(generator.integers(0, 4)):
        qubit = int(generator.integers(4))
        kind = ("apply", "measure")[int(generator.integers(2))]
        steps.append((kind, (qubit,), (int(generator.integers(2)), int(generator.integers(2)))))
    first, second, third, fourth = (int(one) for one in generator.permutation(4))
    steps.append(("bell", (first, second), ()))
    if generator.random() < 0.5:
        return [*steps, ("bell", (third, fourth), ())]
    return [*steps, *(("measure", (qubit,), (int(generator.integers(2)),)) for qubit in (third, fourth))]


def simulated(frames: list[int], steps: list[Step], generator: np.random.Generator) -> Counter[tuple[int, ...]]:
    store = QubitStore()
    qubits = [*store.entangle(COPIES, bit=frames[0], phase=frames[1])]
    qubits += store.entangle(COPIES, bit=frames[2], phase=frames[3])
    outcomes = []
    for kind, places, values in steps:
        full = [np.full(COPIES, value, np.uint8) for value in values]
        if kind == "apply":
            qubits[places[0]].apply(full[0], full[1])
        elif kind == "measure":
            outcomes.append(qubits[places[0]].measure(full[0], generator))
        else:
            outcomes.extend(qubits[places[0]].bell_measure(qubits[places[1]], generator))
    return Counter(map(tuple, np.array(outcomes).T.tolist()))


@pytest.mark.parametrize("seed", range(60))
def test_every_sequence_of_operations_gives_the_state_vectors_probabilities(seed: int) -> None:
    generator = np.random.default_rng(seed)
    frames = [int(one) for one in generator.integers(0, 2, 4)]
    steps = drawn_steps(generator)
    expected = exact(np.kron(bell_state(*frames[:2]), bell_state(*frames[2:])), steps)
    found = simulated(frames, steps, generator)
    assert set(found) <= set(expected)
    for outcome, probability in expected.items():
        sigma = np.sqrt(COPIES * probability * (1 - probability))
        assert abs(found[outcome] - COPIES * probability) <= 5 * sigma


def test_a_photons_outcome_and_its_partners_tell_what_was_encoded() -> None:
    store, generator = QubitStore(), np.random.default_rng(4)
    ends = [store.entangle(50, bit=0, phase=0) for _ in range(2)]
    mine, other = Photons(ends[0][0], ends[1][0]), Photons(ends[0][1], ends[1][1])
    operation = generator.integers(0, 2, (2, 50), np.uint8)
    mine.polarization.apply(operation[0], operation[1])
    assert np.array_equal(mine.bell_measure(generator) ^ other.bell_measure(generator), operation)


def test_replaced_and_chosen_qubits_are_the_right_ones() -> None:
    store, generator = QubitStore(), np.random.default_rng(0)
    zeros = store.prepare(np.zeros(4, np.uint8), np.zeros(4, np.uint8))
    ones = store.prepare(np.zeros(2, np.uint8), np.ones(2, np.uint8))
    mixed: Qubits = zeros.replaced(np.array([1, 3]), ones)
    assert mixed.measure(np.zeros(4, np.uint8), generator).tolist() == [0, 1, 0, 1]
    assert mixed[np.array([3, 0])].measure(np.zeros(2, np.uint8), generator).tolist() == [1, 0]


def test_draws_do_not_depend_on_the_state() -> None:
    generators = [np.random.default_rng(7) for _ in range(2)]
    store = QubitStore()
    sent, _ = store.entangle(10, bit=1, phase=1)
    fixed = store.prepare(np.zeros(10, np.uint8), np.ones(10, np.uint8))
    basis = np.zeros(10, np.uint8)
    sent.measure(basis, generators[0])
    fixed.measure(basis, generators[1])
    assert generators[0].random() == generators[1].random()
