"""Bodies of a resync session are compressed beside the loop, and leave in the order in which they came."""

import asyncio
import random
from collections.abc import Callable

import pytest

from drsync.core.compression import BULK_LEVEL, CROWDED, SLOW_LINE, Advice, bulk_level
from drsync.engine.resync_packing import AHEAD, Parcel, ParcelQueue
from drsync.wire.compression import Packer, decompress
from drsync.wire.frames import COMPRESSED, FrameType
from tests.engine.bench import StillClock

TEXT = b"a page of a table, " * 4000
NOISE = random.Random(1).randbytes(len(TEXT))


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0)


def blocks(body: bytes, level: int = BULK_LEVEL) -> Parcel:
    return Parcel(FrameType.BLOCKS, [body[:10], body[10:]], len(body), 1, 0, level)


async def test_what_shrinks_is_compressed_and_what_does_not_goes_as_it_is() -> None:
    sent: list[Parcel] = []
    queue = ParcelQueue(StillClock(), sent.append)
    for body in (TEXT, NOISE):
        queue.add(blocks(body))
    await until(lambda: len(sent) == 2)
    packed, plain = sent
    assert packed.flags == COMPRESSED
    assert packed.wire < len(TEXT) // 10
    assert decompress(b"".join(packed.parts), len(TEXT)) == TEXT
    assert (plain.flags, plain.wire, b"".join(plain.parts)) == (0, len(NOISE), NOISE)


async def test_small_frames_and_later_bodies_never_overtake() -> None:
    sent: list[Parcel] = []
    queue = ParcelQueue(StillClock(), sent.append)
    queue.add(blocks(TEXT))
    queue.add(blocks(b"as it is", level=0))
    queue.add(Parcel(FrameType.RESYNC_ROUND, [b"round"], 0))
    assert not sent
    assert queue.waiting == len(TEXT) + len(b"as it is")
    await until(lambda: len(sent) == 3)
    assert [parcel.kind for parcel in sent] == [FrameType.BLOCKS, FrameType.BLOCKS, FrameType.RESYNC_ROUND]
    assert [parcel.flags for parcel in sent] == [COMPRESSED, 0, 0]
    assert queue.waiting == 0
    queue.add(Parcel(FrameType.RESYNC_END, [b"end"], 0))
    assert len(sent) == 4, "nothing before it: at once"


async def test_whoever_brings_too_much_waits_and_nobody_waits_for_what_is_over() -> None:
    sent: list[Parcel] = []
    queue = ParcelQueue(StillClock(), sent.append)
    for _ in range(AHEAD):
        await queue.room()
        queue.add(blocks(TEXT))
    waiting = asyncio.create_task(queue.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    await until(waiting.done)
    for _ in range(AHEAD - 1):
        await queue.room()
        queue.add(blocks(TEXT))
    before = len(sent)
    queue.close()
    await queue.room()
    queue.add(blocks(TEXT))
    await asyncio.sleep(0.01)
    assert len(sent) == before, "nothing is handed on after the end"


async def test_without_memory_for_the_tables_bodies_go_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(self: Packer, body: bytes, level: int) -> bytes:
        raise MemoryError

    monkeypatch.setattr(Packer, "pack", full)
    sent: list[Parcel] = []
    queue = ParcelQueue(StillClock(), sent.append)
    for _ in range(AHEAD + 2):
        await queue.room()
        queue.add(blocks(TEXT))
    await until(lambda: len(sent) == AHEAD + 2)
    assert {parcel.flags for parcel in sent} == {0}


def test_bulk_is_always_compressed_and_harder_where_the_line_is_slow() -> None:
    assert bulk_level(Advice()) == BULK_LEVEL
    assert bulk_level(Advice(level=1)) == BULK_LEVEL
    assert bulk_level(Advice(level=6)) == 6


def test_a_line_that_only_waits_for_crowded_processors_gets_no_higher_level() -> None:
    seeming = Advice(level=5, line=2 * SLOW_LINE)
    assert bulk_level(seeming, slowness=CROWDED) == BULK_LEVEL
    assert bulk_level(seeming, slowness=CROWDED / 2) == 5
    assert bulk_level(Advice(level=5, line=SLOW_LINE / 2), slowness=CROWDED) == 5, "this one is slow"
