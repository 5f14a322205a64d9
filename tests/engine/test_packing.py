"""Frames leave in order whatever a thread does meanwhile, and what cannot be unpacked is never packed."""

import asyncio
import os
from collections.abc import Callable

import pytest

from drsync.adapters.memory.journal import MemoryJournal
from drsync.adapters.system.clock import SystemClock
from drsync.core.compression import LEVEL_MAX, Advice
from drsync.delta.batch import BatchBuilder, EncodedBatch, split
from drsync.engine import packing
from drsync.engine.feed import UNACKNOWLEDGED_BYTES_MAX, Feed
from drsync.engine.packing import PROBE_BYTES, PROBES, Sender, probe
from drsync.model.epoch import Epoch
from drsync.ports.journal import Buffer
from drsync.wire import data
from drsync.wire.compression import decompress
from drsync.wire.frames import COMPRESSED, DATA_BODY_BYTES_MAX, FrameType

EPOCH = Epoch(1)
TEXT = b"the same line again and again, as logs and tables have it; " * 4000


class Stream:
    """An owner's journal, its feed and sender, and everything that went out."""

    def __init__(self, *, can_unpack: bool = True) -> None:
        self.journal = MemoryJournal()
        self.frames: list[tuple[FrameType, bytes, int]] = []
        self.builder = BatchBuilder()
        self.sender = Sender(self._sent, SystemClock(), can_unpack=can_unpack, pick=lambda: self.feed)
        self.feed = Feed(
            center="remote",
            session="s",
            journal=self.journal,
            after_seq=0,
            send=self._batches,
            ask_durable=lambda seq: self.sender.small(
                FrameType.SYNC, data.encode_sync(data.Sync(EPOCH, seq))
            ),
            on_trouble=self._troubled,
        )

    def _troubled(self, error: Exception) -> None:
        raise error

    def _sent(self, kind: FrameType, parts: list[Buffer], flags: int) -> None:
        self.frames.append((kind, b"".join(parts), flags))

    def _batches(
        self, parts: list[Buffer], first_seq: int, last_seq: int, *, is_live: bool, sync_seq: int
    ) -> None:
        head = data.BatchesHeader(EPOCH, 0, sync_seq, first_seq)
        self.sender.batches([data.batches_header(head), *parts], last_seq, is_live=is_live)

    def compress(self, level: int) -> None:
        self.sender.advice = Advice(level=level)
        self.feed.live_bytes = 0 if level else UNACKNOWLEDGED_BYTES_MAX

    def append(self, payload: bytes) -> EncodedBatch:
        self.builder.reset(EPOCH, self.journal.tip.seq + 1, self.journal.tip.chain)
        self.builder.add_write(0, 0, memoryview(payload), 0)
        batch = self.builder.finish(1)
        self.journal.append(batch.parts, batch.first_seq, batch.end)
        self.feed.push(batch)
        return batch

    async def until(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(10.0):
            while not what():
                await asyncio.sleep(0.001)

    def received(self) -> list[int]:
        """Records as a peer would see them."""
        seqs = []
        for kind, body, flags in self.frames:
            if kind is FrameType.BATCHES:
                raw = decompress(body, DATA_BODY_BYTES_MAX) if flags & COMPRESSED else body
                _, view = data.read_batches(raw)
                seqs += [header.first_seq for _, header in split(view)]
        return seqs


@pytest.mark.parametrize("level", [1, 3, LEVEL_MAX])
async def test_records_arrive_in_order_while_compression_comes_and_goes(level: int) -> None:
    stream = Stream()
    for number in range(1, 121):
        stream.append(os.urandom(9000) if number % 7 == 0 else TEXT[number : number + 20_000])
        if number % 40 == 20:
            stream.compress(level)
        if number % 40 == 0:
            stream.compress(0)
        if number % 5 == 0:
            await stream.until(lambda: not stream.sender.is_busy)
    stream.compress(0)
    await stream.until(lambda: not stream.sender.is_busy and stream.feed.is_live)
    assert stream.received() == list(range(1, 121))
    assert any(flags & COMPRESSED for _, _, flags in stream.frames)


async def test_what_is_asked_after_a_body_goes_out_after_it() -> None:
    stream = Stream()
    stream.compress(1)
    stream.append(TEXT)
    assert stream.sender.is_busy
    stream.feed.want_durable(1)
    stream.sender.small(FrameType.COMMIT, b"")
    assert stream.frames == []
    await stream.until(lambda: not stream.sender.is_busy)
    assert [kind for kind, _, _ in stream.frames] == [FrameType.BATCHES, FrameType.SYNC, FrameType.COMMIT]


async def test_what_is_appended_while_a_body_is_compressed_becomes_one_body() -> None:
    stream = Stream()
    stream.compress(1)
    for _ in range(20):
        stream.append(TEXT[:5000])
    await stream.until(lambda: stream.feed.is_live and not stream.sender.is_busy)
    assert [kind for kind, _, _ in stream.frames] == [FrameType.BATCHES] * 2


async def test_a_live_batch_is_never_delayed_while_little_is_under_way() -> None:
    stream = Stream()
    stream.compress(1)
    stream.feed.live_bytes = 100_000
    for number in range(1, 10):
        stream.append(TEXT[:30_000])
        assert not stream.sender.is_busy
        stream.feed.acknowledged(number - 1, 0, 0)
    assert not any(flags for _, _, flags in stream.frames)
    for _ in range(5):
        stream.append(TEXT[:30_000])
    assert stream.sender.is_busy, "what would queue is compressed"
    await stream.until(lambda: stream.feed.is_live and not stream.sender.is_busy)
    assert stream.received() == list(range(1, 15))


async def test_incompressible_bodies_go_as_they_are_and_are_soon_not_tried() -> None:
    stream = Stream()
    stream.compress(1)
    for _ in range(40):
        stream.append(os.urandom(20_000))
        await stream.until(lambda: not stream.sender.is_busy)
    assert stream.received() == list(range(1, 41))
    assert not any(flags for _, _, flags in stream.frames)
    assert stream.sender.ratio == 1.0
    assert not stream.sender._memory.is_worth_a_try()


async def test_the_ratio_between_checkpoints_is_kept() -> None:
    stream = Stream()
    stream.sender.mark()
    at_first = stream.sender.mark_ratio
    stream.compress(1)
    stream.append(TEXT)
    await stream.until(lambda: not stream.sender.is_busy)
    stream.sender.mark()
    ratio = stream.sender.mark_ratio
    assert at_first is None
    assert ratio is not None
    assert ratio > 10


async def test_a_stream_that_ends_sends_nothing_more() -> None:
    stream = Stream()
    stream.compress(1)
    stream.append(TEXT)
    stream.feed.close()
    stream.sender.close()
    await stream.until(lambda: not stream.sender.is_busy)
    assert stream.frames == []


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


@pytest.mark.parametrize("can_unpack", [True, False])
async def test_a_held_line_is_compressed_if_the_peer_can_unpack(*, can_unpack: bool) -> None:
    stream, clock = Stream(can_unpack=can_unpack), Hands()
    stream.sender._clock = clock
    total = 0
    for _ in range(30):
        clock.instant += 0.05
        total += stream.append(TEXT[:50_000]).length
        if stream.feed.sent > 10:
            stream.feed.acknowledged(stream.feed.sent - 10, 0, 0)
        stream.sender.tick(total, is_waited_for=False, pressure=0.0)
    assert (stream.sender.level > 0) == can_unpack
    assert stream.sender.drain > 0
    await stream.until(lambda: not stream.sender.is_busy)


async def test_a_body_that_cannot_be_compressed_goes_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> bytes:
        raise MemoryError

    stream = Stream()
    stream.compress(1)
    monkeypatch.setattr(stream.sender._packer, "pack", no_memory)
    stream.append(TEXT)
    await stream.until(lambda: not stream.sender.is_busy)
    assert stream.received() == [1]


def test_the_probe_looks_at_several_places() -> None:
    body = b"".join(bytes([n]) * PROBE_BYTES for n in range(32))
    looked = probe(body)
    assert len(looked) == PROBES * PROBE_BYTES
    assert {looked[0], looked[-1]} == {0, 31}
    assert probe(b"small") == b"small"


def test_bodies_fit_into_a_frame() -> None:
    assert packing.PRESSED_PUMP_BYTES + data.BATCHES_HEADER_BYTES <= DATA_BODY_BYTES_MAX


async def test_who_has_not_got_a_record_yet_is_asked_to_sync_it_again() -> None:
    stream = Stream()
    stream.feed.is_paused = True
    stream.append(TEXT[:100])
    stream.append(TEXT[:100])
    stream.feed.want_durable(2)
    stream.feed.is_paused = False
    stream.feed.pump()
    kinds = [kind for kind, _, _ in stream.frames]
    assert kinds == [FrameType.BATCHES, FrameType.SYNC]
