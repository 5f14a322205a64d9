"""Self-drills of an agent: one point after another is opened in the background, and what is found is kept.

`core.self_drill` decides which; `agent.self_drill_check` checks. Nothing waits for this: whatever is asked of
a copy ends the view that is read (`engine.member`), and this finds out. See decision 24.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from drsync.agent.front_end import FrontEnd
from drsync.agent.proof_book import ProofBook
from drsync.agent.self_drill_bench import Bench
from drsync.agent.self_drill_check import Checked, Checker
from drsync.agent.self_drill_course import Course
from drsync.agent.self_drill_exports import Spawn
from drsync.core import self_drill
from drsync.core.self_drill import Candidate, Facts, Prove, Wait
from drsync.engine.member import Member
from drsync.engine.threads import in_thread
from drsync.engine.views import VIEWS_MAX, GroupView, Writes
from drsync.model.errors import DamagedError, DrsyncError, FailedCopyError
from drsync.model.opening import QUOTA_BYTES
from drsync.model.point_proof import SELF_DRILL, TEXT_MAX, Outcome, PointProof
from drsync.model.position import Position
from drsync.model.self_drill import Check, SelfDrill
from drsync.ports.clock import Clock, Random
from drsync.ports.copy_store import CopyStore

Json = dict[str, object]

LOOK_S: Final = 30.0  # because a named point should be proved soon, and looking costs milliseconds
EMPTY_S: Final = 1.0  # because looking for the first group costs nothing
LEAVE_S: Final = 5.0  # because a stop of the agent must not wait longer; what is left is swept
WATCH_S: Final = 1.0  # because what grows beside a check grows by the second
AGAIN_S: Final = 60.0  # because what failed by a bug or a full disk may fail again at once
RESERVE_BYTES: Final = 1 << 30  # because the group's own writes must never wait for the space of a view's
VIEWS_LEFT: Final = VIEWS_MAX // 2  # people and drills come first
ID_DIGITS: Final = 7  # because sockets bear the first 12 characters of a view's id


class Host(Protocol):
    """The agent, as far as this needs it."""

    def members(self) -> list[Member]:
        """All groups with a copy here."""
        ...

    def log_member(self, member: Member, event: str, reason: str) -> None:
        """A line for the night shift."""
        ...

    def proofs_changed(self) -> None:
        """The coordinator should hear soon."""
        ...

    def bug(self, where: str, error: Exception) -> None:
        """Something escaped that nobody foresaw."""
        ...


@dataclass(frozen=True, slots=True)
class Kit:
    """What an agent is given for self-drills.

    Attributes:
        book: of a group, by its id.
        bench: runs programs; None where none can be.
    """

    book: Callable[[str], ProofBook]
    bench: Bench | None = None


@dataclass(frozen=True, slots=True)
class Means:
    """What self-drills work with. `store`: the files of a copy, by the group's id."""

    kit: Kit
    store: Callable[[str], CopyStore]
    front: FrontEnd
    clock: Clock
    dice: Random
    spawn: Spawn


@dataclass(slots=True)
class _Running:
    member: Member
    view_id: str
    task: "asyncio.Task[Checked]"
    why: str = ""


