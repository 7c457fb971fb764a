"""Transcripts on disk: what is written is read, and what was tampered with is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from qfl_sec.checking import InputError
from qfl_sec.federation import TrainingConfig, train
from qfl_sec.transcript import Transcript, load_truth


@pytest.fixture
def folder(mlp_training: TrainingConfig, tmp_path: Path) -> Path:
    place = tmp_path / "transcript"
    train(mlp_training, key="k").save(place)
    return place


def test_what_is_written_is_read(mlp_training: TrainingConfig, folder: Path) -> None:
    fresh, read = train(mlp_training, key="k"), Transcript.load(folder)
    assert read.metadata == fresh.metadata
    for name in ("global_weights", "selected", "updates", "aggregates", "batch_labels"):
        assert torch.equal(getattr(read, name), getattr(fresh, name)), name
    assert read.truth is None
    truth = load_truth(folder, read.metadata)
    assert fresh.truth is not None
    assert truth.senders is None
    found = {name: value for name, value in vars(truth).items() if name != "senders"}
    assert all(torch.equal(value, getattr(fresh.truth, name)) for name, value in found.items())
    assert sorted(path.name for path in folder.iterdir()) == [
        "metadata.json",
        "model.safetensors",
        "tensors.safetensors",
        "truth.safetensors",
    ]


def test_nothing_partial_is_left_behind(mlp_training: TrainingConfig, folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    train(mlp_training, key="another").save(folder)  # an existing transcript is kept
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_failing_write_leaves_no_transcript(
    mlp_training: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    transcript = train(mlp_training)
    monkeypatch.setattr("qfl_sec.transcript.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        transcript.save(tmp_path / "transcript")
    assert list(tmp_path.iterdir()) == []


def tamper_tensor(folder: Path, name: str, value: torch.Tensor | None) -> None:
    path = folder / "tensors.safetensors"
    tensors = load_file(path)
    if value is None:
        del tensors[name]
    else:
        tensors[name] = value
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("updates", torch.zeros(3, 2, 5), "updates has shape"),
        ("updates", torch.full((3, 2, 36), torch.nan, dtype=torch.float64), "not finite"),
        ("global_weights", torch.zeros(3, 36), "global_weights has shape"),
        ("selected", torch.zeros(3, 2, dtype=torch.int64), "differs from the schedule"),
        ("updates", torch.zeros(3, 2, 36, dtype=torch.int64), "updates holds torch.int64"),
        ("selected", None, "Expected"),
        ("surprise", torch.zeros(1), "surprise"),
    ],
)
def test_tampered_tensors_are_refused(folder: Path, name: str, value: torch.Tensor | None, words: str) -> None:
    tamper_tensor(folder, name, value)
    with pytest.raises(InputError, match=words):
        Transcript.load(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": "qfl-sec/transcript-2"}, "Expected 'qfl-sec/transcript-1'"),
        ({"test_records": "many"}, "test_records"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
)
def test_foreign_metadata_is_refused(folder: Path, change: dict[str, object], words: str) -> None:
    path = folder / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=words):
        Transcript.load(folder)


def test_metadata_with_an_impossible_schedule_is_refused(folder: Path) -> None:
    path = folder / "metadata.json"
    content = json.loads(path.read_text())
    content["setup"]["schedule"] = []
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="at least one round"):
        Transcript.load(folder)


@pytest.mark.parametrize("file", ["metadata.json", "tensors.safetensors", "model.safetensors"])
@pytest.mark.parametrize("damage", [None, b"", b"\x80\x04garbage that is no JSON and no safetensors"])
def test_missing_and_damaged_files_are_refused(folder: Path, file: str, damage: bytes | None) -> None:
    path = folder / file
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    with pytest.raises(InputError, match=file):
        Transcript.load(folder)


def test_hidden_truth_hinders_scoring_only(folder: Path) -> None:
    (folder / "truth.safetensors").unlink()
    metadata = Transcript.load(folder).metadata
    with pytest.raises(InputError, match="truth"):
        load_truth(folder, metadata)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("members", lambda members: members[:5].clone(), "members has shape"),
        ("members", lambda members: members.double(), "members holds torch.float64"),
        ("test_hits", lambda hits: hits[:3].clone(), "test_hits has shape"),
        ("batch_records", lambda records: records + 10_000, "batch_records has numbers outside"),
        ("clients", lambda clients: clients - 1, "clients has numbers outside"),
    ],
)
def test_a_truth_that_does_not_fit_is_refused(
    folder: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor], words: str
) -> None:
    path = folder / "truth.safetensors"
    tensors = load_file(path)
    tensors[name] = change(tensors[name])
    save_file(tensors, path)
    with pytest.raises(InputError, match=words):
        load_truth(folder, Transcript.load(folder).metadata)
