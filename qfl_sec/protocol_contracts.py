"""What a simulated protocol is, and what a run of one gives back: results, costs, proofs, the adversary's share.

A protocol is a frozen dataclass whose fields are its parameters, the adversary's name and share among them, so that an
experiment file and the command line describe it alike. Everything random comes from streams named after roles: with an
adversary or without, the honest parties draw the same numbers.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qfl_sec.randomness import Streams

Bits: TypeAlias = NDArray[np.uint8]
"""Zeros and ones, (n,)."""

Aspect = Literal["correctness", "error_correction", "secrecy", "privacy_amplification", "authentication", "robustness"]
"""What a term of the ledger bounds the failure of."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a run used up.

    Attributes:
        qubits: Quantum systems put on the channel, lost ones included.
        classical_bits: Bits of public discussion, both directions, tags included.
        attempts: Signals or pairs tried.
        seconds: Modelled time on the stated hardware, not the time of the simulation.
    """

    qubits: int = 0
    classical_bits: int = 0
    attempts: int = 0
    seconds: float = 0.0

    def __add__(self, other: Self) -> Self:
        """Return the cost of both."""
        return type(self)(
            qubits=self.qubits + other.qubits,
            classical_bits=self.classical_bits + other.classical_bits,
            attempts=self.attempts + other.attempts,
            seconds=self.seconds + other.seconds,
        )


@dataclass(frozen=True, kw_only=True)
class EpsilonTerm:
    """One proven bound on a probability of failure.

    Attributes:
        aspect: What may fail.
        epsilon: The bound, in [0, 1].
        theorem: What proves it, with its source.

    Raises:
        ValueError: If epsilon is no probability.
    """

    aspect: Aspect
    epsilon: float
    theorem: str

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon <= 1:
            raise ValueError(f"Expected 0 <= epsilon={self.epsilon} <= 1.")


@dataclass(frozen=True, kw_only=True)
class EpsilonLedger:
    """The bounds on everything that may fail in a run, and the key it consumed.

    Terms add up (union bound), so ledgers of runs that follow each other do too.

    Attributes:
        terms: Each counted once.
        consumed_key_bits: Key that tags and one-time pads used up; subtracted from what a key source yields.

    Example:
        >>> term = EpsilonTerm(aspect="correctness", epsilon=1e-10, theorem="hash of 34 bits")
        >>> (EpsilonLedger(terms=(term,)) + EpsilonLedger(terms=(term,), consumed_key_bits=64)).correctness
        2e-10
    """

    terms: tuple[EpsilonTerm, ...] = ()
    consumed_key_bits: int = 0

    def __add__(self, other: Self) -> Self:
        """Return the ledger of both runs."""
        used = self.consumed_key_bits + other.consumed_key_bits
        return type(self)(terms=self.terms + other.terms, consumed_key_bits=used)

    def of(self, *aspects: Aspect) -> float:
        """Return the bound on the failure of any of these aspects, at most 1."""
        return min(1.0, math.fsum(term.epsilon for term in self.terms if term.aspect in aspects))

    @property
    def correctness(self) -> float:
        """A bound on the probability that the parties hold different results and do not abort."""
        return self.of("correctness", "error_correction")

    @property
    def secrecy(self) -> float:
        """A bound on the distance of the result from one the adversary knows nothing about."""
        return self.of("secrecy", "privacy_amplification")

    @property
    def total(self) -> float:
        """The security parameter; robustness, the chance of an honest abort, is no part of it."""
        return self.of("correctness", "error_correction", "secrecy", "privacy_amplification", "authentication")


@dataclass(frozen=True, kw_only=True)
class AdversaryReport:
    """What the adversary of a run holds, and how much that is worth.

    Attributes:
        name: Registered name.
        power: What it was allowed to do, in words.
        information: Bits it knows, in the unit given; None where no formula or estimate applies.
        unit: Of `information`, for instance "bits per sifted bit".
        held: Its records by name, arrays that it really obtained: never the honest parties' secrets. Of a message on
            its way, "known" (message bits,) says which bits it has for certain, "bits" (message bits,) what they are.
    """

    name: str
    power: str
    information: float | None
    unit: str
    held: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ProtocolResult:
    """How a run ended.

    Attributes:
        abort_reason: Why the parties stopped; None if they did not.
        cost: What was used up, aborted runs included.
        ledger: What is proven of the run.
        adversary: What the adversary holds.
    """

    abort_reason: str | None
    cost: Cost
    ledger: EpsilonLedger
    adversary: AdversaryReport

    @property
    def aborted(self) -> bool:
        """Whether the parties stopped."""
        return self.abort_reason is not None

    @property
    def error_rate(self) -> float | None:
        """The largest error rate that the parties saw in a check; None if they saw none."""
        return None


@dataclass(frozen=True, kw_only=True)
class KeyResult(ProtocolResult):
    """What a key source gave.

    Attributes:
        alice_key: Alice's key; empty if aborted.
        bob_key: Bob's key; empty if aborted.
    """

    alice_key: Bits
    bob_key: Bits


@dataclass(frozen=True, kw_only=True)
class MessageResult(ProtocolResult):
    """What a message carrier gave.

    Attributes:
        delivered: The bits that the receiver read, as many as were sent; None if aborted.
    """

    delivered: Bits | None


@dataclass(frozen=True, kw_only=True)
class ComputationResult(ProtocolResult):
    """What a delegated computation gave.

    Attributes:
        output: The client's results, (qubits, shots); None if aborted.
    """

    output: NDArray[np.uint8] | None


class KeySource(ABC):
    """A protocol that gives two parties the same secret bits. Subclasses are frozen dataclasses."""

    name: ClassVar[str]

    @property
    def authenticated(self) -> bool:
        """Whether the public discussion is: without, whoever is in the middle shares a key with either party."""
        return True

    @abstractmethod
    def distribute(self, streams: Streams) -> KeyResult:
        """Run once, on streams named after the roles, and return both parties' keys or the reason for an abort."""


class MessageCarrier(ABC):
    """A protocol that carries bits from one party to another. Subclasses are frozen dataclasses."""

    name: ClassVar[str]

    @property
    def attacked(self) -> bool:
        """Whether an adversary acts on the channel, so that parts of a message may leak."""
        return False

    @abstractmethod
    def send(self, message: Bits, streams: Streams) -> MessageResult:
        """Carry a message once, and return what arrived or the reason for an abort."""


class DelegatedComputation(ABC):
    """A protocol by which a server runs a client's circuit. Subclasses are frozen dataclasses."""

    name: ClassVar[str]

    @abstractmethod
    def compute(self, streams: Streams) -> ComputationResult:
        """Run the circuit once for all shots, and return the results or the reason for an abort."""
