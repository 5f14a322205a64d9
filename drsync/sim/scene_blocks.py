"""Scenes of work that moves to other blocks: what only marks, digests or zeros can tell then.

As long as all blocks are written all the time, a journal touches each of them, and nobody misses a mark that
is not there.
"""

import random
from typing import TYPE_CHECKING

from drsync.core.extents import GRANULE
from drsync.core.resync_tables import SourceState
from drsync.sim.character import GRANULES, NAMES
from drsync.sim.client import SLOT
from drsync.sim.scene_parts import (
    CITY,
    Scene,
    lines_between,
    of_a_pair,
    sever,
    take_over,
    until,
    wait,
    while_apart,
    while_cut,
)
from drsync.sim.scene_resync import (
    BRANCH_RATE,
    CALM_RATE,
    MORE_S,
    RUSH_RATE,
    SESSION_LOOK_S,
    STAGE_RATE,
    STRIKES,
    is_beyond,
    is_doomed,
    member_of,
    stages,
    strike,
    tip_of,
)

if TYPE_CHECKING:
    from drsync.sim.world import World

PARTED_AT = (2, 6)  # granules, because each part needs some, also where only every other is written to
SOME_S = (0.3, 0.8)  # that work goes on in one part
INTO_S = (0.0, 0.2)  # a session, before it is broken off
OUTRUN_S = (1.5, 3.0)  # because a small journal is written over in that time
FILL_RATES = (150_000.0, 400_000.0)  # bytes a second, because a new disk is to be filled in some seconds
CLEAR_RATE = 100.0  # operations a second, because a hundred places are cleared within a second then
REST_S = 2.5  # because disks are looked at once a second
TAIL = 300  # records, because a journal goes by segments, and holds a hundred in each

Part = tuple[int, int]
"""Of the places that are written to: the first, and how many."""


