"""The adversaries of BB84's quantum channel: what each may do, what it does to the pulses, and what it then knows.

A plug-in subclasses `Adversary` and calls `register`.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import special

from qfl_sec.checking import InputError
from qfl_sec.plugins import nearest
from qfl_sec.protocols.adversary_contract import Adversary, Branch, Guess, PublicSetting
from qfl_sec.protocols.drawing import Bytes, bernoulli, random_bytes
from qfl_sec.protocols.pulses import BREIDBART_BASIS, NO_PHOTON, X_BASIS, Z_BASIS, Pulses, StoredPhotons

BREIDBART_RIGHT = math.cos(math.pi / 8) ** 2
"""How often a measurement between two bases tells the bit: cos^2(pi/8)."""


class NoAdversary(Adversary):
    """Nobody: the pulses pass, and the bits can only be guessed."""

    name: ClassVar[str] = "none"
    power: ClassVar[str] = "none"

    def intercept(self, pulses: Pulses, setting: PublicSetting, rng: np.random.Generator) -> None:
        """Do nothing."""

    def conclude(self, record: Any, positions: NDArray[np.intp], bases: Bytes, rng: np.random.Generator) -> Guess:
        """Guess 0 everywhere."""
        return _ignorant(len(positions))

    def branches(self, polarization: int, photons: int, setting: PublicSetting) -> tuple[Branch, ...]:
        """Return that the pulse passes."""
        return (Branch(probability=1.0, polarization=polarization, photons=photons),)


class InterceptResend(Adversary):
    """Measures one photon in Z or X at random and sends as many photons in the state that it found.

    It knows a bit for sure where the announced basis is its own. Error rate fraction / 4, information fraction / 2.
    """

    name: ClassVar[str] = "intercept_resend"
    power: ClassVar[str] = "measures one photon of each attacked pulse in a random basis, sends a new pulse; no memory"

    def intercept(self, pulses: Pulses, setting: PublicSetting, rng: np.random.Generator) -> tuple[Bytes, Bytes]:
        """Measure and send again; the record is bases (0 Z, 1 X) and outcomes."""
        where = bernoulli(self.fraction, len(pulses), rng)
        bases = random_bytes(len(pulses), rng) & np.uint8(1)
        return bases, _measure_and_send(pulses, where, bases * np.uint8(X_BASIS))

    def conclude(
        self, record: tuple[Bytes, Bytes], positions: NDArray[np.intp], bases: Bytes, rng: np.random.Generator
    ) -> Guess:
        """Say the outcome where the basis was right."""
        own, outcomes = record[0][positions], record[1][positions]
        return _certain(outcomes, (own == bases) & (outcomes != NO_PHOTON))

    def branches(self, polarization: int, photons: int, setting: PublicSetting) -> tuple[Branch, ...]:
        """Return the pulse untouched, or in each of the four states."""
        return _measured(self.fraction, polarization, photons, ((Z_BASIS, 0.5), (X_BASIS, 0.5)))


class Breidbart(Adversary):
    """Measures one photon halfway between Z and X and sends as many photons in the state that it found.

    Right with cos^2(pi/8) whatever the basis; error rate fraction / 4.

    Reference: Bennett, Bessette, Brassard, Salvail and Smolin 1992, doi:10.1007/BF00191318, section 6.
    """

    name: ClassVar[str] = "breidbart"
    power: ClassVar[str] = "measures one photon of each attacked pulse between the bases, sends a new pulse; no memory"

    def intercept(self, pulses: Pulses, setting: PublicSetting, rng: np.random.Generator) -> Bytes:
        """Measure and send again; the record is the outcomes."""
        where = bernoulli(self.fraction, len(pulses), rng)
        return _measure_and_send(pulses, where, np.full(len(pulses), BREIDBART_BASIS, np.uint8))

    def conclude(self, record: Bytes, positions: NDArray[np.intp], bases: Bytes, rng: np.random.Generator) -> Guess:
        """Say the outcome."""
        outcomes = record[positions]
        found = outcomes != NO_PHOTON
        return Guess(bits=outcomes * found, confidence=np.where(found, np.float32(BREIDBART_RIGHT), np.float32(0.5)))

    def branches(self, polarization: int, photons: int, setting: PublicSetting) -> tuple[Branch, ...]:
        """Return the pulse untouched, or in each of the two states between the bases."""
        return _measured(self.fraction, polarization, photons, ((BREIDBART_BASIS, 1.0),))


class PhotonNumberSplitting(Adversary):
    """Keeps one photon of a pulse that has several until the bases are announced, and blocks others to hide it.

    It counts photons, owns a perfect memory and a channel without loss, and answers for the loss of the detectors, too.
    Of the pulses that it attacks, it forwards as many as honest loss would have: those with several photons first,
    single ones only to make up the number. It cannot tell signal from decoy, and tunes itself to the signal.

    Reference: Brassard, Lütkenhaus, Mor and Sanders 2000, arXiv quant-ph/9911054.
    """

    name: ClassVar[str] = "photon_number_splitting"
    power: ClassVar[str] = "counts photons, has a perfect memory, controls all loss, that of the detectors included"

    def intercept(self, pulses: Pulses, setting: PublicSetting, rng: np.random.Generator) -> StoredPhotons:
        """Split, block and forward; the record is the memory."""
        where = bernoulli(self.fraction, len(pulses), rng)
        photons = pulses.count_photons()
        single, several = splitting_rates(setting)
        forward_single = bernoulli(single, len(pulses), rng) & (photons == 1)
        forward_several = bernoulli(several, len(pulses), rng) & (photons > 1)
        stored = pulses.take_one(where & forward_several)
        pulses.block(where & ~(forward_single | forward_several))
        pulses.deliver(where)
        return stored

    def conclude(
        self,
        record: StoredPhotons,
        positions: NDArray[np.intp],
        bases: Bytes,
        rng: np.random.Generator,
    ) -> Guess:
        """Measure the stored photons in the announced bases."""
        outcomes = record.measure(positions, bases * np.uint8(X_BASIS), rng)
        return _certain(outcomes, outcomes != NO_PHOTON)

    def branches(self, polarization: int, photons: int, setting: PublicSetting) -> tuple[Branch, ...]:
        """Return the pulse untouched, forwarded without loss, or blocked."""
        single, several = splitting_rates(setting)
        forwarded = (0.0, single)[photons] if photons < 2 else several
        left = max(photons - 1, min(photons, 1))
        return (
            Branch(probability=1 - self.fraction, polarization=polarization, photons=photons),
            Branch(probability=self.fraction * forwarded, polarization=polarization, photons=left, delivered=True),
            Branch(probability=self.fraction * (1 - forwarded), polarization=polarization, photons=0, delivered=True),
        )


class ManInTheMiddle(Adversary):
    """Plays Bob to Alice and Alice to Bob, on the quantum and on the classical channel.

    Without authentication nobody notices and it shares a key with each. It attacks every pulse.
    """

    name: ClassVar[str] = "man_in_the_middle"
    power: ClassVar[str] = "replaces every quantum and classical message; does not hold the authentication key"
    impersonates: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.fraction != 1:
            raise InputError(f"Expected adversary_fraction={self.fraction} = 1 for man_in_the_middle.")

    def intercept(self, pulses: Pulses, setting: PublicSetting, rng: np.random.Generator) -> None:
        """Do nothing: it receives and sends as the parties do."""

    def conclude(self, record: Any, positions: NDArray[np.intp], bases: Bytes, rng: np.random.Generator) -> Guess:
        """Guess 0 everywhere: what it knows are the keys it shares."""
        return _ignorant(len(positions))

    def branches(self, polarization: int, photons: int, setting: PublicSetting) -> tuple[Branch, ...]:
        """Return that the pulse passes: each party sees an honest partner."""
        return (Branch(probability=1.0, polarization=polarization, photons=photons),)


@lru_cache
def splitting_rates(setting: PublicSetting) -> tuple[float, float]:
    """Return the shares of single-photon and of many-photon pulses that photon-number splitting forwards.

    The gain stays 1 - e^(-eta mu), the darkness aside. Without a weak pulse there is nothing to split, and single
    photons pass as honest loss would let them.
    """
    mu, eta = setting.mean_photon_number, setting.transmittance
    if mu is None:
        return eta, 0.0
    gain = -math.expm1(-eta * mu)
    single = mu * math.exp(-mu)
    several = float(special.gammainc(2, mu))  # no cancellation at small mu
    return min(1.0, max(0.0, gain - several) / single), min(1.0, gain / several)


def _measure_and_send(pulses: Pulses, where: NDArray[np.bool_], bases: Bytes) -> Bytes:
    """Measure one photon of each chosen pulse and send as many in the state found; return the outcomes."""
    photons = pulses.count_photons()
    outcomes = pulses.measure(where, bases)
    pulses.emit(outcomes != NO_PHOTON, bases + np.uint8(4) * (outcomes & np.uint8(1)), photons)
    return outcomes


def _measured(
    fraction: float, polarization: int, photons: int, bases: tuple[tuple[int, float], ...]
) -> tuple[Branch, ...]:
    """Return the branches of a pulse that is measured with some probability in one of these bases, and sent again."""
    untouched = Branch(probability=1 - fraction, polarization=polarization, photons=photons)
    if photons == 0:
        return (untouched, Branch(probability=fraction, polarization=polarization, photons=0))
    found = []
    for basis, weight in bases:
        zero = math.cos((polarization - basis) * math.pi / 8) ** 2
        found += [(weight * zero, basis), (weight * (1 - zero), basis + 4)]
    sent = (Branch(probability=fraction * p, polarization=state, photons=photons) for p, state in found)
    return (untouched, *sent)


def _certain(outcomes: Bytes, known: NDArray[np.bool_]) -> Guess:
    """Return outcomes where they are known for sure and 0 elsewhere."""
    return Guess(bits=outcomes * known, confidence=np.where(known, np.float32(1), np.float32(0.5)))


def _ignorant(count: int) -> Guess:
    return Guess(bits=np.zeros(count, np.uint8), confidence=np.full(count, 0.5, np.float32))


AnyAdversary = TypeVar("AnyAdversary", bound=type[Adversary])

_KNOWN: dict[str, type[Adversary]] = {
    cls.name: cls for cls in (NoAdversary, InterceptResend, Breidbart, PhotonNumberSplitting, ManInTheMiddle)
}


def register(cls: AnyAdversary) -> AnyAdversary:
    """Make an adversary known under its name; may be used as a decorator.

    Raises:
        InputError: If another class has the name.
    """
    if _KNOWN.setdefault(cls.name, cls) is not cls:
        raise InputError(f"The name {cls.name!r} belongs to another adversary. Choose another name.")
    return cls


def names() -> tuple[str, ...]:
    """Return the names of the known adversaries."""
    return tuple(_KNOWN)


def build(name: str, *, fraction: float) -> Adversary:
    """Return the adversary of this name.

    Raises:
        InputError: If there is none, or the fraction does not suit it; the message lists the known ones.
    """
    make: Callable[..., Adversary] | None = _KNOWN.get(name)
    if make is None:
        known = ", ".join(names())
        raise InputError(f"Unknown adversary={name!r}. {nearest(name, names())}Known: {known}.")
    return make(fraction=fraction)
