"""Key lengths: pinned values, the printed formulas at high precision, and nothing negative or undefined anywhere."""

import itertools
import math
from dataclasses import replace

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qfl_sec.protocols.expected_key import (
    DecoyLink,
    DecoySettings,
    ExpectedKey,
    best_key,
    expected_key,
    keys_over_distance,
)
from qfl_sec.protocols.finite_key import (
    DecoyCounts,
    DecoyLength,
    asymptotic_rate,
    decoy_length,
    key_ledger,
    qber_threshold,
    single_photon_length,
)

EPSILONS = {"epsilon_secrecy": 1e-9, "epsilon_correctness": 1e-15}

PUBLISHED = DecoySettings(
    key_basis_probability=0.8656,
    intensities=(0.4309, 0.2091, 2e-4),
    probabilities=(0.4009, 0.4644, 1 - 0.4009 - 0.4644),
)
"""Optimised for 100 km and n_X = 1e7 in the reference."""


def counts(n: float = 1e7, error_rate: float = 0.01) -> DecoyCounts:
    """Return what a link without dark counts shows, of transmittance 1e-3."""
    shares = [share * mu for mu, share in zip(PUBLISHED.intensities, PUBLISHED.probabilities, strict=True)]
    first, second, third = (n * share / sum(shares) for share in shares)
    tests = (first / 10, second / 10, third / 10)
    errors = (tests[0] * error_rate, tests[1] * error_rate, tests[2] * error_rate)
    return DecoyCounts(
        intensities=PUBLISHED.intensities,
        probabilities=PUBLISHED.probabilities,
        key_counts=(first, second, third),
        test_counts=tests,
        test_errors=errors,
    )


def test_asymptotic_thresholds() -> None:
    assert qber_threshold() == pytest.approx(0.1100278644, abs=1e-10)
    assert qber_threshold(1.16) == pytest.approx(0.098106, abs=5e-7)
    assert asymptotic_rate(qber_threshold() - 1e-6) > 0 == asymptotic_rate(qber_threshold() + 1e-6)
    assert asymptotic_rate(0.05) == pytest.approx(1 - 2 * 0.2863969571, abs=1e-9)
    assert asymptotic_rate(0.05, 1.2) == pytest.approx(1 - 2.2 * 0.2863969571, abs=1e-9)
    assert asymptotic_rate(1.0) == 0.0


def printed_single_photon(n: int, k: int, tolerance: float, leak: float) -> float:
    with mpmath.workdps(40):
        secrecy, correctness = mpmath.mpf(1e-9), mpmath.mpf(1e-15)
        mu = mpmath.sqrt(mpmath.mpf(n + k) / (n * k) * mpmath.mpf(k + 1) / k * mpmath.log(4 / secrecy))
        at = tolerance + mu
        entropy = -at * mpmath.log(at, 2) - (1 - at) * mpmath.log(1 - at, 2)
        return float(n * (1 - entropy) - leak - mpmath.log(2 / (secrecy**2 * correctness), 2))


@pytest.mark.parametrize(("n", "k"), [(10_000, 10_000), (100_000, 5_000), (10**6, 10**5), (10**9, 10**7)])
@pytest.mark.parametrize("tolerance", [0.005, 0.02, 0.05])
def test_single_photon_length_is_the_printed_formula(n: int, k: int, tolerance: float) -> None:
    leak = 0.1 * n
    expected = max(0, math.floor(printed_single_photon(n, k, tolerance, leak)))
    assert single_photon_length(n, k, qber_tolerance=tolerance, leak_bits=leak, **EPSILONS) == expected


def test_single_photon_length_approaches_the_asymptotic_rate() -> None:
    rates = [
        single_photon_length(n, n, qber_tolerance=0.03, leak_bits=0.2 * n, **EPSILONS) / n
        for n in (10**4, 10**6, 10**8, 10**12)
    ]
    assert rates == sorted(rates)
    entropy = 1 - asymptotic_rate(0.03) / 2 - 0.5
    assert rates[-1] == pytest.approx(1 - entropy - 0.2, abs=1e-4)


@given(
    n=st.integers(0, 10**7),
    k=st.integers(0, 10**7),
    tolerance=st.floats(0, 0.5),
    leak=st.floats(0, 1e8),
    secrecy=st.floats(1e-300, 0.999),
    correctness=st.floats(1e-300, 0.999),
)
def test_no_single_photon_length_is_negative(
    n: int, k: int, tolerance: float, leak: float, secrecy: float, correctness: float
) -> None:
    options = {"leak_bits": leak, "epsilon_secrecy": secrecy, "epsilon_correctness": correctness}
    length = single_photon_length(n, k, qber_tolerance=tolerance, **options)
    assert 0 <= length <= n
    assert single_photon_length(n, k, qber_tolerance=min(0.5, tolerance + 0.01), **options) <= length
    assert single_photon_length(n, 2 * k, qber_tolerance=tolerance, **options) >= length


