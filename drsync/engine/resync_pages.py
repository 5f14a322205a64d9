"""Pages instead of granules in a resync session: the target says what it holds, and what differs is sent.

A granule of 64 KiB in which one page of 4 KiB was written costs that page and 256 bytes of hashes. They tell
what differs, never what is right: the target compares each granule that it laid together with the hash of the
whole, and where that fails the session is refused in passing, and later ones send whole granules.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from blake3 import blake3
from xxhash import xxh3_128_digest

from drsync.core import extents
from drsync.core.extents import GRANULE, Extents, Run
from drsync.engine.resync_line import Line
from drsync.engine.threads import in_thread
from drsync.model.errors import FailedCopyError, MalformedError
from drsync.wire import resync, resync_pages
from drsync.wire.resync import Block, BlockKind
from drsync.wire.resync_pages import HASHES_BYTES, NOT_TOLD, PAGE, PAGE_HASH_BYTES, PAGES

AHEAD: Final = 512  # granules asked for before they are sent, because two questions keep both sides at work
QUESTION: Final = 256  # granules, because the target reads 16 MiB for it, and answers in milliseconds
A_TURN: Final = 64  # granules read and compared at once: 4 MiB
LEARNED: Final = 1024  # granules after which is judged whether asking pays
SHARE_MAX: Final = 0.75  # of their pages, because when more are sent asking costs more than it saves

Key = tuple[int, int]
"""A granule: volume and number."""


def hashes_of(content: memoryview) -> bytes:
    """What is told of each granule of some bytes, back to back; zeros stand for pages beyond the end."""
    told = b"".join(
        blake3(content[at : at + PAGE]).digest(length=PAGE_HASH_BYTES) for at in range(0, len(content), PAGE)
    )
    return told + bytes(-len(told) % HASHES_BYTES)


def keys(runs: Iterable[Run]) -> list[Key]:
    """The granules of runs, in order."""
    return [(run.volume, granule) for run in runs for granule in range(run.first, run.end)]


class PageAsker:
    """What is known of the target's pages on one line, and what is asked next.

    Attributes:
        pages, sent: of granules that could be compared: their pages, and those of them that differed.
    """

    def __init__(self, line: Line) -> None:
        self.pages = self.sent = 0
        self._line = line
        self._number = 0
        self._asked: dict[int, list[Key]] = {}
        self._waiting: set[Key] = set()
        self._known: dict[Key, memoryview] = {}

    @property
    def pays(self) -> bool:
        """Whether so much was saved that more should be asked."""
        return self.pages < LEARNED * PAGES or self.sent < SHARE_MAX * self.pages

    def ask(self, todo: Extents) -> None:
        """Ask for what will be sent next, unless enough is known or asked."""
        if len(self._waiting) + len(self._known) > AHEAD - QUESTION:
            return
        ahead, _ = extents.take(todo, AHEAD)
        wanted = [key for key in keys(ahead) if key not in self._waiting and key not in self._known]
        for first in range(0, len(wanted), QUESTION):
            question = wanted[first : first + QUESTION]
            self._asked[self._number] = question
            self._waiting.update(question)
            self._line.want_pages(
                self._number, extents.normal(Run(volume, at, at + 1) for volume, at in question)
            )
            self._number += 1

    def is_told(self, taken: Extents) -> bool:
        """Whether nothing that was asked about these granules is still on its way.

        Raises:
            MalformedError: something else was answered than was asked for.
        """
        while self._line.pages:
            number, values = self._line.pages.popleft()
            question = self._asked.pop(number, [])
            if len(values) != len(question) * HASHES_BYTES:
                raise MalformedError("hashes of other pages were answered than were asked for")
            for index, key in enumerate(question):
                if key in self._waiting:  # not sent meanwhile
                    self._waiting.discard(key)
                    self._known[key] = values[index * HASHES_BYTES : (index + 1) * HASHES_BYTES]
        return self._waiting.isdisjoint(keys(taken))

    async def cut(self, taken: Extents, blocks: list[Block]) -> list[Block]:
        """Blocks of single granules, of which what the target holds is left out.

        Args:
            taken: the granules; what is known of them is forgotten here.
            blocks: all of them, whole; zeros stay as they are, and so does what nothing is known of.
        """
        going = keys(taken)
        self._waiting.difference_update(going)
        known = {key: self._known.pop(key) for key in going if key in self._known}
        return await in_thread(lambda: self._all_cut(blocks, known)) if known else blocks

    def _all_cut(self, blocks: list[Block], known: Mapping[Key, memoryview]) -> list[Block]:
        found: list[Block] = []
        for block in blocks:
            if block.kind is BlockKind.ZEROS:
                found.append(block)
                continue
            content = memoryview(block.data)
            for index in range(block.granules):
                piece = content[index * GRANULE : (index + 1) * GRANULE]
                found.append(self._cut(block.volume, block.first + index, piece, known))
        return found

    def _cut(self, volume: int, granule: int, piece: memoryview, known: Mapping[Key, memoryview]) -> Block:
        whole = xxh3_128_digest(piece)
        theirs = known.get((volume, granule), memoryview(NOT_TOLD))
        if theirs != NOT_TOLD:
            ours = hashes_of(piece)
            count = -(-len(piece) // PAGE)
            places = ((number, number * PAGE_HASH_BYTES) for number in range(count))
            differing = [
                number
                for number, at in places
                if ours[at : at + PAGE_HASH_BYTES] != theirs[at : at + PAGE_HASH_BYTES]
            ]
            self.pages += count
            self.sent += len(differing)
            if len(differing) < count:
                return Block(volume, granule, 1, BlockKind.PAGES, whole, resync_pages.cut(piece, differing))
        return Block(volume, granule, 1, BlockKind.DATA, whole, piece)


def frames(blocks: Iterable[Block]) -> Iterable[list[Block]]:
    """Blocks in their order, as many together as a frame of blocks may hold."""
    together: list[Block] = []
    size = 0
    for block in blocks:
        if together and size + len(block.data) > resync.BLOCKS_BYTES_MAX:
            yield together
            together, size = [], 0
        together.append(block)
        size += len(block.data)
    if together:
        yield together


# --- at the target

ReadInto = Callable[[int, int, memoryview], None]
"""Fills a buffer from a volume's image, from a byte on; raises FailedCopyError."""


