"""A stupid twin of the engine: what a volume holds after any record, by writing records in order."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from drsync.adapters.segments.files import OsFiles
from drsync.adapters.segments.opening import segment_paths
from drsync.adapters.segments.scan import Scan, reader
from drsync.adapters.segments.segment import read_header
from drsync.delta.batch import KIND_WRITE, KIND_ZERO, peek, records
from drsync.model.position import ORIGIN, Position

ZEROS = bytes(1 << 20)


@dataclass(frozen=True, slots=True)
class Batch:
    """A verified batch as it lies in a journal."""

    data: bytes
    last_seq: int


def batches(journal: Path) -> Iterator[Batch]:
    """All of a journal that was never trimmed, from record 1."""
    end: Position = ORIGIN
    for path in segment_paths(journal):
        with path.open("rb") as file:
            assert read_header(OsFiles(), file.fileno()).prior == end, f"{path.name} does not continue"
            for found in Scan(reader(OsFiles(), file.fileno()), end):
                data = os.pread(file.fileno(), found.length, found.offset)
                yield Batch(data, found.end.seq)
                end = found.end


@dataclass(slots=True)
class Twin:
    """One volume as an image file.

    Attributes:
        image: the file.
        volume: index of the volume in records.
        seq: the last record that is in it.
    """

    image: Path
    volume: int
    size: int
    seq: int = 0

    def __post_init__(self) -> None:
        with self.image.open("wb") as file:
            file.truncate(self.size)

    def take(self, batch: Batch) -> None:
        """The next batch."""
        header = peek(batch.data)
        with self.image.open("r+b", buffering=0) as file:
            for offset, _, length, at, volume, kind, _, _ in records(batch.data, 0, header):
                if volume != self.volume or kind not in (KIND_WRITE, KIND_ZERO):
                    continue
                begin = header.payload_start + at
                payload = batch.data[begin : begin + length] if kind == KIND_WRITE else None
                for skip in range(0, length, len(ZEROS)):
                    piece = min(len(ZEROS), length - skip)
                    data = ZEROS[:piece] if payload is None else payload[skip : skip + piece]
                    assert os.pwrite(file.fileno(), data, offset + skip) == piece
        self.seq = batch.last_seq
