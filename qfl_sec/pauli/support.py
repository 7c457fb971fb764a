"""Which words can have a coefficient at all, whatever the angles: what follows from a circuit's structure alone."""

from collections.abc import Iterable

import numpy as np

from qfl_sec.gates import Array


class Support:
    """The words that some observables may consist of, step by step against the circuit's time.

    Args:
        rows: (observables, 4^n), true for the words that are measured.
        n_qubits: Number of qubits.
    """

    def __init__(self, rows: Array, n_qubits: int) -> None:
        self._rows = rows.reshape(len(rows), *[4] * n_qubits)
        self._n_qubits = n_qubits

    def permute(self, index: Array) -> None:
        """Follow (c T)_Q = c_index(Q), up to signs."""
        self._rows = self._rows.reshape(len(self._rows), -1)[:, index].reshape(self._rows.shape)

    def join(self, index: Array) -> None:
        """Follow a rotation that turns words and their partners into each other."""
        flat = self._rows.reshape(len(self._rows), -1)
        self._rows = (flat | flat[:, index]).reshape(self._rows.shape)

    def fill(self, wires: Iterable[int]) -> None:
        """Follow a map on these qubits of which nothing is known."""
        for wire in wires:
            self._rows = np.broadcast_to(self._rows.any(1 + wire, keepdims=True), self._rows.shape).copy()

    def mix(self, pattern: Array) -> None:
        """Follow matrices on single qubits that may differ from zero where `pattern` (qubits, 4, 4) says so."""
        for wire in range(self._n_qubits):
            self._rows = self._mixed(self._rows, wire, pattern[wire])

    def notices(self, pattern: Array, slopes: Array) -> Array:
        """Return whether any observable depends on each rotation, (qubits, rotations), to first order.

        Args:
            pattern: (qubits, 4, 4), of the matrices.
            slopes: (qubits, rotations, 4, 4), of their derivatives.
        """
        result = np.zeros(slopes.shape[:2], dtype=bool)
        for wire in range(self._n_qubits):
            others = self._rows
            for other in range(self._n_qubits):
                others = others if other == wire else self._mixed(others, other, pattern[other])
            for k, slope in enumerate(slopes[wire]):
                result[wire, k] = self._mixed(others, wire, slope).any()
        return result

    @staticmethod
    def _mixed(rows: Array, wire: int, pattern: Array) -> Array:
        return np.moveaxis(np.tensordot(rows.astype(int), pattern.astype(int), axes=(1 + wire, 0)), -1, 1 + wire) > 0
