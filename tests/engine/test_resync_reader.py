"""Granules are read as they are committed, although images are read apart and go forward meanwhile."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typing_extensions import override

from drsync.adapters.memory.image import MemoryImage
from drsync.core.extents import GRANULE, Extents, Run, take
from drsync.engine import resync_reader
from drsync.engine.resync_reader import FRAMES_AHEAD, READS_MAX, GranuleReader
from drsync.engine.volumes import GroupVolumes
from drsync.wire.resync import Block, BlockKind
from tests.engine.test_owner import SIZE, Bench

BLOCK = 4096
FRAME = (Run(0, 0, SIZE // GRANULE),)


class Moving(MemoryImage):
    """Something happens right after it was read: each time it is, until `count` times."""

    def __init__(self) -> None:
        super().__init__(SIZE)
        self.count = self.reads = 0
        self.meanwhile: Callable[[], None] = lambda: None

    @override
    def read_into(self, offset: int, target: memoryview) -> None:
        super().read_into(offset, target)
        self.reads += 1
        if self.count:
            self.count -= 1
            self.meanwhile()


class Rig:
    """Volumes above such an image; what is written is committed at once."""

    def __init__(self, directory: Path) -> None:
        self.bench = Bench(directory)
        self.image = Moving()
        self.volumes = GroupVolumes({0: self.image}, self.bench.journal, 0)
        self.content = bytearray(SIZE)
        self._value = 0

    def write(self, block: int) -> None:
        self._value += 1
        data = bytes([self._value]) * BLOCK
        self.content[block * BLOCK : (block + 1) * BLOCK] = data
        self.bench.write(b"w%d" % self._value, block * BLOCK, data)
        while self.volumes.record_slice(self.bench.journal.tip.seq):
            pass

    def forward(self) -> None:
        """All of it goes into the image."""
        job = self.volumes.begin_drain(self.volumes.recorded)
        assert job is not None
        job.run()
        self.volumes.end_drain(job)

    async def read(self) -> bytes:
        return joined(await GranuleReader(self.volumes).blocks(FRAME))


def joined(blocks: list[Block]) -> bytes:
    return b"".join(
        bytes(block.granules * GRANULE) if block.kind is BlockKind.ZEROS else bytes(block.data)
        for block in blocks
    )


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "journal")
    yield rig
    rig.bench.journal.close()


async def test_what_goes_into_the_image_while_it_is_read_is_not_missed(rig: Rig) -> None:
    for block in (0, 1, 40, 255):
        rig.write(block)
    rig.image.meanwhile, rig.image.count = rig.forward, 1
    assert await rig.read() == rig.content
    assert rig.volumes.applied == rig.volumes.recorded


async def test_what_is_written_while_the_image_is_read_is_seen_and_only_once(rig: Rig) -> None:
    rig.write(3)
    rig.forward()
    rig.image.meanwhile, rig.image.count = lambda: rig.write(4), 1
    assert await rig.read() == rig.content
    assert rig.image.count == 0


async def test_an_image_that_never_rests_is_read_in_the_loop_at_last(rig: Rig) -> None:
    def go_on() -> None:
        rig.write(rig.image.count)
        rig.forward()

    rig.write(200)
    rig.image.meanwhile, rig.image.count = go_on, READS_MAX
    assert await rig.read() == rig.content
    assert rig.image.count == 0, "each time it was read anew"


async def test_zeros_among_content_are_told_as_zeros(rig: Rig) -> None:
    rig.write(GRANULE // BLOCK)
    blocks = await GranuleReader(rig.volumes).blocks(FRAME)
    assert [(block.first, block.granules, block.kind) for block in blocks] == [
        (0, 1, BlockKind.ZEROS),
        (1, 1, BlockKind.DATA),
        (2, SIZE // GRANULE - 2, BlockKind.ZEROS),
    ]


async def test_what_was_read_ahead_is_read_again_where_it_went_into_the_image_since(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = SIZE // GRANULE // (1 + FRAMES_AHEAD)
    monkeypatch.setattr(resync_reader, "GRANULES_A_FRAME", frame)
    reader, at = GranuleReader(rig.volumes), 0
    todo: Extents = FRAME
    for block in range(0, SIZE // BLOCK, GRANULE // BLOCK):
        rig.write(block)
    rig.forward()
    while todo:
        count, blocks = await reader.first(todo)
        content = joined(blocks)
        assert content == rig.content[at : at + len(content)]
        _, todo = take(todo, count)
        at += len(content)
        async with asyncio.timeout(20):
            while rig.image.reads < 1 + FRAMES_AHEAD:
                await asyncio.sleep(0)
        rig.write(2 * frame * (GRANULE // BLOCK))  # in the last frame that was read ahead
        rig.forward()
    assert at == SIZE
