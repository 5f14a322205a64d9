"""The marks of a segment: batches of one record that is neither WRITE nor ZERO, kept once more in its footer.

A start needs the checkpoints of a long journal, and must not read millions of batches for them. What a footer
says of them is a copy: a footer without, or a damaged one, costs reading the head of each batch.
"""

import os
from array import array
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Final
from zlib import crc32

from drsync.adapters.segments.files import Files, read_up_to
from drsync.adapters.segments.segment import Segment, read_trailer
from drsync.adapters.segments.shelf import Shelf
from drsync.delta.batch import HEADER_BYTES, KIND_ZERO, RECORD_BYTES, Kind, peek
from drsync.delta.marks import MARK_BYTES_MAX, sole_kind
from drsync.model.errors import FailedCopyError, MalformedError
from drsync.ports.journal import Buffer

BEATS_MAX: Final = 1024
"""Heartbeats in a footer, evenly spaced: because four minutes of a busy volume fit whole, and weeks of an
idle one need not be known by the second."""
CHECKPOINTS_MAX: Final = 20_480  # the newest ones, because no copy remembers more
KIND_AT: Final = HEADER_BYTES + 26  # of the first record, in a batch
_TABLE_LEN: Final = slice(36, 40)
_SOLE: Final = RECORD_BYTES.to_bytes(4, "little")  # table_len of a batch with one record
_HEAD_BYTES: Final = HEADER_BYTES + RECORD_BYTES
_LENGTH: Final = Struct("<I")


def note(segment: Segment, parts: Sequence[Buffer], at: int) -> None:
    """A batch, given as for `Journal.append`, was appended at a byte; it may be a mark."""
    head: Buffer = parts[0] if len(parts[0]) >= _HEAD_BYTES else b"".join(parts)
    kind = head[KIND_AT]
    if segment.marks is not None and kind > KIND_ZERO and head[_TABLE_LEN] == _SOLE:
        segment.marks.append(kind << 32 | at)


def forget_beyond(segment: Segment) -> None:
    """The segment was cut at its end."""
    if segment.marks is not None:
        kept = [mark for mark in segment.marks if mark & 0xFFFFFFFF < segment.end]
        segment.marks = array("Q", kept)


def for_footer(files: Files, segment: Segment) -> bytes | None:
    """What a footer keeps of a segment's marks; None when they are not known, or cannot be read."""
    if segment.marks is None or segment.fd is None:
        return None
    body = bytearray()
    try:
        for mark in _thinned(segment.marks):
            head = _head(files, segment.fd, mark & 0xFFFFFFFF)
            body += _LENGTH.pack(len(head)) + head
            body += bytes(-len(body) % 8)
    except (OSError, MalformedError):
        return None
    return bytes(body)


def _thinned(marks: "array[int]") -> list[int]:
    beats = [mark for mark in marks if mark >> 32 == Kind.HEARTBEAT]
    points = [mark for mark in marks if mark >> 32 == Kind.CHECKPOINT]
    step = -(-len(beats) // BEATS_MAX) or 1
    gone = {*beats, *points} - {*beats[::-step], *points[-CHECKPOINTS_MAX:]}
    return [mark for mark in marks if mark not in gone]


def _head(files: Files, fd: int, offset: int) -> bytearray:
    """A batch, or its first `MARK_BYTES_MAX` bytes. Raises OSError, MalformedError."""
    data = read_up_to(files, fd, MARK_BYTES_MAX, offset)
    del data[peek(data).length :]
    return data


def _decode(body: bytearray) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    while at < len(body):
        (length,) = _LENGTH.unpack_from(body, at)
        found.append(bytes(body[at + 4 : at + 4 + length]))
        at += 4 + length
        at += -at % 8
    return found


def marks_after(files: Files, shelf: Shelf, after_seq: int) -> Iterator[bytes]:
    """See `drsync.ports.journal.Journal.marks`."""
    for segment in list(shelf.segments):
        if segment.last.seq > after_seq:
            for head in _marks_of(files, shelf, segment):
                if peek(head).last_seq > after_seq:
                    yield head


def _marks_of(files: Files, shelf: Shelf, segment: Segment) -> Iterator[bytes]:
    try:
        fd = files.open(segment.path, os.O_RDONLY)  # its own: those of a shelf may be closed meanwhile
    except OSError as error:
        raise _unreadable(segment, error) from error
    try:
        kept = None if segment.marks is not None else _kept(files, fd, segment)
        if kept is not None:
            yield from kept
        elif segment.marks is not None:
            for mark in segment.marks:
                yield bytes(_head(files, fd, mark & 0xFFFFFFFF))
        else:
            for offset in list(shelf.directory(segment).offsets):
                head = read_up_to(files, fd, _HEAD_BYTES, offset)
                if sole_kind(head, 0, peek(head)) > KIND_ZERO:
                    yield bytes(_head(files, fd, offset))
    except OSError as error:
        raise _unreadable(segment, error) from error
    finally:
        files.close(fd)


def _kept(files: Files, fd: int, segment: Segment) -> list[bytes] | None:
    """Marks that the footer repeats; None when it does not know them. Raises OSError."""
    found = read_trailer(files, fd, segment.first_seq)
    if found is None or not found[0].marks_at:
        return None
    trailer = found[0]
    body = read_up_to(files, fd, trailer.directory_at - trailer.marks_at, trailer.marks_at)
    return _decode(body) if crc32(body) == trailer.marks_crc else None


def _unreadable(segment: Segment, error: OSError) -> FailedCopyError:
    return FailedCopyError(f"segment {segment.path.name}: {error}", code="unreadable")
