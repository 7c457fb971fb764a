"""Key lengths that a decoy link is expected to give, and the best settings for a distance.

What stands here evaluates the bounds at expected counts. That tells how to build a link, and is no statement on the
security of any run: a run's own counts go into `finite_key.decoy_length`.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from qfl_sec.protocols.bits import binary_entropy
from qfl_sec.protocols.channels import fibre_transmittance
from qfl_sec.protocols.finite_key import (
    NO_STATEMENT,
    TYPICAL_EFFICIENCY,
    DecoyCounts,
    DecoyLength,
    by_intensity,
    check_decoy_states,
    decoy_length,
)


@dataclass(frozen=True, kw_only=True)
class DecoyLink:
    """A fibre link between a weak coherent source and threshold detectors.

    Attributes:
        distance_km: Length of the fibre.
        loss_db_per_km: Of the fibre.
        detector_efficiency: Share of arriving photons that are detected.
        dark_count_probability: Of a detector in one gate.
        after_pulse_probability: That a detection causes another.
        misalignment_error: Probability that a photon reaches the wrong detector.

    Raises:
        ValueError: If a value lies outside its range.
    """

    distance_km: float
    loss_db_per_km: float = 0.2
    detector_efficiency: float = 0.1
    dark_count_probability: float = 6e-7
    after_pulse_probability: float = 4e-2
    misalignment_error: float = 5e-3

    def __post_init__(self) -> None:
        for name in ("distance_km", "loss_db_per_km"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"Expected {name}={getattr(self, name)} >= 0.")
        for name in ("dark_count_probability", "after_pulse_probability", "misalignment_error"):
            if not 0 <= getattr(self, name) <= 0.5:
                raise ValueError(f"Expected 0 <= {name}={getattr(self, name)} <= 0.5.")
        if not 0 < self.detector_efficiency <= 1:
            raise ValueError(f"Expected 0 < detector_efficiency={self.detector_efficiency} <= 1.")

    @property
    def transmittance(self) -> float:
        """Probability that a photon is detected."""
        return self.detector_efficiency * fibre_transmittance(self.distance_km, self.loss_db_per_km)

    def detection_probability(self, intensity: float) -> float:
        """Return the probability of a detection in one gate, after-pulses included."""
        return self._clicks(intensity) * (1 + self.after_pulse_probability)

    def error_probability(self, intensity: float) -> float:
        """Return the probability of a wrong detection in one gate.

        The printed model has the transmittance of the fibre alone here; only that of the whole link, used here,
        reproduces the paper's figure.
        """
        arrived = -math.expm1(-self.transmittance * intensity)
        after_pulses = self.after_pulse_probability * self._clicks(intensity) / 2
        return self.dark_count_probability + self.misalignment_error * arrived + after_pulses

    def _clicks(self, intensity: float) -> float:
        exponent = math.log1p(-2 * self.dark_count_probability) if self.dark_count_probability < 0.5 else -math.inf
        return -math.expm1(exponent - self.transmittance * intensity)


@dataclass(frozen=True, kw_only=True)
class DecoySettings:
    """What the parties choose.

    Attributes:
        key_basis_probability: Of basis X, at either end.
        intensities: Mean photon numbers.
        probabilities: Of the intensities.

    Raises:
        ValueError: If the decoy bounds do not hold for them, or the probability is not in (0, 1).
    """

    key_basis_probability: float
    intensities: tuple[float, float, float]
    probabilities: tuple[float, float, float]

    def __post_init__(self) -> None:
        check_decoy_states(self.intensities, self.probabilities)
        if not 0 < self.key_basis_probability < 1:
            raise ValueError(f"Expected 0 < key_basis_probability={self.key_basis_probability} < 1.")


@dataclass(frozen=True, kw_only=True)
class ExpectedKey:
    """A key length at expected counts.

    Attributes:
        security: That this is no security statement.
        settings: What the parties chose.
        pulses: Pulses sent, on average.
        key: The length and its bounds.
        epsilon_secrecy: What the length was computed for.
    """

    security: ClassVar[str] = NO_STATEMENT

    settings: DecoySettings
    pulses: float
    key: DecoyLength
    epsilon_secrecy: float

    @property
    def rate(self) -> float:
        """Secret bits a pulse, before the length is floored."""
        return self.key.unrounded / self.pulses


def expected_key(
    link: DecoyLink,
    settings: DecoySettings,
    *,
    key_counts: float,
    efficiency: float = TYPICAL_EFFICIENCY,
    epsilon_per_bit: float = 1e-15,
    epsilon_correctness: float = 1e-15,
) -> ExpectedKey:
    """Return the key length at expected counts; epsilon_secrecy is proportional to that length, the largest that is.

    Args:
        link: The link.
        settings: What the parties choose.
        key_counts: Detections in the key basis after which they stop, n_X.
        efficiency: Of reconciliation, f.
        epsilon_per_bit: epsilon_secrecy over the length.
        epsilon_correctness: In (0, 1).

    Raises:
        ValueError: If a value lies outside its range, or the link detects nothing.

    Reference: Lim et al. 2014, arXiv 1311.7129, section "Evaluation".
    """
    if not (0 < key_counts < math.inf and 1 <= efficiency < math.inf and 0 < epsilon_per_bit < 1):
        raise ValueError(
            f"Expected key_counts={key_counts} > 0, efficiency={efficiency} >= 1 and "
            f"0 < epsilon_per_bit={epsilon_per_bit} < 1."
        )
    counts, pulses, error_rate = _expected_counts(link, settings, key_counts)
    leak = efficiency * key_counts * binary_entropy(min(0.5, error_rate))

    def length(epsilon_secrecy: float) -> DecoyLength:
        return decoy_length(
            counts, leak_bits=leak, epsilon_secrecy=epsilon_secrecy, epsilon_correctness=epsilon_correctness
        )

    epsilon = min(0.5, epsilon_per_bit * key_counts)
    for _ in range(100):
        # The length grows with epsilon like its logarithm: from above, this falls to the largest fixed point.
        found = length(epsilon)
        following = min(epsilon, epsilon_per_bit * max(1.0, found.unrounded))
        if math.isclose(following, epsilon, rel_tol=1e-13):
            break
        epsilon = following
    return ExpectedKey(settings=settings, pulses=pulses, key=length(epsilon), epsilon_secrecy=epsilon)


def best_key(
    link: DecoyLink, *, key_counts: float, start: DecoySettings, efficiency: float = TYPICAL_EFFICIENCY
) -> ExpectedKey:
    """Return the key of the settings with the highest rate that a local search finds, the start included.

    Args:
        link: The link.
        key_counts: See `expected_key`.
        start: Where the search begins; its weakest intensity is kept. From settings that give no key it finds none.
        efficiency: See `expected_key`.

    Raises:
        ValueError: If a value lies outside its range.
    """

    def key(values: NDArray[np.float64]) -> ExpectedKey:
        basis, first, second, mu1, mu2 = values.tolist()
        settings = DecoySettings(
            key_basis_probability=basis,
            intensities=(mu1, mu2, start.intensities[2]),
            probabilities=(first, second, 1 - first - second),
        )
        return expected_key(link, settings, key_counts=key_counts, efficiency=efficiency)

    def cost(values: NDArray[np.float64]) -> float:
        try:
            return -key(values).rate
        except ValueError:
            return 1.0  # settings for which the bounds do not hold: worse than no key

    values = np.array([start.key_basis_probability, *start.probabilities[:2], *start.intensities[:2]])
    scale = -cost(values) or 1.0
    options = {"xatol": 1e-6, "fatol": 1e-9, "maxiter": 1500, "maxfev": 1500, "adaptive": True}
    found = scipy.optimize.minimize(lambda at: cost(at) / scale, values, method="Nelder-Mead", options=options)
    return key(found.x)


def keys_over_distance(
    link: DecoyLink,
    distances_km: Sequence[float],
    *,
    key_counts: float,
    start: DecoySettings,
    efficiency: float = TYPICAL_EFFICIENCY,
) -> list[ExpectedKey]:
    """Return the best key at each distance; each search begins at the best settings of the distance before.

    Args:
        link: The link; its distance is replaced.
        distances_km: Ascending, so that the search keeps in reach of a key as long as there is one.
        key_counts: See `expected_key`.
        start: Settings that give a key at the first distance.
        efficiency: See `expected_key`.

    Raises:
        ValueError: If the distances do not ascend, or a value lies outside its range.
    """
    if any(after <= before for before, after in itertools.pairwise(distances_km)):
        raise ValueError(f"Expected distances_km={list(distances_km)} to ascend.")
    keys: list[ExpectedKey] = []
    for distance_km in distances_km:
        there = replace(link, distance_km=distance_km)
        keys.append(best_key(there, key_counts=key_counts, start=start, efficiency=efficiency))
        start = keys[-1].settings
    return keys


def _expected_counts(link: DecoyLink, settings: DecoySettings, key_counts: float) -> tuple[DecoyCounts, float, float]:
    """Return the expected counts, the pulses sent and the error rate, the same in both bases."""
    pairs = list(zip(settings.intensities, settings.probabilities, strict=True))
    detected = [share * link.detection_probability(mu) for mu, share in pairs]
    wrong = [min(share * link.error_probability(mu), found) for (mu, share), found in zip(pairs, detected, strict=True)]
    if not (total := math.fsum(detected)) > 0:
        raise ValueError(f"Expected a link of distance_km={link.distance_km} to detect anything. Shorten it.")
    pulses = key_counts / (settings.key_basis_probability**2 * total)
    tests = pulses * (1 - settings.key_basis_probability) ** 2
    counts = DecoyCounts(
        intensities=settings.intensities,
        probabilities=settings.probabilities,
        key_counts=by_intensity([key_counts * found / total for found in detected]),
        test_counts=by_intensity([tests * found for found in detected]),
        test_errors=by_intensity([tests * error for error in wrong]),
    )
    return counts, pulses, math.fsum(wrong) / total