def parted(world: "World", dice: random.Random) -> tuple[Part, Part]:
    """Two parts of what is written to, which share no granule; in any order."""
    places = world.application.places
    at = dice.randrange(*PARTED_AT)
    assert at < GRANULES
    first = sum(place < at * GRANULE // SLOT for place in places)
    parts = [(0, first), (first, len(places) - first)]
    dice.shuffle(parts)
    return parts[0], parts[1]


def within(world: "World", part: Part, scene: Scene) -> Scene:
    """Meanwhile all work is in one part."""
    application = world.application
    before = application.cold, application.hot
    application.cold, application.hot = part
    try:
        yield from scene
    finally:
        application.cold, application.hot = before


def at_rate(world: "World", rate: float, scene: Scene) -> Scene:
    """Meanwhile so many operations a second are asked for; less than usual afterwards."""
    before, world.application.rate = world.application.rate, rate
    try:
        yield from scene
    finally:
        world.application.rate = min(before, CALM_RATE)


def written_over(world: "World", name: str) -> Scene:
    """Write until the journals of whoever serves have let go all that has been written so far."""
    end = tip_of(world, name)
    yield from at_rate(world, RUSH_RATE, until(lambda: is_beyond(world, end)))


def rested(world: "World") -> Scene:
    """Nothing is asked for, so that whoever was harmed is seen to have caught up, and is looked at."""
    world.application.is_resting = True
    try:
        yield REST_S
    finally:
        world.application.is_resting = False


def cleared(world: "World", part: Part) -> Scene:
    """All of a part becomes zeros."""
    world.application.clear(*part)
    yield from at_rate(world, CLEAR_RATE, until(lambda: not world.application.is_clearing))


def broken_off(world: "World", dice: random.Random, owner: str, name: str) -> Scene:
    """Sessions are ended at one side or the other, or on the line, and begin anew."""
    for _ in range(STRIKES):
        yield from until(lambda: stages(world, name), SESSION_LOOK_S)
        if not stages(world, name):
            return
        yield dice.uniform(*INTO_S)
        way = dice.choice(("owner", "owner", "line", "target"))
        if way == "line":
            world.network.reset(owner, name)
            world.network.reset(name, owner)
        else:
            world.agents[owner if way == "owner" else name].restart()
        yield dice.uniform(*MORE_S)


@of_a_pair
def moved_on(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """While somebody is away work moves on: marks alone tell what it lacks; sessions are broken off."""
    name = dice.choice((mate, "remote"))
    one, other = parted(world, dice)

    def meanwhile() -> Scene:
        yield from within(world, one, at_rate(world, RUSH_RATE, wait(dice.uniform(*SOME_S))))
        if dice.random() < BRANCH_RATE:
            yield from cleared(world, one)
        yield from written_over(world, owner)

    def story() -> Scene:
        line = world.network.line(owner, name)
        line.slowed.append(STAGE_RATE)
        yield from while_cut(world, lines_between([name], world.places), meanwhile())
        yield from broken_off(world, dice, owner, name)
        if STAGE_RATE in line.slowed:
            line.slowed.remove(STAGE_RATE)

    yield from within(world, other, story())


def knows(world: "World", name: str, end: int) -> bool:
    """Whether a member has a record in its images, and has stored that every other member holds it."""
    member = member_of(world, name)
    if member is None or member.copy.volumes.applied < end:
        return False
    return all(member.keeper.cursor(other) >= end for other in NAMES if other != name)


@of_a_pair
def back_in_between(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """One is away, another is put back to before that; meanwhile blocks were written, and cleared again."""
    back = dice.choice(("remote", "remote", mate))
    late = mate if back == "remote" else "remote"
    one, other = parted(world, dice)

    def story() -> Scene:
        yield from cleared(world, one)
        end = tip_of(world, owner)
        yield from until(lambda: knows(world, back, end))
        world.snapshots[back] = world.hosts[back].disk.snapshot()
        yield from within(world, one, at_rate(world, RUSH_RATE, wait(dice.uniform(*SOME_S))))
        end = tip_of(world, owner)
        yield from until(lambda: tip_of(world, late) >= end)
        sever(world, apart := lines_between([late], world.places))
        yield from cleared(world, one)
        yield from written_over(world, owner)
        if not world.may_harm(back) or is_doomed(world, back):
            return
        world.restore(back)
        yield from until(lambda: stages(world, back), SESSION_LOOK_S)
        yield from until(lambda: not stages(world, back))
        yield dice.uniform(*MORE_S)
        yield from take_over(world, back, what="switchover")
        world.mend(apart)
        yield from strike(world, dice, late)

    yield from within(world, other, story())


def has_sent(world: "World", owner: str, name: str) -> bool:
    """Whether a session has read all that was to be sent in its first round, or is over."""
    member = member_of(world, owner)
    if member is None or member.term is None:
        return True
    source = member.term.resyncs.of(name).source
    return source.state is SourceState.IDLE or bool(source.rounds) or not source.todo


@of_a_pair
def cleared_meanwhile(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """A new disk is filled over a slow line while what it got is cleared, and more is written than fits."""
    name = dice.choice((mate, mate, "remote"))
    one, other = parted(world, dice)
    yield from written_over(world, owner)
    if not world.may_harm(name):
        return
    line, rate = world.network.line(owner, name), dice.uniform(*FILL_RATES)

    def outrun() -> Scene:
        yield from until(lambda: has_sent(world, owner, name), SESSION_LOOK_S)
        world.application.clear(*one)
        yield from wait(dice.uniform(*OUTRUN_S))

    def story() -> Scene:
        yield from until(lambda: stages(world, name), SESSION_LOOK_S)
        yield from at_rate(world, RUSH_RATE, outrun())
        if rate in line.slowed:
            line.slowed.remove(rate)
        yield from until(lambda: not stages(world, name))
        yield from rested(world)

    line.slowed.append(rate)
    world.crash(name)
    world.replace_disk(name)
    yield from within(world, other, story())


@of_a_pair
def same_fork(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """The remote member takes over with loss; of two with the same tail one goes on without the other."""
    lagging = lines_between(CITY, ["remote"])
    sever(world, lagging)
    end = tip_of(world, owner) + TAIL
    yield from at_rate(world, RUSH_RATE, until(lambda: tip_of(world, mate) >= end))
    if is_doomed(world, "remote"):
        return  # its disk is about to go, and with it all that would be left
    yield dice.uniform(*MORE_S)
    sever(world, late := lines_between([mate], world.places))
    yield from while_apart(world, CITY, take_over(world, "remote", accept_loss=True))
    world.mend(lagging)
    fork = tip_of(world, "remote")
    yield from until(lambda: fork < tip_of(world, "remote") <= tip_of(world, owner) + 1)
    yield from take_over(world, owner, what="switchover")
    yield from at_rate(world, RUSH_RATE, until(lambda: tip_of(world, "remote") >= end))
    yield dice.uniform(*MORE_S)
    world.mend(late)
    yield dice.uniform(*MORE_S)
