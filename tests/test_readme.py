"""What the README shows runs."""

import re
from pathlib import Path

import pytest

from qfl_sec import plugins
from qfl_sec.cli import main
from qfl_sec.results import loads

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_python_blocks_run(block: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(README.parent)
    exec(compile(block, str(README), "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    for line in block.splitlines():
        shown = line.partition("      # ")[2]
        assert shown in printed, line


def test_the_readmes_defense_is_whole_and_short_and_is_audited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As a user would: saved to a file, named in an experiment, audited; the conformance kit is run on it elsewhere."""
    (block,) = [block for block in BLOCKS if "(Defense)" in block]
    assert block in (README.parent / "docs" / "your-defense.md").read_text()
    assert len(block.splitlines()) <= 30
    monkeypatch.setattr(plugins, "_registry", plugins._Registry())
    (tmp_path / "my_defense.py").write_text(block)
    (tmp_path / "my.toml").write_text(
        """
        model.name = "mlp_classifier"
        federation = {clients = 4, clients_per_round = 2, rounds = 2}
        defenses = [{name = "clipped_noise", noise = [0.05, 0.2]}]
        attacks = [{name = "update_membership"}]
        run.seeds = [0]
        """
    )
    out = tmp_path / "out"
    command = ["audit", tmp_path / "my.toml", "--plugin", tmp_path / "my_defense.py", "--out", out, "--workers", "1"]
    assert main([str(part) for part in command]) == 0, capfd.readouterr().err
    results = loads((out / "results.json").read_bytes())
    drawn = [one.strength for one in results.settings if one.strength is not None]
    assert [(one.name, one.value, one.neutral) for one in drawn] == [("noise", 0.05, 0.0), ("noise", 0.2, 0.0)]
    assert {one.measure for one in results.paired} == {"accuracy", "success"}
    assert (out / "report.pdf").is_file()


def test_every_file_that_the_readme_names_exists() -> None:
    named = re.findall(r"`((?:examples|docs|qfl_sec|attacks|defenses|protocols|reports)/[\w./-]*)`", README.read_text())
    named += re.findall(r"\]\(([\w./-]+)\)", README.read_text())
    missing = [name for name in named if not (README.parent / name).exists()]
    assert len(named) > 5
    assert not missing
