"""Scenes: rare orders of faults that dice would need too many seeds for, played into some of the worlds.

A scene only breaks and mends things and starts coordinators, as a fault does; whatever the members and the
store make of it, and all other faults meanwhile, stay random. Its own dice keep the other seeds as they are.
"""

import random
from collections.abc import Callable, Generator

from drsync.model.charter import IntentKind
from drsync.model.copy import CopyState
from drsync.sim.miniature import faults, procedures, protocol
from drsync.sim.miniature.member import Member
from drsync.sim.miniature.procedures import Coordinator
from drsync.sim.miniature.store import NAMES, Store
from drsync.sim.miniature.world import LEASE, World, link

SCENE_RATE = 0.4  # of the seeds have a scene
RARE_RATE = 0.35  # of the others have a rarer one
RAREST_RATE = 0.2  # of those left
BEGIN = (50, 400)  # ticks, because a scene needs a group that has settled, and time to go on after it
PATIENCE = 400  # ticks that a scene waits for what it needs before it is given up
BRANCH_RATE = 0.5  # of the scenes take the longer way where there are two
STRIDE = 3  # ticks between two steps of a coordinator that a scene leads
ALONE = (5, 60)  # ticks that a lone owner may go on acknowledging
AFTERMATH = 2 * LEASE  # ticks, because who is restored waits for the lease of the one before

Scene = Generator[Coordinator | None, None, None]
"""One step for each tick; a coordinator that starts is handed to the simulation."""


def begin(world: World, seed: int) -> Scene:
    """The scene of a seed, most often none. Rarer ones have dice of their own, and leave the others be."""
    tables = (("scene", SCENE_RATE, SCENES), ("rare scene", RARE_RATE, RARE), ("rarest", RAREST_RATE, RAREST))
    for label, rate, table in tables:
        dice = random.Random(f"{label} {seed}")
        if dice.random() < rate:
            name = dice.choice(sorted(table))
            if name in CONFLICTS:
                world.forbid(CONFLICTS[name])
            if name in STRICT:
                world.be_strict()
            return _after(dice.randrange(*BEGIN), table[name](world, dice))
    return _pass(0)


def _after(ticks: int, scene: Scene) -> Scene:
    yield from _pass(ticks)
    yield from scene


def _pass(ticks: int) -> Scene:
    for _ in range(ticks):
        yield None


def _until(is_so: Callable[[], bool]) -> Scene:
    """Wait; who asks looks again afterwards, because patience ends."""
    for _ in range(PATIENCE):
        if is_so():
            return
        yield None


def _apart(world: World, names: set[str], scene: Scene) -> Scene:
    """Meanwhile the places in `names` reach only each other, whatever the other faults mend."""
    places = (*NAMES, world.stores[-1].name)
    return _cut(world, {link(a, b) for a in places for b in places if (a in names) != (b in names)}, scene)


def _cut(world: World, links: set[tuple[str, str]], scene: Scene) -> Scene:
    for step in scene:
        world.cut |= links
        yield step
    world.cut -= links


def _pair(world: World) -> tuple[Member, Member] | None:
    """The owner that serves and its mate, while the charter in force has both in sync."""
    store = world.stores[-1]
    charter = store.charter
    owner = world.members[charter.owner]
    mates = world.mates(owner.name)
    if store.ready() or not mates or not protocol.serves(world, owner) or owner.epoch != charter.epoch:
        return None
    mate = world.members[mates[0]]
    is_sound = mate.is_up and mate.is_checked and not (mate.disk.unclean or mate.disk.amnesic)
    is_following = mate.disk.promised == mate.disk.follow == charter.epoch
    return (owner, mate) if is_sound and is_following and mate.name in charter.in_sync else None


def _settled(world: World) -> Generator[Coordinator | None, None, tuple[Member, Member] | None]:
    """Wait for such a pair; None when it did not come."""
    yield from _until(lambda: _pair(world) is not None)
    return _pair(world)


def _old_charter(world: World, dice: random.Random) -> Scene:
    """A store comes back from a backup that still counts on a member which was dropped since.

    Only that member reaches it, and it knows no better: what the owner acknowledged without it is nowhere
    in sight.
    """
    pair = yield from _settled(world)
    if pair is None:
        return
    owner, mate = pair
    store = world.stores[-1]
    backup = (store, store.charter, dict(store.tokens))
    world.shrink_rate = 1.0
    yield from _apart(world, {mate.name}, _until(lambda: mate.name not in store.charter.in_sync))
    yield from _apart(world, {mate.name}, _pass(dice.randrange(*ALONE)))
    if store is not world.stores[-1]:
        return
    if dice.random() < BRANCH_RATE:
        faults.crash(owner, is_host=True)
    faults.put_back(world, backup)
    yield from _apart(world, {mate.name, store.name}, _insist(world, mate, store))


def _insist(world: World, c: Member, store: Store) -> Scene:
    """Somebody tries again and again to open at a member."""
    for _ in range(AFTERMATH):
        is_idle = not store.ready() and store.charter.intent is None and not c.is_owner
        yield procedures.begin(world, IntentKind.OPEN, c.name) if is_idle else None


