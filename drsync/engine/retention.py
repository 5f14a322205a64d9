"""Keeping journal for those who need it, within the quota: the acts of `core.retention`, for one copy.

Each fold round asks the plan with what the copy holds, and does what it says in its order: marks are durable
before records go, and only *stored* cursors release anything. Owners and replicas do the same, so that
any two survivors can be brought level (INV-11).
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from drsync.core import dirty as marking
from drsync.core import extents, retention
from drsync.core.dirty import DirtySet, Marks
from drsync.core.extents import Extents
from drsync.core.retention import (
    Alarm,
    Convert,
    Cursor,
    GiveUp,
    Kept,
    Level,
    Limits,
    Needed,
    Pin,
    PinKind,
    Segment,
    ShrinkWindow,
)
from drsync.engine.copy import GroupCopy
from drsync.engine.dirty_book import DirtyBook
from drsync.engine.durable import Durable, clamped_cursors
from drsync.engine.threads import in_thread
from drsync.engine.views import Views
from drsync.engine.volumes import LAYER_BLOCKS_MAX
from drsync.model.errors import MalformedError, NoSpaceError
from drsync.model.group import WhenFull
from drsync.wire.stream import ToldCursor

if TYPE_CHECKING:
    from drsync.engine.switch import Switch
    from drsync.engine.term import OwnerTerm

VIEW_BLOCKS_MAX: Final = 2 * LAYER_BLOCKS_MAX  # because a drill should be over long before 3 GB were written
RESERVE_SHARE: Final = 8  # of the soft quota, because what is held ahead takes the place of recovery points
VIEW_QUOTA_SHARE: Final = 0.25  # of the journal's quota, because a view is a convenience, and four fit


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may be done now.

    Attributes:
        fold: records up to here may be in the images.
        trim: and these may go from the journal, once they are in the images.
    """

    fold: int
    trim: int


@dataclass(frozen=True, slots=True)
class Holder:
    """Another member, and what is kept of the journal for it.

    Attributes:
        center: which one.
        cursor: it holds our log durably up to here, as far as is stored here.
        through: its marks stand for records up to here; 0: nothing is marked.
        pin: start of a running resync; None without one.
        held_bytes: of journal that stay for it alone.
        dirty_bytes: that are marked; None: not known, so everything may differ.
    """

    center: str
    cursor: int
    through: int
    pin: int | None
    held_bytes: int
    dirty_bytes: int | None


