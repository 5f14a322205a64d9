"""What happens to the world whether or not anybody runs a group in it: one history of faults a repetition.

Every component has dice of its own, seeded by its name, and every fault carries the dice of the people who
will deal with it. So all topologies and all what-ifs of a repetition live through the very same years (common
random numbers), and what differs between them is their doing.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import NamedTuple

from drsync.sim.availability.rates import Delay, Rates

YEAR_S = 365.25 * 86400.0

PRODUCTION, SAME_CITY, REMOTE, THIRD = range(4)
PLACES = ("production", "same_city", "remote", "third")
CENTERS = (PRODUCTION, SAME_CITY, REMOTE)
CITIES = {"city": (PRODUCTION, SAME_CITY), "remote": (REMOTE,), "third": (THIRD,)}
LINES = ("same_city", "city-remote", "city-third", "remote-third")


class Effect(StrEnum):
    """What a fault does at a place, or to a line."""

    AGENT = "agent"  # the process is gone; what was written stays
    STALL = "stall"  # the process stands still, and goes on
    HOST = "host"  # gone, and what was not synced with it
    DISK = "disk"  # gone, and the copy with it
    CUT = "cut"  # reachable by nobody
    PATH = "path"  # one path of a line
    LINE = "line"  # a line with all of its paths
    COORDINATOR = "coordinator"  # the process
    STORE = "store"  # the machine of the coordinator or store member
    LATENT = "latent"  # nobody notices
    MAINTENANCE = "maintenance"
    DRILL = "drill"


class Cause(StrEnum):
    """What minutes and losses are added up by."""

    SOFTWARE = "software"
    STALLS = "stalls"
    HOSTS = "hosts"
    DISKS = "disks"
    POWER = "power"
    NETWORK = "network"
    DISASTERS = "disasters"
    COORDINATOR = "coordinator"
    PEOPLE = "people"
    LATENT = "latent"
    MAINTENANCE = "maintenance"
    FAILBACK = "failback"


CAUSES: dict[str, Cause] = {
    "agent_crash": Cause.SOFTWARE,
    "agent_hang": Cause.SOFTWARE,
    "software_everywhere": Cause.SOFTWARE,
    "stall": Cause.STALLS,
    "host_reboot": Cause.HOSTS,
    "host_failure": Cause.HOSTS,
    "disk": Cause.DISKS,
    "center_power": Cause.POWER,
    "city_blackout": Cause.POWER,
    "center_network": Cause.NETWORK,
    "line_same_city": Cause.NETWORK,
    "line_long": Cause.NETWORK,
    "line_equipment": Cause.NETWORK,
    "center_destroyed": Cause.DISASTERS,
    "city_disaster": Cause.DISASTERS,
    "coordinator_crash": Cause.COORDINATOR,
    "coordinator_host": Cause.COORDINATOR,
    "operator_mistake": Cause.PEOPLE,
    "latent_fault": Cause.LATENT,
    "maintenance": Cause.MAINTENANCE,
    "drill": Cause.MAINTENANCE,
}


class Dice(NamedTuple):
    """Thrown for one fault: three delays of people as standard normals, two coins between 0 and 1."""

    answer: float
    decide: float
    loss: float
    coin: float
    age: float


@dataclass(frozen=True, slots=True, eq=False)
class Fault:
    """One fault. `hits`: effects and where, an index into `PLACES` or `LINES`. Times in seconds."""

    name: str
    cause: Cause
    at: float
    until: float
    hits: tuple[tuple[Effect, int], ...]
    dice: Dice


class Event(NamedTuple):
    """A fault begins or ends."""

    at: float
    number: int
    begins: bool
    fault: Fault


def history(rates: Rates, years: float, seed: int, repetition: int) -> list[Event]:
    """All that happens in `years`, in order. The same arguments give the same events in any process."""
    end = years * YEAR_S
    faults: list[Fault] = []
    for name, hits in _components(rates):
        faults += _lifetime(rates, name, hits, end, Random(f"{seed}/{repetition}/{name}/{hits}"))
    faults.sort(key=lambda fault: (fault.at, fault.name, fault.hits))
    events = [Event(fault.at, 2 * index, begins=True, fault=fault) for index, fault in enumerate(faults)]
    events += [
        Event(fault.until, 2 * index + 1, begins=False, fault=fault) for index, fault in enumerate(faults)
    ]
    events.sort(key=lambda event: event[:2])
    return events


def delay(what: Delay, normal: float) -> float:
    """A person's delay for a throw."""
    return lognormal(what.mean, what.spread, normal)


