"""Looking at a tree. Each call opens the root anew, so that between calls it may be unmounted."""

import errno
import os
from collections.abc import Sequence

from drsync.adapters.tree.content import open_content, read_entry
from drsync.adapters.tree.root import Root
from drsync.adapters.tree.walk import Walk
from drsync.model.fileset import Entry, Signature
from drsync.ports.tree import RootIdentity, Scan, Seen


class Reader:
    """`drsync.ports.tree.TreeReader`."""

    def __init__(self, root: Root) -> None:
        self._root = root

    def identity(self) -> RootIdentity:
        """See the port."""
        return self._root.identity()

    def scan(self, below: Sequence[bytes] = ()) -> Scan:
        """See the port."""
        before = self._root.identity()
        with self._root.opened() as root:
            found = Walk(root).run(below)
        if self._root.identity() != before:
            raise FileNotFoundError(errno.ENOENT, "the root changed while it was looked at", self._root.path)
        return found

    def glance(self, path: bytes) -> Signature | None:
        """See the port."""
        with self._root.opened() as root:
            known = root.look(path)
            return None if known is None else root.signature(known)

    def entry(self, seen: Seen) -> Entry:
        """See the port. Raises PermissionError where we may not read."""
        with self._root.opened() as root:
            return read_entry(root, seen)

    def read(self, path: bytes, offset: int, length: int) -> bytes:
        """See the port."""
        with self._root.opened() as root:
            handle = open_content(root, path)
            try:
                return _read_fully(handle, offset, length)
            finally:
                os.close(handle)


def _read_fully(handle: int, offset: int, length: int) -> bytes:
    pieces = []
    while length > 0:
        piece = os.pread(handle, length, offset)
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
        length -= len(piece)
    return b"".join(pieces) if len(pieces) != 1 else pieces[0]
