"""What a simulated machine's disk holds, what a power cut leaves of it, and what is wrong with it."""

import errno
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from drsync.sim.disk_nodes import PAGE, Directory, File

Moment = Literal["before", "within", "after"]

NOTHING, EVERYTHING, MOST, ANY = (0.0, 0.0), (1.0, 1.0), (0.8, 1.0), (0.0, 1.0)
CUTS: tuple[tuple[tuple[float, float], tuple[float, float]], ...] = (
    (NOTHING, NOTHING),  # everything was written back in time
    (EVERYTHING, EVERYTHING),
    (MOST, MOST),
    (ANY, ANY),
    (ANY, NOTHING),  # content without names: a file system that writes its directories last
    (NOTHING, ANY),  # names without content: one that writes its journal first
)
"""Kinds of power cuts: chances of an unsynced change of a directory, and of a file, to be hit. As likely."""
WORK_CALLS = 3  # disk calls in the work of a thread, because a sync of a journal makes about so many


@dataclass(slots=True)
class Faults:
    """What goes wrong on a disk, as chances per call unless told otherwise.

    Attributes:
        dice: that decide.
        where: only files whose path contains this, by the name under which they were opened.
        write_error: a write or another change fails; of a write a part may have been done.
        read_error: a read fails.
        sync_error: a sync fails.
        sync_error_at: this sync from now fails in any case; 0 for none.
        sync_loss: of the changes in a failed sync, how many never reach the disk though they look clean.
        misdirected: a write goes somewhere else, in its file or another, and is told as done.
        flipped_read: one bit is wrong, this time.
        stall: a call takes `stall_s`.
        stall_s: the shortest and the longest, in seconds.
        hang: work in a thread takes `hang_s`, while the process goes on beside it.
        hang_s: the shortest and the longest, in seconds.
        hangs_left: how often that may still happen.
        seen: what happened, oldest first, as text.
        damaged: paths that hold other bytes than were written.
    """

    dice: random.Random
    where: str = ""
    write_error: float = 0.0
    read_error: float = 0.0
    sync_error: float = 0.0
    sync_error_at: int = 0
    sync_loss: float = 1.0
    misdirected: float = 0.0
    flipped_read: float = 0.0
    stall: float = 0.0
    stall_s: tuple[float, float] = (0.1, 30.0)
    hang: float = 0.0
    hang_s: tuple[float, float] = (1.0, 30.0)
    hangs_left: int = 1
    seen: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    def happens(self, chance: float, path: str, what: str) -> bool:
        """Whether it does, now; noted if so."""
        if not chance or self.where not in path or self.dice.random() >= chance:
            return False
        self.seen.append(f"{what} {path}")
        return True

    def fails_sync(self, path: str) -> bool:
        """Whether this sync fails."""
        if self.where not in path:
            return False
        if self.sync_error_at:
            self.sync_error_at -= 1
            if not self.sync_error_at:
                self.seen.append(f"sync error {path}")
                return True
        return self.happens(self.sync_error, path, "sync error")


class User(Protocol):
    """A process that uses a disk."""

    def die(self) -> None:
        """It is gone, with its descriptors and locks."""
        ...


