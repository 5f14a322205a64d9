"""Keeps what procedures decided and on which sight, so that it can be asked "why" a week later.

A procedure is never held up by this: what cannot be kept is said in the log, and the procedure goes on.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from drsync import __version__
from drsync.adapters.sqlite.decisions import SqliteDecisions
from drsync.coordinator.journal import Journal
from drsync.coordinator.sessions import SessionTable
from drsync.core.observation import Observation
from drsync.core.plan import Act, Done, Plan, Refuse, Wait
from drsync.engine.decision_form import observation_to_json, plan_to_json
from drsync.engine.decisions import Decision
from drsync.model.charter import IntentKind
from drsync.ports.clock import Clock
from drsync.wire import control

Json = dict[str, object]
Detection = Callable[[str], Mapping[str, object]]
"""What the watch over a group's centers says of them just now, for people: named facts."""

PER_OPERATION_MAX = 400  # because the longest procedures take some thirty; a storm must not fill the store
WAITS_KEPT_MAX = 200  # because of the above, half of them stay for what is done
WAIT_KEPT_S = 1.0  # because a person follows a wait by the second
BODY_BYTES_MAX = 1 << 20  # because the longest, with two charters and many trees, has a fifth of it
LATEST_MAX = 64  # because so many procedures at once would be a cluster of as many groups in trouble


@dataclass(slots=True)
class Latest:
    """The newest decision of an operation: kept under `number`, and made `times` by now."""

    number: int
    key: tuple[object, ...]
    is_wait: bool
    kept_at: float
    noted_at: float
    last_us: int
    times: int = 1
    kept: int = 1


class DecisionLog:
    """Implements `engine.decisions.Decisions`."""

    def __init__(
        self,
        shelf: SqliteDecisions,
        sessions: SessionTable,
        clock: Clock,
        journal: Journal,
        detection: Detection = lambda _group_id: {},
    ) -> None:
        """Keep decisions on `shelf`.

        Args:
            shelf: where.
            sessions: knows what a silent member said last.
            clock: for labels.
            journal: is told what could not be kept.
            detection: what is said of the health of centers at that moment.
        """
        self._shelf = shelf
        self._sessions = sessions
        self._clock = clock
        self._journal = journal
        self._detection = detection
        self._latest: OrderedDict[str, Latest] = OrderedDict()

    def decided(self, decision: Decision) -> None:
        """See Decisions."""
        seen = decision.seen
        try:
            self._decided(decision)
        except Exception as error:  # noqa: BLE001  # evidence must not cost a failover
            self._journal.decision_not_kept(seen.charter.group.name, seen.target, error)

    def _decided(self, decision: Decision) -> None:
        seen, now, at_us = decision.seen, decision.seen.now, self._clock.wall_us()
        key = (decision.way, _shape(decision.plan), _timeless(seen))
        is_wait = isinstance(decision.plan, Wait)
        latest = self._latest.get(seen.intent_id)
        if latest is not None:
            is_same = latest.key == key
            is_soon = is_wait and latest.is_wait and now - latest.kept_at < WAIT_KEPT_S
            if is_same or is_soon or latest.kept >= (WAITS_KEPT_MAX if is_wait else PER_OPERATION_MAX):
                latest.times, latest.last_us = latest.times + 1, at_us
                if now - latest.noted_at >= WAIT_KEPT_S:
                    latest.noted_at = now
                    self._shelf.again(latest.number, latest.times, at_us)
                return
            if latest.times > 1:
                self._shelf.again(latest.number, latest.times, latest.last_us)
        body = control.dump(self._record(decision)).decode("ascii")
        if len(body) > BODY_BYTES_MAX:
            raise ValueError(f"a decision of {len(body)} bytes")
        is_move = seen.kind is not IntentKind.OPEN
        number = self._shelf.keep(seen.intent_id, is_move=is_move, at_us=at_us, body=body)
        kept = latest.kept + 1 if latest is not None else 1
        self._latest[seen.intent_id] = Latest(number, key, is_wait, now, now, at_us, kept=kept)
        self._latest.move_to_end(seen.intent_id)
        while len(self._latest) > LATEST_MAX:
            self._latest.popitem(last=False)

    def _record(self, decision: Decision) -> Json:
        seen = decision.seen
        return {
            "software": __version__,
            "way": decision.way.value,
            "group": seen.charter.group.name,
            "observation": observation_to_json(seen),
            "plan": plan_to_json(decision.plan),
            "silent": {
                name: self._last_word(seen, name) for name in seen.members if name not in seen.statements
            },
            "detection": dict(self._detection(seen.charter.group.id)),
        }

    def _last_word(self, seen: Observation, center: str) -> Json:
        """What a member that did not answer had said before, and how long ago, in seconds."""
        word = self._sessions.word(seen.charter.group.id, center)
        return {
            "is_connected": self._sessions.agent(center) is not None,
            "statement": control.to_json(word.statement) if word is not None else None,
            "heard_s": seen.now - word.heard_at if word is not None else None,
        }


def _timeless(seen: Observation) -> Observation:
    """What was seen but for the instant and the dice: two rounds that saw the same are equal."""
    last = replace(seen.last_known, heard_at=0.0) if seen.last_known is not None else None
    return replace(seen, now=0.0, uuid="", last_known=last)


def _shape(plan: Plan) -> tuple[object, ...]:
    """What kind of answer it was; the rest follows from what was seen."""
    match plan:
        case Act():
            return ("act", *(type(command).__name__ for command in plan.commands))
        case Wait():
            return ("wait", plan.reason)
        case Refuse():
            return ("refuse", *(reason.code for reason in plan.reasons))
        case Done():
            return ("done",)
