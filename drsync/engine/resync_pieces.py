"""What both ends of a resync session do with granules and batches, piece by piece."""

from collections.abc import Mapping, Sequence

from xxhash import xxh3_128_digest

from drsync.core import extents
from drsync.core.extents import GRANULE, Extents
from drsync.delta.batch import split
from drsync.engine.resync_pages import ReadInto, laid
from drsync.model.errors import MalformedError, TransientError
from drsync.ports.stage import Stage
from drsync.wire.resync import Block, BlockKind


def extents_of(changed: Mapping[int, list[tuple[int, int]]]) -> Extents:
    """Granules of ranges of bytes (offset, length), by volume."""
    return extents.normal(
        run
        for volume, ranges in changed.items()
        for offset, length in ranges
        for run in extents.extent(volume, offset, length)
    )


def up_to(batches: bytes, last: int, p1: int) -> tuple[memoryview, int]:
    """The whole batches of `batches` that end at `p1` at most, and the last record of them."""
    view = memoryview(batches)
    if last <= p1:
        return view, last
    end, through = 0, 0
    for at, header in split(view):
        if header.last_seq > p1:
            break
        end, through = at + header.length, header.last_seq
    return view[:end], through


def put(stage: Stage, blocks: Sequence[Block], sizes: Sequence[int], read_image: ReadInto) -> None:
    """Put blocks aside, of `sizes` bytes each. Blocks, because a disk may be slower than the line.

    Raises:
        MalformedError: content is not what its hash says; what stands before it was put aside.
        TransientError: pages were sent for something else than our images hold.
        NoSpaceError, FailedStageError: see the port.
    """
    for block, size in zip(blocks, sizes, strict=True):
        if block.kind is BlockKind.ZEROS:
            stage.zero(block.volume, block.first, block.first + block.granules)
            continue
        if block.kind is BlockKind.PAGES:
            granule = laid(block, size, read_image)
            if granule is None:
                raise TransientError(
                    f"granule {block.first} of volume {block.volume} is not what its pages were sent for",
                    code="pages_misfit",
                )
            stage.put(block.volume, block.first * GRANULE, granule)
            continue
        if len(block.data) != size or xxh3_128_digest(block.data) != block.hash:
            raise MalformedError(f"granules {block.first} of volume {block.volume} are damaged")
        stage.put(block.volume, block.first * GRANULE, block.data)
