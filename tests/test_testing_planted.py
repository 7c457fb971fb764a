"""Planted bad plug-ins fail the check of the conformance kit that is meant for them."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qfl_sec import plugins
from qfl_sec.contracts import Attack, Defense
from qfl_sec.defenses import DpSgd
from qfl_sec.testing import Scorecard, check_attack, check_defense
from qfl_sec.testing.bench import bench_setup, one_round

PLANTED = Path(__file__).parent / "planted_plugins"

WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    # planted plug-in: the checks that it fails, the one that is meant for it first; what that one says
    "no_clipping": (("clipping", "guarantee", "audit"), "nothing is clipped"),
    "wrong_batch_size": (("noise_level", "audit"), "Scale it by public numbers alone"),
    "noise_reused": (("noise_steps", "guarantee"), "not independent between steps"),
    "noise_by_step": (("noise_steps", "guarantee"), "not independent between steps"),
    "seed_shared": (("noise_clients", "guarantee"), "not independent between clients"),
    "one_number": (("noise_coordinates", "guarantee"), "not independent between coordinates"),
    "wrong_sensitivity": (("sensitivity", "guarantee", "audit"), "further than the guarantee counts on"),
    "zero_gradients": (("signal",), "Nothing is learnt"),
    "hidden_state": (("no_hidden_state",), "An earlier training changes a later one"),
    "lying_guarantee": (("guarantee", "audit"), "promises too much"),
    "uniform_noise": (("noise_shape",), "not Gaussian"),
    "other_clients": (("isolation", "expected_gradient"), "depends on another's records"),
    "padding_counted": (("empty_slots",), "Multiply by the mask"),
    "misleading": (("expected_gradient",), "adaptive attackers are misled"),
    "global_randomness": (("determinism",), "something else than the generator"),
    "never_off": (("switched_off",), "Switched off"),
    "wrong_shape": (("shapes", "isolation", "expected_gradient"), "wrong kind, shape or dtype"),
    "nan": (("finite", "honest_failure"), "not finite"),
    "changes_input": (("inputs_unchanged",), "writes into its input"),
    "attack_peeks_at_callers": (("no_truth",), "it looks at its callers or at files"),
    "attack_reads_files": (("no_truth",), "it looks at its callers or at files"),
    "attack_wrong_shape": (("shapes",), "wrong kind or shape"),
    "attack_nan": (("finite", "honest_failure"), "not finite"),
    "attack_changes_input": (("inputs_unchanged",), "writes into its view"),
    "attack_blind": (("signal",), "do not depend on what it sees"),
    "attack_global_randomness": (("determinism",), "something else than the generator"),
    "attack_hidden_state": (("no_hidden_state",), "An earlier run changes a later one"),
    "attack_breaks_down": (("honest_failure",), "fails silently or without a reason"),
}
CAUGHT_ELSEWHERE = {"hangs", "hangs_on_import", "dies", "raises_on_import", "taken_name"}  # see test_verify_plugin


@pytest.fixture(autouse=True)
def fresh_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_registry", plugins._Registry())
    for name in [name for name in sys.modules if name.startswith(plugins.FILE_MODULE)]:
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture(scope="module", autouse=True)
def calibrated() -> None:
    """Calibrate DP-SGD for the bench once; the planted plug-ins that build on it find the result remembered."""
    defense = DpSgd(epsilon=4.0)
    setup = bench_setup(defense)
    shorter = replace(setup, schedule=setup.schedule[:2], expected_sizes=(40.0,) * 5)
    for one in (shorter, one_round(setup), setup):
        defense.prepare(one)


def check(plugin: Attack | Defense) -> Scorecard:
    return check_defense(plugin) if isinstance(plugin, Defense) else check_attack(plugin)


def build(cls: Any) -> Any:
    return cls(epsilon=4.0) if plugins.parameters(cls).get("epsilon") == {"type": "float"} else cls()


def test_every_planted_plugin_is_in_the_table() -> None:
    assert {path.stem for path in PLANTED.glob("*.py")} == set(WRONG) | CAUGHT_ELSEWHERE


@pytest.mark.parametrize("name", WRONG)
def test_a_planted_plugin_fails_the_check_meant_for_it(name: str) -> None:
    failing, reason = WRONG[name]
    card = check(build(plugins.load_file(PLANTED / f"{name}.py")[0]))
    assert set(card.failures) == set(failing), card.text()
    found = next(one for one in card.checks if one.name == failing[0])
    assert reason in found.reason
    assert found.measured and found.expected
