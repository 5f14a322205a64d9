"""A passage without sockets: what goes to the owner, what comes back, and what a lost owner leaves."""

import errno
import struct
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.adapters.nbd.passage import HELD_BYTES_MAX, Passage
from drsync.adapters.nbd.uplink import Replies
from drsync.model.errors import MalformedError, TransientError

READ, WRITE, DISC, FLUSH, STATUS = 0, 1, 2, 3, 7
DONE, NONE, DATA, ERROR = 1, 0, 1, 0x8001
MIB = 1 << 20


def ask(command: int, cookie: int, offset: int = 0, length: int = 0, data: bytes = b"") -> bytes:
    return struct.pack(">IHHQQI", 0x25609513, 0, command, cookie, offset, length or len(data)) + data


def simple(cookie: int, error: int = 0, data: bytes = b"") -> bytes:
    return struct.pack(">IIQ", 0x67446698, error, cookie) + data


def chunk(cookie: int, kind: int, body: bytes = b"", flags: int = 0) -> bytes:
    return struct.pack(">IHHQI", 0x668E33EF, flags, kind, cookie, len(body)) + body


@dataclass
class Owner:
    """An uplink without a socket."""

    asked: list[bytes] = field(default_factory=list)
    replies: Replies | None = None
    is_cut: bool = False
    is_paused: bool = False

    def begin(self, replies: Replies) -> None:
        self.replies = replies

    def widen(self) -> None:
        pass

    def send(self, requests: list[bytes]) -> None:
        assert not self.is_cut
        self.asked += requests

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False

    def cut(self) -> None:
        self.is_cut = True


class Wire:
    """A client without a socket."""

    def __init__(self, *, is_structured: bool = False) -> None:
        self.sent = b""
        self.wakes = 0
        self.is_finished = False
        self.dropped = ""
        self.lost: list[str] = []
        self.has_left = 0
        self.passage = Passage(
            self, is_structured=is_structured, on_left=self.count_left, on_disconnected=self.lost.append
        )

    def count_left(self) -> None:
        self.has_left += 1

    def send(self, data: bytes | memoryview) -> None:
        self.sent += data

    def wake(self) -> None:
        self.wakes += 1

    def finish(self) -> None:
        self.is_finished = True

    def drop(self, reason: str) -> None:
        self.dropped = reason

    def ask(self, *requests: bytes) -> int:
        """Bytes that were taken."""
        data = b"".join(requests)
        return self.passage.consume(memoryview(data), 0, len(data))

    def bind(self) -> Owner:
        owner = Owner()
        self.passage.bind(owner)
        return owner

    def reply(self, *replies: bytes) -> bytes:
        """What the client got of it."""
        data, before = b"".join(replies), len(self.sent)
        self.passage.replies(memoryview(data), 0, len(data))
        return self.sent[before:]


def test_bytes_go_there_and_back_unchanged() -> None:
    wire = Wire()
    owner = wire.bind()
    requests = [ask(WRITE, 1, 0, data=b"x" * 512), ask(READ, 2, 0, 512), ask(FLUSH, 3)]
    assert wire.ask(*requests) == sum(map(len, requests))
    assert owner.asked == requests
    replies = [simple(3), simple(2, data=b"y" * 512), simple(1)]
    assert wire.reply(*replies) == b"".join(replies)
    assert wire.passage.held.cost == 0


def test_half_a_request_waits_for_the_rest() -> None:
    wire = Wire()
    owner = wire.bind()
    whole, half = ask(FLUSH, 1), ask(WRITE, 2, 0, data=b"x" * 512)[:100]
    assert wire.ask(whole, half) == len(whole)
    assert owner.asked == [whole]
    assert wire.passage.need == 28 + 512


def test_half_a_reply_is_not_handed_on_and_the_request_is_asked_again() -> None:
    wire = Wire()
    owner = wire.bind()
    wire.ask(ask(READ, 1, 0, 512), ask(FLUSH, 2))
    assert wire.reply(simple(2), simple(1, data=b"y" * 511)) == simple(2)
    assert wire.passage.reply_need == 16 + 512
    wire.passage.disconnected("gone")
    assert wire.lost == ["gone"]
    assert wire.bind().asked == [ask(READ, 1, 0, 512)]
    assert len(owner.asked) == 2


def test_chunks_of_a_reply_are_handed_on_together() -> None:
    """Half of them came from an owner that is gone: the client must see none of these."""
    wire = Wire(is_structured=True)
    wire.bind()
    wire.ask(ask(READ, 1, 0, 1024))
    first = chunk(1, DATA, bytes(8) + b"a" * 512)
    last = chunk(1, DATA, (512).to_bytes(8) + b"b" * 512, DONE)
    assert wire.reply(first) == b""
    wire.passage.unbind()
    wire.bind()
    assert wire.reply(first) == b""
    assert wire.reply(last) == first + last
    assert not len(wire.passage.held)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_chunks_of_several_replies_may_be_mixed(counts: list[int], dice: st.DataObject) -> None:
    wire = Wire(is_structured=True)
    wire.bind()
    wire.ask(*(ask(READ, cookie, 0, 512) for cookie in range(len(counts))))
    parts = {
        cookie: [
            chunk(cookie, DATA, n.to_bytes(8) + bytes([cookie]) * 9, DONE if n == count - 1 else 0)
            for n in range(count)
        ]
        for cookie, count in enumerate(counts)
    }
    left = {cookie: list(chunks) for cookie, chunks in parts.items()}
    got = b""
    while left:
        cookie = dice.choice(sorted(left))  # type: ignore[attr-defined]  # hypothesis hands a Random in
        got += wire.reply(left[cookie].pop(0))
        if not left[cookie]:
            del left[cookie]
    for chunks in parts.values():
        assert got.count(b"".join(chunks)) == 1
    assert len(got) == sum(len(piece) for chunks in parts.values() for piece in chunks)


