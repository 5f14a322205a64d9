"""Changing a tree: everything is made beside it and then moved to its place."""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from drsync.adapters.tree import attributes
from drsync.adapters.tree.attributes import UnholdableError
from drsync.adapters.tree.beneath import NO_NAME, handle_path, kind_of
from drsync.adapters.tree.clone import copy_tree
from drsync.adapters.tree.content import read_entry
from drsync.adapters.tree.fork import Fork
from drsync.adapters.tree.nodes import link_held, make_node
from drsync.adapters.tree.root import Root
from drsync.adapters.tree.session import Session
from drsync.adapters.tree.staged import PartialFile
from drsync.adapters.tree.walk import Walk, as_seen
from drsync.model.fileset import Entry, FileKind, Signature
from drsync.ports.tree import PutOutcome, PutResult

_UNHOLDABLE = {
    errno.ENAMETOOLONG: "its name is too long for this file system",
    errno.EINVAL: "this file system does not take its name or type",
    errno.EILSEQ: "this file system does not take the bytes of its name",
    errno.EOPNOTSUPP: "this file system cannot keep it",
    errno.EPERM: "the system does not permit it",
    errno.EACCES: "its directory may not be written",
    errno.EFBIG: "it is larger than files may be here",
    errno.EMLINK: "its file has as many names as this file system allows",
    errno.EXDEV: "another file system is mounted there",
    errno.EBUSY: "it is in use as a mount point",
}
LEFT_BYTES = 64 << 20  # because the journals of volumes may lie on the same file system
LEFT_SHARE = 20  # because a small one is not used by others
_OCCUPIED = {errno.EEXIST, errno.ENOTEMPTY}


