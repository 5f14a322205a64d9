"""INV-11 and INV-15, from the disks alone: what a start would find on each, at any moment.

A disk is copied, on half of the occasions as a power cut would leave it, and the copy on it is opened as an
agent that starts would open it: a switch that is recorded is done to its end. What is found then must be what
the log says at its position; and of any two members one must be able to tell what the other lacks.
"""

import random
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

from drsync.agent.copies import DiskCopies
from drsync.core import extents
from drsync.core.extents import Extents
from drsync.engine import dirty_entries
from drsync.engine.copy import GroupCopy, Self
from drsync.engine.durable import Durable
from drsync.model.copy import CopyState
from drsync.model.errors import DrsyncError, FailedCopyError, NoSpaceError
from drsync.model.position import EpochRun, History, Runs
from drsync.ports.copy_store import CopyStore
from drsync.sim.agent import SEGMENT_BYTES, STATE_DIR
from drsync.sim.character import CLUSTER, GROUP_ID, NAMES
from drsync.sim.client import content_of, place_of
from drsync.sim.disk import Disk
from drsync.sim.disk_files import DiskFiles
from drsync.sim.invariants.holdings import Holdings
from drsync.sim.invariants.images import first_wrong
from drsync.sim.invariants.space import common
from drsync.sim.ledger import ViolationError

if TYPE_CHECKING:
    from drsync.sim.world import World

POWER_CUT_RATE = 0.5  # because what the page cache holds is one thing, and what is durable another
STEPS_MAX = 10_000  # slices of a log, because one that does not end is a fault as well


@dataclass(frozen=True, slots=True)
class Found:
    """What a start found on a disk.

    Attributes:
        durable: its superblock.
        history: of its log.
        runs, tip, trimmed: its log, and the last record that it holds no longer.
        marks: for each other member what may differ; None: not known.
        since, through: for each, the records that its marks stand for.
        later: granules that the journal touches: volume, number.
    """

    durable: Durable
    history: History
    runs: Runs
    tip: int
    trimmed: int
    marks: dict[str, Extents | None]
    since: dict[str, int]
    through: dict[str, int]
    later: frozenset[tuple[int, int]]


