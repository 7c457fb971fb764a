"""PennyLane operations as five kinds of gates.

Every circuit is written as phases (diagonal gates whose angles are linear in the parameters), turns (RY), permutations
of the basis states and, for what is left, dense matrices: an RX or Rot is a turn between phases, a CNOT a permutation.
Noise channels keep their Kraus matrices. Global phases are dropped.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pennylane as qml
import torch
from numpy.typing import NDArray
from pennylane.exceptions import PowUndefinedError
from torch import Tensor

from qfl_sec.checking import InputError

Array = NDArray[Any]

_MAX_DENSE_WIRES = 3
_MAX_CONSTANT_WIRES = 8

# The angle of each basis state, in units of the gate's parameter.
_PHASES: dict[str, Callable[[int], Array]] = {
    "RZ": lambda wires: np.array([-0.5, 0.5]),
    "PhaseShift": lambda wires: np.array([0.0, 1.0]),
    "U1": lambda wires: np.array([0.0, 1.0]),
    "CRZ": lambda wires: np.array([0.0, 0.0, -0.5, 0.5]),
    "ControlledPhaseShift": lambda wires: np.array([0.0, 0.0, 0.0, 1.0]),
    "CPhaseShift00": lambda wires: np.array([1.0, 0.0, 0.0, 0.0]),
    "CPhaseShift01": lambda wires: np.array([0.0, 1.0, 0.0, 0.0]),
    "CPhaseShift10": lambda wires: np.array([0.0, 0.0, 1.0, 0.0]),
    "MultiRZ": lambda wires: -0.5 * _parity(wires),
    "IsingZZ": lambda wires: -0.5 * _parity(wires),
}

# Gates whose own decomposition ends in few phases, turns and permutations.
_DECOMPOSED = {
    "CRX",
    "CRY",
    "CRot",
    "IsingXX",
    "IsingYY",
    "IsingXY",
    "PSWAP",
    "PauliRot",
    "SingleExcitation",
    "SingleExcitationPlus",
    "SingleExcitationMinus",
    "DoubleExcitation",
    "OrbitalRotation",
    "FermionicSWAP",
    "Prod",
}


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Basis state b of `wires` is multiplied by exp(i (constant_b + sum_k coefficients_kb parameter_k)).

    Attributes:
        wires: Positions; the first is the most significant bit of b.
        slots: Which parameters.
        coefficients: (len(slots), 2^wires)
        constant: (2^wires,)
    """

    wires: tuple[int, ...]
    slots: tuple[int, ...] = ()
    coefficients: Array = field(repr=False)
    constant: Array = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """RY by `scale` times the parameter plus `offset`; a None slot stands for zero."""

    wires: tuple[int]
    slot: int | None
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Permutation:
    """The new amplitude of basis state b of `wires` is the old one of `index[b]`."""

    wires: tuple[int, ...]
    index: Array = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Dense:
    """A matrix on `wires`: a constant one, or the parameter in a slot."""

    wires: tuple[int, ...]
    slot: int | None = None
    constant: Array | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Start:
    """The state vector of `wires` that the circuit begins with; the other wires begin in |0>."""

    wires: tuple[int, ...]
    slot: int | None = None
    constant: Array | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Channel:
    """A noise channel.

    Attributes:
        name: PennyLane's name of it.
        wires: Positions.
        kraus: The Kraus matrices (2^wires, 2^wires), one list for all models or one for each.
    """

    name: str
    wires: tuple[int, ...]
    kraus: tuple[tuple[Array, ...], ...] = field(repr=False)


Gate = Phase | Turn | Permutation | Dense | Start | Channel


def translate(operation: Any, order: dict[Any, int], values: list[Tensor]) -> list[Gate]:
    """Write one PennyLane operation as gates.

    Args:
        operation: The operation.
        order: The position of each wire.
        values: Where the tensors among its parameters are kept; gates refer to them by their number.

    Raises:
        InputError: If the operation has no place in a statevector program, named in the message.
    """
    if not isinstance(operation, qml.operation.Operator):
        raise _refused(operation)
    if len(operation.wires) == 0 or operation.name in ("GlobalPhase", "Identity", "Barrier"):
        return []
    wires = tuple(order[wire] for wire in operation.wires)
    if isinstance(operation, qml.operation.StatePrepBase):
        return [_start(operation, wires, values)]
    if isinstance(operation, qml.operation.Channel):
        return [_channel(operation, wires)]
    if isinstance(operation, qml.ops.op_math.Adjoint):
        inner = translate(operation.base, order, values)
        return [_inverse(gate, values) for gate in reversed(inner)]
    known = _known(operation, wires, values)
    if known is not None:
        return known
    if not _has_tensors(operation) and operation.has_matrix and len(wires) <= _MAX_CONSTANT_WIRES:
        return _constant(qml.matrix(operation), wires)
    if isinstance(operation, qml.ops.op_math.Pow):
        return [gate for factor in _power(operation) for gate in translate(factor, order, values)]
    return _composite(operation, wires, order, values)


