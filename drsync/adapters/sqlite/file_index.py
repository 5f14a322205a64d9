"""The index of one tree in one SQLite file. Implements `ports.file_index.FileIndex`.

Entries are kept as `drsync.delta.entries` packs them, beside what queries need. What a power loss must not
undo is synced before the call returns (`cut`, `begin_applying`, `end_applying`, the root, a person's word);
everything else may be lost with the power, and is then found again by comparing.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from struct import Struct

from pydantic import TypeAdapter, ValidationError

from drsync.adapters.sqlite.opening import Format, open_database, trouble
from drsync.adapters.sqlite.place import FilePlace
from drsync.core.file_lineage import STARTS_MAX
from drsync.delta.entries import HASHED_FROM, KIND_AT, Digest, decode, encode, hash_packed
from drsync.model.errors import TransientError
from drsync.model.fileset import Entry, FileKind, Generation, GenerationStart, Signature
from drsync.model.scan import RootIdentity
from drsync.ports.file_index import IndexState, Known

APPLICATION_ID = 0x64725374  # "drSt", so that another program's file is recognised
SCHEMA_VERSION = 1
CACHE_KIB = 32 * 1024  # because the index of 100 000 names fits, and a host may have several
WAL_BYTES_KEPT = 64 << 20  # because a first cut of a million names needs much more, once
PAGE = 1000  # because so many packed entries take some hundred KiB, and a query costs nothing beside them
PLACES_MAX = 4  # because a second place is of use only if the first has just changed
CANDIDATES_MAX = 16  # because two hashes with equal first 8 bytes are a curiosity

SIGNATURE = Struct("<BQqIqIQQ")
_SECOND = 1_000_000_000

SCHEMA = """
CREATE TABLE state (only INTEGER PRIMARY KEY CHECK (only = 1), body TEXT NOT NULL) STRICT;
CREATE TABLE entries (
  id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE, number INTEGER NOT NULL, deleted INTEGER NOT NULL,
  size INTEGER NOT NULL, signature BLOB, body BLOB NOT NULL) STRICT;
CREATE INDEX entries_by_number ON entries (number);
CREATE INDEX hard_links ON entries (path) WHERE substr(body, 14, 1) = x'04' AND NOT deleted;
CREATE TABLE blocks (
  key INTEGER NOT NULL, entry INTEGER NOT NULL, n INTEGER NOT NULL,
  PRIMARY KEY (key, entry)) STRICT, WITHOUT ROWID;
CREATE TABLE incoming (
  path BLOB PRIMARY KEY, number INTEGER NOT NULL, deleted INTEGER NOT NULL, body BLOB NOT NULL
  ) STRICT, WITHOUT ROWID;
"""
"""`blocks.key`: the first 8 bytes of a block's hash. The whole one is in the entry, and is compared there."""

UPSERT = """
INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET
  number = excluded.number, deleted = excluded.deleted, size = excluded.size,
  signature = excluded.signature, body = excluded.body
"""
RENUMBER = """
UPDATE entries SET number = i.number, body = i.body FROM incoming AS i
WHERE i.path = entries.path AND entries.number <> i.number AND entries.deleted = i.deleted
  AND substr(entries.body, 13) = substr(i.body, 13)
"""
assert HASHED_FROM == 13 - 1  # because SQL counts from one
NEW_TOMBSTONES = """
INSERT INTO entries (path, number, deleted, size, body)
SELECT path, number, 1, 0, body FROM incoming WHERE deleted AND path NOT IN (SELECT path FROM entries)
"""
HARD_LINKS = """
SELECT body, signature FROM entries INDEXED BY hard_links
WHERE substr(body, 14, 1) = x'04' AND NOT deleted ORDER BY path
"""
assert (KIND_AT, FileKind.HARDLINK) == (14 - 1, 4)
UNNAMED = "SELECT path FROM entries WHERE path NOT IN (SELECT path FROM incoming WHERE NOT deleted)"

Row = tuple[int, bytes, int, int, int, bytes | None, bytes]

FORMAT = Format(
    application=APPLICATION_ID,
    version=SCHEMA_VERSION,
    schema=SCHEMA,
    what="an index",
    code="index",
    user="agent",
    remedy="Move it away: the tree is compared with the owner's again.",
    is_checked=False,  # because it may be gigabytes, and what it says wrongly is found by comparing
)


