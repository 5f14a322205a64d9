import json
from collections.abc import Awaitable
from pathlib import Path
from typing import Protocol

import pytest

from drsync.adapters.segments.journal import SegmentJournal
from drsync.adapters.segments.layout import Identity
from drsync.delta.batch import BatchBuilder
from drsync.model.epoch import Epoch


class Ended(Protocol):
    code: int
    out: str
    err: str


class Drsync(Protocol):
    def __call__(self, *words: str) -> Awaitable[Ended]: ...


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """A center's folder with one journal of three batches in it."""
    identity = Identity("cluster", "orders", "production", "0" * 32)
    journal = SegmentJournal(tmp_path / "groups/orders/journal", identity, 0)
    for number in range(3):
        builder = BatchBuilder()
        builder.reset(Epoch(1), journal.tip.seq + 1, journal.tip.chain)
        builder.add_write(0, 0, memoryview(bytes([number]) * 4096), 0)
        batch = builder.finish(0)
        journal.append(batch.parts, batch.first_seq, batch.end)
    journal.sync()
    journal.close()
    return tmp_path


def damage(state_dir: Path) -> None:
    """Turn one byte of the second batch."""
    segment = next(path for path in state_dir.rglob("*") if path.is_file() and path.stat().st_size > 8192)
    content = bytearray(segment.read_bytes())
    content[content.index(bytes([1]) * 4096) + 100] ^= 0xFF
    segment.write_bytes(content)


async def test_a_journal_is_found_below_its_center_and_shown(drsync: Drsync, state_dir: Path) -> None:
    shown = await drsync("journal", "show", str(state_dir))
    assert shown.code == 0
    assert "epoch 1: records 1 to 3" in shown.out

    found = json.loads((await drsync("journal", "show", str(state_dir), "--json")).out)["journals"]
    assert [journal["tip"]["seq"] for journal in found] == [3]


async def test_a_whole_journal_is_checked_and_a_damaged_one_ends_with_one(
    drsync: Drsync, state_dir: Path
) -> None:
    assert "Every batch is whole" in (await drsync("journal", "check", str(state_dir))).out

    damage(state_dir)

    told = await drsync("journal", "check", str(state_dir))
    assert told.code == 1
    assert "before record 2" in told.out

    told = await drsync("journal", "check", str(state_dir), "--json")
    assert told.code == 1
    assert json.loads(told.out)["journals"][0]["bad"]["seq"] == 2


async def test_a_folder_without_journals_says_so(drsync: Drsync, tmp_path: Path) -> None:
    told = await drsync("journal", "show", str(tmp_path))
    assert told.code == 2
    assert "no journal in or below" in told.err
