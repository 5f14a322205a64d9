"""Bytes on disk do not change by accident: files of tests/golden/journal, compared byte for byte.

After an intended change of the format (and of its version) write them anew with DRSYNC_REGENERATE=1 and
review the difference together with docs/journal-format.md, which explains them.
"""

import os
import re
import shutil
from pathlib import Path

import pytest
from xxhash import xxh3_64_intdigest

from drsync.adapters.segments.index_layout import HEADER_BYTES, Of, decode_directory, decode_header, encode
from drsync.adapters.segments.inspection import check
from drsync.adapters.segments.journal import SEGMENT_BYTES_MIN, SegmentJournal
from drsync.adapters.segments.layout import Identity
from drsync.adapters.segments.superblock import NAMES, SLOT_BYTES, SuperblockFiles
from drsync.adapters.segments.tables import newest
from drsync.delta.batch import FLAG_APP_CONSISTENT, FLAG_FUA, FLAG_TRIM_ORIGIN, BatchBuilder, Kind
from drsync.delta.pieces import PIECE
from drsync.model.epoch import Epoch

GOLDEN = Path(__file__).parents[2] / "golden" / "journal"
IDENTITY = Identity("example-cluster", "orders", "production", "0123456789abcdef" * 2)
CREATED_US = 1_700_000_000_000_000
SEGMENT = f"{1:016x}.seg"
INDEX = f"{1:016x}.idx"
SUPERBLOCK = ("superblock-slot-0", "superblock-slot-1")


def write_journal(directory: Path) -> None:
    """Two epochs, three batches, five records; sealed."""
    journal = SegmentJournal(
        directory, IDENTITY, 0, segment_bytes=SEGMENT_BYTES_MIN, wall_us=lambda: CREATED_US
    )
    builder = BatchBuilder()
    builder.reset(Epoch(1), 1, journal.tip.chain)
    builder.add_control(Kind.EPOCH_START, b'{"epoch":1}')
    batches = [builder.finish(CREATED_US + 1)]
    builder.reset(Epoch(1), 2, batches[-1].end.chain)
    builder.add_write(0, 4096, memoryview(b"hello, remote center"), FLAG_FUA)
    builder.add_zero(0, 8192, 4096, FLAG_TRIM_ORIGIN)
    batches.append(builder.finish(CREATED_US + 2))
    builder.reset(Epoch(2), 4, batches[-1].end.chain)
    builder.add_control(Kind.EPOCH_START, b'{"epoch":2}')
    builder.add_control(Kind.CHECKPOINT, b'{"name":"noon"}', flags=FLAG_APP_CONSISTENT)
    batches.append(builder.finish(CREATED_US + 3))
    for batch in batches:
        journal.append(batch.parts, batch.first_seq, batch.end)
    journal.finish()
    journal.close()


def index_of(directory: Path) -> bytes:
    """The index of the journal's one segment."""
    journal = SegmentJournal(directory, IDENTITY, 5)
    (segment,) = journal._shelf.segments
    of = Of(segment.number, segment.first_seq, segment.last.seq, segment.last.chain, segment.end)
    index = encode(of, newest(journal._shelf, segment, 5, is_thorough=True))
    journal.close()
    return index


def write_superblock(directory: Path) -> None:
    superblock = SuperblockFiles(directory)
    superblock.store(b'{"promised":1}')
    superblock.store(b'{"promised":2}')


@pytest.fixture
def written(tmp_path: Path) -> dict[str, bytes]:
    """Golden names and what is written today; unused ends of superblock slots (zeros) are left out."""
    write_journal(tmp_path / "journal")
    write_superblock(tmp_path)
    found = {SEGMENT: (tmp_path / "journal" / SEGMENT).read_bytes(), INDEX: index_of(tmp_path / "journal")}
    data = (tmp_path / NAMES[0]).read_bytes()
    for slot, name in enumerate(SUPERBLOCK):
        found[name] = data[slot * SLOT_BYTES :][:SLOT_BYTES].rstrip(b"\0")
    assert (tmp_path / NAMES[1]).read_bytes() == data
    if os.environ.get("DRSYNC_REGENERATE"):
        GOLDEN.mkdir(parents=True, exist_ok=True)
        for name, data in found.items():
            (GOLDEN / name).write_bytes(data)
    return found


@pytest.mark.parametrize("name", [SEGMENT, INDEX, *SUPERBLOCK])
def test_what_is_written_today_is_what_was_written_then(written: dict[str, bytes], name: str) -> None:
    assert written[name] == (GOLDEN / name).read_bytes()


def test_a_journal_of_then_opens_today(tmp_path: Path) -> None:
    shutil.copy(GOLDEN / SEGMENT, tmp_path)
    report = check(tmp_path)
    assert report.bad is None
    assert [s.is_sealed for s in report.segments] == [True]
    assert [(run.epoch, run.first_seq, run.last_seq) for run in report.runs] == [(1, 1, 3), (2, 4, 5)]
    journal = SegmentJournal(tmp_path, IDENTITY, 5)
    assert journal.tip == report.tip
    journal.close()


def test_an_index_of_then_is_read_today() -> None:
    data = (GOLDEN / INDEX).read_bytes()
    header = decode_header(data)
    assert header is not None
    assert len(data) == header.length
    directory = decode_directory(header, data[HEADER_BYTES : header.pieces_at])
    assert directory.volumes == {0: (0, 1)}
    assert (list(directory.firsts), list(directory.starts)) == ([4096], [0, 2])
    segment = (GOLDEN / SEGMENT).read_bytes()
    write, zeros = PIECE.iter_unpack(data[header.pieces_at : header.filter_at])
    offset, hashed, length, at, record_at, record_length = write
    assert (offset, segment[at : at + length]) == (4096, b"hello, remote center")
    assert (record_at, record_length, hashed) == (at, length, xxh3_64_intdigest(b"hello, remote center"))
    assert zeros == (8192, 0, 4096, 0, 0, 0)


def test_an_index_without_a_filter_is_read_as_well() -> None:
    data = (GOLDEN / "before-filter.idx").read_bytes()
    before, header = decode_header(data), decode_header((GOLDEN / INDEX).read_bytes())
    assert before is not None
    assert header is not None
    assert (before.length, before.filter_bytes) == (len(data), 0)
    assert header.filter_bytes == 128
    assert before.of == header.of
    assert decode_directory(before, data[HEADER_BYTES : before.pieces_at]).volumes == {0: (0, 1)}


def test_a_superblock_of_then_opens_today(tmp_path: Path) -> None:
    slots = [(GOLDEN / name).read_bytes().ljust(SLOT_BYTES, b"\0") for name in SUPERBLOCK]
    (tmp_path / NAMES[1]).write_bytes(b"".join(slots))
    assert SuperblockFiles(tmp_path).load() == b'{"promised":2}'


def test_the_example_in_the_documentation_is_the_golden_file() -> None:
    text = (GOLDEN.parents[2] / "docs" / "journal-format.md").read_text(encoding="utf-8")
    lines = re.findall(r"^([0-9a-f]{4}): ((?:[0-9a-f]{4} ){3,7}[0-9a-f]{4})", text, re.MULTILINE)
    data = (GOLDEN / SEGMENT).read_bytes()
    assert len(lines) == 14 + 17
    index = (GOLDEN / INDEX).read_bytes()
    for at, expected in lines:
        shown = bytes.fromhex(expected)
        where = data if int(at, 16) >= 0x1000 else index  # a segment has nothing but its header before that
        assert where[int(at, 16) :][: len(shown)] == shown
