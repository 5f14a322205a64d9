"""How well promises were kept, in a SQLite file of its own: figures by time, and stretches of lack.

It is evidence for reports, not state that anything is decided by: a damaged file is put aside and a new one
begun, and a write that fails costs that piece of history alone. Labels are microseconds of the coordinator.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drsync.adapters.sqlite.opening import Format, open_database
from drsync.adapters.sqlite.place import FilePlace, Place
from drsync.model.errors import DrsyncError
from drsync.model.objectives import Lack, Stretch

FINE_S = 10  # because the shortest burn window is five minutes, and one row is then 3 % of it
COARSE_S = 3600
FINE_KEPT_S = 4 * 86400  # because the longest burn window is three days
COARSE_KEPT_S = 400 * 86400  # because a report looks back a year
STRETCHES_KEPT_S = 800 * 86400  # because auditors ask about the year before as well
STRETCHES_MAX = 100_000  # because a flapping link must not fill the disk: 100 bytes each are 10 MB
READ_MAX = 10_000  # because reading them holds up the coordinator for some hundredths of a second
APPLICATION_ID = 0x64725368  # "drSh"
SCHEMA_VERSION = 1

SCHEMA = """
CREATE TABLE fine (
  grp TEXT NOT NULL, center TEXT NOT NULL, at_s INTEGER NOT NULL, seconds REAL NOT NULL,
  over_s REAL NOT NULL, unknown_s REAL NOT NULL, max_s REAL,
  PRIMARY KEY (grp, center, at_s)) STRICT, WITHOUT ROWID;
CREATE TABLE coarse (
  grp TEXT NOT NULL, center TEXT NOT NULL, at_s INTEGER NOT NULL, seconds REAL NOT NULL,
  over_s REAL NOT NULL, unknown_s REAL NOT NULL, max_s REAL,
  PRIMARY KEY (grp, center, at_s)) STRICT, WITHOUT ROWID;
CREATE TABLE stretches (
  grp TEXT NOT NULL, lack TEXT NOT NULL, center TEXT NOT NULL, from_us INTEGER NOT NULL,
  to_us INTEGER NOT NULL, cause TEXT NOT NULL, operation TEXT NOT NULL, is_planned INTEGER NOT NULL,
  PRIMARY KEY (grp, lack, center, from_us)) STRICT, WITHOUT ROWID;