def printed_decoys(data: DecoyCounts, leak: float) -> float:
    """Equations 1 to 5 in the paper's letters, with 40 digits, where no bound has to be clipped."""
    with mpmath.workdps(40):
        eps, cor = mpmath.mpf(EPSILONS["epsilon_secrecy"]), mpmath.mpf(EPSILONS["epsilon_correctness"])
        mu, p = [mpmath.mpf(value) for value in data.intensities], [mpmath.mpf(value) for value in data.probabilities]
        tau = [sum(p[i] * mpmath.exp(-mu[i]) * mu[i] ** n for i in range(3)) for n in range(2)]

        def bound(observed: tuple[float, ...], i: int, sign: int) -> mpmath.mpf:
            deviation = mpmath.sqrt(mpmath.mpf(sum(observed)) / 2 * mpmath.log(21 / eps))
            return mpmath.exp(mu[i]) / p[i] * (observed[i] + sign * deviation)

        def photons(n: tuple[float, ...]) -> tuple[mpmath.mpf, mpmath.mpf]:
            s0 = tau[0] * (mu[1] * bound(n, 2, -1) - mu[2] * bound(n, 1, 1)) / (mu[1] - mu[2])
            weight = (mu[1] ** 2 - mu[2] ** 2) / mu[0] ** 2
            bracket = bound(n, 1, -1) - bound(n, 2, 1) - weight * (bound(n, 0, 1) - s0 / tau[0])
            return s0, tau[1] * mu[0] * bracket / (mu[0] * (mu[1] - mu[2]) - mu[1] ** 2 + mu[2] ** 2)

        (s0, s1), (_, z1) = photons(data.key_counts), photons(data.test_counts)
        m = data.test_errors
        b = tau[1] * (bound(m, 1, 1) - bound(m, 2, -1)) / (mu[1] - mu[2]) / z1
        inside = (z1 + s1) * (1 - b) * b / (z1 * s1 * mpmath.log(2))
        phi = b + mpmath.sqrt(inside * mpmath.log((z1 + s1) / (z1 * s1 * (1 - b) * b) * 441 / eps**2, 2))
        h = -phi * mpmath.log(phi, 2) - (1 - phi) * mpmath.log(1 - phi, 2)
        return float(s0 + s1 - s1 * h - leak - 6 * mpmath.log(21 / eps, 2) - mpmath.log(2 / cor, 2))


@pytest.mark.parametrize("error_rate", [0.001, 0.01])
@pytest.mark.parametrize("background", [2e5, 5e5])
def test_decoy_length_is_the_printed_formula(error_rate: float, background: float) -> None:
    """With so much background that no count's lower bound is negative."""
    plain = counts(1e10, error_rate)
    share = plain.probabilities
    data = replace(
        plain,
        key_counts=tuple(count + 1e3 * background * part for count, part in zip(plain.key_counts, share, strict=True)),
        test_counts=tuple(
            count + 1e2 * background * part for count, part in zip(plain.test_counts, share, strict=True)
        ),
        test_errors=tuple(count + 50 * background * part for count, part in zip(plain.test_errors, share, strict=True)),
    )
    found = decoy_length(data, leak_bits=1e8, **EPSILONS)
    assert found.vacuum_counts > 0
    assert found.unrounded > 1e9
    assert found.unrounded == pytest.approx(printed_decoys(data, 1e8), rel=1e-11)
    assert found.length == math.floor(found.unrounded)


def test_bounds_contain_the_truth_and_close_in_on_it() -> None:
    """Without dark counts, at high loss, single photons are a share e^-mu of an intensity's detections."""
    shares = [n * math.exp(-mu) for n, mu in zip(counts().key_counts, PUBLISHED.intensities, strict=True)]
    truth = sum(shares) / 1e7
    found = [decoy_length(counts(n), leak_bits=0, **EPSILONS).single_photon_counts / n for n in (1e6, 1e8, 1e12, 1e16)]
    assert found == sorted(found)
    assert 0.8 * truth < found[-1] < truth


def test_counts_of_nothing_give_no_key() -> None:
    none = (0.0, 0.0, 0.0)
    empty = replace(counts(), key_counts=none, test_counts=none, test_errors=none)
    nothing = DecoyLength(length=0, unrounded=0.0, vacuum_counts=0.0, single_photon_counts=0.0, phase_error=0.5)
    assert decoy_length(empty, leak_bits=0, **EPSILONS) == nothing


