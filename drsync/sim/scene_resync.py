"""Scenes of members that are away for longer than journals reach: marks, digests, stages and switches."""

import random
from typing import TYPE_CHECKING

from drsync.core.resync_tables import TargetState
from drsync.model.copy import CopyState
from drsync.sim.character import NAMES
from drsync.sim.faults import FULL_ROOM, used_bytes
from drsync.sim.scene_parts import (
    CITY,
    LOOK_S,
    Lines,
    Scene,
    lines_between,
    of_a_pair,
    serves_at,
    sever,
    take_over,
    until,
    wait,
    while_apart,
    while_cut,
)

if TYPE_CHECKING:
    from drsync.engine.member import Member
    from drsync.sim.world import World

RUSH_RATE = 150.0  # operations a second, because a small quota is written over within seconds then
CALM_RATE = 12.0
MORE_S = (0.1, 1.5)  # after the journal has let go
SESSION_LOOK_S = 0.004  # because a session takes some round trips
SESSION_S = (0.0, 0.3)  # into a session
STAGE_RATE = 40_000.0  # bytes a second, because a session is to last for some seconds
OUTRUN_S = 5.0  # because a small journal is written over in that time
SWITCH_CALLS = (1, 90)  # because the end of a session, the switch and the start after it make so many changes
STRIKES = 3
BRANCH_RATE = 0.5


def member_of(world: "World", name: str) -> "Member | None":
    """The running member at a center."""
    members = world.agents[name].members()
    return members[0] if members and members[0].copy.state is not CopyState.FAILED else None


def tip_of(world: "World", name: str) -> int:
    """The last record there; 0 when nobody can tell."""
    member = member_of(world, name)
    return member.copy.journal.tip.seq if member is not None else 0


def is_beyond(world: "World", end: int) -> bool:
    """Whether the journals of all who serve have let go what comes after a record."""
    serving = [export.center for export in world.application.exports if not export.is_over]
    members = [member for name in serving if (member := member_of(world, name)) is not None]
    return bool(members) and all(member.copy.journal.first_seq > end + 1 for member in members)


def stages(world: "World", name: str) -> bool:
    """Whether somebody is being brought level by blocks there."""
    member = member_of(world, name)
    return member is not None and member.resyncs.target.state not in (TargetState.IDLE, TargetState.KEPT)


def rush(world: "World", end: int, dice: random.Random) -> Scene:
    """Write until the journal has let go what comes after a record, and a little more."""
    before, world.application.rate = world.application.rate, RUSH_RATE
    yield from until(lambda: is_beyond(world, end))
    yield dice.uniform(*MORE_S)
    world.application.rate = min(before, CALM_RATE)


def away(world: "World", dice: random.Random, names: list[str]) -> Scene:
    """Some members reach nobody until the journals have let go what they lack."""
    end = min(tip_of(world, name) for name in names)
    apart: Lines = lines_between(names, world.places)
    yield from while_cut(world, apart, rush(world, end, dice))


def strike(world: "World", dice: random.Random, name: str) -> Scene:
    """Something happens to a target in the middle of a session, or of its end."""
    for _ in range(STRIKES):
        yield from until(lambda: stages(world, name), SESSION_LOOK_S)
        if not stages(world, name):
            return
        yield dice.uniform(*SESSION_S)
        disk = world.hosts[name].disk
        way = dice.choice(("dies", "dies", "power", "line", "full"))
        if way == "dies":
            disk.die_at(dice.randint(*SWITCH_CALLS), dice.choice(("before", "within", "after")))
        elif way == "power":
            world.crash(name)
        elif way == "line":
            for other in NAMES:
                world.network.reset(name, other)
        elif disk.capacity is None:
            disk.capacity = used_bytes(disk) + dice.randrange(FULL_ROOM)
            yield dice.uniform(*MORE_S)
            disk.capacity = None
        yield dice.uniform(*MORE_S)


@of_a_pair
def remote_away(world: "World", dice: random.Random, _owner: str, _mate: str) -> Scene:
    """The remote member is away beyond the quota, and is struck again and again on its way back."""
    yield from away(world, dice, ["remote"])
    yield from strike(world, dice, "remote")


