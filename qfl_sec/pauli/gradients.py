"""A Pauli program as the source of a classifier's gradients, and when it is cheaper than the statevector program."""

import torch
from torch import Tensor

from qfl_sec.checking import InputError
from qfl_sec.pauli.cross_entropy import batch_gradients, example_gradients, gradient_slopes, linear_system
from qfl_sec.pauli.program import PauliProgram

# Nanoseconds on one core in double precision; only their ratios matter. Both programs were timed for 3 to 6 qubits, 1
# to 512 models and 4 to 1,024 samples: see docs/design/kernel.md.
_START, _START_OF_MODEL, _CARRIED, _READ = 6e5, 3e4, 0.8, 0.13
_STATE_START, _STATE_STEP, _STATE_AMPLITUDE = 8e5, 9e5, 7.0

_MAX_PREPARED = 1 << 26
"""Numbers of all prepared systems together: half a gigabyte in double precision."""


class PauliGradients:
    """Cross-entropy gradients of a circuit that encodes once, in closed form.

    Args:
        program: The circuit, whose outputs are the logits.

    Raises:
        InputError: If the circuit is no Pauli program, or each model has its own device.
    """

    def __init__(self, program: PauliProgram) -> None:
        if program.n_devices > 1:
            raise InputError(f"Expected one device for all models, not {program.n_devices}, in a classifier.")
        self._program = program
        self._cost = program.kernel(torch.empty(0, dtype=torch.float64)).contrasts

    def batch_gradients(self, weights: Tensor, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return each model's mean loss (models,), and its gradient (models, k).

        Args:
            weights: (models, k)
            inputs: (models or 1, samples, features)
            labels: (models or 1, samples)
        """
        return batch_gradients(self._program.kernel(inputs), inputs, weights, labels)

    def example_gradients(self, weights: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return the gradient of each record's loss, (models, samples, k); arguments as for `batch_gradients`."""
        return example_gradients(self._program.kernel(inputs), inputs, weights, labels)

    def prepare(self, weights: Tensor) -> Tensor | None:
        """Return what `slopes` needs to know of each of the weights (models, k); None if that takes too much memory."""
        words = self._cost.d_left * self._cost.d_right
        if len(weights) * words * self._cost.n_rows * (1 + len(self._cost.live)) > _MAX_PREPARED:
            return None
        return linear_system(self._program.kernel(weights), weights)

    def slopes(self, prepared: Tensor, which: Tensor, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return gradients (problems, samples, k) and their derivatives (features, problems, samples, k) in the inputs.

        Args:
            prepared: From `prepare`.
            which: (problems,), the row of `prepared` of each problem's model.
            inputs: (problems, samples, features)
            labels: (problems, samples)
        """
        return gradient_slopes(self._program.kernel(inputs), prepared, which, inputs, labels)

    def pays(self, models: int, samples: int) -> bool:
        """Return whether this is cheaper than the statevector program, by a count of operations: never by timing."""
        cost = self._cost
        width, rotations = cost.d_left * cost.d_right, cost.n_rotations
        read = samples * width * cost.n_rows * (1 + rotations) * _READ
        closed = _START + models * (_START_OF_MODEL + cost.carried * _CARRIED + read)
        amplitudes = models * samples * rotations * 2**cost.n_qubits
        return bool(closed <= _STATE_START + _STATE_STEP * cost.n_local_steps + _STATE_AMPLITUDE * amplitudes)
