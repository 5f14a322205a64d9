"""What scenes are made of: waits, cuts that last as long as a scene inside them, and questions."""

import random
from collections.abc import Callable, Generator, Iterable
from functools import wraps
from typing import TYPE_CHECKING

from drsync.model.copy import CopyState
from drsync.sim.disk import MOST

if TYPE_CHECKING:
    from drsync.sim.world import World

BEGIN_S = (0.3, 1.2)  # after the group has settled, because whoever runs the world waits for that, too
LOOK_S = 0.05  # between looks at what a scene waits for
PATIENCE_S = 12.0  # that a scene waits for what it needs before it is given up
INSIST_S = 0.6  # between orders of a person who wants it now
CITY = ("production", "same_city")

Scene = Generator[float, None, None]
"""Yields for how many seconds nothing is done."""

Lines = list[tuple[str, str]]
"""One-way lines."""


def opening(scene: Scene, world: "World", dice: random.Random, *, awaits_founding: bool = False) -> Scene:
    """The scene, once the group has settled; on demand also once nobody disturbs its founding any more."""
    while awaits_founding and not world.is_founded:
        yield LOOK_S
    yield from settled(world)
    yield dice.uniform(*BEGIN_S)
    yield from scene


def until(is_so: Callable[[], bool], look_s: float = LOOK_S) -> Scene:
    """Wait; who asks looks again afterwards, because patience ends."""
    for _ in range(int(PATIENCE_S / look_s)):
        if is_so():
            return
        yield look_s


def wait(seconds: float) -> Scene:
    """Do nothing."""
    yield seconds


def lines_between(ones: Iterable[str], others: Iterable[str]) -> Lines:
    """Both directions between any of these and any of those."""
    return [line for one in ones for other in others for line in ((one, other), (other, one)) if one != other]


def while_apart(world: "World", names: Iterable[str], scene: Scene) -> Scene:
    """Meanwhile the places in `names` reach only each other."""
    inside = set(names)
    others = [place for place in world.places if place not in inside]
    yield from while_cut(world, lines_between(sorted(inside), others), scene)


def while_cut(world: "World", lines: Lines, scene: Scene) -> Scene:
    """Meanwhile nothing gets through."""
    sever(world, lines)
    try:
        yield from scene
    finally:
        world.mend(lines)


def sever(world: "World", lines: Lines) -> None:
    """Cut, and let both ends know at once, because who waits for an answer finds out late."""
    world.cut(lines)
    for one, other in lines:
        world.network.reset(one, other)


def lose_most(world: "World", name: str) -> None:
    """A machine loses power, and as much as can be lost of what was not synced."""
    disk = world.hosts[name].disk
    before, disk.loss = disk.loss, MOST
    world.crash(name)
    disk.loss = before


def unsynced(world: "World", name: str) -> int:
    """Records that a power cut may take from a member."""
    members = world.agents[name].members()
    if not members or members[0].copy.is_switching or members[0].copy.state is CopyState.FAILED:
        return 0
    journal = members[0].copy.journal
    return journal.tip.seq - journal.durable_seq


def who_owns(world: "World") -> str:
    """Who serves and is the owner of the charter in force; empty when nobody does."""
    charter = world.charter
    exports = [export for export in world.application.exports if not export.is_over]
    if charter is None or len(exports) != 1 or charter.intent is not None:
        return ""
    is_in_force = (exports[0].center, exports[0].epoch) == (charter.owner, charter.epoch)
    return exports[0].center if is_in_force else ""


def pair_in_sync(world: "World") -> tuple[str, str] | None:
    """The owner that serves in the city and its mate, while the charter in force has both in sync."""
    owner, charter = who_owns(world), world.charter
    if owner not in CITY or charter is None:
        return None
    mate = next(name for name in CITY if name != owner)
    is_sound = world.is_sound(owner) and world.is_sound(mate)
    return (owner, mate) if is_sound and mate in charter.in_sync else None


def settled(world: "World") -> Generator[float, None, tuple[str, str] | None]:
    """Wait for such a pair; None when it did not come."""
    yield from until(lambda: pair_in_sync(world) is not None)
    return pair_in_sync(world)


def of_a_pair(
    act: Callable[["World", random.Random, str, str], Scene],
) -> Callable[["World", random.Random], Scene]:
    """A scene that begins with such a pair, the owner first, and is not played when none comes."""

    @wraps(act)
    def scene(world: "World", dice: random.Random) -> Scene:
        pair = yield from settled(world)
        if pair is not None:
            yield from act(world, dice, *pair)

    return scene


def take_over(world: "World", center: str, *, accept_loss: bool = False, what: str = "failover") -> Scene:
    """A person orders it until it is so, or patience ends."""
    for _ in range(int(PATIENCE_S / INSIST_S)):
        if serves_at(world, center):
            return
        charter = world.charter
        if charter is not None and (charter.intent is None or charter.intent.target != center):
            world.order(what, center, accept_loss=accept_loss)
        yield INSIST_S


def serves_at(world: "World", center: str) -> bool:
    """Whether a center serves in the epoch in force."""
    charter = world.charter
    return charter is not None and any(
        not export.is_over and (export.center, export.epoch) == (center, charter.epoch)
        for export in world.application.exports
    )


def lease_of(world: "World") -> float:
    """Seconds of a lease here."""
    return world.character.group.policy.lease_s


def is_dropped(world: "World", center: str) -> bool:
    """Whether a center is not in the in-sync set in force."""
    charter = world.charter
    return charter is not None and center not in charter.in_sync


def is_connected(world: "World", center: str) -> bool:
    """Whether the agent of a center is registered at a coordinator that runs."""
    office = world.coordinator.office
    return office is not None and office.sessions.is_connected(center)
