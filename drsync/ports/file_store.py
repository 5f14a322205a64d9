"""Where the trees and indexes of a group are at this center."""

from typing import Protocol

from drsync.model.fileset import FileSetSpec
from drsync.ports.file_index import FileIndex
from drsync.ports.tree import Tree, TreeWatch


class FileStore(Protocol):
    """The file sets of one group at one center. Everything blocks."""

    def root(self, fileset: FileSetSpec) -> str:
        """The directory of the tree, whether or not it is there."""
        ...

    def is_ours(self, fileset: FileSetSpec) -> bool:
        """Whether the directory is our own, so that nobody else's data can be in it."""
        ...

    def tree(self, fileset: FileSetSpec) -> Tree:
        """Open the tree; a directory of our own is made.

        Raises:
            RefusedError: the configuration of this center does not allow the directory.
            FileNotFoundError, NotADirectoryError: it is not there.
        """
        ...

    def index(self, fileset: FileSetSpec) -> FileIndex:
        """Open or make the index."""
        ...

    def watch(self, fileset: FileSetSpec) -> TreeWatch | None:
        """Begin to watch the tree; None where that is not possible."""
        ...

    def copy_of_tree(self, place: str) -> Tree:
        """Open a copy that was made for a view, to look at it."""
        ...

    def clone_place(self, view_id: str, fileset: FileSetSpec) -> str:
        """The directory (not made) where a copy of the tree for a view belongs."""
        ...

    def drop_clones(self, view_id: str) -> list[str]:
        """Remove the copies made for a view; what was removed."""
        ...

    def clones(self) -> frozenset[str]:
        """Views that have copies here, also from before a restart."""
        ...
