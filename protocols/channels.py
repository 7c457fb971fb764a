"""Noise and loss between two stations: Kraus operators of one qubit, fibre, detectors, memories.

Strengths are probabilities, lengths kilometres, times microseconds, attenuations decibels; each name says which.
Probabilities of rare events are computed in log1p and expm1, so that they keep their digits.

Every `*_kraus` function returns Kraus operators (operators, 2, 2) of a channel that preserves the trace.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qfl_sec.checking import InputError

Kraus = NDArray[np.complex128]

FIBRE_MICROSECONDS_PER_KM = 5.0
"""Light takes 5 microseconds for a kilometre of fibre."""

_PAULIS: Kraus = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]], complex)


def check_probability(**values: float) -> None:
    """Refuse a value outside [0, 1], NaN included.

    Raises:
        InputError: If one is no probability; the message names it.
    """
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise InputError(f"Expected 0 <= {name}={value} <= 1.")


def check_not_negative(**values: float) -> None:
    """Refuse a negative, infinite or undefined value.

    Raises:
        InputError: If one is; the message names it.
    """
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise InputError(f"Expected {name}={value} >= 0 and finite.")


def check_positive(**values: float) -> None:
    """Refuse a value that is not positive and finite.

    Raises:
        InputError: If one is not; the message names it.
    """
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise InputError(f"Expected 0 < {name}={value} < infinity.")


def depolarizing_kraus(replacement_probability: float) -> Kraus:
    """Return the channel that replaces the state by I/2 with this probability: a Pauli error of p/4 each.

    Raises:
        InputError: If it is no probability.
    """
    check_probability(replacement_probability=replacement_probability)
    weights = np.array([1 - 0.75 * replacement_probability, *[0.25 * replacement_probability] * 3])
    kraus: Kraus = np.sqrt(weights)[:, None, None] * _PAULIS
    return kraus


def dephasing_kraus(phase_flip_probability: float) -> Kraus:
    """Return the channel that applies Z with this probability.

    Raises:
        InputError: If it is no probability.
    """
    check_probability(phase_flip_probability=phase_flip_probability)
    weights = np.array([1 - phase_flip_probability, phase_flip_probability])
    kraus: Kraus = np.sqrt(weights)[:, None, None] * _PAULIS[[0, 3]]
    return kraus


def misalignment_kraus(angle_radians: float) -> Kraus:
    """Return the rotation of a polarisation by an angle t: both bases then err with sin^2 t.

    Raises:
        InputError: If the angle is not finite.
    """
    if not math.isfinite(angle_radians):
        raise InputError(f"Expected angle_radians={angle_radians} to be finite.")
    cosine, sine = math.cos(angle_radians), math.sin(angle_radians)
    return np.array([[[cosine, -sine], [sine, cosine]]], complex)


def memory_kraus(storage_microseconds: float, coherence_microseconds: float) -> Kraus:
    """Return what a memory does to a stored qubit: depolarizing with replacement probability 1 - e^(-t/T).

    One half of a Werner pair of fidelity F stored for t ends with F(t) = 1/4 + (F - 1/4) e^(-t/T).

    Args:
        storage_microseconds: t >= 0.
        coherence_microseconds: T > 0, the time after which the Bloch vector has shrunk to 1/e; infinity for a perfect
            memory.

    Raises:
        InputError: If a time is out of its range.
    """
    return depolarizing_kraus(memory_replacement_probability(storage_microseconds, coherence_microseconds))


def memory_replacement_probability(storage_microseconds: float, coherence_microseconds: float) -> float:
    """Return 1 - e^(-t/T), the replacement probability of `memory_kraus`.

    Raises:
        InputError: If a time is out of its range.

    Example:
        >>> memory_replacement_probability(1e-6, 1e6)
        9.999999999995e-13
    """
    check_not_negative(storage_microseconds=storage_microseconds)
    if not coherence_microseconds > 0:
        raise InputError(f"Expected coherence_microseconds={coherence_microseconds} > 0.")
    return -math.expm1(-storage_microseconds / coherence_microseconds)


def apply_kraus(kraus: Kraus, state: Kraus) -> Kraus:
    """Return the density matrices (..., 2, 2) after a channel (operators, 2, 2)."""
    result: Kraus = np.einsum("kij,...jl,kml->...im", kraus, state, kraus.conj())
    return result


def fibre_transmittance(distance_km: float, loss_db_per_km: float) -> float:
    """Return the probability that a photon leaves a fibre: 10^(-loss distance / 10).

    Raises:
        InputError: If the distance or the loss is negative or not finite.

    Example:
        >>> fibre_transmittance(50.0, 0.2)
        0.1
    """
    check_not_negative(distance_km=distance_km, loss_db_per_km=loss_db_per_km)
    return float(10 ** (-distance_km * loss_db_per_km / 10))


def fibre_microseconds(distance_km: float) -> float:
    """Return how long light takes through a fibre.

    Raises:
        InputError: If the distance is negative or not finite.
    """
    check_not_negative(distance_km=distance_km)
    return distance_km * FIBRE_MICROSECONDS_PER_KM


def any_of(probability: float, trials: float) -> float:
    """Return 1 - (1 - p)^n without loss of digits at small p: at least one of n independent events.

    Raises:
        InputError: If p is no probability or n negative.

    Example:
        >>> any_of(1e-18, 2)
        2e-18
    """
    check_probability(probability=probability)
    check_not_negative(trials=trials)
    if trials == 0:
        return 0.0
    return 1.0 if probability == 1 else -math.expm1(trials * math.log1p(-probability))


@dataclass(frozen=True, kw_only=True)
class Detectors:
    """A receiver with two threshold detectors, one for each outcome: they click or do not, and count no photons.

    Attributes:
        efficiency: Probability that a photon which arrives is detected.
        dark_count_probability: Of each detector, per gate.
        misalignment_error: Probability that a photon reaches the wrong detector.
        after_pulse_probability: That a detector which clicked by light or darkness clicks again in the next gate;
            clicks that follow an after-pulse are neglected.

    Raises:
        InputError: If one of them is no probability.
    """

    efficiency: float = 1.0
    dark_count_probability: float = 0.0
    misalignment_error: float = 0.0
    after_pulse_probability: float = 0.0

    def __post_init__(self) -> None:
        check_probability(**vars(self))

    @property
    def background_yield(self) -> float:
        """Y0, the probability that any detector clicks in the dark."""
        return any_of(self.dark_count_probability, 2)

    def outcome_probabilities(
        self, photons: NDArray[np.int64], transmittance: float, one: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the probabilities (..., 3) of no click, of bit 0 and of bit 1; two clicks give a random bit.

        Photons are lost, and find their detector, independently. By inclusion and exclusion: a detector that each
        photon fires with probability a stays silent with (1 - d)(1 - a)^n, both with (1 - d)^2 (1 - eta)^n.

        Args:
            photons: n, in the pulse; broadcasts with `one`.
            transmittance: eta without the detectors' efficiency.
            one: Probability that one photon, once detected, tells 1 by the laws of quantum mechanics.
        """
        eta, e = transmittance * self.efficiency, self.misalignment_error
        to_one = one * (1 - e) + (1 - one) * e
        zero_clicks = _click(self.dark_count_probability, eta * (1 - to_one), photons)
        one_clicks = _click(self.dark_count_probability, eta * to_one, photons)
        either = _click(self.background_yield, eta * np.ones_like(one), photons)
        # Half of the coincidences, zero_clicks + one_clicks - either, goes to each bit.
        bits = [(either + here - there) / 2 for here, there in ((zero_clicks, one_clicks), (one_clicks, zero_clicks))]
        return np.stack([1 - either, *np.maximum(bits, 0.0)], axis=-1)


def _click(dark: float, fired: NDArray[np.float64], photons: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return 1 - (1 - dark)(1 - fired)^photons without loss of digits."""
    with np.errstate(divide="ignore", invalid="ignore"):
        silent = np.where(photons == 0, 0.0, photons * np.log1p(-fired))  # -inf where fired is 1
    light = -np.expm1(silent)
    clicks: NDArray[np.float64] = dark + light - dark * light
    return clicks
