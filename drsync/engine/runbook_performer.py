"""What each action of a runbook does: by the procedures that there are, or by the agent of a center.

Nothing is remembered here that a new coordinator could not find out: steps are performed under the name of
their run and their own, and agents answer the same to the same name.
"""

from collections.abc import Mapping
from typing import Protocol

from drsync.core.loss import LossStatement
from drsync.core.runbook_refs import replaced
from drsync.engine.procedure_drill import DrillRunner
from drsync.engine.procedure_steps import Progress, StepLog
from drsync.engine.procedure_world import Json, ProcedureWorld, number_of
from drsync.engine.procedures import Outcome, ProcedureRunner, Request
from drsync.engine.runbook_runner import Performed, StepFailedError
from drsync.model import epoch as epochs
from drsync.model.charter import Charter, IntentKind
from drsync.model.errors import DrsyncError, RefusedError, TransientError, UsageError
from drsync.model.operation import OperationState, Step
from drsync.model.runbook import SOURCE, TARGET, Action, Check, Do, Run, RunbookStep, RunMode
from drsync.ports.runs import Place, Runs

CHECK_POLL_S = 0.5  # because a service that comes up is seen soon, and asking costs a process
ANSWER_MARGIN_S = 5.0  # because an agent that ends a program at its deadline still has to say so
REMOVE_TIMEOUT_S = 60.0  # because an unmount writes back what is left, over a line that may be slow
CHECKPOINT_TIMEOUT_S = 15.0  # because it waits for one commit
NAMED = frozenset((TARGET, SOURCE))


class Achieved(Protocol):
    """Whether an earlier runner of a change of owner got to its end, although nobody noted it."""

    def __call__(self, run: Run) -> bool:
        """By the charters that were written."""
        ...