@dataclass(frozen=True, slots=True)
class _Incoming:
    target: Generation
    lineage: tuple[GenerationStart, ...]
    is_full: bool
    digest: str = ""


@dataclass(frozen=True, slots=True)
class _Stored:
    state: IndexState
    incoming: _Incoming | None


STORED = TypeAdapter(_Stored)


class SqliteFileIndex:
    """Exclusive: a second process is refused. For threads, one at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create.

        Raises:
            RefusedError: another process uses it.
            PermanentError: it is not ours, of a newer drsync, or damaged.
        """
        self.path = path
        self._place = FilePlace(
            path,
            is_for_threads=True,
            statements=64,
            cache_kib=CACHE_KIB,
            log_bytes_kept=WAL_BYTES_KEPT,
        )
        self._db = open_database(self._place, FORMAT, _first_state)
        try:
            self._state, self._incoming = self._load()
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise trouble(self._place, FORMAT, error) from error

    # --- reading

    def state(self) -> IndexState:
        """See FileIndex."""
        return self._state

    def entries(self) -> Iterator[Known]:
        """See FileIndex."""
        for _, body, signature in self._pages("path, body, signature FROM entries WHERE NOT deleted AND"):
            yield decode(body)[0], _signature(signature)

    def signatures(self) -> dict[bytes, Signature | None]:
        """See FileIndex."""
        with self._reading():
            rows = self._db.execute("SELECT path, signature FROM entries WHERE NOT deleted")
            return {path: _signature(raw) for path, raw in rows}

    def find(self, path: bytes) -> Known | None:
        """See FileIndex."""
        rows = self._rows("SELECT body, signature FROM entries WHERE path = ? AND NOT deleted", path)
        return next(((decode(body)[0], _signature(signature)) for body, signature in rows), None)

    def hard_links(self) -> list[Known]:
        """See FileIndex."""
        return [(decode(body)[0], _signature(signature)) for body, signature in self._rows(HARD_LINKS)]

    def changed_since(self, number: int) -> Iterator[Entry]:
        """See FileIndex."""
        for row in self._ids("SELECT id FROM entries WHERE number > ? ORDER BY path", number):
            for (body,) in self._rows("SELECT body FROM entries WHERE id = ?", row):
                yield decode(body)[0]

    def where(self, block: bytes) -> list[tuple[bytes, int]]:
        """See FileIndex."""
        with self._reading():
            rows = self._db.execute(
                "SELECT entries.body, n FROM blocks JOIN entries ON entries.id = entry WHERE key = ? LIMIT ?",
                (_key(block), CANDIDATES_MAX),
            ).fetchall()
        found = ((decode(body)[0], n) for body, n in rows)
        return [(entry.path, n) for entry, n in found if entry.blocks[n] == block][:PLACES_MAX]

    # --- the owner's changes

    def cut(self, generation: Generation, changes: Sequence[Known]) -> IndexState:
        """See FileIndex."""
        assert all(entry.generation == generation.number for entry, _ in changes)
        with self._transaction():
            self._write(changes)
            lineage = self._state.lineage
            if not lineage or lineage[-1].epoch != generation.epoch:
                lineage = (*lineage, GenerationStart(generation.epoch, self._state.held.number))
            self._db.execute("DELETE FROM incoming")
            self._incoming = None
            self._change(
                replace(
                    self._state,
                    held=generation,
                    lineage=lineage[-STARTS_MAX:],
                    applying=None,
                    doubted=False,
                    lost=0,
                    followed=False,
                )
            )
        return self._state

    def refresh(self, known: Iterable[tuple[bytes, Signature]]) -> None:
        """See FileIndex."""
        with self._transaction(is_durable=False):
            self._db.executemany(
                "UPDATE entries SET signature = ? WHERE path = ? AND NOT deleted",
                ((_packed(signature), path) for path, signature in known),
            )

    def set_root(self, root: RootIdentity) -> None:
        """See FileIndex."""
        with self._transaction():
            self._change(replace(self._state, root=root))

    def approve(self, *, approved: bool) -> None:
        """See FileIndex."""
        with self._transaction():
            self._change(replace(self._state, approved=approved))

    def forget(self, number: int) -> None:
        """See FileIndex."""
        with self._transaction():
            self._db.execute("DELETE FROM entries WHERE deleted AND number <= ?", (number,))
            self._change(replace(self._state, horizon=max(self._state.horizon, number)))

    # --- the incoming generation

    def doubt(self, paths: Iterable[bytes], *, lost: int = 0) -> None:
        """See FileIndex."""
        with self._transaction():
            self._write([(Entry(path, FileKind.FILE, deleted=True), None) for path in paths])
            self._change(replace(self._state, doubted=True, lost=self._state.lost + lost))

    def begin_incoming(
        self, target: Generation, lineage: Sequence[GenerationStart], *, is_full: bool, digest: str = ""
    ) -> None:
        """See FileIndex."""
        with self._transaction(is_durable=False):
            self._db.execute("DELETE FROM incoming")
            self._incoming = _Incoming(target, tuple(lineage), is_full, digest)
            self._change(replace(self._state, applying=None))

    def incoming(self) -> tuple[Generation, tuple[GenerationStart, ...], bool] | None:
        """See FileIndex."""
        coming = self._incoming
        return None if coming is None else (coming.target, coming.lineage, coming.is_full)

    def add_incoming(self, entries: Sequence[Entry]) -> None:
        """See FileIndex."""
        assert self._incoming is not None
        assert self._state.applying is None
        with self._transaction(is_durable=False):
            self._db.executemany(
                "INSERT OR REPLACE INTO incoming VALUES (?, ?, ?, ?)",
                ((entry.path, entry.generation, entry.deleted, encode(entry)) for entry in entries),
            )

    def incoming_entries(self) -> Iterator[Entry]:
        """See FileIndex."""
        for _, body in self._pages("path, body FROM incoming WHERE"):
            yield decode(body)[0]

    def begin_applying(self, target: Generation) -> None:
        """See FileIndex."""
        assert self._incoming is not None
        assert self._incoming.target == target
        with self._transaction():
            self._change(replace(self._state, applying=target))

    def applied(self, changes: Sequence[Known]) -> None:
        """See FileIndex."""
        with self._transaction(is_durable=False):
            self._write(changes)
            self._change(self._state)

    def end_applying(self) -> IndexState:
        """See FileIndex."""
        coming = self._incoming
        assert coming is not None
        assert self._state.applying == coming.target
        with self._transaction():
            horizon = self._state.horizon
            if coming.is_full:
                unnamed = [path for (path,) in self._db.execute(UNNAMED)]
                self._write([(Entry(path, FileKind.FILE, deleted=True), None) for path in unnamed])
                horizon = coming.target.number
            self._db.execute(RENUMBER)
            self._db.execute(NEW_TOMBSTONES)
            self._db.execute("DELETE FROM incoming")
            self._incoming = None
            is_wrong = bool(coming.digest) and self._state.digest != coming.digest
            self._change(
                replace(
                    self._state,
                    held=coming.target,
                    lineage=coming.lineage,
                    applying=None,
                    horizon=horizon,
                    followed=True,
                    lost=0 if coming.is_full and not is_wrong else self._state.lost,
                    doubted=is_wrong or (self._state.doubted and not coming.is_full),
                )
            )
        return self._state

    def close(self) -> None:
        """See FileIndex."""
        self._db.close()

    # --- inside

    def _write(self, changes: Iterable[Known]) -> None:
        """Put entries and tombstones; a tombstone of generation 0 leaves no trace."""
        state = self._state
        digest, count, size = Digest(state.digest), state.entries, state.bytes
        ((highest,),) = self._db.execute("SELECT coalesce(max(id), 0) FROM entries").fetchall()
        rows: list[Row] = []
        no_blocks: list[tuple[int, int]] = []
        blocks: list[tuple[int, int, int]] = []
        for entry, signature in {entry.path: (entry, signature) for entry, signature in changes}.values():
            old = self._db.execute(
                "SELECT id, deleted, size, body FROM entries WHERE path = ?", (entry.path,)
            ).fetchone()
            if old is None:
                highest += 1
            number = highest if old is None else old[0]
            if old is not None and not old[1]:
                digest.subtract(hash_packed(old[3]))
                count, size = count - 1, size - old[2]
                if old[2]:
                    no_blocks += ((_key(block), number) for block in decode(old[3])[0].blocks)
            body = encode(entry)
            if not entry.deleted:
                digest.add(hash_packed(body))
                count, size = count + 1, size + entry.size
                firsts = {_key(block): n for n, block in reversed(list(enumerate(entry.blocks)))}
                blocks += ((key, number, n) for key, n in firsts.items())
            raw = None if signature is None or entry.deleted else _packed(signature)
            rows.append((number, entry.path, entry.generation, entry.deleted, entry.size, raw, body))
        self._db.executemany("DELETE FROM blocks WHERE key = ? AND entry = ?", sorted(no_blocks))
        self._db.executemany(UPSERT, rows)
        self._db.executemany("INSERT INTO blocks VALUES (?, ?, ?)", sorted(blocks))
        self._db.execute("DELETE FROM entries WHERE number = 0 AND deleted")
        self._state = replace(state, digest=digest.hex(), entries=count, bytes=size)

    def _pages(self, what: str) -> Iterator[tuple[bytes, ...]]:
        """Rows by path, the first column; a page at a time, so that the index may change in between."""
        rows = self._rows(f"SELECT {what} path >= ? ORDER BY path LIMIT {PAGE}", b"")
        while rows:
            yield from rows
            rows = self._rows(f"SELECT {what} path > ? ORDER BY path LIMIT {PAGE}", rows[-1][0])

    def _ids(self, query: str, *values: int) -> list[int]:
        with self._reading():
            return [number for (number,) in self._db.execute(query, values)]

    def _rows(self, query: str, *values: int | bytes) -> list[tuple[bytes, ...]]:
        with self._reading():
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Raises PermanentError: the file is damaged."""
        try:
            yield
        except sqlite3.Error as error:
            raise trouble(self._place, FORMAT, error) from error

    def _change(self, state: IndexState) -> None:
        self._state = state
        self._db.execute("INSERT OR REPLACE INTO state VALUES (1, ?)", (_form(state, self._incoming),))

    @contextmanager
    def _transaction(self, *, is_durable: bool = True) -> Iterator[None]:
        """All of it or nothing; `is_durable`: on disk when the block ends.

        Raises:
            TransientError: the disk is full or says no; nothing was changed.
        """
        before = self._state, self._incoming
        try:
            self._db.execute(f"PRAGMA synchronous = {'FULL' if is_durable else 'NORMAL'}")
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._state, self._incoming = before
            if isinstance(error, sqlite3.Error):
                raise TransientError(f"{self.path}: {error}", code="index_failed") from error
            raise

    def _load(self) -> tuple[IndexState, _Incoming | None]:
        [(body,)] = self._db.execute("SELECT body FROM state").fetchall()
        try:
            stored = STORED.validate_json(body)
        except ValidationError as error:
            raise sqlite3.DatabaseError(f"its state cannot be read: {error}") from error
        return stored.state, stored.incoming


# --- forms


def _first_state(connection: sqlite3.Connection) -> None:
    first = IndexState(digest=Digest().hex())
    connection.execute("INSERT INTO state VALUES (1, ?)", (_form(first, None),))


def _key(block: bytes) -> int:
    return int.from_bytes(block[:8], "little", signed=True)


def _packed(signature: Signature) -> bytes:
    """Seconds and nanoseconds apart, because file systems go beyond the year 2262."""
    kind, size, mtime_ns, ctime_ns, ino, dev = signature
    return SIGNATURE.pack(kind, size, *divmod(mtime_ns, _SECOND), *divmod(ctime_ns, _SECOND), ino, dev)


def _signature(raw: bytes | None) -> Signature | None:
    if raw is None:
        return None
    kind, size, mtime_s, mtime_ns, ctime_s, ctime_ns, ino, dev = SIGNATURE.unpack(raw)
    return Signature(kind, size, mtime_s * _SECOND + mtime_ns, ctime_s * _SECOND + ctime_ns, ino, dev)


def _form(state: IndexState, incoming: _Incoming | None) -> str:
    return STORED.dump_json(_Stored(state, incoming)).decode()
