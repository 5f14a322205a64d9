"""Bringing images forward behind the log, and giving journal space back.

How far an image may go is decided here once per round: never beyond what is committed and durable, never
past a view, at the owner behind the slowest peer, at a replica behind the window of recovery points.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from drsync.core import group_log
from drsync.engine.copy import Durable, GroupCopy
from drsync.engine.space import IMAGES_RETRY_S
from drsync.engine.threads import in_thread
from drsync.engine.views import Views
from drsync.engine.volumes import LAYER_BLOCKS_MAX
from drsync.model.copy import CopyState
from drsync.model.errors import DrsyncError, FailedCopyError, NoSpaceError
from drsync.ports.clock import Clock

if TYPE_CHECKING:
    from drsync.engine.term import OwnerTerm
    from drsync.model.charter import Charter

FOLD_INTERVAL_S = 0.5  # because images that trail by half a second keep an opening's index small
VIEW_BLOCKS_MAX = 2 * LAYER_BLOCKS_MAX  # because a drill should be over long before 3 GB were written
INDEXES_A_ROUND = 16  # because that is 2 GiB of journal a second, more than anybody writes
STORE_INTERVAL_S = 1.0  # because the superblock's hints may be this old after a crash


class Folder:
    """The fold loop of one copy.

    Attributes:
        lock: held while images or their index change; take it to cut the log.
        term: the running term of ownership, None at a replica.
        newest: newest charter seen, to be stored with the next round.
        retain: every member has the log up to here (as a replica heard it).
    """

    def __init__(
        self,
        copy: GroupCopy,
        views: Views,
        clock: Clock,
        on_trouble: Callable[[DrsyncError], None],
        on_view_given_up: Callable[[str, str], None],
    ) -> None:
        self.lock = asyncio.Lock()
        self.term: OwnerTerm | None = None
        self.newest: Charter | None = None
        self.retain = 0
        self._copy = copy
        self._views = views
        self._clock = clock
        self._on_trouble = on_trouble
        self._on_view_given_up = on_view_given_up
        self._is_index_stale = False
        self._fold_at = 0.0  # not before, because the disk was full

    def term_ended(self) -> None:
        """The owner's index in memory is not kept up any more."""
        self.term = None
        self._is_index_stale = True

    async def index_through(self, seq: int, commit: int) -> None:
        """Have everything up to `seq` ready to be read, for an opening; it is committed up to `commit`.

        What the images don't hold yet is read through the journal, and goes into them afterwards.

        Raises:
            FailedCopyError: the journal is damaged, and the copy has failed with it.
        """
        async with self.lock:
            self._drop_stale_index()
            self._copy.commit = commit
            try:
                await self._copy.volumes.reach(seq)
            except FailedCopyError as error:
                self._copy.fail(error)
                raise

    async def run(self) -> None:
        """Bring the images forward, store hints, give journal space back."""
        clock = self._clock
        store_at = clock.now()
        while True:
            await clock.sleep_until(clock.now() + FOLD_INTERVAL_S)
            if self._copy.state is CopyState.FAILED:
                await self._note_failure()
                continue
            try:
                has_moved = clock.now() >= self._fold_at and await self._fold()
                if has_moved or (clock.now() >= store_at and self._is_store_due()):
                    await self._copy.store(self._with_newest)
                    store_at = clock.now() + STORE_INTERVAL_S
                self._trim()
                await self._index()
            except NoSpaceError as error:
                self._pause(error)
            except DrsyncError as error:
                self._on_trouble(error)

    def _pause(self, error: NoSpaceError) -> None:
        """The disk is full: what is newer stays in the journal; trimming may give space back."""
        self._copy.space.images = str(error)
        self._fold_at = self._clock.now() + IMAGES_RETRY_S
        self._on_trouble(error)
        self._trim()

    async def _note_failure(self) -> None:
        try:
            await self._copy.remember_failure()
        except DrsyncError:
            return  # the copy is failed already, and its superblock with it

    async def _fold(self) -> bool:
        """Apply what may be applied; whether the applied position moved."""
        async with self.lock:
            volumes = self._copy.volumes  # not before: a switch puts others in their place
            self._drop_stale_index()
            self._give_up_views()
            bound = self._fold_bound()
            if self.term is None and not self._copy.space.images:  # else memory would fill next
                await volumes.record_through(bound)
                bound = min(bound, self._fold_bound())  # a view may have been opened meanwhile
            await volumes.catch_up(bound)
            bound = min(bound, self._fold_bound())
            job = volumes.begin_drain(bound)
            if job is None:
                self._copy.space.images = ""
                return False
            # Durable first how far the images may get, so that after a crash no cut goes below it (P34).
            await self._copy.store(lambda d: d)
            try:
                await in_thread(job.run)  # half of it may be done: the whole of it is done again
            except NoSpaceError:
                raise
            except DrsyncError as error:
                self._copy.fail(error, is_lasting=True)
                raise
            volumes.end_drain(job)
            self._copy.space.images = ""
            return True

    async def _index(self) -> None:
        """Do ahead what the opening of a point would have to do first."""
        for _ in range(INDEXES_A_ROUND):
            async with self.lock:  # because a switch closes this journal
                journal, above = self._copy.journal, self._copy.volumes.applied
                if not journal.is_index_due(above):
                    return
                await in_thread(partial(journal.index, above))

    def _with_newest(self, durable: Durable) -> Durable:
        known = durable.charter
        if self.newest is None or (known is not None and known.version >= self.newest.version):
            return durable
        return replace(durable, charter=self.newest)

    def _drop_stale_index(self) -> None:
        """What an owner held in memory is read again from the journal when it is needed."""
        if self._is_index_stale and self.term is None:
            self._is_index_stale = False
            self._copy.volumes.forget_above_images()

    def _give_up_views(self) -> None:
        """A view whose pin makes its copy hold too much is dropped: writes matter more than a view."""
        if self.term is not None and self._copy.volumes.held_blocks >= VIEW_BLOCKS_MAX:
            for view_id in self._views.ids():
                self._views.release(view_id)
                self._on_view_given_up(view_id, "too much was written since it was opened")
        greedy = self._views.greedy(self._copy.spec.policy.journal_quota_bytes)
        if greedy is not None:  # one a round: the next oldest may hold less
            self._views.release(greedy)
            self._on_view_given_up(greedy, "the journal kept for it is over the group's quota")

    def _fold_bound(self) -> int:
        """Records up to here may be in the images (F.A 11, and behind every pin)."""
        term, copy = self.term, self._copy
        if term is not None:
            # Images trail the slowest peer, because then any fork is undone by cutting the journal alone.
            may_trail = copy.volumes.held_blocks < LAYER_BLOCKS_MAX and not self._is_over_quota
            bound = term.engine.log.apply_bound(term.retain_seq if may_trail else None)
        else:
            bound = group_log.apply_bound(copy.commit, copy.journal.durable_seq, self._window_bound())
        limit = self._views.fold_limit
        return bound if limit is None else min(bound, limit)

    @property
    def _is_over_quota(self) -> bool:
        """Whether the journal takes more than it may: then nobody's convenience holds records back."""
        return self._copy.journal.held_bytes > self._copy.spec.policy.journal_quota_bytes

    def _window_bound(self) -> int:
        """The newest checkpoint that is older than the window; replicas keep what is newer in the journal."""
        marks = self._copy.checkpoints
        if not marks:
            return 0
        oldest_us = marks[-1].time_us - int(self._copy.spec.policy.window_s * 1e6)
        index = bisect_right(marks, oldest_us, key=lambda mark: mark.time_us)
        if self._is_over_quota:  # the window shrinks point by point before the disk is full (P36)
            index = max(index, bisect_right(marks, self._copy.volumes.applied, key=lambda mark: mark.seq) + 1)
            index = min(index, len(marks))
        return marks[index - 1].seq if index else 0

    def _is_store_due(self) -> bool:
        durable, copy = self._copy.durable, self._copy
        newest, known = self.newest, durable.charter
        return (
            copy.commit > durable.commit
            or copy.journal.durable_seq > durable.durable_hint
            or (newest is not None and (known is None or newest.version > known.version))
        )

    def _trim(self) -> None:
        """Drop journal segments that nobody needs: applied, had by every member, not pinned."""
        copy = self._copy
        if copy.is_switching:
            return  # another journal comes in its place
        limit = copy.volumes.applied
        pinned = self._views.trim_limit
        if pinned is not None:
            limit = min(limit, pinned)
        if not self._is_over_quota:
            limit = min(limit, self.term.retain_seq if self.term is not None else self.retain)
        if limit >= copy.journal.first_seq:
            first = copy.journal.trim(limit)
            copy.checkpoints = [mark for mark in copy.checkpoints if mark.seq >= first]
