"""What breaks in the world: links, processes, hosts, cities, disks that go back in time, stores.

Only faults and restarts live here; how likely each is belongs to the world's character.
"""

from collections.abc import Callable

from drsync.model.charter import Charter, IntentKind
from drsync.sim.miniature import procedures
from drsync.sim.miniature.member import Log, Member
from drsync.sim.miniature.procedures import Coordinator
from drsync.sim.miniature.store import NAMES, Store
from drsync.sim.miniature.world import FAULTS, LEASE, World, link


def strike(world: World) -> Coordinator | None:
    """One fault; some make a coordinator start."""
    kind = world.dice.choices(list(FAULTS), world.weights)[0]
    member = world.members[world.dice.choice(NAMES)]
    owners = [found for found in world.members.values() if found.is_owner]
    if kind in {"alone", "one_armed", "store_link", "host"} and owners and world.chance(0.5):
        member = world.dice.choice(owners)
    world.trace(5, list(FAULTS).index(kind))
    return STRIKES[kind](world, member)


def crash(c: Member, *, is_host: bool) -> None:
    """The process, or its whole host, stops."""
    c.is_host_down = is_host or (c.is_host_down and not c.is_up)
    c.is_up = False


def crash_later(world: World) -> None:
    """Crash whose time has come."""
    for entry in [found for found in world.later if found[0] <= world.now]:
        world.later.remove(entry)
        crash(world.members[entry[1]], is_host=False)
        if world.chance(0.7):
            world.cut.add(link(entry[1], entry[2]))


def restart(world: World, c: Member) -> None:
    """The process starts. After a host crash the page cache is gone; the boot id tells."""
    c.start()
    c.is_up = True
    c.disk.session = world.fresh_session(c.name)
    if not world.rules.keeps_confirmation():
        c.disk.bound = (0.0, c.disk.bound[1])
    if c.is_host_down:
        c.disk.log.cut(c.disk.durable)
        c.disk.unclean = True
    c.is_host_down = False


def _link(world: World, _: Member) -> None:
    world.toggle(world.dice.sample([*NAMES, world.stores[-1].name], 2))


def _store_link(world: World, c: Member) -> None:
    world.toggle((c.name, world.stores[-1].name))


def _alone(world: World, c: Member) -> Coordinator | None:
    """One member is cut off, the others try to go on."""
    store = world.stores[-1]
    world.cut = {link(c.name, name) for name in (*NAMES, store.name) if name != c.name}
    mate = (*world.mates(c.name), "A")[0]
    found = procedures.begin(world, IntentKind.OPEN, mate)
    store.is_up = store.is_up and world.chance(0.7)
    if world.chance(0.3):
        crash(world.members[mate], is_host=False)
    return found


def _one_armed(world: World, c: Member) -> Coordinator | None:
    """One member reaches a single other one; the rest try to go on with whom they reach."""
    store = world.stores[-1]
    friend = world.dice.choice([name for name in NAMES if name != c.name])
    world.cut = {link(c.name, name) for name in (*NAMES, store.name) if name not in {c.name, friend}}
    place = next(name for name in NAMES if name not in {c.name, friend})
    found = procedures.begin(world, IntentKind.OPEN, place)
    if found is not None and not found.has_begun:
        found.target = friend
    if world.chance(0.4):
        world.later.append((world.now + world.dice.randrange(LEASE), friend, c.name))
    return found


def _links_heal(world: World, _: Member) -> None:
    world.cut = set()


def _process(_: World, c: Member) -> None:
    crash(c, is_host=False)


def _host(_: World, c: Member) -> None:
    crash(c, is_host=True)


def _power_cut(world: World, _: Member) -> None:
    """Both city members, and the store if it is there; sometimes the long lines, too."""
    if world.chance(0.3):
        world.cut = {link("C", name) for name in ("A", "B", world.stores[-1].name)}
    for name in ("A", "B"):
        crash(world.members[name], is_host=True)
    if world.is_store_in_city:
        world.stores[0].is_up = False


def _city_lost(world: World, c: Member) -> None:
    _power_cut(world, c)
    if world.is_store_in_city:
        world.stores[0].is_lost = True


def _snapshot(world: World, c: Member) -> None:
    world.snapshots.setdefault(c.name, c.disk.copy())


def _restore(world: World, c: Member) -> None:
    go_back(world, c)


def go_back(world: World, c: Member) -> None:
    """A member goes back in time. Not simulated: a snapshot younger than two token exchanges."""
    old = world.snapshots.get(c.name)
    if old is None or not c.is_up or old.charter is None:
        return
    store = world.stores[c.charter.generation]
    is_young = store.tokens.get(c.name, 0) < old.token + 2
    if old.charter.generation != c.charter.generation or is_young:
        return
    c.disk = world.snapshots.pop(c.name)
    assert isinstance(c.disk.log, Log)
    c.start()


def _store_down(world: World, _: Member) -> None:
    world.stores[-1].is_up = False


def _backup(world: World, _: Member) -> None:
    store = world.stores[-1]
    world.backups.append((store, store.charter, dict(store.tokens)))


def _old_store(world: World, _: Member) -> None:
    """A store is restored from a backup."""
    if not world.backups:
        return
    put_back(world, world.dice.choice(world.backups))


def put_back(world: World, backup: tuple[Store, Charter, dict[str, int]]) -> None:
    """A store is what it was when the backup was taken, and has just started."""
    store, charter, tokens = backup
    store.charter, store.tokens = charter, dict(tokens)
    restart_store(world, store, is_known_good=False)


def restart_store(world: World, store: Store, *, is_known_good: bool) -> None:
    """The store's process starts."""
    store.restart(world.now, is_known_good=is_known_good)


def _force(world: World, _: Member) -> Coordinator | None:
    """A person forces the remote center, often because the whole city is cut off."""
    if world.chance(0.5):
        world.cut = {link(name, other) for name in ("A", "B") for other in ("C", world.stores[-1].name)}
    found = procedures.begin(world, IntentKind.FAILOVER, "C")
    if found is not None and not found.has_begun:
        found.target = "C"
    return found


def _generation(world: World, c: Member) -> None:
    if c.is_up and not world.reach(c.name, world.stores[-1].name):
        procedures.without_store(world, c.name)


STRIKES: dict[str, Callable[[World, Member], Coordinator | None]] = {
    "link": _link,
    "store_link": _store_link,
    "alone": _alone,
    "one_armed": _one_armed,
    "links_heal": _links_heal,
    "process": _process,
    "host": _host,
    "power_cut": _power_cut,
    "city_lost": _city_lost,
    "snapshot": _snapshot,
    "restore": _restore,
    "store_down": _store_down,
    "backup": _backup,
    "old_store": _old_store,
    "force": _force,
    "generation": _generation,
}
"""One function for each fault."""

assert list(STRIKES) == list(FAULTS), "every fault has a weight"
