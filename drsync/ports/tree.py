"""A directory tree as a file set needs it: looked at and changed only through held handles beneath its root.

All methods block and are called from threads; one thread at a time changes a tree, any number read it.
Nothing follows a symbolic link, leaves the root, or crosses into another mounted file system. Paths are those
of `drsync.model.fileset`; they were checked (relative, clean, within limits) before they come here.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from drsync.model.fileset import Entry, Signature
from drsync.model.scan import RootIdentity, Scan, Seen, Unseen

__all__ = [
    "PutOutcome",
    "PutResult",
    "RootIdentity",
    "Scan",
    "Seen",
    "StagedFile",
    "Tree",
    "TreeReader",
    "TreeWatch",
    "TreeWriter",
    "Unseen",
]


class PutOutcome(StrEnum):
    """What became of a change."""

    DONE = "done"
    UNEXPECTED = "unexpected"  # what is there is not what the index says: nothing was changed; look again
    HELD = "held"  # the target cannot hold it: name, type, attribute or size


class PutResult(NamedTuple):
    """The outcome of one change; `reason` for people; `signature` of what is there now (None: nothing)."""

    outcome: PutOutcome
    reason: str = ""
    signature: Signature | None = None


class StagedFile(Protocol):
    """A file that is being put together beside the tree, on the same file system."""

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Put content; may be called in any order."""
        ...

    def copy_from(self, path: bytes, source: int, offset: int, length: int) -> bytes:
        """Copy `length` bytes at `source` of a file of the tree to `offset` (reflinked where possible).

        Returns the blake3-256 of what was copied, so that the caller can tell whether it is what it wanted.
        Raises FileNotFoundError when it is no longer there.
        """
        ...

    def hash(self, offset: int, length: int) -> bytes:
        """blake3-256 of what is there of a range."""
        ...

    def seal(self, entry: Entry) -> None:
        """Cut to size, punch holes, set owner, mode, xattrs and time. Not synced yet."""
        ...

    def discard(self) -> None:
        """It is not needed."""
        ...


class TreeReader(Protocol):
    """Looking."""

    def identity(self) -> RootIdentity:
        """Who the root is now. Raises FileNotFoundError or NotADirectoryError when there is none."""
        ...

    def scan(self, below: Sequence[bytes] = ()) -> Scan:
        """Walk everything, or only the named directories (each with all that is below it).

        The identity of the root is checked before and after; a root that changed in between raises
        FileNotFoundError, and nothing of the scan is used (P43).
        """
        ...

    def glance(self, path: bytes) -> Signature | None:
        """The signature of one name, None when there is none."""
        ...

    def entry(self, seen: Seen) -> Entry:
        """Read what a scan found: content hashes, holes, link target, attributes. `generation` is 0.

        Stable: looked at before and after; raises InterruptedError when it changed meanwhile (busy), and
        FileNotFoundError when it is gone.
        """
        ...

    def read(self, path: bytes, offset: int, length: int) -> bytes:
        """Content of a file; shorter at its end. Raises FileNotFoundError."""
        ...


class TreeWriter(Protocol):
    """Changing. Each call is atomic for readers: the old or the new is there, never half of either (P52)."""

    def mark(self, fileset: str) -> None:
        """Write the id of the set on the root."""
        ...

    def stage(self, key: str, size: int) -> StagedFile:
        """Begin, or take up again, a file beside the tree. `key`: hex, unique per content and attributes.

        Raises OSError (ENOSPC …) when there is no room.
        """
        ...

    def staged(self) -> frozenset[str]:
        """Keys of the sealed files that are there, also after a restart.

        After a power cut their content may not be what was written, unless `sync` came first.
        """
        ...

    def sync(self) -> None:
        """Make sealed files durable, content and all.

        `put_file` does it too, once for all files that were sealed before.
        """
        ...

    def room(self) -> int:
        """Bytes that can still be staged; a little is left for others on the same file system."""
        ...

    def sweep(self, keep: Iterable[str]) -> None:
        """Throw away staged files, sealed or not, whose key is not in `keep`."""
        ...

    def put_file(self, entry: Entry, key: str, expected: Signature | None) -> PutResult:
        """Move a sealed file to its place if what is there has the `expected` signature (None: nothing).

        DONE as well when the tree already holds exactly this, so that it may be repeated after a crash.
        """
        ...

    def put(self, entry: Entry, expected: Signature | None) -> PutResult:
        """Make a directory, symbolic link, hard link, fifo or device, or change attributes in place.

        A FILE entry here changes attributes only. Directories keep their time until `finish`.
        """
        ...

    def remove(self, path: bytes, expected: Signature) -> PutResult:
        """Move a name to the trash of the set; a directory must be empty."""
        ...

    def set_aside(self, paths: Iterable[bytes], fork: str) -> int:
        """Move names to below ``.drsync-fork-<fork>/``, directories made as needed; how many (F.A 19)."""
        ...

    def finish(self, directories: Iterable[Entry]) -> None:
        """Set the times of directories, then make everything durable. Empties the trash."""
        ...

    def clone(self, to: str) -> int:
        """Copy the tree to the new directory `to` outside of it, reflinked where possible; bytes copied."""
        ...


class Tree(TreeReader, TreeWriter, Protocol):
    """A tree."""

    def close(self) -> None:
        """Give handles back."""
        ...


class TreeWatch(Protocol):
    """Hints that something changed; they may be lost or late, never needed for correctness (P46, P47)."""

    def take(self) -> frozenset[bytes] | None:
        """Directories with changes since the last call; None: events were lost, look everywhere."""
        ...

    def close(self) -> None:
        """Stop watching."""
        ...
