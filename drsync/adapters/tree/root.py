"""The root of a tree: which directory it is, and whether it still is that one (P43 to P45)."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from drsync.adapters.tree.beneath import Beneath
from drsync.ports.tree import RootIdentity

MARKS = ("trusted.drsync.set", "user.drsync.set")  # the second where we are not root
MARK_FILE = b".drsync-set"  # where the file system has no extended attributes at all
_MARK_BYTES_MAX = 64  # because an id has 32
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def read_mark(handle: int) -> str:
    """The id of the file set that is written on a directory; empty without one."""
    for name in MARKS:
        with suppress(OSError):
            return os.getxattr(handle, name).decode("ascii", "replace")
    with suppress(OSError):
        file = os.open(MARK_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=handle)
        try:
            return os.read(file, _MARK_BYTES_MAX).decode("ascii", "replace").strip()
        finally:
            os.close(file)
    return ""


def write_mark(handle: int, fileset: str) -> None:
    """Write it where the file system lets us."""
    value = fileset.encode("ascii")
    for name in MARKS:
        try:
            os.setxattr(handle, name, value)
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.EACCES}:
                raise
        else:
            return
    file = os.open(MARK_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644, dir_fd=handle)
    try:
        os.write(file, value + b"\n")
        os.fsync(file)
    finally:
        os.close(file)


class Root:
    """The directory `path`, opened for each use so that nobody is kept from unmounting it.

    The first look, and each `identity` that bears the same mark, says which directory is meant. Another one
    at the same path (nothing mounted, another disk) is answered with FileNotFoundError.
    """

    def __init__(self, path: str, *, has_open_beneath: bool | None = None) -> None:
        self.path = os.path.abspath(path)  # pathlib has none that keeps links
        self._has_open_beneath = has_open_beneath
        self._meant: tuple[int, int] | None = None
        self._mark = ""

    def identity(self) -> RootIdentity:
        """See the port."""
        with self._opened() as root:
            found = RootIdentity(read_mark(root.handle), f"{root.device:016x}", root.ino)
            if not self._mark or found.mark == self._mark:
                self._means(root, found.mark)
            return found

    def mark(self, fileset: str) -> None:
        """See the port."""
        with self.opened() as root:  # never on what took the place of the root since it was looked at
            write_mark(root.handle, fileset)
            os.fsync(root.handle)
            self._means(root, fileset)

    def _means(self, root: Beneath, mark: str) -> None:
        self._meant, self._mark = (root.dev, root.ino), mark

    def take(self) -> Beneath:
        """The root, held; the caller closes it. Raises FileNotFoundError when it is another one."""
        root = self._open()
        if self._meant is None:
            self._means(root, read_mark(root.handle))
        if self._meant != (root.dev, root.ino):
            root.close()
            raise FileNotFoundError(
                errno.ENOENT, "another directory has taken the place of the root", self.path
            )
        return root

    def is_meant(self, root: Beneath) -> bool:
        """Whether a root that is held is the one that is meant now."""
        return self._meant == (root.dev, root.ino)

    @contextmanager
    def opened(self) -> Iterator[Beneath]:
        """Like `take`, closed at the end."""
        root = self.take()
        try:
            yield root
        finally:
            root.close()

    @contextmanager
    def _opened(self) -> Iterator[Beneath]:
        root = self._open()
        try:
            yield root
        finally:
            root.close()

    def _open(self) -> Beneath:
        try:
            handle = os.open(self.path, _OPEN)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR}:
                raise NotADirectoryError(errno.ENOTDIR, "the root is not a directory", self.path) from error
            raise
        return Beneath(handle, has_open_beneath=self._has_open_beneath)
