"""Error distributions of Bell pairs, and the capacities that follow from them.

A distribution is an array (2, 2): the probability of each Pauli error X^bit Z^phase, at [bit, phase]. Errors that
follow each other combine by `combined`.
"""

from functools import reduce

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import entr

from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols.bits import binary_entropy
from qfl_sec.protocols.channels import check_probability

PauliErrors = NDArray[np.float64]
"""Probabilities at [bit, phase], (2, 2)."""

NO_ERROR: PauliErrors = np.array([[1.0, 0.0], [0.0, 0.0]])
UNIFORM: PauliErrors = np.full((2, 2), 0.25)


def entropy(distribution: NDArray[np.float64]) -> float:
    """Return the Shannon entropy of a distribution of any shape, in bits."""
    return float(entr(distribution).sum() / np.log(2))


def independent_errors(bit_error: float, phase_error: float) -> PauliErrors:
    """Return independent bit and phase errors."""
    check_probability(bit_error=bit_error, phase_error=phase_error)
    return np.outer([1 - bit_error, bit_error], [1 - phase_error, phase_error])


def werner_errors(fidelity: float) -> PauliErrors:
    """Return the errors of a Werner state: the three others share what the fidelity leaves, in equal parts."""
    check_probability(fidelity=fidelity)
    return (1 - fidelity) / 3 + (fidelity - (1 - fidelity) / 3) * NO_ERROR


def sometimes(probability: float, errors: PauliErrors) -> PauliErrors:
    """Return errors that occur only with this probability."""
    check_probability(probability=probability)
    return (1 - probability) * NO_ERROR + probability * errors


def combined(*errors: PauliErrors) -> PauliErrors:
    """Return the distribution of the product of independent errors.

    Example:
        >>> float(combined(independent_errors(0.1, 0), independent_errors(0.1, 0))[1, 0].round(12))
        0.18
    """
    return reduce(_convolved, errors, NO_ERROR)


def _convolved(first: PauliErrors, second: PauliErrors) -> PauliErrors:
    shifted = np.array([np.roll(second, (bit, phase), axis=(0, 1)) for bit in (0, 1) for phase in (0, 1)])
    result: PauliErrors = np.tensordot(first.ravel(), shifted, axes=1)
    return result


def error_rates(errors: PauliErrors) -> tuple[float, float]:
    """Return the rates of bit and phase errors: what comparisons in Z and in X find."""
    return float(errors[1].sum()), float(errors[:, 1].sum())


def draw_errors(errors: PauliErrors, count: int, generator: np.random.Generator) -> tuple[Bits, Bits]:
    """Draw bit and phase errors, each (count,)."""
    symbol = np.searchsorted(np.cumsum(errors.ravel())[:3], generator.random(count), side="right")
    return (symbol >> 1).astype(np.uint8), (symbol & 1).astype(np.uint8)


def two_step_holevo(bit_error: float, phase_error: float) -> float:
    """Return the most that an eavesdropper can learn of two encoded bits: h(e_x) + h(e_z) bits.

    Her Holevo information is the entropy H(lambda) of the Bell-diagonal state of the pair, which is largest, for given
    error rates, if bit and phase errors are independent.

    Reference: Deng, Long and Liu 2003, quant-ph/0308173, for the protocol; Holevo 1973 for the bound; h(e_x) + h(e_z)
    by subadditivity of the entropy.

    Example:
        >>> round(two_step_holevo(0.05, 0.05), 5)
        0.57279
    """
    return binary_entropy(bit_error) + binary_entropy(phase_error)


def dl04_holevo(bit_error: float, phase_error: float) -> float:
    """Return the eavesdropper's Holevo information where only I and iY encode: h(e_x + e_z - 2 e_x e_z).

    For independent bit and phase errors; without that assumption it is h(e_x + e_z) for e_x + e_z <= 1/2.

    Reference: Deng and Long 2004, quant-ph/0405177, for the protocol; Qi et al. 2019, doi:10.1038/s41377-019-0132-3,
    for the secrecy capacity.

    Example:
        >>> round(dl04_holevo(0.05, 0.05), 5)
        0.45294
    """
    return binary_entropy(bit_error + phase_error - 2 * bit_error * phase_error)