def _forgotten_promise(world: World, dice: random.Random) -> Scene:
    """A member that took over goes back in time, and meets the owner from whom it took over, nobody else.

    It was promised away from that owner and remembers nothing of it; nor can the owner tell, which saw
    nothing of it after the snapshot.
    """
    pair = yield from _settled(world)
    if pair is None:
        return
    owner, mate = pair
    store = world.stores[-1]
    world.snapshots[mate.name] = mate.disk.copy()
    yield from _apart(world, {owner.name}, _take_over(world, store, mate, IntentKind.OPEN))
    if dice.random() < BRANCH_RATE:
        remote = world.members["C"]
        yield from _apart(world, {owner.name}, _take_over(world, store, remote, IntentKind.SWITCHOVER))
    yield from _apart(world, {owner.name}, _pass(dice.randrange(*ALONE)))
    faults.go_back(world, mate)
    yield from _apart(world, {owner.name, mate.name}, _pass(AFTERMATH))


def _take_over(world: World, store: Store, c: Member, kind: IntentKind) -> Scene:
    """A person tries to make a member the owner, until it is."""
    for _ in range(PATIENCE):
        if protocol.serves(world, c):
            return
        is_idle = store.charter.intent is None
        found = procedures.begin(world, kind, c.name) if is_idle or kind is IntentKind.FAILOVER else None
        if found is not None and not found.has_begun:
            found.target = c.name
        yield found


def _split_pair(world: World, dice: random.Random) -> Scene:
    """The owner has one other member beside it and no store; the third one takes over at the store."""
    if world.is_strict:  # whoever owned a strict group stays in sync
        for name in ("C", "A"):
            yield from _take_over(world, world.stores[-1], world.members[name], IntentKind.SWITCHOVER)
    pair = yield from _settled(world)
    if pair is None:
        return
    owner, mate = pair
    store = world.stores[-1]
    friend, heir = dice.sample([mate, world.members["C"]], 2)
    kind = IntentKind.FAILOVER if world.is_strict else IntentKind.OPEN  # else the heir waits for all others
    yield from _apart(world, {owner.name, friend.name}, _take_over(world, store, heir, kind))
    yield from _apart(world, {owner.name, friend.name}, _pass(dice.randrange(*ALONE)))


def _company_leaves(world: World, dice: random.Random) -> Scene:
    """Who confirmed that the owner may go on without the store takes over where nobody sees the owner."""
    pair = yield from _settled(world)
    if pair is None:
        return
    owner, mate = pair
    store = world.stores[-1]
    yield from _cut(world, {link(owner.name, store.name)}, _pass(LEASE + dice.randrange(LEASE)))
    if dice.random() < BRANCH_RATE:
        for c in (mate, world.members["C"]):
            faults.crash(c, is_host=False)
    yield from _apart(world, {owner.name}, _take_over(world, store, mate, IntentKind.OPEN))
    yield from _apart(world, {owner.name}, _pass(dice.randrange(*ALONE)))


def _hasty_return(world: World, dice: random.Random) -> Scene:
    """A mate loses what it had not flushed, catches up, and takes over."""
    pair = yield from _settled(world)
    if pair is None:
        return
    owner, mate = pair
    store = world.stores[-1]
    faults.crash(mate, is_host=True)
    yield from _until(lambda: mate.is_up and not mate.disk.unclean)
    if dice.random() < BRANCH_RATE:
        faults.crash(owner, is_host=False)
    yield from _apart(world, {owner.name}, _take_over(world, store, mate, IntentKind.OPEN))


def _company_restarts(world: World, dice: random.Random) -> Scene:
    """Whoever confirmed that the owner may go on without the store restarts, and takes over unseen."""
    pair = yield from _settled(world)
    if pair is None:
        return
    owner, mate = pair
    store = world.stores[-1]
    alone = {link(owner.name, store.name)}
    yield from _cut(world, alone, _pass(LEASE + dice.randrange(LEASE)))  # the store's lease is over
    yield from _cut(world, alone, _until(lambda: mate.disk.bound[0] > world.now + LEASE - STRIDE))
    for c in (mate, world.members["C"]):
        faults.crash(c, is_host=False)
        faults.restart(world, c)
    yield from _apart(world, {owner.name}, _open_at(world, mate))
    yield from _apart(world, {owner.name}, _pass(dice.randrange(*ALONE)))


def _strict_pair(world: World, dice: random.Random) -> Scene:
    """The owner of a strict group has its mate beside it and no store; the remote one takes over there.

    It is in sync, and so needs nobody's leave: company that leaves it out is not enough.
    """
    for name in ("C", "A"):  # whoever owned a strict group stays in sync
        yield from _take_over(world, world.stores[-1], world.members[name], IntentKind.SWITCHOVER)
    pair = yield from _settled(world)
    if pair is None or "C" not in world.stores[-1].charter.in_sync:
        return
    owner, mate = pair
    heir = world.members["C"]
    city = {owner.name, mate.name}
    yield from _apart(world, city, _take_over(world, world.stores[-1], heir, IntentKind.FAILOVER))
    yield from _apart(world, city, _pass(dice.randrange(*ALONE)))


