"""The store keeps every finished row through crashes, full disks and other people's files, or says what is wrong."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from qfl_sec.checking import InputError
from qfl_sec.store import SCHEMA_VERSION, CellRow, Store

ROW = CellRow(
    key="a" * 64,
    training="b" * 64,
    seed=3,
    variant="default",
    setting="none",
    adversary="server",
    attack="update_membership",
    status="done",
    scores=b"\x00raw scores\xff",
)
FAILED = replace(ROW, status="failed", reason="ValueError: no", scores=None)


def test_a_row_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with Store(path) as store:
        store.put(ROW)
        store.put(replace(FAILED, key="c" * 64))
        store.put(replace(FAILED, key="d" * 64, status="not_applicable"))
    with Store(path) as store:
        assert store.get(ROW.key) == ROW
        assert store.get("e" * 64) is None
        assert store.statuses() == {ROW.key: "done", "c" * 64: "failed", "d" * 64: "not_applicable"}


def test_the_latest_row_of_a_cell_counts_and_earlier_ones_stay(tmp_path: Path) -> None:
    with Store(tmp_path / "results.sqlite") as store:
        store.put(FAILED)
        store.put(ROW)
        assert (store.get(ROW.key), store.statuses()[ROW.key], len(store)) == (ROW, "done", 2)


@pytest.mark.parametrize(
    ("change", "what"),
    [({"scores": None}, "status='done'"), ({"reason": "why"}, "reason='why'"), ({"status": "failed"}, "'failed'")],
)
def test_a_row_that_contradicts_itself_is_refused(change: dict[str, object], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        replace(ROW, **change)  # type: ignore[arg-type]


def test_changed_scores_are_noticed_when_read(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with Store(path) as store:
        store.put(ROW)
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE cells SET scores = x'00'")
    raw.close()
    with Store(path) as store, pytest.raises(InputError, match="do not match their hash"):
        store.get(ROW.key)


def test_a_foreign_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "text.sqlite"
    text.write_bytes(b"This is no database. " * 100)
    with pytest.raises(InputError, match=r"text\.sqlite: not a readable store .*delete it"):
        Store(text)
    assert text.read_bytes() == b"This is no database. " * 100

    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as raw:
        raw.execute("CREATE TABLE recipes (name TEXT)")
    raw.close()
    with pytest.raises(InputError, match=r"not a store of qfl-sec\. Choose another"):
        Store(other)


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    Store(path).close()
    with sqlite3.connect(path) as raw:
        raw.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    raw.close()
    with pytest.raises(InputError, match=f"schema version {SCHEMA_VERSION + 1}. Expected {SCHEMA_VERSION}"):
        Store(path)


@pytest.mark.parametrize("cut", ["header", "middle", "end"])
def test_a_damaged_file_is_refused(tmp_path: Path, cut: str) -> None:
    path = tmp_path / "results.sqlite"
    with Store(path) as store:
        for number in range(50):
            store.put(replace(ROW, key=f"{number:064}", scores=bytes(3000)))
    content = bytearray(path.read_bytes())
    if cut == "header":
        content[:100] = bytes(100)
    elif cut == "middle":
        content[4096 : len(content) // 2] = b"\xa5" * (len(content) // 2 - 4096)
    else:
        del content[len(content) // 2 :]
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"results\.sqlite: not a readable store"):
        Store(path)


def test_an_empty_file_and_a_missing_folder(tmp_path: Path) -> None:
    (tmp_path / "results.sqlite").touch()
    with Store(tmp_path / "results.sqlite") as store:
        store.put(ROW)
        assert store.get(ROW.key) == ROW
    with pytest.raises(InputError, match="cannot be opened"):
        Store(tmp_path / "missing" / "results.sqlite")


def test_a_full_disk_is_the_user_s_message_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with Store(path) as store:
        store.put(ROW)
        # SQLite gives the error of a full disk when a file may not grow further.
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(InputError, match=r"results\.sqlite: no space left.*what is finished is kept"):
            store.put(replace(ROW, key="f" * 64, scores=bytes(100_000)))
        assert store.get(ROW.key) == ROW
    with Store(path) as store:
        assert store.statuses() == {ROW.key: "done"}


def test_a_file_in_use_is_the_user_s_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.sqlite"
    Store(path).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda place, **options: connect(place, timeout=0.05, **options))
    with pytest.raises(InputError, match="in use by another program"):
        Store(path)
    other.close()


def test_rows_survive_a_kill_at_any_moment(tmp_path: Path) -> None:
    script = f"""
import itertools, pathlib
from contextlib import closing
from dataclasses import replace
from qfl_sec.store import CellRow, Store
row = CellRow(**{vars(ROW)!r})
store = Store(pathlib.Path({str(tmp_path / "results.sqlite")!r}))
for number in itertools.count():
    store.put(replace(row, key=f"{{number:064}}", scores=bytes(5000)))
    print(number, flush=True)
"""
    writer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    told = [writer.stdout.readline() for _ in range(40)]
    os.kill(writer.pid, signal.SIGKILL)
    told += writer.stdout.readlines()
    writer.wait()
    writer.stdout.close()
    with Store(tmp_path / "results.sqlite") as store:
        written = store.statuses()
        assert all(store.get(key) is not None for key in written)
    assert len(told) <= len(written) <= len(told) + 1


def test_a_store_without_its_table_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    Store(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE cells")
    with Store(path) as store, pytest.raises(InputError, match=r"not a readable store.*no such table"):
        store.statuses()