class Keeper:
    """Cursors, marks and pins of one copy, and what follows from them (`resync_marks.Marks`).

    Attributes:
        book: the dirty sets.
        retain: every member has the log up to here, as the owner of an older version says; for replicas only.
        alarm: how full the journal is, in words; empty while it is not.
    """

    def __init__(
        self,
        copy: GroupCopy,
        views: Views,
        tell: Callable[[str, str], None],
        on_view_given_up: Callable[[str, str], None],
    ) -> None:
        """`tell` takes an event and its reason, for the night shift."""
        self.book = DirtyBook(copy)
        self.retain = 0
        self.alarm = ""
        self._copy = copy
        self._views = views
        self._tell = tell
        self._on_view_given_up = on_view_given_up
        self._level: Level | None = None  # the highest that people were told of
        self._lack = ""
        self._window_s: float | None = None  # what the window was shrunk to in the last round
        self._pins: dict[str, int] = {}
        self._fresh: set[str] = set()  # members that spoke for themselves since we opened
        self._cursors = self._stored_cursors()
        self._segments: tuple[Segment, ...] = ()
        self._segments_look: object = None  # what they were made of

    def _stored_cursors(self) -> dict[str, Cursor]:
        return {center: Cursor(*pair) for center, pair in self._copy.durable.cursors.items()}

    # --- resync_marks.Marks

    def of(self, center: str) -> DirtySet:
        """See Marks."""
        return self.book.of(center)

    async def store(self, center: str, marked: DirtySet) -> None:
        """See Marks."""
        await self.book.store(center, marked)

    def cursor(self, center: str) -> int:
        """See Marks: as stored."""
        return self._copy.durable.cursors.get(center, ("", 0))[1]

    async def met(self, center: str, incarnation: str, seq: int) -> None:
        """See Marks. The cursor is durable before the marks go that it makes superfluous."""
        self._fresh.add(center)
        self._cursors[center] = Cursor(incarnation, seq)
        if self._copy.durable.cursors.get(center) != (incarnation, seq):
            await self._copy.store(self.with_cursors)
        await self.book.change(center, lambda marked: marking.reached(marked, seq))

    def pin(self, center: str, seq: int | None) -> None:
        """See Marks."""
        if seq is None:
            self._pins.pop(center, None)
        else:
            self._pins[center] = seq

    async def set_bytes(self, center: str, through: int) -> int | None:
        """See Marks: read from the journal's indexes, in a thread."""
        marked, trimmed = self.book.of(center), self._copy.journal.first_seq - 1
        floor = marking.journal_floor(marked, self.cursor(center))
        if marked.runs is None or floor < trimmed:
            return None
        try:
            changed = await self._changed(floor, through)
        except MalformedError:
            return None  # it went meanwhile
        return extents.size(extents.union(marked.runs, changed)) * extents.GRANULE

    # --- cursors

    def confirmed(self, center: str, incarnation: str, seq: int) -> None:
        """See Marks."""
        known = self._cursors.get(center)
        self._fresh.add(center)
        if known is None or known.incarnation != incarnation or known.seq < seq:
            self._cursors[center] = Cursor(incarnation, seq)

    def told(self, told: Mapping[str, ToldCursor]) -> None:
        """What the owner whose log we follow says of the others: higher positions, and new stores it met."""
        me = self._copy.me.center
        words = [(center, Cursor(word.incarnation, word.seq)) for center, word in sorted(told.items())]
        merged = retention.heard(self._cursors, words, me)
        for center, cursor in words:
            is_new = center in merged and merged[center].incarnation != cursor.incarnation
            if is_new and told[center].is_fresh:
                merged[center] = cursor
        self._cursors = merged

    def to_tell(self, durable: int) -> Mapping[str, ToldCursor]:
        """What an owner says that holds its log durably up to `durable`: incarnation, record, is fresh."""
        words = {
            center: ToldCursor(cursor.incarnation, cursor.seq, center in self._fresh)
            for center, cursor in self._cursors.items()
        }
        words[self._copy.me.center] = ToldCursor(self._copy.durable.incarnation, durable, is_fresh=True)
        return words

    @property
    def has_news(self) -> bool:
        """Whether cursors are to be stored."""
        return self._cursors != self._stored_cursors()

    def with_cursors(self, durable: Durable) -> Durable:
        """The superblock's value with what is known of the others."""
        cursors = {center: (cursor.incarnation, cursor.seq) for center, cursor in self._cursors.items()}
        return replace(durable, cursors=cursors)

    def confirmed_by_all(self, durable: int) -> int:
        """Every member has the log durably up to here, by stored cursors; `durable` is our own position."""
        return min([durable, *(self.cursor(center) for center in self.book.others())])

    async def clamp(self, fork: int) -> None:
        """Our log ends at `fork` and goes on with other records. Durable on return, to be before a cut.

        Raises:
            NoSpaceError, FailedCopyError: it may not be cut.
        """
        self._fresh.clear()
        self.retain = min(self.retain, fork)
        await self._copy.holds.cut(fork, self._tell)
        for center in self.book.others():
            await self.book.change(center, lambda marked: marking.clamped(marked, fork))
        known = {center: (cursor.incarnation, cursor.seq) for center, cursor in self._cursors.items()}
        lower = clamped_cursors(known, fork)
        self._cursors = {center: Cursor(*pair) for center, pair in lower.items()}
        if any(seq > fork for _, seq in self._copy.durable.cursors.values()):
            await self._copy.store(self.with_cursors)

    async def mark_switch(self, word: "Switch", staged: Extents | None) -> None:
        """See `resync_target.MarkOthers`: what a switch changes, marked before it is recorded.

        The marks stand for no records until the switch is done (`dirty_entries.through_switch`): then another
        member that holds the source's log up to p0 is level with this copy, whatever it was before. A cursor
        is where a member was at least: without `staged` nothing is known of any of them.
        """
        journal = self._copy.journal
        trimmed, tip = journal.first_seq - 1, journal.tip.seq
        for center in self.book.others():
            cursor, marked = self.cursor(center), self.book.of(center)
            floor = min(marking.journal_floor(marked, cursor), tip)
            runs: Extents | None = None
            is_known = trimmed <= floor and not word.fork < cursor <= word.p0.seq and self._is_known(center)
            if is_known and staged is not None:
                with suppress(MalformedError):  # the images went forward meanwhile, and the records went
                    runs = extents.union(await self._changed(floor, tip), staged)
            # Also what changes nothing is noted, or the switch would not know that there is a set.
            await self.book.store(center, _switched(cursor, runs)(self.book.of(center)))

    def switched(self) -> None:
        """A switch has put another log in the place of ours: what it stored of the others counts, no more."""
        self._cursors = self._stored_cursors()
        self.book.reread()

    def _is_known(self, center: str) -> bool:
        return center in self._copy.durable.cursors

    # --- rounds

    async def round(self, term: "OwnerTerm | None") -> None:
        """Give up what has to be given up for space. While the fold lock is held. Raises FailedCopyError."""
        await self._give_up_heavy(term)
        if term is not None:
            await self._clear_reached()
            await self._count_sets(term)
        self._window_s = None
        level = None
        if self._copy.journal.held_bytes > self._limits().hard_bytes and self.has_news:
            await self._copy.store(self.with_cursors)  # so that nobody is marked who has confirmed meanwhile
        for action in retention.plan(self.kept(term), self._limits()):
            match action:
                case Alarm(level=found, left_bytes=left):
                    level, self.alarm = found, self._alarm_words(found, left)
                case GiveUp(kind=PinKind.VIEW, name=name):
                    self._views.release(name)
                    self._on_view_given_up(name, "the journal kept for it is more than a view may hold")
                case GiveUp(name=name):
                    why = "the journal is at its quota, and nothing else was left to go (when_full)"
                    await self._copy.holds.give_up(name, why, self._tell)
                case ShrinkWindow(to_s=to_s):
                    self._window_s = to_s
                case Convert():
                    await self._convert(term, action)
                case _:  # folding and trimming ask for their bounds, and waiting asks for `room`
                    pass
        await self._convert_to_layer(term)
        self.count_room(term)
        is_tight = level is not None or bool(self._copy.space.reason)
        self._copy.journal.hold_reserve(0 if is_tight else self._limits().soft_bytes // RESERVE_SHARE)
        self._note_level(level)

    def bounds(self, term: "OwnerTerm | None") -> Bounds:
        """How far images and trimming may go at this moment, after what the last round gave up."""
        kept, limits = replace(self.kept(term), window_s=self._window_s), self._limits()
        return Bounds(retention.fold_bound(kept, limits), retention.trim_bound(kept, limits))

    def _limits(self) -> Limits:
        policy = self._copy.spec.policy
        return Limits(
            policy.soft_quota_bytes,
            policy.journal_quota_bytes,
            policy.window_s,
            policy.window_floor_s,
            policy.when_full,
        )

    def kept(self, term: "OwnerTerm | None") -> Kept:
        """What the copy holds, and for whom."""
        copy, journal = self._copy, self._copy.journal
        log = term.engine.log if term is not None else None
        full = journal.sealed()
        newest_us = max([copy.beats.newest.time_us, *(s.newest_us for s in full[-1:])])
        newest_us = max([newest_us, *(mark.time_us for mark in copy.checkpoints[-1:])])
        looks = (newest_us, len(full), journal.first_seq, full[-1:], journal.held_bytes)
        if looks != self._segments_look:  # asked several times a round, of a thousand segments
            self._segments = tuple(Segment(s.last_seq, s.bytes, _age_s(newest_us, s.newest_us)) for s in full)
            self._segments_look = looks
        segments = self._segments
        return Kept(
            is_owner=log is not None,
            commit=log.commit if log is not None else copy.commit,
            durable=log.durable if log is not None else journal.durable_seq,
            applied=copy.volumes.applied,
            segments=segments,
            open_bytes=journal.held_bytes - sum(segment.size for segment in segments),
            needs=tuple(self._need(center, is_owner=log is not None) for center in self.book.others()),
            pins=(*self._view_pins(), *self._hold_pins()),
            # A replica's index is made when it opens, and its window is what forks are undone in.
            may_trail=log is not None and copy.volumes.held_blocks < LAYER_BLOCKS_MAX,
            window_seq=self._window_seq(),
        )

    def _need(self, center: str, *, is_owner: bool) -> Needed:
        cursor = self.cursor(center) if is_owner else max(self.cursor(center), self.retain)
        marked = self.book.durable(center)
        through = marked.through if marked.since <= cursor else 0  # else the member has gone back
        return Needed(center, cursor, through, self._pins.get(center))

    def _view_pins(self) -> list[Pin]:
        quota = int(VIEW_QUOTA_SHARE * self._copy.spec.policy.journal_quota_bytes)
        found = (self._views.find(view_id) for view_id in self._views.ids())
        return [Pin(PinKind.VIEW, v.id, v.seq, quota, v.base_seq) for v in found if v is not None]

    def _hold_pins(self) -> list[Pin]:
        return [Pin(PinKind.CHECKPOINT, hold.name, hold.seq) for hold in self._copy.holds.all]

    def _window_seq(self) -> int | None:
        """The newest checkpoint older than the window, 0 if all are newer; None without any checkpoint."""
        marks = self._copy.checkpoints
        if not marks:
            return None
        oldest_us = marks[-1].time_us - int(self._copy.spec.policy.window_s * 1e6)
        index = bisect_right(marks, oldest_us, key=lambda mark: mark.time_us)
        return marks[index - 1].seq if index else 0

    # --- acts

    async def _count_sets(self, term: "OwnerTerm") -> None:
        """How large delta sets would be, for peers whose lag is above the target."""
        for center in term.enforcer.to_count():
            size = await self.set_bytes(center, term.engine.log.commit)
            term.enforcer.counted(center, size)

    async def _clear_reached(self) -> None:
        """Marks that members have by the log meanwhile, as they said themselves, go."""
        for center in sorted(self._fresh):
            cursor = self.cursor(center)
            if not self.book.of(center).is_clean and center not in self._pins:
                await self.book.change(center, partial(marking.reached, cursor=cursor))

    async def _convert(self, term: "OwnerTerm | None", action: Convert) -> None:
        """Mark what the member lacks, so that the journal need not be kept for it."""
        center, through = action.center, action.through
        try:
            if action.is_round:
                if term is not None:
                    await term.resyncs.outgrow(center, through)
                return
            cursor, trimmed = self.cursor(center), self._copy.journal.first_seq - 1
            before = self.book.of(center)
            floor = marking.journal_floor(before, cursor)
            if through <= floor:
                return
            runs = await self._changed(max(floor, trimmed), through)
            await self.book.change(
                center, lambda marked: marking.mark(marked, cursor, through, runs, trimmed)
            )
        except NoSpaceError as error:
            self._lacks_space(center, error)
            return
        self._lack = ""
        if before.is_clean:
            self._tell("journal_not_kept", f"what {center} lacks after record {cursor} is marked from now on")
        if term is not None:
            term.converted(center, through)

    async def _convert_to_layer(self, term: "OwnerTerm | None") -> None:
        """An owner's images go forward a layer at a time: what is in the way is marked as far as that goes.

        Or space that the plan counts on would not come back before more is written.
        """
        kept, limits, layer = self.kept(term), self._limits(), self._copy.volumes.waiting
        if term is None or kept.held_bytes <= limits.hard_bytes:
            return
        may_drain = retention.fold_bound(replace(kept, needs=()), limits) >= layer
        if may_drain and retention.fold_bound(kept, limits) < layer:
            for need in kept.needs:
                if need.floor < layer and need.pin is None:
                    await self._convert(term, Convert(need.center, layer, is_round=False))

    def _lacks_space(self, center: str, error: NoSpaceError) -> None:
        """Nothing goes then, and the next round tries again."""
        if not self._lack:
            self._tell("no_space", f"what {center} lacks cannot be marked: {error}")
        self._lack = str(error)

    async def _changed(self, after: int, through: int) -> Extents:
        journal = self._copy.journal
        if through <= after:
            return extents.NOTHING
        changed = await in_thread(lambda: journal.changed(after, through))
        return extents.normal(
            run
            for volume, ranges in changed.items()
            for offset, length in ranges
            for run in extents.extent(volume, offset, length)
        )

    async def _give_up_heavy(self, term: "OwnerTerm | None") -> None:
        """Images stop at views and holds, and an owner's index of what is above them stays in memory."""
        if term is None or not self._is_index_full():
            return
        open_views = self._views.ids()
        for view_id in open_views:
            self._views.release(view_id)
            self._on_view_given_up(view_id, "too much was written since it was opened")
        if open_views or self._limits().when_full is WhenFull.STALL or not self._copy.durable.holds:
            return
        if retention.fold_bound(self.kept(term), self._limits()) < self._copy.volumes.waiting:
            why = "too much was written at the owner since, and the index of it fills the memory (when_full)"
            await self._copy.holds.give_up(self._copy.holds.all[0].name, why, self._tell)

    def _is_index_full(self) -> bool:
        return self._copy.volumes.held_blocks >= VIEW_BLOCKS_MAX

    def count_room(self, term: "OwnerTerm | None") -> None:
        """How much may be written before checkpoints on hold leave no room: then writes wait, by policy.

        A replica waits for itself alone: it takes no records and says so, as with a full disk, so that the
        owner goes on without it (P36).
        """
        is_any = bool(self._copy.holds.all)
        room = retention.room(self.kept(term), self._limits()) if is_any else None
        self._copy.space.quota = ""
        if term is None:
            if room == 0:
                self._copy.space.quota = self._stall_words()
            return
        if self._limits().when_full is WhenFull.STALL:
            is_index_full = room is not None and self._is_index_full()
            term.engine.set_room(0 if is_index_full else room)

    def _stall_words(self) -> str:
        copy = self._copy
        names = ", ".join(hold.name for hold in copy.holds.all)
        return f"what is on hold at {copy.me.center} ({names}) uses up the journal's quota; release one"

    def _note_level(self, level: Level | None) -> None:
        """Tell once of each level that is reached, and once when the journal is below all of them again."""
        if level is None:
            self.alarm = ""
        if level is None and self._level is not None:
            self._tell("journal_kept", "the journal is within its quotas again")
        if level is not None and level is not self._level and self._level is not Level.HARD:
            self._tell("journal_full", self.alarm)
        if level is not Level.SOFT or self._level is None:
            self._level = level

    def _alarm_words(self, level: Level, left: int) -> str:
        limits = self._limits()
        bound = limits.hard_bytes if level is Level.HARD else limits.soft_bytes
        words = f"the journal takes {_size(left)}, its {level.value} quota is {_size(bound)}"
        holders = [holder for holder in self.holders() if holder.held_bytes]
        if not holders:
            return words
        most = max(holders, key=lambda holder: (holder.held_bytes, holder.center))
        return f"{words}; {_size(most.held_bytes)} of it stay for {most.center}"

    # --- for people

    def holders(self) -> list[Holder]:
        """For whom journal is kept or marks are held, by center."""
        copy, found = self._copy, []
        free = copy.journal.held_bytes_after(min(copy.commit, copy.journal.durable_seq))
        is_owner = copy.me.center == (copy.durable.charter.owner if copy.durable.charter else "")
        for center in self.book.others():
            need, runs = self._need(center, is_owner=is_owner), self.book.of(center).runs
            found.append(
                Holder(
                    center,
                    need.cursor,
                    need.through,
                    need.pin,
                    max(0, copy.journal.held_bytes_after(need.floor) - free),
                    None if runs is None else extents.size(runs) * extents.GRANULE,
                )
            )
        return found


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 10 << 20 else f"{count >> 10} KiB"


def _age_s(newest_us: int, label_us: int) -> float:
    """A label that is not known is of now: nothing goes because of it."""
    return max(0, newest_us - label_us) / 1e6 if label_us else 0.0


def _switched(cursor: int, runs: Extents | None) -> Callable[[DirtySet], DirtySet]:
    def change(marked: DirtySet) -> DirtySet:
        is_new = cursor >= marked.through or cursor < marked.since
        since = cursor if is_new else marked.since
        return replace(marked, since=since, live=marked.live.plus(Marks(runs)))

    return change
