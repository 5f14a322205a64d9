"""Isolated views: a group exactly as it was at one position, readable and privately writable.

A view shares the images and the journal of the copy and keeps what is written to it to itself: nothing of
it is ever replicated (INV-16). While it is open it pins the copy: images are not folded beyond its
position, and the journal it reads is not trimmed.
"""

import errno
from dataclasses import dataclass, field

from drsync.delta.content import hash_volume
from drsync.engine.allocation import extents
from drsync.engine.copy import GroupCopy
from drsync.engine.overlay import BLOCK, BLOCK_BITS, BLOCK_MASK, BlockIndex, VolumeView
from drsync.engine.threads import in_long_thread
from drsync.engine.volumes import GroupVolumes
from drsync.model.errors import RefusedError
from drsync.model.group import VolumeSpec
from drsync.ports.volume import COMPLETE_OK, Completion, Extent

PRIVATE_BLOCKS_MAX = 131_072  # because 512 MiB of a drill's own writes are held in memory
VIEWS_MAX = 16  # because each holds an index and pins the journal


class GroupView:
    """A group at record `seq`.

    Attributes:
        id: given by whoever opened it.
        seq: the position: a batch end.
        base_seq: where the images stood when it was opened; the journal is kept from there.
        is_over: it was given up; what is read of it now may be of any time.
    """

    def __init__(self, view_id: str, copy: GroupCopy, seq: int) -> None:
        self.id = view_id
        self.seq = seq
        self.base_seq = copy.volumes.applied
        self.is_over = False
        self.spec = copy.spec
        self._source = copy
        images = {index: view.image for index, view in copy.volumes.views.items()}
        self._volumes = GroupVolumes(images, copy.journal, self.base_seq)

    async def build(self) -> None:
        """Index the journal between the images and the position, giving way to others in between."""
        await self._volumes.record_through(self.seq)
        assert self._volumes.recorded == self.seq, (self._volumes.recorded, self.seq)

    def device(self, volume: VolumeSpec) -> "ViewDevice":
        """A device over one volume; each call gives a fresh private layer."""
        pristine = self._volumes.views[volume.index]
        view = VolumeView(pristine.image, self._source.journal)
        view.layers = [*pristine.layers, BlockIndex()]
        return ViewDevice(view, self)

    async def hash(self) -> dict[str, str]:
        """Content hash of every volume, by name, without the private writes. May take hours.

        Reading ends when the view is given up, or when nobody waits for the hashes any more.

        Raises:
            RefusedError: the view was given up meanwhile.
        """
        reading = _Reading(self)
        try:
            return {volume.name: await reading.hash(volume) for volume in self.spec.volumes}
        finally:
            reading.is_wanted = False

    def reader(self, volume: VolumeSpec) -> VolumeView:
        """The volume as it was, without the private writes."""
        return self._volumes.views[volume.index]


@dataclass(slots=True)
class _Reading:
    """One pass over a view in a thread, which looks before each piece whether it is still wanted."""

    whole: GroupView
    is_wanted: bool = True

    async def hash(self, volume: VolumeSpec) -> str:
        view = self.whole.reader(volume)

        def read_into(offset: int, target: memoryview) -> None:
            self._require_wanted()
            view.read_into(offset, target)

        try:
            digest = await in_long_thread(lambda: hash_volume(volume.size, read_into))
        except Exception:  # whatever it was, it came of reading what is not there any more
            self._require_wanted()
            raise
        self._require_wanted()
        return digest

    def _require_wanted(self) -> None:
        if self.whole.is_over or not self.is_wanted:
            raise RefusedError(f"view {self.whole.id} was given up", code="view_given_up")


