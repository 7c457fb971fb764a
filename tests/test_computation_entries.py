"""Who ran the circuits: sums over what transcripts record, and what is said of the released models and their grids."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pennylane as qml
import pytest
import torch

from qfl_sec.computation_entries import computation_entries, other_sizes
from qfl_sec.evidence import Evidence
from qfl_sec.experiment import Experiment, parse
from qfl_sec.grid import plan
from qfl_sec.models import MlpClassifier, VariationalClassifier
from qfl_sec.protocol_results import ComputationEntry
from qfl_sec.results import Results, dumps, loads
from qfl_sec.run_folder import RunFolder
from qfl_sec.store import Store
from qfl_sec.transcript import Transcript
from qfl_sec.workbench import run_audit

TABLES: dict[str, Any] = {
    "data": {"name": "breast_cancer", "features": 2},
    "model": {"qubits": 2, "layers": 1},
    "federation": {"clients": 3, "clients_per_round": 2, "rounds": 3, "batch_size": 2},
    "compute": {"shots": 100},
    "sweep": {"compute.name": ["local", "plain_cloud", "blind"]},
    "attacks": [{"name": "circuit_membership"}],
    "run": {"seeds": [0, 1]},
}


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Experiment, Results]:
    folder = tmp_path_factory.mktemp("computed") / "run"
    experiment = parse(TABLES, source="test")
    results = run_audit(experiment, out=folder, inline=True).results
    assert results is not None
    return folder, experiment, results


def blind(audited: tuple[Path, Experiment, Results]) -> ComputationEntry:
    return next(entry for entry in audited[2].computations if entry.name == "blind")


def released(audited: tuple[Path, Experiment, Results]) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Return each blind training's released weights, fresh records and their labels."""
    folder, experiment, _ = audited
    found = []
    for task in plan(experiment).trainings:
        if task.variant == "compute.name=blind" and task.kind == "federated":
            split = task.config.population().splits.test
            weights = Transcript.load(RunFolder(folder).transcripts / task.folder_name).global_weights[-1]
            found.append((weights.double(), split.features.double(), split.labels))
    return found


def test_costs_are_those_of_the_transcripts(audited: tuple[Path, Experiment, Results]) -> None:
    folder, experiment, results = audited
    assert [entry.name for entry in results.computations] == ["local", "plain_cloud", "blind"]
    tasks = [task for task in plan(experiment).trainings if task.kind == "federated"]
    for entry in results.computations:
        folders = [task.folder_name for task in tasks if task.variant == entry.variant]
        costs = [
            cost
            for name in folders
            for cost in json.loads((RunFolder(folder).transcripts / name / "metadata.json").read_text())[
                "compute_costs"
            ]
        ]
        # 13 circuits a record: two for each of 6 weights, and one; 2 clients of 2 records in 3 rounds, 2 seeds
        assert entry.circuits == sum(cost["circuits"] for cost in costs) == 13 * 2 * 2 * 3 * 2
        assert entry.runs == sum(cost["runs"] for cost in costs) == entry.circuits * 100 * 2  # 2 observables
        assert entry.trainings == len(folders) == 2
    one = blind(audited)
    assert one.pattern is not None
    assert one.qubits_sent == one.runs * one.pattern.nodes
    assert one.classical_bits == one.runs * one.pattern.classical_bits
    assert (one.test_runs, one.rejected, one.mode, one.angle_bits) == (0, 0, "semantic", 8)


def test_only_blind_computing_has_grids_patterns_and_tests(audited: tuple[Path, Experiment, Results]) -> None:
    for entry in audited[2].computations[:2]:
        assert entry.grids == entry.other_sizes == () and entry.pattern is None and entry.verification is None
        assert entry.angle_bits is None and entry.mode is None and entry.qubits_sent == 0


def test_unrounded_models_are_right_as_often_as_their_accuracy_says(audited: tuple[Path, Experiment, Results]) -> None:
    one = blind(audited)
    accuracy = next(use.accuracy for use in audited[2].utility if use.variant == one.variant and use.setting == "none")
    assert (one.correct, one.fresh_records) == (accuracy.k, accuracy.n)


def test_rounding_changes_outputs_as_a_circuit_with_rounded_angles_does(
    audited: tuple[Path, Experiment, Results],
) -> None:
    """The classifier written once more, gate by gate, on PennyLane's own simulator."""
    device = qml.device("default.qubit", wires=2)

    def outputs(angles: np.ndarray, features: np.ndarray, step: float) -> np.ndarray:
        def turned(value: Any) -> Any:
            return np.rint(np.asarray(value) / step) * step if step else value

        @qml.qnode(device)
        def circuit() -> Any:
            for wire in range(2):
                qml.RY(turned(np.arctan(features[:, wire])), wires=wire)
                qml.RZ(turned(np.arctan(features[:, wire] ** 2)), wires=wire)
            qml.CNOT(wires=[0, 1])
            for wire in range(2):
                qml.Rot(*turned(angles[0, wire]), wires=wire)
            return qml.expval(qml.Z(0)), qml.expval(qml.Z(1))

        return np.stack(circuit(), -1)

    one = blind(audited)
    changes: dict[int, list[np.ndarray]] = {grid.angle_bits: [] for grid in one.grids}
    right = dict.fromkeys(changes, 0)
    for weights, features, labels in released(audited):
        angles = weights.reshape(1, 2, 3).numpy()
        exact = outputs(angles, features.numpy(), 0.0)
        for bits, found in changes.items():
            rounded = outputs(angles, features.numpy(), 2 * np.pi / 2**bits)
            found.append(np.abs(rounded - exact))
            right[bits] += int((rounded.round(9).argmax(-1) == labels.numpy()).sum())
    for grid in one.grids:
        assert grid.mean_change == pytest.approx(float(np.mean(changes[grid.angle_bits])), abs=1e-9)
        assert grid.largest_change == pytest.approx(float(np.max(changes[grid.angle_bits])), abs=1e-9)
        assert grid.correct == right[grid.angle_bits]
    assert one.grids[0].mean_change > 8 * one.grids[-1].mean_change > 0


