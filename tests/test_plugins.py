import pickle
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

from qfl_sec import plugins
from qfl_sec.contracts import Attack, Defense
from qfl_sec.plugins import PluginError
from qfl_sec.protocol_contracts import DelegatedComputation, KeySource, MessageCarrier

HEAD = """
from dataclasses import dataclass
from typing import ClassVar
from qfl_sec.attacks import Attack
from qfl_sec.contracts import MembershipScores, Question, ReleasedModelView
from qfl_sec.defenses import Defense
"""
ROUNDING = """
@dataclass(frozen=True, kw_only=True)
class Rounding(Defense):
    \"\"\"Round updates to a grid.

    More about it.
    \"\"\"

    name: ClassVar[str] = "rounding"
    step: float = 0.1
"""
GUESSING = """
@dataclass(frozen=True, kw_only=True)
class Guessing(Attack):
    name: ClassVar[str] = "guessing"
    question: ClassVar[Question] = "membership"
    requires: ClassVar = (ReleasedModelView,)

    def run(self, view, knowledge, *, generator):
        return MembershipScores(values=knowledge.candidates.labels.double())
"""


@pytest.fixture(autouse=True)
def fresh_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_registry", plugins._Registry())
    for name in [name for name in sys.modules if name.startswith(plugins.FILE_MODULE)]:
        monkeypatch.delitem(sys.modules, name)


def write(folder: Path, body: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(HEAD + body)
    return path


def test_importing_the_registry_does_not_import_torch() -> None:
    code = "import qfl_sec.plugins, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("kind", plugins.KINDS)
def test_every_built_in_name_is_found_and_described(kind: plugins.Kind) -> None:
    for name in plugins.names(kind):
        cls = plugins.get(kind, name)
        assert cls.name == name
        protocols = KeySource | MessageCarrier | DelegatedComputation
        assert issubclass(cls, {"attack": Attack, "defense": Defense, "protocol": protocols}[kind])
        assert len(plugins.description(cls)) > 10
        assert plugins.get(kind, name) is cls


def test_an_unknown_name_lists_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(
        PluginError,
        match=rf"Unknown defense 'dpsgd'. Did you mean 'dp_sgd'\? Known: {', '.join(plugins.BUILT_IN['defense'])}\.",
    ):
        plugins.get("defense", "dpsgd")
    with pytest.raises(PluginError, match=", ".join(plugins.BUILT_IN["attack"])):
        plugins.get("attack", "zzz")


def test_a_file_registers_what_it_defines_and_nothing_that_it_imports(tmp_path: Path) -> None:
    path = write(tmp_path, "from qfl_sec.defenses.dp_sgd import *\n" + ROUNDING + GUESSING)
    found = plugins.load_file(path)
    assert [cls.name for cls in found] == ["rounding", "guessing"]
    assert plugins.get("defense", "rounding") is found[0]
    assert plugins.names("attack") == (*plugins.BUILT_IN["attack"], "guessing")
    assert plugins.files() == (path.resolve(),)
    assert plugins.description(found[0]) == "Round updates to a grid"
    assert plugins.description(found[1]) == ""
    assert plugins.parameters(found[0]) == {"step": {"type": "float", "default": 0.1}}


def test_loading_a_file_again_does_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, ROUNDING)
    assert plugins.load_file(path) == plugins.load_file(tmp_path / ".." / tmp_path.name / "mine.py")
    assert len(plugins.files()) == 1


def test_a_process_that_loads_the_same_file_reads_its_pickles(tmp_path: Path) -> None:
    path = write(tmp_path, ROUNDING, name="my-plug.in.py")
    cls = plugins.load_file(path)[0]
    (tmp_path / "object").write_bytes(pickle.dumps(cls()))
    code = (
        "import pickle, pathlib, sys; from qfl_sec import plugins; plugins.load_file(sys.argv[1]);"
        "print(pickle.loads(pathlib.Path(sys.argv[2]).read_bytes()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(path), str(tmp_path / "object")], capture_output=True, text=True
    )
    assert run.stdout.strip() == "Rounding(step=0.1)", run.stderr


