"""The repository's shape: packages, public names, and who imports whom."""

import ast
import importlib
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("attacks", "defenses", "protocols", "reports")

LAYERS = {
    name: layer
    for layer, names in {
        1: "checking contracts plugins protocol_contracts randomness",
        2: "accounting adjoint batched_circuit boxes ceilings channel checkpoints circuit_module circuits "
        "columns computation compute conformance data_files datasets differences differentiation fusion "
        "gate_parameters gates gradients intervals membership models noise parameter_shift partition pauli program "
        "protocol_results readout reconstruction rounded_circuit statevector steps sweep_plan sweep_steps tape "
        "user_circuit user_files user_module variational verdicts",
        3: "batches broadcasts captured captured_data federation optimizers population rounds transcript views",
        4: "attacks defenses protocols",
        5: "assembly bounds capture_folder channel_entries computation_entries estimate evidence executors experiment "
        "experiment_file grid harness instruments judging measuring pairing planted_circuits planted_senders planting "
        "policy provenance ray_executor reports results run_folder runner scoring setting_entries settings "
        "side_by_side store tables tasks testing verify workbench",
        6: "__init__ cli",
    }.items()
    for name in names.split()
}


def source_files() -> list[Path]:
    rooms = (ROOT / "qfl_sec", *(ROOT / "qfl_sec" / name for name in ("cli", "pauli", "testing")))
    folders = [*rooms, *(ROOT / name for name in FOLDERS)]
    return sorted(path for folder in folders for path in folder.glob("*.py"))


def room(path: Path) -> str:
    """Return the name under which a file stands in LAYERS."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "qfl_sec" else parts[0]


def test_every_package_is_listed() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {"qfl_sec": ROOT / "qfl_sec"} | {f"qfl_sec.{name}": ROOT / name for name in FOLDERS}
    found = {
        ".".join([name, *path.parent.relative_to(folder).parts])
        for name, folder in folders.items()
        for path in folder.rglob("__init__.py")
        if not set(path.relative_to(folder).parts[:1]) & set(FOLDERS)
    }
    assert found == set(declared["packages"])
    assert declared["package-dir"] == {f"qfl_sec.{name}": name for name in FOLDERS}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_are_linked_and_flat(name: str) -> None:
    link = ROOT / "qfl_sec" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..") / name
    assert not [path for path in (ROOT / name).iterdir() if path.is_dir() and path.name != "__pycache__"]


@pytest.mark.parametrize("name", FOLDERS)
def test_importing_a_folder_by_its_bare_name_is_refused(name: str) -> None:
    run = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode != 0
    assert f"qfl_sec.{name}" in run.stderr


def test_every_module_imports_its_own_layer_or_a_lower_one() -> None:
    wrong = []
    for path in source_files():
        name = room(path)
        assert name in LAYERS, f"{path}: give it a layer"
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                base = node.module or ""
                modules = [f"{base}.{alias.name}" for alias in node.names] if base == "qfl_sec" else [base]
            for module in modules:
                parts = module.split(".")
                if parts[0] != "qfl_sec" or len(parts) < 2 or parts[1] not in LAYERS:
                    continue
                target = parts[1]
                siblings = {name, target} <= set(FOLDERS[:3]) and name != target
                if LAYERS[target] > LAYERS[name] or siblings:
                    wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert not wrong


def test_reports_import_result_types_and_never_the_runner() -> None:
    allowed = {
        "ceilings",
        "checking",
        "contracts",
        "intervals",
        "protocol_results",
        "results",
        "provenance",
        "verdicts",
        "reports",
    }
    for path in (ROOT / "reports").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("qfl_sec."):
                assert (node.module or "").split(".")[1] in allowed, f"{path.name} imports {node.module}"


PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]


@pytest.mark.parametrize("name", PACKAGES)
def test_every_exported_name_exists(name: str) -> None:
    package = importlib.import_module(name)
    assert [public for public in package.__all__ if not hasattr(package, public)] == []
    assert list(package.__all__) == sorted(package.__all__)


@pytest.mark.parametrize("name", [f"qfl_sec.{folder}" for folder in FOLDERS])
def test_folders_export_exactly_their_public_names(name: str) -> None:
    package = importlib.import_module(name)
    submodules = {found.name for found in pkgutil.iter_modules(package.__path__)}
    assert {key for key in vars(package) if not key.startswith("_") and key not in submodules} == set(package.__all__)