class ClusterPerformer:
    """Performs the steps of one run. `refusal`: why the group was not promoted, if safety said no."""

    def __init__(
        self,
        world: ProcedureWorld,
        runs: Runs,
        run: Run,
        charter: Charter,
        log: StepLog,
        progress: Progress,
        drill: DrillRunner | None,
        achieved: Achieved,
    ) -> None:
        self._world = world
        self._runs = runs
        self._run = run
        self._charter = charter
        self._log = log
        self._progress = progress
        self._drill = drill
        self._achieved = achieved
        self.refusal: RefusedError | None = None

    def center(self, step: RunbookStep) -> str:
        """See Performer."""
        if step.do.action is Action.CHECKPOINT:
            return self._run.source
        return self._center(step.do)

    def _center(self, do: Do) -> str:
        if do.at in NAMED:
            return self._run.source if do.at == SOURCE else self._run.target
        return do.at

    async def perform(self, step: RunbookStep, outputs: Mapping[str, str]) -> Performed:
        """See Performer."""
        done = await self._act(step, outputs)
        if step.check is not None:
            here = {**outputs, **{f"{step.id}.{key}": value for key, value in done.outputs.items()}}
            proved = await self._prove(step, step.check, here)
            done = Performed(f"{done.detail}; {proved.detail}", done.outputs, proved.evidence)
        return done

    async def undo(self, step: RunbookStep, outputs: Mapping[str, str]) -> Performed:
        """See Performer. An undo that was written is performed, and then what the action made is removed."""
        found = Performed()
        if step.undo is not None:
            if step.undo.action is Action.CLEANUP:
                found = await self._clean(self._center(step.undo))
            else:
                found = await self._ask(step, step.undo, outputs, step.timeout_s)
        if step.makes:
            removed = await self._remove(step)
            detail = "; ".join(part for part in (found.detail, removed) if part)
            found = Performed(detail, evidence=found.evidence)
        return found

    # --- actions

    async def _act(self, step: RunbookStep, outputs: Mapping[str, str]) -> Performed:
        match step.do.action:
            case Action.CHECKPOINT:
                return await self._checkpoint(step)
            case Action.OPEN:
                view = await self._drilling().open_copy(self._charter)
                return Performed(f"view {view.view}", {"seq": str(self._point(outputs))})
            case Action.COMPARE:
                await self._drilling().compare()
                return Performed("every block was read on both sides")
            case Action.PROMOTE:
                return await self._promote(step)
            case Action.CLEANUP:
                return await self._clean(self._center(step.do))
            case _:
                return await self._ask(step, step.do, outputs, step.timeout_s)

    def _drilling(self) -> DrillRunner:
        if self._drill is None:
            raise UsageError("this action belongs to drills", remedy="drsync runbook check names the step.")
        return self._drill

    @staticmethod
    def _point(outputs: Mapping[str, str]) -> str:
        return next((value for key, value in outputs.items() if key.endswith(".seq")), "")

    async def _checkpoint(self, step: RunbookStep) -> Performed:
        if self._drill is not None:
            point = await self._drill.choose_point(self._charter)
            return Performed(f"record {point.seq}", {"seq": str(point.seq)})
        name = str(step.do.values.get("name") or f"run-{self._run.id[:8]}")
        body: Json = {"group": self._charter.group.id, "name": name, "hold": False}
        answer = await self._world.members.call(
            self._run.source, "group.checkpoint", body, CHECKPOINT_TIMEOUT_S
        )
        return Performed(f"{name} at record {answer['seq']}", {"seq": str(number_of(answer, "seq"))})

    async def _promote(self, step: RunbookStep) -> Performed:
        charter = await self._world.store.read(self._charter.group.id)
        if charter is None:
            raise TransientError("the charter store does not know the group")
        has_begun = charter.intent is not None and charter.intent.id == self._run.id
        if not has_begun and self._achieved(self._run):
            return _opened(charter)
        kind = IntentKind.FAILOVER if self._run.mode is RunMode.FAILOVER else IntentKind.SWITCHOVER
        run = self._run
        request = Request(
            run.group_id, kind, run.target, run.id, run.actor, run.reason, run.accept_loss, run.started_us
        )
        runner = ProcedureRunner(
            self._world, request, _Renumbered(self._log, self._progress), has_begun=has_begun
        )
        outcome = await runner.run(step.timeout_s)
        if outcome.state is OperationState.DONE and outcome.charter is not None:
            return _opened(outcome.charter)
        error = _error(outcome)
        self.refusal = error if isinstance(error, RefusedError) else None
        raise error

    async def _clean(self, center: str) -> Performed:
        """Take away what this scope left at a center; good only when the kernel knows nothing of it."""
        body: Json = {"scope": self._run.scope}
        answer = await self._world.members.call(center, "inventory.clean", body, REMOVE_TIMEOUT_S)
        detail = cleaned(answer)
        if answer.get("left"):
            raise StepFailedError(detail)
        return Performed(detail)

    # --- agents

    async def _ask(
        self, step: RunbookStep, do: Do, outputs: Mapping[str, str], timeout_s: float
    ) -> Performed:
        """Let an agent do it. Where it may leave something is on record before it is asked."""
        center = self._center(do)
        if self._run.mode is RunMode.DRILL:
            self._runs.owe(Place(self._run.id, center, self._run.scope))
        body: Json = {
            "scope": self._run.scope,
            "item": step.id,
            "group": self._charter.group.id,
            "view": self._drill.view if self._drill is not None else "",
            "is_drill": self._run.mode is RunMode.DRILL,
            "timeout_s": timeout_s,
            "with": replaced(do.values, outputs),
        }
        answer = await self._world.members.call(center, do.action.value, body, timeout_s + ANSWER_MARGIN_S)
        detail, evidence = str(answer.get("detail", "")), str(answer.get("evidence", ""))
        if answer.get("ok") is not True:
            raise StepFailedError(detail or f"{do.action.value} did not succeed", evidence)
        named = answer.get("outputs")
        pairs = named.items() if isinstance(named, dict) else ()
        return Performed(detail, {str(key): str(value) for key, value in pairs}, evidence)

    async def _prove(self, step: RunbookStep, check: Check, outputs: Mapping[str, str]) -> Performed:
        """Ask the probe until it says yes, or its time is over."""
        clock = self._world.clock
        deadline = clock.now() + check.within_s
        while True:
            rest = max(deadline - clock.now(), CHECK_POLL_S)
            try:
                return await self._ask(step, check.probe, outputs, rest)
            except (StepFailedError, TransientError) as error:
                if clock.now() + CHECK_POLL_S >= deadline:
                    text = f"its check did not succeed within {check.within_s:g} s: {error}"
                    raise StepFailedError(text, getattr(error, "evidence", "")) from error
            await clock.sleep_until(clock.now() + CHECK_POLL_S)

    async def _remove(self, step: RunbookStep) -> str:
        """Take back what the action itself made."""
        match step.do.action:
            case Action.CHECKPOINT | Action.OPEN:
                return await self._close(step)
            case _:
                body: Json = {"scope": self._run.scope, "item": step.id}
                center = self._center(step.do)
                answer = await self._world.members.call(center, "inventory.remove", body, REMOVE_TIMEOUT_S)
                detail = cleaned(answer)
                if answer.get("left"):
                    raise StepFailedError(detail)
                return detail

    async def _close(self, step: RunbookStep) -> str:
        if self._drill is None:
            return ""
        center = self._run.source if step.do.action is Action.CHECKPOINT else self._run.target
        closed = await self._drill.close_views(center)
        left = [item for item in closed if not item.is_proved]
        if left:
            raise TransientError(f"{left[0].view} at {center} is not proved to be gone: {left[0].detail}")
        return "view closed" if closed else "no view was open"


class _Renumbered:
    """Steps of a procedure within a runbook, told under the runbook's numbers. Implements `Progress`."""

    def __init__(self, log: StepLog, progress: Progress) -> None:
        self._log = log
        self._progress = progress

    def stepped(self, step: Step) -> None:
        """See Progress."""
        self._log.adopt(step)

    def stated(self, loss: LossStatement) -> None:
        """See Progress."""
        self._progress.stated(loss)

    def waiting(self, reason: str, until: float | None) -> None:
        """See Progress."""
        self._progress.waiting(reason, until)


def cleaned(answer: Json) -> str:
    """What an agent removed and what it could not, in a sentence."""
    removed, left = answer.get("removed"), answer.get("left")
    count = len(removed) if isinstance(removed, list) else 0
    things = f"{count} thing{'' if count == 1 else 's'} removed" if count else "nothing was there"
    if isinstance(left, list) and left:
        return f"{things}; still there: {', '.join(map(str, left))}"
    return f"{things}; the kernel knows nothing of it any more"


def _opened(charter: Charter) -> Performed:
    text = epochs.show(charter.epoch)
    return Performed(f"{charter.owner} owns the group in epoch {text}", {"epoch": text})


def _error(outcome: Outcome) -> DrsyncError:
    message = " ".join(reason.sentence for reason in outcome.reasons) or outcome.text
    remedy = " ".join(reason.remedy for reason in outcome.reasons)
    code = outcome.reasons[0].code if outcome.reasons else "failed"
    kind = RefusedError if outcome.state is OperationState.REFUSED else TransientError
    return kind(message, code=code, remedy=remedy)
