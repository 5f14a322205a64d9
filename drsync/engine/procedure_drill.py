"""A drill: open an isolated copy of a recovery point, prove its content, and leave nothing behind.

Nothing it does is replicated and production goes on. Every view is recorded before it is asked for, closed
whatever happens, and counts as gone only when the agent itself answered. It measures; `core.drill` judges.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from drsync.core.drill import Findings, content_of, judge
from drsync.engine.drill_trees import DrillTrees, opened_trees
from drsync.engine.procedure_steps import StepLog
from drsync.engine.procedure_world import Json, ProcedureWorld, ask_all, number_of, text_of, texts_of
from drsync.model.charter import Charter
from drsync.model.drill import Cleanup, DrillPoint, DrillReport, OpenView, VolumeFinding
from drsync.model.errors import DrsyncError, RefusedError, TransientError
from drsync.model.operation import Step
from drsync.model.runbook import RunEvidence
from drsync.ports.evidence import Evidence

POLL_S = 0.1  # because a point reaches the drill center within tenths of a second
HOLD_TIMEOUT_S = 60.0  # because a remote center that is further behind than this is not ready for a drill
CHECKPOINT_TIMEOUT_S = 15.0  # because it waits for one commit
OPEN_TIMEOUT_S = 120.0  # because the journal up to the point is indexed first
PROBE_TIMEOUT_S = 60.0  # because it reads a few megabytes
HASH_TIMEOUT_S = 4 * 3600.0  # because every byte is read: 7 TB at 500 MB/s
CLOSE_TIMEOUT_S = 15.0  # because closing waits for nothing but running requests
MIB = 1 << 20
RTO_STEPS = ("view.open", "view.probe")
"""What a failover would spend as well; the checkpoint and the comparison are the drill's own."""


@dataclass(frozen=True, slots=True)
class DrillRequest:
    """What is wanted. `point`: name or record number of an older recovery point; empty makes a new one."""

    id: str
    group_id: str
    center: str
    point: str = ""
    actor: str = ""
    reason: str = ""
    started_us: int = 0


@dataclass(slots=True)
class Found:
    """What was measured so far."""

    point: DrillPoint | None = None
    is_fresh: bool = True
    is_comparable: bool = True
    remote_lag_s: float | None = None
    rto_s: float | None = None
    failure: str = ""
    source: dict[str, str] = field(default_factory=dict)
    drilled: dict[str, str] = field(default_factory=dict)
    filesystem: str = ""
    trees: DrillTrees = field(default_factory=DrillTrees)
    views: list[OpenView] = field(default_factory=list)
    cleanup: list[Cleanup] = field(default_factory=list)


