"""Bringing images forward behind the log, and giving journal back, as far as `engine.retention` allows."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from drsync.core.fold_pace import FoldPace
from drsync.engine.copy import GroupCopy
from drsync.engine.durable import Durable
from drsync.engine.retention import Keeper
from drsync.engine.space import IMAGES_RETRY_S
from drsync.engine.threads import in_thread
from drsync.model.copy import CopyState
from drsync.model.errors import DamagedError, DrsyncError, FailedCopyError, NoSpaceError
from drsync.ports.clock import Clock

if TYPE_CHECKING:
    from drsync.engine.term import OwnerTerm
    from drsync.model.charter import Charter

FOLD_INTERVAL_S = 0.5  # because images that trail by half a second keep an opening's index small
REST_S = (
    2.0  # because where only marks are written nothing is to be folded, and hints of marks may be this old
)
REST_BYTES = 16 << 10  # because marks are some 300 bytes, and so few writes may wait for the next round
REST_RECORDS = 64  # because a round that moved more than marks may have more to move
INDEXES_A_ROUND = 16  # because that is 2 GiB of journal a second, more than anybody writes
MENDS_MAX = 8  # because an opening that finds more of them is not to wait for all
STORE_INTERVAL_S = 1.0  # because the superblock's hints may be this old after a crash


async def _not(_error: DamagedError) -> bool:
    return False


class Folder:
    """The fold loop of one copy.

    Attributes:
        lock: held while images or their index change; take it to cut the log.
        term: the running term of ownership, None at a replica.
        newest: newest charter seen, to be stored with the next round.
        mend: repairs a damaged place; whether it is well now.
    """

    def __init__(
        self,
        copy: GroupCopy,
        keeper: Keeper,
        clock: Clock,
        on_trouble: Callable[[DrsyncError], None],
    ) -> None:
        self.lock = asyncio.Lock()
        self.term: OwnerTerm | None = None
        self.newest: Charter | None = None
        self.mend: Callable[[DamagedError], Awaitable[bool]] = _not
        self._copy = copy
        self._keeper = keeper
        self._clock = clock
        self._on_trouble = on_trouble
        self._is_index_stale = False
        self._fold_at = 0.0  # not before, because the disk was full
        self._rest_until = 0.0
        self._held = 0  # bytes of journal at the last round
        self._pace = FoldPace()

    def term_ended(self) -> None:
        """The owner's index in memory is not kept up any more."""
        self.term = None
        self._is_index_stale = True

    async def index_through(self, seq: int, commit: int) -> None:
        """Have everything up to `seq` ready to be read, for an opening; it is committed up to `commit`.

        What the images don't hold yet is read through the journal, and goes into them afterwards.

        Raises:
            FailedCopyError: the journal is damaged and was not mended, and the copy has failed with it.
        """
        mends = 0
        while True:
            try:
                return await self._reach(seq, commit)
            except FailedCopyError as error:
                mends += 1
                if not isinstance(error, DamagedError) or mends > MENDS_MAX or not await self.mend(error):
                    self._copy.fail(error)
                    raise

    async def _reach(self, seq: int, commit: int) -> None:
        async with self.lock:
            self._drop_stale_index()
            self._copy.commit = commit
            await self._copy.volumes.reach(seq)

    async def run(self) -> None:
        """Bring the images forward, store hints, give journal space back."""
        clock = self._clock
        store_at = clock.now()
        while True:
            slack_s = FOLD_INTERVAL_S if clock.now() < self._rest_until else 0.0
            await clock.sleep_until(clock.now() + clock.until_round(FOLD_INTERVAL_S, slack_s))
            if self._copy.state is CopyState.FAILED:
                await self._note_failure()
                continue
            if self._may_rest():
                continue
            before, self._rest_until = self._copy.volumes.applied, 0.0
            is_little, self._held = self._is_little, self._copy.journal.held_bytes
            try:
                async with self.lock:
                    await self._keeper.round(self.term)
                is_due = clock.now() >= self._fold_at and self._is_due()
                has_moved = is_due and await self._fold()
                if has_moved or (clock.now() >= store_at and self._is_store_due()):
                    await self._copy.store(self._with_newest)
                    store_at = clock.now() + STORE_INTERVAL_S
                self._trim()
                await self._index()
                if is_due and is_little and self._copy.volumes.applied - before <= REST_RECORDS:
                    self._rest_until = clock.now() + REST_S - FOLD_INTERVAL_S
            except NoSpaceError as error:
                self._pause(error)
            except DamagedError as error:
                self._copy.damaged(error)  # it is folded when it is mended
            except DrsyncError as error:
                self._on_trouble(error)

    @property
    def _is_little(self) -> bool:
        return abs(self._copy.journal.held_bytes - self._held) < REST_BYTES

    def _may_rest(self) -> bool:
        """Whether next to nothing came since the last round, which found next to nothing to do either."""
        if self._clock.now() >= self._rest_until or not self._is_little:
            return False
        return self.term is None or self.term.enforcer.is_calm

    def _is_due(self) -> bool:
        """Whether there is something to be folded that should not wait for a quieter moment."""
        copy = self._copy
        if copy.volumes.is_catching_up or copy.space.images:
            return True
        quota = copy.spec.policy.journal_quota_bytes
        return self._pace.is_due(self._clock.now(), copy.journal.tip.seq, self._ahead, quota)

    def _ahead(self) -> int:
        """Bytes of journal that could go into the images now."""
        held = self._copy.journal.held_bytes_after
        return held(self._copy.volumes.applied) - held(self._fold_bound())

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
            except (NoSpaceError, DamagedError):
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
        durable = self._keeper.with_cursors(durable)
        known = durable.charter
        if self.newest is None or (known is not None and known.version >= self.newest.version):
            return durable
        return replace(durable, charter=self.newest)

    def _drop_stale_index(self) -> None:
        """What an owner held in memory is read again from the journal when it is needed."""
        if self._is_index_stale and self.term is None:
            self._is_index_stale = False
            self._copy.volumes.forget_above_images()

    def _fold_bound(self) -> int:
        """Records up to here may be in the images."""
        return self._keeper.bounds(self.term).fold

    def _is_store_due(self) -> bool:
        durable, copy = self._copy.durable, self._copy
        newest, known = self.newest, durable.charter
        return (
            copy.commit > durable.commit
            or copy.journal.durable_seq > durable.durable_hint
            or self._keeper.has_news
            or (newest is not None and (known is None or newest.version > known.version))
        )

    def _trim(self) -> None:
        """Drop journal segments that nobody needs, of what the images hold."""
        copy = self._copy
        # As stored, because a start that finds less would look in the journal for what has gone from it.
        limit = min(self._keeper.bounds(self.term).trim, copy.volumes.settled, copy.durable.applied)
        if limit >= copy.journal.first_seq:
            first = copy.journal.trim(limit)
            copy.checkpoints = [mark for mark in copy.checkpoints if mark.seq >= first]