@of_a_pair
def mate_away(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """A mate is away beyond the quota and returns while the remote member is away; then it takes over."""
    yield from away(world, dice, [mate])
    end = tip_of(world, "remote")
    far = lines_between(["remote"], world.places)
    sever(world, far)
    if dice.random() < BRANCH_RATE:
        yield from strike(world, dice, mate)
    else:
        yield from rush(world, end, dice)
    yield from until(lambda: world.charter is not None and mate in world.charter.in_sync)
    yield from take_over(world, mate, what="switchover")
    world.mend(far)
    yield from strike(world, dice, "remote")


@of_a_pair
def owner_dies_staging(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """The owner is lost while it brings the remote member level; its mate goes on with what it knows."""
    yield from away(world, dice, ["remote"])
    line = world.network.line(owner, "remote")
    line.slowed.append(STAGE_RATE)
    yield from until(lambda: stages(world, "remote"), SESSION_LOOK_S)
    yield dice.uniform(*SESSION_S)
    world.crash(owner)
    yield from take_over(world, mate)
    if STAGE_RATE in line.slowed:
        line.slowed.remove(STAGE_RATE)
    yield from strike(world, dice, "remote")


@of_a_pair
def outrun(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """While the remote member is brought level, more is written than a journal holds."""
    yield from away(world, dice, ["remote"])
    line = world.network.line(owner, "remote")
    line.slowed.append(STAGE_RATE)
    yield from until(lambda: stages(world, "remote"), SESSION_LOOK_S)
    world.application.rate = RUSH_RATE
    yield OUTRUN_S
    world.application.rate = CALM_RATE
    if STAGE_RATE in line.slowed:
        line.slowed.remove(STAGE_RATE)


@of_a_pair
def cut_in_the_switch(world: "World", dice: random.Random, _owner: str, _mate: str) -> Scene:
    """A target loses power in a call of its switch, and again in the start that goes on with it."""
    yield from away(world, dice, ["remote"])
    disk = world.hosts["remote"].disk
    for _ in range(STRIKES):
        yield from until(lambda: stages(world, "remote"), SESSION_LOOK_S)
        disk.die_at(dice.randint(*SWITCH_CALLS), dice.choice(("before", "within", "after")))
        yield from until(lambda: not world.agents["remote"].is_alive, SESSION_LOOK_S)
        if not world.agents["remote"].is_alive:
            world.crash("remote")
        yield from until(lambda: world.agents["remote"].is_alive)


@of_a_pair
def late_disk(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """A member gets a new disk when the journals do not reach back to the beginning any more."""
    yield from rush(world, 0, dice)
    name = dice.choice((mate, "remote"))
    if not world.may_harm(name):
        return
    world.crash(name)
    world.replace_disk(name)
    yield from strike(world, dice, name)


def is_doomed(world: "World", name: str) -> bool:
    """Whether somebody is going to replace the disk that a member has now."""
    return world.doomed.get(name) is world.hosts[name].disk


@of_a_pair
def fork_beyond_images(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """The remote member takes over whatever is lost; what the city went on with is in its images."""
    lagging = lines_between(CITY, ["remote"])
    sever(world, lagging)
    yield dice.uniform(*MORE_S)
    applied = [member.copy.volumes.applied for name in CITY if (member := member_of(world, name))]
    world.application.rate = RUSH_RATE / 2
    low = max([*applied, tip_of(world, "remote")])

    def is_applied() -> bool:
        member = member_of(world, owner)
        return member is not None and member.copy.volumes.applied > low

    yield from until(is_applied)
    world.application.rate = CALM_RATE
    if is_doomed(world, "remote"):
        return  # its disk is about to go, and with it all that would be left
    yield from while_apart(world, CITY, take_over(world, "remote", accept_loss=True))
    late = dice.choice(CITY)
    if dice.random() < BRANCH_RATE:
        end = tip_of(world, "remote")
        yield from while_cut(world, lines_between([late], world.places), rush(world, end, dice))
    world.mend(lagging)
    yield from strike(world, dice, late)


@of_a_pair
def stood_between(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """One is brought level while a third, that stood in between, is away; then only those two meet."""
    lagging = lines_between(CITY, ["remote"])
    sever(world, lagging)
    yield dice.uniform(*MORE_S)
    if is_doomed(world, "remote"):
        return  # likewise
    yield from while_apart(world, CITY, take_over(world, "remote", accept_loss=True))
    world.mend(lagging)
    if not serves_at(world, "remote"):
        return
    yield from until(lambda: world.charter is not None and tip_of(world, mate) >= tip_of(world, "remote") - 1)
    yield from away(world, dice, [mate])
    yield from until(lambda: stages(world, mate), SESSION_LOOK_S)
    sever(world, third := lines_between([owner], world.places))
    yield from until(lambda: not stages(world, mate))
    keep = take_over(world, mate, accept_loss=dice.random() < BRANCH_RATE)
    yield from while_cut(world, lines_between(["remote"], [mate]), keep)
    world.mend(third)
    yield from wait(LOOK_S)
