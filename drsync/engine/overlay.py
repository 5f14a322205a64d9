"""What has been committed but not yet applied to an image, block by block.

A `BlockIndex` maps 4 KiB blocks to the newest committed content in the journal. A `VolumeView` reads an
image through such layers. Nothing here decides how far a view may reach: the caller feeds it records.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from drsync.engine.pages import PIECE_BYTES, piece
from drsync.ports.journal import Image, Locator

BLOCK = 4096
BLOCK_BITS = 12
BLOCK_MASK = BLOCK - 1

ZERO: Locator = -1
"""In place of a locator: the block is zeros."""

ZERO_RANGE_BLOCKS = 256  # because a discard of a whole disk must not become a million entries
RUN_BLOCKS_MAX = PIECE_BYTES // BLOCK

Content = Locator | bytes
"""A locator of 4096 payload bytes, `ZERO`, or the 4096 bytes themselves (after an unaligned write)."""

_ZEROS = bytes(BLOCK)


@dataclass(slots=True)
class BlockIndex:
    """One layer of one volume: blocks and, for large discards, ranges of zero blocks below them."""

    blocks: dict[int, Content] = field(default_factory=dict)
    zeros: list[tuple[int, int]] = field(default_factory=list)

    def __len__(self) -> int:
        """Entries held: what the layer costs in memory (about 150 bytes each)."""
        return len(self.blocks) + len(self.zeros)

    def put(self, first: int, count: int, locator: Locator) -> None:
        """Blocks `first`.. hold the payload that starts at `locator`."""
        if count == 1:
            self.blocks[first] = locator
        else:
            places = range(locator, locator + count * BLOCK, BLOCK)
            self.blocks.update(zip(range(first, first + count), places, strict=True))

    def put_zeros(self, first: int, count: int) -> None:
        """Blocks `first`.. are zeros."""
        blocks = self.blocks
        if count < ZERO_RANGE_BLOCKS:
            blocks.update(dict.fromkeys(range(first, first + count), ZERO))
            return
        end = first + count
        covered = [b for b in blocks if first <= b < end] if len(blocks) < count else range(first, end)
        for block in covered:
            blocks.pop(block, None)
        self.zeros.append((first, end))

    def take(self, newer: "BlockIndex") -> None:
        """What a newer layer holds is held here from now on."""
        for first, end in newer.zeros:
            self.put_zeros(first, end - first)
        self.blocks.update(newer.blocks)

    def find(self, block: int) -> Content | None:
        """The content of a block in this layer, None when the layer does not hold it."""
        content = self.blocks.get(block)
        if content is None and self.zeros and any(a <= block < b for a, b in self.zeros):
            return ZERO
        return content

    def runs(self) -> Iterator[tuple[int, list[Content]]]:
        """Stretches of neighbouring blocks, ascending, `RUN_BLOCKS_MAX` at most; without zero ranges."""
        start, contents = -1, list[Content]()
        for block in sorted(self.blocks):
            if contents and (block != start + len(contents) or len(contents) == RUN_BLOCKS_MAX):
                yield start, contents
                contents = []
            if not contents:
                start = block
            contents.append(self.blocks[block])
        if contents:
            yield start, contents


class Readable(Protocol):
    """The reading half of `drsync.ports.journal.Image`."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def read_into(self, offset: int, target: memoryview) -> None:
        """See Image."""
        ...

    def extent(self, offset: int) -> tuple[int, bool]:
        """See Image."""
        ...


class Source(Protocol):
    """Where payloads are read: `drsync.engine.payloads.Payloads`."""

    def read(self, locator: Locator, length: int) -> bytes:
        """`length` bytes of payload."""
        ...

    def read_into(
        self, locator: Locator, target: memoryview, kept: dict[Locator, memoryview] | None = None
    ) -> None:
        """Fill `target` with payload. Raises FailedCopyError."""
        ...


