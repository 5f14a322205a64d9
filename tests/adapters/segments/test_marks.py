"""Checkpoints and other marks of a long journal are known at a start without reading its batches."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import pytest
from typing_extensions import override

from drsync.adapters.segments import marks
from drsync.adapters.segments.journal import SEGMENT_BYTES_MIN, SegmentJournal
from drsync.adapters.segments.layout import TRAILER_BYTES
from drsync.delta.batch import BatchBuilder, EncodedBatch, Kind, peek
from drsync.delta.marks import beat_payload, checkpoint_payload, sole_kind
from drsync.model.epoch import Epoch
from tests.adapters.segments.conftest import IDENTITY, QuickFiles

if TYPE_CHECKING:
    from tests.adapters.segments.conftest import Add, Open

BIG = bytes(20_000)
GOLDEN = Path(__file__).parents[2] / "golden" / "journal"


def mark(journal: SegmentJournal, kind: Kind, payload: bytes = b"") -> EncodedBatch:
    builder = BatchBuilder()
    builder.reset(Epoch(1), journal.tip.seq + 1, journal.tip.chain)
    builder.add_control(kind, payload)
    batch = builder.finish(journal.tip.seq)
    journal.append(batch.parts, batch.first_seq, batch.end)
    return batch


def fill(journal: SegmentJournal, add: "Add", rounds: int) -> list[bytes]:
    """Writes, checkpoints, heartbeats and a resize; the marks among them."""
    made: list[EncodedBatch] = []
    for number in range(rounds):
        made.append(
            mark(journal, Kind.CHECKPOINT, checkpoint_payload(f"at {number}", is_app_consistent=False))
        )
        add(journal, BIG, b"x")
        made.append(mark(journal, Kind.HEARTBEAT, beat_payload(number, number)))
        add(journal, b"\x07" * 300)
        add(journal, b"one", b"two")
    made.append(mark(journal, Kind.RESIZE))
    return [b"".join(batch.parts) for batch in made]


class Counting(QuickFiles):
    """Counts reads of a file's batches."""

    def __init__(self) -> None:
        self.reads = 0

    @override
    def preadv(self, fd: int, targets: Sequence[bytearray | memoryview], offset: int, /) -> int:
        self.reads += 1
        return super().preadv(fd, targets, offset)


def without_marks(directory: Path) -> None:
    """Footers as they were written before: their trailers name no marks."""
    for path in sorted(directory.glob("*.seg"))[:-1]:
        data = bytearray(path.read_bytes())
        data[-TRAILER_BYTES + 80 : -TRAILER_BYTES + 92] = bytes(12)
        data[-4:] = crc32(bytes(data[-TRAILER_BYTES:-4])).to_bytes(4, "little")
        path.write_bytes(data)


def test_marks_are_found_where_they_were_appended(reopen: "Open", add: "Add") -> None:
    journal = reopen()
    expected = fill(journal, add, 9)
    assert list(journal.marks(0)) == expected
    tip = journal.sync()
    assert list(journal.marks(0)) == expected, "from footers"
    journal = reopen(tip)
    assert list(journal.marks(0)) == expected
    half = peek(expected[8]).last_seq
    assert list(journal.marks(half)) == expected[9:]
    expected += fill(journal, add, 4)
    journal.sync()
    journal = reopen(journal.tip.seq)
    assert list(journal.marks(0)) == expected


def test_a_start_reads_no_batch_of_a_sealed_segment(reopen: "Open", add: "Add") -> None:
    journal = reopen()
    expected = fill(journal, add, 60)
    segments = len(journal.sealed())
    journal = reopen(journal.sync(), files := Counting())
    files.reads = 0
    assert list(journal.marks(0)) == expected
    assert files.reads <= 4 * segments + len(expected) // segments + 9


@pytest.mark.parametrize("damage", ["marks", "trailer"])
def test_a_footer_that_knows_no_marks_costs_a_look_at_each_batch(
    reopen: "Open", add: "Add", directory: Path, damage: str
) -> None:
    journal = reopen()
    expected = fill(journal, add, 9)
    tip = journal.sync()
    journal.close()
    if damage == "marks":
        without_marks(directory)
    else:
        for path in sorted(directory.glob("*.seg"))[:-1]:
            with path.open("r+b") as file:
                file.seek(-4, os.SEEK_END)
                file.write(b"none")
    journal = reopen(tip)
    assert list(journal.marks(0)) == expected
    journal.sync()
    assert list(reopen(tip).marks(0)) == expected


def test_a_journal_of_before_is_read(tmp_path: Path) -> None:
    """Its footer ends where it always did."""
    shutil.copy(GOLDEN / "before-marks.seg", tmp_path / f"{1:016x}.seg")
    identity = IDENTITY._replace(cluster="example-cluster", group="orders", center="production")
    journal = SegmentJournal(tmp_path, identity, 5)
    kinds = [sole_kind(head, 0, peek(head)) for head in journal.marks(0)]
    assert kinds == [Kind.EPOCH_START]
    assert journal.tip.seq == 5
    journal.close()


def test_what_was_cut_is_not_marked(reopen: "Open", add: "Add") -> None:
    journal = reopen()
    expected = fill(journal, add, 9)
    journal.sync()
    for index in (12, 3):
        journal.cut(peek(expected[index]).last_seq)
        expected = expected[: index + 1]
        assert list(journal.marks(0)) == expected
        expected += fill(journal, add, 2)
        assert list(journal.marks(0)) == expected
        journal.sync()
    assert list(reopen(journal.tip.seq).marks(0)) == expected


def test_of_many_heartbeats_some_are_kept_and_the_newest(
    reopen: "Open", add: "Add", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks, "BEATS_MAX", 10)
    monkeypatch.setattr(marks, "CHECKPOINTS_MAX", 20)
    journal = reopen()
    for number in range(95):
        mark(journal, Kind.HEARTBEAT, beat_payload(number, number))
        mark(journal, Kind.CHECKPOINT, b'{"app": false, "name": ""}')
    add(journal, bytes(SEGMENT_BYTES_MIN))
    journal.sync()
    found = [peek(head).last_seq for head in journal.marks(0)]
    beats, points = [seq for seq in found if seq % 2], [seq for seq in found if not seq % 2]
    assert beats == list(range(9, 190, 20)), "ten, ending with the last"
    assert points == list(range(152, 191, 2))
