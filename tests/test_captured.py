"""Updates captured elsewhere: attacked as those of a training here, and refused where something is wrong with them."""

import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from qfl_sec.capture_folder import capture_experiment, is_capture, save_capture
from qfl_sec.captured import Capture, CapturedRound
from qfl_sec.captured_data import CapturedData, CapturedRecords
from qfl_sec.checking import InputError
from qfl_sec.contracts import Candidates, Records
from qfl_sec.experiment import Experiment, load
from qfl_sec.federation import FederationSpec, TrainingConfig, train
from qfl_sec.grid import plan
from qfl_sec.models import MlpClassifier, VariationalClassifier
from qfl_sec.tables import RunSpec
from qfl_sec.transcript import Transcript
from qfl_sec.workbench import attack

EXAMPLE = Path(__file__).parent.parent / "examples" / "captured_updates.py"

FILES = ("updates.safetensors", "records.safetensors", "truth.safetensors")


def recorded(config: TrainingConfig) -> tuple[Capture, Transcript]:
    """Return a training of our own, seen as somebody else's, beside its transcript."""
    transcript, population = train(config), config.population()
    assert transcript.truth is not None
    rounds = tuple(
        CapturedRound(
            number=number,
            weights=transcript.global_weights[number],
            clients=chosen,
            updates=transcript.updates[number],
            records=transcript.truth.batch_records[number],
        )
        for number, chosen in enumerate(transcript.metadata.setup.schedule)
    )
    capture = Capture(
        model=config.model,
        federation=config.federation,
        records=CapturedRecords(
            candidates=population.candidates(torch.float64),
            reference=population.reference(torch.float64),
            test=population.splits.test,
        ),
        members=transcript.truth.members,
        rounds=rounds,
        final_weights=transcript.global_weights[-1],
    )
    return capture, transcript


@pytest.fixture
def capture(small_training: TrainingConfig) -> Capture:
    return recorded(replace(small_training, model=MlpClassifier()))[0]


def test_from_updates_gives_the_transcript_back(small_training: TrainingConfig) -> None:
    capture, original = recorded(small_training)
    found = Transcript.from_updates(
        capture.model,
        capture.rounds,
        federation=capture.federation,
        records=capture.records,
        members=capture.members,
        final_weights=capture.final_weights,
    )
    assert found.metadata.setup == original.metadata.setup
    for name in ("global_weights", "selected", "updates", "batch_labels"):
        assert torch.equal(getattr(found, name), getattr(original, name)), name
    torch.testing.assert_close(found.aggregates, original.aggregates)
    assert found.truth is not None and original.truth is not None
    for name, value in vars(original.truth).items():
        own = getattr(found.truth, name)
        assert own is value is None or torch.equal(own, value), name
    assert found.metadata.guarantees == ()
    assert found.metadata.gradient_norm > 0 and found.metadata.gradient_gap < 1e-10


def test_angles_are_wrapped_as_in_a_training_here(small_training: TrainingConfig) -> None:
    capture, original = recorded(small_training)
    turned = replace(capture.rounds[0], updates=capture.rounds[0].updates + 2 * torch.pi)
    found = Transcript.from_updates(
        capture.model,
        (turned, *capture.rounds[1:]),
        federation=capture.federation,
        records=capture.records,
        members=capture.members,
        final_weights=capture.final_weights,
    )
    torch.testing.assert_close(found.updates, original.updates)


def test_a_folder_is_read_as_it_was_written(tmp_path: Path, capture: Capture) -> None:
    save_capture(capture, tmp_path)
    assert is_capture(tmp_path) and {path.name for path in tmp_path.iterdir()} == {"capture.json", *FILES}
    experiment = capture_experiment(tmp_path)
    assert (experiment.model, experiment.federation) == (capture.model, capture.federation)
    assert isinstance(experiment.data, CapturedData)
    (training,) = plan(experiment).trainings
    assert (training.kind, training.setting, training.seed) == ("federated", "none", 0)
    population = training.config.population()
    assert torch.equal(population.splits.candidates.features, capture.records.candidates.features)
    assert population.records == sum(map(len, (vars(capture.records).values())))


def test_the_content_decides_the_key_and_the_place_does_not(tmp_path: Path, capture: Capture) -> None:
    louder = replace(capture.rounds[0], updates=2 * capture.rounds[0].updates)
    for name, one in (("a", capture), ("b", capture), ("c", replace(capture, rounds=(louder, *capture.rounds[1:])))):
        save_capture(one, tmp_path / name)
    here, there, other = (plan(capture_experiment(tmp_path / name)).trainings[0].key for name in "abc")
    assert here == there != other


