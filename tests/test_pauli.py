"""The Pauli program against the statevector program and PennyLane's pure and mixed simulators."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pennylane as qml
import pytest
import torch
from torch import Tensor

from qfl_sec.checking import InputError
from qfl_sec.circuits import variational_circuit
from qfl_sec.noise import GateNoise, NoiseModel
from qfl_sec.pauli import PauliProgram
from qfl_sec.pauli.plan import NotEncodeOnceError
from qfl_sec.statevector import compile_circuit

DOUBLE = torch.float64
Circuit = Callable[[Any, Any], Any]


def classifier(n_qubits: int, n_layers: int, **options: Any) -> Circuit:
    return variational_circuit(n_qubits=n_qubits, n_layers=n_layers, n_classes=min(2, n_qubits), **options)


def rich(inputs: Any, weights: Any) -> Any:
    """Every kind of step: re-used weights, two-qubit rotations, non-Clifford constants, sums of words."""
    qml.Hadamard(0)
    qml.RX(inputs[0], wires=0)
    qml.RY(inputs[1] * inputs[0], wires=1)
    qml.RZ(torch.sin(inputs[1]), wires=1)
    qml.PhaseShift(inputs[2], wires=2)
    qml.RX(0.3, wires=2)
    qml.T(wires=0)
    qml.IsingZZ(weights[0], wires=[0, 2])
    qml.CRX(weights[1], wires=[1, 2])
    qml.CNOT(wires=[2, 0])
    qml.Rot(weights[2], weights[3] ** 2, weights[2] + weights[0], wires=1)
    qml.SWAP(wires=[0, 1])
    qml.ctrl(qml.S(1), control=0)
    qml.Toffoli(wires=[0, 1, 2])
    qml.RX(weights[4], wires=2)
    qml.RY(weights[4], wires=2)
    qml.RZ(weights[5], wires=2)
    qml.RX(weights[5], wires=2)
    qml.CZ(wires=[0, 2])
    qml.ISWAP(wires=[1, 2])
    qml.MultiRZ(weights[1], wires=[0, 1, 2])
    return [
        qml.expval(0.5 * qml.Z(0) @ qml.X(2) - 1.5 * qml.Y(1) + 2.0 * qml.I(0)),
        qml.expval(qml.Y(0) @ qml.Y(1) @ qml.Z(2)),
        qml.probs(wires=[2, 0]),
    ]


def computed_matrix(inputs: Any, weights: Any) -> Any:
    """A gate whose matrix is computed from the weights."""
    qml.RY(inputs[0], wires=0)
    qml.RX(inputs[1], wires=1)
    qml.ctrl(qml.U3(weights[0], weights[1], weights[2], wires=1), control=0)
    qml.RY(weights[1], wires=0)
    return [qml.expval(qml.Z(0)), qml.expval(qml.X(1))]


def entangling_encoding(inputs: Any, weights: Any) -> Any:
    qml.RY(inputs[0], wires=0)
    qml.CNOT(wires=[0, 1])
    qml.IsingXX(inputs[1], wires=[1, 2])
    qml.RZ(inputs[2], wires=2)
    qml.Rot(weights[0], weights[1], weights[2], wires=2)
    qml.CNOT(wires=[2, 1])
    return [qml.expval(qml.Z(1)), qml.expval(qml.X(2))]


def amplitudes(inputs: Any, weights: Any) -> Any:
    qml.AmplitudeEmbedding(inputs, wires=[0, 2], normalize=True)
    qml.RY(weights[0], wires=1)
    qml.CNOT(wires=[0, 1])
    qml.Rot(weights[0], weights[1], weights[2], wires=2)
    return [qml.expval(qml.Z(1)), qml.expval(qml.Y(2))]


CASES: dict[str, tuple[Circuit, int, int, int]] = {
    "one qubit": (classifier(1, 2), 1, 1, 6),
    "two qubits": (classifier(2, 3), 2, 2, 18),
    "three qubits": (classifier(3, 2, encoding="angle"), 3, 3, 18),
    "four qubits": (classifier(4, 3), 4, 4, 36),
    "five qubits": (classifier(5, 1, entangler="linear"), 5, 5, 15),
    "rich": (rich, 3, 3, 6),
    "computed matrix": (computed_matrix, 2, 2, 3),
    "entangling encoding": (entangling_encoding, 3, 3, 3),
    "amplitudes": (amplitudes, 3, 4, 3),
}


def shaped(name: str) -> tuple[Circuit, int, int, tuple[int, ...]]:
    circuit, n_qubits, n_features, count = CASES[name]
    shape = (count // (3 * n_qubits), n_qubits, 3) if "qubit" in name else (count,)
    return circuit, n_qubits, n_features, shape


def program_and_oracle(name: str) -> tuple[PauliProgram, Callable[[Tensor, Tensor], Tensor], Tensor, Tensor]:
    """Return both programs, records (7, features) and the weights of five models (5, 1, ...)."""
    circuit, n_qubits, n_features, shape = shaped(name)
    generator = torch.Generator().manual_seed(len(name))
    inputs = torch.randn(7, n_features, generator=generator, dtype=DOUBLE)
    weights = torch.randn(5, 1, *shape, generator=generator, dtype=DOUBLE)
    program = PauliProgram(circuit, n_features=n_features, weight_shape=shape, n_qubits=n_qubits)
    return program, compile_circuit(circuit, n_qubits=n_qubits, weight_shape=shape), inputs, weights


def close(value: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_statevector_program(name: str) -> None:
    program, oracle, inputs, weights = program_and_oracle(name)
    expected = oracle(inputs, weights)
    assert expected.abs().max() > 0.1
    close(program(inputs, weights), expected)
    linear = torch.einsum("mop,sp->mso", program.coefficients(weights[:, 0]), program.words(inputs))
    close(linear, expected)


@pytest.mark.parametrize("name", CASES)
def test_gradients_agree_with_the_statevector_programs(name: str) -> None:
    program, oracle, inputs, weights = program_and_oracle(name)
    each = weights.expand(5, 7, *weights.shape[2:]).clone().requires_grad_()
    outputs = oracle(inputs, each)
    cotangents = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    (expected,) = torch.autograd.grad(outputs, each, cotangents)
    values, pullback = program.example_pullback(inputs, weights)
    close(values, outputs.detach())
    close(pullback(cotangents), expected)
    values, pullback = program.with_pullback(inputs, weights)
    close(values, outputs.detach())
    close(pullback(cotangents), expected.sum(1, keepdim=True))


@pytest.mark.parametrize("name", CASES)
def test_chi_is_the_coefficients_derivative(name: str) -> None:
    program, _, _, weights = program_and_oracle(name)
    one = weights[0, 0]
    expected = torch.autograd.functional.jacobian(program.coefficients, one)
    close(program.chi(one), expected.flatten(2))
    close(program.chi(weights[:, 0])[0], program.chi(one))


@pytest.mark.parametrize("name", CASES)
def test_word_slopes_are_the_words_derivative(name: str) -> None:
    program, _, inputs, _ = program_and_oracle(name)
    expected = torch.stack([torch.autograd.functional.jacobian(program.words, record).mT for record in inputs])
    close(program.word_slopes(inputs), expected)
    close(program.words(inputs)[:, 0], torch.ones(len(inputs), dtype=DOUBLE))


def test_gradients_can_be_differentiated_again() -> None:
    program, oracle, inputs, weights = program_and_oracle("two qubits")
    one = weights[0, 0]

    def gradient(x: Tensor) -> Tensor:
        outputs, pullback = program.example_pullback(x, one)
        return pullback(torch.softmax(outputs, -1))

    def by_autograd(x: Tensor) -> Tensor:
        each = one.expand(len(x), *one.shape).clone().requires_grad_()
        outputs = oracle(x, each)
        gradients: Tensor = torch.autograd.grad(outputs, each, torch.softmax(outputs, -1), create_graph=True)[0]
        return gradients

    expected = torch.autograd.functional.jacobian(by_autograd, inputs)
    close(torch.func.jacfwd(gradient)(inputs), expected)
    close(torch.autograd.functional.jacobian(gradient, inputs), expected)


@pytest.mark.parametrize("name", ["four qubits", "rich", "amplitudes"])
def test_single_precision_agrees_to_its_own(name: str) -> None:
    program, oracle, inputs, weights = program_and_oracle(name)
    values = program(inputs.float(), weights.float())
    assert values.dtype == torch.float32
    torch.testing.assert_close(values.double(), oracle(inputs, weights), rtol=0, atol=2e-5)


def test_models_with_their_own_records_and_empty_batches() -> None:
    program, oracle, _, weights = program_and_oracle("three qubits")
    own = torch.randn(5, 2, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(2))
    close(program(own, weights), oracle(own, weights))
    outputs, pullback = program.with_pullback(own[:, :0], weights)
    assert outputs.shape == (5, 0, 2)
    assert not pullback(outputs).any()


def test_rank_is_that_of_the_matrix_of_gradients() -> None:
    """Gradients of many random records, with random weights of the outputs, span exactly the row space of chi."""
    program, _, _, weights = program_and_oracle("three qubits")
    one = weights[0, 0]
    generator = torch.Generator().manual_seed(3)
    # States that are no product states reach every word, as chi's rank supposes.
    words = torch.randn(400, 64, dtype=DOUBLE, generator=generator)
    cotangents = torch.randn(400, 2, dtype=DOUBLE, generator=generator)
    gradients = torch.einsum("so,opk,sp->sk", cotangents, program.chi(one), words)
    assert int(program.rank(one)) == int(torch.linalg.matrix_rank(gradients)) == 13
    assert program.rank(weights).shape == (5, 1)


def entangling_weights(inputs: Any, weights: Any) -> Any:
    """An encoding that entangles, with weights of a classifier's shape."""
    return entangling_encoding(inputs, weights[..., 0, 1, :])


