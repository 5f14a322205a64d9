"""Scenes: rare orders of faults that dice would need too many seeds for, played into some of the worlds.

A scene only breaks and mends things and orders what a person may order; whatever the daemons make of it, and
all other faults meanwhile, stay random. Its own dice keep the worlds without a scene as they are.
"""

import random
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from drsync.model.group import Failover, Mode
from drsync.sim.character import COORDINATOR, NAMES
from drsync.sim.disk import Faults
from drsync.sim.faults import WALL_JUMP_S
from drsync.sim.store_disk import Moment

if TYPE_CHECKING:
    from drsync.sim.world import World

SCENE_RATE = 0.8  # of the seeds have a scene
BEGIN_S = (0.3, 1.2)  # after the group has settled, because whoever runs the world waits for that, too
FAULT_EVERY_S = 6.0  # between other faults, because a scene that is broken into shows nothing
LEASE_MAX_S = 2.0  # because a scene waits for leases again and again
DETECT_S = 0.5  # beyond the lease
ANTI_FLAP_S = 20.0
DEATHS = 6
BLINK_S = (0.05, 0.6)
PLUGGED_S = (0.4, 2.0)  # because a lost peer is attached again after some tenths of a second
FOLD_LOOK_S = 0.001  # because a fold takes some milliseconds
FOLD_CALLS = (1, 16)  # because a fold and the note before it are so many
NOTED_S = 2.0  # because within that what is durable is noted to be so
ROT_AT = (5000, 9000)  # bytes into a segment, because there are records early
ROT_BYTES, ROT_STEP = 1024, 32  # because a header is among them then
WINDOW_S = 20.0  # because what a forced opening leaves behind must not be in any image yet
CALM_RATE = 6.0  # because an application that waits for too many writes reads no more
SHORT_S = 0.2  # because images that follow at once show what they must not hold yet
WRITE_RATE = 12.0  # a second at least, because what nobody reads or writes cannot be seen to be wrong
OPERATOR_EVERY_S = 60.0  # between other orders
LOOK_S = 0.05  # between looks at what a scene waits for
PATIENCE_S = 12.0  # that a scene waits for what it needs before it is given up
INSIST_S = 0.6  # between orders of a person who wants it now
BRANCH_RATE = 0.5  # of the scenes take the longer way where there are two
ALONE_S = (0.5, 3.0)  # that somebody may go on alone
LEASES = (1.1, 1.6)  # because an owner that lost sight of the coordinator asks for company in its last lease
CITY = ("production", "same_city")

Scene = Generator[float, None, None]
"""Yields for how many seconds nothing is done."""

Lines = list[tuple[str, str]]
"""One-way lines."""


class Play:
    """The scene of one world, most often none.

    Attributes:
        name: of the scene; empty when there is none.
    """

    def __init__(self, world: "World") -> None:
        """Choose, and give the world the character that the scene needs; before anything happens."""
        self._world = world
        self._dice = world.new_dice("scene")
        self._scene: Scene | None = None
        self.name = self._dice.choice(sorted(SCENES)) if self._dice.random() < SCENE_RATE else ""
        if self.name:
            _suit(world, self.name)

    def begin(self) -> None:
        """Let it happen."""
        if self.name:
            self._world.trace.say("world", f"scene {self.name}")
            self._scene = _opening(SCENES[self.name](self._world, self._dice), self._world, self._dice)
            self._world.later(LOOK_S, self._go_on)

    def _go_on(self) -> None:
        """To the next wait; it ends when nothing is to break any more."""
        assert self._scene is not None
        if self._world.is_calm:
            self._scene.close()
            return
        seconds = next(self._scene, None)
        if seconds is not None:
            self._world.later(seconds, self._go_on)


