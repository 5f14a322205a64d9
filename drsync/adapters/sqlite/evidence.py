"""Events, operations with their steps, and drill reports in SQLite. Implements `ports.evidence.Evidence`."""

import json
from collections.abc import Iterable
from dataclasses import asdict, replace

from pydantic import TypeAdapter

from drsync.adapters.sqlite.database import Database
from drsync.model.drill import DrillReport, OpenView
from drsync.model.epoch import Epoch
from drsync.model.operation import (
    Event,
    Facts,
    Fault,
    Operation,
    OperationKind,
    OperationState,
    Step,
    StepOutcome,
)
from drsync.ports.clock import Clock

EVENTS_PER_ANSWER_MAX = 1000  # because an answer is built in memory
EVENTS = {
    # (of one group, latest): columns in the order of the schema
    (False, False): "SELECT * FROM events WHERE n > ? ORDER BY n LIMIT ?",
    (False, True): "SELECT * FROM events WHERE n > ? ORDER BY n DESC LIMIT ?",
    (True, False): "SELECT * FROM events WHERE grp = ? AND n > ? ORDER BY n LIMIT ?",
    (True, True): "SELECT * FROM events WHERE grp = ? AND n > ? ORDER BY n DESC LIMIT ?",
}
REPORTS = TypeAdapter(DrillReport)


class SqliteEvidence:
    """Kept beside the charters, in the same file and with the same promises."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def begin(self, operation: Operation) -> None:
        """An operation starts; one that goes on after a restart is only marked as running."""
        self._database.execute(
            "INSERT INTO operations VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, NULL, '{}', NULL) "
            "ON CONFLICT DO UPDATE SET state = excluded.state, ended_us = 0, error = NULL",
            operation.id, operation.kind, operation.group, operation.target, operation.actor,
            operation.reason, operation.started_us, OperationState.RUNNING,
        )  # fmt: skip

    def step(self, operation_id: str, step: Step) -> None:
        """A step has ended."""
        self._database.execute(
            "INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            operation_id, step.n, step.name, step.center, step.started_us, step.seconds, step.outcome,
            step.detail,
        )  # fmt: skip

    def end(self, operation: Operation) -> None:
        """An operation has ended."""
        self._database.execute(
            "UPDATE operations SET state = ?, ended_us = ?, loss = ?, result = ?, error = ? WHERE id = ?",
            operation.state, operation.ended_us, _text(operation.loss), _text(operation.result),
            _text(asdict(operation.error) if operation.error else None), operation.id,
        )  # fmt: skip

    def operation(self, operation_id: str) -> Operation | None:
        """An operation with its steps."""
        found = self._operations("SELECT * FROM operations WHERE id = ?", operation_id)
        return found[0] if found else None

    def unfinished(self) -> list[Operation]:
        """Operations that were running when the last process ended, oldest first."""
        return self._operations(
            "SELECT * FROM operations WHERE state = ? ORDER BY started_us", OperationState.RUNNING
        )

    def operations(self, limit: int) -> list[Operation]:
        """The latest operations, newest first."""
        return self._operations("SELECT * FROM operations ORDER BY started_us DESC LIMIT ?", limit)

    def _operations(self, query: str, *values: str | int) -> list[Operation]:
        rows = self._database.rows(query, *values)
        return [self._with_steps(_operation(row)) for row in rows]

    def _with_steps(self, operation: Operation) -> Operation:
        rows = self._database.rows(
            "SELECT n, name, center, started_us, seconds, outcome, detail FROM steps "
            "WHERE operation = ? ORDER BY n",
            operation.id,
        )
        return replace(operation, steps=tuple(_step(row) for row in rows))

    def record(self, event: Event) -> Event:
        """Something happened; a missing label is the present wall clock."""
        event = replace(event, at_us=event.at_us or self._clock.wall_us())
        number = self._database.insert(
            "INSERT INTO events (at_us, kind, text, grp, center, epoch) VALUES (?, ?, ?, ?, ?, ?)",
            event.at_us, event.kind, event.text, event.group, event.center, str(event.epoch),
        )  # fmt: skip
        return replace(event, n=number)

    def events(self, group: str, after: int, limit: int) -> list[Event]:
        """Events numbered above `after`, oldest first; of one group, or of all when `group` is empty.

        With `after` -1: the latest ones.
        """
        limit = min(limit, EVENTS_PER_ANSWER_MAX)
        query = EVENTS[bool(group), after < 0]
        rows = self._database.rows(query, *([group] if group else []), after, limit)
        return sorted((_event(row) for row in rows), key=lambda event: event.n)

    def events_before(self, at_us: int) -> int:
        """The number below which every event is older than a label: where reading since then begins."""
        [(first,)] = self._database.rows("SELECT min(n) FROM events WHERE at_us >= ?", at_us)
        if first is None:
            [(first,)] = self._database.rows("SELECT coalesce(max(n), 0) + 1 FROM events")
        return int(str(first)) - 1

    def open_view(self, view: OpenView) -> None:
        """About to ask for a view."""
        self._database.execute(
            "INSERT INTO drill_views VALUES (?, ?, ?, ?, 1)",
            view.drill,
            view.group_id,
            view.center,
            view.view,
        )

    def close_view(self, view: OpenView) -> None:
        """The agent said that the view is gone."""
        self._database.execute(
            "UPDATE drill_views SET is_open = 0 WHERE center = ? AND view = ?", view.center, view.view
        )

    def open_views(self) -> list[OpenView]:
        """Views that nobody has proved to be gone."""
        rows = self._database.rows("SELECT drill, group_id, center, view FROM drill_views WHERE is_open = 1")
        return [OpenView(str(a), str(b), str(c), str(d)) for a, b, c, d in rows]

    def keep_drill(self, report: DrillReport) -> None:
        """A drill has ended, or is reported on again after its clean-up was proved late."""
        body = REPORTS.dump_json(report).decode()
        self._database.execute(
            "INSERT OR REPLACE INTO drills VALUES (?, ?, ?, ?, ?)",
            report.id, report.group, report.started_us, report.verdict, body,
        )  # fmt: skip

    def drill(self, drill_id: str) -> DrillReport | None:
        """A drill's report."""
        found = self._drills("SELECT body FROM drills WHERE id = ?", drill_id)
        return found[0] if found else None

    def drills(self, limit: int) -> list[DrillReport]:
        """The latest drills, newest first."""
        return self._drills("SELECT body FROM drills ORDER BY started_us DESC LIMIT ?", limit)

    def last_drill(self, group: str) -> DrillReport | None:
        """The latest drill of a group."""
        found = self._drills("SELECT body FROM drills WHERE grp = ? ORDER BY started_us DESC LIMIT 1", group)
        return found[0] if found else None

    def _drills(self, query: str, *values: str | int) -> list[DrillReport]:
        return [REPORTS.validate_json(str(body)) for (body,) in self._database.rows(query, *values)]


