"""Initial weights from files: what was saved is what training starts from; anything else is refused."""

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from qfl_sec import checkpoints
from qfl_sec.checking import InputError
from qfl_sec.checkpoints import load_weights, read_checkpoint
from qfl_sec.datasets import DataSpec
from qfl_sec.experiment import Experiment, dumps, load
from qfl_sec.federation import TrainingConfig, train
from qfl_sec.grid import training_task
from qfl_sec.models import MlpClassifier, VariationalClassifier


def weights() -> dict[str, torch.Tensor]:
    return {"weights": torch.linspace(-3, 3, 24, dtype=torch.float64).reshape(2, 4, 3)}


def saved(path: Path, tensors: Any) -> Path:
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return path


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.pth"])
def test_training_starts_from_the_checkpoint(tmp_path: Path, small_training: TrainingConfig, name: str) -> None:
    model = VariationalClassifier(layers=2, checkpoint=str(saved(tmp_path / name, weights())))
    started = train(replace(small_training, model=model))
    assert torch.equal(started.global_weights[0], weights()["weights"].flatten())
    twin = train(replace(small_training, model=model, kind="classical"))
    fresh = train(replace(small_training, kind="classical"))
    assert torch.equal(twin.global_weights, fresh.global_weights)


def test_a_released_model_is_a_checkpoint(tmp_path: Path, mlp_training: TrainingConfig) -> None:
    first = train(mlp_training)
    first.save(tmp_path / "run")
    model = MlpClassifier(checkpoint=str(tmp_path / "run/model.safetensors"))
    second = train(replace(mlp_training, model=model))
    assert torch.equal(second.global_weights[0], first.global_weights[-1])


def test_the_content_decides_the_key_and_the_place_does_not(tmp_path: Path, small_training: TrainingConfig) -> None:
    def key(path: Path) -> str:
        config = replace(small_training, model=VariationalClassifier(layers=2, checkpoint=str(path)))
        return training_task(config, variant="default", setting="none").key

    here, there = (saved(tmp_path / name, weights()) for name in ("a.safetensors", "b.safetensors"))
    other = saved(tmp_path / "c.safetensors", {"weights": weights()["weights"] + 1})
    without = training_task(small_training, variant="default", setting="none").key
    assert key(here) == key(there)
    assert len({key(here), key(other), without}) == 3


def test_an_experiment_file_names_it_from_its_folder(tmp_path: Path) -> None:
    saved(tmp_path / "start.safetensors", weights())
    file = tmp_path / "experiment.toml"
    file.write_text('[model]\nlayers = 2\ncheckpoint = "start.safetensors"\n')
    experiment = load(file)
    assert experiment.model.checkpoint == str(tmp_path / "start.safetensors")
    (tmp_path / "resolved.toml").write_text(dumps(experiment))
    assert load(tmp_path / "resolved.toml") == experiment
    assert str(tmp_path) not in dumps(experiment, folders=False)
    assert str(experiment.model.checkpoint_sha256) in dumps(experiment, folders=False)


def test_a_checkpoint_that_changes_during_a_run_is_refused(tmp_path: Path, small_training: TrainingConfig) -> None:
    model = VariationalClassifier(layers=2, checkpoint=str(saved(tmp_path / "a.pt", weights())))
    saved(tmp_path / "a.pt", {"weights": weights()["weights"] + 1})
    with pytest.raises(InputError, match="has changed since this run began"):
        train(replace(small_training, model=model))


MISFITS: dict[str, tuple[dict[str, torch.Tensor], list[str]]] = {
    "other names": ({"angles": torch.zeros(2, 4, 3)}, ["missing: weights", "unknown: angles"]),
    "one name more": (weights() | {"bias": torch.zeros(2)}, ["unknown: bias"]),
    "other shape": ({"weights": torch.zeros(3, 4, 3)}, ["weights has shape (3, 4, 3), not (2, 4, 3)"]),
    "other order": ({"weights": torch.zeros(2, 3, 4)}, ["weights has shape (2, 3, 4), not (2, 4, 3)"]),
    "nan": ({"weights": torch.full((2, 4, 3), torch.nan)}, ["weights holds numbers that are not finite"]),
    "complex": ({"weights": torch.zeros(2, 4, 3, dtype=torch.complex64)}, ["weights holds torch.complex64"]),
}


@pytest.mark.parametrize("case", MISFITS)
def test_a_misfit_is_named_in_one_message(tmp_path: Path, small_training: TrainingConfig, case: str) -> None:
    tensors, words = MISFITS[case]
    path = saved(tmp_path / "a.pt", tensors)
    with pytest.raises(InputError) as caught:
        train(replace(small_training, model=VariationalClassifier(layers=2, checkpoint=str(path))))
    for word in (str(path), "which has weights (2, 4, 3)", *words, "Save the state_dict of this very model"):
        assert word in str(caught.value)


def test_nothing_is_written_into_a_module_that_does_not_fit() -> None:
    module = torch.nn.Linear(2, 2)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(InputError, match=r"bias has shape \(3,\)"):
        load_weights(module, {"weight": torch.zeros(2, 2), "bias": torch.zeros(3)}, source="it")
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


class Evil:
    """Unpickling it would leave a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.trace),)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    torch.save({"weights": Evil(tmp_path / "trace")}, tmp_path / "evil.pt")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Evil(tmp_path / "trace")))
    for name, words in (("evil.pt", "holds more than tensors"), ("bare.pt", "not readable as a state_dict")):
        with pytest.raises(InputError, match=words):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / "trace").exists()


DAMAGED: dict[str, tuple[str, bytes | None, str]] = {
    "missing": ("a.pt", None, "no such file"),
    "kind": ("a.pkl", b"x", r"ends in \.safetensors, \.pt, \.pth"),
    "no safetensors": ("a.safetensors", b"nonsense", "not readable as safetensors"),
    "no archive": ("a.pt", b"nonsense", "not readable as a state_dict"),
    "empty": ("a.pt", b"", "not readable as a state_dict"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_refused(tmp_path: Path, case: str) -> None:
    name, content, words = DAMAGED[case]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_checkpoint(tmp_path / name)


def test_a_whole_module_or_a_list_is_no_state_dict(tmp_path: Path) -> None:
    saved(tmp_path / "list.pt", [torch.zeros(2)])
    saved(tmp_path / "module.pt", torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match="holds a list that is no state_dict"):
        read_checkpoint(tmp_path / "list.pt")
    with pytest.raises(InputError, match="holds more than tensors"):
        read_checkpoint(tmp_path / "module.pt")


def test_sizes_are_checked_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.pt", weights())
    monkeypatch.setattr(checkpoints, "MAX_BYTES", path.stat().st_size - 1)
    with pytest.raises(InputError, match=r"bytes\. Expected at most"):
        Experiment(data=DataSpec(), model=VariationalClassifier(layers=2, checkpoint=str(path)))


def test_an_archive_that_unpacks_to_more_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import zipfile

    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(1 << 20))
    assert path.stat().st_size < 1 << 14
    monkeypatch.setattr(checkpoints, "MAX_BYTES", 1 << 16)
    with pytest.raises(InputError, match="unpacks to 1048576 bytes"):
        read_checkpoint(path)
