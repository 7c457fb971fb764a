"""Who sent this update, from the experiment file to the report: what is stored where, what is scored, what is said."""

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from qfl_sec.experiment import Experiment, parse
from qfl_sec.instruments import _linkage_control
from qfl_sec.judging import check_verdicts
from qfl_sec.policy import MEASURES
from qfl_sec.reports.chapters import chapters
from qfl_sec.reports.charts import figures
from qfl_sec.reports.counts import success_tables
from qfl_sec.reports.findings import headline, lead
from qfl_sec.reports.first_page import budget_table, finding_rows
from qfl_sec.reports.selection import Selection
from qfl_sec.results import Measurement, Results, dumps, loads
from qfl_sec.tables import Tolerances
from qfl_sec.workbench import run_audit

SETUP = {
    "federation": {"clients": 5, "clients_per_round": 2, "rounds": 12, "partition": "dirichlet", "alpha": 1.0},
    "model": {"name": "variational_classifier", "layers": 2},
    "run": {"seeds": [0, 1]},
}
HIDDEN = {
    **SETUP,
    "defenses": [{"name": "anonymous_forwarding", "hops": 2, "colluding_hops": [0, 2]}],
    "attacks": [{"name": "sender_linkage", "restarts": 5}],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("linkage")
    run_audit(parse(HIDDEN, "test"), out=place, workers=1, inline=True)
    return place


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return loads((folder / "results.json").read_bytes())


def asked(results: Results, setting: str) -> dict[str, Measurement]:
    return {one.adversary: one for one in results.measurements if one.question == "linkage" and setting in one.setting}


def test_results_survive_and_verdicts_follow(results: Results, folder: Path) -> None:
    assert dumps(results) == (folder / "results.json").read_bytes()
    check_verdicts(results)


def test_colluding_hops_give_every_sender_away(results: Results) -> None:
    found = asked(results, "colluding_hops=2")["server"]
    assert found.success is not None and found.guess is not None and found.control is not None
    assert (found.success.k, found.success.n) == (48, 48)  # 2 seeds x 12 rounds x 2 updates
    assert (found.guess.k, found.guess.n) == (24, 48)
    assert found.control.low <= 0.5 <= found.control.high
    verdict = next(v for v in results.verdicts if v.question == "linkage" and v.setting == found.setting)
    assert (verdict.evidence, verdict.verdict) == ("leak shown", "above tolerance")
    premises = [one for one in results.premises if one.setting == found.setting]
    assert [one.passed for one in premises if "shuffled" in one.premise] == [False]


def test_senders_are_scored_against_the_truth_s_file_alone(results: Results, folder: Path) -> None:
    found = asked(results, "colluding_hops=0")["server"]
    assert found.success is not None
    assert found.success.n == 48
    hidden = 0
    for transcript in (folder / "transcripts").iterdir():
        truth, public = load_file(transcript / "truth.safetensors"), load_file(transcript / "tensors.safetensors")
        hidden += "senders" in truth
        assert "senders" not in public
    assert hidden == 4


def test_named_updates_are_not_attacked_and_others_see_none(results: Results) -> None:
    plain = asked(results, "none")
    assert plain["server"].status == "not tested"
    assert "sender is visible" in (plain["server"].reason or "")
    assert plain["client"].status == plain["recipient"].status == "not visible"


def test_what_an_experiment_that_does_not_ask_reports() -> None:
    assert parse(SETUP, "test").attacks == Experiment().attacks
    assert "sender_linkage" not in {attack.name for attack in Experiment().attacks}


def test_without_the_defense_the_question_does_not_come_up(tmp_path: Path) -> None:
    short = {**SETUP, "federation": {**SETUP["federation"], "rounds": 1}, "run": {"seeds": [0]}}  # type: ignore[dict-item]
    run_audit(parse({**short, "attacks": [{"name": "loss_membership"}]}, "t"), out=tmp_path, workers=1, inline=True)
    found = loads((tmp_path / "results.json").read_bytes())
    assert {one.id for one in found.questions} == {"membership", "reconstruction"}
    assert {one.question for one in found.measurements} == {"membership", "reconstruction"}
    assert "linkage" not in (tmp_path / "results.json").read_text()


def test_tolerances(results: Results) -> None:
    entry = results.questions[-1]
    assert (entry.id, entry.tolerance) == ("linkage", pytest.approx(0.55))  # 0.05 above guessing one of two
    with pytest.raises(ValueError, match="linkage=30"):
        Tolerances(linkage=30)
    assert "linked" in MEASURES["linkage"]


def test_a_control_that_names_senders_voids_the_run(results: Results) -> None:
    good = asked(results, "colluding_hops=2")["server"]
    assert _linkage_control([good]).passed
    assert not _linkage_control([replace(good, control=good.success)]).passed
    assert not _linkage_control([replace(good, control=None)]).passed


def test_the_report_says_it(results: Results) -> None:
    selection = Selection(results=results)
    said = " ".join([headline(selection).text, *lead(selection)])
    assert "sender" in said
    rows = [row for row in finding_rows(selection) if row.question.startswith("Who sent")]
    assert len(rows) == 3
    assert "Senders named, measured" in {row.cells[0] for row in budget_table(selection).groups[0].rows}
    table = success_tables(selection)[-1]
    assert table.caption.startswith("Linkage")
    assert any("48 / 48" in cell for group in table.groups for row in group.rows for cell in row.cells)
    assert any("sender" in chapter.control for chapter in chapters(selection))
    titles = [panel.title for figure in figures(selection) for panel in figure.panels]
    assert "Linkage: senders named" in titles
