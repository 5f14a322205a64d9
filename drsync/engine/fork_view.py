"""A fork as a view: the group's own log up to where the fork begins, and the fork's records above it."""

from collections.abc import Sequence

from typing_extensions import override

from drsync.core.sizes import sized
from drsync.engine.allocation import extents
from drsync.engine.copy import GroupCopy
from drsync.engine.overlay import VolumeView
from drsync.engine.resizes import resizes_in
from drsync.engine.threads import in_thread
from drsync.engine.views import GroupView
from drsync.engine.volumes import GroupVolumes
from drsync.model.errors import DamagedError, RefusedError
from drsync.model.group import VolumeSpec
from drsync.ports.journal import Arrived, Buffer, Image, Journal


class LowerImage:
    """What a view shows of a volume, as `ports.journal.Image` for the records above; never written."""

    def __init__(self, view: VolumeView, size: int) -> None:
        self._view = view
        self._size = size  # the fork may have grown where the group's own log did not

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    def resize(self, size: int) -> None:
        """See Image."""
        self._size = size

    def read_into(self, offset: int, target: memoryview) -> None:
        """See Image."""
        known = min(max(0, self._view.size - offset), len(target))
        target[known:] = bytes(len(target) - known)
        if known:
            self._view.read_into(offset, target[:known])

    def read_cached(self, offset: int, target: memoryview) -> bool:
        """See Image. What this is asked of waits for the disk anyway."""
        self.read_into(offset, target)
        return True

    def will_need(self, offset: int, length: int) -> None:
        """See Image."""

    def fetch(self, places: Sequence[tuple[int, int]], arrived: Arrived) -> bool:
        """See Image: nobody is told to."""
        del places, arrived
        return False

    def extent(self, offset: int) -> tuple[int, bool]:
        """See Image."""
        if offset >= self._view.size:
            return self._size, True
        length, is_hole = extents(self._view, offset, min(self._size, self._view.size) - offset, 1)[0]
        return offset + length, is_hole

    def write(self, offset: int, parts: Sequence[Buffer]) -> None:
        """Refuses."""
        del offset, parts
        raise RefusedError("a view is not written to")

    def zero(self, offset: int, length: int) -> None:
        """Refuses."""
        del offset, length
        raise RefusedError("a view is not written to")

    def sync(self) -> None:
        """Nothing to make durable."""

    def close(self) -> None:
        """Nothing to release."""


class ForkView(GroupView):
    """A group as its fork left it. It pins the position `seq` where the fork begins.

    Args:
        view_id, copy, seq: as for any view.
        fork: the fork's journal; closed with the view.
    """

    def __init__(self, view_id: str, copy: GroupCopy, seq: int, fork: Journal) -> None:
        super().__init__(view_id, copy, seq)
        self._fork = fork
        self._above = GroupVolumes({}, fork, seq)

    @override
    async def build(self) -> None:
        await super().build()
        told = await in_thread(lambda: resizes_in(self._fork, self.seq))
        sizes = self._sizes
        for resize in told:
            sizes = sizes.grown(resize)
        self.spec = sized(self.spec, sizes.newest)
        lower: dict[int, Image] = {
            v.index: LowerImage(super(ForkView, self).reader(v), v.size) for v in self.spec.volumes
        }
        self._above = GroupVolumes(lower, self._fork, self.seq)
        await self._above.reach(self._fork.tip.seq)

    @override
    def damaged(self, error: DamagedError) -> None:
        """A fork is held nowhere else; what lies below it is told by whoever reads that."""

    @override
    def reader(self, volume: VolumeSpec) -> VolumeView:
        return self._above.views[volume.index]

    @override
    def give_up(self) -> None:
        super().give_up()
        self._fork.close()
