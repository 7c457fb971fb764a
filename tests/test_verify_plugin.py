"""`qfl-sec verify-plugin`: exit statuses, what is printed, plug-ins that hang or die, and an installed package."""

import json
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from qfl_sec import plugins
from qfl_sec.checking import InputError
from qfl_sec.cli import main
from qfl_sec.testing import process
from qfl_sec.testing.process import _build, _change, _load, verify

HERE = Path(__file__).parent
PLANTED = HERE / "planted_plugins"


def test_a_good_plugin_exits_with_0(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["verify-plugin", "none"]) == 0
    out, err = capfd.readouterr()
    assert out.startswith("defense none: passed")
    assert err == ""


def test_a_bad_plugin_exits_with_1_and_is_checked_at_the_parameters_given(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["verify-plugin", str(PLANTED / "never_off.py"), "--set", "strength=0.25", "--json"]) == 1
    answer = json.loads(capfd.readouterr().out)
    card = answer["scorecards"][0]
    assert answer["passed"] is False
    assert card["parameters"] == "NeverOff(strength=0.25)"
    assert [one["name"] for one in card["checks"] if one["status"] == "failed"] == ["switched_off"]


def test_a_plugin_that_raises_on_import_exits_with_2_and_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["verify-plugin", str(PLANTED / "raises_on_import.py")]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "fails on import in line 5 with RuntimeError: no Defense here. Mend the file." in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("target", "changes", "message"),
    [
        ("absent.py", {}, "Plug-in absent.py: not a Python file. Name an existing file that ends in .py."),
        (PLANTED / "taken_name.py", {}, "the defense name 'dp_sgd' is taken by qfl_sec.defenses.dp_sgd"),
        ("keep_largest", {}, "Unknown plug-in 'keep_largest'. "),
        ("dp_sdg", {}, "Unknown plug-in 'dp_sdg'. Did you mean 'dp_sgd'?"),
        ("dp_sgd", {"epsilon": -1}, "Expected epsilon=-1.0 > 0"),
        ("dp_sgd", {"epsilom": 1}, "--set epsilom: unknown. Expected one of: clip_norm, delta, epsilon"),
    ],
)
def test_the_users_mistakes_are_refused(
    target: object, changes: dict[str, float], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "_registry", plugins._Registry())
    with pytest.raises(InputError) as raised:
        found = _load(str(target))
        _build(found[0], changes, found)
    assert message in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_a_plugin_that_hangs_on_import_is_refused() -> None:
    with pytest.raises(InputError, match=r"hangs_on_import.py: It hangs.* on import: no answer within 1 s"):
        verify(str(PLANTED / "hangs_on_import.py"), time_limit=1)


def test_a_plugin_that_hangs_fails_the_check_it_was_in_and_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = uuid.uuid4().hex
    monkeypatch.setenv("QFL_SEC_TEST_MARK", mark)  # what the kit starts inherits it, copies of processes included
    (card,) = verify(str(PLANTED / "hangs.py"), time_limit=4)
    assert card.failures == ("determinism",)
    assert card.checks[0].measured == "no answer within 4 s"
    assert {one.reason for one in card.checks[1:]} == {"Not reached: see determinism."}
    deadline = time.monotonic() + 20  # the system buries what was killed in its own time
    while _marked(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _marked(mark) == []


def _marked(mark: str) -> list[str]:
    """Return the commands of processes with this mark in their environment; none where /proc is missing."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (path / "environ").read_bytes():
                found.append((path / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return [command for command in found if "resource_tracker" not in command]


def test_a_file_with_two_plugins_goes_on_after_one_has_died(tmp_path: Path) -> None:
    text = (PLANTED / "dies.py").read_text()
    second = text[text.index("@dataclass") :].replace("Dies", "Lives").replace('"dies"', '"lives"')
    both = tmp_path / "both.py"
    both.write_text(text + "\n\n" + second.replace("os._exit(7)", "return ()"))
    cards = verify(str(both))
    assert [(card.plugin, card.failures) for card in cards] == [("dies", ("shapes",)), ("lives", ())]
    assert "exit code 7" in {one.name: one for one in cards[0].checks}["shapes"].measured


def test_changes_are_toml_values_or_words() -> None:
    assert [_change(text) for text in ("a=4", "b = 0.5", "c=true", 'd="x"', "e=known")] == [
        ("a", 4),
        ("b", 0.5),
        ("c", True),
        ("d", "x"),
        ("e", "known"),
    ]
    with pytest.raises(InputError, match="Expected key=value"):
        _change("epsilon")


def test_a_time_limit_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="--time-limit 0: Expected more than 0"):
        verify("none", time_limit=0)
    assert process.TIME_LIMIT > 0


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the example package as a user would, without a network, into a folder of its own."""
    source, target = tmp_path_factory.mktemp("source") / "package", tmp_path_factory.mktemp("site")
    shutil.copytree(HERE / "plugin_package", source)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return target


@pytest.mark.parametrize("name", ["keep_largest", "gradient_alignment"])
def test_the_plugins_of_an_installed_package_pass(name: str, installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(installed)  # the process that checks is handed this path
    (card,) = verify(name)
    assert card.plugin == name
    assert card.passed, card.text()
    statuses = {one.name: one.status for one in card.checks}
    assert statuses["switched_off"] == ("passed" if name == "keep_largest" else "not applicable")
