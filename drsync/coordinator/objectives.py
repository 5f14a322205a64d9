"""Watching the objectives: looks at every group twice a second, keeps history, answers how well it went.

The rules are in `core.objectives` and `core.availability`, what is kept in `adapters.sqlite.history`. Time is
the coordinator's steady clock, written as labels that start with the wall clock when the process starts.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from drsync.adapters.sqlite.charters import SqliteCharterStore
from drsync.adapters.sqlite.evidence import SqliteEvidence
from drsync.adapters.sqlite.history import FINE_S, Figures, History, WatchRow
from drsync.coordinator.journal import Journal
from drsync.coordinator.sessions import OwnerWord, SessionTable
from drsync.coordinator.trees import Trees, worst
from drsync.core import lineage
from drsync.core.availability import US, Span, Task, explain, next_up
from drsync.core.objectives import Measured, Prediction, Proof, judge_rpo, predict_rto, prove
from drsync.model.charter import Charter
from drsync.model.copy import CopyState
from drsync.model.drill import DrillReport
from drsync.model.epoch import NEVER
from drsync.model.group import Mode
from drsync.model.objectives import Lack, Standing, Stretch
from drsync.model.operation import Operation, OperationKind, OperationState
from drsync.ports.clock import Clock

HEARD_S = 3.0  # because owners report each second, and two reports may be late
TICK_S = 0.5  # because owners report each second, and two reports between two looks cost at most this
LOOK_MAX_S = 5.0  # because a process that slept longer has not watched in between
PRUNE_S = 3600.0
MEASURED_S = 5.0  # because reading drills and operations takes longer than all the rest of a look
OPERATIONS_LOOKED_AT = 50  # because more do not happen around one outage
ANNOUNCES = OperationKind.SWITCHOVER
"""The only kind that needs a pause. A drill needs none: an owner that fails meanwhile is an outage."""
BY_ITSELF = "drsync"
NO_COPY = frozenset((CopyState.BLANK, CopyState.FAILED, CopyState.FORKED))


@dataclass(slots=True)
class _Sum:
    """Figures that are not kept yet."""

    seconds: float = 0.0
    over_s: float = 0.0
    unknown_s: float = 0.0
    max_s: float | None = None

    def add(self, seconds: float, proof: Proof, standing: Standing) -> None:
        self.seconds += seconds
        if standing is Standing.UNKNOWN:
            self.unknown_s += seconds
        elif standing is Standing.OVER:
            self.over_s += seconds
        if proof.seconds is not None:
            self.max_s = max(proof.seconds, self.max_s or 0.0)

    def taken(self) -> Figures:
        return Figures(self.seconds, self.over_s, self.unknown_s, self.max_s)


@dataclass(slots=True)
class _Watch:
    """One group. `first_us` and `up_until_us` are 0 until it has served for the first time."""

    first_us: int = 0
    up_until_us: int = 0
    blind: list[Span] = field(default_factory=list)
    sums: dict[str, _Sum] = field(default_factory=dict)
    lacks: dict[tuple[Lack, str], Stretch] = field(default_factory=dict)
    ended: list[Stretch] = field(default_factory=list)


class Objectives:
    """One per coordinator process."""

    def __init__(
        self,
        store: SqliteCharterStore,
        evidence: SqliteEvidence,
        sessions: SessionTable,
        history: History,
        journal: Journal,
        clock: Clock,
    ) -> None:
        self._store = store
        self._evidence = evidence
        self._sessions = sessions
        self.history = history
        self._journal = journal
        self._clock = clock
        self.trees = Trees(sessions, clock)
        kept = history.watches()
        newest_us = max((row.alive_us for row in kept.values()), default=0)
        self._began = clock.now()
        self._began_us = max(clock.wall_us(), newest_us)
        self._watches = {
            group: _Watch(row.first_us, row.up_until_us, [Span(row.alive_us, self._began_us)])
            for group, row in kept.items()
        }
        self._looked = self._began
        self._kept = self._began
        self._pruned = self._began - PRUNE_S
        self._measured: dict[str, tuple[float, Measured | None]] = {}
        self._told = ""
        self._has_changed = False

    def label(self) -> int:
        """The present instant."""
        return self._label(self._clock.now())

    def _label(self, now: float) -> int:
        return self._began_us + int((now - self._began) * US)

    # --- the loop

    async def run(self) -> None:
        """Until cancelled. A bug in one round is logged; the next round starts afresh."""
        while True:
            try:
                self.look()
            except Exception as error:  # noqa: BLE001  # figures must not stop the coordinator
                self._journal.bug("objectives", error)
            await self._clock.sleep_until(self._clock.now() + TICK_S)

    def look(self) -> None:
        """Look at every group once, and keep what was seen when it is time."""
        now = self._clock.now()
        seconds, self._looked = min(now - self._looked, LOOK_MAX_S), now
        for charter in self._store.all():
            if charter.epoch != NEVER:
                self._look_at(charter, self._watches.setdefault(charter.group.id, _Watch()), seconds)
        if self._has_changed or now - self._kept >= FINE_S:  # what begins and ends must survive our own end
            self._has_changed = False
            self.keep()
        if now - self._pruned >= PRUNE_S:
            self._pruned = now
            self.history.prune(self._label(now))

    def _look_at(self, charter: Charter, watch: _Watch, seconds: float) -> None:
        now_us = self.label()
        self._count_service(charter, watch)
        self._watch_rpo(charter, watch, seconds, now_us)
        is_open = bool(watch.first_us) and self._is_serving(charter)
        lacks_second = is_open and not self._has_second(charter)
        words = "no second copy is in sync or within the RPO target"
        self._note(watch, Lack.UNPROTECTED, "", now_us, words if lacks_second else "")

    def keep(self) -> None:
        """Write down what was seen since the last time."""
        now_us, self._kept = self.label(), self._clock.now()
        figures, stretches, watches = [], [], []
        for group, watch in self._watches.items():
            figures += [(group, center, one.taken()) for center, one in watch.sums.items()]
            stretches += [(group, one) for one in (*watch.ended, *watch.lacks.values())]
            watches.append((group, WatchRow(watch.first_us, watch.up_until_us, now_us)))
            watch.sums.clear()
            watch.ended.clear()
        self.history.keep(now_us, figures, stretches, watches)
        if self.history.trouble != self._told:
            self._told = self.history.trouble
            if self._told:
                self._journal.event("history_troubled", self._told)

    # --- service

    def _count_service(self, charter: Charter, watch: _Watch) -> None:
        word = self._sessions.report(charter.group.id)
        if word is None or not _is_current(charter, word):
            return
        for from_s, to_s in _served(word):
            claim = Span(self._label(word.heard_at - from_s), self._label(word.heard_at - to_s))
            if not watch.first_us:
                watch.first_us = watch.up_until_us = claim.from_us
            watch.up_until_us, gap = next_up(watch.up_until_us, claim)
            if gap is not None:
                watch.ended += self._explained(charter, gap, watch.blind)
                self._has_changed = True
        watch.blind = [span for span in watch.blind if span.to_us > watch.up_until_us]

    def _explained(self, charter: Charter, gap: Span, blind: list[Span]) -> tuple[Stretch, ...]:
        known = [
            (one.kind is OperationKind.DRILL, _task(one, self.label()))
            for one in self._evidence.operations(OPERATIONS_LOOKED_AT)
            if one.group == charter.group.name
        ]
        # A drill explains a pause last, because it should make none.
        known.sort(key=lambda pair: (not pair[1].is_announced, pair[0], -pair[1].span.within(gap)))
        tasks = [task for _, task in known]
        return explain(gap, blind, tasks, "the owner did not take writes, or was not heard")

    def _is_serving(self, charter: Charter) -> bool:
        word = self._sessions.report(charter.group.id)
        is_current = word is not None and _is_current(charter, word)
        return is_current and word is not None and word.report.serving_s is not None

    def _has_second(self, charter: Charter) -> bool:
        """Whether another copy could take over: in sync where the group has such, else within its target."""
        group = charter.group
        if group.policy.mode is not Mode.ASYNC and group.mates(charter.owner):
            return len(charter.in_sync) > 1
        return any(
            self.standing(charter, one.name) in {Standing.OK, Standing.SOFT}
            for one in group.members
            if one.name != charter.owner
        )

    # --- RPO

    def proof(self, charter: Charter, center: str) -> Proof:
        """How old the copy at a center is shown to be, volumes and files."""
        return worst(self._volumes_proof(charter, center), self.trees.age(charter, center))

    def _volumes_proof(self, charter: Charter, center: str) -> Proof:
        word = self._sessions.word(charter.group.id, center)
        if word is None:
            return Proof(None, "it has said nothing since the coordinator started")
        if word.statement.state in NO_COPY:
            return Proof(None, f"its copy is {word.statement.state.value}")
        owner = self._sessions.report(charter.group.id)
        return prove(
            self._sessions.beat(charter.group.id, center),
            lineage.fork_point(charter.history, word.statement),
            owner.report.now_us if owner is not None else 0,
            self._clock.now() - owner.heard_at if owner is not None else 0.0,
        )

    def standing(self, charter: Charter, center: str) -> Standing:
        """That beside the group's RPO target."""
        return judge_rpo(self.proof(charter, center).seconds, charter.group.objectives.rpo_s)

    def _watch_rpo(self, charter: Charter, watch: _Watch, seconds: float, now_us: int) -> None:
        target = charter.group.objectives.rpo_s
        for member in charter.group.members:
            if member.name == charter.owner:
                self._note(watch, Lack.RPO, member.name, now_us, "")
                continue
            proof = self.proof(charter, member.name)
            standing = judge_rpo(proof.seconds, target)
            watch.sums.setdefault(member.name, _Sum()).add(seconds, proof, standing)
            words = ""
            if standing is Standing.OVER:
                words = f"over the target of {target:g} s"
            elif standing is Standing.UNKNOWN:
                words = proof.reason
            self._note(watch, Lack.RPO, member.name, now_us, words)

    def _note(self, watch: _Watch, lack: Lack, center: str, now_us: int, words: str) -> None:
        """A lack goes on, begins, or (without words) ends."""
        known = watch.lacks.get((lack, center))
        if words and known is not None and known.cause == words:
            watch.lacks[lack, center] = replace(known, to_us=now_us)
            return
        if known is not None:
            watch.ended.append(replace(known, to_us=now_us))
            del watch.lacks[lack, center]
        self._has_changed = self._has_changed or bool(words) or known is not None
        if words:
            watch.lacks[lack, center] = Stretch(lack, now_us, now_us, center, words)

    # --- RTO

    def last_drill(self, charter: Charter) -> DrillReport | None:
        """The group's latest drill."""
        return self._evidence.last_drill(charter.group.name)

    def rto(self, charter: Charter) -> Prediction:
        """What the last measured recovery of the group lets expect."""
        aims, policy = charter.group.objectives, charter.group.policy
        return predict_rto(self._last_measured(charter.group.name), policy.lease_s, aims.rto_s)

    def _last_measured(self, group: str) -> Measured | None:
        now = self._clock.now()
        until, known = self._measured.get(group, (0.0, None))
        if now >= until:
            known = max(self._all_measured(group), key=lambda one: one.at_us, default=None)
            self._measured[group] = (now + MEASURED_S, known)
        return known

    def _all_measured(self, group: str) -> Iterable[Measured]:
        for report in self._evidence.drills(OPERATIONS_LOOKED_AT):
            if report.group == group and report.rto_s is not None:
                yield Measured("drill", report.id, report.center, report.rto_s, report.ended_us)
        for one in self._evidence.operations(OPERATIONS_LOOKED_AT):
            is_done = (one.kind, one.state) == (OperationKind.FAILOVER, OperationState.DONE)
            if one.group == group and is_done:
                seconds = sum(step.seconds for step in one.steps)
                yield Measured("failover", one.id, one.target, seconds, one.ended_us)

    # --- answers

    def stretches(self, charter: Charter, from_us: int, *, of_rpo: bool = False) -> list[Stretch]:
        """What the group lacked since then, with what is going on now, oldest first: service, or RPO."""
        watch = self._watches.get(charter.group.id, _Watch())
        found = {
            (one.lack, one.center, one.from_us): one
            for one in (
                *self.history.stretches(charter.group.id, from_us, of_rpo=of_rpo),
                *watch.ended,
                *watch.lacks.values(),
                *self._going_on(charter, watch),
            )
            if (one.lack is Lack.RPO) is of_rpo
        }
        return sorted(found.values(), key=lambda one: (one.from_us, one.lack.value, one.center))

    def _going_on(self, charter: Charter, watch: _Watch) -> tuple[Stretch, ...]:
        """The outage that has not ended, if the owner's last word does not cover the present."""
        now_us = self.label()
        word = self._sessions.report(charter.group.id)
        is_heard = word is not None and self._clock.now() - word.heard_at < HEARD_S
        if not watch.first_us or (is_heard and self._is_serving(charter)):
            return ()
        return self._explained(charter, Span(watch.up_until_us, now_us), watch.blind)

    def first_us(self, charter: Charter) -> int:
        """When the group first served; the present if it never did."""
        watch = self._watches.get(charter.group.id)
        return watch.first_us if watch is not None and watch.first_us else self.label()

    def figures(self, charter: Charter, from_us: int) -> dict[str, Figures]:
        """RPO figures by center since then."""
        self.keep()
        return self.history.figures(charter.group.id, from_us, self.label())


def _served(word: OwnerWord) -> list[tuple[float, float]]:
    """Stretches of service in seconds before the report, oldest first; what makes no sense is left out."""
    now = [] if word.report.serving_s is None else [(word.report.serving_s, 0.0)]
    return [(start, end) for start, end in [*word.report.served, *now] if start > end >= 0]


def _is_current(charter: Charter, word: OwnerWord) -> bool:
    """Whether the report is the charter's owner's, in its epoch."""
    return (word.center, word.report.epoch) == (charter.owner, charter.epoch)


def _task(one: Operation, now_us: int) -> Task:
    """An operation as what may explain a pause. Its labels are of the wall clock: near enough."""
    is_asked_for = one.kind is ANNOUNCES and one.actor != BY_ITSELF
    to = "at" if one.kind in {OperationKind.OPEN, OperationKind.DRILL} else "to"
    asker = f", asked for by {one.actor}" if one.actor not in {"", BY_ITSELF} else ""
    words = f"{one.kind.value} {to} {one.target}{asker}"
    return Task(one.id, words, Span(one.started_us, one.ended_us or now_us), is_asked_for)
