"""Structured replies without a socket: chunks of data and of holes, errors with a place, block status."""

import errno
import struct
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.adapters.memory.volume import MemoryDevice
from drsync.adapters.nbd import chunks
from drsync.adapters.nbd.structured import (
    HOLES_FROM_BYTES,
    READ_EXTENTS_MAX,
    STATUS_EXTENTS_MAX,
    StructuredTransmission,
)

SIZE = 1 << 20
READ, WRITE, DISC, FLUSH, TRIM, ZEROES, STATUS = 0, 1, 2, 3, 4, 6, 7
FUA, DF, REQ_ONE, FAST_ZERO = 1, 4, 8, 16
NONE, DATA, HOLE, BLOCK_STATUS, ERROR, ERROR_OFFSET = 0, 1, 2, 5, 0x8001, 0x8002
PAGE = 4096


def ask(command: int, cookie: int, offset: int = 0, length: int = 0, flags: int = 0) -> bytes:
    return struct.pack(">IHHQQI", 0x25609513, flags, command, cookie, offset, length)


@dataclass(frozen=True)
class Chunk:
    """One chunk as a client reads it."""

    cookie: int
    kind: int
    is_last: bool
    body: bytes


@dataclass
class Wire:
    """A connection without a socket."""

    device: MemoryDevice
    tells_allocation: bool = True
    sent: bytearray = field(default_factory=bytearray)
    wakes: int = 0

    def __post_init__(self) -> None:
        self.transmission = StructuredTransmission(
            self.device, self.device.size, self, is_read_only=False, tells_allocation=self.tells_allocation
        )

    def send(self, data: bytes | memoryview) -> None:
        self.sent += data

    def wake(self) -> None:
        self.wakes += 1

    def finish(self) -> None:
        """Nothing to close."""

    def drop(self, reason: str) -> None:
        raise AssertionError(reason)

    def feed(self, *requests: bytes) -> int:
        """Receive some requests; how many bytes were not looked at."""
        data = b"".join(requests)
        return len(data) - self.transmission.consume(memoryview(data), 0, len(data))

    def chunks(self) -> list[Chunk]:
        """What was sent, of which simple replies are of kind -1."""
        found, at = [], 0
        while at < len(self.sent):
            (magic,) = struct.unpack_from(">I", self.sent, at)
            if magic == 0x67446698:
                _, error, cookie = struct.unpack_from(">IIQ", self.sent, at)
                found.append(Chunk(cookie, -1, is_last=True, body=error.to_bytes(4)))
                at += 16
                continue
            assert magic == 0x668E33EF
            _, flags, kind, cookie, length = struct.unpack_from(">IHHQI", self.sent, at)
            body = bytes(self.sent[at + 20 : at + 20 + length])
            assert len(body) == length
            found.append(Chunk(cookie, kind, bool(flags & 1), body))
            at += 20 + length
        self.sent.clear()
        return found


def gather(found: list[Chunk], offset: int, length: int) -> bytes:
    """Put a read together as a client does, and be as strict."""
    result, missing = bytearray(b"?" * length), length
    assert [chunk.is_last for chunk in found] == [False] * (len(found) - 1) + [True]
    for chunk in found:
        at = int.from_bytes(chunk.body[:8]) - offset
        data = chunk.body[8:]
        if chunk.kind == HOLE:
            assert len(chunk.body) == 12
            data = bytes(int.from_bytes(data))
        else:
            assert chunk.kind == DATA
        assert data
        assert at >= 0
        assert at + len(data) <= length
        result[at : at + len(data)] = data
        missing -= len(data)
    assert missing == 0
    return bytes(result)


def extents(chunk: Chunk) -> list[tuple[int, int]]:
    assert (chunk.kind, chunk.is_last, chunk.body[:4]) == (BLOCK_STATUS, True, b"\0\0\0\1")
    return list(struct.iter_unpack(">II", chunk.body[4:]))


