"""Files for the next segments: reserved ones, and trimmed segments that are used again (decision 0030)."""

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from drsync.adapters.segments.files import IOV_MAX, PAGE, Files, is_full, write_all
from drsync.adapters.segments.layout import HEADER_BYTES, TRAILER_BYTES
from drsync.adapters.segments.segment import Segment
from drsync.core.reserve import Reserve
from drsync.delta.batch import HEADER_BYTES as BATCH_HEADER_BYTES
from drsync.ports.journal import Buffer

SUFFIX: Final = ".spare"
ZEROS_BYTES: Final = 8 * PAGE
"""Written ahead at once, because then one small batch in eight pays for it; a large one hardly notices."""

_ZEROS: Final = memoryview(bytes(ZEROS_BYTES + BATCH_HEADER_BYTES))
assert HEADER_BYTES == PAGE


class Spare(NamedTuple):
    """A file of a segment's size, open for writing, whose header page is zeros.

    Attributes:
        path: its name.
        fd: its descriptor.
        is_reused: it holds bytes of a trimmed segment.
    """

    path: Path
    fd: int
    is_reused: bool


class Spares:
    """The spares of one journal, made by this process. The loop takes them, a sync in a thread makes them.

    Args:
        files: system calls.
        directory: of the journal.
        segment_bytes: of each.
    """

    def __init__(self, files: Files, directory: Path, segment_bytes: int) -> None:
        self._files = files
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self._kept: list[Spare] = []
        self._made = 0
        self.reserve = Reserve()
        """How many are kept."""

    @property
    def held_bytes(self) -> int:
        """Bytes of disk."""
        return len(self._kept) * self._segment_bytes

    @property
    def is_as_wanted(self) -> bool:
        """Whether there is one, and none too many."""
        return 0 < len(self._kept) <= self.reserve.most

    def sweep(self) -> None:
        """Remove what a former process kept. Raises OSError."""
        for name in sorted(self._files.names(self._directory)):
            if name.endswith(SUFFIX):
                self._files.unlink(self._directory / name)

    def take(self) -> Spare:
        """One that is kept, or a new one. Raises OSError."""
        self.reserve.begun()
        with self._lock:
            if self._kept:
                return self._kept.pop()
        return self._make()

    def room(self) -> None:
        """Have one ready. Raises OSError."""
        if not self._kept:
            self.keep(self._make())

    def prepare(self) -> None:
        """Have one ready if there is space; without it an append will say so. Raises OSError."""
        try:
            self.room()
        except OSError as error:
            if not is_full(error):
                raise

    def keep(self, spare: Spare) -> None:
        """Have this one ready, unless there are enough. Raises OSError."""
        with self._lock:
            self._kept.append(spare)
            self._kept.sort(key=_is_reused)  # taken first, given back last: writing over it costs least
        self.shed()

    def dropped(self, count: int) -> None:
        """So many segments are dropped, and may be used again; what is too much goes. Raises OSError."""
        self.reserve.dropped(count)
        self.shed()

    def shed(self) -> None:
        """Remove those that are more than the reserve wants. Raises OSError."""
        while True:
            with self._lock:
                if len(self._kept) <= self.reserve.most:
                    return
                spare = self._kept.pop(0)
            self._files.close(spare.fd)
            self._files.unlink(spare.path)

    def wants(self, segment: Segment) -> bool:
        """Whether a trimmed segment should be used again, rather than removed."""
        is_fit = HEADER_BYTES < segment.end <= self._segment_bytes - TRAILER_BYTES
        return is_fit and sum(map(_is_reused, self._kept)) < self.reserve.most

    def reuse(self, segment: Segment, sync_names: Callable[[], None]) -> None:
        """Make a spare of a trimmed segment whose batches are all durable. Raises OSError.

        Each step is durable before the next: what is written over must not have its old name after a crash.
        """
        path = self._next_path()
        try:
            self._files.rename(segment.path, path)
        except OSError as error:
            if not is_full(error):
                raise
            self._files.unlink(segment.path)
            sync_names()
            return
        sync_names()
        fd = self._files.open(path, os.O_RDWR)
        try:
            self._files.truncate(fd, segment.end)
            self._files.allocate(fd, 0, self._segment_bytes)
            write_all(self._files, fd, [_ZEROS[:HEADER_BYTES]], 0)
            self._files.fsync(fd)
        except OSError as error:
            self._files.close(fd)
            if not is_full(error):
                raise
            self._files.unlink(path)
            return
        self.keep(Spare(path, fd, is_reused=True))

    def close(self) -> None:
        """Remove all; what cannot be removed goes when the journal is opened next."""
        with self._lock:
            kept, self._kept = self._kept, []
        for spare in kept:
            self._files.close(spare.fd)
            with suppress(OSError):
                self._files.unlink(spare.path)

    def _make(self) -> Spare:
        """A reserved file without a header, so that the next roll need not wait for the disk."""
        path = self._next_path()
        fd = self._files.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            self._files.allocate(fd, 0, self._segment_bytes)
        except OSError:
            self._files.close(fd)
            self._files.unlink(path)
            raise
        return Spare(path, fd, is_reused=False)

    def _next_path(self) -> Path:
        with self._lock:
            self._made += 1
            return self._directory / f"{self._made:08d}{SUFFIX}"


def _is_reused(spare: Spare) -> bool:
    return spare.is_reused


def write_over(files: Files, segment: Segment, parts: Sequence[Buffer], length: int) -> None:
    """Append a batch over what a former life of the file may have left. Raises OSError."""
    assert segment.fd is not None
    zeros = zeros_after(segment.end + length, segment.clean_end, segment.capacity)
    parts = [*parts, zeros]
    written = files.pwritev(segment.fd, parts, segment.end) if len(parts) <= IOV_MAX else 0
    if written != length + len(zeros):
        write_all(files, segment.fd, parts, segment.end)
    segment.clean_end = max(segment.clean_end, segment.end + length + len(zeros))


def zeros_after(end: int, clean_end: int, capacity: int) -> memoryview:
    """What to write behind a batch that ends at `end`, so that a reader finds zeros after it.

    Args:
        end: of the batch.
        clean_end: bytes of the file from the start that hold nothing of a former life.
        capacity: of the segment, whose last bytes are zeros.

    Returns:
        Nothing while a header's length of zeros is there. Else zeros up to the end of some page: one that is
        written as a whole need not be read from the disk first.
    """
    if end + BATCH_HEADER_BYTES <= clean_end:
        return _ZEROS[:0]
    stop = -(-(end + BATCH_HEADER_BYTES) // ZEROS_BYTES) * ZEROS_BYTES
    return _ZEROS[: min(stop, capacity) - end]
