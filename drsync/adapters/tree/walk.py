"""Walking a tree: every name with what `lstat` says of it, and what could not be looked at."""

import errno
import os
import sys
import time
from collections.abc import Iterable, Sequence
from operator import attrgetter

from drsync.adapters.tree.beneath import RESERVED, Beneath, kind_of
from drsync.model.fileset import NAME_BYTES_MAX, PATH_BYTES_MAX, FileKind, Signature
from drsync.ports.tree import Scan, Seen, Unseen

CLOCK_REALTIME_COARSE = 5  # <time.h>; the clock that Linux takes the times of inodes from
_READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_GONE = {errno.ENOENT}
_CODEC, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
_new = tuple.__new__
_NODES = {FileKind.CHARACTER, FileKind.BLOCK}


def device_number(known: os.stat_result) -> int:
    """Major and minor as `Entry.device` has them."""
    return os.major(known.st_rdev) << 20 | os.minor(known.st_rdev)


def as_seen(path: bytes, known: os.stat_result, kind: FileKind, device: int, first_name: bytes = b"") -> Seen:
    """What a scan says of a name; `device` is that of the file system."""
    size, mtime_ns = known.st_size, known.st_mtime_ns
    # Made by the constructor of tuple: it takes half of the time, and a scan makes two for each name.
    signature = _new(Signature, (kind, size, mtime_ns, known.st_ctime_ns, known.st_ino, device))
    return _new(
        Seen,
        (
            path,
            FileKind.HARDLINK if first_name else kind,
            signature,
            known.st_mode & 0o7777,
            known.st_uid,
            known.st_gid,
            mtime_ns,
            size if kind is FileKind.FILE else 0,
            device_number(known) if kind in _NODES else 0,
            known.st_nlink,
            first_name,
        ),
    )


class Walk:
    """One walk of a tree, or of some of its directories.

    Directories are opened one at a time by their path from the root, so that a deep tree needs no more
    handles than a flat one.
    """

    def __init__(self, root: Beneath) -> None:
        self._root = root
        self._seen: list[Seen] = []
        self._linked: list[tuple[bytes, os.stat_result, FileKind]] = []
        self._unseen: list[Unseen] = []
        self._skipped: list[Unseen] = []
        self._directories: list[tuple[bytes, os.stat_result]] = []

    def run(self, below: Sequence[bytes] = ()) -> Scan:
        """Walk and sort."""
        began_ns = time.clock_gettime_ns(CLOCK_REALTIME_COARSE)
        for path in topmost(below or (b"",)):
            self._start(path)
        while self._directories:
            path, known = self._directories.pop()
            self._directory(path, known)
        self._name_links()
        self._seen.sort(key=attrgetter("path"))
        return Scan(tuple(self._seen), tuple(self._unseen), tuple(self._skipped), began_ns)

    def _start(self, path: bytes) -> None:
        try:
            known = self._root.look(path)
        except OSError as error:
            self._unseen.append(Unseen(path, _reason(error)))
            return
        if known is not None:
            self._name(path, known)

    def _directory(self, path: bytes, known: os.stat_result) -> None:
        """Read one directory. It is seen even if it can't be read, but not if something is mounted on it."""
        try:
            handle = self._root.open(path, _READ_DIRECTORY)
        except OSError as error:
            if error.errno == errno.EXDEV:
                self._skipped.append(Unseen(path, "another file system is mounted here"))
                return
            self._see(path, known, FileKind.DIRECTORY)
            self._unseen.append(Unseen(path, _reason(error)))
            return
        self._see(path, known, FileKind.DIRECTORY)
        try:
            self._names(handle, path)
        except OSError as error:
            self._unseen.append(Unseen(path, _reason(error)))
        finally:
            os.close(handle)

    def _names(self, handle: int, path: bytes) -> None:
        prefix = path + b"/" if path else b""
        with os.scandir(handle) as found:
            for item in found:
                name = item.name.encode(_CODEC, _ERRORS)
                if not path and name.startswith(RESERVED):
                    continue
                try:
                    known = item.stat(follow_symlinks=False)
                except OSError as error:
                    if error.errno not in _GONE:
                        self._unseen.append(Unseen(prefix + name, _reason(error)))
                    continue
                self._name(prefix + name, known)

    def _name(self, path: bytes, known: os.stat_result) -> None:
        kind = kind_of(known.st_mode)
        reason = self._why_not(path, known, kind)
        if reason or kind is None:
            self._skipped.append(Unseen(path, reason))
        elif kind is FileKind.DIRECTORY:
            self._directories.append((path, known))
        elif known.st_nlink > 1:
            self._linked.append((path, known, kind))
        else:
            self._see(path, known, kind)

    def _why_not(self, path: bytes, known: os.stat_result, kind: FileKind | None) -> str:
        if kind is None:
            return "a socket means nothing without its process"
        if known.st_dev != self._root.dev:
            return "another file system is mounted here"
        if len(path) > PATH_BYTES_MAX:
            return f"its path has more than {PATH_BYTES_MAX} bytes"
        if len(path) > NAME_BYTES_MAX and len(path.rpartition(b"/")[2]) > NAME_BYTES_MAX:
            return f"its name has more than {NAME_BYTES_MAX} bytes"
        return ""

    def _see(self, path: bytes, known: os.stat_result, kind: FileKind) -> None:
        self._seen.append(as_seen(path, known, kind, self._root.device))

    def _name_links(self) -> None:
        """The first name in byte order stands for the inode; all others are links to it."""
        first: dict[int, bytes] = {}
        self._linked.sort(key=lambda link: link[0])
        for path, known, kind in self._linked:
            name = first.setdefault(known.st_ino, path)
            self._seen.append(
                as_seen(path, known, kind, self._root.device, first_name=b"" if name == path else name)
            )


def _reason(error: OSError) -> str:
    if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
        return "it changed while it was looked at"
    return error.strerror or str(error)


def topmost(paths: Iterable[bytes]) -> list[bytes]:
    """Without those that are below another one, and without doubles."""
    kept: list[bytes] = []
    for path in sorted(set(paths), key=lambda path: path.split(b"/") if path else []):
        last = kept[-1] if kept else None
        if last is None or not (last == b"" or path.startswith(last + b"/")):
            kept.append(path)
    return kept