def told_of(runs: Extents, unsettled: Extents, sizes: Mapping[int, int], read_into: ReadInto) -> bytes:
    """The answer to a question. Reads: for a thread.

    Of granules that may change while the session goes on, and of those that cannot be read, nothing is told.
    """
    found = bytearray()
    buffer = memoryview(bytearray(GRANULE))
    moving = set(keys(extents.subtract(runs, extents.subtract(runs, unsettled))))
    for volume, granule in keys(runs):
        at = granule * GRANULE
        piece = buffer[: min(GRANULE, sizes[volume] - at)]
        try:
            if (volume, granule) in moving:
                found += NOT_TOLD
                continue
            read_into(volume, at, piece)
        except FailedCopyError:  # whole granules come in its place; scrubbing finds what is damaged
            found += NOT_TOLD
            continue
        found += hashes_of(piece)
    return bytes(found)


def laid(block: Block, size: int, read_into: ReadInto) -> bytearray | None:
    """The granule of `size` bytes that a block of pages makes of our own; None when it is not the source's.

    Raises:
        MalformedError: the block itself is wrong.
    """
    granule = bytearray(size)
    try:
        read_into(block.volume, block.first * GRANULE, memoryview(granule))
    except FailedCopyError:
        return None
    resync_pages.lay(memoryview(granule), block.data)
    return granule if xxh3_128_digest(granule) == block.hash else None
