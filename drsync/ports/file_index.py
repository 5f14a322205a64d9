"""What a center knows of a tree: entries, generations, and where they came from. Durable.

All methods block (SQLite) and are called from threads, one at a time. A method that changes something is one
transaction: after a crash all of it is there or nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from drsync.model.fileset import BEFORE_ALL, Entry, Generation, GenerationStart, Signature
from drsync.ports.tree import RootIdentity

Known = tuple[Entry, Signature | None]
"""An entry, and the signature it had when it was last read or written here; None: not looked at since."""


@dataclass(frozen=True, slots=True)
class IndexState:
    """The facts of an index beside its entries.

    Attributes:
        held: generation the entries describe.
        lineage: how `held` came about, oldest first.
        digest: of all live entries (`drsync.delta.entries`), hex.
        entries, bytes: how many live ones there are, and the sum of their sizes.
        root: the root this index is about; None before it was first seen.
        applying: a generation whose changes are being made in the tree; it must be finished, never undone.
        approved: a person said that the next change of the whole tree is wanted.
        horizon: tombstones up to this generation are forgotten: a copy that holds less is sent everything.
        doubted: the entries are not those of `held`, or the tree was not what they say: everything must be
            compared with the owner's before `held` means anything again.
        lost: names that were found gone since all was compared last.
        followed: `held` came from another center: nobody but drsync should have changed this tree since.
    """

    held: Generation = BEFORE_ALL
    lineage: tuple[GenerationStart, ...] = ()
    digest: str = ""
    entries: int = 0
    bytes: int = 0
    root: RootIdentity | None = None
    applying: Generation | None = None
    approved: bool = False
    horizon: int = 0
    doubted: bool = False
    lost: int = 0
    followed: bool = False


class FileIndex(Protocol):
    """The index of one tree at one center."""

    def state(self) -> IndexState:
        """The facts, as they are on disk."""
        ...

    def entries(self) -> Iterator[Known]:
        """Live entries by path."""
        ...

    def signatures(self) -> dict[bytes, Signature | None]:
        """Path → signature of every live entry: what a scan is compared with."""
        ...

    def find(self, path: bytes) -> Known | None:
        """A live entry."""
        ...

    def hard_links(self) -> list[Known]:
        """Live entries that are another name of a file: they follow when the file is replaced."""
        ...

    def changed_since(self, number: int) -> Iterator[Entry]:
        """Entries and tombstones that last changed in a generation above `number`, by path."""
        ...

    def where(self, block: bytes) -> list[tuple[bytes, int]]:
        """(path, block number) of live files that have a block with this hash; at most 4."""
        ...

    def cut(self, generation: Generation, changes: Sequence[Known]) -> IndexState:
        """At the owner: these entries (tombstones included) make the next generation.

        Each bears ``generation.number``. The lineage grows when the epoch is new. What another owner sent and
        is not in the tree is forgotten, and so is every doubt: the tree is what counts now.
        """
        ...

    def refresh(self, known: Iterable[tuple[bytes, Signature]]) -> None:
        """Only signatures changed (touched without a change of content or metadata); others are left."""
        ...

    def set_root(self, root: RootIdentity) -> None:
        """The root was identified and accepted."""
        ...

    def approve(self, *, approved: bool) -> None:
        """A person's word, or its being used up."""
        ...

    def forget(self, number: int) -> None:
        """Every copy holds generation `number` or a later one: older tombstones are not needed any more."""
        ...

    # --- at a replica: the incoming generation

    def doubt(self, paths: Iterable[bytes], *, lost: int = 0) -> None:
        """At a replica: these names are not what the index says. It forgets them, and doubts itself.

        `lost`: how many of them are gone.
        """
        ...

    def begin_incoming(
        self, target: Generation, lineage: Sequence[GenerationStart], *, is_full: bool, digest: str = ""
    ) -> None:
        """Forget an older incoming generation; `is_full`: what will not be named is gone.

        `digest`: what all entries come to once it is held; empty when nobody knows.

        Also while one is being applied that cannot be finished: a newer one from the same base takes over.
        From now on nothing is being applied, so that a part of the new one is never taken for all of it.
        """
        ...

    def incoming(self) -> tuple[Generation, tuple[GenerationStart, ...], bool] | None:
        """Target, lineage, is_full of the incoming generation, if there is one."""
        ...

    def add_incoming(self, entries: Sequence[Entry]) -> None:
        """More of it."""
        ...

    def incoming_entries(self) -> Iterator[Entry]:
        """By path."""
        ...

    def begin_applying(self, target: Generation) -> None:
        """Everything is staged; from now on the tree may be between two generations."""
        ...

    def applied(self, changes: Sequence[Known]) -> None:
        """These changes are in the tree (tombstones: gone from it)."""
        ...

    def end_applying(self) -> IndexState:
        """The incoming generation is the held one; with a full one, what it did not name is forgotten.

        Entries that it names and that are here but for their generation become those of the incoming one.
        If the entries do not come to its digest, the index doubts itself.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...
