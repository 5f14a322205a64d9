"""Damage at or below the durable position that a start finds: batches of another center, in their place.

The journal could not be opened, so nobody remembers what lay there. What a batch was is proved by what is
left of our own log (decision 0031): its own header, or what follows it. Without proof nothing is written.
"""

import os
from contextlib import suppress
from pathlib import Path

from drsync.adapters.segments.files import Files, read_up_to, write_all
from drsync.adapters.segments.layout import Identity
from drsync.adapters.segments.opening import Opened, read_directory
from drsync.adapters.segments.segment import read_header
from drsync.delta.batch import HEADER_BYTES, Header, peek, split, verify
from drsync.model.errors import DrsyncError, MalformedError, RefusedError
from drsync.model.position import ORIGIN, Position
from drsync.ports.journal import Buffer


def repair(files: Files, directory: Path, identity: Identity, durable_hint: int, batches: Buffer) -> int:
    """Write batches over a damaged place of a journal that nobody has open; durable on return.

    Args:
        files: system calls.
        directory: of the journal.
        identity: whose it is.
        durable_hint: persisted durable position.
        batches: as another center has them, whole and back to back, from the last good position on.

    Returns:
        The last record that was written; what follows it has still to be read.

    Raises:
        RefusedError: nothing proves that these were ours, or the damage is none that batches mend, or another
            process has the journal open. Nothing was written.
        MalformedError: they do not continue what is good here; nothing was written.
        FailedCopyError: the journal is another group's, or cannot be read.
        OSError: reading or writing failed.
    """
    lock = files.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        files.lock(lock)
        opened = read_directory(files, directory, ORIGIN, identity)
        if opened.tip.seq >= durable_hint:
            return opened.tip.seq
        if not opened.segments:
            raise _refusal("the first segment is not there, or has no header")
        segment = opened.segments[-1]
        if opened.bad is not None and opened.bad.segment != segment.path.name:
            raise _refusal(f"segment {opened.bad.segment} is not there, or has no header")
        fd = files.open(segment.path, os.O_RDWR)
        try:
            length, last = _proved(files, fd, opened, batches)
            if segment.end + length > files.size(fd):
                raise _refusal(f"segment {segment.path.name} is shorter than what was in it")
            _replace(files, fd, memoryview(batches)[:length], segment.end)
        finally:
            files.close(fd)
    except BlockingIOError as error:
        raise RefusedError(f"journal {directory} is open in another process", code="busy") from error
    else:
        return last
    finally:
        files.close(lock)


def _replace(files: Files, fd: int, batches: memoryview, at: int) -> None:
    """Write over a damaged place, durably.

    After a failure what was there is put back: memory would show the new bytes, whatever the disk holds, and
    whoever opened the journal then would take records for durable that nobody synced (P33). Raises OSError.
    """
    before = read_up_to(files, fd, len(batches), at)
    try:
        write_all(files, fd, [batches], at)
        files.fdatasync(fd)
    except OSError:
        with suppress(OSError):
            write_all(files, fd, [before], at)
        raise


def _proved(files: Files, fd: int, opened: Opened, batches: Buffer) -> tuple[int, int]:
    """How many bytes of `batches` were ours, and the last record in them."""
    at, end = opened.segments[-1].end, opened.tip
    length = last = 0
    for start, header in split(batches):
        own = _header(read_up_to(files, fd, HEADER_BYTES, at))
        before, end = end, verify(batches, start, header, end)
        at += header.length
        named = None if own is None else (own.prev_chain, own.chain, own.length)
        is_named = named == (before.chain, end.chain, header.length)
        is_followed = _is_continued(files, fd, opened, at, end)
        if is_named or is_followed:
            length, last = start + header.length, end.seq
        if is_followed:
            break
    if not length:
        raise _refusal(f"nothing that is left proves what was after record {opened.tip.seq}")
    return length, last


def _is_continued(files: Files, fd: int, opened: Opened, at: int, end: Position) -> bool:
    """Whether what lies at byte `at`, or in the next segment, says that it follows `end`."""
    following = _header(read_up_to(files, fd, HEADER_BYTES, at))
    if following is not None:
        return following.first_seq == end.seq + 1 and following.prev_chain == end.chain
    if not opened.doomed:
        return False
    next_fd = files.open(opened.doomed[0], os.O_RDONLY)
    try:
        return read_header(files, next_fd).prior == end
    except DrsyncError:
        return False
    finally:
        files.close(next_fd)


def _header(data: bytearray) -> Header | None:
    try:
        return peek(data)
    except MalformedError:
        return None


def _refusal(why: str) -> RefusedError:
    return RefusedError(f"the journal cannot be mended: {why}", code="unproved")
