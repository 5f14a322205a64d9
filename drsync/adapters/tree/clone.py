"""A copy of a whole tree in a directory of its own, sharing storage where the file system can."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from drsync.adapters.tree import attributes, kernel
from drsync.adapters.tree.beneath import Beneath, handle_path
from drsync.adapters.tree.content import find_holes, open_content, read_entry
from drsync.adapters.tree.nodes import make_node
from drsync.model.fileset import Entry, FileKind
from drsync.ports.tree import Scan, Seen

_NO_CLONE = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM}
_NO_COPY = {errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}
_PIECE_BYTES = 16 << 20  # because the kernel is asked for large pieces, and can be interrupted between them
_BUFFER_BYTES = 1 << 20


def copy_tree(root: Beneath, scan: Scan, to: str) -> int:
    """Copy what `scan` found to the new directory `to`; bytes that were copied and not shared.

    Raises OSError when something could not be read or kept: a view that is not the whole tree helps nobody.
    """
    if scan.unseen:
        first = scan.unseen[0]
        raise OSError(errno.EIO, f"it could not be read: {first.reason}", os.fsdecode(first.path))
    os.mkdir(to, 0o700)  # the directory is opened by hand below
    into = Beneath(os.open(to, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))
    copier = _Copier(root, into)
    try:
        for seen in scan.seen:
            copier.copy(seen)
        copier.finish()
    finally:
        into.close()
    return copier.copied


class _Copier:
    def __init__(self, root: Beneath, into: Beneath) -> None:
        self._root = root
        self._into = into
        self._directories: list[Entry] = []
        self._can_clone = True
        self.copied = 0

    def copy(self, seen: Seen) -> None:
        if seen.kind is FileKind.FILE:
            self._file(seen)
            return
        entry = read_entry(self._root, seen)
        if seen.kind is FileKind.DIRECTORY:
            self._directories.append(entry)
        if not seen.path:
            return
        with self._into.parent(seen.path) as (directory, name):
            if seen.kind is FileKind.DIRECTORY:
                os.mkdir(name, 0o700, dir_fd=directory)
            elif seen.kind is FileKind.HARDLINK:
                with self._into.parent(seen.first_name) as (first, first_name):
                    os.link(first_name, name, src_dir_fd=first, dst_dir_fd=directory, follow_symlinks=False)
            else:
                with _keeping():
                    make_node(directory, name, entry)

    def _file(self, seen: Seen) -> None:
        source = open_content(self._root, seen.path)
        try:
            known = os.fstat(source)
            target = self._into.open(
                seen.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR
            )
            try:
                self._content(source, known, target)
                entry = _attributes_of(seen.path, known, attributes.read_xattrs(source))
                with _keeping():
                    attributes.change(target, entry)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _content(self, source: int, known: os.stat_result, target: int) -> None:
        size = known.st_size
        if self._can_clone and size:
            try:
                kernel.clone_file(source, target)
            except OSError as error:
                if error.errno not in _NO_CLONE:
                    raise
                self._can_clone = False
            else:
                return
        os.ftruncate(target, size)
        at = 0
        for offset, length in (*find_holes(source, known), (size, 0)):
            self._range(source, target, at, offset)
            at = offset + length

    def _range(self, source: int, target: int, at: int, end: int) -> None:
        while at < end:
            got = _copy_piece(source, target, at, min(end - at, _PIECE_BYTES))
            if not got:
                raise InterruptedError(errno.EINTR, "it became shorter while it was copied")
            at += got
            self.copied += got

    def finish(self) -> None:
        for entry in reversed(self._directories):
            with self._into.holding(entry.path, os.O_PATH | os.O_DIRECTORY) as handle:
                with _keeping():
                    attributes.change(handle_path(handle), entry)
                os.utime(handle_path(handle), ns=(entry.mtime_ns, entry.mtime_ns))


@contextmanager
def _keeping() -> Iterator[None]:
    try:
        yield
    except attributes.UnholdableError as reason:
        raise OSError(errno.EOPNOTSUPP, str(reason)) from reason


def _attributes_of(path: bytes, known: os.stat_result, xattrs: attributes.Xattrs) -> Entry:
    return Entry(
        path,
        FileKind.FILE,
        mode=stat.S_IMODE(known.st_mode),
        uid=known.st_uid,
        gid=known.st_gid,
        mtime_ns=known.st_mtime_ns,
        size=known.st_size,
        xattrs=xattrs,
    )


def _copy_piece(source: int, target: int, at: int, length: int) -> int:
    """In the kernel where it can and where it pays; bytes that were copied."""
    if length > _BUFFER_BYTES:
        try:
            return os.copy_file_range(source, target, length, at, at)
        except OSError as error:
            if error.errno not in _NO_COPY:
                raise
    return os.pwrite(target, os.pread(source, min(length, _BUFFER_BYTES), at), at)
