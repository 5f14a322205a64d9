"""Walk along the boundaries of a procedure: once undisturbed to count them, then once for each, with a death.

No clock is read here: whoever wants a rate counts what it is told.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import TypedDict

from drsync.sim import mutants
from drsync.sim.boundaries import deaths
from drsync.sim.boundaries.deaths import Death, Steps
from drsync.sim.boundaries.procedures import PROCEDURES
from drsync.sim.boundaries.trial import Ending, Outcome, Trial

LAST_LINES = 40


def count(name: str) -> Steps:
    """What lasts in a procedure that nobody disturbs. Raises KeyError, ViolationError."""
    return Trial(name, ()).count()


def run(name: str, killed: tuple[Death, ...], *, keeps_all: bool = False) -> Outcome:
    """One procedure with some deaths. Raises KeyError: there is no such procedure."""
    return Trial(name, killed, keeps_all=keeps_all).execute()


def boundaries(steps: Steps, *, is_double: bool = False) -> list[tuple[Death, ...]]:
    """All boundaries of a procedure, in a fixed order."""
    return deaths.double(steps) if is_double else [(death,) for death in deaths.single(steps)]


def sample(found: Sequence[tuple[Death, ...]], at_most: int) -> list[tuple[Death, ...]]:
    """About `at_most` of them at a fixed stride; all if there are no more.

    The stride is a prime above the number of moments and ways, so that it meets all of these in turn.
    """
    if len(found) <= at_most:
        return list(found)
    stride = max(-(-len(found) // at_most), 7)
    while any(stride % factor == 0 for factor in range(2, int(stride**0.5) + 1)):
        stride += 1
    return list(found[stride // 2 :: stride])


class Failure(TypedDict):
    """A boundary at which a promise was broken. `last`: what happened; `replay`: the command for it."""

    procedure: str
    at: list[str]
    invariant: str
    evidence: str
    last: list[str]
    replay: str


class ProcedureReport(TypedDict):
    """One procedure. `boundaries`: there are; `runs`: of them were tried; `slowest_s`: virtual seconds."""

    procedure: str
    about: str
    boundaries: int
    runs: int
    events: int
    endings: dict[str, int]
    slowest_s: float
    slowest: str
    failures: list[Failure]


Told = Callable[[str, int, int], None]
"""Told now and then: procedure, runs done, runs there will be."""


def walk(  # each says one thing about the walk
    name: str,
    at_most: int = 0,
    *,
    is_double: bool = False,
    mutant: str | None = None,
    jobs: int = 1,
    told: Told | None = None,
    failures_max: int = 0,
) -> ProcedureReport:
    """Try the boundaries of one procedure.

    Args:
        name: of the procedure.
        at_most: so many of them, at a fixed stride; 0: all.
        is_double: two deaths each.
        mutant: a wrong rule, or None; it is not in force while boundaries are counted.
        jobs: processes.
        told: of progress.
        failures_max: stop after so many; 0: never.

    Raises:
        KeyError: there is no such procedure or mutant.
        ViolationError: it does not end even when nobody disturbs it.
    """
    found = boundaries(count(name), is_double=is_double)
    chosen = sample(found, at_most) if at_most else found
    report = ProcedureReport(
        procedure=name,
        about=PROCEDURES[name].about,
        boundaries=len(found),
        runs=0,
        events=0,
        endings={ending.value: 0 for ending in Ending},
        slowest_s=0.0,
        slowest="",
        failures=[],
    )
    for outcome in _each(chosen, partial(_tried, name, mutant=mutant), jobs):
        report["runs"] += 1
        report["events"] += outcome.events
        if outcome.ending is not None:
            report["endings"][outcome.ending.value] += 1
        if outcome.seconds > report["slowest_s"]:
            report["slowest_s"], report["slowest"] = outcome.seconds, " ".join(map(str, outcome.deaths))
        if outcome.failure is not None:
            report["failures"].append(failure(outcome, mutant))
        if told is not None:
            told(name, report["runs"], len(chosen))
        if failures_max and len(report["failures"]) >= failures_max:
            break
    return report


def _tried(name: str, killed: tuple[Death, ...], mutant: str | None = None) -> Outcome:
    with mutants.in_force(mutant):
        return run(name, killed)


def _each(
    chosen: Iterable[tuple[Death, ...]], tried: Callable[[tuple[Death, ...]], Outcome], jobs: int
) -> Iterator[Outcome]:
    if jobs <= 1:
        yield from map(tried, chosen)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        try:
            yield from pool.map(tried, chosen)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def failure(outcome: Outcome, mutant: str | None = None) -> Failure:
    """A broken promise with the command that shows it again."""
    assert outcome.failure is not None
    at = [str(death) for death in outcome.deaths]
    option = f" --mutant {mutant}" if mutant else ""
    return Failure(
        procedure=outcome.name,
        at=at,
        invariant=outcome.failure.invariant,
        evidence=outcome.failure.text,
        last=outcome.lines[-LAST_LINES:],
        replay=" ".join(["drsync sim boundaries --procedure", outcome.name, *(f"--at {one}" for one in at)])
        + option,
    )
