"""Two-step quantum secure direct communication: first one half of every pair, and once that is checked, the other.

Alice keeps sequence M of her pairs psi- and sends sequence C. Only when a check of C finds few errors does she encode
two bits a pair on M and send it; Bob's Bell measurements read them. Whoever holds one sequence alone holds nothing.

Reference: Deng, Long and Liu 2003, Phys. Rev. A 68, 042317, quant-ph/0308173.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols.bell_errors import (
    NO_ERROR,
    UNIFORM,
    PauliErrors,
    combined,
    error_rates,
    independent_errors,
    sometimes,
    two_step_capacity,
    two_step_secrecy_capacity,
)
from qfl_sec.protocols.channels import check_probability
from qfl_sec.protocols.qsdc import DirectCarrier
from qfl_sec.protocols.qsdc_message import Plan
from qfl_sec.protocols.two_step_exchange import TwoStepExchange
from qfl_sec.randomness import Streams


@dataclass(frozen=True, kw_only=True)
class TwoStepQsdc(DirectCarrier):
    """Two-step QSDC: half of each pair first, checked, then the other half with two bits a pair.

    Arrival of C is heralded: Bob's memory tells which photons it holds. A lost photon of M is an erasure.

    Attributes:
        error_rate: Of the sequence C: independent bit and phase error, each.
        message_error_rate: Of the sequence M, likewise.
        message_check_threshold: Bit or phase error rate of the second check above which the parties abort.
    """

    name: ClassVar[str] = "two_step_qsdc"
    capture_shows: ClassVar[bool] = False

    error_rate: float = 0.0
    message_error_rate: float = 0.0
    message_check_threshold: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("error_rate", "message_error_rate", "message_check_threshold"):
            check_probability(**{name: getattr(self, name)})

    @property
    def arrival(self) -> float:
        """Probability that a photon of C arrives."""
        return self.transmittance

    @property
    def survival(self) -> float:
        """Probability that an encoded pair is measured: its M arrives, and both photons are detected."""
        return self.transmittance * self.detector_efficiency**2

    @property
    def first_errors(self) -> PauliErrors:
        """Errors of C on its way."""
        return independent_errors(self.error_rate, self.error_rate)

    @property
    def message_errors(self) -> PauliErrors:
        """Errors of M on its way."""
        return independent_errors(self.message_error_rate, self.message_error_rate)

    def line_errors(self) -> PauliErrors:
        """Return the errors of a whole transmission on the calibrated line, both memories included."""
        return combined(self.first_errors, self.memory_errors, self.memory_errors, self.message_errors)

    def transmission_errors(self) -> PauliErrors:
        """Return the errors of a whole transmission, attack included."""
        return combined(self.line_errors(), self._attack_on_transmission())

    def _attack_on_transmission(self) -> PauliErrors:
        """A man in the middle hands the operations on, and disturbs the transmission no more than the line does."""
        if self.adversary == "capture_message":
            return sometimes(self.adversary_fraction, UNIFORM)
        return NO_ERROR if self.adversary == "man_in_the_middle" else self.attack_errors

    def expected_check_errors(self) -> dict[str, float]:
        """Return the mean error rate of both checks; a symbol is wrong if its bit or its phase is."""
        first = error_rates(combined(self.first_errors, self.attack_errors))
        whole = self.transmission_errors()
        second = (*error_rates(whole), 1 - float(whole[0, 0]))
        names = ("check_1_z", "check_1_x", "check_2_bit", "check_2_phase", "check_2_symbol")
        return dict(zip(names, (*first, *second), strict=True))

    def secrecy_capacity(self) -> float:
        """Return survival (2 - H(errors of C and M)) - h(e_z) - h(e_x), at least 0."""
        check = error_rates(combined(self.first_errors, self.attack_errors))
        return two_step_secrecy_capacity(check, self.transmission_errors(), survival=self.survival)

    def capacity(self) -> float:
        """Return survival (2 - H(errors of C and M))."""
        return two_step_capacity(self.transmission_errors(), survival=self.survival)

    def code_channel(self) -> tuple[float, float]:
        """Return survival and the larger error rate of a coded bit."""
        return self.survival, max(error_rates(self.line_errors()))

    def check_samples(self) -> int:
        """Return how many pairs the first check measures, so that enough clicks remain."""
        return math.ceil(self.check_pairs / self.detector_efficiency**2) if self.checks else 0

    def sampling_positions(self) -> int:
        """Return how many pairs of M carry random operations for the second check."""
        return math.ceil(self.check_pairs / self.survival) if self.checks else 0

    def overhead_pairs(self) -> int:
        """Return the pairs of both checks."""
        return self.check_samples() + self.sampling_positions()

    def exchange(self, message: Bits, plan: Plan, streams: Streams) -> TwoStepExchange:
        """Return the parties of a run, of whom Alice is handed the message."""
        return TwoStepExchange(self, message, plan, streams)
