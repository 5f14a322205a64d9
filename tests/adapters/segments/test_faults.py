"""Trouble in every single system call that changes something."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drsync.adapters.segments.journal import SEGMENT_BYTES_MIN, SegmentJournal
from drsync.adapters.segments.layout import Identity
from drsync.model.errors import FailedCopyError, NoSpaceError

if TYPE_CHECKING:
    from drsync.adapters.segments.files import Files
    from tests.adapters.segments.conftest import Add, FullDisk, Open, Trouble

BIG = bytes(20_000)
NEEDS_SPACE = {"pwritev", "allocate"}
IDENTITY = Identity("cluster", "group", "production", "0")


class Life:
    """A journal's life, and what it had promised when it ended."""

    def __init__(self, directory: Path, files: "Trouble", add: "Add") -> None:
        self.journal: SegmentJournal | None = None
        self.chains: dict[int, bytes] = {}
        self.durable = 0
        self._directory = directory
        self._files = files
        self._add = add

    def live(self) -> None:
        """Open, append, sync, fork, cut, trim, open again."""
        self._open()
        self._append(8)
        self._sync()
        assert self.journal is not None
        self.journal.export_tail(3, "fork")
        self.durable = 5
        self.journal.cut(5)
        for seq in [seq for seq in self.chains if seq > 5]:
            del self.chains[seq]
        self._append(4, epoch=2)
        self._sync()
        self.journal.trim(4)
        self._sync()
        self._append(1, epoch=2)
        self.journal.close()
        self._open()
        self._append(3, epoch=3)
        self._sync()

    def _open(self) -> None:
        self.journal = None
        self.journal = SegmentJournal(
            self._directory, IDENTITY, self.durable, segment_bytes=SEGMENT_BYTES_MIN, files=self._files
        )

    def _append(self, count: int, epoch: int = 1) -> None:
        assert self.journal is not None
        for _ in range(count):
            end = self._add(self.journal, BIG, epoch=epoch).end
            self.chains[end.seq] = end.chain

    def _sync(self) -> None:
        assert self.journal is not None
        self.durable = self.journal.sync()


def length_of_a_life(tmp_path: Path, trouble: "type[Trouble]", add: "Add") -> int:
    files = trouble()
    life = Life(tmp_path / "untroubled", files, add)
    life.live()
    assert life.journal is not None
    life.journal.close()
    names = set(files.calls)
    assert names >= {"create", "pwritev", "truncate", "allocate", "fdatasync", "fsync", "rename", "unlink"}
    return len(files.calls) - 1  # closing removes the spare, and does not mind when it cannot


def assert_prefix(journal: SegmentJournal, life: Life) -> None:
    assert journal.tip.seq >= life.durable
    for place in journal.places(journal.first_seq - 1):
        position = journal.position_at(place.last_seq)
        assert position is not None
        if place.last_seq in life.chains:  # one more may have been written than was heard of
            assert position.chain == life.chains[place.last_seq]


def test_an_error_in_any_call_fails_the_journal_for_good_and_loses_nothing_durable(
    tmp_path: Path, trouble: "type[Trouble]", add: "Add"
) -> None:
    for at in range(length_of_a_life(tmp_path, trouble, add)):
        directory = tmp_path / str(at)
        files = trouble(at)
        life = Life(directory, files, add)
        with pytest.raises(FailedCopyError, match="told to fail"):
            life.live()
        files.at = -1  # the disk recovers, the journal must not
        if life.journal is not None:
            for call in refused_calls(life.journal):
                with pytest.raises(FailedCopyError):
                    call()
            life.journal.close()
        journal = SegmentJournal(directory, IDENTITY, life.durable, segment_bytes=SEGMENT_BYTES_MIN)
        assert_prefix(journal, life)
        journal.close()


def refused_calls(journal: SegmentJournal) -> list[Callable[[], object]]:
    return [
        journal.sync,
        lambda: journal.append([b""], journal.tip.seq + 1, journal.tip),
        lambda: journal.read(1 << 32 | 4096, 1),
        lambda: journal.read_batches(journal.tip.seq, 1),
        lambda: list(journal.places(journal.tip.seq)),
        lambda: journal.position_at(0),
        lambda: journal.batch_end_at_or_below(0),
        lambda: journal.cut(journal.tip.seq),
        lambda: journal.trim(0),
        lambda: journal.export_tail(journal.tip.seq, "fork"),
    ]


