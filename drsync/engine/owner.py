"""The owner's hot path: from a request to its acknowledgment. Sans-IO but for the journal's `append`.

Callback-driven and batched: no task, no future, no object per request. What may be acknowledged is
decided by `core.group_log`, once per batch. One instance lives as long as one epoch.
"""

import errno
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakKeyDictionary

from drsync.core.flush_habit import FlushHabit
from drsync.core.group_log import GroupLog
from drsync.core.pacing import Pacer
from drsync.delta.batch import FLAG_FUA, BatchBuilder, EncodedBatch, Kind
from drsync.engine.allocation import extents
from drsync.engine.fetching import fetch
from drsync.engine.sampling import Sampler
from drsync.engine.volumes import GroupVolumes
from drsync.engine.write_gate import WriteGate
from drsync.model.errors import DamagedError, DrsyncError, FailedCopyError, NoSpaceError
from drsync.model.group import Durability
from drsync.model.position import Position
from drsync.ports.clock import Clock
from drsync.ports.journal import Arrived, Journal
from drsync.ports.volume import COLD, COMPLETE_OK, Completion, Extent

WRITE_PIECE = 1 << 20  # because a batch holds at most 1 MiB of payload
COMMIT_BOUNDS_S = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0)
"""How long commits take is counted below these, because links and disks differ by factors, not by offsets."""
ZERO_PIECE = 1 << 31  # because a record's length has 32 bits


class BatchSink(Protocol):
    """Somebody who gets every batch as it is appended: a feed to a peer."""

    @property
    def durable(self) -> int:
        """What it said to hold durably."""
        ...

    def push(self, batch: EncodedBatch, *, is_flushed: bool) -> None:
        """Take it or fall behind and read the journal later; never blocks.

        `is_flushed`: somebody waits, or is about to wait, for it to be durable.
        """
        ...

    def want_durable(self, seq: int) -> None:
        """Ask the peer to make records up to `seq` durable soon."""
        ...


@dataclass(slots=True)
class _Pending:
    """A batch that is appended here and not yet committed."""

    last_seq: int
    payload: int
    table: bytes
    since: float
    fua: bool
    cookies: list[bytes]
    completion: Completion | None
    size: int


@dataclass(slots=True)
class _Waiter:
    """Requests that are answered once records up to `seq` are durable on the whole ack set."""

    seq: int
    completion: Completion
    cookies: list[bytes]
    size: int = 0  # bytes of their batch; flushes have none and are not paced


@dataclass(slots=True)
class _Held:
    """Requests that are settled, and answered at `due` for the sake of a peer that is behind."""

    due: float
    completion: Completion
    cookies: list[bytes]


@dataclass(slots=True)
class OwnerStats:
    """Counters since the opening."""

    writes: int = 0
    write_bytes: int = 0
    flushes: int = 0
    reads: int = 0
    read_bytes: int = 0
    batches: int = 0
    log_bytes: int = 0  # of batches, with their tables
    paced: int = 0  # requests whose answer was held back
    paced_s: float = 0.0  # by so much in all
    commit_s: float = 0.0  # from append to commit, all batches together
    commit_counts: list[int] = field(default_factory=lambda: [0] * (len(COMMIT_BOUNDS_S) + 1))


