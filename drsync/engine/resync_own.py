"""What a target has of its own in a resync session: space for a stage, and images to compare with."""

from collections.abc import Iterable, Mapping
from typing import Final

from drsync.core import extents
from drsync.core.extents import GRANULE, Extents, Run
from drsync.engine import resync_pages
from drsync.engine import switch as switching
from drsync.engine.copy import GroupCopy
from drsync.engine.threads import in_thread

RESERVE_BYTES: Final = (
    256 << 20
)  # because the journal goes on beside a stage: two segments, and what they need
HOLES_LOOKED_AT: Final = 10_000  # because each costs a system call or two


class OwnImages:
    """The images of a target's copy."""

    def __init__(self, copy: GroupCopy) -> None:
        self._copy = copy
        self._settled = 0  # our own records up to here are in the images, and change nothing any more
        self._unsettled: Extents | None = None  # what the others touch, once somebody asks

    def session_begins(self) -> None:
        """What our own log still changes is judged from here on."""
        self._settled, self._unsettled = self._copy.volumes.applied, None

    def free(self, volumes: Iterable[int]) -> int:
        """Bytes a stage may take, so that there is space for the switch as well. Blocks."""
        free = max(0, self._copy.files.free_bytes() - RESERVE_BYTES)
        holes = sum(self._holes(index) for index in sorted(volumes))
        return max(free // 2, free - holes)

    def _holes(self, index: int) -> int:
        image = self._copy.volumes.views[index].image
        at, holes = 0, 0
        for _ in range(HOLES_LOOKED_AT):
            if at >= image.size:
                return holes
            end, is_hole = image.extent(at)
            holes += (end - at) * is_hole
            at = end
        return holes + image.size - at

    def read_into(self, volume: int, offset: int, target: memoryview) -> None:
        """Bytes of an image; zeros beyond its end, because the volume may be larger by now. Blocks.

        Raises:
            FailedCopyError: it cannot be read.
        """
        image = self._copy.volumes.views[volume].image
        held = max(0, min(len(target), image.size - offset))
        if held:
            image.read_into(offset, target[:held])
        target[held:] = bytes(len(target) - held)

    async def pages(self, runs: Extents, sizes: Mapping[int, int]) -> bytes:
        """The answer to a question about pages; not told is what our own records may still change."""
        if self._unsettled is None:
            copy, settled = self._copy, self._settled
            own = await in_thread(lambda: switching.own_changes(copy.journal, copy.spec, settled))
            self._unsettled = _everything(sizes) if own is None else own
        unsettled = self._unsettled
        return await in_thread(lambda: resync_pages.told_of(runs, unsettled, sizes, self.read_into))


def _everything(sizes: Mapping[int, int]) -> Extents:
    return extents.normal(Run(index, 0, -(-size // GRANULE)) for index, size in sizes.items())