class DrillRunner:
    """Runs one drill. One use."""

    def __init__(
        self, world: ProcedureWorld, evidence: Evidence, request: DrillRequest, log: StepLog
    ) -> None:
        self._world = world
        self._evidence = evidence
        self._request = request
        self._log = log
        self._found = Found()
        self._source: OpenView | None = None
        self._copy: OpenView | None = None
        self._tries: Counter[str] = Counter()

    async def run(self, charter: Charter, steps: Sequence[Step]) -> DrillReport:
        """Drill and report. `steps` is the list that the step log fills.

        Raises:
            RefusedError: the group or a center is in no state for a drill; nothing was opened.
        """
        self.require_ready(charter)
        began = self._world.clock.now()
        try:
            await self._open_and_compare(charter)
        except DrsyncError as error:
            self._found.failure = _sentence(str(error))
        finally:
            # Also when cancelled at a stop: what can be closed now need not wait for the next start.
            await self._clean_up()
        self._log.end_wait()
        return self._report(charter, tuple(steps), self._world.clock.now() - began)

    def require_ready(self, charter: Charter) -> None:
        """Raises RefusedError: the group or a center is in no state for a drill."""
        center, members = self._request.center, self._world.members
        if not charter.owner or not members.is_connected(charter.owner):
            raise RefusedError(
                f"the owner {charter.owner or '(none)'} is not connected",
                code="owner_not_serving",
                remedy="A drill compares with the owner: wait until it is back.",
            )
        if center == charter.owner:
            raise RefusedError(
                f"{center} is the owner", code="is_owner", remedy="Name a center that holds a replica."
            )
        if not members.is_connected(center):
            raise RefusedError(f"{center} is not connected", code="not_reached", remedy=f"Start {center}.")

    async def _open_and_compare(self, charter: Charter) -> None:
        await self.choose_point(charter)
        await self.open_copy(charter)
        await self.compare()

    # --- the parts, for a runbook that puts its own steps between them

    async def choose_point(self, charter: Charter) -> DrillPoint:
        """Make a recovery point, or take the one asked for, and wait until the drill center has it."""
        self.require_ready(charter)
        self._source = await (self._choose(charter) if self._request.point else self._mark(charter))
        await self._wait_until_held(charter)
        assert self._found.point is not None
        return self._found.point

    async def open_copy(self, charter: Charter) -> OpenView:
        """Open the copy at that point, and read from it."""
        if self._found.point is None:
            raise RefusedError(
                "there is no recovery point yet", remedy="Let repl.open need a repl.checkpoint step."
            )
        self._copy = await self._open(charter)
        return self._copy

    async def compare(self) -> None:
        """Compare the copy with its source, block by block. Raises RefusedError when they differ."""
        if self._copy is None:
            raise RefusedError("nothing is open that could be compared", remedy="Let it need repl.open.")
        self._found.is_comparable = self._source is not None
        await self._compare(self._source, self._copy)

    @property
    def view(self) -> str:
        """The id under which the copy is open; empty when it is not."""
        return self._copy.view if self._copy is not None else ""

    async def close_views(self, center: str = "") -> tuple[Cleanup, ...]:
        """Close what is open, at `center` or everywhere; what became of each."""
        wanted = [view for view in self._found.views if center in ("", view.center)]
        closed = []
        for view in reversed(wanted):
            closed.append(await close_view(self._world, self._evidence, view, self._log))
            self._found.views.remove(view)
        self._found.cleanup += closed
        return tuple(closed)

    def tell(self, failure: str, rto_s: float | None, cleanup: Sequence[Cleanup] = ()) -> None:
        """What a runbook found: why it failed (a sentence or nothing), its RTO, and its own clean-up."""
        self._found.failure = failure
        self._found.rto_s = rto_s
        self._found.cleanup += cleanup

    def report(
        self, charter: Charter, steps: Sequence[Step], total_s: float, runbook: RunEvidence | None
    ) -> DrillReport:
        """The report of what was found so far."""
        made = self._report(charter, tuple(steps), total_s)
        if runbook is None:
            return made
        counted = tuple(step.id for step in runbook.steps if step.counts)
        return replace(made, runbook=runbook, rto_steps=counted)

    # --- the point

    async def _mark(self, charter: Charter) -> OpenView:
        """A new checkpoint, and a view of exactly that position at the owner."""
        wanted = self._expect(charter, charter.owner, "source")
        name = f"drill-{self._request.id[:8]}"
        body: Json = {
            "group": charter.group.id,
            "name": name,
            "hold": True,
            "view": wanted.view,
            "for": self._request.center,
        }
        with self._log.step("group.checkpoint", charter.owner) as note:
            answer = await self._world.members.call(
                charter.owner, "group.checkpoint", body, CHECKPOINT_TIMEOUT_S
            )
            self._found.point = DrillPoint(number_of(answer, "seq"), number_of(answer, "time_us"), name)
            self._found.trees.marked(answer)
            note.detail = f"{name} at record {self._found.point.seq}"
            given = text_of(answer, "view")
        if given == wanted.view:
            return wanted
        self._forget(wanted)
        return self._remember(OpenView(wanted.drill, wanted.group_id, wanted.center, given))

    async def _choose(self, charter: Charter) -> OpenView | None:
        """An older point, and a view of it at the owner if that still reaches back so far."""
        center, group = self._request.center, charter.group.id
        self._found.is_fresh = False
        with self._log.step("group.points", center) as note:
            answer = await self._world.members.call(
                center, "group.points", {"group": group}, CHECKPOINT_TIMEOUT_S
            )
            self._found.point = point = _pick(answer, self._request.point, center)
            note.detail = f"{point.name or 'unnamed'} at record {point.seq}"
        wanted = self._expect(charter, charter.owner, "source")
        body: Json = {"group": group, "seq": point.seq, "writable": False, "id": wanted.view}
        with self._log.step("view.hold", charter.owner) as note:
            try:
                await self._world.members.call(charter.owner, "view.open", body, OPEN_TIMEOUT_S)
            except RefusedError as error:
                note.skip(str(error))
                return None
        return wanted

    async def _wait_until_held(self, charter: Charter) -> None:
        """Until the drill center has the point durably."""
        world, center, point = self._world, self._request.center, self._found.point
        assert point is not None
        began = world.clock.now()
        with self._log.step("wait.durable", center) as note:
            while True:
                words = await ask_all(world.members, charter.group.id, [center])
                word = words.get(center)
                missing = self._found.trees.missing(charter.group, word)
                if word is not None and min(word.durable, word.commit) >= point.seq and not missing:
                    break
                if world.clock.now() - began > HOLD_TIMEOUT_S:
                    at = "does not answer" if word is None else f"has only {word.durable}"
                    raise TransientError(
                        f"{center} {at} of record {point.seq}{missing} after {HOLD_TIMEOUT_S:.0f} s"
                    )
                await world.clock.sleep_until(world.clock.now() + POLL_S)
            note.detail = f"durable up to record {word.durable}{self._found.trees.words}"
        self._found.remote_lag_s = world.clock.now() - began

    # --- the copy

    async def _open(self, charter: Charter) -> OpenView:
        world, point = self._world, self._found.point
        assert point is not None
        view = self._expect(charter, self._request.center, "copy")
        began = world.clock.now()
        body: Json = {"group": charter.group.id, "seq": point.seq, "writable": True, "id": view.view}
        with self._log.step("view.open", view.center) as note:
            answer = await world.members.call(view.center, "view.open", body, OPEN_TIMEOUT_S)
            note.detail = ", ".join([*sorted(texts_of(answer, "volumes")), *opened_trees(answer)])
            if number_of(answer, "seq") != point.seq:
                raise RefusedError(f"{view.center} opened record {answer['seq']}, not {point.seq}")
        await self._probe(view)
        self._found.rto_s = world.clock.now() - began
        return view

    async def _probe(self, view: OpenView) -> None:
        """Read from the copy as an application would; an agent that cannot is no failure."""
        body: Json = {"group": view.group_id, "id": view.view}
        with self._log.step("view.probe", view.center) as note:
            try:
                answer = await self._world.members.call(view.center, "view.probe", body, PROBE_TIMEOUT_S)
            except RefusedError as error:
                note.skip(str(error))
                return
            except DrsyncError as error:
                if error.code != "unknown_method":
                    raise
                note.skip("this agent knows no probe")
                return
            self._found.filesystem = str(answer.get("filesystem", ""))
            note.detail = (
                f"{answer.get('read_bytes', 0)} bytes read, {self._found.filesystem or 'no file system'}"
            )
            if not answer.get("ok", False):
                raise RefusedError("the opened copy could not be read over NBD")

    async def _compare(self, source: OpenView | None, drilled: OpenView) -> None:
        async with asyncio.TaskGroup() as tasks:
            here = tasks.create_task(self._hash(drilled))
            there = tasks.create_task(self._hash(source)) if source is not None else None
        self._found.drilled, failure = here.result()
        self._found.source, other = there.result() if there is not None else ({}, "")
        if failure or other:
            raise TransientError(failure or other)

    async def _hash(self, view: OpenView) -> tuple[dict[str, str], str]:
        """The hashes, or why there are none; an error of one side must not cut off the other."""
        body: Json = {"group": view.group_id, "id": view.view}
        try:
            with self._log.step("view.hash", view.center) as note:
                answer = await self._world.members.call(view.center, "view.hash", body, HASH_TIMEOUT_S)
                read = self._found.trees.read_back(answer)
                note.detail = f"{number_of(answer, 'bytes') / MIB:.0f} MiB{read}"
                return texts_of(answer, "volumes"), ""
        except DrsyncError as error:
            return {}, f"{view.center}: {error}"

    # --- views

    def _expect(self, charter: Charter, center: str, part: str) -> OpenView:
        """A name for a view; a further try has another one, since the first may be open unanswered."""
        self._tries[part] += 1
        again = f"-{self._tries[part]}" if self._tries[part] > 1 else ""
        name = f"drill-{self._request.id[:16]}-{part}{again}"
        return self._remember(OpenView(self._request.id, charter.group.id, center, name))

    def _remember(self, view: OpenView) -> OpenView:
        """On record before it is asked for: from now on somebody will close it."""
        self._evidence.open_view(view)
        self._found.views.append(view)
        return view

    def _forget(self, view: OpenView) -> None:
        self._evidence.close_view(view)
        self._found.views.remove(view)

    async def _clean_up(self) -> None:
        await self.close_views()

    # --- the report

    def _report(self, charter: Charter, steps: tuple[Step, ...], total_s: float) -> DrillReport:
        found, request = self._found, self._request
        aims = charter.group.objectives
        names = [volume.name for volume in charter.group.volumes]
        systems = found.filesystem.split(", ")
        if len(systems) != len(names):
            systems = [found.filesystem] * len(names)  # an agent that gives one word for all
        volumes = tuple(map(self._finding, names, systems))
        trees = found.trees.findings(charter.group)
        rpo_s = self._rpo()
        judgement = judge(
            Findings(found.failure, volumes, found.cleanup, found.rto_s, aims.rto_s, rpo_s, aims.rpo_s, trees)
        )
        return DrillReport(
            id=request.id,
            group=charter.group.name,
            center=request.center,
            owner=charter.owner,
            epoch=charter.epoch,
            position=found.point.seq if found.point else 0,
            point=found.point,
            actor=request.actor,
            reason=request.reason,
            started_us=request.started_us,
            ended_us=self._world.clock.wall_us(),
            rpo_s=rpo_s,
            remote_lag_s=found.remote_lag_s,
            rto_s=found.rto_s,
            rto_steps=RTO_STEPS,
            total_s=total_s,
            rpo_target_s=aims.rpo_s,
            rto_target_s=aims.rto_s,
            verdict=judgement.verdict,
            content=judgement.content,
            reasons=judgement.reasons,
            volumes=volumes,
            trees=trees,
            cleanup=tuple(found.cleanup),
            steps=steps,
        )

    def _finding(self, volume: str, filesystem: str) -> VolumeFinding:
        found = self._found
        source, drilled = found.source.get(volume, ""), found.drilled.get(volume, "")
        content = content_of(source, drilled, is_comparable=found.is_comparable)
        return VolumeFinding(volume, source, drilled, content, filesystem)

    def _rpo(self) -> float | None:
        """Age of the point when the drill started; a point made by the drill counts with the wait for it."""
        found = self._found
        if found.point is None:
            return None
        if found.is_fresh:
            return found.remote_lag_s
        return max(0.0, (self._request.started_us - found.point.time_us) / 1e6)


