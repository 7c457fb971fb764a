"""Rules of `--fail-if`: what they may say, what they read, how a command ends."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from qfl_sec import policy
from qfl_sec.checking import InputError
from qfl_sec.cli import main
from qfl_sec.plugins import get
from qfl_sec.policy import GENERAL, MEASURES, Rule, parse_rule
from qfl_sec.results import Results, loads

ATTACKS = [get("attack", name)() for name in ("update_membership", "gradient_inversion")]
EXPERIMENT = """
[data]
features = 4

[model]
name = "mlp_classifier"

[federation]
clients = 2
clients_per_round = 2
rounds = 2

[[attacks]]
name = "update_membership"

[run]
seeds = [0]
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished audit of a small classical model, and its experiment file."""
    folder = tmp_path_factory.mktemp("policy")
    (folder / "small.toml").write_text(EXPERIMENT)
    assert main(["audit", str(folder / "small.toml"), "--out", str(folder / "run"), "--workers", "1"]) == 0
    return folder


@pytest.fixture
def results(run: Path) -> Results:
    return loads((run / "run" / "results.json").read_bytes())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("update_membership.tpr_at_1pct > 0.1", ("update_membership", "tpr_at_1pct", ">", 0.1)),
        (" gradient_inversion.rmse<=.5 ", ("gradient_inversion", "rmse", "<=", 0.5)),
        ("verdicts.above_tolerance>=1", ("verdicts", "above_tolerance", ">=", 1.0)),
        ("utility.accuracy_low < 9e-1", ("utility", "accuracy_low", "<", 0.9)),
    ],
)
def test_rules_are_read(text: str, expected: tuple[str, str, str, float]) -> None:
    rule = parse_rule(text, ATTACKS)
    assert (rule.subject, rule.measure, rule.comparison, rule.bound) == expected
    assert parse_rule(str(rule), ATTACKS) == rule


@pytest.mark.parametrize(
    "text",
    [
        "",
        "update_membership > 0.1",
        "update_membership.auc",
        "update_membership.auc > nan",
        "update_membership.auc > inf",
        "update_membership.auc == 0.5",
        "update_membership.auc > 0.5 or True",
        "update_membership.auc > 0.5\nverdicts.open > 1",
        "update_membership.auc > 1_0",
        "update_membership.auc > 10%",
        "update_membership.auc > ٣",
        "__import__('os').system > 1",
    ],
)
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"not a rule\. Expected NAME\.MEASURE"):
        parse_rule(text, ATTACKS)


def test_a_bound_beyond_all_numbers_is_refused() -> None:
    with pytest.raises(InputError, match="to be finite"):
        parse_rule("update_membership.auc > 1e999", ATTACKS)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError) as error:
        parse_rule("update_membrship.auc > 1", ATTACKS)
    assert "Did you mean 'update_membership'?" in str(error.value)
    for known in ("gradient_inversion", *GENERAL):
        assert known in str(error.value)
    with pytest.raises(InputError) as error:
        parse_rule("gradient_inversion.auc > 1", ATTACKS)
    for known in MEASURES["reconstruction"]:
        assert known in str(error.value)


def test_every_name_is_in_the_documentation() -> None:
    text = (Path(__file__).parent.parent / "docs" / "pipelines.md").read_text()
    for subject, measures in (MEASURES | GENERAL).items():
        assert all(f"`{name}`" in text for name in measures), subject


def test_figures_are_those_of_the_results(results: Results) -> None:
    successes = [one.success for one in results.measurements if one.success is not None]
    games = [one.membership for one in results.measurements if one.membership is not None]
    utility = next(one for one in results.utility if one.setting == "none")
    assert len(successes) == len(games) == 2  # by the server and by another client, of whom the worse counts
    expected = {
        "update_membership.tpr_at_1pct": max(one.k / one.n for one in successes),
        "update_membership.tpr_at_1pct_low": max(one.low for one in successes),
        "update_membership.tpr_at_10pct_high": max(one.at_ten_percent.high for one in games),
        "update_membership.auc_low": max(one.auc_low for one in games),
        "utility.accuracy": utility.accuracy.k / utility.accuracy.n,
        "verdicts.open": sum(one.verdict == "open" for one in results.verdicts),
        "instruments.failed": 0,
    }
    for name, value in expected.items():
        found = policy.answer(parse_rule(f"{name} > {value!r}", ATTACKS), results)
        assert (found.value, found.holds) == (value, False), name
        assert policy.answer(parse_rule(f"{name} >= {value!r}", ATTACKS), results).holds, name


def test_of_several_adversaries_the_worst_counts(results: Results) -> None:
    measured = next(one for one in results.measurements if one.status == "measured")
    assert measured.membership is not None
    better = replace(measured, adversary="client", membership=replace(measured.membership, auc=0.9))
    both = replace(results, measurements=(measured, better))
    above = policy.answer(parse_rule("update_membership.auc > 0.8", ATTACKS), both)
    below = policy.answer(parse_rule("update_membership.auc < 0.8", ATTACKS), both)
    assert (above.value, above.adversary, above.holds) == (0.9, "client", True)
    assert (below.value, below.adversary, below.holds) == (measured.membership.auc, "server", True)
    elsewhere = replace(results, settings=tuple(replace(one, audited=False) for one in results.settings))
    assert policy.answer(parse_rule("update_membership.auc > 0", ATTACKS), elsewhere).holds is None


def test_what_was_not_measured_neither_holds_nor_fails_to(results: Results) -> None:
    measured = next(one for one in results.measurements if one.status == "measured")
    untested = replace(measured, status="not tested", reason="Nothing to see.", success=None, membership=None)
    found = policy.answer(
        Rule(subject="update_membership", measure="auc", comparison=">", bound=0.5),
        replace(results, measurements=(untested,)),
    )
    assert (found.value, found.holds, found.reason) == (None, None, "Nothing to see.")


@pytest.mark.parametrize(
    ("rules", "status"),
    [
        (["update_membership.auc > 1"], 0),
        (["update_membership.auc > 1", "update_membership.auc >= 0"], 3),
        (["utility.accuracy < 0"], 0),
    ],
)
def test_the_command_ends_by_its_rules(
    rules: list[str], status: int, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [part for rule in rules for part in ("--fail-if", rule)]
    arguments = ["audit", str(run / "small.toml"), "--out", str(run / "run"), "--workers", "1", "--json", *options]
    assert main(arguments) == status
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    assert [one["holds"] for one in answer["rules"]] == [status == 3 and rule.endswith(">= 0") for rule in rules]
    assert "HOLDS" in printed.err if status else "HOLDS" not in printed.err


def test_a_wrong_rule_ends_the_command_before_anything_is_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "small.toml"
    path.write_text(EXPERIMENT)
    arguments = ["audit", str(path), "--out", str(tmp_path / "run"), "--fail-if", "gradient_inversion.rebuilt > 0"]
    assert main(arguments) == 2
    assert "an attack has to stand in the experiment" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_rule_without_a_figure_is_no_success(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(rule: Rule, results: Results) -> policy.Answer:
        return policy.Answer(rule=rule, value=None, adversary=None, holds=None, reason="Not visible.")

    monkeypatch.setattr(policy, "answer", nothing)
    arguments = ["audit", str(run / "small.toml"), "--out", str(run / "run"), "--workers", "1"]
    assert main([*arguments, "--fail-if", "update_membership.auc > 0"]) == 2
    assert "nothing to hold it against: Not visible." in capsys.readouterr().err