NOISE = NoiseModel(
    one_qubit=GateNoise(depolarizing=(0.02, 0.05, 0.0), dephasing=0.03, bit_flip=(0.0, 0.04, 0.01)),
    two_qubit=GateNoise(depolarizing=0.06, amplitude_damping=(0.1, 0.02, 0.3)),
    gates={"RZ": GateNoise(), "CNOT": GateNoise(amplitude_damping=0.2, bit_flip=0.01)},
)
OTHER = NoiseModel(one_qubit=GateNoise(amplitude_damping=0.25), readout_1_as_0=(0.1, 0.0, 0.2), readout_0_as_1=0.03)


def noisy_probabilities(circuit: Circuit, noise: NoiseModel, n_qubits: int, inputs: Tensor, weights: Tensor) -> Any:
    """Return the basis states' probabilities in PennyLane's density matrix, channels put in by hand, then misread."""
    script = qml.tape.make_qscript(circuit)(inputs, weights)
    operations: list[Any] = []
    for operation in script.operations:
        operations.append(operation)
        for wire in operation.wires:
            kinds = noise.gates.get(operation.name, noise.one_qubit if len(operation.wires) == 1 else noise.two_qubit)
            for channel, strength in (
                (qml.DepolarizingChannel, kinds.depolarizing),
                (qml.PhaseFlip, kinds.dephasing),
                (qml.BitFlip, kinds.bit_flip),
                (qml.AmplitudeDamping, kinds.amplitude_damping),
            ):
                value = strength[wire] if isinstance(strength, tuple) else strength
                operations += [channel(value, wires=wire)] if value else []  # PennyLane's are off by 1e-14
    measured = [qml.probs(wires=range(n_qubits))]
    tape = qml.tape.QuantumScript(operations, measured)
    (result,) = qml.execute([tape], qml.device("default.mixed", wires=n_qubits))
    probabilities = np.asarray(result).reshape([2] * n_qubits)
    for wire in range(n_qubits):
        up, down = (
            strength[wire] if isinstance(strength, tuple) else strength
            for strength in (noise.readout_0_as_1, noise.readout_1_as_0)
        )
        confusion = np.array([[1 - up, down], [up, 1 - down]])
        probabilities = np.moveaxis(np.tensordot(confusion, probabilities, axes=(1, wire)), 0, wire)
    return probabilities.reshape(-1)


