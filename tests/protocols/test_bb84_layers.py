"""The three layers of BB84 agree: closed forms, exact law and sampled counts, and every pulse."""

import math

import numpy as np
import pytest

from qfl_sec.protocols import bb84_rates as rates
from qfl_sec.protocols.bb84 import BB84
from qfl_sec.protocols.bb84_audit import audit
from qfl_sec.protocols.bb84_counts import Tally
from qfl_sec.protocols.channels import any_of
from qfl_sec.randomness import Streams

SIGMAS = 5
ATTACKS = (("none", 1.0), ("intercept_resend", 0.3), ("intercept_resend", 1.0), ("breidbart", 0.5))


def close(observed: float, n: float, p: float, spread: float = 1.0) -> bool:
    """Return whether a binomial count lies within 5 sigma, its variance widened by a stated factor."""
    return abs(observed - n * p) <= SIGMAS * math.sqrt(n * p * (1 - p) * spread) + 1e-6


@pytest.mark.parametrize("source", ["single_photon", "weak_coherent"])
@pytest.mark.parametrize(("adversary", "fraction"), [*ATTACKS, ("photon_number_splitting", 0.7)])
@pytest.mark.parametrize(("distance", "noise"), [(0.0, 0.0), (15.0, 0.04), (60.0, 0.01)])
def test_every_pulse_agrees_with_the_law(
    source: str, adversary: str, fraction: float, distance: float, noise: float
) -> None:
    protocol = BB84(
        pulses=300_000,
        source=source,
        distance_km=distance,
        misalignment_error=noise,
        depolarizing_probability=noise,
        dephasing_probability=2 * noise,
        dark_count_probability=noise / 10,
        after_pulse_probability=noise,
        detector_efficiency=0.8,
        key_basis_probability=0.7,
        adversary=adversary,
        adversary_fraction=fraction,
    )
    law, n = protocol.law, protocol.pulses
    assert law.sum() == pytest.approx(1, abs=1e-12)
    assert law.min() >= 0
    (session,) = protocol.exchange(Streams(5))
    disclosed = session.alice.compare(session.bob.disclose())
    truth = audit(session)
    # After-pulses correlate neighbouring gates: a click begets at most one more with this probability.
    spread = 1 + 4 * noise
    assert close(session.bob.detected, n, law[:, :, 1:].sum(), spread)
    assert close(truth.sifted, n, law[:, :2, 1:].sum(), spread)
    assert close(truth.key_errors, n, law[:, 0, 2].sum(), spread)
    assert close(truth.test_errors, n, law[:, 1, 2].sum(), spread)
    for intensity in range(3):
        assert close(session.alice.key_counts[intensity], n, law[intensity, 0, 1:].sum(), spread)
        assert close(disclosed.counts[intensity], n, law[intensity, 1, 1:].sum(), spread)
        assert close(disclosed.errors[intensity], n, law[intensity, 1, 2].sum(), spread)


@pytest.mark.parametrize(("adversary", "fraction"), ATTACKS)
@pytest.mark.parametrize("depolarizing", [0.0, 0.06])
@pytest.mark.parametrize("misalignment", [0.0, 0.02])
def test_the_law_has_the_closed_error_rate(
    adversary: str, fraction: float, depolarizing: float, misalignment: float
) -> None:
    protocol = BB84(
        pulses=1000,
        distance_km=20,
        depolarizing_probability=depolarizing,
        misalignment_error=misalignment,
        adversary=adversary,
        adversary_fraction=fraction,
    )
    attack = rates.intercept_resend_error(0.0 if adversary == "none" else fraction)
    shrink = (1 - 2 * attack) * (1 - 2 * rates.depolarizing_error(depolarizing)) * (1 - 2 * misalignment)
    tally = protocol.expected_length().tally
    assert tally.expected
    assert tally.error_rate == pytest.approx((1 - shrink) / 2, abs=1e-12)
    assert tally.key_error_rate == pytest.approx((1 - shrink) / 2, abs=1e-12)
    assert tally.detected == pytest.approx(1000 * 10**-0.4)
    assert tally.sifted / tally.detected == pytest.approx(rates.sifting_fraction(), abs=1e-12)


@pytest.mark.parametrize("mu", [0.48, 1.5])
@pytest.mark.parametrize("distance", [0.0, 50.0, 150.0])
def test_weak_pulses_have_their_closed_gain_and_errors(mu: float, distance: float) -> None:
    dark, e_d = 8.5e-7, 0.033
    protocol = BB84(
        pulses=10**9,
        source="weak_coherent",
        mean_photon_number=mu,
        distance_km=distance,
        misalignment_error=e_d,
        dark_count_probability=dark,
        detector_efficiency=0.045,
    )
    tally = protocol.expected_length().tally
    eta, y0 = protocol.public_setting.transmittance, any_of(dark, 2)
    light = eta * mu
    assert tally.gains()[0] == pytest.approx(1 - (1 - y0) * math.exp(-light), rel=1e-9)
    # Poisson light falls on the two detectors independently.
    wrong, right = (1 - (1 - dark) * math.exp(-light * share) for share in (e_d, 1 - e_d))
    error = tally.counts[0, 1, 2] / tally.counts[0, 1].sum()
    assert error == pytest.approx(wrong * (1 - right) + wrong * right / 2, rel=1e-9)
    # The model of Ma et al. leaves out coincidences, of second order in eta mu.
    assert tally.gains()[0] == pytest.approx(rates.gain(mu, eta, y0), rel=y0 + 1e-9)
    assert error == pytest.approx(rates.error_gain(mu, eta, y0, e_d), rel=light + 1e-5)