class Disks:
    """The disks of all members."""

    def __init__(self, world: "World", holdings: Holdings) -> None:
        self._world = world
        self._holdings = holdings
        self._dice = world.new_dice("disks")
        self.looks = 0

    def look(self, name: str) -> Found | None:
        """INV-15 at one member; what was found there. Raises ViolationError."""
        world, host = self._world, self._world.hosts[name]
        if name in world.harmed or host.disk.troubles or host.disk.is_damaged:
            return None
        self.looks += 1
        twin = Disk()
        twin.restore(host.disk.snapshot())
        is_cut = self._dice.random() < POWER_CUT_RATE
        if is_cut:
            twin.power_cut(random.Random(self._dice.random()))
        how = "after a power cut" if is_cut else "as it is"
        try:
            return self._open(name, twin, how)
        except NoSpaceError:
            return None  # somebody has to make room
        except DrsyncError as error:
            raise ViolationError("INV-15", f"the copy of {name}, {how}, cannot be opened: {error}") from error

    def _open(self, name: str, disk: Disk, how: str) -> Found | None:
        store = DiskCopies(STATE_DIR, CLUSTER, name, DiskFiles(disk), SEGMENT_BYTES).store(GROUP_ID)
        raw = store.superblock().load() if GROUP_ID in self._ids(disk) else None
        if raw is None:
            return None
        before = Durable.decode(raw)
        if before.charter is None or before.failure or before.amnesic:
            return None
        me = Self(name, "outside", "another boot")
        copy = GroupCopy.open(me, before.charter.group, store, before.incarnation, 0.0)
        if copy.state is CopyState.FAILED:
            raise FailedCopyError(copy.failure)
        # A candidate may have been given records of a later epoch than the one that it follows.
        newest = max(copy.durable.follow, copy.journal.tip.epoch)
        history = self._world.ledger.lineage(newest, before.charter.history)
        content = self._content(copy)
        wrong = first_wrong(self._world, content, history, copy.journal.tip.seq)
        if wrong:
            during = ", opened in the middle of a switch" if before.switch is not None else ""
            raise ViolationError("INV-15", f"the copy of {name}, {how}{during}, is wrong: {wrong}")
        return self._found(name, copy, store, history)

    def _ids(self, disk: Disk) -> list[str]:
        try:
            return sorted(disk.directory(STATE_DIR / "groups").entries)
        except FileNotFoundError:
            return []

    def _content(self, copy: GroupCopy) -> bytearray:
        for _ in range(STEPS_MAX):
            if not copy.volumes.record_slice(copy.journal.tip.seq):
                break
        return content_of(copy.volumes.views)

    def _found(self, name: str, copy: GroupCopy, store: CopyStore, history: History) -> Found:
        journal = copy.journal
        marks, since, through = {}, {}, {}
        for other in NAMES:
            if other != name:
                marked, _ = dirty_entries.found(store.dirty_sets(), copy.durable, other)
                marks[other], since[other], through[other] = marked.runs, marked.since, marked.through
        trimmed = journal.first_seq - 1
        later = frozenset(
            (volume, granule)
            for volume, ranges in journal.changed(trimmed, journal.tip.seq).items()
            for offset, length in ranges
            for run in extents.extent(volume, offset, length)
            for granule in range(run.first, run.end)
        )
        tip = journal.tip
        runs = journal.runs or (EpochRun(tip.epoch, tip.seq, tip.seq, tip.chain),)
        return Found(copy.durable, history, runs, tip.seq, trimmed, marks, since, through, later)

    # --- pairs

    def look_at_pairs(self) -> None:
        """INV-11 for every ordered pair. Raises ViolationError."""
        self._look_at_all_of(NAMES)

    def look_at_two(self) -> None:
        """INV-11 for two members that dice choose, which costs less. Raises ViolationError."""
        self._look_at_all_of(tuple(self._dice.sample(NAMES, 2)))

    def _look_at_all_of(self, names: tuple[str, ...]) -> None:
        found = {name: self.look(name) for name in names}
        for name, other in permutations(names, 2):
            one, two = found[name], found[other]
            if one is not None and two is not None:
                self._look_at_pair(name, one, other, two)

    def _look_at_pair(self, name: str, one: Found, other: str, two: Found) -> None:
        """What `one` changed since what both have is in its journal, or marked for the other."""
        incarnation, cursor = one.durable.cursors.get(other, ("", 0))
        if incarnation not in ("", two.durable.incarnation):
            return  # it met another disk of the other: a blank one is sent everything
        fork = min(common(two.runs, one.history), one.tip)
        is_same_log = one.durable.follow == two.durable.follow
        is_sealed = two.durable.promised > two.durable.follow  # its log is cut before it follows
        if is_same_log and not is_sealed and cursor > two.tip:
            raise ViolationError(
                "INV-11", f"{name} stored that {other} holds record {cursor}, and it has only {two.tip}"
            )
        marks = one.marks[other]
        if marks is None:
            return  # everything may differ: digests will tell
        if fork < one.trimmed and not one.since[other] <= fork <= one.trimmed <= one.through[other]:
            if (is_same_log or fork == two.tip) and fork >= cursor:
                raise ViolationError(
                    "INV-11",
                    f"{name} holds records after {one.trimmed} and marks of {one.since[other]} to "
                    f"{one.through[other]} for {other}, which has only {fork}",
                )
            return  # it will be noticed, and digests will tell
        marked = {(run.volume, granule) for run in marks for granule in range(run.first, run.end)}
        told = one.later | marked
        for slot in self._world.application.places:
            volume, offset = place_of(slot)
            if (volume, offset // extents.GRANULE) in told:
                continue
            content = self._world.ledger.content
            here, there = content(one.history, one.tip, slot), content(one.history, fork, slot)
            if here != there:
                raise ViolationError(
                    "INV-11",
                    f"{name} holds {here} in slot {slot}, {other} at record {fork} holds {there}, "
                    f"and neither journal (from {one.trimmed + 1}) nor marks of {name} tell so",
                )