async def close_view(world: ProcedureWorld, evidence: Evidence, view: OpenView, log: StepLog) -> Cleanup:
    """Close a view; proved only by the agent's answer. Whether there was one to close does not matter."""
    body: Json = {"group": view.group_id, "id": view.view}
    try:
        with log.step("view.close", view.center) as note:
            answer = await world.members.call(view.center, "view.close", body, CLOSE_TIMEOUT_S)
            removed = answer.get("removed")
            note.detail = "closed" if removed else "was not open"
    except DrsyncError as error:
        return Cleanup(view.center, view.view, is_proved=False, detail=str(error))
    evidence.close_view(view)
    return Cleanup(view.center, view.view, is_proved=True, detail=note.detail)


def _pick(answer: Json, wanted: str, center: str) -> DrillPoint:
    """The newest point that has the wanted name or record number."""
    points = answer.get("points")
    known = [
        DrillPoint(number_of(point, "seq"), number_of(point, "time_us"), str(point.get("name", "")))
        for point in (points if isinstance(points, list) else [])
        if isinstance(point, dict)
    ]
    fits = [point for point in known if wanted in (point.name, str(point.seq))]
    if not fits:
        raise RefusedError(
            f"{center} has no recovery point {wanted}",
            code="no_such_point",
            remedy="drsync points lists what can be opened.",
        )
    return max(fits, key=lambda point: point.seq)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