def test_no_observed_errors_are_no_proof_that_there_are_none() -> None:
    found = decoy_length(replace(counts(), test_errors=(0.0, 0.0, 0.0)), leak_bits=0, **EPSILONS)
    assert 0 < found.phase_error < 0.05


@given(
    key=st.tuples(*[st.floats(0, 1e12)] * 3),
    tests=st.tuples(*[st.floats(0, 1e12)] * 3),
    wrong=st.floats(0, 1),
    leak=st.floats(0, 1e12),
    epsilon=st.floats(1e-300, 0.999),
)
def test_no_decoy_length_is_negative_or_undefined(
    key: tuple[float, float, float],
    tests: tuple[float, float, float],
    wrong: float,
    leak: float,
    epsilon: float,
) -> None:
    errors = (tests[0] * wrong, tests[1] * wrong, tests[2] * wrong)
    data = replace(counts(), key_counts=key, test_counts=tests, test_errors=errors)
    found = decoy_length(data, leak_bits=leak, epsilon_secrecy=epsilon, epsilon_correctness=1e-15)
    assert 0 <= found.length <= found.unrounded < math.inf
    assert 0 <= found.phase_error <= 0.5
    assert min(found.vacuum_counts, found.single_photon_counts) >= 0


def test_the_pinned_key_at_one_hundred_kilometres() -> None:
    found = expected_key(DecoyLink(distance_km=100), PUBLISHED, key_counts=1e7)
    assert found.key.length == 2441605
    assert found.rate == pytest.approx(5.156627e-5, rel=1e-7)
    assert found.epsilon_secrecy == pytest.approx(1e-15 * found.key.unrounded, rel=1e-12)
    assert "no security statement" in found.security


def test_the_search_finds_the_published_settings_and_no_neighbour_is_better() -> None:
    link = DecoyLink(distance_km=100)
    start = replace(PUBLISHED, key_basis_probability=0.7, intensities=(0.6, 0.15, 2e-4), probabilities=(0.5, 0.3, 0.2))
    best = best_key(link, key_counts=1e7, start=start)
    assert best.rate >= 5.156627e-5
    assert best.settings.key_basis_probability == pytest.approx(0.8656, abs=2e-3)
    assert best.settings.intensities == pytest.approx(PUBLISHED.intensities, abs=2e-3)
    assert best.settings.probabilities == pytest.approx(PUBLISHED.probabilities, abs=5e-3)
    rng = np.random.default_rng(0)
    for width in (0.003, 0.03):
        for moves in rng.normal(0, width, (40, 5)):
            first, second = best.settings.probabilities[0] + moves[0], best.settings.probabilities[1] + moves[1]
            mu1, mu2, mu3 = best.settings.intensities
            other = DecoySettings(
                key_basis_probability=min(0.99, best.settings.key_basis_probability + moves[2]),
                intensities=(mu1 + moves[3], mu2 + moves[4], mu3),
                probabilities=(first, second, 1 - first - second),
            )
            assert expected_key(link, other, key_counts=1e7).rate <= best.rate * (1 + 1e-6)


def test_rates_fall_with_distance_to_nothing_and_stay_below_the_repeaterless_bound() -> None:
    distances = [0, 50, 100, 150, 200, 250]
    keys = keys_over_distance(DecoyLink(distance_km=0), distances, key_counts=1e7, start=PUBLISHED)
    rates = [key.rate for key in keys]
    assert rates == sorted(rates, reverse=True)
    assert rates[3] > 0 == rates[-1]
    for key, distance_km in zip(keys, distances, strict=True):
        assert key.rate < -math.log2(1 - DecoyLink(distance_km=distance_km).transmittance)
        fixed = expected_key(DecoyLink(distance_km=distance_km), PUBLISHED, key_counts=1e7)
        assert key.rate >= fixed.rate


def test_longer_runs_give_more_of_a_key() -> None:
    rates = [expected_key(DecoyLink(distance_km=100), PUBLISHED, key_counts=n).rate for n in (1e5, 1e6, 1e7, 1e9)]
    assert rates == sorted(rates)
    assert rates[-1] > 1.5 * rates[1]


def test_the_link_detects_what_its_parts_give() -> None:
    link = DecoyLink(distance_km=50)
    assert link.transmittance == pytest.approx(0.01)
    assert link.detection_probability(0.5) == pytest.approx(1.04 * (1 - (1 - 1.2e-6) * math.exp(-0.005)), rel=1e-12)
    expected = 6e-7 + 5e-3 * (1 - math.exp(-0.005)) + 0.02 * (1 - (1 - 1.2e-6) * math.exp(-0.005))
    assert link.error_probability(0.5) == pytest.approx(expected, rel=1e-12)
    dark = replace(link, distance_km=1e5)
    assert dark.error_probability(0.5) / dark.detection_probability(0.5) == pytest.approx(0.5, abs=1e-9)


