"""The target of resync sessions: puts aside what a source sends, and becomes the source's log by one step.

While a session stages, the copy stays what it was: views, points and its statement know nothing of it.
Whatever else is asked of the member ends the session and never waits for it. Frames are taken in order by one
task; what blocks is done in threads, one at a time.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from drsync.core import compare, extents, resync_target
from drsync.core.extents import GRANULE, Extents
from drsync.core.resync import EndWord
from drsync.core.resync_source import Source
from drsync.core.resync_tables import TargetEvent, TargetState
from drsync.core.resync_target import Target
from drsync.core.sizes import Resize, Sizes, at_least, sized
from drsync.delta.batch import split, verify
from drsync.delta.marks import resize_at
from drsync.engine import switch as switching
from drsync.engine.bulk import BulkChannel
from drsync.engine.copy import GroupCopy
from drsync.engine.receiver import check_bounds
from drsync.engine.resync_ask import Answer, Kept, Mode
from drsync.engine.resync_back import BESIDE, ReadingBack
from drsync.engine.resync_intake import Intake
from drsync.engine.resync_own import OwnImages
from drsync.engine.resync_pieces import put
from drsync.engine.resync_reader import digests_of
from drsync.engine.space import IMAGES_RETRY_S
from drsync.engine.switch import Switch
from drsync.engine.threads import in_thread
from drsync.model import epoch as epochs
from drsync.model.copy import CopyState
from drsync.model.epoch import Epoch
from drsync.model.errors import (
    DrsyncError,
    FailedCopyError,
    MalformedError,
    NoSpaceError,
    RefusedError,
    TransientError,
)
from drsync.model.group import GroupSpec
from drsync.ports.clock import Clock
from drsync.ports.stage import FailedStageError, Stage, StageInfo
from drsync.wire import data, resync, resync_pages
from drsync.wire.frames import Frame, FrameType
from drsync.wire.resync import BeginFlags
from drsync.wire.stream import session_bytes

if TYPE_CHECKING:
    from drsync.model.position import Position

TELL_BYTES: Final = 4 << 20  # because a source keeps a window of 8 MiB or more
TELL_S: Final = 1.0  # because a source that hears nothing for a minute gives up
SYNC_BYTES: Final = (
    64 << 20
)  # because so much is sent again after a crash, and each sync costs the disk a pause
DIGEST_PIECE_BYTES: Final = 4 << 20  # because this much is read and hashed at a time


@dataclass(frozen=True, slots=True)
class Asked:
    """`group.resync`: what a source wants to begin, or to go on with.

    Attributes:
        peer: who asks.
        epoch, version: of the charter by which it owns.
        session, generation: of the session.
        mode: how what differs is found.
        fork, chain: our log is the source's up to there; no chain when its journal does not tell.
        resizes: of the source's log.
    """

    peer: str
    epoch: Epoch
    version: int
    session: str
    generation: int
    mode: Mode
    fork: int
    chain: bytes
    resizes: tuple[Resize, ...] = ()


class TargetEvents(Protocol):
    """What a target tells its member, and asks of it."""

    def resync_told(self, event: str, reason: str) -> None:
        """A line for the night shift; the coordinator should hear soon."""
        ...

    def copy_troubled(self, error: DrsyncError) -> None:
        """The copy itself cannot be read."""
        ...

    def requests_held(self) -> AbstractAsyncContextManager[object]:
        """Held while the switch is recorded and done: no other request changes the copy meanwhile."""
        ...

    def views_given_up(self) -> AbstractAsyncContextManager[object]:
        """Entered with no view open and nothing folding, and so for as long as it is held."""
        ...

    def may_switch(self, epoch: Epoch) -> str:
        """Why this member may not become the log of that epoch now; empty when it may."""
        ...


MarkOthers = Callable[[Switch, Extents | None], Awaitable[None]]
"""Marks durably, for every other member, what a switch changes: what was staged; None: perhaps more.

