"""What the coordinator does on its own: open what should be open, finish what was begun, close what was left.

It fails over only where the group's policy and `core.detection` say so: from an owner that two have lost, to
a clean in-sync member, without loss. Everything else is a case for a person, and `why` says which.
"""

import asyncio
from dataclasses import dataclass, replace

from drsync.adapters.sqlite.charters import SqliteCharterStore
from drsync.adapters.sqlite.evidence import SqliteEvidence
from drsync.adapters.sqlite.runs import SqliteRuns
from drsync.coordinator.achieved import is_achieved
from drsync.coordinator.authority import Authority
from drsync.coordinator.journal import Journal
from drsync.coordinator.lookout import ACTOR, Lookout, is_open
from drsync.coordinator.operations import EXIT_FAILED, Operations
from drsync.coordinator.runbook_cleanup import LeftPlaces
from drsync.coordinator.sessions import AgentSession, SessionTable
from drsync.core import detection
from drsync.engine.procedure_drill import close_view
from drsync.engine.procedure_steps import StepLog
from drsync.engine.procedure_world import ProcedureWorld, statement_in
from drsync.engine.procedures import Request
from drsync.model.charter import Charter, IntentKind
from drsync.model.copy import CopyState
from drsync.model.drill import Cleanup, Content, DrillReport, OpenView, Verdict
from drsync.model.epoch import NEVER
from drsync.model.errors import DrsyncError
from drsync.model.operation import Fault, Operation, OperationKind, OperationState, Step
from drsync.wire import control

TICK_S = 0.5  # because heartbeats wake it anyway; this is for time that passes
ADOPT_TIMEOUT_S = 30.0  # because images are created
GRACE_S = 5.0  # because agents dial again within three seconds, and leases count as just granted anyway
RETRY_FIRST_S, RETRY_MAX_S = 1.0, 30.0  # because a refusal seldom changes within seconds
BROKEN = frozenset((CopyState.FAILED, CopyState.FORKED))


@dataclass(slots=True)
class Patience:
    """When a group may be opened again after that did not work."""

    session: str
    wait_s: float
    until: float