def all_probabilities(circuit: Circuit, n_qubits: int) -> Circuit:
    def measured(inputs: Any, weights: Any) -> Any:
        script = qml.tape.make_qscript(circuit)(inputs, weights)
        for operation in script.operations:
            qml.apply(operation)
        return qml.probs(wires=range(n_qubits))

    return measured


@pytest.mark.parametrize("noise", [NOISE, OTHER], ids=["gates", "damping and readout"])
@pytest.mark.parametrize("name", ["three qubits", "entangling encoding", "two qubits"])
def test_noise_agrees_with_the_density_matrix(name: str, noise: NoiseModel) -> None:
    circuit, n_qubits, n_features, shape = shaped(name)
    measured = all_probabilities(circuit, n_qubits)
    program = PauliProgram(measured, n_features=n_features, weight_shape=shape, n_qubits=n_qubits, noise=noise)
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(3, n_features, generator=generator, dtype=DOUBLE)
    weights = torch.randn(shape, generator=generator, dtype=DOUBLE)
    expected = [noisy_probabilities(circuit, noise, n_qubits, record, weights) for record in inputs]
    close(program(inputs, weights), torch.as_tensor(np.stack(expected)))
    noiseless = PauliProgram(measured, n_features=n_features, weight_shape=shape, n_qubits=n_qubits)
    assert (noiseless(inputs, weights) - program(inputs, weights)).abs().max() > 0.01


