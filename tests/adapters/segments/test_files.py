"""Segment files: how a journal rolls, seals, opens again and keeps others out."""

from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import pytest
from typing_extensions import override

from drsync.adapters.segments import shelf
from drsync.adapters.segments.files import OsFiles, ensure_directory
from drsync.adapters.segments.inspection import check, describe
from drsync.adapters.segments.journal import SegmentJournal
from drsync.adapters.segments.layout import HEADER_BYTES, TRAILER_BYTES, Identity, decode_header
from drsync.model.epoch import Epoch
from drsync.model.errors import FailedCopyError, MalformedError, PermanentError, RefusedError
from drsync.model.position import Position

if TYPE_CHECKING:
    from tests.adapters.segments.conftest import Add, Open

BIG = bytes(20_000)  # three of them fill a segment


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.suffix == ".seg")


def test_segments_are_named_by_their_first_record(reopen: "Open", add: "Add", directory: Path) -> None:
    journal = reopen()
    for _ in range(20):
        add(journal, BIG)
    assert names(directory) == [f"{seq:016x}.seg" for seq in range(1, 20, 3)]
    assert all((directory / name).stat().st_size == 64 << 10 for name in names(directory))


def test_sync_seals_full_segments_and_prepares_the_next(reopen: "Open", add: "Add", directory: Path) -> None:
    journal = reopen()
    for _ in range(4):
        add(journal, BIG)
    assert [s.is_sealed for s in describe(directory).segments] == [False, False]
    journal.sync()
    assert [s.is_sealed for s in describe(directory).segments] == [True, False]
    assert len(list(directory.glob("*.spare"))) == 1
    for _ in range(3):
        add(journal, BIG)
    assert not list(directory.glob("*.spare"))


