"""The conformance kit: shipped plug-ins pass it, and its figures are what closed forms say."""

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from qfl_sec import plugins
from qfl_sec.contracts import Defense
from qfl_sec.defenses import DpSgd, NoDefense
from qfl_sec.testing import Scorecard, check_attack, check_defense
from qfl_sec.testing.attack import CHECKS
from qfl_sec.testing.bench import PARAMETERS, Bench
from qfl_sec.testing.defense import BEHAVIOUR, NOISE, PRIVACY
from qfl_sec.testing.noise import (
    Noise,
    _independence,
    expected_gradient,
    noise_clients,
    noise_coordinates,
    noise_level,
    noise_shape,
    noise_steps,
)
from qfl_sec.testing.privacy import Privacy, sensitivity
from qfl_sec.testing.scorecard import FALSE_ALARM, LEVEL, STATISTICAL_CHECKS
from qfl_sec.testing.surroundings import in_a_copy

PLANTED = Path(__file__).parent / "planted_plugins"
ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def fresh_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_registry", plugins._Registry())
    for name in [name for name in sys.modules if name.startswith(plugins.FILE_MODULE)]:
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture(scope="module")
def private() -> Bench:
    """DP-SGD on the bench."""
    return Bench(DpSgd(epsilon=4.0))


@pytest.fixture(scope="module")
def dp_sgd_card(private: Bench) -> Scorecard:
    return check_defense(private.defense)


def build(cls: Any) -> Any:
    return cls(epsilon=4.0) if plugins.parameters(cls).get("epsilon") == {"type": "float"} else cls()


def test_dp_sgd_passes_every_check_that_applies(dp_sgd_card: Scorecard) -> None:
    assert dp_sgd_card.passed, dp_sgd_card.text()
    assert [one.name for one in dp_sgd_card.checks if one.status == "not applicable"] == ["switched_off"]
    assert [one.name for one in dp_sgd_card.checks] == [*BEHAVIOUR, *NOISE, *PRIVACY]


def test_no_defense_passes_and_is_switched_off() -> None:
    card = check_defense(NoDefense())
    assert card.passed, card.text()
    by_name = {one.name: one for one in card.checks}
    assert by_name["switched_off"].status == "passed"
    assert {by_name[name].reason for name in PRIVACY} == {"It claims no guarantee."}


@pytest.mark.parametrize("name", [name for name in plugins.BUILT_IN["defense"] if name not in ("none", "dp_sgd")])
def test_every_other_shipped_defense_passes(name: str) -> None:
    card = check_defense(build(plugins.get("defense", name)))
    assert card.passed, card.text()


@pytest.mark.parametrize("name", plugins.BUILT_IN["attack"])
def test_every_shipped_attack_passes(name: str) -> None:
    cls: Any = plugins.get("attack", name)
    smaller = {"targets": 1, "restarts": 2, "iterations": 10} if name == "gradient_inversion" else {}
    card = check_attack(cls(**smaller))
    assert card.passed, card.text()
    assert [one.name for one in card.checks] == list(CHECKS)


def test_the_same_seed_gives_the_same_scorecard_and_another_one_other_figures() -> None:
    cls = plugins.load_file(PLANTED / "misleading.py")[0]
    first, again, other = (check_defense(build(cls), seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.checks != other.checks
    assert first.failures == other.failures


def test_the_measured_sensitivity_of_dp_sgd_is_its_clipping_norm_over_the_batch_size(private: Bench) -> None:
    privacy = Privacy(private, Noise(private))
    assert privacy.noise_cancels
    assert privacy.worst.distance == pytest.approx(0.5 / 4, rel=1e-6)
    assert "at most 0.125, which its premises state" in sensitivity(privacy).expected


def test_without_premises_the_bound_is_what_epsilon_leaves_room_for(
    private: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DpSgd, "premises", Defense.premises)
    found = sensitivity(Privacy(private, Noise(private)))
    assert found.passed
    bound = float(re.findall(r"at most ([\d.]+), which its epsilon", found.expected)[0])
    assert bound == pytest.approx(0.5 / 4, rel=0.01)


def test_the_budget_that_the_measurements_need_is_the_claimed_one(dp_sgd_card: Scorecard) -> None:
    found = next(one for one in dp_sgd_card.checks if one.name == "guarantee")
    needed, claimed = float(found.measured.split()[1]), float(found.expected.split()[1])
    assert 0.95 * claimed < needed <= 1.01 * claimed


def test_a_sound_defense_passes_the_noise_checks_at_other_seeds(private: Bench) -> None:
    checks = (noise_coordinates, noise_steps, noise_clients, noise_level, noise_shape, expected_gradient)
    for seed in (1, 2):
        noise = Noise(Bench(private.defense, seed))
        assert [one.__name__ for one in checks if not one(noise).passed] == []


def test_the_p_of_a_correlation_is_uniform_under_independence() -> None:
    generator = torch.Generator().manual_seed(3)
    draws = torch.nn.functional.normalize(torch.randn(4000, 2, PARAMETERS, generator=generator), dim=-1)
    p = [
        float(_independence(float(one), PARAMETERS, 1, "things").measured.split("p = ")[1].split()[0])
        for one in (draws[:, 0] * draws[:, 1]).sum(-1)
    ]
    for level in (0.5, 0.1, 0.01):
        hits = sum(one < level for one in p)
        assert abs(hits - 4000 * level) < 4 * math.sqrt(4000 * level * (1 - level))


def test_the_checks_share_the_probability_of_a_false_alarm() -> None:
    assert len(NOISE) + 1 == STATISTICAL_CHECKS
    assert pytest.approx(FALSE_ALARM) == LEVEL * STATISTICAL_CHECKS


def test_a_scorecard_reads_as_text_and_as_json(dp_sgd_card: Scorecard) -> None:
    value = json.loads(json.dumps(dp_sgd_card.as_dict(), allow_nan=False))
    assert value["passed"] is True and value["plugin"] == "dp_sgd" and value["false_alarm"] == FALSE_ALARM
    assert set(value["checks"][0]) == {"name", "status", "measured", "expected", "reason"}
    text = dp_sgd_card.text()
    assert text.startswith("defense dp_sgd: passed")
    assert all(one.name in text and one.reason in text and one.measured in text for one in dp_sgd_card.checks)


def test_what_a_copy_of_the_process_leaves_behind_is_gone() -> None:
    left: list[int] = []

    def leave() -> bytes:
        left.append(1)
        return bytes([len(left)])

    assert in_a_copy(leave) == in_a_copy(leave) == b"\x01"
    assert left == []


def test_a_copy_that_dies_is_reported() -> None:
    with pytest.raises(RuntimeError, match="died with status 1"):
        in_a_copy(lambda: bytes(int("no number")))


def test_the_defense_of_the_documentation_is_short_and_passes(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "your-defense.md").read_text()
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
    path = tmp_path / "my_defense.py"
    path.write_text(code)
    card = check_defense(build(plugins.load_file(path)[0]))
    assert card.passed, card.text()
    assert {one.name: one.status for one in card.checks}["switched_off"] == "passed"


def test_the_documentation_names_every_check() -> None:
    text = (ROOT / "docs" / "your-defense.md").read_text()
    assert [name for name in {**BEHAVIOUR, **NOISE, **PRIVACY, **CHECKS} if f"`{name}`" not in text] == []
