"""What any journal promises: the one in memory and the one on files are held to the same words."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from typing_extensions import override

from drsync.adapters.memory.journal import MemoryJournal
from drsync.adapters.segments.files import Files, OsFiles
from drsync.adapters.segments.journal import SEGMENT_BYTES_MIN, SegmentJournal
from drsync.adapters.segments.layout import Identity
from drsync.core.brevity import KNOWN_CALLS
from drsync.delta.batch import BatchBuilder, EncodedBatch, split, verify
from drsync.model.epoch import Epoch
from drsync.model.errors import FailedCopyError, MalformedError
from drsync.model.position import ORIGIN, EpochRun, Position
from drsync.ports.journal import Journal
from drsync.sim.disk import Disk
from drsync.sim.disk_files import DiskFiles

IDENTITY = Identity("cluster", "group", "production", "0" * 32)


def encode(tip: Position, *payloads: bytes | bytearray, epoch: int = 1, time_us: int = 0) -> EncodedBatch:
    builder = BatchBuilder()
    builder.reset(Epoch(epoch), tip.seq + 1, tip.chain)
    for payload in payloads:
        builder.add_write(0, 0, memoryview(payload), 0)
    return builder.finish(time_us)


def add(journal: Journal, *payloads: bytes, epoch: int = 1) -> EncodedBatch:
    batch = encode(journal.tip, *payloads, epoch=epoch)
    journal.append(batch.parts, batch.first_seq, batch.end)
    return batch


def stored(*batches: EncodedBatch) -> bytes:
    return b"".join(b"".join(batch.parts) for batch in batches)


Make: TypeAlias = Callable[[], Journal]


@pytest.fixture(params=["memory", "segments", "simulated disk"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes new journals; opened ones are closed."""
    made: list[Journal] = []
    is_simulated = request.param == "simulated disk"
    files: Files = DiskFiles(Disk()) if is_simulated else OsFiles()

    def make() -> Journal:
        if request.param == "memory":
            made.append(MemoryJournal())
        else:
            path = (Path("/journals") if is_simulated else tmp_path) / str(len(made))
            made.append(SegmentJournal(path, IDENTITY, 0, segment_bytes=SEGMENT_BYTES_MIN, files=files))
        return made[-1]

    yield make
    for journal in made:
        journal.close()


@pytest.fixture
def journal(make: Make) -> Journal:
    return make()


def test_a_new_journal_is_empty(journal: Journal) -> None:
    assert journal.tip == ORIGIN
    assert (journal.first_seq, journal.durable_seq, journal.runs) == (1, 0, ())
    assert journal.read_batches(0, 1000) == (b"", 0)
    assert list(journal.places(0)) == []
    assert journal.position_at(0) == ORIGIN
    assert journal.position_at(1) is None
    assert journal.batch_end_at_or_below(7) == ORIGIN
    assert journal.sync() == 0
    journal.cut(0)


def test_an_appended_batch_is_read_back_by_locator_and_by_seq(journal: Journal) -> None:
    batch = encode(journal.tip, b"one", b"two")
    locator = journal.append(batch.parts, 1, batch.end)

    assert locator > 0
    assert journal.tip == batch.end
    assert journal.read(locator, batch.length) == stored(batch)
    target = bytearray(3)
    journal.read_into(locator + batch.payload_start + 3, memoryview(target))
    assert target == b"two"
    assert journal.read_batches(0, 1) == (stored(batch), 2)
    (place,) = journal.places(0)
    assert (place.first_seq, place.last_seq, place.locator, place.length) == (1, 2, locator, batch.length)


def test_the_buffers_may_be_reused_after_an_append(journal: Journal) -> None:
    data = bytearray(b"payload!")
    batch = encode(journal.tip, data)
    before = stored(batch)
    locator = journal.append(batch.parts, 1, batch.end)
    data[:] = b"________"
    assert journal.read(locator, batch.length) == before


