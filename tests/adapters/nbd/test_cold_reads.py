"""Reads that would wait for a disk: several wait at once, and each is answered once, as it is then."""

import errno
import struct
from collections.abc import Sequence

import pytest
from typing_extensions import override

from drsync.adapters.memory.volume import MemoryDevice
from drsync.adapters.nbd import chunks
from drsync.adapters.nbd.structured import StructuredTransmission
from drsync.adapters.nbd.transmission import Transmission
from drsync.ports.journal import Arrived
from drsync.ports.volume import COLD
from tests.adapters.nbd.test_transmission import DISC, READ, SIZE, WRITE, Wire, ask

COLD_FROM = SIZE // 2
LONG = 64 << 10


class ColdDevice(MemoryDevice):
    """Whose second half is on a slow disk until it was fetched."""

    fetched: list[tuple[int, int]]
    tried: int
    trouble = 0
    waiting: list[tuple[list[tuple[int, int]], Arrived]]

    def read_cached(self, offset: int, target: memoryview) -> int:
        self.tried += 1
        if offset >= COLD_FROM and (offset, len(target)) not in self.fetched:
            return COLD
        return self.read_into(offset, target)

    @override
    def read_into(self, offset: int, target: memoryview) -> int:
        return self.trouble or super().read_into(offset, target)

    def fetch(self, places: Sequence[tuple[int, int]], arrived: Arrived) -> None:
        self.waiting.append((list(places), arrived))

    def arrive(self) -> None:
        """The disk has answered what it was asked first."""
        places, arrived = self.waiting.pop(0)
        self.fetched += places
        arrived(range(len(places)))


@pytest.fixture
def device() -> ColdDevice:
    device = ColdDevice(SIZE)
    device.fetched, device.waiting, device.tried = [], [], 0
    return device


@pytest.fixture
def wire(device: ColdDevice) -> Wire:
    return Wire(device)


def reads(*cookies: int) -> bytes:
    return b"".join(ask(READ, cookie, COLD_FROM + (cookie - 1000) * 4096, 4096) for cookie in cookies)


def test_reads_that_arrive_together_wait_for_the_disk_together(device: ColdDevice, wire: Wire) -> None:
    wire.feed(ask(READ, 1002, 0, 4096) + reads(1000, 1001))
    assert [cookie for cookie, _, _ in wire.replies(4096)] == [1002]
    ((places, _),) = device.waiting
    assert places == [(COLD_FROM, 4096), (COLD_FROM + 4096, 4096)]
    device.arrive()
    wire.transmission.deliver()
    assert [cookie for cookie, _, _ in wire.replies(4096, 4096, 4096)] == [1002, 1000, 1001]
    assert wire.transmission.in_flight_bytes == 0


def test_those_behind_one_that_must_wait_are_not_tried(device: ColdDevice, wire: Wire) -> None:
    wire.feed(reads(1000, 1001, 1002))
    assert device.tried == 1
    assert len(device.waiting[0][0]) == 3


def test_what_came_is_answered_before_the_rest(device: ColdDevice, wire: Wire) -> None:
    wire.feed(reads(1000, 1001, 1002))
    ((_, arrived),) = device.waiting
    arrived([2])
    wire.transmission.deliver()
    assert [cookie for cookie, _, _ in wire.replies(4096)] == [1002]
    arrived([0, 1])
    wire.transmission.deliver()
    assert [cookie for cookie, _, _ in wire.replies(4096, 4096, 4096)] == [1002, 1000, 1001]
    assert wire.transmission.in_flight_bytes == 0


def test_a_long_read_does_not_hold_up_others(device: ColdDevice, wire: Wire) -> None:
    wire.feed(ask(READ, 1000, COLD_FROM, LONG))
    wire.feed(ask(READ, 1001, 0, 4096))
    assert [cookie for cookie, _, _ in wire.replies(4096)] == [1001]
    device.arrive()
    wire.transmission.deliver()
    assert [cookie for cookie, _, _ in wire.replies(4096, LONG)] == [1001, 1000]