class VolumeView:
    """An image seen through layers, newest last. All reads give whole committed blocks.

    Attributes:
        image: takes what is written out.
        below: what the layers lie on: the image, or something between.
        layers: of committed records; the last one takes records.
    """

    def __init__(self, image: Image, payloads: Source) -> None:
        self.image = image
        self.below: Readable = image
        self._payloads = payloads
        self.layers: list[BlockIndex] = [BlockIndex()]

    @property
    def size(self) -> int:
        """Bytes."""
        return self.image.size

    @property
    def newest(self) -> BlockIndex:
        """The layer that takes records."""
        return self.layers[-1]

    def record_write(self, offset: int, length: int, locator: Locator) -> None:
        """A committed write of `length` bytes whose payload lies at `locator`."""
        if not (offset | length) & BLOCK_MASK:
            self.layers[-1].put(offset >> BLOCK_BITS, length >> BLOCK_BITS, locator)
        else:
            self._unaligned(
                offset, length, lambda skip, size: self._payloads.read(locator + skip, size), locator
            )

    def record_zero(self, offset: int, length: int) -> None:
        """A committed range of zeros."""
        if not (offset | length) & BLOCK_MASK:
            self.layers[-1].put_zeros(offset >> BLOCK_BITS, length >> BLOCK_BITS)
        else:
            self._unaligned(offset, length, lambda _, size: bytes(size), None)

    def _unaligned(
        self, offset: int, length: int, piece: Callable[[int, int], bytes], locator: Locator | None
    ) -> None:
        end = offset + length
        first_whole = (offset + BLOCK_MASK) & ~BLOCK_MASK
        end_whole = end & ~BLOCK_MASK
        if offset < first_whole or end < first_whole:
            stop = min(first_whole, end)
            self._patch(offset, piece(0, stop - offset))
        if first_whole < end_whole:
            count = (end_whole - first_whole) >> BLOCK_BITS
            if locator is None:
                self.layers[-1].put_zeros(first_whole >> BLOCK_BITS, count)
            else:
                self.layers[-1].put(first_whole >> BLOCK_BITS, count, locator + first_whole - offset)
        if end_whole >= first_whole and end > end_whole:
            self._patch(end_whole, piece(end_whole - offset, end - end_whole))

    def _patch(self, offset: int, data: bytes) -> None:
        """Overwrite a part of one block by making the whole block."""
        block = bytearray(BLOCK)
        start = offset & ~BLOCK_MASK
        self.read_into(start, memoryview(block))
        block[offset - start : offset - start + len(data)] = data
        self.layers[-1].blocks[start >> BLOCK_BITS] = bytes(block)

    def find(self, block: int) -> Content | None:
        """The newest content above the image, None when the image has it."""
        for layer in reversed(self.layers):
            content = layer.find(block)
            if content is not None:
                return content
        return None

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fill `target` with the content at `offset`.

        Raises:
            DamagedError: a record has changed since it was written; `target` is not to be given to anybody.
            FailedCopyError: the image or the journal cannot be read.
        """
        if not any(self.layers):
            self.below.read_into(offset, target)
            return
        first, last = offset >> BLOCK_BITS, (offset + len(target) - 1) >> BLOCK_BITS
        if first == last:
            self._read_piece(first, offset & BLOCK_MASK, offset, target)
            return
        found = self._above(first, last)
        if len(found) <= last - first:
            self.below.read_into(offset, target)
        self._lay(found, offset, target)

    def lay_over(self, offset: int, target: memoryview) -> None:
        """Put what the layers hold over `target`, which holds what lies below them from `offset` on.

        Raises as `read_into`.
        """
        if any(self.layers):
            first, last = offset >> BLOCK_BITS, (offset + len(target) - 1) >> BLOCK_BITS
            self._lay(self._above(first, last), offset, target)

    def _above(self, first: int, last: int) -> list[tuple[int, Content]]:
        """What layers hold of these blocks."""
        return [(b, c) for b in range(first, last + 1) if (c := self.find(b)) is not None]

    def _lay(self, found: list[tuple[int, Content]], offset: int, target: memoryview) -> None:
        """Put blocks over what lies below them; `target` begins at `offset`."""
        for block, content in found:
            at = (block << BLOCK_BITS) - offset
            skip = max(0, -at)
            self._fill(content, skip, target[max(0, at) : at + BLOCK])

    def read_cached(self, offset: int, target: memoryview) -> bool:
        """Like `read_into` where the image waits for no disk; else False, and `target` holds anything.

        What lies above the image was written a moment ago, so that its journal is asked as ever.
        """
        if self.below is not self.image:
            self.read_into(offset, target)
            return True
        if not any(self.layers):
            return self.image.read_cached(offset, target)
        first, last = offset >> BLOCK_BITS, (offset + len(target) - 1) >> BLOCK_BITS
        found = self._above(first, last)
        if len(found) <= last - first and not self.image.read_cached(offset, target):
            return False
        self._lay(found, offset, target)
        return True

    def _read_piece(self, block: int, skip: int, offset: int, target: memoryview) -> None:
        content = self.find(block)
        if content is None:
            self.below.read_into(offset, target)
        else:
            self._fill(content, skip, target)

    def _fill(
        self, content: Content, skip: int, target: memoryview, kept: dict[Locator, memoryview] | None = None
    ) -> None:
        if isinstance(content, bytes):
            target[:] = content[skip : skip + len(target)]
        elif content == ZERO:
            target[:] = _ZEROS[: len(target)]
        else:
            self._payloads.read_into(content + skip, target, kept)

    def write_out(self, layer: BlockIndex) -> int:
        """Write a layer into the image, in ascending order; returns bytes written. Blocks: for a thread.

        The layer must no longer take records; reads may go on through it meanwhile. What comes from the
        journal is verified before it is written, in the memory that it is written from.

        Raises:
            DamagedError: the journal has changed. Blocks before the damaged one may have been written.
            FailedCopyError, NoSpaceError: the image cannot be written.
        """
        written = 0
        kept: dict[Locator, memoryview] = {}
        for start, end in layer.zeros:
            self.image.zero(
                start << BLOCK_BITS, min((end - start) << BLOCK_BITS, self.size - (start << BLOCK_BITS))
            )
        with piece() as buffer:
            for start, contents in layer.runs():
                target = buffer[: len(contents) * BLOCK]
                self._gather(contents, target, kept)
                self.image.write(start << BLOCK_BITS, [target])
                written += len(target)
        return written

    def _gather(self, contents: list[Content], target: memoryview, kept: dict[Locator, memoryview]) -> None:
        """Fill `target` with neighbouring blocks, reading neighbouring payloads at once."""
        index, count = 0, 1
        while index < len(contents):
            content = contents[index]
            if isinstance(content, bytes) or content == ZERO:
                count = 1
            else:  # mostly as many as before, because records are of one size
                end = content + count * BLOCK
                if contents[index : index + count] != list(range(content, end, BLOCK)):
                    count, end = 1, content + BLOCK
                while index + count < len(contents) and contents[index + count] == end:
                    count, end = count + 1, end + BLOCK
            self._fill(content, 0, target[index * BLOCK : (index + count) * BLOCK], kept)
            index += count
