"""Each adversary does what its branches say, touches pulses by their methods alone, and knows what it claims."""

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qfl_sec.protocols import adversaries
from qfl_sec.protocols.adversary_contract import Adversary, Branch, Guess, PublicSetting
from qfl_sec.protocols.drawing import ByteTable, bernoulli, poisson_probabilities, random_bytes
from qfl_sec.protocols.pulses import NO_PHOTON, Pulses

WEAK = PublicSetting(mean_photon_number=0.5, transmittance=0.3)
SINGLE = PublicSetting(mean_photon_number=None, transmittance=0.3)
N = 40_000


def train(polarization: int, photons: int, count: int = N) -> Pulses:
    return Pulses(
        np.full(count, polarization, np.uint8), np.full(count, photons, np.uint8), np.random.default_rng(photons)
    )


@pytest.mark.parametrize("name", adversaries.names())
@pytest.mark.parametrize("setting", [WEAK, SINGLE])
def test_pulses_end_as_the_branches_say(name: str, setting: PublicSetting) -> None:
    adversary = adversaries.build(name, fraction=1.0 if name == "man_in_the_middle" else 0.6)
    for polarization in (0, 2, 4, 6):
        for photons in range(4):
            branches = adversary.branches(polarization, photons, setting)
            assert branches is not None
            assert sum(branch.probability for branch in branches) == pytest.approx(1, abs=1e-12)
            pulses = train(polarization, photons)
            adversary.intercept(pulses, setting, np.random.default_rng([polarization, photons]))
            _compare(pulses, branches)


def _compare(pulses: Pulses, branches: tuple[Branch, ...]) -> None:
    """Compare how often each state of a pulse came out with the sum of the branches that lead there."""
    delivered = pulses._delivered if pulses._delivered is not None else np.zeros(N, bool)
    expected: dict[tuple[int, int, bool], float] = {}
    for branch in branches:
        key = (branch.polarization if branch.photons else 0, branch.photons, branch.delivered)
        expected[key] = expected.get(key, 0.0) + branch.probability
    seen = pulses._polarizations.astype(int) * (pulses._photons > 0) * 64 + pulses._photons * 2 + delivered
    found = {
        (code // 64, code % 64 // 2, bool(code % 2)): int(count)
        for code, count in enumerate(np.bincount(seen))
        if count
    }
    assert set(found) <= set(expected)
    for key, probability in expected.items():
        sigma = np.sqrt(N * probability * (1 - probability))
        assert abs(found.get(key, 0) - N * probability) <= 5 * sigma + 1e-9


def test_adversaries_call_methods_and_read_no_private_field() -> None:
    source = Path(adversaries.__file__).read_text()
    private = [
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
    ]
    assert private == []


@pytest.mark.parametrize(
    ("name", "right", "informed"), [("intercept_resend", 0.75, 0.5), ("breidbart", np.cos(np.pi / 8) ** 2, 1.0)]
)
def test_guesses_are_as_good_as_they_claim(name: str, right: float, informed: float) -> None:
    adversary = adversaries.build(name, fraction=1.0)
    bits, bases = (np.random.default_rng(seed).integers(0, 2, N, dtype=np.uint8) for seed in (1, 2))
    pulses = Pulses(4 * bits + 2 * bases, np.ones(N, np.uint8), np.random.default_rng(3))
    rng = np.random.default_rng(4)
    record = adversary.intercept(pulses, SINGLE, rng)
    guess = adversary.conclude(record, np.arange(N), bases, rng)
    hits = guess.bits == bits
    sigma = 0.5 / np.sqrt(N)
    assert hits.mean() == pytest.approx(right, abs=5 * sigma)
    assert (guess.confidence > 0.5).mean() == pytest.approx(informed, abs=5 * sigma)
    for level in np.unique(guess.confidence):
        chosen = guess.confidence == level
        assert hits[chosen].mean() == pytest.approx(level, abs=5 * 0.5 / np.sqrt(chosen.sum()))


def test_splitting_reads_its_stored_photons_and_flips_nothing() -> None:
    adversary = adversaries.build("photon_number_splitting", fraction=1.0)
    bits, bases = (np.random.default_rng(seed).integers(0, 2, N, dtype=np.uint8) for seed in (1, 2))
    pulses = Pulses(4 * bits + 2 * bases, np.full(N, 2, np.uint8), np.random.default_rng(3))
    rng = np.random.default_rng(4)
    record = adversary.intercept(pulses, WEAK, rng)
    sent = np.flatnonzero(pulses.count_photons() == 1)
    guess = adversary.conclude(record, sent, bases[sent], rng)
    assert len(sent)
    assert (guess.bits == bits[sent]).all()
    assert (guess.confidence == 1).all()
    assert (pulses._polarizations == 4 * bits + 2 * bases).all()


@pytest.mark.parametrize("loss_db", [2.0, 8.0, 13.0, 13.4, 30.0])
def test_splitting_keeps_the_gain_of_the_signal(loss_db: float) -> None:
    mu, eta = 0.1, 10 ** (-loss_db / 10)
    single, several = adversaries.splitting_rates(PublicSetting(mean_photon_number=mu, transmittance=eta))
    p1, p2 = mu * np.exp(-mu), 1 - np.exp(-mu) * (1 + mu)
    assert single * p1 + several * p2 == pytest.approx(1 - np.exp(-eta * mu), rel=1e-9)
    assert (single == 0) == (loss_db > 13.29)


def test_a_measurement_destroys_the_photon_and_a_second_one_finds_nothing() -> None:
    pulses = train(2, 1)
    first = pulses.measure(np.ones(N, bool), 0)
    assert set(first) == {0, 1}
    assert first.mean() == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(N))
    assert (pulses.measure(np.ones(N, bool), 0) == NO_PHOTON).all()


