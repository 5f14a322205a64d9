"""New generations of the charter store: a person goes on without the store that was lost (F.A 4, 22, 23).

Only asking around, recording and handing over lives here; `core.generation` decides. Once the first charter
of the generation is recorded the usual failover goes on with it, in this process or a later one.
"""

import asyncio
from dataclasses import replace

from drsync.adapters.sqlite.charters import SqliteCharterStore
from drsync.coordinator.authority import Authority
from drsync.coordinator.groups import unknown
from drsync.coordinator.journal import Journal
from drsync.coordinator.operations import Operations
from drsync.core import generation, procedure
from drsync.core.generation import Memory
from drsync.core.lease import LeaseBook
from drsync.core.loss import loss
from drsync.core.observation import Observation
from drsync.core.plan import Refuse
from drsync.core.safety import Reason
from drsync.engine.procedure_world import ProcedureWorld, seconds_of, statement_in
from drsync.engine.procedures import Request
from drsync.model.charter import Charter, Intent
from drsync.model.errors import DrsyncError, RefusedError, TransientError, UsageError
from drsync.model.operation import Operation
from drsync.ports.charter_store import CasOutcome
from drsync.wire import control

ANSWER_TIMEOUT_S = 3.0  # because an agent that lives answers from memory


class Generations:
    """One per coordinator process."""

    def __init__(
        self,
        store: SqliteCharterStore,
        authority: Authority,
        operations: Operations,
        journal: Journal,
        world: ProcedureWorld,
    ) -> None:
        self._store = store
        self._authority = authority
        self._operations = operations
        self._journal = journal
        self._world = world

    async def remembered(self, group: str) -> dict[str, Memory]:
        """What the members that are reached remember of a group, by its name or id.

        Raises:
            UsageError: neither the store nor any center that is connected knows the group.
        """
        group_id, centers = self._find(group)
        memories: dict[str, Memory] = {}

        async def ask(center: str) -> None:
            try:
                body = await self._world.members.call(
                    center, "group.remembered", {"group": group_id}, ANSWER_TIMEOUT_S
                )
                charter = control.from_json(Charter, body.get("charter"))
                bound_s = seconds_of(body, "bound_s")
                word = statement_in(body)
            except DrsyncError:
                return  # as if it could not be reached
            if word.center == center and charter.group.id == group_id:
                memories[center] = Memory(charter, word, bound_s)

        async with asyncio.TaskGroup() as tasks:
            for center in centers:
                if self._world.members.is_connected(center):
                    tasks.create_task(ask(center))
        return dict(sorted(memories.items()))

    def _find(self, group: str) -> tuple[str, list[str]]:
        for charter in self._store.all():
            if group in (charter.group.id, charter.group.name):
                return charter.group.id, [member.name for member in charter.group.members]
        lost = self._authority.unknown_groups()
        for group_id, (name, centers) in sorted(lost.items()):
            if group in (group_id, name):
                return group_id, centers
        names = [c.group.name for c in self._store.all()] + [name for name, _ in lost.values()]
        raise UsageError(unknown("group", group, names), code="unknown_group")

    async def fail_over(self, group: str, request: Request, *, dry_run: bool) -> Operation:
        """Begin a generation and open the group in it; with `dry_run` only say what that would lose.

        `request` is for a failover; its group id is filled in here. The loss must be accepted.

        Raises:
            UsageError: nobody knows the group, or the target is no member.
            RefusedError: why no generation may be begun.
            TransientError: the store did not answer clearly; asking again is harmless.
        """
        memories = await self.remembered(group)
        group_id, _ = self._find(group)
        own = self._store.get(group_id)
        _refuse(generation.objections(memories, self._authority.store_ready(group_id)))
        intent = Intent(
            request.id,
            request.kind,
            request.target,
            0,
            request.actor,
            request.reason,
            request.accept_loss,
            request.started_us,
        )
        first = generation.first_charter(memories, own, intent)
        request = replace(request, group_id=group_id)
        seen = self._observation(first, memories, request)
        step = procedure.forward(seen)
        if dry_run:
            return self._operations.judged(first, request, step, loss(seen))
        if isinstance(step, Refuse):
            _refuse(step.reasons)
        return await self._begin(own, first, request)

    def _observation(self, first: Charter, memories: dict[str, Memory], request: Request) -> Observation:
        now = self._world.clock.now()
        return Observation(
            charter=first,
            statements={center: memory.statement for center, memory in memories.items()},
            now=now,
            lease=LeaseBook.started(first, now),
            kind=request.kind,
            target=request.target,
            intent_id=request.id,
            uuid=self._world.random.hex128(),
            actor=request.actor,
            reason=request.reason,
            accept_loss=request.accept_loss,
            started_us=request.started_us,
        )

    async def _begin(self, own: Charter | None, first: Charter, request: Request) -> Operation:
        """From the record on everything can be gone on with; what was not recorded did not happen."""
        await self._operations.give_way(first)
        result = await self._store.begin_generation(own, first)
        if result.outcome is not CasOutcome.DONE:
            raise TransientError(f"the generation was not begun: {result.reason}", remedy="Ask again.")
        self._authority.generation_begun(first)
        text = f"store generation {first.generation} begun without the lost store, asked for by "
        text += f"{request.actor or 'nobody'}: {request.reason or 'no reason given'}"
        self._journal.about(first, "generation_begun", text, request.target)
        return await self._operations.start_move(first, request)


def _refuse(reasons: tuple[Reason, ...]) -> None:
    if reasons:
        text = " ".join(reason.sentence for reason in reasons)
        remedy = " ".join(reason.remedy for reason in reasons)
        raise RefusedError(text, code=reasons[0].code, remedy=remedy)
