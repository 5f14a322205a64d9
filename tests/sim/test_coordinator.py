"""The shipped coordinator on a simulated machine: what it keeps and forgets, and what people ask of it."""

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from drsync.adapters.sqlite.database import Database
from drsync.model.charter import Charter
from drsync.model.errors import RefusedError
from drsync.model.group import GroupPolicy, GroupSpec, VolumeSpec
from drsync.model.operation import Operation, OperationState
from drsync.model.topology import Center, Designation
from drsync.sim.agent import SimAgent, Surroundings
from drsync.sim.coordinator import Order, SimCoordinator
from drsync.sim.disk import Disk
from drsync.sim.host import Host
from drsync.sim.killed import Killed
from drsync.sim.network import Network
from drsync.sim.process import UNFINISHED
from drsync.sim.store_disk import Moment, SimPlace
from drsync.sim.timeline import Timeline

A, B, C = "production", "same_city", "remote"
CENTERS = (
    Center(A, Designation.PRODUCTION, "city"),
    Center(B, Designation.SAME_CITY, "city"),
    Center(C, Designation.REMOTE, "far"),
)
CLUSTER = "simulated"
GROUP = GroupSpec(
    id="ab" * 16,
    name="orders",
    volumes=(VolumeSpec("cd" * 16, "disk", 64 << 10, 1),),
    members=CENTERS,
    preferred_owner=A,
    policy=GroupPolicy(lease_s=1.0, sync_timeout_s=0.6, checkpoint_s=0.5, freeze_timeout_s=5.0),
)


class World:
    """A coordinator and three agents."""

    def __init__(self, seed: int = 1) -> None:
        self.dice = random.Random(seed)
        self.timeline = Timeline()
        self.network = Network(self.timeline, self.dice)
        self.lines: list[str] = []
        self.host = Host(self.timeline, "coordinator", self.dice, Disk())
        self.coordinator = SimCoordinator(
            self.host, self.network, centers=CENTERS, cluster=CLUSTER, dice=self.dice, tell=self._tell
        )
        self.agents: dict[str, SimAgent] = {}
        for center in CENTERS:
            host = Host(self.timeline, center.name, self.dice, Disk())
            peers = tuple(one.name for one in CENTERS if one is not center)
            self.agents[center.name] = SimAgent(
                host, self.network, center.name, peers, CLUSTER, self.dice, Surroundings(self._tell)
            )
        hosts = {name: agent.host for name, agent in self.agents.items()} | {"coordinator": self.host}
        self.network.is_host_up = lambda place: hosts[place].is_up

    def _tell(self, center: str, event: str, reason: str) -> None:
        self.lines.append(f"{self.timeline.now:.6f} {center} {event}: {reason}")

    def start(self) -> None:
        self.coordinator.start()
        for agent in self.agents.values():
            agent.start()

    def run(self, seconds: float) -> None:
        self.timeline.run(self.timeline.now + seconds)

    def serve(self) -> None:
        """Have the group made and opened."""
        self.start()
        self.run(1)
        self.coordinator.create(GROUP)
        self.timeline.run(self.timeline.now + 20, lambda: self.owner == A and self.is_ready)
        assert self.is_ready

    @property
    def owner(self) -> str:
        charter = self.coordinator.charter("orders")
        return charter.owner if charter is not None else ""

    @property
    def charter(self) -> Charter:
        charter = self.coordinator.charter("orders")
        assert charter is not None
        return charter

    def waiting(self) -> object:
        """What the status says that the group waits for."""
        groups = self.coordinator.status()["groups"]
        assert isinstance(groups, dict)
        return groups["orders"]["waiting"]

    @property
    def is_ready(self) -> bool:
        charter = self.coordinator.charter("orders")
        return charter is not None and charter.intent is None and charter.in_sync == {A, B}

    def done(self, order: Order, seconds: float = 60) -> Operation:
        """Wait until it has ended, across restarts."""

        def has_ended() -> bool:
            operation = self.coordinator.operation(order)
            return order.refusal is not None or (
                operation is not None and operation.state is not OperationState.RUNNING
            )

        assert self.timeline.run(self.timeline.now + seconds, has_ended), self.lines[-20:]
        assert order.refusal is None, order.refusal
        operation = self.coordinator.operation(order)
        assert operation is not None
        return operation

    def close(self) -> None:
        self.coordinator.kill()
        for agent in self.agents.values():
            agent.kill()
        unfinished = len(UNFINISHED)
        self.run(0)
        assert len(UNFINISHED) == unfinished
        assert not self.coordinator.bugs, self.coordinator.bugs


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def test_a_group_is_made_opened_and_moved(world: World) -> None:
    world.serve()
    operation = world.done(world.coordinator.switchover("orders", B, reason="maintenance"))
    assert (operation.state, world.owner) == (OperationState.DONE, B)
    assert [step.name for step in operation.steps][:2] == ["charter.intent", "group.freeze"]
    world.timeline.run(world.timeline.now + 20, lambda: world.is_ready)  # the former owner follows
    back = world.done(world.coordinator.switchover("orders", A, failback=True))
    assert (back.state, world.owner) == (OperationState.DONE, A)
    kinds = [event.kind for event in world.coordinator.events()]
    assert kinds.count("switchover_done") == 2


