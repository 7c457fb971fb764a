"""BB84 from the first pulse to equal keys or an abort, with controls that have to be caught."""

import ast
import math
import re
import tracemalloc
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qfl_sec.checking import InputError, parse_value
from qfl_sec.protocol_contracts import KeySource
from qfl_sec.protocols import BB84, Adversary, BB84Result, adversaries, bb84, cascade
from qfl_sec.protocols.adversary_contract import Guess, PublicSetting
from qfl_sec.protocols.bb84_audit import audit
from qfl_sec.protocols.bb84_session import TRAIN
from qfl_sec.protocols.drawing import Bytes
from qfl_sec.protocols.finite_key import single_photon_length
from qfl_sec.protocols.pulses import Pulses
from qfl_sec.randomness import Streams

NOISY = BB84(pulses=120_000, misalignment_error=0.01, dark_count_probability=1e-5, distance_km=5, qber_tolerance=0.03)
STREAMS = Streams(11)


@pytest.fixture(scope="module")
def honest() -> BB84Result:
    return NOISY.distribute(STREAMS)


def test_an_honest_noisy_run_ends_with_equal_keys(honest: BB84Result) -> None:
    assert isinstance(NOISY, KeySource)
    assert not honest.aborted
    assert honest.keys_match
    assert np.array_equal(honest.alice_key, honest.bob_key)
    assert honest.secret_bits == len(honest.alice_key) > 5_000
    assert abs(honest.alice_key.mean() - 0.5) < 5 * 0.5 / np.sqrt(honest.secret_bits)


def test_every_bit_of_the_length_is_accounted_for(honest: BB84Result) -> None:
    assert honest.test is not None
    n, k = sum(honest.key_counts), sum(honest.test.counts)
    assert honest.sifted == n + k
    hash_bits, tags = 64, 128
    leak = honest.disclosed_bits - hash_bits
    charged = leak + hash_bits - math.floor(math.log2(1e10))
    length = single_photon_length(
        n, k, qber_tolerance=0.03, leak_bits=charged, epsilon_secrecy=1e-10, epsilon_correctness=1e-10
    )
    assert honest.secret_bits == length - tags
    assert honest.ledger.consumed_key_bits == tags
    assert honest.reconciliation_efficiency is not None
    assert 1 <= honest.reconciliation_efficiency < 1.3


def test_the_ledger_names_its_bounds(honest: BB84Result) -> None:
    ledger = honest.ledger
    assert (ledger.correctness, ledger.secrecy) == (1e-10, 1e-10)
    assert 0 < ledger.of("authentication") < 1e-12
    assert ledger.total == pytest.approx(2e-10, rel=1e-4)


def test_the_run_costs_what_was_sent_and_said(honest: BB84Result) -> None:
    assert (honest.cost.qubits, honest.cost.attempts, honest.pulses) == (120_000,) * 3
    # One bit a pulse, two a click, every test bit, the matrix, and little more.
    least = honest.pulses + 2 * honest.detected + honest.sifted
    assert least < honest.cost.classical_bits < least + honest.sifted + 10_000
    assert honest.cost.seconds == pytest.approx(120_000 / 1e9 + 25e-6)


def test_one_seed_gives_one_result(honest: BB84Result) -> None:
    again = NOISY.distribute(STREAMS)
    assert np.array_equal(again.alice_key, honest.alice_key)
    assert again.cost == honest.cost
    assert not np.array_equal(NOISY.distribute(Streams(12)).alice_key[:1000], honest.alice_key[:1000])


def test_weak_pulses_with_decoys_give_a_key() -> None:
    protocol = BB84(
        pulses=1_500_000, source="weak_coherent", misalignment_error=0.01, key_basis_probability=0.7, tag_bits=128
    )
    result = protocol.distribute(STREAMS)
    assert result.keys_match
    assert result.secret_bits > 10_000
    assert min(result.key_counts[:2]) > 0


@pytest.mark.parametrize("schedule", ["original", "optimised"])
def test_reconciliation_works_in_blocks(schedule: Any) -> None:
    result = replace(NOISY, reconciliation=schedule, block_bits=5_000, qber_tolerance=0.02).distribute(STREAMS)
    assert result.keys_match


ABORTS: dict[str, BB84] = {
    "error rate 0.2.* above the tolerance 0.05": BB84(pulses=20_000, adversary="intercept_resend"),
    "above the tolerance": BB84(pulses=20_000, adversary="breidbart", adversary_fraction=0.5),
    "too few bits": BB84(pulses=100, distance_km=1000),
    "no secret bits left": BB84(pulses=1_000),
    "authentication failed": BB84(pulses=100_000, adversary="man_in_the_middle"),
}


