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
                self._make_parents(path)
                if stat.S_ISDIR(known.st_mode):
                    self._make(path, known)
                    with suppress(OSError):  # not empty: what is left in it stays where it is
                        os.rmdir(name, dir_fd=directory)
                else:
                    self._move(directory, name, path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def _make_parents(self, path: bytes) -> None:
        parts = path.split(b"/")[:-1]
        for count in range(1, len(parts) + 1):
            parent = b"/".join(parts[:count])
            known = self._session.root.look(parent)
            if known is not None:
                self._make(parent, known)

    def _make(self, path: bytes, like: os.stat_result) -> None:
        with self._into.parent(path) as (directory, name), suppress(FileExistsError):
            os.mkdir(name, stat.S_IMODE(like.st_mode) & 0o777, dir_fd=directory)

    def _move(self, directory: int, name: bytes, path: bytes) -> None:
        with self._into.parent(path) as (into, wanted):
            for number in range(_DOUBLES_MAX):
                target = wanted + f"~{number}".encode() if number else wanted
                with suppress(FileExistsError):
                    _move_to_free(directory, name, into, target)
                    return
        raise FileExistsError(errno.EEXIST, "it was set aside too often", os.fsdecode(path))


def _move_to_free(directory: int, name: bytes, into: int, target: bytes) -> None:
    try:
        kernel.rename(directory, name, into, target, kernel.RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in _LACKING:
            raise
        os.link(name, target, src_dir_fd=directory, dst_dir_fd=into, follow_symlinks=False)
        os.unlink(name, dir_fd=directory)
