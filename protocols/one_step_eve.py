"""The eavesdropper of one-step QSDC: one photon of each pair passes through her hands, and she hears every word."""

from typing import TYPE_CHECKING

import numpy as np

from qfl_sec.protocol_contracts import AdversaryReport, Bits
from qfl_sec.protocols.bell_pairs import Photons, Places, QubitStore, all_but
from qfl_sec.protocols.message_knowledge import MessageKnowledge
from qfl_sec.randomness import Streams

if TYPE_CHECKING:
    from qfl_sec.protocols.qsdc import DirectCarrier

POWERS = {
    "none": "nobody is on the line",
    "intercept_resend": "measures both degrees of freedom in one random basis and resends; with what the sender "
    "announces she reads one of the two bits",
    "entangle_measure": "entangles both degrees of freedom with orthogonal ancillas in Z; with what the sender "
    "announces she reads the bit half of the operation",
    "capture_message": "keeps the photons and sends random ones instead; with what the sender announces she reads "
    "both bits",
    "man_in_the_middle": "keeps the photons and sends halves of her own pairs; with what the sender announces she "
    "reads both bits, and the receiver reads none",
}

READS = {"intercept_resend": 1.0, "entangle_measure": 1.0, "capture_message": 2.0, "man_in_the_middle": 2.0}
"""Bits that she reads of each attacked pair whose outcome is announced."""


class Eve:
    """Acts on the photons that pass, and hears what is announced; knows nothing else of the parties.

    An attack with orthogonal ancillas disturbs and tells exactly as much as a measurement in Z, with a flip added with
    probability b: that is how it is simulated.
    """

    def __init__(self, carrier: "DirectCarrier", streams: Streams) -> None:
        self._kind = carrier.adversary
        self._fraction = 0.0 if self._kind == "none" else carrier.adversary_fraction
        self._flip = carrier.ancilla_flip
        self._generator = streams.numpy("eve")
        self._knowledge = MessageKnowledge()
        self._heard_outcomes = False

    def intercept(self, photons: Photons, store: QubitStore) -> Photons:
        """Attack the photons on their way, and return what travels on."""
        count = len(photons)
        self._attacked = self._generator.random(count) < self._fraction
        self._basis, self._parity = np.zeros(count, np.uint8), np.zeros(count, np.uint8)
        self._captured = photons
        chosen = np.flatnonzero(self._attacked)
        if self._kind in ("intercept_resend", "entangle_measure"):
            self._measure(photons, chosen)
        elif self._kind == "capture_message":
            coins = self._generator.integers(0, 2, (4, count), np.uint8)
            random = Photons(store.prepare(coins[0], coins[1]), store.prepare(coins[2], coins[3]))
            return photons.replaced(chosen, random[chosen])
        elif self._kind == "man_in_the_middle":
            ends = [store.entangle(count, bit=0, phase=0)[1] for _ in range(2)]
            return photons.replaced(chosen, Photons(ends[0], ends[1])[chosen])
        return photons

    def _measure(self, photons: Photons, chosen: Places) -> None:
        basis = self._generator.integers(0, 2, len(chosen), np.uint8) * np.uint8(self._kind == "intercept_resend")
        for half in (photons.polarization[chosen], photons.spatial[chosen]):
            self._parity[chosen] ^= half.measure(basis, self._generator)
            if self._kind == "entangle_measure":
                flips = (self._generator.random(len(chosen)) < self._flip).astype(np.uint8)
                half.apply(flips, np.zeros_like(flips))
        self._basis[chosen] = basis

    def hear_arrivals(self, arrived: Places) -> None:
        """Follow which pairs go on."""
        self._follow(arrived)

    def hear_check(self, positions: Places, pairs: int) -> None:
        """Forget the pairs that were sampled."""
        self._follow(np.flatnonzero(all_but(positions, pairs)))

    def _follow(self, kept: Places) -> None:
        self._attacked = self._attacked[kept]
        self._basis, self._parity = self._basis[kept], self._parity[kept]
        self._captured = self._captured[kept]

    def hear_outcomes(self, outcome: Bits, *, frames: int) -> None:
        """Combine what the sender announces, (2, pairs), with what was measured or kept."""
        read, known = np.zeros_like(outcome), np.zeros(outcome.shape, bool)
        self._heard_outcomes = True
        chosen = np.flatnonzero(self._attacked[: outcome.shape[1]])
        if self._kind in ("intercept_resend", "entangle_measure"):
            basis = self._basis[chosen]
            read[basis, chosen], known[basis, chosen] = outcome[basis, chosen] ^ self._parity[chosen], True
        elif self._kind != "none":
            read[:, chosen] = outcome[:, chosen] ^ self._captured[chosen].bell_measure(self._generator)
            known[:, chosen] = True
        if self._kind != "none":
            self._knowledge.learn(read[::-1], known[::-1], frames=frames)

    def report(self, message_bits: int) -> AdversaryReport:
        """Return what she obtained of a message of this length; nothing of the message if no outcome was announced."""
        reads = READS.get(self._kind, 0.0) * self._fraction if self._heard_outcomes else 0.0
        held = {} if self._kind == "none" else self._knowledge.held(message_bits)
        return AdversaryReport(
            name=self._kind, power=POWERS[self._kind], information=reads, unit="bits per encoded pair", held=held
        )
