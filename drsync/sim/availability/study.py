"""The study: every topology and every what-if through the same years, several times over, added up.

Its report is one plain object of stable form (`SCHEMA`), which the table, the picture and ``--json`` show.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from statistics import fmean
from typing import TypedDict

from drsync.core.availability import budget_s
from drsync.sim.availability import statistics, topology, whatif
from drsync.sim.availability.faults import PLACES, YEAR_S, Event, history
from drsync.sim.availability.group import Group
from drsync.sim.availability.ledger import Result
from drsync.sim.availability.rates import Basis, Rates, Row
from drsync.sim.availability.rules import Rules
from drsync.sim.availability.statistics import Estimate
from drsync.sim.availability.topology import Topology
from drsync.sim.availability.whatif import WhatIf

SCHEMA = "drsync.availability-study/1"
METHOD = (
    "Student t over independent repetitions; differences pair by pair on common random numbers; "
    "an event that was never seen: 3 over the years"
)
MINUTE_S = 60.0

Beat = Callable[[float, float], None]
"""Called with the years done and all years to do."""


class Bounds(TypedDict):
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


class Loss(TypedDict):
    """Acknowledged writes that were given up. Flushed ones, unless a key says otherwise."""

    per_year: Bounds
    seconds_per_event: float
    per_year_by_cause: dict[str, float]
    seconds_by_cause: dict[str, float]
    unflushed_per_year: Bounds
    unflushed_seconds_per_event: float


class Figures(TypedDict):
    """What one set-up came to. Minutes and events are for a year."""

    availability: Bounds
    down_minutes: Bounds
    planned_minutes: float
    down_minutes_by_cause: dict[str, float]
    planned_minutes_by_cause: dict[str, float]
    outages_per_year: float
    good_years: float
    verdict: str
    loss: Loss
    openings_per_year: dict[str, float]


class Studied(Figures):
    """A topology and its figures."""

    name: str
    centers: list[str]
    store: str
    members: list[str]
    failover: str
    detection_s: float


class Compared(Figures):
    """A what-if, its figures, and how many more minutes a year it is down than the base."""

    name: str
    detection_s: float
    difference_minutes: Bounds
    is_significant: bool


class Report(TypedDict):
    """The whole study."""

    schema: str
    seed: int
    years: float
    repetitions: int
    target: float
    budget_minutes: float
    interval: str
    base: str
    topologies: list[Studied]
    what_ifs: list[Compared]
    assumptions: list[str]


@dataclass(frozen=True, slots=True)
class Order:
    """What shall be studied.

    Attributes:
        rates: the table.
        years: simulated in each repetition.
        repetitions: independent ones; at least two, or there is no interval.
        seed: of all dice.
        target: availability to reach, a fraction.
        detection_s: of automatic failover, in the topologies that have it.
        names: topologies to study, in this order; empty: all.
        has_what_ifs: whether the what-ifs are computed as well.
    """

    rates: Rates
    years: float = 100.0
    repetitions: int = 30
    seed: int = 1
    target: float = 0.9999
    detection_s: float = topology.DETECTION_S
    names: tuple[str, ...] = ()
    has_what_ifs: bool = True


def names() -> list[str]:
    """All topologies that can be studied."""
    return [one.name for one in topology.TOPOLOGIES]


def study(order: Order, jobs: int = 1, beat: Beat = lambda done, total: None) -> Report:
    """Run it. The report does not depend on `jobs`."""
    setups = _setups(order)
    total = order.years * order.repetitions * len(setups)
    runs: list[list[Result]] = []
    for results in _repetitions(order, jobs, beat, total):
        runs.append(results)
        beat(len(runs) * order.years * len(setups), total)
    by_setup = [[run[index] for run in runs] for index in range(len(setups))]
    return _report(order, setups, by_setup)


Setup = tuple[Topology, Rates]


def _topologies(order: Order) -> list[Topology]:
    known = {one.name: one for one in topology.TOPOLOGIES}
    chosen = [known[name] for name in order.names or known]
    return [one.automatic(order.detection_s) if one.is_automatic else one for one in chosen]


def _setups(order: Order) -> list[Setup]:
    """The topologies, then the base, then the what-ifs. What is there twice is computed once."""
    setups = [(one, order.rates) for one in _topologies(order)]
    if order.has_what_ifs:
        setups.append((whatif.BASE, order.rates))
        setups += [(one.topology, one.change(order.rates)) for one in whatif.what_ifs(order.detection_s)]
    unique: list[Setup] = []
    for setup in setups:
        if setup not in unique:
            unique.append(setup)
    return unique


def _repetitions(order: Order, jobs: int, beat: Beat, total: float) -> Iterator[list[Result]]:
    if jobs == 1:
        for repetition in range(order.repetitions):
            yield _repetition(order, repetition, beat=beat, total=total)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(partial(_repetition, order), range(order.repetitions))


def _repetition(order: Order, repetition: int, beat: Beat | None = None, total: float = 0.0) -> list[Result]:
    """All set-ups through the faults of one repetition."""
    histories: list[tuple[Rates, list[Event]]] = []
    results: list[Result] = []
    setups = _setups(order)
    for index, (one, rates) in enumerate(setups):
        group = Group(one, rates, _rules(one, rates))
        done = (repetition * len(setups) + index) * order.years

        def tell(years: float, done: float = done) -> None:
            if beat is not None:
                beat(done + years, total)

        results.append(
            group.run(_history(order, repetition, rates, histories), order.years, order.target, tell)
        )
    return results


_RULES: dict[str, Rules] = {}


def _rules(one: Topology, rates: Rates) -> Rules:
    """Decisions that were asked once are remembered for all repetitions of the process."""
    spec = one.spec(rates)
    key = repr(spec)
    if key not in _RULES:
        _RULES[key] = Rules(spec)
    return _RULES[key]


def _history(
    order: Order, repetition: int, rates: Rates, known: list[tuple[Rates, list[Event]]]
) -> list[Event]:
    """The faults of a table; the same list for tables that differ only in what people and drsync do."""
    for other, events in known:
        if _same_faults(rates, other):
            return events
    events = history(rates, order.years, order.seed, repetition)
    known.append((rates, events))
    return events


def _same_faults(one: Rates, other: Rates) -> bool:
    return (one.faults, one.planned, one.chances, one.model.disks, one.model.paths) == (
        other.faults,
        other.planned,
        other.chances,
        other.model.disks,
        other.model.paths,
    )


# --- adding up


def _report(order: Order, setups: Sequence[Setup], runs: Sequence[list[Result]]) -> Report:
    def of(one: Topology, rates: Rates) -> list[Result]:
        return runs[setups.index((one, rates))]

    studied: list[Studied] = [
        {
            "name": one.name,
            "centers": [PLACES[center] for center in one.centers],
            "store": one.store.value,
            "members": [PLACES[member] for member in one.members],
            "failover": "automatic" if one.is_automatic else "manual",
            "detection_s": one.detection_s if one.is_automatic else order.rates.people.alarm.mean,
            **_figures(order, of(one, order.rates)),
        }
        for one in _topologies(order)
    ]
    compared: list[Compared] = []
    if order.has_what_ifs:
        base = of(whatif.BASE, order.rates)
        compared = [
            _compare(order, one, of(one.topology, one.change(order.rates)), base)
            for one in whatif.what_ifs(order.detection_s)
        ]
    return {
        "schema": SCHEMA,
        "seed": order.seed,
        "years": order.years,
        "repetitions": order.repetitions,
        "target": order.target,
        "budget_minutes": budget_s(order.target, YEAR_S) / MINUTE_S,
        "interval": METHOD,
        "base": whatif.BASE.name,
        "topologies": studied,
        "what_ifs": compared,
        "assumptions": assumptions(order.rates),
    }


def _compare(order: Order, one: WhatIf, runs: list[Result], base: list[Result]) -> Compared:
    gap = statistics.difference(
        [run.down_s / MINUTE_S for run in runs], [run.down_s / MINUTE_S for run in base]
    )
    return {
        "name": one.name,
        "detection_s": one.topology.detection_s,
        "difference_minutes": _bounds(gap),
        "is_significant": not gap.low <= 0.0 <= gap.high,
        **_figures(order, runs),
    }


def _figures(order: Order, runs: list[Result]) -> Figures:
    available = statistics.estimate([run.available for run in runs], 0.0, 1.0)
    down = statistics.estimate([run.down_s / MINUTE_S for run in runs], 0.0)
    verdict = "unclear"
    if available.low >= order.target:
        verdict = "reached"
    elif available.high < order.target:
        verdict = "missed"
    return {
        "availability": _bounds(available),
        "down_minutes": _bounds(down),
        "planned_minutes": fmean(run.planned_s for run in runs) / MINUTE_S,
        "down_minutes_by_cause": _by_cause([run.down_by for run in runs], MINUTE_S),
        "planned_minutes_by_cause": _by_cause([run.planned_by for run in runs], MINUTE_S),
        "outages_per_year": fmean(run.outages for run in runs),
        "good_years": fmean(run.good_years for run in runs),
        "verdict": verdict,
        "loss": _loss(order, runs),
        "openings_per_year": _by_cause([run.openings for run in runs], 1.0),
    }


def _loss(order: Order, runs: list[Result]) -> Loss:
    years = order.years * order.repetitions
    events = statistics.rate([sum(run.losses_by.values()) for run in runs], years)
    seconds = fmean(sum(run.lost_by.values()) for run in runs)
    unflushed = statistics.rate([run.unflushed for run in runs], years)
    unflushed_s = fmean(run.unflushed_s for run in runs)
    return {
        "per_year": _bounds(events),
        "seconds_per_event": seconds / events.mean if events.mean else 0.0,
        "per_year_by_cause": _by_cause([run.losses_by for run in runs], 1.0),
        "seconds_by_cause": _by_cause([run.lost_by for run in runs], 1.0),
        "unflushed_per_year": _bounds(unflushed),
        "unflushed_seconds_per_event": unflushed_s / unflushed.mean if unflushed.mean else 0.0,
    }


def _by_cause(parts: Sequence[dict[str, float]], unit: float) -> dict[str, float]:
    keys = sorted({key for part in parts for key in part})
    return {key: sum(part.get(key, 0.0) for part in parts) / len(parts) / unit for key in keys}


def _bounds(found: Estimate) -> Bounds:
    plain = asdict(found)
    return {"mean": plain["mean"], "low": plain["low"], "high": plain["high"]}


def assumptions(rates: Rates) -> list[str]:
    """The rows of a table that nobody published or measured, by their path."""
    return [path for path, row in rows(rates).items() if row.basis is Basis.ASSUMPTION]


def rows(rates: Rates) -> dict[str, Row]:
    """All rows of a table by their path, in its order."""
    found: dict[str, Row] = {}
    for section in Rates.model_fields:
        part = getattr(rates, section)
        found |= {section: part} if isinstance(part, Row) else {f"{section}.{key}": row for key, row in part}
    return found
