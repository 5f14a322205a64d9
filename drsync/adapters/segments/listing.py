"""The records of a journal one by one, for people: of a stretch of time, of a volume, of a place in it.

Reads headers and record tables only, and changes nothing; may run beside the process that uses the journal.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from drsync.adapters.segments.files import OsFiles
from drsync.adapters.segments.forks import ReadOnlyJournal
from drsync.adapters.segments.opening import segment_paths
from drsync.adapters.segments.segment import read_header
from drsync.delta.batch import HEADER_BYTES, Header, Kind, peek, records
from drsync.delta.marks import MARK_BYTES_MAX, read_beat, read_checkpoint, resize_at
from drsync.model.epoch import Epoch
from drsync.model.errors import MalformedError, PermanentError
from drsync.ports.journal import BatchPlace

MARKS = frozenset(kind.name.lower() for kind in Kind if kind not in {Kind.WRITE, Kind.ZERO})
OF_NO_VOLUME = MARKS - {Kind.RESIZE.name.lower()}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records are wanted; everything by default.

    Attributes:
        first_seq, last_seq: record numbers; 0 for `last_seq`: to the end.
        from_us, to_us: labels; 0 for `to_us`: to the end. The label is the batch's.
        volume: index in the group; None: all, and marks.
        offset, length: bytes of the volume that a record touches; a `length` of 0: any.
        kinds: names in small letters; empty: all.
    """

    first_seq: int = 0
    last_seq: int = 0
    from_us: int = 0
    to_us: int = 0
    volume: int | None = None
    offset: int = 0
    length: int = 0
    kinds: frozenset[str] = frozenset()

    def has_batch(self, place: BatchPlace) -> bool:
        """Whether a batch may hold some, by its records."""
        return place.last_seq >= self.first_seq and not 0 < self.last_seq < place.first_seq

    def has_label(self, time_us: int) -> bool:
        """Whether a batch may hold some, by its label."""
        return time_us >= self.from_us and not 0 < self.to_us < time_us

    def has(self, record: "RecordReport") -> bool:
        """Whether it is wanted."""
        if record.seq < self.first_seq or 0 < self.last_seq < record.seq:
            return False
        if self.kinds and record.kind not in self.kinds:
            return False
        if self.volume is None and not self.length:
            return True
        if record.kind in OF_NO_VOLUME or (self.volume is not None and record.volume != self.volume):
            return False
        is_apart = record.offset + record.length <= self.offset or self.offset + self.length <= record.offset
        return not self.length or not is_apart


@dataclass(frozen=True, slots=True)
class RecordReport:
    """One record.

    Attributes:
        seq, epoch, time_us: its number, its epoch, the label of its batch.
        kind: name in small letters, or a number that this version does not know.
        volume, offset, length: what it changes; of a mark: nothing that matters, but for the volume (and its
            new size as `offset`) of a resize.
        text: what a mark says.
        segment, byte: where its batch is.
    """

    seq: int
    epoch: Epoch
    time_us: int
    kind: str
    volume: int
    offset: int
    length: int
    text: str
    segment: int
    byte: int


def list_records(directory: Path, wanted: Selection) -> Iterator[RecordReport]:
    """The records of a journal that are wanted, in order.

    Raises:
        DrsyncError: it cannot be read, or was trimmed while it was read.
        OSError: reading failed.
    """
    journal = _open(directory)
    try:
        for place in _places(journal, wanted):
            head = journal.read(place.locator, min(place.length, MARK_BYTES_MAX))
            header = _header(head, place)
            if not wanted.has_label(header.time_us):
                continue
            if len(head) < header.payload_start:
                head = journal.read(place.locator, header.payload_start)
            yield from (one for one in _reports(head, header, place) if wanted.has(one))
    finally:
        journal.close()


def _places(journal: ReadOnlyJournal, wanted: Selection) -> Iterator[BatchPlace]:
    """Batches that may hold some; segments that cannot are not looked into."""
    heads = list(journal.heads())
    for head, following in zip(heads, [*heads[1:], None], strict=True):
        if head.last.seq < wanted.first_seq or 0 < wanted.last_seq <= head.after_seq:
            continue
        # Labels rise within an epoch; another owner's clock may be behind.
        is_one_epoch = head.epoch == head.last.epoch
        is_newer = 0 < wanted.to_us < head.time_us
        is_older = (
            following is not None and head.epoch == following.epoch and following.time_us < wanted.from_us
        )
        if is_one_epoch and (is_older or is_newer):
            continue
        for place in journal.places(head.after_seq):
            if wanted.has_batch(place):
                yield place
            if place.last_seq >= head.last.seq:
                break


def _header(head: bytes, place: BatchPlace) -> Header:
    """The header of a batch, unless its segment was trimmed and is used again. Raises PermanentError."""
    try:
        header = peek(head)
    except MalformedError:
        header = None
    if header is None or header.first_seq != place.first_seq:
        raise PermanentError(
            f"segment {place.locator >> 32}, byte {place.locator & 0xFFFFFFFF}: record {place.first_seq} is "
            "not there; it was trimmed while it was read, or is damaged",
            remedy="try again; if it stays so: drsync journal check",
        )
    return header


def _open(directory: Path) -> ReadOnlyJournal:
    files = OsFiles()
    paths = segment_paths(directory, files)
    if not paths:
        raise PermanentError(f"there is no segment in {directory}")
    fd = files.open(paths[0], os.O_RDONLY)
    try:
        identity = read_header(files, fd).identity
    finally:
        files.close(fd)
    return ReadOnlyJournal(directory, identity, 0)


def _reports(head: bytes, header: Header, place: BatchPlace) -> Iterator[RecordReport]:
    segment, byte = place.locator >> 32, place.locator & 0xFFFFFFFF
    assert len(head) >= HEADER_BYTES
    for index, (offset, _, length, _, volume, kind, _, _) in enumerate(records(head, 0, header)):
        name = Kind(kind).name.lower() if kind in Kind._value2member_map_ else str(kind)
        text = _text(head, header) if name in MARKS else ""
        seq = header.first_seq + index
        yield RecordReport(
            seq, header.epoch, header.time_us, name, volume, offset, length, text, segment, byte
        )


def _text(head: bytes, header: Header) -> str:
    """What a mark says; a mark is a batch of its own."""
    try:
        point, beat = read_checkpoint(head, 0, header), read_beat(head, 0, header)
    except MalformedError as error:
        return f"unreadable: {error}"
    if point is not None:
        said = "application-consistent" if point.is_app_consistent else ""
        said = f"record {point.confirms} was application-consistent" if point.confirms else said
        return f"{point.name} ({said})".strip() if said else point.name
    if beat is not None:
        return ""
    resize = resize_at(head, 0, header)
    if resize is not None:
        return f"{resize[1]} bytes from here on"
    payload = head[header.payload_start : header.payload_start + header.payload_len]
    return payload.decode("utf-8", "replace")
