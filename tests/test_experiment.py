import os
import tomllib
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qfl_sec import plugins
from qfl_sec.checking import InputError
from qfl_sec.compute import BlindCompute, LocalCompute
from qfl_sec.datasets import DataSpec
from qfl_sec.experiment import Experiment, dumps, load, parse, setting_id
from qfl_sec.federation import FederationSpec
from qfl_sec.models import MlpClassifier, VariationalClassifier
from qfl_sec.tables import Axis, ReportSpec, RunSpec, Tolerances

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.toml"))
SWEPT_EPSILON = '[[defenses]]\nname = "dp_sgd"\nepsilon = [1, 2, 4, 8]\ndelta = 1e-3\nclip_norm = 0.5\n'


def read(text: str) -> Experiment:
    return parse(tomllib.loads(text), "x.toml")


def dp_sgd(**parameters: Any) -> Any:
    return plugins.get("defense", "dp_sgd")(**parameters)


def test_an_empty_file_is_the_default_experiment() -> None:
    experiment = read("")
    assert experiment == Experiment()
    assert experiment.data == DataSpec()
    assert experiment.model == VariationalClassifier()
    assert experiment.federation == FederationSpec()
    assert [defense.name for defense in experiment.defenses] == ["none"]
    names = [attack.name for attack in experiment.attacks]
    assert names == ["gradient_inversion", "loss_membership", "update_membership"]
    assert experiment.run.seeds == tuple(range(8))
    assert experiment.audited.name == "none"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_read_and_written_back(path: Path) -> None:
    experiment = load(path)
    assert read(dumps(experiment)) == experiment
    assert experiment.tolerances.set_on is not None
    fewer = {"channels": 2, "blind_training": 3, "blind_alone": 3, "anonymous_clients": 4}
    assert len(experiment.run.seeds) == fewer.get(path.stem, 8)


def test_the_default_example_is_the_one_described() -> None:
    experiment = load(next(path for path in EXAMPLES if path.stem == "breast_cancer"))
    assert [getattr(defense, "epsilon", None) for defense in experiment.defenses] == [None, 1, 2, 4, 8]
    assert experiment.audited == experiment.defenses[3]
    assert experiment.federation == FederationSpec()


def test_a_list_for_a_scalar_field_is_swept() -> None:
    experiment = read('[[defenses]]\nname = "dp_sgd"\nepsilon = [1, 2]\ndelta = 1e-3\nclip_norm = [0.5, 1]\n')
    pairs = [(defense.epsilon, defense.clip_norm) for defense in experiment.defenses[1:]]  # type: ignore[attr-defined]
    assert pairs == [(1, 0.5), (1, 1), (2, 0.5), (2, 1)]


