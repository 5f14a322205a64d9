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

from drsync.adapters.sqlite.opening import Format, open_database
from drsync.adapters.sqlite.place import FilePlace, Place
from drsync.model.errors import TransientError

APPLICATION_ID = 0x64725379  # "drSy", so that another program's file is recognised
SCHEMA_VERSION = 1

NO_LOG = b"\x01\x01"
"""Bytes 18 and 19 of a file whose changes are not in a write-ahead log beside it (sqlite.org/fileformat2)."""

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


FORMAT = Format(
    application=APPLICATION_ID,
    version=SCHEMA_VERSION,
    schema=SCHEMA,
    what="a charter store",
    code="store",
    user="coordinator",
    remedy="Put back the newest copy of the file, or start a new store generation.",
)


class Database:
    """The open file. Exclusive: a second process is refused, so that there is one writer by construction."""

    def __init__(self, where: Path | Place) -> None:
        """Open or create.

        Raises:
            RefusedError: another process uses it.
            PermanentError: it is not ours, of a newer drsync, or damaged.
        """
        place = FilePlace(where) if isinstance(where, Path) else where
        self._name = place.name
        self._connection = open_database(place, FORMAT)
        self._connection.execute("PRAGMA foreign_keys = ON")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it durable when the block ends, or none of it.

        Raises:
            TransientError: the disk is full or says no. If that was at the commit, whether it is in force is
                unknown until read back.
        """
        self._run("BEGIN IMMEDIATE", ())
        try:
            yield
            self._run("COMMIT", ())
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def execute(self, statement: str, *values: str | float | None) -> int:
        """Run one statement, in the present transaction or one of its own; returns the rows touched."""
        return self._run(statement, values).rowcount

    def insert(self, statement: str, *values: str | float | None) -> int:
        """Like `execute`; returns the number of the new row."""
        return self._run(statement, values).lastrowid or 0

    def rows(self, statement: str, *values: str | float | None) -> list[tuple[object, ...]]:
        """All rows of a query."""
        return self._run(statement, values).fetchall()

    def _run(self, statement: str, values: tuple[str | float | None, ...]) -> sqlite3.Cursor:
        """Raises TransientError: the disk is full or says no; what it said may be in force nevertheless."""
        try:
            return self._connection.execute(statement, values)
        except sqlite3.OperationalError as error:
            raise TransientError(f"{self._name}: {error}", code="store_failed") from error

    def snapshot(self) -> bytes:
        """All that is committed, as the bytes of a database file: a backup."""
        assert not self._connection.in_transaction
        whole = self._connection.serialize()
        return whole[:18] + NO_LOG + whole[20:]

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