CREATE INDEX stretches_in_order ON stretches (to_us);
CREATE TABLE watches (
  grp TEXT PRIMARY KEY, first_us INTEGER NOT NULL, up_until_us INTEGER NOT NULL,
  alive_us INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""

ADD = {
    False: "INSERT INTO fine VALUES (?, ?, ?, ?, ?, ?, ?) ",
    True: "INSERT INTO coarse VALUES (?, ?, ?, ?, ?, ?, ?) ",
}
ADD_TO = (
    "ON CONFLICT DO UPDATE SET seconds = seconds + excluded.seconds, over_s = over_s + excluded.over_s, "
    "unknown_s = unknown_s + excluded.unknown_s, "
    "max_s = max(coalesce(max_s, excluded.max_s), coalesce(excluded.max_s, max_s))"
)
SUMS = {
    False: "SELECT center, sum(seconds), sum(over_s), sum(unknown_s), max(max_s) FROM fine "
    "WHERE grp = ? AND at_s >= ? GROUP BY center",
    True: "SELECT center, sum(seconds), sum(over_s), sum(unknown_s), max(max_s) FROM coarse "
    "WHERE grp = ? AND at_s >= ? GROUP BY center",
}

STRETCHES = {
    False: "SELECT lack, from_us, to_us, center, cause, operation, is_planned FROM stretches "
    "WHERE grp = ? AND lack <> 'rpo' AND to_us > ? ORDER BY from_us DESC LIMIT ?",
    True: "SELECT lack, from_us, to_us, center, cause, operation, is_planned FROM stretches "
    "WHERE grp = ? AND lack = 'rpo' AND to_us > ? ORDER BY from_us DESC LIMIT ?",
}


@dataclass(frozen=True, slots=True)
class Figures:
    """The RPO of one center over some time.

    Attributes:
        seconds: watched.
        over_s, unknown_s: of those, over the target, and nobody could say.
        max_s: highest RPO that was known; None when none was.
    """

    seconds: float
    over_s: float
    unknown_s: float
    max_s: float | None


@dataclass(frozen=True, slots=True)
class WatchRow:
    """How far the ledger of a group is; labels. `alive_us`: when the coordinator last looked."""

    first_us: int
    up_until_us: int
    alive_us: int


FORMAT = Format(
    application=APPLICATION_ID,
    version=SCHEMA_VERSION,
    schema=SCHEMA,
    what="a history of objectives",
    code="history",
    user="coordinator",
    remedy="Move it away.",
)


def history_file(path: Path) -> FilePlace:
    """The usual place. The last seconds may be lost with the power: nothing is decided by them."""
    return FilePlace(path, is_exclusive=False, is_always_synced=False)


class History:
    """The open file."""

    def __init__(self, where: Path | Place) -> None:
        """Open or create. A file that cannot be used is renamed to ``<name>.damaged`` first.

        Attributes:
            trouble: why history is not kept, or was begun anew; empty when all is well.
        """
        self.trouble = ""
        place = history_file(where) if isinstance(where, Path) else where
        try:
            self._connection = open_database(place, FORMAT)
        except DrsyncError as error:
            self.trouble = f"the history of objectives was begun anew: {error}"
            place.set_aside()
            self._connection = open_database(place, FORMAT)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        connection.execute("BEGIN")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def keep(
        self,
        now_us: int,
        figures: Sequence[tuple[str, str, Figures]],
        stretches: Sequence[tuple[str, Stretch]],
        watches: Sequence[tuple[str, WatchRow]],
    ) -> None:
        """Add what was seen since the last time, in one transaction.

        Args:
            now_us: the present label; figures belong to the time just before it.
            figures: by group id and center.
            stretches: by group id; one that has grown replaces what was kept of it.
            watches: by group id.
        """
        try:
            with self._transaction() as connection:
                for group, center, one in figures:
                    self._add(now_us // 1_000_000, group, center, one)
                connection.executemany(
                    "INSERT OR REPLACE INTO stretches VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [(group, one.lack.value, one.center, one.from_us, one.to_us, one.cause, one.operation,
                      int(one.is_planned)) for group, one in stretches],
                )  # fmt: skip
                connection.executemany(
                    "INSERT OR REPLACE INTO watches VALUES (?, ?, ?, ?)",
                    [(group, row.first_us, row.up_until_us, row.alive_us) for group, row in watches],
                )
            self.trouble = ""
        except sqlite3.Error as error:
            self.trouble = f"the history of objectives is not kept: {error}"

    def _add(self, now_s: int, group: str, center: str, one: Figures) -> None:
        for is_coarse, length in ((False, FINE_S), (True, COARSE_S)):
            self._connection.execute(
                ADD[is_coarse] + ADD_TO,
                (group, center, now_s - now_s % length, one.seconds, one.over_s, one.unknown_s, one.max_s),
            )

    def prune(self, now_us: int) -> None:
        """Forget what is older than it is kept for, and the oldest stretches beyond `STRETCHES_MAX`."""
        now_s = now_us // 1_000_000
        try:
            with self._transaction() as connection:
                run = connection.execute
                run("DELETE FROM fine WHERE at_s < ?", (now_s - FINE_KEPT_S,))
                run("DELETE FROM coarse WHERE at_s < ?", (now_s - COARSE_KEPT_S,))
                run("DELETE FROM stretches WHERE to_us < ?", (now_us - STRETCHES_KEPT_S * 1_000_000,))
                run(
                    "DELETE FROM stretches WHERE to_us < "
                    "(SELECT to_us FROM stretches ORDER BY to_us DESC LIMIT 1 OFFSET ?)",
                    (STRETCHES_MAX,),
                )
        except sqlite3.Error as error:
            self.trouble = f"the history of objectives is not pruned: {error}"

    # --- reading; what cannot be read is as if it were not there, and `trouble` says so

    def _rows(self, query: str, *values: str | int) -> list[tuple[object, ...]]:
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            self.trouble = f"the history of objectives cannot be read: {error}"
            return []

    def watches(self) -> dict[str, WatchRow]:
        """All ledgers, by group id."""
        rows = self._rows("SELECT grp, first_us, up_until_us, alive_us FROM watches")
        return {
            str(group): WatchRow(int(str(first)), int(str(up)), int(str(alive)))
            for group, first, up, alive in rows
        }

    def stretches(self, group: str, from_us: int, *, of_rpo: bool) -> list[Stretch]:
        """Stretches of a group that end after `from_us`, oldest first; the newest `READ_MAX` of them.

        `of_rpo`: those in which a center was over its target or unknown, else all others.
        """
        rows = self._rows(STRETCHES[of_rpo], group, from_us, READ_MAX)
        return [
            Stretch(
                Lack(str(lack)),
                int(str(low)),
                int(str(high)),
                str(center),
                str(cause),
                str(operation),
                is_planned=bool(planned),
            )
            for lack, low, high, center, cause, operation, planned in reversed(rows)
        ]

    def figures(self, group: str, from_us: int, now_us: int) -> dict[str, Figures]:
        """RPO figures by center since `from_us`: by ten seconds where those are kept, else by hour."""
        is_coarse = now_us - from_us > FINE_KEPT_S * 1_000_000
        length = COARSE_S if is_coarse else FINE_S
        from_s = from_us // 1_000_000
        rows = self._rows(SUMS[is_coarse], group, from_s - from_s % length)
        return {
            str(center): Figures(
                float(str(seconds)),
                float(str(over)),
                float(str(unknown)),
                None if worst is None else float(str(worst)),
            )
            for center, seconds, over, unknown, worst in rows
        }

    def close(self) -> None:
        """Release the file."""
        self._connection.close()
