"""The dirty sets of one copy: in memory as they are, on disk as they may be relied upon.

A set is durable in its file first, then the superblock remembers its number; only then records go that it
stands for. So a set that is found older than its number was lost, and everything of that member is unknown.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from drsync.core import dirty as marking
from drsync.core import extents
from drsync.core.dirty import DirtySet, Marks
from drsync.engine.copy import GroupCopy
from drsync.engine.dirty_entries import found, noted
from drsync.engine.threads import in_thread
from drsync.model.errors import NoSpaceError
from drsync.ports.dirty_store import StoredSet

RUNS_WITHOUT_SPACE: Final = 1_500  # in each buffer, because 64 KiB are reserved for a set on a full disk


class DirtyBook:
    """What other members may lack."""

    def __init__(self, copy: GroupCopy) -> None:
        """Reads what is stored, which is little."""
        self._copy = copy
        self._disk = copy.files.dirty_sets()
        self._now: dict[str, DirtySet] = {}
        self._durable: dict[str, DirtySet] = {}
        self._numbers: dict[str, int] = {}
        self._writing = asyncio.Lock()
        self.reread()

    def reread(self) -> None:
        """Take what is on disk: at the start, and after a switch has changed it."""
        for center in self.others():
            marked, self._numbers[center] = found(self._disk, self._copy.durable, center)
            self._now[center] = self._durable[center] = marked

    def others(self) -> list[str]:
        """The other members, in order."""
        copy = self._copy
        return sorted(member.name for member in copy.spec.members if member.name != copy.me.center)

    def of(self, center: str) -> DirtySet:
        """As it is; perhaps not durable yet."""
        return self._now.get(center, DirtySet())

    def durable(self, center: str) -> DirtySet:
        """As it would be found after a crash: only this holds or releases anything."""
        return self._durable.get(center, DirtySet())

    async def store(self, center: str, marked: DirtySet) -> None:
        """Durable on return. Whoever looks meanwhile sees it already, so that no marks are overwritten.

        Raises:
            NoSpaceError, FailedCopyError: what was durable before is what is durable.
        """
        self._now[center] = marked
        async with self._writing:
            newest = self.of(center)
            if newest == self.durable(center) and center in self._copy.durable.dirty_generations:
                return
            number = self._numbers.get(center, 0) + 1
            newest = await self._write(center, number, newest)
            self._numbers[center] = number
            await self._copy.store(lambda d: noted(d, center, newest.generation, number))
            self._durable[center] = newest

    async def _write(self, center: str, number: int, marked: DirtySet) -> DirtySet:
        try:
            await in_thread(lambda: self._disk.store_dirty(center, StoredSet(number, marking.encode(marked))))
        except NoSpaceError:
            marked = _coarse(marked)
            await in_thread(lambda: self._disk.store_dirty(center, StoredSet(number, marking.encode(marked))))
        return marked

    async def change(self, center: str, change: Callable[[DirtySet], DirtySet]) -> None:
        """Store what `change` makes of the set, if that is something else. Raises as `store`."""
        before = self.of(center)
        after = change(before)
        if after != before or after != self.durable(center):
            await self.store(center, after)


def _coarse(marked: DirtySet) -> DirtySet:
    """The set in few runs: more is sent than differs, but it has room where a set was stored before."""
    return replace(marked, older=_coarse_marks(marked.older), live=_coarse_marks(marked.live))


def _coarse_marks(marks: Marks) -> Marks:
    runs = None if marks.runs is None else extents.coarsened(marks.runs, RUNS_WITHOUT_SPACE)
    return replace(marks, runs=runs)
