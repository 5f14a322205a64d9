"""Reading the batches of a segment file one after the other, checking all of it."""

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from drsync.adapters.segments.directory import BatchDirectory
from drsync.adapters.segments.files import Files, read_up_to
from drsync.adapters.segments.layout import HEADER_BYTES
from drsync.delta.batch import BATCH_BYTES_MAX, KIND_ZERO, MAGIC, peek, verify
from drsync.delta.batch import HEADER_BYTES as BATCH_HEADER_BYTES
from drsync.delta.marks import sole_kind
from drsync.model.errors import MalformedError
from drsync.model.position import EpochRun, Position, Runs

WINDOW = 4 << 20  # because it holds a largest batch several times over and is small beside a segment
assert WINDOW > BATCH_BYTES_MAX


class Found(NamedTuple):
    """A whole, verified batch; `kind` is that of its only record, 0 when it holds several."""

    offset: int
    first_seq: int
    end: Position
    length: int
    kind: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a scan ended: the offset of the first byte that is no good batch.

    Attributes:
        offset: in the file.
        reason: what is wrong there; empty at a clean end (end of file, or zeros where a header would be).
    """

    offset: int
    reason: str


ReadAt = Callable[[int, int], bytearray]
"""Up to `length` bytes at `offset`: (length, offset)."""


def reader(files: Files, fd: int) -> ReadAt:
    """Reads an open file."""

    def read(length: int, offset: int) -> bytearray:
        return read_up_to(files, fd, length, offset)

    return read


class Scan:
    """One pass over a segment's batches; iterate, then ask `stop`."""

    def __init__(self, read: ReadAt, prior: Position) -> None:
        self._read = read
        self._end = prior
        self.stop = Stop(HEADER_BYTES, "")

    def __iter__(self) -> Iterator[Found]:
        base = HEADER_BYTES
        window = self._read(WINDOW, base)
        at = 0
        while True:
            if len(window) - at < BATCH_BYTES_MAX and len(window) == WINDOW:
                base, at, window = base + at, 0, self._read(WINDOW, base + at)
            try:
                header = peek(window, at)
                self._end = verify(window, at, header, self._end)
            except MalformedError as error:
                self.stop = Stop(base + at, _reason(window, at, error))
                return
            kind = sole_kind(window, at, header)
            yield Found(base + at, header.first_seq, self._end, header.length, kind)
            at += header.length


def _reason(window: bytearray, at: int, error: MalformedError) -> str:
    """Empty where nothing was ever written."""
    if not any(window[at : at + BATCH_HEADER_BYTES]):
        return ""
    if window[at : at + len(MAGIC)] != MAGIC:
        return f"no batch starts here: {bytes(window[at : at + len(MAGIC)]).hex()}"
    return str(error)


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a scan found in a segment."""

    directory: BatchDirectory
    runs: Runs
    end: Position
    stop: Stop
    marks: "array[int]"
    """See `Segment`."""


def scan_segment(read: ReadAt, prior: Position) -> Scanned:
    """Read and verify every batch of a segment that starts after `prior`."""
    directory = BatchDirectory()
    runs: list[EpochRun] = []
    end = prior
    marks = array("Q")
    scan = Scan(read, prior)
    for offset, first_seq, position, _, kind in scan:
        directory.add(first_seq, offset, position.chain)
        if kind > KIND_ZERO:
            marks.append(kind << 32 | offset)
        if not runs or runs[-1].epoch != position.epoch:
            runs.append(EpochRun(position.epoch, first_seq, position.seq, position.chain))
        else:
            runs[-1] = runs[-1]._replace(last_seq=position.seq, last_chain=position.chain)
        end = position
    return Scanned(directory, tuple(runs), end, scan.stop, marks)
