"""The volumes of a group at one center: images, and the layers of committed records above them.

Two layers: the newest takes records as they commit, the older one waits and is written to the images once
its last record may be applied. Reads always see both. Applying is redo-idempotent: after a crash the
journal is read again from the applied position, so an image half written is repaired by the same records.

Where a position is far above the images, `reach` puts what lies between below the layers without reading it
(`drsync.engine.stretch`), so that it is opened at once, whatever the journal holds. It goes into the images
afterwards, a part at a time (`catch_up`), while it is read through the journal.

What is read back from the journal is verified before it is taken: a disk that has changed it since it was
written must not change the images too, which are all that is left when the journal is trimmed.
"""

import asyncio
from dataclasses import dataclass

from drsync.delta.batch import HEADER_BYTES, KIND_WRITE, KIND_ZERO, RECORD, peek, verify, verify_table
from drsync.engine.overlay import BLOCK_BITS, BLOCK_MASK, BlockIndex, VolumeView
from drsync.engine.payloads import Payloads
from drsync.engine.stretch import RegionCache, Stretch, StretchView
from drsync.engine.threads import in_thread
from drsync.model.errors import DamagedError, MalformedError
from drsync.model.position import Position
from drsync.ports.journal import BatchPlace, Image, Journal, Locator

LAYER_BLOCKS_MAX = 400_000
"""Blocks held above the images, because an entry costs about 150 bytes: 60 MB, 1.6 GB of writes."""

CATCH_UP_BLOCKS_MAX = LAYER_BLOCKS_MAX // 4
"""Blocks held on their way from a stretch into the images: 15 MB, because the layers hold others besides."""

SCAN_BYTES = 2 << 20
"""Journal bytes verified and indexed at a time, because the loop must not stand still for long (1 ms)."""

HEAD_BYTES = 4 << 10  # because header and table of a batch with 123 records fit
LARGE_BYTES = 4 * HEAD_BYTES  # of a batch: from here on it is cheaper to read the heads one by one
HEADS_MAX = 64  # because reading them takes the loop a millisecond, too


@dataclass(slots=True)
class DrainJob:
    """A layer to be written out: its blocks belong to records up to `last_seq`."""

    layers: list[tuple[VolumeView, BlockIndex]]
    last_seq: int

    def run(self) -> int:
        """Write and sync; returns bytes written. Blocks: for a thread.

        Raises:
            DamagedError: the journal has changed; to be done again when it is mended.
            FailedCopyError, NoSpaceError: see Image.
        """
        written = 0
        for view, layer in self.layers:
            if layer:
                written += view.write_out(layer)
                view.image.sync()
        return written


