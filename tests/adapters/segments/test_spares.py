"""Trimmed segments are used again, and nothing of their former life is ever taken for a record."""

import errno
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typing_extensions import override

from drsync.adapters.segments import inspection
from drsync.adapters.segments.files import CorruptJournalError, OsFiles
from drsync.adapters.segments.inspection import check
from drsync.adapters.segments.journal import SEGMENT_BYTES_MIN, SegmentJournal
from drsync.adapters.segments.layout import HEADER_BYTES
from drsync.adapters.segments.listing import Selection, list_records
from drsync.adapters.segments.scan import scan_segment
from drsync.core.reserve import QUIET_ROUNDS_MAX
from drsync.delta.batch import EncodedBatch
from drsync.model.errors import PermanentError
from drsync.model.position import Position
from drsync.ports.journal import Buffer
from drsync.sim.disk import Disk, Moment
from drsync.sim.disk_files import DiskFiles
from drsync.sim.killed import Killed
from tests.adapters.segments.conftest import IDENTITY, encode

if TYPE_CHECKING:
    from tests.adapters.segments.conftest import Add, FullDisk, Open

BIG = 20_000  # bytes; three of them fill a segment
HOME = Path("/journal")


def inodes(directory: Path, suffix: str) -> set[int]:
    return {path.stat().st_ino for path in directory.glob(f"*{suffix}")}


def test_the_file_of_a_trimmed_segment_becomes_the_next_one(
    reopen: "Open", add: "Add", directory: Path
) -> None:
    journal = reopen()
    for number in range(9):
        add(journal, bytes([number]) * BIG)
    journal.sync()
    before = inodes(directory, ".seg")
    journal.trim(6)
    journal.sync()
    spares = inodes(directory, ".spare")
    assert len(spares & before) == 2, "the one that was only reserved gave way"
    assert journal.held_bytes == 3 * SEGMENT_BYTES_MIN, "what is spare counts as held"
    for number in range(6):
        add(journal, bytes([number]) * BIG)
    assert spares <= inodes(directory, ".seg")
    journal.sync()
    assert check(directory).bad is None
    assert reopen(15).tip.seq == 15
    assert not list(directory.glob("*.spare")), "no process takes what another one left"


def test_a_journal_that_is_written_fast_uses_all_its_files_again(
    reopen: "Open", add: "Add", directory: Path
) -> None:
    journal = reopen()
    seen = set[int]()
    for number in range(8):
        for _ in range(18):
            add(journal, bytes([number]) * BIG)
        journal.hold_reserve(100 * SEGMENT_BYTES_MIN)
        journal.sync()
        journal.trim(journal.tip.seq)
        journal.sync()
        found = inodes(directory, ".seg") | inodes(directory, ".spare")
        assert number < 2 or found <= seen, "no new file is needed"
        seen |= found
    assert len(list(directory.glob("*.spare"))) == 6
    for _ in range(QUIET_ROUNDS_MAX):
        journal.hold_reserve(100 * SEGMENT_BYTES_MIN)
    journal.sync()
    assert len(list(directory.glob("*.spare"))) == 2, "who writes no more gives the space back"


def test_a_tight_disk_keeps_one_spare(reopen: "Open", add: "Add", directory: Path, full: "FullDisk") -> None:
    journal = reopen(0, full)
    for number in range(12):
        add(journal, bytes([number]) * BIG)
    journal.sync()
    journal.trim(6)
    journal.sync()
    assert len(list(directory.glob("*.spare"))) == 2
    journal.hold_reserve(0)
    journal.trim(9)
    journal.sync()
    assert len(list(directory.glob("*.spare"))) == 1
    assert journal.held_bytes == 2 * SEGMENT_BYTES_MIN
    full.is_full = True
    for _ in range(3):
        add(journal, bytes(BIG))
    journal.trim(12)
    assert journal.sync() == 15
    assert not list(directory.glob("*.spare")), "what cannot be reserved is given back"


def test_the_end_of_a_log_in_a_used_segment_is_told_as_its_end(
    reopen: "Open", add: "Add", directory: Path
) -> None:
    """At any place in a page, while the journal is used and after its process died."""
    journal = reopen()
    dice = random.Random(1)
    stale = 0
    for _ in range(150):
        add(journal, bytes(dice.randrange(1, 5000)))
        journal.sync()
        journal.trim(journal.tip.seq)
        report = check(directory)
        assert report.bad is None
        assert report.tip == journal.tip
        assert journal._active is not None
        stale += any(journal._active.path.read_bytes()[journal._active.clean_end :])
    assert stale > 20, "there was something to be mistaken for a batch"
    tip = journal.tip
    journal = reopen(tip.seq)
    assert journal.tip == tip
    assert journal.cut_when_opened is None


