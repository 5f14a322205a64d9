"""Hints by inotify: which directories to look at before the next full scan.

One watch for each directory, up to a limit. A directory that is new is looked through after its watch is set,
so that what was made in it before is not missed. A queue that overflowed, a directory that could not be
watched, a root that went away all mean the same: look everywhere. Source of the layout: inotify(7).
"""

import errno
import os
import struct
from contextlib import suppress

from drsync.adapters.tree import kernel
from drsync.adapters.tree.beneath import RESERVED, Beneath, handle_path
from drsync.adapters.tree.root import Root

WATCHES_MAX = 100_000  # because each costs about a KiB of the kernel's memory, and users share a limit
_READ_BYTES = 256 * 1024  # because the largest event has 272 bytes and a queue some thousands of them
_EVENT = struct.Struct("=iIII")  # watch, mask, cookie, length of the name

_MODIFY, _ATTRIB, _CLOSE_WRITE = 0x2, 0x4, 0x8
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF = 0x400, 0x800
_UNMOUNT, _Q_OVERFLOW, _IGNORED = 0x2000, 0x4000, 0x8000
_ONLYDIR, _EXCL_UNLINK = 0x01000000, 0x04000000
_ISDIR = 0x40000000
_WANTED = (
    _MODIFY
    | _ATTRIB
    | _CLOSE_WRITE
    | _MOVED_FROM
    | _MOVED_TO
    | _CREATE
    | _DELETE
    | _DELETE_SELF
    | _MOVE_SELF
    | _ONLYDIR
    | _EXCL_UNLINK
)
_LOST = {errno.ENOSPC, errno.ENOMEM, errno.EACCES, errno.EMFILE}
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV}


class InotifyWatch:
    """`drsync.ports.tree.TreeWatch` of the tree at `path`. Raises OSError without a tree or inotify.

    Attributes:
        is_complete: every directory is watched; if not, `take` always says to look everywhere.
    """

    def __init__(self, path: str, *, watches_max: int = WATCHES_MAX) -> None:
        self._root = Root(path)
        self._root.identity()
        self._watches_max = watches_max
        self._queue = -1
        self._paths: dict[int, bytes] = {}
        self._watches: dict[bytes, int] = {}
        self.is_complete = False
        self._start()

    def close(self) -> None:
        """See the port."""
        if self._queue >= 0:
            os.close(self._queue)
            self._queue = -1
        self._paths.clear()
        self._watches.clear()

    def _start(self) -> None:
        """Watch everything anew: after an overflow nobody knows which directories are new."""
        self.close()
        self._queue = kernel.inotify_init()
        self.is_complete = True
        self._add_tree(b"")

    def take(self) -> frozenset[bytes] | None:
        """See the port. A directory that is new or came from elsewhere is named itself."""
        hints: set[bytes] = set()
        try:
            is_lost = self._queue < 0 or not self._drain(hints)
            if is_lost:
                self._start()
        except OSError:  # there is no root, or no queue: the next full scan says what is wrong
            self.close()
            return None
        return None if is_lost or not self.is_complete else frozenset(hints)

    def _drain(self, hints: set[bytes]) -> bool:
        """Take what is queued; False when events were lost."""
        while True:
            try:
                data = os.read(self._queue, _READ_BYTES)
            except BlockingIOError:
                return True
            at = 0
            while at < len(data):
                watch, mask, _, length = _EVENT.unpack_from(data, at)
                at += _EVENT.size
                name = data[at : at + length].rstrip(b"\0")
                at += length
                if not self._event(watch, mask, name, hints):
                    return False

    def _event(self, watch: int, mask: int, name: bytes, hints: set[bytes]) -> bool:
        if mask & (_Q_OVERFLOW | _UNMOUNT):
            return False
        if mask & _IGNORED:
            self._forget(watch)
            return True
        path = self._paths.get(watch)
        if path is None or (not path and name.startswith(RESERVED)):
            return True
        if mask & (_DELETE_SELF | _MOVE_SELF):
            return bool(path)  # of the root: all is lost; of others the parent tells
        hints.add(path)
        if mask & _ISDIR and name:
            self._directory(b"/".join((path, name)) if path else name, mask, hints)
        return True

    def _directory(self, path: bytes, mask: int, hints: set[bytes]) -> None:
        if mask & _MOVED_FROM:
            self._drop_tree(path)
        if mask & (_CREATE | _MOVED_TO):
            self._add_tree(path)
            hints.add(path)

    def _drop_tree(self, path: bytes) -> None:
        """What moved away would go on telling with its old path."""
        below = path + b"/"
        for known in [known for known in self._watches if known == path or known.startswith(below)]:
            watch = self._watches.pop(known)
            self._paths.pop(watch, None)
            with suppress(OSError):
                kernel.inotify_remove(self._queue, watch)

    def _forget(self, watch: int) -> None:
        path = self._paths.pop(watch, None)
        if path is not None and self._watches.get(path) == watch:
            del self._watches[path]

    def _add_tree(self, path: bytes) -> None:
        """Watch a directory and all below; each before it is read, so that nothing falls in between."""
        try:
            with self._root.opened() as root:
                waiting = [path]
                while waiting and self.is_complete:
                    waiting.extend(self._add(root, waiting.pop()))
        except OSError as error:
            if error.errno not in _LOST:
                raise
            self.is_complete = False

    def _add(self, root: Beneath, path: bytes) -> list[bytes]:
        """Watch one directory; those in it. Raises OSError of `_LOST`."""
        if len(self._watches) >= self._watches_max:
            raise OSError(errno.ENOSPC, f"more than {self._watches_max} directories")
        try:
            with root.holding(path, os.O_RDONLY | os.O_DIRECTORY) as handle:
                watch = kernel.inotify_add(self._queue, os.fsencode(handle_path(handle)), _WANTED)
                before = self._paths.get(watch)
                if before is not None:
                    self._watches.pop(before, None)
                self._paths[watch] = path
                self._watches[path] = watch
                return _directories_in(handle, path)
        except OSError as error:
            if error.errno in _GONE and path:  # somebody was faster; its parent tells of it
                return []
            raise


def _directories_in(handle: int, path: bytes) -> list[bytes]:
    prefix = path + b"/" if path else b""
    with os.scandir(handle) as found:
        names = [os.fsencode(item.name) for item in found if item.is_dir(follow_symlinks=False)]
    return [prefix + name for name in names if path or not name.startswith(RESERVED)]
