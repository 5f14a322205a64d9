"""What people opened, in SQLite beside the charters: a restart of either daemon is noticed and told."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from drsync.adapters.sqlite.database import Database
from drsync.model.opening import Opening, Why

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS openings (id TEXT PRIMARY KEY, group_id TEXT NOT NULL, center TEXT NOT NULL,
    body TEXT NOT NULL, volumes TEXT NOT NULL, actor TEXT NOT NULL, reason TEXT NOT NULL,
    asked_us INTEGER NOT NULL, ended_us INTEGER NOT NULL, why TEXT NOT NULL, text TEXT NOT NULL)
    STRICT, WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS openings_of_group ON openings (group_id, ended_us)",
)
"""Added to a store of any age: nothing that was there before changes, so the schema's version stays."""

ENDED_MAX = 200  # because events tell older ones
ONE = "SELECT * FROM openings WHERE id = ?"
OPEN = "SELECT * FROM openings WHERE group_id = ? AND ended_us = 0 ORDER BY asked_us, id"
ENDED = "SELECT * FROM openings WHERE group_id = ? AND ended_us > ? ORDER BY ended_us, id"
"""Columns in the order of the schema."""


@dataclass(frozen=True, slots=True)
class KeptOpening:
    """An opening and what became of it.

    Attributes:
        opening: as far as it is known.
        volumes: uris by volume name; empty until it is open.
        actor, reason: who asked, and why.
        asked_us: label.
        ended_us: label; 0 while it is open.
        why, text: how it ended; None and empty before.
    """

    opening: Opening
    volumes: Mapping[str, str]
    actor: str = ""
    reason: str = ""
    asked_us: int = 0
    ended_us: int = 0
    why: Why | None = None
    text: str = ""


class SqliteOpenings:
    """Bounded: the oldest ended ones are forgotten."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.transaction():
            for statement in SCHEMA:
                database.execute(statement)

    def keep(self, kept: KeptOpening) -> None:
        """Add one, or change all of it; durable on return."""
        opening = kept.opening
        self._database.execute(
            "INSERT OR REPLACE INTO openings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            opening.id, opening.group_id, opening.center, json.dumps(opening.fields(), sort_keys=True),
            json.dumps(dict(kept.volumes), sort_keys=True), kept.actor, kept.reason, kept.asked_us,
            kept.ended_us, kept.why.value if kept.why is not None else "", kept.text,
        )  # fmt: skip
        if kept.ended_us:
            self._database.execute(
                "DELETE FROM openings WHERE ended_us > 0 AND id NOT IN "
                "(SELECT id FROM openings WHERE ended_us > 0 ORDER BY ended_us DESC LIMIT ?)",
                ENDED_MAX,
            )

    def find(self, opening_id: str) -> KeptOpening | None:
        """One, open or ended."""
        found = self._rows(ONE, opening_id)
        return found[0] if found else None

    def open(self, group_id: str) -> list[KeptOpening]:
        """What is open of a group, oldest first."""
        return self._rows(OPEN, group_id)

    def ended(self, group_id: str, since_us: int) -> list[KeptOpening]:
        """What has ended since a label, oldest first."""
        return self._rows(ENDED, group_id, max(since_us, 0))

    def _rows(self, query: str, *values: str | int) -> list[KeptOpening]:
        rows = self._database.rows(query, *values)
        return [
            KeptOpening(
                Opening.read(json.loads(str(body))),
                json.loads(str(volumes)),
                str(actor),
                str(reason),
                int(str(asked_us)),
                int(str(ended_us)),
                Why(str(why)) if why else None,
                str(text),
            )
            for _, _, _, body, volumes, actor, reason, asked_us, ended_us, why, text in rows
        ]
