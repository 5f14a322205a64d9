"""Copies of trees for views: made when a view opens, read back to prove them, removed when it closes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from drsync.delta import entries as codec
from drsync.engine.trees import TreeProof
from drsync.model.errors import TransientError
from drsync.model.fileset import Entry
from drsync.ports.file_store import FileStore
from drsync.ports.tree import Tree


@dataclass(frozen=True, slots=True)
class Clone:
    """A copy and what it should be."""

    place: str
    generation: int
    expected: str
    logged: str
    indexed: str


class Clones:
    """The copies of one group at this center. `prove` and `drop` block."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self._made: dict[str, dict[str, Clone]] = {}

    def note(self, view_id: str, name: str, clone: Clone) -> None:
        """A copy was made."""
        self._made.setdefault(view_id, {})[name] = clone

    def prove(self, view_id: str) -> dict[str, TreeProof]:
        """Read every name and every byte of a view's copies."""
        return {name: self._prove(clone) for name, clone in self._made.get(view_id, {}).items()}

    def _prove(self, clone: Clone) -> TreeProof:
        tree = self._store.copy_of_tree(clone.place)
        try:
            digest, count, size = codec.Digest(), 0, 0
            for entry in _entries(tree):
                digest.add(codec.entry_hash(plain(entry)))
                count, size = count + 1, size + entry.size
        finally:
            tree.close()
        return TreeProof(
            clone.place,
            clone.generation,
            clone.expected,
            digest.hex(),
            clone.logged,
            clone.indexed,
            count,
            size,
        )

    def drop(self, view_id: str) -> list[str]:
        """Remove a view's copies."""
        self._made.pop(view_id, None)
        return self._store.drop_clones(view_id)

    def drop_leftovers(self) -> list[str]:
        """Copies of before a restart: nobody can ask for them again."""
        return [gone for view_id in sorted(self._store.clones()) for gone in self._store.drop_clones(view_id)]


def plain(entry: Entry) -> Entry:
    """An entry without what is up to the file system it lies on."""
    return replace(entry, generation=0, holes=())


def plain_digest(entries: Iterable[Entry]) -> str:
    """The digest of a tree, storage left out."""
    return codec.digest_of(plain(entry) for entry in entries)


def _entries(tree: Tree) -> Iterator[Entry]:
    scan = tree.scan()
    if scan.unseen:
        raise TransientError(f"{len(scan.unseen)} names of the copy cannot be read: {scan.unseen[0].reason}")
    for seen in scan.seen:
        yield tree.entry(seen)