Raises DrsyncError.
"""


async def nobody_marked(word: Switch, staged: Extents | None) -> None:
    """Of a copy that keeps no dirty sets."""
    del word, staged


class ResyncTarget:
    """The sessions of one member, at most one at a time.

    Attributes:
        target: the session as the rules know it.
        mark_others: see `MarkOthers`.
    """

    def __init__(self, copy: GroupCopy, clock: Clock, events: TargetEvents) -> None:
        self.target = Target()
        self.mark_others: MarkOthers = nobody_marked
        self._copy = copy
        self._own = OwnImages(copy)
        self._clock = clock
        self._events = events
        self._asked: Asked | None = None
        self._base: Position | None = None
        self._stage: Stage | None = None
        self._back = ReadingBack()
        self._is_read = False  # whether what a former process kept was looked for
        self._intake: Intake | None = None
        self._must_drop = False
        self._unsynced = 0
        self._told_bytes = 0
        self._wake = asyncio.Event()
        self._accepted = asyncio.Event()
        self._busy = asyncio.Lock()
        self._sizes = copy.sizes  # of the source's log, in a session

    # --- for the member

    @property
    def words(self) -> str:
        """What runs, for people; empty when nothing does."""
        target, intake = self.target, self._intake
        if target.state is TargetState.IDLE:
            return ""
        count = intake.granules if intake is not None else extents.size(target.staged)
        return f"{target.state.value}: {count} granules, redo up to record {target.redo}"

    def halt(self, reason: str, *, drop: bool) -> None:
        """Something else was asked of this member: the session ends now. Never waits."""
        intake = self._intake
        self._asked = None
        if intake is not None and not intake.is_over:
            intake.halted = reason
            intake.refuse(TransientError(f"{self._copy.me.center}: {reason}", code="halted"))
        self._must_drop = self._must_drop or drop
        self._wake.set()

    async def settle(self) -> None:
        """End what runs, and wait until it does nothing any more. Not while requests are held."""
        self.halt("the source asks anew", drop=False)
        async with self._busy:
            await self._leave(self._intake)

    async def ask(self, asked: Asked) -> Answer:
        """Prepare for a session, after `settle`: what the source has to know. Requests are held meanwhile.

        Raises:
            RefusedError: this cannot be the source's log; says why.
            TransientError: a session is just being ended.
        """
        copy = self._copy
        self._sizes = Sizes(copy.sizes.first, asked.resizes)
        if self._busy.locked():
            raise TransientError("the session before this one is just being ended", code="busy")
        self._check_fork(asked)
        await copy.sync()
        await self._keep_fork(asked)
        async with self._busy:
            await self._read_kept()
            stage = self._stage
            if stage is not None and stage.session.base != copy.journal.tip:
                await self._drop()
                stage = None
            answer = Answer(
                statement=copy.statement(),
                changed=await in_thread(lambda: self._changed(asked)),
                free=await in_thread(lambda: self._own.free(self._sizes.first)),
                switched=copy.durable.switched,
            )
        self._asked, self._base = asked, copy.journal.tip
        if stage is None:
            return answer
        word = stage.session
        kept = Kept(word.session, word.generation, word.rounds, word.epoch)
        return replace(answer, stage=kept, staged=stage.staged, fresh=stage.fresh)

    def _check_fork(self, asked: Asked) -> None:
        journal = self._copy.journal
        here = journal.position_at(asked.fork)
        is_held = journal.first_seq - 1 <= asked.fork
        if asked.fork > journal.tip.seq or (is_held and here is None):
            raise RefusedError(f"this log has no position {asked.fork}", code="plan_misfit")
        if here is not None and asked.chain and here.chain != asked.chain:
            raise RefusedError(f"this log differs at record {asked.fork}", code="plan_misfit")

    async def _keep_fork(self, asked: Asked) -> None:
        """Records beyond the fork may have been acknowledged: they are kept aside before anything goes."""
        journal, charter = self._copy.journal, self._copy.durable.charter
        assert charter is not None
        if asked.fork >= journal.tip.seq:
            return
        # Without any common record it may be that the logs contradict each other: evidence, all of it.
        if asked.fork and compare.is_droppable(charter.history, self._copy.statement(), asked.fork):
            return  # nothing of it was ever committed
        after = max(asked.fork, journal.first_seq - 1)
        name = f"fork-{epochs.show(asked.epoch)}-{after}"
        await in_thread(lambda: journal.export_tail(after, name))
        lost = after - asked.fork
        gone = f"; {lost} records before them are in the journal no more" if lost else ""
        self._events.resync_told("fork_kept", f"records after {after} as {name}{gone}")

    def _changed(self, asked: Asked) -> Extents | None:
        """What our own records touched that neither marks nor digests tell."""
        copy = self._copy
        if asked.mode is Mode.EVERYTHING:
            return extents.NOTHING
        after = asked.fork if asked.mode is Mode.DIRTY else copy.volumes.applied
        return switching.own_changes(copy.journal, copy.spec, min(after, copy.journal.tip.seq))

    def _session_spec(self) -> GroupSpec:
        """The group as large as it is where the session's source stands."""
        return sized(self._copy.spec, self._sizes.newest)

    async def _read_kept(self) -> None:
        """What a former process put aside."""
        if self._is_read:
            return
        self._is_read = True
        copy = self._copy
        spec = self._session_spec()
        stage = await in_thread(lambda: copy.files.stage(spec))
        if stage is None:
            return
        word = stage.session
        self._stage = stage
        self.target = Target(
            TargetState.KEPT,
            word.session,
            word.generation,
            word.rounds,
            word.p0.seq,
            word.p0.seq,
            stage.staged,
            stage.fresh,
        )

    def accept(self, begin: resync.Begin, channel: BulkChannel, number: int) -> Intake:
        """A source opened the stream of a session; whether it may is judged when its turn comes."""
        before = self._intake
        if before is not None and not before.is_over:
            before.end()
        self._intake = Intake(begin, channel, number, self._wake.set)
        self._accepted.set()
        return self._intake

    # --- the loop

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._work())
            tasks.create_task(self._tell())

    async def _tell(self) -> None:
        """While a thread works for long the source must not think that nobody is there."""
        while True:
            await self._accepted.wait()
            self._accepted.clear()
            while (intake := self._intake) is not None and not intake.is_over:
                await self._clock.sleep_until(self._clock.now() + TELL_S)
                intake.tell()

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            async with self._busy:
                await self._take_frames()

    async def _take_frames(self) -> None:
        intake = self._intake
        while intake is not None and not intake.is_over and (frame := intake.next()) is not None:
            try:
                await self._take(intake, frame)
            except MalformedError as error:
                self._events.resync_told("resync_refused", f"malformed from {intake.peer}: {error}")
                intake.end_link(error)
            except DrsyncError as error:
                await self._refuse(intake, error)
            intake = self._intake
        if intake is not None and not intake.is_over and not intake.frames:
            intake.tell()
            self._told_bytes = intake.block_bytes + intake.redo_bytes
        await self._leave(intake)

    async def _leave(self, intake: Intake | None) -> None:
        """What is staged when a stream has ended is kept, durably, or dropped."""
        if intake is not None and (intake.is_over or intake.is_lost):
            self._intake = None
            self.target = resync_target.halted(self.target, TargetEvent.CUT)
            if self._stage is not None and not self._must_drop:
                await self._keep(self._stage)
        if self._must_drop:
            self._must_drop = False
            await self._drop()

    async def _keep(self, stage: Stage) -> None:
        try:
            await self._back.done()
            await in_thread(stage.sync)
        except DrsyncError as error:
            self._events.resync_told("resync_dropped", str(error))
            await self._drop()

    async def _drop(self) -> None:
        stage, self._stage = self._stage, None
        if self.target.state not in (TargetState.IDLE, TargetState.SWITCHING):
            self.target = resync_target.halted(self.target, TargetEvent.GIVEN_UP)
        with suppress(DrsyncError):
            await self._back.done()
        with suppress(FailedStageError):  # it costs space, and the next session or start tries again
            if stage is not None:
                await in_thread(stage.drop)
            elif not self._is_read:  # what a former process put aside
                self._is_read = True
                await in_thread(self._copy.files.drop_stage)

    async def _refuse(self, intake: Intake, error: DrsyncError) -> None:
        """The session is over: what is staged goes, and with it the space it takes."""
        if not intake.halted:
            remedy = f"; {error.remedy}" if error.remedy else ""
            self._events.resync_told("resync_refused", f"{error}{remedy}")
        intake.refuse(error)
        if intake.has_begun and not intake.halted:
            await self._drop()

    # --- frames

    async def _take(self, intake: Intake, frame: Frame) -> None:
        self._require_current(intake)
        if frame.type not in BESIDE:
            await self._back.done()
        match frame.type:
            case FrameType.RESYNC_BEGIN if not intake.has_begun:
                await self._begin(intake)
            case FrameType.DIGEST_WANT:
                await self._digest(intake, resync.read_want(frame.body))
            case FrameType.PAGES_WANT:
                await self._pages(intake, resync_pages.read_want(frame.body))
            case FrameType.BLOCKS:
                await self._blocks(intake, frame.body)
            case FrameType.BATCHES:
                await self._redo(intake, frame.body)
            case FrameType.RESYNC_ROUND:
                await self._round(intake, resync.read_round(frame.body))
            case FrameType.RESYNC_END:
                await self._end(intake, resync.read_end(frame.body))
            case _:
                raise MalformedError(f"frame {frame.type} does not belong on a resync stream")
        taken = intake.block_bytes + intake.redo_bytes
        if taken - self._told_bytes >= TELL_BYTES:
            self._told_bytes = taken
            intake.tell()

    def _require_current(self, intake: Intake) -> None:
        why = self._events.may_switch(intake.epoch)
        if why:
            raise TransientError(f"{self._copy.me.center}: {why}", code="halted")

    def _require_epoch(self, intake: Intake, epoch: Epoch) -> None:
        if epoch != intake.epoch:
            raise TransientError("a frame bears another epoch than its session", code="stale_epoch")

    async def _begin(self, intake: Intake) -> None:
        begin, asked, copy = intake.begin, self._asked, self._copy
        session = begin.session.hex()
        self._told_bytes = 0
        self._own.session_begins()
        if begin.member != session_bytes(copy.me.session):
            raise TransientError("this is another process than the one that was asked", code="changed")
        if asked is None or (asked.session, asked.epoch) != (session, begin.epoch):
            raise TransientError("this session was not asked for", code="changed")
        if copy.journal.tip != self._base:
            raise TransientError("the log has changed since it was compared", code="changed")
        word = Source(session=session, generation=begin.generation, rounds=begin.rounds, p0=begin.p0.seq)
        if begin.flags & BeginFlags.RESUME:
            kept = resync_target.again(self.target, word)
            if kept is None or self._stage is None or self._stage.session.p0 != begin.p0:
                raise TransientError("what was put aside is not there any more", code="not_kept")
            await in_thread(self._stage.forget_redo)
            self.target = kept
        else:
            await self._begin_anew(begin, asked, word)
        intake.has_begun = True
        intake.say(FrameType.RESYNC_READY, resync.encode_ready(resync.Ready(begin.epoch, begin.session)))
        verb = "goes on" if begin.flags & BeginFlags.RESUME else "begins"
        words = f"{intake.peer}: {asked.mode.value}, {verb} after record {begin.p0.seq}"
        self._events.resync_told("resync_began", words)

    async def _begin_anew(self, begin: resync.Begin, asked: Asked, word: Source) -> None:
        copy = self._copy
        await self._drop()
        info = StageInfo(
            word.session,
            begin.generation,
            begin.epoch,
            begin.rounds,
            begin.p0,
            copy.journal.tip,
            asked.fork,
            is_everything=bool(begin.flags & BeginFlags.EVERYTHING),
        )
        spec = self._session_spec()
        self._stage = await in_thread(lambda: copy.files.new_stage(spec, info))
        self._is_read, self._unsynced = True, 0
        self.target = resync_target.begun(self.target, word)

    def _required(self) -> Stage:
        if self._stage is None:
            raise TransientError("no session has begun on this stream", code="changed")
        return self._stage

    async def _digest(self, intake: Intake, want: resync.Want) -> None:
        self._require_epoch(intake, want.epoch)
        self._required()
        size = self._size_of(want.volume, want.first, want.granules)
        image = self._copy.volumes.views[want.volume].image

        def work() -> bytes:
            found, at, end = bytearray(), want.first * GRANULE, want.first * GRANULE + size
            while at < end:
                piece = memoryview(bytearray(min(DIGEST_PIECE_BYTES, end - at)))
                image.read_into(at, piece[: max(0, image.size - at)])  # the volume may be larger by now
                found += digests_of(piece)
                at += len(piece)
            return bytes(found)

        try:
            values = await in_thread(work)
        except FailedCopyError as error:
            self._events.copy_troubled(error)
            raise
        answer = resync.Digests(want.epoch, want.volume, want.first, memoryview(values))
        intake.say(FrameType.DIGESTS, b"".join(resync.digests_parts(answer)))

    async def _pages(self, intake: Intake, want: resync_pages.PagesWant) -> None:
        """What the images hold; not where our own records may still go into them."""
        self._require_epoch(intake, want.epoch)
        self._required()
        for run in want.runs:
            self._size_of(run.volume, run.first, run.end - run.first)
        runs = extents.normal(extents.Run(*run) for run in want.runs)
        if extents.size(runs) != sum(run.end - run.first for run in want.runs):
            raise MalformedError("PAGES_WANT: runs overlap")
        values = await self._own.pages(runs, self._sizes.newest)
        answer = resync_pages.PageHashes(want.epoch, want.number, memoryview(values))
        intake.say(FrameType.PAGES, b"".join(resync_pages.hashes_parts(answer)))

    def _size_of(self, volume: int, first: int, granules: int) -> int:
        """Bytes of granules; the last of a volume may be short. Raises MalformedError."""
        size = self._sizes.newest.get(volume, 0)
        if not granules or (first + granules - 1) * GRANULE >= size:
            raise MalformedError(f"granules {first} to {first + granules} do not fit volume {volume}")
        return min((first + granules) * GRANULE, size) - first * GRANULE

    async def _blocks(self, intake: Intake, body: bytes) -> None:
        epoch, blocks = resync.read_blocks(body)
        self._require_epoch(intake, epoch)
        stage = self._required()
        sizes = [self._size_of(block.volume, block.first, block.granules) for block in blocks]
        await in_thread(lambda: put(stage, blocks, sizes, self._own.read_into))
        for block in blocks:
            intake.granules += block.granules
            intake.block_bytes += len(block.data)
            self._unsynced += len(block.data) if block.kind is resync.BlockKind.DATA else 0
            self._unsynced += GRANULE if block.kind is resync.BlockKind.PAGES else 0
        self.target = resync_target.staged(self.target, self.target.session, extents.NOTHING)
        if self.target.state is TargetState.IDLE:
            raise TransientError("blocks came after the redo", code="order")
        if self._unsynced >= SYNC_BYTES:
            self._unsynced = 0
            await self._back.settle(stage)

    async def _redo(self, intake: Intake, body: bytes) -> None:
        head, view = data.read_batches(body)
        self._require_epoch(intake, head.epoch)
        stage = self._required()
        redo = await in_thread(stage.redo)
        for at, header in split(view):
            position = verify(view, at, header, redo.tip)
            if header.epoch > intake.epoch:
                raise MalformedError(f"batch at record {header.first_seq} bears epoch {header.epoch}")
            check_bounds(view, at, header, self._sizes.cut(header.first_seq - 1))
            resize = resize_at(view, at, header)
            if (
                resize is not None
                and Resize(resize[0], header.last_seq, resize[1]) not in self._sizes.resizes
            ):
                raise TransientError("a volume was resized since the session began", code="resized")
            try:
                redo.append([view[at : at + header.length]], header.first_seq, position)
            except FailedCopyError as error:
                raise FailedStageError(str(error)) from error
            self.target = resync_target.redo(
                self.target, self.target.session, header.first_seq, header.last_seq
            )
        intake.redo_bytes += len(view)

    async def _round(self, intake: Intake, word: resync.Round) -> None:
        self._require_epoch(intake, word.epoch)
        stage = self._required()
        info = replace(stage.session, generation=word.generation, rounds=word.rounds, p0=word.p0)
        await in_thread(lambda: stage.begin_round(info))
        source = Source(
            session=self.target.session, generation=word.generation, rounds=word.rounds, p0=word.p0.seq
        )
        self.target = resync_target.next_round(self.target, source)

    # --- the end

    async def _end(self, intake: Intake, end: resync.End) -> None:
        self._require_epoch(intake, end.epoch)
        stage, copy = self._required(), self._copy
        is_renamed = await in_thread(lambda: switching.check_stage(stage, end.p1))
        whole = stage.staged
        word = EndWord(end.session.hex(), end.generation, end.p1.seq, end.size)
        ended = resync_target.end(replace(self.target, staged=whole, fresh=stage.fresh), word)
        if ended.state is not TargetState.SWITCHING or resync.runs_hash(whole) != end.whole:
            raise TransientError("the end came before everything was there", code="not_whole")
        if self._sizes.through(end.p1.seq) != self._sizes.resizes:
            raise TransientError("the end came before a volume was resized", code="resized")
        switch = Switch.of(stage.session, end.p1, end.size, self._sizes.resizes, is_renamed=is_renamed)
        charter = copy.durable.charter
        applied, tip = copy.volumes.applied, copy.journal.tip
        await in_thread(lambda: switching.check_log(copy.journal, applied, stage.session.base))
        spec = at_least(copy.spec, self._sizes.newest)
        await in_thread(
            lambda: switching.take_space(
                copy.files, spec, copy.journal, applied, stage, is_renamed=is_renamed
            )
        )
        # What was compared and found equal may differ at a member that stands in between (decision 21, 14).
        is_all = not intake.begin.flags & (BeginFlags.DIGESTS | BeginFlags.EVERYTHING)
        await self.mark_others(switch, whole if is_all else None)
        async with self._events.requests_held():
            self._require_current(intake)
            if intake.is_over or copy.journal.tip != tip:
                raise TransientError("the log changed meanwhile", code="changed")
            if copy.durable.charter != charter:  # asked anew; what is staged is as good as it was
                intake.halted = "the charter changed meanwhile"
                raise TransientError(intake.halted, code="halted")
            self.target = ended
            self._stage = None  # from here on nobody drops it: the next start may need it
            stage.close()
            await self._become(switch)
        self.target = resync_target.switched(self.target)
        self._events.resync_told("resync_switched", f"{intake.peer}: stands at record {end.p1.seq} now")
        done = resync.Done(end.epoch, end.session, end.generation, end.p1.seq)
        intake.say(FrameType.RESYNC_DONE, resync.encode_done(done))

    async def _become(self, switch: Switch) -> None:
        async def pause(error: NoSpaceError) -> None:
            self._events.resync_told("no_space", str(error))
            await self._clock.sleep_until(self._clock.now() + IMAGES_RETRY_S)

        async with self._events.views_given_up():
            await self._copy.switch(switch, pause)
        if self._copy.state is CopyState.FAILED:
            raise FailedCopyError(self._copy.failure)
