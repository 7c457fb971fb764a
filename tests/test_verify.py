"""`qfl-sec verify`: a run that is what it says agrees; whatever was changed in it is found and named."""

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, load_file, save, save_file

from qfl_sec.cli import main
from qfl_sec.experiment import parse
from qfl_sec.verify import verify
from qfl_sec.workbench import attack, run_audit, train

EXPERIMENT: dict[str, Any] = {
    "federation": {"clients": 2, "clients_per_round": 2, "rounds": 2, "batch_size": 2},
    "model": {"name": "mlp_classifier"},
    "defenses": [{"name": "dp_sgd", "epsilon": 2.0, "delta": 1e-3, "clip_norm": 0.5}],
    "attacks": [
        {"name": "update_membership"},
        {"name": "loss_membership"},
        {"name": "gradient_inversion", "targets": 2, "restarts": 1, "iterations": 5},
    ],
    "run": {"seeds": [0]},
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "audited"
    run_audit(parse(EXPERIMENT, "test"), out=folder, inline=True, command="qfl-sec audit test.toml")
    return folder


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "run")


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_an_untouched_run_agrees_and_is_not_written(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(run)
    assert main(["verify", str(run)]) == 0
    said = capsys.readouterr()
    assert "everything agrees" in said.out
    assert "Not verified: that training and attacking again" in said.err
    assert contents(run) == before


def test_the_answer_counts_what_was_compared(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(run), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    results = json.loads((run / "results.json").read_bytes())
    assert answer["verified"] is True
    assert answer["mismatches"] == []
    assert answer["verdicts"] == len(results["verdicts"])
    assert answer["trainings"] == len(results["trainings"]) == 4
    assert answer["cells"] == sum(len(one["scores_sha256"]) for one in results["measurements"])
    assert answer["values"] > 500


def edit(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads((run / "results.json").read_bytes())
    change(data)
    (run / "results.json").write_text(json.dumps(data, sort_keys=True, indent=2) + "\n")


def first_measured(data: dict[str, Any]) -> dict[str, Any]:
    return next(one for one in data["measurements"] if one["status"] == "measured")


def _count(data: dict[str, Any]) -> None:
    first_measured(data)["success"]["k"] += 1


def _verdict(data: dict[str, Any]) -> None:
    data["verdicts"][0]["verdict"] = "within tolerance"


def _limit(data: dict[str, Any]) -> None:
    data["verdicts"][0]["basis"]["success"]["low"] += 1e-12


def _score_hash(data: dict[str, Any]) -> None:
    first_measured(data)["scores_sha256"][0] = "0" * 64


def _accuracy(data: dict[str, Any]) -> None:
    data["utility"][0]["accuracy"]["k"] -= 1


def _ceiling(data: dict[str, Any]) -> None:
    data["ceilings"][0]["rate"] *= 0.5


def _instrument(data: dict[str, Any]) -> None:
    next(one for one in data["instruments"] if one["id"].startswith("planted"))["passed"] = False


def _dropped(data: dict[str, Any]) -> None:
    del data["verdicts"][-1]


def _reason(data: dict[str, Any]) -> None:
    data["verdicts"][0]["evidence_reason"] = "nothing to see here"


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "count": (_count, "success.k"),
    "verdict": (_verdict, ".verdict"),
    "limit": (_limit, "basis.success.low"),
    "score hash": (_score_hash, "scores_sha256[0]"),
    "accuracy": (_accuracy, "accuracy.k"),
    "ceiling": (_ceiling, "ceilings[0]"),
    "planted": (_instrument, "passed"),
    "dropped verdict": (_dropped, "verdicts: entries"),
    "reason": (_reason, "evidence_reason"),
}


def test_changes_of_the_results_are_found_each_at_its_place(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for change, _ in CHANGES.values():
        edit(run, change)
    assert main(["verify", str(run), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["verified"] is False
    places = [one["place"] for one in found["mismatches"]]
    assert len(places) == len(CHANGES)
    for _, said in CHANGES.values():
        assert [said in place for place in places].count(True) == 1, said
    assert all(one["stored"] != one["recomputed"] for one in found["mismatches"])


def test_one_changed_count_is_told_in_words(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(run, _count)
    assert main(["verify", str(run)]) == 1
    said = capsys.readouterr().out
    assert said.count("DIFFERS") == 1
    assert ": 1 differ." in said


def test_results_written_in_another_way_are_not_the_same_file(run: Path) -> None:
    data = json.loads((run / "results.json").read_bytes())
    (run / "results.json").write_text(json.dumps(data))
    assert [one.place for one in verify(run).mismatches] == ["results.json: bytes"]


def change_scores(run: Path, *, with_hash: bool) -> None:
    """Let every candidate of one membership cell look like a member or not, by the truth."""
    with sqlite3.connect(run / "results.sqlite") as database:
        key, training, blob = database.execute(
            "SELECT key, training, scores FROM cells WHERE attack = 'update_membership' LIMIT 1"
        ).fetchone()
        tensors = load(blob)
        truth = load_file(run / "transcripts" / training[:16] / "truth.safetensors")
        tensors["scores.values"] = truth["members"].to(tensors["scores.values"].dtype) * 1e6
        changed = save(tensors)
        database.execute("UPDATE cells SET scores = ? WHERE key = ?", (changed, key))
        if with_hash:
            database.execute("UPDATE cells SET sha256 = ? WHERE key = ?", (hashlib.sha256(changed).hexdigest(), key))
    database.close()


@pytest.mark.parametrize("with_hash", [False, True])
def test_changed_scores_are_found_with_and_without_their_hash(
    run: Path, with_hash: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    change_scores(run, with_hash=with_hash)
    assert main(["verify", str(run), "--json"]) == 1
    places = [one["place"] for one in json.loads(capsys.readouterr().out)["mismatches"]]
    assert any(place.startswith("results.sqlite: scores of cell") for place in places) == (not with_hash)
    assert any("scores_sha256" in place for place in places)
    assert any("success.k" in place for place in places)


def test_scores_that_are_no_scores_any_more_are_named(run: Path) -> None:
    with sqlite3.connect(run / "results.sqlite") as database:
        database.execute("UPDATE cells SET scores = X'00' WHERE id = 1")
    database.close()
    first, *rest = verify(run).mismatches
    assert first.place.startswith("results.sqlite: scores of cell")
    assert "not possible" in rest[-1].recomputed


def test_an_edited_tolerance_is_found(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / "experiment.toml"
    text = path.read_text()
    path.write_text(text.replace("membership = 0.05", "membership = 0.5"))
    assert path.read_text() != text
    assert main(["verify", str(run)]) == 1
    said = capsys.readouterr().out
    assert "experiment_sha256" in said
    assert "questions[0] (membership).tolerance\n  stored      0.05\n  recomputed  0.5" in said


def test_an_edited_round_count_is_found(run: Path) -> None:
    path = run / "experiment.toml"
    path.write_text(path.read_text().replace("learning_rate = 1.0", "learning_rate = 2.0"))
    found = verify(run)
    assert any("another experiment" in note for note in found.notes)
    assert "results.json: experiment_sha256" in [one.place for one in found.mismatches]


def test_a_swapped_truth_is_found(run: Path) -> None:
    data = json.loads((run / "results.json").read_bytes())
    one, other, *_ = [entry["key"][:16] for entry in data["trainings"]]
    places = [run / "transcripts" / name / "truth.safetensors" for name in (one, other)]
    truths = [place.read_bytes() for place in places]
    assert truths[0] != truths[1]
    for place, content in zip(places, reversed(truths), strict=True):
        place.write_bytes(content)
    found = [mismatch.place for mismatch in verify(run).mismatches]
    assert any("truth_sha256" in place or ": truth" in place for place in found)


def test_a_truth_that_changes_no_number_is_found_by_its_hash(run: Path) -> None:
    data = json.loads((run / "results.json").read_bytes())
    path = run / "transcripts" / data["trainings"][0]["key"][:16] / "truth.safetensors"
    tensors = load_file(path)
    tensors["batch_records"] = tensors["batch_records"].flip(-1)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    assert any("truth_sha256" in one.place for one in verify(run).mismatches)


def test_a_changed_transcript_is_found(run: Path) -> None:
    data = json.loads((run / "results.json").read_bytes())
    path = run / "transcripts" / data["trainings"][0]["key"][:16] / "tensors.safetensors"
    tensors = load_file(path)
    tensors["updates"] = tensors["updates"] + torch.ones(())
    save_file(tensors, path)
    assert any("transcript_sha256" in one.place for one in verify(run).mismatches)


def test_other_versions_are_named_first_and_compared_all_the_same(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / "environment.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "torch": "1.0.0"}))
    edit(run, _count)
    assert main(["verify", str(run)]) == 1
    said = capsys.readouterr().out
    assert said.startswith("Note: Made elsewhere or by other versions, compared all the same: torch 1.0.0 (here ")
    assert said.count("DIFFERS") == 1


def test_results_of_another_source_are_found_by_their_recorded_keys(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qfl_sec.grid.package_source", lambda: "0" * 64)
    found = verify(run)
    assert found.mismatches == ()
    assert any("they are taken as results.json records them" in note for note in found.notes)


def test_a_trained_run_claims_nothing_and_an_attacked_one_is_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "trained"
    train(parse(EXPERIMENT | {"defenses": []}, "test"), out=folder, inline=True, command="train")
    assert main(["verify", str(folder)]) == 2
    assert "without results: nothing is claimed, so there is nothing to verify" in capsys.readouterr().err
    attack(folder, attacks=["update_membership"], inline=True, command="attack")
    assert main(["verify", str(folder)]) == 0
