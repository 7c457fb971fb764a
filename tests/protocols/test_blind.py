"""Blind computing as a whole: both modes agree, each server does what it should, impossible settings are refused."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from qfl_sec.checking import InputError
from qfl_sec.cli.protocol_answer import figures
from qfl_sec.protocols import blind
from qfl_sec.protocols.blind import Blind, BlindResult
from qfl_sec.protocols.blind_semantic import pattern_probabilities
from qfl_sec.protocols.brick_ansatz import alternating_layers
from qfl_sec.protocols.measurement_patterns import PatternCompiler
from qfl_sec.randomness import Streams

KEYS = {
    "nodes",
    "total_variation_to_circuit",
    "blindness_trace_distance",
    "accepted",
    "test_failures",
    "security_error",
    "qubits_sent",
    "classical_bits",
}


def compute(seed: int = 3, **settings: Any) -> BlindResult:
    return Blind(**settings).compute(Streams(seed))


def counts(result: BlindResult) -> Any:
    assert result.output is not None
    places = 1 << np.arange(len(result.output))[::-1]
    return np.bincount(places @ result.output, minlength=1 << len(result.output))


@pytest.mark.parametrize("settings", [{}, {"ansatz": "brick_native", "angle_bits": 0}, {"qubits": 3, "angle_bits": 4}])
def test_both_modes_agree_in_distribution_and_in_what_they_cost(settings: dict[str, Any]) -> None:
    """Chi-square of two samples of 8,192 shots; the ledgers are equal."""
    spoken, exact = (compute(shots=8192, mode=mode, **settings) for mode in ("transcript", "semantic"))
    table = np.array([counts(spoken), counts(exact)])
    assert stats.chi2_contingency(table[:, table.sum(0) > 0]).pvalue > 1e-4
    assert spoken.cost == exact.cost
    assert spoken.ledger == exact.ledger
    assert spoken.nodes == exact.nodes


@pytest.mark.parametrize("mode", ["transcript", "semantic"])
def test_total_variation_is_at_its_statistical_floor(mode: Any) -> None:
    """Its mean is about sum sqrt(p (1 - p) / (2 pi n)), and it strays from it by sqrt(1 / n) times 4 at most."""
    result = compute(shots=8192, angle_bits=0, mode=mode)
    assert result.total_variation_to_circuit == pytest.approx(result.total_variation_floor, abs=4 / np.sqrt(8192) / 2)
    assert result.rounding_total_variation == 0


def test_rounding_shrinks_with_the_grid() -> None:
    found = [compute(angle_bits=bits, mode="semantic", shots=1).rounding_total_variation for bits in (3, 6, 9, 12)]
    assert found[0] > found[1] > found[2] > found[3] > 0
    assert found[0] / found[3] > 50


@pytest.mark.parametrize(("qubits", "layers"), [(2, 1), (4, 2), (5, 3)])
def test_sizes(qubits: int, layers: int) -> None:
    result = compute(qubits=qubits, layers=layers, shots=10, angle_bits=5)
    nodes, measured = qubits * (12 * layers + 1), qubits * 12 * layers
    assert result.nodes == nodes
    assert result.qubits_sent == 10 * nodes
    assert result.classical_bits == 10 * (5 * measured + nodes)


def test_the_answer_has_every_key_that_scripts_rely_on() -> None:
    found = figures(compute(shots=20, test_rounds=20))
    assert set(found) >= KEYS
    assert found["accepted"] is True
    assert found["blindness_trace_distance"] < 1e-12


def test_a_curious_server_changes_nothing_and_holds_every_message() -> None:
    honest, curious = compute(shots=500), compute(shots=500, server="curious")
    assert honest.output is not None
    assert curious.output is not None
    assert np.array_equal(honest.output, curious.output)
    assert not honest.adversary.held
    assert curious.adversary.held["angles"].shape == (4, 24, 500)
    assert curious.adversary.information == 0


def test_real_angles_with_a_coarse_theta_are_reported_as_a_leak() -> None:
    result = compute(shots=10, angle_bits=0, theta_bits=3)
    assert result.blindness_trace_distance == pytest.approx(1)
    assert result.ledger.secrecy == pytest.approx(1)
    assert result.adversary.information is None
    assert compute(shots=10, angle_bits=0).blindness_trace_distance < 1e-12


@pytest.mark.parametrize("attack", ["flip", "drop", "choose"])
def test_a_malicious_server_is_caught(attack: Any) -> None:
    result = compute(shots=100, test_rounds=100, server="malicious", attack=attack)
    assert result.accepted is False
    assert result.output is None
    assert result.total_variation_to_circuit is None
    assert "test rounds failed, more than 0" in str(result.abort_reason)


def test_negative_control_without_tests_the_attack_changes_the_results_unnoticed() -> None:
    result, honest = compute(server="malicious", attack_fraction=1.0), compute()
    assert result.accepted is None
    assert result.output is not None
    assert honest.output is not None
    assert np.array_equal(result.output[0], 1 - honest.output[0])
    assert np.array_equal(result.output[1:], honest.output[1:])


def test_a_malicious_server_that_attacks_nothing_is_honest() -> None:
    result = compute(shots=100, test_rounds=50, server="malicious", attack_fraction=0.0)
    assert result.accepted
    assert result.test_failures == 0


def test_a_noisy_server_is_accepted_about_as_often_as_planned() -> None:
    accepted = [compute(seed, shots=10, test_rounds=60, depolarizing_probability=5e-4).accepted for seed in range(20)]
    assert sum(map(bool, accepted)) >= 17  # of 20 at 0.99, fewer with probability below 1e-4


def test_a_pattern_of_ones_own_is_run() -> None:
    compiler = PatternCompiler(alternating_layers, n_features=2, weight_shape=(1, 2, 3), n_qubits=2)
    pattern = compiler.pattern(np.zeros(2), np.full((1, 2, 3), 0.7))
    result = Blind(angle_bits=0, shots=4096).run(pattern, Streams(1))
    assert stats.chisquare(counts(result), pattern_probabilities(pattern)[:, 0] * 4096).pvalue > 1e-4
    several = compiler.pattern(np.zeros(2), np.full((2, 1, 2, 3), 0.7))
    with pytest.raises(InputError, match="one sample, not 2"):
        Blind().run(several, Streams(1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"angle_bits": 1}, "angle_bits=1"),
        ({"theta_bits": 1}, "angle_bits=1"),
        ({"qubits": 0}, "qubits=0 >= 1"),
        ({"qubits": 30}, "qubits=30 <= 27: .*Set qubits = 27 or fewer"),
        ({"qubits": 27, "mode": "semantic"}, "qubits=27 <= 26"),
        ({"layers": 0}, "layers=0"),
        ({"shots": 0}, "shots=0"),
        ({"test_rounds": -1}, "test_rounds=-1"),
        ({"failure_threshold": 3}, "failure_threshold=3 < test_rounds=0. Give more test rounds"),
        ({"attack_fraction": 1.5}, "attack_fraction=1.5"),
        ({"mode": "semantic", "server": "malicious"}, "Set mode = 'transcript'"),
        ({"test_rounds": 5, "theta_bits": 3}, "Set test_rounds = 0"),
    ],
    ids=str,
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Blind(**settings)


def test_more_rounds_than_memory_are_refused_with_how_many_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blind, "MEMORY_BYTES", 1 << 20)
    with pytest.raises(InputError, match="shots \\+ test_rounds=4096 <= 1310"):
        compute()
