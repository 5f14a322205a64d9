"""Checkpoints on hold of one copy (`model.hold`): put there, released, given up; durable before it is told.

A hold pins as a view does, but survives restarts, and no memory is used for it: nobody reads it until it is
opened. While one is being stored it pins already, so that images do not pass it meanwhile.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from drsync.delta.marks import Checkpoint
from drsync.engine.durable import Durable
from drsync.engine.volumes import GroupVolumes
from drsync.model.errors import RefusedError, TransientError, UsageError
from drsync.model.group import GroupSpec
from drsync.model.hold import HOLDS_MAX, Hold, LostHold
from drsync.ports.journal import Journal

LOST_KEPT: Final = 16  # because heartbeats repeat them until the process ends


class Holding(Protocol):
    """A copy, as its holds need it (`engine.copy.GroupCopy`)."""

    spec: GroupSpec
    journal: Journal
    volumes: GroupVolumes
    durable: Durable
    commit: int
    lineage: int
    is_switching: bool

    def require_sound(self) -> None:
        """Raises FailedCopyError."""
        ...

    def require_settled(self) -> None:
        """Raises TransientError while a switch is done."""
        ...

    async def store(self, change: Callable[[Durable], Durable]) -> None:
        """Change what is durable. Raises FailedCopyError, NoSpaceError."""
        ...


class Holds:
    """What one copy keeps on hold.

    Attributes:
        lost: what had to be given up, newest last, for whoever asks later.
    """

    def __init__(self, copy: Holding, center: str) -> None:
        self._copy = copy
        self._center = center
        self._coming: dict[str, Hold] = {}
        self._leaving: set[str] = set()  # told, and perhaps not stored yet
        self._lost_count = 0
        self.lost: deque[LostHold] = deque(maxlen=LOST_KEPT)

    @property
    def all(self) -> tuple[Hold, ...]:
        """Everything that pins now, oldest record first."""
        both = {hold.name: hold for hold in self._copy.durable.holds} | self._coming
        return tuple(sorted(both.values(), key=lambda hold: (hold.seq, hold.name)))

    def find(self, name: str) -> Hold | None:
        """A hold that is durable."""
        return next((hold for hold in self._copy.durable.holds if hold.name == name), None)

    async def add(self, hold: Hold) -> Hold:
        """Keep a point; durable on return. Asking again for the same returns what is there.

        Raises:
            RefusedError: another point has the name, there are too many, or the point is not here.
            TransientError: the copy becomes another log just now.
            NoSpaceError, FailedCopyError: it is not on hold.
        """
        copy = self._copy
        copy.require_sound()
        copy.require_settled()
        known = next((one for one in self.all if one.name == hold.name), None)
        if known is not None and known.seq == hold.seq and known.name not in self._coming:
            return known
        where = self._center
        if known is not None:
            raise RefusedError(
                f"{where} has record {known.seq} on hold as {hold.name}",
                code="name_taken",
                remedy="Take another name, or release that one.",
            )
        if len(self.all) >= HOLDS_MAX:
            raise RefusedError(
                f"{where} has {HOLDS_MAX} checkpoints on hold already",
                code="too_many_holds",
                remedy=f"drsync hold release {copy.spec.name} NAME --at {where}",
            )
        high = min(copy.commit, copy.journal.durable_seq)
        if not copy.volumes.reached <= hold.seq <= high or copy.journal.position_at(hold.seq) is None:
            raise RefusedError(
                f"record {hold.seq} cannot be opened at {where} any more",
                code="no_such_point",
                remedy="drsync points lists what can be opened, and where.",
            )
        lineage = copy.lineage
        self._coming[hold.name] = hold
        try:
            await copy.store(lambda d: replace(d, holds=(*d.holds, hold)))
        finally:
            del self._coming[hold.name]
        if copy.lineage != lineage or copy.is_switching or self.find(hold.name) is None:
            await self._drop(hold.name)
            raise TransientError(f"the log at {where} changed meanwhile", code="switching")
        return hold

    async def release(self, name: str) -> Hold:
        """Keep it no longer; durable on return, and only then may anything go.

        Raises:
            UsageError: there is none of that name.
            NoSpaceError, FailedCopyError: it is still on hold.
        """
        hold = self.find(name)
        if hold is None:
            names = ", ".join(one.name for one in self.all) or "none"
            raise UsageError(
                f"{self._center} has nothing on hold as {name[:64]}; there are: {names}",
                code="unknown_hold",
            )
        await self._drop(name)
        return hold

    async def give_up(self, name: str, why: str, tell: Callable[[str, str], None]) -> None:
        """Something else comes first. Told before it is done, and once: never silently.

        Raises:
            NoSpaceError, FailedCopyError: it is still on hold.
        """
        hold = self.find(name)
        if hold is None:
            return
        if name not in self._leaving:
            self._leaving.add(name)
            self._note(hold, why, tell)
        await self._drop(name)
        self._leaving.discard(name)

    async def cut(self, fork: int, tell: Callable[[str, str], None]) -> None:
        """Records above `fork` go from this log: what was on hold there is in a fork from now on."""
        gone = [hold for hold in self.all if hold.seq > fork]
        for hold in gone:
            self._note(hold, "its records were cut: they are not in the group's history", tell)
        if gone:
            await self._copy.store(up_to(fork))

    def switched(self, tell: Callable[[str, str], None]) -> None:
        """A switch is about to put another log here; it takes the holds with it (`Durable.after_switch`)."""
        for hold in self.all:
            self._note(hold, "a resync replaced the images below it", tell)

    def _note(self, hold: Hold, why: str, tell: Callable[[str, str], None]) -> None:
        text = f"{hold.name} (record {hold.seq}) is not on hold any more: {why}"
        self._lost_count += 1
        self.lost.append(LostHold(self._lost_count, text))
        tell("hold_given_up", text)

    async def _drop(self, name: str) -> None:
        await self._copy.store(lambda d: replace(d, holds=tuple(h for h in d.holds if h.name != name)))


def up_to(fork: int) -> Callable[[Durable], Durable]:
    """The superblock's value once the log ends at `fork`."""
    return lambda d: replace(d, holds=tuple(hold for hold in d.holds if hold.seq <= fork))


def as_points(known: list[Checkpoint], holds: tuple[Hold, ...]) -> list[Checkpoint]:
    """Recovery points with those on hold, whose records may have gone into the images."""
    seqs = {mark.seq for mark in known}
    more = {h.seq: h for h in holds if h.seq not in seqs}
    marks = [Checkpoint(h.seq, h.time_us, h.point, h.is_app_consistent) for h in more.values()]
    return sorted([*known, *marks], key=lambda mark: mark.seq) if marks else known
