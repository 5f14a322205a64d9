"""The shipped engines lose an owner, on virtual time with the usual lease: who takes over, and who never."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from typing_extensions import override

from drsync.core.detection import REOPEN_S
from drsync.model.charter import Charter
from drsync.model.copy import CopyState
from drsync.model.group import Failover, GroupPolicy
from drsync.sim.agent import install
from drsync.sim.disk import Disk
from tests.sim.test_coordinator import GROUP, A, B, C, World

LEASE_S, DETECT_S, ANTI_FLAP_S = 10.0, 5.0, 600.0
POLICY = GroupPolicy(
    failover=Failover.AUTOMATIC,
    lease_s=LEASE_S,
    detect_s=DETECT_S,
    anti_flap_s=ANTI_FLAP_S,
    checkpoint_s=5.0,
)
OPENING_S = (
    2.0  # because sealing, committing and opening take a few round trips, and heartbeats come each second
)
SLOW_S = 0.1  # one way, because an attempt to open then lasts until the coordinator looks again
EVERYBODY = (A, B, C, "coordinator")


class Town(World):
    """A group that fails over by itself, and everything that happened to its charter."""

    @override
    def serve(self) -> None:
        self.start()
        self.run(1)
        self.coordinator.create(replace(GROUP, policy=POLICY))
        self.timeline.run(self.timeline.now + 20, lambda: self.owner == A and self.is_ready)
        assert self.is_ready
        self.run(10)

    def cut(self, one: str, *others: str) -> None:
        for other in others:
            self.network.cut(one, other)
            self.network.cut(other, one)

    def mend(self, one: str, *others: str) -> None:
        for other in others:
            self.network.mend(one, other)
            self.network.mend(other, one)

    def lose(self, name: str) -> None:
        """Its machine is gone, and does not come back."""
        self.agents[name].kill()
        self.agents[name].host.crash()

    def owners(self) -> list[str]:
        """Who owned the group, in order."""
        found: list[str] = []
        for charter in self.history():
            if charter.owner and found[-1:] != [charter.owner]:
                found.append(charter.owner)
        return found

    def history(self) -> list[Charter]:
        return self.coordinator.history(GROUP.id)

    def told(self, kind: str) -> list[str]:
        return [event.text for event in self.coordinator.events() if event.kind == kind]

    def state(self, name: str) -> CopyState:
        (member,) = self.agents[name].members()
        return member.statement().state

    def held(self) -> str:
        """What is held of the owner."""
        groups = self.coordinator.status()["groups"]
        assert isinstance(groups, dict)
        return str(groups["orders"]["detection"]["state"])


@pytest.fixture
def town() -> Iterator[Town]:
    town = Town()
    yield town
    town.close()


def test_a_lost_owner_is_replaced_within_its_lease(town: Town) -> None:
    town.serve()
    lost_at = town.timeline.now
    town.lose(A)
    assert town.timeline.run(lost_at + 60, lambda: town.owner == B and town.state(B) is CopyState.OWNER)
    assert LEASE_S - 2 < town.timeline.now - lost_at < LEASE_S + OPENING_S
    assert len(town.told("failover_decided")) == 1


def test_43_seconds_of_isolation_move_the_group_once_and_never_to_the_other_city(town: Town) -> None:
    """P01."""
    town.serve()
    town.cut(A, B, C, "coordinator")
    town.run(43)
    town.mend(A, B, C, "coordinator")
    town.run(120)
    assert town.owners() == [A, B]
    assert town.charter.in_sync == {A, B}
    assert [town.state(name) for name in (A, B, C)] == [
        CopyState.REPLICA,
        CopyState.OWNER,
        CopyState.REPLICA,
    ]


def test_an_owner_that_is_stopped_for_longer_than_its_lease_wakes_up_deposed(town: Town) -> None:
    """P02: that it was the owner once is no argument."""
    town.serve()
    stopped = town.agents[A].process
    assert stopped is not None
    stopped.stop()
    town.run(40)
    assert town.owner == B
    stopped.resume()
    town.run(60)
    assert town.owners() == [A, B]
    assert town.state(A) is CopyState.REPLICA


def test_an_owner_cut_off_from_the_coordinator_alone_stays(town: Town) -> None:
    town.serve()
    town.cut(A, "coordinator")
    town.run(60)
    assert town.held() == "suspected"
    town.run(240)
    town.mend(A, "coordinator")
    town.run(60)
    assert (town.owners(), town.held()) == ([A], "healthy")


def test_an_owner_that_its_mate_keeps_going_stays_although_the_other_city_misses_it(town: Town) -> None:
    town.serve()
    town.cut(A, "coordinator", C)
    town.run(300)
    assert town.owners() == [A]
    assert town.state(A) is CopyState.OWNER


def test_an_owner_with_a_new_disk_is_replaced_within_a_minute_although_it_is_asked_to_open_again_and_again(
    town: Town,
) -> None:
    for name in (A, B, C):
        for one, other in ((name, "coordinator"), ("coordinator", name)):
            town.network.line(one, other).latency = SLOW_S
    town.serve()
    host = town.agents[A].host
    host.crash()
    host.disk = Disk()
    install(host.disk)
    host.boot()
    back_at = town.timeline.now
    town.agents[A].start()
    assert town.timeline.run(
        back_at + REOPEN_S + LEASE_S + OPENING_S, lambda: town.state(B) is CopyState.OWNER
    ), town.lines[-40:]
    assert len(town.told("failover_decided")) == 1


def test_a_city_that_is_cut_off_stays_the_owner_and_a_city_that_is_gone_is_for_a_person(town: Town) -> None:
    town.serve()
    for name in (A, B):
        town.cut(name, C, "coordinator")
    town.run(300)
    assert town.owners() == [A]
    town.lose(A)
    town.lose(B)
    town.run(300)
    assert town.owners() == [A]


def test_a_coordinator_that_stood_still_or_was_cut_off_moves_nothing(town: Town) -> None:
    town.serve()
    asleep = town.coordinator.process
    assert asleep is not None
    asleep.stop()
    town.run(60)
    asleep.resume()
    town.run(60)
    town.cut("coordinator", A, B, C)
    town.run(60)
    town.mend("coordinator", A, B, C)
    town.run(60)
    assert town.owners() == [A]
    assert town.state(A) is CopyState.OWNER


def test_an_agent_that_is_killed_and_comes_back_is_opened_again_where_it_was(town: Town) -> None:
    town.serve()
    before = town.charter.epoch
    town.agents[A].restart()
    town.run(60)
    assert town.owners() == [A]
    assert town.charter.epoch > before
    assert town.state(A) is CopyState.OWNER


def test_a_group_does_not_flap(town: Town) -> None:
    """Both centers of the city fail within minutes: the second time it waits, and then it goes on."""
    town.serve()
    town.agents[A].kill()
    town.run(30)
    moved_at = town.timeline.now
    assert town.owner == B
    town.agents[A].start()
    town.run(60)
    assert town.charter.in_sync == {A, B}
    town.lose(B)
    town.run(ANTI_FLAP_S - 200)
    assert town.owner == B
    assert town.timeline.run(moved_at + ANTI_FLAP_S + 30, lambda: town.owner == A)
    assert town.timeline.now - moved_at > ANTI_FLAP_S - 40


def test_an_owner_whose_heartbeats_crawl_is_gray_and_stays(town: Town) -> None:
    """Slow is not dead: every heartbeat comes too late to be usual and too early to be missed."""
    town.serve()
    for line in (town.network.line(A, "coordinator"), town.network.line("coordinator", A)):
        line.latency = 1.25
    town.run(60)
    assert town.held() == "gray"
    before = len(town.told("owner_slow"))
    town.run(240)
    assert town.owners() == [A]
    assert len(town.told("owner_slow")) == before, "told once, not with every heartbeat"


@pytest.mark.parametrize("seed", range(2))
def test_whatever_is_cut_the_group_stays_in_its_city_and_moves_once_in_ten_minutes(seed: int) -> None:
    """One-way cuts, half-open lines and stopped processes, at random; then everything heals."""
    town = Town(seed)
    town.serve()
    dice = town.dice
    places = (A, B, C, "coordinator")
    ends_at = town.timeline.now + 600
    while town.timeline.now < ends_at:
        one, other = dice.sample(places, 2)
        match dice.randrange(2):
            case 0:
                town.network.cut(one, other)
            case 1:
                town.cut(one, *(place for place in places if place != one))
            case 2 if one != "coordinator":
                town.agents[one].restart()
            case _:
                town.network.mend_all()
        town.run(dice.uniform(0.5, 40.0))
    town.network.mend_all()
    town.run(200)
    assert C not in town.owners()
    assert not any(charter.is_forced for charter in town.history())
    assert len(town.told("failover_decided")) <= 2, "one at once, and one when the quiet time has passed"
    assert town.state(town.owner) is CopyState.OWNER
    assert town.charter.in_sync == {A, B}
    town.close()
