"""What happens to the coordinator's machine and its store; and the city that is lost for ever.

A store that was put back or lost does not mend by itself: it refuses, and a person begins a new generation.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from drsync.sim.character import CENTERS, COORDINATOR

if TYPE_CHECKING:
    from drsync.core.plan import Command
    from drsync.sim.world import World

BACKUPS_MAX = 3  # because people keep the last few
DOWN_S = (0.2, 6.0)  # until somebody starts a coordinator on an empty disk
MOVE_S = (2.0, 8.0)  # until somebody has set up another machine for the coordinator
WHILE_S = (0.5, 20.0)  # because some troubles are shorter than a lease and some longer than all patience
COMMIT_S = (0.05, 2.5)  # of a slow disk, because a procedure makes some ten commits
SOON = 4  # commands, because a procedure has about so many
AN_HOUR_S = 3600.0
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
    if last.troubles or world.doomed.get("remote") is last:
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


def lose_power(world: "World") -> str:
    """Its machine loses power, and with it the directory that needs not survive a boot."""
    if not world.hosts[COORDINATOR].is_up:
        return ""
    world.crash(COORDINATOR)
    return "the machine of the coordinator loses power"


def stand_still(world: "World") -> str:
    """SIGSTOP."""
    process = world.coordinator.process
    if process is None or not process.is_alive:
        return ""
    seconds, why = world.dice.uniform(*WHILE_S), f"signal {world.timeline.number()}"
    process.stop(why)
    world.later(seconds, lambda: process.resume(why))
    return f"the coordinator stands still for {seconds:.1f} s"


def suspend(world: "World") -> str:
    """Its virtual machine stands still; its clock may, too."""
    seconds, counts = world.dice.uniform(*WHILE_S), world.dice.random() < 0.7  # noqa: PLR2004  # as most do
    world.hosts[COORDINATOR].suspend(seconds, counts=counts)
    clock = "not" if counts else "too"
    return f"the machine of the coordinator is suspended for {seconds:.1f} s, its clock {clock}"


def fill(world: "World") -> str:
    """Its disk has no room for a while."""
    seconds = world.dice.uniform(*WHILE_S)
    world.coordinator.fill_disk(seconds)
    return f"the disk of the coordinator is full for {seconds:.1f} s"


def slow_down(world: "World") -> str:
    """Its disk takes long for each commit for a while."""
    seconds, commit_s = world.dice.uniform(*WHILE_S), world.dice.uniform(*COMMIT_S)
    world.coordinator.slow_disk(seconds, commit_s)
    return f"commits of the coordinator take {commit_s:.2f} s for {seconds:.1f} s"


def jump(world: "World") -> str:
    """Somebody sets its wall clock."""
    seconds = world.dice.uniform(-AN_HOUR_S, AN_HOUR_S)
    world.hosts[COORDINATOR].jump_wall(seconds)
    return f"the wall clock of the coordinator jumps by {seconds:.0f} s"


def strike_in_a_procedure(world: "World") -> str:
    """One of these happens right after one of its next commands."""
    coordinator, left = world.coordinator, world.dice.randint(1, SOON)
    what: Callable[[World], str] = world.dice.choice(IN_A_PROCEDURE)

    def performed(_command: "Command") -> None:
        nonlocal left
        left -= 1
        if left == 0:
            coordinator.at_command.remove(performed)
            world.timeline.soon(strike)

    def strike() -> None:
        words = "" if world.is_calm else what(world)
        if words:
            world.trace.say("world", words)

    coordinator.at_command.append(performed)
    return f"something will happen to the coordinator after {left} commands"


IN_A_PROCEDURE: tuple[Callable[["World"], str], ...] = (
    lose_power,
    stand_still,
    suspend,
    fill,
    slow_down,
    jump,
)
"""What may happen to it in the middle of a procedure."""