@pytest.fixture
def device() -> MemoryDevice:
    """Data in the second and third quarter."""
    device = MemoryDevice(SIZE)
    device.data[SIZE // 4 : SIZE * 3 // 4] = b"d" * (SIZE // 2)
    return device


@pytest.fixture
def wire(device: MemoryDevice) -> Wire:
    return Wire(device)


def test_a_short_read_is_one_chunk(wire: Wire) -> None:
    wire.feed(ask(READ, 7, 0, PAGE))

    assert wire.chunks() == [Chunk(7, DATA, is_last=True, body=bytes(8 + PAGE))]


def test_holes_of_a_long_read_are_told_and_not_sent(wire: Wire) -> None:
    wire.feed(ask(READ, 7, 0, SIZE))
    sent = len(wire.sent)
    found = wire.chunks()

    assert [chunk.kind for chunk in found] == [HOLE, DATA, HOLE]
    assert gather(found, 0, SIZE) == bytes(wire.device.data)
    assert sent < SIZE * 6 // 10


def test_a_read_that_must_not_be_cut_is_one_chunk_of_data(wire: Wire) -> None:
    wire.feed(ask(READ, 7, 0, SIZE, DF | FUA))

    (chunk,) = wire.chunks()
    assert (chunk.kind, chunk.body[8:]) == (DATA, bytes(wire.device.data))


def test_other_commands_are_answered_by_simple_replies(wire: Wire) -> None:
    wire.feed(ask(WRITE, 1, 0, 5), b"hello", ask(FLUSH, 2), ask(ZEROES, 3, 0, PAGE, FAST_ZERO | FUA))
    wire.feed(ask(TRIM, 4, 0, PAGE), ask(READ, 5, SIZE, 1))

    found = {chunk.cookie: chunk for chunk in wire.chunks()}
    assert [found[cookie].kind for cookie in (1, 2, 3, 4)] == [-1] * 4
    assert (found[5].kind, found[5].body) == (ERROR, struct.pack(">IH", errno.EINVAL, 0))


def test_a_read_of_nothing_is_answered_by_nothing(wire: Wire) -> None:
    wire.feed(ask(READ, 7))

    assert wire.chunks() == [Chunk(7, NONE, is_last=True, body=b"")]


def test_a_read_sees_the_writes_before_it_and_so_does_a_question_about_holes(wire: Wire) -> None:
    wire.feed(ask(WRITE, 1, 0, 5), b"hello", ask(STATUS, 2, 0, SIZE // 4), ask(READ, 3, 0, 5))

    _, status, read = wire.chunks()
    assert extents(status) == [(PAGE, 0), (SIZE // 4 - PAGE, 3)]
    assert read.body[8:] == b"hello"


def test_an_error_names_its_place_and_the_connection_lives_on(wire: Wire) -> None:
    wire.device.failing_reads = errno.EIO
    wire.feed(ask(READ, 7, 0, SIZE))
    hole, error = wire.chunks()

    assert (hole.kind, hole.is_last) == (HOLE, False)
    assert (error.kind, error.is_last) == (ERROR_OFFSET, True)
    assert error.body == struct.pack(">IHQ", errno.EIO, 0, SIZE // 4)
    wire.device.failing_reads = 0
    wire.feed(ask(READ, 8, 0, 10))
    assert wire.chunks()[0].kind == DATA


def test_a_read_that_has_to_wait_goes_on_where_it_stopped(wire: Wire) -> None:
    wire.device.failing_reads = errno.EAGAIN
    wire.feed(ask(READ, 7, 0, SIZE))
    before = wire.chunks()
    assert [chunk.kind for chunk in before] == [HOLE]
    wire.device.let_read()
    wire.transmission.deliver()

    assert gather(before + wire.chunks(), 0, SIZE) == bytes(wire.device.data)
    assert wire.transmission.in_flight_bytes <= SIZE
    wire.transmission.deliver()
    assert wire.transmission.in_flight_bytes == 0


def test_who_waits_when_the_export_goes_away_is_told_in_his_own_way(wire: Wire) -> None:
    wire.device.failing_reads = errno.EAGAIN
    wire.device.is_holding = True
    wire.feed(ask(READ, 7, SIZE // 4, PAGE), ask(WRITE, 8, 0, 1), b"x")
    wire.transmission.shut(errno.ESHUTDOWN)

    assert wire.chunks() == [
        Chunk(7, ERROR, is_last=True, body=struct.pack(">IH", errno.ESHUTDOWN, 0)),
        Chunk(8, -1, is_last=True, body=errno.ESHUTDOWN.to_bytes(4)),
    ]


def test_block_status_tells_data_from_holes(wire: Wire) -> None:
    wire.feed(ask(STATUS, 7, 0, SIZE), ask(STATUS, 8, 100, SIZE // 2), ask(STATUS, 9, 0, SIZE, REQ_ONE | FUA))

    whole, part, one = map(extents, wire.chunks())
    assert whole == [(SIZE // 4, 3), (SIZE // 2, 0), (SIZE // 4, 3)]
    assert part == [(SIZE // 4 - 100, 3), (SIZE // 4 + 100, 0)]
    assert one == [(SIZE // 4, 3)]


@pytest.mark.parametrize(
    ("offset", "length", "flags"),
    [(0, 0, 0), (SIZE, 1, 0), (1, SIZE, 0), (1 << 63, 1, 0), (0, 0xFFFFFFFF, 0), (0, 1, DF)],
)
def test_a_wrong_question_is_refused(wire: Wire, offset: int, length: int, flags: int) -> None:
    wire.feed(ask(STATUS, 7, offset, length, flags))

    (chunk,) = wire.chunks()
    assert (chunk.kind, chunk.body) == (ERROR, struct.pack(">IH", errno.EINVAL, 0))


def test_who_selected_no_context_may_not_ask(device: MemoryDevice) -> None:
    wire = Wire(device, tells_allocation=False)
    wire.feed(ask(STATUS, 7, 0, SIZE))

    assert wire.chunks()[0].kind == ERROR


def test_a_volume_in_tatters_is_told_in_bounded_answers() -> None:
    device = MemoryDevice(STATUS_EXTENTS_MAX * 4 * PAGE)
    for at in range(0, device.size, 2 * PAGE):
        device.data[at] = 1
    wire = Wire(device)
    told = 0
    while told < device.size:
        wire.feed(ask(STATUS, 7, told, device.size - told))
        (chunk,) = wire.chunks()
        assert len(extents(chunk)) <= STATUS_EXTENTS_MAX
        told += sum(length for length, _ in extents(chunk))
        wire.transmission.deliver()
    assert told == device.size

    wire.feed(ask(READ, 8, 0, 4 * READ_EXTENTS_MAX * PAGE))
    found = wire.chunks()
    assert len(found) == READ_EXTENTS_MAX + 1
    gather(found, 0, 4 * READ_EXTENTS_MAX * PAGE)


def test_a_flood_of_questions_lets_others_have_their_turn(wire: Wire) -> None:
    rest = wire.feed(*[ask(STATUS, n, 0, SIZE) for n in range(100)])

    assert wire.transmission.is_blocked
    assert 28 * 80 < rest < 28 * 100
    assert wire.wakes == 1
    wire.transmission.deliver()
    assert not wire.transmission.is_blocked


@given(
    st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, 80 * PAGE)), max_size=6),
    st.integers(0, SIZE - 1),
    st.integers(1, SIZE),
    st.sampled_from([0, DF]),
)
def test_a_read_is_whole_whatever_is_stored(
    writes: list[tuple[int, int]], offset: int, length: int, flags: int
) -> None:
    device = MemoryDevice(SIZE)
    for start, size in writes:
        end = min(SIZE, start + size)
        device.data[start:end] = b"w" * (end - start)
    length = min(length, SIZE - offset)
    wire = Wire(device)
    wire.feed(ask(READ, 7, offset, length, flags))
    found = wire.chunks()

    assert gather(found, offset, length) == device.data[offset : offset + length]
    assert len(found) == 1 or not (flags & DF or length < HOLES_FROM_BYTES)


requests = st.tuples(
    st.sampled_from([READ, WRITE, FLUSH, TRIM, 5, ZEROES, STATUS, 8]),
    st.integers(0, 63),
    st.one_of(st.integers(0, SIZE), st.integers(0, 2**64 - 1)),
    st.one_of(st.integers(0, 9), st.integers(0, SIZE), st.just(2**32 - 1)),
)


@given(st.lists(requests, max_size=12), st.booleans(), st.sampled_from([0, errno.EIO, errno.EAGAIN]))
def test_every_request_gets_one_answer_whatever_is_asked(
    asked: list[tuple[int, int, int, int]], tells: bool, error: int
) -> None:
    device = MemoryDevice(SIZE)
    device.failing_reads = error
    wire = Wire(device, tells_allocation=tells)
    stream = b""
    for cookie, (command, flags, offset, wanted) in enumerate(asked):
        length = wanted % 100 if command == WRITE else wanted
        stream += ask(command, cookie, offset, length, flags) + bytes(length if command == WRITE else 0)
    while stream:
        stream = stream[len(stream) - wire.feed(stream) :]
        wire.transmission.deliver()
    device.let_read()
    for _ in asked:
        wire.transmission.deliver()

    answered = wire.chunks()
    assert sorted(chunk.cookie for chunk in answered if chunk.is_last) == list(range(len(asked)))
    assert wire.transmission.in_flight_bytes == 0
    for chunk in answered:
        command = asked[chunk.cookie][0]
        assert (chunk.kind == -1) == (command not in {READ, STATUS})


u64, u32 = st.integers(0, 2**64 - 1), st.integers(1, 2**32 - 64)
cookies = st.binary(min_size=8, max_size=8)


@given(cookie=cookies, offset=u64, length=u32, is_last=st.booleans())
def test_chunks_are_laid_out_as_the_protocol_says(
    cookie: bytes, offset: int, length: int, *, is_last: bool
) -> None:
    number = int.from_bytes(cookie)
    data = struct.unpack(">IHHQIQ", chunks.data_head(cookie, offset, length, is_last=is_last))
    hole = struct.unpack(">IHHQIQI", chunks.hole(cookie, offset, length, is_last=is_last))

    assert data == (0x668E33EF, is_last, 1, number, length + 8, offset)
    assert hole == (0x668E33EF, is_last, 2, number, 12, offset, length)
    assert struct.unpack(">IHHQI", chunks.nothing(cookie)) == (0x668E33EF, 1, 0, number, 0)
    assert struct.unpack(">IHHQIIHQ", chunks.failure(cookie, errno.EROFS, offset))[2:] == (
        0x8002,
        number,
        14,
        errno.EPERM,
        0,
        offset,
    )


@given(cookies, st.lists(st.tuples(u32, st.booleans()), min_size=1, max_size=20))
def test_block_status_is_read_as_it_was_written(cookie: bytes, told: list[tuple[int, bool]]) -> None:
    data = chunks.status(cookie, told)
    magic, flags, kind, number, length, context = struct.unpack_from(">IHHQII", data)

    assert (magic, flags, kind, number, context) == (0x668E33EF, 1, 5, int.from_bytes(cookie), 1)
    assert length == len(data) - 20
    assert [(n, f == 3) for n, f in struct.iter_unpack(">II", data[24:])] == told