def test_the_example_is_captured_and_attacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE.parent))
    spec = importlib.util.spec_from_file_location("captured_updates", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.save(tmp_path)
    sys.modules.pop("my_circuit", None)
    first = attack(tmp_path, attacks=["gradient_inversion"], inline=True)
    measured, other = (one for one in first.results.measurements if one.success is not None)
    assert (measured.adversary, other.adversary) == ("server", "client")
    # One record behind each update, computed by PennyLane's own simulator: 16 equations determine its 4 features.
    assert measured.success is not None and measured.success.k == measured.success.n == 8
    assert measured.control is not None and measured.control.k == 0
    # The difference of two captured models holds the records of two clients.
    assert other.reconstruction is not None
    assert (other.reconstruction.equations, other.reconstruction.unknowns, other.reconstruction.targets) == (16, 8, 8)
    assert first.results.subject.federation_summary.startswith("captured elsewhere: 2 of 6 clients")
    assert [one.label for one in first.results.settings] == ["as captured"]
    second = attack(tmp_path, attacks=["loss_membership"], inline=True)
    assert second.summary.trainings_reused == 1
    measured_now = {one.attack for one in second.results.measurements if one.success is not None}
    assert measured_now == {"gradient_inversion", "loss_membership"}


def test_scores_are_those_of_the_same_training_here(tmp_path: Path, small_training: TrainingConfig) -> None:
    config = replace(small_training, model=MlpClassifier(), federation=replace(small_training.federation, rounds=6))
    save_capture(recorded(config)[0], tmp_path)
    found = attack(tmp_path, attacks=["update_membership"], inline=True).results
    experiment = Experiment(
        data=config.data,  # type: ignore[arg-type]
        model=config.model,
        federation=config.federation,
        run=RunSpec(seeds=(0,)),
    )
    from qfl_sec.workbench import audit

    here = audit(experiment)

    def successes(results: object) -> object:
        return next(
            (one.success, one.control, one.membership)
            for one in results.measurements  # type: ignore[attr-defined]
            if one.attack == "update_membership" and one.adversary == "server"
        )

    assert successes(found) == successes(here)


def changed(capture: Capture, number: int, **parts: Tensor | tuple[int, ...] | int) -> Capture:
    rounds = list(capture.rounds)
    rounds[number] = replace(rounds[number], **parts)  # type: ignore[arg-type]
    return replace(capture, rounds=tuple(rounds))


def with_nan(tensor: Tensor) -> Tensor:
    found = tensor.clone()
    found[..., 3] = torch.nan
    return found


def members_only(capture: Capture, truth: bool) -> Tensor:
    return torch.full_like(capture.members, truth)


BAD: dict[str, tuple[Callable[[Capture], object], list[str]]] = {
    "missing round": (
        lambda c: replace(c, rounds=(c.rounds[0], c.rounds[2])),
        ["Expected rounds 0 to 2", "Missing: 1", "Add them"],
    ),
    "no round": (lambda c: replace(c, rounds=()), ["Missing: 0, 1, 2"]),
    "a round twice": (lambda c: replace(c, rounds=(*c.rounds, c.rounds[0])), ["each once and in order", "Sort them"]),
    "rounds out of order": (lambda c: replace(c, rounds=c.rounds[::-1]), ["[2, 1, 0]", "Sort them"]),
    "mixed update shapes": (
        lambda c: changed(c, 1, updates=c.rounds[1].updates[:, :-1]),
        ["round 1: updates of shape (2, 35)", "Expected (2, 36)"],
    ),
    "an update too few": (lambda c: changed(c, 2, updates=c.rounds[2].updates[:1]), ["round 2: updates", "(1, 36)"]),
    "mixed weight shapes": (lambda c: changed(c, 1, weights=c.rounds[1].weights[1:]), ["round 1: weights", "(35,)"]),
    "mixed slots": (
        lambda c: changed(c, 1, records=c.rounds[1].records[:, :-1]),
        ["round 1: records of shape (2, 3)", "Expected (2, 4)"],
    ),
    "final weights": (lambda c: replace(c, final_weights=c.final_weights[1:]), ["final_weights of shape (35,)"]),
    "nan update": (
        lambda c: changed(c, 1, updates=with_nan(c.rounds[1].updates)),
        ["round 1: updates: nan at [0, 3]", "Expected finite numbers"],
    ),
    "nan weights": (lambda c: changed(c, 0, weights=with_nan(c.rounds[0].weights)), ["round 0: weights: nan at [3]"]),
    "integers": (lambda c: changed(c, 0, updates=c.rounds[0].updates.long()), ["torch.int64", "floating-point"]),
    "another model's": (
        lambda c: replace(c, model=MlpClassifier(hidden=7)),
        ["round 0: weights of shape (36,)", "Expected (42,)", "correct model or capture"],
    ),
    "strange client": (
        lambda c: changed(c, 0, clients=(0, 9)),
        ["round 0: clients [0, 9]", "2 different ones of 0 to 3"],
    ),
    "client twice": (lambda c: changed(c, 0, clients=(1, 1)), ["round 0: clients [1, 1]"]),
    "record of nobody": (
        lambda c: changed(c, 0, records=c.rounds[0].records + 10_000),
        ["round 0: client ", "records outside 0 to 284"],
    ),
    "record of a non-member": (
        lambda c: replace(c, members=members_only(c, False)),
        ["round 0: client ", "is no member of that client"],
    ),
    "record of another client": (
        lambda c: changed(c, 0, records=c.rounds[0].records.flip(0)),
        ["round 0: client ", "is no member of that client"],
    ),
    "members": (lambda c: replace(c, members=c.members[1:]), ["members of shape (284,)", "285 candidates"]),
    "fewer clients": (
        lambda c: replace(c, federation=replace(c.federation, clients=3)),
        ["candidates of clients 0 to 2", "candidate of client 3"],
    ),
    "more clients": (
        lambda c: replace(c, federation=replace(c.federation, clients=5)),
        ["client 4 has none", "Number clients from 0"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_capture_is_refused(capture: Capture, case: str) -> None:
    spoil, words = BAD[case]
    with pytest.raises(InputError) as caught:
        spoil(capture)
    for word in words:
        assert word in str(caught.value)


def records(**changes: Tensor) -> CapturedRecords:
    """Return a few records, with some tensors changed, named as in the file."""
    features, labels = torch.rand(6, 2, dtype=torch.float64), torch.tensor([0, 1, 0, 1, 0, 1])
    parts = {
        name: {"features": features, "labels": labels} | ({"clients": labels} if name == "candidates" else {})
        for name in ("candidates", "reference", "test")
    }
    for key, value in changes.items():
        name, _, field = key.partition("_")
        parts[name][field] = value
    return CapturedRecords(
        candidates=Candidates(**parts["candidates"]),
        reference=Records(**parts["reference"]),
        test=Records(**parts["test"]),
    )


BAD_RECORDS: dict[str, tuple[dict[str, Tensor], list[str]]] = {
    "width": ({"test_features": torch.rand(6, 3)}, ["test: features of shape (6, 3)", "(records, 2)"]),
    "nan": ({"candidates_features": torch.full((6, 2), torch.nan)}, ["candidates: features: nan at [0, 0]"]),
    "whole": ({"reference_features": torch.ones(6, 2).long()}, ["reference: features holds torch.int64"]),
    "label type": ({"reference_labels": torch.zeros(6)}, ["reference: labels", "int64"]),
    "negative label": ({"test_labels": torch.tensor([0, 1, 0, 1, 0, -1])}, ["test: labels"]),
    "unknown class": ({"test_labels": torch.tensor([0, 1, 0, 1, 0, 2])}, ["test: label 2 > 1"]),
    "one class": ({"reference_labels": torch.zeros(6).long()}, ["reference: labels [0]", "two or more"]),
    "class left out": ({"reference_labels": torch.tensor([0, 2, 0, 2, 0, 2])}, ["reference: labels [0, 2]"]),
    "clients": ({"candidates_clients": torch.zeros(5).long()}, ["clients of shape (5,)"]),
}


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_bad_records_are_refused(case: str) -> None:
    assert records()
    changes, words = BAD_RECORDS[case]
    with pytest.raises(InputError) as caught:
        records(**changes)
    for word in words:
        assert word in str(caught.value)


def rewritten(folder: Path, name: str, **changes: Tensor | None) -> None:
    tensors = dict(load_file(folder / name)) | changes
    save_file({key: value.contiguous() for key, value in tensors.items() if value is not None}, folder / name)


def header(folder: Path, **changes: object) -> None:
    content = json.loads((folder / "capture.json").read_text()) | changes
    (folder / "capture.json").write_text(json.dumps(content))


BAD_FOLDERS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "version": (
        lambda f: header(f, version="qfl-sec/capture-2"),
        ["capture.json: version = 'qfl-sec/capture-2'", "Expected 'qfl-sec/capture-1'"],
    ),
    "no json": (lambda f: (f / "capture.json").write_text("{"), ["capture.json: not valid JSON", "Capture again"]),
    "a list": (lambda f: (f / "capture.json").write_text("[]"), ["version = None"]),
    "key": (lambda f: header(f, versions=1), ["unknown key versions", "Did you mean 'version'?"]),
    "table": (lambda f: header(f, experiment={"data": {}}), ["unknown table data", "Known: model, federation"]),
    "no model": (lambda f: header(f, experiment={"federation": {}}), ["experiment has no model"]),
    "missing file": (lambda f: (f / "truth.safetensors").unlink(), ["truth.safetensors: cannot be read"]),
    "damaged": (lambda f: (f / "records.safetensors").write_bytes(b"x"), ["records.safetensors: not readable"]),
    "names": (lambda f: rewritten(f, "updates.safetensors", updates=None), ["updates.safetensors: holds", "add,"]),
    "missing weights": (
        lambda f: rewritten(f, "updates.safetensors", global_weights=torch.zeros(3, 36)),
        ["updates.safetensors: global_weights of shape (3, 36)", "Expected 4 rows"],
    ),
    "missing round": (
        lambda f: header(f, experiment={"model": {"name": "mlp_classifier"}, "federation": {"rounds": 7}}),
        ["Expected rounds 0 to 6", "Missing: 3, 4, 5, 6"],
    ),
    "nan": (
        lambda f: rewritten(f, "updates.safetensors", updates=torch.full((3, 2, 36), torch.nan)),
        ["round 0: updates: nan at [0, 0]"],
    ),
    "nan record": (
        lambda f: rewritten(f, "records.safetensors", **{"test.features": torch.full((142, 4), torch.inf)}),
        ["records.safetensors: test: features: inf at [0, 0]"],
    ),
    "batch records": (
        lambda f: rewritten(f, "truth.safetensors", batch_records=torch.zeros(3, 2).long()),
        ["truth.safetensors: batch_records of shape (3, 2)", "reshape it"],
    ),
    "slots": (
        lambda f: header(
            f,
            experiment={
                "model": {"name": "mlp_classifier"},
                "federation": {"clients": 4, "clients_per_round": 2, "rounds": 3, "local_steps": 3},
            },
        ),
        ["Expected 4 slots", "multiple of 3", "Pad with -1"],
    ),
    "misfit": (
        lambda f: header(f, experiment={"model": {"qubits": 3}, "federation": {"rounds": 3}}),
        ["[model] qubits=3", "features=4"],
    ),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_a_bad_folder_is_refused_and_nothing_is_computed(tmp_path: Path, capture: Capture, case: str) -> None:
    save_capture(capture, tmp_path)
    spoil, words = BAD_FOLDERS[case]
    spoil(tmp_path)
    with pytest.raises(InputError) as caught:
        attack(tmp_path, inline=True)
    for word in words:
        assert word in str(caught.value)


def test_a_file_too_large_is_refused(tmp_path: Path, capture: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    save_capture(capture, tmp_path)
    monkeypatch.setattr("qfl_sec.captured_data.MAX_BYTES", 1000)
    with pytest.raises(InputError, match=r"updates\.safetensors: \d+ bytes\. Expected at most 1000"):
        attack(tmp_path, inline=True)


def test_a_capture_is_one_training_of_one_setting(tmp_path: Path, capture: Capture) -> None:
    save_capture(capture, tmp_path)
    file = tmp_path / "more.toml"
    tables = '[model]\nname = "mlp_classifier"\n[data]\ncaptured = "."\n'
    file.write_text(tables + "[run]\nseeds = [0]\n")
    assert isinstance(load(file).data, CapturedData)
    for more in ("[run]\nseeds = [0, 1]\n", '[run]\nseeds = [0]\n[sweep]\n"federation.batch_size" = [1, 2]\n'):
        file.write_text(tables + more)
        with pytest.raises(InputError, match="captured is one training, of one setting and one seed"):
            load(file)


def test_a_model_that_does_not_fit_the_records_is_refused(small_training: TrainingConfig) -> None:
    capture, _ = recorded(small_training)
    federation = FederationSpec(clients=4, clients_per_round=2, rounds=3, batch_size=4)
    with pytest.raises(InputError, match=r"weights of shape \(24,\).*Expected \(36,\)"):
        replace(capture, federation=federation, model=VariationalClassifier(layers=3))