def lognormal(mean: float, spread: float, normal: float) -> float:
    """A positive time of this mean for a standard normal throw; always `mean` when `spread` is 0."""
    return mean * math.exp(spread * normal - spread * spread / 2)


Hits = tuple[tuple[Effect, int], ...]


def _components(rates: Rates) -> list[tuple[str, Hits]]:
    found: list[tuple[str, Hits]] = []
    for center in CENTERS:
        found += [
            ("agent_crash", ((Effect.AGENT, center),)),
            ("agent_hang", ((Effect.AGENT, center),)),
            ("stall", ((Effect.STALL, center),)),
            ("host_reboot", ((Effect.HOST, center),)),
            ("host_failure", ((Effect.HOST, center),)),
            ("operator_mistake", ((Effect.AGENT, center),)),
            ("latent_fault", ((Effect.LATENT, center),)),
            ("maintenance", ((Effect.MAINTENANCE, center),)),
            ("drill", ((Effect.DRILL, center),)),
        ]
        # The number of the disk is in the effect's list only to give each its own dice.
        found += [("disk", ((Effect.DISK, center),) * (1 + disk)) for disk in range(rates.model.disks)]
    for place in range(len(PLACES)):
        host = ((Effect.HOST, place), (Effect.STORE, place))
        found += [
            ("center_power", host),
            ("center_network", ((Effect.CUT, place),)),
            ("center_destroyed", ((Effect.DISK, place), (Effect.STORE, place))),
            ("coordinator_crash", ((Effect.COORDINATOR, place),)),
            ("coordinator_host", ((Effect.STORE, place),)),
        ]
    for places in CITIES.values():
        for name in ("city_blackout", "city_disaster"):
            found.append((name, tuple((Effect.HOST, place) for place in places)))
    for line, called in enumerate(LINES):
        row = "line_same_city" if called == "same_city" else "line_long"
        found += [(row, ((Effect.PATH, line),) * (1 + path)) for path in range(rates.model.paths)]
        found.append(("line_equipment", ((Effect.LINE, line),)))
    found.append(("software_everywhere", tuple((Effect.AGENT, center) for center in CENTERS)))
    return found


def _lifetime(rates: Rates, name: str, hits: Hits, end: float, dice: Random) -> list[Fault]:
    """A component fails, is repaired, fails again."""
    per_year, mean, spread = _row(rates, name)
    if per_year <= 0:
        return []
    faults: list[Fault] = []
    at = dice.expovariate(per_year) * YEAR_S
    while at < end:
        until = at + lognormal(mean, spread, dice.gauss(0.0, 1.0))
        answer, decide, loss = (dice.gauss(0.0, 1.0) for _ in range(3))
        throw = Dice(answer, decide, loss, coin=dice.random(), age=dice.random())
        happens = _happens(rates, name, hits, dice)
        if happens:
            faults.append(Fault(name, CAUSES[name], at, until, happens, throw))
        at = until + dice.expovariate(per_year) * YEAR_S
    return faults


def _row(rates: Rates, name: str) -> tuple[float, float, float]:
    """Events a year, mean length, spread."""
    if name == "maintenance":
        plan = rates.planned.maintenance
        return plan.per_year, plan.lasts, 0.0
    if name == "drill":
        return rates.planned.drill.per_year, rates.planned.drill.lasts, 0.0
    row = getattr(rates.faults, name)
    return row.per_year, row.repair, row.spread


def _happens(rates: Rates, name: str, hits: Hits, dice: Random) -> Hits:
    """What of it happens this time. Always throws the same number of dice."""
    if name == "city_blackout":
        falls = [dice.random() < rates.chances.generator_fails.value for _ in hits]
        places = [place for (_, place), fell in zip(hits, falls, strict=True) if fell]
        return tuple((effect, place) for place in places for effect in (Effect.HOST, Effect.STORE))
    if name == "city_disaster":
        gone = [dice.random() < rates.chances.disaster_destroys.value for _ in hits]
        kinds = [Effect.DISK if destroyed else Effect.HOST for destroyed in gone]
        return tuple(
            (effect, place)
            for (_, place), kind in zip(hits, kinds, strict=True)
            for effect in (kind, Effect.STORE)
        )
    return hits[:1] if name in {"disk", "line_same_city", "line_long"} else hits
