"""`drsync sim`: thousands of disasters in a seeded world, by the same decisions as the daemons."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from drsync.cli.errors import EXIT_CODES, FAILED
from drsync.cli.incident import incident_options, replay
from drsync.cli.options import Talk, json_option
from drsync.cli.output import BAD, GOOD, console, line, print_json, row, table
from drsync.cli.sim_availability import availability
from drsync.cli.sim_boundaries import boundaries
from drsync.cli.text import count, format_duration, plural
from drsync.config.problems import nearest
from drsync.model.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from drsync.sim.runner import Failure, Report, SeedReport

SEEDS = 100  # because they take a minute, and most wrong rules are caught within them
SEED_MAX = (1 << 63) - 1
DAYS_MAX = 366.0  # because a world with years of faults is better cut into seeds
JOBS_MAX = 256  # because no machine that runs this has more
FAILURES_MAX = 10  # because whoever comes back in the morning wants some of them, and the report to end
DRAWN_EVERY_S = 0.2


class Asked(TypedDict):
    """The options that say which worlds are run."""

    seeds: int | None
    seed: int | None
    days: float | None
    mutant: str | None
    world: str
    jobs: int
    failures: int
    is_coverage: bool


@json_option
@incident_options
@click.group(epilog=EXIT_CODES, invoke_without_command=True)
@click.option("--seeds", type=click.IntRange(1), help=f"How many worlds. [default: {SEEDS}; 1 with --seed]")
@click.option("--seed", type=click.IntRange(0, SEED_MAX), help="The first one; alone: replay this one.")
@click.option(
    "--days", type=click.FloatRange(0, DAYS_MAX, min_open=True), help="Under faults. [default: half a minute]"
)
@click.option("--mutant", metavar="NAME", help="Break one rule on purpose, and see it caught.")
@click.option(
    "--world", type=click.Choice(["both", "running", "miniature"]), default="both", show_default=True
)
@click.option("--jobs", type=click.IntRange(1, JOBS_MAX), default=1, help="Processes. [default: 1]")
@click.option(
    "--failures", type=click.IntRange(1), default=FAILURES_MAX, help="Enough of them.", show_default=True
)
@click.option("--coverage", "is_coverage", is_flag=True, help="Also tell what the worlds went through.")
@click.option("--list-mutants", "is_list", is_flag=True, help="The rules that can be broken.")
def sim(is_list: bool, incident: Path | None, at: int | None, lang: str, **asked: Unpack[Asked]) -> None:
    """Thousands of disasters in a seeded world.

    The agents and the coordinator of this version, in three centers on virtual time: lines, disks, clocks,
    machines and cities fail, operators err, and all the while the promises are checked. A failing seed is a
    number; typed again it fails in the same way. Ends with 1 if a promise was broken.

    \b
    Examples:
      drsync sim --seeds 300
      drsync sim --seed 8812
      drsync sim --seeds 10000 --jobs 4
      drsync sim --list-mutants
      drsync sim --seeds 50 --mutant ack_before_shrink
      drsync sim --replay-incident failover.jsonl
      drsync sim availability
      drsync sim boundaries
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    if incident is not None:
        replay(incident, at, lang)
        return
    from drsync.sim.runner import list_mutants

    known = list_mutants()
    if is_list:
        _list(known)
        return
    mutant = asked["mutant"]
    if mutant is not None and mutant not in known:
        meant = nearest(mutant, known)
        hint = f"Did you mean {meant}? " if meant else ""
        raise UsageError(f"there is no mutant {mutant!r}", remedy=f"{hint}See drsync sim --list-mutants.")
    _run(asked)


sim.add_command(availability)
sim.add_command(boundaries)


def _run(asked: Asked) -> None:
    from drsync.sim.run import BROKEN_S
    from drsync.sim.runner import DAY_S, Kind, run_seeds

    seed, seeds = asked["seed"], asked["seeds"]
    number = seeds or (SEEDS if seed is None else 1)
    days = asked["days"]
    talk = Talk.here()
    began = time.perf_counter()
    try:
        report = run_seeds(
            seed if seed is not None else 1,
            number,
            asked["mutant"],
            Kind(asked["world"]),
            broken_s=BROKEN_S if days is None else days * DAY_S,
            jobs=asked["jobs"],
            clock=time.perf_counter,
            told=_progress(number),
            failures_max=asked["failures"],
        )
    finally:
        _wipe()
    if talk.as_json:
        print_json(report)
    else:
        _show(report, time.perf_counter() - began)
        if asked["is_coverage"]:
            _show_coverage(report)
    if report["failures"]:
        click.get_current_context().exit(FAILED)


def _wipe() -> None:
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", err=True, nl=False)


def _progress(number: int) -> "Callable[[SeedReport], None]":
    """Seeds done, rate and time left on stderr if that is a terminal; failures at once in any case."""
    began = time.monotonic()
    drawn, done = began - DRAWN_EVERY_S, 0

    def told(one: "SeedReport") -> None:
        nonlocal drawn, done
        done += 1
        for failure in one["failures"]:
            _wipe()
            click.echo(f"seed {failure['seed']} broke {failure['invariant']}: {failure['replay']}", err=True)
        now = time.monotonic()
        if sys.stderr.isatty() and now - drawn >= DRAWN_EVERY_S:
            drawn = now
            rate = done / max(now - began, 1e-3)
            left = format_duration((number - done) / rate)
            click.echo(
                f"\r\x1b[K{count(done)} of {plural(number, 'seed')}, {rate:.1f} a second, {left} left",
                err=True,
                nl=False,
            )

    return told


def _show(report: "Report", seconds: float) -> None:
    took = f"{count(report['events_per_s'])} a second, {format_duration(seconds)}"
    line(f"{plural(report['seeds'], 'seed')}, {plural(report['events'], 'event')} ({took})")
    virtual = format_duration(report["virtual_s"])
    line(f"  {plural(report['faults'], 'fault')} in {virtual} of virtual time")
    written = plural(report["acknowledged"], "acknowledged write")
    lost = f"{count(report['lost'])} lost as stated beforehand"
    line(f"  {written}, {lost}; {plural(report['openings'], 'opening')}")
    if report["undecided"]:
        histories = plural(report["undecided"], "history of charters", "histories of charters")
        line(f"  {histories} too large to be checked", BAD)
    line(f"  fingerprint {report['fingerprint']}", "dim")
    for failure in report["failures"]:
        _show_failure(failure)
    if not report["failures"]:
        line("Every promise was kept.", GOOD)


def _show_coverage(report: "Report") -> None:
    from drsync.sim.coverage import missing
    from drsync.sim.faults import FAULTS, ORDERS

    struck = [*(f"fault {name}" for name in FAULTS), *(f"order {name}" for name in ORDERS)]
    what = table(["situation", "seeds"])
    for name, seeds in sorted(report["met"].items()):
        row(what, name, count(seeds))
    console().print(what)
    for name in missing(report["met"], struck):
        line(f"never: {name}", BAD)


def _show_failure(failure: "Failure") -> None:
    line(f"seed {failure['seed']} broke {failure['invariant']}: {failure['evidence']}", BAD)
    for happened in failure["last"]:
        line(f"  {happened}", "dim")
    line(f"  again: {failure['replay']}")


def _list(known: dict[str, str]) -> None:
    if Talk.here().as_json:
        print_json({"mutants": known})
        return
    what = table(["mutant", "what is wrong with it"])
    for name, flaw in known.items():
        row(what, name, flaw)
    console().print(what)
