"""The owner's hot path: what is answered, and when. Real journal, no network."""

import errno
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from drsync.adapters.segments.journal import SegmentJournal
from drsync.adapters.segments.layout import Identity
from drsync.core.group_log import GroupLog
from drsync.delta.batch import EncodedBatch, Kind
from drsync.engine.owner import OwnerDevice, OwnerEngine
from drsync.engine.volumes import GroupVolumes
from drsync.model.epoch import Epoch
from drsync.model.errors import DrsyncError
from drsync.model.group import Durability
from drsync.ports.journal import Arrived, Buffer

SIZE = 1 << 20
SEGMENT_BYTES = 4 << 20  # because a journal reserves two of them, and every test has one
IDENTITY = Identity("c" * 32, "a" * 32, "production", "1" * 16)
EPOCH = Epoch(1)


class Hands:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.instant = 100.0

    def now(self) -> float:
        return self.instant

    def wall_us(self) -> int:
        return int(self.instant * 1e6)

    def until_round(self, period_s: float, slack_s: float = 0.0) -> float:
        return period_s + slack_s

    async def sleep_until(self, instant: float) -> None:
        self.instant = max(self.instant, instant)


class Client:
    """Remembers what was answered."""

    def __init__(self) -> None:
        self.answers: list[tuple[bytes, int]] = []
        self.resumed = 0

    def complete(self, cookies: list[bytes], error: int) -> None:
        self.answers += [(cookie, error) for cookie in cookies]

    def resume(self) -> None:
        self.resumed += 1


class Image:
    """An image in memory."""

    def __init__(self) -> None:
        self.data = bytearray(SIZE)

    @property
    def size(self) -> int:
        return SIZE

    def resize(self, size: int) -> None:
        raise NotImplementedError

    def read_into(self, offset: int, target: memoryview) -> None:
        target[:] = self.data[offset : offset + len(target)]

    def read_cached(self, offset: int, target: memoryview) -> bool:
        self.read_into(offset, target)
        return True

    def will_need(self, offset: int, length: int) -> None:
        """It is there."""

    def fetch(self, places: Sequence[tuple[int, int]], arrived: Arrived) -> bool:
        """It is there."""
        del places, arrived
        return False

    def extent(self, offset: int) -> tuple[int, bool]:
        del offset
        return SIZE, False

    def write(self, offset: int, parts: Sequence[Buffer]) -> None:
        for part in parts:
            self.data[offset : offset + len(part)] = part
            offset += len(part)

    def zero(self, offset: int, length: int) -> None:
        self.data[offset : offset + length] = bytes(length)

    def sync(self) -> None:
        """Memory is as durable as it gets here."""

    def close(self) -> None:
        """Nothing to release."""


class Peer:
    """A feed that only remembers."""

    def __init__(self) -> None:
        self.batches: list[EncodedBatch] = []
        self.wanted = 0
        self.durable = 0
        self.flushed: list[int] = []

    def push(self, batch: EncodedBatch, *, is_flushed: bool) -> None:
        self.batches.append(batch)
        if is_flushed:
            self.flushed.append(batch.last_seq)

    def want_durable(self, seq: int) -> None:
        self.wanted = max(self.wanted, seq)


class Bench:
    """An owner with a client, and a peer that acknowledges when the test says so."""

    def __init__(self, directory: Path, durability: Durability = Durability.APPEND) -> None:
        self.clock = Hands()
        self.journal = SegmentJournal(directory, IDENTITY, 0, segment_bytes=SEGMENT_BYTES)
        self.image = Image()
        self.volumes = GroupVolumes({0: self.image}, self.journal, 0)
        self.troubles: list[DrsyncError] = []
        self.engine = OwnerEngine(
            log=GroupLog("production", EPOCH, 0, 0, 0, durability),
            journal=self.journal,
            volumes=self.volumes,
            clock=self.clock,
            on_trouble=self.troubles.append,
        )
        self.engine.lease_until = 200.0
        self.peer = Peer()
        self.engine.feeds.append(self.peer)
        self.client = Client()
        self.device = OwnerDevice(self.engine, 0, SIZE)

    def in_sync(self, *members: str) -> None:
        self.engine.log.set_ack_set(frozenset(members))

    def write(self, cookie: bytes, offset: int, data: bytes, *, fua: bool = False) -> None:
        self.device.write(offset, memoryview(data), cookie, fua=fua)
        self.device.submit(self.client)

    def flush(self, cookie: bytes) -> None:
        self.device.flush(cookie)
        self.device.submit(self.client)

    def acknowledge(self, appended: int, durable: int = 0) -> None:
        self.engine.log.acknowledge("same_city", "s1", EPOCH, appended, durable)
        self.engine.settle()

    def sync(self) -> None:
        self.engine.log.sync(self.journal.sync())
        self.engine.settle()

    def read(self, offset: int, length: int) -> bytes:
        target = bytearray(length)
        assert self.device.read_into(offset, memoryview(target)) == 0
        return bytes(target)

    @property
    def answered(self) -> list[bytes]:
        return [cookie for cookie, error in self.client.answers if error == 0]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "journal")
    yield bench
    bench.journal.close()


