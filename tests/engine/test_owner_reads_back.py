"""What an owner reads back of its own journal."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from drsync.model.errors import FailedCopyError
from tests.engine.test_damaged_journal import STORED, damage
from tests.engine.test_owner import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "journal")
    yield bench
    bench.journal.close()


def test_damaged_bytes_are_not_taken_into_its_image(bench: Bench, tmp_path: Path) -> None:
    bench.write(b"w1", 0, STORED)
    bench.sync()
    damage(tmp_path, STORED)
    job = bench.volumes.begin_drain(1)
    assert job is not None
    with pytest.raises(FailedCopyError):
        job.run()


def test_damaged_bytes_are_not_answered(bench: Bench, tmp_path: Path) -> None:
    bench.write(b"w1", 0, STORED)
    damage(tmp_path, STORED)
    target = bytearray(len(STORED))
    assert bench.device.read_into(0, memoryview(target)) != 0 or target == STORED
