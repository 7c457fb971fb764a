"""What an adversary of a quantum channel is, what it is told, and what it answers.

An adversary acts on the pulses through the methods of `Pulses` alone, hears what is announced, and answers with a guess
of every sifted bit and how sure it is. It is a frozen dataclass without a state: what it remembers of a train of pulses
is the record that `intercept` returns. Whether it is right, only the auditor can say.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qfl_sec.protocols.channels import check_probability
from qfl_sec.protocols.drawing import Bytes
from qfl_sec.protocols.pulses import Pulses


@dataclass(frozen=True, kw_only=True)
class PublicSetting:
    """What everyone knows of the devices.

    Attributes:
        mean_photon_number: Of a signal pulse; None for a source of single photons.
        transmittance: Of channel and detectors together.
    """

    mean_photon_number: float | None
    transmittance: float


@dataclass(frozen=True, kw_only=True)
class Guess:
    """What an adversary says of sifted bits.

    Attributes:
        bits: (m,), its best guesses.
        confidence: (m,), the probability that each is right, as the adversary reckons it, in [0.5, 1].
    """

    bits: Bytes
    confidence: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One thing that may become of a pulse in an adversary's hands.

    Attributes:
        probability: Of this branch; those of all branches add up to 1.
        polarization: Of the pulse afterwards, 0..7.
        photons: In it afterwards.
        delivered: Whether it is carried past all loss.
    """

    probability: float
    polarization: int
    photons: int
    delivered: bool = False


@dataclass(frozen=True, kw_only=True)
class Adversary(ABC):
    """Somebody on the quantum channel who hears the classical one.

    Attributes:
        fraction: Share of the pulses that it attacks, each independently.

    Raises:
        InputError: If the fraction is no probability.
    """

    name: ClassVar[str]
    power: ClassVar[str]
    impersonates: ClassVar[bool] = False

    fraction: float = 1.0

    def __post_init__(self) -> None:
        check_probability(adversary_fraction=self.fraction)

    @abstractmethod
    def intercept(self, pulses: Pulses, setting: PublicSetting, rng: np.random.Generator) -> Any:
        """Act on a train of pulses and return a record of it, for `conclude`."""

    @abstractmethod
    def conclude(self, record: Any, positions: NDArray[np.intp], bases: Bytes, rng: np.random.Generator) -> Guess:
        """Guess the sifted bits at these positions of the train (m,), sent in the announced bases (m,), 0 Z or 1 X."""

    def branches(self, polarization: int, photons: int, setting: PublicSetting) -> tuple[Branch, ...] | None:
        """Return what becomes of a pulse, for exact probabilities; None if the adversary offers no such law."""
        return None
