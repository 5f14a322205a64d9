"""The source of resync sessions: asks, sends blocks and redo, ends the session. `core.resync_source` decides.

One per peer and term of ownership. A session outlives its line: while the peer may have kept what was put
aside, the pin stays, and the next connection goes on with it. It does not outlive the term.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from drsync.core import dirty as marking
from drsync.core import extents, resync_source
from drsync.core.extents import NOTHING, Extents
from drsync.core.resync import EndWord, Room, Staging, staging
from drsync.core.resync_source import IDLE_SOURCE, ROUNDS_MAX, Ground, Source
from drsync.core.resync_tables import SourceEvent, SourceState
from drsync.engine import resync_ground
from drsync.engine.feed import PUMP_BYTES
from drsync.engine.resync_around import Surroundings, Wanted, question
from drsync.engine.resync_ask import Answer, Mode, words_of
from drsync.engine.resync_compare import compare
from drsync.engine.resync_line import Line
from drsync.engine.resync_marks import Marks, PlainMarks
from drsync.engine.resync_moment import Moment
from drsync.engine.resync_pages import A_TURN, PageAsker, frames
from drsync.engine.resync_pieces import up_to
from drsync.engine.resync_progress import Progress
from drsync.engine.resync_reader import GranuleReader
from drsync.engine.sound import sound_batches
from drsync.model.errors import (
    DamagedError,
    DrsyncError,
    FailedCopyError,
    MalformedError,
    RefusedError,
    TransientError,
)
from drsync.model.position import ORIGIN, Position
from drsync.wire import data, resync
from drsync.wire.frames import FrameType
from drsync.wire.stream import session_bytes

if TYPE_CHECKING:
    from drsync.core.sizes import Resize

__all__ = ["Marks", "PlainMarks", "ResyncSource", "Surroundings", "Wanted"]

ASK_TIMEOUT_S: Final = 30.0  # because the target syncs its journal, and perhaps keeps records aside as a fork
LOOK_S: Final = 1.0  # because a line without progress is judged by minutes
TICKS_S: Final = (0.005, 0.05)  # first and longest, because it takes our disk, or others a quarter second
PASSING: Final = frozenset(
    ("busy", "changed", "halted", "not_kept", "pages_misfit", "resized", "stale_epoch", "switching")
)
"""Codes of refusals that another attempt may not meet: it begins with a new comparison."""


class ResyncSource:
    """Sessions with one peer.

    Attributes:
        source: the session as the rules know it.
        progress: for people; None while there is none.
        wire_bytes: bodies sent by all sessions, as they went out.
        is_outrun: the last session ended because writes were faster than the line, time and again.
    """

    def __init__(self, center: str, around: Surroundings) -> None:
        self.source: Source = IDLE_SOURCE
        self.wire_bytes = 0
        self.is_outrun = False
        self._center = center
        self._around = around
        self._reader = GranuleReader(around.copy.volumes)
        self._moment = Moment(f"resync-{center}", around)
        self._lock = asyncio.Lock()  # held while the session changes; never while the peer is waited for
        self.line: Line | None = None
        self._wanted: Wanted | None = None
        self._answer: Answer | None = None
        self._resizes: tuple[Resize, ...] = ()  # when the session began
        self._p0 = self._p1 = ORIGIN
        self._redone = 0
        self._asker: PageAsker | None = None
        self._is_whole = False  # pages did not fit once: whole granules from then on
        self._compared = 0
        self._comparable = 0

    # --- life

    async def begin(self, wanted: Wanted, *, is_set: bool = False) -> None:
        """A session from its beginning to its end: on return the peer stands at p1.

        The peer must be in no in-sync set. `is_set`: a delta set, which is read as it was at p0, so that it
        ends there however much is written meanwhile.

        Raises:
            TransientError: cut, stalled or overtaken; what was put aside may be kept.
            RefusedError: the peer cannot take it; says why, and what helps.
        """
        around, center = self._around, self._center
        marks, clock = around.marks, around.clock
        self.is_outrun = False
        self._resizes = around.copy.sizes.resizes
        cursor = min(marks.cursor(center), wanted.fork)
        marks.pin(center, marking.journal_floor(marks.of(center), cursor))
        try:
            session = around.dice.hex128()
            wanted, answer = await self._ask_what_differs(wanted, session)
            is_set = is_set and wanted.mode is Mode.DIRTY
            tip = around.copy.journal.tip
            point = around.note_point() if is_set else 0
            p0 = await self._durable(max(wanted.fork, around.copy.volumes.recorded, point))
            if point:
                p0 = tip  # so that the redo is that point, and nothing else
            if is_set:
                await self._moment.hold(around.copy.journal.position_at(point) or p0)
            async with self._lock:
                self._require_sizes()
                marked = marks.of(center)
                if answer.changed:
                    marked = marking.mark_different(marked, self._reader.clipped(answer.changed))
                ground = await self._ground(marked, cursor, p0)
                by_digest = wanted.mode is not Mode.DIRTY
                source, marked = resync_source.start(
                    self.source, session, marked, ground, by_digest=by_digest
                )
                await marks.store(center, marked)
                if source.by_digest is not by_digest:
                    raise TransientError(f"the journal lost meanwhile what {center} lacks", code="trimmed")
                self.source = source
                self._wanted, self._answer, self._p0 = wanted, answer, p0
                marks.pin(center, p0.seq)
            self._require_room()
            around.tell("resync_begun", f"{center}: {self._words()}, after record {p0.seq}")
            self._moved(clock.now())
            await self._connect(wanted, is_resumed=False)
        finally:
            self._left()

    async def resume(self, wanted: Wanted) -> bool:
        """Go on with what the line cut: whether the peer stands at p1 now. False: to be planned anew.

        Raises:
            As `begin`.
        """
        source = self.source
        if source.state is not SourceState.KEPT:
            return False
        if self._around.copy.sizes.resizes != self._resizes:
            self._stop(SourceEvent.DROPPED)
            return False
        wanted = replace(wanted, mode=self._mode)  # what was put aside is of the session that was begun
        try:
            answer = await self._ask(wanted, source.session, source.generation)
            switched = answer.switched
            if switched is not None and switched.session == source.session:
                return await self._confirm(switched, wanted)
            kept, epoch, journal = answer.stage, self._around.engine.log.epoch, self._around.copy.journal
            theirs = kept and (kept.session, kept.generation, kept.rounds, kept.epoch)
            is_held = self.source.state is SourceState.KEPT and journal.first_seq <= source.p0 + 1  # still
            if theirs != (source.session, source.generation, source.rounds, epoch) or not is_held:
                self._stop(SourceEvent.DROPPED)
                self._around.tell("resync_dropped", f"what was put aside at {self._center} is of no use now")
                return False
            self._wanted, self._answer = wanted, answer
            self._moved(self._around.clock.now())
            self._around.tell("resync_resumed", f"{self._center}: {self._words()}")
            await self._connect(wanted, is_resumed=True)
        finally:
            self._left()
        return True

    async def outgrow(self, through: int) -> bool:
        """The redo takes too much of the journal: begin it anew after a later record, `through` at most.

        True: the records up to there are marked, durably, and the pin has moved or is gone. False: nothing
        has changed, and the pin holds what it held. Raises DrsyncError: as False.
        """
        around, center = self._around, self._center
        async with self._lock:
            source = self.source
            if source.state is SourceState.IDLE or self._wanted is None:
                return False
            journal = around.copy.journal
            p0 = journal.batch_end_at_or_below(min(through, around.engine.log.flush_bound()))
            if p0.seq <= source.p0:
                return False
            marked = around.marks.of(center)
            ground = await self._ground(marked, min(around.marks.cursor(center), self._wanted.fork), p0)
            self._moment.let_go()  # what changed up to the new p0 is not in it
            source = self.source  # as it is now: the line may have been lost meanwhile
            if source.state is SourceState.IDLE:
                return False
            self.is_outrun = source.is_at_limit
            self.source, marked = resync_source.outgrown(source, marked, ground)
            self._p0 = p0
            try:
                await around.marks.store(center, marked)
            except DrsyncError:
                self._stop(SourceEvent.DROPPED)
                around.marks.pin(center, None)
                raise
            if self.source.state is SourceState.IDLE:
                around.marks.pin(center, None)
            else:
                around.marks.pin(center, p0.seq)
                self._tell_round()
            if self.line is not None:
                self.line.heard.set()
            return True

    def _tell_round(self) -> None:
        source, line = self.source, self.line
        if line is not None and not line.is_lost:
            word = resync.Round(self._around.engine.log.epoch, source.generation, source.rounds, self._p0)
            line.small(FrameType.RESYNC_ROUND, resync.encode_round(word))

    @property
    def whole_size(self) -> int:
        """Granules of all volumes."""
        return extents.size(self._reader.whole)

    @property
    def _mode(self) -> Mode:
        return self._wanted.mode if self._wanted is not None else Mode.DIRTY

    @property
    def progress(self) -> Progress | None:
        """How far the session is; None without one."""
        source, line = self.source, self.line
        if source.state is SourceState.IDLE:
            return None
        done = extents.size(source.whole) - extents.size(source.todo)
        is_comparing = source.state is SourceState.DIGESTING
        return Progress(
            state=source.state.value,
            mode=self._mode.value,
            done=self._compared if is_comparing else done,
            total=self._comparable if is_comparing else extents.size(source.whole),
            redo_bytes=line.redo_bytes if line is not None else 0,
            wire_bytes=self.wire_bytes + (line.wire_bytes if line is not None else 0),
            rate=line.rate if line is not None else 0.0,
            rounds=source.rounds,
        )

    def close(self) -> None:
        """The term is over, and every session with it."""
        self._moment.let_go()
        self._stop(SourceEvent.DROPPED)
        self._around.marks.pin(self._center, None)

    # --- before the stream

    async def _ask(self, wanted: Wanted, session: str, generation: int) -> Answer:
        charter = self._around.charter()
        resizes = self._around.copy.sizes.resizes
        body = question(charter, session, generation, wanted, resizes)
        self._resizes = resizes
        answer = Answer.from_json(
            await self._around.peers.call(self._center, "group.resync", body, ASK_TIMEOUT_S)
        )
        before, now, switched = wanted.statement, answer.statement, answer.switched
        is_done = switched is not None and switched.session == session
        if not is_done and (before.session, before.tip) != (now.session, now.tip):
            raise TransientError(f"{self._center} has changed since it was compared", code="changed")
        return answer

    async def _ask_what_differs(self, wanted: Wanted, session: str) -> tuple[Wanted, Answer]:
        """Ask until the target knows what of its own has to be sent; for everything it need not know."""
        generation = self._around.marks.of(self._center).generation + 1
        while True:
            answer = await self._ask(wanted, session, generation)
            if answer.changed is not None or wanted.mode is Mode.EVERYTHING:
                return wanted, answer
            wanted = replace(wanted, mode=Mode.DIGEST if wanted.mode is Mode.DIRTY else Mode.EVERYTHING)

    async def _durable(self, at_least: int, line: Line | None = None) -> Position:
        """The highest batch end that is committed and durable on the whole ack set, once it is `at_least`.

        Raises TransientError: nothing becomes durable there, and another group may want the slot.
        """
        engine, clock = self._around.engine, self._around.clock
        bound, since, (tick_s, longest_s) = engine.log.flush_bound(), clock.now(), TICKS_S
        while engine.log.flush_bound() < at_least:
            if engine.log.flush_bound() > bound:
                bound, since = engine.log.flush_bound(), clock.now()
            if clock.now() - since > resync_source.NO_PROGRESS_S:
                raise TransientError(
                    f"{self._center} waits: nothing after record {bound} becomes durable at all centers "
                    "that writes wait for",
                    code="stalled",
                )
            for feed in engine.feeds:
                feed.want_durable(engine.log.appended)
            engine.wake_sync()
            await clock.sleep_until(clock.now() + tick_s)
            tick_s = min(2 * tick_s, longest_s)
            if line is not None:
                self._moved(clock.now())  # it is not the peer that is waited for
                self._check(line)
        return self._around.copy.journal.batch_end_at_or_below(engine.log.flush_bound())

    async def _ground(self, marked: marking.DirtySet, cursor: int, p0: Position) -> Ground:
        around = self._around
        clipped, now = self._reader.clipped, around.clock.now
        return await resync_ground.ground(around.copy.journal, marked, cursor, p0.seq, clipped, now)

    def _require_room(self) -> None:
        """Raises RefusedError: what is to be sent does not fit beside the copy."""
        assert self._answer is not None
        needed = sum(map(self._reader.bytes_of, self.source.todo))
        where = staging(Room(needed, self._answer.free), self._center, {})
        if isinstance(where, Staging):
            return
        self._stop(SourceEvent.REFUSED)
        raise RefusedError(where.sentence, code=where.code, remedy=where.remedy)

    # --- the stream

    async def _connect(self, wanted: Wanted, *, is_resumed: bool) -> None:
        around, source = self._around, self.source
        channel = await around.peers.bulk(self._center)
        line = Line(channel, around.engine.log.epoch, around.clock, can_unpack=wanted.can_unpack)
        self.line = line
        can_ask = wanted.can_page and not self._is_whole and self._mode is not Mode.EVERYTHING
        self._asker = PageAsker(line) if can_ask else None
        flags = resync.BeginFlags.RESUME if is_resumed else resync.BeginFlags.NONE
        if self._mode is Mode.DIGEST:
            flags |= resync.BeginFlags.DIGESTS
        if self._mode is Mode.EVERYTHING:
            flags |= resync.BeginFlags.EVERYTHING
        group, member = bytes.fromhex(around.copy.spec.id), session_bytes(wanted.statement.session)
        begin = resync.Begin(
            around.engine.log.epoch,
            group,
            member,
            session_bytes(source.session),
            source.generation,
            source.rounds,
            flags,
            self._p0,
        )
        line.small(FrameType.RESYNC_BEGIN, resync.encode_begin(begin))
        try:
            if is_resumed:
                await self._go_on(line)
            await self._drive(line)
        except DamagedError as error:  # it is mended meanwhile, or the copy fails; the session begins anew
            self._stop(SourceEvent.DROPPED)
            around.copy.damaged(error)
            raise TransientError(str(error)) from error
        except FailedCopyError as error:
            self._stop(SourceEvent.DROPPED)
            around.on_trouble(error)
            raise
        finally:
            line.detach("the session is over")

    async def _go_on(self, line: Line) -> None:
        """The target opened what it kept: what it does not have, and all of the redo, is sent again."""
        await self._until(line, lambda: line.is_ready)
        async with self._lock:
            answer = self._answer
            assert answer is not None
            going = resync_source.resumed(self.source, answer.staged, answer.fresh)
            if going is None:
                raise TransientError("the session is over")
            self.source = going
        self._require_room()

    async def _drive(self, line: Line) -> None:
        """From READY to DONE; each step looks at the state anew, because rounds begin in between."""
        while True:
            self._require_sizes()
            match self.source.state:
                case SourceState.OFFERED:
                    await self._until(line, lambda: line.is_ready)
                    self.source = resync_source.accepted(self.source, self.source.session)
                case SourceState.DIGESTING:
                    await self._compare(line)
                case SourceState.COPYING if self.source.todo:
                    await self._until(line, lambda: line.has_room)
                    await self._send_blocks(line)
                case SourceState.COPYING:
                    await self._fix_p1(line)
                case SourceState.REDOING:
                    await self._until(line, lambda: line.has_room)
                    await self._send_redo(line)
                case SourceState.ENDING:
                    await self._until(line, lambda: self._is_done(line))
                    if self._is_done(line) and await self._confirm_done(line):
                        return
                case _:
                    raise self._overtaken()

    def _overtaken(self) -> TransientError:
        if self.is_outrun:
            return TransientError(
                f"the line to {self._center} is slower than the writes: {ROUNDS_MAX} rounds did not end",
                code="outrun",
                remedy="wait for a quieter time, raise the journal quota, or give the line more",
            )
        return TransientError(f"the session with {self._center} was dropped: its redo outgrew the journal")

    async def _until(self, line: Line, is_so: Callable[[], bool]) -> None:
        """Wait for the target, or for room. Raises TransientError, RefusedError."""
        began = self.source.state
        self._check(line)
        while not is_so():
            line.heard.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await line.heard.wait()
            self._moved(line.heard_at)
            self._check(line)
            if self.source.state is not began:
                return

    def _require_sizes(self) -> None:
        """A session has one size for each volume. Raises TransientError: one has grown since it began."""
        has_grown = self._around.copy.sizes.resizes != self._resizes
        if has_grown and self.source.state is not SourceState.ENDING:  # then all of it was sent before
            self._stop(SourceEvent.DROPPED)
            raise TransientError("a volume was resized meanwhile: the session begins anew", code="resized")

    def _check(self, line: Line) -> None:
        self._require_sizes()
        if line.refusal is not None:
            refusal = line.refusal
            self._is_whole = self._is_whole or refusal.code == "pages_misfit"
            if refusal.code in PASSING:
                # Halted by what was asked in between: what is put aside is kept. Else it is gone.
                self._stop(SourceEvent.CUT if refusal.code == "halted" else SourceEvent.REFUSED)
                raise TransientError(f"{self._center} ended the session: {refusal.text}", code=refusal.code)
            self._stop(SourceEvent.REFUSED)
            raise RefusedError(
                f"{self._center} refuses: {refusal.text}", code=refusal.code, remedy=refusal.remedy
            )
        if line.is_lost:
            self._stop(SourceEvent.CUT)
            raise TransientError(f"the line to {self._center} was lost: {line.reason}")
        if resync_source.is_stalled(self.source, self._around.clock.now()):
            self._stop(SourceEvent.STALLED)
            line.give_up(f"nothing went on for {resync_source.NO_PROGRESS_S:g} s")
            raise TransientError(
                f"the session with {self._center} made no progress for {resync_source.NO_PROGRESS_S:g} s",
                code="stalled",
            )
        if self.source.state is SourceState.IDLE:
            raise self._overtaken()

    async def _send_blocks(self, line: Line) -> None:
        asker = self._asker if self._asker is not None and self._asker.pays else None
        if asker is not None:
            await self._ask_pages(line, asker)
        async with self._lock:
            for blocks in frames(await self._read_blocks(asker)):
                parts = resync.blocks_parts(self._around.engine.log.epoch, blocks)
                await line.bulk(FrameType.BLOCKS, parts, granules=sum(block.granules for block in blocks))

    async def _ask_pages(self, line: Line, asker: PageAsker) -> None:
        """Ask ahead, and wait for what was asked about the next granules."""
        asker.ask(self.source.todo)
        await self._until(line, lambda: asker.is_told(extents.take(self.source.todo, A_TURN)[0]))

    async def _read_blocks(self, asker: PageAsker | None) -> list[resync.Block]:
        """What comes next: whole granules, or more of them without the pages that the target has."""
        found: list[resync.Block] = []
        granules = 0
        while not granules or (asker is not None and granules < A_TURN):
            self._require_sizes()
            source = self.source
            if source.state is not SourceState.COPYING or not source.todo:
                break
            now = self._around.clock.now()
            read = await self._moment.read(source.todo)
            if read is None:
                read = await self._reader.first(source.todo)
            count, blocks = read
            taken, self.source = resync_source.sent(source, count, now)
            found += blocks if asker is None else await asker.cut(taken, blocks)
            granules += count
        return found

    async def _fix_p1(self, line: Line) -> None:
        """Every block was read: p1 is where what they showed is committed and durable everywhere."""
        around, wanted = self._around, self._wanted
        assert wanted is not None
        if self._moment.is_held:
            p1 = self._moment.at  # all that was read showed just that
        else:
            point = around.note_point()
            p1 = await self._durable(max(around.copy.volumes.recorded, wanted.fork, point), line)
        async with self._lock:
            if self.source.state is SourceState.COPYING and not self.source.todo:
                self.source = resync_source.copied(self.source, p1.seq)
                self._p1, self._redone = p1, self._p0.seq

    async def _send_redo(self, line: Line) -> None:
        async with self._lock:
            source, journal = self.source, self._around.copy.journal
            if source.state is not SourceState.REDOING:
                return
            epoch = self._around.engine.log.epoch
            if self._redone >= source.p1:
                self.source, word = resync_source.redone(source)
                whole = resync.runs_hash(source.whole)
                session = session_bytes(word.session)
                end = resync.End(epoch, session, word.generation, word.size, self._p1, whole)
                line.small(FrameType.RESYNC_END, resync.encode_end(end))
                self._moved(self._around.clock.now())
                return
            try:
                batches, last = sound_batches(journal, self._redone, PUMP_BYTES)
            except MalformedError as error:
                self._stop(SourceEvent.DROPPED)
                raise TransientError(f"the journal no longer holds the redo: {error}") from error
            piece, last = up_to(batches, last, source.p1)
            head = data.batches_header(data.BatchesHeader(epoch, source.p1, 0, self._redone + 1))
            await line.bulk(FrameType.BATCHES, [head, piece], redo=len(piece))
            self._redone = last

    def _is_done(self, line: Line) -> bool:
        return line.done is not None and line.done.session.hex() == self.source.session

    async def _confirm_done(self, line: Line) -> bool:
        assert line.done is not None
        assert self._wanted is not None
        size = extents.size(self.source.whole)
        word = EndWord(self.source.session, line.done.generation, line.done.p1, size)
        return await self._confirm(word, self._wanted)

    async def _confirm(self, word: EndWord, wanted: Wanted) -> bool:
        """The target stands at p1: its cursor is there, and the marks of this session go, durably."""
        around, center = self._around, self._center
        async with self._lock:
            source, _, is_done = resync_source.confirmed(self.source, around.marks.of(center), word)
            if not is_done:
                self._stop(SourceEvent.DROPPED)
                around.tell("resync_dropped", f"{center} confirms another session than ours")
                return False
            await around.marks.met(center, wanted.statement.incarnation, word.p1)
            _, cleared, _ = resync_source.confirmed(self.source, around.marks.of(center), word)
            await around.marks.store(center, cleared)
            self.source = source
            around.marks.pin(center, None)
        around.tell("resync_done", f"{center} stands at record {word.p1}")
        return True

    # --- digests

    async def _compare(self, line: Line) -> None:
        """Find what differs: what the target's digests say, or all that is stored here."""
        answer = self._answer
        assert answer is not None
        if self._mode is Mode.EVERYTHING:
            found = await self._reader.stored()
        else:
            found = await self._compare_digests(line)
            found = extents.union(found, self._reader.clipped(answer.changed or NOTHING))
        async with self._lock:
            now = self._around.clock.now()
            self.source = resync_source.digested(self.source, self.source.session, found, now)
        self._require_room()

    async def _compare_digests(self, line: Line) -> Extents:
        self._compared, self._comparable = 0, extents.size(self._reader.whole)

        async def answered(is_so: Callable[[], bool]) -> None:
            while not is_so():
                await self._until(line, is_so)

        def compared(granules: int) -> None:
            self._compared += granules
            self._moved(self._around.clock.now())

        return await compare(line, self._reader, answered, compared)

    # --- ends

    def _moved(self, at: float) -> None:
        self.source = resync_source.moved(self.source, at)

    def _stop(self, event: SourceEvent) -> None:
        self.source = resync_source.stop(self.source, event)

    def _left(self) -> None:
        """Whatever happened: a session that goes on keeps its pin, and any other gives it back."""
        self._moment.let_go()
        line, self.line = self.line, None
        if line is not None:
            self.wire_bytes += line.wire_bytes
        if self.source.state not in (SourceState.IDLE, SourceState.KEPT):
            self._stop(SourceEvent.CUT)
        if self.source.state is SourceState.IDLE:
            self._around.marks.pin(self._center, None)

    def _words(self) -> str:
        return words_of(self._mode, extents.size(self.source.todo))