def add_changes(journal: Journal, *changes: tuple[int, int, int]) -> None:
    """One batch of writes and, for lengths below zero, zeros: (volume, offset, length)."""
    builder = BatchBuilder()
    builder.reset(Epoch(1), journal.tip.seq + 1, journal.tip.chain)
    for volume, offset, length in changes:
        if length < 0:
            builder.add_zero(volume, offset, -length, 0)
        else:
            builder.add_write(volume, offset, memoryview(bytes(length)), 0)
    batch = builder.finish(0)
    journal.append(batch.parts, batch.first_seq, batch.end)


def test_what_records_change_is_told_per_volume_and_merged(journal: Journal) -> None:
    add_changes(journal, (0, 0, 100), (1, 4096, 8192), (0, 100, 28))
    add_changes(journal, (0, 1 << 40, -(1 << 31)), (1, 8192, 4096), (1, 512, 16))
    add(journal, b"first ", b"again")

    assert journal.changed(0, 6) == {0: [(0, 128), (1 << 40, 1 << 31)], 1: [(512, 16), (4096, 8192)]}
    assert journal.changed(1, 2) == {1: [(4096, 8192)]}, "neither end needs to be a batch end"
    assert journal.changed(5, 8) == {0: [(0, 6)], 1: [(512, 16)]}
    assert journal.changed(3, 3) == {}


def test_records_that_are_not_held_are_not_told_about(journal: Journal) -> None:
    for _ in range(40):
        add(journal, b"x" * 8192)
    journal.sync()
    first = journal.trim(20)
    assert first > 1, "the memory journal and segments of 64 KiB let some of them go"
    assert journal.changed(first - 1, 40) == {0: [(0, 8192)]}
    with pytest.raises(MalformedError):
        journal.changed(first - 2, 40)
    with pytest.raises(MalformedError):
        journal.changed(first, 41)
    with pytest.raises(MalformedError):
        journal.changed(30, 29)


def test_sync_tells_what_a_host_crash_leaves(journal: Journal) -> None:
    add(journal, b"a", b"b")
    assert journal.durable_seq == 0
    assert journal.sync() == journal.durable_seq == 2
    add(journal, b"c")
    assert journal.durable_seq == 2
    assert journal.sync() == 3


def test_a_sync_at_once_makes_durable_or_does_nothing(journal: Journal) -> None:
    for _ in range(2 * KNOWN_CALLS):  # until it is known whether the disk is brief
        add(journal, b"a")
        journal.sync()
    is_brief, before = journal.is_sync_brief, journal.durable_seq
    add(journal, b"b")
    done = journal.sync_at_once()
    assert done in ((journal.tip.seq,) if is_brief else (None,))
    assert journal.durable_seq == (journal.tip.seq if is_brief else before)


def test_positions_are_batch_ends(journal: Journal) -> None:
    first = add(journal, b"a", b"b")
    second = add(journal, b"c", b"d", b"e")
    assert [journal.position_at(seq) for seq in range(7)] == [
        ORIGIN,
        None,
        first.end,
        None,
        None,
        second.end,
        None,
    ]
    assert [journal.batch_end_at_or_below(seq).seq for seq in range(7)] == [0, 0, 2, 2, 2, 5, 5]


def test_batches_come_whole_and_at_least_one(journal: Journal) -> None:
    batches = [add(journal, bytes(1000)) for _ in range(5)]
    length = batches[0].length
    assert journal.read_batches(0, 1) == (stored(batches[0]), 1)
    assert journal.read_batches(0, 2 * length) == (stored(*batches[:2]), 2)
    assert journal.read_batches(0, 3 * length - 1) == (stored(*batches[:2]), 2)
    assert journal.read_batches(3, 1 << 20) == (stored(*batches[3:]), 5)


@pytest.mark.parametrize("after_seq", [1, 3, 5, 99])
def test_reading_starts_at_batch_ends_only(journal: Journal, after_seq: int) -> None:
    add(journal, b"a", b"b")
    add(journal, b"c", b"d")
    with pytest.raises(MalformedError):
        journal.read_batches(after_seq, 1000)
    with pytest.raises(MalformedError):
        list(journal.places(after_seq))
    with pytest.raises(MalformedError):
        journal.cut(after_seq)
    assert journal.tip.seq == 4


