"""What one copy keeps for the others: nothing goes that is neither confirmed nor marked, whenever it dies."""

import json
import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drsync.core import dirty
from drsync.core.dirty import DirtySet
from drsync.model.errors import NoSpaceError
from drsync.ports.dirty_store import StoredSet
from drsync.sim.disk_files import DiskFiles
from drsync.sim.killed import Killed
from drsync.wire.stream import ToldCursor
from tests.engine.bench import GRANULES, HOME, POLICY, SEGMENT, Bench, drive, without_threads
from tests.sim.copies import formatted

OTHERS = ("A", "C")
STRIDE = 5  # calls between two deaths, because a life has some 500 and each death takes 50 ms; starts differ


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    without_threads(monkeypatch)


class World:
    """One copy through all its processes, and what was written and confirmed."""

    def __init__(self, *, is_owner: bool = False) -> None:
        self.disk = formatted()
        self.log: dict[int, int] = {}  # record -> granule
        self.is_owner = is_owner
        self.confirmed = dict.fromkeys(OTHERS, 0)

    def start(self) -> Bench:
        return Bench(self.disk, is_owner=self.is_owner)

    def write(self, bench: Bench, granule: int) -> None:
        self.log[bench.copy.journal.tip.seq + 1] = granule
        bench.write(granule)

    def confirm(self, bench: Bench, center: str, seq: int) -> None:
        """The center says that it holds the log up to there, which has to be durable here for it to count."""
        self.confirmed[center] = max(self.confirmed[center], seq)
        if self.is_owner:
            bench.keeper.confirmed(center, f"store of {center}", seq)
        else:
            bench.keeper.told({center: ToldCursor(f"store of {center}", seq, is_fresh=True)})

    def step(self, bench: Bench, word: str, number: int) -> Bench:
        """One of the things that happen to a copy; the process that has it afterwards."""
        journal = bench.copy.journal
        match word:
            case "write":
                self.write(bench, number)
            case "burst":
                for granule in range(number):
                    self.write(bench, granule)
            case "sync":
                bench.sync()
            case "round":
                bench.rounds(number)
            case "restart":
                bench.sync()
                bench.die()
                if number:
                    self.disk.power_cut(random.Random(number))
                bench = self.start()
            case "clamp":
                fork = max(journal.tip.seq - number, bench.copy.volumes.reached, journal.first_seq - 1)
                drive(bench.keeper.clamp(fork))
                self.confirmed = {c: min(seq, fork) for c, seq in self.confirmed.items()}
            case "begin":
                drive(bench.keeper.book.change("C", dirty.begin))
            case center:
                self.confirm(bench, center, min(self.confirmed[center] + number, journal.durable_seq))
        return bench

    def check(self, bench: Bench) -> None:
        """INV-11: what a member may lack is in the journal above its stored cursor, or marked."""
        copy = bench.copy
        first, tip = copy.journal.first_seq, copy.journal.tip.seq
        assert copy.volumes.applied >= first - 1, "records went that no image holds"
        for center in OTHERS:
            cursor = bench.keeper.cursor(center)
            assert cursor <= self.confirmed[center], "nobody confirmed that"
            runs = bench.keeper.of(center).runs
            marked = {g for run in runs or () for g in range(run.first, run.end)}
            lacking = {self.log[seq] for seq in range(cursor + 1, min(first - 1, tip) + 1)}
            assert runs is None or lacking <= marked, (center, cursor, first)


def live(world: World) -> Iterator[Bench]:
    """A life in which C stays away and A comes along late: marks, trims, a restart."""
    bench = world.start()
    for number in range(60):
        world.write(bench, number % GRANULES)
        if number == 20:
            world.confirm(bench, "C", 10)
        if number % 7 == 0:
            bench.sync()
            world.confirm(bench, "A", bench.copy.journal.durable_seq)
        if number % 5 == 0:
            bench.rounds(2)
            yield bench
    bench.sync()
    bench.rounds()
    yield bench


def lived(world: World) -> Bench:
    bench = None
    for bench in live(world):
        world.check(bench)
    assert bench is not None
    return bench