class Writer:
    """`drsync.ports.tree.TreeWriter`."""

    def __init__(self, root: Root, fileset: str) -> None:
        self._root = root
        self._fileset = fileset
        self._held: Session | None = None
        self._is_first = True
        self._parts: list[PartialFile] = []

    def close(self) -> None:
        """Give all handles back; what is staged stays."""
        for part in self._parts:
            part.close()
        self._parts.clear()
        if self._held is not None:
            self._held.close()
            self._held = None

    def _session(self) -> Session:
        if self._held is not None and not self._root.is_meant(self._held.root):
            self.close()
        if self._held is None:
            self._held = Session(self._root, self._fileset, is_first=self._is_first)
        return self._held

    @contextmanager
    def _briefly(self) -> Iterator[Session]:
        """What is held by a change under way, or handles that are given back at once."""
        is_held = self._held is not None
        session = self._session()
        try:
            yield session
        finally:
            if not is_held:
                self.close()

    def mark(self, fileset: str) -> None:
        """See the port."""
        self._root.mark(fileset)

    def stage(self, key: str, size: int) -> PartialFile:
        """See the port."""
        part = PartialFile(self._session(), key, size)
        self._parts = [known for known in self._parts if known.is_open]
        self._parts.append(part)
        return part

    def staged(self) -> frozenset[str]:
        """See the port."""
        with self._briefly() as session:
            return frozenset(session.area.sealed)

    def sync(self) -> None:
        """See the port."""
        with self._briefly() as session:
            session.sync_sealed()

    def room(self) -> int:
        """See the port."""
        with self._briefly() as session:
            known = os.fstatvfs(session.area.handle)
        left = min(LEFT_BYTES, known.f_blocks * known.f_frsize // LEFT_SHARE)
        return max(0, known.f_bavail * known.f_frsize - left)

    def sweep(self, keep: Iterable[str]) -> None:
        """See the port."""
        with self._briefly() as session:
            session.area.sweep(frozenset(keep))

    def put_file(self, entry: Entry, key: str, expected: Signature | None) -> PutResult:
        """See the port. What is sealed becomes durable first: a power cut leaves the old or the new."""
        session = self._session()
        session.sync_sealed()
        return _told(lambda: self._put_file(session, entry, key, expected))

    def _put_file(self, session: Session, entry: Entry, key: str, expected: Signature | None) -> PutResult:
        with session.root.parent(entry.path) as (directory, name):
            now = _look(directory, name)
            if key not in session.area.sealed:
                return self._already(session, entry, now) or _unexpected("its content is not staged")
            if not _matches(session, expected, now):
                return self._already(session, entry, now) or _unexpected("something else is there")
            staged = session.area.sealed[key]
            _require_attributes(session, staged, entry)
            result = _place(session, staged, entry.path, directory, name, now)
            if result.outcome is PutOutcome.DONE:
                del session.area.sealed[key]
            return result

    def _already(self, session: Session, entry: Entry, now: os.stat_result | None) -> PutResult | None:
        """DONE when the tree holds exactly this: a change that was made before a crash is not made twice."""
        if now is None:
            return None
        kind = kind_of(now.st_mode)
        if kind is not entry.kind:
            return None
        seen = as_seen(entry.path, now, kind, session.root.device)
        found = read_entry(session.root, seen)
        wanted = replace(entry, generation=0, holes=found.holes)
        if kind is FileKind.DIRECTORY:
            wanted = replace(wanted, mtime_ns=found.mtime_ns)
        return _done(session, now) if found == wanted else None

    def put(self, entry: Entry, expected: Signature | None) -> PutResult:
        """See the port. Attributes in place take several calls, which together are not atomic."""
        session = self._session()
        if not entry.path:
            return _told(lambda: _change_in_place(session, entry, os.fstat(session.root.handle)))
        return _told(lambda: self._put(session, entry, expected))

    def _put(self, session: Session, entry: Entry, expected: Signature | None) -> PutResult:
        with session.root.parent(entry.path) as (directory, name):
            now = _look(directory, name)
            if entry.kind is FileKind.HARDLINK:
                return _put_link(session, entry, expected, now)
            if not _matches(session, expected, now):
                return self._already(session, entry, now) or _unexpected("something else is there")
            kind = None if now is None else kind_of(now.st_mode)
            if now is not None and kind is entry.kind and kind in {FileKind.FILE, FileKind.DIRECTORY}:
                return _change_in_place(session, entry, now)
            if entry.kind is FileKind.FILE:
                return _unexpected("the file is not there")
            made = session.area.new_name("new")
            movable = _movable(entry)
            make_node(session.area.handle, made, movable)
            result = _place_or_drop(session, made, entry.path, directory, name, now)
            if movable == entry or result.outcome is not PutOutcome.DONE:
                return result
            return _change_in_place(session, entry, os.stat(name, dir_fd=directory, follow_symlinks=False))

    def remove(self, path: bytes, expected: Signature) -> PutResult:
        """See the port. What is gone already is done."""
        session = self._session()
        return _told(lambda: _remove(session, path, expected))

    def set_aside(self, paths: Iterable[bytes], fork: str) -> int:
        """See the port. A directory goes when everything in it went; else a copy of it alone is made."""
        session = self._session()
        with Fork(session, fork) as aside:
            return sum(aside.take(path) for path in sorted(set(paths), reverse=True))

    def finish(self, directories: Iterable[Entry]) -> None:
        """See the port. Directories that were touched and are not named get the time back that they had.

        Raises FileNotFoundError when the root at the path is not the one that was changed.
        """
        session = self._session()
        session.sync_sealed()
        session.set_times(directories)
        session.sync_tree()
        session.area.empty_trash()
        self._is_first = False
        with self._root.opened() as root:
            is_same = (root.dev, root.ino) == (session.root.dev, session.root.ino)
        if not any(part.is_open for part in self._parts):
            self.close()
        if not is_same:
            raise FileNotFoundError(
                errno.ENOENT, "the root was replaced while it was changed", self._root.path
            )

    def clone(self, to: str) -> int:
        """See the port."""
        with self._root.opened() as root:
            return copy_tree(root, Walk(root).run(), to)


def _look(directory: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _told(change: Callable[[], PutResult]) -> PutResult:
    """Outcomes instead of errors, but for those that are about the machine (full, broken, read only)."""
    try:
        return change()
    except UnholdableError as reason:
        return PutResult(PutOutcome.HELD, str(reason))
    except InterruptedError:
        return _unexpected("it changes while it is looked at")
    except OSError as error:
        if error.errno in NO_NAME:
            return _unexpected("its directory is not there")
        if error.errno in _OCCUPIED:
            return _unexpected("something else is there")
        if error.errno in _UNHOLDABLE:
            return PutResult(PutOutcome.HELD, _UNHOLDABLE[error.errno])
        raise


def _unexpected(reason: str) -> PutResult:
    return PutResult(PutOutcome.UNEXPECTED, reason)


def _done(session: Session, known: os.stat_result | None) -> PutResult:
    return PutResult(PutOutcome.DONE, "", None if known is None else session.root.signature(known))


def _matches(session: Session, expected: Signature | None, now: os.stat_result | None) -> bool:
    """Whether what is there is what the index knows.

    Of a directory only which one it is: its size and times change with its content. The change time of a file
    with several names is left out: it changes with each name that comes or goes.
    """
    if expected is None or now is None:
        return expected is None and now is None
    found = session.root.signature(now)
    if found.kind == FileKind.DIRECTORY:
        return (found.kind, found.ino) == (expected.kind, expected.ino)
    if now.st_nlink > 1 or now.st_ino in session.relinked:
        return found == expected._replace(ctime_ns=found.ctime_ns)
    return found == expected


def _require_attributes(session: Session, staged: bytes, entry: Entry) -> None:
    handle = os.open(staged, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=session.area.handle)
    try:
        reason = attributes.lacking(handle_path(handle), entry)
    finally:
        os.close(handle)
    if reason:
        raise UnholdableError(reason)


def _place(
    session: Session, made: bytes, path: bytes, directory: int, name: bytes, now: os.stat_result | None
) -> PutResult:
    """Move `made` from the area to `name`; `now` is what was there a moment ago."""
    session.touching(directory, path)
    if now is None:
        session.area.move_in(made, directory, name)
        return _done(session, _look(directory, name))
    gone = session.area.exchange(made, directory, name)
    if not _is_still(session, gone, now):
        back = session.area.exchange(gone, directory, name)
        if back != made:
            os.rename(back, made, src_dir_fd=session.area.handle, dst_dir_fd=session.area.handle)
        return _unexpected("something came in between")
    if now.st_nlink > 1 and kind_of(now.st_mode) is not FileKind.DIRECTORY:
        _lose_name(session, gone, now.st_ino)
    return _done(session, _look(directory, name))


def _place_or_drop(
    session: Session, made: bytes, path: bytes, directory: int, name: bytes, now: os.stat_result | None
) -> PutResult:
    try:
        return _place(session, made, path, directory, name, now)
    except OSError:
        session.area.remove(made)
        raise


def _lose_name(session: Session, gone: bytes, ino: int) -> None:
    """At once and not with the trash, so that the change time of its other names does not change later."""
    session.area.remove(gone)
    session.relinked.add(ino)


def _movable(entry: Entry) -> Entry:
    """With the right to write a directory that moves: without root's rights its owner needs it."""
    is_closed = entry.kind is FileKind.DIRECTORY and not entry.mode & stat.S_IWUSR
    return replace(entry, mode=entry.mode | stat.S_IRWXU) if is_closed else entry


def _is_still(session: Session, gone: bytes, was: os.stat_result) -> bool:
    """Whether what came out of the tree is what was looked at before; a move changes its change time."""
    found = session.area.look(gone)
    if kind_of(found.st_mode) is FileKind.DIRECTORY:
        handle = os.open(gone, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=session.area.handle)
        try:
            with os.scandir(handle) as inside:
                return found.st_ino == was.st_ino and next(inside, None) is None
        finally:
            os.close(handle)
    return session.root.signature(found) == session.root.signature(was)._replace(ctime_ns=found.st_ctime_ns)


def _change_in_place(session: Session, entry: Entry, now: os.stat_result) -> PutResult:
    with session.root.holding(entry.path, os.O_PATH) as handle:
        if os.fstat(handle).st_ino != now.st_ino:
            return _unexpected("something came in between")
        session.changed(entry.path)
        attributes.change(handle_path(handle), entry)
        return _done(session, os.fstat(handle))


def _put_link(
    session: Session, entry: Entry, expected: Signature | None, now: os.stat_result | None
) -> PutResult:
    with session.root.holding(entry.target, os.O_PATH) as first:
        if now is not None and os.fstat(first).st_ino == now.st_ino:
            return _done(session, now)
        if not _matches(session, expected, now):
            return _unexpected("something else is there")
        if kind_of(os.fstat(first).st_mode) is FileKind.DIRECTORY:
            return _unexpected("the first name is a directory")
        made = session.area.new_name("new")
        link_held(first, session.area.handle, made)
        session.relinked.add(os.fstat(first).st_ino)
    with session.root.parent(entry.path) as (directory, name):
        return _place_or_drop(session, made, entry.path, directory, name, now)


def _remove(session: Session, path: bytes, expected: Signature) -> PutResult:
    with session.root.parent(path) as (directory, name):
        now = _look(directory, name)
        if now is None:
            return _done(session, None)
        if not _matches(session, expected, now):
            return _unexpected("something else is there")
        session.touching(directory, path)
        if kind_of(now.st_mode) is FileKind.DIRECTORY:
            os.rmdir(name, dir_fd=directory)
            return _done(session, None)
        gone = session.area.move_out(directory, name)
        if not _is_still(session, gone, now):
            session.area.move_in(gone, directory, name)
            return _unexpected("something came in between")
        if now.st_nlink > 1:
            _lose_name(session, gone, now.st_ino)
        return _done(session, None)
