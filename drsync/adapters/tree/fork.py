"""Names that are moved out of the way before something else takes their place (F.A 19)."""

import errno
import os
import stat
from contextlib import suppress
from typing import Self

from drsync.adapters.tree import kernel
from drsync.adapters.tree.beneath import RESERVED, Beneath
from drsync.adapters.tree.session import Session

_DOUBLES_MAX = 1000  # because a name that was set aside so often is a mistake somewhere else
_LACKING = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}


class Fork:
    """The directory ``.drsync-fork-<name>`` of a root; only its owner can look into it."""

    def __init__(self, session: Session, name: str) -> None:
        if not name or "/" in name or "\0" in name:
            raise ValueError(f"not a name of a fork: {name!r}")
        self._session = session
        directory = RESERVED + b"-fork-" + os.fsencode(name)
        with suppress(FileExistsError):
            os.mkdir(directory, 0o700, dir_fd=session.root.handle)
        flags = os.O_RDONLY | os.O_DIRECTORY
        self._into = Beneath(session.root.open(directory, flags))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._into.close()

    def take(self, path: bytes) -> bool:
        """Move one name, if it is there; whether it was."""
        try:
            with self._session.root.parent(path) as (directory, name):
                known = os.stat(name, dir_fd=directory, follow_symlinks=False)
                self._session.touching(directory, path)
                into = self._make_parents(path)
                if stat.S_ISDIR(known.st_mode):
                    self._make(into, name, known)
                    with suppress(OSError):  # not empty: what is left in it stays where it is
                        os.rmdir(name, dir_fd=directory)
                else:
                    self._move(directory, name, _join(into, name))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def _make_parents(self, path: bytes) -> bytes:
        """The directory in the fork for what is in the directory of `path`."""
        into, parent = b"", b""
        for name in path.split(b"/")[:-1]:
            parent = _join(parent, name)
            into = self._make(into, name, self._session.root.look(parent))
        return into

    def _make(self, into: bytes, wanted: bytes, like: os.stat_result | None) -> bytes:
        """A directory; under another name when a file of that name was set aside before."""
        mode = 0o700 if like is None else stat.S_IMODE(like.st_mode) & 0o777
        for number in range(_DOUBLES_MAX):
            path = _join(into, _double(wanted, number))
            with self._into.parent(path) as (directory, name):
                with suppress(FileExistsError):
                    os.mkdir(name, mode, dir_fd=directory)
                    return path
                if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                    return path
        raise FileExistsError(errno.EEXIST, "it was set aside too often", os.fsdecode(wanted))

    def _move(self, directory: int, name: bytes, path: bytes) -> None:
        with self._into.parent(path) as (into, wanted):
            for number in range(_DOUBLES_MAX):
                target = _double(wanted, number)
                with suppress(FileExistsError):
                    _move_to_free(directory, name, into, target)
                    return
        raise FileExistsError(errno.EEXIST, "it was set aside too often", os.fsdecode(path))


def _join(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name


def _double(name: bytes, number: int) -> bytes:
    return name + f"~{number}".encode() if number else name


def _move_to_free(directory: int, name: bytes, into: int, target: bytes) -> None:
    try:
        kernel.rename(directory, name, into, target, kernel.RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in _LACKING:
            raise
        os.link(name, target, src_dir_fd=directory, dst_dir_fd=into, follow_symlinks=False)
        os.unlink(name, dir_fd=directory)
