"""BB84 in closed form: what each attack shows and learns, gains, decoy bounds, rates and limits.

Probabilities are of one pulse, rates in bits a pulse; nothing here is a statement about a finite run.
"""

import math

from qfl_sec.checking import InputError
from qfl_sec.protocols.adversaries import BREIDBART_RIGHT
from qfl_sec.protocols.bits import binary_entropy
from qfl_sec.protocols.channels import check_not_negative, check_positive, check_probability


def sifting_fraction(key_basis_probability: float = 0.5) -> float:
    """Return the share of detected pulses whose bases agree: p^2 + (1 - p)^2.

    Raises:
        InputError: If it is no probability.
    """
    check_probability(key_basis_probability=key_basis_probability)
    return key_basis_probability**2 + (1 - key_basis_probability) ** 2


def intercept_resend_error(fraction: float) -> float:
    """Return the error rate that intercept-resend, in random or in Breidbart bases, causes: fraction / 4.

    Raises:
        InputError: If the fraction is no probability.

    Reference: Bennett, Bessette, Brassard, Salvail and Smolin 1992, doi:10.1007/BF00191318, section 6.
    """
    check_probability(fraction=fraction)
    return fraction / 4


def intercept_resend_information(fraction: float) -> float:
    """Return what intercept-resend in random bases learns, in bits per sifted bit: fraction / 2.

    Raises:
        InputError: If the fraction is no probability.
    """
    check_probability(fraction=fraction)
    return fraction / 2


def breidbart_information(fraction: float) -> float:
    """Return what measuring in the Breidbart basis learns, in bits per sifted bit: fraction (1 - h(cos^2(pi/8))).

    Raises:
        InputError: If the fraction is no probability.

    Example:
        >>> round(breidbart_information(1.0), 4)
        0.3991
    """
    check_probability(fraction=fraction)
    return fraction * (1 - binary_entropy(BREIDBART_RIGHT))


def undetected_probability(fraction: float, sacrificed_bits: int) -> float:
    """Return how likely intercept-resend causes no error among m disclosed bits of a clean channel: (1 - f/4)^m.

    Raises:
        InputError: If the fraction is no probability, or m negative.

    Example:
        >>> undetected_probability(1.0, 2)
        0.5625
    """
    check_not_negative(sacrificed_bits=sacrificed_bits)
    return math.exp(sacrificed_bits * math.log1p(-intercept_resend_error(fraction)))


def best_guess(error_rate: float) -> float:
    """Return how often an attack on single photons one by one, with this error rate, guesses right at most.

    Raises:
        InputError: If the error rate is not within [0, 0.5].

    Reference: Fuchs, Gisin, Griffiths, Niu and Peres 1997, arXiv quant-ph/9701039: gain 2 sqrt(D (1 - D)).

    Example:
        >>> best_guess(0.0), best_guess(0.5)
        (0.5, 1.0)
    """
    if not 0 <= error_rate <= 0.5:
        raise InputError(f"Expected 0 <= error_rate={error_rate} <= 0.5.")
    return 0.5 + math.sqrt(error_rate * (1 - error_rate))


def depolarizing_error(replacement_probability: float) -> float:
    """Return the error rate of a channel that replaces the state by I/2 with probability p: p / 2.

    Raises:
        InputError: If it is no probability.
    """
    check_probability(replacement_probability=replacement_probability)
    return replacement_probability / 2


def misalignment_error(angle_radians: float) -> float:
    """Return the error rate of polarizers turned by an angle t against each other: sin^2 t."""
    return math.sin(angle_radians) ** 2


def gain(mean_photon_number: float, transmittance: float, background_yield: float) -> float:
    """Return the probability Q_mu = Y0 + 1 - e^(-eta mu) that a weak pulse is detected.

    Raises:
        InputError: If an argument is out of its range.

    Reference: Ma, Qi, Zhao and Lo 2005, arXiv quant-ph/0503005, section II.
    """
    return min(1.0, background_yield + _light(mean_photon_number, transmittance, background_yield))


def error_gain(
    mean_photon_number: float, transmittance: float, background_yield: float, misalignment_error: float
) -> float:
    """Return the probability E_mu Q_mu = Y0 / 2 + e_d (1 - e^(-eta mu)) that a weak pulse gives a wrong bit.

    Raises:
        InputError: If an argument is out of its range.

    Reference: Ma, Qi, Zhao and Lo 2005, arXiv quant-ph/0503005, section II.
    """
    check_probability(misalignment_error=misalignment_error)
    light = _light(mean_photon_number, transmittance, background_yield)
    return background_yield / 2 + misalignment_error * light


def decoy_single_yield(
    signal_mean: float, decoy_mean: float, *, signal_gain: float, decoy_gain: float, background_yield: float
) -> float:
    """Return the lower bound on Y1, the yield of single photons, by vacuum and one weak decoy state, at least 0.

    Raises:
        InputError: Unless 0 < decoy mean < signal mean.

    Reference: Ma, Qi, Zhao and Lo 2005, arXiv quant-ph/0503005, equation 34.
    """
    mu, nu = signal_mean, decoy_mean
    check_intensities(mu, nu, 0.0)
    check_probability(signal_gain=signal_gain, decoy_gain=decoy_gain, background_yield=background_yield)
    several = signal_gain * math.exp(mu) * nu**2 / mu**2
    dark = (mu**2 - nu**2) / mu**2 * background_yield
    bound = mu / (mu * nu - nu**2) * (decoy_gain * math.exp(nu) - several - dark)
    return min(1.0, max(0.0, bound))