def test_a_list_for_a_list_field_is_one_value(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(plugins, "_registry", plugins._Registry())
    path = tmp_path / "grids_plugin.py"
    path.write_text(
        "from dataclasses import dataclass\nfrom typing import ClassVar\nfrom qfl_sec.contracts import Defense\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Grids(Defense):\n    name: ClassVar[str] = 'grids'\n"
        "    steps: tuple[float, ...] | None = None\n    scale: float = 1\n"
    )
    plugins.load_file(path)
    experiment = read('[[defenses]]\nname = "grids"\nsteps = [0.5, 1]\nscale = [1, 2]\n')
    assert [(one.steps, one.scale) for one in experiment.defenses[1:]] == [  # type: ignore[attr-defined]
        ((0.5, 1.0), 1.0),
        ((0.5, 1.0), 2.0),
    ]
    assert read(dumps(experiment)) == experiment
    with pytest.raises(InputError, match="fits several settings"):
        read('[[defenses]]\nname = "grids"\nscale = [1, 2]\n[report]\naudited = {name = "grids"}\n')


def test_the_undefended_baseline_comes_first_and_settings_stand_once() -> None:
    text = SWEPT_EPSILON + '[[defenses]]\nname = "none"\n' + SWEPT_EPSILON.replace("[1, 2, 4, 8]", "8.0")
    experiment = read(text)
    assert [defense.name for defense in experiment.defenses] == ["none"] + 4 * ["dp_sgd"]
    assert len({setting_id(defense) for defense in experiment.defenses}) == 5


def test_a_setting_is_told_apart_by_its_parameters_not_by_their_types() -> None:
    assert setting_id(Experiment().defenses[0]) == "none"
    one = setting_id(dp_sgd(epsilon=4, delta=1e-3, clip_norm=0.5))
    assert one == setting_id(dp_sgd(epsilon=4.0, delta=1e-3, clip_norm=0.5))
    assert one.startswith("dp_sgd(epsilon=4, ")


@pytest.mark.parametrize(
    ("audited", "epsilon"),
    [("", 4), ('audited = {name = "dp_sgd", epsilon = 2}', 2), ('audited = {name = "none"}', None)],
)
def test_the_audited_setting_is_the_named_one_or_the_middle(audited: str, epsilon: float | None) -> None:
    experiment = read(SWEPT_EPSILON + f"[report]\n{audited}\n")
    assert getattr(experiment.audited, "epsilon", None) == epsilon
    assert experiment.report.audited is not None
    assert experiment.report.audited["name"] == experiment.audited.name


def test_without_a_sweep_there_is_one_variant() -> None:
    ((variant, experiment),) = Experiment().variants()
    assert (variant.id, dict(variant.values), variant.shown) == ("default", {}, True)
    assert experiment == Experiment()


def test_a_sweep_is_the_product_of_its_axes_and_shows_the_experiments_own_point() -> None:
    experiment = read('[sweep]\n"model.layers" = [1, 3]\n"model.entangler" = ["linear", "ring"]\n')
    variants = experiment.variants()
    assert [variant.id for variant, _ in variants] == [
        "model.layers=1, model.entangler=linear",
        "model.layers=1, model.entangler=ring",
        "model.layers=3, model.entangler=linear",
        "model.layers=3, model.entangler=ring",
    ]
    assert [variant.shown for variant, _ in variants] == [False, False, False, True]
    assert variants[2][1].model == VariationalClassifier(layers=3, entangler="linear")
    assert variants[3][1] == replace(experiment, sweep=())
    shown = [variant.shown for variant, _ in read('[sweep]\n"model.layers" = [1, 2]\n').variants()]
    assert shown == [True, False]


def test_a_sweep_may_replace_steps_by_epochs_and_one_model_or_data_set_by_another() -> None:
    points = read('[sweep]\n"federation.local_epochs" = [1, 2]\n').variants()
    assert [point.federation.local_epochs for _, point in points] == [1, 2]
    assert {point.federation.local_steps for _, point in points} == {None}
    points = read('[sweep]\n"model.name" = ["variational_classifier", "mlp_classifier"]\n').variants()
    assert [type(point.model) for _, point in points] == [VariationalClassifier, MlpClassifier]
    points = read('[data]\nname = "digits"\n[sweep]\n"data.name" = ["breast_cancer", "digits"]\n').variants()
    assert [point.data.classes for _, point in points] == [None, (3, 8)]


BAD_TABLES = {
    "unknown table": ("[federaton]\n", ["unknown table federaton", "Did you mean 'federation'?", "Known: data, "]),
    "unknown key": ("[federation]\nround = 5\n", ["[federation]: unknown key round", "Did you mean 'rounds'?"]),
    "unknown model key": ("[model]\nlayer = 2\n", ["[model]: unknown key layer", "'layers'"]),
    "another model's key": (
        '[model]\nname = "mlp_classifier"\nlayers = 2\n',
        ["unknown key layers", "name, checkpoint, hidden"],
    ),
    "unknown model": ('[model]\nname = "mlp"\n', ["unknown model mlp", "mlp_classifier"]),
    "unknown data": ('[data]\nname = "breast"\n', ["[data]: ", "'breast'", "breast_cancer, digits"]),
    "own circuit": ('[model]\ncircuit = "a.py:f"\nweight_shape = [3]\n', ["circuit: ", "a.py: no such file"]),
    "no table": ("federation = 3\n", ["[federation]", "3 is no table"]),
    "string for a number": ('[federation]\nrounds = "5"\n', ["[federation]: rounds = '5'", "valid integer"]),
    "bool for a number": ("[federation]\nrounds = true\n", ["[federation]: rounds = True", "valid integer"]),
    "float for a whole number": ("[federation]\nrounds = 2.5\n", ["rounds = 2.5", "valid integer"]),
    "table for a number": ("[federation.rounds]\nx = 1\n", ["rounds = {'x': 1}", "valid integer"]),
    "date for text": ("[report]\ntitle = 2026-11-01\n", ["title = 2026-11-01 is a date"]),
    "time for a number": ("[[defenses]]\nname = 'dp_sgd'\nepsilon = 07:32:00\n", ["epsilon = 07:32:00 is a date"]),
    "huge integer": (f"[federation]\nrounds = {10**30}\n", ["[federation]: rounds", "beyond 64 bits"]),
    "nan": ("[federation]\nlearning_rate = nan\n", ["[federation]: learning_rate = nan", "finite"]),
    "infinity": ("[federation]\nlearning_rate = inf\n", ["learning_rate = inf", "finite"]),
    "unknown optimizer": ('[federation]\noptimizer = "rmsprop"\n', ["optimizer = 'rmsprop'", "'sgd'", "'adam'"]),
    "no clients": ("[federation]\nclients = 0\n", ["[federation]: Expected clients=0 >= 1."]),
    "too many a round": ("[federation]\nclients_per_round = 11\n", ["clients_per_round=11 <= clients=10"]),
    "no rounds": ("[federation]\nrounds = 0\n", ["Expected rounds=0 >= 1."]),
    "negative rate": ("[federation]\nlearning_rate = -1\n", ["learning_rate=-1.0 > 0"]),
    "steps and epochs": ("[federation]\nlocal_steps = 1\nlocal_epochs = 1\n", ["local_steps=1", "not both"]),
    "more clients than records": ("[federation]\nclients = 500\n", ["clients=500 <= 284", "Set fewer clients"]),
    "more qubits than features": ("[model]\nqubits = 5\n", ["qubits=5", "features=4", "Set [model] qubits = 4"]),
    "more features than qubits": ("[data]\nfeatures = 3\n", ["qubits=4", "features=3"]),
    "one qubit": ("[data]\nfeatures = 1\n[model]\nqubits = 1\n", ["qubits=1 >= 2", "each class"]),
    "no layers": ("[model]\nlayers = 0\n", ["[model]: ", "layers=0 >= 1"]),
    "too many features": ("[data]\nfeatures = 31\n", ["[data]: ", "features=31 <= 30"]),
    "fraction": ("[data]\ntest_fraction = 1.0\n", ["[data]: ", "test_fraction=1.0 < 1"]),
    "unknown channel": (
        '[channel]\nname = "bb48"\n',
        ["[channel]: unknown channel bb48", "'bb84'", "plain", "two_step_qsdc"],
    ),
    "another channel's key": ("[channel]\npulses = 5\n", ["[channel]: unknown key pulses", "adversary_fraction"]),
    "negative distance": ('[channel]\nname = "bb84"\ndistance_km = -1\n', ["[channel]: ", "distance_km=-1.0 >= 0"]),
    "fraction above 1": (
        '[channel]\nname = "bb84"\nadversary_fraction = 2\n',
        ["[channel]: ", "adversary_fraction=2.0"],
    ),
    "plain fraction above 1": ("[channel]\nadversary_fraction = 2\n", ["[channel]: ", "adversary_fraction=2.0 <= 1"]),
    "no pulses": ('[channel]\nname = "bb84"\npulses = 0\n', ["[channel]: ", "pulses=0 >= 1"]),
    "no photons": (
        '[channel]\nname = "bb84"\nsource = "weak_coherent"\nmean_photon_number = 0\n',
        ["[channel]: ", "mean_photon_number=0.0"],
    ),
    "unknown eavesdropper": (
        '[channel]\nname = "bb84"\nadversary = "mallory"\n',
        ["[channel]: ", "mallory", "intercept_resend"],
    ),
    "no check pairs": ('[channel]\nname = "two_step_qsdc"\ncheck_pairs = 0\n', ["[channel]: ", "check_pairs=0"]),
    "fidelity": ('[channel]\nname = "one_step_qsdc"\nfidelity = 1.5\n', ["[channel]: ", "fidelity=1.5"]),
    "swept to another channel's key": (
        '[channel]\npulses = 5\nname = "bb84"\n[sweep]\n"channel.name" = ["bb84", "plain"]\n',
        ["[sweep]: channel.name=plain", "unknown key pulses"],
    ),
    "unknown compute": ('[compute]\nname = "cloud"\n', ["[compute]", "cloud", "Known: local, plain_cloud, blind"]),
    "coarse grid": ('[compute]\nname = "blind"\nangle_bits = 1\n', ["[compute]", "angle_bits=1", "on the grid"]),
    "delegated mlp": ('[model]\nname = "mlp_classifier"\n[compute]\nname = "blind"\n', ["measures nothing", "local"]),
    "blind amplitudes": (
        '[model]\nencoding = "amplitude"\nqubits = 2\n[compute]\nname = "blind"\n',
        ["StatePrep has no pattern", "plain_cloud"],
    ),
    "blind rounds beyond memory": (
        '[compute]\nname = "blind"\nmode = "transcript"\nshots = 100_000_000\n',
        ['[compute] name = "blind": ', "shots + test_rounds=100000000 <= ", 'Or set [compute] name = "plain_cloud"'],
    ),
    "no test rounds": (
        '[compute]\nname = "blind"\ntest_fraction = 0.0\n',
        ["[compute]", "0 < test_fraction=0.0 < 1", "nothing is verified"],
    ),
    "epsilon 0": ("[[defenses]]\nname = 'dp_sgd'\nepsilon = 0\n", ["[[defenses]] number 1 dp_sgd", "epsilon=0"]),
    "epsilon < 0 in a list": ("[[defenses]]\nname = 'dp_sgd'\nepsilon = [1, -1]\n", ["epsilon=-1"]),
    "delta 1": ("[[defenses]]\nname = 'dp_sgd'\nepsilon = 1\ndelta = 1\n", ["dp_sgd", "delta=1"]),
    "epsilon nan": ("[[defenses]]\nname = 'dp_sgd'\nepsilon = nan\n", ["epsilon = nan", "finite"]),
    "epsilon text": ("[[defenses]]\nname = 'dp_sgd'\nepsilon = 'big'\n", ["epsilon = 'big'", "valid number"]),
    "no epsilon at all": ("[[defenses]]\nname = 'dp_sgd'\nepsilon = []\n", ["epsilon = []", "at least one value"]),
    "too many settings": (
        f"[[defenses]]\nname = 'dp_sgd'\nepsilon = {list(range(1, 101))}\nclip_norm = {list(range(1, 101))}\n",
        ["more than 1000 settings"],
    ),
    "defense key": ("[[defenses]]\nname = 'dp_sgd'\nepsilom = 1\n", ["unknown key of dp_sgd epsilom", "'epsilon'"]),
    "no such defense": ("[[defenses]]\nname = 'dpsgd'\n", ["[[defenses]] number 1", "'dpsgd'", "'dp_sgd'", "none"]),
    "nameless defense": ("[[defenses]]\nepsilon = 1\n", ["name = None", "none, dp_sgd"]),
    "single brackets": ("[defenses]\nname = 'none'\n", ["[[defenses]]", "double brackets"]),
    "stack": ("[[defenses]]\nstack = [{name = 'none'}]\n", ["stack", "at least two defenses"]),
    "no such attack": ("[[attacks]]\nname = 'inversion'\n", ["[[attacks]] number 1", "gradient_inversion"]),
    "attack key": ("[[attacks]]\nname = 'gradient_inversion'\nrestart = 1\n", ["unknown key of", "'restarts'"]),
    "attack value": ("[[attacks]]\nname = 'gradient_inversion'\nrestarts = 0\n", ["restarts=0 >= 1"]),
    "attack twice": (2 * "[[attacks]]\nname = 'update_membership'\n", ["'update_membership' stands there twice"]),
    "sweep key": ('[sweep]\n"model.layer" = [1]\n', ["[sweep]: model.layer=1", "unknown key layer", "'layers'"]),
    "sweep table": ('[sweep]\n"run.seeds" = [1]\n', ["[sweep]: unknown table run", "data, model"]),
    "sweep without quotes": ("[sweep]\nmodel.layers = [1]\n", ['"model.layers" = [...]', "quotes"]),
    "sweep scalar": ('[sweep]\n"model.layers" = 1\n', ["model.layers = 1", "list of plain values"]),
    "sweep nothing": ('[sweep]\n"model.layers" = []\n', ["at least one value", "'model.layers'"]),
    "sweep twice": ('[sweep]\n"model.layers" = [1, 1]\n', ["distinct", "'model.layers'"]),
    "sweep into the impossible": ('[sweep]\n"model.qubits" = [3]\n', ["model.qubits=3", "features=4"]),
    "sweep of a wrong type": ('[sweep]\n"model.layers" = ["two"]\n', ["layers = 'two'", "valid integer"]),
    "sweep nan": ('[sweep]\n"federation.learning_rate" = [nan]\n', ["learning_rate = nan", "finite"]),
    "sweep too far": (
        f'[sweep]\n"model.layers" = {list(range(1, 101))}\n"federation.rounds" = {list(range(1, 101))}\n',
        ["more than 1000 points"],
    ),
    "tolerance": ("[tolerances]\nmembership = 5\n", ["[tolerances]", "membership=5.0 <= 1", "not a percentage"]),
    "no date": ("[tolerances]\nset_on = 3\n", ["set_on = 3", "date"]),
    "no title": ('[report]\ntitle = " "\n', ["[report]", "title=' '"]),
    "audited nothing": ('[report]\naudited = {name = "dp_sgd"}\n', ["[report]: audited", "none of the settings"]),
    "audited many": (SWEPT_EPSILON + '[report]\naudited = {name = "dp_sgd"}\n', ["several", "epsilon=8"]),
    "no seeds": ("[run]\nseeds = []\n", ["[run]", "seeds=[]", "at least one"]),
    "seeds twice": ("[run]\nseeds = [1, 1]\n", ["seeds=[1, 1]", "distinct"]),
    "negative seed": ("[run]\nseeds = [-1]\n", ["seeds=[-1]", ">= 0"]),
    "one seed": ("[run]\nseeds = 3\n", ["seeds = 3", "valid"]),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_input_is_refused_by_place_value_and_expectation(case: str) -> None:
    text, expected = BAD_TABLES[case]
    with pytest.raises(InputError) as caught:
        read(text)
    message = str(caught.value)
    assert message.startswith("x.toml: ")
    assert not [part for part in expected if part not in message], message
    assert "{'" not in message.replace("{'x': 1}", ""), "a whole table is not printed"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[federation]\nrounds = 1_000_000_000", "at most 1 GiB"),
        ("[federation]\nlocal_steps = 100_000_000", "at most 1 GiB"),
        ("[federation]\nlocal_epochs = 1_000_000_000", "at most 1 GiB"),
        ('[model]\nname = "mlp_classifier"\nhidden = 1_000_000_000', "at most 1 GiB"),
        (f'[report]\ntitle = "{"a" * 201}"', "at most 200 characters, not 201"),
        (
            SWEPT_EPSILON + '[report]\naudited = {name = "dp_sgd", epsilon = true}',
            "epsilon=True is none of the settings",
        ),
    ],
)
def test_what_could_never_be_finished_or_meant_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(text)


