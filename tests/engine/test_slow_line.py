"""A line that takes longer for one frame than a silent peer is waited for: it is slow, not dead."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from typing_extensions import override

from drsync.engine import bulk
from drsync.engine.attach import SILENCE_S
from drsync.engine.bulk import BulkChannel
from drsync.engine.candidate import FETCH_TIMEOUT_S
from drsync.engine.receiver import Donor
from drsync.model.errors import MalformedError
from drsync.ports.journal import Buffer
from drsync.ports.transport import LinkHandler, LinkKind
from drsync.wire import data
from drsync.wire.frames import Frame, FrameType, encode_parts
from drsync.wire.stream import Fetch, encode_fetch
from tests.engine.test_owner import Hands
from tests.engine.test_town import Writer
from tests.engine.town import GROUP, town

SLOW = 10_000  # bytes a second
TICKS = 8  # each two thirds of the silence that a peer may keep


class Wire:
    """A link of which a test has both ends."""

    peer = "production"
    kind = LinkKind.BULK

    def soon(self, callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(callback)

    def set_handler(self, handler: LinkHandler) -> None:
        self.handler = handler

    def write(self, data: bytes) -> None:
        """Nobody reads it."""

    def close(self, reason: str) -> None:
        raise AssertionError(reason)


class Reader:
    """A stream that counts the signs of life it could give."""

    def __init__(self) -> None:
        self.signs = 0
        self.frames: list[FrameType] = []

    def frame_received(self, frame: Frame) -> None:
        self.frames.append(FrameType(frame.type))

    def frames_ended(self) -> None:
        """Answers nothing."""

    def still_arriving(self) -> None:
        self.signs += 1

    def pause(self) -> None:
        """Sends nothing."""

    def resume(self) -> None:
        """Sends nothing."""

    def lost(self, reason: str) -> None:
        raise AssertionError(reason)


def malformed(peer: str, error: MalformedError) -> None:
    raise AssertionError(peer) from error


async def test_who_receives_a_large_frame_bit_by_bit_can_say_that_it_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bulk, "SIGN_S", 0.0)
    wire, reader = Wire(), Reader()
    BulkChannel(wire, lambda _channel, _frame: reader, malformed)
    wire.handler.data_received(bytes(encode_parts(FrameType.ATTACH, [b"x"], stream=1)))
    signs = reader.signs
    frame = bytes(encode_parts(FrameType.BATCHES, [bytes(1000)], stream=1))
    for at in range(0, len(frame) - 100, 100):
        wire.handler.data_received(frame[at : at + 100])
    assert reader.frames == [FrameType.ATTACH]
    assert reader.signs > signs + 5


async def test_signs_of_life_are_seldom() -> None:
    wire, reader = Wire(), Reader()
    BulkChannel(wire, lambda _channel, _frame: reader, malformed)
    for _ in range(100):
        wire.handler.data_received(bytes(encode_parts(FrameType.ATTACH, [b"x"], stream=1)))
    assert reader.signs == 1


async def test_an_owner_gives_up_a_silent_peer_and_not_a_slow_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town(tmp_path) as place:
        owner = place.member("production")
        assert owner.term is not None
        await place.until(lambda: owner.term is not None and "remote" in owner.term.attachments)
        engine, attachment = owner.term.engine, owner.term.attachments["remote"]
        closed: list[str] = []
        monkeypatch.setattr(attachment._channel, "close", closed.append)
        monkeypatch.setattr(engine, "clock", hands := Hands())
        Writer(place, "production").write_many(1, 3)  # nothing of it arrives: nobody else has a turn here
        assert attachment.feed.unacknowledged_bytes
        said = data.Ack(engine.log.epoch, attachment.feed.appended, 0, 0, bytes(16))
        ack = Frame(FrameType.ACK, 0, attachment._stream, 0, data.encode_ack(said))
        for _ in range(TICKS):
            attachment.frame_received(ack)
            hands.instant += SILENCE_S * 2 / 3
            attachment.tick(0, hands.now())
        assert closed == [], "it said each time that something comes"
        hands.instant += SILENCE_S
        attachment.tick(0, hands.now())
        assert closed == ["nothing was acknowledged for 15 s"]


async def test_a_candidate_keeps_what_came_before_its_patience_ended(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        donor, last = place.member("production").copy, 300
        Writer(place, "production").write_many(1, last)
        await place.until(lambda: donor.journal.tip.seq >= last)
        sent: list[int] = []

        class Line(BulkChannel):
            def __init__(self) -> None:
                """Remembers sizes."""

            @override
            def send(self, kind: FrameType, stream: int, parts: Sequence[Buffer], flags: int = 0) -> None:
                sent.append(sum(map(len, parts)))

            @override
            def close_stream(self, number: int) -> None:
                """There is no link."""

        wanted = encode_fetch(Fetch(bytes.fromhex(GROUP.id), 0, last))
        Donor(donor, Line(), 1).frame_received(Frame(FrameType.FETCH, 0, 1, 0, wanted))
        assert sum(sent) > last * 4096
        assert max(sent) < FETCH_TIMEOUT_S * SLOW, "at least one whole frame comes in that time"