def decoy_single_error(
    decoy_mean: float, *, decoy_error_gain: float, background_yield: float, single_yield: float
) -> float:
    """Return the upper bound on e1, the error rate of single photons, at most 1/2.

    Args:
        decoy_mean: nu > 0.
        decoy_error_gain: E_nu Q_nu.
        background_yield: Y0, of which half are errors.
        single_yield: The lower bound on Y1; at 0 nothing is known and the result is 1/2.

    Raises:
        InputError: If an argument is out of its range.

    Reference: Ma, Qi, Zhao and Lo 2005, arXiv quant-ph/0503005, equation 37.
    """
    check_positive(decoy_mean=decoy_mean)
    check_probability(decoy_error_gain=decoy_error_gain, background_yield=background_yield, single_yield=single_yield)
    if single_yield == 0:
        return 0.5
    wrong = decoy_error_gain * math.exp(decoy_mean) - background_yield / 2
    return min(0.5, max(0.0, wrong / (single_yield * decoy_mean)))


def single_photon_gain(mean_photon_number: float, single_yield: float) -> float:
    """Return Q1 = mu e^(-mu) Y1, the probability that a pulse holds one photon and is detected.

    Raises:
        InputError: If an argument is out of its range.
    """
    check_positive(mean_photon_number=mean_photon_number)
    check_probability(single_yield=single_yield)
    return mean_photon_number * math.exp(-mean_photon_number) * single_yield


def gllp_rate(
    *,
    signal_gain: float,
    signal_error_rate: float,
    single_gain: float,
    single_error_rate: float,
    efficiency: float = 1.0,
    sifting: float = 0.5,
) -> float:
    """Return the rate R = q (Q1 (1 - h(e1)) - Q_mu f h(E_mu)) of weak pulses, at least 0.

    Args:
        signal_gain: Q_mu.
        signal_error_rate: E_mu.
        single_gain: Q1.
        single_error_rate: e1.
        efficiency: f >= 1, of reconciliation.
        sifting: q.

    Raises:
        InputError: If an argument is out of its range.

    Reference: Gottesman, Lo, Lütkenhaus and Preskill 2004, arXiv quant-ph/0212066; in this form Ma, Qi, Zhao and
    Lo 2005, arXiv quant-ph/0503005, equation 1.
    """
    check_probability(signal_gain=signal_gain, signal_error_rate=signal_error_rate, sifting=sifting)
    check_probability(single_gain=single_gain, single_error_rate=single_error_rate)
    if not efficiency >= 1:
        raise InputError(f"Expected efficiency={efficiency} >= 1.")
    private = single_gain * (1 - binary_entropy(min(0.5, single_error_rate)))
    corrected = signal_gain * efficiency * binary_entropy(min(0.5, signal_error_rate))
    return max(0.0, sifting * (private - corrected))


def splitting_critical_loss_db(mean_photon_number: float) -> float:
    """Return the loss from which on photon-number splitting does not show in the gain, single photons all blocked.

    There 1 - e^(-eta mu) = 1 - e^(-mu) (1 + mu), so that eta = 1 - ln(1 + mu) / mu.

    Raises:
        InputError: If the mean photon number is not positive.

    Example:
        >>> round(splitting_critical_loss_db(0.1), 2)
        13.29
    """
    check_positive(mean_photon_number=mean_photon_number)
    return -10 * math.log10((mean_photon_number - math.log1p(mean_photon_number)) / mean_photon_number)


def repeaterless_bound(transmittance: float) -> float:
    """Return -log2(1 - eta), the most secret bits that any protocol without repeaters gets a use; infinite at eta = 1.

    Raises:
        InputError: If it is no probability.

    Reference: Pirandola, Laurenza, Ottaviani and Banchi 2017, arXiv 1510.08863, equation 1 (PLOB).

    Example:
        >>> repeaterless_bound(0.5)
        1.0
    """
    check_probability(transmittance=transmittance)
    return math.inf if transmittance == 1 else -math.log1p(-transmittance) / math.log(2)


def check_intensities(signal_mean: float, decoy_mean: float, vacuum_mean: float) -> None:
    """Refuse intensities for which the decoy bounds do not hold.

    Raises:
        InputError: Unless 0 <= vacuum < decoy and vacuum + decoy < signal, all finite.
    """
    if not (0 <= vacuum_mean < decoy_mean and vacuum_mean + decoy_mean < signal_mean < math.inf):
        raise InputError(
            f"Expected 0 <= vacuum_mean_photon_number={vacuum_mean} < decoy_mean_photon_number={decoy_mean} and their "
            f"sum < mean_photon_number={signal_mean}: the decoy bounds hold for no other intensities."
        )


def _light(mean_photon_number: float, transmittance: float, background_yield: float) -> float:
    """Return 1 - e^(-eta mu), checked."""
    check_not_negative(mean_photon_number=mean_photon_number)
    check_probability(transmittance=transmittance, background_yield=background_yield)
    return -math.expm1(-transmittance * mean_photon_number)
