"""Charters in SQLite: compare-and-set, full history, and the mark that tells this store from an old copy.

The mark is ``<random of the process>:<count of changes>``. It is committed with every change and, after
the commit, noted outside it, in the run directory, which does not survive a boot. A store that starts and
finds its own mark there (or an older count of the same process) is the one that was used last; any other
store, such as a restored backup, has to hear from the members first (`core.store_trust`).
"""

import json
from collections.abc import Callable
from functools import lru_cache

from drsync.adapters.sqlite.database import Database
from drsync.adapters.sqlite.mark import Mark, MarkNote
from drsync.model.charter import CHARTER_BYTES_MAX, Charter
from drsync.model.errors import TransientError
from drsync.ports.charter_store import CasOutcome, CasResult
from drsync.ports.clock import Clock, Random
from drsync.wire import control

DECODED_MAX = 256  # because heartbeats read the same few charters again and again, some KiB each

Guard = Callable[[Charter | None, Charter], str | None]
"""Asked inside the transaction: why the present charter may not become the new one, None when it may."""


def allow(_current: Charter | None, _new: Charter) -> str | None:
    """The guard that has no objection."""
    return None


class SqliteCharterStore:
    """Implements `ports.charter_store.CharterStore` for the process that has the file open."""

    def __init__(self, database: Database, note: MarkNote, clock: Clock, random: Random) -> None:
        """Take the store over for this process.

        Args:
            database: the open file.
            note: where the mark is left for the next process; must not survive a boot.
            clock: for labels in the history.
            random: for the mark.
        """
        self._database = database
        self._clock = clock
        self._note = note
        self.guard: Guard = allow
        self.is_same_store = self._recognise()
        """Whether this is the store that the last process on this host used, unchanged since."""
        self._process = random.hex128()
        self._changes = 0
        self._doubted = self._get_ids("doubted") | (set() if self.is_same_store else self._all_ids())
        self._begun = self._get_ids("begun")
        with database.transaction():
            self._set_ids("doubted", self._doubted)
            self._stamp()
        self._leave_mark()

    def _all_ids(self) -> set[str]:
        return {str(group_id) for (group_id,) in self._database.rows("SELECT group_id FROM charters")}

    def _get_ids(self, key: str) -> set[str]:
        return set((self._database.get_meta(key) or "").split())

    def _set_ids(self, key: str, ids: set[str]) -> None:
        if ids or self._database.get_meta(key):
            self._database.set_meta(key, " ".join(sorted(ids)))

    def is_proven(self, group_id: str) -> bool:
        """Whether the group's charter is known to be the newest.

        It is not from the start of a process that does not recognise the store, until `prove`: the doubt is
        kept, since a restart, which recognises the mark of the process before it, proves nothing.
        """
        return group_id not in self._doubted

    def prove(self, group_id: str) -> None:
        """Every member was heard, and none has seen a newer charter. Raises TransientError."""
        rest = self._doubted - {group_id}
        self._set_ids("doubted", rest)
        self._doubted = rest

    def is_begun_here(self, group_id: str) -> bool:
        """Whether a generation of this group was begun with this store: then older marks say nothing."""
        return group_id in self._begun

    async def begin_generation(self, expected: Charter | None, charter: Charter) -> CasResult:
        """Put the first charter of a new generation in the place of `expected`, whatever its version is."""
        body = _encode(charter)
        doubted, begun = self._doubted - {charter.group.id}, self._begun | {charter.group.id}
        try:
            with self._database.transaction():
                current = self.get(charter.group.id)
                if current != expected:
                    return CasResult(CasOutcome.LOST, current, "the charter changed meanwhile")
                assert current is None or charter.version > current.version
                self._write(charter, body)
                self._set_ids("doubted", doubted)
                self._set_ids("begun", begun)
                self._stamp()
        except TransientError as error:
            return CasResult(CasOutcome.UNKNOWN, None, str(error))
        self._doubted, self._begun = doubted, begun
        self._leave_mark()
        return CasResult(CasOutcome.DONE, charter)

    def _recognise(self) -> bool:
        noted = self._note.read()
        process, _, changes = (self._database.get_meta("mark") or ":-1").partition(":")
        return noted is not None and noted.process == process and int(changes) >= noted.changes

    def _stamp(self) -> None:
        self._changes += 1
        self._database.set_meta("mark", f"{self._process}:{self._changes}")

    def _leave_mark(self) -> None:
        """Only after the commit: a mark ahead of the file would make a good store look old."""
        self._note.write(Mark(self._process, self._changes))

    async def read(self, group_id: str) -> Charter | None:
        """The charter in force."""
        return self.get(group_id)

    def get(self, group_id: str) -> Charter | None:
        """The charter in force, without waiting."""
        found = self._database.rows("SELECT body FROM charters WHERE group_id = ?", group_id)
        return _decode(found[0][0]) if found else None

    def all(self) -> list[Charter]:
        """The charters of all groups, in the order of their names."""
        found = self._database.rows("SELECT body FROM charters")
        return sorted((_decode(row[0]) for row in found), key=lambda charter: charter.group.name)

    def history(self, group_id: str) -> list[tuple[int, Charter]]:
        """Every charter the group ever had, oldest first, with the wall clock label of its commit (us)."""
        found = self._database.rows(
            "SELECT at_us, body FROM charter_history WHERE group_id = ? ORDER BY version", group_id
        )
        return [(int(str(at_us)), _decode(body)) for at_us, body in found]

    async def compare_and_set(self, expected_version: int, charter: Charter) -> CasResult:
        """See the port; expected version 0 creates. The guard's objection makes it LOST."""
        assert charter.version == expected_version + 1, (charter.version, expected_version)
        body = _encode(charter)
        if len(body) > CHARTER_BYTES_MAX:
            return CasResult(CasOutcome.LOST, self.get(charter.group.id), "the charter would be too large")
        try:
            result = self._swap(expected_version, charter, body)
        except TransientError as error:
            return CasResult(CasOutcome.UNKNOWN, None, str(error))
        if result.outcome is CasOutcome.DONE:
            self._leave_mark()
        return result

    def _swap(self, expected_version: int, charter: Charter, body: str) -> CasResult:
        database = self._database
        with database.transaction():
            current = self.get(charter.group.id)
            version = current.version if current else 0
            if version != expected_version:
                return CasResult(
                    CasOutcome.LOST, current, f"the charter has version {version}, not {expected_version}"
                )
            objection = self.guard(current, charter)
            if objection is not None:
                return CasResult(CasOutcome.LOST, current, objection)
            self._write(charter, body)
            self._stamp()
        return CasResult(CasOutcome.DONE, charter)

    def _write(self, charter: Charter, body: str) -> None:
        self._database.execute(
            "INSERT INTO charters VALUES (?, ?, ?) "
            "ON CONFLICT DO UPDATE SET version = excluded.version, body = excluded.body",
            charter.group.id, charter.version, body,
        )  # fmt: skip
        self._database.execute(
            "INSERT INTO charter_history VALUES (?, ?, ?, ?)",
            charter.group.id, charter.version, self._clock.wall_us(), body,
        )  # fmt: skip


def _encode(charter: Charter) -> str:
    return json.dumps(control.to_json(charter), sort_keys=True, separators=(",", ":"))


def _decode(body: object) -> Charter:
    return _parsed(str(body))


@lru_cache(maxsize=DECODED_MAX)
def _parsed(body: str) -> Charter:
    return control.from_json(Charter, json.loads(body))
