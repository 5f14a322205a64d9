"""Operations under way: one change of owner per group, one drill per group, and who waits for them.

Running them is the engine's; this file starts, supersedes, resumes and records them.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass, field, replace
from functools import partial

from drsync.adapters.sqlite.evidence import SqliteEvidence
from drsync.coordinator.journal import Journal
from drsync.coordinator.runbook_operations import Planned, RunbookDesk
from drsync.core.loss import LossStatement
from drsync.core.plan import Plan, Refuse
from drsync.engine.procedure_drill import DrillRequest, DrillRunner
from drsync.engine.procedure_steps import StepLog
from drsync.engine.procedure_world import ProcedureWorld
from drsync.engine.procedures import Outcome, ProcedureRunner, Request
from drsync.model import epoch as epochs
from drsync.model.charter import Charter, Intent, IntentKind
from drsync.model.drill import DrillReport, Verdict
from drsync.model.errors import DrsyncError, RefusedError, TransientError
from drsync.model.operation import Fault, Operation, OperationKind, OperationState, Step
from drsync.model.runbook import RunMode

Json = dict[str, object]

EXIT_FAILED, EXIT_REFUSED, EXIT_NOT_REACHED = 1, 3, 4
Spawn = Callable[[Coroutine[None, None, None]], "asyncio.Task[None]"]


@dataclass(slots=True)
class Live:
    """An operation under way, and everybody who waits for news of it. Implements `Progress`.

    `gives_way`: it is being ended for another, and keeps its place until that takes it, so that nobody begins
    a third in between.
    """

    operation: Operation
    group_id: str
    evidence: SqliteEvidence
    waits_for: str = ""
    until: float | None = None
    task: "asyncio.Task[None] | None" = None
    steps: list[Step] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    gives_way: bool = False
    about_points: Callable[[str], Json] | None = None

    def stepped(self, step: Step) -> None:
        """See Progress."""
        self.evidence.step(self.operation.id, step)
        self.steps.append(step)
        self._tell()

    def stated(self, loss: LossStatement) -> None:
        """See Progress."""
        points = {} if self.about_points is None else {"points": self.about_points(loss.target)}
        self.operation = replace(self.operation, loss=asdict(loss) | points)

    def waiting(self, reason: str, until: float | None) -> None:
        """See Progress."""
        self.waits_for, self.until = reason, until

    def end(self, operation: Operation) -> None:
        """It has ended; nothing changes any more."""
        self.operation = operation
        self.evidence.end(operation)
        self.waits_for = ""
        self._tell()

    def _tell(self) -> None:
        self.operation = replace(self.operation, steps=tuple(self.steps))
        self.changed.set()
        self.changed = asyncio.Event()


class Operations:
    """All operations of this process."""

    def __init__(
        self,
        world: ProcedureWorld,
        evidence: SqliteEvidence,
        journal: Journal,
        books: RunbookDesk,
        spawn: Spawn,
    ) -> None:
        self._world = world
        self._evidence = evidence
        self._journal = journal
        self.books = books
        self._spawn = spawn
        self._postponed: dict[str, tuple[Operation, Planned]] = {}
        self._live: dict[str, Live] = {}
        self._moves: dict[str, Live] = {}
        self._drills: dict[str, Live] = {}
        self.about_points: Callable[[Charter, str], Json] = lambda charter, target: {}
        """What is known of the recovery points at a center, for the loss statement of an opening there."""
        self.ended_at: dict[str, float] = {}
        """When the last change of owner of a group ended, by the coordinator's clock."""
        self.last_state: dict[str, OperationState] = {}
        """How it ended."""

    # --- questions

    def move(self, group_id: str) -> Live | None:
        """The change of owner under way."""
        return self._moves.get(group_id)

    def running(self) -> list[str]:
        """The kind of each operation under way."""
        return [live.operation.kind.value for live in (*self._moves.values(), *self._drills.values())]

    def is_drilling(self, drill_id: str) -> bool:
        """Whether that drill is under way here."""
        return any(live.operation.id == drill_id for live in self._drills.values())

    def is_postponed(self, operation_id: str) -> bool:
        """Whether it follows a runbook and is still to be gone on with."""
        return operation_id in self._postponed

    def find(self, operation_id: str) -> Operation | None:
        """An operation, running or ended."""
        live = self._live.get(operation_id)
        return live.operation if live is not None else self._evidence.operation(operation_id)

    async def wait(self, operation_id: str, after: int, wait_s: float) -> Operation | None:
        """As `find`, but not before there are steps above `after`, it ended, or `wait_s` passed."""
        live = self._live.get(operation_id)
        if live is None:
            return self._evidence.operation(operation_id)
        deadline = asyncio.get_running_loop().time() + wait_s
        try:
            async with asyncio.timeout_at(deadline):
                while live.operation.state is OperationState.RUNNING and len(live.steps) <= after:
                    await live.changed.wait()
        except TimeoutError:
            pass
        return live.operation

    # --- changes of owner

    async def start_move(
        self, charter: Charter, request: Request, planned: Planned | None = None
    ) -> Operation:
        """Start one. A failover takes the place of anything smaller that is under way.

        With `planned` the steps of a runbook are followed; it has one that promotes.

        Raises:
            RefusedError: another one is under way.
        """
        while (running := self._moves.get(charter.group.id)) is not None:  # another may have been quicker
            kind = running.operation.kind
            if request.kind is not IntentKind.FAILOVER or kind is OperationKind.FAILOVER:
                raise _in_progress(running.operation)
            await self._supersede(running)
        if request.kind is not IntentKind.OPEN:  # that one serves whatever goes on
            self._settle_postponed(charter, request)
        return self._begin(charter, request, steps=(), has_begun=False, planned=planned)

    async def give_way(self, charter: Charter) -> None:
        """End whatever is under way for a group: a new store generation takes its place."""
        while (running := self._moves.get(charter.group.id)) is not None:
            await self._supersede(running)
        operation = self._waiting_run(charter, is_drill=False)
        if operation is not None:
            self._end_postponed(charter, operation)

    def _settle_postponed(self, charter: Charter, request: Request) -> None:
        """A move that waits for the centers after a restart counts as under way."""
        operation = self._waiting_run(charter, is_drill=False)
        if operation is None:
            return
        if request.kind is not IntentKind.FAILOVER or operation.kind is OperationKind.FAILOVER:
            raise _in_progress(operation)
        self._end_postponed(charter, operation)

    def _end_postponed(self, charter: Charter, operation: Operation) -> None:
        del self._postponed[operation.id]
        self._end(
            Live(operation, charter.group.id, self._evidence, steps=list(operation.steps)),
            _superseded(operation),
        )

    def _waiting_run(self, charter: Charter, *, is_drill: bool) -> Operation | None:
        """A change of owner, or a drill, of an earlier process that is still to be gone on with."""
        for operation, planned in self._postponed.values():
            is_same_kind = (planned.run.mode is RunMode.DRILL) is is_drill
            if planned.run.group_id == charter.group.id and is_same_kind:
                return operation
        return None

    def resume(self, charter: Charter, intent: Intent) -> Operation:
        """Go on with the intent that the charter bears; the operation's own words win if they are known.

        If these are not what the intent says, it was given up: it is taken back, and not begun again.
        """
        self.resume_runs(charter)
        running = self._moves.get(charter.group.id)
        if running is not None:
            return running.operation  # its runbook goes on with the intent
        known = self._evidence.operation(intent.id)
        kind, target = intent.kind, intent.target
        if known is not None and known.kind is not OperationKind.DRILL:
            kind, target = IntentKind(known.kind.value), known.target
        request = Request(
            charter.group.id,
            kind,
            target,
            intent.id,
            intent.actor,
            intent.reason,
            intent.accept_loss,
            intent.started_us,
        )
        self._journal.about(charter, "resumed", f"going on with the {kind.value} to {target}", target)
        is_given_up = (kind, target) != (intent.kind, intent.target)
        steps = known.steps if known else ()
        return self._begin(charter, request, steps=steps, has_begun=True, is_given_up=is_given_up)

    # --- runbooks that an earlier process left unfinished

    def postpone(self, operation: Operation) -> bool:
        """Whether it follows a runbook; then `resume_runs` goes on with it when the centers are back.

        Raises:
            RunbookError: the runbook that was kept cannot be read by this version.
        """
        planned = self.books.kept(operation.id)
        if planned is None:
            return False
        self._postponed[operation.id] = (operation, planned)
        return True

    def resume_runs(self, charter: Charter) -> None:
        """Go on with changes of owner, and take drills back, that follow a runbook."""
        for operation, planned in list(self._postponed.values()):
            if planned.run.group_id != charter.group.id:
                continue
            del self._postponed[operation.id]
            text = f"going on with the {planned.run.mode.value} that follows the runbook {planned.book.name}"
            self._journal.about(charter, "resumed", text, operation.target)
            if planned.run.mode is RunMode.DRILL:
                self._begin_drill(charter, operation, planned, is_given_up=True)
            else:
                live = self._enter(charter, operation, operation.steps)
                self._moves[charter.group.id] = live
                live.task = self._spawn(
                    self._run_move(live, partial(self._book_move, live, charter, planned))
                )

    async def _book_move(self, live: Live, charter: Charter, planned: Planned) -> Operation:
        log = StepLog(self._world.clock, live.stepped, live.steps[-1].n if live.steps else 0)
        ended = await self.books.move(planned, charter, live, log, live.operation)
        return replace(ended, loss=live.operation.loss)  # stated meanwhile

    async def examine(self, charter: Charter, request: Request) -> Operation:
        """A dry run: the loss statement and whether it would be refused; nothing is kept."""
        live = Live(_operation(charter, request), charter.group.id, self._evidence)
        live.about_points = partial(self.about_points, charter)
        plan, _ = await ProcedureRunner(self._world, request, live).examine()
        return self._judged(live.operation, plan)

    def judged(self, charter: Charter, request: Request, plan: Plan, stated: LossStatement) -> Operation:
        """As `examine`, of a plan that was made elsewhere."""
        loss = asdict(stated) | {"points": self.about_points(charter, stated.target)}
        return self._judged(replace(_operation(charter, request), loss=loss), plan)

    def _judged(self, operation: Operation, plan: Plan) -> Operation:
        ended = replace(operation, state=OperationState.DONE, ended_us=self._world.clock.wall_us())
        if isinstance(plan, Refuse):
            text = " ".join(reason.sentence for reason in plan.reasons)
            remedy = " ".join(reason.remedy for reason in plan.reasons)
            fault = Fault(plan.reasons[0].code, text, remedy, EXIT_REFUSED)
            return replace(ended, state=OperationState.REFUSED, error=fault)
        return replace(ended, result={"dry_run": True})

    def _begin(
        self,
        charter: Charter,
        request: Request,
        steps: tuple[Step, ...],
        *,
        has_begun: bool,
        is_given_up: bool = False,
        planned: Planned | None = None,
    ) -> Operation:
        if planned is not None:
            self.books.keep(planned)
        live = self._enter(charter, _operation(charter, request), steps)
        self._moves[charter.group.id] = live
        if planned is not None:
            live.task = self._spawn(self._run_move(live, partial(self._book_move, live, charter, planned)))
            return live.operation
        runner = ProcedureRunner(
            self._world,
            request,
            live,
            has_begun=has_begun,
            is_given_up=is_given_up,
            steps_before=steps[-1].n if steps else 0,
        )
        live.task = self._spawn(self._run_move(live, partial(self._plain_move, live, runner)))
        return live.operation

    async def _plain_move(self, live: Live, runner: ProcedureRunner) -> Operation:
        outcome = await runner.run()
        return _ended(live.operation, outcome)

    async def _run_move(self, live: Live, work: Callable[[], Coroutine[None, None, Operation]]) -> None:
        try:
            ended = await work()
        except asyncio.CancelledError:
            live.waits_for = ""
            raise  # the operation stays as running: the next start, or the failover, goes on
        except Exception as error:  # noqa: BLE001  # a bug ends this operation, not the coordinator
            self._journal.bug(f"{live.operation.kind} of {live.operation.group}", error)
            ended = _failed(live.operation, Fault("bug", repr(error), "Report it; see the log.", EXIT_FAILED))
        finally:
            if not live.gives_way:
                self._leave(self._moves, live)
        self._end(live, ended)

    async def _supersede(self, live: Live) -> None:
        """End it. Whoever asked goes on at once, with nothing in between: then its place is free."""
        assert live.task is not None
        live.gives_way = True
        live.task.cancel()
        try:
            await asyncio.wait([live.task])
        finally:
            self._leave(self._moves, live)
        if self._live.get(live.operation.id) is live:  # it may have ended by itself
            self._end(live, _superseded(live.operation))

    # --- drills

    def start_drill(
        self, charter: Charter, request: DrillRequest, planned: Planned | None = None
    ) -> Operation:
        """Start one, with `planned` by the steps of a runbook. Raises RefusedError: one is under way."""
        running = self._drills.get(charter.group.id)
        earlier = running.operation if running is not None else self._waiting_run(charter, is_drill=True)
        if earlier is not None:
            raise _in_progress(earlier)
        operation = Operation(
            request.id,
            OperationKind.DRILL,
            charter.group.name,
            request.center,
            request.actor,
            request.reason,
            request.started_us,
        )
        if planned is not None:
            self.books.keep(planned)
            return self._begin_drill(charter, operation, planned)
        live = self._enter(charter, operation, ())
        self._drills[charter.group.id] = live
        log = StepLog(self._world.clock, live.stepped)
        runner = DrillRunner(self._world, self._evidence, request, log)
        live.task = self._spawn(self._run_drill(live, runner.run(charter, live.steps)))
        return live.operation

    def _begin_drill(
        self, charter: Charter, operation: Operation, planned: Planned, *, is_given_up: bool = False
    ) -> Operation:
        live = self._enter(charter, operation, operation.steps)
        self._drills[charter.group.id] = live
        log = StepLog(self._world.clock, live.stepped, live.steps[-1].n if live.steps else 0)
        work = self.books.drill(planned, charter, live, log, live.steps, is_given_up=is_given_up)
        live.task = self._spawn(self._run_drill(live, work))
        return live.operation

    async def _run_drill(self, live: Live, work: Coroutine[None, None, DrillReport]) -> None:
        try:
            report = await work
            self._evidence.keep_drill(report)
            ended = replace(
                live.operation,
                state=OperationState.FAILED if report.verdict is Verdict.FAILED else OperationState.DONE,
                result={"drill": report.id, "verdict": report.verdict.value, "report": asdict(report)},
                error=_fault_of(report.verdict, report.reasons),
            )
        except DrsyncError as error:
            ended = _failed(live.operation, _fault(error))
        except Exception as error:  # noqa: BLE001  # a bug ends this operation, not the coordinator
            self._journal.bug(f"drill of {live.operation.group}", error)
            ended = _failed(live.operation, Fault("bug", repr(error), "Report it; see the log.", EXIT_FAILED))
        finally:
            self._leave(self._drills, live)
        self._end(live, ended)

    # --- both

    def _enter(self, charter: Charter, operation: Operation, steps: tuple[Step, ...]) -> Live:
        live = Live(replace(operation, steps=steps), charter.group.id, self._evidence, steps=list(steps))
        live.about_points = partial(self.about_points, charter)
        self._evidence.begin(operation)
        self._live[operation.id] = live
        text = f"{_title(operation)} asked for by {operation.actor or 'drsync'}"
        self._journal.about(charter, f"{operation.kind.value}_started", text, operation.target)
        return live

    def _leave(self, table: dict[str, Live], live: Live) -> None:
        if table.get(live.group_id) is live:
            del table[live.group_id]

    def _end(self, live: Live, operation: Operation) -> None:
        live.end(replace(operation, steps=tuple(live.steps), ended_us=self._world.clock.wall_us()))
        self._live.pop(operation.id, None)
        if operation.kind is not OperationKind.DRILL:
            self.ended_at[live.group_id] = self._world.clock.now()
            self.last_state[live.group_id] = operation.state
        text = operation.error.message if operation.error else f"{_title(operation)} done"
        kind = f"{operation.kind.value}_{operation.state.value}"
        self._journal.event(kind, text, group=operation.group, center=operation.target)


