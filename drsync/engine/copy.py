"""A center's copy of a group: journal, volumes, and what is durable about them.

A promise, an adopted history, a cut: each is stored before the method returns, and may be spoken of only
then. Role-independent; the owner's and the replica's loops append through the journal held here.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from drsync.core import lease
from drsync.core.sizes import Resize, Sizes, at_least, first_sizes, sized
from drsync.delta.batch import FIRST_KIND_AT, KIND_ZERO, peek, split
from drsync.delta.marks import Checkpoint, read_beat, read_checkpoint, resize_at
from drsync.engine import switch as switching
from drsync.engine.dirty_entries import through_switch
from drsync.engine.durable import Durable
from drsync.engine.heartbeat import BeatBook
from drsync.engine.holds import Holds, as_points, up_to
from drsync.engine.space import Space
from drsync.engine.switch import Own, Switch
from drsync.engine.threads import in_thread
from drsync.engine.unwritten import require_unwritten
from drsync.engine.volumes import GroupVolumes
from drsync.model.copy import CopyState, Statement
from drsync.model.errors import DamagedError, DrsyncError, FailedCopyError, NoSpaceError, TransientError
from drsync.model.group import GroupSpec
from drsync.model.objectives import Beat
from drsync.ports.copy_store import CopyStore
from drsync.ports.journal import Image, Journal, Superblock
from drsync.ports.stage import FailedStageError

if TYPE_CHECKING:
    from drsync.model.fileset import FileSetWord

NO_SPACE_CHARACTERS_MAX = 500  # because a path may be long, and the word goes out each second
CHECKPOINTS_MAX = 20_000  # because a day of checkpoints every 5 s is 17,280


@dataclass(frozen=True, slots=True)
class Self:
    """Who this process is.

    Attributes:
        center: name.
        session: random per process start.
        boot_id: of the host.
    """

    center: str
    session: str
    boot_id: str


class GroupCopy:
    """Journal, volumes and superblock of one group at one center.

    Attributes:
        sizes: of the volumes along this log.
        spec: the group, with the sizes at the end of this log; the charter may have decided more.
    """

    def __init__(
        self,
        me: Self,
        spec: GroupSpec,
        journal: Journal,
        volumes: GroupVolumes,
        superblock: Superblock,
        durable: Durable,
        files: CopyStore,
    ) -> None:
        self.me = me
        self.files = files
        self.is_switching = False
        self.lineage = 0  # counts cuts and switches: what was known of positions is to be looked at again
        self.spec = spec
        self.journal = journal
        self.volumes = volumes
        self.sizes = Sizes(first_sizes(spec), durable.resizes)
        self.durable = durable
        self.commit = min(durable.commit, journal.tip.seq)
        self.checkpoints: list[Checkpoint] = []
        self.beats = BeatBook(Beat(durable.beat_seq, durable.beat_us, durable.beat_epoch))
        self.beats.cut(journal.tip.seq)
        self.state = CopyState.BLANK if journal.tip.seq == 0 and not durable.follow else CopyState.REPLICA
        self.failure = durable.failure
        if durable.failure:
            self.state = CopyState.FAILED
        self.is_failure_lasting = False
        self.space = Space()
        self.holds = Holds(self, me.center)
        self.token = 0
        self.damaged: Callable[[DamagedError], None] = self.fail
        self.file_words: Callable[[], tuple[FileSetWord, ...]] = tuple
        self._superblock = superblock
        self._storing = asyncio.Lock()
        self._syncing = asyncio.Lock()
        self._cutting_to: int | None = None

    @staticmethod
    def open(me: Self, spec: GroupSpec, store: CopyStore, incarnation: str, now: float) -> "GroupCopy":
        """Open or create the copy. Blocks (fsync, scan of the unsealed segment).

        Args:
            me: this process.
            spec: the group; its volumes' images are created when missing.
            store: the files.
            incarnation: used when the copy is new.
            now: seconds since boot.

        Raises:
            FailedCopyError: the copy is damaged; nothing was changed.
            NoSpaceError: nothing is kept open; to be tried again.
        """
        superblock = store.superblock()
        raw = superblock.load()
        durable = Durable.decode(raw) if raw is not None else Durable(incarnation, me.boot_id)
        if durable.switch is not None:
            durable = finish_switch(spec, store, superblock, durable)
        has_rebooted = durable.boot_id != me.boot_id
        has_lost_cache = has_rebooted and not durable.is_clean
        durable = replace(
            durable,
            boot_id=me.boot_id,
            is_clean=False,
            unclean=durable.unclean or (raw is not None and has_lost_cache),
        )
        if durable.bound_epoch:
            bound_until = lease.bound_after_start(
                durable.bound_until, now, spec.policy.lease_s, has_rebooted=has_rebooted
            )
            durable = replace(durable, bound_until=bound_until)
        superblock.store(durable.encode())
        with ExitStack() as opened:  # what fails is released: it is tried again when there is space
            journal = store.journal(spec, durable.incarnation, durable.durable_hint)
            opened.callback(journal.close)
            images: dict[int, Image] = {}
            for volume in sized(spec, Sizes(first_sizes(spec), durable.resizes).newest).volumes:
                images[volume.index] = image = store.image(volume)
                opened.callback(image.close)
            if not journal.tip.seq and not durable.applied:
                require_unwritten(me.center, images.values())
            volumes = GroupVolumes(images, journal, durable.applied, durable.reached)
            copy = GroupCopy(me, spec, journal, volumes, superblock, durable, store)
            journal.sync()
            copy._find_checkpoints()
            copy._resized(copy.sizes)
            opened.pop_all()
        with suppress(FailedStageError):  # it costs space, and the next session tries again
            switched = durable.switched.session if durable.switched else ""
            switching.tidy(at_least(spec, copy.sizes.newest), store, journal.tip, switched)
        return copy

    def _find_checkpoints(self) -> None:
        """Read the marks of what the journal holds above the images."""
        after = max(self.volumes.applied, self.journal.first_seq - 1)
        for head in self.journal.marks(after):
            self.note_marks(head)

    def note_marks(self, batch: bytes | memoryview) -> None:
        """Remember what a batch (or its first `MARK_BYTES_MAX` bytes) marks: a point, a beat, a size."""
        if batch[FIRST_KIND_AT] <= KIND_ZERO:
            return  # as nearly all of them
        header = peek(batch)
        resize = resize_at(batch, 0, header)
        if resize is not None:
            self.note_resize(Resize(resize[0], header.last_seq, resize[1]))
        mark = read_checkpoint(batch, 0, header)
        if mark is not None:
            self.add_checkpoint(mark)
        beat = read_beat(batch, 0, header)
        if beat is not None:
            self.beats.note(beat)

    def note_resize(self, resize: Resize) -> None:
        """The log says from its end on that a volume is larger. Nothing is written for it."""
        self._resized(self.sizes.grown(resize))

    def _resized(self, sizes: Sizes) -> None:
        self.sizes, newest = sizes, sizes.newest
        self.spec = sized(self.spec, newest)
        for index, view in self.volumes.views.items():
            if view.image.size != newest[index]:
                view.image.resize(newest[index])

    def add_checkpoint(self, mark: Checkpoint) -> None:
        """Remember a checkpoint, and what it says of an earlier one; the oldest go (`CHECKPOINTS_MAX`)."""
        if mark.confirms:
            at = bisect_left(self.checkpoints, mark.confirms, key=lambda known: known.seq)
            if at < len(self.checkpoints) and self.checkpoints[at].seq == mark.confirms:
                self.checkpoints[at] = replace(self.checkpoints[at], is_app_consistent=True)
        self.checkpoints.append(mark)
        if len(self.checkpoints) > CHECKPOINTS_MAX:
            del self.checkpoints[: CHECKPOINTS_MAX // 10]

    def points(self) -> list[Checkpoint]:
        """Recovery points: checkpoints that can be opened here now, oldest first."""
        low, high = self.volumes.reached, min(self.commit, self.journal.durable_seq)
        found = [c for c in self.checkpoints if low <= c.seq <= high]
        return as_points(found, self.durable.holds) if self.durable.holds else found

    def beat(self) -> Beat:
        """The newest heartbeat that is committed and durable here, so that an opening would hold it."""
        return self.beats.found(min(self.commit, self.journal.durable_seq))

    def require_settled(self) -> None:
        """Raises TransientError while a switch is done: where this copy stands cannot be told."""
        if self.is_switching:
            raise TransientError(f"{self.me.center} becomes the log of its source just now", code="switching")

    def require_sound(self) -> None:
        """Raises FailedCopyError: it takes part in nothing any more."""
        if self.state is CopyState.FAILED:
            raise FailedCopyError(
                f"the copy at {self.me.center} has failed: {self.failure}",
                remedy="replace its storage; drsync never uses a copy again that may have lost data",
            )

    def statement(self) -> Statement:
        """This member's word about its copy and its trees."""
        durable = self.durable
        return Statement(
            center=self.me.center,
            session=self.me.session,
            incarnation=durable.incarnation,
            state=self.state,
            promised=durable.promised,
            follow=durable.follow,
            first_seq=self.journal.first_seq,
            runs=self.journal.runs,
            appended=self.journal.tip.seq,
            durable=self.journal.durable_seq,
            applied=self.volumes.reached,
            commit=self.commit,
            tip=self.journal.tip,
            unclean=durable.unclean,
            amnesic=durable.amnesic,
            token=self.token,
            no_space=self._lack_of_space(),
            files=self.file_words(),
        )

    def _lack_of_space(self) -> str:
        """A failed copy is not helped by space, and who reads that it is would wait for nothing."""
        return "" if self.state is CopyState.FAILED else self.space.reason[:NO_SPACE_CHARACTERS_MAX]

    async def store(self, change: Callable[[Durable], Durable]) -> None:
        """Change what is durable; on return it survives a crash of the host.

        The change is computed when earlier changes are stored, so that none is overwritten.

        Raises:
            FailedCopyError: the copy is failed from now on.
            NoSpaceError: what was durable before is what is durable.
        """
        async with self._storing:
            durable_hint = self._durable_hint()
            beat = self.beats.found(min(self.commit, durable_hint))
            value = replace(
                change(self.durable),
                applied=self.volumes.applied,
                reached=self.volumes.reached,
                durable_hint=durable_hint,
                commit=self.commit,
                beat_seq=beat.seq,
                beat_us=beat.time_us,
                beat_epoch=beat.epoch,
                resizes=self.sizes.through(self.volumes.reached),
                is_resized=bool(self.sizes.resizes),
            )
            try:
                await in_thread(lambda: self._superblock.store(value.encode()))
            except NoSpaceError:
                raise
            except DrsyncError as error:
                self.fail(error, is_lasting=True)
                raise
            self.durable = value

    def _durable_hint(self) -> int:
        """Never above what a crash during a cut may leave."""
        durable = self.journal.durable_seq
        return durable if self._cutting_to is None else min(durable, self._cutting_to)

    async def sync(self) -> int:
        """Make the journal durable; returns the durable position. Raises FailedCopyError."""
        async with self._syncing:
            try:
                return await in_thread(self.journal.sync)
            except DrsyncError as error:
                self.fail(error, is_lasting=True)
                raise

    def sync_at_once(self) -> int | None:
        """Like `sync`, on the spot, where the disk is quicker than a thread; None: it is not, or is busy."""
        if self._syncing.locked():
            return None
        try:
            return self.journal.sync_at_once()
        except DrsyncError as error:
            self.fail(error, is_lasting=True)
            raise

    def begin_sync(self, told: Callable[[DrsyncError | None], None]) -> bool:
        """Like `sync`, made beside the loop without a thread, see `Journal.begin_sync`.

        Args:
            told: called once when it has ended, with what made it fail, by which the copy is failed.

        Returns:
            False where it cannot be: nothing was begun.
        """

        def ended(error: DrsyncError | None) -> None:
            if error is not None:
                self.fail(error, is_lasting=True)
            told(error)

        return not self._syncing.locked() and self.journal.begin_sync(ended)

    async def make_room(self) -> None:
        """Look for space after an append found none; clears `space.journal` when there is some.

        Raises:
            NoSpaceError: still none.
            FailedCopyError: another error.
        """
        await self.sync()  # gives back what was trimmed
        try:
            self.space.require_quota()
            self.journal.make_room()
        except NoSpaceError as error:
            if self.space.journal:
                self.space.journal = str(error)
            raise
        self.space.journal = ""

    def fail(self, error: DrsyncError, *, is_lasting: bool = False) -> None:
        """This copy is FAILED: it takes part in nothing from now on.

        A refused append ends with a restart, which cuts what was half written. A failed
        sync is lasting: what the disk has lost cannot be known, so a restart must not trust it (P33).
        """
        self.state = CopyState.FAILED
        self.failure = self.failure or str(error)
        self.is_failure_lasting = self.is_failure_lasting or is_lasting

    async def remember_failure(self) -> None:
        """Note a lasting failure where a restart finds it, if the disk still takes the note."""
        reason = self.failure
        if self.is_failure_lasting and not self.durable.failure:
            await self.store(lambda d: replace(d, failure=reason))

    async def cut(self, after_seq: int, fork: str) -> None:
        """Remove the log beyond the batch end `after_seq`; keep it aside as `fork` when that is not empty.

        Raises:
            FailedCopyError: an image already holds records beyond, or an I/O error.
        """
        if after_seq >= self.journal.tip.seq:
            return
        if self.volumes.reached > after_seq:
            raise FailedCopyError(
                f"the image is at record {self.volumes.reached}, beyond the common position {after_seq}",
                code="image_ahead",
                remedy="this copy must be seeded again",
            )
        if fork:
            await in_thread(lambda: self.journal.export_tail(after_seq, fork))
        self.commit = min(self.commit, after_seq)
        self._cutting_to = after_seq
        try:
            await self.store(up_to(after_seq))
            self.journal.cut(after_seq)
        except FailedCopyError as error:
            self.fail(error)
            raise
        finally:
            self._cutting_to = None
        self.lineage += 1
        self.checkpoints = [c for c in self.checkpoints if c.seq <= after_seq]
        self.beats.cut(after_seq)
        self._resized(self.sizes.cut(after_seq))
        if self.volumes.recorded > after_seq:
            self.volumes.forget_above_images()

    async def switch(self, word: Switch, on_pause: Callable[[NoSpaceError], Awaitable[None]]) -> None:
        """Record a switch and carry it out; on return this copy is the source's log up to p1.

        Everything was checked, and nobody reads journal or images any more (`switch.take_space` and
        before). `on_pause` waits while the disk is full.

        Raises:
            FailedCopyError: the copy is failed.
        """
        self.is_switching = True  # before anything is waited for: no view opens from here on
        async with self._syncing, self._storing:
            recorded = replace(self.durable, switch=word, is_clean=False)
            # No way back, not even on a full disk: one of the two files may hold it already.
            await self._paused(lambda: self._superblock.store(recorded.encode()), on_pause)
            self.durable = recorded
            self.journal.close()
            self.volumes.close()
            await self._paused(self._finish_switch, on_pause)
            self.space.images = ""
            self.state = CopyState.REPLICA
            self.is_switching = False

    async def _paused(
        self, work: Callable[[], None], on_pause: Callable[[NoSpaceError], Awaitable[None]]
    ) -> None:
        """Do the work in a thread, again and again while the disk is full. Raises FailedCopyError."""
        while True:
            try:
                return await in_thread(work)
            except NoSpaceError as error:
                self.space.images = str(error)
                await on_pause(error)
            except DrsyncError as error:
                self.fail(error, is_lasting=True)
                raise

    def _finish_switch(self) -> None:
        """Step 4 and 5, and open what is there now."""
        durable = finish_switch(self.spec, self.files, self._superblock, self.durable)
        self.durable = durable
        with ExitStack() as opened:
            journal = self.files.journal(self.spec, durable.incarnation, durable.durable_hint)
            opened.callback(journal.close)
            images: dict[int, Image] = {}
            sizes = Sizes(self.sizes.first, durable.resizes)
            for volume in sized(self.spec, sizes.newest).volumes:
                images[volume.index] = image = self.files.image(volume)
                opened.callback(image.close)
            self.journal = journal
            self.volumes = GroupVolumes(images, journal, durable.applied, durable.reached)
            self.commit = durable.commit
            self.lineage += 1
            self.checkpoints = []
            self.beats = BeatBook(Beat(durable.beat_seq, durable.beat_us, durable.beat_epoch))
            self._resized(sizes)
            self._find_checkpoints()
            opened.pop_all()

    def close(self) -> None:
        """Sync, note that the stop was clean, release the files. Blocks."""
        if self.is_switching:
            return  # whoever opens the copy next goes on with it
        if self.state is not CopyState.FAILED:
            self.journal.sync()
            beat = self.beat()
            clean = replace(
                self.durable,
                beat_seq=beat.seq,
                beat_us=beat.time_us,
                beat_epoch=beat.epoch,
                is_clean=True,
                applied=self.volumes.applied,
                reached=self.volumes.reached,
                durable_hint=self.journal.durable_seq,
                commit=self.commit,
                resizes=self.sizes.through(self.volumes.reached),
                is_resized=bool(self.sizes.resizes),
            )
            self._superblock.store(clean.encode())
        self.journal.close()
        self.volumes.close()


def finish_switch(spec: GroupSpec, store: CopyStore, superblock: Superblock, durable: Durable) -> Durable:
    """Bring a recorded switch to its end, from wherever it was left; returns what is durable then. Blocks.

    Does nothing where that was done already. Raises NoSpaceError, FailedCopyError.
    """
    word = durable.switch
    if word is None:
        return durable
    if durable.failure:
        raise FailedCopyError(durable.failure)
    own = Own(durable.incarnation, durable.durable_hint, durable.applied, durable.reached, durable.resizes)
    durable = through_switch(store.dirty_sets(), durable, word.fork, word.p0.seq)
    switching.finish(spec, store, word, own)
    after = durable.after_switch()
    superblock.store(after.encode())
    with suppress(FailedStageError):  # the next start, or the next session, removes what is left
        store.drop_stage()
    return after


def batches_of(data: bytes) -> list[memoryview]:
    """The whole batches that lie back to back in `data`."""
    view = memoryview(data)
    return [view[at : at + header.length] for at, header in split(data)]
