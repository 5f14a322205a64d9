"""The area of a file set: a directory beside the tree, for files that are put together and those that go.

Names in it: ``<key>.part`` is being written; ``<key>-<inode>`` is sealed, as long as that inode is what has
the name: when it was exchanged with a file of the tree, the name holds the old file and counts as trash.
Everything else (``new-…``, ``gone-…``) is trash when no call is under way.
"""

import errno
import os
import re
import stat
from contextlib import suppress

from blake3 import blake3

from drsync.adapters.tree import kernel
from drsync.adapters.tree.beneath import RESERVED, Beneath

_KEY = re.compile(rb"[0-9a-f]+")
_SEALED = re.compile(rb"([0-9a-f]+)-([0-9]+)")
_PART = b".part"
_NUMBERED = re.compile(rb"(?:new|gone)-([0-9]+)")
_ID_DIGITS = 8  # of the id of the file set, in the name of the directory beside the root
_LACKING = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}  # renameat2 of a file system without its flags
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EISDIR}
_PRIVATE = 0o700


def open_area(path: str, root: Beneath, fileset: str) -> int:
    """A handle of the area of the tree at `path`: beside the root, or in it where that can't be.

    Raises PermissionError when something that is not ours bears its name.
    """
    # The name of the root too: in a lab the trees of several centers may lie side by side.
    root_hash = blake3(os.path.basename(path).encode(errors="surrogateescape")).hexdigest(4)  # text
    name = b"-".join((RESERVED, fileset[:_ID_DIGITS].encode(), root_hash.encode()))
    beside = _open_beside(path, root, name)
    if beside is not None:
        return beside
    inside = _make_and_open(root.handle, RESERVED)
    if not _is_ours(inside, root):
        os.close(inside)
        raise PermissionError(errno.EPERM, "there is a .drsync that belongs to somebody else", path)
    return inside


def _open_beside(path: str, root: Beneath, name: bytes) -> int | None:
    if not os.path.basename(path):  # the root of the machine has nothing beside it
        return None
    try:
        parent = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # text
    except OSError:
        return None
    try:
        if os.fstat(parent).st_dev != root.dev:
            return None
        beside = _make_and_open(parent, name)
        if _is_ours(beside, root):
            return beside
        os.close(beside)
        os.rmdir(name, dir_fd=parent)
    except OSError:
        return None  # not writable, or somebody else's: the tree itself has to do
    finally:
        os.close(parent)
    return None


def _make_and_open(parent: int, name: bytes) -> int:
    with suppress(FileExistsError):
        os.mkdir(name, _PRIVATE, dir_fd=parent)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, dir_fd=parent)


def _is_ours(area: int, root: Beneath) -> bool:
    """Whether nobody else can write there and names can be moved between it and the tree."""
    known = os.fstat(area)
    if known.st_uid != os.geteuid() or stat.S_IMODE(known.st_mode) & 0o077 or known.st_dev != root.dev:
        return False
    try:  # the kernel compares the mounts before it looks for the name
        os.rename(b"no-such-name", b"no-such-name", src_dir_fd=area, dst_dir_fd=root.handle)
    except OSError as error:
        return error.errno != errno.EXDEV
    return True


