"""PennyLane with JAX: `jit` around everything, `vmap` over models, PennyLane's broadcasting over records.

Broadcasting over records is at least as fast as a second `vmap`, which would compute the same.
"""

import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jax
import numpy as np
import pennylane as qml
import torch
from jax import numpy as jnp
from torch import Tensor

from benchmarks.problems import CLASSES, Classification
from benchmarks.sides import Side
from qfl_sec.circuits import variational_circuit


def gradients(problem: Classification, *, by_record: bool = False) -> Side:
    """Compute losses (...) and gradients (..., parameters) of all models.

    Args:
        problem: Single precision, as JAX computes unless told otherwise.
        by_record: Whether each record's own gradient is asked for, not the batch's; for one model alone.
    """
    function = jax.value_and_grad(_mean_loss(problem.qubits, problem.layers))
    if by_record:
        function = jax.vmap(function, in_axes=(None, 0, 0))
    elif problem.weights.ndim == 2:
        function = jax.vmap(function)
    compiled = jax.jit(function)
    shape = (*problem.weights.shape[:-1], problem.layers, problem.qubits, 3)
    arguments = [
        jnp.asarray(values.numpy()) for values in (problem.weights.reshape(shape), problem.inputs, problem.labels.int())
    ]

    def work() -> Any:
        return jax.block_until_ready(compiled(*arguments))

    def answer() -> tuple[Tensor, Tensor]:
        loss, gradient = (torch.from_numpy(np.array(values)) for values in work())
        return loss, gradient.flatten(loss.ndim)

    return Side(
        name="PennyLane + JAX, jit and vmap",
        version=f"pennylane {version('pennylane')}, jax {version('jax')}",
        work=work,
        answer=answer,
        compiles=True,
    )


def _mean_loss(qubits: int, layers: int) -> Callable[[Any, Any, Any], Any]:
    circuit = variational_circuit(n_qubits=qubits, n_layers=layers, n_classes=CLASSES)
    node = qml.QNode(circuit, qml.device("default.qubit", wires=qubits), interface="jax", diff_method="backprop")

    def loss(weights: Any, inputs: Any, labels: Any) -> Any:
        with warnings.catch_warnings():
            # This runs while JAX traces: PennyLane uses a deprecated name there, and asks for double precision in vain.
            warnings.simplefilter("ignore")
            logits = jnp.stack(node(inputs, weights), -1)
        scores = jax.nn.log_softmax(logits)
        return -jnp.take_along_axis(scores, labels[..., None], -1).mean()

    return loss
