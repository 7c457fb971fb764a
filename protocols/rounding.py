"""What a grid of angles does to what circuits return: rounded gate by gate, and as a measurement pattern rounds.

A pattern measures rotations about Z that meet on a qubit as one angle, and rounds their sum once; elsewhere both agree.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from qfl_sec.protocols.angle_grid import AngleGrid
from qfl_sec.protocols.blind_semantic import pattern_probabilities
from qfl_sec.protocols.measurement_patterns import MeasurementPattern, PatternCompiler
from qfl_sec.rounded_circuit import compiled_on_grid
from qfl_sec.statevector import CompiledCircuit

Array = NDArray[np.float64]


def pattern_values(pattern: MeasurementPattern) -> Array:
    """Return what a pattern's circuit returns, exactly, (samples, numbers).

    Raises:
        InputError: If its state does not fit in memory.
    """
    rows = pattern.graph.rows
    results = (np.arange(1 << rows) >> np.arange(rows - 1, -1, -1)[:, None]) & 1  # (rows, 2^rows)
    values = pattern.estimates(results[..., None].astype(np.uint8))  # of each result, (2^rows, numbers)
    return np.asarray(pattern_probabilities(pattern).T @ values, np.float64)


def rounding_changes(
    circuit: CompiledCircuit, inputs: Array, weights: Array, *, angle_bits: int
) -> tuple[Array, Array]:
    """Return how far rounding every angle to 2 pi j / 2^angle_bits moves what a circuit returns.

    Args:
        circuit: Of inputs and one tensor of weights.
        inputs: (samples, features)
        weights: (samples, *weight_shape)
        angle_bits: 2 to 16.

    Returns:
        The changes' sizes (samples, numbers), rounded gate by gate, and as a pattern.

    Raises:
        InputError: If a gate or measurement has no pattern.
    """
    compiler = PatternCompiler(
        circuit.circuit, n_features=inputs.shape[-1], weight_shape=weights.shape[1:], n_qubits=circuit.given_n_qubits
    )
    pattern = compiler.pattern(inputs, weights)
    exact = pattern_values(pattern)
    with torch.no_grad():
        by_gates = compiled_on_grid(circuit, angle_bits)(torch.as_tensor(inputs), torch.as_tensor(weights)).numpy()
    by_pattern = pattern_values(pattern.rounded(AngleGrid(bits=angle_bits)))
    return np.abs(by_gates - exact), np.abs(by_pattern - exact)
