"""What breaks in the world, and how it is mended. How likely each is belongs to the world's character.

Each fault is a function of the world that says in words what it did, or nothing when it did not fit. What it
breaks is mended by itself after a while, or by `World.heal`. A fault never hits all copies of the same data:
`World.may_harm` keeps count, so that whatever is lost all the same is lost by a bug.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from drsync.sim import store_faults
from drsync.sim.character import COORDINATOR, NAMES
from drsync.sim.disk import Disk, Faults
from drsync.sim.disk import Moment as CallMoment
from drsync.sim.disk_nodes import PAGE
from drsync.sim.store_disk import Moment

if TYPE_CHECKING:
    from drsync.sim.world import World

Fault = Callable[["World"], str]

CUT_S = (0.2, 12.0)  # because some outages are shorter than a lease and some longer than all patience
LONG_S = (5.0, 25.0)
SLOW_RATES = (8_000.0, 25_000.0, 60_000.0)  # bytes a second; a large frame takes half a minute at the lowest
FULL_ROOM = 96 << 10  # bytes left on a disk that fills up
DRIFT = (0.995, 1.005)  # because leases allow for one part in a hundred
WALL_JUMP_S = 3600.0
AFTER_SUSPEND_S = 5.0  # because the first heartbeat after it ends what a clock that stood still allowed
HUNG_S = 12.0  # beyond the lease, because a disk path that fails over needs about that long
HANGS = (1, 1, 3, 20)  # calls that hang one after the other
NEAR_DEATH_CALLS = 60  # because that many file calls reach into every procedure


# --- lines


def cut_pair(world: "World") -> str:
    """Two places lose sight of each other."""
    one, other = world.dice.sample(world.places, 2)
    world.cut_for(world.dice.uniform(*CUT_S), [(one, other), (other, one)])
    return f"{one} and {other} are cut off from each other"


def cut_one_way(world: "World") -> str:
    """One place is not heard at another, which is."""
    one, other = world.dice.sample(world.places, 2)
    world.cut_for(world.dice.uniform(*CUT_S), [(one, other)])
    return f"{other} does not hear {one}"


def isolate(world: "World") -> str:
    """A place loses sight of all others, mostly the owner."""
    name = world.owner_or_any()
    others = [place for place in world.places if place != name]
    lines = [line for other in others for line in ((name, other), (other, name))]
    world.cut_for(world.dice.uniform(*CUT_S), lines)
    return f"{name} is cut off from everybody"


def one_armed(world: "World") -> str:
    """A place reaches a single other one."""
    name = world.owner_or_any()
    friend = world.dice.choice([place for place in world.places if place != name])
    others = [place for place in world.places if place not in {name, friend}]
    lines = [line for other in others for line in ((name, other), (other, name))]
    world.cut_for(world.dice.uniform(*CUT_S), lines)
    return f"{name} reaches {friend} alone"


def lossy(world: "World") -> str:
    """A line has to send a lot again."""
    one, other = world.dice.sample(world.places, 2)
    line = world.network.line(one, other)
    loss = world.dice.choice((0.05, 0.3))
    world.hold(line.losing, loss, world.dice.uniform(*LONG_S))
    return f"the line from {one} to {other} loses {loss:.0%}"


def slow_line(world: "World") -> str:
    """A line becomes far slower than the application writes."""
    one, other = world.dice.sample(world.places, 2)
    line = world.network.line(one, other)
    rate = world.dice.choice(SLOW_RATES)
    world.hold(line.slowed, rate, world.dice.uniform(*LONG_S))
    return f"the line from {one} to {other} takes {rate:.0f} bytes a second"


def reset(world: "World") -> str:
    """All connections between two places break."""
    one, other = world.dice.sample(world.places, 2)
    world.network.reset(one, other)
    return f"connections between {one} and {other} are reset"


# --- processes


def kill_agent(world: "World") -> str:
    """SIGKILL; it is started again after a while, as by systemd."""
    agent = world.agents[world.owner_or_any()]
    if agent.process is None or not agent.is_alive:
        return ""
    agent.process.kill()
    return f"the agent of {agent.name} is killed"


def die_in_a_call(world: "World") -> str:
    """An agent dies before, within or after one of its next changes to a file."""
    agent = world.agents[world.owner_or_any()]
    number = world.dice.randint(1, NEAR_DEATH_CALLS)
    moments: tuple[CallMoment, ...] = ("before", "within", "after")
    moment = world.dice.choice(moments)
    agent.host.disk.die_at(number, moment)
    return f"the agent of {agent.name} will die {moment} file call {number} from now"


def stop_agent(world: "World") -> str:
    """SIGSTOP, perhaps for longer than the lease."""
    agent = world.agents[world.owner_or_any()]
    process = agent.process
    if process is None or not agent.is_alive:
        return ""
    seconds = world.dice.uniform(*CUT_S)
    why = f"signal {world.timeline.number()}"  # whoever stops it once more lets it go on later
    process.stop(why)
    world.later(seconds, lambda: process.resume(why))
    return f"the agent of {agent.name} stands still for {seconds:.1f} s"


def kill_coordinator(world: "World") -> str:
    """SIGKILL; back after a while."""
    if not world.coordinator.is_alive:
        return ""
    world.coordinator.kill()
    seconds = world.dice.uniform(0.2, LONG_S[1])
    world.later(seconds, world.start_coordinator)
    return f"the coordinator is killed, and back in {seconds:.1f} s"


def coordinator_dies_in_a_procedure(world: "World") -> str:
    """The coordinator dies right after one of its next commands."""
    if not world.coordinator.is_alive:
        return ""
    number = world.coordinator.commands + world.dice.randint(1, 4)
    world.coordinator.crash_after_command = number
    return f"the coordinator will die after command {number} of its process"


# --- machines


def crash_host(world: "World") -> str:
    """A machine loses power: what was not synced may be gone."""
    name = world.owner_or_any()
    world.crash(name)
    return f"the machine of {name} loses power"


def power_cut(world: "World") -> str:
    """The whole city loses power."""
    names = ["production", "same_city"]
    if world.character.is_store_in_city:
        names.append(COORDINATOR)
    for name in names:
        world.crash(name)
    if world.dice.getrandbits(1):
        far = [(name, "remote") for name in (*names, COORDINATOR)]
        lines = [line for one, other in far for line in ((one, other), (other, one)) if one != other]
        world.cut_for(world.dice.uniform(*CUT_S), lines)
    return "the city loses power"


def suspend(world: "World") -> str:
    """A virtual machine stands still; its clock may, too."""
    name = world.owner_or_any()
    seconds = world.dice.uniform(*CUT_S)
    counts = world.dice.random() < 0.7  # noqa: PLR2004  # as most hypervisors do
    world.hosts[name].suspend(seconds, counts=counts)
    if not counts:
        world.ledger.suspended(name, world.timeline.now + seconds + AFTER_SUSPEND_S)
    clock = "not" if counts else "too"
    return f"the machine of {name} is suspended for {seconds:.1f} s, its clock {clock}"


def drift(world: "World") -> str:
    """A clock goes wrong by less than leases allow for."""
    name = world.dice.choice(world.places)
    world.hosts[name].set_rate(world.dice.uniform(*DRIFT))
    return f"the clock of {name} drifts"


def wall_jump(world: "World") -> str:
    """Somebody sets a wall clock."""
    name = world.dice.choice(world.places)
    world.hosts[name].jump_wall(world.dice.uniform(-WALL_JUMP_S, WALL_JUMP_S))
    return f"the wall clock of {name} jumps"


# --- disks


def full_disk(world: "World") -> str:
    """A disk fills up, and somebody makes room later."""
    name = world.owner_or_any()
    disk = world.hosts[name].disk
    if disk.capacity is not None:
        return ""
    disk.capacity = used_bytes(disk) + world.dice.randrange(FULL_ROOM)
    world.later(world.dice.uniform(*LONG_S), lambda: setattr(disk, "capacity", None))
    return f"the disk of {name} is full"


def stalling_disk(world: "World") -> str:
    """A disk answers late now and then."""
    name = world.owner_or_any()
    disk = world.hosts[name].disk
    faults = Faults(world.dice, stall=0.02, stall_s=(0.05, 3.0))
    disk.trouble(faults)
    world.later(world.dice.uniform(*LONG_S), lambda: disk.relieve(faults))
    return f"the disk of {name} stalls"


def hung_call(world: "World") -> str:
    """A call, or each for a while, takes longer than lease and patience; what waits for none goes on."""
    name = world.owner_or_any()
    disk = world.hosts[name].disk
    dice, policy = world.dice, world.character.group.policy
    shortest = max(policy.lease_s, policy.sync_timeout_s) * 1.1
    faults = Faults(dice, hang=1.0, hang_s=(shortest, shortest + HUNG_S), hangs_left=dice.choice(HANGS))
    disk.trouble(faults)
    world.later(dice.uniform(*CUT_S), lambda: disk.relieve(faults))
    return f"a call of the disk of {name} hangs" + (" and others" if faults.hangs_left > 1 else "")


def broken_disk(world: "World") -> str:
    """Writes or syncs fail: that copy has failed, and its disk is replaced."""
    name = world.dice.choice(NAMES)
    if not world.may_harm(name):
        return ""
    dice = world.dice
    kind = dice.choice(("write_error", "sync_error", "read_error"))
    faults = Faults(dice)
    setattr(faults, kind, 0.3)
    world.hosts[name].disk.trouble(faults)
    world.replace_disk_later(name, dice.uniform(*CUT_S))
    return f"the disk of {name} fails ({kind}) and will be replaced"


def lying_disk(world: "World") -> str:
    """A replica's disk writes its journal to wrong places or reads it wrongly, until it is replaced."""
    name = world.dice.choice(NAMES)
    if not world.may_harm(name) or any(export.center == name for export in world.application.exports):
        return ""
    faults = Faults(world.dice, where="/journal/")
    kind = world.dice.choice(("misdirected", "flipped_read"))
    setattr(faults, kind, 0.1)
    world.harmed.add(name)
    world.hosts[name].disk.trouble(faults)
    seconds = world.dice.uniform(*CUT_S)
    world.replace_disk_later(name, seconds)
    return f"the disk of {name} lies ({kind.replace('_', ' ')}) for {seconds:.1f} s, then it is replaced"


