"""Checkpoints on hold of one copy: kept through crashes and quotas, or given up last and never silently."""

import json
import random
from contextlib import suppress
from dataclasses import replace

import pytest

from drsync.adapters.segments.superblock import VALUE_BYTES_MAX
from drsync.engine import retention
from drsync.engine.durable import FORMAT, FORMAT_HOLDING, Durable
from drsync.model.errors import RefusedError, UsageError
from drsync.model.group import WhenFull
from drsync.model.hold import HOLDS_MAX, REASON_MAX, Hold
from drsync.sim.killed import Killed
from drsync.wire.stream import ToldCursor
from tests.engine.bench import POLICY, SEGMENT, SPEC, Bench, drive, without_threads
from tests.sim.copies import formatted

STALL = replace(SPEC, policy=replace(POLICY, when_full=WhenFull.STALL))
STRIDE = 3  # calls between two deaths


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    without_threads(monkeypatch)


def hold_one(bench: Bench, name: str = "upgrade") -> Hold:
    """A point of now on hold, with what was written before it."""
    bench.write(1)
    seq = bench.checkpoint()
    bench.sync()
    return drive(bench.copy.holds.add(Hold(name, seq, 7, reason="because", actor="li")))


def write_on(bench: Bench, count: int = 40) -> None:
    for number in range(count):
        bench.write(number % 40)
        if number % 7 == 0:
            bench.checkpoint()
            bench.sync()
            tip = bench.copy.journal.durable_seq
            told = {c: ToldCursor(f"store of {c}", tip, is_fresh=True) for c in ("A", "C")}
            bench.keeper.told(told)
            bench.rounds(2)
    bench.checkpoint()
    bench.sync()
    bench.rounds()


def can_open(bench: Bench, hold: Hold) -> bool:
    copy = bench.copy
    is_listed = hold.seq in [point.seq for point in copy.points()]
    return is_listed and copy.volumes.reached <= hold.seq and copy.journal.position_at(hold.seq) is not None


@pytest.mark.parametrize("is_owner", [False, True])
def test_by_policy_a_hold_stays_beyond_window_and_quota_and_room_runs_out(*, is_owner: bool) -> None:
    disk = formatted()
    bench = Bench(disk, spec=STALL, is_owner=is_owner)
    hold = hold_one(bench)
    write_on(bench)
    assert can_open(bench, hold)
    bench.die()
    bench = Bench(disk, spec=STALL, is_owner=is_owner)
    bench.write(0)
    bench.sync()
    bench.rounds()
    assert bench.copy.durable.holds == (hold,)
    assert can_open(bench, hold), "also after a restart, when its record may be below the journal"
    if bench.term is not None:
        assert bench.term.engine.is_full
    else:
        assert "upgrade" in bench.copy.space.quota
        with pytest.raises(Exception, match="uses up the journal's quota"):
            drive(bench.copy.make_room())
    assert drive(bench.copy.holds.release("upgrade")) == hold
    bench.rounds(12)
    assert bench.copy.journal.held_bytes <= POLICY.journal_quota_bytes + SEGMENT
    assert not bench.copy.space.quota
    if bench.term is not None:
        assert bench.term.engine.room is None
    assert not any("hold_given_up" in line for line in bench.told)


def test_by_default_a_hold_goes_last_and_that_is_told() -> None:
    bench = Bench(formatted())
    hold_one(bench)
    bench.rounds()
    write_on(bench)
    assert bench.copy.durable.holds == ()
    assert bench.copy.journal.held_bytes <= POLICY.journal_quota_bytes + SEGMENT
    (line,) = [line for line in bench.told if line.startswith("hold_given_up")]
    assert "upgrade (record 2)" in line
    assert [one.text for one in bench.copy.holds.lost] == [line.removeprefix("hold_given_up: ")]


