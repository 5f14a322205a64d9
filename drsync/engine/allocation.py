"""Which parts of a volume are stored, and which are holes: told from the layers and the image below.

The answer is bounded, so that a client that asks about terabytes holds nobody up: it may end early.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from drsync.engine.overlay import BLOCK_BITS, ZERO, BlockIndex, VolumeView
from drsync.engine.stretch import SEARCHED_BYTES
from drsync.ports.volume import Extent

SEARCHED_BLOCKS_MAX = (
    32_768  # because looking for more (128 MiB) would hold other requests up by milliseconds
)
PIECES_MAX = 2048  # because each may cost a system call or two

_BELOW, _DATA, _HOLE = 0, 1, 2
_RUN = re.compile(rb"\x00+|\x01+|\x02+")


def extents(view: VolumeView, offset: int, length: int, most: int) -> list[Extent]:
    """See `drsync.ports.volume.BlockDevice.extents`."""
    return merged(_pieces(view, offset, offset + length), most)


def merged(pieces: Iterable[Extent], most: int) -> list[Extent]:
    """Neighbours of the same kind as one, `most` at most; of so many pieces that nobody waits for long."""
    found: list[Extent] = []
    for size, is_hole in islice(pieces, PIECES_MAX):
        if found and found[-1][1] == is_hole:
            found[-1] = (found[-1][0] + size, is_hole)
        elif len(found) == most:
            break
        else:
            found.append((size, is_hole))
    return found


def _pieces(view: VolumeView, offset: int, end: int) -> Iterator[Extent]:
    """Stretches in order; neighbours may be of the same kind."""
    if view.below is not view.image:
        end = min(end, offset + SEARCHED_BYTES)
    layers = [layer for layer in view.layers if layer]
    if not layers:
        yield from _image_pieces(view, offset, end)
        return
    first, stop = offset >> BLOCK_BITS, ((end - 1) >> BLOCK_BITS) + 1
    if sum(map(len, layers)) > SEARCHED_BLOCKS_MAX:
        stop = min(stop, first + SEARCHED_BLOCKS_MAX)
    end = min(end, stop << BLOCK_BITS)
    kinds = _kinds(layers, first, stop)
    last, is_hole = view.below.extent(offset)
    if last >= end and not is_hole:  # as in most volumes that are full: then few pieces are left
        kinds = kinds.replace(bytes([_BELOW]), bytes([_DATA]))
    for run in _RUN.finditer(kinds):
        start = max(offset, (first + run.start()) << BLOCK_BITS)
        stop = min(end, (first + run.end()) << BLOCK_BITS)
        kind = kinds[run.start()]
        if kind == _BELOW:
            yield from _image_pieces(view, start, stop)
        else:
            yield stop - start, kind == _HOLE


def _image_pieces(view: VolumeView, offset: int, end: int) -> Iterator[Extent]:
    while offset < end:
        last, is_hole = view.below.extent(offset)
        last = min(last, end)
        yield last - offset, is_hole
        offset = last


def _kinds(layers: list[BlockIndex], first: int, stop: int) -> bytearray:
    """A byte for each block: what the layers, oldest first, say about it."""
    kinds = bytearray(stop - first)
    for layer in layers:
        for start, end in layer.zeros:
            start, end = max(start, first), min(end, stop)  # noqa: PLW2901  # the part that was asked about
            if start < end:
                kinds[start - first : end - first] = bytes([_HOLE]) * (end - start)
        blocks = layer.blocks
        is_small = len(blocks) < stop - first
        for block in blocks if is_small else range(first, stop):
            if first <= block < stop and block in blocks:
                kinds[block - first] = _HOLE if blocks[block] == ZERO else _DATA
    return kinds