def store_says_no(world: "World") -> str:
    """Commits of the store fail, before or after they were done."""
    if not world.coordinator.is_alive:
        return ""
    dice = world.dice
    moment = dice.choice((Moment.BEFORE, Moment.AFTER))
    world.coordinator.fail_commits(1, dice.randint(1, 4), moment)
    return f"commits of the store fail {moment.name.lower()} they are done"


def rot(world: "World") -> str:
    """A bit of a replica's journal rots; its machine restarts, and its disk is replaced later."""
    name = world.dice.choice(NAMES)
    if not world.may_harm(name):
        return ""
    path = world.rot(name)
    return f"a bit of {path} at {name} rots" if path else ""


def lost_disk(world: "World") -> str:
    """A machine comes back with an empty disk."""
    name = world.dice.choice(NAMES)
    if not world.may_harm(name):
        return ""
    world.crash(name)
    world.replace_disk(name)
    return f"the disk of {name} is lost"


def snapshot(world: "World") -> str:
    """Somebody takes a snapshot of a machine, for later."""
    name = world.dice.choice(NAMES)
    world.snapshots[name] = world.hosts[name].disk.snapshot()
    return f"a snapshot of {name} is taken"


def restore(world: "World") -> str:
    """A machine is put back to an old snapshot."""
    names = [name for name in sorted(world.snapshots) if world.may_harm(name)]
    if not names:
        return ""
    name = world.dice.choice(names)
    world.restore(name)
    return f"{name} is put back to its snapshot"


