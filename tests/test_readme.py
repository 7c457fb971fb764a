"""What the README shows runs."""

import re
from pathlib import Path

import pytest

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


def test_every_file_that_the_readme_names_exists() -> None:
    named = re.findall(r"`((?:examples|docs|qfl_sec|attacks|defenses|protocols|reports)/[\w./-]*)`", README.read_text())
    named += re.findall(r"\]\(([\w./-]+)\)", README.read_text())
    missing = [name for name in named if not (README.parent / name).exists()]
    assert len(named) > 5
    assert not missing
