"""Two-step QSDC: figures of the sources, three layers against each other, caught adversaries."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from qfl_sec.checking import InputError
from qfl_sec.protocol_contracts import AdversaryReport
from qfl_sec.protocols import QsdcResult, TwoStepQsdc, bell_errors, qsdc
from qfl_sec.protocols.bits import binary_entropy
from qfl_sec.protocols.qsdc_message import PAIRS_PER_FRAME
from qfl_sec.protocols.two_step_exchange import TwoStepExchange
from qfl_sec.randomness import Streams
from tests.protocols.qsdc_layers import assert_layers_agree, message


def send(bits: int = 1500, seed: int = 3, **settings: Any) -> QsdcResult:
    return TwoStepQsdc(**settings).send(message(bits), Streams(seed))


def test_reference_figures() -> None:
    assert bell_errors.two_step_threshold(noisy_message=False) == pytest.approx(0.1100278644, abs=1e-9)
    assert bell_errors.two_step_threshold(noisy_message=True) == pytest.approx(0.07936, abs=5e-6)
    assert bell_errors.two_step_holevo(0.05, 0.05) == pytest.approx(0.57279, abs=5e-6)
    assert bell_errors.dl04_holevo(0.05, 0.05) == pytest.approx(0.45294, abs=5e-6)
    entropy = binary_entropy(0.05)
    assert TwoStepQsdc(error_rate=0.05).secrecy_capacity() == pytest.approx(2 - 4 * entropy)
    for rate, noisy in ((0.1105, 0.0), (0.08, 0.08)):
        assert TwoStepQsdc(error_rate=rate, message_error_rate=noisy).secrecy_capacity() == 0


def test_holevo_information_is_the_entropy_of_the_state_and_bounded_by_the_marginals() -> None:
    """chi of four operations on one half: S(I/2 x I/2) - ... = H(lambda), by diagonalising density matrices."""
    generator = np.random.default_rng(1)
    paulis = [np.eye(2), np.diag([1, -1]), np.array([[0, 1], [1, 0]]), np.array([[0, 1], [-1, 0]])]
    phi = np.array([1, 0, 0, 1]) / np.sqrt(2)
    for _ in range(20):
        errors = generator.dirichlet(np.ones(4)).reshape(2, 2)
        states = [np.kron(one, np.eye(2)) @ phi for one in paulis]
        # Eve's purifying system has the spectrum lambda; the encoded ensemble leaves her H(lambda) at most
        pair = sum(weight * np.outer(one, one) for weight, one in zip(errors.ravel(), states, strict=True))
        spectrum = np.linalg.eigvalsh(pair)
        assert bell_errors.entropy(np.clip(spectrum, 0, 1)) == pytest.approx(bell_errors.entropy(errors), abs=1e-9)
        assert bell_errors.entropy(errors) <= bell_errors.two_step_holevo(*bell_errors.error_rates(errors)) + 1e-12


@pytest.mark.parametrize(
    ("adversary", "flip", "expected"),
    [
        ("intercept_resend", 0.0, (0.25, 0.25)),
        ("entangle_measure", 0.2, (0.2, 0.5)),
        ("man_in_the_middle", 0.0, (0.5, 0.5)),
        ("capture_message", 0.0, (0.0, 0.0)),
    ],
)
def test_first_check_finds_what_the_reference_says(adversary: Any, flip: float, expected: tuple[float, float]) -> None:
    carrier = TwoStepQsdc(adversary=adversary, ancilla_flip=flip)
    rates = carrier.expected_check_errors()
    assert (rates["check_1_z"], rates["check_1_x"]) == pytest.approx(expected)
    if adversary == "entangle_measure":
        assert sum(expected) / 2 == pytest.approx((flip + 0.5) / 2)
    if adversary == "capture_message":
        assert rates["check_2_symbol"] == pytest.approx(0.75)


GRID: list[dict[str, Any]] = [
    {"error_rate": noise, "message_error_rate": noise / 2, **line, **attack}
    for noise, line, attack in product(
        (0.0, 0.04),
        ({}, {"distance_km": 10.0, "detector_efficiency": 0.9, "memory_time_s": 0.05}),
        (
            {},
            {"adversary": "intercept_resend", "adversary_fraction": 0.3},
            {"adversary": "intercept_resend"},
            {"adversary": "entangle_measure", "adversary_fraction": 0.5, "ancilla_flip": 0.2},
            {"adversary": "capture_message", "adversary_fraction": 0.4},
            {"adversary": "man_in_the_middle", "adversary_fraction": 0.5},
        ),
    )
]


@pytest.mark.parametrize("settings", GRID, ids=str)
def test_transcript_counts_and_theory_agree(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TwoStepExchange, "_judge", lambda self, found: (None, None))
    carrier = TwoStepQsdc(check_threshold=1.0, check_pairs=3000, **settings)
    assert_layers_agree(carrier)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"error_rate": 0.06},
        {"error_rate": 0.03, "message_error_rate": 0.03},
        {"distance_km": 40.0, "detector_efficiency": 0.8},
        {"memory_time_s": 0.03, "coherence_time_s": 1.0},
        {"error_rate": 0.005, "distance_km": 20.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_honest_line_delivers_the_exact_message(settings: dict[str, Any], seed: int) -> None:
    result = send(seed=seed, **settings)
    assert result.abort_reason is None
    assert result.delivered is not None
    assert np.array_equal(result.delivered, message(1500))
    assert result.message_matches
    assert (result.delivered_bits, result.sent_bits) == (1500, 1500)


def test_a_long_message_goes_in_blocks_with_all_checks_in_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qsdc, "BLOCK_PAIRS", 8 * PAIRS_PER_FRAME)
    result = send(bits=40_000, error_rate=0.02)
    assert result.message_matches
    assert result.checks["check_2_symbol"].trials == 5 * 1024
    assert result.pairs == 40 * 1024 + 5 * 2048


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"adversary": "intercept_resend"}, "check 1: error rate"),
        ({"adversary": "entangle_measure"}, "check 1: error rate"),
        ({"adversary": "man_in_the_middle"}, "check 1: error rate"),
        ({"adversary": "capture_message"}, "check 2: error rate"),
        ({"error_rate": 0.09, "message_error_rate": 0.09}, "secrecy capacity is zero"),
    ],
)
def test_attacks_and_noise_beyond_the_capacity_abort(settings: dict[str, Any], reason: str) -> None:
    result = send(**settings)
    assert reason in str(result.abort_reason)
    assert result.delivered is None
    assert result.delivered_bits == 0
    if "check 1" in reason:  # nothing had been encoded
        assert result.adversary.information == 0
        assert not result.adversary.held["known"].any()
        assert result.bit_error_rate is None


def test_negative_control_a_man_in_the_middle_reads_everything_without_checks() -> None:
    result = send(adversary="man_in_the_middle", checks=False)
    assert result.message_matches
    assert result.adversary.information == 2
    assert result.adversary.held["known"].all()
    assert np.array_equal(result.adversary.held["bits"], message(1500))
    assert result.ledger.secrecy == 1


@pytest.mark.parametrize("adversary", ["intercept_resend", "entangle_measure"])
def test_a_small_attack_passes_and_what_it_reads_is_true(adversary: Any) -> None:
    result = send(bits=8000, adversary=adversary, adversary_fraction=0.15)
    assert result.message_matches
    known = result.adversary.held["known"]
    # half of the bits of the attacked pairs; the code tells a little more
    assert known.mean() == pytest.approx(0.075, abs=5 * np.sqrt(0.075 / 8000))
    assert np.array_equal(result.adversary.held["bits"][known], message(8000)[known])
    assert not result.adversary.held["bits"][~known].any()


def test_the_message_sequence_alone_tells_nothing() -> None:
    """Reduced states of M after I, Z, X, iY on psi-: all I/2."""
    psi = np.array([0, 1, -1, 0]) / np.sqrt(2)
    for operation in (np.eye(2), np.diag([1, -1]), np.array([[0, 1], [1, 0]]), np.array([[0, 1], [-1, 0]])):
        state = np.kron(operation, np.eye(2)) @ psi
        pair = np.outer(state, state).reshape(2, 2, 2, 2)
        assert np.allclose(np.trace(pair, axis1=1, axis2=3), np.eye(2) / 2)
    result = send(adversary="capture_message", checks=False)
    assert result.adversary.information == 0
    assert not result.adversary.held["known"].any()


def test_an_idle_adversary_changes_no_draw_of_the_honest_parties() -> None:
    plain = send(error_rate=0.04, distance_km=5.0)
    idle = send(error_rate=0.04, distance_km=5.0, adversary="man_in_the_middle", adversary_fraction=0.0)
    assert (plain.checks, plain.raw_errors, plain.cost) == (idle.checks, idle.raw_errors, idle.cost)


def test_the_ledger_claims_no_secrecy_and_counts_the_key() -> None:
    result = send()
    assert result.ledger.secrecy == 1
    assert result.ledger.correctness < 1e-15
    assert any("prove no composable secrecy" in term.theorem for term in result.ledger.terms)
    assert result.ledger.consumed_key_bits == 64 * 6
    assert result.cost.qubits == 4096 + 3072  # C with both checks; M with the second
    assert isinstance(result.adversary, AdversaryReport)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"error_rate": 1.2}, "error_rate=1.2"),
        ({"message_error_rate": -0.1}, "message_error_rate=-0.1"),
        ({"distance_km": -1.0}, "distance_km=-1.0"),
        ({"detector_efficiency": 0.0}, "detector_efficiency=0.0"),
        ({"adversary_fraction": float("nan")}, "adversary_fraction=nan"),
        ({"check_pairs": 0}, "check_pairs=0"),
        ({"coherence_time_s": 0.0}, "coherence_time_s=0.0"),
        ({"adversary": "nobody"}, "adversary='nobody'"),
    ],
)
def test_bad_settings_are_refused_by_name(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match="Expected") as error:
        TwoStepQsdc(**settings)
    assert said in str(error.value)


def test_bad_messages_are_refused() -> None:
    carrier = TwoStepQsdc(max_pairs=5000)
    for bad, said in (([], "message_bits=0 >= 1"), ([0, 2], "zeros and ones"), (np.zeros(10_000), "max_pairs=5000")):
        with pytest.raises(InputError, match=said):
            carrier.send(np.array(bad), Streams(0))
    with pytest.raises(InputError, match="no number of copies"):
        replace(carrier, distance_km=400.0).send(message(8), Streams(0))
