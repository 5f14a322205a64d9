"""One SQLite file, opened for this process alone: pragmas, schema, transactions, and nothing about meaning.

Calls block the event loop on purpose. A commit costs 23 microseconds where the disk caches and one fsync
(milliseconds) where it does not, the coordinator makes a few of them a second, and it is never in the path
of a write. What is gained: between the check of a lease and the commit that depends on it nothing else
can run, without a lock.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from drsync.model.errors import PermanentError, RefusedError, TransientError

APPLICATION_ID = 0x64725379  # "drSy", so that another program's file is recognised
SCHEMA_VERSION = 1

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE charters (
  group_id TEXT PRIMARY KEY, version INTEGER NOT NULL, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE charter_history (
  group_id TEXT NOT NULL, version INTEGER NOT NULL, at_us INTEGER NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (group_id, version)) STRICT, WITHOUT ROWID;
CREATE TABLE centers (
  center TEXT PRIMARY KEY, token INTEGER NOT NULL, at_us INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE members (
  group_id TEXT NOT NULL, center TEXT NOT NULL, promised TEXT NOT NULL, follow TEXT NOT NULL,
  durable INTEGER NOT NULL, session TEXT NOT NULL, appended INTEGER NOT NULL, incarnation TEXT NOT NULL,
  PRIMARY KEY (group_id, center)) STRICT, WITHOUT ROWID;
CREATE TABLE events (
  n INTEGER PRIMARY KEY AUTOINCREMENT, at_us INTEGER NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL,
  grp TEXT NOT NULL, center TEXT NOT NULL, epoch TEXT NOT NULL) STRICT;
CREATE INDEX events_of_group ON events (grp, n);
CREATE TABLE operations (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, grp TEXT NOT NULL, target TEXT NOT NULL, actor TEXT NOT NULL,
  reason TEXT NOT NULL, started_us INTEGER NOT NULL, ended_us INTEGER NOT NULL, state TEXT NOT NULL,
  loss TEXT, result TEXT NOT NULL, error TEXT) STRICT, WITHOUT ROWID;
CREATE INDEX operations_in_order ON operations (started_us);
CREATE TABLE steps (
  operation TEXT NOT NULL REFERENCES operations (id), n INTEGER NOT NULL, name TEXT NOT NULL,
  center TEXT NOT NULL, started_us INTEGER NOT NULL, seconds REAL NOT NULL, outcome TEXT NOT NULL,
  detail TEXT NOT NULL, PRIMARY KEY (operation, n)) STRICT, WITHOUT ROWID;
CREATE TABLE drills (
  id TEXT PRIMARY KEY, grp TEXT NOT NULL, started_us INTEGER NOT NULL, verdict TEXT NOT NULL,
  body TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE drill_views (
  drill TEXT NOT NULL, group_id TEXT NOT NULL, center TEXT NOT NULL, view TEXT NOT NULL,
  is_open INTEGER NOT NULL,
  PRIMARY KEY (center, view)) STRICT, WITHOUT ROWID;
"""
"""Epochs are unsigned 64-bit and SQLite's integers signed, so they are kept as decimal text."""


class Database:
    """The open file. Exclusive: a second process is refused, so that there is one writer by construction."""

    def __init__(self, path: Path) -> None:
        """Open or create.

        Raises:
            RefusedError: another process uses it.
            PermanentError: it is not ours, of a newer drsync, or damaged.
        """
        self.path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=0, cached_statements=256)
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            self._connection.close()
            if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                raise RefusedError(
                    f"{path} is used by another process", code="in_use", remedy="Stop the other coordinator."
                ) from error
            raise PermanentError(
                f"{path} cannot be used as a charter store: {error}",
                code="store_damaged",
                remedy="Put back the newest copy of the file, or start a new store generation.",
            ) from error
        except PermanentError:
            self._connection.close()
            raise
        path.chmod(0o600)

    def _prepare(self) -> None:
        run = self._connection.execute
        run("PRAGMA locking_mode = EXCLUSIVE")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        run("PRAGMA foreign_keys = ON")
        run("BEGIN IMMEDIATE")  # takes the lock now rather than at the first change
        application, version = self._pragma("application_id"), self._pragma("user_version")
        run("COMMIT")
        if (application, version) == (0, 0) and not self.rows("SELECT name FROM sqlite_master"):
            self._create()
        elif application != APPLICATION_ID:
            raise PermanentError(f"{self.path} is a database of another program", code="store_foreign")
        elif version != SCHEMA_VERSION:
            raise PermanentError(
                f"{self.path} has schema {version}, this drsync knows {SCHEMA_VERSION}",
                code="version",
                remedy="Use the drsync that wrote it, or a newer one.",
            )
        [(verdict,)] = self._connection.execute("PRAGMA quick_check(1)").fetchall()
        if verdict != "ok":
            raise sqlite3.DatabaseError(str(verdict))

    def _pragma(self, name: str) -> int:
        [(value,)] = self._connection.execute(f"PRAGMA {name}").fetchall()
        return int(value)

    def _create(self) -> None:
        with self.transaction():
            for statement in SCHEMA.split(";\n"):
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it durable when the block ends, or none of it.

        Raises:
            TransientError: the commit itself failed (full disk, I/O error). Whether it is in force is
                unknown until read back.
        """
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise TransientError(f"{self.path}: commit failed: {error}", code="store_failed") from error

    def execute(self, statement: str, *values: str | float | None) -> int:
        """Run one statement, in the present transaction or one of its own; returns the rows touched."""
        return self._connection.execute(statement, values).rowcount

    def insert(self, statement: str, *values: str | float | None) -> int:
        """Like `execute`; returns the number of the new row."""
        return self._connection.execute(statement, values).lastrowid or 0

    def rows(self, statement: str, *values: str | float | None) -> list[tuple[object, ...]]:
        """All rows of a query."""
        return self._connection.execute(statement, values).fetchall()

    def get_meta(self, key: str) -> str | None:
        """A value of the small key table."""
        found = self.rows("SELECT value FROM meta WHERE key = ?", key)
        return str(found[0][0]) if found else None

    def set_meta(self, key: str, value: str) -> None:
        """Set a value of the small key table."""
        self.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", key, value
        )

    def close(self) -> None:
        """Release the file."""
        self._connection.close()