@pytest.mark.parametrize("mode", ["die", "torn"])
def test_a_process_that_dies_in_any_call_leaves_a_journal_that_opens(
    tmp_path: Path, trouble: "type[Trouble]", add: "Add", process_died: type[BaseException], mode: str
) -> None:
    for at in range(length_of_a_life(tmp_path, trouble, add)):
        directory = tmp_path / str(at)
        files = trouble(at, mode)
        life = Life(directory, files, add)
        with pytest.raises(process_died):
            life.live()
        if life.journal is not None:
            files.at = -1
            life.journal.close()
        journal = SegmentJournal(directory, IDENTITY, life.durable, segment_bytes=SEGMENT_BYTES_MIN)
        assert_prefix(journal, life)
        end = add(journal, b"life goes on", epoch=9).end
        journal.sync()
        journal.close()
        journal = SegmentJournal(directory, IDENTITY, end.seq, segment_bytes=SEGMENT_BYTES_MIN)
        assert journal.tip == end
        journal.close()


def test_appends_and_reads_go_on_beside_a_sync(reopen: "Open", add: "Add") -> None:
    journal = reopen()
    stop = threading.Event()
    promised: list[int] = []
    errors: list[BaseException] = []

    def keep_syncing() -> None:
        try:
            while not stop.is_set():
                promised.append(journal.sync())
        except BaseException as error:  # noqa: BLE001  handed to the test
            errors.append(error)

    thread = threading.Thread(target=keep_syncing)
    thread.start()
    try:
        for number in range(400):
            batch = encode_and_append(journal, add, number)
            data, last = journal.read_batches(batch - 1, 1)
            assert last == batch
            assert data
            if number % 50 == 0:
                journal.trim(number // 2)
    finally:
        stop.set()
        thread.join()

    assert not errors
    assert promised == sorted(promised)
    assert journal.sync() == 400
    first = journal.first_seq
    again = reopen(400)
    assert (again.tip.seq, again.first_seq) == (400, first)


def encode_and_append(journal: SegmentJournal, add: "Add", number: int) -> int:
    return add(journal, bytes([number % 256]) * 5000).last_seq


def test_a_full_disk_refuses_the_append_and_the_journal_goes_on_when_there_is_space(
    reopen: "Open", add: "Add", full: "FullDisk", directory: Path
) -> None:
    journal = reopen(0, full)
    add(journal, BIG)
    full.is_full = True
    assert journal.sync() == 1, "only the spare could not be made"
    with pytest.raises(NoSpaceError, match="no space to keep fork"):
        journal.export_tail(0, "fork")
    for _ in range(2):
        add(journal, BIG)
    for _ in range(2):
        with pytest.raises(NoSpaceError, match="No space left"):
            add(journal, BIG)
    with pytest.raises(NoSpaceError):
        journal.make_room()
    assert journal.tip.seq == 3
    assert journal.sync() == 3, "what it has can be made durable"
    assert not list(directory.glob("*.spare"))
    full.is_full = False
    journal.make_room()
    for _ in range(4):
        add(journal, BIG)
    assert journal.sync() == 7
    assert reopen(7).tip.seq == 7


def test_a_disk_that_fills_in_any_call_costs_one_append_and_nothing_else(
    tmp_path: Path, trouble: "type[Trouble]", add: "Add"
) -> None:
    """Also half way through a write, as where space is only found when data is written."""
    for at in range(length_of_a_life(tmp_path, trouble, add)):
        files = trouble(at, mode="full")
        life = Life(tmp_path / str(at), files, add)
        try:
            life.live()
        except NoSpaceError:
            pass
        except FailedCopyError:
            assert files.calls[at] not in NEEDS_SPACE, "no space was taken for a broken disk"
            continue
        files.at = -1
        journal = life.journal
        if journal is not None and journal.tip.seq:
            assert_prefix(journal, life)
            journal.make_room()
            more = [add(journal, BIG, epoch=4).end for _ in range(4)]
            assert journal.sync() == more[-1].seq
            journal.close()
            again = SegmentJournal(
                tmp_path / str(at), IDENTITY, more[-1].seq, segment_bytes=SEGMENT_BYTES_MIN
            )
            assert again.tip == more[-1]
            again.close()


def test_a_restart_on_a_full_disk_opens_and_waits_for_space(
    reopen: "Open", add: "Add", full: "FullDisk"
) -> None:
    journal = reopen(0, full)
    add(journal, BIG)
    journal.sync()
    full.is_full = True
    journal = reopen(1, full)
    assert journal.tip.seq == 1
    with pytest.raises(NoSpaceError):
        add(journal, BIG)
    full.is_full = False
    add(journal, BIG)
    assert journal.sync() == 2
    assert reopen(2).tip.seq == 2


def test_a_footer_without_space_stops_neither_syncing_nor_trimming(
    reopen: "Open", add: "Add", no_footers: "Files", directory: Path
) -> None:
    journal = reopen(0, no_footers)
    for _ in range(10):
        add(journal, BIG)
    assert journal.sync() == 10
    assert journal.trim(6) > 1
    journal.sync()
    assert len(list(directory.glob("*.seg"))) < 4
    assert reopen(10).tip.seq == 10
