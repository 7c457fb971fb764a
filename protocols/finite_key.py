"""How many secret bits a finite run yields, and an endless one.

Reference: single photons: Tomamichel, Lim, Gisin and Renner 2012, arXiv 1103.4130; decoy states: Lim, Curty, Walenta,
Xu and Zbinden 2014, arXiv 1311.7129, whose equations are named by number.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import scipy.optimize

from qfl_sec.protocol_contracts import EpsilonLedger, EpsilonTerm
from qfl_sec.protocols.bits import binary_entropy

SINGLE_PHOTON_THEOREM = "Tomamichel, Lim, Gisin and Renner 2012, arXiv 1103.4130, Theorem 2"
DECOY_THEOREM = "Lim, Curty, Walenta, Xu and Zbinden 2014, arXiv 1311.7129, equations 1 to 5"

NO_STATEMENT = "Expected counts: no security statement about a run."

TYPICAL_EFFICIENCY = 1.16
"""f of reconciliation, as in the evaluation of Lim et al. 2014."""


def by_intensity(values: Sequence[float]) -> tuple[float, float, float]:
    """Return three numbers, of signal, decoy and vacuum, as a tuple."""
    signal, decoy, vacuum = values
    return float(signal), float(decoy), float(vacuum)


def asymptotic_rate(qber: float, efficiency: float = 1.0) -> float:
    """Return the secret bits a sifted bit of endless BB84 with single photons, 1 - h(Q) - f h(Q), never below 0.

    Args:
        qber: Error rate Q in both bases.
        efficiency: f, disclosed bits over n h(Q).

    Raises:
        ValueError: If Q is no probability or f < 1.

    Reference: Shor and Preskill 2000, arXiv quant-ph/0003004.

    Example:
        >>> asymptotic_rate(0.0), asymptotic_rate(0.12)
        (1.0, 0.0)
    """
    _check_efficiency(efficiency)
    entropy = binary_entropy(qber)
    if qber >= 0.5:
        return 0.0
    return max(0.0, 1 - (1 + efficiency) * entropy)


def qber_threshold(efficiency: float = 1.0) -> float:
    """Return the error rate at which `asymptotic_rate` reaches 0.

    Raises:
        ValueError: If f < 1.

    Example:
        >>> round(qber_threshold(), 6), round(qber_threshold(1.16), 6)
        (0.110028, 0.098106)
    """
    _check_efficiency(efficiency)
    root: float = scipy.optimize.brentq(
        lambda qber: 1 - (1 + efficiency) * binary_entropy(qber), 0.0, 0.5, xtol=1e-14, rtol=1e-14
    )
    return root


def single_photon_length(
    n: int, k: int, *, qber_tolerance: float, leak_bits: float, epsilon_secrecy: float, epsilon_correctness: float
) -> int:
    """Return the secret bits of a run with single photons, never below 0.

    Args:
        n: Raw key bits.
        k: Bits sacrificed to estimate the error rate in the other basis.
        qber_tolerance: Q_tol, the error rate among them above which the parties abort.
        leak_bits: Disclosed to correct errors; the verification hash is counted here by epsilon_correctness.
        epsilon_secrecy: In (0, 1).
        epsilon_correctness: In (0, 1).

    Raises:
        ValueError: If a value lies outside its range.

    Reference: `SINGLE_PHOTON_THEOREM`.

    Example:
        >>> epsilons = {"epsilon_secrecy": 1e-10, "epsilon_correctness": 1e-15}
        >>> single_photon_length(100_000, 100_000, qber_tolerance=0.02, leak_bits=16_000, **epsilons)
        58700
    """
    _check_epsilons(epsilon_secrecy, epsilon_correctness)
    if n < 0 or k < 0 or not 0 <= qber_tolerance <= 0.5 or not 0 <= leak_bits < math.inf:
        raise ValueError(
            f"Expected n={n} >= 0, k={k} >= 0, 0 <= qber_tolerance={qber_tolerance} <= 0.5 and "
            f"leak_bits={leak_bits} >= 0."
        )
    if n == 0 or k == 0:
        return 0
    deviation = math.sqrt((n + k) / (n * k) * (k + 1) / k * math.log(4 / epsilon_secrecy))
    if (phase_error := qber_tolerance + deviation) >= 0.5:
        return 0
    hashing = 1 - 2 * math.log2(epsilon_secrecy) - math.log2(epsilon_correctness)
    return max(0, math.floor(n * (1 - binary_entropy(phase_error)) - leak_bits - hashing))


@dataclass(frozen=True, kw_only=True)
class DecoyCounts:
    """What a run with three intensities announced; basis X makes the key, Z tests. Counts may be expected values.

    Attributes:
        intensities: Mean photon numbers (mu1, mu2, mu3), with mu1 > mu2 + mu3 and mu2 > mu3 >= 0.
        probabilities: Of the intensities; they add up to 1.
        key_counts: Detections in basis X by intensity, n_X,k.
        test_counts: Detections in basis Z by intensity, n_Z,k.
        test_errors: Errors in basis Z by intensity, m_Z,k.

    Raises:
        ValueError: If the intensities break the conditions under which the bounds hold, or counts are impossible.
    """

    intensities: tuple[float, float, float]
    probabilities: tuple[float, float, float]
    key_counts: tuple[float, float, float]
    test_counts: tuple[float, float, float]
    test_errors: tuple[float, float, float]

    def __post_init__(self) -> None:
        check_decoy_states(self.intensities, self.probabilities)
        for name in ("key_counts", "test_counts", "test_errors"):
            if not all(0 <= count < math.inf for count in getattr(self, name)):
                raise ValueError(f"Expected {name}={getattr(self, name)} >= 0.")
        if any(wrong > count for wrong, count in zip(self.test_errors, self.test_counts, strict=True)):
            raise ValueError(f"Expected test_errors={self.test_errors} <= test_counts={self.test_counts}.")


@dataclass(frozen=True, kw_only=True)
class DecoyLength:
    """The secret bits of a run with decoy states, and the bounds behind them.

    Attributes:
        length: Secret bits, floored, never below 0.
        unrounded: The same before it is floored.
        vacuum_counts: Lower bound on detections of no photon in the key basis, s_X,0.
        single_photon_counts: Lower bound on detections of one photon in the key basis, s_X,1.
        phase_error: Upper bound on their phase error rate, phi_X; 1/2 if nothing is known.
    """

    length: int
    unrounded: float
    vacuum_counts: float
    single_photon_counts: float
    phase_error: float


def decoy_length(
    counts: DecoyCounts, *, leak_bits: float, epsilon_secrecy: float, epsilon_correctness: float
) -> DecoyLength:
    """Return the secret bits of a run with decoy states; lower bounds on counts are clipped at 0.

    Args:
        counts: What the run announced. Put expected counts in, and the answer is that of a typical run: no statement on
            the security of any.
        leak_bits: Disclosed to correct errors.
        epsilon_secrecy: In (0, 1).
        epsilon_correctness: In (0, 1).

    Raises:
        ValueError: If a value lies outside its range.

    Reference: `DECOY_THEOREM`.
    """
    _check_epsilons(epsilon_secrecy, epsilon_correctness)
    if not 0 <= leak_bits < math.inf:
        raise ValueError(f"Expected leak_bits={leak_bits} >= 0.")
    vacuum, single = _photon_counts(counts, counts.key_counts, epsilon_secrecy)
    phase_error = _phase_error(counts, single, epsilon_secrecy)
    hashing = 6 * math.log2(21 / epsilon_secrecy) + math.log2(2 / epsilon_correctness)
    unrounded = max(0.0, vacuum + single * (1 - binary_entropy(phase_error)) - leak_bits - hashing)
    return DecoyLength(
        length=math.floor(unrounded),
        unrounded=unrounded,
        vacuum_counts=vacuum,
        single_photon_counts=single,
        phase_error=phase_error,
    )


def key_ledger(
    *, epsilon_secrecy: float, epsilon_correctness: float, decoys: bool, authentication: float = 0.0, consumed: int = 0
) -> EpsilonLedger:
    """Return the ledger of one key of `single_photon_length` or `decoy_length`.

    Args:
        epsilon_secrecy: What the length was computed for.
        epsilon_correctness: What the length was computed for; the verification hash must achieve it.
        decoys: Which of the two theorems.
        authentication: The sum of the bounds on forgeries of all tags, see `cost_bits`; 0 if none was sent.
        consumed: Key bits that the tags used up.
    """
    theorem = DECOY_THEOREM if decoys else SINGLE_PHOTON_THEOREM
    terms = [
        EpsilonTerm(aspect="correctness", epsilon=epsilon_correctness, theorem="Collision of the verification hash"),
        EpsilonTerm(aspect="secrecy", epsilon=epsilon_secrecy, theorem=theorem),
    ]
    if authentication:
        theorem = "Wegman and Carter 1981, doi 10.1016/0022-0000(81)90033-7"
        terms.append(EpsilonTerm(aspect="authentication", epsilon=min(1.0, authentication), theorem=theorem))
    return EpsilonLedger(terms=tuple(terms), consumed_key_bits=consumed)


def check_decoy_states(intensities: Sequence[float], probabilities: Sequence[float]) -> None:
    """Check three intensities and how often they are sent.

    Raises:
        ValueError: If they break the conditions under which the decoy bounds hold.
    """
    first, second, third = intensities
    if not (math.inf > first > second + third and second > third >= 0):
        raise ValueError(f"Expected intensities={tuple(intensities)} with mu1 > mu2 + mu3 and mu2 > mu3 >= 0.")
    if not all(0 < share < 1 for share in probabilities) or not math.isclose(math.fsum(probabilities), 1):
        raise ValueError(f"Expected probabilities={tuple(probabilities)} in (0, 1) that add up to 1.")


def _photon_counts(counts: DecoyCounts, detected: Sequence[float], epsilon: float) -> tuple[float, float]:
    """Return lower bounds on detections of no photon and of one, equations 2 and 3."""
    mu1, mu2, mu3 = counts.intensities
    low, high = _hoeffding(counts, detected, epsilon)
    tau0, tau1 = _photon_probability(counts, 0), _photon_probability(counts, 1)
    vacuum = max(0.0, tau0 * (mu2 * low[2] - mu3 * high[1]) / (mu2 - mu3))
    bracket = low[1] - high[2] - (mu2**2 - mu3**2) / mu1**2 * (high[0] - vacuum / tau0)
    single = max(0.0, tau1 * mu1 * bracket / (mu1 * (mu2 - mu3) - mu2**2 + mu3**2))
    return vacuum, single


def _phase_error(counts: DecoyCounts, single: float, epsilon: float) -> float:
    """Return an upper bound on the phase error rate of single photons in the key, equations 4 and 5, at most 1/2."""
    _, test_single = _photon_counts(counts, counts.test_counts, epsilon)
    if min(single, test_single) < 1:
        return 0.5
    low, high = _hoeffding(counts, counts.test_errors, epsilon)
    _, mu2, mu3 = counts.intensities
    errors = max(0.0, _photon_probability(counts, 1) * (high[1] - low[2]) / (mu2 - mu3))
    rate = errors / test_single
    return min(0.5, rate + _sampling_deviation(epsilon, rate, test_single, single)) if rate < 0.5 else 0.5


def _sampling_deviation(epsilon: float, rate: float, tested: float, untested: float) -> float:
    """Return gamma of equation 5: how far the rate of the untested may lie above that of the tested."""
    if rate == 0:
        rate = min(0.5, 1 / tested)  # gamma has no value at 0; it grows with the rate up to 1/2
    together = (tested + untested) / (tested * untested)
    spread = rate * (1 - rate)
    logarithm = math.log2(together) - math.log2(spread) + 2 * math.log2(21 / epsilon)
    return math.sqrt(max(0.0, together * spread / math.log(2) * logarithm))


def _hoeffding(counts: DecoyCounts, observed: Sequence[float], epsilon: float) -> tuple[list[float], list[float]]:
    """Return n^-_k, clipped at 0, and n^+_k below equation 2: counts as if each intensity were always sent."""
    deviation = math.sqrt(math.fsum(observed) / 2 * math.log(21 / epsilon))
    scales = [math.exp(mu) / share for mu, share in zip(counts.intensities, counts.probabilities, strict=True)]
    low = [scale * max(0.0, count - deviation) for scale, count in zip(scales, observed, strict=True)]
    return low, [scale * (count + deviation) for scale, count in zip(scales, observed, strict=True)]


def _photon_probability(counts: DecoyCounts, photons: int) -> float:
    """Return tau_n, the probability that a pulse of any intensity holds n photons."""
    pairs = zip(counts.intensities, counts.probabilities, strict=True)
    return math.fsum(share * math.exp(-mu) * mu**photons / math.factorial(photons) for mu, share in pairs)


def _check_efficiency(efficiency: float) -> None:
    if not 1 <= efficiency < math.inf:
        raise ValueError(f"Expected efficiency={efficiency} >= 1, the Shannon limit.")


def _check_epsilons(epsilon_secrecy: float, epsilon_correctness: float) -> None:
    for name, epsilon in (("epsilon_secrecy", epsilon_secrecy), ("epsilon_correctness", epsilon_correctness)):
        if not 0 < epsilon < 1:
            raise ValueError(f"Expected 0 < {name}={epsilon} < 1.")