class OwnerEngine:
    """Orders, appends, ships, commits and answers writes of one group in one epoch."""

    def __init__(
        self,
        *,
        log: GroupLog,
        journal: Journal,
        volumes: GroupVolumes,
        clock: Clock,
        on_trouble: Callable[[DrsyncError], None],
    ) -> None:
        self.log = log
        self.volumes = volumes
        self.stats = OwnerStats()
        self.sampler = Sampler()
        self.feeds: list[BatchSink] = []
        self.lease_until = 0.0
        self.gate = WriteGate()
        self.is_gated = False  # what the gate says, where each write looks
        self.room: int | None = None  # bytes that may be appended before writes wait; None: no bound
        self.on_late: Callable[[int], None] = _nothing_of
        self.is_released = False
        self.is_closed = False
        self.is_mending = False
        self.on_damage: Callable[[DamagedError], None] = on_trouble
        self.wake_sync: Callable[[], None] = _nothing
        self.foresee_sync: Callable[[], None] = _nothing
        self.wake_pace: Callable[[], None] = _nothing
        self.stir: Callable[[], None] = _nothing  # before something changes that the term's ticks look after
        self.pacer = Pacer(0.0)
        self.commit_time_us = 0
        self.last_time_us = 0
        self.commit_position: Position = journal.tip
        self._journal = journal
        self.clock = clock
        self._opened_at = log.appended
        self._on_trouble = on_trouble
        self._builder = BatchBuilder()
        self._cookies: list[bytes] = []
        self._fua = False
        self._flushes: list[bytes] = []
        self._habit = FlushHabit()
        self._is_fsync = log.durability is Durability.FSYNC
        self._unsubmitted: list[_Pending] = []
        self._pending: deque[_Pending] = deque()
        self._waiters: deque[_Waiter] = deque()
        self._held: deque[_Held] = deque()
        self._unpaced = 0  # bytes committed of a write that spans batches, which is answered with its last
        # Weak, because clients that go away are not kept; a mapping, because they go on as they came.
        self._parked: WeakKeyDictionary[Completion, None] = WeakKeyDictionary()
        self._times: deque[tuple[int, int]] = deque()
        self._restart_batch()

    # --- requests, as `ports.volume.BlockDevice` per volume hands them on

    def write(self, volume: int, offset: int, data: memoryview, cookie: bytes, *, fua: bool) -> None:
        """Queue a write; `data` is valid until `submit` returns."""
        size = len(data)
        if self.is_gated:
            self.gate.turn_away(volume, offset, data, size, cookie, fua=fua)
            return
        self.stats.writes += 1
        self.stats.write_bytes += size
        builder = self._builder
        if size <= WRITE_PIECE:
            if not builder.fits(size):
                self._close_batch()
            builder.add_write(volume, offset, data, FLAG_FUA if fua else 0)
        else:
            self._write_pieces(volume, offset, data, fua=fua)
        if fua:
            self._fua = True
        self._cookies.append(cookie)

    def _write_pieces(self, volume: int, offset: int, data: memoryview, *, fua: bool) -> None:
        for at in range(0, len(data), WRITE_PIECE):
            piece = data[at : at + WRITE_PIECE]
            if not self._builder.fits(len(piece)):
                self._close_batch()
            self._builder.add_write(volume, offset + at, piece, FLAG_FUA if fua else 0)

    def zero(self, volume: int, offset: int, length: int, cookie: bytes, *, fua: bool) -> None:
        """Queue a range of zeros."""
        if self.is_gated:
            self.gate.turn_away(volume, offset, None, length, cookie, fua=fua)
            return
        for at in range(0, length, ZERO_PIECE):
            if not self._builder.fits(0):
                self._close_batch()
            self._builder.add_zero(volume, offset + at, min(ZERO_PIECE, length - at), FLAG_FUA if fua else 0)
        self._fua = self._fua or fua
        self._cookies.append(cookie)

    def flush(self, cookie: bytes) -> None:
        """Queue a flush."""
        if self.is_closed:
            return
        self.stats.flushes += 1
        self._flushes.append(cookie)

    def submit(self, completion: Completion) -> None:
        """Append what was queued, ship it, and answer what is already settled."""
        if self._builder.count:
            self._close_batch()
        if self.gate.new:
            self.gate.keep(completion, self.clock.now())
        if self._is_fsync and self._unsubmitted:
            self._hasten()
        for pending in self._unsubmitted:
            pending.completion = completion
        self._unsubmitted.clear()
        if self._flushes:
            flushes, self._flushes = self._flushes, []
            self._habit.flushed()
            self._wait_durable(_Waiter(self.log.appended, completion, flushes))
        self.settle()

    def read_into(self, volume: int, offset: int, target: memoryview, *, is_disk_asked: bool = True) -> int:
        """Committed data; EAGAIN while the lease has lapsed (somebody else may own the group).

        Also while not all that was found at the opening is committed: what was seen must not be taken back;
        and while the journal is mended where this would be read. COLD unless `is_disk_asked`, if it must be.
        """
        if not self.is_leased or self.log.commit < self._opened_at:
            return errno.EAGAIN
        try:
            view = self.volumes.views[volume]
            if is_disk_asked:
                view.read_into(offset, target)
            elif not view.read_cached(offset, target):
                return COLD
        except DamagedError as error:
            self.is_mending = True  # first: who hears of it may say at once that it is over
            self.on_damage(error)
            return errno.EAGAIN
        except DrsyncError as error:
            self._on_trouble(error)
            return errno.EIO
        self.stats.reads += 1
        self.stats.read_bytes += len(target)
        return 0 if self._is_still_leased() else errno.EAGAIN

    def extents(self, volume: int, offset: int, length: int, most: int) -> list[Extent]:
        """What is stored of committed data; all is data while nothing may be read: who reads it waits."""
        if self.is_leased and self.log.commit >= self._opened_at:
            found = extents(self.volumes.views[volume], offset, length, most)
            if self._is_still_leased():
                return found
        return [(length, False)]

    def park(self, completion: Completion) -> None:
        """Remember whose reads wait for the lease; once is enough, and only while it lives."""
        self.stir()
        self._parked[completion] = None

    def _unpark(self) -> None:
        parked, self._parked = list(self._parked), WeakKeyDictionary()
        for completion in parked:
            completion.resume()

    # --- records the engine writes itself

    def mark(
        self,
        kind: Kind,
        payload: bytes,
        flags: int = 0,
        *,
        volume: int = 0,
        offset: int = 0,
        is_hasty: bool = False,
    ) -> Position:
        """Append a record of our own (checkpoint, epoch start) as a batch; returns its position.

        `is_hasty`: the members are asked at once to make it durable.
        """
        assert not self._builder.count
        self._fua = is_hasty
        self._builder.add_control(kind, payload, volume, offset, flags)
        position = self._close_batch()
        self._unsubmitted.clear()
        self.settle()
        return position

    # --- batches

    def _restart_batch(self) -> None:
        tip = self._journal.tip
        self._builder.reset(self.log.epoch, tip.seq + 1, tip.chain)

    def _close_batch(self) -> Position:
        """Append the open batch to the journal and hand it to the feeds; nothing after one that failed."""
        if self.is_closed:
            return self._journal.tip
        self.stir()
        self.last_time_us = time_us = max(self.clock.wall_us(), self.last_time_us)
        batch = self._builder.finish(time_us)
        try:
            locator = self._journal.append(batch.parts, batch.first_seq, batch.end)
        except (FailedCopyError, NoSpaceError) as error:
            self._on_trouble(error)
            self.close()
            self._restart_batch()
            return self._journal.tip
        self.stats.batches += 1
        self.stats.log_bytes += batch.length
        self.log.append(batch.last_seq)
        now = self.clock.now()
        pending = _Pending(
            batch.last_seq,
            locator + batch.payload_start,
            batch.table,
            now,
            self._fua,
            self._cookies,
            None,
            batch.length,
        )
        self._pending.append(pending)
        self._unsubmitted.append(pending)
        self._times.append((batch.last_seq, time_us))
        is_foreseen = self._habit.wrote()
        is_flushed = is_foreseen or self._fua or bool(self._flushes) or self._is_fsync
        self._cookies, self._fua = [], False
        for feed in self.feeds:
            feed.push(batch, is_flushed=is_flushed)
        if is_foreseen:
            self.foresee_sync()
        if now >= self.sampler.due:
            self.sampler.take(batch, now)
        self._builder.reset(self.log.epoch, batch.last_seq + 1, batch.end.chain)
        if self.room is not None:
            self.set_room(self.room - batch.length)
        return batch.end

    # --- acknowledgment

    @property
    def is_leased(self) -> bool:
        """Whether the owner may answer now, by its own clock."""
        return not self.is_released and self.clock.now() < self.lease_until

    def _is_still_leased(self) -> bool:
        """Asked again after the read: the lease must hold when the answer goes out (P04)."""
        return self.is_leased

    @property
    def oldest_pending_age(self) -> float:
        """Seconds the oldest uncommitted batch has waited; 0 when everything is committed."""
        return self.clock.now() - self._pending[0].since if self._pending else 0.0

    @property
    def oldest_wait(self) -> float:
        """Seconds the oldest write has waited: for its commit, or for the gate."""
        return max(self.oldest_pending_age, self.gate.waiting_s(self.clock.now()))

    def settle(self) -> None:
        """Commit what all members have, answer it, and answer flushes that are durable everywhere."""
        if self.is_closed or not self.is_leased:
            return
        if self.log.advance():
            self._commit()
        if self._waiters:
            self._answer_waiters()
        if self._held:
            self._answer_held()
        if self._parked and self.log.commit >= self._opened_at and not self.is_mending:
            self._unpark()

    def _commit(self) -> None:
        commit, pending = self.log.commit, self._pending
        volumes, stats, now = self.volumes, self.stats, self.clock.now()
        answer: Completion | None = None
        cookies: list[bytes] = []
        try:
            while pending and pending[0].last_seq <= commit:
                entry = pending.popleft()
                self._unpaced += entry.size
                took = now - entry.since
                stats.commit_s += took
                stats.commit_counts[bisect_left(COMMIT_BOUNDS_S, took)] += 1
                volumes.record(entry.last_seq, entry.table, entry.payload)
                if entry.completion is None or not entry.cookies:
                    continue
                size, self._unpaced = self._unpaced, 0
                if entry.fua:
                    self._wait_durable(_Waiter(entry.last_seq, entry.completion, entry.cookies, size))
                elif self.pacer.rate or self._held:
                    self._hold(entry.completion, entry.cookies, size)
                elif entry.completion is answer:
                    cookies += entry.cookies
                else:
                    if answer is not None:
                        answer.complete(cookies, COMPLETE_OK)
                    answer, cookies = entry.completion, entry.cookies
        except DrsyncError as error:  # also when a block that is written in part is damaged: it is not known
            self._on_trouble(FailedCopyError(str(error)))
            self.close()
            return
        while self._times and self._times[0][0] <= commit:
            self.commit_time_us = self._times.popleft()[1]
        if answer is not None:
            answer.complete(cookies, COMPLETE_OK)

    def _wait_durable(self, waiter: _Waiter) -> None:
        self._waiters.append(waiter)
        if self.log.flush_bound() < waiter.seq:
            self._hasten()

    def _hasten(self) -> None:
        """Somebody waits for everything appended to become durable, here and at the peers."""
        for feed in self.feeds:
            feed.want_durable(self.log.appended)
        self.wake_sync()

    def _answer_waiters(self) -> None:
        bound = min(self.log.commit, self.log.flush_bound())
        waiters = self._waiters
        for _ in range(len(waiters)):
            waiter = waiters.popleft()
            if waiter.seq <= bound:
                self._hold(waiter.completion, waiter.cookies, waiter.size)
            else:
                waiters.append(waiter)

    # --- pacing

    def _hold(self, completion: Completion, cookies: list[bytes], size: int) -> None:
        """Answer what is settled: now, or a little later when a peer is too far behind."""
        now = self.clock.now()
        delay = self.pacer.delay(now, size) if size else 0.0
        if not delay and (not size or not self._held):
            completion.complete(cookies, COMPLETE_OK)
            return
        self.stats.paced += len(cookies)
        self.stats.paced_s += delay * len(cookies)
        if not self._held:
            self.wake_pace()
        self._held.append(_Held(now + delay, completion, cookies))

    def _answer_held(self) -> None:
        now, held = self.clock.now(), self._held
        while held and (held[0].due <= now or not self.pacer.rate):
            entry = held.popleft()
            entry.completion.complete(entry.cookies, COMPLETE_OK)

    @property
    def held_until(self) -> float | None:
        """When the next answer that is held back is due; None when there is none."""
        return self._held[0].due if self._held else None

    @property
    def wants_durable(self) -> int:
        """Highest record somebody waits to become durable here; 0 if nobody waits."""
        if self.log.durability is Durability.FSYNC and self._pending:
            return self._pending[-1].last_seq
        return max((w.seq for w in self._waiters), default=0)

    # --- state

    def freeze(self) -> None:
        """Take no new writes; what is appended drains (switchover S2). Never thaws (F.A 1)."""
        self.is_frozen = True

    @property
    def is_frozen(self) -> bool:
        """Whether no writes are taken in this epoch any more."""
        return self.gate.standing.is_frozen

    @is_frozen.setter
    def is_frozen(self, is_so: bool) -> None:
        self._stand(is_frozen=is_so)

    @property
    def is_full(self) -> bool:
        """Whether nothing may be appended, not even a checkpoint, until the journal has room."""
        return self.gate.standing.is_full

    def set_room(self, room: int | None) -> None:
        """So many bytes may be appended before writes wait; None: no bound."""
        self.room = room
        is_full = room is not None and room <= 0
        if is_full is not self.is_full:
            self._stand(is_full=is_full)

    def stall_for(self, centers: tuple[str, ...]) -> None:
        """New writes wait for these peers, by policy; for nobody: they go on."""
        if centers != self.gate.standing.stalls:
            self._stand(stalls=centers)

    def _stand(self, **facts: object) -> None:
        """Something has changed that the gate depends on; what waited is appended when it opens."""
        self.stir()
        self.gate.judge(**facts)
        self.is_gated = not self.gate.is_open
        if self.is_gated:
            return
        for group in self.gate.take_all():
            self.on_late(self.log.appended)
            for one in group.asked:
                if one.data is None:
                    self.zero(one.volume, one.offset, one.length, one.cookie, fua=one.fua)
                else:
                    self.write(one.volume, one.offset, memoryview(one.data), one.cookie, fua=one.fua)
            self.submit(group.completion)

    @property
    def is_drained(self) -> bool:
        """Everything appended is committed."""
        return not self._pending and not self._builder.count and not self._held

    @property
    def is_level(self) -> bool:
        """Everything is committed, durable here and answered; nobody waits for anything."""
        log, waits = self.log, self._waiters or self._parked or self._flushes
        return log.commit == log.appended == log.durable and self.is_drained and not waits

    def release(self) -> None:
        """Give the lease back: nothing is answered from now on."""
        self.stir()
        self.is_released = True
        self._stand(is_frozen=True, is_ended=True)

    def close(self) -> None:
        """End of this epoch here. Unanswered requests stay unanswered: their connections are dropped."""
        self.stir()
        self.is_closed = self.is_released = True
        self._stand(is_frozen=True, is_ended=True)
        self._waiters.clear()
        self._held.clear()
        self._parked.clear()
        self.feeds.clear()


