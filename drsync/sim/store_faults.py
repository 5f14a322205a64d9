"""The charter store is backed up, put back, lost; the city is lost for ever: what a person then has to do.

Nothing of it mends by itself: an old or empty store refuses, and a person begins a new generation of it.
"""

from typing import TYPE_CHECKING

from drsync.sim.character import CENTERS, COORDINATOR

if TYPE_CHECKING:
    from drsync.sim.world import World

BACKUPS_MAX = 3  # because people keep the last few
DOWN_S = (0.2, 6.0)  # until somebody starts a coordinator on an empty disk
MOVE_S = (2.0, 8.0)  # until somebody has set up another machine for the coordinator
CITY = tuple(center.name for center in CENTERS if center.site == CENTERS[0].site)


def back_up(world: "World") -> str:
    """Somebody copies the store's file."""
    if world.charter is None:
        return ""
    world.backups = [*world.backups, world.coordinator.backup()][-BACKUPS_MAX:]
    return "the store is backed up"


def restore(world: "World") -> str:
    """The coordinator comes back with an old copy of its store; often it is restarted once more."""
    if not world.backups or not world.hosts[COORDINATOR].is_up:
        return ""
    world.coordinator.restart(from_backup=world.dice.choice(world.backups))
    if world.dice.random() < 0.5:  # noqa: PLR2004  # as services are that were just put back
        world.later(world.dice.uniform(0.1, 3.0), world.coordinator.restart)
    return "the store is put back to a backup"


def lose(world: "World") -> str:
    """The store's disk is lost; the coordinator comes back with an empty one."""
    if world.charter is None:
        return ""
    world.coordinator.lose_store()
    world.later(world.dice.uniform(*DOWN_S), world.start_coordinator)
    return "the store is lost"


def lose_city(world: "World") -> str:
    """Both machines of the city are lost for ever, and the store with them if it stands there."""
    if world.gone or world.charter is None or world.harmed or world.is_calm:
        return ""
    if not any(member.copy.durable.follow for member in world.agents["remote"].members()):
        return ""  # nothing would be left that anybody could go on with
    last = world.hosts["remote"].disk
    if last.faults is not None or world.doomed.get("remote") is last:
        return ""  # its disk is failing
    world.gone.update(CITY)
    for name in CITY:
        world.hosts[name].crash()
    if not world.character.is_store_in_city:
        return "the city is lost for ever"
    world.hosts[COORDINATOR].crash()
    world.coordinator.lose_store()
    world.later(world.dice.uniform(*MOVE_S), lambda: world.boot(COORDINATOR))
    return "the city is lost for ever, and the store with it"
