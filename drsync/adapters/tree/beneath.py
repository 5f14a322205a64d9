"""Names below a held directory. The only place that turns a path of a file set into a handle.

No path is ever given to the kernel from the root of the machine: it starts at a handle and may meet no
symbolic link on its way, not even one that appears while it is walked (P56).
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from drsync.adapters.tree import kernel
from drsync.model.fileset import FileKind, Signature

RESERVED = b".drsync"  # names at the root that begin so are never part of the set
_CHUNK_BYTES_MAX = 4000  # because the kernel takes 4095 bytes at once and paths of a set may be 4096
NO_NAME = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
_DEVICE_BITS = (1 << 63) - 1  # because it is kept in a signed column

_KINDS = {
    stat.S_IFREG: FileKind.FILE,
    stat.S_IFDIR: FileKind.DIRECTORY,
    stat.S_IFLNK: FileKind.SYMLINK,
    stat.S_IFIFO: FileKind.FIFO,
    stat.S_IFCHR: FileKind.CHARACTER,
    stat.S_IFBLK: FileKind.BLOCK,
}


def kind_of(mode: int) -> FileKind | None:
    """The kind by the bits of `st_mode`; None for sockets and what else may come."""
    return _KINDS.get(stat.S_IFMT(mode))


def handle_path(handle: int) -> str:
    """A path that means exactly what `handle` holds, for calls that take no handle opened with O_PATH."""
    return f"/proc/self/fd/{handle}"


def split(path: bytes) -> tuple[bytes, bytes]:
    """Directory and name. Raises ValueError for what is never a name of a set."""
    parent, _, name = path.rpartition(b"/")
    first = path.partition(b"/")[0]
    if name in {b"", b".", b".."} or b"\0" in path or first.startswith(RESERVED):
        raise ValueError(f"not a name of a file set: {path!r}")
    return parent, name


class Beneath:
    """A held directory and everything below it.

    Attributes:
        handle: of the directory; it is closed with this object.
        dev: st_dev; whatever has another one is on another file system or subvolume.
        device: id of the file system that stays the same across boots where it has one; goes into signatures.
        ino: inode of the directory.
    """

    def __init__(self, handle: int, *, has_open_beneath: bool | None = None) -> None:
        known = os.fstat(handle)
        self.handle = handle
        self.dev = known.st_dev
        self.ino = known.st_ino
        self.device = os.fstatvfs(handle).f_fsid & _DEVICE_BITS
        self._has_open_beneath = kernel.has_open_beneath() if has_open_beneath is None else has_open_beneath

    def close(self) -> None:
        """Give the handle back."""
        os.close(self.handle)

    def open(self, path: bytes, flags: int, mode: int = 0) -> int:
        """A handle for `path`; the caller closes it.

        Raises OSError: ELOOP or ENOTDIR where a symbolic link is on the way, EXDEV at another file system.
        """
        flags |= os.O_NOFOLLOW
        directory, rest = self.handle, path or b"."
        while len(rest) > _CHUNK_BYTES_MAX:
            cut = rest.rindex(b"/", 0, _CHUNK_BYTES_MAX)
            deeper = self._open_at(directory, rest[:cut], os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, 0)
            self._release(directory)
            directory, rest = deeper, rest[cut + 1 :]
        try:
            return self._open_at(directory, rest, flags, mode)
        finally:
            self._release(directory)

    def _release(self, directory: int) -> None:
        if directory != self.handle:
            os.close(directory)

    def _open_at(self, directory: int, path: bytes, flags: int, mode: int) -> int:
        if self._has_open_beneath:
            return kernel.open_beneath(directory, path, flags, mode)
        return self._walk(directory, path, flags, mode)

    def _walk(self, directory: int, path: bytes, flags: int, mode: int) -> int:
        """What openat2 does, one component at a time, for kernels and filters without it."""
        *parents, name = path.split(b"/")
        at = directory
        try:
            for parent in parents:
                deeper = self._step(at, parent, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, 0)
                if at != directory:
                    os.close(at)
                at = deeper
            return self._step(at, name, flags, mode)
        finally:
            if at != directory:
                os.close(at)

    def _step(self, directory: int, name: bytes, flags: int, mode: int) -> int:
        if name in {b"", b".."}:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), os.fsdecode(name))
        opened = os.open(name, flags | os.O_CLOEXEC, mode, dir_fd=directory)
        if os.fstat(opened).st_dev != self.dev:
            os.close(opened)
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), os.fsdecode(name))
        return opened

    @contextmanager
    def holding(self, path: bytes, flags: int) -> Iterator[int]:
        """Like `open`, closed at the end."""
        handle = self.open(path, flags)
        try:
            yield handle
        finally:
            os.close(handle)

    @contextmanager
    def parent(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """The directory of `path`, held, and the name in it."""
        directory, name = split(path)
        if not directory:
            yield self.handle, name
            return
        with self.holding(directory, os.O_PATH | os.O_DIRECTORY) as handle:
            yield handle, name

    def look(self, path: bytes) -> os.stat_result | None:
        """What is at `path`, the link itself if it is one; None when nothing is."""
        if not path:
            return os.fstat(self.handle)
        try:
            with self.parent(path) as (directory, name):
                return os.stat(name, dir_fd=directory, follow_symlinks=False)
        except OSError as error:
            if error.errno in NO_NAME:
                return None
            raise

    def signature(self, known: os.stat_result) -> Signature:
        """What `lstat` said, as an index keeps it."""
        return Signature(
            kind_of(known.st_mode) or 0,
            known.st_size,
            known.st_mtime_ns,
            known.st_ctime_ns,
            known.st_ino,
            self.device,
        )
