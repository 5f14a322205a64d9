"""Requests in, replies out, without a socket: framing, batches, errors and back-pressure."""

import errno
import struct
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.adapters.memory.volume import Asked, MemoryDevice
from drsync.adapters.nbd.inbox import KEPT_BYTES_MAX, START_BYTES, Inbox
from drsync.adapters.nbd.transmission import IN_FLIGHT_BYTES_MAX, Transmission

SIZE = 1 << 20
READ, WRITE, DISC, FLUSH, TRIM, ZEROES, CACHE = 0, 1, 2, 3, 4, 6, 5
FUA, NO_HOLE, DF = 1, 2, 4


def ask(command: int, cookie: int, offset: int = 0, data: bytes | int = 0, flags: int = 0) -> bytes:
    """A request as a client writes it; `data` is a payload, or a length without one."""
    length, payload = (data, b"") if isinstance(data, int) else (len(data), data)
    head = struct.pack(">IHHQQI", 0x25609513, flags, command, cookie, offset, length)
    return head + payload


@dataclass
class Wire:
    """A connection without a socket: keeps what was sent, and delivers like an event loop would."""

    device: MemoryDevice
    sent: bytearray = field(default_factory=bytearray)
    sends: int = 0
    dropped: str = ""
    finishes: int = 0
    wakes: int = 0
    chokes_at: int = 1 << 40

    def __post_init__(self) -> None:
        self.inbox = Inbox()
        self.transmission = Transmission(
            self.device, self.device.size, self, is_read_only=self.device.is_read_only
        )

    def send(self, data: bytes | memoryview) -> None:
        self.sent += data
        self.sends += 1
        if len(self.sent) >= self.chokes_at:
            self.transmission.choke()

    def wake(self) -> None:
        self.wakes += 1

    def finish(self) -> None:
        self.finishes += 1

    def drop(self, reason: str) -> None:
        self.dropped = reason

    def feed(self, data: bytes) -> None:
        """Receive, in pieces as large as the buffer has room."""
        while data:
            room = self.inbox.room()
            count = min(len(room), len(data))
            room[:count] = data[:count]
            self.inbox.end += count
            data = data[count:]
            self.turn()

    def turn(self) -> None:
        self.inbox.start = self.transmission.consume(self.inbox.view, self.inbox.start, self.inbox.end)
        self.inbox.settle(self.transmission.need)

    def replies(self, *read_lengths: int) -> list[tuple[int, int, bytes]]:
        """(cookie, error, data) of each reply; the lengths belong to the successful reads in order."""
        lengths, found, at = list(read_lengths), [], 0
        while at < len(self.sent):
            magic, error, cookie = struct.unpack_from(">IIQ", self.sent, at)
            assert magic == 0x67446698
            length = lengths.pop(0) if cookie >= 1000 and not error else 0
            found.append((cookie, error, bytes(self.sent[at + 16 : at + 16 + length])))
            at += 16 + length
        return found


@pytest.fixture
def device() -> MemoryDevice:
    return MemoryDevice(SIZE)


@pytest.fixture
def wire(device: MemoryDevice) -> Wire:
    return Wire(device)


def test_writes_that_arrive_together_reach_the_device_as_one_batch_and_are_answered_by_one_send(
    wire: Wire,
) -> None:
    wire.feed(b"".join(ask(WRITE, n, n * 4096, bytes([n]) * 4096) for n in range(1, 33)))

    assert wire.device.batches == [32]
    assert wire.sends == 1
    assert wire.replies() == [(n, 0, b"") for n in range(1, 33)]
    assert all(wire.device.data[n * 4096] == n for n in range(1, 33))


def test_a_read_sees_the_writes_that_came_before_it_in_the_same_bytes(wire: Wire) -> None:
    wire.feed(ask(WRITE, 1, 512, b"first") + ask(READ, 1000, 512, 5) + ask(WRITE, 2, 512, b"after"))

    assert wire.replies(5) == [(1, 0, b""), (1000, 0, b"first"), (2, 0, b"")]
    assert wire.device.batches == [1, 1]


