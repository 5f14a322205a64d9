"""System calls that Python has no function for, by ctypes. Nothing here knows what a tree is.

Sources: openat2(2), renameat2(2), syncfs(2), fallocate(2), ioctl_ficlonerange(2), inotify(7), and
<linux/openat2.h>, <linux/fs.h>, <linux/falloc.h>. Every function raises OSError with the errno of the call.
"""

import ctypes
import errno
import fcntl
import os
import struct
from functools import lru_cache

_SYS_OPENAT2 = 437  # the same on every architecture
_RESOLVE_NO_XDEV = 0x01
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_STAY_INSIDE = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_XDEV
_OPEN_HOW = struct.Struct("=QQQ")  # flags, mode, resolve
_AGAIN_MAX = 16  # because EAGAIN means that a rename came in between; another try nearly always succeeds

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

_FICLONE = 0x40049409
_FICLONERANGE = 0x4020940D
_CLONE_RANGE = struct.Struct("=qQQQ")  # source fd, its offset, length, destination offset

_FALLOC_KEEP_SIZE, _FALLOC_PUNCH_HOLE = 1, 2

IN_NONBLOCK, IN_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong)


def _checked(result: int, path: bytes = b"") -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fsdecode(path) or None)
    return result


@lru_cache(maxsize=64)
def _open_how(flags: int, mode: int) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(_OPEN_HOW.pack(flags, mode, _STAY_INSIDE), _OPEN_HOW.size)


def open_beneath(directory: int, path: bytes, flags: int, mode: int = 0) -> int:
    """Open `path` below the handle `directory`: no symbolic or magic link, no `..` out, no other mount."""
    how = _open_how(flags | os.O_CLOEXEC, mode)
    tries = 0
    while True:
        opened: int = _libc.syscall(_SYS_OPENAT2, directory, path, how, _OPEN_HOW.size)
        tries += 1
        if opened >= 0 or ctypes.get_errno() != errno.EAGAIN or tries == _AGAIN_MAX:
            return _checked(opened, path)


@lru_cache(maxsize=1)
def has_open_beneath() -> bool:
    """Whether the kernel has openat2 (5.6) and no filter forbids it."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY)
    try:
        os.close(open_beneath(root, b".", os.O_PATH | os.O_DIRECTORY))
    except OSError as error:
        if error.errno in {errno.ENOSYS, errno.EPERM}:
            return False
        raise
    finally:
        os.close(root)
    return True


def rename(old_directory: int, old: bytes, new_directory: int, new: bytes, flags: int) -> None:
    """renameat2: FileExistsError with RENAME_NOREPLACE when `new` is there."""
    _checked(_libc.renameat2(old_directory, old, new_directory, new, flags), new)


def sync_file_system(handle: int) -> None:
    """Write everything of the file system that `handle` is on, and wait; raises what could not be written."""
    _checked(_libc.syncfs(handle))


def punch_hole(handle: int, offset: int, length: int) -> None:
    """Give the storage of a range back; it reads as zeros."""
    _checked(_libc.fallocate(handle, _FALLOC_KEEP_SIZE | _FALLOC_PUNCH_HOLE, offset, length))


def clone_file(source: int, destination: int) -> None:
    """Let `destination` share the storage of `source`."""
    fcntl.ioctl(destination, _FICLONE, source)


def clone_range(source: int, start: int, length: int, destination: int, offset: int) -> None:
    """Let a range of `destination` share the storage of a range of `source`; both aligned to blocks."""
    fcntl.ioctl(destination, _FICLONERANGE, _CLONE_RANGE.pack(source, start, length, offset))


def inotify_init() -> int:
    """A new queue of events, not blocking."""
    return _checked(_libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC))


def inotify_add(queue: int, path: bytes, mask: int) -> int:
    """Watch what `path` names; the number of the watch."""
    return _checked(_libc.inotify_add_watch(queue, path, mask), path)


def inotify_remove(queue: int, watch: int) -> None:
    """Stop watching."""
    _checked(_libc.inotify_rm_watch(queue, watch))
