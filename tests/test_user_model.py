"""Circuits and modules in files of the user's own: what they are under PennyLane and torch, or refused."""

import importlib.util
import os
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pennylane as qml
import pytest
import torch

from qfl_sec.checking import InputError
from qfl_sec.conformance import GradientConformanceError
from qfl_sec.experiment import Experiment, dumps, load
from qfl_sec.federation import TrainingConfig, train
from qfl_sec.grid import training_task
from qfl_sec.harness import run_cell, run_training
from qfl_sec.models import MODELS, UserCircuit, UserModule, VariationalClassifier, architecture
from qfl_sec.plugins import parameters
from qfl_sec.user_files import reference_to
from qfl_sec.workbench import audit

EXAMPLES = Path(__file__).parent.parent / "examples"

GOOD = """
import pennylane as qml

def circuit(inputs, weights):
    for wire in range(4):
        qml.RY(inputs[wire], wires=wire)
    for wire in range(4):
        qml.CNOT(wires=[wire, (wire + 1) % 4])
        qml.Rot(*weights[wire], wires=wire)
    return [qml.expval(qml.Z(0)), qml.expval(qml.Z(1))]

node = qml.QNode(circuit, qml.device("default.qubit", wires=4))
number = 3
"""

BUILT_IN = """
import pennylane as qml
from pennylane import math

def circuit(inputs, weights):
    for wire in range(4):
        qml.RY(math.arctan(inputs[wire]), wires=wire)
        qml.RZ(math.arctan(inputs[wire] ** 2), wires=wire)
    for layer in range(2):
        for wire in range(4):
            qml.CNOT(wires=[wire, (wire + 1) % 4])
        for wire in range(4):
            qml.Rot(*weights[layer, wire], wires=wire)
    return [qml.expval(qml.Z(0)), qml.expval(qml.Z(1))]
"""