def test_runs_tell_which_epoch_wrote_what(journal: Journal) -> None:
    add(journal, b"a")
    b = add(journal, b"b")
    c = add(journal, b"c", epoch=3)
    runs = (EpochRun(Epoch(1), 1, 2, b.end.chain), EpochRun(Epoch(3), 3, 3, c.end.chain))
    assert list(journal.runs) == list(runs)
    assert journal.position_at(2) == b.end
    journal.cut(2)
    assert list(journal.runs) == [runs[0]]
    journal.cut(0)
    assert not journal.runs


def test_what_was_cut_is_gone_and_the_log_goes_on_differently(journal: Journal) -> None:
    kept = add(journal, b"kept")
    lost = encode(journal.tip, b"lost")
    locator = journal.append(lost.parts, 2, lost.end)
    journal.sync()

    journal.cut(1)

    assert journal.tip == kept.end
    assert journal.durable_seq == 1
    with pytest.raises(MalformedError):
        journal.read(locator, lost.length)
    other = add(journal, b"other", epoch=2)
    assert journal.read_batches(0, 1 << 20) == (stored(kept, other), 2)


def test_a_journal_cut_to_nothing_can_be_used_again(journal: Journal) -> None:
    add(journal, b"a")
    journal.cut(0)
    assert journal.tip == ORIGIN
    assert journal.first_seq == 1
    again = add(journal, b"b")
    assert journal.read_batches(0, 1000) == (stored(again), 1)


def test_full_segments_tell_what_comes_back_with_them_and_how_old_they_are(journal: Journal) -> None:
    assert journal.sealed() == []
    for number in range(9):
        batch = encode(journal.tip, bytes(30_000), time_us=1000 + number)
        journal.append(batch.parts, batch.first_seq, batch.end)
    journal.sync()

    full = journal.sealed()

    assert 2 < len(full) < 9
    for segment in full:
        assert journal.held_bytes_after(segment.last_seq) < journal.held_bytes
        assert 1000 + segment.last_seq - 1 <= segment.newest_us <= 1000 + segment.last_seq
    assert [s.last_seq for s in full] == sorted({s.last_seq for s in full})
    journal.trim(full[1].last_seq)
    assert list(journal.sealed()) == list(full[2:])
    kept = full[2].last_seq
    journal.cut(kept)
    assert [segment.last_seq for segment in journal.sealed()] in ([], [kept])


def test_trim_drops_the_oldest_and_never_the_tip(journal: Journal) -> None:
    batches = [add(journal, bytes(30_000)) for _ in range(9)]
    journal.sync()
    held = journal.held_bytes
    left = journal.held_bytes_after(5)

    first = journal.trim(5)

    assert 1 < first <= 6
    assert journal.first_seq == first
    assert left <= journal.held_bytes < held
    assert journal.held_bytes_after(5) == left
    assert journal.position_at(first - 1) == batches[first - 2].end
    assert journal.position_at(first - 2) in {None, ORIGIN}
    assert journal.batch_end_at_or_below(1) == batches[first - 2].end
    assert journal.runs[0].first_seq == first
    assert journal.read_batches(first - 1, 1)[0] == stored(batches[first - 1])
    with pytest.raises(MalformedError):
        journal.read_batches(0, 1)
    with pytest.raises(MalformedError):
        journal.cut(0)
    journal.trim(99)
    assert journal.tip == batches[-1].end


def test_a_fork_is_exported_once(journal: Journal) -> None:
    add(journal, b"common")
    add(journal, b"alone")
    place = journal.export_tail(1, "epoch-3")
    add(journal, b"more")
    assert journal.export_tail(1, "epoch-3") == place
    with pytest.raises(MalformedError):
        journal.export_tail(99, "another")


def test_a_batch_of_very_many_pieces(journal: Journal) -> None:
    batch = add(journal, *[bytes([i % 251]) * 3 for i in range(5000)])
    data, last = journal.read_batches(0, 1)
    assert last == 5000
    ((at, header),) = split(data)
    assert verify(data, at, header, ORIGIN) == batch.end