def _suit(world: "World", name: str) -> None:
    """The character that a scene needs: its mode, and less of everything else that would come between."""
    found = world.character
    group = found.group
    if name in STRICT:
        group = replace(group, policy=replace(group.policy, mode=Mode.SYNC_STRICT))
    elif name not in ANY_MODE:
        group = replace(group, policy=replace(group.policy, mode=Mode.SYNC))
    policy = group.policy
    lease_s = min(policy.lease_s, LEASE_MAX_S)
    if name in AUTOMATIC:
        policy = replace(policy, failover=Failover.AUTOMATIC, anti_flap_s=ANTI_FLAP_S)
    policy = replace(policy, lease_s=lease_s, detect_s=lease_s + DETECT_S)
    is_folding = name in FOLDING
    window_s, checkpoint_s = (SHORT_S, SHORT_S) if is_folding else (WINDOW_S, policy.checkpoint_s)
    policy = replace(policy, window_s=window_s, checkpoint_s=checkpoint_s)
    group = replace(group, policy=policy)
    world.character = replace(
        found,
        group=group,
        fault_every_s=max(found.fault_every_s, FAULT_EVERY_S),
        operator_every_s=max(found.operator_every_s, OPERATOR_EVERY_S),
    )
    world.application.rate = max(world.application.rate, WRITE_RATE)


# --- what scenes are made of


def _opening(scene: Scene, world: "World", dice: random.Random) -> Scene:
    yield from _settled(world)
    yield dice.uniform(*BEGIN_S)
    yield from scene


def _until(is_so: Callable[[], bool], look_s: float = LOOK_S) -> Scene:
    """Wait; who asks looks again afterwards, because patience ends."""
    for _ in range(int(PATIENCE_S / look_s)):
        if is_so():
            return
        yield look_s


def _wait(seconds: float) -> Scene:
    yield seconds


def _between(ones: Iterable[str], others: Iterable[str]) -> Lines:
    return [line for one in ones for other in others for line in ((one, other), (other, one)) if one != other]


def _apart(world: "World", names: Iterable[str], scene: Scene) -> Scene:
    """Meanwhile the places in `names` reach only each other."""
    inside = set(names)
    others = [place for place in world.places if place not in inside]
    yield from _cut(world, _between(sorted(inside), others), scene)


def _cut(world: "World", lines: Lines, scene: Scene) -> Scene:
    """Meanwhile nothing gets through."""
    _sever(world, lines)
    try:
        yield from scene
    finally:
        world.mend(lines)


def _sever(world: "World", lines: Lines) -> None:
    """Cut, and let both ends know at once, because who waits for an answer finds out late."""
    world.cut(lines)
    for one, other in lines:
        world.network.reset(one, other)


def _owner(world: "World") -> str:
    """Who serves and is the owner of the charter in force; empty when nobody does."""
    charter = world.charter
    exports = [export for export in world.application.exports if not export.is_over]
    if charter is None or len(exports) != 1 or charter.intent is not None:
        return ""
    is_in_force = (exports[0].center, exports[0].epoch) == (charter.owner, charter.epoch)
    return exports[0].center if is_in_force else ""


def _pair(world: "World") -> tuple[str, str] | None:
    """The owner that serves in the city and its mate, while the charter in force has both in sync."""
    owner, charter = _owner(world), world.charter
    if owner not in CITY or charter is None:
        return None
    mate = next(name for name in CITY if name != owner)
    is_sound = world.is_sound(owner) and world.is_sound(mate)
    return (owner, mate) if is_sound and mate in charter.in_sync else None


def _settled(world: "World") -> Generator[float, None, tuple[str, str] | None]:
    """Wait for such a pair; None when it did not come."""
    yield from _until(lambda: _pair(world) is not None)
    return _pair(world)


def _take_over(world: "World", center: str, *, accept_loss: bool = False, what: str = "failover") -> Scene:
    """A person orders it until it is so, or patience ends."""
    for _ in range(int(PATIENCE_S / INSIST_S)):
        if _serves(world, center):
            return
        charter = world.charter
        if charter is not None and (charter.intent is None or charter.intent.target != center):
            world.order(what, center, accept_loss=accept_loss)
        yield INSIST_S


def _serves(world: "World", center: str) -> bool:
    charter = world.charter
    return charter is not None and any(
        not export.is_over and (export.center, export.epoch) == (center, charter.epoch)
        for export in world.application.exports
    )


