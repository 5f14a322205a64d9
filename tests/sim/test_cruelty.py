"""The world is cruel: faults that meet, hanging disks, power cuts of all kinds, and no helping hand."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from drsync.coordinator.supervision import Supervision
from drsync.model.charter import Charter
from drsync.model.epoch import NEVER
from drsync.sim import faults, store_faults
from drsync.sim.disk import Disk, Faults
from drsync.sim.disk_files import DiskFiles
from drsync.sim.faults import FAULTS
from drsync.sim.host import Host
from drsync.sim.invariants.register import Register
from drsync.sim.linear import Call, Result
from drsync.sim.process import Process
from drsync.sim.run import Run
from drsync.sim.runner import Kind, run_seeds
from drsync.sim.timeline import Timeline
from drsync.sim.world import World

SERVED_S = 6.0
AT_COORDINATOR = [name for name in FAULTS if "coordinator" in name or name in {"full_store", "slow_store"}]
NAME = Path("/file")
CREATE = 0o102


@pytest.fixture
def world() -> Iterator[World]:
    world = World(5, faults.usual())
    world.begin()
    world.timeline.run(SERVED_S)
    yield world
    world.end()


# --- faults that meet


def test_a_line_that_two_faults_slowed_down_is_as_slow_as_the_worse_until_that_ends(world: World) -> None:
    line = world.network.line("production", "remote")
    own = line.rate_now
    world.hold(line.slowed, 8_000.0, 4.0)
    world.hold(line.slowed, 25_000.0, 9.0)
    seen = []
    for _ in range(3):
        seen.append(line.rate_now)
        world.timeline.run(world.timeline.now + 5)
    assert seen == [8_000.0, 25_000.0, own]


def test_a_line_that_two_faults_make_lossy_is_well_when_both_are_over(world: World) -> None:
    line = world.network.line("production", "remote")
    world.hold(line.losing, 0.3, 4.0)
    world.hold(line.losing, 0.05, 9.0)
    seen = []
    for _ in range(3):
        seen.append(line.loss_now)
        world.timeline.run(world.timeline.now + 5)
    assert seen == [0.3, 0.05, 0.0]


def test_a_stall_that_ends_leaves_what_else_is_wrong_with_the_disk() -> None:
    disk, dice = Disk(), random.Random(1)
    broken, stalling = Faults(dice, sync_error=1.0), Faults(dice, stall=1.0)
    disk.trouble(broken)
    disk.trouble(stalling)
    disk.relieve(stalling)
    assert disk.troubles == [broken]


def test_whoever_stops_a_process_once_more_lets_it_go_on_later(world: World) -> None:
    process = world.agents["production"].process
    assert process is not None
    process.stop("signal 1")
    process.stop("signal 2")
    process.resume("signal 1")
    assert process.life.value == "stopped"
    process.resume("signal 2")
    assert process.life.value == "running"


def test_a_machine_that_is_suspended_twice_wakes_up_when_both_are_over(world: World) -> None:
    host, began = world.hosts["remote"], world.timeline.now
    host.suspend(2.0, counts=True)
    host.suspend(6.0, counts=False)
    host.suspend(1.0, counts=True)
    world.timeline.run(began + 4)
    [process] = host.processes
    assert process.life.value == "stopped"
    world.timeline.run(began + 7)
    assert process.life.value == "running"
    assert host.rate == 1.0


# --- disks


def test_a_member_that_is_put_back_while_its_machine_goes_on_is_noticed_and_caught_up(world: World) -> None:
    world.snapshots["same_city"] = world.hosts["same_city"].disk.snapshot()
    boot = world.hosts["same_city"].boot_id
    world.timeline.run(world.timeline.now + 3)
    world.roll_back("same_city")
    reached = world.rolled_back["same_city"][1]
    world.timeline.run(world.timeline.now + 0.02)
    [member] = world.agents["same_city"].members()
    assert member.copy.journal.tip.seq < reached
    assert world.hosts["same_city"].boot_id == boot
    assert not member.statement().unclean, "nothing on the disk tells of it"
    world.timeline.run(world.timeline.now + 10)
    assert any(event.kind == "member_went_back" for event in world.coordinator.events())
    assert world.agents["same_city"].members()[0].copy.journal.tip.seq > reached
    world.forget_harm()
    assert not world.harmed


def test_work_in_a_thread_hangs_while_the_process_goes_on() -> None:
    timeline, disk = Timeline(), Disk()
    host = Host(timeline, "one", random.Random(1), disk)
    host.stall_rate = 0.0
    disk.trouble(Faults(random.Random(1), hang=1.0, hang_s=(30.0, 30.0), hangs_left=1))
    process = Process(host, "agent")
    done: list[str] = []

    async def work() -> None:
        await process.run_in_executor(None, lambda: None)
        done.append(f"thread {timeline.now:.0f}")

    process.spawn(work())
    process.call_later(1.0, lambda: done.append(f"loop {timeline.now:.0f}"))
    timeline.run(60.0)
    assert done == ["loop 1", "thread 30"]
    assert disk.late_s() == 0.0
    process.kill()
    timeline.run(61.0)


def cut(seed: int) -> tuple[bool, bool]:
    """Whether a power cut left the name, and the content, of what was not synced."""
    disk = Disk()
    files = DiskFiles(disk)
    kept = files.open(NAME, CREATE)
    files.fsync(kept)
    files.fsync(files.open(Path("/"), 0))
    files.pwritev(kept, [b"content"], 0)
    files.open(Path("/new"), CREATE)
    disk.power_cut(random.Random(seed))
    left = bytearray(7)
    disk.file(NAME).read(0, memoryview(left))
    return "new" in disk.root.entries, bytes(left) == b"content"


def test_power_cuts_take_everything_nothing_or_one_kind_alone() -> None:
    assert {cut(seed) for seed in range(60)} == {(True, True), (True, False), (False, True), (False, False)}


# --- the machine of the coordinator


@pytest.mark.parametrize("name", AT_COORDINATOR)
def test_what_strikes_the_coordinator_passes_and_the_group_is_whole_again(world: World, name: str) -> None:
    assert FAULTS[name][0](world)
    world.order("switchover", "same_city")
    world.timeline.run(world.timeline.now + 5)
    world.heal()
    world.timeline.run(world.timeline.now + 60)
    world.keep_up()
    charter = world.charter
    assert charter is not None
    assert charter.intent is None
    assert len([export for export in world.application.exports if not export.is_over]) == 1


@pytest.mark.parametrize("what", store_faults.IN_A_PROCEDURE)
def test_something_strikes_in_the_middle_of_a_procedure(
    world: World, what: faults.Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    struck: list[float] = []

    def noted(world: World) -> str:
        struck.append(world.timeline.now)
        return what(world)

    monkeypatch.setattr(store_faults, "IN_A_PROCEDURE", (noted,))
    assert store_faults.strike_in_a_procedure(world)
    ordered_at = world.timeline.now
    world.order("switchover", "same_city")
    world.timeline.run(ordered_at + 5)
    assert len(struck) == 1
    world.heal()
    world.timeline.run(world.timeline.now + 60)
    assert world.charter is not None
    assert world.charter.intent is None


# --- nobody helps where nobody must


def test_what_drsync_does_not_do_by_itself_is_found_and_nobody_does_it_in_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    should_open = Supervision._should_open

    def never_again(supervision: Supervision, charter: Charter) -> bool:
        return charter.epoch == NEVER and should_open(supervision, charter)

    monkeypatch.setattr(Supervision, "_should_open", never_again)
    report = run_seeds(0, 20, kind=Kind.RUNNING, broken_s=6.0, failures_max=1)
    assert [found["invariant"] for found in report["failures"]] == ["INV-18"]


def test_a_person_helps_with_what_the_manual_leaves_to_a_person() -> None:
    run = Run(1)
    world = run.world
    run._begin()
    world.is_calm = True
    world.gone.add("production")
    world.hosts["production"].crash()
    for _ in range(10):
        world.timeline.run(world.timeline.now + 20)
        if run._has_converged():
            break
        run.person.look(run._why_not())
    assert run.person.helped
    assert all("lost for good" in reason for reason in run.person.helped)
    assert world.charter is not None
    assert world.charter.owner != "production"
    world.end()


# --- what could not be checked is told


def test_a_history_of_charters_that_is_too_large_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drsync.sim.invariants.register.CALLS_MAX", 3)
    register = Register(Timeline())
    for version in range(5):
        register._keep(Call("a", 0.0, Result.READ, 1.0, version=version, value=version))
    assert register.contradiction() is None
    assert "more than 3 times" in register.undecided


def test_a_contradiction_is_remembered_when_the_store_is_taken_away() -> None:
    register = Register(Timeline())
    register._keep(Call("a", 0.0, Result.READ, 1.0, version=7, value="nobody wrote this"))
    register.forget(None)
    assert register.contradiction() is not None