def test_without_an_owner_requests_wait_and_reading_stops_at_a_bound() -> None:
    wire = Wire()
    requests = [ask(WRITE, n, 0, data=bytes(MIB)) for n in range(64)]
    taken = wire.ask(*requests)
    assert wire.passage.is_blocked
    assert taken < sum(map(len, requests))
    assert wire.passage.held.cost <= HELD_BYTES_MAX + MIB + 8192
    owner = wire.bind()
    assert owner.asked == requests[: len(owner.asked)]
    assert wire.reply(simple(0), simple(1)) == simple(0) + simple(1)
    assert (wire.passage.is_blocked, wire.wakes) == (False, 1)


def test_after_refusing_nothing_is_sent_again_and_late_answers_have_no_way() -> None:
    wire = Wire()
    owner = wire.bind()
    wire.ask(ask(WRITE, 1, 0, data=b"x" * 512), ask(READ, 2, 0, 512))
    assert wire.passage.refuse(errno.EIO) == 2
    assert owner.is_cut
    assert wire.sent == simple(1, errno.EIO) + simple(2, errno.EIO)
    wire.ask(ask(FLUSH, 3))
    assert wire.sent.endswith(simple(3, errno.EIO))
    assert wire.bind().asked == []
    wire.ask(ask(FLUSH, 4))
    assert not wire.sent.endswith(simple(4, errno.EIO))


def test_structured_reads_are_refused_in_chunks_and_all_else_is_not() -> None:
    wire = Wire(is_structured=True)
    wire.ask(ask(READ, 1, 0, 512), ask(STATUS, 2, 0, 512), ask(FLUSH, 3))
    wire.passage.refuse(errno.EIO)
    body = errno.EIO.to_bytes(4) + bytes(2)
    assert wire.sent == chunk(1, ERROR, body, DONE) + chunk(2, ERROR, body, DONE) + simple(3, errno.EIO)


@pytest.mark.parametrize("error", [errno.EIO, errno.ESHUTDOWN])
@pytest.mark.parametrize("is_structured", [False, True])
def test_an_owner_in_trouble_has_not_answered(error: int, *, is_structured: bool) -> None:
    wire = Wire(is_structured=is_structured)
    wire.bind()
    wire.ask(ask(FLUSH, 1), ask(READ, 2, 0, 512))
    bad = chunk(2, ERROR, error.to_bytes(4) + bytes(2), DONE) if is_structured else simple(2, error)
    with pytest.raises(TransientError):
        wire.reply(simple(1), bad)
    assert wire.sent == simple(1)
    assert wire.passage.held.unanswered() == [ask(READ, 2, 0, 512)]


@pytest.mark.parametrize("error", [errno.EPERM, errno.EINVAL, errno.ENOSPC])
def test_errors_of_the_request_are_handed_on(error: int) -> None:
    wire = Wire()
    wire.bind()
    wire.ask(ask(READ, 1, 0, 512))
    assert wire.reply(simple(1, error)) == simple(1, error)


@pytest.mark.parametrize(
    "reply", [simple(9), bytes(16), chunk(1, NONE, b"", DONE), simple(1) + simple(1)], ids=range(4)
)
def test_an_owner_that_answers_what_nobody_asked_is_left(reply: bytes) -> None:
    wire = Wire()
    wire.bind()
    wire.ask(ask(FLUSH, 1))
    with pytest.raises(MalformedError):
        wire.reply(reply)


def test_a_chunk_that_nobody_waits_for_is_not_kept() -> None:
    wire = Wire(is_structured=True)
    wire.bind()
    with pytest.raises(MalformedError):
        wire.reply(chunk(1, DATA, bytes(64)))


@pytest.mark.parametrize(
    "request_", [bytes(28), ask(WRITE, 1, 0, 33 * MIB), ask(FLUSH, 1) + ask(FLUSH, 1)], ids=range(3)
)
def test_a_client_that_breaks_the_protocol_is_dropped(request_: bytes) -> None:
    wire = Wire()
    wire.bind()
    wire.ask(request_)
    assert wire.dropped


def test_a_client_that_says_goodbye_gets_its_last_answers_first() -> None:
    wire = Wire()
    wire.ask(ask(FLUSH, 1), ask(DISC, 2), ask(FLUSH, 3))
    assert not wire.is_finished
    owner = wire.bind()
    assert owner.asked == [ask(FLUSH, 1)]
    assert wire.reply(simple(1)) == simple(1)
    wire.passage.deliver()
    assert (wire.is_finished, wire.has_left, owner.is_cut) == (True, 1, True)


def test_a_client_that_takes_no_replies_holds_the_owner_back() -> None:
    wire = Wire()
    owner = wire.bind()
    wire.passage.choke()
    assert (owner.is_paused, wire.passage.is_blocked) == (True, True)
    wire.passage.unbind()
    second = wire.bind()
    assert second.is_paused
    wire.passage.unchoke()
    assert not second.is_paused


def test_a_client_that_has_gone_leaves_nothing() -> None:
    wire = Wire()
    owner = wire.bind()
    wire.ask(ask(WRITE, 1, 0, data=b"x"))
    wire.passage.abandon()
    wire.passage.abandon()
    assert (owner.is_cut, wire.has_left, len(wire.passage.held)) == (True, 1, 0)