def test_what_is_impossible_is_refused_as_over_http(world: World) -> None:
    world.serve()
    order = world.coordinator.switchover("orders", "nowhere")
    world.run(0.1)
    assert order.refusal is not None
    assert "no center nowhere" in str(order.refusal)
    world.coordinator.kill()
    order = world.coordinator.failover("orders", C, accept_loss=True)
    assert order.refusal is not None
    assert order.refusal.code == "not_reached"


def test_what_was_committed_survives_a_kill(world: World) -> None:
    world.serve()
    before = world.coordinator.charter("orders")
    world.coordinator.kill()
    assert world.coordinator.charter("orders") == before, "the disk can be read while nobody runs"
    world.run(3)
    world.coordinator.start()
    world.run(3)
    office = world.coordinator.office
    assert office is not None
    assert office.store.is_same_store
    assert world.is_ready
    assert not world.waiting()


def test_an_old_backup_is_noticed_and_hears_everybody_first(world: World) -> None:
    world.serve()
    backup = world.coordinator.backup()
    world.done(world.coordinator.switchover("orders", B))
    epoch = world.charter.epoch

    world.coordinator.restart(from_backup=backup)
    world.run(0.001)
    office = world.coordinator.office
    assert office is not None
    assert not office.store.is_same_store
    assert world.owner == A, "so it says"
    order = world.coordinator.switchover("orders", C)
    world.run(8)
    operation = world.coordinator.operation(order)
    assert operation is None or operation.state is not OperationState.DONE
    assert max(charter.epoch for charter in world.coordinator.history(GROUP.id)) < epoch


def test_a_lost_store_knows_no_group(world: World) -> None:
    world.serve()
    world.coordinator.kill()
    assert world.owner == A
    world.coordinator.lose_store()
    assert world.coordinator.charter("orders") is None
    world.coordinator.start()
    world.run(5)
    assert world.coordinator.charter("orders") is None


def test_after_a_boot_the_same_store_has_to_hear_everybody(world: World) -> None:
    world.serve()
    world.host.crash()
    assert not world.coordinator.is_alive
    world.host.boot()
    world.coordinator.start()
    world.run(0.001)
    office = world.coordinator.office
    assert office is not None
    assert not office.store.is_same_store
    world.run(5)
    assert not world.waiting()


SWITCHOVER = ["RecordIntent", "Freeze", "Seal", "Seal", "Seal", "CommitCharter", "OpenGroup", "FinishIntent"]
COMMANDS = len(SWITCHOVER)


