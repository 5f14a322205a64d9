"""What a look at a tree found. Only words may live here: `drsync.ports.tree` looks, `drsync.core` decides."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from drsync.model.fileset import FileKind, Signature


@dataclass(frozen=True, slots=True)
class RootIdentity:
    """What tells one root from another, and a mounted from an unmounted one.

    Attributes:
        mark: id of the file set that was written on the root (an extended attribute); empty without one.
        device: file system id of the root (statfs f_fsid, hex), stable across boots where it has one.
        ino: inode of the root.
    """

    mark: str
    device: str
    ino: int


class Seen(NamedTuple):
    """A name as a scan found it. A tuple, because a scan makes hundreds of thousands of them.

    Attributes:
        path, kind: as in Entry; HARDLINK for all names of an inode but the first in byte order.
        first_name: for HARDLINK.
        signature: to compare with the next scan.
        mode, uid, gid, mtime_ns, size, device: as in Entry.
        nlink: names of the inode, inside and outside of the tree.
    """

    path: bytes
    kind: FileKind
    signature: Signature
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int
    device: int
    nlink: int
    first_name: bytes = b""


class Unseen(NamedTuple):
    """A name that could not be looked at, and why."""

    path: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Scan:
    """What a walk found.

    Attributes:
        seen: every name below the directories that were walked, the root included, sorted by path.
        unseen: what could not be looked at. If there is any, the scan is *partial*: it can add and
            change, but a name that is missing from it may still exist (P51).
        skipped: sockets, other file systems, names beyond the limits: left out on purpose, with the reason.
        began_ns: wall clock of the file system before the first name was read; entries changed after
            `began_ns` minus its granularity are *racy* (P48).
    """

    seen: Sequence[Seen]
    unseen: Sequence[Unseen]
    skipped: Sequence[Unseen]
    began_ns: int
