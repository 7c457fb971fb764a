"""Keys name results: whatever can change a result changes its key, and nothing else does."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from qfl_sec import grid, plugins
from qfl_sec.checking import InputError
from qfl_sec.compute import BlindCompute, LocalCompute, PlainCloud
from qfl_sec.contracts import (
    Adversary,
    AggregateView,
    Attack,
    Defense,
    GlobalModelsView,
    Knowledge,
    Question,
    ReleasedModelView,
    Scores,
    UpdatesView,
    View,
)
from qfl_sec.experiment import Experiment, dumps, parse, setting_id
from qfl_sec.federation import TrainingConfig
from qfl_sec.grid import canonical, cell_task, describe, library_versions, package_source, plan, training_task
from qfl_sec.models import VariationalClassifier
from qfl_sec.tables import Axis, RunSpec

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, kw_only=True)
class Hiding(Defense):
    """Lets the server see sums only, and clients nothing."""

    name: ClassVar[str] = "hiding"
    strength: float = 1.0
    rounds: tuple[int, ...] = ()

    def view_for(self, adversary: Adversary, default: type[View]) -> type[View] | None:
        return {"server": AggregateView, "client": None, "recipient": default}[adversary]


@dataclass(frozen=True, kw_only=True)
class Looking(Attack):
    """Needs single updates."""

    name: ClassVar[str] = "looking"
    question: ClassVar[Question] = "membership"
    requires: ClassVar[tuple[type[View], ...]] = (UpdatesView,)
    depth: int = 1

    def run(self, view: View, knowledge: Knowledge, *, generator: torch.Generator) -> Scores:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Modest(Looking):
    """Makes do with the models."""

    name: ClassVar[str] = "modest"
    requires: ClassVar[tuple[type[View], ...]] = (GlobalModelsView, ReleasedModelView)


def key_of(config: TrainingConfig) -> str:
    return training_task(config, variant="default", setting="none").key


CHANGES: dict[str, Callable[[TrainingConfig], TrainingConfig]] = {
    "data.features": lambda c: replace(c, data=replace(c.data, features=3)),
    "data.test_fraction": lambda c: replace(c, data=replace(c.data, test_fraction=0.3)),
    "data.reference_fraction": lambda c: replace(c, data=replace(c.data, reference_fraction=0.3)),
    "data.name": lambda c: replace(c, data=replace(c.data, name="digits")),
    "model.layers": lambda c: replace(c, model=VariationalClassifier(layers=1)),
    "model.entangler": lambda c: replace(c, model=VariationalClassifier(layers=2, entangler="linear")),
    "federation.clients": lambda c: replace(c, federation=replace(c.federation, clients=5)),
    "federation.rounds": lambda c: replace(c, federation=replace(c.federation, rounds=4)),
    "federation.learning_rate": lambda c: replace(c, federation=replace(c.federation, learning_rate=1.0000000001)),
    "federation.precision": lambda c: replace(c, federation=replace(c.federation, precision="single")),
    "channel": lambda c: replace(c, channel="bb84"),  # type: ignore[arg-type]
    "compute": lambda c: replace(c, compute=PlainCloud()),
    "compute.shots": lambda c: replace(c, compute=LocalCompute(shots=1000)),
    "compute.angle_bits": lambda c: replace(c, compute=BlindCompute(angle_bits=7)),
    "compute.mode": lambda c: replace(c, compute=BlindCompute(mode="transcript")),
    "compute.test_fraction": lambda c: replace(c, compute=BlindCompute(test_fraction=0.1)),
    "defense": lambda c: replace(c, defense=Hiding()),
    "defense.field": lambda c: replace(c, defense=Hiding(strength=2.0)),
    "defense.list": lambda c: replace(c, defense=Hiding(rounds=(1, 2))),
    "seed": lambda c: replace(c, seed=1),
    "kind": lambda c: replace(c, kind="classical"),
}


def test_every_field_changes_the_key_and_no_two_changes_agree(small_training: TrainingConfig) -> None:
    keys = {name: key_of(change(small_training)) for name, change in CHANGES.items()} | {"": key_of(small_training)}
    assert len(set(keys.values())) == len(keys)
    assert all(len(key) == 64 and set(key) <= set("0123456789abcdef") for key in keys.values())


def test_what_cannot_change_a_result_does_not_change_the_key(small_training: TrainingConfig) -> None:
    tasks = [
        training_task(small_training, variant="default", setting="none"),
        training_task(replace(small_training), variant="model.layers=2", setting="another name"),
    ]
    assert tasks[0].key == tasks[1].key
    whole = replace(small_training, federation=replace(small_training.federation, learning_rate=1))
    assert key_of(whole) == tasks[0].key  # read back from a file, 1 is 1.0


def test_the_key_is_the_same_in_another_place_process_and_hash_seed(
    small_training: TrainingConfig, tmp_path: Path
) -> None:
    script = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from test_grid import key_of
from qfl_sec.datasets import DataSpec
from qfl_sec.federation import FederationSpec, TrainingConfig
from qfl_sec.models import VariationalClassifier
from qfl_sec.plugins import get
federation = FederationSpec(clients=4, clients_per_round=2, rounds=3, batch_size=4)
print(key_of(TrainingConfig(data=DataSpec(), model=VariationalClassifier(layers=2), federation=federation,
                            defense=get("defense", "none")(), seed=0)))
"""
    environment = {"PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "2", "HOME": str(tmp_path)}
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == key_of(small_training)


@pytest.mark.parametrize("what", ["package_source", "library_versions"])
def test_code_and_libraries_are_part_of_the_key(
    small_training: TrainingConfig, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    before = key_of(small_training)
    monkeypatch.setattr(grid, what, lambda: {"torch": "0.0"})
    assert key_of(small_training) != before


def test_the_data_is_part_of_the_key(small_training: TrainingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    before = key_of(small_training)
    monkeypatch.setattr(grid, "_fingerprint", lambda spec: "other data")
    assert key_of(small_training) != before


def test_a_cell_s_key_depends_on_training_adversary_and_attack(small_training: TrainingConfig) -> None:
    one = training_task(small_training, variant="default", setting="none")
    other = training_task(replace(small_training, seed=5), variant="default", setting="none")
    keys = {
        cell_task(one, "server", Looking()).key,
        cell_task(other, "server", Looking()).key,
        cell_task(one, "client", Looking()).key,
        cell_task(one, "server", Looking(depth=2)).key,
        cell_task(one, "server", Modest()).key,
    }
    assert len(keys) == 5
    assert cell_task(replace(one, variant="x"), "server", Looking()).key in keys


def test_canonical_json_is_one_text_whatever_the_order() -> None:
    assert canonical({"b": 1, "a": {"d": 0.1, "c": None}}) == canonical({"a": {"c": None, "d": 0.1}, "b": 1})
    assert canonical([0.1 + 0.2, 1e-3, 1e22, 5e-324]) == b"[0.30000000000000004,0.001,1e+22,5e-324]"
    assert json.loads(canonical({"x": 2**-1074 * 3}))["x"] == 2**-1074 * 3
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical(float("nan"))


def test_sets_and_mappings_are_described_without_their_order() -> None:
    assert describe({"b", "a", "c"}) == ["a", "b", "c"]
    assert canonical(describe({"y": {3, 1}, "x": (1.5,)})) == b'{"x":[1.5],"y":[1,3]}'


@pytest.mark.parametrize("value", [float("inf"), float("nan"), Path("/x"), object(), {1: 2}, 1j])
def test_what_cannot_be_part_of_a_key_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="cannot be a parameter"):
        describe([value])


PLUGIN = '''
from dataclasses import dataclass
from typing import ClassVar
from qfl_sec.contracts import Defense

@dataclass(frozen=True, kw_only=True)
class Mine(Defense):
    """Mine."""
    name: ClassVar[str] = "mine_{stem}"
    strength: float = 1.0
    def noise_std(self) -> float:
        return {value}
'''


def load_plugin(folder: Path, stem: str, value: str) -> Defense:
    folder.mkdir(exist_ok=True)
    path = folder / f"{stem}.py"
    path.write_text(PLUGIN.format(stem=stem, value=value))
    kind = plugins.load_file(path)[0]
    built = kind()
    assert isinstance(built, Defense)
    return built


@pytest.fixture
def fresh_plugins(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Forget every loaded plug-in, as another process would not know it."""

    def forget() -> None:
        monkeypatch.setattr(plugins, "_registry", plugins._Registry())

    return forget


def test_a_plug_in_file_s_content_is_part_of_the_key_and_its_place_is_not(
    small_training: TrainingConfig, tmp_path: Path, fresh_plugins: Callable[[], None]
) -> None:
    keys = []
    for folder, value in (("here", "0.0"), ("there", "0.0"), ("here", "1.0")):
        fresh_plugins()
        keys.append(key_of(replace(small_training, defense=load_plugin(tmp_path / folder, "grid_plugin", value))))
    assert keys[0] == keys[1]
    assert keys[2] != keys[0]


def test_a_class_without_a_file_is_known_by_its_code(small_training: TrainingConfig) -> None:
    def typed(value: str) -> Defense:
        scope: dict[str, Any] = {"__name__": "nowhere_on_disk"}
        exec(PLUGIN.format(stem="typed", value=value), scope)
        built = scope["Mine"]()
        assert isinstance(built, Defense)
        return built

    first, again, other = (key_of(replace(small_training, defense=typed(value))) for value in ("0.5", "0.5", "0.7"))
    assert first == again != other


def test_all_modules_of_a_plug_in_package_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "grid_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "noise.py").write_text("LEVEL = 1\n")
    (package / "defense.py").write_text(PLUGIN.format(stem="packaged", value="0.0"))
    monkeypatch.syspath_prepend(tmp_path)
    from grid_package.defense import Mine  # type: ignore[import-not-found]

    before = grid.plugin_sources(Mine())
    assert set(before) == {"grid_package.__init__", "grid_package.defense", "grid_package.noise"}
    (package / "noise.py").write_text("LEVEL = 2\n")
    assert grid.plugin_sources(Mine()) != before


def test_built_in_parts_have_no_plug_in_source() -> None:
    assert grid.plugin_sources(plugins.get("defense", "none")()) == {}
    assert set(grid.plugin_sources(Hiding())) == {"test_grid"}


def test_the_source_that_counts_is_what_workers_load() -> None:
    """What importing the harness really loads, the tasks' types apart, is what the hash is over."""
    script = """
import sys, types
tasks = types.ModuleType("qfl_sec.grid")
tasks.CellTask = tasks.TrainingTask = object
sys.modules["qfl_sec.grid"] = tasks
import qfl_sec.harness, qfl_sec.executors, qfl_sec.defenses.dp_sgd, qfl_sec.attacks.gradient_inversion
print(*(name for name in sys.modules if name.partition(".")[0] == "qfl_sec"))
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    counted = set(grid.computing_modules())
    assert set(answer.stdout.split()) <= counted
    assert {"qfl_sec.federation", "qfl_sec.statevector", "qfl_sec.contracts", "qfl_sec.harness"} <= counted
    showing = {"assembly", "cli", "experiment", "provenance", "reports", "results", "runner", "store", "verdicts"}
    assert not {f"qfl_sec.{name}" for name in showing | {"workbench"}} & counted


def test_a_changed_source_file_changes_the_package_s_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    package_source.cache_clear()
    before = package_source()
    read = Path.read_bytes
    for name, counts in (("federation.py", True), ("dp_sgd.py", True), ("verdicts.py", False), ("runner.py", False)):
        package_source.cache_clear()
        monkeypatch.setattr(Path, "read_bytes", lambda path, n=name: read(path) + b"\n" * (path.name == n))
        assert (package_source() != before) == counts, name
    monkeypatch.undo()
    package_source.cache_clear()
    assert package_source() == before
    assert set(library_versions()) == set(grid.LIBRARIES)


def test_the_plan_is_the_whole_grid_with_its_baselines() -> None:
    experiment = Experiment(
        defenses=(Hiding(), Hiding(strength=2.0)),
        attacks=(Looking(), Modest()),
        sweep=(Axis(key="model.layers", values=(1, 2)),),
        run=RunSpec(seeds=(0, 4)),
    )
    laid_out = plan(experiment)
    assert len(laid_out.trainings) == 2 * 2 * (3 + 2)
    assert [(task.kind, task.setting, task.seed) for task in laid_out.trainings[:5]] == [
        ("federated", "none", 0),
        ("federated", setting_id(Hiding()), 0),
        ("federated", setting_id(Hiding(strength=2.0)), 0),
        ("centralised", "centralised", 0),
        ("classical", "classical", 0),
    ]
    assert {task.variant for task in laid_out.trainings} == {variant.id for variant, _ in experiment.variants()}
    assert {task.config.defense.name for task in laid_out.trainings if task.kind != "federated"} == {"none"}
    assert len({cell.key for cell in laid_out.cells}) == len(laid_out.cells)
    assert len({task.key for task in laid_out.trainings}) == len(laid_out.trainings)
    assert laid_out == plan(experiment)


def test_a_cell_exists_where_the_attack_can_see_enough() -> None:
    experiment = Experiment(defenses=(Hiding(),), attacks=(Looking(), Modest()), run=RunSpec(seeds=(0,)))
    found = {(cell.training.config.defense.name, cell.adversary, cell.attack.name) for cell in plan(experiment).cells}
    assert found == {
        ("none", "server", "looking"),
        ("none", "server", "modest"),
        ("none", "client", "modest"),
        ("none", "recipient", "modest"),
        ("hiding", "server", "modest"),
        ("hiding", "recipient", "modest"),
    }


def test_a_plan_survives_being_written_and_read() -> None:
    import tomllib

    experiment = Experiment(run=RunSpec(seeds=(0,)))
    again = parse(tomllib.loads(dumps(experiment)), "experiment.toml")
    assert [task.key for task in plan(again).trainings] == [task.key for task in plan(experiment).trainings]
