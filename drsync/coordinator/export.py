"""What is handed to whoever asks "why" afterwards: one file with all that is known of an incident.

Charters with their history, operations with their steps, events, and every decision with what it was made
on. Nothing in it opens a door: tokens and keys are not kept where this is taken from.
"""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from drsync import __version__
from drsync.adapters.sqlite.charters import SqliteCharterStore
from drsync.adapters.sqlite.decisions import SqliteDecisions
from drsync.adapters.sqlite.evidence import SqliteEvidence
from drsync.model.charter import Charter
from drsync.model.errors import MalformedError, UsageError
from drsync.model.operation import Operation
from drsync.ports.clock import Clock
from drsync.wire import control
from drsync.wire.incident import FILE_BYTES_MAX, FORMAT, HEAD, Sealer

OPERATIONS_MAX = 2000  # because those before them are older than the decisions that are kept
US_PER_S = 1_000_000
LINES_AT_ONCE = 50  # because so many take some milliseconds, and heartbeats must be answered meanwhile

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of it: of one group, or of all when `group` is empty; of the last seconds, or of ever when 0."""

    group: str = ""
    since_s: int = 0


class Export:
    """Makes the file."""

    def __init__(
        self,
        cluster: str,
        store: SqliteCharterStore,
        evidence: SqliteEvidence,
        decisions: SqliteDecisions,
        clock: Clock,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._evidence = evidence
        self._decisions = decisions
        self._clock = clock

    async def file(self, wanted: Wanted) -> bytes:
        """The whole file. Raises UsageError: it would be too large."""
        charters = [c for c in self._store.all() if wanted.group in ("", c.group.name)]
        now_us, sealer = self._clock.wall_us(), Sealer()
        since_us = max(0, now_us - wanted.since_s * US_PER_S) if wanted.since_s else 0
        try:
            parts = [sealer.line(HEAD, self._head(charters, since_us, now_us))]
            for number, (kind, body) in enumerate(self._bodies(wanted.group, charters, since_us), start=1):
                parts.append(sealer.line(kind, body))
                if number % LINES_AT_ONCE == 0:
                    await asyncio.sleep(0)
            parts.append(sealer.end())
        except MalformedError as error:
            raise UsageError(
                f"the file would be larger than {FILE_BYTES_MAX >> 20} MiB",
                code=error.code,
                remedy="Ask for less: --group GROUP, --since TIME.",
            ) from error
        return b"".join(parts)

    def _head(self, charters: list[Charter], since_us: int, now_us: int) -> Json:
        centers = sorted({member.name for charter in charters for member in charter.group.members})
        return {
            "format": FORMAT,
            "cluster": self._cluster,
            "software": __version__,
            "made_us": now_us,
            "since_us": since_us,
            "groups": [charter.group.name for charter in charters],
            "centers": centers,
        }

    def _bodies(self, group: str, charters: list[Charter], since_us: int) -> Iterator[tuple[str, Json]]:
        for charter in charters:
            yield from self._charters(charter, since_us)
        operations = [one for one in self._operations(group) if (one.ended_us or since_us) >= since_us]
        for operation in operations:
            yield "operation", {**asdict(operation), "result": dict(operation.result)}
        yield from self._events(group, since_us)
        for operation in operations:
            yield from self._decided(operation.id)

    def _charters(self, charter: Charter, since_us: int) -> Iterator[tuple[str, Json]]:
        """Those written since then, and the one that was in force before."""
        kept = self._store.history(charter.group.id)
        first = max((n for n, (at_us, _) in enumerate(kept) if at_us < since_us), default=0)
        for at_us, one in kept[first:]:
            yield "charter", {"at_us": at_us, "charter": control.to_json(one)}

    def _operations(self, group: str) -> Iterator[Operation]:
        """Oldest first."""
        for operation in reversed(self._evidence.operations(OPERATIONS_MAX)):
            if group in ("", operation.group):
                yield operation

    def _events(self, group: str, since_us: int) -> Iterator[tuple[str, Json]]:
        """Of the group, and of what is about no group: centers that came and went."""
        after = self._evidence.events_before(since_us)
        while page := self._evidence.events("", after, LINES_AT_ONCE):
            after = page[-1].n
            for event in page:
                if event.at_us >= since_us and group in ("", event.group or group):
                    yield "event", asdict(event)

    def _decided(self, operation: str) -> Iterator[tuple[str, Json]]:
        for kept in self._decisions.of(operation):
            labels = {"n": kept.n, "at_us": kept.at_us, "last_us": kept.last_us, "times": kept.times}
            yield "decision", {"operation": operation, **labels, **json.loads(kept.body)}
