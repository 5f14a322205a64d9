"""Changes of owner that meet: one takes the other's place, and two never run at once for a group."""

from collections.abc import Iterator

import pytest

from drsync.core.plan import Command, OpenGroup, Seal
from drsync.engine.procedures import Outcome, ProcedureRunner
from drsync.model.charter import IntentKind
from tests.sim.test_coordinator import A, B, C, World

HOPS = 12  # of the loop, within which one change of owner has taken the place of another
GIVING_UP_S = 30.0  # because it takes less to finish taking a change back than to wait for its target
WHILE_S = 0.2  # because a refusal takes some milliseconds


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def cut(world: World, one: str, other: str) -> None:
    world.network.cut(one, other)
    world.network.cut(other, one)
    world.network.reset(one, other)


def wake_after(world: World, hops: int) -> None:
    """Have the supervision look at the group after so many turns of the coordinator's loop."""
    process, office = world.coordinator.process, world.coordinator.office
    assert process is not None
    assert office is not None

    def hop(left: int) -> None:
        if left:
            process.run_soon(hop, left - 1)
        else:
            office.supervision.wake()

    process.run_soon(hop, hops)


def test_a_failover_takes_the_place_of_an_opening_and_nobody_goes_on_with_that_beside_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    running: list[int] = []
    most = 0
    run = ProcedureRunner.run

    async def counted(runner: ProcedureRunner) -> Outcome:
        nonlocal most
        running.append(id(runner))
        most = max(most, len(running))
        try:
            return await run(runner)
        finally:
            running.remove(id(runner))

    monkeypatch.setattr(ProcedureRunner, "run", counted)
    world.serve()
    world.coordinator.crash_after_command = world.coordinator.commands + 1  # its intent is recorded then
    world.agents[A].restart()
    world.timeline.run(world.timeline.now + 20, lambda: world.coordinator.starts == 2)
    world.run(0.2)
    for one, other in ((A, "coordinator"), (B, "coordinator"), (A, C), (B, C)):
        cut(world, one, other)
    world.run(8)
    assert world.charter.intent is not None
    for hops in range(HOPS):
        world.timeline.run(world.timeline.now + 2, lambda: bool(running))
        world.coordinator.failover("orders", C)  # refused: it lacks what the others may have
        wake_after(world, hops)
        world.run(WHILE_S)
    assert most == 1
    assert not world.coordinator.bugs


def test_what_was_given_up_is_not_begun_again_by_the_next_coordinator(world: World) -> None:
    world.serve()
    coordinator = world.coordinator

    def performed(command: Command) -> None:
        if isinstance(command, Seal) and command.center == A:
            world.timeline.soon(world.agents[B].host.crash)
        elif isinstance(command, OpenGroup):
            coordinator.at_command.remove(performed)
            coordinator.crash_after_command = coordinator.commands

    coordinator.at_command.append(performed)
    coordinator.failover("orders", B)
    world.timeline.run(world.timeline.now + 200, lambda: coordinator.starts == 2)
    assert world.charter.intent is not None
    assert (world.charter.intent.kind, world.charter.intent.target) == (IntentKind.OPEN, A)
    again_at = world.timeline.now
    assert world.timeline.run(again_at + GIVING_UP_S, lambda: world.charter.intent is None), world.lines[-20:]
    assert world.owner == A
