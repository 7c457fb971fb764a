"""Our side of the work: all calls to the kernel that the benchmarks make."""

from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import pennylane as qml
import torch
from torch import Tensor

from benchmarks.problems import CLASSES, Classification, Delegation, Difference, Hashing, KeyExchange
from benchmarks.sides import Side
from qfl_sec.contracts import Architecture
from qfl_sec.gradients import batch_gradients as _batch_gradients
from qfl_sec.gradients import compiled_batch_gradients as _compiled_batch_gradients
from qfl_sec.gradients import per_example_gradients as _per_example_gradients
from qfl_sec.models import VariationalClassifier, architecture
from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols.angle_grid import AngleGrid
from qfl_sec.protocols.bb84 import BB84
from qfl_sec.protocols.blind_parties import Server
from qfl_sec.protocols.blind_semantic import pattern_probabilities
from qfl_sec.protocols.blind_transcript import run_rounds
from qfl_sec.protocols.brick_ansatz import encoded_layers
from qfl_sec.protocols.cascade import reconcile
from qfl_sec.protocols.measurement_patterns import PatternCompiler
from qfl_sec.protocols.toeplitz import hash_bits
from qfl_sec.randomness import Streams
from qfl_sec.statevector import compile_circuit


def model(*, qubits: int, layers: int, dtype: torch.dtype) -> Architecture:
    """Return the Chen-Yoo classifier as a function of its weights."""
    spec = VariationalClassifier(encoding="arctan", entangler="ring", qubits=qubits, layers=layers)
    module = spec.build(qubits, CLASSES, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return architecture(module, qubits, CLASSES)


def batch_gradients(problem: Classification) -> Side:
    """Compute each model's mean loss (models,) and its gradient (models, parameters)."""
    arch = model(qubits=problem.qubits, layers=problem.layers, dtype=problem.weights.dtype)
    step = _over_models(partial(_batch_gradients, arch))
    return side("eager", lambda: step(problem.weights, problem.inputs, problem.labels))


def compiled_batch_gradients(problem: Classification) -> Side:
    """Compute the same, compiled by torch for these shapes on its first call."""
    arch = model(qubits=problem.qubits, layers=problem.layers, dtype=problem.weights.dtype)
    step = _over_models(_compiled_batch_gradients(arch))
    return side("torch.compile", lambda: step(problem.weights, problem.inputs, problem.labels), compiles=True)


def per_example_gradients(problem: Classification) -> Side:
    """Compute each record's own gradient, (batch, parameters)."""
    arch = model(qubits=problem.qubits, layers=problem.layers, dtype=problem.weights.dtype)
    return side("eager", lambda: (_per_example_gradients(arch, problem.weights, problem.inputs, problem.labels),))


def toeplitz(problem: Hashing) -> Side:
    """Compute the hash (length,)."""
    return side("blocks", lambda: (torch.from_numpy(hash_bits(problem.bits, problem.seed, problem.length)),))


def cascade(problem: Difference) -> Side:
    """Compute Bob's corrected string (n,)."""

    def work() -> tuple[Tensor]:
        rng = np.random.default_rng(0)
        return (
            torch.from_numpy(reconcile(problem.alice, problem.bob, error_rate=problem.error_rate, rng=rng).corrected),
        )

    return side("optimised schedule", work)


def bb84(problem: KeyExchange) -> Side:
    """Compute the share of pulses that are sifted and their error rate, (2,), from every pulse and message."""

    def work() -> tuple[Tensor]:
        (session,) = BB84(pulses=problem.pulses, adversary="intercept_resend").exchange(Streams(0))
        compared = session.alice.compare(session.bob.disclose())
        tested = sum(compared.counts)
        sifted = int(session.alice.key_counts.sum()) + tested
        return (torch.tensor([sifted / problem.pulses, sum(compared.errors) / tested], dtype=torch.float64),)

    return side("every pulse and message", work)


def bb84_counts(problem: KeyExchange) -> Side:
    """Compute the same from counts alone, the law of a pulse included."""

    def work() -> tuple[Tensor]:
        tally = BB84(pulses=problem.pulses, adversary="intercept_resend").sample_counts(Streams(0))
        return (torch.tensor([tally.sifted / problem.pulses, tally.error_rate], dtype=torch.float64),)

    return side("counts", work)


def blind_rounds(problem: Delegation, *, shots: int, checked: int, real_angles: bool = False) -> Side:
    """Run shots of the first sample's pattern, every message between an honest client and server.

    Args:
        problem: The circuit.
        shots: Of the work.
        checked: Shots of the answer, the frequencies of the results, (2^qubits,).
        real_angles: Whether angles are real numbers, not multiples of the grid's step.
    """
    grid = AngleGrid(bits=0 if real_angles else problem.angle_bits)
    pattern = pattern_compiler(problem).pattern(problem.inputs[0], problem.weights)
    graph, angles = pattern.graph, grid.rounded(pattern.angles)

    def work(rounds: int = shots) -> Bits:
        server = Server(graph, grid, Streams(1))
        return run_rounds(graph, angles, grid=grid, server=server, streams=Streams(2), rounds=rounds).output

    def answer() -> tuple[Tensor]:
        places = 1 << np.arange(problem.qubits)[::-1]
        return (torch.from_numpy(np.bincount(places @ work(checked), minlength=2**problem.qubits) / checked),)

    return side("every message" + (", real angles" if real_angles else ""), work, answer=answer)


def blind_semantic(problem: Delegation) -> Side:
    """Compute the exact probabilities of a blind run's results, (samples, 2^qubits), the pattern's angles included."""
    compiler = pattern_compiler(problem)

    def work() -> tuple[Tensor]:
        return (torch.from_numpy(pattern_probabilities(compiler.pattern(problem.inputs, problem.weights)).T),)

    return side("pattern", work)


def statevector_program(problem: Delegation) -> Side:
    """Compute the same without a pattern."""
    program = compile_circuit(_delegated, weight_shape=problem.weights.shape)
    inputs, weights = torch.from_numpy(problem.inputs), torch.from_numpy(problem.weights)
    return side("statevector program", lambda: (program(inputs, weights),))


def pattern_compiler(problem: Delegation) -> PatternCompiler:
    """Return the compiler of the circuit's patterns."""
    return PatternCompiler(_delegated, n_features=problem.inputs.shape[1], weight_shape=problem.weights.shape)


def _delegated(inputs: Any, weights: Any) -> Any:
    """Apply `encoded_layers`, and return the probabilities of all results."""
    for operation in qml.tape.make_qscript(encoded_layers)(inputs, weights).operations:
        qml.apply(operation)
    return qml.probs(wires=range(qml.math.shape(weights)[-2]))


def side(how: str, work: Callable[[], Any], **options: Any) -> Side:
    """Return work of ours as a side of a comparison; for the options see `Side`."""
    return Side(name=f"qfl-sec, {how}", version=f"qfl-sec {version('qfl-sec')}", work=work, **options)


def _over_models(
    gradients: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]],
) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the step for one model (parameters,) or many (models, parameters)."""

    def step(weights: Tensor, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if weights.ndim == 1:
            loss, gradient = step(weights.unsqueeze(0), inputs.unsqueeze(0), labels.unsqueeze(0))
            return loss.squeeze(0), gradient.squeeze(0)
        return gradients(weights, inputs, labels)

    return step