def _composite(operation: Any, wires: tuple[int, ...], order: dict[Any, int], values: list[Tensor]) -> list[Gate]:
    """Write a parametrised gate that is in no table, by its matrix or its decomposition."""
    simple = operation.name in _DECOMPOSED and operation.has_decomposition
    large = len(wires) > _MAX_DENSE_WIRES and operation.has_decomposition and not _has_arrays(operation)
    controlled = isinstance(operation, qml.ops.op_math.Controlled) and not simple
    if controlled and (operation.base.has_matrix and not large):
        return [Dense(wires=wires, slot=_slot(_controlled_matrix(operation), values))]
    if operation.has_matrix and not simple and not large:
        return [Dense(wires=wires, slot=_slot(qml.matrix(operation), values))]
    if operation.has_decomposition:
        return [gate for part in operation.decomposition() for gate in translate(part, order, values)]
    raise _refused(operation)


def _known(operation: Any, wires: tuple[int, ...], values: list[Tensor]) -> list[Gate] | None:
    """Write a gate of the tables; None for others."""
    name, data = operation.name, operation.data
    if any(np.ndim(value) > 0 for value in data) and (name in _PHASES or name in ("RX", "RY", "Rot", "U2", "U3")):
        shape = tuple(next(np.shape(value) for value in data if np.ndim(value) > 0))
        raise InputError(f"{name} has a parameter of shape {shape}. Expected a number: the circuit sees one sample.")
    if name in _PHASES:
        return [_phase(wires, _PHASES[name](len(wires)), data[0], values)]
    if isinstance(operation, qml.ops.op_math.Controlled) and operation.base.name in _PHASES:
        return [_phase(wires, _controlled_phases(operation), data[0], values)]
    if name == "RY":
        return [_turn(wires, data[0], values)]
    if name == "RX":
        quarter = np.array([-np.pi / 4, np.pi / 4])
        return [_fixed_phase(wires, quarter), _turn(wires, data[0], values), _fixed_phase(wires, -quarter)]
    if name == "Hadamard":
        return [_fixed_phase(wires, np.array([0.0, np.pi])), Turn(wires=_one(wires), slot=None, offset=np.pi / 2)]
    if name in ("Rot", "U2", "U3"):
        first, middle, last = data if name == "Rot" else _euler_angles(name, data)
        z = _PHASES["RZ"](1)
        return [_phase(wires, z, first, values), _turn(wires, middle, values), _phase(wires, z, last, values)]
    return None


def _euler_angles(name: str, data: Sequence[Any]) -> tuple[Any, Any, Any]:
    """Return the angles of RZ, RY, RZ in the order of their application, up to a global phase."""
    if name == "U2":
        return data[1], np.pi / 2, data[0]
    return data[2], data[0], data[1]


def _phase(wires: tuple[int, ...], coefficients: Array, parameter: Any, values: list[Tensor]) -> Phase:
    if isinstance(parameter, Tensor):
        constant = np.zeros(len(coefficients))
        slots: tuple[int, ...] = (_slot(parameter, values),)
        return Phase(wires=wires, slots=slots, coefficients=coefficients[None], constant=constant)
    return _fixed_phase(wires, coefficients * float(parameter))


def _fixed_phase(wires: tuple[int, ...], angles: Array) -> Phase:
    return Phase(wires=wires, coefficients=np.zeros((0, len(angles))), constant=angles)


def _turn(wires: tuple[int, ...], parameter: Any, values: list[Tensor]) -> Turn:
    if isinstance(parameter, Tensor):
        return Turn(wires=_one(wires), slot=_slot(parameter, values))
    return Turn(wires=_one(wires), slot=None, offset=float(parameter))


def _one(wires: tuple[int, ...]) -> tuple[int]:
    (wire,) = wires
    return (wire,)


