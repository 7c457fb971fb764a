"""Closed forms against the pinned values of the literature, density matrices, and each other."""

import math

import numpy as np
import pytest

from qfl_sec.protocols import bb84_rates as rates
from qfl_sec.protocols.finite_key import asymptotic_rate

Y0, E_D, MU, NU = 1.7e-6, 0.033, 0.48, 0.05
"""Gobby, Yuan and Shields 2004, as in Ma et al. 2005."""


def gys_transmittance(distance_km: float) -> float:
    return 0.045 * 10 ** (-0.21 * distance_km / 10)


def gys_rate(distance_km: float, single_yield: float, single_error: float) -> float:
    eta = gys_transmittance(distance_km)
    gain = rates.gain(MU, eta, Y0)
    return rates.gllp_rate(
        signal_gain=gain,
        signal_error_rate=rates.error_gain(MU, eta, Y0, E_D) / gain,
        single_gain=rates.single_photon_gain(MU, single_yield),
        single_error_rate=single_error,
        efficiency=1.22,
    )


@pytest.mark.parametrize(("distance", "expected"), [(0, 2.554588e-3), (50, 2.225961e-4), (100, 1.718444e-5)])
def test_infinite_decoys_give_the_pinned_rates(distance: float, expected: float) -> None:
    eta = gys_transmittance(distance)
    single = Y0 + eta
    assert gys_rate(distance, single, (Y0 / 2 + E_D * eta) / single) == pytest.approx(expected, rel=1e-6)


def vacuum_and_weak(distance: float) -> tuple[float, float]:
    eta = gys_transmittance(distance)
    single = rates.decoy_single_yield(
        MU,
        NU,
        signal_gain=rates.gain(MU, eta, Y0),
        decoy_gain=rates.gain(NU, eta, Y0),
        background_yield=Y0,
    )
    wrong = rates.error_gain(NU, eta, Y0, E_D)
    return single, rates.decoy_single_error(NU, decoy_error_gain=wrong, background_yield=Y0, single_yield=single)


def test_vacuum_and_weak_decoy_gives_the_pinned_rate() -> None:
    assert gys_rate(100, *vacuum_and_weak(100)) == pytest.approx(1.602005e-5, rel=1e-6)


@pytest.mark.parametrize("distance", [0, 20, 60, 120, 140])
def test_decoy_bounds_lie_on_the_safe_side(distance: float) -> None:
    eta = gys_transmittance(distance)
    single, error = vacuum_and_weak(distance)
    assert 0 < single <= Y0 + eta
    assert error >= (Y0 / 2 + E_D * eta) / (Y0 + eta)


def test_no_rate_exceeds_the_repeaterless_bound() -> None:
    for distance in range(0, 200, 5):
        eta = gys_transmittance(distance)
        assert 0 <= gys_rate(distance, *vacuum_and_weak(distance)) < rates.repeaterless_bound(eta)
        assert eta * asymptotic_rate(0.0) < rates.repeaterless_bound(eta)


def test_photon_number_splitting_hides_from_the_pinned_loss_on() -> None:
    loss = rates.splitting_critical_loss_db(0.1)
    assert round(loss, 2) == 13.29
    eta = 10 ** (-loss / 10)
    assert -math.expm1(-0.1 * eta) == pytest.approx(1 - math.exp(-0.1) * 1.1, rel=1e-9)


def state(k: float) -> np.ndarray:
    """Return the polarization k times 22.5 degrees."""
    return np.array([math.cos(k * math.pi / 8), math.sin(k * math.pi / 8)])


@pytest.mark.parametrize("bases", [(0, 2), (1,)])
def test_measuring_and_sending_again_costs_a_quarter_by_density_matrices(bases: tuple[int, ...]) -> None:
    wrong, right = 0.0, 0.0
    for sent in (0, 2, 4, 6):
        basis, bit = sent % 4, sent // 4
        for mine in bases:
            for found in (0, 1):
                seen = state(mine + 4 * found)
                weight = (seen @ state(sent)) ** 2 / 4 / len(bases)
                wrong += weight * (seen @ state(basis + 4 * (1 - bit))) ** 2
                right += weight * (found == bit)
    assert wrong == pytest.approx(rates.intercept_resend_error(1.0), abs=1e-15)
    assert right == pytest.approx(0.75 if len(bases) == 2 else math.cos(math.pi / 8) ** 2, abs=1e-15)


def test_attacks_stay_below_the_best_guess_at_their_error_rate() -> None:
    for fraction in np.linspace(0.05, 1, 20):
        highest = rates.best_guess(rates.intercept_resend_error(fraction))
        assert 0.5 + fraction / 4 < highest
        assert 0.5 + fraction * (math.cos(math.pi / 8) ** 2 - 0.5) < highest


def test_small_closed_forms() -> None:
    assert rates.sifting_fraction() == 0.5
    assert rates.sifting_fraction(0.9) == pytest.approx(0.82)
    assert rates.intercept_resend_information(0.4) == 0.2
    assert rates.undetected_probability(1.0, 10) == pytest.approx(0.75**10, rel=1e-14)
    assert rates.undetected_probability(0.4, 3) == pytest.approx(0.9**3, rel=1e-14)
    assert rates.depolarizing_error(0.08) == 0.04
    assert rates.misalignment_error(0.2) == math.sin(0.2) ** 2
    assert rates.repeaterless_bound(0.0) == 0.0
    assert rates.repeaterless_bound(1.0) == math.inf
    assert rates.repeaterless_bound(1e-9) == pytest.approx(1.44e-9, rel=1e-2)
    assert rates.gain(0.5, 1.0, 1.0) == 1.0
    assert rates.decoy_single_error(0.1, decoy_error_gain=0.1, background_yield=0.0, single_yield=0.0) == 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rates.sifting_fraction(-0.1), "key_basis_probability=-0.1"),
        (lambda: rates.intercept_resend_error(1.5), "fraction=1.5"),
        (lambda: rates.undetected_probability(0.5, -1), "sacrificed_bits=-1"),
        (lambda: rates.splitting_critical_loss_db(0.0), "mean_photon_number=0"),
        (lambda: rates.repeaterless_bound(float("nan")), "transmittance=nan"),
        (lambda: rates.best_guess(0.6), "error_rate=0.6"),
        (lambda: rates.gain(-0.5, 0.1, 0.0), "mean_photon_number=-0.5"),
        (lambda: rates.check_intensities(0.3, 0.2, 0.1), "mean_photon_number=0.3"),
        (lambda: rates.check_intensities(0.3, 0.0, 0.0), "decoy_mean_photon_number=0.0"),
        (
            lambda: rates.decoy_single_yield(0.1, 0.2, signal_gain=0.1, decoy_gain=0.1, background_yield=0.0),
            "decoy_mean_photon_number=0.2",
        ),
        (
            lambda: rates.gllp_rate(
                signal_gain=0.1, signal_error_rate=0.1, single_gain=0.1, single_error_rate=0.1, efficiency=0.9
            ),
            "efficiency=0.9",
        ),
    ],
)
def test_what_is_out_of_range_is_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