def test_a_switchover_has_so_many_commands(world: World) -> None:
    world.serve()
    before = world.coordinator.commands
    world.done(world.coordinator.switchover("orders", B))
    assert world.coordinator.commands - before == COMMANDS
    told = [line.rsplit(": ", 1)[1] for line in world.lines if " coordinator performed: " in line]
    assert told[-COMMANDS:] == SWITCHOVER


@pytest.mark.parametrize("at", range(1, COMMANDS + 1))
def test_a_switchover_ends_well_wherever_the_coordinator_dies(at: int, world: World) -> None:
    world.serve()
    world.coordinator.crash_after_command = world.coordinator.commands + at
    order = world.coordinator.switchover("orders", B)
    operation = world.done(order, 120)
    assert world.coordinator.starts == 2
    assert (operation.state, world.owner) == (OperationState.DONE, B)


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("at", [1, 3, 8, 21])
def test_it_may_die_at_any_commit(at: int, moment: Moment, world: World) -> None:
    world.serve()
    world.coordinator.crash_at_commit(at, moment)
    order = world.coordinator.switchover("orders", B)
    world.timeline.run(world.timeline.now + 30, lambda: world.coordinator.starts == 2)
    if world.coordinator.operation(order) is not None:
        world.done(order, 120)
    world.run(6)
    assert world.charter.intent is None


@pytest.mark.parametrize("moment", Moment)
def test_a_disk_that_says_no_makes_outcomes_unknown_and_they_are_read_back(
    moment: Moment, world: World
) -> None:
    world.serve()
    world.coordinator.fail_commits(6, 5, moment)
    operation = world.done(world.coordinator.switchover("orders", B), 120)
    assert (operation.state, world.owner) == (OperationState.DONE, B)
    assert any("disk I/O error" in step.detail for step in operation.steps)
    assert world.coordinator.starts == 1


def test_a_full_disk_of_the_coordinator_costs_news_and_nothing_else(world: World) -> None:
    world.serve()
    acted = world.coordinator.starts
    world.coordinator.fill_disk(20.0)
    world.network.reset(A, "coordinator")
    world.agents[C].restart()
    world.run(10)
    assert world.coordinator.starts == acted
    assert world.is_ready
    assert any("event_not_kept" in line for line in world.lines)
    world.run(15)
    assert world.is_ready
    assert world.done(world.coordinator.switchover("orders", B)).state is OperationState.DONE


def test_a_clean_stop_keeps_all(world: World) -> None:
    world.serve()
    world.coordinator.stop()
    world.run(1)
    assert not world.coordinator.is_alive
    world.coordinator.start()
    world.run(3)
    assert world.is_ready


def run_of(seed: int) -> list[str]:
    world = World(seed)
    world.serve()
    world.done(world.coordinator.switchover("orders", B))
    world.close()
    return world.lines


def test_a_seed_gives_one_history() -> None:
    assert run_of(3) == run_of(3)


def test_a_place_keeps_what_is_committed_alone() -> None:
    place = SimPlace("x.db")
    connection = place.connect()
    connection.execute("CREATE TABLE t (x)")
    connection.execute("INSERT INTO t VALUES (1)")
    connection.execute("BEGIN")
    connection.execute("INSERT INTO t VALUES (2)")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        place.connect()
    place.release()
    assert place.connect().execute("SELECT x FROM t").fetchall() == [(1,)]


def test_a_store_of_files_can_be_moved_into_the_world(tmp_path: Path) -> None:
    real = Database(tmp_path / "coordinator.db")
    real.set_meta("key", "value")
    place = SimPlace("coordinator.db")
    place.put(real.snapshot())
    real.close()
    moved = Database(place)
    assert moved.get_meta("key") == "value"
    moved.set_meta("key", "other")
    place.release()
    assert Database(place).get_meta("key") == "other"
    with pytest.raises(RefusedError, match="used by another process"):
        Database(place)
    with pytest.raises(Killed):
        moved.set_meta("key", "from beyond")