def test_a_page_is_never_read_to_be_written_in_part(reopen: "Open", add: "Add") -> None:
    """Every write over old bytes starts where the last one ended and ends with a page."""

    class Watched(OsFiles):
        is_watching = False
        ends: dict[int, int] = {}  # noqa: RUF012  of this test alone

        @override
        def pwritev(self, fd: int, parts: Sequence[Buffer], offset: int, /) -> int:
            end = offset + sum(map(len, parts))
            if self.is_watching and offset:
                assert offset <= self.ends[fd]
                assert end <= self.ends[fd] or not end % 4096
            self.ends[fd] = max(end, self.ends.get(fd, 0)) if offset else end
            return super().pwritev(fd, parts, offset)

    files = Watched()
    journal = reopen(0, files)
    dice = random.Random(2)
    for _ in range(40):
        add(journal, bytes(dice.randrange(1, 9000)))
    journal.sync()
    journal.trim(journal.tip.seq)
    journal.sync()
    journal._active = None  # so that the next one begins a segment
    add(journal, b"first")
    files.is_watching = True
    for _ in range(5):
        add(journal, bytes(dice.randrange(1, 9000)))


# --- what a former life may have left

POOL_BATCHES = 6


def log(after: Position, count: int, dice: random.Random, epoch: int) -> list[EncodedBatch]:
    """Batches that follow a position."""
    found = []
    for _ in range(count):
        found.append(encode(after, dice.randbytes(dice.choice((8, 100, 3000))), epoch=epoch))
        after = found[-1].end
    return found


def stored(batches: list[EncodedBatch]) -> bytes:
    return b"".join(b"".join(batch.parts) for batch in batches)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    kinds=st.lists(
        st.sampled_from(["older", "fork", "other epoch", "same numbers", "later", "noise"]),
        min_size=1,
        max_size=5,
    ),
    shift=st.sampled_from([0, 0, 0, 8, 64, 1, 128]),
    is_torn=st.booleans(),
)
def test_no_leftover_continues_the_log(
    seed: int,
    kinds: list[str],
    shift: int,
    is_torn: bool,
    tmp_path: Path,
) -> None:
    """Batches that were good once: of the same log, of a fork at any place, with the very same numbers."""
    dice = random.Random(seed)
    directory = tmp_path / f"{seed}-{'-'.join(kinds)}-{shift}-{is_torn}"
    history = log(Position(0, 0, bytes(16)), POOL_BATCHES, dice, 1)  # type: ignore[arg-type]  # an epoch is a number
    tip = history[-1].end
    behind = history[-2].end
    pools = {
        "older": history,
        "fork": log(behind, POOL_BATCHES, dice, 1),  # parts from ours one batch before its end
        "other epoch": log(behind, POOL_BATCHES, dice, 2),
        "same numbers": log(Position(tip.epoch, tip.seq, dice.randbytes(16)), POOL_BATCHES, dice, 1),
        "later": log(Position(tip.epoch, tip.seq + 1, tip.chain), POOL_BATCHES, dice, 1),
        "noise": [],
    }
    left = bytes(shift)
    for kind in kinds:
        pool = pools[kind]
        first = dice.randrange(POOL_BATCHES)
        part = stored(pool[first:]) if pool else dice.randbytes(800)
        left += part[dice.choice((0, 0, 8, 40)) :]
    torn = stored(log(tip, 1, dice, 1))
    if is_torn:  # a batch that reached the disk in part, over all of that
        kept = dice.randrange(len(torn) - 8)
        left = torn[:kept] + left
        if left.startswith(torn):
            return
    journal = SegmentJournal(directory, IDENTITY, 0, segment_bytes=SEGMENT_BYTES_MIN)
    for batch in history:
        journal.append(batch.parts, batch.first_seq, batch.end)
    journal.sync()
    journal.close()
    (path,) = directory.glob("*.seg")
    data = bytearray(path.read_bytes())
    end = HEADER_BYTES + len(stored(history))
    data[end : end + len(left)] = left[: len(data) - end]
    path.write_bytes(data)

    with pytest.raises(CorruptJournalError) as caught:
        SegmentJournal(directory, IDENTITY, tip.seq + 1, segment_bytes=SEGMENT_BYTES_MIN)
    assert (caught.value.offset, caught.value.seq) == (end, tip.seq + 1)
    assert path.read_bytes() == data, "nothing was cut"
    journal = SegmentJournal(directory, IDENTITY, tip.seq, segment_bytes=SEGMENT_BYTES_MIN)
    assert journal.tip == tip
    journal.close()
    assert not any(path.read_bytes()[end:]), "and now it is gone for good"


def test_a_footer_of_a_former_life_does_not_count(reopen: "Open", add: "Add", directory: Path) -> None:
    """As where somebody restored files from different days."""
    journal = reopen()
    for number in range(9):
        add(journal, bytes([number]) * BIG)
    journal.sync()
    journal.close()
    first, second, _ = sorted(directory.glob("*.seg"))
    footer = first.read_bytes()[-256:]  # three batches, one run
    with second.open("r+b") as file:
        file.seek(-256, os.SEEK_END)
        file.write(footer)
    assert reopen(9).tip.seq == 9
    assert [place.last_seq for place in reopen(9).places(0)] == list(range(1, 10))


# --- every moment at which it may stop


