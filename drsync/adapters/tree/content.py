"""Reading what a scan found: content hashes, holes, link targets, attributes. Stable or not at all."""

import errno
import os

from blake3 import blake3

from drsync.adapters.tree.attributes import read_xattrs
from drsync.adapters.tree.beneath import Beneath, handle_path, kind_of
from drsync.adapters.tree.walk import as_seen, device_number
from drsync.delta.blocks import zero_hash
from drsync.model.fileset import Entry, FileKind, block_bytes
from drsync.ports.tree import Seen

HOLES_MAX = 1024  # because an entry must fit into one frame; the smaller ones become zeros that are stored
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY  # not blocking: a fifo may have taken the place of a file
_LOOK = os.O_PATH
_BUFFER_BYTES = 1 << 20  # because larger pieces are no faster and leave the cache of the processor
_STORED_UNIT = 512  # bytes that st_blocks counts

Holes = tuple[tuple[int, int], ...]


def open_content(root: Beneath, path: bytes) -> int:
    """A handle to read a regular file. Raises InterruptedError when something else is there now."""
    try:
        handle = _open_unnoticed(root, path)
    except BlockingIOError as error:  # somebody holds a lease on it
        raise InterruptedError(errno.EINTR, "it is in use", os.fsdecode(path)) from error
    except OSError as error:
        if error.errno in {errno.ENOTDIR, errno.ELOOP}:
            raise FileNotFoundError(errno.ENOENT, "it is gone", os.fsdecode(path)) from error
        if error.errno == errno.ENXIO:
            raise InterruptedError(errno.EINTR, "it is no file any more", os.fsdecode(path)) from error
        raise
    if kind_of(os.fstat(handle).st_mode) is not FileKind.FILE:
        os.close(handle)
        raise InterruptedError(errno.EINTR, "it is no file any more", os.fsdecode(path))
    return handle


def _open_unnoticed(root: Beneath, path: bytes) -> int:
    """Without a new access time, where we may."""
    try:
        return root.open(path, _READ | os.O_NOATIME)
    except PermissionError:
        return root.open(path, _READ)


def read_entry(root: Beneath, seen: Seen) -> Entry:
    """See `drsync.ports.tree.TreeReader.entry`."""
    if seen.kind is FileKind.FILE:
        return _read_file(root, seen)
    try:
        with root.holding(seen.path, _LOOK) as handle:
            return _read_other(root, seen, handle)
    except OSError as error:
        if error.errno in {errno.ENOTDIR, errno.ELOOP}:
            raise FileNotFoundError(errno.ENOENT, "it is gone", os.fsdecode(seen.path)) from error
        raise


def _read_other(root: Beneath, seen: Seen, handle: int) -> Entry:
    known = os.fstat(handle)
    _require_same(root, seen, known)
    if seen.kind is FileKind.HARDLINK:
        return Entry(seen.path, FileKind.HARDLINK, target=seen.first_name)
    return Entry(
        seen.path,
        seen.kind,
        mode=0o777 if seen.kind is FileKind.SYMLINK else known.st_mode & 0o7777,
        uid=known.st_uid,
        gid=known.st_gid,
        mtime_ns=known.st_mtime_ns,
        target=os.readlink(b"", dir_fd=handle) if seen.kind is FileKind.SYMLINK else b"",
        device=device_number(known) if seen.kind in {FileKind.CHARACTER, FileKind.BLOCK} else 0,
        xattrs=read_xattrs(handle_path(handle)),
    )


def _read_file(root: Beneath, seen: Seen) -> Entry:
    handle = open_content(root, seen.path)
    try:
        before = os.fstat(handle)
        _require_same(root, seen, before)
        holes = find_holes(handle, before)
        blocks = hash_blocks(handle, before.st_size, holes)
        xattrs = read_xattrs(handle)
        if root.signature(os.fstat(handle)) != root.signature(before):
            raise InterruptedError(errno.EINTR, "it changed while it was read", os.fsdecode(seen.path))
    finally:
        os.close(handle)
    return Entry(
        seen.path,
        FileKind.FILE,
        mode=before.st_mode & 0o7777,
        uid=before.st_uid,
        gid=before.st_gid,
        mtime_ns=before.st_mtime_ns,
        size=before.st_size,
        blocks=blocks,
        holes=holes,
        xattrs=xattrs,
    )


def _require_same(root: Beneath, seen: Seen, known: os.stat_result) -> None:
    """It may have newer content than the scan saw, but it must be the same thing with as many names."""
    kind = kind_of(known.st_mode)
    now = None if kind is None else as_seen(seen.path, known, kind, root.device)
    was = seen.signature
    if now is None or (now.signature.kind, now.signature.ino, now.signature.dev) != (
        was.kind,
        was.ino,
        was.dev,
    ):
        raise InterruptedError(errno.EINTR, "another one took its place", os.fsdecode(seen.path))
    if kind is not FileKind.DIRECTORY and known.st_nlink != seen.nlink:
        raise InterruptedError(errno.EINTR, "it got or lost a name", os.fsdecode(seen.path))


def find_holes(handle: int, known: os.stat_result) -> Holes:
    """Ranges without storage, ascending; the largest if there are many."""
    size = known.st_size
    if known.st_blocks * _STORED_UNIT >= size:
        return ()
    holes: list[tuple[int, int]] = []
    at = 0
    while at < size:
        hole = os.lseek(handle, at, os.SEEK_HOLE)
        if hole >= size:
            break
        at = _data_after(handle, hole, size)
        holes.append((hole, at - hole))
    if len(holes) > HOLES_MAX:
        holes = sorted(sorted(holes, key=lambda hole: hole[1])[-HOLES_MAX:])
    return tuple(holes)


def _data_after(handle: int, at: int, size: int) -> int:
    try:
        return min(os.lseek(handle, at, os.SEEK_DATA), size)
    except OSError as error:
        if error.errno == errno.ENXIO:  # no data any more
            return size
        raise


def hash_blocks(handle: int, size: int, holes: Holes) -> tuple[bytes, ...]:
    """blake3-256 of each block; blocks that are all hole are not read."""
    block = block_bytes(size)
    if size <= block:
        return (blake3(os.pread(handle, size, 0)).digest(),) if size else ()
    empty = {
        number
        for offset, length in holes
        for number in range(-(-offset // block), (offset + length) // block)
    }
    buffer = memoryview(bytearray(min(block, _BUFFER_BYTES)))
    return tuple(
        zero_hash(block)
        if number in empty
        else hash_range(handle, number * block, min(block, size - number * block), buffer)
        for number in range(-(-size // block))
    )


def hash_range(handle: int, offset: int, length: int, buffer: memoryview) -> bytes:
    """blake3-256 of a range, or of what is there of it."""
    hasher = blake3()
    end = offset + length
    while offset < end:
        got = os.preadv(handle, [buffer[: end - offset]], offset)
        if not got:
            break
        hasher.update(buffer[:got])
        offset += got
    return hasher.digest()