def test_keys_of_endless_depth_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.toml"
    path.write_text(f"report.{'.'.join('a' * 5000)} = 1")
    with pytest.raises(InputError, match="nested more than 20 levels deep"):
        load(path)
    path.write_text("")
    with pytest.raises(InputError, match="nested more than 20 levels deep"):
        load(path, overrides=[f"run.seeds={'[' * 30}{']' * 30}"])
    with pytest.raises(InputError) as caught:
        load(path, overrides=[f"run.seeds={'[' * 5000}"])
    assert len(str(caught.value)) < 400


def unreadable(folder: Path) -> dict[str, tuple[Path, str]]:
    (folder / "malformed.toml").write_text("[data]\nfeatures = = 3\n")
    (folder / "latin.toml").write_bytes("[report]\ntitle = 'é'\n".encode("latin-1"))
    (folder / "large.toml").write_text("#" * 1_000_001)
    (folder / "deep.toml").write_text("x = " + "[" * 5_000)
    os.mkfifo(folder / "pipe.toml")
    return {
        "missing": (folder / "absent.toml", "no such file. Correct the path, or write one with `qfl-sec init"),
        "folder": (folder, "not a file. Name an experiment file"),
        "pipe": (folder / "pipe.toml", "not a file"),
        "malformed": (folder / "malformed.toml", r"not valid TOML: .*line 2.*Correct it there"),
        "latin": (folder / "latin.toml", "not UTF-8 text .*Save it as UTF-8"),
        "large": (folder / "large.toml", "larger than 1,000,000 bytes"),
        "deep": (folder / "deep.toml", "not valid TOML"),
    }


