"""The procedure runner: observe, ask the plan, perform its commands, and again until there is an end.

It decides nothing about safety; `core` does. It may stop, be killed, or run twice at any point: the next
round starts from what is there. What is its own: deadlines, the record of steps, and the rule that an
unknown outcome is read back before anything else is done.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from drsync.core.lease import LeaseBook
from drsync.core.loss import loss
from drsync.core.observation import Observation
from drsync.core.plan import (
    Act,
    Command,
    CommitCharter,
    Done,
    FinishIntent,
    Freeze,
    OpenGroup,
    Plan,
    Prepare,
    RecordIntent,
    Refuse,
    Release,
    Seal,
    VoidIntent,
    Wait,
)
from drsync.core.procedure import Way, decide, forward
from drsync.core.safety import Reason
from drsync.engine.decisions import Decision
from drsync.engine.procedure_steps import Note, Progress, StepLog
from drsync.engine.procedure_world import Json, ProcedureWorld, ask_all, statement_in
from drsync.model import epoch as epochs
from drsync.model.charter import Charter, IntentKind
from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import NEVER, Epoch
from drsync.model.errors import DrsyncError, TransientError
from drsync.model.operation import OperationState
from drsync.ports.charter_store import CasOutcome
from drsync.wire import control

POLL_S = 0.1  # because draining and leases end within tenths of a second, and asking costs a millisecond
ANSWER_TIMEOUT_S = 3.0  # because a seal is one fsync; a disk that needs longer is not one to open on
OPEN_TIMEOUT_S = 30.0  # because a long journal is indexed first
PREPARE_TIMEOUT_S = 60.0  # because the tail of a donor is fetched and synced
PROCEDURE_S = 120.0  # because a lease and a tail fit several times, and a person is waiting
GIVING_UP_S = 30.0  # because the way back is an opening of a copy that served a moment ago
ANSWERING = frozenset((CopyState.OWNER, CopyState.FROZEN))


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted. `id` becomes the intent's; the rest goes into it unchanged."""

    group_id: str
    kind: IntentKind
    target: str
    id: str
    actor: str = ""
    reason: str = ""
    accept_loss: bool = False
    started_us: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended.

    Attributes:
        state: DONE; REFUSED: nothing was changed; FAILED: not done in time, or aborted.
        text: one sentence.
        reasons: why it was refused or given up.
        charter: in force at the end, if it could be read.
    """

    state: OperationState
    text: str
    reasons: tuple[Reason, ...] = ()
    charter: Charter | None = None


_GIVEN_UP_TEXT = "It was given up before the coordinator stopped."
GIVEN_UP = Outcome(
    OperationState.FAILED,
    _GIVEN_UP_TEXT,
    (Reason("interrupted", _GIVEN_UP_TEXT, "Look at drsync status, then ask again."),),
)
"""Of a procedure that was being taken back when its runner ended."""


class RoundEndedError(Exception):
    """A command could not be completed: look again. Never leaves this file."""


class ProcedureRunner:
    """Runs one request to its end. One use."""

    def __init__(
        self,
        world: ProcedureWorld,
        request: Request,
        progress: Progress,
        *,
        has_begun: bool = False,
        is_given_up: bool = False,
        steps_before: int = 0,
    ) -> None:
        """Prepare a run.

        Args:
            world: surroundings.
            request: what is wanted; when going on after a restart, the original request.
            progress: is told.
            has_begun: its intent was seen in the charter by an earlier runner.
            is_given_up: an earlier runner was taking it back: only that is gone on with.
            steps_before: steps that an earlier runner recorded.
        """
        self._request = request
        self._store = world.store
        self._members = world.members
        self._desk = world.desk
        self._decisions = world.decisions
        self._performed = world.performed
        self._clock = world.clock
        self._random = world.random
        self._progress = progress
        self._has_begun = has_begun
        self._is_given_up = is_given_up
        self._begun_epoch = NEVER
        self._frozen_since: float | None = None
        self._log = StepLog(world.clock, progress.stepped, steps_before)

    async def run(self, seconds: float = PROCEDURE_S) -> Outcome:
        """Go on until it is done, refused, or `seconds` have passed; then take it back as far as possible."""
        if self._is_given_up:
            return await self._take_back(GIVEN_UP)
        outcome = await self._drive(Way.FORWARD, self._clock.now() + seconds)
        if outcome.state is OperationState.DONE:
            return outcome
        return await self._take_back(outcome)

    async def examine(self) -> tuple[Plan, Observation]:
        """What would happen first, with the loss stated; nothing is changed. For a dry run."""
        seen = await self._observe()
        self._progress.stated(loss(seen))
        return forward(seen), seen

    # --- rounds

    async def _drive(self, way: Way, deadline: float) -> Outcome:
        waits_for = "the charter store cannot be reached"
        seen: Observation | None = None
        while True:
            try:
                seen = await self._observe()
                step = decide(way, seen)
                self._decisions.decided(Decision(way, seen, step))
                if isinstance(step, Act):
                    await self._act(step, seen)
                    continue
                if not isinstance(step, Wait):
                    return self._ended(step, seen)
                waits_for, until = step.reason, step.until
            except (RoundEndedError, TransientError) as error:
                waits_for, until = str(error), None
            now = self._clock.now()
            if now >= deadline:
                self._log.end_wait()
                reason = Reason(
                    "timeout", f"Not done in time: {waits_for}.", "drsync why shows what it waits for."
                )
                return Outcome(OperationState.FAILED, waits_for, (reason,), seen.charter if seen else None)
            self._log.wait(waits_for)
            self._progress.waiting(waits_for, until)
            await self._clock.sleep_until(min(now + POLL_S, until if until and until > now else now + POLL_S))

    def _ended(self, step: Done | Refuse, seen: Observation) -> Outcome:
        self._log.end_wait()
        self._progress.waiting("", None)
        if isinstance(step, Done):
            return Outcome(OperationState.DONE, step.outcome, (), seen.charter)
        if seen.kind is IntentKind.FAILOVER and not seen.has_begun:
            self._progress.stated(loss(seen))  # what the person would have to accept
        text = " ".join(str(reason) for reason in step.reasons)
        return Outcome(OperationState.REFUSED, text, step.reasons, seen.charter)

    async def _take_back(self, outcome: Outcome) -> Outcome:
        """Leave no intent behind, and an owner that serves if one can."""
        back = await self._drive(Way.BACK, self._clock.now() + GIVING_UP_S)
        if back.state is OperationState.FAILED:
            text = f"{outcome.text} Taking it back waits: {back.text}"
            return replace(outcome, state=OperationState.FAILED, text=text, charter=back.charter)
        return replace(outcome, charter=back.charter)

    # --- observing

    async def _observe(self) -> Observation:
        request = self._request
        charter = await self._store.read(request.group_id)
        if charter is None:
            raise TransientError("the charter store does not know the group")
        names = [member.name for member in charter.group.members]
        words = await ask_all(self._members, request.group_id, names)
        heard = {name: self._desk.heard(request.group_id, word) for name, word in words.items()}
        seen = Observation(
            charter=charter,
            statements=heard,
            now=self._clock.now(),
            lease=self._lease(charter, heard),
            kind=request.kind,
            target=request.target,
            intent_id=request.id,
            uuid=self._random.hex128(),
            actor=request.actor,
            reason=request.reason,
            accept_loss=request.accept_loss,
            started_us=request.started_us,
            has_begun=self._has_begun,
            store_ready=self._desk.store_ready(request.group_id),
            last_known=self._desk.last_known(request.group_id),
            frozen_since=self._frozen(charter, heard),
        )
        if seen.is_recorded and not self._has_begun:
            self._has_begun, self._begun_epoch = True, charter.epoch
        return replace(seen, has_begun=self._has_begun, begun_epoch=self._begun_epoch)

    def _lease(self, charter: Charter, heard: Mapping[str, Statement]) -> LeaseBook:
        """The lease; over when its holder says it serves nothing: only a new charter opens it again."""
        lease = self._desk.lease(charter.group.id)
        word = heard.get(lease.holder)
        if word is None or word.state in ANSWERING or lease.holder != charter.owner:
            return lease
        if (word.session, word.promised) == (
            charter.owner_session,
            charter.epoch,
        ) and word.follow < charter.epoch:
            return lease  # it is about to open
        self._desk.released(charter.group.id, lease.holder, Epoch(charter.epoch + 1))
        return self._desk.lease(charter.group.id)

    def _frozen(self, charter: Charter, heard: Mapping[str, Statement]) -> float | None:
        word = heard.get(charter.owner)
        if word is not None and word.state is CopyState.FROZEN and self._frozen_since is None:
            self._frozen_since = self._clock.now()
        return self._frozen_since

    # --- performing

    async def _act(self, act: Act, seen: Observation) -> None:
        self._progress.waiting("", None)
        for command in act.commands:
            if isinstance(command, RecordIntent | CommitCharter):
                self._progress.stated(loss(seen))
            try:
                await self._perform(command, seen)
            except DrsyncError as error:
                raise RoundEndedError(str(error)) from error
            self._performed(seen.charter.group.id, command)

    async def _perform(self, command: Command, seen: Observation) -> None:
        group, intent = seen.charter.group.id, seen.intent_id
        match command:
            case RecordIntent():
                charter = replace(seen.charter, version=seen.charter.version + 1, intent=command.intent)
                await self._swap("charter.intent", command.intent.from_version, charter)
            case CommitCharter():
                await self._swap("charter.commit", command.expected_version, command.charter)
            case FinishIntent():
                await self._swap("charter.finish", command.expected_version, command.charter)
            case VoidIntent():
                await self._swap("charter.void", command.expected_version, command.charter)
            case Seal():
                body: Json = {"group": group, "epoch": command.epoch, "intent": intent}
                await self._call(command.center, "group.seal", body, ANSWER_TIMEOUT_S)
            case Freeze():
                epoch = seen.charter.epoch  # the one that is to end
                body = {"group": group, "epoch": epoch, "intent": intent, "target": seen.target}
                await self._call(command.center, "group.freeze", body, ANSWER_TIMEOUT_S)
                self._frozen_since = self._frozen_since or self._clock.now()
            case Release():
                # The epoch the holder owns: what it gives back, not the one to come.
                body = {"group": group, "epoch": seen.charter.epoch}
                await self._call(command.center, "group.release", body, ANSWER_TIMEOUT_S)
                self._desk.released(group, command.center, command.epoch)
            case Prepare():
                await self._call(command.center, "group.prepare", _prepare(group, command), PREPARE_TIMEOUT_S)
            case OpenGroup():
                body = {"group": group, "charter": control.to_json(command.charter)}
                await self._call(command.center, "group.open", body, OPEN_TIMEOUT_S)

    async def _call(self, center: str, method: str, body: Json, timeout_s: float) -> None:
        with self._log.step(method, center) as note:
            answer = await self._members.call(center, method, body, timeout_s)
            word = self._desk.heard(self._request.group_id, statement_in(answer))
            note.detail = (
                f"{word.state.value} at {word.appended}, promised epoch {epochs.show(word.promised)}"
            )

    async def _swap(self, name: str, expected_version: int, charter: Charter) -> None:
        with self._log.step(name) as note:
            result = await self._store.compare_and_set(expected_version, charter)
            if result.outcome is CasOutcome.DONE:
                note.detail = _about(charter)
                return
            _explain(note, result.outcome, result.reason)
        raise RoundEndedError(note.detail)


def _prepare(group: str, command: Prepare) -> Json:
    return {
        "group": group,
        "epoch": command.epoch,
        "history": control.history_to_json(command.history),
        "donors": list(command.donors),
    }


def _about(charter: Charter) -> str:
    text = f"version {charter.version}: {charter.owner or 'nobody'} in epoch {epochs.show(charter.epoch)}"
    return f"{text}, {charter.intent.kind.value} to {charter.intent.target}" if charter.intent else text


def _explain(note: Note, outcome: CasOutcome, reason: str) -> None:
    if outcome is CasOutcome.UNKNOWN:
        note.fail(f"outcome unknown ({reason}); reading back")
    else:
        note.fail(reason)