class Story:
    """A journal on a simulated disk that rolls, trims and uses its segments again."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.batches: dict[int, bytes] = {}
        self.durable = self.trimmed = 0
        self.journal: SegmentJournal | None = None

    def open(self) -> SegmentJournal:
        self.journal = SegmentJournal(
            HOME, IDENTITY, self.durable, segment_bytes=SEGMENT_BYTES_MIN, files=DiskFiles(self.disk)
        )
        return self.journal

    def write(self, count: int, fill: int) -> None:
        assert self.journal is not None
        for _ in range(count):
            batch = encode(self.journal.tip, bytes([fill]) * BIG)
            self.batches[batch.last_seq] = stored([batch])
            self.journal.append(batch.parts, batch.first_seq, batch.end)

    def sync(self) -> None:
        assert self.journal is not None
        self.durable = self.journal.sync()

    def trim(self, through: int) -> None:
        assert self.journal is not None
        self.trimmed = through
        self.journal.trim(through)
        self.sync()

    def live(self) -> None:
        self.open()
        self.write(1, 1)
        self.sync()
        self.write(8, 1)
        self.sync()
        self.trim(6)
        self.write(4, 2)
        self.sync()
        self.trim(9)
        self.write(7, 3)
        self.trim(12)
        self.write(2, 4)
        self.sync()

    def check(self) -> None:
        """What was durable is there, nothing that was not written, and it goes on."""
        for _ in range(2):
            journal = self.open()
            assert journal.first_seq <= self.trimmed + 1
            assert journal.tip.seq >= self.durable
            for place in journal.places(journal.first_seq - 1):
                assert journal.read(place.locator, place.length) == self.batches[place.last_seq]
            for seq in range(journal.tip.seq + 1, max(self.batches, default=0) + 1):
                self.batches.pop(seq, None)
            self.write(4, 9)
            self.sync()
            journal.close()


@pytest.mark.parametrize("moment", ["before", "within", "after"])
def test_it_may_stop_in_any_call_and_lose_power(moment: Moment) -> None:
    counted = Story(Disk())
    counted.live()
    calls = sum(counted.disk.calls[name] for name in counted.disk.calls if name != "preadv")
    assert counted.disk.calls["rename"] >= 8, "three segments at least were used again"
    stopped = 0
    for number in range(1, calls):
        story = Story(Disk())
        story.disk.die_at(number, moment)
        try:
            story.live()
        except Killed:
            stopped += 1
        story.disk.doom = None
        story.disk.power_cut(random.Random(number))
        story.check()
    assert stopped > calls // 2


@given(seed=st.integers(0, 1 << 30))
@settings(max_examples=25, deadline=None)
def test_power_cuts_at_any_time_show_old_bytes_and_lose_nothing(seed: int) -> None:
    dice = random.Random(seed)
    story = Story(Disk())
    for _ in range(3):
        journal = story.open()
        for _ in range(12):
            story.write(dice.randrange(5), dice.randrange(256))
            if dice.random() < 0.5:
                story.sync()
            if dice.random() < 0.4:
                story.trim(dice.randrange(journal.first_seq - 1, story.durable + 1))
        story.disk.power_cut(dice)
        story.check()


def test_a_spare_that_cannot_be_reserved_is_given_back(reopen: "Open", add: "Add", directory: Path) -> None:
    class NoRoom(OsFiles):
        is_full = False

        @override
        def rename(self, source: Path, target: Path) -> None:
            if self.is_full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super().rename(source, target)

    files = NoRoom()
    journal = reopen(0, files)
    for number in range(9):
        add(journal, bytes([number]) * BIG)
    journal.sync()
    files.is_full = True
    journal.trim(6)
    assert journal.sync() == 9
    assert len(list(directory.glob("*.seg"))) == 1
    files.is_full = False
    add(journal, b"goes on")
    assert reopen(10).tip.seq == 10


# --- readers beside the process


def test_who_lists_records_of_a_segment_that_is_used_again_is_told(
    reopen: "Open", add: "Add", directory: Path
) -> None:
    journal = reopen()
    for number in range(9):
        add(journal, bytes([number]) * BIG)
    journal.sync()
    listed = list_records(directory, Selection())
    assert next(listed).seq == 1
    journal.trim(6)
    journal.sync()
    for _ in range(6):
        add(journal, bytes(BIG))
    with pytest.raises((PermanentError, OSError)):
        list(listed)


def test_who_checks_a_journal_passes_over_what_is_trimmed_meanwhile(
    reopen: "Open", add: "Add", monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    journal = reopen()
    for number in range(12):
        add(journal, bytes([number]) * BIG)
    journal.sync()
    original, seen = scan_segment, []

    def scan(*args: object) -> object:
        seen.append(args)
        if len(seen) == 1:  # while the first one is read
            journal.trim(6)
            journal.sync()
            for _ in range(6):
                add(journal, bytes(BIG))
        return original(*args)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(inspection, "scan_segment", scan)
    report = check(directory)
    assert report.bad is None
    assert report.segments[0].first_seq == 7