class Supervision:
    """The loop over all groups."""

    def __init__(
        self,
        *,
        store: SqliteCharterStore,
        evidence: SqliteEvidence,
        sessions: SessionTable,
        authority: Authority,
        operations: Operations,
        journal: Journal,
        world: ProcedureWorld,
        runs: SqliteRuns,
    ) -> None:
        self._store = store
        self._evidence = evidence
        self._sessions = sessions
        self._authority = authority
        self._operations = operations
        self._journal = journal
        self._world = world
        self.lookout = Lookout(
            store=store,
            sessions=sessions,
            authority=authority,
            operations=operations,
            journal=journal,
            clock=world.clock,
        )
        self._left = LeftPlaces(world, runs, sessions, evidence, operations, journal)
        self._wake = asyncio.Event()
        self._started = world.clock.now()
        self.rounds = 0  # steps of this loop, each of which has a deadline
        self._patience: dict[str, Patience] = {}
        self._complained: set[tuple[str, str, str]] = set()

    def wake(self) -> None:
        """Something changed: look now."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled. A bug in one round is logged; the next round starts afresh."""
        self._settle_interrupted()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tidy_up())
            await self._watch()

    async def _watch(self) -> None:
        while True:
            self._wake.clear()
            self.lookout.awake()
            for charter in self._store.all():
                self.rounds += 1
                try:
                    await self._look_at(charter)
                except Exception as error:  # noqa: BLE001  # one group's bug must not stop the others
                    self._journal.bug(f"supervision of {charter.group.name}", error)
            self.rounds += 1
            try:
                async with asyncio.timeout(TICK_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _tidy_up(self) -> None:
        """What drills left is removed beside the loop: a center that hangs must not keep groups closed."""
        while True:
            try:
                await self._close_left_views()
                await self._left.clean()
            except Exception as error:  # noqa: BLE001  # as above
                self._journal.bug("tidying up after drills", error)
            await asyncio.sleep(TICK_S)

    # --- groups

    async def _look_at(self, charter: Charter) -> None:
        await self._offer(charter)
        verdict = self.lookout.look(charter)
        if self._operations.move(charter.group.id) is not None:
            return
        if self._has_settled(charter):
            self._operations.resume_runs(charter)
        if self._operations.move(charter.group.id) is not None:
            return
        if charter.intent is not None:
            if self._has_settled(charter):
                self._operations.resume(charter, charter.intent)
        elif verdict is not None and verdict.action is detection.Action.FAIL_OVER:
            if self._has_settled(charter):
                await self._fail_over(charter, verdict)
        elif self._should_open(charter):
            await self._open(charter)

    def _has_settled(self, charter: Charter) -> bool:
        """Whether everybody is back, or had the time to be: who plans without them gives up too soon."""
        if self._world.clock.now() - self._started >= GRACE_S:
            return True
        group_id = charter.group.id
        return all(self._sessions.word(group_id, member.name) for member in charter.group.members)

    async def _offer(self, charter: Charter) -> None:
        """Every connected member that has said nothing about the group gets a copy."""
        for member in charter.group.members:
            agent = self._sessions.agent(member.name)
            if agent is not None and self._sessions.word(charter.group.id, member.name) is None:
                await self._offer_to(charter, agent)

    async def _offer_to(self, charter: Charter, agent: AgentSession) -> None:
        self.rounds += 1
        key = (charter.group.id, agent.center, agent.session)
        body: dict[str, object] = {"charter": control.to_json(charter)}
        try:
            answer = await self._sessions.call(agent.center, "group.adopt", body, ADOPT_TIMEOUT_S)
            self._authority.heard(charter.group.id, statement_in(answer))
        except DrsyncError as error:
            if key not in self._complained:
                self._complained.add(key)
                self._journal.about(charter, "adopt_failed", f"{agent.center}: {error}", agent.center)

    def _should_open(self, charter: Charter) -> bool:
        """Whether the owner (or, the first time, the preferred owner) is there and does not serve."""
        group_id, center = charter.group.id, charter.owner or charter.group.preferred_owner
        agent, word = self._sessions.agent(center), self._sessions.word(group_id, center)
        if agent is None or word is None or self._authority.store_ready(group_id):
            return False
        if word.statement.session != agent.session or word.heard_at <= self._operations.ended_at.get(
            group_id, 0
        ):
            return False  # not heard since: it may serve by now
        if word.statement.state in BROKEN or is_open(charter, word.statement):
            return False
        if word.statement.no_space:
            return False  # it says so itself when there is space
        if charter.epoch == NEVER and not self._all_have_copies(charter):
            return False
        return self._is_time(group_id, agent.session)

    def _all_have_copies(self, charter: Charter) -> bool:
        """The first opening waits for the members that are there, so that they follow from record 1."""
        return all(
            self._sessions.word(charter.group.id, member.name) is not None
            for member in charter.group.members
            if self._sessions.is_connected(member.name)
        )

    def _is_time(self, group_id: str, session: str) -> bool:
        now, patience = self._world.clock.now(), self._patience.get(group_id)
        if patience is None or patience.session != session:
            self._patience[group_id] = Patience(session, RETRY_FIRST_S, now)
            return True
        if self._operations.last_state.get(group_id) is OperationState.DONE:
            patience.wait_s, patience.until = RETRY_FIRST_S, now
        if now < patience.until:
            return False
        patience.until = now + patience.wait_s
        patience.wait_s = min(2 * patience.wait_s, RETRY_MAX_S)
        return True

    async def _open(self, charter: Charter) -> None:
        target = charter.owner or charter.group.preferred_owner
        reason = "its process has restarted or does not serve" if charter.owner else "first opening"
        request = Request(
            charter.group.id,
            IntentKind.OPEN,
            target,
            self._world.random.hex128(),
            ACTOR,
            reason,
            started_us=self._world.clock.wall_us(),
        )
        await self._operations.start_move(charter, request)

    async def _fail_over(self, charter: Charter, verdict: detection.Verdict) -> None:
        """Without loss, or not at all: the procedure judges again by what the members state then."""
        found = f"{verdict.reason}; its lease has run out; {verdict.target} is in sync and clean"
        self._journal.about(charter, "failover_decided", f"by policy: {found}", verdict.target)
        self.lookout.tried(charter.group.id)
        request = Request(
            charter.group.id,
            IntentKind.FAILOVER,
            verdict.target,
            self._world.random.hex128(),
            ACTOR,
            f"automatic: {found}",
            started_us=self._world.clock.wall_us(),
        )
        await self._operations.start_move(charter, request)

    # --- what an earlier process left

    def _settle_interrupted(self) -> None:
        """End the operations that no intent goes on with; the others are resumed by the loop."""
        intents = {charter.intent.id for charter in self._store.all() if charter.intent is not None}
        for operation in self._evidence.unfinished():
            if self._is_postponed(operation):
                continue
            if operation.kind is OperationKind.DRILL:
                self._settle_drill(operation)
            elif operation.id not in intents:
                self._settle_move(operation)

    def _settle_move(self, operation: Operation) -> None:
        state, fault = OperationState.DONE, None
        if not self._is_achieved(operation):
            state = OperationState.FAILED
            text = "The coordinator stopped, and what was begun was taken back or never recorded."
            fault = Fault("interrupted", text, "Look at drsync charter show, then ask again.", EXIT_FAILED)
        ended_us = self._world.clock.wall_us()
        self._evidence.end(replace(operation, state=state, error=fault, ended_us=ended_us))

    def _is_achieved(self, operation: Operation) -> bool:
        """Whether the charters it wrote brought the target a new epoch, although nobody noted the end."""
        charter = next((c for c in self._store.all() if c.group.name == operation.group), None)
        return charter is not None and is_achieved(
            self._store, charter.group.id, operation.id, operation.target
        )

    def _is_postponed(self, operation: Operation) -> bool:
        """Whether it follows a runbook and is gone on with later; one that cannot be read is ended."""
        try:
            return self._operations.postpone(operation)
        except DrsyncError as error:
            self._journal.event("runbook_unreadable", str(error), group=operation.group)
            return False

    def _settle_drill(self, operation: Operation) -> None:
        text = "The coordinator stopped during the drill."
        fault = Fault("interrupted", text, "Run the drill again.", EXIT_FAILED)
        ended_us = self._world.clock.wall_us()
        self._evidence.end(replace(operation, state=OperationState.FAILED, error=fault, ended_us=ended_us))
        charter = next((c for c in self._store.all() if c.group.name == operation.group), None)
        if charter is not None and self._evidence.drill(operation.id) is None:
            left = [view for view in self._evidence.open_views() if view.drill == operation.id]
            self._evidence.keep_drill(_interrupted(operation, charter, left, ended_us, text))

    async def _close_left_views(self) -> None:
        """Views of drills that no longer run are closed as soon as their center is there."""
        for view in self._evidence.open_views():
            is_busy = self._operations.is_drilling(view.drill) or self._operations.is_postponed(view.drill)
            if is_busy or not self._sessions.is_connected(view.center):
                continue
            log = StepLog(self._world.clock, _nobody)
            cleanup = await close_view(self._world, self._evidence, view, log)
            if cleanup.is_proved:
                text = f"view {view.view} at {view.center} is gone"
                self._journal.event("view_closed", text, center=view.center)
                self._prove(view, cleanup)

    def _prove(self, view: OpenView, cleanup: Cleanup) -> None:
        """Write the late proof into the drill's report. The verdict stays: it was not clean when it ended."""
        report = self._evidence.drill(view.drill)
        if report is None:
            return
        late = replace(cleanup, detail=f"{cleanup.detail}, after the drill had ended")
        rest = tuple(c for c in report.cleanup if (c.center, c.view) != (view.center, view.view))
        self._evidence.keep_drill(replace(report, cleanup=(*rest, late)))


def _nobody(_step: Step) -> None:
    """Nobody counts these steps."""


def _interrupted(
    operation: Operation, charter: Charter, left: list[OpenView], ended_us: int, text: str
) -> DrillReport:
    aims = charter.group.objectives
    return DrillReport(
        id=operation.id,
        group=operation.group,
        center=operation.target,
        owner=charter.owner,
        epoch=charter.epoch,
        position=0,
        point=None,
        actor=operation.actor,
        reason=operation.reason,
        started_us=operation.started_us,
        ended_us=ended_us,
        rpo_s=None,
        remote_lag_s=None,
        rto_s=None,
        rto_steps=(),
        total_s=max(0.0, (ended_us - operation.started_us) / 1e6),
        rpo_target_s=aims.rpo_s,
        rto_target_s=aims.rto_s,
        verdict=Verdict.FAILED,
        content=Content.NOT_CHECKED,
        reasons=(text,),
        volumes=(),
        cleanup=tuple(Cleanup(view.center, view.view, is_proved=False, detail=text) for view in left),
        steps=operation.steps,
    )
