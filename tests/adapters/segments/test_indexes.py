"""Layers tell of any stretch of a journal what replaying its records tells, whatever becomes of indexes."""

import errno
import os
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typing_extensions import override
from xxhash import xxh3_64_intdigest

from drsync.adapters.segments import indexes, layers
from drsync.adapters.segments.index_layout import decode_header
from drsync.adapters.segments.indexes import SUFFIX, SealedLayer
from drsync.adapters.segments.journal import SEGMENT_BYTES_MIN, SegmentJournal
from drsync.adapters.segments.layout import Identity
from drsync.delta.batch import BatchBuilder
from drsync.delta.pieces import PieceTable
from drsync.model.epoch import Epoch
from drsync.model.errors import FailedCopyError, MalformedError
from drsync.ports.journal import Buffer, Layer
from drsync.sim.disk import Disk
from drsync.sim.disk_files import DiskFiles
from tests.adapters.segments.conftest import QuickFiles

IDENTITY = Identity("cluster", "group", "production", "0" * 32)
SIZE = 40_000
"""Bytes of a volume, so that writes overlap often and every byte can be looked at."""


class Change(NamedTuple):
    seq: int
    volume: int
    offset: int
    data: bytes


class Writer:
    """Writes random batches and remembers them."""

    def __init__(self, seed: int = 1) -> None:
        self.dice = random.Random(seed)
        self.changes: list[Change] = []
        self.ends = [0]

    def write(self, journal: SegmentJournal, batches: int = 1) -> None:
        for _ in range(batches):
            self._batch(journal)

    def _batch(self, journal: SegmentJournal) -> None:
        dice, builder, seq = self.dice, BatchBuilder(), journal.tip.seq
        builder.reset(Epoch(1), seq + 1, journal.tip.chain)
        for _ in range(dice.randint(1, 5)):
            seq += 1
            volume, length = dice.choice([0, 0, 3]), dice.choice([1, 100, 512, 4096, 5000])
            offset = dice.randrange((SIZE - length) // 256) * 256
            if dice.random() < 0.2:
                builder.add_zero(volume, offset, length, 0)
                self.changes.append(Change(seq, volume, offset, bytes(length)))
            else:
                data = dice.randbytes(length)
                builder.add_write(volume, offset, memoryview(data), 0)
                self.changes.append(Change(seq, volume, offset, data))
        batch = builder.finish(0)
        journal.append(batch.parts, batch.first_seq, batch.end)
        self.ends.append(seq)

    def cut(self, after_seq: int) -> None:
        self.changes = [change for change in self.changes if change.seq <= after_seq]
        self.ends = [end for end in self.ends if end <= after_seq]

    def replay(self, after_seq: int, through_seq: int, image: bytearray, volume: int) -> None:
        for seq, number, offset, data in self.changes:
            if after_seq < seq <= through_seq and number == volume:
                image[offset : offset + len(data)] = data

    def marks(self, after_seq: int, through_seq: int, volume: int) -> bytearray:
        marked = bytearray(SIZE)
        for seq, number, offset, data in self.changes:
            if after_seq < seq <= through_seq and number == volume:
                marked[offset : offset + len(data)] = b"x" * len(data)
        return marked


def paint(journal: SegmentJournal, found: Sequence[Layer], image: bytearray, volume: int) -> None:
    for layer in found:
        first, pieces = layer.select(volume, 0, SIZE)
        assert all(a[0] + a[2] <= b[0] for a, b in pairwise(pieces))
        for number, piece in enumerate(pieces, first):
            assert layer.piece(number) == piece
            offset, hashed, length, at, record_at, record_length = piece
            data = journal.read(layer.base + at, length) if at else bytes(length)
            image[offset : offset + length] = data
            if at:
                record = journal.read(layer.base + record_at, record_length)
                assert xxh3_64_intdigest(record) == hashed
                assert record[at - record_at : at - record_at + length] == data


def compare(journal: SegmentJournal, writer: Writer, after_seq: int, through_seq: int) -> None:
    changed = journal.changed(after_seq, through_seq)
    found = journal.layers(after_seq, through_seq)
    for volume in (0, 1, 3):
        expected, image = bytearray(SIZE), bytearray(SIZE)
        writer.replay(0, through_seq, expected, volume)
        writer.replay(0, after_seq, image, volume)
        paint(journal, found, image, volume)
        assert image == expected
        marked = bytearray(SIZE)
        for offset, length in changed.get(volume, ()):
            marked[offset : offset + length] = b"x" * length
        assert marked == writer.marks(after_seq, through_seq, volume)
        for start, length in ((0, 1), (777, 1000), (SIZE - 512, 512)):
            for layer in found:
                first, pieces = layer.select(volume, start, start + length)
                assert all(p[0] < start + length and p[0] + p[2] > start for p in pieces)
                assert [layer.piece(first + i) for i in range(len(pieces))] == list(pieces)


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small segments are indexed, and nothing is read from batches only because it is near the end."""
    monkeypatch.setattr(layers, "RECORDS_MIN", 1)
    monkeypatch.setattr(layers, "VERIFIED_BYTES", 0)


Reopen = Callable[[], SegmentJournal]


@pytest.fixture
def reopened(tmp_path: Path) -> Reopen:
    opened: list[SegmentJournal] = []

    def reopen() -> SegmentJournal:
        while opened:
            opened.pop().close()
        opened.append(
            SegmentJournal(tmp_path, IDENTITY, 0, segment_bytes=SEGMENT_BYTES_MIN, files=QuickFiles())
        )
        return opened[-1]

    return reopen


def filled(journal: SegmentJournal, writer: Writer, batches: int = 100) -> None:
    writer.write(journal, batches)
    journal.sync()
    while journal.index(0):
        pass


def kinds(found: Sequence[Layer]) -> list[type]:
    return [type(layer) for layer in found]


def test_full_segments_are_read_through_their_indexes_and_the_last_from_its_batches(reopened: Reopen) -> None:
    journal, writer = reopened(), Writer()
    filled(journal, writer)
    found = journal.layers(0, journal.tip.seq)
    assert len(found) > 5
    assert kinds(found) == [SealedLayer] * (len(found) - 1) + [PieceTable]
    compare(journal, writer, 0, journal.tip.seq)


def test_indexes_outlive_the_process(reopened: Reopen, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer()
    filled(reopened(), writer)
    journal = reopened()
    assert not journal.index(0), "all are there"
    monkeypatch.setattr(layers, "newest", None)  # nothing but the partial segment may be read now
    end = journal._shelf.segments[3].last.seq
    assert kinds(journal.layers(0, end)) == [SealedLayer] * 4
    compare(journal, writer, 0, end)


@given(st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_stretch_is_what_a_replay_says_whatever_happens_to_indexes(data: st.DataObject) -> None:
    files = DiskFiles(Disk())
    directory = Path("/journal")

    def open_journal() -> SegmentJournal:
        return SegmentJournal(directory, IDENTITY, 0, segment_bytes=SEGMENT_BYTES_MIN, files=files)

    journal, writer = open_journal(), Writer(data.draw(st.integers(0, 1000)))
    steps = st.sampled_from(["write", "write", "write", "index", "index", "cut", "trim", "reopen", "damage"])
    for step in data.draw(st.lists(steps, min_size=3, max_size=12)):
        held = [end for end in writer.ends if end >= journal.first_seq - 1]
        if step == "write":
            writer.write(journal, 40)
            journal.sync()
        elif step == "index":
            while journal.index(0):
                pass
        elif step == "cut":
            after = held[-min(data.draw(st.integers(1, 60)), len(held))]
            journal.cut(after)
            writer.cut(after)
        elif step == "trim":
            journal.trim(held[len(held) // 3])
            journal.sync()
        elif step == "reopen":
            journal.close()
            journal = open_journal()
        else:
            spoil(files, directory, data.draw(st.floats(0, 0.999)))
        held = [end for end in writer.ends if end >= journal.first_seq - 1]
        through = data.draw(st.sampled_from(held))
        after = data.draw(st.sampled_from([end for end in held if end <= through]))
        compare(journal, writer, after, through)
    journal.close()


def spoil(files: DiskFiles, directory: Path, where: float) -> None:
    """Change a byte of every index file."""
    for name in sorted(files.names(directory)):
        if name.endswith(SUFFIX):
            fd = files.open(directory / name, os.O_RDWR)
            byte, at = bytearray(1), int(files.size(fd) * where)
            files.preadv(fd, [byte], at)
            files.pwritev(fd, [bytes([byte[0] ^ 0x10])], at)
            files.close(fd)


def test_every_damaged_byte_of_an_index_is_noticed(reopened: Reopen, tmp_path: Path) -> None:
    writer = Writer()
    filled(reopened(), writer)
    end = reopened()._shelf.segments[0].last.seq
    (path,) = tmp_path.glob("*" + SUFFIX)
    sound = path.read_bytes()
    header = decode_header(sound)
    assert header is not None
    for at in [*range(0, header.pieces_at, 3), *range(header.pieces_at, header.length, 61)]:
        spoiled = bytearray(sound)
        spoiled[at] ^= 1 << at % 8
        path.write_bytes(spoiled)
        journal = reopened()
        compare(journal, writer, 0, end)


def test_an_index_is_made_again_when_it_is_damaged(reopened: Reopen, tmp_path: Path) -> None:
    writer = Writer()
    filled(reopened(), writer)
    (path,) = tmp_path.glob("*" + SUFFIX)
    path.write_bytes(b"?" * 100)
    journal = reopened()
    compare(journal, writer, 0, journal.tip.seq)
    assert journal.index(0), "the damaged file goes"
    assert list(tmp_path.glob("*" + SUFFIX)) == [path.with_stem(f"{2:08x}")]
    assert not journal.is_index_due(0), "whoever needed the others has made them"


def test_index_files_go_with_the_segments_they_speak_of(
    reopened: Reopen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "INDEXES_MAX", 2)
    journal, writer = reopened(), Writer()
    filled(journal, writer)
    before = sorted(path.name for path in tmp_path.glob("*" + SUFFIX))
    assert len(before) > 3
    held = journal.held_bytes
    journal.trim(journal._shelf.segments[2].last.seq)
    journal.sync()
    assert journal.is_index_due(0)
    assert journal.index(0)
    assert not journal.is_index_due(0)
    after = sorted(path.name for path in tmp_path.glob("*" + SUFFIX))
    assert after == before[1:], "the second one still speaks of a segment that is there"
    assert held - journal.held_bytes > 2 * 55_000, "one of the three segments is kept to be used again"
    compare(journal, writer, journal.first_seq - 1, journal.tip.seq)


def test_what_is_due_is_found_again_after_a_cut(reopened: Reopen) -> None:
    """Nothing is looked at twice while nothing changed, and everything once something did."""
    journal, writer = reopened(), Writer()
    writer.write(journal, 100)
    assert not journal.is_index_due(0), "nothing is sealed"
    journal.sync()
    assert journal.is_index_due(0)
    while journal.index(0):
        pass
    assert not journal.is_index_due(0)
    full = journal.sealed()
    held = [one.last_seq for one in full]
    assert journal.sealed() == full
    journal.cut(journal.batch_end_at_or_below(held[2] - 1).seq)
    writer = Writer()
    assert not journal.is_index_due(0), "what is left is indexed, and the last one is not full"
    assert [one.last_seq for one in journal.sealed()] == held[:2]
    writer.write(journal, 100)
    journal.sync()
    assert journal.is_index_due(0), "the one that was cut, too, has other content now"
    assert journal.index(0)
    assert journal.sealed()[2].last_seq != held[2]


class NoIndexes(QuickFiles):
    """A disk that takes everything but indexes."""

    @override
    def pwritev(self, fd: int, parts: Sequence[Buffer], offset: int, /) -> int:
        if bytes(parts[0][:8]) == b"DRINDEX1":
            os.pwrite(fd, bytes(parts[0])[:100], offset)
            raise OSError(errno.EIO, "told to fail")
        return super().pwritev(fd, parts, offset)


def test_an_index_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    journal = SegmentJournal(tmp_path, IDENTITY, 0, segment_bytes=SEGMENT_BYTES_MIN, files=NoIndexes())
    writer = Writer()
    filled(journal, writer)
    assert journal.index(0) is False, "each is tried once"
    compare(journal, writer, 0, journal.tip.seq)
    writer.write(journal)
    journal.close()


def test_a_journal_that_was_closed_opens_nothing_again(reopened: Reopen) -> None:
    journal, writer = reopened(), Writer()
    filled(journal, writer)
    first, *_ = journal.layers(0, journal.tip.seq)
    journal.close()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(FailedCopyError, match="closed"):
        first.select(0, 0, SIZE)
    assert not journal.index(0)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_points_inside_a_batch_and_records_that_are_not_held_are_refused(reopened: Reopen) -> None:
    journal, writer = reopened(), Writer()
    filled(journal, writer)
    inside = next(seq for seq in range(1, journal.tip.seq) if seq not in writer.ends)
    for after, through in ((0, inside), (0, journal.tip.seq + 1), (5, 4)):
        with pytest.raises(MalformedError):
            journal.layers(after, through)


def test_a_damaged_table_is_noticed_when_an_index_is_made_of_it(reopened: Reopen, tmp_path: Path) -> None:
    writer = Writer()
    journal = reopened()
    writer.write(journal, 100)
    journal.sync()
    path = min(tmp_path.glob("*.seg"))
    content = bytearray(path.read_bytes())
    content[4096 + 128 + 3] ^= 1  # the first record's offset
    path.write_bytes(content)
    while journal.index(0):
        pass
    with pytest.raises(FailedCopyError, match="seq 1"):
        journal.layers(0, journal.tip.seq)
    compare(journal, writer, journal._shelf.segments[0].last.seq, journal.tip.seq)


def test_a_damaged_payload_near_the_end_is_noticed_at_once(
    reopened: Reopen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "VERIFIED_BYTES", 10 * SEGMENT_BYTES_MIN)
    writer = Writer()
    journal = reopened()
    filled(journal, writer)
    change = next(
        change for change in reversed(writer.changes) if any(change.data) and len(change.data) > 500
    )
    for path in tmp_path.glob("*.seg"):
        content = path.read_bytes()
        path.write_bytes(content.replace(change.data, bytes(len(change.data))))
    with pytest.raises(FailedCopyError):
        journal.layers(0, journal.tip.seq)