def test_alone_a_write_is_answered_at_once(bench: Bench) -> None:
    bench.write(b"w1", 0, b"x" * 4096)
    assert bench.answered == [b"w1"]
    assert bench.read(0, 4096) == b"x" * 4096


def test_a_write_waits_for_every_in_sync_member(bench: Bench) -> None:
    bench.in_sync("production", "same_city")
    bench.write(b"w1", 0, b"x" * 4096)
    bench.write(b"w2", 4096, b"y" * 4096)
    assert bench.answered == []
    bench.acknowledge(1)
    assert bench.answered == [b"w1"]
    bench.acknowledge(2)
    assert bench.answered == [b"w1", b"w2"]


def test_what_is_not_committed_is_not_read(bench: Bench) -> None:
    bench.in_sync("production", "same_city")
    bench.write(b"w1", 0, b"x" * 4096)
    assert bench.read(0, 4096) == bytes(4096)
    bench.acknowledge(1)
    assert bench.read(0, 4096) == b"x" * 4096


def test_what_an_opening_found_is_not_read_before_those_it_waits_for_have_it(bench: Bench) -> None:
    bench.in_sync("production", "same_city")
    bench.write(b"w1", 0, b"x" * 4096)  # never acknowledged by same_city: it may be cut by another opening
    bench.engine.close()
    log = GroupLog("production", Epoch(EPOCH + 1), 1, 0, 0, Durability.APPEND)
    again = OwnerEngine(
        log=log,
        journal=bench.journal,
        volumes=bench.volumes,
        clock=bench.clock,
        on_trouble=bench.troubles.append,
    )
    while bench.volumes.record_slice(1):
        pass
    again.lease_until = 200.0
    log.set_ack_set(frozenset({"production", "same_city"}))
    device, target = OwnerDevice(again, 0, SIZE), bytearray(4096)
    device.park(bench.client)
    again.settle()
    assert device.read_into(0, memoryview(target)) == errno.EAGAIN
    resumed = bench.client.resumed
    log.acknowledge("same_city", "s2", Epoch(EPOCH + 1), 1, 0)
    again.settle()
    assert (resumed, bench.client.resumed) == (0, 1)
    assert device.read_into(0, memoryview(target)) == 0
    assert target == b"x" * 4096


def test_a_flush_is_answered_when_durable_everywhere(bench: Bench) -> None:
    bench.in_sync("production", "same_city")
    bench.write(b"w1", 0, b"x" * 4096)
    bench.acknowledge(1)
    bench.flush(b"f1")
    assert bench.peer.wanted == 1
    bench.sync()
    assert b"f1" not in bench.answered
    bench.acknowledge(1, durable=1)
    assert bench.answered == [b"w1", b"f1"]


def test_who_flushes_after_each_write_finds_the_disks_at_work_already(bench: Bench) -> None:
    bench.in_sync("production", "same_city")
    foreseen: list[int] = []
    bench.engine.foresee_sync = lambda: foreseen.append(bench.journal.tip.seq)
    for seq in (1, 2):
        bench.write(b"w%d" % seq, 0, b"x" * 4096)
        bench.flush(b"f%d" % seq)
    assert (bench.peer.flushed, foreseen) == ([], [])
    bench.write(b"w3", 0, b"x" * 4096)
    assert (bench.peer.flushed, foreseen) == ([3], [3])
    bench.sync()
    bench.acknowledge(3, durable=2)
    bench.flush(b"f3")
    assert b"f3" not in bench.answered  # foreseen or not: it waits for everybody
    bench.acknowledge(3, durable=3)
    assert b"f3" in bench.answered


def test_writes_that_come_with_a_flush_or_are_fua_ask_for_it_themselves(bench: Bench) -> None:
    bench.in_sync("production", "same_city")
    bench.write(b"w1", 0, b"x" * 512, fua=True)
    bench.device.write(0, memoryview(b"y" * 512), b"w2", fua=False)
    bench.flush(b"f2")
    bench.write(b"w3", 0, b"z" * 512)
    assert bench.peer.flushed == [1, 2]


