"""Channels preserve the trace and do what their names say; detectors agree with an enumeration of photons."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pennylane as qml
import pytest
from numpy.typing import NDArray

from qfl_sec.protocols import channels
from qfl_sec.protocols.channels import Detectors
from qfl_sec.protocols.pulses import detection_table

PROBABILITIES = (0.0, 1e-12, 0.03, 0.5, 1.0)
PLUS = np.full((2, 2), 0.5, complex)
ZERO = np.diag([1.0, 0.0]).astype(complex)
RHO = np.array([[0.7, 0.1 - 0.2j], [0.1 + 0.2j, 0.3]])


@pytest.mark.parametrize(
    "kraus",
    [
        *(channels.depolarizing_kraus(p) for p in PROBABILITIES),
        *(channels.dephasing_kraus(p) for p in PROBABILITIES),
        *(channels.misalignment_kraus(t) for t in (0.0, 0.1, -2.0)),
        *(channels.memory_kraus(t, 100.0) for t in (0.0, 1.0, 1e6)),
    ],
)
def test_channels_are_completely_positive_and_preserve_the_trace(kraus: NDArray[np.complex128]) -> None:
    total = np.einsum("kji,kjl->il", kraus.conj(), kraus)
    np.testing.assert_allclose(total, np.eye(2), atol=1e-14)
    bell = np.eye(2).reshape(4) / np.sqrt(2)
    wide = np.stack([np.kron(one, np.eye(2)) for one in kraus])
    choi = np.einsum("kij,jl,kml->im", wide, np.outer(bell, bell), wide.conj())
    assert np.linalg.eigvalsh(choi).min() > -1e-14


@pytest.mark.parametrize("p", PROBABILITIES)
def test_depolarizing_replaces_the_state(p: float) -> None:
    after = channels.apply_kraus(channels.depolarizing_kraus(p), RHO)
    np.testing.assert_allclose(after, (1 - p) * RHO + p * np.eye(2) / 2, atol=1e-14)


@pytest.mark.parametrize("p", PROBABILITIES)
def test_channels_agree_with_pennylane(p: float) -> None:
    pairs = (
        (channels.depolarizing_kraus(p), qml.DepolarizingChannel(0.75 * p, wires=0)),
        (channels.dephasing_kraus(p), qml.PhaseFlip(p, wires=0)),
    )
    for ours, theirs in pairs:
        expected = channels.apply_kraus(np.stack(theirs.kraus_matrices()), RHO)
        np.testing.assert_allclose(channels.apply_kraus(ours, RHO), expected, atol=1e-12)


@pytest.mark.parametrize("angle", [0.0, 0.05, 0.3, 1.2])
def test_misalignment_errs_with_the_squared_sine_in_both_bases(angle: float) -> None:
    kraus = channels.misalignment_kraus(angle)
    after_zero, after_plus = channels.apply_kraus(kraus, ZERO), channels.apply_kraus(kraus, PLUS)
    minus = np.array([1, -1]) / np.sqrt(2)
    assert after_zero[1, 1].real == pytest.approx(math.sin(angle) ** 2, abs=1e-15)
    assert (minus @ after_plus @ minus).real == pytest.approx(math.sin(angle) ** 2, abs=1e-15)


def test_a_stored_half_of_a_werner_pair_decays_to_a_quarter() -> None:
    fidelity, kraus = 0.93, channels.memory_kraus(30.0, 100.0)
    bell = np.eye(2).reshape(4) / np.sqrt(2)
    singlet = np.outer(bell, bell)
    werner = fidelity * singlet + (1 - fidelity) / 3 * (np.eye(4) - singlet)
    wide = np.stack([np.kron(one, np.eye(2)) for one in kraus])
    after = np.einsum("kij,jl,kml->im", wide, werner, wide.conj())
    assert (bell @ after @ bell).real == pytest.approx(0.25 + (fidelity - 0.25) * math.exp(-0.3), abs=1e-14)


def test_rare_events_keep_their_digits() -> None:
    p, n = 3e-13, 7
    exact = 1 - (1 - Fraction(p)) ** n
    assert channels.any_of(p, n) == pytest.approx(float(exact), rel=1e-15)
    assert channels.any_of(1.0, 3) == 1.0
    assert channels.any_of(1.0, 0) == 0.0


def test_fibre() -> None:
    assert channels.fibre_transmittance(66.44, 0.2) == pytest.approx(10**-1.3288)
    assert channels.fibre_microseconds(100.0) == 500.0


def enumerated(detectors: Detectors, photons: int, transmittance: float, one: float) -> list[float]:
    """Follow every photon to a detector, the wrong one, or nowhere, and every detector's darkness."""
    eta, e, dark = transmittance * detectors.efficiency, detectors.misalignment_error, detectors.dark_count_probability
    to_one = one * (1 - e) + (1 - one) * e
    chances = {None: 1 - eta, 0: eta * (1 - to_one), 1: eta * to_one}
    found = [0.0, 0.0, 0.0]
    for path in itertools.product(chances, repeat=photons):
        for darkness in itertools.product((False, True), repeat=2):
            weight = math.prod(chances[place] for place in path)
            weight *= math.prod(dark if here else 1 - dark for here in darkness)
            zero, first = (bit in path or darkness[bit] for bit in (0, 1))
            if zero and first:
                found[1] += weight / 2
                found[2] += weight / 2
            else:
                found[1 if zero else 2 if first else 0] += weight
    return found