def _silent_keeper(world: World, dice: random.Random) -> Scene:
    """The owner loses what it had not flushed, and the one who has it is silent when the owner comes back."""
    pair = yield from _settled(world)
    if pair is None:
        return
    owner, mate = pair
    yield from _until(lambda: owner.counts is not None and owner.counts.commit > owner.disk.durable)
    if not owner.is_owner or mate.name not in world.stores[-1].charter.in_sync:
        return
    faults.crash(owner, is_host=True)
    pair_of_two = {owner.name, world.stores[-1].name}
    yield from _apart(world, pair_of_two, _until(lambda: owner.is_up))
    yield from _apart(world, pair_of_two, _open_at(world, owner))
    yield from _pass(dice.randrange(*ALONE))


def _out_of_sight(world: World, dice: random.Random) -> Scene:
    """The target of a switchover lags, is lost from sight, and is back while the owner is sealed again."""
    pair = yield from _settled(world)
    if pair is None or "C" in world.stores[-1].charter.in_sync:
        return
    owner, mate = pair
    store = world.stores[-1]
    apart = link(owner.name, "C")
    yield from _cut(world, {apart}, _pass(dice.randrange(*ALONE)))
    found = procedures.begin(world, IntentKind.SWITCHOVER, mate.name)
    if found is None or found.has_begun:
        return
    found.target = "C"
    yield from _cut(world, {apart}, _led(world, found, lambda: owner.state is not CopyState.OWNER))
    unseen = {apart, link(mate.name, "C"), link("C", store.name)}
    yield from _cut(world, unseen, _led(world, found, lambda: owner.disk.promised > owner.disk.follow))
    alone = {apart, link(owner.name, store.name)}
    yield from _cut(world, alone, _led(world, found, lambda: store.charter.owner == "C"))
    yield from _cut(world, alone, _pass(dice.randrange(*ALONE)))


def _two_generations(world: World, dice: random.Random) -> Scene:
    """Where the store is, a person forces an opening; far from it, another one starts a new store."""
    pair = yield from _settled(world)
    if pair is None:
        return
    owner, mate = pair
    store = world.stores[-1]
    world.shrink_rate = 1.0
    yield from _apart(world, {mate.name}, _until(lambda: mate.name not in store.charter.in_sync))
    if store is not world.stores[-1]:
        return
    far = {link("C", place) for place in (owner.name, mate.name, store.name)}
    city = {link(owner.name, place) for place in ("C", mate.name, store.name)}
    yield from _cut(world, far | city, _both(world, mate, dice))


def _both(world: World, mate: Member, dice: random.Random) -> Scene:
    found = procedures.begin(world, IntentKind.FAILOVER, mate.name)
    if found is None or found.has_begun:
        return
    found.target, found.accept_loss = mate.name, True
    yield from _led(world, found, lambda: mate.is_owner)
    for _ in range(PATIENCE):
        if len(world.stores) > 1:
            break
        procedures.without_store(world, "C")
        yield None
    yield from _pass(AFTERMATH + dice.randrange(*ALONE))


def _open_at(world: World, c: Member) -> Scene:
    """Somebody opens at a member, quickly, if nothing else is under way."""
    found = procedures.begin(world, IntentKind.OPEN, c.name)
    if found is not None and not found.has_begun:
        found.target = c.name
        yield from _led(world, found, lambda: c.is_owner)


def _led(world: World, found: Coordinator, is_so: Callable[[], bool]) -> Scene:
    """Meanwhile a coordinator goes on, neither dying nor dawdling, until it is so or patience ends."""
    for tick in range(PATIENCE):
        if is_so():
            return
        if tick % STRIDE == 0:
            procedures.advance(world, found)
        yield None


SCENES: dict[str, Callable[[World, random.Random], Scene]] = {
    "old_charter": _old_charter,
    "forgotten_promise": _forgotten_promise,
    "split_pair": _split_pair,
    "company_leaves": _company_leaves,
    "hasty_return": _hasty_return,
}
"""Every scene by its name."""

RARE: dict[str, Callable[[World, random.Random], Scene]] = {
    "company_restarts": _company_restarts,
    "strict_pair": _strict_pair,
    "silent_keeper": _silent_keeper,
    "out_of_sight": _out_of_sight,
}
"""Scenes for what only one of them shows."""

RAREST: dict[str, Callable[[World, random.Random], Scene]] = {"two_generations": _two_generations}
"""Likewise."""

STRICT = frozenset({"strict_pair"})
"""These need a strict group."""

CONFLICTS = {"old_charter": "restore", "forgotten_promise": "old_store"}
"""Members and the store never go back in time in the same run: then nobody may be left who remembers."""
