"""What people order: groups, changes of owner, drills, checkpoints. From a checked form to what comes of it.

Orders come over HTTP (`api`) or from a simulated person; both name a group as people do.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from drsync.adapters.sqlite.evidence import SqliteEvidence
from drsync.coordinator import forms
from drsync.coordinator.generations import Generations
from drsync.coordinator.groups import Groups, unknown
from drsync.coordinator.objectives import Objectives
from drsync.coordinator.operations import Operations
from drsync.coordinator.runbook_operations import Planned, Sent
from drsync.coordinator.sessions import SessionTable
from drsync.engine.procedure_drill import DrillRequest
from drsync.engine.procedures import Request
from drsync.model.charter import Charter, IntentKind
from drsync.model.errors import UsageError
from drsync.model.group import GroupSpec
from drsync.model.operation import Event, Operation
from drsync.model.runbook import RunMode
from drsync.model.topology import Designation
from drsync.ports.clock import Clock, Random

Json = dict[str, object]

CHECKPOINT_TIMEOUT_S = 15.0  # because it waits for one commit


class Orders:
    """One per coordinator process. Every method raises UsageError for a name that nobody bears."""

    def __init__(  # noqa: PLR0913  # it is where everything that can be ordered comes together
        self,
        *,
        evidence: SqliteEvidence,
        sessions: SessionTable,
        operations: Operations,
        groups: Groups,
        objectives: Objectives,
        generations: Generations,
        clock: Clock,
        random: Random,
        wake: Callable[[], None],
    ) -> None:
        """`wake` is called when a group was made or changed."""
        self._evidence = evidence
        self._sessions = sessions
        self._operations = operations
        self._groups = groups
        self._objectives = objectives
        self._generations = generations
        self._clock = clock
        self._random = random
        self._wake = wake

    # --- groups

    async def apply(self, document: Mapping[str, object]) -> tuple[Charter, bool]:
        """Make or change a group; whether it is new. Raises as `Groups.apply`."""
        charter, is_new = await self._groups.apply(document)
        self._wake()
        return charter, is_new

    async def make(self, group: GroupSpec) -> Charter:
        """Make a group with ids of the caller's. Raises as `Groups.make`."""
        charter = await self._groups.make(group)
        self._wake()
        return charter

    async def checkpoint(self, group: str, form: forms.CheckpointForm) -> Json:
        """A point in the log that bears a name. Raises as a question to the owner.

        With `app_consistent` after the hooks of the group's policy; the answer says whether it is one.
        """
        charter = self._groups.find(group)
        if form.app_consistent:
            return await self._quiet_checkpoint(charter, form)
        body: Json = {"group": charter.group.id, "name": form.name, "hold": False}
        return await self._sessions.call(charter.owner, "group.checkpoint", body, CHECKPOINT_TIMEOUT_S)

    async def _quiet_checkpoint(self, charter: Charter, form: forms.CheckpointForm) -> Json:
        policy = charter.group.policy.consistency
        if not policy.before:
            raise UsageError(
                f"nothing makes the application of {charter.group.name} quiet",
                code="no_hooks",
                remedy="Name the steps in [policy.consistency] of the group's file, and apply it.",
            )
        seconds = form.timeout_s or policy.timeout_s
        body: Json = {
            "group": charter.group.id,
            "name": form.name,
            "timeout_s": seconds,
            "version": charter.version,
        }
        wait_s = 2 * seconds + policy.max_freeze_s + CHECKPOINT_TIMEOUT_S
        return await self._sessions.call(charter.owner, "group.quiet", body, wait_s)

    async def approve(self, group: str, fileset: str, form: forms.ApproveForm) -> Json:
        """A person wants the change that a tree is held for. On record before it is let through."""
        charter = self._groups.find(group)
        found, center = self._objectives.trees.held_at(charter, fileset, form.at)
        text = f"{found.name} at {center} may change as it did: {form.reason} (says {form.actor or 'nobody'})"
        self._evidence.record(Event("fileset_approved", text, charter.group.name, center, charter.epoch))
        body: Json = {"group": charter.group.id, "fileset": found.name}
        await self._sessions.call(center, "files.approve", body, CHECKPOINT_TIMEOUT_S)
        return {"group": charter.group.name, "fileset": found.name, "center": center}

    # --- operations

    async def switchover(self, group: str, form: forms.MoveForm) -> Operation:
        """Start one, or the way back. Raises RefusedError: another operation is under way."""
        charter = self._groups.find(group)
        asked = self._asked(charter, IntentKind.SWITCHOVER, form)
        mode = RunMode.FAILBACK if form.failback else RunMode.SWITCHOVER
        planned = self._planned(charter, form, mode, asked)
        return await self._operations.start_move(charter, asked, planned)

    async def failover(self, group: str, form: forms.FailoverForm) -> Operation:
        """Start one, or with `dry_run` only say what it would lose. Raises as `switchover`.

        With `without_store` in a new generation of the store: raises as `Generations.fail_over`.
        """
        if form.without_store:
            return await self._without_store(group, form)
        charter = self._groups.find(group)
        asked = replace(self._asked(charter, IntentKind.FAILOVER, form), accept_loss=form.accept_loss)
        if form.dry_run:
            return await self._operations.examine(charter, asked)
        planned = self._planned(charter, form, RunMode.FAILOVER, asked)
        return await self._operations.start_move(charter, asked, planned)

    async def _without_store(self, group: str, form: forms.FailoverForm) -> Operation:
        if form.runbook is not None:
            raise UsageError("--without-store follows no runbook", remedy="Run the other steps by hand.")
        asked = Request(
            "",
            IntentKind.FAILOVER,
            form.to,
            self._random.hex128(),
            form.actor,
            form.reason,
            form.accept_loss,
            self._clock.wall_us(),
        )
        operation = await self._generations.fail_over(group, asked, dry_run=form.dry_run)
        self._wake()
        return operation

    def drill(self, group: str, form: forms.DrillForm) -> Operation:
        """Start one. Raises as `switchover`."""
        charter = self._groups.find(group)
        at = self._groups.member(charter, form.at) if form.at else _usual_drill_center(charter)
        asked = DrillRequest(
            self._random.hex128(),
            charter.group.id,
            at,
            form.point,
            form.actor,
            form.reason,
            self._clock.wall_us(),
        )
        planned = self._planned(charter, form, RunMode.DRILL, asked)
        return self._operations.start_drill(charter, asked, planned)

    def _planned(
        self, charter: Charter, form: forms.Asked, mode: RunMode, asked: Request | DrillRequest
    ) -> Planned | None:
        """The runbook that was sent along, checked; None: the usual procedure."""
        if form.runbook is None:
            return None
        book = Sent(form.runbook.name, form.runbook.text, form.runbook.params)
        return self._operations.books.plan(charter, book, mode, asked)

    def _asked(self, charter: Charter, kind: IntentKind, form: forms.MoveForm) -> Request:
        return Request(
            charter.group.id,
            kind,
            self._groups.member(charter, form.to),
            self._random.hex128(),
            form.actor,
            form.reason,
            started_us=self._clock.wall_us(),
        )


def _usual_drill_center(charter: Charter) -> str:
    """The remote center, unless it owns the group: then any other."""
    others = [member for member in charter.group.members if member.name != charter.owner]
    if not others:
        raise UsageError(unknown("center", "remote", []), code="unknown_center")
    remote = [member for member in others if member.designation is Designation.REMOTE]
    return (remote or others)[0].name