@pytest.mark.parametrize("when_full", list(WhenFull))
def test_an_owner_s_memory_is_bounded_too(monkeypatch: pytest.MonkeyPatch, when_full: WhenFull) -> None:
    monkeypatch.setattr(retention, "VIEW_BLOCKS_MAX", 30)
    policy = replace(POLICY, when_full=when_full, journal_quota_bytes=64 << 20)
    bench = Bench(formatted(), spec=replace(SPEC, policy=policy), is_owner=True)
    assert bench.term is not None
    hold_one(bench)
    bench.write(2)
    bench.rounds(1)
    assert bench.term.engine.room != 0
    for number in range(20):
        bench.write(number)
    bench.sync()
    bench.rounds(1)
    is_held = when_full is WhenFull.STALL
    assert bool(bench.copy.durable.holds) is is_held
    assert (bench.term.engine.room == 0) is is_held


@pytest.mark.parametrize("is_power_cut", [False, True])
def test_whenever_it_dies_what_was_put_on_hold_can_be_opened(*, is_power_cut: bool) -> None:
    def live(bench: Bench) -> None:
        for number in range(6):
            bench.write(number)
        answered.append(hold_one(bench))
        write_on(bench, 15)

    answered: list[Hold] = []
    disk = formatted()
    bench = Bench(disk, spec=STALL)
    disk.die_at(1_000_000)
    live(bench)
    assert disk.doom is not None
    count = 1_000_000 - disk.doom[0]
    kept = 0
    for at in range(1 + is_power_cut, count, STRIDE):
        answered.clear()
        disk = formatted()
        bench = Bench(disk, spec=STALL)
        disk.die_at(at, "within" if at % 2 else "before")
        with suppress(Killed):
            live(bench)
        if is_power_cut:
            disk.loss = (1.0, 1.0) if at % 4 else (0.5, 1.0)
            disk.power_cut(random.Random(at))
        again = Bench(disk, spec=STALL)
        assert set(answered) <= set(again.copy.durable.holds), "answered, so durable"
        again.sync()
        again.rounds()
        for hold in again.copy.durable.holds:
            kept += 1
            assert can_open(again, hold)
    assert kept > 5


def test_a_hold_goes_with_its_records_when_the_log_is_cut() -> None:
    bench = Bench(formatted(), spec=STALL)
    first = hold_one(bench, "first")
    hold_one(bench, "second")
    drive(bench.keeper.clamp(first.seq))
    drive(bench.copy.cut(first.seq, ""))
    assert bench.copy.durable.holds == (first,)
    assert [one for one in bench.told if "second (record 4)" in one and "cut" in one]


def test_names_are_unique_and_holds_are_few() -> None:
    bench = Bench(formatted(), spec=STALL)
    hold = hold_one(bench)
    assert drive(bench.copy.holds.add(hold)) == hold, "asked twice"
    with pytest.raises(RefusedError, match="record 2 on hold as upgrade"):
        hold_one(bench)
    for number in range(HOLDS_MAX - 1):
        drive(bench.copy.holds.add(replace(hold, name=f"more-{number}")))
    with pytest.raises(RefusedError, match="16 checkpoints"):
        drive(bench.copy.holds.add(replace(hold, name="one-too-many")))
    with pytest.raises(UsageError, match="nothing on hold as other"):
        drive(bench.copy.holds.release("other"))
    drive(bench.copy.holds.release("more-1"))
    with pytest.raises(RefusedError, match="cannot be opened"):
        drive(bench.copy.holds.add(Hold("later", 10_000)))


def test_an_older_version_does_not_open_a_copy_with_holds() -> None:
    """It would fold and trim over them. Without any the format is what it was."""
    plain = Durable("incarnation", "boot")
    held = replace(plain, holds=(Hold("upgrade", 12, 7, "before", True, "because", "li", 9),))
    assert json.loads(plain.encode())["format"] == FORMAT
    assert "holds" not in json.loads(plain.encode())
    assert json.loads(held.encode())["format"] == FORMAT_HOLDING
    assert Durable.decode(held.encode()) == held


def test_the_most_that_may_be_on_hold_fits_the_superblock() -> None:
    worst = Hold("n" * 63, 1 << 62, 1 << 62, "p" * 255, True, "\U0001f600" * REASON_MAX, "\U0001f600" * 64, 1)
    held = replace(Durable("incarnation", "boot"), holds=(worst,) * HOLDS_MAX)
    assert len(held.encode()) < VALUE_BYTES_MAX - (60 << 10)
