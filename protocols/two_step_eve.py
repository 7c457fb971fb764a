"""The eavesdropper of two-step QSDC: both sequences pass through her hands, on a line of her own without noise."""

from typing import TYPE_CHECKING

import numpy as np

from qfl_sec.protocol_contracts import AdversaryReport
from qfl_sec.protocols.bell_pairs import Places, Qubits, QubitStore, all_but
from qfl_sec.protocols.message_knowledge import MessageKnowledge
from qfl_sec.randomness import Streams

if TYPE_CHECKING:
    from qfl_sec.protocols.qsdc import DirectCarrier

POWERS = {
    "none": "nobody is on the line",
    "intercept_resend": "measures photons of C in random Z or X and resends them; measures the same pairs of M in the "
    "same basis, and reads one of the two bits",
    "entangle_measure": "entangles photons of C with orthogonal ancillas in Z; measures the same pairs of M in Z, and "
    "reads the bit half of the operation",
    "capture_message": "keeps photons of M, without having touched C, and sends random ones instead",
    "man_in_the_middle": "keeps photons of C and sends halves of her own pairs; reads operations from M, repeats them",
}

READS = {"intercept_resend": 1.0, "entangle_measure": 1.0, "man_in_the_middle": 2.0}
"""Bits that she reads of each attacked pair whose M she gets hold of."""


class Eve:
    """Acts on the qubits that pass, and hears what is announced; knows nothing else of the parties.

    An attack with orthogonal ancillas disturbs and tells exactly as much as a measurement in Z, with a flip added with
    probability b: that is how it is simulated.
    """

    def __init__(self, carrier: "DirectCarrier", streams: Streams) -> None:
        self._kind = carrier.adversary
        self._fraction = 0.0 if self._kind == "none" else carrier.adversary_fraction
        self._flip = carrier.ancilla_flip
        self._generator = streams.numpy("eve")
        self._knowledge = MessageKnowledge()
        self._reached_message = False

    def intercept_first(self, qubits: Qubits, store: QubitStore) -> Qubits:
        """Attack sequence C on its way, and return what travels on."""
        self._attacked = self._generator.random(len(qubits)) < self._fraction
        chosen = np.flatnonzero(self._attacked)
        self._basis, self._outcome = (np.zeros(len(qubits), np.uint8) for _ in range(2))
        if self._kind in ("intercept_resend", "entangle_measure"):
            basis = self._generator.integers(0, 2, len(chosen), np.uint8) * np.uint8(self._kind == "intercept_resend")
            self._basis[chosen] = basis
            self._outcome[chosen] = qubits[chosen].measure(basis, self._generator)
        if self._kind == "entangle_measure":
            flips = (self._generator.random(len(chosen)) < self._flip).astype(np.uint8)
            qubits[chosen].apply(flips, np.zeros_like(flips))
        if self._kind == "man_in_the_middle":
            self._captured = qubits
            mine, sent = store.entangle(len(qubits), bit=1, phase=1)
            self._mine = mine
            return qubits.replaced(chosen, sent[chosen])
        return qubits

    def hear_arrivals(self, arrived: Places) -> None:
        """Follow which pairs go on."""
        self._follow(arrived)

    def hear_check(self, positions: Places, pairs: int) -> None:
        """Forget the pairs that were sampled."""
        self._follow(np.flatnonzero(all_but(positions, pairs)))

    def _follow(self, kept: Places) -> None:
        self._attacked = self._attacked[kept]
        self._basis, self._outcome = self._basis[kept], self._outcome[kept]
        if self._kind == "man_in_the_middle":
            self._captured, self._mine = self._captured[kept], self._mine[kept]

    def intercept_second(self, message: Qubits, store: QubitStore) -> Qubits:
        """Attack sequence M on its way, and return what travels on."""
        self._reached_message = True
        self._read, self._known = np.zeros((2, len(message)), np.uint8), np.zeros((2, len(message)), bool)
        chosen = np.flatnonzero(self._attacked[: len(message)])
        if self._kind in ("intercept_resend", "entangle_measure"):
            basis = self._basis[chosen]
            found = message[chosen].measure(basis, self._generator)
            self._read[basis, chosen] = found ^ self._outcome[chosen] ^ np.uint8(1)
            self._known[basis, chosen] = True
        elif self._kind == "man_in_the_middle":
            read = message[chosen].bell_measure(self._captured[chosen], self._generator) ^ np.uint8(1)
            mine = self._mine[chosen]
            mine.apply(read[0], read[1])
            self._read[:, chosen], self._known[:, chosen] = read, True
            return message.replaced(chosen, mine)
        elif self._kind == "capture_message":
            coins = self._generator.integers(0, 2, (2, len(chosen)), np.uint8)
            return message.replaced(chosen, store.prepare(coins[0], coins[1]))
        return message

    def hear_samples(self, positions: Places, pairs: int, *, frames: int) -> None:
        """Tell the message from the sampling positions, and put together what was read of it."""
        message = all_but(positions, pairs)
        if self._kind != "none":
            self._knowledge.learn(self._read[:, message], self._known[:, message], frames=frames)

    def report(self, message_bits: int) -> AdversaryReport:
        """Return what she obtained of a message of this length; nothing of the message if it was never sent."""
        reads = READS.get(self._kind, 0.0) * self._fraction if self._reached_message else 0.0
        held = {} if self._kind == "none" else self._knowledge.held(message_bits)
        return AdversaryReport(
            name=self._kind, power=POWERS[self._kind], information=reads, unit="bits per encoded pair", held=held
        )
