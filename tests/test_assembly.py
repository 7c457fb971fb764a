"""From stored scores to results: pure, complete, and void as soon as a control leaks."""

from dataclasses import replace
from pathlib import Path

import pytest

from qfl_sec import scoring
from qfl_sec.assembly import assemble
from qfl_sec.evidence import Evidence
from qfl_sec.experiment import Experiment, parse
from qfl_sec.grid import plan
from qfl_sec.instruments import check_instruments
from qfl_sec.results import Results, dumps, loads
from qfl_sec.store import Store
from qfl_sec.workbench import run_audit

EXPERIMENT = {
    "federation": {"clients": 4, "clients_per_round": 2, "rounds": 3, "batch_size": 2},
    "model": {"name": "variational_classifier", "layers": 3},
    "defenses": [{"name": "dp_sgd", "epsilon": [2.0, 8.0], "delta": 1e-3, "clip_norm": 0.5}],
    "attacks": [
        {"name": "gradient_inversion", "targets": 6, "restarts": 4, "iterations": 40},
        {"name": "update_membership"},
    ],
    "run": {"seeds": [0, 1]},
}


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return parse(EXPERIMENT, "test")


@pytest.fixture(scope="module")
def folder(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("audit")
    run_audit(experiment, out=place, workers=1, inline=True)
    return place


def assembled(experiment: Experiment, folder: Path) -> Results:
    with Store(folder / "results.sqlite") as store:
        return assemble(experiment, plan(experiment), store, folder / "transcripts")


def test_assembly_is_pure(experiment: Experiment, folder: Path) -> None:
    text = (folder / "results.json").read_bytes()
    assert dumps(assembled(experiment, folder)) == text
    assert dumps(loads(text)) == text


def test_every_setting_question_and_adversary_has_a_verdict(experiment: Experiment, folder: Path) -> None:
    results = assembled(experiment, folder)
    assert len(results.verdicts) == 3 * 2 * 3
    (rebuilding,) = {
        (one.reconstruction.rank, one.reconstruction.unknowns)
        for one in results.measurements
        if one.adversary == "client" and one.reconstruction is not None
    }
    assert rebuilding == (16, 16)  # two clients' records in each sum
    attacked = {(one.adversary, one.attack) for one in results.measurements if one.status == "measured"}
    both = ("gradient_inversion", "update_membership")
    assert attacked == {(who, attack) for who in ("server", "client") for attack in both}
    untested = [one for one in results.verdicts if one.adversary == "recipient"]
    assert {one.evidence for one in untested} == {"not tested"}
    assert {one.setting for one in results.utility} == {
        *(setting.id for setting in results.settings),
        "centralised",
        "classical",
    }
    assert sum(setting.audited for setting in results.settings) == 1


def test_undefended_records_are_rebuilt_and_defended_ones_are_not(experiment: Experiment, folder: Path) -> None:
    rebuilt = {
        one.setting: one.success
        for one in assembled(experiment, folder).measurements
        if one.question == "reconstruction" and one.adversary == "server" and one.success is not None
    }
    undefended = rebuilt.pop("none")
    assert undefended.low > 0.5
    assert len(rebuilt) == 2
    assert all(success.high < undefended.low for success in rebuilt.values())


def test_ceilings_rise_with_the_budget_and_lie_above_the_measurements(experiment: Experiment, folder: Path) -> None:
    results = assembled(experiment, folder)
    for question in ("membership", "reconstruction"):
        rates = [one.rate for one in results.ceilings if (one.question, one.adversary) == (question, "recipient")]
        assert rates == sorted(rates)
    success = {(one.setting, one.question): one.success for one in results.measurements if one.adversary == "server"}
    for ceiling in results.ceilings:
        rate = success.get((ceiling.setting, ceiling.question))
        if ceiling.adversary == "server" and rate is not None:
            assert rate.low <= ceiling.rate
            assert ceiling.at <= ceiling.rate <= 1
    for curve in results.ceiling_curves:
        assert len(curve.epsilon) == len(curve.rate) >= 150
        assert curve.epsilon[0] == pytest.approx(2.0)
        assert curve.epsilon[-1] == pytest.approx(8.0)


def test_every_client_has_an_epsilon_within_the_budget(experiment: Experiment, folder: Path) -> None:
    results = assembled(experiment, folder)
    budgets = {setting.id: setting.epsilon for setting in results.settings}
    assert {one.adversary for one in results.guarantees} == {"server", "client", "recipient"}
    for one in results.guarantees:
        budget = budgets[one.setting]
        assert budget is not None
        assert one.epsilon <= budget
        assert one.epsilon_rdp is not None
        assert one.epsilon <= one.epsilon_rdp * 1.005


def test_sound_instruments_pass(experiment: Experiment, folder: Path) -> None:
    results = assembled(experiment, folder)
    assert {one.id for one in results.instruments} == {
        "gradient_conformance",
        "membership_control",
        "reconstruction_control",
        "accountants_agree",
        "planted_leak_gradient_inversion",
        "planted_leak_gradient_inversion_in_sums",
        "planted_leak_update_membership",
        "planted_leak_update_membership_in_sums",
    }
    assert all(one.passed for one in results.instruments)


def test_a_leaking_reconstruction_control_voids_all_verdicts(
    experiment: Experiment, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = scoring._targets

    def leaking(trial: scoring.ReconstructionTrial) -> list[scoring._Target]:
        return [replace(target, unrelated=target.answer) for target in honest(trial)]

    monkeypatch.setattr(scoring, "_targets", leaking)
    results = assembled(experiment, folder)
    assert {one.id for one in results.instruments if not one.passed} == {"reconstruction_control"}
    assert {one.verdict for one in results.verdicts} == {"no verdict"}


def test_a_leaking_membership_control_fails_its_check(experiment: Experiment, folder: Path) -> None:
    results = assembled(experiment, folder)
    leaky = [
        replace(one, control=replace(one.control, k=one.control.n // 2))
        for one in results.measurements
        if one.membership is not None and one.control is not None
    ]
    trained = Evidence(plan(experiment), Store(folder / "results.sqlite"), folder / "transcripts").all_trainings()
    failed = [check.id for check in check_instruments(trained, leaky, []) if not check.passed]
    assert failed == ["membership_control"]


def test_nothing_of_place_or_time_is_in_the_results(folder: Path) -> None:
    text = (folder / "results.json").read_text()
    assert str(folder) not in text
    assert "seconds" not in text