def test_a_grid_hides_its_own_angles_and_no_others(audited: tuple[Path, Experiment, Results]) -> None:
    for grid in blind(audited).grids:
        assert grid.view_distance == 0.0
        assert grid.unrounded_view_distance == pytest.approx(1.0, abs=1e-9)


def test_an_example_of_tests_has_the_known_failure_probability(audited: tuple[Path, Experiment, Results]) -> None:
    """100 computations and 100 tests, 12 failures accepted: 1.538e-3 at 88 spoiled rounds; 40 pass at 0.83."""
    plan_ = blind(audited).verification
    assert plan_ is not None
    assert (plan_.asked, plan_.computation_rounds, plan_.test_rounds, plan_.threshold) == (False, 100, 100, 12)
    assert plan_.worst_corrupted == 88 and plan_.security_error == pytest.approx(1.538e-3, rel=1e-3)
    spoiled = next(point for point in plan_.attack if point.corrupted == 40)
    assert spoiled.shift == pytest.approx(0.4) and round(spoiled.acceptance, 2) == 0.83
    honest = [point.acceptance for point in plan_.noise]
    assert honest[0] == 1.0 and honest == sorted(honest, reverse=True) and honest[-1] < honest[0]


def test_the_threshold_of_asked_tests_accepts_the_stated_noise(tmp_path: Path) -> None:
    compute = {"name": "blind", "shots": 60, "test_fraction": 0.4, "mode": "transcript"}
    tables = {
        **{key: value for key, value in TABLES.items() if key != "sweep"},
        "federation": TABLES["federation"] | {"rounds": 1},
        "compute": compute | {"depolarizing_probability": 1e-3, "angle_bits": 6},
        "run": {"seeds": [0]},
    }
    experiment = parse(tables, source="test")
    results = run_audit(experiment, out=tmp_path / "run", inline=True).results
    assert results is not None
    (entry,) = results.computations
    assert entry.verification is not None and entry.verification.asked
    assert (entry.verification.test_rounds, entry.mode, entry.depolarizing_probability) == (40, "transcript", 1e-3)
    at_noise = next(one for one in entry.verification.noise if one.depolarizing_probability == 1e-3)
    assert at_noise.acceptance >= 0.99
    assert entry.test_runs == 40 * (entry.runs // 100) and entry.runs % 100 == 0


def test_sizes_follow_the_graph(audited: tuple[Path, Experiment, Results]) -> None:
    one = blind(audited)
    assert one.pattern in one.other_sizes
    for size in one.other_sizes:
        assert size.layers is not None
        assert size.nodes == size.qubits * size.columns and size.message_rounds == size.columns - 1
        # an angle of 8 bits and an outcome for each node, but for the last column's, which has no angle
        assert size.classical_bits == size.nodes + 8 * (size.nodes - size.qubits)
        assert size.circuits == 6 * size.layers * size.qubits + 1
    by_layers = [size.nodes for size in one.other_sizes if size.qubits == 4]
    assert by_layers == sorted(by_layers) and len(by_layers) == 4


def test_models_without_sizes_and_sizes_without_models_are_left_out() -> None:
    assert list(other_sizes(MlpClassifier(), 4, 2, 8)) == []
    three_classes = other_sizes(VariationalClassifier(qubits=4, layers=2), 4, 3, 8)
    assert {size.qubits for size in three_classes} == {4, 6, 8}  # two qubits cannot tell three classes
    frequencies = VariationalClassifier(encoding="angle", qubits=2, layers=2, frequencies=(1.0, 2.0))
    assert {size.layers for size in other_sizes(frequencies, 2, 2, 8)} == {2}


def test_exact_local_computing_has_no_entry(audited: tuple[Path, Experiment, Results]) -> None:
    folder, experiment, _ = audited
    exact = parse({key: value for key, value in TABLES.items() if key not in ("sweep", "compute")}, source="test")
    with Store(RunFolder(folder).store) as store:
        evidence = Evidence(plan(experiment), store, RunFolder(folder).transcripts)
        assert list(computation_entries(evidence, "default", exact)) == []


def test_entries_survive_the_file(audited: tuple[Path, Experiment, Results]) -> None:
    results = audited[2]
    assert loads(dumps(results), judged=True).computations == results.computations
