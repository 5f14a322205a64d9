"""The store is lost or an old copy, and a person begins a new generation of it: shipped daemons."""

from collections.abc import Callable, Iterator

import pytest

from drsync.model.copy import CopyState
from drsync.model.epoch import generation, make
from drsync.model.operation import OperationState
from drsync.model.position import Loss
from drsync.sim import mutants
from drsync.sim.store_disk import Moment
from tests.sim.test_coordinator import A, B, C, World

LONG_S = 40.0


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    world.serve()
    yield world
    world.close()


def without_store(world: World, to: str, *, accept_loss: bool = True) -> OperationState | str:
    """What came of it, or the code of the refusal."""
    order = world.coordinator.failover(
        "orders", to, accept_loss=accept_loss, without_store=True, reason="the store burnt"
    )
    world.run(0.01)
    world.timeline.run(world.timeline.now + 30, lambda: bool(order.operation or order.refusal))
    if order.refusal is not None:
        return order.refusal.code
    return world.done(order, 150).state


def test_a_store_that_may_act_is_not_replaced(world: World) -> None:
    assert without_store(world, B) == "store_usable"
    assert world.charter.generation == 0


def test_an_empty_store_says_who_remembers_the_group_and_what_to_do(world: World) -> None:
    world.coordinator.lose_store()
    world.coordinator.start()
    world.run(5)
    assert world.coordinator.office is not None
    (line,) = world.coordinator.office.picture.why_forgotten("orders")
    assert "does not know orders, but production, remote, same_city remember it" in line.what
    assert "--without-store" in line.remedy
    assert "orders" in str(world.coordinator.status()["forgotten"])


def test_the_group_comes_back_without_its_store_and_without_its_owner(world: World) -> None:
    before = world.charter
    world.coordinator.lose_store()
    world.agents[A].kill()
    world.coordinator.start()
    world.run(5)
    assert without_store(world, B) is OperationState.DONE
    charter = world.charter
    assert (charter.owner, charter.generation, charter.epoch) == (B, 1, make(1, 1, 0))
    assert charter.version > before.version
    assert charter.history[-1].loss is Loss.FORCED
    assert charter.history[-1].lost_at_least == 0
    world.agents[A].start()
    world.timeline.run(world.timeline.now + LONG_S, lambda: world.is_ready)
    assert world.is_ready, "the former owner follows by the ordinary rules"
    assert world.timeline.run(world.timeline.now + LONG_S, lambda: not world.waiting())


def test_the_owner_itself_may_be_the_target_and_is_stopped_first(world: World) -> None:
    world.coordinator.lose_store()
    world.coordinator.start()
    world.run(3)
    assert without_store(world, A) is OperationState.DONE
    world.timeline.run(world.timeline.now + LONG_S, lambda: world.is_ready)
    assert (world.owner, world.is_ready) == (A, True)


def test_only_the_remote_center_is_left_of_everything(world: World) -> None:
    for name in (A, B):
        world.agents[name].kill()
        world.agents[name].host.crash()
    world.coordinator.lose_store()
    world.coordinator.start()
    world.run(5)
    assert without_store(world, C) is OperationState.DONE
    member = world.agents[C].members()[0]
    world.timeline.run(
        world.timeline.now + LONG_S, lambda: member.term is not None and member.statement().commit > 0
    )
    assert member.statement().state is CopyState.OWNER
    world.coordinator.restart()
    world.run(20)
    assert member.statement().state is CopyState.OWNER, "a restart of the coordinator waits for nobody"


def test_a_loss_that_nobody_accepted_changes_nothing(world: World) -> None:
    world.coordinator.lose_store()
    world.agents[A].kill()
    world.coordinator.start()
    world.run(5)
    assert without_store(world, B, accept_loss=False) == "new_generation"
    assert world.coordinator.charter("orders") is None


def test_while_an_owner_out_of_reach_is_confirmed_nothing_is_begun(world: World) -> None:
    """It goes on without the store in the company of its mate, and takes writes."""
    world.coordinator.lose_store()
    for one, other in (("coordinator", A), (A, "coordinator")):
        world.network.cut(one, other)
    world.coordinator.start()
    world.run(8)
    assert without_store(world, B) == "bound"
    assert world.agents[A].members()[0].statement().state is CopyState.OWNER
    world.agents[A].kill()
    world.run(3)
    assert without_store(world, B) is OperationState.DONE


