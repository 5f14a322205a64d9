"""Isolated views: a group exactly as it was at one position, readable and privately writable.

A view shares the images and the journal of the copy and keeps what is written to it to itself: nothing of
it is ever replicated (INV-16). While it is open it pins the copy: images are not folded beyond its
position, and the journal it reads is not trimmed.
"""

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from drsync.core.sizes import sized
from drsync.delta.content import hash_volume
from drsync.engine.allocation import PIECES_MAX, extents, merged
from drsync.engine.copy import GroupCopy
from drsync.engine.overlay import BLOCK_BITS, BLOCK_MASK, VolumeView
from drsync.engine.private import Kind, PrivateLayer, Quota
from drsync.engine.threads import in_long_thread
from drsync.engine.volumes import GroupVolumes
from drsync.model.errors import DamagedError, DrsyncError, NoSpaceError, RefusedError
from drsync.model.group import VolumeSpec
from drsync.model.opening import QUOTA_BYTES
from drsync.ports.journal import Image
from drsync.ports.volume import COMPLETE_OK, Completion, Extent

VIEWS_MAX = 16  # because each holds an index and pins the journal


@dataclass(frozen=True, slots=True)
class Writes:
    """What may be written to a view, and where it is kept.

    Attributes:
        quota_bytes: of all volumes together; 0: the view is read-only.
        make: a file for a volume's private content; None: it stays in memory.
    """

    quota_bytes: int = QUOTA_BYTES
    make: Callable[[VolumeSpec], Image] | None = None


IN_MEMORY = Writes()
READ_ONLY = Writes(0)


class GroupView:
    """A group at record `seq`.

    Attributes:
        id: given by whoever opened it.
        seq: the position: a batch end.
        base_seq: where the images stood when it was opened; the journal is kept from there.
        is_over: it was given up; what is read of it now may be of any time.
        since_us: wall clock label of when it was opened, for people; 0: not told.
        is_background: it gives way to whatever is asked of the copy (decision 24).
        writes: what may be written to it; set before a device is made.
        quota: what its volumes keep together.
    """

    def __init__(self, view_id: str, copy: GroupCopy, seq: int) -> None:
        self.id = view_id
        self.seq = seq
        self.base_seq = copy.volumes.applied
        self.is_over = False
        self.since_us = 0
        self.is_background = False
        self._sizes = copy.sizes.cut(seq)
        self.spec = sized(copy.spec, self._sizes.newest)
        self.writes = IN_MEMORY
        self.quota = Quota(IN_MEMORY.quota_bytes)
        self._layers: list[PrivateLayer] = []
        self._source = copy
        images = {index: view.image for index, view in copy.volumes.views.items()}
        self._volumes = GroupVolumes(images, copy.journal, self.base_seq, regions=copy.volumes.regions)

    async def build(self) -> None:
        """Find out where the journal between the images and the position holds what; reads none of it."""
        try:
            await self._volumes.reach(self.seq)
        except DamagedError as error:
            self.damaged(error)
            raise
        assert self._volumes.recorded == self.seq, (self._volumes.recorded, self.seq)

    def damaged(self, error: DamagedError) -> None:
        """What this reads has changed: the copy is told, and mends it."""
        self._source.damaged(error)

    def device(self, volume: VolumeSpec) -> "ViewDevice":
        """A device over one volume; each call gives a fresh private layer."""
        make = self.writes.make
        layer = PrivateLayer(None if make is None else lambda: make(volume), self.quota)
        self._layers.append(layer)
        is_read_only = not self.writes.quota_bytes
        return ViewDevice(self.reader(volume), self, layer, volume.size, is_read_only=is_read_only)

    def may_keep(self, writes: Writes) -> None:
        """Say what may be written to it; before the first `device`."""
        assert not self._layers
        self.writes, self.quota = writes, Quota(writes.quota_bytes)

    def give_up(self) -> None:
        """Nothing can be read any more, and what was written to it is gone."""
        self.is_over = True
        for layer in self._layers:
            layer.close()

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

    @property
    def volumes(self) -> GroupVolumes:
        """All volumes as they were, without private writes; nothing is recorded in them."""
        return self._volumes

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
        except DamagedError as error:
            self._require_wanted()
            self.whole.damaged(error)
            raise
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

    def hold(
        self, view_id: str, seq: int, make: Callable[[str, GroupCopy, int], GroupView] = GroupView
    ) -> GroupView:
        """Pin the position `seq` now; `build` the view before reading it. `make`: another kind of view.

        Raises:
            RefusedError: too many views, the position is not held any more, or not there yet.
            TransientError: the copy becomes the log of a source just now.
        """
        if view_id in self._open:
            return self._open[view_id]
        copy = self._copy
        copy.require_settled()
        if len(self._open) >= VIEWS_MAX:
            raise RefusedError(f"{VIEWS_MAX} views are open already", remedy="close one")
        if seq < copy.volumes.reached or copy.journal.position_at(seq) is None:
            raise RefusedError(
                f"record {seq} cannot be opened here: the images are at {copy.volumes.reached}, "
                f"the journal ends at {copy.journal.tip.seq}",
                code="no_such_point",
                remedy="drsync points lists what can be opened",
            )
        view = self._open[view_id] = make(view_id, copy, seq)
        return view

    def find(self, view_id: str) -> GroupView | None:
        """An open view."""
        return self._open.get(view_id)

    def release(self, view_id: str) -> bool:
        """Give up a view and its pin; whether there was one."""
        view = self._open.pop(view_id, None)
        if view is None:
            return False
        view.give_up()
        return True

    def above(self, seq: int) -> list[str]:
        """Open views of positions beyond `seq`."""
        return sorted(view.id for view in self._open.values() if view.seq > seq)

    def give_way(self, why: str, tell: Callable[[str, str], None]) -> None:
        """End what is read in the background, at once: nothing that is asked of a copy waits for it."""
        for view_id in self.background():
            self.release(view_id)
            tell(view_id, why)

    def background(self) -> list[str]:
        """Open views that give way to whatever is asked of the copy."""
        return sorted(view.id for view in self._open.values() if view.is_background)

    def ids(self) -> list[str]:
        """Open views."""
        return sorted(self._open)