def test_a_fua_write_waits_for_durable_everywhere(bench: Bench) -> None:
    bench.in_sync("production", "same_city")
    bench.write(b"w1", 0, b"x" * 512, fua=True)
    bench.acknowledge(1)
    assert bench.answered == []
    bench.acknowledge(1, durable=1)
    bench.sync()
    assert bench.answered == [b"w1"]


def test_with_fsync_durability_every_write_waits_for_the_disk(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "journal", Durability.FSYNC)
    bench.write(b"w1", 0, b"x" * 4096)
    assert bench.answered == []
    bench.sync()
    assert bench.answered == [b"w1"]
    bench.journal.close()


def test_a_hole_is_told_from_the_moment_it_may_be_read_and_never_without_a_lease(bench: Bench) -> None:
    bench.device.zero(4096, 8192, b"z1", fua=False, is_trim=True)
    bench.device.submit(bench.client)
    assert bench.device.extents(0, SIZE, 9) == [(4096, False), (8192, True), (SIZE - 12288, False)]
    bench.clock.instant = 200.0
    assert bench.device.extents(0, SIZE, 9) == [(SIZE, False)]


def test_without_a_lease_nothing_is_answered_or_read(bench: Bench) -> None:
    bench.clock.instant = 200.0
    bench.write(b"w1", 0, b"x" * 4096)
    assert bench.answered == []
    assert bench.device.read_into(0, memoryview(bytearray(8))) == errno.EAGAIN
    bench.device.park(bench.client)
    bench.engine.lease_until = 300.0
    bench.engine.settle()
    assert bench.answered == [b"w1"]
    assert bench.client.resumed == 1


def test_a_frozen_owner_takes_nothing_and_drains(bench: Bench) -> None:
    bench.in_sync("production", "same_city")
    bench.write(b"w1", 0, b"x" * 4096)
    bench.engine.freeze()
    bench.write(b"w2", 0, b"y" * 4096)
    assert bench.journal.tip.seq == 1
    assert bench.engine.oldest_pending_age == 0
    bench.acknowledge(1)
    assert bench.engine.is_drained
    assert bench.answered == [b"w1"]


def test_after_the_term_nothing_is_acknowledged_any_more(bench: Bench) -> None:
    bench.in_sync("production", "same_city")
    bench.write(b"w1", 0, b"x" * 4096)
    bench.engine.close()
    bench.acknowledge(1)
    assert bench.client.answers == []


def test_a_write_larger_than_a_batch_is_one_answer(bench: Bench) -> None:
    data = bytes(range(256)) * (3 << 10)
    bench.write(b"big", 0, data)
    assert bench.answered == [b"big"]
    assert len(bench.peer.batches) == 1
    assert bench.read(0, len(data)) == data


def test_discard_and_zeroes_read_as_zeros_after_the_drain_too(bench: Bench) -> None:
    bench.write(b"w1", 0, b"x" * 8192)
    bench.device.zero(4096, 4096, b"z1", fua=False, is_trim=True)
    bench.device.submit(bench.client)
    bench.sync()
    job = bench.volumes.begin_drain(bench.engine.log.apply_bound())
    assert job is not None
    job.run()
    bench.volumes.end_drain(job)
    assert bench.image.data[:8192] == b"x" * 4096 + bytes(4096)
    assert bench.read(0, 8192) == b"x" * 4096 + bytes(4096)


def test_what_the_images_hold_is_not_remembered_for_ever(bench: Bench) -> None:
    for number in range(3):
        bench.write(b"w%d" % number, 4096 * number, b"x" * 4096)
        bench.sync()
        job = bench.volumes.begin_drain(bench.engine.log.apply_bound())
        assert job is not None
        job.run()
        bench.write(b"v%d" % number, 4096, b"y" * 4096)
        bench.volumes.end_drain(job)
        assert len(bench.volumes.payloads) == 1, "of the write that came meanwhile"
        assert bench.read(4096, 4096) == b"y" * 4096


def test_images_never_get_ahead_of_the_durable_journal(bench: Bench) -> None:
    bench.write(b"w1", 0, b"x" * 4096)
    assert bench.volumes.begin_drain(bench.engine.log.apply_bound()) is None
    bench.sync()
    assert bench.volumes.begin_drain(bench.engine.log.apply_bound()) is not None


def test_marks_travel_like_writes(bench: Bench) -> None:
    position = bench.engine.mark(Kind.CHECKPOINT, b"{}")
    assert position.seq == 1
    assert bench.engine.log.commit == 1
    assert [batch.last_seq for batch in bench.peer.batches] == [1]