@pytest.mark.parametrize("case", ["missing", "folder", "pipe", "malformed", "latin", "large", "deep"])
def test_an_unreadable_file_is_refused(case: str, tmp_path: Path) -> None:
    path, message = unreadable(tmp_path)[case]
    with pytest.raises(InputError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    path = tmp_path / "marked.toml"
    path.write_bytes(b"\xef\xbb\xbf[federation]\nrounds = 3\n")
    assert load(path).federation.rounds == 3


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SWEPT_EPSILON + "[federation]\nrounds = 3\n")
    return path


def test_changes_from_the_command_line_are_applied_in_their_order(small_file: Path) -> None:
    changes = (
        "federation.rounds=5",
        "run.seeds=[0,1]",
        "defenses=[]",
        "model.name=mlp_classifier",
        "model.hidden=3",
        "report.title=A title of words",
        "report.audited={name = 'none'}",
        "sweep.federation.batch_size=[4, 8]",
        "federation.rounds = 6",
        "tolerances.set_on=2026-11-01",
    )
    experiment = load(small_file, overrides=changes)
    assert experiment.federation.rounds == 6
    assert experiment.run.seeds == (0, 1)
    assert len(experiment.defenses) == 1
    assert experiment.model == MlpClassifier(hidden=3)
    assert experiment.report.title == "A title of words"
    assert experiment.sweep == (Axis(key="federation.batch_size", values=(4, 8)),)
    assert experiment.tolerances.set_on == date(2026, 11, 1)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("federation.round=5", "unknown key round. Did you mean 'rounds'?"),
        ("federatio.rounds=5", "unknown table federatio. Did you mean 'federation'?"),
        ("rounds=5", "unknown table rounds"),
        ("federation.rounds", "Expected table.key=value"),
        ("federation.=5", "Expected table.key=value"),
        ("federation.rounds=", "no TOML value"),
        ("run.seeds=[0,1", "no TOML value"),
        ("federation.rounds=5\nclients = 3", "one value"),
        ("federation.rounds=many", "rounds = 'many'"),
        ("federation.rounds=0", "rounds=0 >= 1"),
        ("federation.rounds=nan", "rounds = nan"),
        ("defenses.epsilon=3", "defenses is a list"),
        ("data=3", "3 is no table"),
    ],
)
def test_a_wrong_change_is_refused_and_named(change: str, expected: str, small_file: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(small_file, overrides=[change])
    assert expected in str(caught.value)
    assert f"--set {change}" in str(caught.value)


def test_a_plugin_that_fails_on_its_parameters_is_blamed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(plugins, "_registry", plugins._Registry())
    path = tmp_path / "fragile_plugin.py"
    path.write_text(
        "from dataclasses import dataclass\nfrom typing import ClassVar\nfrom qfl_sec.contracts import Defense\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Fragile(Defense):\n    name: ClassVar[str] = 'fragile'\n"
        "    steps: int = 1\n    def __post_init__(self):\n        {}[self.steps]\n"
    )
    plugins.load_file(path)
    with pytest.raises(plugins.PluginError, match=r"\[\[defenses\]\] number 1 fragile: KeyError: 2. Mend the plug-in"):
        read('[[defenses]]\nname = "fragile"\nsteps = 2\n')


TABLES_SWEPT = """
[compute]
shots = 50
[sweep]
compute = [{name = "local"}, {name = "blind", angle_bits = 6, test_fraction = 0.5}]
"model.layers" = [1, 2]
"""


def test_a_sweep_over_tables_sets_keys_that_one_name_alone_has() -> None:
    experiment = read(TABLES_SWEPT)
    assert read(dumps(experiment)) == experiment
    points = experiment.variants()
    assert [dict(variant.values) for variant, _ in points] == [
        {"compute.name": "local", "model.layers": 1},
        {"compute.name": "local", "model.layers": 2},
        {"compute.name": "blind", "compute.angle_bits": 6, "compute.test_fraction": 0.5, "model.layers": 1},
        {"compute.name": "blind", "compute.angle_bits": 6, "compute.test_fraction": 0.5, "model.layers": 2},
    ]
    assert [resolved.compute for _, resolved in points[::2]] == [
        LocalCompute(shots=50),
        BlindCompute(shots=50, angle_bits=6, test_fraction=0.5),
    ]
    cloud = read('[sweep]\ncompute = [{name = "local"}, {name = "plain_cloud"}]\n')
    assert "circuit_reading" in {attack.name for attack in cloud.attacks}


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        ('compute = [{name = "blnd"}]', "unknown name blnd. Did you mean 'blind'?"),
        ('compute = [{name = "local", angle_bits = 6}]', "unknown key angle_bits"),
        ('compute = ["local", "blind"]', "Expected values of a key, or tables, of sweep key 'compute'"),
        ('"compute.name" = [{name = "local"}]', "Expected values of a key, or tables"),
        ('compute = [{name = ["local"]}]', "Expected a list of plain values, or of tables of these"),
        ("compute = [{shots = 5}, {shots = 5}]", "Expected distinct values of sweep key 'compute'"),
        ('compute = [{shots = 5}]\n"compute.shots" = [6, 7]', "compute.shots is set by two of its keys. Remove one."),
        ('data = [{file = "a.csv"}]', "data.file cannot be swept"),
        ("nothing = [{a = 1}]", "unknown table nothing"),
    ],
)
def test_a_wrong_sweep_over_tables_is_refused(sweep: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        read(f"[sweep]\n{sweep}\n")
    assert expected in str(caught.value)


def test_what_cannot_be_written_is_refused() -> None:
    experiment = Experiment(sweep=(Axis(key="model.layers", values=(1, 3)),), tolerances=Tolerances(membership=0))
    assert read(dumps(experiment)) == experiment
    with pytest.raises(ValueError, match="one line of text"):
        ReportSpec(title="a\nb")


names = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=30)
shares = st.floats(0, 1, allow_nan=False)
federations = st.builds(
    FederationSpec,
    clients=st.integers(5, 50),
    clients_per_round=st.integers(1, 5),
    rounds=st.integers(1, 1000),
    local_epochs=st.none() | st.integers(1, 5),
    batch_size=st.integers(1, 100),
    sampling=st.sampled_from(["fixed", "poisson"]),
    optimizer=st.sampled_from(["sgd", "adam"]),
    learning_rate=st.floats(1e-300, 1e300),
)
budgets = st.lists(st.floats(1e-3, 100), max_size=4)