def _lease(world: "World") -> float:
    return world.character.group.policy.lease_s


def _is_dropped(world: "World", center: str) -> bool:
    charter = world.charter
    return charter is not None and center not in charter.in_sync


# --- the scenes


def _lone_owner(world: "World", dice: random.Random) -> Scene:
    """The owner is cut off from everybody, and its mate takes over; perhaps the coordinator starts afresh."""
    pair = yield from _settled(world)
    if pair is None:
        return
    owner, mate = pair
    is_forgetful = dice.random() < BRANCH_RATE
    if dice.random() < BRANCH_RATE:
        world.hosts[owner].jump_wall(-WALL_JUMP_S)
        world.application.rate = CALM_RATE
    _sever(world, lines := _between([owner], world.places))
    if is_forgetful:
        world.coordinator.restart()
    yield from _take_over(world, mate)
    yield dice.uniform(*ALONE_S) + _lease(world)
    world.mend(lines)


def _company_leaves(world: "World", dice: random.Random) -> Scene:
    """Who confirmed that the owner may go on without the store takes over where nobody sees the owner."""
    pair = yield from _settled(world)
    if pair is None:
        return
    owner, mate = pair
    alone = _between([owner], [COORDINATOR])
    yield from _cut(world, alone, _wait(_lease(world) * dice.uniform(*LEASES)))
    is_sudden = dice.random() < BRANCH_RATE
    if is_sudden:
        for name in NAMES:
            if name != owner:
                world.agents[name].restart()
    others = [owner] if is_sudden or dice.random() < BRANCH_RATE else []
    keep = _take_over(world, mate)
    yield from _apart(world, others, keep) if others else _cut(world, alone, keep)
    yield dice.uniform(*ALONE_S)


def _split(world: "World", dice: random.Random, pairs: list[tuple[str, str]]) -> Scene:
    """The owner and a friend on one side; an heir and the coordinator on the other."""
    pair = yield from _settled(world)
    if pair is None:
        return
    owner, mate = pair
    named = {"mate": mate, "remote": "remote"}
    friend, heir = (named[name] for name in dice.choice(pairs))
    yield from _apart(
        world, [owner, friend], _take_over(world, heir, accept_loss=dice.random() < BRANCH_RATE)
    )
    yield from _apart(world, [owner, friend], _wait(_lease(world) + dice.uniform(*ALONE_S)))


def _split_pair(world: "World", dice: random.Random) -> Scene:
    """The owner has one other member beside it and no store; the third one takes over at the store."""
    yield from _split(world, dice, [("mate", "remote"), ("remote", "mate")])


def _split_strict(world: "World", dice: random.Random) -> Scene:
    """The remote member, which is in sync, takes over; owner and mate have only each other."""
    for name in ("remote", "production"):  # whoever owned a strict group stays in sync
        yield from _take_over(world, name, what="switchover")
    yield from _split(world, dice, [("mate", "remote")])


def _lagging_heir(world: "World", dice: random.Random) -> Scene:
    """The remote member, which lags, takes over: with the tail of others in reach, or by force."""
    pair = yield from _settled(world)
    if pair is None:
        return
    owner, mate = pair
    lagging = _between([owner, mate], ["remote"])
    yield from _cut(world, lagging, _wait(dice.uniform(*ALONE_S)))
    way = dice.choice(("donors", "owner is dead", "refused", "forced"))
    if way == "owner is dead":
        world.crash(owner)
        yield from _take_over(world, "remote")
    elif way == "donors":
        yield from _cut(world, _between([owner], ["remote"]), _take_over(world, "remote"))
    else:
        is_forced = way == "forced"
        yield from _apart(world, CITY, _take_over(world, "remote", accept_loss=is_forced))
    yield dice.uniform(*ALONE_S)