class GroupVolumes:
    """All volumes of a group, by record volume index, at `recorded`; the images are at `applied`.

    Attributes:
        applied: the images hold everything up to here.
        reached: they may hold records up to here, if a drain runs or was interrupted; never below `applied`.
            Nothing below it can be seen in them any more. Durable before a drain begins.
        recorded: the layers, and what lies below them, hold everything up to here.
        regions: memory for stretches, shared with the views of a copy.
    """

    def __init__(
        self,
        images: dict[int, Image],
        journal: Journal,
        applied: int,
        reached: int = 0,
        regions: RegionCache | None = None,
    ) -> None:
        self.journal = journal
        self.regions = RegionCache() if regions is None else regions
        self.payloads = Payloads(journal)
        self.views = {index: VolumeView(image, self.payloads) for index, image in images.items()}
        self.applied = applied
        self.reached = max(applied, reached)
        self.recorded = applied
        self._waiting: int | None = None
        self._waiting_batches = 0  # noted in `payloads` when it began to wait
        self._stretch: Stretch | None = None
        self._stretch_begin = self._stretch_end = 0
        self._behind: GroupVolumes | None = None

    def record(self, last_seq: int, table: bytes | memoryview, payload: Locator) -> None:
        """Take the batch that ends at `last_seq`: its record table and the locator of its payload area.

        Raises:
            DamagedError: a block that it changes in part has changed since; nothing of the batch was taken.
            FailedCopyError: such a block cannot be read; nothing was taken either.
        """
        self.payloads.note(bytes(table), payload)
        if _has_parts(table):
            self._put_parts(table, payload)
        else:
            self._put(table, payload)
        self.recorded = last_seq

    def _put_parts(self, table: bytes | memoryview, payload: Locator) -> None:
        """Take records that read what lies below them: apart first, so that all of them are taken or none."""
        views = self.views.values()
        for view in views:
            view.layers.append(BlockIndex())
        is_whole = False
        try:
            self._put(table, payload)
            is_whole = True
        finally:
            for view in views:
                apart = view.layers.pop()
                if is_whole:
                    view.newest.take(apart)
            if not is_whole:
                self.payloads.forget_last()

    def _put(self, table: bytes | memoryview, payload: Locator) -> None:
        views = self.views
        for offset, _hash, length, at, volume, kind, _reserved, _flags in RECORD.iter_unpack(table):
            if kind == KIND_WRITE:
                view = views[volume]
                if (offset | length) & BLOCK_MASK:
                    view.record_write(offset, length, payload + at)
                else:
                    view.layers[-1].put(offset >> BLOCK_BITS, length >> BLOCK_BITS, payload + at)
            elif kind == KIND_ZERO:
                views[volume].record_zero(offset, length)

    def record_slice(self, through_seq: int) -> bool:
        """Take some more batches of the journal, up to the batch end `through_seq`; False when there.

        Of large batches that change whole blocks only headers and tables are read: payloads are verified when
        they are read.

        Raises:
            DamagedError: the journal has changed; nothing of the damaged batch was taken.
        """
        if self.recorded >= through_seq:
            return False
        first = next(self.journal.places(self.recorded), None)
        if first is None:
            return False
        try:
            take = self._take_heads if first.length >= LARGE_BYTES else self._take
            return take(through_seq)
        except MalformedError as error:
            place = next(self.journal.places(self.recorded))
            raise DamagedError(
                f"the journal is damaged after record {self.recorded}: {error}", place.locator
            ) from error

    def _take(self, through_seq: int) -> bool:
        before = self.journal.position_at(self.recorded)
        data, _ = self.journal.read_batches(self.recorded, SCAN_BYTES)
        at = 0
        for place in self.journal.places(self.recorded):
            if at == len(data):
                break
            if place.last_seq > through_seq:
                return False
            header = peek(data, at)
            # What was trimmed away may have no position any more: the first batch after it speaks for itself.
            start = before or Position(header.epoch, self.recorded, header.prev_chain)
            before = verify(data, at, header, start)
            table = memoryview(data)[at + header.table_start : at + header.payload_start]
            self.record(header.last_seq, table, place.locator + header.payload_start)
            at += place.length
        return self.recorded < through_seq

    def _take_heads(self, through_seq: int) -> bool:
        before = self.journal.position_at(self.recorded)
        for taken, place in enumerate(self.journal.places(self.recorded)):
            if place.last_seq > through_seq:
                return False
            if taken == HEADS_MAX or place.length < LARGE_BYTES:
                break
            head = self._head(place)
            header = peek(head)
            start = before or Position(header.epoch, self.recorded, header.prev_chain)
            before = verify_table(head, 0, header, start)
            table = head[HEADER_BYTES : header.payload_start]
            if _has_parts(table):  # whose payloads `record` reads, and it must not end half way
                verify(self.journal.read(place.locator, place.length), 0, header, start)
            self.record(header.last_seq, table, place.locator + header.payload_start)
        return self.recorded < through_seq

    def _head(self, place: BatchPlace) -> bytes:
        """Header and table of a large batch, and perhaps more."""
        head = self.journal.read(place.locator, HEAD_BYTES)
        need = peek(head).payload_start
        return head if need <= len(head) else self.journal.read(place.locator, min(need, place.length))

    async def record_through(self, seq: int) -> None:
        """Take the journal up to the batch end `seq`, or as much as memory may hold.

        Gives way to others between slices.

        Raises:
            FailedCopyError: the journal is damaged.
        """
        is_more = True
        while is_more:
            is_more = self.record_slice(seq) and self.held_blocks < LAYER_BLOCKS_MAX
            await asyncio.sleep(0)

    async def reach(self, seq: int) -> None:
        """Take the journal up to the batch end `seq` without reading it, from the images on.

        Raises:
            FailedCopyError: the journal is damaged.
            MalformedError: it does not hold these records.
        """
        if self.recorded >= seq:
            return
        applied, journal = self.applied, self.journal
        layers = await in_thread(lambda: journal.layers(applied, seq))
        self.forget_above_images()
        self._stretch = Stretch(journal, layers, self.regions)
        self._stretch_begin = applied
        self._stretch_end = self.recorded = seq
        for index, view in self.views.items():
            view.below = StretchView(view.image, self._stretch, index)
        self._behind = GroupVolumes(
            {index: view.image for index, view in self.views.items()}, journal, applied, self.reached
        )

    async def catch_up(self, bound: int) -> None:
        """Read some of the stretch that was reached, so that the next drain brings the images forward.

        Args:
            bound: records up to this batch end may be applied.

        Raises:
            FailedCopyError: the journal is damaged.
        """
        if self.held_blocks > LAYER_BLOCKS_MAX:
            await self._lengthen()
        behind = self._behind
        if behind is None:
            return
        bound = min(bound, self._stretch_end)
        is_more = behind.held_blocks < CATCH_UP_BLOCKS_MAX
        while is_more:
            is_more = behind.record_slice(bound) and behind.held_blocks < CATCH_UP_BLOCKS_MAX
            await asyncio.sleep(0)

    async def _lengthen(self) -> None:
        """Let the stretch take what the layers hold by now: nothing of it is drained before the stretch is.

        Raises:
            FailedCopyError: the journal is damaged.
        """
        stretch, begin, seq, journal = self._stretch, self._stretch_begin, self.recorded, self.journal
        if stretch is None:
            return
        for view in self.views.values():
            view.layers.append(BlockIndex())  # takes what is recorded meanwhile
        noted = len(self.payloads)
        layers = await in_thread(lambda: journal.layers(begin, seq))
        assert self._stretch is stretch, "whoever forgets what lies above the images holds the same lock"
        stretch.close()
        self._stretch, self._stretch_end = Stretch(journal, layers, self.regions), seq
        for index, view in self.views.items():
            view.below = StretchView(view.image, self._stretch, index)
            del view.layers[:-1]
        self.payloads.forget(noted)

    @property
    def settled(self) -> int:
        """The images hold everything up to here, and nobody reads it in the journal: that may go.

        A stretch that was reached is read as it was then, until the images hold all of it.
        """
        return self.applied if self._stretch is None else self._stretch_begin

    @property
    def is_catching_up(self) -> bool:
        """A stretch that was reached is on its way into the images."""
        return self._behind is not None

    @property
    def waiting(self) -> int:
        """The next drain brings the images to this record and not to one before; 0 when none is prepared."""
        return self._behind.waiting if self._behind is not None else self._waiting or 0

    @property
    def held_blocks(self) -> int:
        """Entries above the images."""
        return sum(len(layer) for view in self.views.values() for layer in view.layers)

    def begin_drain(self, bound: int) -> DrainJob | None:
        """The layer that may be written once `reached` is durable, None if there is none.

        Args:
            bound: records up to here may be applied (`GroupLog.apply_bound`).
        """
        if self._behind is not None:  # older than all that the layers hold
            job = self._behind.begin_drain(bound)
            self.reached = max(self.reached, self._behind.reached)
            return job
        if self._waiting is None:
            if self.recorded == self.applied:
                return None
            for view in self.views.values():
                view.layers.append(BlockIndex())
            self._waiting, self._waiting_batches = self.recorded, len(self.payloads)
        if self._waiting > bound:
            return None
        self.reached = max(self.reached, self._waiting)
        waiting = [(view, layer) for view in self.views.values() for layer in view.layers[:-1]]
        return DrainJob(waiting, self._waiting)

    def end_drain(self, job: DrainJob) -> None:
        """The images now hold everything up to `job.last_seq`."""
        if self._behind is not None:
            self._behind.end_drain(job)
            self.applied = job.last_seq
            if self.applied == self._stretch_end:
                self._drop_stretch()
            return
        assert job.last_seq == self._waiting
        for view in self.views.values():
            del view.layers[:-1]
        self.payloads.forget(self._waiting_batches)
        self.applied, self._waiting = job.last_seq, None

    def forget_above_images(self) -> None:
        """Drop the layers: `record_slice` starts again from the images (after a cut or a demotion)."""
        self._drop_stretch()
        for view in self.views.values():
            view.layers = [BlockIndex()]
        self.payloads.clear()
        self.recorded, self._waiting = self.applied, None

    def _drop_stretch(self) -> None:
        if self._stretch is not None:
            self._stretch.close()
        self._stretch = self._behind = None
        for view in self.views.values():
            view.below = view.image

    def close(self) -> None:
        """Release the images."""
        for view in self.views.values():
            view.image.close()


def _has_parts(table: bytes | memoryview) -> bool:
    """Whether a record begins or ends within a block."""
    return any((offset | length) & BLOCK_MASK for offset, _, length, *_ in RECORD.iter_unpack(table))