@given(
    distance=st.floats(0, 400),
    dark=st.floats(0, 0.5),
    after=st.floats(0, 0.5),
    misaligned=st.floats(0, 0.5),
    key_counts=st.floats(1, 1e15),
)
@settings(deadline=None)
def test_no_link_gives_a_negative_or_undefined_key(
    distance: float, dark: float, after: float, misaligned: float, key_counts: float
) -> None:
    link = DecoyLink(
        distance_km=distance,
        dark_count_probability=dark,
        after_pulse_probability=after,
        misalignment_error=misaligned,
    )
    found: ExpectedKey = expected_key(link, PUBLISHED, key_counts=key_counts)
    assert 0 <= found.rate < 1
    assert 0 < found.epsilon_secrecy < 1


def test_a_ledger_of_a_key_names_theorems_and_adds_up() -> None:
    plain = key_ledger(**EPSILONS, decoys=False)
    assert (plain.correctness, plain.secrecy, plain.consumed_key_bits) == (1e-15, 1e-9, 0)
    full = key_ledger(**EPSILONS, decoys=True, authentication=3e-18, consumed=256)
    assert full.total == pytest.approx(1e-9 + 1e-15 + 3e-18, rel=1e-15)
    assert full.consumed_key_bits == 256
    theorems = [term.theorem for term in (*plain.terms, *full.terms)]
    assert ["1103.4130" in text for text in theorems] == [False, True, False, False, False]
    assert "1311.7129" in theorems[3]
    assert (plain + full).secrecy == 2e-9


BAD_INTENSITIES = [(0.5, 0.3, 0.25), (0.5, 0.5, 0.0), (0.5, 0.1, 0.2), (0.5, 0.1, -0.1), (math.inf, 0.1, 0.0)]


@pytest.mark.parametrize("intensities", BAD_INTENSITIES)
def test_intensities_for_which_the_bounds_do_not_hold_are_refused(intensities: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="mu1 > mu2 \\+ mu3"):
        replace(counts(), intensities=intensities)
    with pytest.raises(ValueError, match="mu1 > mu2 \\+ mu3"):
        replace(PUBLISHED, intensities=intensities)


@pytest.mark.parametrize(
    "changes",
    [
        {"probabilities": (0.5, 0.5, 0.5)},
        {"probabilities": (0.5, 0.5, 0.0)},
        {"key_counts": (1.0, -1.0, 1.0)},
        {"key_counts": (1.0, math.nan, 1.0)},
        {"test_errors": (1e9, 0.0, 0.0)},
    ],
)
def test_impossible_counts_are_refused(changes: dict[str, tuple[float, float, float]]) -> None:
    with pytest.raises(ValueError, match=f"Expected {next(iter(changes))}"):
        replace(counts(), **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"distance_km": -1.0},
        {"distance_km": math.nan},
        {"loss_db_per_km": -0.1},
        {"detector_efficiency": 0.0},
        {"misalignment_error": 0.6},
        {"dark_count_probability": -1e-9},
    ],
)
def test_impossible_links_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        replace(DecoyLink(distance_km=1.0), **changes)


def test_other_values_out_of_range_are_refused() -> None:
    for epsilon, other in itertools.permutations((1e-9, 0.0)):
        with pytest.raises(ValueError, match=r"=0\.0 < 1"):
            decoy_length(counts(), leak_bits=0, epsilon_secrecy=epsilon, epsilon_correctness=other)
    with pytest.raises(ValueError, match="leak_bits=-1"):
        decoy_length(counts(), leak_bits=-1, **EPSILONS)
    with pytest.raises(ValueError, match=r"qber_tolerance=0\.6"):
        single_photon_length(10, 10, qber_tolerance=0.6, leak_bits=0, **EPSILONS)
    with pytest.raises(ValueError, match=r"efficiency=0\.9"):
        asymptotic_rate(0.1, 0.9)
    with pytest.raises(ValueError, match="key_counts=0"):
        expected_key(DecoyLink(distance_km=1), PUBLISHED, key_counts=0)
    with pytest.raises(ValueError, match="to ascend"):
        keys_over_distance(DecoyLink(distance_km=0), [2, 1], key_counts=1e7, start=PUBLISHED)
    with pytest.raises(ValueError, match="detect anything"):
        expected_key(DecoyLink(distance_km=1e6, dark_count_probability=0.0), PUBLISHED, key_counts=1e7)
    with pytest.raises(ValueError, match="key_basis_probability=1"):
        replace(PUBLISHED, key_basis_probability=1.0)