def _dark_city(world: "World", dice: random.Random) -> Scene:
    """Both city members lose what they had not flushed, at once; one of them opens again."""
    pair = yield from _settled(world)
    if pair is None:
        return
    owner, mate = pair
    world.application.rate *= 4
    yield dice.uniform(*ALONE_S)
    for name in CITY:
        world.crash(name)
    world.application.rate /= 4
    target = dice.choice(pair)
    if dice.random() < BRANCH_RATE:
        yield from _take_over(world, target)
        return
    other = mate if target == owner else owner
    yield from _apart(world, [other], _take_over(world, target, accept_loss=dice.random() < BRANCH_RATE))
    yield dice.uniform(*ALONE_S)


def _dark_owner(world: "World", dice: random.Random) -> Scene:
    """The owner loses what it had not flushed; whoever has it is silent when the owner comes back."""
    pair = yield from _settled(world)
    if pair is None:
        return
    owner, mate = pair
    world.application.rate *= 4
    yield dice.uniform(*ALONE_S)
    world.application.rate /= 4
    world.crash(owner)
    yield from _apart(world, [mate], _take_over(world, owner))
    yield dice.uniform(*ALONE_S)


def _hasty_return(world: "World", dice: random.Random) -> Scene:
    """A mate loses what it had not flushed, catches up, and takes over."""
    pair = yield from _settled(world)
    if pair is None:
        return
    owner, mate = pair
    world.crash(mate)
    yield from _until(lambda: world.is_sound(mate))
    if dice.random() < BRANCH_RATE:
        yield from _until(lambda: _pair(world) is not None)
    yield from _apart(world, [owner], _take_over(world, mate))
    yield dice.uniform(*ALONE_S)


def _old_store(world: "World", dice: random.Random) -> Scene:
    """A store comes back from a backup that counts on a member dropped since; only that reaches it."""
    pair = yield from _settled(world)
    if pair is None:
        return
    owner, mate = pair
    backup = world.coordinator.backup()
    yield from _apart(world, [mate], _until(lambda: _is_dropped(world, mate)))
    yield from _apart(world, [mate], _wait(dice.uniform(*ALONE_S)))
    if not world.coordinator.is_alive:
        return
    newest = world.coordinator.backup()
    if dice.random() < BRANCH_RATE:
        world.crash(owner)
    world.coordinator.restart(backup)
    yield from _apart(world, [mate, COORDINATOR], _take_over(world, mate))
    yield dice.uniform(*ALONE_S)
    world.coordinator.restart(newest)


def _gone_back(world: "World", dice: random.Random) -> Scene:
    """A mate is put back to a snapshot, and takes over where nobody remembers more than the coordinator."""
    pair = yield from _settled(world)
    if pair is None:
        return
    owner, mate = pair
    world.snapshots[mate] = world.hosts[mate].disk.snapshot()
    world.agents[mate].restart()  # twice, because a repeated start token may have got lost on the way
    yield from _until(lambda: world.is_sound(mate))
    yield dice.uniform(*ALONE_S)
    world.agents[mate].restart()
    yield from _until(lambda: world.is_sound(mate))
    yield dice.uniform(*ALONE_S)
    if not world.may_harm(mate):
        return
    world.restore(mate)
    yield from _apart(world, [owner], _take_over(world, mate))
    yield dice.uniform(*ALONE_S)


def _forgotten_promise(world: "World", dice: random.Random) -> Scene:
    """A member that took over goes back in time and meets the owner from whom it took over, nobody else."""
    pair = yield from _settled(world)
    if pair is None:
        return
    owner, mate = pair
    world.snapshots[mate] = world.hosts[mate].disk.snapshot()
    heir = dice.choice((mate, "remote"))
    yield from _apart(world, [owner], _take_over(world, mate))
    if heir != mate:
        yield from _apart(world, [owner], _take_over(world, heir, what="switchover"))
    if not _serves(world, heir):
        return
    world.restore(mate)
    both = _lease(world) * 2 + dice.uniform(*ALONE_S)
    yield from _apart(world, [owner, mate], _wait(both))


