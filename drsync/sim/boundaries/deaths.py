"""Deaths: who dies, at which step that lasts, when in it, and what goes with it."""

import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from typing_extensions import override

from drsync.sim.character import COORDINATOR, NAMES


class Kind(StrEnum):
    """What is counted."""

    CALL = "call"  # an agent's call that changes or syncs something on its disk
    COMMAND = "command"  # the coordinator's, carried out
    COMMIT = "commit"  # of the coordinator's store


class Moment(StrEnum):
    """When in it."""

    BEFORE = "before"
    WITHIN = "within"  # a write reached the file half-way
    AFTER = "after"  # and nobody knows yet


class Way(StrEnum):
    """What is gone."""

    KILL = "kill"  # the process; the page cache stays
    POWER = "power"  # its machine's power: what was not synced may be gone
    CITY = "city"  # the power of both machines of the city


WORDS = re.compile(r"(?P<place>\w+):(?P<kind>\w+):(?P<number>\d+):(?P<moment>\w+):(?P<way>\w+)")
EXAMPLE = "same_city:call:17:within:power"


@dataclass(frozen=True, slots=True)
class Death:
    """One death.

    Attributes:
        place: a center, or the coordinator.
        kind, number, moment: at the `number`-th of its kind since the procedure began, the first is 1.
        way: what is gone.
    """

    place: str
    kind: Kind
    number: int
    moment: Moment
    way: Way

    @override
    def __str__(self) -> str:
        return f"{self.place}:{self.kind}:{self.number}:{self.moment}:{self.way}"


def parse(text: str) -> Death:
    """A death as it writes itself. Raises ValueError."""
    found = WORDS.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no boundary; write for example {EXAMPLE}")
    death = Death(
        found["place"], Kind(found["kind"]), int(found["number"]), Moment(found["moment"]), Way(found["way"])
    )
    is_coordinator = death.place == COORDINATOR
    if not is_coordinator and death.place not in NAMES:
        raise ValueError(f"there is no {death.place}; there are {', '.join((*NAMES, COORDINATOR))}")
    if is_coordinator is (death.kind is Kind.CALL):
        raise ValueError(f"{death.place} is not counted by {death.kind}s")
    if death.number < 1:
        raise ValueError("the first is 1")
    return death


@dataclass(frozen=True, slots=True)
class Steps:
    """What lasted in a procedure that nobody disturbed.

    Attributes:
        calls: of each agent, by its center, in order: what each was.
        commands, commits: how many of the coordinator's.
    """

    calls: dict[str, list[str]]
    commands: int
    commits: int


def single(steps: Steps) -> list[Death]:
    """Every single death at a boundary, in a fixed order."""
    found: list[Death] = []
    ways = (Way.KILL, Way.POWER)
    for name, calls in steps.calls.items():
        for number, call in enumerate(calls, 1):
            # Only a write can be done by half.
            moments = tuple(Moment) if call == "pwritev" else (Moment.BEFORE, Moment.AFTER)
            found += [Death(name, Kind.CALL, number, moment, way) for moment in moments for way in ways]
    for number in range(1, steps.commands + 1):
        found += [Death(COORDINATOR, Kind.COMMAND, number, Moment.AFTER, way) for way in ways]
    for number in range(1, steps.commits + 1):
        moments = (Moment.BEFORE, Moment.AFTER)
        found += [Death(COORDINATOR, Kind.COMMIT, number, moment, way) for moment in moments for way in ways]
    return found


def double(steps: Steps) -> list[tuple[Death, ...]]:
    """Two deaths each: the coordinator's after each command with one agent's, and the city's at each call."""
    found: list[tuple[Death, ...]] = []
    for name, calls in steps.calls.items():
        for command in range(1, steps.commands + 1):
            first = Death(COORDINATOR, Kind.COMMAND, command, Moment.AFTER, Way.KILL)
            for number in range(1, len(calls) + 1):
                found += [
                    (first, Death(name, Kind.CALL, number, Moment.AFTER, way))
                    for way in (Way.KILL, Way.POWER)
                ]
        if name in CITY:
            found += [
                (Death(name, Kind.CALL, number, moment, Way.CITY),)
                for number in range(1, len(calls) + 1)
                for moment in (Moment.BEFORE, Moment.AFTER)
            ]
    return found


CITY = NAMES[:2]


class CallLog(Counter[str]):
    """A disk's count of calls that remembers their order."""

    def __init__(self, counted: Counter[str]) -> None:
        super().__init__(counted)
        self.order: list[str] = []

    @override
    def __setitem__(self, call: str, count: int) -> None:
        super().__setitem__(call, count)
        if call != "preadv":  # because nothing of it lasts
            self.order.append(call)
