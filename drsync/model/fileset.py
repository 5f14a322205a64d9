"""File sets: a tree of entries that is protected together with the volumes of its group.

Names are bytes from end to end: no encoding is assumed anywhere (P55). A path is relative to the root of the
set, its components joined by ``/``; the root itself is ``b""``.
"""

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple

from drsync.model.epoch import NEVER, Epoch

PATH_BYTES_MAX = 4096  # PATH_MAX of Linux
NAME_BYTES_MAX = 255  # NAME_MAX of Linux file systems
XATTR_BYTES_MAX = 64 * 1024  # per attribute: the limit of Linux
XATTRS_BYTES_MAX = 256 * 1024  # per entry, because an entry must fit into one frame
BLOCK_BYTES_MIN = 128 * 1024  # because most files are smaller: one hash, one request
BLOCKS_MAX = 4096  # because an entry with its hashes must fit into one frame
XATTRS_MAX = 1024  # because Linux lists at most 64 KiB of names
HOLES_MAX = 4096  # because an entry must fit into one frame; smaller holes of a file with more are left out
SIZE_MAX = 1 << 42  # because blocks are held in memory, and those of larger files would have more than 1 GiB
HASH_BYTES = 32  # blake3-256: content is asked for by hash between centers (F.A 16)


@dataclass(frozen=True, slots=True)
class FileSetSpec:
    """A tree under protection.

    Attributes:
        id: random, 32 hex digits; names the index and the mark on the root.
        name: alias.
        index: small number used in records; never reused within the group.
        roots: per center, the absolute directory where the tree lives there; a center that is not named keeps
            it in a directory of its own below its state directory.
    """

    id: str
    name: str
    index: int
    roots: tuple[tuple[str, str], ...] = ()

    def root(self, center: str) -> str:
        """The directory at `center`; empty when the center chooses."""
        return dict(self.roots).get(center, "")


class FileKind(IntEnum):
    """What an entry is. Sockets are not protected: they mean nothing without their process."""

    FILE = 1
    DIRECTORY = 2
    SYMLINK = 3
    HARDLINK = 4  # another name of the file at `target`, the first name of its inode in byte order
    FIFO = 5
    CHARACTER = 6
    BLOCK = 7


class Generation(NamedTuple):
    """One complete state of a tree: numbered by the owner of `epoch`; numbers go on across epochs.

    Two copies hold the same tree only if both fields are equal.
    """

    epoch: Epoch
    number: int


BEFORE_ALL = Generation(NEVER, 0)
"""The empty tree before the first scan."""


class GenerationStart(NamedTuple):
    """The lineage of a tree: `epoch` continued it after generation number `after`."""

    epoch: Epoch
    after: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One name of a tree, with everything a replica needs to make it.

    Attributes:
        path: relative, in bytes.
        kind: what it is.
        generation: number of the generation in which it last changed.
        deleted: it was there and is gone (a tombstone; only path, kind and generation mean something).
        mode: permission bits with setuid, setgid and sticky (12 bits).
        uid, gid: owner, as numbers.
        mtime_ns: modification time.
        size: bytes of a file; 0 for everything else.
        blocks: blake3-256 of each block of `block_bytes(size)`; the last may be shorter.
        holes: (offset, length) of ranges without storage, ascending; they read as zeros.
        target: of a symbolic link, or the first name of a hard link.
        device: major * 2**20 + minor of a device node.
        xattrs: (name, value) sorted by name, POSIX ACLs included (``system.posix_acl_*``).
    """

    path: bytes
    kind: FileKind
    generation: int = 0
    deleted: bool = False
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    size: int = 0
    blocks: tuple[bytes, ...] = ()
    holes: tuple[tuple[int, int], ...] = ()
    target: bytes = b""
    device: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()

    def says_same(self, other: "Entry") -> bool:
        """Whether both say the same of a name, whenever it changed."""
        return replace(self, generation=other.generation) == other

    def is_alike(self, other: "Entry") -> bool:
        """As `says_same`, but storage may differ: where a file has holes is up to its file system."""
        return replace(self, generation=other.generation, holes=other.holes) == other

    def has_content_of(self, other: "Entry") -> bool:
        """Whether both are files with the same bytes."""
        are_files = self.kind is other.kind is FileKind.FILE and not self.deleted and not other.deleted
        return are_files and self.size == other.size and self.blocks == other.blocks

    @property
    def parent(self) -> bytes:
        """The directory it is in."""
        return self.path.rpartition(b"/")[0]


def block_bytes(size: int) -> int:
    """Bytes of each block of a file of `size` bytes: 128 KiB, doubled until `BLOCKS_MAX` suffice."""
    block = BLOCK_BYTES_MIN
    while block * BLOCKS_MAX < size:
        block *= 2
    return block


class Signature(NamedTuple):
    """What `lstat` says of a name: equal signatures mean unchanged, unless the entry is racy (P48)."""

    kind: int
    size: int
    mtime_ns: int
    ctime_ns: int
    ino: int
    dev: int


class HoldReason(IntEnum):
    """Why a file set is held until a person approves (F.15)."""

    ROOT_MISSING = 1
    ROOT_FOREIGN = 2
    ROOT_EMPTIED = 3
    MASS_CHANGE = 4
    UNREPRESENTABLE = 5
    NO_SPACE = 6


@dataclass(frozen=True, slots=True)
class FileSetWord:
    """What a center states about its copy of a tree.

    Attributes:
        fileset: id of the set.
        held: newest generation that is completely in the tree here; at the owner the newest that was cut.
        staged: newest generation whose content is completely here; >= held.
        known: newest generation it has heard of (from cuts in its journal).
        entries, bytes: size of the tree.
        pending: entries it knows to be changed and does not have yet.
        pending_names: some of them, for people (at most 20).
        behind_s: seconds since it held everything it knew of; 0 when it does.
        hold: why it stands still; empty when it doesn't.
        root: where the tree is.
        forks: names that were put aside here since the process started.
    """

    fileset: str
    held: Generation = BEFORE_ALL
    staged: Generation = BEFORE_ALL
    known: Generation = BEFORE_ALL
    entries: int = 0
    bytes: int = 0
    pending: int = 0
    pending_names: tuple[str, ...] = ()
    behind_s: float = 0.0
    hold: str = ""
    root: str = ""
    forks: int = 0