@pytest.mark.parametrize("adversary", ["none", "intercept_resend", "photon_number_splitting"])
def test_sampled_counts_agree_with_the_law(adversary: str) -> None:
    protocol = BB84(
        pulses=10**12,
        source="weak_coherent",
        distance_km=30,
        misalignment_error=0.01,
        dark_count_probability=1e-6,
        adversary=adversary,
    )
    law, tally = protocol.law, protocol.sample_counts(Streams(3))
    assert int(tally.counts.sum()) == 10**12
    assert not tally.expected
    for observed, p in zip(tally.counts.ravel(), law.ravel(), strict=True):
        assert close(observed, 1e12, p)
    assert np.array_equal(tally.counts, protocol.sample_counts(Streams(3)).counts)


def test_splitting_hides_from_the_signal_and_shows_in_the_decoys() -> None:
    settings = {"source": "weak_coherent", "distance_km": 100.0, "mean_photon_number": 0.3}
    honest, split = (
        BB84(**settings, adversary=name).expected_length().tally for name in ("none", "photon_number_splitting")
    )
    assert split.gains()[0] == pytest.approx(honest.gains()[0], rel=1e-9)
    assert split.error_rate == pytest.approx(0, abs=1e-12)
    assert split.gains()[1] < 0.8 * honest.gains()[1]
    bounds = [
        rates.decoy_single_yield(0.3, 0.2, signal_gain=g[0], decoy_gain=g[1], background_yield=0.0)
        for g in (honest.gains(), split.gains())
    ]
    assert bounds[0] > 0.9 * 0.01
    assert bounds[1] == 0


def test_splitting_defeats_the_finite_key_too() -> None:
    settings = {
        "source": "weak_coherent",
        "distance_km": 100.0,
        "pulses": 10**11,
        "key_basis_probability": 0.8,
        "signal_probability": 0.5,
    }
    assert BB84(**settings).expected_length().secret_bits > 10**6
    attacked = BB84(**settings, adversary="photon_number_splitting").expected_length()
    assert attacked.secret_bits == 0
    assert "no security statement" in attacked.statement


def test_the_finite_key_approaches_the_asymptotic_rate() -> None:
    protocol = BB84(pulses=10**15, misalignment_error=0.02, qber_tolerance=0.02000001, key_basis_probability=0.99)
    expected = protocol.expected_length(efficiency=1.0)
    assert isinstance(expected.tally, Tally)
    asymptotic = 1 - 2 * (-0.02 * math.log2(0.02) - 0.98 * math.log2(0.98))
    assert expected.secret_bits / expected.tally.key_counts.sum() == pytest.approx(asymptotic, rel=1e-3)


def test_expected_lengths_are_never_negative_and_fall_with_distance() -> None:
    lengths = [
        BB84(
            pulses=10**9,
            distance_km=float(distance),
            misalignment_error=0.01,
            dark_count_probability=1e-6,
            detector_efficiency=0.1,
        )
        .expected_length()
        .secret_bits
        for distance in range(0, 400, 25)
    ]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > 0
    assert lengths[-1] == 0


@pytest.mark.parametrize("group", [1, 3, 8])
def test_few_disclosed_bits_miss_the_eavesdropper_as_often_as_computed(group: int) -> None:
    (session,) = BB84(pulses=200_000, adversary="intercept_resend").exchange(Streams(8))
    errors = session.alice._test.bits() != session.bob._test.bits()
    groups = errors[: len(errors) // group * group].reshape(-1, group)
    clean = np.count_nonzero(~groups.any(axis=1))
    assert close(clean, len(groups), rates.undetected_probability(1.0, group))


def test_after_pulses_add_clicks_without_information() -> None:
    protocol = BB84(pulses=400_000, distance_km=20, after_pulse_probability=0.2)
    (session,) = protocol.exchange(Streams(4))
    p, light = 0.2, 10**-0.4
    added = p * light * (1 - light)
    assert protocol.law[:, :, 1:].sum() == pytest.approx(light + added, rel=1e-12)
    assert close(session.bob.detected, protocol.pulses, light + added, 1 + 2 * p)
    error = protocol.expected_length().tally.error_rate
    # An added click is wrong every second time, and so is every second coincidence with a click elsewhere.
    assert error == pytest.approx((added / 2 + p * light * light / 4) / (light + added), rel=1e-12)
    truth = audit(session)
    assert close(truth.key_errors + truth.test_errors, truth.sifted, error, 1 + 2 * p)