def _out_of_sight(world: "World", dice: random.Random) -> Scene:
    """The target of a switchover lags, is lost from sight, and is back while the owner is sealed again."""
    pair = yield from _settled(world)
    if pair is None:
        return
    owner, _ = pair
    lagging = _between([owner], ["remote"])
    _sever(world, lagging)
    yield dice.uniform(*ALONE_S)
    world.order("switchover", "remote")
    yield from _until(lambda: _promised(world, owner) < 0)
    yield from _apart(world, ["remote"], _until(lambda: _promised(world, owner) > 0))
    yield from _cut(world, _between([owner], [COORDINATOR]), _wait(_lease(world) * 2))
    world.mend(lagging)


def _frozen_alone(world: "World", dice: random.Random) -> Scene:
    """The owner of a switchover is cut off right after its last record was at the target."""
    pair = yield from _settled(world)
    if pair is None:
        return
    owner, mate = pair
    _sever(world, _between([mate], world.places))
    yield from _until(lambda: _is_dropped(world, mate))
    world.order("switchover", "remote")
    yield from _until(lambda: _promised(world, "remote") > 0, FOLD_LOOK_S * 5)
    _sever(world, _between([owner], world.places))
    yield _lease(world) * 2 + dice.uniform(*ALONE_S)


def _loose_plug(world: "World", dice: random.Random) -> Scene:
    """The line between owner and mate comes and goes while the application writes a lot."""
    pair = yield from _settled(world)
    if pair is None:
        return
    world.application.rate *= 6
    for _ in range(DEATHS):
        yield dice.uniform(*PLUGGED_S)
        yield from _cut(world, _between([pair[0]], [pair[1]]), _wait(dice.uniform(*BLINK_S)))
    world.application.rate /= 6


def _promised(world: "World", name: str) -> int:
    """1: it promised a higher epoch than it follows; -1: it is frozen; 0: neither."""
    members = world.agents[name].members()
    if not members:
        return 0
    word = members[0].statement()
    return 1 if word.promised > word.follow else -1 if word.state.value == "frozen" else 0


def _slow_mate(world: "World", dice: random.Random) -> Scene:
    """A mate falls behind, is dropped, and is let in again while the application writes a lot."""
    pair = yield from _settled(world)
    if pair is None:
        return
    owner, mate = pair
    yield from _cut(world, _between([owner], [mate]), _until(lambda: _is_dropped(world, mate)))
    world.application.rate *= 6
    line = world.network.line(owner, mate)
    line.rate = 150_000.0
    yield from _until(lambda: not _is_dropped(world, mate))
    world.application.rate /= 6
    world.lay_line(owner, mate)
    yield dice.uniform(*ALONE_S)


def _full_mate(world: "World", dice: random.Random) -> Scene:
    """The disk of a mate is full, or fails, while the owner waits for it."""
    pair = yield from _settled(world)
    if pair is None:
        return
    _, mate = pair
    disk = world.hosts[mate].disk
    disk.capacity = 0
    world.application.rate *= 4
    yield dice.uniform(*ALONE_S)
    world.application.rate /= 4
    disk.capacity = None


def _unheard_answer(world: "World", dice: random.Random) -> Scene:
    """The owner drops its mate, and never hears what became of that."""
    pair = yield from _settled(world)
    if pair is None:
        return
    owner, mate = pair
    _sever(world, lines := _between([owner], [mate]))
    moment = dice.choice((Moment.BEFORE, Moment.AFTER))
    world.coordinator.fail_commits(1, 40, moment)
    yield world.character.group.policy.sync_timeout_s + dice.uniform(*ALONE_S)
    world.mend(lines)


def _rotten_mate(world: "World", dice: random.Random) -> Scene:
    """A sector of a mate's durable journal rots while its process is down; then it is to take over."""
    pair = yield from _settled(world)
    if pair is None:
        return
    owner, mate = pair
    world.application.is_resting = True
    yield NOTED_S
    world.application.is_resting = False
    if not world.may_harm(mate):
        return
    world.harmed.add(mate)
    _sever(world, lines := _between([owner], world.places))
    world.agents[mate].kill()
    segments = {path: file for path, file in world.hosts[mate].disk.files() if path.endswith(".seg")}
    if segments:
        first = dice.randrange(*ROT_AT)
        for at in range(first, first + ROT_BYTES, ROT_STEP):
            segments[max(segments)].flip(at, dice.randrange(8))
    world.agents[mate].start()
    yield from _take_over(world, mate)
    world.mend(lines)
    world.replace_disk(mate)


