"""A journal that its disk has changed: that is noticed when it is read back, before an image is changed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from drsync.adapters.memory.image import MemoryImage
from drsync.adapters.segments.journal import SegmentJournal
from drsync.delta.batch import BatchBuilder
from drsync.engine.volumes import GroupVolumes
from drsync.model.epoch import Epoch
from drsync.model.errors import FailedCopyError
from tests.adapters.segments.conftest import IDENTITY
from tests.engine.test_owner import Bench

STORED = b"\xa5stored!" * 512


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "journal")
    yield bench
    bench.journal.close()


def damage(directory: Path, find: bytes) -> None:
    """One byte of what was stored is another one now."""
    for path in sorted(directory.rglob("*.seg")):
        content = path.read_bytes()
        at = content.find(find)
        if at >= 0:
            with path.open("r+b") as file:
                file.seek(at + len(find) // 2)
                file.write(b"?")
            return
    raise AssertionError("nothing was stored")


def add(journal: SegmentJournal, writes: list[tuple[int, bytes]]) -> None:
    """A batch of these (offset, data)."""
    builder = BatchBuilder()
    builder.reset(Epoch(1), journal.tip.seq + 1, journal.tip.chain)
    for offset, data in writes:
        builder.add_write(0, offset, memoryview(data), 0)
    batch = builder.finish(1)
    journal.append(batch.parts, batch.first_seq, batch.end)


def test_damaged_bytes_are_not_taken_into_the_index(bench: Bench, tmp_path: Path) -> None:
    bench.write(b"w1", 0, b"x" * 4096)
    bench.write(b"w2", 4096, STORED)
    damage(tmp_path, STORED)
    again = GroupVolumes({0: bench.image}, bench.journal, 0)
    with pytest.raises(FailedCopyError, match="the journal is damaged after record 1"):
        again.record_slice(2)
    assert again.recorded == 1, "what was before it is well"


@pytest.mark.parametrize("shape", ["two records", "one record"])
def test_of_a_batch_that_changes_a_part_of_a_damaged_block_nothing_is_taken(
    tmp_path: Path, shape: str
) -> None:
    image, journal = MemoryImage(1 << 20), SegmentJournal(tmp_path, IDENTITY, 0)
    add(journal, [(8192, STORED)])
    if shape == "two records":
        add(journal, [(0, b"x" * 4096), (8192 + 512, b"y" * 512)])
    else:
        add(journal, [(512, b"x" * 8192)])
    volumes = GroupVolumes({0: image}, journal, 0)
    assert volumes.record_slice(1) is False
    damage(tmp_path, STORED)
    for _ in range(2):
        with pytest.raises(FailedCopyError, match="damaged"):
            volumes.record_slice(journal.tip.seq)
        assert volumes.recorded == 1
        assert len(volumes.payloads) == 1
        assert list(volumes.views[0].newest.blocks) == [2], "nothing of what follows"
    journal.close()


def test_a_damaged_place_that_a_record_names_is_noticed_too(bench: Bench, tmp_path: Path) -> None:
    bench.write(b"w1", 512, b"y" * 512)
    table = (512).to_bytes(8, "little")
    damage(tmp_path, table)
    again = GroupVolumes({0: bench.image}, bench.journal, 0)
    with pytest.raises(FailedCopyError, match="the journal is damaged after record 0"):
        again.record_slice(1)
