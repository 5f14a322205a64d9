"""Run many seeds of the world, under the shipped rules or a mutant, and report.

Only the loop and the report live here. No clock is read: the caller hands one in if it wants a rate.
"""

from collections.abc import Callable
from typing import TypedDict

from drsync.sim.checker import ViolationError
from drsync.sim.mutants import MUTANTS
from drsync.sim.rules import Rules
from drsync.sim.simulation import Simulation

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
    return {name: mutant.flaw for name, mutant in MUTANTS.items()}


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

    `clock` gives seconds; without one the rate is reported as 0. Raises KeyError for an unknown mutant.
    """
    rules = MUTANTS[mutant].rules if mutant else Rules()
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
        simulation = Simulation(seed, rules)
        failure = _run_one(simulation, seed, mutant, steps)
        _add_up(report, simulation)
        fingerprint = (fingerprint * 31 + simulation.world.trace_sum) % (1 << 64)
        if failure is not None:
            report["failures"].append(failure)
        if len(report["failures"]) >= failures_max:
            break
    report["fingerprint"] = f"{fingerprint:016x}"
    seconds = clock() - began if clock else 0.0
    report["events_per_s"] = report["events"] / seconds if seconds > 0 else 0.0
    return report


def _run_one(simulation: Simulation, seed: int, mutant: str | None, steps: int) -> Failure | None:
    try:
        simulation.run(steps)
    except ViolationError as found:
        option = f" --mutant {mutant}" if mutant else ""
        return Failure(
            seed=seed,
            invariant=found.invariant,
            evidence=" ".join(map(str, found.evidence)),
            replay=f"drsync sim --seed {seed}{option}",
        )
    return None


def _add_up(report: Report, simulation: Simulation) -> None:
    world = simulation.world
    report["seeds"] += 1
    report["events"] += world.events
    report["acknowledged"] += len(world.checker.acknowledged)
    report["openings"] += world.checker.openings
    report["forced"] += world.checker.forced
    report["forks"] += sum(len(member.disk.forks) for member in world.members.values())