class SelfDrills:
    """One per agent: one check at a time, whatever the number of groups."""

    def __init__(self, host: Host, means: Means) -> None:
        self._host = host
        self._means = means
        self._clock = means.clock
        self._courses: dict[str, Course] = {}
        self._running: _Running | None = None
        self._rest_until = 0.0
        self._began = means.clock.now()

    # --- the loop

    async def run(self) -> None:
        """Until cancelled. A bug costs a minute, and nobody anything else."""
        while True:
            wait_s = AGAIN_S
            try:
                wait_s = await self._round()
            except Exception as error:  # noqa: BLE001  # whatever escaped is a bug of this loop alone
                self._host.bug("self-drill", error)
            await self._clock.sleep_until(self._clock.now() + min(max(wait_s, 0.1), LOOK_S))

    async def _round(self) -> float:
        """Check one point where one is due; for how long nothing is."""
        wait_s = LOOK_S if self._host.members() else EMPTY_S
        for member in sorted(self._host.members(), key=lambda one: self._of(one).looked_at):
            course = await self._course(member)
            step = self._step(member, course)
            self._note_age(member, course)
            if isinstance(step, Prove):
                course.why = f"record {step.point.seq} is checked"
                await self._prove(member, course, step.point)
                return 0.0
            course.why, wait_s = step.why, min(wait_s, step.seconds)
        return wait_s

    async def _course(self, member: Member) -> Course:
        course = self._of(member)
        if not course.began_us:
            course.began_us = self._clock.wall_us()
            if why := await in_thread(course.book.load):
                self._host.log_member(member, "proofs_passed_over", why)
        return course

    def _of(self, member: Member) -> Course:
        group_id = member.copy.spec.id
        if group_id not in self._courses:
            self._courses[group_id] = Course(self._means.kit.book(group_id))
        return self._courses[group_id]

    def _step(self, member: Member, course: Course) -> Prove | Wait:
        now, policy = self._clock.now(), _policy(member)
        settles_s = self._began + self_drill.start_s(policy) - now
        if settles_s > 0 and policy.check is not Check.NONE:
            return Wait(settles_s, "this agent has just started")
        if now < course.not_before:
            return Wait(course.not_before - now, course.why)
        copy = member.copy
        points = [Candidate(p.seq, p.time_us, p.name, p.is_app_consistent) for p in copy.points()]
        return self_drill.choose(
            policy,
            points,
            {proof.position.seq: proof.outcome for proof in self.proofs(member)},
            self._facts(member, course),
            now_us=self._clock.wall_us(),
            rests_s=self._rest_until - now,
            window_s=copy.spec.policy.window_s,
        )

    def _facts(self, member: Member, course: Course) -> Facts:
        copy = member.copy
        beat_us = copy.beats.newest.time_us
        is_fed = member.receiver is not None and not member.receiver.is_lost
        lag_s = max(0.0, (self._clock.wall_us() - beat_us) / 1e6) if is_fed and beat_us else None
        return Facts(
            state=copy.state,
            is_owner=member.is_owner,
            is_busy=member.is_busy or copy.is_switching,
            resync=member.resyncs.words,
            no_space=copy.space.reason,
            is_journal_full=copy.journal.held_bytes > copy.spec.policy.soft_quota_bytes,
            lag_s=lag_s,
            rpo_s=copy.spec.objectives.rpo_s,
            bytes=course.stored,
        )

    # --- one check

    async def _prove(self, member: Member, course: Course, point: Candidate) -> None:
        policy, copy, began = _policy(member), member.copy, self._clock.now()
        course.looked_at = began
        position = copy.journal.position_at(point.seq)
        if position is None:
            return
        try:
            view = await self._open(member, point.seq)
        except (DrsyncError, OSError) as error:
            self._put_off(course, str(error))
            return
        task = asyncio.ensure_future(self._check(view, policy, self._told_programs(member, point)))
        running = self._running = _Running(member, view.id, task)
        watch = asyncio.ensure_future(self._watch(running, course))
        found: Checked | None = None
        try:
            async with asyncio.timeout(policy.max_time_s):
                await asyncio.wait([task])
            found = self._result(running)
        except TimeoutError:
            words = f"not finished within {policy.max_time_s:.0f} s"
            found = None if running.why else Checked(Outcome.UNKNOWN, words)
        finally:
            self._running = None
            was_given_up = view.is_over
            member.views.release(view.id)  # also what still reads in a thread ends now
            for one in (task, watch):
                one.cancel()
            await asyncio.wait([task, watch], timeout=LEAVE_S)
        took_s = self._clock.now() - began
        course.seconds += took_s
        self._rest_until = self._clock.now() + self_drill.rest_s(policy, took_s)
        if found is None or was_given_up:
            self._put_off(course, f"given up: {running.why or 'its view was given up'}")
            return
        await self._keep(member, course, position, point, found, took_s)

    def _result(self, running: _Running) -> Checked | None:
        """What the check came to; None: it was ended, or what it read is being mended."""
        task = running.task
        if task.cancelled():
            return None
        error = task.exception()
        if error is None:
            return task.result()
        if running.why:
            return None  # what is not there any more reads badly, in whatever way
        running.why = str(error)
        if isinstance(error, FailedCopyError) and not isinstance(error, DamagedError):
            return Checked(Outcome.FAILED, f"it cannot be read: {error}")
        if isinstance(error, DrsyncError):
            return None
        raise error

    async def _open(self, member: Member, seq: int) -> GroupView:
        """A view in the background. Raises DrsyncError, OSError."""
        if len(member.views.ids()) >= VIEWS_LEFT:
            raise DrsyncError("enough views of the group are open already")
        store = self._means.store(member.copy.spec.id)
        quota = 0
        if _policy(member).check is not Check.HASH:
            quota = min(QUOTA_BYTES, await in_thread(store.free_bytes) - RESERVE_BYTES)
            if quota <= 0:
                raise DrsyncError(f"less than {RESERVE_BYTES >> 20} MiB are free")
        view = member.views.hold(f"self-{self._means.dice.hex128()[:ID_DIGITS]}", seq)
        view.is_background = True
        view.since_us = self._clock.wall_us()
        view.may_keep(Writes(quota, store.scratch))
        return view

    async def _check(self, view: GroupView, policy: SelfDrill, facts: dict[str, str]) -> Checked:
        means = self._means
        await view.build()
        return await Checker(view, policy, means.kit.bench, means.front, means.clock, means.spawn).run(facts)

    async def _watch(self, running: _Running, course: Course) -> None:
        """End the check as soon as something stands in the way."""
        while not running.task.done():
            await self._clock.sleep_until(self._clock.now() + WATCH_S)
            facts = replace(self._facts(running.member, course), bytes=0)
            if why := self_drill.obstacle(facts):
                running.why = running.why or why
                running.task.cancel()
                return

    def given_up(self, view_id: str, why: str) -> None:
        """The copy dropped a view: if it is read here, that ends now."""
        running = self._running
        if running is not None and running.view_id == view_id:
            running.why = running.why or why
            running.task.cancel()

    def _put_off(self, course: Course, why: str) -> None:
        course.why, course.not_before = why, self._clock.now() + self_drill.OBSTACLE_WAIT_S

    def _told_programs(self, member: Member, point: Candidate) -> dict[str, str]:
        return {
            "DRSYNC_GROUP": member.copy.spec.name,
            "DRSYNC_CENTER": member.copy.me.center,
            "DRSYNC_RECORD": str(point.seq),
            "DRSYNC_POINT": point.name,
            "DRSYNC_POINT_TIME_US": str(point.time_us),
        }

    async def _keep(
        self,
        member: Member,
        course: Course,
        position: Position,
        point: Candidate,
        found: Checked,
        took_s: float,
    ) -> None:
        course.stored = found.stored
        if found.stored:
            course.not_before = self._clock.now() + _policy(member).every_s
        if member.copy.is_switching or member.copy.journal.position_at(point.seq) != position:
            self._put_off(course, "the log is another one by now")
            return
        check = _policy(member).check.value
        proof = PointProof(
            position,
            point.time_us,
            found.outcome,
            SELF_DRILL,
            check,
            self._clock.wall_us(),
            round(took_s, 3),
            found.text[:TEXT_MAX],
            found.digest,
        )
        course.checks += 1
        course.failures += found.outcome is Outcome.FAILED
        kept = course.book.added(proof, course.held(member))
        try:
            await in_thread(lambda: course.book.write(kept))
        except OSError as error:
            self._host.log_member(member, "proofs_not_kept", f"{error}; it is known until a restart")
        course.book.proofs = kept
        event = f"point_{found.outcome.value}" if found.outcome is not Outcome.UNKNOWN else "point_not_proved"
        self._host.log_member(member, event, f"record {point.seq} by {check} in {took_s:.1f} s: {found.text}")
        course.why = "a check has just ended"
        self._host.proofs_changed()

    # --- telling

    def proofs(self, member: Member) -> list[PointProof]:
        """All that are known here of points that can be opened, oldest point first."""
        return self._of(member).held(member)

    def course(self, member: Member) -> Course:
        """How it goes, for figures."""
        return self._of(member)

    def _note_age(self, member: Member, course: Course) -> None:
        now_us = self._clock.wall_us()
        is_late = not member.is_owner and self_drill.is_late(
            _policy(member), course.proved_us, course.began_us, now_us
        )
        if is_late and not course.is_late:
            words = f"nothing was proved here for {_policy(member).max_age_s:.0f} s: {course.why}"
            self._host.log_member(member, "self_drill_late", words)
        course.is_late = is_late

    def told(self, member: Member) -> Json:
        """For the heartbeat of a group: the newest that is known, and why nothing runs."""
        return {"self_drill": self._of(member).told(member)}


def _policy(member: Member) -> SelfDrill:
    return member.copy.spec.policy.self_drill
