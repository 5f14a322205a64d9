"""`drsync sim`: thousands of disasters in a seeded world, by the same decisions as the daemons."""

import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drsync.cli.errors import EXIT_CODES, FAILED
from drsync.cli.incident import incident_options, replay
from drsync.cli.options import Talk, json_option
from drsync.cli.output import BAD, GOOD, console, line, print_json, row, table
from drsync.cli.sim_availability import availability
from drsync.cli.text import count, format_duration, plural
from drsync.config.problems import nearest
from drsync.model.errors import UsageError

if TYPE_CHECKING:
    from drsync.sim.miniature.runner import Report

SEEDS = 100  # because they take some seconds, and most wrong rules are caught within them
SEED_MAX = (1 << 63) - 1


@json_option
@incident_options
@click.group(epilog=EXIT_CODES, invoke_without_command=True)
@click.option("--seeds", type=click.IntRange(1), help=f"How many worlds. [default: {SEEDS}; 1 with --seed]")
@click.option("--seed", type=click.IntRange(0, SEED_MAX), help="The first one; alone: replay this one.")
@click.option("--mutant", metavar="NAME", help="Break one rule on purpose, and see it caught.")
@click.option("--list-mutants", "is_list", is_flag=True, help="The rules that can be broken.")
def sim(
    seeds: int | None,
    seed: int | None,
    mutant: str | None,
    is_list: bool,
    incident: Path | None,
    at: int | None,
    lang: str,
) -> None:
    """Thousands of disasters in a seeded world.

    Three centers, a charter store, networks and disks that fail, operators that err: after every step the
    promises are checked. A failing seed is a number; typed again it fails in the same way. Ends with 1 if a
    promise was broken.

    \b
    Examples:
      drsync sim --seeds 300
      drsync sim --seed 8812
      drsync sim --list-mutants
      drsync sim --seeds 50 --mutant ack_before_shrink
      drsync sim --replay-incident failover.jsonl
      drsync sim availability
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    if incident is not None:
        replay(incident, at, lang)
        return
    from drsync.sim.miniature.runner import list_mutants

    known = list_mutants()
    if is_list:
        _list(known)
        return
    if mutant is not None and mutant not in known:
        meant = nearest(mutant, known)
        hint = f"Did you mean {meant}? " if meant else ""
        raise UsageError(f"there is no mutant {mutant!r}", remedy=f"{hint}See drsync sim --list-mutants.")
    _run(seed if seed is not None else 1, seeds or (SEEDS if seed is None else 1), mutant)


sim.add_command(availability)


def _run(first: int, number: int, mutant: str | None) -> None:
    from drsync.sim.miniature.runner import run_seeds

    as_json = Talk.here().as_json
    is_shown = console().is_terminal and not as_json
    title = f"{plural(number, 'seed')} from {first}" + (f", mutant {mutant}" if mutant else "")
    began = time.perf_counter()
    with console().status(f"{title} …") if is_shown else nullcontext():
        report = run_seeds(first, number, mutant, clock=time.perf_counter)
    if as_json:
        print_json(report)
    else:
        _show(report, time.perf_counter() - began)
    if report["failures"]:
        click.get_current_context().exit(FAILED)


def _show(report: "Report", seconds: float) -> None:
    took = f"{count(report['events_per_s'])} a second, {format_duration(seconds)}"
    line(f"{plural(report['seeds'], 'seed')}, {plural(report['events'], 'event')} ({took})")
    openings = f"{plural(report['openings'], 'opening')}, {count(report['forced'])} of them forced"
    written = plural(report["acknowledged"], "acknowledged write")
    line(f"  {written}, {openings}, {plural(report['forks'], 'fork')}")
    line(f"  fingerprint {report['fingerprint']}", "dim")
    for failure in report["failures"]:
        line(f"seed {failure['seed']} broke {failure['invariant']}: {failure['evidence']}", BAD)
        line(f"  again: {failure['replay']}")
    if not report["failures"]:
        line("Every promise was kept.", GOOD)


def _list(known: dict[str, str]) -> None:
    if Talk.here().as_json:
        print_json({"mutants": known})
        return
    what = table(["mutant", "what is wrong with it"])
    for name, flaw in known.items():
        row(what, name, flaw)
    console().print(what)