@st.composite
def experiments(draw: st.DrawFn) -> Experiment:
    features = draw(st.integers(2, 8))
    variational = VariationalClassifier(qubits=features, layers=draw(st.integers(1, 9)))
    swept = draw(st.lists(st.integers(1, 40), max_size=3, unique=True))
    return Experiment(
        data=DataSpec(features=features, name=draw(st.sampled_from(["breast_cancer", "digits"]))),
        model=draw(st.just(variational) | st.builds(MlpClassifier, hidden=st.integers(1, 50))),
        federation=draw(federations),
        defenses=tuple(dp_sgd(epsilon=e, delta=1e-3, clip_norm=draw(st.floats(1e-3, 10))) for e in draw(budgets)),
        sweep=(Axis(key="federation.batch_size", values=tuple(swept)),) if swept else (),
        attacks=draw(st.sampled_from([(), Experiment().attacks])),
        tolerances=Tolerances(membership=draw(shares), set_on=draw(st.none() | st.dates())),
        report=ReportSpec(title=draw(names)),
        run=RunSpec(seeds=tuple(draw(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=5, unique=True)))),
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(experiments())
def test_what_is_written_is_read_back_the_same(experiment: Experiment) -> None:
    text = dumps(experiment)
    again = read(text)
    assert again == experiment
    assert dumps(again) == text


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60) | st.text("[]{}=.,\"'# \nabdefnorsu01", max_size=60))
def test_no_text_whatsoever_gives_anything_but_an_experiment_or_a_message(text: str) -> None:
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError):
        return
    try:
        parse(tables, "x.toml")
    except InputError as error:
        assert str(error).startswith("x.toml: ")
