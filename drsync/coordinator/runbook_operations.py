"""Runbooks as operations: what was sent becomes a plan, is run or gone on with, and ends as evidence."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from drsync.adapters.sqlite.charters import SqliteCharterStore
from drsync.adapters.sqlite.evidence import SqliteEvidence
from drsync.adapters.sqlite.runs import SqliteRuns
from drsync.config.runbook import parse_runbook
from drsync.config.runbook_checks import check_cluster
from drsync.coordinator.achieved import is_achieved
from drsync.core.runbook import Ending
from drsync.engine.procedure_drill import DrillRequest, DrillRunner
from drsync.engine.procedure_steps import Progress, StepLog
from drsync.engine.procedure_world import ProcedureWorld
from drsync.engine.procedures import Request
from drsync.engine.runbook_cleanup import prove_clean
from drsync.engine.runbook_performer import ClusterPerformer
from drsync.engine.runbook_runner import RunbookRunner, RunResult
from drsync.model import epoch as epochs
from drsync.model.charter import Charter
from drsync.model.drill import DrillReport
from drsync.model.errors import UsageError
from drsync.model.operation import Fault, Operation, OperationState, Step
from drsync.model.runbook import Action, Run, Runbook, RunMode, Values

EXIT_FAILED, EXIT_REFUSED = 1, 3


@dataclass(frozen=True, slots=True)
class Planned:
    """A run and the runbook it follows, with its parameters in place."""

    run: Run
    book: Runbook


@dataclass(frozen=True, slots=True)
class Sent:
    """A runbook as it came with a request."""

    name: str
    text: str
    params: Values


class RunbookDesk:
    """Runs runbooks for `Operations`."""

    def __init__(
        self,
        world: ProcedureWorld,
        evidence: SqliteEvidence,
        runs: SqliteRuns,
        store: SqliteCharterStore,
    ) -> None:
        self._world = world
        self._evidence = evidence
        self._runs = runs
        self._store = store

    # --- plans

    def plan(self, charter: Charter, sent: Sent, mode: RunMode, asked: Request | DrillRequest) -> Planned:
        """What is wanted, checked against the group and kept.

        Raises:
            RunbookError: the runbook has mistakes, or its parameters do not fit.
            UsageError: it does not fit this group or cluster.
        """
        book = parse_runbook(sent.text.encode(), sent.name or "the runbook", sent.params)
        self._require_fit(charter, book, mode)
        run = Run(
            id=asked.id,
            group_id=charter.group.id,
            mode=mode,
            source=charter.owner,
            target=asked.center if isinstance(asked, DrillRequest) else asked.target,
            text=sent.text,
            params=sent.params,
            actor=asked.actor,
            reason=asked.reason,
            started_us=asked.started_us,
        )
        if isinstance(asked, DrillRequest):
            return Planned(replace(run, point=asked.point), book)
        return Planned(replace(run, accept_loss=asked.accept_loss), book)

    def _require_fit(self, charter: Charter, book: Runbook, mode: RunMode) -> None:
        group = charter.group
        if book.group and book.group != group.name:
            raise UsageError(
                f"the runbook {book.name} is for group {book.group}, not for {group.name}",
                remedy="Name the right group, or a runbook without spec.group.",
            )
        if not book.of_mode(mode):
            raise UsageError(
                f"the runbook {book.name} has no step in mode {mode.value}",
                remedy=f"drsync runbook show F --mode {mode.value} shows what it would do.",
            )
        if mode is not RunMode.DRILL and all(
            step.do.action is not Action.PROMOTE for step in book.of_mode(mode)
        ):
            raise UsageError(
                f"the runbook {book.name} never promotes in mode {mode.value}",
                remedy="Add a step with the action repl.promote, or use drsync without --runbook.",
            )
        volumes = {group.name: {"volumes": [volume.name for volume in group.volumes]}}
        bound = replace(book, group=group.name)
        wrong = check_cluster(bound, volumes, [member.name for member in group.members])
        if wrong:
            raise UsageError(" ".join(wrong), remedy="Mend the runbook, or give other parameters.")

    def kept(self, run_id: str) -> Planned | None:
        """The plan of an earlier process. Raises RunbookError when it cannot be read any more."""
        run = self._runs.find(run_id)
        if run is None:
            return None
        return Planned(run, parse_runbook(run.text.encode(), "the runbook kept with the run", run.params))

    def keep(self, planned: Planned) -> None:
        """Durable before anything is begun."""
        self._runs.begin(planned.run)

    # --- running

    async def drill(
        self,
        planned: Planned,
        charter: Charter,
        progress: Progress,
        log: StepLog,
        steps: Sequence[Step],
        *,
        is_given_up: bool = False,
    ) -> DrillReport:
        """A drill; `steps` is the list that `log` fills. Raises RefusedError: nothing was begun."""
        run, clock = planned.run, self._world.clock
        request = DrillRequest(
            run.id, run.group_id, run.target, run.point, run.actor, run.reason, run.started_us
        )
        drill = DrillRunner(self._world, self._evidence, request, log)
        if not is_given_up:
            drill.require_ready(charter)
        began = clock.now()
        runner, _ = self._runner(planned, charter, progress, log, drill)
        result: RunResult | None = None
        try:
            result = await runner.run(is_given_up=is_given_up)
        finally:
            # Also when cancelled at a stop: what can be removed now need not wait for the next start.
            await drill.close_views()
            owed = [place for place in self._runs.owed() if place.run == run.id]
            cleanup = [await prove_clean(self._world, self._runs, place, log) for place in owed]
        assert result is not None
        sentences = [*result.sentences, *_late(result)]
        drill.tell(" ".join(sentences), result.evidence.used_s, cleanup)
        return drill.report(charter, steps, clock.now() - began, result.evidence)

    async def move(
        self, planned: Planned, charter: Charter, progress: Progress, log: StepLog, operation: Operation
    ) -> Operation:
        """A change of owner; the operation as it ends."""
        runner, performer = self._runner(planned, charter, progress, log, None)
        result = await runner.run()
        log.end_wait()
        progress.waiting("", None)
        now = await self._world.store.read(charter.group.id) or charter
        facts: dict[str, object] = {
            "text": f"the runbook {planned.book.name} is {result.ending.value}",
            "owner": now.owner,
            "epoch": now.epoch,
            "epoch_text": epochs.show(now.epoch),
            "runbook": asdict(result.evidence),
        }
        if result.ending is Ending.DONE:
            return replace(operation, state=OperationState.DONE, result=facts)
        refusal = performer.refusal
        if refusal is not None:
            fault = Fault(refusal.code, str(refusal), refusal.remedy, EXIT_REFUSED)
            return replace(operation, state=OperationState.REFUSED, result=facts, error=fault)
        message = " ".join(result.sentences)
        owner = f"{now.owner or 'nobody'} owns {operation.group} now"
        remedy = f"{owner}. Mend what failed and run it again, or go on by hand; see drsync why."
        fault = Fault("runbook_failed", message, remedy, EXIT_FAILED)
        return replace(operation, state=OperationState.FAILED, result=facts, error=fault)

    def _runner(
        self,
        planned: Planned,
        charter: Charter,
        progress: Progress,
        log: StepLog,
        drill: DrillRunner | None,
    ) -> tuple[RunbookRunner, ClusterPerformer]:
        run = planned.run
        performer = ClusterPerformer(
            self._world, self._runs, run, charter, log, progress, drill, self._is_achieved
        )
        runner = RunbookRunner(planned.book, run, self._runs, performer, self._world.clock, log)
        return runner, performer

    def _is_achieved(self, run: Run) -> bool:
        return is_achieved(self._store, run.group_id, run.id, run.target)


def _late(result: RunResult) -> list[str]:
    """The plan's own budget, beside the group's objective."""
    used, budget = result.evidence.used_s, result.evidence.budget_s
    if used is None or used <= budget:
        return []
    return [f"The runbook took {used:.1f} s; its plan allows {budget:g} s."]
