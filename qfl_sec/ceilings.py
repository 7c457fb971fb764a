"""What a privacy guarantee means for an attack: the highest success rate that theory leaves to any attacker.

From a mechanism's whole privacy curve, and in closed form for Gaussian differential privacy (GDP), in which one
full-batch Gaussian release of noise multiplier z has mu = 1 / z when a record is added or removed.
"""

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr, ndtri

from qfl_sec.contracts import PrivacyCurve

_LARGEST_EXPONENT = 700.0
"""exp of more overflows; ceilings are 1 long before."""


def membership_ceiling(curve: PrivacyCurve, false_positive_rate: float) -> float:
    """Return the highest true positive rate at this false positive rate.

    Guarantee: no attack on a mechanism with this privacy curve exceeds it, if neighbours are as in the game.

    | case                                  | result                                                     |
    |---------------------------------------|------------------------------------------------------------|
    | empty curve: no formal guarantee      | 1, or refuse before: there is no ceiling to draw           |
    | false positive rate 1                 | 1                                                          |
    | epsilon = delta = 0                   | the false positive rate                                    |

    Args:
        curve: (epsilon, delta) pairs, each of which holds.
        false_positive_rate: In [0, 1].

    Returns:
        The least of e^eps FPR + delta and 1 - e^-eps (1 - delta - FPR) over the pairs, within [FPR, 1].

    Raises:
        ValueError: If a number is out of its range or NaN.

    Reference: Kairouz, Oh, Viswanath 2015, arXiv 1311.0776, Theorem 2.1.
    """
    fpr = _probability("false_positive_rate", false_positive_rate)
    pairs = np.asarray(curve, dtype=np.float64).reshape(-1, 2)
    epsilon, delta = pairs[:, 0], pairs[:, 1]
    if not ((epsilon >= 0) & (delta >= 0) & (delta <= 1)).all():
        raise ValueError("Expected every pair of the curve to have epsilon >= 0 and 0 <= delta <= 1.")
    epsilon = np.minimum(epsilon, _LARGEST_EXPONENT)
    bounds = np.concatenate(([1.0], np.exp(epsilon) * fpr + delta, 1 - np.exp(-epsilon) * (1 - delta - fpr)))
    return float(max(bounds.min(), fpr))


def reconstruction_ceiling(curve: PrivacyCurve, kappa: float) -> float:
    """Return the highest probability that a record is rebuilt from a mechanism's output.

    Guarantee: holds for a record drawn from the prior behind kappa, whatever else the attacker knows of the others.

    Args:
        curve: (epsilon, delta) pairs of the mechanism, for the record known to be in its batch.
        kappa: An upper bound on the success of the best guess made without the output, in [0, 1].

    Raises:
        ValueError: If a number is out of its range or NaN.

    Reference: Balle, Cherubin, Hayes 2022, arXiv 2201.04845; Hayes, Mahloujifar, Balle 2023, arXiv 2302.07225: the
        blow-up of an event of probability kappa is the trade-off curve at kappa.
    """
    return membership_ceiling(curve, _probability("kappa", kappa))


def advantage_ceiling(epsilon: float, delta: float) -> float:
    """Return the largest TPR - FPR under (epsilon, delta)-differential privacy: (e^eps - 1 + 2 delta)/(e^eps + 1).

    Reference: Humphries et al. 2023, arXiv 2010.12112, Theorem 3.5.

    Raises:
        ValueError: If epsilon < 0, or delta is not in [0, 1].

    Example:
        >>> advantage_ceiling(0.0, 0.25)
        0.25
    """
    _not_negative("epsilon", epsilon)
    delta = _probability("delta", delta)
    # Dividing by e^eps keeps large budgets from overflowing.
    shrink = math.exp(-epsilon)
    return min(1.0, (-math.expm1(-epsilon) + 2 * delta * shrink) / (1 + shrink))


def gdp_delta(epsilon: float, mu: float) -> float:
    """Return delta(eps) = Phi(-eps/mu + mu/2) - e^eps Phi(-eps/mu - mu/2) of mu-GDP; 0 at mu = 0.

    Reference: Dong, Roth, Su 2022, arXiv 1905.02383, Corollary 2.13.

    Raises:
        ValueError: If epsilon < 0 or mu < 0.
    """
    _not_negative("epsilon", epsilon)
    _not_negative("mu", mu)
    if mu == 0:
        return 0.0
    first, second = log_ndtr(-epsilon / mu + mu / 2), epsilon + log_ndtr(-epsilon / mu - mu / 2)
    return float(-np.exp(first) * np.expm1(min(second - first, 0.0)))