def test_an_old_store_that_comes_back_is_refused(world: World) -> None:
    old = world.coordinator.backup()
    world.coordinator.lose_store()
    world.agents[A].kill()
    world.coordinator.start()
    world.run(5)
    assert without_store(world, B) is OperationState.DONE
    world.agents[A].start()
    world.timeline.run(world.timeline.now + LONG_S, lambda: world.is_ready)
    world.coordinator.restart(from_backup=old)
    world.run(10)
    assert "old copy" in str(world.waiting())
    world.coordinator.restart()
    world.run(10)
    assert "old copy" in str(world.waiting()), "a restart proves nothing"
    order = world.coordinator.failover("orders", A, accept_loss=True)
    world.run(130)
    operation = world.coordinator.operation(order)
    assert operation is not None
    assert operation.state is OperationState.FAILED
    assert world.agents[A].members()[0].statement().state is not CopyState.OWNER
    assert any("old_store" in line for line in world.lines), "and the agents say so"


def test_an_old_store_restarted_before_anybody_came_grants_nothing(world: World) -> None:
    """The mark of a process that was never proven to hold the newest charter proves nothing."""
    old = world.coordinator.backup()
    world.agents[A].kill()
    assert world.done(world.coordinator.failover("orders", B)).state is OperationState.DONE
    for name in (B, C):
        world.agents[name].kill()
    world.coordinator.restart(from_backup=old)
    world.run(1)
    world.coordinator.restart()
    world.run(1)
    world.agents[A].start()  # which has not heard of its successor
    world.run(20)
    assert "waits to hear from remote, same_city" in str(world.waiting())
    assert world.agents[A].members()[0].statement().state is not CopyState.OWNER


def test_an_old_copy_may_be_begun_anew_as_well(world: World) -> None:
    old = world.coordinator.backup()
    assert world.done(world.coordinator.switchover("orders", B)).state is OperationState.DONE
    world.coordinator.restart(from_backup=old)
    world.run(10)
    assert "old copy" in str(world.waiting())
    groups = world.coordinator.status()["groups"]
    assert isinstance(groups, dict)
    ages = {center["rpo_actual_s"] for center in groups["orders"]["centers"].values()}
    assert ages == {None}, "who is in sync is hearsay"
    assert without_store(world, B) is OperationState.DONE
    assert (world.charter.owner, generation(world.charter.epoch)) == (B, 1)


def test_a_second_lost_store_gets_a_higher_generation(world: World) -> None:
    for number in (1, 2):
        world.coordinator.lose_store()
        world.coordinator.start()
        world.run(5)
        assert without_store(world, B) is OperationState.DONE
        assert world.charter.generation == number


@pytest.mark.parametrize("at", range(1, 6))
def test_it_ends_well_wherever_the_coordinator_dies(at: int, world: World) -> None:
    world.coordinator.lose_store()
    world.agents[A].kill()
    world.coordinator.start()
    world.run(5)
    world.coordinator.crash_after_command = at
    order = world.coordinator.failover("orders", B, accept_loss=True, without_store=True)
    assert world.done(order, 200).state is OperationState.DONE
    assert (world.owner, world.charter.epoch) == (B, make(1, 1, 0))


@pytest.mark.parametrize("moment", list(Moment))
@pytest.mark.parametrize("at", range(1, 8))
def test_it_may_die_at_any_commit_and_be_asked_again(at: int, moment: Moment, world: World) -> None:
    world.coordinator.lose_store()
    world.agents[A].kill()
    world.coordinator.start()
    world.run(5)
    world.coordinator.crash_at_commit(at, moment)
    world.coordinator.failover("orders", B, accept_loss=True, without_store=True)
    world.run(60)
    if not world.coordinator.is_alive:
        world.coordinator.start()
        world.run(60)
    if world.coordinator.charter("orders") is None:
        assert without_store(world, B) is OperationState.DONE
    world.timeline.run(world.timeline.now + 200, lambda: world.owner == B and world.charter.intent is None)
    assert (world.owner, world.charter.intent, generation(world.charter.epoch)) == (B, None, 1)


STORIES = [
    ("store_start_trusted", test_an_old_store_restarted_before_anybody_came_grants_nothing),
    ("old_store_accepted", test_an_old_store_that_comes_back_is_refused),
    ("era_plus_one", test_the_group_comes_back_without_its_store_and_without_its_owner),
]


@pytest.mark.parametrize(("mutant", "story"), STORIES, ids=[name for name, _ in STORIES])
def test_a_wrong_rule_about_the_store_is_noticed(mutant: str, story: Callable[[World], None]) -> None:
    with mutants.in_force(mutant):
        world = World()
        world.serve()
        with pytest.raises(AssertionError):
            story(world)
        world.close()
