"""A quantum function, run once and written down: gates, measurements, and how the gates' parameters arise."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pennylane as qml
import torch
from torch import Tensor, fx

from qfl_sec.checking import InputError
from qfl_sec.gate_parameters import record
from qfl_sec.gates import Gate, Start, translate
from qfl_sec.noise import NoiseModel, noise_after


@dataclass(frozen=True, kw_only=True)
class Word:
    """A Pauli word: its letters and the positions they act on."""

    letters: str
    wires: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """The expectation value of a sum of Pauli words."""

    words: tuple[Word, ...]
    coefficients: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Probabilities:
    """The probabilities of the basis states of `wires`."""

    wires: tuple[int, ...]


Measurement = Expectation | Probabilities


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A quantum function, run once.

    Attributes:
        n_qubits: Number of qubits.
        gates: What the circuit does, in order.
        measurements: What it returns, in order.
        graph: How the parameters in the gates' slots depend on inputs and weights.
    """

    n_qubits: int
    gates: tuple[Gate, ...]
    measurements: tuple[Measurement, ...]
    graph: fx.GraphModule


def record_circuit(
    function: Callable[[Any, Any], Any],
    inputs: Tensor,
    weights: Tensor,
    *,
    wires: Sequence[Any] | None,
    devices: Sequence[NoiseModel] = (),
) -> Recording:
    """Run a quantum function on probe tensors and write down its gates and how their parameters arise.

    Args:
        function: A quantum function of (inputs, weights).
        inputs: (n_features,), a probe whose values do not matter.
        weights: A probe of the weights' shape.
        wires: The wires in order; None for those the circuit uses, integers sorted.
        devices: Noise to add after each gate: one device for all models, or one for each. Gates on more than two wires
            are decomposed for it.

    Raises:
        InputError: If the circuit holds something that has no place in a statevector program, named in the message.
    """
    found: list[tuple[int, tuple[Gate, ...], tuple[Measurement, ...]]] = []

    def parameters(inputs: Tensor, weights: Tensor) -> list[Tensor]:
        values: list[Tensor] = []
        found.append(_run(function, inputs, weights, wires, values, devices))
        return values

    graph = record(parameters, inputs, weights)
    other_inputs, other_weights = _other(inputs), _other(weights)
    expected = parameters(other_inputs, other_weights)
    _check_agreement(found[0][1], found[1][1], graph(other_inputs, other_weights), expected)
    n_qubits, gates, measurements = found[0]
    return Recording(n_qubits=n_qubits, gates=gates, measurements=measurements, graph=graph)


def _other(probe: Tensor) -> Tensor:
    """Return another probe of the same norm, in case the circuit takes its inputs as amplitudes."""
    return probe.flatten().flip(0).neg().view(probe.shape)


def _check_agreement(first: Any, second: Any, recorded: list[Tensor], expected: list[Tensor]) -> None:
    if repr(first) != repr(second):
        raise InputError(
            "The quantum function applies other gates for other values of its inputs or weights. "
            "Gates and wires must not depend on values."
        )
    for value, other in zip(recorded, expected, strict=True):
        if value.device.type != "meta" and not torch.allclose(value, other, rtol=1e-4, atol=1e-5, equal_nan=True):
            raise InputError(
                "A gate parameter is computed outside torch (with numpy, perhaps), so that it would stay constant. "
                "Use torch or qml.math functions of inputs and weights."
            )


def _run(
    function: Callable[[Any, Any], Any],
    inputs: Tensor,
    weights: Tensor,
    wires: Sequence[Any] | None,
    values: list[Tensor],
    devices: Sequence[NoiseModel],
) -> tuple[int, tuple[Gate, ...], tuple[Measurement, ...]]:
    """Run a quantum function; collect the tensors among its gates' parameters in `values`."""
    returned: list[Any] = []
    script = qml.tape.make_qscript(lambda *arguments: returned.append(function(*arguments)))(inputs, weights)
    order = _order(script.wires, wires)
    gates: list[Gate] = []
    for operation in _small(script.operations) if devices else script.operations:
        gates += translate(operation, order, values)
        if devices and not isinstance(operation, qml.operation.Channel | qml.operation.StatePrepBase):
            gates += noise_after(operation.name, [order[wire] for wire in operation.wires], devices)
    if any(isinstance(gate, Start) for gate in gates[1:]):
        raise InputError("Expected a state preparation as the circuit's first operation, once.")
    results = list(returned[0]) if isinstance(returned[0], list | tuple) else [returned[0]]
    if not results or not all(isinstance(result, qml.measurements.MeasurementProcess) for result in results):
        raise InputError("The quantum function returns no measurement. Return qml.expval(...) or qml.probs(...).")
    if len(results) != len(script.measurements):
        raise InputError(f"Expected all {len(script.measurements)} measurements to be returned, not {len(results)}.")
    measurements = tuple(_measurement(result, order) for result in results)
    return len(order), tuple(gates), measurements


def _small(operations: Iterable[Any]) -> Iterator[Any]:
    """Yield the gates on one or two wires that the operations consist of."""
    for operation in operations:
        if len(operation.wires) <= 2 or isinstance(operation, qml.operation.StatePrepBase):
            yield operation
        elif operation.has_decomposition:
            yield from _small(operation.decomposition())
        else:
            raise InputError(f"{operation.name} acts on {len(operation.wires)} wires. Decompose it to give it noise.")


def _order(used: Iterable[Any], wires: Sequence[Any] | None) -> dict[Any, int]:
    """Return the position of each wire."""
    used = list(used)
    if wires is None:
        wires = sorted(used) if all(isinstance(wire, int) for wire in used) else used
    order = {wire: position for position, wire in enumerate(wires)}
    for wire in used:
        if wire not in order:
            raise InputError(f"The circuit acts on wire {wire!r}. Expected one of {list(order)}.")
    return order


def _measurement(measurement: Any, order: dict[Any, int]) -> Measurement:
    """Read one measurement.

    Raises:
        InputError: If it is neither an expectation value of Pauli words nor a list of probabilities.
    """
    if isinstance(measurement, qml.measurements.ProbabilityMP) and measurement.obs is None:
        wires = measurement.wires if len(measurement.wires) else list(order)
        return Probabilities(wires=tuple(order[wire] for wire in wires))
    if not isinstance(measurement, qml.measurements.ExpectationMP) or measurement.obs is None:
        raise InputError(
            f"Measurement {type(measurement).__name__} ({measurement}) is not supported. "
            "Return qml.expval of Pauli words or qml.probs(wires=...)."
        )
    sentence = measurement.obs.pauli_rep
    if sentence is None:
        raise InputError(f"Observable {measurement.obs.name} ({measurement.obs}) is no sum of Pauli words.")
    coefficients = list(sentence.values())
    if any(isinstance(value, Tensor) and _is_traced(value) for value in coefficients):
        raise InputError(f"The coefficients of {measurement.obs.name} depend on inputs or weights. Expected constants.")
    if any(abs(complex(value).imag) > 1e-12 for value in coefficients):
        raise InputError(f"The coefficients of {measurement.obs.name} are complex. Expected real ones.")
    words = tuple(Word(letters="".join(word.values()), wires=tuple(order[wire] for wire in word)) for word in sentence)
    return Expectation(words=words, coefficients=tuple(float(complex(value).real) for value in coefficients))


def _is_traced(value: Tensor) -> bool:
    """Return whether reading a tensor's value is refused by the recording in progress."""
    try:
        value.item()
    except RuntimeError:
        return True
    return False
