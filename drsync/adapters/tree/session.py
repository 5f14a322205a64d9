"""What is held while a tree is changed: its root, the area beside it, and what is not durable yet."""

import os
from collections.abc import Iterable

from drsync.adapters.tree import kernel
from drsync.adapters.tree.area import Area, open_area
from drsync.adapters.tree.beneath import NO_NAME, Beneath, handle_path
from drsync.adapters.tree.root import Root
from drsync.model.fileset import Entry

SYNCED_ONE_BY_ONE_MAX = (
    32  # because from about there one sync of the file system is faster than many of files
)


class Session:
    """From the first change to `finish`: nobody can unmount the file system in between.

    Attributes:
        root, area: held.
        relinked: inodes that got or lost a name here, which changed the change time of their other names.
    """

    def __init__(self, root: Root, fileset: str, *, is_first: bool) -> None:
        self.root: Beneath = root.take()
        try:
            self.area = Area(open_area(root.path, self.root, fileset))
        except BaseException:
            self.root.close()
            raise
        self.relinked: set[int] = set()
        self._unsynced = set(self.area.sealed)
        # What a process before this one changed is not known, so the first sync takes everything.
        self._is_all_touched = is_first
        self._touched: dict[bytes, int] = {}
        self._changed: set[bytes] = set()

    def close(self) -> None:
        """Give the handles back."""
        self.area.close()
        self.root.close()

    def sealed(self, key: str) -> None:
        """A staged file is complete, and not durable."""
        self._unsynced.add(key)

    def sync_sealed(self) -> None:
        """Make sealed files durable: before that none of them may replace anything."""
        names = [self.area.sealed[key] for key in self._unsynced if key in self.area.sealed]
        if len(names) > SYNCED_ONE_BY_ONE_MAX:
            kernel.sync_file_system(self.area.handle)
        elif names:
            for name in names:
                _sync(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self.area.handle))
            os.fsync(self.area.handle)
        self._unsynced.clear()

    def touching(self, directory: int, path: bytes) -> None:
        """The directory that `path` is in is about to change; its time comes back in `set_times`."""
        parent = path.rpartition(b"/")[0]
        if parent not in self._touched:
            self._touched[parent] = os.fstat(directory).st_mtime_ns

    def changed(self, path: bytes) -> None:
        """The attributes of `path` changed in place."""
        self._changed.add(path)

    def set_times(self, directories: Iterable[Entry]) -> None:
        """The times of `directories`, and for others that were touched, the one they had."""
        times = dict(self._touched)
        times.update((entry.path, entry.mtime_ns) for entry in directories)
        for path, mtime_ns in times.items():
            self._set_time(path, mtime_ns)
            self._touched.setdefault(path, mtime_ns)

    def _set_time(self, path: bytes, mtime_ns: int) -> None:
        try:
            with self.root.holding(path, os.O_PATH | os.O_DIRECTORY) as handle:
                os.utime(handle_path(handle), ns=(mtime_ns, mtime_ns))
        except OSError as error:
            if error.errno not in NO_NAME:  # else it is gone, or no directory any more
                raise

    def sync_tree(self) -> None:
        """Make all changes durable."""
        paths = self._touched.keys() | self._changed
        if self._is_all_touched or len(paths) > SYNCED_ONE_BY_ONE_MAX:
            kernel.sync_file_system(self.root.handle)
        else:
            for path in paths:
                self._sync_path(path)
            os.fsync(self.area.handle)
        self._is_all_touched = False
        self._touched.clear()
        self._changed.clear()

    def _sync_path(self, path: bytes) -> None:
        try:
            handle = self.root.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:  # not ours to read, or gone: the file system as a whole then
            kernel.sync_file_system(self.root.handle)
        else:
            _sync(handle)


def _sync(handle: int) -> None:
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
