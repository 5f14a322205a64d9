"""A copy that fell behind and a stage that brings it level, on a simulated disk, with models of both."""

import random
from dataclasses import dataclass, field

from drsync.adapters.segments.journal import SEGMENT_BYTES_MIN
from drsync.agent.copy_store import FileCopyStore
from drsync.core import extents
from drsync.core.extents import GRANULE, Extents
from drsync.delta.batch import BatchBuilder, EncodedBatch
from drsync.engine.copy import GroupCopy, Self
from drsync.engine.switch import Switch
from drsync.model.charter import Charter
from drsync.model.epoch import Epoch
from drsync.model.group import GroupSpec, VolumeSpec
from drsync.model.position import ORIGIN, EpochStart, Position
from drsync.ports.stage import Stage, StageInfo
from drsync.sim.disk import Disk
from drsync.sim.disk_files import DiskFiles
from tests.sim.copies import HOME

BLOCK = 4096
SHORT = 2 * BLOCK  # bytes of the last granule
VOLUME = VolumeSpec("cd" * 16, "disk", 5 * GRANULE + SHORT, 0)
GROUP = GroupSpec("ab" * 16, "orders", (VOLUME,), (), "production")
OLD, NEW = Epoch(1), Epoch(2)
SESSION = "5e" * 16
FORK = "fork-2-4"
BOOT = "boot"


@dataclass
class Log:
    """A log and what its volume holds after each batch.

    Attributes:
        batches: encoded, oldest first.
        content: of the volume, by record.
    """

    tip: Position = ORIGIN
    batches: list[EncodedBatch] = field(default_factory=list)
    content: dict[int, bytes] = field(default_factory=lambda: {0: bytes(VOLUME.size)})
    touched: dict[int, Extents] = field(default_factory=dict)

    def branch(self) -> "Log":
        """Another log that begins as this one."""
        return Log(self.tip, list(self.batches), dict(self.content), dict(self.touched))

    def write(self, epoch: Epoch, offset: int, data: bytes) -> None:
        """One more record."""
        builder = BatchBuilder()
        builder.reset(epoch, self.tip.seq + 1, self.tip.chain)
        builder.add_write(0, offset, memoryview(data), 0)
        before = self.content[self.tip.seq]
        batch = builder.finish(1)
        batch = EncodedBatch([bytes(part) for part in batch.parts], *batch[1:])
        self.batches.append(batch)
        self.tip = batch.end
        self.content[self.tip.seq] = before[:offset] + data + before[offset + len(data) :]
        self.touched[self.tip.seq] = extents.extent(0, offset, len(data))

    def at(self, seq: int) -> Position:
        """The position after record `seq`."""
        return next((batch.end for batch in self.batches if batch.end.seq == seq), ORIGIN)

    def changed(self, after: int, through: int) -> Extents:
        """Granules that records in (`after`, `through`] touch."""
        return extents.union(*(self.touched[seq] for seq in range(after + 1, through + 1)))


def logs(dice: random.Random) -> tuple[Log, Log]:
    """Our log, which forked after record 4, and the source's."""
    common = Log()
    for number in range(4):
        common.write(OLD, dice.randrange(VOLUME.size // BLOCK) * BLOCK, bytes([number + 1]) * BLOCK)
    ours, theirs = common, common.branch()
    for number in range(3):
        ours.write(OLD, dice.randrange(VOLUME.size // BLOCK) * BLOCK, bytes([number + 0x40]) * BLOCK)
    for number in range(9):
        offset = dice.randrange(VOLUME.size // BLOCK - 1) * BLOCK
        theirs.write(NEW, offset, bytes([number + 0x80]) * (BLOCK * dice.randrange(1, 3)))
    return ours, theirs


P0, P1, F = 9, 13, 4
HISTORY = (EpochStart(OLD, "0" * 32, 0, bytes(16)),)


def store_on(disk: Disk) -> FileCopyStore:
    """For a new process."""
    return FileCopyStore(HOME, "cluster", "remote", DiskFiles(disk), SEGMENT_BYTES_MIN)


def opened(disk: Disk, boot: str = BOOT) -> GroupCopy:
    """The copy, opened by a new process."""
    return GroupCopy.open(Self("remote", "5" * 32, boot), GROUP, store_on(disk), "1" * 32, 0.0)


def fill(copy: GroupCopy, log: Log) -> None:
    """Append a log, durably."""
    for batch in log.batches:
        copy.journal.append(batch.parts, batch.first_seq, batch.end)
    copy.journal.sync()
    copy.journal.export_tail(F, FORK)


def put_aside(copy: GroupCopy, ours: Log, theirs: Log, dice: random.Random) -> Stage:
    """What a source sends: granules as they were at some time between p0 and p1, and the redo."""
    info = StageInfo(SESSION, 3, NEW, 0, theirs.at(P0), ours.tip, F)
    stage = copy.files.new_stage(GROUP, info)
    for run in extents.union(ours.changed(F, ours.tip.seq), theirs.changed(F, P0)):
        for granule in range(run.first, run.end):
            content = theirs.content[dice.randrange(P0, P1 + 1)]
            data = content[granule * GRANULE : (granule + 1) * GRANULE]
            if any(data):
                stage.put(0, granule * GRANULE, data)
            else:
                stage.zero(0, granule, granule + 1)
    redo = stage.redo()
    for batch in theirs.batches[P0:P1]:
        redo.append(batch.parts, batch.first_seq, batch.end)
    return stage


def put_everything_aside(copy: GroupCopy, ours: Log, theirs: Log, dice: random.Random) -> Stage:
    """The same to a target that is asked for nothing; of what is zeros some was something else before."""
    info = StageInfo(SESSION, 3, NEW, 0, theirs.at(P0), ours.tip, F, is_everything=True)
    stage = copy.files.new_stage(GROUP, info)
    for granule in range(-(-VOLUME.size // GRANULE)):
        content = theirs.content[dice.randrange(P0, P1 + 1)]
        data = content[granule * GRANULE : (granule + 1) * GRANULE]
        if any(data):
            stage.put(0, granule * GRANULE, data)
        elif granule % 2:
            stage.put(0, granule * GRANULE, b"former" * (len(data) // 6) + bytes(len(data) % 6))
            stage.sync()
            stage.zero(0, granule, granule + 1)
    redo = stage.redo()
    for batch in theirs.batches[P0:P1]:
        redo.append(batch.parts, batch.first_seq, batch.end)
    return stage


def word(stage: Stage, theirs: Log, *, is_renamed: bool = False) -> Switch:
    """The switch to p1."""
    size, info = extents.size(stage.staged), stage.session
    p0, p1 = theirs.at(P0), theirs.at(P1)
    return Switch(SESSION, 3, NEW, p0, p1, size, F, info.is_everything, is_renamed=is_renamed)


def charter(theirs: Log) -> Charter:
    """By which the source owns."""
    history = (*HISTORY, EpochStart(NEW, "1" * 32, F, theirs.at(F).chain))
    return Charter(GROUP, 2, owner="production", epoch=NEW, history=history)


def read(copy: GroupCopy) -> bytes:
    """What an opening at the tip would serve."""
    copy.volumes.forget_above_images()
    while copy.volumes.record_slice(copy.journal.tip.seq):
        pass
    target = bytearray(VOLUME.size)
    copy.volumes.views[0].read_into(0, memoryview(target))
    return bytes(target)
