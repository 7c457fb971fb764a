"""Our side of the work: all calls to the kernel that the benchmarks make."""

from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.problems import CLASSES, Classification, Difference, Hashing, KeyExchange
from benchmarks.sides import Side
from qfl_sec.contracts import Architecture
from qfl_sec.gradients import batch_gradients as _batch_gradients
from qfl_sec.gradients import compiled_batch_gradients as _compiled_batch_gradients
from qfl_sec.gradients import per_example_gradients as _per_example_gradients
from qfl_sec.models import VariationalClassifier, architecture
from qfl_sec.protocols.bb84 import BB84
from qfl_sec.protocols.cascade import reconcile
from qfl_sec.protocols.toeplitz import hash_bits
from qfl_sec.randomness import Streams


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
