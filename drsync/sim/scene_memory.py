"""Scenes of what only one side remembers: leases, promises, tails, connections, snapshots, generations."""

import random
from functools import partial
from typing import TYPE_CHECKING

from drsync.model.epoch import NEVER, Epoch
from drsync.ports.transport import LinkKind
from drsync.sim.character import COORDINATOR
from drsync.sim.scene_parts import (
    CITY,
    INSIST_S,
    Scene,
    is_dropped,
    lease_of,
    lines_between,
    lose_most,
    of_a_pair,
    pair_in_sync,
    serves_at,
    settled,
    sever,
    take_over,
    unsynced,
    until,
    wait,
    while_apart,
    while_cut,
)
from drsync.sim.scene_resync import member_of, tip_of

if TYPE_CHECKING:
    from drsync.sim.world import World

BUSY_RATE = 40.0  # operations a second, because only what is read can be seen to be stale
TAIL_S = (0.2, 0.5)  # because that many writes wait then, and nobody else has them
ALONE_S = (0.5, 2.0)
PATIENCE = 12  # orders
BLIND_S = 4.0  # after which whoever looks for an owner has found out
MISSED = (10, 40)  # records that a snapshot lacks
REGISTERED = 2  # times, because a start token that is one behind may have got lost on the way
CRAWL_RATE = 3_000.0  # bytes a second, because what was lost is to arrive after that member has caught up
TAIL = 5  # records, because some of them are answered then, and all not synced
FEED_LOOK_S = 0.004
FORGET_RATE = 0.8  # of the coordinators start afresh, because else what they remember hides the harm
PATIENT_RATE = 20.0  # operations a second, because an application that waits for too many reads no more
LONGER_RATE = 0.2  # of the scenes take the way that seldom shows much


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
    """A mate loses in a power cut what it acknowledged, and gets it slowly; a third catches up meanwhile."""
    for name in ("remote", "production"):  # whoever owned a strict group stays in sync
        yield from take_over(world, name, what="switchover")
    pair = yield from settled(world)
    if pair is None:
        return
    owner, mate = pair
    world.application.rate = BUSY_RATE
    near = world.network.line(owner, mate)
    world.cut(far := lines_between([owner], ["remote"]))  # so shortly that nobody hangs up
    yield from until(
        lambda: unsynced(world, mate) >= TAIL and lacks(world, "remote", mate) >= TAIL, FEED_LOOK_S
    )
    lose_most(world, mate)
    near.slowed.append(CRAWL_RATE)
    if dice.random() < FORGET_RATE:
        yield from until(lambda: is_fed(world, mate), FEED_LOOK_S)
    world.mend(far)
    yield from until(lambda: world.is_sound(mate))
    if CRAWL_RATE in near.slowed:
        near.slowed.remove(CRAWL_RATE)
    yield dice.uniform(*ALONE_S)


def lacks(world: "World", name: str, other: str) -> int:
    """How many records a member is behind another."""
    return tip_of(world, other) - tip_of(world, name)


def is_fed(world: "World", name: str) -> bool:
    """Whether an owner sends its log to a member that runs."""
    member = member_of(world, name)
    return member is not None and member.receiver is not None and not member.receiver.is_lost


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


@of_a_pair
def rolled_back(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """A mate whose machine goes on is put back to a snapshot, and takes over where nobody misses anything."""
    yield from while_cut(world, lines_between([owner, "remote"], [mate]), snapshot_and_register(world, mate))
    world.application.rate = BUSY_RATE
    end = tip_of(world, mate) + dice.randint(*MISSED)
    yield from until(lambda: pair_in_sync(world) == (owner, mate) and tip_of(world, mate) > end)
    if not world.may_harm(mate):
        return
    sever(world, lines := lines_between([owner], world.places))
    if dice.random() < FORGET_RATE:
        world.coordinator.restart()  # what it heard of that member since it registered is forgotten
    world.roll_back(mate)
    givers = ["remote"] if dice.random() < FORGET_RATE else []  # because others give what they have
    yield from while_cut(world, lines_between([owner, *givers], [mate, COORDINATOR]), take_over(world, mate))
    yield dice.uniform(*ALONE_S)
    world.mend(lines)


def snapshot_and_register(world: "World", name: str) -> Scene:
    """A snapshot is taken of a member; then its link to the coordinator breaks, and again."""
    world.snapshots[name] = world.hosts[name].disk.snapshot()
    for _ in range(REGISTERED):
        wanted = token_of(world, name) + 1
        world.network.reset(name, COORDINATOR)
        yield from until(partial(has_token, world, name, wanted))


def has_token(world: "World", name: str, token: int) -> bool:
    """Whether a member registered as often as that."""
    return token_of(world, name) >= token


def token_of(world: "World", name: str) -> int:
    """The start token of a member; 0 when it has none."""
    members = world.agents[name].members()
    return members[0].copy.token if members else 0


@of_a_pair
def forgotten_streams(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """The owner can ask its mate and nobody else, not even give it records; somebody else takes over.

    What stands between the two has forgotten the connections that carry the log, and tells nobody.
    """
    world.application.rate = PATIENT_RATE
    heir = mate if dice.random() < LONGER_RATE else "remote"
    world.network.forget_streams(owner, mate, LinkKind.BULK)
    sever(world, lines := lines_between([owner], [COORDINATOR, "remote"]))
    yield from take_over(world, heir)
    yield lease_of(world) + dice.uniform(*ALONE_S)
    world.mend(lines)


@of_a_pair
def left_behind(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """An owner that went on alone, and was opened again, is lost; who lags takes over, and it comes back."""
    world.application.rate = BUSY_RATE
    heir = "remote" if dice.random() < LONGER_RATE else mate
    sever(world, behind := lines_between([owner], [mate, "remote"]))
    yield from until(lambda: is_dropped(world, mate))
    yield dice.uniform(*TAIL_S)
    world.application.rate = PATIENT_RATE
    before = epoch_of(world)
    world.agents[owner].restart()
    yield from until(lambda: serves_at(world, owner) and epoch_of(world) > before)
    yield from while_apart(world, [owner], take_over(world, heir, accept_loss=True))
    yield dice.uniform(*TAIL_S)
    if serves_at(world, heir):
        yield from take_over(world, owner)
    world.mend(behind)


def epoch_of(world: "World") -> Epoch:
    """The epoch in force."""
    return world.charter.epoch if world.charter is not None else NEVER
