"""The results of a run: one SQLite file, one row a finished cell.

Only the parent process writes, one transaction a row, with the rollback journal and full synchronisation of SQLite: a
process that is killed at any moment, or a disk that fills up, loses at most the row that was being written. Rows are
only ever added. A failed cell that is tried again gets a second row; of the rows of one key the latest counts.
"""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from qfl_sec.checking import InputError
from qfl_sec.tasks import Status

SCHEMA_VERSION = 1

_APPLICATION_ID = 0x51464C31  # "QFL1": tells our files from any other SQLite file
_FIELDS = "key, training, seed, variant, setting, adversary, attack, status, reason, scores"
_SCHEMA = f"""
BEGIN;
CREATE TABLE cells (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL,
    training TEXT NOT NULL,
    seed INTEGER NOT NULL,
    variant TEXT NOT NULL,
    setting TEXT NOT NULL,
    adversary TEXT NOT NULL,
    attack TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('done', 'failed', 'not_applicable')),
    reason TEXT,
    scores BLOB,
    sha256 TEXT,
    CHECK ((status = 'done') = (scores IS NOT NULL) AND (status = 'done') = (reason IS NULL))
) STRICT;
CREATE INDEX cells_by_key ON cells (key, id);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""


@dataclass(frozen=True, kw_only=True)
class CellRow:
    """One finished cell.

    Attributes:
        key: Of the cell.
        training: Key of its training.
        seed: Of its training.
        variant: Id of the variant it was computed for.
        setting: Id of the setting.
        adversary: Who looks.
        attack: Registered name.
        status: How it ended.
        reason: One line; None exactly when done.
        scores: Raw scores, safetensors bytes; None unless done.
    """

    key: str
    training: str
    seed: int
    variant: str
    setting: str
    adversary: str
    attack: str
    status: Status
    reason: str | None = None
    scores: bytes | None = None

    def __post_init__(self) -> None:
        if (self.status == "done") != (self.scores is not None) or (self.status == "done") != (self.reason is None):
            raise ValueError(
                f"Expected scores exactly for a done cell and a reason for any other, not status={self.status!r} "
                f"with reason={self.reason!r}."
            )

    @property
    def scores_sha256(self) -> str | None:
        """Hash of the raw scores; None unless done."""
        return None if self.scores is None else hashlib.sha256(self.scores).hexdigest()


class Store:
    """The open store of a run; a context manager.

    Args:
        path: The file; created, with its schema, if absent or empty.
        inspect: Open it only to look at: it must be there and is not written, and scores that were changed are listed
            by `changed` instead of refused.

    Raises:
        InputError: If the file is not a store, is damaged, comes from another version, or cannot be written.
    """

    def __init__(self, path: Path, *, inspect: bool = False) -> None:
        self.path = path
        self._inspect = inspect
        if inspect and not (path.is_file() and path.stat().st_size):
            raise InputError(f"{path}: missing or empty. Restore it from a copy, or run the audit again.")
        place = f"{path.absolute().as_uri()}?mode=ro" if inspect else path
        with self._explained():
            self._connection = sqlite3.connect(place, isolation_level=None, uri=inspect)
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Closing twice does no harm."""
        self._connection.close()

    def put(self, row: CellRow) -> None:
        """Add a row, in one transaction.

        Raises:
            InputError: If the disk is full or the file cannot be written; earlier rows are untouched.
        """
        values = [getattr(row, name) for name in _FIELDS.split(", ")]
        with self._explained():
            self._connection.execute(
                f"INSERT INTO cells ({_FIELDS}, sha256) VALUES ({', '.join('?' * (len(values) + 1))})",
                (*values, row.scores_sha256),
            )

    def get(self, key: str) -> CellRow | None:
        """Return the latest row of a cell, its scores checked against their hash; None if there is none.

        Raises:
            InputError: If the scores are not those that were written.
        """
        query = f"SELECT {_FIELDS}, sha256 FROM cells WHERE key = ? ORDER BY id DESC LIMIT 1"
        with self._explained():
            found = self._connection.execute(query, (key,)).fetchone()
        if found is None:
            return None
        row = CellRow(**dict(zip(_FIELDS.split(", "), found[:-1], strict=True)))
        if row.scores_sha256 != found[-1] and not self._inspect:
            raise InputError(
                f"{self.path}: the scores of cell {key[:16]} do not match their hash {str(found[-1])[:16]}. "
                "The file was changed or damaged: restore it, or delete it and run again."
            )
        return row

    def changed(self) -> tuple[int, list[tuple[str, str, str]]]:
        """Return how many scores there are, and key, stored and true hash of those that are not what was written."""
        count, found = 0, []
        with self._explained():
            rows = self._connection.execute(
                "SELECT key, sha256, scores FROM cells WHERE scores IS NOT NULL ORDER BY id"
            )
            for key, stored, scores in rows:
                count += 1
                true = hashlib.sha256(scores).hexdigest()
                if true != stored:
                    found.append((key, str(stored), true))
        return count, found

    def keys(self) -> dict[tuple[str, str, str], str]:
        """Return the latest key of each training, adversary and attack."""
        with self._explained():
            rows = self._connection.execute("SELECT training, adversary, attack, key FROM cells ORDER BY id").fetchall()
        return {(training, adversary, attack): key for training, adversary, attack, key in rows}

    def statuses(self) -> dict[str, Status]:
        """Return each cell's latest status, by key."""
        with self._explained():
            return dict(self._connection.execute("SELECT key, status FROM cells ORDER BY id"))

    def __len__(self) -> int:
        """Return the number of rows, superseded ones included."""
        with self._explained():
            return int(self._connection.execute("SELECT count(*) FROM cells").fetchone()[0])

    def _prepare(self) -> None:
        """Check whose file it is, and create the schema in a new one."""
        with self._explained():
            application = self._pragma("application_id")
            version = self._pragma("user_version")
            tables = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if not application and not tables and not self._inspect:
                # A new file's journal mode is the default one; the schema is one transaction, so that a kill here
                # leaves an empty file, which the next start takes for a new one.
                self._connection.executescript(_SCHEMA)
                application, version = _APPLICATION_ID, SCHEMA_VERSION
            self._connection.execute("PRAGMA synchronous = FULL")
        if application != _APPLICATION_ID:
            raise InputError(f"{self.path}: an SQLite file, but not a store of qfl-sec. Choose another output folder.")
        if version != SCHEMA_VERSION:
            raise InputError(
                f"{self.path}: written with schema version {version}. Expected {SCHEMA_VERSION}. "
                "Use the version of qfl-sec that wrote it, or choose another output folder."
            )
        with self._explained():
            health = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if health != "ok":
            raise InputError(self._damaged(health))

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    def _damaged(self, finding: object) -> str:
        return (
            f"{self.path}: not a readable store ({finding}). "
            "Restore it from a copy, or delete it and run again; transcripts are kept and reused."
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the errors of SQLite into one message with the place and the remedy."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary code
            remedies = {
                sqlite3.SQLITE_FULL: "no space left for the results. Free some space and run again: "
                "what is finished is kept",
                sqlite3.SQLITE_READONLY: "cannot be written. Make the file and its folder writable, "
                "or choose another output folder",
                sqlite3.SQLITE_CANTOPEN: "cannot be opened. Make its folder writable, or choose another output folder",
                sqlite3.SQLITE_BUSY: "in use by another program. Wait until that one ends, or choose another folder",
                sqlite3.SQLITE_IOERR: "cannot be read or written. Check the disk and its free space, and run again: "
                "what is finished is kept",
            }
            if code in remedies:
                raise InputError(f"{self.path}: {remedies[code]} ({error}).") from None
            # SQLITE_ERROR: our statements are right, so a table or column is gone.
            damaged = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR)
            if isinstance(error, sqlite3.DatabaseError) and code in damaged:
                raise InputError(self._damaged(error)) from None
            raise
