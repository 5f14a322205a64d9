"""One copy on a simulated disk with its keeper and its fold loop, driven step by step, in one thread."""

from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from drsync.agent.copy_store import FileCopyStore
from drsync.core.extents import GRANULE
from drsync.delta.batch import BatchBuilder, Kind
from drsync.delta.marks import checkpoint_payload
from drsync.engine import copy as copies
from drsync.engine import dirty_book, fold, retention
from drsync.engine.copy import GroupCopy, Self
from drsync.engine.fold import Folder
from drsync.engine.retention import Keeper
from drsync.engine.views import Views
from drsync.model.epoch import Epoch
from drsync.model.errors import DrsyncError
from drsync.model.group import GroupPolicy, GroupSpec, VolumeSpec
from drsync.model.topology import Center, Designation
from drsync.sim.disk import Disk
from drsync.sim.disk_files import DiskFiles

T = TypeVar("T")
HOME = Path("/var/lib/drsync/groups/g1")
SEGMENT = 64 << 10
PAYLOAD = 20_480  # so that a smallest segment holds three records
GRANULES = 48
CENTERS = (
    Center("A", Designation.PRODUCTION, "here"),
    Center("B", Designation.SAME_CITY, "here"),
    Center("C", Designation.REMOTE, "there"),
)
POLICY = GroupPolicy(journal_quota_bytes=6 * SEGMENT, window_s=0.0)
SPEC = GroupSpec(
    "g1", "orders", (VolumeSpec("v1", "disk", GRANULES * GRANULE, 0),), CENTERS, "A", policy=POLICY
)


class Enough(BaseException):  # ends a loop that has no end
    """The rounds that were asked for are over."""


def drive(work: Coroutine[object, None, T]) -> T:
    """Run it to its end; nothing in it waits for anybody."""
    while True:
        try:
            work.send(None)
        except StopIteration as stop:
            result: T = stop.value
            return result


async def at_once(work: Callable[[], T]) -> T:
    """`in_thread` without a thread."""
    return work()


def without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a death in any call is a death of everything."""
    for module in (copies, dirty_book, fold, retention):
        monkeypatch.setattr(module, "in_thread", at_once)


@dataclass
class StillClock:
    """Time goes on by what is slept."""

    at: float = 100.0
    left: int = 0

    def now(self) -> float:
        return self.at

    def wall_us(self) -> int:
        return int(self.at * 1e6)

    async def sleep_until(self, instant: float) -> None:
        if not self.left:
            raise Enough
        self.left -= 1
        self.at = max(self.at, instant)

    def until_round(self, period_s: float, slack_s: float = 0.0) -> float:
        return period_s


@dataclass
class Log:
    commit: int
    durable: int


@dataclass
class Engine:
    log: Log
    room: int | None = None
    is_full: bool = False

    def set_room(self, room: int | None) -> None:
        self.room, self.is_full = room, room == 0


class Level:
    """No peer is behind; rounds are not to rest."""

    is_calm = False

    def to_count(self) -> list[str]:
        return []


@dataclass
class Ownership:
    """What a keeper asks of a term."""

    engine: Engine
    enforcer: Level = field(default_factory=Level)
    converted_centers: list[tuple[str, int]] = field(default_factory=list)
    stalled: str = ""

    def converted(self, center: str, through: int) -> None:
        self.converted_centers.append((center, through))

    def stall(self, reason: str) -> None:
        self.stalled = reason


class Bench:
    """A process with the copy of B; `is_owner` says in which part."""

    def __init__(self, disk: Disk, *, spec: GroupSpec = SPEC, me: str = "B", is_owner: bool = False) -> None:
        self.disk = disk
        self.files = DiskFiles(disk)
        store = FileCopyStore(HOME, "cluster", me, self.files, SEGMENT)
        self.copy = GroupCopy.open(Self(me, "session", "boot"), spec, store, "incarnation", 0.0)
        self.views = Views(self.copy)
        self.told: list[str] = []
        self.given_up: list[str] = []
        self.trouble: list[DrsyncError] = []
        self.clock = StillClock()
        self.keeper = Keeper(
            self.copy,
            self.views,
            lambda event, reason: self.told.append(f"{event}: {reason}"),
            lambda view_id, why: self.given_up.append(view_id),
        )
        self.folder = Folder(self.copy, self.keeper, self.clock, self.trouble.append)
        self.term = Ownership(Engine(Log(0, 0))) if is_owner else None
        self.folder.term = self.term  # type: ignore[assignment]  # as much of a term as is asked for
        self.copy.commit = self.copy.journal.tip.seq

    def write(self, granule: int) -> int:
        """A committed record; its number."""
        builder = BatchBuilder()
        tip = self.copy.journal.tip
        builder.reset(Epoch(1), tip.seq + 1, tip.chain)
        builder.add_write(0, granule * GRANULE, memoryview(bytes([granule]) * PAYLOAD), 0)
        return self._append(builder)

    def checkpoint(self) -> int:
        """A checkpoint of now; its record."""
        builder = BatchBuilder()
        tip = self.copy.journal.tip
        builder.reset(Epoch(1), tip.seq + 1, tip.chain)
        builder.add_control(Kind.CHECKPOINT, checkpoint_payload("", is_app_consistent=False))
        return self._append(builder)

    def _append(self, builder: BatchBuilder) -> int:
        batch = builder.finish(self.clock.wall_us())
        raw = b"".join(batch.parts)
        self.copy.journal.append([raw], batch.first_seq, batch.end)
        if batch.first_seq == batch.last_seq:
            self.copy.note_marks(raw)
        if self.term is not None:
            drive(self.copy.volumes.record_through(batch.last_seq))
        self.copy.commit = batch.last_seq
        return batch.last_seq

    def sync(self) -> None:
        """Make the log durable."""
        drive(self.copy.sync())
        if self.term is not None:
            self.term.engine.log = Log(self.copy.commit, self.copy.journal.durable_seq)

    def rounds(self, count: int = 4) -> None:
        """Rounds of the fold loop, two seconds of it by default, and the sync that unlinks what went."""
        self.clock.left = count
        with suppress(Enough):
            drive(self.folder.run())
        self.sync()

    def die(self) -> None:
        """The process is gone."""
        self.files.die()
