"""Records are listed as if every one of them was looked at, and only what may hold some is read."""

import random
from pathlib import Path

import pytest

from drsync.adapters.segments.directory import BatchDirectory
from drsync.adapters.segments.journal import SEGMENT_BYTES_MIN, SegmentJournal
from drsync.adapters.segments.listing import RecordReport, Selection, list_records
from drsync.adapters.segments.segment import Segment
from drsync.adapters.segments.shelf import Shelf
from drsync.delta.batch import BatchBuilder
from drsync.model.epoch import Epoch
from tests.adapters.segments.conftest import IDENTITY

BATCHES = 150
CHANGES = {25: -9, 45: +5}
"""At these batches another owner begins, whose clock differs by so much."""


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Three epochs over many segments; label = number of the batch, as the clock of its owner has it."""
    home = tmp_path / "journal"
    made = SegmentJournal(home, IDENTITY, 0, segment_bytes=SEGMENT_BYTES_MIN)
    epoch, skew = 1, 0
    for number in range(1, BATCHES + 1):
        if number in CHANGES:
            epoch, skew = epoch + 1, skew + CHANGES[number]
        builder = BatchBuilder()
        builder.reset(Epoch(epoch), made.tip.seq + 1, made.tip.chain)
        for volume in (0, 1):
            builder.add_write(volume, number * 4096, memoryview(bytes(4096)), 0)
        batch = builder.finish(number + skew)
        made.append(batch.parts, batch.first_seq, batch.end)
    made.sync()
    made.close()
    assert len(list(home.glob("*.seg"))) > 5
    return home


def test_any_selection_gives_what_a_look_at_every_record_gives(journal: Path) -> None:
    everything = list(list_records(journal, Selection()))
    assert [record.seq for record in everything] == list(range(1, 2 * BATCHES + 1))
    dice = random.Random(5)
    for _ in range(200):
        wanted = Selection(
            first_seq=dice.choice((0, dice.randrange(320))),
            last_seq=dice.choice((0, dice.randrange(320))),
            from_us=dice.choice((0, dice.randrange(160))),
            to_us=dice.choice((0, dice.randrange(160))),
            volume=dice.choice((None, 0, 1)),
        )
        expected = [one for one in everything if wanted.has(one) and wanted.has_label(one.time_us)]
        assert list(list_records(journal, wanted)) == expected, wanted


def test_a_stretch_of_time_reads_few_segments(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    load = Shelf.directory

    def counted(shelf: Shelf, segment: Segment) -> BatchDirectory:
        looked.append(segment.path.name)
        return load(shelf, segment)

    monkeypatch.setattr(Shelf, "directory", counted)
    found: list[RecordReport] = list(list_records(journal, Selection(from_us=10, to_us=11)))
    assert {record.time_us for record in found} == {10, 11}
    assert len(set(looked)) < len(list(journal.glob("*.seg"))) // 3
