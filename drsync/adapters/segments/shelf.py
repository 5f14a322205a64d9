"""The segments an open journal holds, with their descriptors and directories in bounded numbers.

Everything that finds a batch is here; nothing here writes.
"""

import os
import threading
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

from drsync.adapters.segments.directory import BatchDirectory, RunList
from drsync.adapters.segments.files import Files, read_into
from drsync.adapters.segments.layout import HEADER_BYTES
from drsync.adapters.segments.segment import Segment, load_directory
from drsync.delta.batch import HEADER_BYTES as BATCH_HEADER_BYTES
from drsync.delta.batch import peek
from drsync.model.errors import FailedCopyError, MalformedError
from drsync.model.position import Position
from drsync.ports.journal import BatchPlace, HeldSegment, Locator

OPEN_SEGMENTS_MAX = 64  # because a process has 1024 descriptors by default, and serves several groups
DIRECTORIES_MAX = 16  # because the directory of a segment of smallest batches takes 10 MiB


class Shelf:
    """Segments in the order of their records.

    Attributes:
        segments: oldest first; the last one takes appends.
        runs: epochs in them.
        tip: position after the last record.
        shared: guards `unsynced`, which a running sync shares with the other calls.
        unsynced: segments with batches that are not durable, or without a footer yet; never closed here.
    """

    def __init__(self, files: Files, segments: list[Segment], runs: RunList, tip: Position) -> None:
        self._files = files
        self.segments = segments
        self.runs = runs
        self.tip = tip
        self.shared = threading.Lock()
        self.unsynced: list[Segment] = []
        # Held by threads that read and by whoever closes, so that no number is reused under a reader.
        self._handles = threading.RLock()
        self._firsts = [segment.first_seq for segment in segments]
        self._by_number = {segment.number: segment for segment in segments}
        self._open: dict[Segment, None] = {}  # those with a descriptor, oldest opening first
        self._loaded: dict[Segment, None] = {}  # full ones with a directory in memory
        self.next_number = max(self._by_number, default=0) + 1

    @property
    def first_seq(self) -> int:
        """First record held; tip.seq + 1 when empty."""
        return self.segments[0].first_seq if self.segments else self.tip.seq + 1

    def full(self) -> list[HeldSegment]:
        """All but the last one. The label after a segment is that of the first batch of the next one."""
        return [one.held or self._held(one, after) for one, after in pairwise(self.segments)]

    def _held(self, one: Segment, after: Segment) -> HeldSegment:
        label = self._first_us(after)
        held = HeldSegment(one.last.seq, one.file_bytes, label or self._first_us(one))
        if label and one.is_sealed and after is not self.segments[-1]:
            one.held = held  # nothing of it changes any more, unless it is cut
        return held

    def _first_us(self, segment: Segment) -> int:
        """Label of its first batch; 0 without one, and where it cannot be read: whoever needs it says so."""
        if not segment.first_us and segment.last.seq > segment.prior.seq:
            head = bytearray(BATCH_HEADER_BYTES)
            with suppress(FailedCopyError, MalformedError):
                self.fill(segment, HEADER_BYTES, memoryview(head))
                segment.first_us = peek(head).time_us
        return segment.first_us

    def find(self, locator: Locator, length: int) -> tuple[Segment, int]:
        """Segment and offset of stored bytes. Raises MalformedError."""
        segment = self._by_number.get(locator >> 32)
        at = locator & 0xFFFFFFFF
        if segment is None or at < HEADER_BYTES or at + length > segment.end:
            raise MalformedError(f"segment {locator >> 32}, byte {at}: not held (trimmed or cut)")
        return segment, at

    def fill(self, segment: Segment, at: int, target: memoryview) -> None:
        """Read stored bytes. Raises FailedCopyError, MalformedError: they are not held any more."""
        try:
            if _is_main():
                done = read_into(self._files, self.descriptor(segment, os.O_RDONLY), target, at)
            else:
                with self._handles:
                    done = read_into(self._files, self.descriptor(segment, os.O_RDONLY), target, at)
        except OSError as error:
            raise _unreadable(segment, at, str(error)) from error
        if done != len(target):
            raise _unreadable(segment, at, "the file is shorter")

    def will_need(self, segment: Segment, at: int, length: int) -> None:
        """Stored bytes will be read soon. Raises OSError."""
        with self._handles:
            self._files.will_need(self.descriptor(segment, os.O_RDONLY), at, length)

    def locate(self, after_seq: int) -> tuple[int, int]:
        """Indexes of the segment and of the batch in it that start right after `after_seq`.

        Raises:
            MalformedError: `after_seq` is no batch end with a batch after it.
        """
        if self.first_seq - 1 <= after_seq < self.tip.seq:
            index = self.index_of(after_seq + 1)
            batch = self.directory(self.segments[index]).index_starting(after_seq + 1)
            if batch is not None:
                return index, batch
        raise MalformedError(
            f"seq {after_seq} is no batch end of this journal, which holds {self.first_seq} to {self.tip.seq}"
        )

    def batches(self, after_seq: int, bytes_max: int) -> tuple[bytes, int]:
        """Whole batches of one segment right after `after_seq`, at least one, and the last record in them.

        Raises:
            MalformedError: `after_seq` is no batch end with a batch after it.
            FailedCopyError: they cannot be read.
        """
        index, batch = self.locate(after_seq)
        segment = self.segments[index]
        directory = self.directory(segment)
        start = directory.offsets[batch]
        stop, last_seq = segment.end, segment.last.seq
        if stop - start > bytes_max:
            following = max(bisect_right(directory.offsets, start + bytes_max) - 1, batch + 1)
            if following < len(directory):
                stop, last_seq = directory.offsets[following], directory.first_seqs[following] - 1
        buffer = bytearray(stop - start)
        self.fill(segment, start, memoryview(buffer))
        return bytes(buffer), last_seq

    def places(self, after_seq: int) -> Iterator[BatchPlace]:
        """All batches after `after_seq`. Raises as `batches` does."""
        index, batch = self.locate(after_seq)
        for segment in self.segments[index:]:
            directory = self.directory(segment)
            count = len(directory)
            for i in range(batch, count):
                first_seq, at = directory.first_seqs[i], directory.offsets[i]
                is_last = i + 1 == count
                end = segment.end if is_last else directory.offsets[i + 1]
                last_seq = segment.last.seq if is_last else directory.first_seqs[i + 1] - 1
                yield BatchPlace(first_seq, last_seq, segment.number << 32 | at, end - at)
            batch = 0

    def place_of(self, locator: Locator) -> BatchPlace:
        """The batch that holds a stored byte. Raises MalformedError, FailedCopyError."""
        segment, at = self.find(locator, 1)
        directory = self.directory(segment)
        i = bisect_right(directory.offsets, at) - 1
        is_last = i + 1 == len(directory)
        end = segment.end if is_last else directory.offsets[i + 1]
        last_seq = segment.last.seq if is_last else directory.first_seqs[i + 1] - 1
        start = directory.offsets[i]
        return BatchPlace(directory.first_seqs[i], last_seq, segment.number << 32 | start, end - start)

    def index_of(self, seq: int) -> int:
        """The segment that holds, or would hold, record `seq`; -1 when it is before all."""
        return bisect_right(self._firsts, seq) - 1

    def end_at_or_below(self, seq: int) -> Position:
        """The highest batch end at or below `seq`, or the position before the first record."""
        if seq >= self.tip.seq or not self.segments:
            return self.tip
        index = self.index_of(seq)
        if index < 0:
            return self.segments[0].prior
        segment = self.segments[index]
        if seq >= segment.last.seq:
            return segment.last
        directory = self.directory(segment)
        batch = directory.index_of(seq + 1)  # its predecessor ends at or below seq
        if batch == 0:
            return segment.prior
        last_seq = directory.first_seqs[batch] - 1
        return Position(self.runs.epoch_of(last_seq), last_seq, directory.chain(batch - 1))

    def add(self, segment: Segment) -> None:
        """A new last segment, open for writing; the one before it is full."""
        if self.segments:
            self._loaded[self.segments[-1]] = None
        self._open[segment] = None
        self.segments.append(segment)
        self._firsts.append(segment.first_seq)
        self._by_number[segment.number] = segment
        self.next_number = segment.number + 1
        self._shed(segment)

    def drop(self, segments: list[Segment]) -> None:
        """Forget segments from either end of the shelf; their files are the caller's."""
        for segment in segments:
            with self._handles:  # a thread that still has it must not open what becomes another segment
                segment.is_gone = True
                self.close(segment)
            self._loaded.pop(segment, None)
            del self._by_number[segment.number]
            index = self.segments.index(segment)
            del self.segments[index]
            del self._firsts[index]
        with self.shared:
            self.unsynced = [segment for segment in self.unsynced if segment not in segments]

    def directory(self, segment: Segment) -> BatchDirectory:
        """Where the batches of a segment start. Raises FailedCopyError."""
        if segment.directory is None:
            try:
                segment.directory = load_directory(
                    self._files, self.descriptor(segment, os.O_RDONLY), segment
                )
            except OSError as error:
                raise _unreadable(segment, segment.end, str(error)) from error
            self._loaded[segment] = None
            self._shed(segment)
        return segment.directory

    def descriptor(self, segment: Segment, flags: int) -> int:
        """An open descriptor of a segment. Raises OSError, MalformedError: it is not held any more."""
        if segment.fd is None:
            with self._handles:
                if segment.is_gone:
                    raise MalformedError(f"segment {segment.number}: not held (trimmed or cut)")
                if segment.fd is None:
                    segment.fd = self._files.open(segment.path, flags)
                    self._open[segment] = None
            self._shed(segment)
        assert segment.fd is not None
        return segment.fd

    def reopen(self, segment: Segment) -> int:
        """A descriptor that can write. Raises OSError."""
        self.close(segment)
        return self.descriptor(segment, os.O_RDWR)

    def close(self, segment: Segment) -> None:
        """Close a segment's descriptor."""
        with self._handles:
            if segment.fd is not None:
                self._files.close(segment.fd)
                segment.fd = None
            self._open.pop(segment, None)

    def close_all(self) -> None:
        """Close every descriptor."""
        for segment in list(self._open):
            self.close(segment)
        with self.shared:
            self.unsynced = []

    def _shed(self, wanted: Segment) -> None:
        """Keep descriptors and directories within their limits; never those a running sync may use."""
        if not _is_main() or (len(self._open) <= OPEN_SEGMENTS_MAX and len(self._loaded) <= DIRECTORIES_MAX):
            return  # other threads never close: the loop reads without the lock
        with self.shared:
            kept = {wanted, self.segments[-1], *self.unsynced}
        for segment in list(self._loaded):
            if len(self._loaded) <= DIRECTORIES_MAX:
                break
            if segment not in kept:
                segment.directory = None
                del self._loaded[segment]
        for segment in list(self._open):  # oldest opening first
            if len(self._open) <= OPEN_SEGMENTS_MAX:
                return
            if segment not in kept:
                self.close(segment)


def _is_main() -> bool:
    """Whether this is the thread of the event loop, the journal's one user beside readers and a sync."""
    return threading.current_thread() is threading.main_thread()


def _unreadable(segment: Segment, at: int, reason: str) -> FailedCopyError:
    return FailedCopyError(f"segment {segment.path.name}, byte {at}: {reason}", code="unreadable")