def _slot(value: Any, values: list[Tensor]) -> int:
    """Keep a parameter; return its number."""
    values.append(torch.as_tensor(value))
    return len(values) - 1


def _start(operation: Any, wires: tuple[int, ...], values: list[Tensor]) -> Start:
    vector = operation.state_vector(wire_order=operation.wires).reshape(-1)
    if isinstance(vector, Tensor):
        return Start(wires=wires, slot=_slot(vector, values))
    return Start(wires=wires, constant=np.asarray(vector))


def _channel(operation: Any, wires: tuple[int, ...]) -> Channel:
    if _has_tensors(operation):
        raise InputError(f"{operation.name} depends on inputs or weights. Expected constant noise strengths.")
    return Channel(
        name=operation.name, wires=wires, kraus=(tuple(np.asarray(matrix) for matrix in operation.kraus_matrices()),)
    )


def _inverse(gate: Gate, values: list[Tensor]) -> Gate:
    if isinstance(gate, Phase):
        return replace(gate, coefficients=-gate.coefficients, constant=-gate.constant)
    if isinstance(gate, Turn):
        return replace(gate, scale=-gate.scale, offset=-gate.offset)
    if isinstance(gate, Permutation):
        return replace(gate, index=np.argsort(gate.index))
    if isinstance(gate, Dense) and gate.constant is not None:
        return replace(gate, constant=gate.constant.conj().T)
    if isinstance(gate, Dense) and gate.slot is not None:
        return replace(gate, slot=_slot(values[gate.slot].mH.clone(), values))
    raise InputError("A state preparation or channel has no adjoint here. Apply it unmodified.")


def _constant(matrix: Array, wires: tuple[int, ...]) -> list[Gate]:
    """Write a constant matrix as a permutation and a phase where it has one entry a row."""
    matrix = np.asarray(matrix)
    entries = np.abs(matrix) > 1e-12
    permuting = (entries.sum(0) == 1).all() and (entries.sum(1) == 1).all()
    if not permuting or np.abs(np.abs(matrix[entries]) - 1).max() > 1e-12:
        return [Dense(wires=wires, constant=matrix)]
    index = entries.argmax(1)
    angles = np.angle(matrix[np.arange(len(matrix)), index])
    gates: list[Gate] = []
    if (index != np.arange(len(index))).any():
        gates.append(Permutation(wires=wires, index=index))
    if np.abs(angles - angles[0]).max() > 1e-12:
        gates.append(_fixed_phase(wires, angles))
    return gates


def _projector(operation: Any) -> tuple[Array, int]:
    """Return the projector onto the control values, and the dimension of the target."""
    position = int("".join(str(int(value)) for value in operation.control_values), 2)
    projector = np.zeros(2 ** len(operation.control_wires))
    projector[position] = 1.0
    return projector, int(2 ** len(operation.base.wires))


def _controlled_phases(operation: Any) -> Array:
    projector, _ = _projector(operation)
    result: Array = np.kron(projector, _PHASES[operation.base.name](len(operation.base.wires)))
    return result


def _controlled_matrix(operation: Any) -> Tensor:
    """Return the matrix of a controlled gate, written without assignment so that vmap can follow."""
    projector, dimension = _projector(operation)
    base = torch.as_tensor(qml.matrix(operation.base))
    on = torch.diag(torch.as_tensor(projector, dtype=base.dtype, device=base.device))
    off = torch.kron(torch.eye(len(on), dtype=base.dtype, device=base.device) - on, torch.eye(dimension).to(base))
    return off + torch.kron(on, base)


def _power(operation: Any) -> list[Any]:
    try:
        factors: list[Any] = operation.base.pow(operation.z)
    except PowUndefinedError:
        raise _refused(operation) from None
    return factors


def _has_tensors(operation: Any) -> bool:
    return any(isinstance(value, Tensor) for value in operation.data)


def _has_arrays(operation: Any) -> bool:
    return any(np.ndim(value) > 0 for value in operation.data)


def _parity(wires: int) -> Array:
    """Return (-1)^(number of ones) of each basis state."""
    result = np.ones(1)
    for _ in range(wires):
        result = np.kron(result, np.array([1.0, -1.0]))
    return result


def _refused(operation: Any) -> InputError:
    return InputError(
        f"Operation {operation.name if hasattr(operation, 'name') else type(operation).__name__} ({operation}) "
        "cannot run in a statevector program. Use gates that have a matrix or a decomposition into such."
    )
