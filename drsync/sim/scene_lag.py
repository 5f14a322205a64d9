"""Scenes of a line that is slower than the writes: sets of what changed, and writes that wait by policy."""

import random
from typing import TYPE_CHECKING

from drsync.core.extents import GRANULE
from drsync.sim.client import SLOT
from drsync.sim.scene_parts import Scene, of_a_pair, take_over, until, wait
from drsync.sim.scene_resync import CALM_RATE, SESSION_LOOK_S, member_of, stages, strike

if TYPE_CHECKING:
    from drsync.sim.world import World

BURST_RATE = 300.0  # operations a second: ten times what the line takes
LINE_RATES = (60_000.0, 100_000.0)  # bytes a second
TARGET_S = 1.0  # because a burst is over within seconds
HOT_SLOTS = GRANULE // SLOT  # what is written again and again is far less than the volumes
SETS_MAX = 3  # because each takes seconds
BRANCH_RATE = 0.5
STRIKE_RATE = 0.3
CALM_S = (0.2, 2.0)


def gets_set(world: "World", owner: str) -> bool:
    """Whether the remote member is being sent a delta set."""
    member = member_of(world, owner)
    term = member.term if member is not None else None
    return term is not None and term.resyncs.gives_set("remote") and stages(world, "remote")


def waits(world: "World", owner: str) -> bool:
    """Whether writes wait by policy."""
    member = member_of(world, owner)
    return member is not None and member.term is not None and bool(member.term.engine.gate.words)


def burst(world: "World", dice: random.Random, owner: str, scene: Scene) -> Scene:
    """Meanwhile more is written than the line to the remote member takes."""
    application, line = world.application, world.network.line(owner, "remote")
    before, rate = application.rate, dice.choice(LINE_RATES)
    application.rate = BURST_RATE
    application.hot = max(1, sum(place < HOT_SLOTS for place in application.places))
    line.slowed.append(rate)
    try:
        yield from scene
    finally:
        application.rate, application.hot = min(before, CALM_RATE), 0
        if rate in line.slowed:
            line.slowed.remove(rate)


def sets(world: "World", dice: random.Random, owner: str) -> Scene:
    """Some sets are sent, and mostly something happens in the middle of one."""
    for _ in range(dice.randint(1, SETS_MAX)):
        yield from until(lambda: gets_set(world, owner), SESSION_LOOK_S)
        if dice.random() < STRIKE_RATE:
            yield from strike(world, dice, "remote")
        yield from until(lambda: not stages(world, "remote"), SESSION_LOOK_S)
        if dice.random() < BRANCH_RATE:
            world.crash("remote")  # where the set ended, before anything more has come
        yield from until(lambda: not gets_set(world, owner))
    yield dice.uniform(*CALM_S)


@of_a_pair
def slower_than_writes(world: "World", dice: random.Random, owner: str, _mate: str) -> Scene:
    """The remote member gets sets, is struck while it does, and streams again when less is written."""
    yield from burst(world, dice, owner, sets(world, dice, owner))
    yield from wait(dice.uniform(*CALM_S))


@of_a_pair
def lost_while_behind(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """The owner is lost, or moved, while writes wait or a set is on its way; its mate goes on."""

    def trouble() -> Scene:
        yield from until(lambda: gets_set(world, owner) or waits(world, owner), SESSION_LOOK_S)
        yield dice.uniform(*CALM_S)
        if dice.random() < BRANCH_RATE:
            world.crash(owner)
            yield from take_over(world, mate)
        else:
            yield from take_over(world, mate, what="switchover")

    yield from burst(world, dice, owner, trouble())
    yield from strike(world, dice, "remote")
