"""What might be changed, and is compared with the base on the very same faults."""

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel

from drsync.sim.availability import topology
from drsync.sim.availability.rates import Rates
from drsync.sim.availability.topology import Topology

HALF = 0.5
MONTHLY = 12.0
FOR_GOOD_S = 1e10


@dataclass(frozen=True, slots=True)
class WhatIf:
    """One change: to the topology, to the table, or to both."""

    name: str
    topology: Topology
    change: Callable[[Rates], Rates]


BASE = topology.WITNESS
"""Three centers, the store at a third place, failover asked for by people: what one would build first."""


def altered(rates: Rates, path: str, value: float) -> Rates:
    """The table with another figure at a dotted path."""
    return _altered(rates, path.split("."), value)


def _altered(section: Rates, path: list[str], value: float) -> Rates:
    def deep(at: BaseModel, rest: list[str]) -> BaseModel:
        if len(rest) == 1:
            return at.model_copy(update={rest[0]: value})
        below = getattr(at, rest[0])
        assert isinstance(below, BaseModel)
        return at.model_copy(update={rest[0]: deep(below, rest[1:])})

    changed = deep(section, path)
    assert isinstance(changed, Rates)
    return changed


def _same(rates: Rates) -> Rates:
    return rates


def _monthly(rates: Rates) -> Rates:
    return altered(rates, "planned.drill.per_year", MONTHLY)


def _quick_people(rates: Rates) -> Rates:
    for path in ("people.answer.mean", "people.decide.mean", "people.decide_loss.mean"):
        name = path.split(".")[1]
        rates = altered(rates, path, getattr(rates.people, name).mean * HALF)
    return rates


def what_ifs(detection_s: float) -> tuple[WhatIf, ...]:
    """All of them, in the order of the report."""
    automatic = BASE.automatic(detection_s)
    return (
        WhatIf("automatic", automatic, _same),
        WhatIf("automatic-30s", BASE.automatic(30.0), _same),
        WhatIf("automatic-15s", BASE.automatic(15.0), _same),
        WhatIf("automatic-3s-lease-3s", BASE.automatic(3.0), lambda r: altered(r, "model.lease", 3.0)),
        WhatIf("automatic-monthly-drills", automatic, _monthly),
        WhatIf("people-twice-as-fast", BASE, _quick_people),
        WhatIf("no-drills", BASE, lambda r: altered(r, "planned.drill.per_year", 0.0)),
        WhatIf("monthly-drills", BASE, _monthly),
        WhatIf("sync-timeout-1s", BASE, lambda r: altered(r, "model.sync_timeout", 1.0)),
        WhatIf("no-new-store", BASE, lambda r: altered(r, "steps.store_rebuild.lasts", FOR_GOOD_S)),
        WhatIf("one-path-per-line", BASE, lambda r: altered(r, "model.paths", 1)),
    )