# --- store and people


def store_restored(world: "World") -> str:
    """The coordinator comes back with an old backup of its store."""
    return store_faults.restore(world)


def store_backup(world: "World") -> str:
    """The store is backed up."""
    return store_faults.back_up(world)


def lose_store(world: "World") -> str:
    """The store is lost."""
    return store_faults.lose(world)


def city_lost(world: "World") -> str:
    """The city is lost for ever."""
    return store_faults.lose_city(world)


def switchover(world: "World") -> str:
    """A person moves the group."""
    return world.order("switchover", world.dice.choice(NAMES))


def failover(world: "World") -> str:
    """A person moves the group whether or not its owner answers."""
    accept_loss = world.dice.random() < 0.4  # noqa: PLR2004  # as people do who are in a hurry
    return world.order("failover", world.dice.choice(NAMES), accept_loss=accept_loss)


def drill(world: "World") -> str:
    """A person has a drill run."""
    return world.order("drill", world.dice.choice(("remote", "remote", "same_city")))


def burst(world: "World") -> str:
    """The application writes ten times as much for a while."""
    application = world.application
    if application.rate >= world.character.write_rate * 10:
        return ""  # it does already

    def calm_down() -> None:
        if not world.is_calm:
            application.rate /= 10

    application.rate *= 10
    world.later(world.dice.uniform(0.5, 2.0), calm_down)
    return "the application writes ten times as much"