def test_a_stream_cut_at_any_byte_means_the_same(device: MemoryDevice) -> None:
    stream = b"".join(
        [
            ask(WRITE, 1, 3, b"payload"),
            ask(READ, 1000, 0, 16),
            ask(TRIM, 2, 4, 2),
            ask(FLUSH, 3),
            ask(READ, 1001, 0, 16),
            ask(WRITE, 4, SIZE, b"past the end"),
            ask(WRITE, 5, 9, b"!", FUA),
        ]
    )
    whole = Wire(device)
    whole.feed(stream)
    expected = whole.replies(16, 16)
    assert [error for _, error, _ in expected] == [0, 0, 0, 0, 0, errno.ENOSPC, 0]

    for cut in range(1, len(stream)):
        wire = Wire(MemoryDevice(SIZE))
        wire.feed(stream[:cut])
        wire.feed(stream[cut:])
        assert wire.replies(16, 16) == expected
        assert wire.device.data == device.data


@pytest.mark.parametrize(
    ("request_bytes", "error"),
    [
        (ask(WRITE, 1, SIZE - 1, b"xy"), errno.ENOSPC),
        (ask(WRITE, 1, 1 << 63, b"x"), errno.ENOSPC),
        (ask(ZEROES, 1, SIZE - 1, 2), errno.ENOSPC),
        (ask(TRIM, 1, SIZE - 1, 2), errno.EINVAL),
        (ask(READ, 1, SIZE - 1, 2), errno.EINVAL),
        (ask(READ, 1, 0, (32 << 20) + 1), errno.EINVAL),
        (ask(READ, 1, 0, 1, DF), errno.EINVAL),
        (ask(WRITE, 1, 0, b"x", NO_HOLE), errno.EINVAL),
        (ask(TRIM, 1, 0, 1, NO_HOLE), errno.EINVAL),
        (ask(CACHE, 1, 0, 4096), errno.EINVAL),
        (ask(7, 1, 0, 4096), errno.EINVAL),
        (ask(0xFFFF, 1, 0, 0, 0xFFFF), errno.EINVAL),
    ],
)
def test_a_wrong_request_is_answered_and_the_next_one_is_served(
    wire: Wire, request_bytes: bytes, error: int
) -> None:
    wire.feed(request_bytes + ask(READ, 1000, 0, 1))

    assert wire.replies(1) == [(1, error, b""), (1000, 0, b"\0")]
    assert wire.device.recorded == []


@pytest.mark.parametrize("request_bytes", [ask(WRITE, 1, 0, b"x"), ask(TRIM, 1, 0, 1), ask(ZEROES, 1, 0, 1)])
def test_a_read_only_export_answers_eperm(request_bytes: bytes) -> None:
    wire = Wire(MemoryDevice(SIZE, is_read_only=True))
    wire.feed(request_bytes + ask(READ, 1000, 0, 1))

    assert wire.replies(1) == [(1, errno.EPERM, b""), (1000, 0, b"\0")]


def test_requests_of_no_length_are_answered_without_the_device(wire: Wire) -> None:
    wire.feed(ask(WRITE, 1, 0, b"") + ask(TRIM, 2) + ask(ZEROES, 3) + ask(READ, 1000, SIZE, 0))

    assert wire.replies(0) == [(1, 0, b""), (2, 0, b""), (3, 0, b""), (1000, 0, b"")]
    assert wire.device.recorded == []


def test_fua_no_hole_and_trim_reach_the_device(wire: Wire) -> None:
    wire.feed(
        ask(WRITE, 1, 0, b"x", FUA) + ask(ZEROES, 2, 0, 1, FUA | NO_HOLE) + ask(TRIM, 3, 0, 1) + ask(FLUSH, 4)
    )

    asked = [(request.asked, request.is_fua) for request in wire.device.recorded]
    assert asked == [(Asked.WRITE, True), (Asked.ZERO, True), (Asked.TRIM, False), (Asked.FLUSH, False)]


