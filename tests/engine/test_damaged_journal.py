"""A journal that its disk has changed: that is noticed when it is read back, before an image is changed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from drsync.engine.volumes import GroupVolumes
from drsync.model.errors import FailedCopyError
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


def test_damaged_bytes_are_not_taken_into_the_index(bench: Bench, tmp_path: Path) -> None:
    bench.write(b"w1", 0, b"x" * 4096)
    bench.write(b"w2", 4096, STORED)
    damage(tmp_path, STORED)
    again = GroupVolumes({0: bench.image}, bench.journal, 0)
    with pytest.raises(FailedCopyError, match="the journal is damaged after record 1"):
        again.record_slice(2)
    assert again.recorded == 1, "what was before it is well"


def test_a_damaged_place_that_a_record_names_is_noticed_too(bench: Bench, tmp_path: Path) -> None:
    bench.write(b"w1", 512, b"y" * 512)
    table = (512).to_bytes(8, "little")
    damage(tmp_path, table)
    again = GroupVolumes({0: bench.image}, bench.journal, 0)
    with pytest.raises(FailedCopyError, match="the journal is damaged after record 0"):
        again.record_slice(1)
