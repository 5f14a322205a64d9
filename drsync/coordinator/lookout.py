"""Watches the owners: gathers what `core.detection` judges, and says what it found.

Facts and their times; the decisions are in `core`. One per coordinator process. A process that stood still
judges nobody by the time it missed.
"""

from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise

from drsync.adapters.sqlite.charters import SqliteCharterStore
from drsync.coordinator.authority import Authority
from drsync.coordinator.journal import Journal
from drsync.coordinator.operations import Live, Operations
from drsync.coordinator.sessions import OwnerWord, SessionTable
from drsync.core import detection, gray, succession
from drsync.core.detection import FRESH_S, MemberSeen, OwnerSeen, Standing, State, Verdict
from drsync.core.link import late_after_s
from drsync.core.observation import Observation
from drsync.engine.owner import COMMIT_BOUNDS_S
from drsync.model.charter import Charter, IntentKind
from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import NEVER, Epoch
from drsync.model.operation import OperationKind
from drsync.ports.clock import Clock

ACTOR = "drsync"
"""Who asks for what the coordinator does on its own."""

STALL_S = 3.0  # because the supervision looks twice a second; who looks later stood still
RETRY_FIRST_S, RETRY_MAX_S = 5.0, 60.0  # because what stopped a failover seldom changes within seconds

EVENTS = {
    State.GRAY: "owner_slow",
    State.SUSPECTED: "owner_suspected",
    State.CONFIRMED: "owner_lost",
    State.HEALTHY: "owner_well",
}
"""What is recorded when the state of an owner becomes this; a return is told by the opening."""


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat of an owner: when, whether late, what it committed since the one before, why it holds."""

    at: float
    is_late: bool
    commits: tuple[int, ...]
    holds: str


@dataclass(slots=True)
class Watched:
    """What is remembered of one group's owner."""

    owner: str = ""
    epoch: Epoch = NEVER
    beats: deque[Beat] = field(default_factory=deque)
    heard_at: float = 0.0
    counts: tuple[int, ...] = ()
    unopened_since: float | None = None
    changed_version: int = 0
    changed_at: float | None = None
    retry_s: float = RETRY_FIRST_S
    retry_at: float = 0.0
    told: State = State.HEALTHY