@pytest.mark.parametrize("is_owner", [False, True])
def test_the_journal_stays_near_its_quota_and_what_an_absent_member_lacks_is_marked(
    *, is_owner: bool
) -> None:
    world = World(is_owner=is_owner)
    bench = lived(world)
    assert bench.copy.journal.held_bytes <= POLICY.journal_quota_bytes + SEGMENT
    assert bench.keeper.cursor("C") == 10
    marked = bench.keeper.of("C")
    assert marked.is_known
    assert marked.since == 10
    assert bench.copy.journal.first_seq - 1 <= marked.through
    assert bench.keeper.of("A").is_clean
    assert any(line.startswith("journal_not_kept: what C lacks") for line in bench.told), bench.told
    assert any(line.startswith("journal_full") for line in bench.told), bench.told
    bench.die()
    again = world.start()
    assert again.keeper.of("C") == marked
    world.check(again)


def count_calls(*, is_owner: bool) -> int:
    world = World(is_owner=is_owner)
    world.disk.die_at(1_000_000)
    lived(world)
    assert world.disk.doom is not None
    return 1_000_000 - world.disk.doom[0]


@pytest.mark.parametrize("is_owner", [False, True])
@pytest.mark.parametrize("is_power_cut", [False, True])
def test_marks_are_durable_before_records_go_whenever_it_dies(*, is_owner: bool, is_power_cut: bool) -> None:
    count = count_calls(is_owner=is_owner)
    assert count > 100
    for at in range(1 + is_power_cut + is_owner, count + 1, STRIDE):
        world = World(is_owner=is_owner)
        world.disk.die_at(at, "within" if at % 3 else "before")
        with pytest.raises(Killed):
            lived(world)
        if is_power_cut:
            world.disk.loss = (1.0, 1.0) if at % 4 else (0.5, 1.0)
            world.disk.power_cut(random.Random(at))
        bench = world.start()
        world.check(bench)
        tip = bench.copy.journal.tip.seq
        world.log = {seq: granule for seq, granule in world.log.items() if seq <= tip}
        bench.sync()
        for number in range(12):
            world.write(bench, number)
        bench.rounds()
        world.check(bench)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, GRANULES - 1)),
        st.tuples(st.just("sync"), st.just(0)),
        st.tuples(st.just("round"), st.integers(1, 3)),
        st.tuples(st.sampled_from(OTHERS), st.integers(0, 30)),
        st.tuples(st.just("burst"), st.integers(3, 25)),
        st.tuples(st.just("restart"), st.integers(0, 1)),
        st.tuples(st.just("clamp"), st.integers(0, 10)),
        st.tuples(st.just("begin"), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(steps, st.booleans())
def test_journal_and_marks_hold_every_difference(
    script: list[tuple[str, int]],
    is_owner: bool,  # given by hypothesis
) -> None:
    world = World(is_owner=is_owner)
    bench = world.start()
    for word, number in script:
        bench = world.step(bench, word, number)
        world.check(bench)


def test_a_lost_set_is_unknown_and_a_member_that_was_never_marked_is_not() -> None:
    world = World()
    bench = lived(world)
    bench.die()
    for slot in (0, 1):
        DiskFiles(world.disk).unlink(HOME / "dirty" / f"C-{slot}")
    again = world.start()
    assert not again.keeper.of("C").is_known
    assert again.keeper.of("A") == DirtySet()


def test_a_full_disk_keeps_what_cannot_be_marked() -> None:
    world = World()
    bench = world.start()
    bench.keeper.book._disk = FullDisk()
    for number in range(40):
        world.write(bench, number)
        bench.sync()
    bench.rounds()
    assert bench.copy.journal.first_seq == 1
    assert any("cannot be marked" in line for line in bench.told)


def test_a_full_disk_keeps_what_a_start_would_look_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The images went forward, and that could not be stored."""
    world = World()
    bench = world.start()
    real = bench.copy._superblock.store

    def full(value: bytes) -> None:
        if json.loads(value)["applied"] > bench.copy.durable.applied:
            raise NoSpaceError("none left")
        real(value)

    for number in range(40):
        world.write(bench, number)
        bench.sync()
        for center in OTHERS:
            world.confirm(bench, center, bench.copy.journal.durable_seq)
        if number == 20:
            monkeypatch.setattr(bench.copy._superblock, "store", full)
        bench.rounds(3)
    assert bench.copy.volumes.applied > bench.copy.durable.applied >= bench.copy.journal.first_seq - 1
    bench.die()
    again = world.start()
    again.rounds(10)
    assert not again.trouble


class FullDisk:
    """No room for any set."""

    def dirty(self, center: str) -> StoredSet | None:
        return None

    def store_dirty(self, center: str, stored: StoredSet) -> None:
        raise NoSpaceError("none left")
