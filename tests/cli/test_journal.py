import json
from collections.abc import Awaitable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import pytest

from drsync.adapters.segments.journal import SegmentJournal
from drsync.adapters.segments.layout import Identity
from drsync.adapters.segments.superblock import SuperblockFiles
from drsync.delta.batch import BatchBuilder, Kind
from drsync.delta.marks import checkpoint_payload
from drsync.engine.durable import Durable
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


async def test_records_are_listed_by_number_time_volume_and_place(drsync: Drsync, tmp_path: Path) -> None:
    identity = Identity("cluster", "orders", "production", "0" * 32)
    journal = SegmentJournal(tmp_path / "journal", identity, 0)
    for number in range(1, 7):
        builder = BatchBuilder()
        builder.reset(Epoch(1), journal.tip.seq + 1, journal.tip.chain)
        if number == 4:
            builder.add_control(Kind.CHECKPOINT, checkpoint_payload("before", is_app_consistent=True))
        else:
            builder.add_write(number % 2, number * 4096, memoryview(bytes(4096)), 0)
        batch = builder.finish(1_795_000_000_000_000 + number * 60_000_000)
        journal.append(batch.parts, batch.first_seq, batch.end)
    journal.sync()
    journal.close()

    async def seqs(*words: str) -> list[int]:
        told = await drsync("journal", "show", "--records", "--json", *words, str(tmp_path))
        assert told.code == 0, told.err
        return [record["seq"] for record in json.loads(told.out)["journals"][0]["records"]]

    assert await seqs() == [1, 2, 3, 4, 5, 6]
    assert await seqs("--from", "3", "--to", "5") == [3, 4, 5]
    third = datetime.fromtimestamp(1_795_000_180, UTC).isoformat()
    assert await seqs("--from", third) == [3, 4, 5, 6]
    assert await seqs("--to", third, "--volume", "1") == [1, 3]
    assert await seqs("--volume", "1", "--offset", "12 KiB", "--length", "8193") == [3, 5]
    assert await seqs("--offset", "20479") == []
    assert await seqs("--offset", "20480") == [5]
    assert await seqs("--kind", "checkpoint") == [4]

    shown = await drsync("journal", "show", "--records", "--limit", "4", str(tmp_path))
    words = " ".join(shown.out.split())
    assert "checkpoint: before" in words
    assert "application" in words
    assert "and more: --from 5" in shown.out
    for wrong in (("--from", "x"), ("--offset", "much"), ("--length", "1"), ("--volume", "ledger")):
        told = await drsync("journal", "show", "--records", *wrong, str(tmp_path))
        assert told.code == 2, wrong
    assert "Add --records" in (await drsync("journal", "show", "--from", "3", str(tmp_path))).err


async def test_a_volume_that_grew_is_told_among_its_records(drsync: Drsync, state_dir: Path) -> None:
    folder = state_dir / "groups/orders/journal"
    journal = SegmentJournal(folder, Identity("cluster", "orders", "production", "0" * 32), 3)
    builder = BatchBuilder()
    builder.reset(Epoch(1), journal.tip.seq + 1, journal.tip.chain)
    builder.add_control(Kind.RESIZE, b"", 7, 8192)
    batch = builder.finish(0)
    journal.append(batch.parts, batch.first_seq, batch.end)
    journal.close()
    shown = await drsync("journal", "show", "--records", "--volume", "7", str(state_dir))
    assert "resize: 8192 bytes from here on" in shown.out
    words = ("journal", "show", "--records", "--kind", "resize", "--json", str(state_dir))
    (found,) = json.loads((await drsync(*words)).out)["journals"]
    assert [(one["seq"], one["volume"], one["offset"]) for one in found["records"]] == [(4, 7, 8192)]


async def test_a_check_says_what_to_do_by_what_was_durable(drsync: Drsync, state_dir: Path) -> None:
    damage(state_dir)
    home = state_dir / "groups/orders"
    superblock = SuperblockFiles(home)
    superblock.load()
    for durable, words in ((1, "torn end"), (3, "Change nothing in this folder")):
        superblock.store(replace(Durable("0" * 32, "boot"), durable_hint=durable).encode())
        told = await drsync("journal", "check", str(state_dir), "--json")
        bad = json.loads(told.out)["journals"][0]["bad"]
        assert words in bad["remedy"], durable
        assert (bad["seq"], bad["segment"][-4:]) == (2, ".seg")


async def test_a_point_that_a_later_one_confirms_is_told_so(drsync: Drsync, tmp_path: Path) -> None:
    journal = SegmentJournal(tmp_path / "journal", Identity("cluster", "orders", "production", "0" * 32), 0)
    for payload in (
        checkpoint_payload("noon", is_app_consistent=False),
        checkpoint_payload("", is_app_consistent=False, confirms=1),
    ):
        builder = BatchBuilder()
        builder.reset(Epoch(1), journal.tip.seq + 1, journal.tip.chain)
        builder.add_control(Kind.CHECKPOINT, payload)
        batch = builder.finish(1_795_000_000_000_000)
        journal.append(batch.parts, batch.first_seq, batch.end)
    journal.sync()
    journal.close()
    told = await drsync("journal", "show", "--records", "--json", str(tmp_path))
    records = json.loads(told.out)["journals"][0]["records"]
    assert [record["text"] for record in records] == ["noon", "(record 1 was application-consistent)"]