def _nothing() -> None:
    """Default for callbacks."""


def _nothing_of(_after_seq: int) -> None:
    """Default of `on_late`: who counts records hears that what waited comes after this one."""


@dataclass(slots=True)
class OwnerDevice:
    """One volume of an owner as `ports.volume.BlockDevice`."""

    engine: OwnerEngine
    volume: int
    size: int
    is_read_only: bool = field(default=False)

    def write(self, offset: int, data: memoryview, cookie: bytes, *, fua: bool) -> None:
        """See BlockDevice."""
        self.engine.write(self.volume, offset, data, cookie, fua=fua)

    def zero(self, offset: int, length: int, cookie: bytes, *, fua: bool, is_trim: bool) -> None:
        """See BlockDevice; TRIM and WRITE_ZEROES are the same record."""
        del is_trim
        self.engine.zero(self.volume, offset, length, cookie, fua=fua)

    def flush(self, cookie: bytes) -> None:
        """See BlockDevice."""
        self.engine.flush(cookie)

    def submit(self, completion: Completion) -> None:
        """See BlockDevice."""
        self.engine.submit(completion)

    def read_into(self, offset: int, target: memoryview) -> int:
        """See BlockDevice."""
        return self.engine.read_into(self.volume, offset, target)

    def read_cached(self, offset: int, target: memoryview) -> int:
        """See FetchingDevice."""
        return self.engine.read_into(self.volume, offset, target, is_disk_asked=False)

    def fetch(self, places: Sequence[tuple[int, int]], arrived: Arrived) -> None:
        """See FetchingDevice."""
        fetch(self.engine.volumes.views[self.volume].image, places, arrived)

    def park(self, completion: Completion) -> None:
        """See BlockDevice."""
        self.engine.park(completion)

    def extents(self, offset: int, length: int, most: int) -> list[Extent]:
        """See BlockDevice."""
        return self.engine.extents(self.volume, offset, length, most)
