"""What somebody writes to a view: kept apart from the copy, within a quota, gone with the view.

Memory stays small whatever is written: the first blocks are held in it, because a drill that tries whether
it can write needs no file; from then on content lies in a file without a name, at the offsets of the volume,
and memory holds two bits a block of the volume at most.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from drsync.engine.overlay import BLOCK, BLOCK_BITS, BLOCK_MASK
from drsync.model.errors import NoSpaceError
from drsync.ports.journal import Buffer, Image

IN_MEMORY_BLOCKS = 256  # because a probe writes a block, and 1 MiB a volume hurts nobody
CHUNK_BITS = 12  # because numbers of 4096 bits are changed in tens of nanoseconds; a chunk is 16 MiB
CHUNK = 1 << CHUNK_BITS
FULL = (1 << CHUNK) - 1

Below = Callable[[int, memoryview], None]
"""Reads what is below: offset, target."""


class Kind(Enum):
    """Where the content of a block is."""

    BELOW = "below"
    DATA = "data"
    HOLE = "hole"


@dataclass(slots=True)
class Quota:
    """What all volumes of a view may keep together, in bytes; what they keep; whether more was refused."""

    most: int
    used: int = 0
    was_short: bool = False

    def take(self, blocks: int) -> None:
        """Raises NoSpaceError: it would be more than `most`; nothing was taken."""
        if self.used + blocks * BLOCK > self.most:
            raise NoSpaceError(f"this view may keep {self.most} bytes of its own")
        self.used += blocks * BLOCK


class PrivateLayer:
    """The blocks of one volume that were written to a view.

    Args:
        make: a file for them, called at most once; None: they stay in memory.
        quota: shared with the other volumes of the view.
    """

    def __init__(self, make: Callable[[], Image] | None, quota: Quota) -> None:
        self._make = make
        self._quota = quota
        self._file: Image | None = None
        self._held: dict[int, bytes] = {}  # blocks that are not in a file
        self._mine: dict[int, int] = {}  # chunk -> bits of blocks that differ from what is below
        self._stored: dict[int, int] = {}  # of these: those that have content; the others are zeros

    def __bool__(self) -> bool:
        """Whether anything was written."""
        return bool(self._mine)

    # --- writing

    def write(self, offset: int, data: Buffer, below: Below) -> None:
        """Keep `data` at `offset`; parts of blocks are made whole with what is there now.

        Raises:
            NoSpaceError: the quota or the disk is used up; what was there before is still there.
            FailedCopyError: the file cannot be written.
        """
        view, at = memoryview(data), 0
        end = offset + len(view)
        while at < len(view):
            skip = (offset + at) & BLOCK_MASK
            if skip or len(view) - at < BLOCK:
                size = min(BLOCK - skip, len(view) - at)
                self._patch((offset + at) >> BLOCK_BITS, skip, view[at : at + size], below)
            else:
                size = (end & ~BLOCK_MASK) - (offset + at)
                self._store((offset + at) >> BLOCK_BITS, view[at : at + size])
            at += size

    def _patch(self, block: int, skip: int, data: memoryview, below: Below) -> None:
        whole = bytearray(BLOCK)
        self.read_into(block << BLOCK_BITS, memoryview(whole), below)
        whole[skip : skip + len(data)] = data
        self._store(block, memoryview(whole))

    def _store(self, first: int, data: memoryview) -> None:
        end = first + (len(data) >> BLOCK_BITS)
        fresh = sum((mask & ~self._stored.get(chunk, 0)).bit_count() for chunk, mask in _masks(first, end))
        self._quota.take(fresh)
        try:
            self._put(first, data)
        except BaseException:
            self._quota.used -= fresh * BLOCK
            raise
        for chunk, mask in _masks(first, end):
            _set(self._mine, chunk, mask)
            _set(self._stored, chunk, mask)

    def _put(self, first: int, data: memoryview) -> None:
        is_much = len(self._held) + (len(data) >> BLOCK_BITS) > IN_MEMORY_BLOCKS
        if is_much and self._file is None and self._make is not None:
            self._move_to_file(self._make)
        if self._file is not None:
            self._file.write(first << BLOCK_BITS, [data])
            return
        for index in range(len(data) >> BLOCK_BITS):
            self._held[first + index] = bytes(data[index * BLOCK : (index + 1) * BLOCK])

    def _move_to_file(self, make: Callable[[], Image]) -> None:
        file = make()
        try:
            for block in sorted(self._held):
                file.write(block << BLOCK_BITS, [self._held[block]])
        except BaseException:
            file.close()
            raise
        self._file = file
        self._held.clear()

    def zero(self, offset: int, length: int, below: Below) -> None:
        """Make a range zeros; whole blocks cost nothing, and give back what they kept.

        Raises:
            NoSpaceError, FailedCopyError: as `write`.
        """
        end = offset + length
        first, stop = (offset + BLOCK_MASK) >> BLOCK_BITS, end >> BLOCK_BITS
        if first > stop:  # a part of one block
            self.write(offset, bytes(length), below)
            return
        if offset < first << BLOCK_BITS:
            self.write(offset, bytes((first << BLOCK_BITS) - offset), below)
        if stop << BLOCK_BITS < end:
            self.write(stop << BLOCK_BITS, bytes(end - (stop << BLOCK_BITS)), below)
        if first < stop:
            self._clear(first, stop)

    def _clear(self, first: int, end: int) -> None:
        if self._file is not None and any(mask & self._stored.get(at, 0) for at, mask in _masks(first, end)):
            self._file.zero(first << BLOCK_BITS, (end - first) << BLOCK_BITS)
        for block in [block for block in self._held if first <= block < end]:
            del self._held[block]
        for chunk, mask in _masks(first, end):
            _set(self._mine, chunk, mask)
            kept = self._stored.get(chunk, 0)
            self._quota.used -= (kept & mask).bit_count() * BLOCK
            if kept & ~mask:
                self._stored[chunk] = kept & ~mask
            else:
                self._stored.pop(chunk, None)

    # --- reading

    def read_into(self, offset: int, target: memoryview, below: Below) -> None:
        """Fill `target`: what was written, and what is below elsewhere.

        Raises:
            FailedCopyError: something of it cannot be read.
        """
        if not self._mine:
            below(offset, target)
            return
        end = offset + len(target)
        for first, stop, kind in self.runs(offset >> BLOCK_BITS, (end + BLOCK_MASK) >> BLOCK_BITS):
            start, last = max(offset, first << BLOCK_BITS), min(end, stop << BLOCK_BITS)
            piece = target[start - offset : last - offset]
            if kind is Kind.BELOW:
                below(start, piece)
            elif kind is Kind.HOLE:
                piece[:] = bytes(len(piece))
            elif self._file is not None:
                self._file.read_into(start, piece)
            else:
                self._read_held(start, piece)

    def _read_held(self, offset: int, target: memoryview) -> None:
        at = 0
        while at < len(target):
            skip = (offset + at) & BLOCK_MASK
            size = min(BLOCK - skip, len(target) - at)
            target[at : at + size] = self._held[(offset + at) >> BLOCK_BITS][skip : skip + size]
            at += size

    def runs(self, first: int, end: int) -> Iterator[tuple[int, int, Kind]]:
        """Stretches of blocks from `first` up to `end`, in order; neighbours may be of the same kind."""
        at = first
        while at < end:
            chunk, bit = at >> CHUNK_BITS, at & (CHUNK - 1)
            room = min(CHUNK - bit, end - at)
            mine = self._mine.get(chunk, 0) >> bit
            if not mine & 1:
                length, kind = _trailing_zeros(mine, room), Kind.BELOW
            else:
                stored = self._stored.get(chunk, 0) >> bit
                is_data = bool(stored & 1)
                kind = Kind.DATA if is_data else Kind.HOLE
                length = _trailing_zeros(~(stored if is_data else mine & ~stored), room)
            length = min(length, room)
            yield at, at + length, kind
            at += length

    def close(self) -> None:
        """Forget everything; the file goes with it."""
        self._quota.used -= sum(bits.bit_count() for bits in self._stored.values()) * BLOCK
        self._held.clear()
        self._mine.clear()
        self._stored.clear()
        if self._file is not None:
            self._file.close()
            self._file = None


def _masks(first: int, end: int) -> Iterator[tuple[int, int]]:
    """Chunks of the blocks from `first` up to `end`, each with the bits of these blocks."""
    at = first
    while at < end:
        chunk, bit = at >> CHUNK_BITS, at & (CHUNK - 1)
        count = min(CHUNK - bit, end - at)
        yield chunk, FULL if count == CHUNK else ((1 << count) - 1) << bit
        at += count


def _set(bits: dict[int, int], chunk: int, mask: int) -> None:
    """Add bits; full chunks share one number, so that a discard of a whole disk costs little memory."""
    whole = bits.get(chunk, 0) | mask
    bits[chunk] = FULL if whole == FULL else whole


def _trailing_zeros(bits: int, most: int) -> int:
    return (bits & -bits).bit_length() - 1 if bits else most
