"""One-step quantum secure direct communication: one photon of each pair travels, once; the rest is said in public.

The photons are entangled in polarization and in spatial mode. The sender encodes on the polarization of the photon that
she kept; both sides measure their own photon's two degrees of freedom in the Bell basis, the sender announces her two
bits, and theirs together are the message. What is announced is as random as a one-time pad.

Reference: Sheng, Zhou and Long 2022, Science Bulletin 67, 367, doi:10.1016/j.scib.2021.11.002.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols.bell_errors import (
    PauliErrors,
    combined,
    entropy,
    error_rates,
    independent_errors,
    one_step_secrecy_capacity,
    sometimes,
    werner_errors,
)
from qfl_sec.protocols.channels import check_probability
from qfl_sec.protocols.one_step_exchange import OneStepExchange
from qfl_sec.protocols.one_step_parties import CHECKS
from qfl_sec.protocols.qsdc import DirectCarrier
from qfl_sec.protocols.qsdc_message import Plan
from qfl_sec.randomness import Streams


@dataclass(frozen=True, kw_only=True)
class OneStepQsdc(DirectCarrier):
    """One-step QSDC: hyperentangled photons, of which one travels once, and two announced bits a pair.

    Arrival is heralded: the receiver's memory tells which photons it holds, and only those pairs are used.

    Attributes:
        fidelity: Werner fidelity of each degree of freedom.
        check_threshold: Error rate of a check, in any basis, above which the parties abort.
    """

    name: ClassVar[str] = "one_step_qsdc"
    capture_shows: ClassVar[bool] = True

    fidelity: float = 1.0
    check_threshold: float = 0.12

    def __post_init__(self) -> None:
        super().__post_init__()
        check_probability(fidelity=self.fidelity)

    @property
    def arrival(self) -> float:
        """Probability that a photon arrives."""
        return self.transmittance

    @property
    def survival(self) -> float:
        """Probability that both photons of an encoded pair are detected."""
        return self.detector_efficiency**2

    @property
    def line_errors(self) -> PauliErrors:
        """Errors of one degree of freedom when it is used: on the way, and in both memories."""
        return combined(werner_errors(self.fidelity), self.memory_errors, self.memory_errors)

    def transmission_errors(self) -> PauliErrors:
        """Return the errors of the decoded bits, attack included: she attacks both degrees of freedom alike."""
        flip = 2 * self.ancilla_flip * (1 - self.ancilla_flip)
        attack = (
            sometimes(self.adversary_fraction, independent_errors(flip, 0.5))
            if self.adversary == "entangle_measure"
            else self.attack_errors
        )
        return combined(self.line_errors, self.line_errors, attack)

    def expected_check_errors(self) -> dict[str, float]:
        """Return the mean error rate of each basis of each degree of freedom."""
        rates = error_rates(combined(werner_errors(self.fidelity), self.attack_errors))
        return dict(zip(CHECKS, (*rates, *rates), strict=True))

    def secrecy_capacity(self) -> float:
        """Return 2 - H(lambda_P) - H(lambda_S), less what detectors lose, at least 0."""
        errors = combined(self.line_errors, self.attack_errors)
        return one_step_secrecy_capacity(errors, errors, survival=self.survival)

    def capacity(self) -> float:
        """Return survival (2 - H(errors of both degrees of freedom))."""
        return self.survival * (2 - entropy(self.transmission_errors()))

    def code_channel(self) -> tuple[float, float]:
        """Return survival and the larger error rate of a coded bit."""
        return self.survival, max(error_rates(combined(self.line_errors, self.line_errors)))

    def overhead_pairs(self) -> int:
        """Return how many pairs the check measures, so that enough clicks remain."""
        return math.ceil(self.check_pairs / self.survival) if self.checks else 0

    def exchange(self, message: Bits, plan: Plan, streams: Streams) -> OneStepExchange:
        """Return the parties of a run, of whom Alice is handed the message."""
        return OneStepExchange(self, message, plan, streams)
