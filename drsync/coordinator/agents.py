"""What agents may ask: register, heartbeat, read a charter, change the in-sync set.

An agent speaks for the center its key is pinned to, and for nothing else.
"""

from collections.abc import Callable, Mapping

from drsync.adapters.sqlite.charters import SqliteCharterStore
from drsync.coordinator import forms
from drsync.coordinator.authority import Authority
from drsync.coordinator.holds import LostHolds
from drsync.coordinator.journal import Journal
from drsync.coordinator.openings import Openings
from drsync.coordinator.sessions import AgentSession, Line, SessionTable, Silences
from drsync.model.charter import Charter
from drsync.model.copy import Statement
from drsync.model.epoch import Epoch
from drsync.model.errors import MalformedError, RefusedError, UsageError
from drsync.model.objectives import Beat
from drsync.ports.charter_store import CasOutcome
from drsync.ports.clock import Clock
from drsync.ports.transport import Call
from drsync.wire import control

Json = dict[str, object]


class AgentDesk:
    """Answers the agents of all centers."""

    def __init__(
        self,
        store: SqliteCharterStore,
        authority: Authority,
        sessions: SessionTable,
        journal: Journal,
        openings: Openings,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        """`wake` is called when something changed that the supervision may act on."""
        self._store = store
        self._authority = authority
        self._sessions = sessions
        self._journal = journal
        self._openings = openings
        self._lost_holds = LostHolds(journal)
        self._clock = clock
        self._wake = wake

    def handlers(self, peer: str, line: Callable[[], Line]) -> Mapping[str, Call]:
        """The requests a link of `peer` may make; `line` gives the link itself."""

        async def register(_method: str, body: Json) -> Json:
            return self._register(peer, line(), body)

        async def heartbeat(_method: str, body: Json) -> Json:
            return self._heartbeat(self._agent(peer, line()), body)

        async def read(_method: str, body: Json) -> Json:
            charter = await self._store.read(_text(body, "group"))
            return {"charter": control.to_json(charter) if charter else None}

        async def cas(_method: str, body: Json) -> Json:
            return await self._cas(self._agent(peer, line()), body)

        return {"register": register, "heartbeat": heartbeat, "charter.read": read, "charter.cas": cas}

    def lost(self, peer: str, line: Line, reason: str) -> None:
        """A link has ended."""
        if self._sessions.leave(peer, line, self._clock.wall_us()):
            self._journal.event("agent_lost", f"{peer} is not connected any more: {reason}", center=peer)
            self._wake()

    def _agent(self, peer: str, line: Line) -> AgentSession:
        agent = self._sessions.agent(peer)
        if agent is None or agent.line is not line:
            raise RefusedError(f"{peer} has not registered on this link", code="not_registered")
        agent.heard(self._clock.now())
        return agent

    def _register(self, peer: str, line: Line, body: Json) -> Json:
        form = _parse(forms.Registration, body)
        if form.center != peer:
            raise RefusedError(f"the key of {peer} does not speak for {form.center}", code="wrong_center")
        now, wall = self._clock.now(), self._clock.wall_us()
        agent = AgentSession(
            peer, form.session, line, form.software, form.address, wall, now, answered_at=now
        )
        self._sessions.enter(agent)
        self._authority.remembered(peer, form.charters)
        token, is_back = self._authority.check_token(peer, form.token)
        went_back = []
        for group_id, word in form.groups.items():
            statement = self._statement(peer, form.session, word)
            if self._authority.register(group_id, statement, is_back=is_back):
                went_back.append(group_id)
        for charter in self._store.all():
            group_id = charter.group.id
            is_missing = _is_member(charter, peer) and group_id not in form.groups
            if is_missing and self._authority.register_missing(group_id, peer):
                went_back.append(group_id)
        self._journal.event("agent_connected", f"{peer} is connected ({form.software})", center=peer)
        self._wake()
        charters = [charter for charter in self._store.all() if _is_member(charter, peer)]
        return {
            "token": token,
            "went_back": went_back,
            "charters": {charter.group.id: control.to_json(charter) for charter in charters},
        }

    def _heartbeat(self, agent: AgentSession, body: Json) -> Json:
        form = _parse(forms.Heartbeat, body)
        leases: Json = {}
        newer: Json = {}
        bound_s = {group_id: beat.bound_s for group_id, beat in form.groups.items()}
        now = self._clock.now()
        made_at = agent.made_at(form.since_answer_s, now)
        self._sessions.hear_silences(agent.center, Silences(form.silent_s, bound_s, now))
        for group_id, beat in form.groups.items():
            charter = self._store.get(group_id)
            if charter is None or not _is_member(charter, agent.center):
                continue
            leases[group_id] = self._beat(agent, charter, beat, made_at)
            if (charter.generation, charter.version) > (beat.generation or 0, beat.version):
                newer[group_id] = control.to_json(charter)
        self._wake()
        agent.answered_at = now
        return {"leases": leases, "charters": newer}

    def _beat(self, agent: AgentSession, charter: Charter, beat: forms.GroupBeat, made_at: float) -> Json:
        group_id = charter.group.id
        word = self._statement(agent.center, agent.session, beat.statement)
        before = self._sessions.word(group_id, agent.center)
        self._tell_forks(charter, before.statement if before is not None else None, word)
        statement = self._authority.heard(group_id, word)
        self._authority.heard_charter(group_id, agent.center, beat.version, statement.follow, beat.generation)
        found = Beat(beat.beat.seq, beat.beat.time_us, Epoch(beat.beat.epoch))
        self._sessions.hear_beat(group_id, agent.center, found)
        self._openings.heard(charter, agent.center, beat.openings, beat.ended)
        self._lost_holds.heard(charter, agent.center, agent.session, beat.holds_lost)
        self._openings.proofs.heard(charter, agent.center, beat.self_drill)
        if beat.report is None:
            return {
                "granted": False,
                "seconds": 0.0,
                "version": charter.version,
                "generation": charter.generation,
            }
        told = self._sessions.report(group_id)
        self._tell_quiet(charter, agent.center, told.report if told is not None else None, beat.report)
        self._sessions.hear_report(group_id, agent.center, beat.report, self._clock.now(), made_at)
        grant = self._authority.renew(charter, agent, statement, Epoch(beat.report.epoch))
        return {
            "granted": grant.is_granted,
            "seconds": grant.seconds,
            "version": grant.charter_version,
            "generation": charter.generation,
        }

    def _tell_forks(self, charter: Charter, before: Statement | None, word: Statement) -> None:
        """Files were put aside at a center: on record, since somebody may miss them."""
        is_same_process = before is not None and before.session == word.session
        known = {one.fileset: one.forks for one in before.files} if before and is_same_process else {}
        names = {one.id: one.name for one in charter.group.filesets}
        for one in word.files:
            fresh = one.forks - known.get(one.fileset, 0)
            if fresh > 0 and one.fileset in names:
                what = f"{fresh} name of" if fresh == 1 else f"{fresh} names of"
                verb = "was" if fresh == 1 else "were"
                text = f"{what} {names[one.fileset]} {verb} put aside below {one.root}/.drsync-fork-*"
                self._journal.about(charter, "files_put_aside", text, word.center)

    def _tell_quiet(
        self, charter: Charter, center: str, before: forms.OwnerReport | None, report: forms.OwnerReport
    ) -> None:
        """Hooks of application-consistent checkpoints began to fail, fail otherwise, or succeed again."""
        said = report.consistency
        known = before.consistency if before is not None else None
        if said is None or not said.at_us or (known is not None and known.at_us == said.at_us):
            return
        if said.why and (known is None or said.why != known.why):
            self._journal.about(charter, "app_point_failed", said.why, center)
        if not said.why and known is not None and known.why:
            text = "the newest checkpoint is application-consistent again"
            self._journal.about(charter, "app_point_again", text, center)

    async def _cas(self, agent: AgentSession, body: Json) -> Json:
        expected = body.get("expected")
        charter = control.from_json(Charter, body.get("charter"))
        if not isinstance(expected, int) or charter.version != expected + 1:
            raise MalformedError("expected: one less than the charter's version was expected")
        current = self._store.get(charter.group.id)
        refusal = self._authority.refusal(agent, current, charter)
        if refusal is not None:
            return _answer(CasOutcome.LOST, current, refusal.reason)
        result = await self._store.compare_and_set(expected, charter)
        if result.outcome is CasOutcome.DONE and current is not None:
            self._journal.in_sync_changed(current, charter)
            self._wake()
        return _answer(result.outcome, result.current, result.reason)

    @staticmethod
    def _statement(center: str, session: str, body: Json) -> Statement:
        statement = control.from_json(Statement, body)
        if (statement.center, statement.session) != (center, session):
            raise MalformedError(f"a statement of {statement.center} in another's name or session")
        return statement


def _answer(outcome: CasOutcome, current: Charter | None, reason: str) -> Json:
    body = control.to_json(current) if current is not None else None
    return {"outcome": outcome.value, "current": body, "reason": reason}


def _is_member(charter: Charter, center: str) -> bool:
    return any(member.name == center for member in charter.group.members)


def _text(body: Json, key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        raise MalformedError(f"{key}: a text was expected")
    return value


def _parse(form: type[forms.F], body: Json) -> forms.F:
    """As `forms.read`; what an agent sends wrongly is malformed, not a mistake of a person."""
    try:
        return forms.read(form, body)
    except UsageError as error:
        raise MalformedError(str(error)) from error