def two_step_capacity(transmission: PauliErrors, *, survival: float = 1.0) -> float:
    """Return the capacity of the receiver's channel: survival (2 - H(errors)) bits a pair.

    Args:
        transmission: Errors of both sequences together.
        survival: Probability that an encoded pair is measured.
    """
    return survival * (2 - entropy(transmission))


def two_step_secrecy_capacity(check: tuple[float, float], transmission: PauliErrors, *, survival: float = 1.0) -> float:
    """Return what two-step QSDC can carry in secret: survival (2 - H(errors)) - h(e_x) - h(e_z), at least 0.

    The eavesdropper is granted every encoded photon that the receiver misses.

    Args:
        check: Rates of bit and phase errors of the sequence C, as the first check finds them.
        transmission: Errors of both sequences together.
        survival: Probability that an encoded pair is measured.

    Returns:
        Bits an encoded pair. An asymptotic figure, for collective attacks.

    Reference: Wyner 1975, doi:10.1002/j.1538-7305.1975.tb02040.x; in this form for direct communication Qi et al. 2019,
    doi:10.1038/s41377-019-0132-3.

    Example:
        >>> round(two_step_secrecy_capacity((0.05, 0.05), independent_errors(0.05, 0.05)), 5)
        0.85441
    """
    return max(0.0, two_step_capacity(transmission, survival=survival) - two_step_holevo(*check))


def two_step_threshold(*, noisy_message: bool) -> float:
    """Return the error rate above which nothing can be carried in secret.

    Args:
        noisy_message: Whether the sequence M is as noisy as C, or noiseless.

    Example:
        >>> round(two_step_threshold(noisy_message=False), 5), round(two_step_threshold(noisy_message=True), 5)
        (0.11003, 0.07936)
    """

    def margin(rate: float) -> float:
        errors = independent_errors(rate, rate)
        return two_step_capacity(combined(errors, errors) if noisy_message else errors) - two_step_holevo(rate, rate)

    return float(brentq(margin, 1e-6, 0.25))


def one_step_secrecy_capacity(polarization: PauliErrors, spatial: PauliErrors, *, survival: float = 1.0) -> float:
    """Return what one-step QSDC can carry in secret, at least 0: 2 - H(lambda_P) - H(lambda_S) if nothing is lost.

    The receiver's channel has the errors of both degrees of freedom combined and carries survival (2 - H(combined));
    the eavesdropper holds what purifies both and learns H(lambda_P) + H(lambda_S) - H(combined).

    Args:
        polarization: Errors of the first degree of freedom, lambda_P.
        spatial: Errors of the second, lambda_S.
        survival: Probability that both photons of an encoded pair are detected.

    Returns:
        Bits a pair that arrived and was encoded. An asymptotic figure, for collective attacks.

    Reference: Sheng, Zhou and Long 2022, doi:10.1016/j.scib.2021.11.002, for the protocol; Wyner 1975 for the form.

    Example:
        >>> round(one_step_secrecy_capacity(werner_errors(0.98), werner_errors(0.98)), 4)
        1.6537
    """
    both = entropy(combined(polarization, spatial))
    return max(0.0, survival * (2 - both) - (entropy(polarization) + entropy(spatial) - both))


def one_step_threshold() -> float:
    """Return the Werner fidelity of both degrees of freedom below which nothing can be carried in secret.

    Example:
        >>> round(one_step_threshold(), 3)
        0.811
    """
    return float(brentq(lambda fidelity: 2 - 2 * entropy(werner_errors(fidelity)), 0.6, 0.999))