def test_a_journal_opens_where_it_was_left(reopen: "Open", add: "Add") -> None:
    journal = reopen()
    batches = [add(journal, BIG, b"x", epoch=1 + i // 3) for i in range(12)]
    runs = journal.runs
    for seq in (journal.sync(), 0):
        journal = reopen(seq)
        assert journal.tip == batches[-1].end
        assert journal.durable_seq == journal.tip.seq
        assert journal.runs == runs
        assert journal.cut_when_opened is None
        assert [p.last_seq for p in journal.places(0)] == [b.last_seq for b in batches]
        for place, batch in zip(journal.places(0), batches, strict=True):
            assert journal.read(place.locator, place.length) == b"".join(batch.parts)


def test_opening_reads_footers_and_not_batches(reopen: "Open", add: "Add", directory: Path) -> None:
    journal = reopen()
    for _ in range(9):
        add(journal, BIG)
    journal.sync()
    path = directory / names(directory)[0]
    data = bytearray(path.read_bytes())
    data[HEADER_BYTES + 5000] ^= 1
    path.write_bytes(data)

    journal = reopen(9)

    assert journal.tip.seq == 9
    report = check(directory)
    assert report.bad is not None
    assert (report.bad.segment, report.bad.offset, report.bad.seq) == (path.name, HEADER_BYTES, 1)
    assert "payload_hash" in report.bad.reason
    assert report.beyond == tuple(names(directory)[1:])


def test_a_damaged_footer_costs_a_scan_and_nothing_else(reopen: "Open", add: "Add", directory: Path) -> None:
    journal = reopen()
    batches = [add(journal, BIG) for _ in range(9)]
    journal.sync()
    for name in names(directory)[:2]:
        path = directory / name
        data = bytearray(path.read_bytes())
        data[-TRAILER_BYTES + (9 if name == names(directory)[0] else -100)] ^= 1
        path.write_bytes(data)

    journal = reopen(9)

    assert journal.tip == batches[-1].end
    assert [journal.position_at(b.last_seq) for b in batches] == [b.end for b in batches]
    journal.sync()
    assert check(directory).bad is None
    assert [s.is_sealed for s in describe(directory).segments] == [True, True, False]


def test_a_batch_larger_than_a_segment_gets_a_segment_of_its_own(reopen: "Open", add: "Add") -> None:
    journal = reopen()
    add(journal, b"small")
    large = add(journal, bytes(1 << 20))
    add(journal, b"small")
    journal.sync()
    journal = reopen(3)
    (data, last) = journal.read_batches(1, 1)
    assert (len(data), last) == (large.length, 2)


def test_a_trimmed_journal_opens_where_it_now_begins(reopen: "Open", add: "Add", directory: Path) -> None:
    journal = reopen()
    batches = [add(journal, BIG) for _ in range(9)]
    journal.sync()
    assert journal.trim(6) == 7
    assert len(names(directory)) == 3, "files go with the next sync, so that the loop never waits for it"
    journal.sync()
    assert names(directory) == [f"{7:016x}.seg"]
    journal = reopen(9)
    assert journal.first_seq == 7
    assert journal.position_at(6) == batches[5].end
    assert journal.position_at(5) is None


def test_segments_that_were_not_synced_are_not_trimmed(reopen: "Open", add: "Add") -> None:
    journal = reopen()
    for _ in range(9):
        add(journal, BIG)
    assert journal.trim(9) == 1
    journal.sync()
    assert journal.trim(9) == 7


def test_what_was_cut_stays_cut_after_a_restart(reopen: "Open", add: "Add", directory: Path) -> None:
    journal = reopen()
    batches = [add(journal, BIG) for _ in range(9)]
    journal.sync()
    journal.cut(4)
    assert names(directory) == [f"{1:016x}.seg", f"{4:016x}.seg"]
    journal = reopen(4)
    assert journal.tip == batches[3].end
    again = add(journal, BIG, epoch=2)
    journal = reopen(4)
    assert journal.tip == again.end


def test_old_batches_never_chain_again_after_a_cut(reopen: "Open", add: "Add") -> None:
    """The same batch comes back from a peer; those that once followed it must not come back with it."""
    journal = reopen()
    for payload in (b"a", b"b", b"c"):
        add(journal, payload)
    journal.cut(1)
    add(journal, b"b")
    assert reopen().tip.seq == 2


def test_a_fork_is_a_journal_of_its_own(reopen: "Open", add: "Add", directory: Path) -> None:
    journal = reopen()
    batches = [add(journal, BIG, epoch=1 + i // 4) for i in range(8)]
    place = Path(journal.export_tail(3, "epoch-2"))
    assert place == directory / "forks" / "epoch-2"
    report = check(place)
    assert report.bad is None
    assert report.tip == batches[-1].end
    assert [run.first_seq for run in report.runs] == [4, 5]
    assert not list(place.glob("*.spare"))
    assert reopen().tip == batches[-1].end


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", ".."])
def test_a_fork_needs_a_plain_name(reopen: "Open", name: str) -> None:
    with pytest.raises(MalformedError):
        reopen().export_tail(0, name)


def test_two_processes_never_share_a_journal(reopen: "Open", directory: Path) -> None:
    reopen()
    with pytest.raises(RefusedError, match="open in another process"):
        SegmentJournal(directory, Identity("cluster", "group", "production", "0"), 0)


def test_the_journal_of_another_group_is_refused(reopen: "Open", add: "Add", directory: Path) -> None:
    journal = reopen()
    add(journal, b"x")
    journal.close()
    with pytest.raises(FailedCopyError, match="belongs to cluster/group/production"):
        SegmentJournal(directory, Identity("cluster", "another", "production", "0"), 0)
    restored = SegmentJournal(directory, Identity("cluster", "group", "production", "1"), 1)
    assert restored.tip.seq == 1, "a new incarnation keeps the log it was given"
    restored.close()


def test_a_format_of_the_future_is_refused_and_left_alone(
    reopen: "Open", add: "Add", directory: Path
) -> None:
    journal = reopen()
    add(journal, b"x")
    journal.close()
    path = directory / names(directory)[0]
    page = bytearray(path.read_bytes())
    page[12] = 9
    page[HEADER_BYTES - 4 : HEADER_BYTES] = _crc(page)
    path.write_bytes(page)
    with pytest.raises(PermanentError, match="version 9"):
        reopen()
    assert path.read_bytes() == page


def _crc(page: bytearray) -> bytes:
    return crc32(page[: HEADER_BYTES - 4]).to_bytes(4, "little")


def test_a_header_says_whose_and_where(reopen: "Open", add: "Add", directory: Path) -> None:
    journal = reopen()
    for _ in range(3):
        add(journal, BIG, epoch=3)
    last = add(journal, BIG, epoch=3)
    header = decode_header((directory / names(directory)[1]).read_bytes())
    assert header.identity == Identity("cluster", "group", "production", "0" * 32)
    assert header.prior == Position(Epoch(3), 3, journal.batch_end_at_or_below(3).chain)
    assert (header.number, header.capacity) == (2, 64 << 10)
    assert last.first_seq == 4


def test_a_journal_may_begin_in_the_middle_of_a_log(directory: Path, add: "Add") -> None:
    start = Position(Epoch(4), 1000, b"c" * 16)
    identity = Identity("cluster", "group", "remote", "0")
    journal = SegmentJournal(directory, identity, 0, start=start)
    assert (journal.tip, journal.first_seq, journal.position_at(1000)) == (start, 1001, start)
    batch = add(journal, b"x", epoch=4)
    journal.sync()
    journal.close()
    journal = SegmentJournal(directory, identity, 1001)
    assert (journal.tip, journal.first_seq, journal.position_at(1000)) == (batch.end, 1001, start)
    journal.close()


def test_descriptors_and_directories_stay_bounded(
    reopen: "Open", add: "Add", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "OPEN_SEGMENTS_MAX", 4)
    monkeypatch.setattr(shelf, "DIRECTORIES_MAX", 3)
    journal = reopen()
    batches = []
    for i in range(60):
        batches.append(add(journal, BIG))
        if i % 10 == 0:
            journal.sync()
    journal.sync()
    for batch in batches:
        data, _ = journal.read_batches(batch.first_seq - 1, 1)
        assert data == b"".join(batch.parts)
    segments = journal._shelf.segments
    assert len(segments) == 20
    assert sum(segment.fd is not None for segment in segments) <= 5
    assert sum(segment.directory is not None for segment in segments) <= 4


def test_a_quick_look_and_a_full_check_agree(reopen: "Open", add: "Add", directory: Path) -> None:
    assert reopen() is not None
    assert describe(directory) == check(directory)
    journal = reopen()
    for i in range(10):
        add(journal, BIG, epoch=1 + i // 5)
    journal.sync()
    assert describe(directory) == check(directory)
    assert check(directory).tip == journal.tip
    assert [s.batches for s in check(directory).segments] == [3, 3, 3, 1]


class Syncs(OsFiles):
    """Notes which directories are synced; some may not be looked into."""

    def __init__(self, closed: Path | None = None) -> None:
        self.synced: list[Path] = []
        self._closed = closed

    @override
    def open(self, path: Path, flags: int) -> int:
        if path == self._closed:
            raise PermissionError(path)
        self.synced.append(path)
        return super().open(path, flags)


def test_a_new_directory_is_durable_before_there_is_one_in_it(tmp_path: Path) -> None:
    files = Syncs()
    ensure_directory(files, tmp_path / "a" / "b")
    assert files.synced == [tmp_path.parent, tmp_path, tmp_path / "a"]
    ensure_directory(files, tmp_path / "a" / "b")
    assert files.synced[3:] == [tmp_path / "a"], "whoever made it may have died before the sync"


def test_a_directory_that_somebody_else_made_and_closed_is_no_hindrance(tmp_path: Path) -> None:
    ensure_directory(Syncs(tmp_path.parent), tmp_path / "a")
    assert (tmp_path / "a").is_dir()
    with pytest.raises(PermissionError):
        ensure_directory(Syncs(tmp_path / "a"), tmp_path / "a" / "b" / "c")