@pytest.mark.parametrize("basis", range(8))
def test_outcomes_follow_born(basis: int) -> None:
    ones = np.count_nonzero(train(2, 1).measure(np.ones(N, bool), basis) == 1)
    p = np.sin((2 - basis) * np.pi / 8) ** 2
    assert abs(ones - N * p) <= 5 * np.sqrt(N * p * (1 - p)) + 1e-6


def test_draws_have_the_probability_asked_for() -> None:
    n = 2_000_000
    for p in (0.0, 1e-4, 1 / 3, 0.998, 1.0):
        hits = int(bernoulli(p, n, np.random.default_rng(1)).sum())
        assert abs(hits - n * p) <= 5 * np.sqrt(n * p * (1 - p)) + 1e-9
    law = poisson_probabilities(0.3, 15)
    rows = np.tile(np.array([0, 1], np.uint8), n // 2)
    drawn = ByteTable(np.stack([law, law[::-1]])).draw(rows, np.random.default_rng(2))
    for row, expected in ((0, law), (1, law[::-1])):
        counts = np.bincount(drawn[rows == row], minlength=16)
        deviation = 5 * np.sqrt(n / 2 * expected * (1 - expected)) + 1e-3
        assert (np.abs(counts - n / 2 * expected) <= deviation).all()


def test_tables_refuse_what_is_no_distribution() -> None:
    with pytest.raises(ValueError, match="sum 1"):
        ByteTable(np.array([[0.5, 0.4]]))
    with pytest.raises(ValueError, match="sum 1"):
        ByteTable(np.array([[1.5, -0.5]]))


def test_bytes_are_uniform() -> None:
    counts = np.bincount(random_bytes(256_000, np.random.default_rng(5)), minlength=256)
    chi_square = ((counts - 1000) ** 2 / 1000).sum()
    assert abs(chi_square - 255) < 5 * np.sqrt(2 * 255)


def test_unknown_names_and_wrong_fractions_are_refused() -> None:
    with pytest.raises(ValueError, match="Did you mean 'breidbart'"):
        adversaries.build("breitbart", fraction=1.0)
    with pytest.raises(ValueError, match=r"adversary_fraction=1\.5"):
        adversaries.build("breidbart", fraction=1.5)
    with pytest.raises(ValueError, match=r"adversary_fraction=0\.5"):
        adversaries.build("man_in_the_middle", fraction=0.5)


def test_a_name_belongs_to_one_adversary() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Double(Adversary):
        name = "none"
        power = "none"

        def intercept(self, pulses: Pulses, setting: PublicSetting, rng: np.random.Generator) -> None:
            return None

        def conclude(self, record: Any, positions: Any, bases: Any, rng: np.random.Generator) -> Guess:
            raise NotImplementedError

    with pytest.raises(ValueError, match="belongs to another"):
        adversaries.register(Double)