@pytest.mark.parametrize("photons", [0, 1, 2, 4])
@pytest.mark.parametrize("one", [0.0, 0.15, 1.0])
@pytest.mark.parametrize("transmittance", [0.0, 0.3, 1.0])
def test_detectors_agree_with_an_enumeration(photons: int, one: float, transmittance: float) -> None:
    for detectors in (
        Detectors(),
        Detectors(efficiency=0.6, dark_count_probability=0.01, misalignment_error=0.05),
        Detectors(dark_count_probability=1.0),
    ):
        ours = detectors.outcome_probabilities(np.array(photons), transmittance, np.array(one))
        np.testing.assert_allclose(ours, enumerated(detectors, photons, transmittance, one), atol=1e-14)


def test_dark_counts_alone_give_the_background() -> None:
    detectors = Detectors(dark_count_probability=1e-9)
    assert detectors.background_yield == pytest.approx(2e-9, rel=1e-8)
    none, *bits = detectors.outcome_probabilities(np.array(0), 1.0, np.array(0.5))
    assert bits == pytest.approx([1e-9, 1e-9], rel=1e-8)
    assert none == pytest.approx(1 - 2e-9, abs=1e-15)


@pytest.mark.parametrize(("depolarizing", "dephasing"), [(0.0, 0.0), (0.1, 0.0), (0.0, 0.1), (0.2, 0.3)])
def test_the_table_errs_as_the_channel_does(depolarizing: float, dephasing: float) -> None:
    table = detection_table(Detectors(), transmittance=1.0, depolarizing=depolarizing, dephasing=dephasing)
    shrink = 1 - depolarizing
    for bit in (0, 1):
        assert table[0, 1, 4 * bit, 0, 2 - bit] == pytest.approx((1 - shrink) / 2)
        wrong_in_x = table[0, 1, 4 * bit + 2, 1, 2 - bit]
        assert wrong_in_x == pytest.approx((1 - shrink * (1 - 2 * dephasing)) / 2)
    np.testing.assert_allclose(table.sum(axis=-1), 1, atol=1e-14)
    assert table.min() >= 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: channels.depolarizing_kraus(1.1), "replacement_probability=1.1"),
        (lambda: channels.dephasing_kraus(float("nan")), "phase_flip_probability=nan"),
        (lambda: channels.misalignment_kraus(float("inf")), "angle_radians=inf"),
        (lambda: channels.memory_kraus(-1.0, 1.0), "storage_microseconds=-1"),
        (lambda: channels.memory_kraus(1.0, 0.0), "coherence_microseconds=0"),
        (lambda: channels.fibre_transmittance(-1.0, 0.2), "distance_km=-1"),
        (lambda: channels.fibre_transmittance(1.0, -0.2), "loss_db_per_km=-0.2"),
        (lambda: channels.any_of(0.1, -1), "trials=-1"),
        (lambda: Detectors(efficiency=1.2), "efficiency=1.2"),
        (lambda: Detectors(after_pulse_probability=-0.1), "after_pulse_probability=-0.1"),
    ],
)
def test_what_is_out_of_range_is_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
