"""One-step QSDC: figures of the sources, three layers against each other, caught adversaries."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from qfl_sec.protocols import OneStepQsdc, QsdcResult, bell_errors
from qfl_sec.protocols.bell_errors import combined, entropy, werner_errors
from qfl_sec.protocols.bell_pairs import QubitStore
from qfl_sec.protocols.one_step_exchange import OneStepExchange
from qfl_sec.protocols.one_step_parties import Alice, Announcement
from qfl_sec.protocols.qsdc_message import message_ends
from qfl_sec.randomness import Streams
from tests.protocols.qsdc_layers import assert_layers_agree, message


def send(bits: int = 1500, seed: int = 3, **settings: Any) -> QsdcResult:
    return OneStepQsdc(**settings).send(message(bits), Streams(seed))


def test_reference_figures() -> None:
    assert OneStepQsdc(fidelity=0.98).secrecy_capacity() == pytest.approx(1.6537, abs=5e-5)
    assert bell_errors.one_step_threshold() == pytest.approx(0.811, abs=5e-4)
    assert OneStepQsdc(fidelity=0.81).secrecy_capacity() == 0
    assert OneStepQsdc(fidelity=0.812).secrecy_capacity() > 0


def test_capacity_is_what_remains_of_the_states_entropy() -> None:
    """Capacity 2 - S(rho_P) - S(rho_S), with the entropies of Werner density matrices."""
    phi = np.array([1, 0, 0, 1]) / np.sqrt(2)
    for fidelity in (0.85, 0.95, 1.0):
        werner = fidelity * np.outer(phi, phi) + (1 - fidelity) / 3 * (np.eye(4) - np.outer(phi, phi))
        one = entropy(np.clip(np.linalg.eigvalsh(werner), 0, 1))
        found = bell_errors.one_step_secrecy_capacity(werner_errors(fidelity), werner_errors(fidelity))
        assert found == pytest.approx(2 - 2 * one, abs=1e-9)


def test_a_memory_shrinks_werner_fidelity_as_stated() -> None:
    carrier = OneStepQsdc(fidelity=0.9, memory_time_s=0.2, coherence_time_s=0.5)
    one = combined(werner_errors(0.9), carrier.memory_errors)
    assert one[0, 0] == pytest.approx(0.25 + (0.9 - 0.25) * np.exp(-0.4))
    assert carrier.line_errors[0, 0] == pytest.approx(0.25 + (0.9 - 0.25) * np.exp(-0.8))


GRID: list[dict[str, Any]] = [
    {"fidelity": fidelity, **line, **attack}
    for fidelity, line, attack in product(
        (1.0, 0.95),
        ({}, {"distance_km": 10.0, "detector_efficiency": 0.9, "memory_time_s": 0.02}),
        (
            {},
            {"adversary": "intercept_resend", "adversary_fraction": 0.3},
            {"adversary": "intercept_resend"},
            {"adversary": "entangle_measure", "adversary_fraction": 0.5, "ancilla_flip": 0.2},
            {"adversary": "capture_message", "adversary_fraction": 0.4},
            {"adversary": "man_in_the_middle"},
        ),
    )
]


@pytest.mark.parametrize("settings", GRID, ids=str)
def test_transcript_counts_and_theory_agree(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OneStepExchange, "_judge", lambda self, found: (None, None))
    assert_layers_agree(OneStepQsdc(check_threshold=1.0, check_pairs=3000, **settings))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"fidelity": 0.95},
        {"fidelity": 0.9},
        {"distance_km": 60.0, "detector_efficiency": 0.9},
        {"memory_time_s": 0.02},
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_honest_line_delivers_the_exact_message(settings: dict[str, Any], seed: int) -> None:
    result = send(seed=seed, **settings)
    assert result.abort_reason is None
    assert np.array_equal(np.asarray(result.delivered), message(1500))
    assert result.message_matches


@pytest.mark.parametrize("adversary", ["intercept_resend", "entangle_measure", "capture_message", "man_in_the_middle"])
def test_every_full_attack_is_noticed_before_anything_is_encoded(adversary: Any) -> None:
    result = send(adversary=adversary)
    assert "check: error rate" in str(result.abort_reason)
    assert result.delivered is None
    assert result.adversary.information == 0
    assert not result.adversary.held["known"].any()


@pytest.mark.parametrize("adversary", ["capture_message", "man_in_the_middle"])
def test_negative_control_without_the_check_everything_is_read(adversary: Any) -> None:
    result = send(adversary=adversary, checks=False)
    assert "verification" in str(result.abort_reason)  # noticed, but too late
    assert result.adversary.information == 2
    assert np.array_equal(result.adversary.held["bits"], message(1500))


def test_a_small_attack_passes_and_what_it_reads_is_true() -> None:
    result = send(bits=8000, adversary="intercept_resend", adversary_fraction=0.15)
    assert result.message_matches
    known = result.adversary.held["known"]
    assert known.mean() == pytest.approx(0.075, abs=5 * np.sqrt(0.075 / 8000))
    assert np.array_equal(result.adversary.held["bits"][known], message(8000)[known])


def test_what_is_announced_is_independent_of_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Announced outcomes against operations: four equally likely pairs for each, within 5 sigma."""
    counts = np.zeros((4, 4))
    original = Alice.measure

    def counted(alice: Alice) -> Announcement:
        announced = original(alice)
        sent = alice.private_record()
        np.add.at(counts, (2 * sent[0] + sent[1], 2 * announced.outcome[0] + announced.outcome[1]), 1)
        return announced

    monkeypatch.setattr(Alice, "measure", counted)
    assert send(bits=20_000).message_matches
    shares = counts / counts.sum(axis=1, keepdims=True)
    assert np.abs(shares - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / counts.sum(axis=1).min())


def test_labels_are_the_papers() -> None:
    """I, Z, X, iY for 00, 10, 01, 11: the first bit is the phase."""
    content = np.array([0, 0, 1, 0, 0, 1, 1, 1], np.uint8)
    carrier, streams = OneStepQsdc(), Streams(0)
    outgoing, _ = message_ends(content, carrier.check_length(len(content)), streams)
    alice = Alice(carrier, outgoing, streams)
    alice.prepare(QubitStore(), 1024)
    alice.encode()
    assert alice.private_record()[:, :4].T.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]  # bit, phase


def test_an_idle_adversary_changes_no_draw_of_the_honest_parties() -> None:
    plain, idle = (send(fidelity=0.95, **more) for more in ({}, {"adversary": "capture_message", **IDLE}))
    assert (plain.checks, plain.raw_errors, plain.cost) == (idle.checks, idle.raw_errors, idle.cost)


IDLE: dict[str, Any] = {"adversary_fraction": 0.0}