@pytest.mark.parametrize(
    "nonsense",
    [b"\0" * 28, ask(WRITE, 9, 0, (32 << 20) + 1), ask(FLUSH, 1)],
    ids=["no magic", "a payload above the limit", "a cookie in use"],
)
def test_broken_framing_ends_the_connection_but_what_came_before_is_submitted(
    wire: Wire, nonsense: bytes
) -> None:
    wire.device.is_holding = True
    wire.feed(ask(WRITE, 1, 0, b"before") + nonsense + ask(WRITE, 2, 0, b"after"))

    assert wire.dropped
    assert wire.device.batches == [1]
    assert wire.device.held == 1


@pytest.mark.parametrize(
    ("failing", "answered"),
    [
        (errno.EIO, errno.EIO),
        (errno.EROFS, errno.EPERM),
        (errno.EDQUOT, errno.ENOSPC),
        (errno.EBADF, errno.EIO),
    ],
)
def test_errors_of_the_device_become_numbers_the_protocol_knows(
    wire: Wire, failing: int, answered: int
) -> None:
    wire.device.failing = failing
    wire.device.failing_reads = failing
    wire.feed(ask(WRITE, 1, 0, b"x") + ask(FLUSH, 2) + ask(READ, 3, 0, 1))

    assert wire.replies() == [(1, answered, b""), (2, answered, b""), (3, answered, b"")]


def test_held_answers_are_sent_together_when_the_loop_turns(wire: Wire) -> None:
    wire.device.is_holding = True
    wire.feed(ask(WRITE, 1, 0, b"a"))
    wire.feed(ask(WRITE, 2, 1, b"b"))
    assert wire.sends == 0

    wire.device.release()
    assert (wire.wakes, wire.sends) == (1, 0)
    wire.transmission.deliver()

    assert wire.sends == 1
    assert wire.replies() == [(1, 0, b""), (2, 0, b"")]


def test_a_read_that_is_not_allowed_now_waits_and_is_answered_when_it_is(wire: Wire) -> None:
    """An owner whose lease lapsed for a moment: the client sees a pause, not an error."""
    wire.device.data[:4] = b"good"
    wire.device.failing_reads = errno.EAGAIN
    wire.feed(ask(READ, 1000, 0, 4))
    assert not wire.sent

    wire.device.let_read()
    wire.transmission.deliver()

    assert wire.replies(4) == [(1000, 0, b"good")]
    assert wire.transmission.in_flight_bytes == 0


def test_disc_waits_for_what_is_outstanding(wire: Wire) -> None:
    wire.device.is_holding = True
    wire.feed(ask(WRITE, 1, 0, b"a") + ask(DISC, 0) + ask(WRITE, 2, 0, b"ignored"))
    assert wire.finishes == 0

    wire.device.release()
    wire.transmission.deliver()

    assert wire.replies() == [(1, 0, b"")]
    assert wire.finishes == 1
    assert wire.device.batches == [1]


def test_an_export_that_goes_away_answers_eshutdown_once_and_later_completions_are_for_nobody(
    wire: Wire,
) -> None:
    wire.device.is_holding = True
    wire.feed(ask(WRITE, 1, 0, b"a") + ask(FLUSH, 2))
    wire.transmission.shut(errno.ESHUTDOWN)
    wire.device.release()

    assert wire.replies() == [(1, errno.ESHUTDOWN, b""), (2, errno.ESHUTDOWN, b"")]
    assert wire.transmission.is_over