def _operation(charter: Charter, request: Request) -> Operation:
    return Operation(
        request.id,
        OperationKind(request.kind.value),
        charter.group.name,
        request.target,
        request.actor,
        request.reason,
        request.started_us,
    )


def _in_progress(operation: Operation) -> RefusedError:
    remedy = "Wait for it; drsync why shows what it waits for."
    return RefusedError(f"a {_title(operation)} is under way", code="in_progress", remedy=remedy)


def _superseded(operation: Operation) -> Operation:
    return _failed(operation, Fault("superseded", "A failover took its place.", "", EXIT_FAILED))


def _title(operation: Operation) -> str:
    word = "to" if operation.kind in {OperationKind.SWITCHOVER, OperationKind.FAILOVER} else "at"
    return f"{operation.kind.value} {word} {operation.target}"


def _ended(operation: Operation, outcome: Outcome) -> Operation:
    charter = outcome.charter
    result: dict[str, object] = {"text": outcome.text}
    if charter is not None:
        result |= {"owner": charter.owner, "epoch": charter.epoch, "epoch_text": epochs.show(charter.epoch)}
    if outcome.state is OperationState.DONE:
        return replace(operation, state=outcome.state, result=result)
    remedy = " ".join(reason.remedy for reason in outcome.reasons)
    message = " ".join(reason.sentence for reason in outcome.reasons) or outcome.text
    code = outcome.reasons[0].code if outcome.reasons else "failed"
    exit_code = EXIT_REFUSED if outcome.state is OperationState.REFUSED else EXIT_NOT_REACHED
    return replace(
        operation, state=outcome.state, result=result, error=Fault(code, message, remedy, exit_code)
    )


def _failed(operation: Operation, fault: Fault) -> Operation:
    state = OperationState.REFUSED if fault.exit == EXIT_REFUSED else OperationState.FAILED
    return replace(operation, state=state, error=fault)


def _fault(error: DrsyncError) -> Fault:
    exit_code = EXIT_FAILED
    if isinstance(error, RefusedError):
        exit_code = EXIT_REFUSED
    elif isinstance(error, TransientError):
        exit_code = EXIT_NOT_REACHED
    return Fault(error.code, str(error), error.remedy, exit_code)


def _fault_of(verdict: Verdict, reasons: tuple[str, ...]) -> Fault | None:
    if verdict is not Verdict.FAILED:
        return None
    return Fault("drill_failed", " ".join(reasons), "Read the report: drsync drill report.", EXIT_FAILED)
