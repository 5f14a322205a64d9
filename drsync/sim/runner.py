"""Many seeds, one after the other or side by side, and a report of what they did.

A seed is a world of running daemons and one of rules in miniature; a mutant lives in one of them or in both.
No clock is read here: the caller hands one in if it wants a rate.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from enum import StrEnum
from functools import partial
from multiprocessing import get_context
from typing import TypedDict

from drsync.sim import mutants
from drsync.sim.miniature import runner as miniature
from drsync.sim.run import BROKEN_S, SETTLE_S, Run

LAST_LINES = 25  # of a failing seed, because the cause is seldom further back
DAY_S = 86_400.0


class Kind(StrEnum):
    """Which worlds are run."""

    RUNNING = "running"
    MINIATURE = "miniature"
    BOTH = "both"


class Failure(TypedDict):
    """A broken promise. `last`: what happened before it; `replay`: the command that shows it again."""

    seed: int
    world: str
    invariant: str
    evidence: str
    last: list[str]
    replay: str


class _Counts(TypedDict):
    """What was done and found. `undecided`: seeds whose history of charters was too large to be checked."""

    events: int
    virtual_s: float
    acknowledged: int
    openings: int
    lost: int
    faults: int
    undecided: int
    fingerprint: str
    met: dict[str, int]
    failures: list[Failure]


class SeedReport(_Counts):
    """One seed."""

    seed: int


class Report(_Counts):
    """A series of seeds. `met`: situations of worlds of daemons, and in how many seeds each was met."""

    mutant: str
    world: str
    seeds: int
    events_per_s: float


def _nothing() -> _Counts:
    return _Counts(
        events=0,
        virtual_s=0.0,
        acknowledged=0,
        openings=0,
        lost=0,
        faults=0,
        undecided=0,
        fingerprint="",
        met={},
        failures=[],
    )


def list_mutants() -> dict[str, str]:
    """Name -> what is wrong with it."""
    return miniature.list_mutants() | mutants.running_mutants()


def worlds_of(mutant: str | None, kind: Kind) -> tuple[Kind, ...]:
    """Where a mutant can be seen, of the worlds that were asked for. Raises KeyError for an unknown one."""
    if mutant is not None and mutant not in list_mutants():
        raise KeyError(mutant)
    found = []
    if kind is not Kind.MINIATURE and (mutant is None or mutant in mutants.running_mutants()):
        found.append(Kind.RUNNING)
    if kind is not Kind.RUNNING and (mutant is None or mutant in miniature.list_mutants()):
        found.append(Kind.MINIATURE)
    return tuple(found)


def run_seed(
    seed: int, mutant: str | None = None, kind: Kind = Kind.BOTH, broken_s: float = BROKEN_S
) -> SeedReport:
    """Everything of one seed."""
    report = SeedReport(seed=seed, **_nothing())
    for world in worlds_of(mutant, kind):
        if world is Kind.RUNNING:
            _run_daemons(report, mutant, broken_s)
        else:
            _run_miniature(report, mutant)
    return report


def run_seeds(  # noqa: PLR0913  # each says one thing about the series
    first: int,
    count: int,
    mutant: str | None = None,
    kind: Kind = Kind.BOTH,
    *,
    broken_s: float = BROKEN_S,
    jobs: int = 1,
    clock: Callable[[], float] | None = None,
    told: Callable[[SeedReport], None] | None = None,
    failures_max: int = 1,
) -> Report:
    """Run seeds `first` to `first + count - 1`; stop after `failures_max` failures.

    Args:
        first: seed.
        count: of seeds.
        mutant: a wrong rule, or None.
        kind: the worlds.
        broken_s: virtual seconds under faults in each world of daemons.
        jobs: processes; the report is the same for any number.
        clock: gives seconds; without one the rate is reported as 0.
        told: called with each seed's report, in the order of seeds.
        failures_max: enough of them.

    Raises:
        KeyError: there is no such mutant.
    """
    worlds_of(mutant, kind)
    began = clock() if clock else 0.0
    report = Report(mutant=mutant or "", world=kind.value, seeds=0, events_per_s=0.0, **_nothing())
    fingerprint = 0
    for one in _each(
        range(first, first + count), partial(run_seed, mutant=mutant, kind=kind, broken_s=broken_s), jobs
    ):
        report["seeds"] += 1
        report["events"] += one["events"]
        report["virtual_s"] += one["virtual_s"]
        report["acknowledged"] += one["acknowledged"]
        report["openings"] += one["openings"]
        report["lost"] += one["lost"]
        report["faults"] += one["faults"]
        report["undecided"] += one["undecided"]
        for situation in one["met"]:
            report["met"][situation] = report["met"].get(situation, 0) + 1
        report["failures"] += one["failures"]
        fingerprint = (fingerprint * 31 + int(one["fingerprint"] or "0", 16)) % (1 << 64)
        if told is not None:
            told(one)
        if len(report["failures"]) >= failures_max:
            break
    report["fingerprint"] = f"{fingerprint:016x}"
    seconds = clock() - began if clock else 0.0
    report["events_per_s"] = report["events"] / seconds if seconds > 0 else 0.0
    return report


def _each(seeds: Iterable[int], run: Callable[[int], SeedReport], jobs: int) -> Iterator[SeedReport]:
    if jobs <= 1:
        yield from map(run, seeds)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        try:
            yield from pool.map(run, seeds)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _run_daemons(report: SeedReport, mutant: str | None, broken_s: float) -> None:
    with mutants.in_force(mutant):
        outcome = Run(report["seed"], broken_s=broken_s, settle_s=min(SETTLE_S, broken_s)).execute()
    report["events"] += outcome.events
    report["virtual_s"] += outcome.virtual_s
    report["acknowledged"] += outcome.acknowledged
    report["openings"] += outcome.openings
    report["lost"] += outcome.lost
    report["faults"] += outcome.faults
    report["undecided"] += bool(outcome.undecided)
    report["fingerprint"] += f"{outcome.fingerprint:08x}"
    report["met"] = outcome.met
    found = outcome.failure
    if found is not None:
        last = outcome.lines[-LAST_LINES:]
        report["failures"].append(
            _failure(report["seed"], Kind.RUNNING, mutant, found.invariant, found.text, last)
        )


def _run_miniature(report: SeedReport, mutant: str | None) -> None:
    small = miniature.run_seeds(report["seed"], 1, mutant)
    report["events"] += small["events"]
    report["acknowledged"] += small["acknowledged"]
    report["openings"] += small["openings"]
    report["fingerprint"] += small["fingerprint"]
    for found in small["failures"]:
        report["failures"].append(
            _failure(report["seed"], Kind.MINIATURE, mutant, found["invariant"], found["evidence"], [])
        )


def _failure(  # one field each
    seed: int, world: Kind, mutant: str | None, invariant: str, evidence: str, last: list[str]
) -> Failure:
    option = f" --mutant {mutant}" if mutant else ""
    return Failure(
        seed=seed,
        world=world.value,
        invariant=invariant,
        evidence=evidence,
        last=last,
        replay=f"drsync sim --seed {seed} --world {world.value}{option}",
    )
