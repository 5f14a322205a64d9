"""Making what has no content: directories, links, fifos, devices."""

import os
import stat
from contextlib import suppress

from drsync.adapters.tree import attributes
from drsync.adapters.tree.beneath import handle_path
from drsync.model.fileset import Entry, FileKind

_PRIVATE = 0o600
_MINOR_BITS = 20  # of Entry.device
_TYPES = {FileKind.FIFO: stat.S_IFIFO, FileKind.CHARACTER: stat.S_IFCHR, FileKind.BLOCK: stat.S_IFBLK}


def make_node(directory: int, name: bytes, entry: Entry) -> None:
    """Make it under `name` with all its attributes, or not at all. Raises OSError and UnholdableError."""
    match entry.kind:
        case FileKind.DIRECTORY:
            os.mkdir(name, 0o700, dir_fd=directory)
        case FileKind.SYMLINK:
            os.symlink(entry.target, name, dir_fd=directory)
        case FileKind.FIFO | FileKind.CHARACTER | FileKind.BLOCK:
            number = os.makedev(entry.device >> _MINOR_BITS, entry.device & ((1 << _MINOR_BITS) - 1))
            os.mknod(name, _TYPES[entry.kind] | _PRIVATE, number, dir_fd=directory)
        case FileKind.FILE | FileKind.HARDLINK:
            raise ValueError(f"a {entry.kind.name.lower()} is not made here")
    try:
        change_node(directory, name, entry)
    except BaseException:
        with suppress(OSError):
            remove = os.rmdir if entry.kind is FileKind.DIRECTORY else os.unlink
            remove(name, dir_fd=directory)
        raise


def change_node(directory: int, name: bytes, entry: Entry) -> None:
    """Give what is under `name` the attributes of `entry`."""
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        attributes.change(handle_path(handle), entry)
    finally:
        os.close(handle)


def link_held(handle: int, directory: int, name: bytes) -> None:
    """Another name for what is held, whatever its first name may be by now."""
    os.link(handle_path(handle), name, dst_dir_fd=directory, follow_symlinks=True)
