"""The system calls on files of one simulated process: `DiskFiles`."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from drsync.adapters.segments.files import Ended, Wait
from drsync.ports.journal import Arrived, Buffer
from drsync.sim.disk import Disk, Faults, refused
from drsync.sim.disk_nodes import PAGE, SECTOR, Directory, File
from drsync.sim.killed import Killed

Stalled = Callable[[float], None]
Later = Callable[[Callable[[], None]], None]
MUCH_BYTES = 1 << 50  # that a disk without limit says it has free, because somebody may calculate with it


def _unnoticed(seconds: float) -> None:
    """A stall in a world without time."""


def _unmourned() -> None:
    """A process that nobody runs."""


class _Handle(NamedTuple):
    node: File | Directory
    path: str
    can_write: bool


class _BegunSync:
    """A sync that the kernel makes beside a loop: at some instant from when it was begun until it is told."""

    def __init__(self, sync: Callable[[], None], ended: Ended, alive: Callable[[], None]) -> None:
        self._sync: Callable[[], None] | None = sync
        self._ended: Ended | None = ended
        self._alive = alive
        self._error: OSError | None = None

    def work(self) -> None:
        """The disk does it, unless it has."""
        sync, self._sync = self._sync, None
        if sync is not None:
            try:
                sync()
            except OSError as error:
                self._error = error

    def end(self) -> None:
        """It is told, unless it was: when its time has come, or because somebody waits for it."""
        ended, self._ended = self._ended, None
        if ended is not None:
            self._alive()
            self.work()
            ended(self._error)


class DiskFiles:
    """The `Files` of `adapters.segments`, `adapters.images` and `adapters.stage`, for one simulated process.

    A process that has died, by itself or in a call that the disk chose, raises `Killed` at every further
    call but `close`.

    Args:
        disk: of the machine.
        stalled: told how many seconds a call takes, when the disk stalls.
        died: called when the disk ends the process in a call.
        later: has its loop make a call when the kernel has done something beside it; None: the kernel cannot.
    """

    def __init__(
        self,
        disk: Disk,
        stalled: Stalled = _unnoticed,
        died: Callable[[], None] = _unmourned,
        later: Later | None = None,
    ) -> None:
        self._disk = disk
        self._died = died
        self._later = later
        self._stalled = stalled
        self._handles: dict[int, _Handle] = {}
        self._next = 3  # because a process has three open files when it starts
        self._is_dead = False
        disk.users.append(self)

    def die(self) -> None:
        """The process is gone, with its descriptors and locks. What it wrote stays in the page cache."""
        if self._is_dead:
            return
        self._is_dead = True
        for handle in self._handles.values():
            _unlock(handle)
        self._handles.clear()
        self._disk.users.remove(self)

    # --- descriptors

    def open(self, path: Path, flags: int) -> int:
        """See `Files`."""
        self._alive()
        parent = self._disk.directory(path.parent)
        node = parent.entries.get(path.name) if path.name else parent
        if node is None:
            if not flags & os.O_CREAT:
                raise refused(errno.ENOENT, path)
            node = File()
            with self._changing("create", str(path)):
                parent.put(path.name, node)
        elif flags & os.O_EXCL:
            raise refused(errno.EEXIST, path)
        elif flags & os.O_DIRECTORY and isinstance(node, File):
            raise refused(errno.ENOTDIR, path)
        can_write = bool(flags & (os.O_WRONLY | os.O_RDWR))
        if can_write and isinstance(node, Directory):
            raise refused(errno.EISDIR, path)
        if flags & os.O_TRUNC and isinstance(node, File) and node.size:
            with self._changing("truncate", str(path)):
                node.truncate(0)
        fd = self._next
        self._next += 1
        self._handles[fd] = _Handle(node, str(path), can_write)
        return fd

    def open_direct(self, path: Path) -> int:
        """See `Files`. This disk knows one way to a file."""
        raise refused(errno.EOPNOTSUPP, path)

    def close(self, fd: int) -> None:
        """See `Files`. A dead process has none open."""
        handle = self._handles.pop(fd, None)
        if handle is not None:
            _unlock(handle)
        elif not self._is_dead:
            raise refused(errno.EBADF)

    def size(self, fd: int, /) -> int:
        """See `Files`."""
        return self._file(fd).size

    def lock(self, fd: int, /) -> None:
        """See `Files`."""
        handle = self._handle(fd)
        if handle.node.holder is not None and handle.node.holder is not handle:
            raise refused(errno.EAGAIN, handle.path)
        handle.node.holder = handle

    # --- data

    def pwritev(self, fd: int, parts: Sequence[Buffer], offset: int, /) -> int:
        """See `Files`."""
        disk = self._disk
        disk.calls["pwritev"] += 1
        first = parts[0] if len(parts) == 1 else b""
        data = first if type(first) is bytes and first else b"".join(parts)
        handle = self._handles.get(fd) or self._handle(fd)
        node = handle.node
        if not handle.can_write or not isinstance(node, File):
            raise refused(errno.EBADF, handle.path)
        if disk.doom is None and not disk.troubles and disk.capacity is None:
            node.write(offset, data)
            return len(data)
        moment = disk.doomed()
        if moment == "before":
            self._end()
        if moment == "within":
            node.write(offset, data[: len(data) // 2])
            self._end()
        written = self._troubled_write(node, handle.path, offset, data)
        if moment:
            self._end()
        return written

    def preadv(self, fd: int, targets: Sequence[bytearray | memoryview], offset: int, /) -> int:
        """See `Files`."""
        disk = self._disk
        disk.calls["preadv"] += 1
        handle = self._handles.get(fd) or self._handle(fd)
        node = handle.node
        if not isinstance(node, File):
            raise refused(errno.EISDIR, handle.path)
        for faults in disk.troubles:
            self._stall(faults, handle.path)
            if faults.happens(faults.read_error, handle.path, "read error"):
                raise refused(errno.EIO, handle.path)
        done = 0
        for target in targets:
            done += node.read(offset + done, memoryview(target))
        for faults in disk.troubles:
            if done and faults.happens(faults.flipped_read, handle.path, "flipped read"):
                _flip(targets, faults.dice.randrange(done), faults.dice.randrange(8))
        return done

    def cached(self, fd: int, offset: int, length: int, /) -> int:
        """See `Files`. A system that does not tell."""
        del fd, offset
        return length

    def will_need(self, fd: int, offset: int, length: int, /) -> None:
        """See `Files`. A disk that reads everything at once."""

    def write_back(self, fd: int, offset: int, length: int) -> None:
        """See `Files`. A disk that does nothing before it must."""

    def seek(self, fd: int, offset: int, whence: int) -> int:
        """See `Files`. A file system without holes."""
        return offset if whence == os.SEEK_DATA else self.size(fd)

    def truncate(self, fd: int, length: int, /) -> None:
        """See `Files`."""
        file = self._writable(fd)
        with self._changing("truncate", self._handles[fd].path):
            file.truncate(length)

    def allocate(self, fd: int, offset: int, length: int, /) -> None:
        """See `Files`."""
        file = self._writable(fd)
        with self._changing("allocate", self._handles[fd].path):
            room = self._disk.room()
            if room is not None and len(file.missing(offset, length)) > room:
                raise refused(errno.ENOSPC, self._handles[fd].path)
            file.reserve(offset, length)

    def preadv_cached(self, fd: int, targets: Sequence[bytearray | memoryview], offset: int, /) -> int:
        """See `Files`."""
        return self.preadv(fd, targets, offset)

    def fetch(self, fd: int, places: Sequence[tuple[int, int]], arrived: Arrived, /) -> bool:
        """See `Files`."""
        del fd, places, arrived
        return False

    def punch(self, fd: int, offset: int, length: int) -> None:
        """See `Files`."""
        file = self._writable(fd)
        with self._changing("punch", self._handles[fd].path):
            file.punch(offset, length)

    @property
    def is_sync_brief(self) -> bool:
        """See `Files`."""
        return self._disk.is_brief

    def fdatasync(self, fd: int, /) -> None:
        """See `Files`."""
        self._sync("fdatasync", fd)

    def begin_fdatasync(self, fd: int, ended: Ended, /) -> Wait | None:
        """See `Files`. What is written meanwhile may become durable with it, or not."""
        if self._later is None:
            return None
        self._disk.calls["begin_fdatasync"] += 1
        # Nobody stands still meanwhile: it is `later` that is late.
        sync = partial(self._sync_file, "fdatasync", self._handle(fd), stalls=False)
        begun = _BegunSync(sync, ended, self._alive)
        if self._disk.calls["begin_fdatasync"] % 2:
            begun.work()
        self._later(begun.end)
        return begun.end

    def fsync(self, fd: int, /) -> None:
        """See `Files`."""
        self._sync("fsync", fd)

    # --- names

    def rename(self, source: Path, target: Path) -> None:
        """See `Files`. A directory that is replaced must be empty."""
        self._alive()
        directory, into = self._disk.directory(source.parent), self._disk.directory(target.parent)
        if source.name not in directory.entries:
            raise refused(errno.ENOENT, source)
        there = into.entries.get(target.name)
        if isinstance(there, Directory) and there.entries:
            raise refused(errno.ENOTEMPTY, target)
        with self._changing("rename", str(target)):
            if into is directory:
                directory.rename(source.name, target.name)
            else:
                directory.move(source.name, into, target.name)

    def unlink(self, path: Path) -> None:
        """See `Files`."""
        self._alive()
        self._disk.file(path)
        with self._changing("unlink", str(path)):
            self._disk.directory(path.parent).drop(path.name)

    def make_directory(self, path: Path) -> None:
        """See `Files`."""
        self._alive()
        parent = self._disk.directory(path.parent)
        if path.name in parent.entries:
            raise refused(errno.EEXIST, path)
        with self._changing("make_directory", str(path)):
            parent.put(path.name, Directory())

    def remove_directory(self, path: Path) -> None:
        """See `drsync.adapters.stage.files.Files`."""
        self._alive()
        if self._disk.directory(path).entries:
            raise refused(errno.ENOTEMPTY, path)
        with self._changing("remove_directory", str(path)):
            self._disk.directory(path.parent).drop(path.name)

    def free(self, directory: Path) -> int:
        """See `drsync.adapters.stage.files.Files`."""
        self._disk.directory(directory)
        room = self._disk.room()
        return MUCH_BYTES if room is None else max(room, 0) * PAGE

    def names(self, directory: Path) -> list[str]:
        """See `Files`."""
        self._alive()
        return list(self._disk.directory(directory).entries)

    def exists(self, path: Path) -> bool:
        """See `Files`."""
        self._alive()
        try:
            self._disk.find(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    # --- how

    def _alive(self) -> None:
        if self._is_dead:
            raise Killed

    def _end(self) -> None:
        self.die()
        self._died()
        raise Killed

    def _handle(self, fd: int) -> _Handle:
        self._alive()
        if fd not in self._handles:
            raise refused(errno.EBADF)
        return self._handles[fd]

    def _file(self, fd: int) -> File:
        handle = self._handle(fd)
        if not isinstance(handle.node, File):
            raise refused(errno.EISDIR, handle.path)
        return handle.node

    def _writable(self, fd: int) -> File:
        if not self._handle(fd).can_write:
            raise refused(errno.EBADF, self._handles[fd].path)
        return self._file(fd)

    @contextmanager
    def _changing(self, call: str, path: str) -> Iterator[None]:
        """Around a change of anything but content; the process may die before or after it."""
        self._disk.calls[call] += 1
        moment = self._disk.doomed()
        if moment == "before":
            self._end()
        for faults in self._disk.troubles:
            self._stall(faults, path)
            if faults.happens(faults.write_error, path, f"{call} error"):
                raise refused(errno.EIO, path)
        yield
        if moment:
            self._end()

    def _sync(self, call: str, fd: int) -> None:
        self._sync_file(call, self._handle(fd))

    def _sync_file(self, call: str, handle: _Handle, *, stalls: bool = True) -> None:
        disk = self._disk
        disk.calls[call] += 1
        moment = disk.doomed()
        if moment == "before":
            self._end()
        for faults in disk.troubles:
            if stalls:
                self._stall(faults, handle.path)
            if faults.fails_sync(handle.path):
                if isinstance(handle.node, File):
                    handle.node.fail_sync(faults.dice, faults.sync_loss)
                disk.failed_syncs += 1
                raise refused(errno.EIO, handle.path)
        handle.node.sync()
        if moment:
            self._end()

    def _stall(self, faults: Faults, path: str) -> None:
        if faults.happens(faults.stall, path, "stall"):
            self._stalled(faults.dice.uniform(*faults.stall_s))
            self._alive()

    def _troubled_write(self, file: File, path: str, offset: int, data: bytes) -> int:
        """On a disk that may be full or broken; returns the bytes written."""
        room = self._disk.room()
        missing = file.missing(offset, len(data)) if room is not None else []
        if room is not None and len(missing) > max(room, 0):
            fit = max(missing[max(room, 0)] * PAGE - offset, 0)
            if not fit:
                raise refused(errno.ENOSPC, path)
            data = data[:fit]
        for faults in self._disk.troubles:
            self._stall(faults, path)
            if faults.happens(faults.write_error, path, "write error"):
                file.write(offset, data[: faults.dice.randrange(len(data) + 1)])
                raise refused(errno.EIO, path)
            if faults.happens(faults.misdirected, path, "misdirected write"):
                self._misdirect(faults, file, path, offset, data)
                return len(data)
        file.write(offset, data)
        return len(data)

    def _misdirect(self, faults: Faults, file: File, path: str, offset: int, data: bytes) -> None:
        """Somewhere else in the same file, or at the same place of another one."""
        others = [
            (name, other)
            for name, other in self._disk.files()
            if other is not file and other.size and faults.where in name
        ]
        if others and faults.dice.random() < 0.5:  # noqa: PLR2004  # a coin
            name, other = faults.dice.choice(others)
            at = min(offset, max(other.size - len(data), 0)) // SECTOR * SECTOR
        else:
            name, other = path, file
            at = faults.dice.randrange(max(file.size - len(data), 0) + 1) // SECTOR * SECTOR
        faults.damaged += [name, path]
        file.is_damaged = other.is_damaged = True
        other.write(at, data)


def _unlock(handle: _Handle) -> None:
    if handle.node.holder is handle:
        handle.node.holder = None


def _flip(targets: Sequence[bytearray | memoryview], at: int, bit: int) -> None:
    for target in targets:
        if at < len(target):
            target[at] ^= 1 << bit
            return
        at -= len(target)
