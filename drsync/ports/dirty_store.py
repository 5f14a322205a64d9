"""Where a copy keeps what other members may lack: one dirty set for each, in numbered stores."""

from typing import NamedTuple, Protocol


class StoredSet(NamedTuple):
    """A dirty set as it lies on disk.

    Attributes:
        number: of the store that wrote it; each one is higher than the one before. Whoever remembers it
            elsewhere notices that a later set was lost.
        raw: `core.dirty.encode` of the set.
    """

    number: int
    raw: bytes


class DirtyStore(Protocol):
    """The dirty sets of one copy, by center. Every method blocks."""

    def dirty(self, center: str) -> StoredSet | None:
        """The newest valid set of a member; None when there is none, or nothing of it can be read."""
        ...

    def store_dirty(self, center: str, stored: StoredSet) -> None:
        """Durable on return. The set of the number before it stays whole meanwhile.

        Raises:
            NoSpaceError: the set before this one is what is stored.
            FailedCopyError: it could not be written.
        """
        ...