class Views:
    """The open views of a copy and what they pin."""

    def __init__(self, copy: GroupCopy) -> None:
        self._copy = copy
        self._open: dict[str, GroupView] = {}

    def hold(self, view_id: str, seq: int) -> GroupView:
        """Pin the position `seq` now; `build` the view before reading it.

        Raises:
            RefusedError: too many views, the position is not held any more, or not there yet.
        """
        if view_id in self._open:
            return self._open[view_id]
        copy = self._copy
        if len(self._open) >= VIEWS_MAX:
            raise RefusedError(f"{VIEWS_MAX} views are open already", remedy="close one")
        if seq < copy.volumes.reached or copy.journal.position_at(seq) is None:
            raise RefusedError(
                f"record {seq} cannot be opened here: the images are at {copy.volumes.reached}, "
                f"the journal ends at {copy.journal.tip.seq}",
                code="no_such_point",
                remedy="drsync points lists what can be opened",
            )
        view = self._open[view_id] = GroupView(view_id, copy, seq)
        return view

    def find(self, view_id: str) -> GroupView | None:
        """An open view."""
        return self._open.get(view_id)

    def release(self, view_id: str) -> bool:
        """Give up a view and its pin; whether there was one."""
        view = self._open.pop(view_id, None)
        if view is None:
            return False
        view.is_over = True
        return True

    def above(self, seq: int) -> list[str]:
        """Open views of positions beyond `seq`."""
        return sorted(view.id for view in self._open.values() if view.seq > seq)

    def ids(self) -> list[str]:
        """Open views."""
        return sorted(self._open)

    @property
    def fold_limit(self) -> int | None:
        """Images may not pass this record; None without views."""
        return min((v.seq for v in self._open.values()), default=None)

    @property
    def trim_limit(self) -> int | None:
        """The journal must be kept from the record after this one; None without views."""
        return min((v.base_seq for v in self._open.values()), default=None)


@dataclass(slots=True)
class ViewDevice:
    """One volume of a view as `ports.volume.BlockDevice`; writes stay in memory."""

    view: VolumeView
    whole: GroupView
    is_read_only: bool = field(default=False)
    _done: list[bytes] = field(default_factory=list)
    _refused: list[bytes] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.view.size

    def write(self, offset: int, data: memoryview, cookie: bytes, *, fua: bool) -> None:
        """See BlockDevice."""
        del fua
        self._put(offset, len(data), data, cookie)

    def zero(self, offset: int, length: int, cookie: bytes, *, fua: bool, is_trim: bool) -> None:
        """See BlockDevice."""
        del fua, is_trim
        if not (offset | length) & BLOCK_MASK:
            self.view.newest.put_zeros(offset >> BLOCK_BITS, length >> BLOCK_BITS)
            self._done.append(cookie)
        else:
            self._put(offset, length, None, cookie)

    def _put(self, offset: int, length: int, data: memoryview | None, cookie: bytes) -> None:
        layer = self.view.newest
        if self.whole.is_over or len(layer) + (length >> BLOCK_BITS) + 2 > PRIVATE_BLOCKS_MAX:
            self._refused.append(cookie)
            return
        at = 0
        while at < length:
            block, skip = (offset + at) >> BLOCK_BITS, (offset + at) & BLOCK_MASK
            size = min(BLOCK - skip, length - at)
            piece = bytes(data[at : at + size]) if data is not None else bytes(size)
            if size < BLOCK:
                whole = bytearray(BLOCK)
                self.view.read_into(block << BLOCK_BITS, memoryview(whole))
                whole[skip : skip + size] = piece
                piece = bytes(whole)
            layer.blocks[block] = piece
            at += size
        self._done.append(cookie)

    def flush(self, cookie: bytes) -> None:
        """See BlockDevice; private writes have nothing to be durable on."""
        self._done.append(cookie)

    def submit(self, completion: Completion) -> None:
        """See BlockDevice."""
        done, self._done = self._done, []
        refused, self._refused = self._refused, []
        if done:
            completion.complete(done, COMPLETE_OK)
        if refused:
            completion.complete(refused, errno.ENOSPC)

    def park(self, completion: Completion) -> None:
        """See BlockDevice; a view never asks for it."""
        completion.resume()

    def read_into(self, offset: int, target: memoryview) -> int:
        """See BlockDevice."""
        if self.whole.is_over:
            return errno.ESHUTDOWN
        self.view.read_into(offset, target)
        return 0

    def extents(self, offset: int, length: int, most: int) -> list[Extent]:
        """See BlockDevice."""
        return [(length, False)] if self.whole.is_over else extents(self.view, offset, length, most)