def _text(facts: Facts | None) -> str | None:
    return None if facts is None else json.dumps(facts, sort_keys=True)


def _facts(text: object) -> dict[str, object] | None:
    if text is None:
        return None
    found: dict[str, object] = json.loads(str(text))
    return found


def _operation(row: Iterable[object]) -> Operation:
    id_, kind, group, target, actor, reason, started_us, ended_us, state, loss, result, error = row
    fault = _facts(error)
    return Operation(
        id=str(id_),
        kind=OperationKind(str(kind)),
        group=str(group),
        target=str(target),
        actor=str(actor),
        reason=str(reason),
        started_us=int(str(started_us)),
        ended_us=int(str(ended_us)),
        state=OperationState(str(state)),
        loss=_facts(loss),
        result=_facts(result) or {},
        error=_fault(fault) if fault else None,
    )


def _fault(facts: Facts) -> Fault:
    return Fault(str(facts["code"]), str(facts["message"]), str(facts["remedy"]), int(str(facts["exit"])))


def _step(row: Iterable[object]) -> Step:
    n, name, center, started_us, seconds, outcome, detail = row
    return Step(
        int(str(n)),
        str(name),
        str(center),
        int(str(started_us)),
        float(str(seconds)),
        StepOutcome(str(outcome)),
        str(detail),
    )


def _event(row: Iterable[object]) -> Event:
    n, at_us, kind, text, group, center, epoch = row
    return Event(
        str(kind), str(text), str(group), str(center), Epoch(int(str(epoch))), int(str(at_us)), int(str(n))
    )