def test_a_closed_journal_refuses(journal: Journal) -> None:
    add(journal, b"a")
    journal.close()
    with pytest.raises(FailedCopyError):
        add(journal, b"b")
    with pytest.raises(FailedCopyError):
        journal.sync()
    with pytest.raises(FailedCopyError):
        journal.read_batches(0, 1)


SIZES = st.lists(st.sampled_from([0, 10, 4096, 40_000]), min_size=1, max_size=4)


class Twins(RuleBasedStateMachine):
    """The journal on files beside the one in memory, through restarts."""

    @initialize()
    def start(self) -> None:
        self.count = 0
        self.epoch = 1
        self.path = next(self.paths)
        self.memory = MemoryJournal()
        self.files = self.opened(0)

    paths: Iterator[Path]
    system: Files = OsFiles()

    def opened(self, durable_hint: int) -> SegmentJournal:
        return SegmentJournal(
            self.path, IDENTITY, durable_hint, segment_bytes=SEGMENT_BYTES_MIN, files=self.system
        )

    @rule(sizes=SIZES, steps=st.integers(0, 1))
    def append(self, sizes: list[int], steps: int) -> None:
        self.count += 1
        self.epoch += steps
        batch = encode(
            self.memory.tip, *[bytes([self.count % 251]) * size for size in sizes], epoch=self.epoch
        )
        self.memory.append(batch.parts, batch.first_seq, batch.end)
        self.files.append(batch.parts, batch.first_seq, batch.end)

    @rule()
    def sync(self) -> None:
        assert self.memory.sync() == self.files.sync()

    @rule(part=st.floats(0, 1))
    def cut(self, part: float) -> None:
        first = max(self.memory.first_seq, self.files.first_seq) - 1
        seq = first + int(part * (self.memory.tip.seq - first))
        seq = self.memory.batch_end_at_or_below(seq).seq
        if seq >= first:
            self.memory.cut(seq)
            self.files.cut(seq)

    @rule(part=st.floats(0, 1))
    def trim(self, part: float) -> None:
        through = int(part * self.files.durable_seq)
        self.files.trim(through)
        self.memory.sync()
        self.memory.trim(self.files.first_seq - 1)

    @rule()
    def restart(self) -> None:
        hint = self.files.durable_seq
        self.files.close()
        self.files = self.opened(hint)
        self.memory.reopen()

    @precondition(lambda self: hasattr(self, "files"))
    @invariant()
    def they_are_equal(self) -> None:
        first = max(self.memory.first_seq, self.files.first_seq)
        assert self.files.tip == self.memory.tip
        assert [(r.epoch, r.last_seq, r.last_chain) for r in self.files.runs if r.last_seq >= first] == [
            (r.epoch, r.last_seq, r.last_chain) for r in self.memory.runs if r.last_seq >= first
        ]
        after = first - 1
        while after < self.memory.tip.seq:
            data, last = self.files.read_batches(after, 100_000)
            assert (data, last) == self.memory.read_batches(after, len(data))
            after = last
        for seq in range(first - 1, self.memory.tip.seq + 1):
            assert self.files.position_at(seq) == self.memory.position_at(seq)
            assert self.files.batch_end_at_or_below(seq) == self.memory.batch_end_at_or_below(seq)

    @override
    def teardown(self) -> None:
        self.files.close()


def test_files_and_memory_agree_whatever_happens(tmp_path: Path) -> None:
    Twins.paths = (tmp_path / str(i) for i in range(1_000_000))
    run_state_machine_as_test(
        Twins, settings=settings(max_examples=40, stateful_step_count=30, deadline=None)
    )


class SimulatedTwins(Twins):
    """The journal on a simulated disk beside the one in memory, through restarts."""

    paths: Iterator[Path] = (Path("/journals") / str(i) for i in range(1_000_000))
    system: Files = DiskFiles(Disk())


def test_a_simulated_disk_and_memory_agree_whatever_happens() -> None:
    run_state_machine_as_test(
        SimulatedTwins, settings=settings(max_examples=40, stateful_step_count=30, deadline=None)
    )