FAULTS: dict[str, tuple[Fault, float]] = {
    "cut_pair": (cut_pair, 8),
    "cut_one_way": (cut_one_way, 8),
    "isolate": (isolate, 8),
    "one_armed": (one_armed, 6),
    "lossy": (lossy, 3),
    "slow_line": (slow_line, 3),
    "reset": (reset, 3),
    "kill_agent": (kill_agent, 6),
    "die_in_a_call": (die_in_a_call, 8),
    "stop_agent": (stop_agent, 6),
    "kill_coordinator": (kill_coordinator, 5),
    "crash_host": (crash_host, 6),
    "power_cut": (power_cut, 3),
    "suspend": (suspend, 3),
    "drift": (drift, 1),
    "wall_jump": (wall_jump, 1),
    "full_disk": (full_disk, 2),
    "stalling_disk": (stalling_disk, 3),
    "hung_call": (hung_call, 4),
    "broken_disk": (broken_disk, 2),
    "rot": (rot, 2),
    "lost_disk": (lost_disk, 2),
    "snapshot": (snapshot, 3),
    "restore": (restore, 3),
    "coordinator_dies_in_a_procedure": (coordinator_dies_in_a_procedure, 4),
    "store_says_no": (store_says_no, 3),
    "lying_disk": (lying_disk, 2),
    "store_backup": (store_backup, 2),
    "store_restored": (store_restored, 2),
    "lose_store": (lose_store, 1),
    "city_lost": (city_lost, 0.3),
    "coordinator_loses_power": (store_faults.lose_power, 3),
    "stop_coordinator": (store_faults.stand_still, 3),
    "suspend_coordinator": (store_faults.suspend, 2),
    "full_store": (store_faults.fill, 3),
    "slow_store": (store_faults.slow_down, 3),
    "coordinator_struck_in_a_procedure": (store_faults.strike_in_a_procedure, 5),
    "burst": (burst, 2),
}
"""Name -> what it does, and its usual weight."""

ORDERS: dict[str, tuple[Fault, float]] = {
    "switchover": (switchover, 6),
    "failover": (failover, 4),
    "drill": (drill, 2),
}
"""What people ask for."""


AT_FOUNDING = tuple(sorted({*FAULTS} - {"store_backup", "store_restored", "lose_store", "city_lost"}))
"""What may happen while a group is founded: all but what leaves a group that never was to a person."""


def usual() -> dict[str, float]:
    """Name -> usual weight."""
    return {name: weight for name, (_, weight) in FAULTS.items()}


def used_bytes(disk: Disk) -> int:
    """Bytes that files take on a disk."""
    return sum(file.blocks for _, file in disk.files()) * PAGE