def test_a_client_that_asks_for_one_at_a_time_waits_for_no_thread(device: ColdDevice, wire: Wire) -> None:
    wire.feed(ask(READ, 1002, 0, 4096) + ask(READ, 1003, 0, 4096))
    wire.feed(reads(1000))
    assert len(device.waiting) == 1, "there may be more to come"
    device.arrive()
    wire.feed(reads(1001))
    assert device.waiting == []


def test_a_single_read_asks_the_disk_itself(device: ColdDevice, wire: Wire) -> None:
    wire.feed(reads(1000))
    assert [cookie for cookie, _, _ in wire.replies(4096)] == [1000]
    assert device.waiting == []


def test_while_the_disk_is_busy_single_reads_do_not_hold_up_others(device: ColdDevice, wire: Wire) -> None:
    wire.feed(reads(1000, 1001))
    wire.feed(reads(1002))
    assert len(device.waiting) == 2
    device.arrive()
    device.arrive()
    wire.transmission.deliver()
    assert len(wire.replies(4096, 4096, 4096)) == 3


def test_what_was_written_meanwhile_is_what_is_read(device: ColdDevice, wire: Wire) -> None:
    wire.feed(reads(1000, 1001))
    wire.feed(ask(WRITE, 1, COLD_FROM, b"n" * 4096))
    device.arrive()
    wire.transmission.deliver()
    assert (1000, 0, b"n" * 4096) in wire.replies(4096, 4096)


def test_a_disk_that_cannot_read_is_an_error_for_each_that_waited(device: ColdDevice, wire: Wire) -> None:
    wire.feed(reads(1000, 1001))
    device.trouble = errno.EIO
    device.arrive()
    wire.transmission.deliver()
    assert [(cookie, error) for cookie, error, _ in wire.replies()] == [(1000, errno.EIO), (1001, errno.EIO)]


def test_disc_waits_for_the_disk(device: ColdDevice, wire: Wire) -> None:
    wire.feed(reads(1000, 1001) + ask(DISC, 1))
    assert wire.finishes == 0
    device.arrive()
    wire.transmission.deliver()
    assert wire.finishes == 1


def test_an_export_that_goes_away_answers_once_and_the_disk_answers_nobody(
    device: ColdDevice, wire: Wire
) -> None:
    wire.feed(reads(1000, 1001))
    wire.transmission.shut(errno.ESHUTDOWN)
    sent = bytes(wire.sent)
    assert [error for _, error, _ in wire.replies()] == [errno.ESHUTDOWN] * 2
    device.arrive()
    assert wire.sent == sent


class StructuredWire(Wire):
    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        self.transmission: Transmission = StructuredTransmission(
            self.device, self.device.size, self, is_read_only=False, tells_allocation=False
        )


def test_structured_replies_wait_in_the_same_way(device: ColdDevice) -> None:
    wire = StructuredWire(device)
    wire.feed(reads(1000, 1001))
    assert not wire.sent
    device.arrive()
    wire.transmission.deliver()
    assert len(wire.sent) == 2 * (chunks.DATA_HEAD_BYTES + 4096)
    wire.feed(reads(1002, 1003))
    before = len(wire.sent)
    wire.transmission.shut(errno.ESHUTDOWN)
    refused = [struct.pack(">Q", cookie) for cookie in (1002, 1003)]
    assert all(cookie in wire.sent[before:] for cookie in refused)


def test_whether_a_disk_is_waited_for_is_known(device: ColdDevice, wire: Wire) -> None:
    """So that nobody waits awake for a client, where the disk could use the processor."""
    known: list[bool] = []

    def note() -> None:
        known.append(wire.transmission.is_at_disk)

    wire.feed(reads(1000, 1001))
    note()
    device.arrive()
    wire.transmission.deliver()
    note()
    wire.feed(ask(READ, 1002, 0, 4096))
    wire.feed(ask(READ, 1003, 0, 4096))  # from a client that waits for each: directly from the device
    note()
    wire.feed(ask(WRITE, 1004, 0, 4096) + bytes(4096))
    note()
    assert known == [True, False, True, False]