def test_a_flood_of_held_writes_stops_below_the_limit_and_goes_on_when_they_are_answered(wire: Wire) -> None:
    wire.device.is_holding = True
    payload = bytes(SIZE)
    fed = 0
    while not wire.transmission.is_blocked:
        fed += 1
        wire.feed(ask(WRITE, fed, 0, payload))
    assert wire.transmission.in_flight_bytes <= IN_FLIGHT_BYTES_MAX
    batches = len(wire.device.batches)

    wire.inbox.put(ask(FLUSH, 999))
    wire.turn()
    assert len(wire.device.batches) == batches

    wire.device.release()
    wire.turn()
    wire.device.release()
    wire.transmission.deliver()
    assert wire.replies() == [*((n, 0, b"") for n in range(1, fed + 1)), (999, 0, b"")]
    assert wire.transmission.in_flight_bytes == 0


def test_a_flood_of_small_requests_is_bounded_too(wire: Wire) -> None:
    wire.device.is_holding = True
    wire.feed(b"".join(ask(FLUSH, n) for n in range(20_000)))

    assert wire.transmission.is_blocked
    assert wire.device.held <= IN_FLIGHT_BYTES_MAX // 4096


def test_a_client_that_does_not_read_gets_no_more_reads_executed(wire: Wire) -> None:
    wire.chokes_at = 2 << 20
    wire.feed(b"".join(ask(READ, 1000 + n, 0, SIZE) for n in range(100)))

    assert wire.transmission.is_blocked
    assert len(wire.sent) < 4 << 20

    wire.chokes_at = 1 << 40
    wire.transmission.unchoke()
    wire.turn()
    assert len(wire.replies(*[SIZE] * 100)) == 100


def test_a_large_request_grows_the_buffer_and_small_ones_give_it_back() -> None:
    wire = Wire(MemoryDevice(64 << 20))
    payload = bytes(range(256)) * (32 * 4096)
    wire.feed(ask(WRITE, 1, 1, payload))
    wire.feed(ask(FLUSH, 2))

    assert wire.device.data[1 : 1 + len(payload)] == payload
    assert wire.replies() == [(1, 0, b""), (2, 0, b"")]
    assert len(wire.inbox.view) <= KEPT_BYTES_MAX


@given(
    st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 9000)), max_size=60),
    st.integers(28, 4096),
)
def test_the_buffer_keeps_what_was_not_consumed(steps: list[tuple[int, int]], size: int) -> None:
    """The twin is a plain byte string."""
    inbox, twin, counter = Inbox(size), b"", 0
    for consumed, need in steps:
        room = inbox.room()
        arrived = bytes((counter + i) & 0xFF for i in range(min(len(room), 3000)))
        counter += len(arrived)
        room[: len(arrived)] = arrived
        inbox.end += len(arrived)
        twin += arrived
        used = min(consumed, len(twin))
        inbox.start += used
        twin = twin[used:]
        inbox.settle(need)
        assert bytes(inbox.view[inbox.start : inbox.end]) == twin
        assert len(inbox.view) - inbox.start >= need
        assert len(inbox.view) <= max(START_BYTES, KEPT_BYTES_MAX)


requests = st.one_of(
    st.builds(
        ask,
        st.integers(0, 8),
        st.integers(0, 99),
        st.integers(0, SIZE + 9),
        st.integers(0, 99),
        st.integers(0, 7),
    ),
    st.builds(ask, st.just(WRITE), st.integers(0, 99), st.integers(0, SIZE + 9), st.binary(max_size=99)),
    st.binary(max_size=60),
)


@given(st.lists(requests, max_size=30), st.lists(st.integers(1, 200), min_size=1), st.booleans())
def test_no_bytes_whatever_crash_a_transmission_or_leave_a_write_unsubmitted(
    stream: list[bytes], cuts: list[int], is_holding: bool
) -> None:
    device = MemoryDevice(SIZE)
    device.is_holding = is_holding
    wire = Wire(device)
    data = b"".join(stream)
    for at in range(0, len(data), cuts[0]):
        if wire.dropped or wire.finishes:
            break
        wire.feed(data[at : at + cuts[0]])
    device.release()
    wire.transmission.deliver()

    assert wire.transmission.in_flight_bytes == 0
    assert device.read_into(0, memoryview(bytearray(1))) == 0
