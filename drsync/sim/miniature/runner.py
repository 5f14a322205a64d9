"""Run many seeds of the world, under the shipped rules or a mutant, and report.

Only the loop and the report live here. No clock is read: the caller hands one in if it wants a rate.
"""

from collections.abc import Callable
from typing import TypedDict

from drsync.sim.miniature import resync
from drsync.sim.miniature.checker import ViolationError
from drsync.sim.miniature.mutants import MUTANTS
from drsync.sim.miniature.rules import Rules
from drsync.sim.miniature.simulation import Simulation

RESYNC = "resync_"
"""Prefix of the mutants of the resync world."""

STEPS = 1500  # ticks under faults of one seed, because longer runs found nothing that more seeds did not


class Failure(TypedDict):
    """A broken invariant. `replay` is the command that shows it again."""

    seed: int
    invariant: str
    evidence: str
    replay: str


class Report(TypedDict):
    """What a series of seeds did."""

    mutant: str
    seeds: int
    events: int
    events_per_s: float
    acknowledged: int
    openings: int
    forced: int
    forks: int
    fingerprint: str
    failures: list[Failure]


def list_mutants() -> dict[str, str]:
    """Name -> what is wrong with it."""
    ownership = {name: mutant.flaw for name, mutant in MUTANTS.items()}
    return ownership | {RESYNC + name: flaw for name, (flaw, _) in resync.MUTANTS.items()}


def run_seeds(
    first: int,
    count: int,
    mutant: str | None = None,
    *,
    clock: Callable[[], float] | None = None,
    failures_max: int = 1,
    steps: int = STEPS,
) -> Report:
    """Run seeds `first` to `first + count - 1`; stop after `failures_max` failures.

    Every seed is a world of ownership and one of resync; a mutant lives in one of them. `clock` gives
    seconds; without one the rate is reported as 0. Raises KeyError for an unknown mutant.
    """
    if mutant is not None and mutant not in list_mutants():
        raise KeyError(mutant)
    began = clock() if clock else 0.0
    report = Report(
        mutant=mutant or "",
        seeds=0,
        events=0,
        events_per_s=0.0,
        acknowledged=0,
        openings=0,
        forced=0,
        forks=0,
        fingerprint="",
        failures=[],
    )
    fingerprint = 0
    for seed in range(first, first + count):
        report["seeds"] += 1
        try:
            fingerprint = (fingerprint * 31 + _run_one(report, seed, mutant, steps)) % (1 << 64)
        except ViolationError as found:
            report["failures"].append(_failure(found, seed, mutant))
        if len(report["failures"]) >= failures_max:
            break
    report["fingerprint"] = f"{fingerprint:016x}"
    seconds = clock() - began if clock else 0.0
    report["events_per_s"] = report["events"] / seconds if seconds > 0 else 0.0
    return report


def _run_one(report: Report, seed: int, mutant: str | None, steps: int) -> int:
    """One seed; returns its fingerprint. Raises ViolationError."""
    trace = 0
    if mutant is None or mutant.startswith(RESYNC):
        rules = resync.MUTANTS[mutant.removeprefix(RESYNC)][1] if mutant else resync.ResyncRules()
        link = resync.ResyncWorld(seed, rules)
        report["events"] += resync.STEPS
        link.run(resync.STEPS)
        trace = link.tip * resync.STEPS + link.position
    if mutant is None or mutant in MUTANTS:
        simulation = Simulation(seed, MUTANTS[mutant].rules if mutant else Rules())
        try:
            simulation.run(steps)
        finally:
            _add_up(report, simulation)
        trace += simulation.world.trace_sum
    return trace


def _failure(found: ViolationError, seed: int, mutant: str | None) -> Failure:
    option = f" --mutant {mutant}" if mutant else ""
    return Failure(
        seed=seed,
        invariant=found.invariant,
        evidence=" ".join(map(str, found.evidence)),
        replay=f"drsync sim --seed {seed}{option}",
    )


def _add_up(report: Report, simulation: Simulation) -> None:
    world = simulation.world
    report["events"] += world.events
    report["acknowledged"] += len(world.checker.acknowledged)
    report["openings"] += world.checker.openings
    report["forced"] += world.checker.forced
    report["forks"] += sum(len(member.disk.forks) for member in world.members.values())
