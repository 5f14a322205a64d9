"""Reading granules of what is committed, for a resync session: content, zeros, holes, digests.

Images are read in threads, a frame at a time, so that writes come in between and no disk is waited for; what
lies above them is laid over what was read in the event loop, where layers change. What is hashed for the peer
to compare is hashed in a thread, too.
"""

import asyncio
from collections import deque
from typing import Final, NamedTuple

from blake3 import blake3
from xxhash import xxh3_128_digest

from drsync.core.extents import GRANULE, Extents, Run, normal, take
from drsync.engine.allocation import extents
from drsync.engine.overlay import BlockIndex, Readable
from drsync.engine.pages import piece
from drsync.engine.threads import in_thread
from drsync.engine.volumes import GroupVolumes
from drsync.wire.resync import DIGEST_BYTES, Block, BlockKind

TURN_BYTES: Final = 4 * GRANULE  # of the loop, because each turn costs half of what reading a granule does
READS_MAX: Final = 3  # because images go forward every second at most; then all is read in the loop
FRAMES_AHEAD: Final = 2  # read while one is sent, because a disk that writes as well takes its time
RUNS_AHEAD: Final = 64  # looked at for that, because there may be a hundred thousand
GRANULES_A_FRAME: Final = 16  # because a frame of blocks holds 1 MiB
HOLE_SEARCH_BYTES: Final = 128 << 20  # because looking further may hold the loop up by milliseconds
HOLES_ASKED: Final = 1024  # stretches told at once, because each costs a call into the file system
DIGEST_PIECE: Final = 64  # granules hashed in one turn of a thread: 4 MiB, some milliseconds

_ZEROS: Final = bytes(GRANULE)


class _State(NamedTuple):
    """Where things lie: while it is equal, nothing went from the layers into the images."""

    applied: int
    layers: list[list[BlockIndex]]
    below: list[Readable]

    def is_still(self, other: "_State") -> bool:
        """Whether nothing has moved."""
        pairs = zip((*self.layers, *self.below), (*other.layers, *other.below), strict=True)
        return self.applied == other.applied and all(ours is theirs for ours, theirs in pairs)


class _Reading(NamedTuple):
    """What is read of images for some runs, and where things lay when that began."""

    runs: Extents
    state: _State
    content: asyncio.Future[list[memoryview]]


