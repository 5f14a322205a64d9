"""Runs of runbooks in SQLite, beside the operations they belong to. Implements `ports.runs.Runs`."""

import json

from pydantic import TypeAdapter

from drsync.adapters.sqlite.database import Database
from drsync.model.runbook import Attempt, Run
from drsync.ports.runs import Place

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS runs (id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS run_attempts (run TEXT NOT NULL REFERENCES runs (id), n INTEGER NOT NULL,
    body TEXT NOT NULL, PRIMARY KEY (run, n)) STRICT, WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS run_places (run TEXT NOT NULL, center TEXT NOT NULL, scope TEXT NOT NULL,
    is_open INTEGER NOT NULL, PRIMARY KEY (run, center)) STRICT, WITHOUT ROWID""",
)
"""Added to a store of any age: nothing that was there before changes, so the schema's version stays."""

RUNS = TypeAdapter(Run)
ATTEMPTS = TypeAdapter(Attempt)


class SqliteRuns:
    """See Runs."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.transaction():
            for statement in SCHEMA:
                database.execute(statement)

    def begin(self, run: Run) -> None:
        """See Runs."""
        self._database.execute(
            "INSERT INTO runs VALUES (?, ?) ON CONFLICT DO NOTHING", run.id, RUNS.dump_json(run).decode()
        )

    def find(self, run_id: str) -> Run | None:
        """See Runs."""
        rows = self._database.rows("SELECT body FROM runs WHERE id = ?", run_id)
        return RUNS.validate_json(str(rows[0][0])) if rows else None

    def intend(self, run_id: str, attempt: Attempt) -> None:
        """See Runs."""
        self._database.execute(
            "INSERT INTO run_attempts SELECT ?, coalesce(max(n), 0) + 1, ? FROM run_attempts WHERE run = ?",
            run_id,
            _text(attempt),
            run_id,
        )

    def conclude(self, run_id: str, attempt: Attempt) -> None:
        """See Runs. The newest intent of that half of that step is the one that ended."""
        for n, body in self._database.rows(
            "SELECT n, body FROM run_attempts WHERE run = ? ORDER BY n DESC", run_id
        ):
            kept = json.loads(str(body))
            if (kept["step"], kept["part"]) == (attempt.step, attempt.part.value):
                self._database.execute(
                    "UPDATE run_attempts SET body = ? WHERE run = ? AND n = ?",
                    _text(attempt), run_id, int(str(n)),
                )  # fmt: skip
                return

    def attempts(self, run_id: str) -> list[Attempt]:
        """See Runs."""
        rows = self._database.rows("SELECT body FROM run_attempts WHERE run = ? ORDER BY n", run_id)
        return [ATTEMPTS.validate_json(str(body)) for (body,) in rows]

    def owe(self, place: Place) -> None:
        """See Runs."""
        self._database.execute(
            "INSERT INTO run_places VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET is_open = 1", *place
        )

    def settle(self, place: Place) -> None:
        """See Runs."""
        self._database.execute(
            "UPDATE run_places SET is_open = 0 WHERE run = ? AND center = ?", place.run, place.center
        )

    def owed(self) -> list[Place]:
        """See Runs."""
        rows = self._database.rows("SELECT run, center, scope FROM run_places WHERE is_open = 1")
        return [Place(str(run), str(center), str(scope)) for run, center, scope in rows]


def _text(attempt: Attempt) -> str:
    return ATTEMPTS.dump_json(attempt).decode()
