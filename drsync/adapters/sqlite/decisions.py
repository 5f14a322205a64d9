"""Decisions of procedures in SQLite, beside the operations they belong to; the oldest make room for new ones.

What is kept of opening by itself cannot push out what is kept of changes of owner: a center that keeps
restarting would otherwise cost the evidence of last week's failover.
"""

from collections.abc import Iterator
from typing import NamedTuple

from drsync.adapters.sqlite.database import Database

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS decisions (n INTEGER PRIMARY KEY AUTOINCREMENT, operation TEXT NOT NULL,
    is_move INTEGER NOT NULL, at_us INTEGER NOT NULL, last_us INTEGER NOT NULL, times INTEGER NOT NULL,
    size INTEGER NOT NULL, body TEXT NOT NULL) STRICT""",
    "CREATE INDEX IF NOT EXISTS decisions_of_operation ON decisions (operation, n)",
    "CREATE INDEX IF NOT EXISTS decisions_in_order ON decisions (is_move, n)",
)
"""Added to a store of any age: nothing that was there before changes, so the schema's version stays."""

MOVES_BYTES_MAX = 64 << 20  # because a failover needs some 100 KiB: the last several hundred are kept
OPENINGS_BYTES_MAX = 8 << 20  # because it is the last ones that are asked about
BYTES_MAX = {True: MOVES_BYTES_MAX, False: OPENINGS_BYTES_MAX}  # because see there


class KeptDecision(NamedTuple):
    """A decision as it was kept: with the labels of when it was first and last made, and how often."""

    n: int
    at_us: int
    last_us: int
    times: int
    body: str


class SqliteDecisions:
    """Bounded: see the constants."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.transaction():
            for statement in SCHEMA:
                database.execute(statement)
        self._bytes = {True: 0, False: 0}
        for is_move, size in database.rows("SELECT is_move, sum(size) FROM decisions GROUP BY is_move"):
            self._bytes[bool(is_move)] = int(str(size))

    def keep(self, operation: str, *, is_move: bool, at_us: int, body: str) -> int:
        """One more; durable on return. Returns its number."""
        held, removed = self._bytes[is_move] + len(body), 0
        with self._database.transaction():
            number = self._database.insert(
                "INSERT INTO decisions (operation, is_move, at_us, last_us, times, size, body) "
                "VALUES (?, ?, ?, ?, 1, ?, ?)",
                operation, int(is_move), at_us, at_us, len(body), body,
            )  # fmt: skip
            while held - removed > BYTES_MAX[is_move] and (size := self._remove_oldest(is_move=is_move)):
                removed += size
        self._bytes[is_move] = held - removed
        return number

    def _remove_oldest(self, *, is_move: bool) -> int:
        """Its size; 0 when there is none."""
        query = "SELECT n, size FROM decisions WHERE is_move = ? ORDER BY n LIMIT 1"
        for number, size in self._database.rows(query, int(is_move)):
            self._database.execute("DELETE FROM decisions WHERE n = ?", int(str(number)))
            return int(str(size))
        return 0

    def again(self, number: int, times: int, last_us: int) -> None:
        """It was made so often by now, last at `last_us`."""
        self._database.execute(
            "UPDATE decisions SET times = ?, last_us = ? WHERE n = ?", times, last_us, number
        )

    def of(self, operation: str) -> Iterator[KeptDecision]:
        """Those of one operation, in order."""
        query = "SELECT n, at_us, last_us, times, body FROM decisions WHERE operation = ? ORDER BY n"
        for n, at_us, last_us, times, body in self._database.rows(query, operation):
            labels = int(str(at_us)), int(str(last_us))
            yield KeptDecision(int(str(n)), *labels, int(str(times)), str(body))
