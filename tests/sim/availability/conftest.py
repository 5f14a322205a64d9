"""A world in which nothing fails unless a test says so."""

from collections.abc import Callable

import pytest

from drsync.sim.availability.faults import CAUSES, YEAR_S, Dice, Effect, Event, Fault
from drsync.sim.availability.group import Group
from drsync.sim.availability.rates import Faults, Rates, shipped
from drsync.sim.availability.topology import Topology
from drsync.sim.availability.whatif import altered

MEDIAN = Dice(0.0, 0.0, 0.0, coin=0.99, age=0.5)
DAY = 86400.0


@pytest.fixture
def quiet() -> Rates:
    """The shipped table with no faults, no maintenance and no drills; people take their mean exactly."""
    rates = shipped()
    for name in Faults.model_fields:
        rates = altered(rates, f"faults.{name}.per_year", 0.0)
    for name in ("maintenance", "drill"):
        rates = altered(rates, f"planned.{name}.per_year", 0.0)
    for name in ("answer", "decide", "decide_loss"):
        rates = altered(rates, f"people.{name}.spread", 0.0)
    return rates


class Story:
    """Faults at given days, and what the group makes of them."""

    def __init__(self, topology: Topology, rates: Rates) -> None:
        self.group = Group(topology, rates)
        self._faults: list[Fault] = []

    def fault(
        self, name: str, day: float, seconds: float, *hits: tuple[Effect, int], dice: Dice = MEDIAN
    ) -> "Story":
        at = day * DAY
        self._faults.append(Fault(name, CAUSES[name], at, at + seconds, hits, dice))
        return self

    def run(self, years: float = 1.0) -> "Story":
        events = [Event(one.at, 2 * n, begins=True, fault=one) for n, one in enumerate(self._faults)]
        events += [Event(one.until, 2 * n + 1, begins=False, fault=one) for n, one in enumerate(self._faults)]
        self.result = self.group.run(sorted(events, key=lambda one: one[:2]), years, 0.9999, lambda _: None)
        return self

    @property
    def outages(self) -> list[tuple[str, float]]:
        """Cause and seconds of each unplanned outage."""
        found = self.group.ledger.stretches
        return [(one.cause, round(one.seconds, 2)) for one in found if not one.is_planned]

    @property
    def planned(self) -> list[tuple[str, float]]:
        found = self.group.ledger.stretches
        return [(one.cause, round(one.seconds, 2)) for one in found if one.is_planned]

    @property
    def lost(self) -> list[tuple[str, float]]:
        """Cause and seconds of flushed writes."""
        losses = self.group.ledger.losses
        return [(one.cause.value, round(one.seconds, 2)) for one in losses if not one.is_unflushed]


@pytest.fixture
def story() -> Callable[[Topology, Rates], Story]:
    return Story


YEAR = YEAR_S