BROKEN = {
    "raises": ("\n\n1 / 0\n", "mine.py: fails on import in line 9 with ZeroDivisionError: division by zero. Mend"),
    "no syntax": ("def (:", "SyntaxError"),
    "exits": ("import sys; sys.exit(3)", "SystemExit"),
    "calls itself": ("def f():\n    f()\nf()\n", "RecursionError"),
    "no Exception": ("class Odd(BaseException): ...\nraise Odd('at odds')", "with Odd: at odds. Mend"),
    "nothing": ("", "defines no attack, defense or protocol"),
    "no dataclass": ("class Bare(Defense):\n    name = 'bare'\n", "Bare in .*mine.py: is not a frozen dataclass"),
    "not frozen": ("@dataclass\nclass Soft(Defense):\n    name: ClassVar[str] = 'soft'\n", "is not a frozen dataclass"),
    "no name": ("@dataclass(frozen=True)\nclass Nameless(Defense):\n    x: int = 1\n", "Nameless in .* has no name"),
    "name a field": ("@dataclass(frozen=True)\nclass F(Defense):\n    name: str = 'f'\n", "has name as a field"),
    "odd name": ("@dataclass(frozen=True)\nclass F(Defense):\n    name: ClassVar[str] = 'a b'\n", "name='a b'"),
    "no question": (GUESSING.replace('    question: ClassVar[Question] = "membership"\n', ""), "has no question"),
    "no views": (GUESSING.replace("(ReleasedModelView,)", "()"), "has no views"),
    "taken": (ROUNDING.replace('"rounding"', '"dp_sgd"'), "'dp_sgd' is taken by qfl_sec.defenses.dp_sgd"),
    "twice": (ROUNDING + ROUNDING.replace("Rounding", "Other"), "two classes have the defense name 'rounding'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_gives_one_message_and_leaves_nothing_behind(case: str, tmp_path: Path) -> None:
    body, message = BROKEN[case]
    path = write(tmp_path, body)
    before = set(sys.modules)
    with pytest.raises(PluginError, match=message):
        plugins.load_file(path)
    assert plugins.files() == ()
    assert "rounding" not in plugins.names("defense")
    assert not [name for name in set(sys.modules) - before if name.startswith(plugins.FILE_MODULE)]


@pytest.mark.parametrize("name", ["absent.py", "folder.py", "text.txt"])
def test_what_is_no_python_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "text.txt").write_text(HEAD + ROUNDING)
    with pytest.raises(PluginError, match=f"{name}: not a Python file"):
        plugins.load_file(tmp_path / name)


def test_a_duplicate_name_names_both_places(tmp_path: Path) -> None:
    plugins.load_file(write(tmp_path, ROUNDING, "first.py"))
    with pytest.raises(PluginError, match=r"Rounding in .*second.py.*taken by Rounding in .*first.py"):
        plugins.load_file(write(tmp_path, ROUNDING, "second.py"))


def test_two_files_of_one_stem_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    plugins.load_file(write(tmp_path, ROUNDING))
    with pytest.raises(PluginError, match=r"other/mine.py: .*/mine.py bears the same name"):
        plugins.load_file(write(tmp_path / "other", GUESSING))


def test_objects_and_classes_can_be_used(tmp_path: Path) -> None:
    cls = plugins.load_file(write(tmp_path, ROUNDING))[0]
    plugins._registry.classes.clear()
    assert plugins.use([cls(), cls]) == [cls, cls]
    assert plugins.get("defense", "rounding") is cls
    with pytest.raises(PluginError, match="'int'> is no attack, defense or protocol"):
        plugins.use([42])


def offer(monkeypatch: pytest.MonkeyPatch, *entries: EntryPoint) -> None:
    monkeypatch.setattr(plugins, "entry_points", lambda group: entries if group == plugins.GROUP else ())


def test_installed_packages_offer_modules_and_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, ROUNDING + GUESSING, "offered_plugins.py")
    monkeypatch.syspath_prepend(tmp_path)
    module = EntryPoint(name="all", value="offered_plugins", group=plugins.GROUP)
    one = EntryPoint(name="one", value="offered_plugins:Rounding", group=plugins.GROUP)
    offer(monkeypatch, module, one)
    assert plugins.get("defense", "rounding").__module__ == "offered_plugins"
    assert "guessing" in plugins.names("attack")
    sys.modules.pop("offered_plugins")


@pytest.mark.parametrize("value", ["no_such_module_of_mine", "json", "json:loads", "offending_plugins"])
def test_a_broken_installed_plugin_is_named(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, ROUNDING.replace('"rounding"', '"none"'), "offending_plugins.py")
    monkeypatch.syspath_prepend(tmp_path)
    offer(monkeypatch, EntryPoint(name="theirs", value=value, group=plugins.GROUP))
    for _ in range(2):
        with pytest.raises(PluginError, match=rf"Plug-in 'theirs' \({value}\)"):
            plugins.get("defense", "none")
    sys.modules.pop("offending_plugins", None)


def test_a_module_that_does_not_hold_its_name_is_our_own_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qfl_sec.defenses.none", ModuleType("qfl_sec.defenses.none"))
    with pytest.raises(ImportError, match="define the one defense 'none'"):
        plugins.get("defense", "none")
