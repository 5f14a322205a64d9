"""A small copy on a simulated disk: what it does, what it stated, and what must be true of it ever after."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from drsync.adapters.segments.journal import SEGMENT_BYTES_MIN
from drsync.adapters.segments.segment import file_name
from drsync.agent.copy_store import FileCopyStore
from drsync.delta.batch import BatchBuilder, EncodedBatch, split, verify
from drsync.model.epoch import Epoch
from drsync.model.group import GroupSpec, VolumeSpec
from drsync.model.position import ORIGIN, Position
from drsync.ports.journal import Image, Journal, Superblock
from drsync.sim.disk import Disk
from drsync.sim.disk_files import DiskFiles
from drsync.sim.disk_nodes import SECTOR

STATE_DIR = Path("/var/lib/drsync")
HOME = STATE_DIR / "groups" / "g1"
BLOCK = 4096
BLOCKS = 4
VOLUME = VolumeSpec("v1", "orders", (BLOCKS + 1) * BLOCK, 0)  # nothing is ever written to the last block
GROUP = GroupSpec("g1", "orders", (VOLUME,), (), "production")
FORK_AT = 5
PAYLOAD_BYTES = 20_000  # so that a smallest segment holds three


def formatted() -> Disk:
    """A disk of a machine on which drsync was installed."""
    disk = Disk()
    files = DiskFiles(disk)
    for path in (*reversed(STATE_DIR.parents), STATE_DIR):
        if path.name:
            files.make_directory(path)
            parent = files.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            files.fsync(parent)
            files.close(parent)
    files.die()
    disk.calls.clear()
    return disk


def encode(tip: Position, number: int, epoch: int) -> EncodedBatch:
    """A batch of one record."""
    builder = BatchBuilder()
    builder.reset(Epoch(epoch), tip.seq + 1, tip.chain)
    builder.add_write(0, 0, memoryview(bytes([number % 256]) * PAYLOAD_BYTES), 0)
    return builder.finish(0)


@dataclass
class Stated:
    """What the world has heard from a copy, through all its processes.

    Attributes:
        log: chain of every record that was appended, the one in flight included.
        former: the log before a cut that nobody knows to have happened.
        durable: records that survive everything.
        stored: values of the superblock that may be found: the last one, and one in flight.
        applied: records whose blocks are in the image for good.
        is_forking: a fork was asked for.
        is_forked: the fork is there for good.
    """

    log: dict[int, bytes] = field(default_factory=dict)
    former: dict[int, bytes] | None = None
    durable: int = 0
    stored: list[bytes | None] = field(default_factory=lambda: [None])
    applied: int = 0
    is_forking: bool = False
    is_forked: bool = False


class Copy:
    """One process with the copy."""

    def __init__(self, disk: Disk, stated: Stated) -> None:
        """Open it as the engine does: what was loaded is stored again before anything relies on it."""
        self.stated = stated
        self.files = DiskFiles(disk)
        store = FileCopyStore(HOME, "cluster", "production", self.files, SEGMENT_BYTES_MIN)
        self.superblock: Superblock = store.superblock()
        raw = self.superblock.load()
        assert raw in stated.stored, f"found {raw!r}, stored were {stated.stored}"
        value: dict[str, int] = json.loads(raw) if raw is not None else {"durable": 0, "applied": 0}
        self.hint, self.applied = value["durable"], value["applied"]
        self.store_value()
        self.journal: Journal = store.journal(GROUP, "0" * 32, self.hint)
        self.image: Image = store.image(VOLUME)

    def store_value(self) -> None:
        """Make hint and applied position durable."""
        value = json.dumps({"durable": self.hint, "applied": self.applied}).encode()
        self.stated.stored.append(value)
        self.superblock.store(value)
        self.stated.stored = [value]

    def append(self, count: int, epoch: int) -> None:
        """Add batches of one record each."""
        for _ in range(count):
            batch = encode(self.journal.tip, self.journal.tip.seq + 1, epoch)
            self.stated.log[batch.end.seq] = batch.end.chain
            self.journal.append(batch.parts, batch.first_seq, batch.end)

    def sync(self) -> None:
        """Journal, then superblock."""
        self.hint = self.journal.sync()
        self.stated.durable = self.hint
        self.store_value()

    def apply(self) -> None:
        """Bring the image up to what is durable."""
        for seq in range(self.applied + 1, self.journal.durable_seq + 1):
            self.image.write(seq % BLOCKS * BLOCK, [bytes([seq % 256]) * BLOCK])
        self.image.sync()
        self.stated.applied = self.applied = self.journal.durable_seq
        self.store_value()

    def fork(self) -> None:
        """Records are put aside; what was put aside already stays."""
        self.stated.is_forking = True
        self.journal.export_tail(FORK_AT, "fork")
        self.stated.is_forked = True

    def cut(self, after_seq: int) -> None:
        """Records are given up: the durable position goes down first."""
        self.hint = self.stated.durable = after_seq
        self.store_value()
        self.stated.former = dict(self.stated.log)
        for seq in [seq for seq in self.stated.log if seq > after_seq]:
            del self.stated.log[seq]
        self.journal.cut(after_seq)
        self.stated.former = None

    def close(self) -> None:
        """As a clean stop."""
        self.journal.close()
        self.image.close()
        self.files.die()


def live(disk: Disk, stated: Stated) -> Copy:
    """Everything a copy does: grow over segments, fork, cut, trim, stop, start."""
    copy = Copy(disk, stated)
    copy.append(4, epoch=1)
    copy.sync()
    copy.apply()
    copy.append(4, epoch=1)
    copy.sync()
    copy.fork()
    copy.cut(FORK_AT)
    copy.append(4, epoch=2)
    copy.sync()
    copy.apply()
    copy.journal.trim(4)
    copy.sync()
    copy.append(1, epoch=2)
    copy.close()
    copy = Copy(disk, stated)
    copy.append(3, epoch=3)
    copy.sync()
    copy.image.zero(BLOCKS * BLOCK, BLOCK)
    copy.append(2, epoch=3)
    return copy


def check(copy: Copy) -> None:
    """The log is a whole chain and a prefix of what was appended, with all that was durable; so is the image.

    What a former process appended and this one cut is forgotten: the log is what this one found.
    """
    stated, journal = copy.stated, copy.journal
    assert journal.tip.seq >= stated.durable, "a durable record is gone"
    after = journal.first_seq - 1
    end = journal.position_at(after) or ORIGIN
    found: dict[int, bytes] = {}
    while after < journal.tip.seq:
        data, after = journal.read_batches(after, 1 << 20)
        for at, header in split(data):
            end = verify(data, at, header, end)
            found[end.seq] = end.chain
    logs = [log for log in (stated.log, stated.former) if log is not None]
    assert end == journal.tip
    assert any(found.items() <= log.items() for log in logs), "a record that nobody appended"
    check_image(copy)
    if stated.is_forked:
        assert file_name(FORK_AT + 1) in copy.files.names(HOME / "journal" / "forks" / "fork")
    stated.log = {seq: chain for seq, chain in stated.log.items() if seq < journal.first_seq} | found
    stated.former = None


def check_image(copy: Copy) -> None:
    """Every sector of a block was written by the last applied record of the block, or by a later one."""
    target = bytearray(BLOCK)
    for block in range(BLOCKS):
        copy.image.read_into(block * BLOCK, memoryview(target))
        least = max((seq for seq in range(copy.stated.applied + 1) if seq % BLOCKS == block), default=0)
        for at in range(0, BLOCK, SECTOR):
            sector = set(target[at : at + SECTOR])
            assert len(sector) == 1
            (seq,) = sector
            is_later = seq >= least and seq % BLOCKS == block and seq in copy.stated.log
            assert is_later or (seq == 0 and not least), f"block {block} holds {seq}, applied was {least}"


def go_on(copy: Copy) -> None:
    """A copy that came back can be used."""
    if copy.stated.is_forking:
        copy.fork()
    copy.append(4, epoch=9)
    copy.sync()
    copy.apply()