def _lying_sync(world: "World", dice: random.Random) -> Scene:
    """Syncs of a mate fail for a moment; then its machine loses power, and later gets a new disk."""
    pair = yield from _settled(world)
    if pair is None:
        return
    _, mate = pair
    if not world.may_harm(mate):
        return
    disk = world.hosts[mate].disk
    disk.faults = Faults(dice, sync_error=0.5)
    yield dice.uniform(*ALONE_S)
    disk.faults = None
    yield dice.uniform(*ALONE_S)
    world.crash(mate)
    yield from _until(lambda: world.hosts[mate].is_up)
    yield dice.uniform(*ALONE_S)
    world.replace_disk(mate)


def _deaths_in_folds(world: "World", dice: random.Random) -> Scene:
    """Agents die again and again while images are brought forward."""
    yield from _settled(world)
    for _ in range(DEATHS):
        name = dice.choice(CITY)
        yield from _until(lambda one=name: _folds(world, one), FOLD_LOOK_S)
        world.hosts[name].disk.die_at(dice.randrange(*FOLD_CALLS), dice.choice(("before", "within", "after")))
        yield dice.uniform(*ALONE_S)


def _folds(world: "World", name: str) -> bool:
    return any(member.folder.lock.locked() for member in world.agents[name].members())


def _drills(world: "World", dice: random.Random) -> Scene:
    """Drills, one after the other, while the application writes."""
    yield from _settled(world)
    for _ in range(DEATHS):
        world.order("drill", dice.choice(("remote", "same_city")))
        yield dice.uniform(*ALONE_S)


def _flapping(world: "World", dice: random.Random) -> Scene:
    """The owner is lost to sight, then whoever took over is; or both city members, without being in sync."""
    pair = yield from _settled(world)
    if pair is None:
        return
    owner, mate = pair
    if dice.random() < BRANCH_RATE:
        yield from _apart(world, [mate], _until(lambda: _is_dropped(world, mate)))
        yield from _apart(world, CITY, _wait(DETECT_S * 8))
        return
    yield from _apart(world, [owner], _until(lambda: _serves(world, mate)))
    yield from _until(lambda: _pair(world) == (mate, owner))
    yield from _apart(world, [mate], _wait(DETECT_S * 8))


SCENES: dict[str, Callable[["World", random.Random], Scene]] = {
    "lone_owner": _lone_owner,
    "company_leaves": _company_leaves,
    "split_pair": _split_pair,
    "split_strict": _split_strict,
    "lagging_heir": _lagging_heir,
    "dark_city": _dark_city,
    "dark_owner": _dark_owner,
    "hasty_return": _hasty_return,
    "old_store": _old_store,
    "gone_back": _gone_back,
    "forgotten_promise": _forgotten_promise,
    "out_of_sight": _out_of_sight,
    "frozen_alone": _frozen_alone,
    "loose_plug": _loose_plug,
    "slow_mate": _slow_mate,
    "full_mate": _full_mate,
    "unheard_answer": _unheard_answer,
    "rotten_mate": _rotten_mate,
    "lying_sync": _lying_sync,
    "deaths_in_folds": _deaths_in_folds,
    "drills": _drills,
    "flapping": _flapping,
}
"""Every scene by its name."""

FOLDING = frozenset({"deaths_in_folds", "hasty_return", "loose_plug"})
"""These need images that follow soon."""

STRICT = frozenset({"split_strict"})
"""These need a strict group."""

AUTOMATIC = frozenset({"flapping"})
"""These need a coordinator that acts by itself."""

ANY_MODE = frozenset({"out_of_sight", "dark_city"})
"""These are played whatever the mode is; all others need a synchronous group."""