@dataclass(slots=True)
class ViewDevice:
    """One volume of a view as `ports.volume.BlockDevice`; what is written to it is its own."""

    view: VolumeView
    whole: GroupView
    private: PrivateLayer
    size: int  # as it was then; the image may be larger by now
    is_read_only: bool = field(default=False)
    _done: list[bytes] = field(default_factory=list)
    _refused: dict[int, list[bytes]] = field(default_factory=dict)

    def write(self, offset: int, data: memoryview, cookie: bytes, *, fua: bool) -> None:
        """See BlockDevice."""
        del fua
        self._put(offset, len(data), data, cookie)

    def zero(self, offset: int, length: int, cookie: bytes, *, fua: bool, is_trim: bool) -> None:
        """See BlockDevice."""
        del fua, is_trim
        self._put(offset, length, None, cookie)

    def _put(self, offset: int, length: int, data: memoryview | None, cookie: bytes) -> None:
        """Keep `data`, or zeros; what cannot be kept is refused to this view alone."""
        try:
            if self.whole.is_over:
                self._refuse(errno.ESHUTDOWN, cookie)
            elif self.is_read_only:
                self._refuse(errno.EPERM, cookie)
            elif data is not None:
                self.private.write(offset, data, self.view.read_into)
                self._done.append(cookie)
            else:
                self.private.zero(offset, length, self.view.read_into)
                self._done.append(cookie)
        except NoSpaceError:
            self.whole.quota.was_short = True  # also where the disk is full before the quota is used up
            self._refuse(errno.ENOSPC, cookie)
        except DrsyncError:
            self.whole.quota.was_short = True
            self._refuse(errno.EIO, cookie)

    def _refuse(self, error: int, cookie: bytes) -> None:
        self._refused.setdefault(error, []).append(cookie)

    def flush(self, cookie: bytes) -> None:
        """See BlockDevice; private writes have nothing to be durable on."""
        self._done.append(cookie)

    def submit(self, completion: Completion) -> None:
        """See BlockDevice."""
        done, self._done = self._done, []
        refused, self._refused = self._refused, {}
        if done:
            completion.complete(done, COMPLETE_OK)
        for error, cookies in refused.items():
            completion.complete(cookies, error)

    def park(self, completion: Completion) -> None:
        """See BlockDevice; a view never asks for it."""
        completion.resume()

    def read_into(self, offset: int, target: memoryview) -> int:
        """See BlockDevice."""
        if self.whole.is_over:
            return errno.ESHUTDOWN
        try:
            self.private.read_into(offset, target, self.view.read_into)
        except DamagedError as error:
            self.whole.damaged(error)
            return errno.EIO
        except DrsyncError:
            return errno.EIO
        return 0

    def extents(self, offset: int, length: int, most: int) -> list[Extent]:
        """See BlockDevice."""
        if self.whole.is_over:
            return [(length, False)]
        if not self.private:
            return extents(self.view, offset, length, most)
        return merged(self._pieces(offset, offset + length), most)

    def _pieces(self, offset: int, end: int) -> Iterator[Extent]:
        """Stretches in order, until the end or until what is below has told enough."""
        stop_block = (end + BLOCK_MASK) >> BLOCK_BITS
        for first, stop, kind in self.private.runs(offset >> BLOCK_BITS, stop_block):
            start, last = max(offset, first << BLOCK_BITS), min(end, stop << BLOCK_BITS)
            if kind is not Kind.BELOW:
                yield last - start, kind is Kind.HOLE
                continue
            told = 0
            for piece in extents(self.view, start, last - start, PIECES_MAX):
                told += piece[0]
                yield piece
            if told < last - start:
                return