class Disk:
    """A machine's disk.

    Attributes:
        root: the directory ``/``.
        capacity: bytes, or None for more than anybody needs.
        troubles: everything that goes wrong, each until somebody ends it.
        loss: the least and the greatest chance of an unsynced change to be hit in a power cut; None: one of
            `CUTS`, each time.
        calls: how many of each kind there were.
        doom: the call from now that ends the process that makes it, and when in it.
        users: processes that have files on it.
        failed_syncs: how many there were.
        is_brief: a sync is said to take no longer than a turn of a thread.
        has_ring: the kernel can sync beside a loop.
    """

    def __init__(self, capacity: int | None = None) -> None:
        self.root = Directory()
        self.capacity = capacity
        self.troubles: list[Faults] = []
        self.loss: tuple[float, float] | None = None
        self.calls: Counter[str] = Counter()
        self.doom: tuple[int, Moment] | None = None
        self.users: list[User] = []
        self.failed_syncs = 0
        self.is_brief = False
        self.has_ring = False

    @property
    def faults(self) -> Faults | None:
        """What goes wrong, the newest of it; setting it ends everything else."""
        return self.troubles[-1] if self.troubles else None

    @faults.setter
    def faults(self, faults: Faults | None) -> None:
        self.troubles = [] if faults is None else [faults]

    def trouble(self, faults: Faults) -> None:
        """Something more goes wrong, until `relieve`."""
        self.troubles.append(faults)

    def relieve(self, faults: Faults) -> None:
        """This is over; what else goes wrong goes on. Without effect when it is over already."""
        self.troubles = [one for one in self.troubles if one is not faults]

    def late_s(self) -> float:
        """By how many seconds the work of a thread is late now; its process goes on meanwhile."""
        late = 0.0
        for faults in self.troubles:
            if faults.happens(faults.stall * WORK_CALLS, "", "late work"):
                late += faults.dice.uniform(*faults.stall_s)
            if faults.hangs_left and faults.happens(faults.hang, "", "hung work"):
                faults.hangs_left -= 1
                late += faults.dice.uniform(*faults.hang_s)
        return late

    def die_at(self, number: int, moment: Moment = "before") -> None:
        """The `number`-th call from now (from 1) that changes or syncs something ends its process."""
        self.doom = (number, moment)

    def doomed(self) -> Moment | None:
        """Count a call; whether, and when in it, its process dies."""
        if self.doom is None:
            return None
        left, moment = self.doom
        self.doom = (left - 1, moment) if left > 1 else None
        return None if left > 1 else moment

    def power_cut(self, dice: random.Random) -> None:
        """The machine loses power: processes are gone; of what was not synced any part may be.

        What was synced stays: content and length of a file by a sync of the file, names by a sync of their
        directory. Nothing orders other changes.
        """
        for user in list(self.users):
            user.die()
        of_names, of_content = self._chances(dice)
        for _, directory in self._directories():
            directory.lose(dice, of_names)
        for _, file in self.files():
            file.lose(dice, of_content)

    def _chances(self, dice: random.Random) -> tuple[float, float]:
        """Of an unsynced change of a directory, and of a file, to be hit in this power cut."""
        if self.loss is not None:
            chance = dice.uniform(*self.loss)
            return chance, chance
        names, content = dice.choice(CUTS)
        return dice.uniform(*names), dice.uniform(*content)

    def snapshot(self) -> Directory:
        """What is on it, with what is not durable yet. Cheap, and as often restored as wanted."""
        return self.root.copy({})

    def restore(self, snapshot: Directory) -> None:
        """Back to what was; a power cut, as a restored machine sees it, is the caller's."""
        for user in list(self.users):
            user.die()
        self.root = snapshot.copy({})

    def evict(self) -> None:
        """Clean pages are dropped from memory: what a failed sync lost shows itself."""
        for _, file in self.files():
            file.evict()

    def flip(self, path: Path, offset: int, bit: int = 0) -> None:
        """A bit rots. Raises OSError."""
        self.file(path).flip(offset, bit)

    @property
    def is_damaged(self) -> bool:
        """Whether it holds, or may be about to hold, other bytes than were written."""
        return self.is_lying or any(file.is_damaged for _, file in self.files())

    @property
    def is_lying(self) -> bool:
        """Whether it writes to wrong places or reads wrongly."""
        return any(faults.misdirected or faults.flipped_read for faults in self.troubles)

    def room(self) -> int | None:
        """Free pages; None for as many as anybody wants."""
        if self.capacity is None:
            return None
        return self.capacity // PAGE - sum(file.blocks for _, file in self.files())

    def file(self, path: Path) -> File:
        """The file of that name. Raises FileNotFoundError, IsADirectoryError."""
        node = self.find(path)
        if not isinstance(node, File):
            raise refused(errno.EISDIR, path)
        return node

    def directory(self, path: Path) -> Directory:
        """The directory of that name. Raises FileNotFoundError, NotADirectoryError."""
        node = self.find(path)
        if not isinstance(node, Directory):
            raise refused(errno.ENOTDIR, path)
        return node

    def find(self, path: Path) -> File | Directory:
        """What has that name. Raises FileNotFoundError, NotADirectoryError."""
        node: File | Directory = self.root
        for name in path.parts[1:]:
            if not isinstance(node, Directory):
                raise refused(errno.ENOTDIR, path)
            if name not in node.entries:
                raise refused(errno.ENOENT, path)
            node = node.entries[name]
        return node

    def files(self) -> Iterator[tuple[str, File]]:
        """Every file and its path, in the order in which they were made."""
        for path, directory in self._directories():
            for name, node in directory.entries.items():
                if isinstance(node, File):
                    yield f"{path}/{name}", node

    def _directories(self) -> Iterator[tuple[str, Directory]]:
        waiting = [("", self.root)]
        while waiting:
            path, directory = waiting.pop()
            yield path, directory
            # After the caller had it: a power cut may have taken names from it.
            found = [(f"{path}/{name}", node) for name, node in directory.entries.items()]
            waiting += [(name, node) for name, node in reversed(found) if isinstance(node, Directory)]


def refused(code: int, path: Path | str = "") -> OSError:
    """The error of a system call."""
    return OSError(code, os.strerror(code), str(path)) if path else OSError(code, os.strerror(code))