class GranuleReader:
    """Granules of all volumes of a group, as they are committed when they are read."""

    def __init__(self, volumes: GroupVolumes) -> None:
        self._volumes = volumes
        self._zero_digests: dict[int, bytes] = {}
        self._ahead: deque[_Reading] = deque()

    @property
    def _sizes(self) -> dict[int, int]:
        """As they are now: a volume may grow, and marks beyond its former end must not be clipped."""
        return {index: view.size for index, view in self._volumes.views.items()}

    @property
    def whole(self) -> Extents:
        """All granules there are."""
        return normal(Run(index, 0, -(-size // GRANULE)) for index, size in self._sizes.items())

    def clipped(self, runs: Extents) -> Extents:
        """Without what is beyond the ends of volumes, and volumes that are not there."""
        ends = {run.volume: run.end for run in self.whole}
        return normal(Run(run.volume, run.first, min(run.end, ends.get(run.volume, 0))) for run in runs)

    def bytes_of(self, run: Run) -> int:
        """Bytes of a run: the last granule of a volume may be short."""
        return min(run.end * GRANULE, self._volumes.views[run.volume].size) - run.first * GRANULE

    def hole(self, run: Run) -> int:
        """How many granules from the first on are a hole; 0 when fewer than a frame of data holds."""
        near = min(run.end, run.first + GRANULES_A_FRAME)
        if near - run.first < GRANULES_A_FRAME or not self._is_hole(run, near):
            return 0
        far = min(run.end, run.first + HOLE_SEARCH_BYTES // GRANULE)
        size, _ = self._first_extent(run, far)
        whole = run._replace(end=far)
        return far - run.first if size >= self.bytes_of(whole) else max(near - run.first, size // GRANULE)

    def _is_hole(self, run: Run, end: int) -> bool:
        size, is_hole = self._first_extent(run, end)
        return is_hole and size >= self.bytes_of(run._replace(end=end))

    def _first_extent(self, run: Run, end: int) -> tuple[int, bool]:
        view = self._volumes.views[run.volume]
        ((size, is_hole),) = extents(view, run.first * GRANULE, self.bytes_of(run._replace(end=end)), 1)
        return size, is_hole

    async def stored(self) -> Extents:
        """Granules that are not holes."""
        found: list[Run] = []
        for index, size in sorted(self._sizes.items()):
            offset = 0
            while offset < size:
                for length, is_hole in extents(
                    self._volumes.views[index], offset, size - offset, HOLES_ASKED
                ):
                    if not is_hole:
                        found.append(Run(index, offset // GRANULE, -(-(offset + length) // GRANULE)))
                    offset += length
                await asyncio.sleep(0)
        return normal(found)

    async def first(self, todo: Extents) -> tuple[int, list[Block]]:
        """The first granules of `todo`, how many they are and as blocks to be sent: a hole, or a frame.

        Raises:
            FailedCopyError: the image or the journal cannot be read.
        """
        run = todo[0]
        hole = self.hole(run)
        if hole:
            return hole, [Block(run.volume, run.first, hole, BlockKind.ZEROS)]
        taken, rest = take(todo[:RUNS_AHEAD], GRANULES_A_FRAME)
        while self._ahead and self._ahead[0].runs != taken:  # something else was sent meanwhile
            self._ahead.popleft()
        if not self._ahead:
            self._begin(taken)
        for number in range(FRAMES_AHEAD):
            if not rest or self.hole(rest[0]):
                break
            soon, rest = take(rest, GRANULES_A_FRAME)
            if len(self._ahead) == number + 1:
                self._begin(soon)
        return GRANULES_A_FRAME, await self.blocks(taken)

    async def blocks(self, runs: Extents) -> list[Block]:
        """The content of `runs`, at most `GRANULES_A_FRAME` granules, as blocks to be sent.

        Raises:
            FailedCopyError: the image or the journal cannot be read.
        """
        found: list[Block] = []
        for run, view in zip(runs, await self._content(runs), strict=True):
            begins, is_zeros = run.first, False
            for granule in range(run.first, run.end):
                is_empty = _is_zeros(self._piece(run, granule, view))
                if granule > begins and is_empty is not is_zeros:
                    found.append(self._block(run, begins, granule, view, is_zeros=is_zeros))
                    begins = granule
                is_zeros = is_empty
            found.append(self._block(run, begins, run.end, view, is_zeros=is_zeros))
        return found

    async def _content(self, runs: Extents) -> list[memoryview]:
        """The bytes of each run, as they are committed when this returns.

        What went from the layers into the images meanwhile may be in neither of what was read: all of it is
        read again then.
        """
        views = [self._volumes.views[run.volume] for run in runs]
        places = self._places(runs)
        for _ in range(READS_MAX):
            if any(view.below is not view.image for view in views):
                break
            if not self._ahead or self._ahead[0].runs != runs:
                self._ahead.clear()
                self._begin(runs)
            reading = self._ahead.popleft()
            found = await asyncio.shield(reading.content)
            if self._state(runs).is_still(reading.state):
                for view, (offset, _), content in zip(views, places, found, strict=True):
                    view.lay_over(offset, content)
                return found
        found = []
        for view, (offset, size) in zip(views, places, strict=True):
            content = memoryview(bytearray(size))
            for at in range(0, size, TURN_BYTES):
                view.read_into(offset + at, content[at : at + TURN_BYTES])
                await asyncio.sleep(0)
            found.append(content)
        return found

    def _begin(self, runs: Extents) -> None:
        """Read what images hold of these runs, in a thread. Who asks for something else never sees it."""
        images = [self._volumes.views[run.volume].image for run in runs]
        places, state = self._places(runs), self._state(runs)
        work = asyncio.get_running_loop().run_in_executor(
            None, lambda: [_read(image, *at) for image, at in zip(images, places, strict=True)]
        )
        work.add_done_callback(_noted)
        self._ahead.append(_Reading(runs, state, work))

    def _places(self, runs: Extents) -> list[tuple[int, int]]:
        return [(run.first * GRANULE, self.bytes_of(run)) for run in runs]

    def _state(self, runs: Extents) -> _State:
        views = [self._volumes.views[run.volume] for run in runs]
        return _State(self._volumes.applied, [view.layers for view in views], [view.below for view in views])

    @staticmethod
    def _piece(run: Run, granule: int, view: memoryview) -> memoryview:
        at = (granule - run.first) * GRANULE
        return view[at : at + GRANULE]

    @staticmethod
    def _block(run: Run, first: int, end: int, view: memoryview, *, is_zeros: bool) -> Block:
        if is_zeros:
            return Block(run.volume, first, end - first, BlockKind.ZEROS)
        data = view[(first - run.first) * GRANULE : (end - run.first) * GRANULE]
        return Block(run.volume, first, end - first, BlockKind.DATA, xxh3_128_digest(data), data)

    async def digests(self, run: Run) -> bytes:
        """blake3-256 of each granule of a run, back to back.

        Raises:
            FailedCopyError: the image or the journal cannot be read.
        """
        values = bytearray()
        first = run.first
        while first < run.end:
            hole = self.hole(run._replace(first=first))
            if hole:
                piece = run._replace(first=first, end=first + hole)
                values += self._digest_of_zeros(self.bytes_of(piece))
            else:
                piece = run._replace(first=first, end=min(run.end, first + DIGEST_PIECE))
                values += await self._read_digests(piece)
            first = piece.end
        return bytes(values)

    async def _read_digests(self, run: Run) -> bytes:
        kept = bytearray(self.bytes_of(run))
        view = memoryview(kept)
        for granule in range(run.first, run.end):
            self._volumes.views[run.volume].read_into(granule * GRANULE, self._piece(run, granule, view))
            await asyncio.sleep(0)
        return await in_thread(lambda: digests_of(view))

    def _digest_of_zeros(self, size: int) -> bytes:
        full, rest = divmod(size, GRANULE)
        lengths = (GRANULE, rest)
        for length in lengths:
            if length not in self._zero_digests:
                self._zero_digests[length] = blake3(_ZEROS[:length]).digest()
        return self._zero_digests[GRANULE] * full + (self._zero_digests[rest] if rest else b"")


def _noted(reading: "asyncio.Future[list[memoryview]]") -> None:
    """An error is that of who asks for what was read; perhaps nobody does any more."""
    if not reading.cancelled():
        reading.exception()


def _read(image: Readable, offset: int, size: int) -> memoryview:
    """Bytes of an image, in memory of their own. Blocks."""
    with piece() as buffer:
        if size > len(buffer):
            content = memoryview(bytearray(size))
            image.read_into(offset, content)
            return content
        image.read_into(offset, buffer[:size])
        return memoryview(bytearray(buffer[:size]))


def _is_zeros(piece: memoryview) -> bool:
    return not piece[0] and piece.tobytes() == _ZEROS[: len(piece)]  # because views compare slowly


def digests_of(content: memoryview) -> bytes:
    """blake3-256 of each granule of some bytes, back to back; the last may be short."""
    return b"".join(blake3(content[at : at + GRANULE]).digest() for at in range(0, len(content), GRANULE))


def differing(run: Run, ours: bytes | memoryview, theirs: bytes | memoryview) -> Extents:
    """Granules of a run whose digests are not the same; both lists have one for each granule."""
    assert len(ours) == len(theirs) == (run.end - run.first) * DIGEST_BYTES
    return normal(
        Run(run.volume, run.first + index, run.first + index + 1)
        for index in range(run.end - run.first)
        if ours[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES]
        != theirs[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES]
    )
