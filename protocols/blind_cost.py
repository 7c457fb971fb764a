"""What running a federation's circuits blindly takes: the size of one circuit's measurement pattern."""

from qfl_sec.protocols.angle_grid import AngleGrid
from qfl_sec.protocols.blind_transcript import round_cost
from qfl_sec.protocols.measurement_patterns import PatternCompiler
from qfl_sec.statevector import CompiledCircuit


def pattern_cost(
    circuit: CompiledCircuit, *, n_features: int, weight_shape: tuple[int, ...], angle_bits: int
) -> tuple[int, int]:
    """Return the qubits and the classical bits of one run of a circuit, whatever its angles are.

    Raises:
        InputError: If a gate or measurement has no pattern.
    """
    compiler = PatternCompiler(
        circuit.circuit, n_features=n_features, weight_shape=weight_shape, n_qubits=circuit.given_n_qubits
    )
    cost = round_cost(compiler.graph, AngleGrid(bits=angle_bits), 1)
    return cost.qubits, cost.classical_bits
