"""Where a simulated coordinator keeps what it knows: SQLite in memory that behaves as a file on a disk.

What is committed survives the process; what is not, does not. A dead process's connection is dead.
"""

import random
import sqlite3
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import override

from drsync.adapters.sqlite.charters import SqliteCharterStore
from drsync.adapters.sqlite.database import Database
from drsync.adapters.sqlite.evidence import SqliteEvidence
from drsync.adapters.sqlite.history import History
from drsync.adapters.sqlite.mark import Mark
from drsync.coordinator.office import Storage
from drsync.sim.host import Host, HostDice
from drsync.sim.killed import Killed
from drsync.sim.process import Process

if TYPE_CHECKING:
    from sqlite3 import _Parameters

WRITES = ("INSERT", "UPDATE", "DELETE")


class Moment(StrEnum):
    """When in a commit."""

    BEFORE = "before"  # nothing of it is in force
    AFTER = "after"  # all of it is, and nobody knows yet


AtCommit = Callable[[Moment], None]
"""Called at each commit. May raise `Killed`, or sqlite3.OperationalError as a broken disk would."""


class SimConnection(sqlite3.Connection):
    """A connection that can die, and whose commits can be watched."""

    is_dead = False
    at_commit: AtCommit | None = None
    at_close: Callable[[], None] | None = None

    @override
    def execute(self, sql: str, parameters: "_Parameters" = ()) -> sqlite3.Cursor:
        """See sqlite3."""
        if self.is_dead:
            raise Killed
        call = self.at_commit
        if call is None:
            return super().execute(sql, parameters)
        is_commit = sql == "COMMIT" or (not self.in_transaction and sql.startswith(WRITES))
        if is_commit:
            call(Moment.BEFORE)
        cursor = super().execute(sql, parameters)
        if is_commit:
            call(Moment.AFTER)
        return cursor

    @override
    def executemany(self, sql: str, parameters: "Iterable[_Parameters]") -> sqlite3.Cursor:
        """See sqlite3."""
        if self.is_dead:
            raise Killed
        return super().executemany(sql, parameters)

    @override
    def close(self) -> None:
        """See sqlite3."""
        if self.at_close is not None:
            self.at_close()
        super().close()


class SimPlace:
    """One database on a disk: `adapters.sqlite.place.Place`.

    Attributes:
        name: for messages.
        at_commit: called at each commit of whoever has it open; None: nobody.
        troubles: called before that, each until somebody ends it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._kept = b""
        self._connection: SimConnection | None = None
        self._at_commit: AtCommit | None = None
        self.troubles: list[AtCommit] = []

    @property
    def at_commit(self) -> AtCommit | None:
        """Whom to call."""
        return self._at_commit

    @at_commit.setter
    def at_commit(self, call: AtCommit | None) -> None:
        self._at_commit = call
        self._listen()

    def trouble(self, call: AtCommit) -> None:
        """Something more is wrong with each commit, until `relieve`."""
        self.troubles.append(call)
        self._listen()

    def relieve(self, call: AtCommit) -> None:
        """This is over. Without effect when it is over already."""
        self.troubles = [one for one in self.troubles if one is not call]
        self._listen()

    def _listen(self) -> None:
        if self._connection is not None:
            is_heard = self._at_commit is not None or bool(self.troubles)
            self._connection.at_commit = self._at if is_heard else None

    def _at(self, moment: Moment) -> None:
        calls = [*self.troubles, self._at_commit]
        for call in calls:
            if call is not None:
                call(moment)

    def connect(self) -> sqlite3.Connection:
        """See Place."""
        if self._connection is not None:
            raise sqlite3.OperationalError("database is locked")
        connection = sqlite3.connect(":memory:", isolation_level=None, factory=SimConnection)
        if self._kept:
            connection.deserialize(self._kept)
        connection.execute("PRAGMA journal_mode = MEMORY")  # because the usual one would be a file
        connection.at_close = self.release
        self._connection = connection
        self._listen()
        return connection

    def protect(self) -> None:
        """See Place: nobody else is here."""

    def set_aside(self) -> None:
        """See Place. Nobody looks at it again."""
        self.put(b"")

    def release(self) -> None:
        """Its process is gone; what it had not committed is, too."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        connection.at_commit = connection.at_close = None
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        self._kept = _content(connection)
        connection.is_dead = True

    def committed(self) -> bytes:
        """What would be found after a crash now: a backup. Empty when it was never opened."""
        if self._connection is None:
            return self._kept
        assert not self._connection.in_transaction
        return _content(self._connection)

    def put(self, kept: bytes) -> None:
        """Replace what is there, as `committed` gave it; nobody may have it open."""
        assert self._connection is None, f"{self.name} is in use"
        self._kept = kept


def _content(connection: sqlite3.Connection) -> bytes:
    """The file's bytes; SQLite refuses to give those of a database into which nothing was ever written."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    return connection.serialize() if pages else b""


class SimNote:
    """`adapters.sqlite.mark.MarkNote` in a directory that a boot empties."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._noted: tuple[str, Mark] | None = None

    def read(self) -> Mark | None:
        """See MarkNote."""
        if self._noted is None or self._noted[0] != self._host.boot_id:
            return None
        return self._noted[1]

    def write(self, mark: Mark) -> None:
        """See MarkNote."""
        self._noted = (self._host.boot_id, mark)


class Kept(NamedTuple):
    """What a coordinator knows durably, for looking at."""

    charters: SqliteCharterStore
    evidence: SqliteEvidence


class StoreDisk:
    """The databases of one machine.

    Attributes:
        charters, history: the databases.
        note: the mark of the store.
    """

    def __init__(self, host: Host) -> None:
        self.charters = SimPlace("coordinator.db")
        self.history = SimPlace("history.db")
        self.note = SimNote(host)
        self._host = host

    def open(self, process: Process) -> Storage:
        """Open them for a process, for as long as it lives. Raises as `Database`."""
        process.at_end.append(self._release)
        return Storage(Database(self.charters), History(self.history), self.note)

    def _release(self) -> None:
        self.charters.release()
        self.history.release()

    def look(self) -> Kept:
        """What a process would find now, read from a copy: nothing is changed by it."""
        place = SimPlace("copy")
        place.put(self.charters.committed())
        database, clock = Database(place), _NoClock()
        note, dice = SimNote(self._host), HostDice(random.Random(0))
        return Kept(SqliteCharterStore(database, note, clock, dice), SqliteEvidence(database, clock))

    def relieve(self) -> None:
        """Nothing is wrong with it any more."""
        for place in (self.charters, self.history):
            for call in place.troubles:
                place.relieve(call)

    def lose(self) -> None:
        """The disk is replaced by an empty one."""
        self.charters.put(b"")
        self.history.put(b"")


class _NoClock:
    """For looking at what is kept: nothing happens there."""

    def now(self) -> float:
        """See Clock."""
        return 0.0

    def wall_us(self) -> int:
        """See Clock."""
        return 0

    def until_round(self, period_s: float, slack_s: float = 0.0) -> float:
        """See Clock."""
        return period_s + slack_s

    async def sleep_until(self, instant: float) -> None:
        """See Clock."""
