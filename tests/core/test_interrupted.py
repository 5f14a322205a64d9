"""A coordinator dies after every command, with every part of the group in reach; another one goes on.

Whatever it finds, it finishes or says why not; no epoch is ever opened twice; nothing acknowledged is
lost unless a person accepted that; and once everybody is back, the group can be had again.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from drsync.core import failover
from drsync.core.plan import Act, Done, Plan, Refuse, Wait
from drsync.model.charter import IntentKind
from drsync.model.copy import CopyState
from drsync.model.group import Mode
from drsync.model.position import Loss
from tests.core.logs import Rec
from tests.core.world import ALL, Request, World, observe, perform, run, subsets, town

OPEN, SWITCHOVER, FAILOVER = IntentKind.OPEN, IntentKind.SWITCHOVER, IntentKind.FAILOVER

STORIES: dict[str, tuple[World, Request]] = {
    "first opening": (town(is_new=True), Request(OPEN, "a")),
    "the owner restarted": (town().restarted("a"), Request(OPEN, "a")),
    "switchover to the mate": (town(), Request(SWITCHOVER, "b")),
    "switchover to the other city": (town(), Request(SWITCHOVER, "c")),
    "strict switchover": (town(mode=Mode.SYNC_STRICT), Request(SWITCHOVER, "b")),
    "failover to the mate": (town(), Request(FAILOVER, "b")),
    "failover of a group shrunk to its owner": (town(in_sync="a", lengths=(4, 2, 1)), Request(FAILOVER, "b")),
    "failover with an accepted loss": (town(), Request(FAILOVER, "c", accept_loss=True)),
    "failover after a power cut in the city": (
        town().with_log("b", town().logs["b"], durable=2).restarted("b", is_clean=False),
        Request(FAILOVER, "b"),
    ),
}


def nothing(world: World) -> World:
    return world


def clients_write(world: World) -> World:
    """Whoever can still commit does: on everybody it waits for."""
    for name in filter(lambda name: _could_commit(world, name), ALL):
        log = (*world.logs[name], Rec(world.words[name].follow, len(world.logs[name]) + 1))
        for other in _waits_for(world, name):
            if world.logs[other] == log[:-1]:
                world = world.with_log(other, log, durable=world.words[other].durable)
        holds = [world.logs[other] == log for other in _waits_for(world, name)]
        if all(holds):
            world = replace(world.says(replace(world.words[name], commit=len(log))), acknowledged=log)
    return world


MISHAPS: dict[str, Callable[[World], World]] = {
    "nothing": nothing,
    "the owner restarts": lambda world: world.restarted("a"),
    "the mate restarts": lambda world: world.restarted("b"),
    "the mate loses its cache": lambda world: world.restarted("b", is_clean=False),
    "clients go on writing": clients_write,
    "clients go on writing, then the owner restarts": lambda world: clients_write(world).restarted("a"),
    "the lease lapses": lambda world: replace(world, now=world.now + 20.0),
}


def moments(world: World, request: Request) -> Iterator[World]:
    """The world after each number of commands, for every part of it in the coordinator's reach."""
    for reached in subsets():
        for count in range(20):
            died, end = run(world, request, reached, commands_max=count)
            yield died
            if end is not None:
                break
        else:
            raise AssertionError("this procedure has no end")


def successor(world: World, request: Request) -> Request:
    """What the next coordinator does: it goes on with what the charter says, else with what was asked."""
    intent = world.charter.intent
    if intent is None:
        return request
    return Request(intent.kind, intent.target, intent.id, intent.accept_loss, has_begun=True)


def is_an_answer(end: Plan | None) -> bool:
    match end:
        case Done(outcome):
            return bool(outcome)
        case Refuse(reasons):
            return bool(reasons) and all(reason.sentence and reason.remedy for reason in reasons)
        case Wait(reason):
            return bool(reason)
        case _:
            return False


def check(world: World) -> None:
    """What holds at every moment."""
    epochs = [opening.epoch for opening in world.opened]
    assert len(epochs) == len(set(epochs)), "an epoch was opened twice"
    assert epochs == sorted(epochs)
    assert [start.epoch for start in world.charter.history] == sorted(
        {start.epoch for start in world.charter.history}
    )
    serving = [name for name in world.words if _could_commit(world, name)]
    assert len(serving) <= 1, serving
    if any(start.loss is not Loss.NONE for start in world.charter.history):
        return
    for name in serving:
        assert world.logs[name][: len(world.acknowledged)] == world.acknowledged, "acknowledged, and gone"


def _waits_for(world: World, name: str) -> frozenset[str]:
    """An owner that nobody told of anything waits for the in-sync set of its own epoch."""
    opening = next(opening for opening in world.opened if opening.epoch == world.words[name].follow)
    return opening.in_sync


def _could_commit(world: World, name: str) -> bool:
    """Whether this owner's writes would still be acknowledged by all it waits for."""
    said = world.words[name]
    if said.state is not CopyState.OWNER or said.promised != said.follow or world.book.holder != name:
        return False
    return all(world.words[other].promised <= said.follow for other in _waits_for(world, name))


@pytest.mark.parametrize("mishap", MISHAPS)
@pytest.mark.parametrize("story", STORIES)
def test_the_next_coordinator_finishes_or_says_why_not(story: str, mishap: str) -> None:
    before, request = STORIES[story]
    reaches = subsets() if mishap == "nothing" else [ALL, ("a", "b"), ("b", "c")]
    seen = list({repr(died): died for died in moments(before, request)}.values())
    assert len(seen) > 3
    for died in seen:
        check(died)
        found = MISHAPS[mishap](died)
        for reached in reaches:
            after, end = run(found, successor(found, request), reached)
            check(after)
            assert is_an_answer(end), (end, after.done)
            assert not isinstance(end, Wait) or set(reached) != set(ALL), end
            healed(after)


def healed(world: World) -> None:
    """Everybody is in reach again: what is in progress ends, and then somebody can be made the owner."""
    world, end = run(world, successor(world, Request(OPEN, "a", "i2")))
    check(world)
    if isinstance(end, Refuse):
        world = taken_back(world)
    assert world.charter.intent is None
    target = "a" if world.words["b"].state is CopyState.BLANK else "b"
    world, end = run(world, Request(FAILOVER, target, "i3", accept_loss=True))
    check(world)
    assert isinstance(end, Done), end
    assert (world.charter.owner, world.words[target].state) == (target, CopyState.OWNER)


def taken_back(world: World) -> World:
    """The intent that was refused is voided."""
    intent = world.charter.intent
    if intent is None:
        return world
    step = failover.give_up(observe(world, Request(intent.kind, intent.target, intent.id)))
    assert isinstance(step, Act)
    after = perform(world, step.commands[0])
    assert after is not None
    return after


def test_two_coordinators_at_once_never_both_commit() -> None:
    """The second compare-and-set of two who planned on the same charter fails."""
    for died in moments(town(), Request(FAILOVER, "b")):
        for other in (Request(FAILOVER, "b"), Request(FAILOVER, "c", "i2"), Request(SWITCHOVER, "c", "i3")):
            after, _ = run(died, other)
            check(after)
            for command in died.done:
                late = perform(after, command)
                if late is not None:
                    check(late)