@pytest.mark.parametrize("circuit", [classifier(3, 2, encoding="angle"), classifier(3, 2), entangling_weights])
def test_each_model_has_its_own_device(circuit: Circuit) -> None:
    n_qubits, n_features, shape = 3, 3, (2, 3, 3)
    devices = (NOISE, OTHER, NoiseModel())
    generator = torch.Generator().manual_seed(6)
    inputs = torch.randn(4, n_features, generator=generator, dtype=DOUBLE)
    weights = torch.randn(3, 1, *shape, generator=generator, dtype=DOUBLE)
    build: dict[str, Any] = {"n_features": n_features, "weight_shape": shape, "n_qubits": n_qubits}
    together = PauliProgram(circuit, noise=devices, **build)
    cotangents = torch.randn(3, 4, 2, generator=generator, dtype=DOUBLE)
    outputs, pullback = together.with_pullback(inputs, weights)
    gradients = pullback(cotangents)
    for model, device in enumerate(devices):
        alone = PauliProgram(circuit, noise=device, **build)
        expected, back = alone.with_pullback(inputs, weights[model, 0])
        close(outputs[model], expected)
        close(gradients[model, 0], back(cotangents[model]))
        close(together.chi(weights[:, 0])[model], alone.chi(weights[model, 0]))


def test_noise_gradients_are_exact() -> None:
    circuit, n_qubits, n_features, shape = shaped("entangling encoding")
    program = PauliProgram(circuit, n_features=n_features, weight_shape=shape, n_qubits=n_qubits, noise=NOISE)
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randn(3, n_features, generator=generator, dtype=DOUBLE)
    weights = torch.randn(shape, generator=generator, dtype=DOUBLE)
    _, pullback = program.example_pullback(inputs, weights)
    cotangents = torch.ones(3, 2, dtype=DOUBLE)
    step = 1e-5
    for k in range(shape[0]):
        shift = torch.zeros(shape, dtype=DOUBLE)
        shift[k] = step
        numerical = (program(inputs, weights + shift) - program(inputs, weights - shift)).sum(-1) / (2 * step)
        torch.testing.assert_close(pullback(cotangents)[:, k], numerical, rtol=0, atol=1e-9)


def test_a_fully_depolarized_output_says_nothing() -> None:
    circuit, n_qubits, n_features, shape = shaped("two qubits")
    noise = NoiseModel(two_qubit=GateNoise(depolarizing=0.75))
    program = PauliProgram(circuit, n_features=n_features, weight_shape=shape, n_qubits=n_qubits, noise=noise)
    inputs, weights = torch.randn(3, 2, dtype=DOUBLE), torch.randn(shape, dtype=DOUBLE)
    close(program(inputs, weights), torch.zeros(3, 2, dtype=DOUBLE))


def reuploading(inputs: Any, weights: Any) -> Any:
    qml.RY(inputs[0], wires=0)
    qml.RX(weights[0], wires=0)
    qml.RY(inputs[0], wires=0)
    return qml.expval(qml.Z(0))


def weighted_encoding(inputs: Any, weights: Any) -> Any:
    qml.RY(inputs[0] * weights[0], wires=0)
    return qml.expval(qml.Z(0))


@pytest.mark.parametrize("circuit", [reuploading, weighted_encoding])
def test_circuits_that_do_not_encode_once_are_refused(circuit: Circuit) -> None:
    program = PauliProgram(circuit, n_features=1, weight_shape=(1,))
    with pytest.raises(NotEncodeOnceError, match="statevector program runs this circuit"):
        program(torch.zeros(1), torch.zeros(1))


def refused(build: Callable[[], PauliProgram], inputs: Sequence[int], weights: Sequence[int]) -> str:
    with pytest.raises(InputError) as caught:
        build()(torch.zeros(*inputs), torch.zeros(*weights))
    return str(caught.value)


def test_bad_arguments_are_refused() -> None:
    nine = classifier(9, 1)
    assert "n_qubits=9 <= 8" in refused(
        lambda: PauliProgram(nine, n_features=9, weight_shape=(1, 9, 3)), (9,), (1, 9, 3)
    )
    two = classifier(2, 1)
    noise = NoiseModel(one_qubit=GateNoise(bit_flip=(0.1,)))
    message = refused(lambda: PauliProgram(two, n_features=2, weight_shape=(1, 2, 3), noise=noise), (2,), (1, 2, 3))
    assert "bit_flip=(0.1,)" in message and "qubit 1" in message
    for value in (-0.1, 1.5, float("nan"), True, "0.1"):
        with pytest.raises(ValueError, match="between 0 and 1"):
            GateNoise(dephasing=value)  # type: ignore[arg-type]


def test_weights_that_no_observable_notices_are_left_out() -> None:
    """Seen by structure alone, and exactly those whose derivative vanishes for any weights."""
    circuit, n_qubits, n_features, shape = shaped("four qubits")
    program = PauliProgram(circuit, n_features=n_features, weight_shape=shape, n_qubits=n_qubits)
    weights = torch.randn(3, *shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(8))
    live = program.kernel(weights).processing.live
    moved = torch.autograd.functional.jacobian(lambda w: program.coefficients(w).sum(0), weights)
    seen = (moved.abs().flatten(3).sum((0, 1)) > 1e-9).any(0)
    assert live.tolist() == seen.nonzero().flatten().tolist()
    assert len(live) == 27