@pytest.mark.parametrize("reason", ABORTS)
def test_a_run_that_cannot_go_on_says_why(reason: str) -> None:
    result = ABORTS[reason].distribute(STREAMS)
    assert result.aborted
    assert result.keys_match is None
    assert result.secret_bits == 0
    assert re.search(reason, str(result.abort_reason))


def test_a_key_that_only_pays_for_its_tags_is_no_key(honest: BB84Result) -> None:
    shortest = next(
        result
        for result in (BB84(pulses=n, tag_bits=128).distribute(STREAMS) for n in range(7_000, 20_000, 250))
        if "even before" not in (result.abort_reason or "")
    )
    assert shortest.abort_reason is None or "authentication needs 256" in shortest.abort_reason


def test_errors_that_reconciliation_leaves_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def leaves_one(bob: Any, *args: Any, **kwargs: Any) -> Any:
        corrected = correct(bob, *args, **kwargs)
        corrected[7] ^= 1
        return corrected

    correct = cascade.correct
    monkeypatch.setattr(cascade, "correct", leaves_one)
    result = NOISY.distribute(STREAMS)
    assert result.abort_reason == "verification hash mismatch: reconciliation left errors"
    assert result.secret_bits == 0


def test_the_man_in_the_middle_is_unnoticed_without_authentication_and_found_with_it() -> None:
    settings: dict[str, Any] = {"pulses": 60_000, "adversary": "man_in_the_middle", "qber_tolerance": 0.02}
    unnoticed = BB84(**settings, authenticated=False).distribute(STREAMS)
    assert not unnoticed.aborted
    assert unnoticed.keys_match is False
    assert np.array_equal(unnoticed.adversary.held["key_with_alice"], unnoticed.alice_key)
    assert np.array_equal(unnoticed.adversary.held["key_with_bob"], unnoticed.bob_key)
    assert unnoticed.adversary.information == 1.0
    assert unnoticed.ledger.total == 1.0
    found = BB84(**settings).distribute(STREAMS)
    assert found.abort_reason is not None
    assert "authentication failed" in found.abort_reason


@dataclass(frozen=True, kw_only=True)
class ToldTheBasis(Adversary):
    """Looks where nature lets nobody look, and measures every photon in the basis it was sent in."""

    name = "told_the_basis"
    power = "is told the basis of every pulse before it arrives"

    def intercept(self, pulses: Pulses, setting: PublicSetting, rng: np.random.Generator) -> Bytes:
        bases = pulses._polarizations & np.uint8(2)
        photons, everywhere = pulses.count_photons(), np.ones(len(pulses), bool)
        outcomes = pulses.measure(everywhere, bases)
        pulses.emit(everywhere, bases + 4 * outcomes, photons)
        return outcomes

    def conclude(self, record: Bytes, positions: Any, bases: Bytes, rng: np.random.Generator) -> Guess:
        return Guess(bits=record[positions], confidence=np.ones(len(positions), np.float32))


adversaries.register(ToldTheBasis)


def test_an_adversary_told_the_basis_causes_no_error_and_only_the_auditor_sees_it() -> None:
    protocol = BB84(pulses=30_000, adversary="told_the_basis")
    sessions = protocol.exchange(STREAMS)
    result = protocol.conclude(sessions, STREAMS)
    assert result.qber == 0
    assert not result.aborted
    assert result.adversary.information == 1.0
    assert audit(sessions[0]).guess_rate == 1
    assert audit(sessions[0]).basis_leaked
    with pytest.raises(InputError, match=r"told_the_basis.*Simulate every pulse"):
        protocol.sample_counts(STREAMS)


@pytest.mark.parametrize(("name", "fraction"), [("none", 1.0), ("intercept_resend", 0.5), ("breidbart", 1.0)])
def test_honest_physics_never_looks_like_a_leak(name: str, fraction: float) -> None:
    for seed in range(5):
        protocol = BB84(pulses=20_000, adversary=name, adversary_fraction=fraction)
        assert not audit(protocol.exchange(Streams(seed))[0]).basis_leaked


def test_splitting_is_seen_by_the_auditor_only() -> None:
    protocol = BB84(
        pulses=200_000, source="weak_coherent", adversary="photon_number_splitting", distance_km=40, qber_tolerance=0.01
    )
    (session,) = protocol.exchange(STREAMS)
    result = protocol.conclude((session,), STREAMS)
    assert result.qber == 0
    assert audit(session).basis_leaked
    assert result.abort_reason is not None
    assert "no secret bits left" in result.abort_reason


