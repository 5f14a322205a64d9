"""Scenes of what only one side remembers: leases, promises, tails, generations."""

import random
from typing import TYPE_CHECKING

from drsync.sim.character import COORDINATOR
from drsync.sim.scene_parts import (
    CITY,
    INSIST_S,
    Scene,
    is_dropped,
    lease_of,
    lines_between,
    of_a_pair,
    pair_in_sync,
    serves_at,
    settled,
    sever,
    take_over,
    until,
    wait,
    while_apart,
)

if TYPE_CHECKING:
    from drsync.sim.world import World

BUSY_RATE = 40.0  # operations a second, because only what is read can be seen to be stale
TAIL_S = (0.2, 0.5)  # because that many writes wait then, and nobody else has them
ALONE_S = (0.5, 2.0)
PATIENCE = 12  # orders
BLIND_S = 4.0  # after which whoever looks for an owner has found out


@of_a_pair
def forgetful_store(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """The coordinator starts afresh right after the owner renewed its lease, and is asked for a failover."""
    world.application.rate = BUSY_RATE
    sever(world, lines := lines_between([owner], world.places))
    world.coordinator.restart()
    yield from take_over(world, mate)
    yield lease_of(world)
    world.mend(lines)


@of_a_pair
def twice_lost(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """The owner is lost to sight, and soon after whoever took over by itself is."""
    del dice
    yield from while_apart(world, [owner], until(lambda: serves_at(world, mate)))
    yield from until(lambda: pair_in_sync(world) == (mate, owner))
    yield from while_apart(world, [mate], wait(BLIND_S))


@of_a_pair
def regretted(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """An owner that was replaced while its last writes waited is made owner again before it met anybody."""
    yield from while_apart(world, [owner], tail_and_change(world, dice, mate))
    yield from while_apart(world, [owner, COORDINATOR], take_over(world, owner, accept_loss=True))
    yield dice.uniform(*ALONE_S)


def tail_and_change(world: "World", dice: random.Random, mate: str) -> Scene:
    """Writes wait at whoever is cut off; then a mate takes over, and goes on for a while."""
    yield dice.uniform(*TAIL_S)
    yield from take_over(world, mate)
    yield dice.uniform(*ALONE_S)


def tail_of_three(world: "World", dice: random.Random) -> Scene:
    """A mate loses in a power cut what it had acknowledged; a third in-sync member is heard late."""
    for name in ("remote", "production"):  # whoever owned a strict group stays in sync
        yield from take_over(world, name, what="switchover")
    pair = yield from settled(world)
    if pair is None:
        return
    owner, mate = pair
    world.application.rate = BUSY_RATE
    sever(world, far := lines_between([owner, mate], ["remote"]))
    yield dice.uniform(*TAIL_S)
    world.crash(mate)
    world.mend(far)
    yield from until(lambda: world.is_sound(mate))
    yield dice.uniform(*ALONE_S)


@of_a_pair
def two_generations(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """The city is given up; then the store is lost, and a new generation begins there without the rest."""
    far = lines_between(CITY, ["remote"])
    yield from while_apart(world, CITY, take_over(world, "remote", accept_loss=True))
    if not serves_at(world, "remote"):
        return
    sever(world, far)
    sever(world, away := lines_between(["remote"], [COORDINATOR]))
    world.coordinator.lose_store()
    world.coordinator.start()
    target = dice.choice((owner, mate))
    for _ in range(PATIENCE):
        if serves_at(world, target):
            break
        world.order("failover", target, accept_loss=True)
        yield INSIST_S
    yield dice.uniform(*ALONE_S)
    world.mend(far)
    world.mend(away)


@of_a_pair
def dropped_and_forgotten(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """An old store, which counts on a mate that was dropped since, starts where only that mate reaches it."""
    backup = world.coordinator.backup()
    yield from while_apart(world, [mate], until(lambda: is_dropped(world, mate)))
    yield from while_apart(world, [mate], wait(dice.uniform(*ALONE_S)))
    others = [name for name in (*CITY, "remote") if name != mate]
    apart = lines_between(others, [mate, COORDINATOR])
    newest = world.coordinator.backup()
    sever(world, apart)
    world.coordinator.restart(backup)
    yield from take_over(world, mate)
    yield dice.uniform(*ALONE_S)
    world.coordinator.restart(newest)
    world.mend(apart)