def written(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    __import__("sys").modules[name] = module
    spec.loader.exec_module(module)
    return module


def built(spec: UserCircuit | UserModule, seed: int = 0) -> torch.nn.Module:
    return spec.build(4, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", ["circuit", "node"])
def test_a_circuit_gives_what_pennylane_gives(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, GOOD)
    module = built(UserCircuit(circuit=f"{path}:{name}", weight_shape=(4, 3)))
    records = torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    namespace: dict[str, qml.QNode] = {}
    exec(GOOD, namespace)
    (weights,) = module.parameters()
    oracle = torch.stack([torch.stack(namespace["node"](record, weights.detach())) for record in records])
    torch.testing.assert_close(module(records).detach(), oracle)


def test_it_trains_like_the_built_in_circuit_that_it_spells_out(tmp_path: Path, small_training: TrainingConfig) -> None:
    own = UserCircuit(circuit=f"{written(tmp_path, BUILT_IN)}:circuit", weight_shape=(2, 4, 3))
    assert own.n_parameters(4, 2) == VariationalClassifier(layers=2).n_parameters(4, 2) == 24
    mine, theirs = train(replace(small_training, model=own)), train(small_training)
    torch.testing.assert_close(mine.global_weights[0], theirs.global_weights[0], rtol=0, atol=0)
    torch.testing.assert_close(mine.global_weights.cos(), theirs.global_weights.cos())
    assert torch.equal(mine.truth.test_hits, theirs.truth.test_hits)  # type: ignore[union-attr]


def head(body: str) -> str:
    return f"import pennylane as qml\n\ndef circuit(inputs, weights):\n    {body}\n"


TWO = "return [qml.expval(qml.Z(0)), qml.expval(qml.Z(1))]"
TOO_MANY = "[qml.RX(weights[0, 0], wires=w) for w in range(17)]"

BAD_CIRCUITS = {
    "missing file": (None, "circuit", ["circuit: ", "mine.py: no such file", "Correct [model] circuit"]),
    "missing name": (GOOD, "circiut", ["defines no 'circiut'", "Did you mean 'circuit'?", "circuit, node"]),
    "not callable": (GOOD, "number", ["number in ", "of type int", "name a function"]),
    "raises on import": (
        "import math\nmath.sqrt(-1)\n",
        "circuit",
        ["mine.py: line 2: ValueError: ", "Mend the file"],
    ),
    "syntax error": ("def circuit(:\n", "circuit", ["mine.py: line 1: SyntaxError", "Mend the file"]),
    "leaves": ("raise SystemExit(3)\n", "circuit", ["mine.py: line 1: SystemExit: 3"]),
    "no parameters": ("def circuit():\n    pass\n", "circuit", ["fails with inputs of shape (4,)", "TypeError"]),
    "too many wires": (head(f"{TOO_MANY}\n    {TWO}"), "circuit", ["mine.py:circuit: Expected 17 wires <= 16"]),
    "unsupported gate": (head(f"qml.measure(0)\n    {TWO}"), "circuit", ["mine.py:circuit: ", "MidMeasure"]),
    "noise": (
        head(f"qml.AmplitudeDamping(0.1, wires=0)\n    {TWO}"),
        "circuit",
        ["mine.py:circuit: AmplitudeDamping is noise", "Remove it"],
    ),
    "sampled": (head("return qml.sample()"), "circuit", ["SampleMP", "Return qml.expval"]),
    "numpy": (head(f"qml.RX(float(inputs[0]), wires=0)\n    {TWO}"), "circuit", ["mine.py:circuit: "]),
    "three outputs": (
        head("qml.RX(inputs[0], wires=2)\n    return [qml.expval(qml.Z(w)) for w in range(3)]"),
        "circuit",
        ["Expected its 3 outputs to be 2, the classes", "Return as many"],
    ),
    "four probabilities": (head("return qml.probs(wires=[0, 1])"), "circuit", ["its 4 outputs to be 2"]),
    "too few weights": (
        head(f"qml.RX(weights[7, 0], wires=0)\n    {TWO}"),
        "circuit",
        ["weights of shape (4, 3)", "IndexError", "Correct the circuit, [model] weight_shape"],
    ),
    "too many gates": (
        head("[qml.T(0) for _ in range(600)]\n    [qml.RX(inputs[0], wires=w) for w in range(16)]\n    " + TWO),
        "circuit",
        ["gates x 2^16 <= 33554432", "Use fewer"],
    ),
}


@pytest.mark.parametrize("case", BAD_CIRCUITS)
def test_a_bad_circuit_is_refused_before_anything_runs(tmp_path: Path, case: str) -> None:
    text, name, words = BAD_CIRCUITS[case]
    if text is not None:
        written(tmp_path, text)
    file = written(tmp_path, f'[model]\ncircuit = "mine.py:{name}"\nweight_shape = [4, 3]\n', "bad.toml")
    with pytest.raises(InputError) as caught:
        load(file)
    for word in (str(file), *words):
        assert word in str(caught.value)


BAD_TABLES = {
    "no name": ('circuit = "mine.py"\nweight_shape = [4, 3]', ["'", '"FILE.py:NAME"']),
    "no shape": ('circuit = "mine.py:circuit"', ["weight_shape is missing"]),
    "empty shape": ('circuit = "mine.py:circuit"\nweight_shape = []', ["weight_shape=[]"]),
    "zero": ('circuit = "mine.py:circuit"\nweight_shape = [4, 0]', ["weight_shape=[4, 0]"]),
    "huge": ('circuit = "mine.py:circuit"\nweight_shape = [100000, 100000]', ["1,000,000 weights"]),
    "settled by itself": ('circuit = "mine.py:circuit"\nweight_shape = [4, 3]\nsha256 = "a"', ["unknown key sha256"]),
    "another's key": ('circuit = "mine.py:circuit"\nlayers = 3', ["unknown key layers", "weight_shape"]),
    "another's name": ('name = "mlp_classifier"\ncircuit = "mine.py:circuit"', ["unknown key circuit"]),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_is_refused(tmp_path: Path, case: str) -> None:
    text, words = BAD_TABLES[case]
    written(tmp_path, GOOD)
    with pytest.raises(InputError) as caught:
        load(written(tmp_path, f"[model]\n{text}\n", "bad.toml"))
    for word in words:
        assert word in str(caught.value)


def an_experiment(folder: Path, text: str = GOOD, more: str = "") -> Experiment:
    folder.mkdir(exist_ok=True)
    written(folder, text)
    return load(
        written(folder, f'[model]\ncircuit = "mine.py:circuit"\nweight_shape = [4, 3]\n{more}', "experiment.toml")
    )


def test_a_relative_path_counts_from_the_file_and_is_written_out_absolute(tmp_path: Path) -> None:
    experiment = an_experiment(tmp_path / "a")
    model = experiment.model
    assert isinstance(model, UserCircuit) and model.circuit == f"{tmp_path / 'a' / 'mine.py'}:circuit"
    assert load(written(tmp_path, dumps(experiment), "resolved.toml")) == experiment
    assert str(tmp_path) not in dumps(experiment, folders=False)
    assert str(tmp_path) not in model.summary() and model.sha256[:16] in model.summary()


def key(experiment: Experiment, small: TrainingConfig) -> str:
    return training_task(replace(small, model=experiment.model), variant="default", setting="none").key


def test_the_content_decides_the_key_and_the_fingerprint_and_the_place_does_not(
    tmp_path: Path, small_training: TrainingConfig
) -> None:
    here, there = an_experiment(tmp_path / "a"), an_experiment(tmp_path / "b")
    other = an_experiment(tmp_path / "c", GOOD + "# a comment\n")
    assert key(here, small_training) == key(there, small_training) != key(other, small_training)
    assert dumps(here, folders=False) == dumps(there, folders=False) != dumps(other, folders=False)
    named = replace(here.model, circuit=f"{tmp_path / 'a' / 'mine.py'}:node")  # type: ignore[call-arg]
    assert key(replace(here, model=named), small_training) != key(here, small_training)


def test_a_file_that_changes_during_a_run_is_refused(tmp_path: Path, small_training: TrainingConfig) -> None:
    model = an_experiment(tmp_path).model
    written(tmp_path, BUILT_IN)
    from qfl_sec.user_circuit import _compiled

    _compiled.cache_clear()
    with pytest.raises(InputError, match="has changed since this run began"):
        train(replace(small_training, model=model))


def test_sweeps_go_around_files(tmp_path: Path) -> None:
    swept = an_experiment(tmp_path, more='[sweep]\n"federation.batch_size" = [1, 2]\n')
    assert [one.model for _, one in swept.variants()] == [swept.model] * 2
    with pytest.raises(InputError, match=r"model\.circuit cannot be swept"):
        an_experiment(tmp_path, more='[sweep]\n"model.circuit" = ["mine.py:node"]\n')


def test_the_example_circuit_is_trained_and_attacked(tmp_path: Path) -> None:
    changes = ["run.seeds=[0]", "federation.rounds=2", "federation.batch_size=1", "defenses=[]", "report={}"]
    experiment = load(EXAMPLES / "my_circuit.toml", overrides=changes)
    results = audit(replace(experiment, attacks=experiment.attacks[:1]), out=tmp_path)
    assert results.subject.model == "user_circuit" and results.subject.parameters == 16
    found = [one for one in results.measurements if one.success is not None]
    assert [(one.adversary, one.attack) for one in found] == [
        ("server", "gradient_inversion"),
        ("client", "gradient_inversion"),
    ]
    measured = found[0]
    assert measured.success is not None
    assert measured.success.k == measured.success.n == 8


def test_the_example_module_is_audited_from_python() -> None:
    results = example("my_module").main(seeds=(0,), rounds=2)
    assert results.subject.model == "user_module" and results.subject.parameters == 4 * 2 + 2 + 6 + 2 * 2 + 2
    assert all(one.passed for one in results.instruments if one.id == "gradient_conformance")
    assert any(one.success is not None and one.attack == "gradient_inversion" for one in results.measurements)


NETWORK = """
import torch
from torch import nn

class Network(nn.Module):
    def __init__(self, n_features, n_classes):
        super().__init__()
        self.inside = nn.Sequential(nn.Linear(n_features, 3), nn.Tanh(), nn.Linear(3, n_classes))

    def forward(self, records):
        return self.inside(records)

def text(n_features, n_classes):
    return "network"

def empty(n_features, n_classes):
    return nn.Identity()

def wide(n_features, n_classes):
    return nn.Linear(n_features, n_classes + 1)

def narrow(n_features, n_classes):
    return nn.Linear(n_features + 1, n_classes)

def single(n_features):
    return nn.Linear(n_features, 2)

def normalised(n_features, n_classes):
    return nn.Sequential(nn.Linear(n_features, 4), nn.BatchNorm1d(4), nn.Linear(4, n_classes))

class Frozen(nn.Module):
    def __init__(self, n_features, n_classes):
        super().__init__()
        self.inside = nn.Linear(n_features, n_classes)
        kept = self.inside.weight
        self.compute = lambda records: records @ kept.T

    def forward(self, records):
        return self.compute(records)
"""

BAD_MODULES = {
    "text": ["made a str", "torch.nn.Module"],
    "empty": ["1 <= 0 trainable weights"],
    "wide": ["gave (2, 3) for 2 records", "Expected (2, 2)"],
    "narrow": ["fails on inputs of shape (2, 4)", "RuntimeError"],
    "single": ["TypeError", "numbers of features and classes"],
}


@pytest.mark.parametrize("name", BAD_MODULES)
def test_a_bad_module_is_refused(tmp_path: Path, name: str) -> None:
    written(tmp_path, NETWORK)
    with pytest.raises(InputError) as caught:
        load(written(tmp_path, f'[model]\nmodule = "mine.py:{name}"\n', "bad.toml"))
    for word in (f"module mine.py:{name}: ", *BAD_MODULES[name]):
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["normalised", "Frozen"])
def test_wrong_per_record_gradients_stop_the_training(
    tmp_path: Path, small_training: TrainingConfig, name: str
) -> None:
    model = UserModule(module=f"{written(tmp_path, NETWORK)}:{name}")
    with pytest.raises(GradientConformanceError):
        train(replace(small_training, model=model))


def test_a_module_draws_its_weights_from_the_seed_and_leaves_the_global_generator(tmp_path: Path) -> None:
    spec = UserModule(module=f"{written(tmp_path, NETWORK)}:Network")
    before = torch.random.get_rng_state()
    first, again, other = built(spec), built(spec), built(spec, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    for left, right, third in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(left, right) and not torch.equal(left, third)
    assert spec.n_parameters(4, 2) == 23 == architecture(first, 4, 2).n_parameters


def test_a_trained_module_is_attacked_from_its_folder(tmp_path: Path, small_training: TrainingConfig) -> None:
    from qfl_sec.grid import cell_task
    from qfl_sec.plugins import get

    config = replace(small_training, model=UserModule(module=f"{written(tmp_path, NETWORK)}:Network"))
    task = training_task(config, variant="default", setting="none")
    run_training(task, tmp_path / "run")
    assert run_cell(cell_task(task, "server", get("attack", "update_membership")()), tmp_path / "run")


def test_a_reference_needs_a_file() -> None:
    assert reference_to(reference_to).endswith(f"qfl_sec{os.sep}user_files.py:reference_to")
    with pytest.raises(InputError, match="top level of no file"):
        reference_to(lambda n_features, n_classes: torch.nn.Linear(n_features, n_classes))


def test_both_are_listed() -> None:
    assert {"user_circuit", "user_module"} < set(MODELS)
    assert list(parameters(MODELS["user_circuit"])) == ["checkpoint", "circuit", "weight_shape"]
    assert list(parameters(MODELS["user_module"])) == ["checkpoint", "module"]
