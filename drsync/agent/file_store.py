"""Where a group's trees, indexes and copies of trees are here, and what the configuration allows."""

import os
import shutil
from pathlib import Path, PurePosixPath

from drsync.adapters.sqlite.file_index import SqliteFileIndex
from drsync.adapters.tree.root import read_mark
from drsync.adapters.tree.tree import LinuxTree
from drsync.adapters.tree.watch import InotifyWatch
from drsync.model.errors import RefusedError
from drsync.model.fileset import FileSetSpec
from drsync.model.group import GroupSpec
from drsync.ports.file_index import FileIndex
from drsync.ports.tree import Tree, TreeWatch

OWN_MODE = 0o700  # because a replica's tree is nobody's business until its center owns it


class FileStores:
    """`ports.file_store.FileStore` of one group."""

    def __init__(self, center: str, home: Path, group: GroupSpec, allowed: tuple[str, ...]) -> None:
        """`home`: the group's directory at `center`; `allowed`: below which directories trees may lie."""
        self._center = center
        self._home = home
        self._views = home / "views"
        self._allowed = allowed

    def root(self, fileset: FileSetSpec) -> str:
        """See FileStore."""
        return fileset.root(self._center) or str(self._home / "trees" / _plain(fileset.name))

    def is_ours(self, fileset: FileSetSpec) -> bool:
        """See FileStore."""
        return not fileset.root(self._center)

    def tree(self, fileset: FileSetSpec) -> Tree:
        """See FileStore."""
        root = self.root(fileset)
        if self.is_ours(fileset):
            Path(root).mkdir(mode=OWN_MODE, parents=True, exist_ok=True)
        elif not self._is_allowed(root):
            raise RefusedError(
                f"{root} is not below a directory that {self._center} allows for file sets",
                code="root_not_allowed",
                remedy=f'Add it to its configuration: [files] allow = ["{PurePosixPath(root).parent}"].',
            )
        else:
            self._require_apart(root, fileset)
        os.stat(root)  # noqa: PTH116  # says at once, and why, when it is not there
        return LinuxTree(root, fileset.id)

    def _is_allowed(self, root: str) -> bool:
        """By the directories that the names really lead to, so that no link leads out."""
        real = PurePosixPath(os.path.realpath(root))
        return any(real.is_relative_to(os.path.realpath(allowed)) for allowed in self._allowed)

    def _require_apart(self, root: str, fileset: FileSetSpec) -> None:
        """No tree holds our own state, which changes with each generation, or lies in another set's tree."""
        real = Path(os.path.realpath(root))
        if Path(os.path.realpath(self._home)).is_relative_to(real):
            raise RefusedError(
                f"{root} holds what drsync itself keeps",
                code="root_not_allowed",
                remedy="Protect less of it.",
            )
        for parent in real.parents:
            mark = _mark_of(parent)
            if mark and mark != fileset.id:
                raise RefusedError(
                    f"{root} is inside of the tree of another file set, {parent}",
                    code="root_not_allowed",
                    remedy="Two sets cannot share files: move one of them.",
                )

    def index(self, fileset: FileSetSpec) -> FileIndex:
        """See FileStore."""
        self._home.mkdir(parents=True, exist_ok=True)
        return SqliteFileIndex(self._home / f"files-{fileset.id}.db")

    def watch(self, fileset: FileSetSpec) -> TreeWatch | None:
        """See FileStore."""
        try:
            return InotifyWatch(self.root(fileset))
        except OSError:
            return None  # scans find everything that hints would

    def copy_of_tree(self, place: str) -> Tree:
        """See FileStore."""
        return LinuxTree(place, "0" * 32)

    def clone_place(self, view_id: str, fileset: FileSetSpec) -> str:
        """See FileStore."""
        directory = self._views / _plain(view_id)
        directory.mkdir(mode=OWN_MODE, parents=True, exist_ok=True)
        return str(directory / _plain(fileset.name))

    def drop_clones(self, view_id: str) -> list[str]:
        """See FileStore."""
        directory = self._views / view_id
        if view_id not in self.clones():
            return []
        removed = [f"tree {path.name} of view {view_id}" for path in sorted(directory.iterdir())]
        shutil.rmtree(directory)
        return removed

    def clones(self) -> frozenset[str]:
        """See FileStore."""
        return frozenset(path.name for path in self._views.iterdir()) if self._views.is_dir() else frozenset()


def _plain(name: str) -> str:
    """A name of a directory of ours. Raises RefusedError when it leads elsewhere."""
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise RefusedError(f"{name[:64]!r} is no name of a directory", code="bad_name")
    return name


def _mark_of(directory: Path) -> str:
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return ""
    try:
        return read_mark(handle)
    finally:
        os.close(handle)