@pytest.mark.parametrize(
    ("name", "fraction", "expected"),
    [("none", 1.0, 0.0), ("intercept_resend", 0.4, 0.2), ("breidbart", 1.0, 0.39912)],
)
def test_the_adversary_reports_what_it_knows(name: str, fraction: float, expected: float) -> None:
    result = BB84(pulses=100_000, adversary=name, adversary_fraction=fraction).distribute(STREAMS)
    assert result.adversary.unit == "bits per sifted bit"
    assert result.adversary.information == pytest.approx(expected, abs=5 * 0.5 / np.sqrt(result.sifted))
    held = result.adversary.held
    assert len(held["key_basis_guesses"]) == sum(result.key_counts)
    assert len(held["informed"]) == result.sifted


@pytest.mark.parametrize("source", ["single_photon", "weak_coherent"])
@pytest.mark.parametrize("name", ["intercept_resend", "breidbart", "photon_number_splitting"])
def test_an_adversary_does_not_change_what_the_parties_draw(source: Any, name: str) -> None:
    states = []
    for adversary in ("none", name):
        (session,) = BB84(pulses=TRAIN + 5_000, source=source, adversary=adversary, distance_km=3).exchange(STREAMS)
        states.append((session.alice._sent, session.alice._rng.bytes(8), session.bob._rng.bytes(8)))
    assert np.array_equal(states[0][0], states[1][0])
    assert states[0][1:] == states[1][1:]


def test_only_the_auditor_reads_another_objects_secrets() -> None:
    folder = Path(bb84.__file__).parent
    for path in sorted(folder.glob("bb84*.py")):
        foreign = [
            ast.unparse(node)
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute)
            and node.attr.startswith("_")
            and not node.attr.startswith("__")
            and not (isinstance(node.value, ast.Name) and node.value.id == "self")
        ]
        assert bool(foreign) == (path.name == "bb84_audit.py"), f"{path.name}: {foreign}"
        if path.name != "bb84_audit.py":
            assert "bb84_audit" not in path.read_text()


def test_memory_is_bounded_by_trains() -> None:
    peaks = []
    for trains in (2, 8):
        protocol = BB84(pulses=trains * TRAIN, distance_km=150, adversary="intercept_resend")
        tracemalloc.start()
        protocol.exchange(STREAMS)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # What stays of a train is the announcement of its clicks, an eighth of a byte a pulse.
    assert peaks[1] - peaks[0] < 6 * TRAIN / 8 * 1.2
    assert peaks[1] < 40 * TRAIN


def test_tables_of_an_experiment_file_make_the_same_protocol() -> None:
    table = {"pulses": 10, "source": "weak_coherent", "adversary": "breidbart", "distance_km": 3.0}
    assert parse_value(BB84, table, source="file") == BB84(**table)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"file: .*pulses=0"):
        parse_value(BB84, {"pulses": 0}, source="file")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"pulses": 0}, "pulses=0 >= 1"),
        ({"block_bits": 0}, "block_bits=0"),
        ({"distance_km": -1.0}, "distance_km=-1.0 >= 0"),
        ({"loss_db_per_km": math.inf}, "loss_db_per_km=inf"),
        ({"misalignment_error": 1.5}, "misalignment_error=1.5"),
        ({"dark_count_probability": -0.1}, "dark_count_probability=-0.1"),
        ({"detector_efficiency": math.nan}, "detector_efficiency=nan"),
        ({"depolarizing_probability": 2.0}, "depolarizing_probability=2.0"),
        ({"adversary_fraction": 1.1}, "adversary_fraction=1.1"),
        ({"adversary": "breitbart"}, "Did you mean 'breidbart'"),
        ({"source": "laser"}, "source='laser'"),
        ({"mean_photon_number": 0.0}, "mean_photon_number=0.0"),
        ({"source": "weak_coherent", "mean_photon_number": 0.1}, "decoy bounds hold for no other"),
        ({"source": "weak_coherent", "mean_photon_number": 9.0}, "a weak pulse"),
        ({"source": "weak_coherent", "decoy_probability": 0.6}, "all three intensities"),
        ({"key_basis_probability": 1.0}, "key_basis_probability=1.0"),
        ({"qber_tolerance": 0.5}, "qber_tolerance=0.5"),
        ({"epsilon_secrecy": 0.0}, "epsilon_secrecy=0.0"),
        ({"epsilon_correctness": 1e-40}, "no verification hash"),
        ({"tag_bits": 7}, "tag_bits=7"),
        ({"reconciliation": "ldpc"}, "reconciliation='ldpc'"),
        ({"pulses_per_second": 0.0}, "pulses_per_second=0.0"),
    ],
)
def test_bad_input_is_refused(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BB84(**bad)