class Area:
    """The held directory, and what is in it."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.sealed: dict[str, bytes] = {}
        self._number = 0
        for name, ino in self._names():
            if (numbered := _NUMBERED.fullmatch(name)) is not None:
                self._number = max(self._number, int(numbered[1]))
            if _is_sealed(name, ino):
                self.sealed[_key_of(name)] = name
        self._can_exchange = True

    def close(self) -> None:
        """Give the handle back."""
        os.close(self.handle)

    def _names(self) -> list[tuple[bytes, int]]:
        with os.scandir(self.handle) as found:
            return [(os.fsencode(item.name), item.inode()) for item in found]

    def _rename(self, name: bytes, directory: int, target: bytes, flags: int) -> bool:
        """Whether renameat2 did it; False where this file system does not know `flags`."""
        if not self._can_exchange:
            return False
        try:
            kernel.rename(self.handle, name, directory, target, flags)
        except OSError as error:
            if error.errno not in _LACKING:
                raise
            self._can_exchange = self._probe()  # or was it the name that it does not take?
            if self._can_exchange:
                raise
            return False
        return True

    def _probe(self) -> bool:
        one, other = self.new_name("new"), self.new_name("new")
        for name in (one, other):
            os.mkdir(name, _PRIVATE, dir_fd=self.handle)
        try:
            kernel.rename(self.handle, one, self.handle, other, kernel.RENAME_EXCHANGE)
        except OSError as error:
            if error.errno not in _LACKING:
                raise
            return False
        finally:
            for name in (one, other):
                os.rmdir(name, dir_fd=self.handle)
        return True

    def new_name(self, prefix: str) -> bytes:
        """A name that nothing bears."""
        self._number += 1
        return f"{prefix}-{self._number}".encode()

    def look(self, name: bytes) -> os.stat_result:
        """What bears the name."""
        return os.stat(name, dir_fd=self.handle, follow_symlinks=False)

    def open_part(self, key: str) -> int:
        """The file that is being written under `key`, new or taken up again. Raises ValueError."""
        if _KEY.fullmatch(key.encode()) is None:
            raise ValueError(f"not a key: {key!r}")
        name = key.encode() + _PART
        sealed = self.sealed.pop(key, None)
        if sealed is not None:
            os.chmod(sealed, stat.S_IRUSR | stat.S_IWUSR, dir_fd=self.handle)
            os.rename(sealed, name, src_dir_fd=self.handle, dst_dir_fd=self.handle)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags, stat.S_IRUSR | stat.S_IWUSR, dir_fd=self.handle)

    def seal(self, key: str, ino: int) -> None:
        """The file that was written under `key` is complete."""
        name = f"{key}-{ino}".encode()
        os.rename(key.encode() + _PART, name, src_dir_fd=self.handle, dst_dir_fd=self.handle)
        self.sealed[key] = name

    def drop(self, key: str) -> None:
        """Whatever is there under `key` is not needed."""
        sealed = self.sealed.pop(key, None)
        for name in (sealed, key.encode() + _PART):
            if name is not None:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=self.handle)

    def move_in(self, name: bytes, directory: int, target: bytes) -> None:
        """To a place where nothing is. Raises FileExistsError."""
        if self._rename(name, directory, target, kernel.RENAME_NOREPLACE):
            return
        try:
            os.link(name, target, src_dir_fd=self.handle, dst_dir_fd=directory, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _require_free(directory, target)  # not atomic: a file system without links and without renameat2
            os.rename(name, target, src_dir_fd=self.handle, dst_dir_fd=directory)
        else:
            os.unlink(name, dir_fd=self.handle)

    def move_out(self, directory: int, target: bytes) -> bytes:
        """From the tree to the trash; its name there."""
        name = self.new_name("gone")
        os.rename(target, name, src_dir_fd=directory, dst_dir_fd=self.handle)
        return name

    def exchange(self, name: bytes, directory: int, target: bytes) -> bytes:
        """With what is at `target`; the name that this bears here now."""
        if self._rename(name, directory, target, kernel.RENAME_EXCHANGE):
            return name
        if not stat.S_ISDIR(self.look(name).st_mode):
            gone = self._link_out(directory, target)
            if gone:
                os.replace(name, target, src_dir_fd=self.handle, dst_dir_fd=directory)
                return gone
        gone = self.move_out(directory, target)  # for a moment nothing has the name: there is no other way
        try:
            os.rename(name, target, src_dir_fd=self.handle, dst_dir_fd=directory)
        except OSError:
            os.rename(gone, target, src_dir_fd=self.handle, dst_dir_fd=directory)
            raise
        return gone

    def _link_out(self, directory: int, target: bytes) -> bytes:
        """Another name in the area for what is at `target`; empty where that can't be."""
        gone = self.new_name("gone")
        try:
            os.link(target, gone, src_dir_fd=directory, dst_dir_fd=self.handle, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return b""
        return gone

    def remove(self, name: bytes) -> None:
        """For good. A directory that is not empty stays."""
        if stat.S_ISDIR(self.look(name).st_mode):
            with suppress(OSError):
                os.rmdir(name, dir_fd=self.handle)
        else:
            os.unlink(name, dir_fd=self.handle)

    def empty_trash(self) -> None:
        """Remove what is neither sealed nor being written."""
        for name, ino in self._names():
            if not name.endswith(_PART) and not _is_sealed(name, ino):
                self.remove(name)

    def sweep(self, keep: frozenset[str]) -> None:
        """Remove files, sealed or not, whose key is not in `keep`."""
        for name, ino in self._names():
            if name.endswith(_PART) or _is_sealed(name, ino):
                key = _key_of(name)
                if key not in keep:
                    self.drop(key)


def _is_sealed(name: bytes, ino: int) -> bool:
    found = _SEALED.fullmatch(name)
    return found is not None and int(found[2]) == ino


def _key_of(name: bytes) -> str:
    return re.split(rb"[-.]", name, maxsplit=1)[0].decode()


def _require_free(directory: int, name: bytes) -> None:
    with suppress(FileNotFoundError):
        os.stat(name, dir_fd=directory, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fsdecode(name))
