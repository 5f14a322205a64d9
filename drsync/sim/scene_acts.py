"""The scenes: each breaks and mends things in an order that dice hardly find. What comes of it is open."""

import random
from functools import partial
from typing import TYPE_CHECKING

from drsync.model.copy import CopyState
from drsync.sim.character import COORDINATOR, NAMES
from drsync.sim.disk import Faults
from drsync.sim.faults import WALL_JUMP_S
from drsync.sim.scene_parts import (
    Scene,
    is_connected,
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
from drsync.sim.store_disk import Moment

if TYPE_CHECKING:
    from drsync.sim.world import World

DETECT_S = 0.5  # beyond the lease
DEATHS = 6
BLINK_S = (0.05, 0.6)
PLUGGED_S = (0.4, 2.0)  # because a lost peer is attached again after some tenths of a second
FOLD_LOOK_S = 0.001  # because a fold takes some milliseconds
FOLD_CALLS = (1, 16)  # because a fold and the note before it are so many
NOTED_S = 2.0  # because within that what is durable is noted to be so
ROT_AT = (5000, 9000)  # bytes into a segment, because there are records early
ROT_BYTES, ROT_STEP = 1024, 32  # because a header is among them then
ROT_BELOW = (4 * ROT_BYTES, 16 * ROT_BYTES)  # the end of what was noted, because the last of that are marks
SLOW_RATE = 150_000.0  # bytes a second, because that is a little more than the application writes
CALM_RATE = 6.0  # because an application that waits for too many writes reads no more
JUMP_RATE = 0.9  # of the owners that are alone, because a lease by the wall clock shows nowhere else
FORGET_RATE = 0.8  # of the coordinators start afresh, because else what they remember hides the harm
BRANCH_RATE = 0.5  # of the scenes take the longer way where there are two
ALONE_S = (0.5, 3.0)  # that somebody may go on alone
LEASES = (1.1, 1.6)  # because an owner that lost sight of the coordinator asks for company in its last lease
TAIL = 5  # records, because some of them are answered then, and all not synced
CITY = ("production", "same_city")


@of_a_pair
def lone_owner(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """The owner, whose wall clock is set back, is cut off from everybody, and its mate takes over."""
    if dice.random() < JUMP_RATE:
        world.hosts[owner].jump_wall(-WALL_JUMP_S)
        world.application.rate = CALM_RATE
    sever(world, lines := lines_between([owner], world.places))
    yield from take_over(world, mate)
    yield dice.uniform(*ALONE_S) + lease_of(world)
    world.mend(lines)


@of_a_pair
def company_leaves(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """Who confirmed that the owner may go on without the store takes over where nobody sees the owner."""
    alone = lines_between([owner], [COORDINATOR])
    yield from while_cut(world, alone, wait(lease_of(world) * dice.uniform(*LEASES)))
    is_sudden = dice.random() < BRANCH_RATE
    if is_sudden:
        for name in NAMES:
            if name != owner:
                world.agents[name].restart()
    others = [owner] if is_sudden or dice.random() < BRANCH_RATE else []
    keep = take_over(world, mate)
    yield from while_apart(world, others, keep) if others else while_cut(world, alone, keep)
    yield dice.uniform(*ALONE_S)


def split(world: "World", dice: random.Random, pairs: list[tuple[str, str]]) -> Scene:
    """The owner and a friend on one side; an heir and the coordinator on the other."""
    pair = yield from settled(world)
    if pair is None:
        return
    owner, mate = pair
    named = {"mate": mate, "remote": "remote"}
    friend, heir = (named[name] for name in dice.choice(pairs))
    yield from while_apart(
        world, [owner, friend], take_over(world, heir, accept_loss=dice.random() < BRANCH_RATE)
    )
    yield from while_apart(world, [owner, friend], wait(lease_of(world) + dice.uniform(*ALONE_S)))


def split_pair(world: "World", dice: random.Random) -> Scene:
    """The owner has one other member beside it and no store; the third one takes over at the store."""
    yield from split(world, dice, [("mate", "remote"), ("remote", "mate")])


def split_strict(world: "World", dice: random.Random) -> Scene:
    """The remote member, which is in sync, takes over; owner and mate have only each other."""
    for name in ("remote", "production"):  # whoever owned a strict group stays in sync
        yield from take_over(world, name, what="switchover")
    yield from split(world, dice, [("mate", "remote")])


@of_a_pair
def lagging_heir(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """The remote member, which lags, takes over: with the tail of others in reach, or by force."""
    lagging = lines_between([owner, mate], ["remote"])
    yield from while_cut(world, lagging, wait(dice.uniform(*ALONE_S)))
    way = dice.choice(("donors", "owner is dead", "refused", "forced"))
    if way == "owner is dead":
        world.crash(owner)
        yield from take_over(world, "remote")
    elif way == "donors":
        yield from while_cut(world, lines_between([owner], ["remote"]), take_over(world, "remote"))
    else:
        is_forced = way == "forced"
        yield from while_apart(world, CITY, take_over(world, "remote", accept_loss=is_forced))
    yield dice.uniform(*ALONE_S)


@of_a_pair
def dark_city(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """Both city members lose what they had not flushed, at once; one of them opens again."""
    world.application.rate *= 4
    yield dice.uniform(*ALONE_S)
    for name in CITY:
        lose_most(world, name)
    world.application.rate /= 4
    target = dice.choice((owner, mate))
    if dice.random() < BRANCH_RATE:
        yield from take_over(world, target)
        return
    other = mate if target == owner else owner
    yield from while_apart(world, [other], take_over(world, target, accept_loss=dice.random() < BRANCH_RATE))
    yield dice.uniform(*ALONE_S)


@of_a_pair
def dark_owner(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """The owner loses what it had not flushed; whoever has it is silent when the owner comes back."""
    world.application.rate *= 4
    yield dice.uniform(*ALONE_S)
    others = (
        [mate, "remote"] if dice.random() < FORGET_RATE else [mate]
    )  # because the remote one gives what it has
    yield from until(lambda: unsynced(world, owner) >= TAIL, FOLD_LOOK_S)
    world.application.rate /= 4
    lose_most(world, owner)
    yield from while_cut(world, lines_between(others, [owner, COORDINATOR]), take_over(world, owner))
    yield dice.uniform(*ALONE_S)


@of_a_pair
def hasty_return(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """A mate loses what it had not flushed, catches up, and takes over."""
    lose_most(world, mate)
    yield from until(lambda: world.is_sound(mate))
    if dice.random() < BRANCH_RATE:
        yield from until(lambda: pair_in_sync(world) is not None)
    yield from while_apart(world, [owner], take_over(world, mate))
    yield dice.uniform(*ALONE_S)


@of_a_pair
def old_store(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """A store comes back from a backup that counts on a member dropped since; only that reaches it."""
    backup = world.coordinator.backup()
    yield from while_apart(world, [mate], until(lambda: is_dropped(world, mate)))
    yield from while_apart(world, [mate], wait(dice.uniform(*ALONE_S)))
    if not world.coordinator.is_alive:
        return
    newest = world.coordinator.backup()
    if dice.random() < BRANCH_RATE:
        world.crash(owner)
    world.coordinator.restart(backup)
    yield from while_apart(world, [mate, COORDINATOR], take_over(world, mate))
    yield dice.uniform(*ALONE_S)
    world.coordinator.restart(newest)


@of_a_pair
def gone_back(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """A mate is put back to a snapshot, and takes over where nobody remembers more than the coordinator."""
    world.snapshots[mate] = world.hosts[mate].disk.snapshot()
    world.agents[mate].restart()  # twice, because a repeated start token may have got lost on the way
    yield from until(lambda: world.is_sound(mate))
    yield dice.uniform(*ALONE_S)
    world.agents[mate].restart()
    yield from until(lambda: world.is_sound(mate))
    yield dice.uniform(*ALONE_S)
    if not world.may_harm(mate):
        return
    world.restore(mate)
    yield from while_apart(world, [owner], take_over(world, mate))
    yield dice.uniform(*ALONE_S)


@of_a_pair
def forgotten_promise(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """A member that took over goes back in time and meets the owner from whom it took over, nobody else."""
    world.snapshots[mate] = world.hosts[mate].disk.snapshot()
    heir = dice.choice((mate, "remote"))
    yield from while_apart(world, [owner], take_over(world, mate))
    if heir != mate:
        yield from while_apart(world, [owner], take_over(world, heir, what="switchover"))
    if not serves_at(world, heir):
        return
    if dice.random() < BRANCH_RATE:
        world.roll_back(mate)
    else:
        world.restore(mate)
    both = lease_of(world) * 2 + dice.uniform(*ALONE_S)
    yield from while_apart(world, [owner, mate], wait(both))


@of_a_pair
def out_of_sight(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """The target of a switchover lags, is lost from sight, and is back when only it is not sealed yet."""
    lagging = lines_between([owner], ["remote"])
    sever(world, lagging)
    yield dice.uniform(*ALONE_S)
    world.order("switchover", "remote")
    yield from until(lambda: promised(world, owner) < 0)
    sealed = until(lambda: min(promised(world, owner), promised(world, mate)) > 0, FOLD_LOOK_S * 5)
    yield from while_apart(world, ["remote"], sealed)
    back = until(lambda: is_connected(world, "remote"))
    yield from while_cut(world, lines_between([owner], [COORDINATOR]), back)
    world.mend(lagging)


@of_a_pair
def frozen_alone(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """The owner of a switchover is cut off right after its last record was at the target."""
    sever(world, lines_between([mate], world.places))
    yield from until(lambda: is_dropped(world, mate))
    world.order("switchover", "remote")
    yield from until(lambda: promised(world, "remote") > 0, FOLD_LOOK_S * 5)
    sever(world, lines_between([owner], world.places))
    yield lease_of(world) * 2 + dice.uniform(*ALONE_S)


@of_a_pair
def loose_plug(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """The line between owner and mate comes and goes while the application writes a lot."""
    world.application.rate *= 6
    for _ in range(DEATHS):
        yield dice.uniform(*PLUGGED_S)
        yield from while_cut(world, lines_between([owner], [mate]), wait(dice.uniform(*BLINK_S)))
    world.application.rate /= 6


def promised(world: "World", name: str) -> int:
    """1: it promised a higher epoch than it follows; -1: it is frozen; 0: neither."""
    members = world.agents[name].members()
    if not members:
        return 0
    word = members[0].statement()
    return 1 if word.promised > word.follow else -1 if word.state.value == "frozen" else 0


@of_a_pair
def slow_mate(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """A mate falls behind, is dropped, and is let in again while the application writes a lot."""
    yield from while_cut(world, lines_between([owner], [mate]), until(lambda: is_dropped(world, mate)))
    world.application.rate *= 6
    line = world.network.line(owner, mate)
    line.slowed.append(SLOW_RATE)
    yield from until(lambda: not is_dropped(world, mate))
    world.application.rate /= 6
    if SLOW_RATE in line.slowed:
        line.slowed.remove(SLOW_RATE)
    yield dice.uniform(*ALONE_S)


@of_a_pair
def full_mate(world: "World", dice: random.Random, _owner: str, mate: str) -> Scene:
    """The disk of a mate is full, or fails, while the owner waits for it."""
    disk = world.hosts[mate].disk
    disk.capacity = 0
    world.application.rate *= 4
    yield dice.uniform(*ALONE_S)
    world.application.rate /= 4
    disk.capacity = None


@of_a_pair
def unheard_answer(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """The owner drops its mate, and never hears what became of that."""
    sever(world, lines := lines_between([owner], [mate]))
    moment = dice.choice((Moment.BEFORE, Moment.AFTER))
    world.coordinator.fail_commits(1, 40, moment)
    yield world.character.group.policy.sync_timeout_s + dice.uniform(*ALONE_S)
    world.mend(lines)


@of_a_pair
def rotten_mate(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """A sector of a mate's durable journal rots while its process is down; then it is to take over."""
    world.application.is_resting = True
    yield NOTED_S
    world.application.is_resting = False
    if not world.may_harm(mate):
        return
    world.harmed.add(mate)
    silent = (
        [owner, "remote"] if dice.random() < FORGET_RATE else [owner]
    )  # because others give what they have
    sever(world, lines := lines_between(silent, [mate, COORDINATOR]))
    end = noted_end(world, mate)
    world.agents[mate].kill()
    segments = {path: file for path, file in world.hosts[mate].disk.files() if path.endswith(".seg")}
    if segments:
        first = dice.randrange(*ROT_AT) if end is None else max(end - dice.randrange(*ROT_BELOW), ROT_AT[0])
        for at in range(first, first + ROT_BYTES, ROT_STEP):
            segments[max(segments)].flip(at, dice.randrange(8))
    if dice.random() < FORGET_RATE:
        world.coordinator.restart()  # what it heard of that member since the last change is forgotten
    world.agents[mate].start()
    yield from take_over(world, mate)
    yield dice.uniform(*ALONE_S)
    world.mend(lines)
    world.replace_disk(mate)


@of_a_pair
def lying_sync(world: "World", dice: random.Random, _owner: str, mate: str) -> Scene:
    """Syncs of a mate fail for a moment; then its machine loses power, and later gets a new disk."""
    if not world.may_harm(mate):
        return
    disk = world.hosts[mate].disk
    faults = Faults(dice, sync_error=0.5)
    disk.trouble(faults)
    yield dice.uniform(*ALONE_S)
    disk.relieve(faults)
    yield dice.uniform(*ALONE_S)
    world.crash(mate)
    yield from until(lambda: world.hosts[mate].is_up)
    yield dice.uniform(*ALONE_S)
    world.replace_disk(mate)


def noted_end(world: "World", name: str) -> int | None:
    """Where in its newest segment the records end that a member has noted to be durable; None: not there."""
    members = world.agents[name].members()
    if not members or members[0].copy.state is CopyState.FAILED:
        return None
    copy = members[0].copy
    places = list(copy.journal.places(copy.volumes.applied))
    noted = [place for place in places if place.last_seq <= copy.durable.durable_hint]
    if not noted or noted[-1].locator >> 32 != places[-1].locator >> 32:  # see ports.journal.Locator
        return None
    return (noted[-1].locator & 0xFFFFFFFF) + noted[-1].length


def deaths_in_folds(world: "World", dice: random.Random) -> Scene:
    """Agents die again and again while images are brought forward."""
    yield from settled(world)
    for _ in range(DEATHS):
        name = dice.choice(CITY)
        yield from until(partial(folds, world, name), FOLD_LOOK_S)
        world.hosts[name].disk.die_at(dice.randrange(*FOLD_CALLS), dice.choice(("before", "within", "after")))
        yield dice.uniform(*ALONE_S)


def folds(world: "World", name: str) -> bool:
    """Whether a fold is under way at a center."""
    return any(member.folder.lock.locked() for member in world.agents[name].members())


def drills(world: "World", dice: random.Random) -> Scene:
    """Drills, one after the other, while the application writes."""
    yield from settled(world)
    for _ in range(DEATHS):
        world.order("drill", dice.choice(("remote", "same_city")))
        yield dice.uniform(*ALONE_S)


@of_a_pair
def flapping(world: "World", dice: random.Random, owner: str, mate: str) -> Scene:
    """A mate is lost to sight, and when it is dropped both city members are."""
    yield from while_apart(world, [mate], until(lambda: is_dropped(world, mate)))
    yield from while_apart(world, CITY, wait(DETECT_S * 8 + dice.uniform(*ALONE_S)))