def gdp_epsilon(mu: float, delta: float) -> float:
    """Return the least epsilon of mu-GDP at this delta; 0 where delta already covers epsilon = 0.

    Raises:
        ValueError: If mu < 0, or delta is not in (0, 1).

    Example:
        >>> round(gdp_epsilon(1.0, 1e-5), 4)
        4.3772
    """
    if not 0 < delta < 1:
        raise ValueError(f"Expected 0 < delta={delta} < 1.")
    if gdp_delta(0.0, mu) <= delta:
        return 0.0
    # delta(eps) <= Phi(-eps/mu + mu/2), so that this upper end is always far enough.
    high = mu * (mu / 2 - float(ndtri(delta))) + 1
    return float(brentq(lambda epsilon: gdp_delta(epsilon, mu) - delta, 0.0, high, xtol=1e-13, rtol=1e-14))


def gdp_membership_ceiling(mu: float, false_positive_rate: float) -> float:
    """Return the highest true positive rate under mu-GDP: Phi(Phi^-1(FPR) + mu).

    Reference: Dong, Roth, Su 2022, arXiv 1905.02383, Equation 6.

    Raises:
        ValueError: If mu < 0, or the rate is not in [0, 1].

    Example:
        >>> round(gdp_membership_ceiling(1.0, 0.01), 4)
        0.0924
    """
    _not_negative("mu", mu)
    return float(ndtr(ndtri(_probability("false_positive_rate", false_positive_rate)) + mu))


def gdp_auc_ceiling(mu: float) -> float:
    """Return the largest area under the ROC curve under mu-GDP: Phi(mu / sqrt 2).

    Raises:
        ValueError: If mu < 0.

    Example:
        >>> round(gdp_auc_ceiling(1.0), 4)
        0.7602
    """
    _not_negative("mu", mu)
    return float(ndtr(mu / math.sqrt(2)))


def gdp_reconstruction_ceiling(mu: float, kappa: float) -> float:
    """Return the highest probability of rebuilding a record under mu-GDP: Phi(Phi^-1(kappa) + mu).

    Args:
        mu: For a record known to be in the batch.
        kappa: Success of the best fixed guess, in [0, 1].

    Reference: Hayes, Mahloujifar, Balle 2023, arXiv 2302.07225.

    Raises:
        ValueError: If mu < 0, or kappa is not in [0, 1].
    """
    return gdp_membership_ceiling(mu, _probability("kappa", kappa))


def analytic_gaussian_sigma(epsilon: float, delta: float, *, sensitivity: float = 1.0) -> float:
    """Return the least noise of one Gaussian release that is (epsilon, delta)-differentially private.

    Exact for every epsilon > 0, where the classical formula under-noises above about 8.5.

    Args:
        epsilon: Budget, > 0 and finite.
        delta: In (0, 1).
        sensitivity: L2 distance between neighbours' outputs, > 0 and finite.

    Raises:
        ValueError: If an argument is out of its range or NaN.

    Reference: Balle and Wang 2018, arXiv 1805.06530, Theorem 8.

    Example:
        >>> round(analytic_gaussian_sigma(1.0, 1e-5), 4)
        3.7306
    """
    for name, value in (("epsilon", epsilon), ("sensitivity", sensitivity)):
        if not 0 < value < math.inf:
            raise ValueError(f"Expected {name}={value} > 0 and finite.")
    if not 0 < delta < 1:
        raise ValueError(f"Expected 0 < delta={delta} < 1.")
    low, high = -50.0, 50.0
    # In log mu, since delta rises with mu from 0 to 1.
    log_mu = brentq(lambda log: gdp_delta(epsilon, math.exp(log)) - delta, low, high, xtol=1e-13, rtol=1e-14)
    return sensitivity / math.exp(log_mu)


def _probability(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"Expected 0 <= {name}={value} <= 1.")
    return value


def _not_negative(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"Expected {name}={value} >= 0 and finite.")
