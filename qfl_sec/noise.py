"""Noise of a device: channels after each gate, errors of the readout, each with a strength for every qubit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType

import numpy as np

from qfl_sec.checking import InputError
from qfl_sec.gates import Array, Channel

Strength = float | tuple[float, ...]
"""A probability: one for all qubits, or one for each."""

_I, _X, _Y, _Z = (
    np.array(matrix, dtype=complex)
    for matrix in ([[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]])
)
_ZERO, _ONE = np.diag([1.0, 0.0]), np.diag([0.0, 1.0])


def _depolarizing(q: float) -> list[Array]:
    return [np.sqrt(1 - q) * _I, *(np.sqrt(q / 3) * pauli for pauli in (_X, _Y, _Z))]


def _amplitude_damping(gamma: float) -> list[Array]:
    return [_ZERO + np.sqrt(1 - gamma) * _ONE, np.sqrt(gamma) * _ZERO @ _X]


# Written out, as PennyLane's Kraus matrices carry an offset of 1e-14 that adds up over a circuit's gates.
_KRAUS: dict[str, Callable[[float], list[Array]]] = {
    "depolarizing": _depolarizing,
    "dephasing": lambda p: [np.sqrt(1 - p) * _I, np.sqrt(p) * _Z],
    "bit_flip": lambda p: [np.sqrt(1 - p) * _I, np.sqrt(p) * _X],
    "amplitude_damping": _amplitude_damping,
}


@dataclass(frozen=True, kw_only=True)
class GateNoise:
    """Channels that act on each qubit a gate has touched, in the order of the attributes.

    Attributes:
        depolarizing: Probability q that X, Y or Z happens, q/3 each; 4q/3 is the share replaced by the mixed state.
        dephasing: Probability of Z.
        bit_flip: Probability of X.
        amplitude_damping: Probability that |1> decays to |0>.

    Raises:
        ValueError: If a strength is no probability.
    """

    depolarizing: Strength = 0.0
    dephasing: Strength = 0.0
    bit_flip: Strength = 0.0
    amplitude_damping: Strength = 0.0

    def __post_init__(self) -> None:
        _check_probabilities(self)


@dataclass(frozen=True, kw_only=True)
class NoiseModel:
    """Noise of one device.

    Attributes:
        one_qubit: After every gate on one qubit, encoding gates included.
        two_qubit: After every gate on two qubits, on each of them.
        gates: By PennyLane's name of a gate, instead of the two above; `{"RZ": GateNoise()}` makes RZ noiseless.
        readout_0_as_1: Probability that a measured 0 is reported as 1, in whatever basis the qubit is measured.
        readout_1_as_0: Probability that a measured 1 is reported as 0.

    Raises:
        ValueError: If a strength is no probability.

    Example:
        >>> NoiseModel(two_qubit=GateNoise(depolarizing=(0.01, 0.02)), readout_0_as_1=0.03).strengths("CNOT", 2, 1)
        {'depolarizing': 0.02, 'dephasing': 0.0, 'bit_flip': 0.0, 'amplitude_damping': 0.0}
    """

    one_qubit: GateNoise = field(default_factory=GateNoise)
    two_qubit: GateNoise = field(default_factory=GateNoise)
    gates: Mapping[str, GateNoise] = field(default_factory=lambda: MappingProxyType({}))
    readout_0_as_1: Strength = 0.0
    readout_1_as_0: Strength = 0.0

    def __post_init__(self) -> None:
        _check_probabilities(self)

    def strengths(self, gate: str, n_wires: int, qubit: int) -> dict[str, float]:
        """Return the strength of each channel on one qubit after a gate of this name on one or two wires.

        Raises:
            InputError: If strengths are given for fewer qubits.
        """
        noise = self.gates.get(gate, self.one_qubit if n_wires == 1 else self.two_qubit)
        return {name: _of_qubit(name, getattr(noise, name), qubit) for name in _KRAUS}

    def readout(self, qubit: int) -> Array:
        """Return the matrix (4, 4) that turns coefficients of a measured qubit's letters into those of its reports."""
        to_one = _of_qubit("readout_0_as_1", self.readout_0_as_1, qubit)
        to_zero = _of_qubit("readout_1_as_0", self.readout_1_as_0, qubit)
        matrix = np.diag([1.0, *[1.0 - to_one - to_zero] * 3])
        matrix[1:, 0] = to_zero - to_one
        return matrix


def noise_after(gate: str, wires: Sequence[int], devices: Sequence[NoiseModel]) -> Iterator[Channel]:
    """Yield the channels that act after a gate, those that vanish on every device left out.

    Args:
        gate: PennyLane's name of the gate.
        wires: The positions it acts on, one or two.
        devices: The noise of each model's device, or of all models'.
    """
    for wire in wires:
        strengths = [device.strengths(gate, len(wires), wire) for device in devices]
        for name, kraus in _KRAUS.items():
            values = [strength[name] for strength in strengths]
            if any(values):
                yield Channel(name=name, wires=(wire,), kraus=tuple(tuple(kraus(value)) for value in values))


def _check_probabilities(noise: GateNoise | NoiseModel) -> None:
    for entry in fields(noise):
        value = getattr(noise, entry.name)
        if isinstance(value, GateNoise | Mapping):
            continue
        for strength in value if isinstance(value, tuple) else (value,):
            if isinstance(strength, bool) or not isinstance(strength, int | float) or not 0 <= strength <= 1:
                raise ValueError(f"Expected {entry.name}={value} between 0 and 1.")


def _of_qubit(name: str, strength: Strength, qubit: int) -> float:
    if not isinstance(strength, tuple):
        return float(strength)
    if qubit >= len(strength):
        raise InputError(f"Expected {name}={strength} to have a number for qubit {qubit}. Give one for each qubit.")
    return float(strength[qubit])