class Lookout:
    """Looks at every group's owner."""

    def __init__(
        self,
        *,
        store: SqliteCharterStore,
        sessions: SessionTable,
        authority: Authority,
        operations: Operations,
        journal: Journal,
        clock: Clock,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._authority = authority
        self._operations = operations
        self._journal = journal
        self._clock = clock
        self._groups: dict[str, Watched] = {}
        self._verdicts: dict[str, Verdict] = {}
        self._looked_at = self._awake_since = clock.now()

    def awake(self) -> None:
        """Called with each round of the supervision: whoever stood still begins to listen anew."""
        now = self._clock.now()
        if now - self._looked_at > STALL_S:
            self._awake_since = now
        self._looked_at = now

    def verdict(self, group_id: str) -> Verdict | None:
        """What was last found; None before the group was opened."""
        return self._verdicts.get(group_id)

    def move(self, group_id: str) -> Live | None:
        """The change of owner under way."""
        return self._operations.move(group_id)

    def look(self, charter: Charter) -> Verdict | None:
        """Judge the owner now, and record a change of its state. None before the group was opened."""
        if charter.epoch == NEVER:
            return None
        group_id = charter.group.id
        watched = self._groups.setdefault(group_id, Watched())
        self._learn(charter, watched)
        seen = self.observe(charter)
        verdict = detection.detect(
            seen,
            self._owner(charter, watched, seen.now),
            self._others(charter, seen.now),
            self._standing(charter, watched, seen),
        )
        self._verdicts[group_id] = verdict
        self._tell(charter, watched, verdict)
        return verdict

    def tried(self, group_id: str) -> None:
        """A failover begins: the next one waits longer, unless this one ends well."""
        watched = self._groups[group_id]
        watched.retry_at = self._clock.now() + watched.retry_s
        watched.retry_s = min(2 * watched.retry_s, RETRY_MAX_S)

    def words(self, charter: Charter) -> dict[str, Statement]:
        """What each member last stated, however long ago."""
        found = ((m.name, self._sessions.word(charter.group.id, m.name)) for m in charter.group.members)
        return {name: word.statement for name, word in found if word is not None}

    # --- what is remembered

    def _learn(self, charter: Charter, watched: Watched) -> None:
        now = self._clock.now()
        if watched.owner != charter.owner:
            self._learn_change(charter, watched, now)
        if (watched.owner, watched.epoch) != (charter.owner, charter.epoch):
            watched.owner, watched.epoch = charter.owner, charter.epoch
            watched.beats.clear()
            watched.counts, watched.heard_at, watched.unopened_since = (), 0.0, None
            watched.retry_s, watched.retry_at = RETRY_FIRST_S, 0.0
        word = self._sessions.report(charter.group.id)
        if word is not None and (word.center, word.report.epoch) == (charter.owner, charter.epoch):
            self._learn_beat(charter, watched, word)
        while watched.beats and now - watched.beats[0].at > gray.WINDOW_S:
            watched.beats.popleft()

    def _learn_change(self, charter: Charter, watched: Watched, now: float) -> None:
        """An automatic change of owner counts from when we learn of it: no clock outlives a restart.

        After a restart only the newest change is looked at, so that one long ago does not bar for ever.
        """
        kept = [one for _, one in self._store.history(charter.group.id)]
        changes = [new for old, new in pairwise(kept) if old.owner != new.owner]
        newest = changes[-1] if changes else None
        if newest is None or newest.version == watched.changed_version:
            return
        watched.changed_version = newest.version
        intent = newest.intent
        if intent is not None and (intent.kind, intent.actor) == (IntentKind.FAILOVER, ACTOR):
            watched.changed_at = now

    def _learn_beat(self, charter: Charter, watched: Watched, word: OwnerWord) -> None:
        before, at = watched.heard_at, word.heard_at
        if at == before:
            return
        counts = word.report.commit_counts
        known = watched.counts if len(watched.counts) == len(counts) else (0,) * len(counts)
        commits = tuple(max(0, new - old) for new, old in zip(counts, known, strict=True))
        gap = at - max(before, self._awake_since)
        is_late = before > 0 and gap >= late_after_s(charter.group.policy.lease_s)
        holds = "" if word.report.serving else word.report.waiting or "it waits for its lease"
        # The first report tells of all commits since the opening: how they were spread is not known.
        watched.beats.append(Beat(at, is_late, commits if before else (), holds))
        watched.heard_at, watched.counts = at, counts

    # --- what is seen

    def observe(self, charter: Charter) -> Observation:
        """The members that were heard just now. A plan is made of what they state then, not of this."""
        now, group_id = self._clock.now(), charter.group.id
        statements: dict[str, Statement] = {}
        for member in charter.group.members:
            word = self._sessions.word(group_id, member.name)
            is_there = self._sessions.is_connected(member.name)
            if word is not None and is_there and now - word.heard_at < FRESH_S:
                statements[member.name] = word.statement
        return Observation(
            charter=charter,
            statements=statements,
            now=now,
            lease=self._authority.lease(group_id),
            kind=IntentKind.FAILOVER,
            target="",
            intent_id="",
            uuid="",
            store_ready=self._authority.store_ready(group_id),
            last_known=self._authority.last_known(group_id),
        )

    def _owner(self, charter: Charter, watched: Watched, now: float) -> OwnerSeen:
        group_id, name = charter.group.id, charter.owner
        word, agent = self._sessions.word(group_id, name), self._sessions.agent(name)
        heard = [self._awake_since]
        heard += [word.heard_at] if word is not None else []
        heard += [agent.heard_at] if agent is not None else []
        silent_s = max(0.0, now - max(heard))
        if word is None:
            return OwnerSeen(silent_s, is_open=False)
        said = word.statement
        is_served = is_open(charter, said)
        is_waited_for = agent is not None and not is_served and not self._is_moving(charter)
        is_waited_for = is_waited_for and said.state is not CopyState.FORKED  # evidence, and for a person
        if not is_waited_for or self._authority.store_ready(group_id):
            watched.unopened_since = None
        elif watched.unopened_since is None:
            watched.unopened_since = now
        trouble = said.no_space or gray.trouble(
            charter.group.policy,
            _holds(watched),
            sum(beat.is_late for beat in watched.beats),
            [beat.commits for beat in watched.beats],
            COMMIT_BOUNDS_S,
        )
        return OwnerSeen(
            silent_s,
            is_open=is_served or bool(said.no_space),
            is_broken=said.state is CopyState.FAILED,
            unopened_s=0.0 if watched.unopened_since is None else now - watched.unopened_since,
            trouble=trouble,
        )

    def _others(self, charter: Charter, now: float) -> list[MemberSeen]:
        found = []
        for member in charter.group.members:
            told = self._sessions.silences(member.name)
            if member.name == charter.owner or told is None or not self._sessions.is_connected(member.name):
                continue
            found.append(
                MemberSeen(
                    member.name,
                    now - told.heard_at,
                    told.silent_s.get(charter.owner),
                    told.bound_s.get(charter.group.id, 0.0),
                    member.name in charter.in_sync,
                )
            )
        return found

    def _standing(self, charter: Charter, watched: Watched, seen: Observation) -> Standing:
        target, nobody = succession.successor(seen)
        return Standing(
            lease=seen.lease,
            store_ready=seen.store_ready,
            busy="a change of owner" if self._is_busy(charter) else "",
            target=target,
            nobody=nobody,
            changed_at=watched.changed_at,
            retry_at=watched.retry_at,
        )

    def _is_busy(self, charter: Charter) -> bool:
        return charter.intent is not None or self.move(charter.group.id) is not None

    def _is_moving(self, charter: Charter) -> bool:
        """Whether it may be closed for a change of owner. Being asked to open again and again is none."""
        live = self.move(charter.group.id)
        if live is not None:
            return live.operation.kind is not OperationKind.OPEN
        return charter.intent is not None and charter.intent.kind is not IntentKind.OPEN

    # --- what is told

    def _tell(self, charter: Charter, watched: Watched, verdict: Verdict) -> None:
        if verdict.state is watched.told:
            return
        before, watched.told = watched.told, verdict.state
        is_news = verdict.state is not State.HEALTHY or before is not State.RETURNED
        if verdict.state in EVENTS and is_news:
            text = f"{verdict.reason}; {verdict.hindrance}" if _matters(verdict) else verdict.reason
            self._journal.about(charter, EVENTS[verdict.state], text, charter.owner)


def _matters(verdict: Verdict) -> bool:
    is_lost = verdict.state in {State.SUSPECTED, State.CONFIRMED}
    return is_lost and bool(verdict.hindrance)


def _holds(watched: Watched) -> str:
    """Why it holds writes: only if its last heartbeats all say so, since every opening begins like that."""
    last = list(watched.beats)[-gray.SLOW_BEATS :]
    is_lasting = len(last) == gray.SLOW_BEATS and all(beat.holds for beat in last)
    return last[-1].holds if is_lasting else ""


def is_open(charter: Charter, word: Statement) -> bool:
    """Whether the owner serves as the charter says. Frozen counts only while a procedure may thaw it."""
    if word.state is CopyState.FROZEN:
        return charter.intent is not None
    granted = (word.session, word.follow) == (charter.owner_session, charter.epoch)
    return word.state is CopyState.OWNER and granted
