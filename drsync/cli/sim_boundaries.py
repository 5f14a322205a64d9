"""`drsync sim boundaries`: a death at every step that lasts, of every procedure."""

import sys
import time
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from drsync.cli.errors import EXIT_CODES, FAILED
from drsync.cli.options import Talk, json_option
from drsync.cli.output import BAD, GOOD, console, line, print_json, row, table
from drsync.cli.text import count, format_duration, plural
from drsync.config.problems import nearest
from drsync.model.errors import UsageError

if TYPE_CHECKING:
    from drsync.sim.boundaries.deaths import Death
    from drsync.sim.boundaries.walk import Failure, ProcedureReport, Told

SCHEMA = "drsync.boundaries/1"
SAMPLE = 40  # of each procedure, because that takes a few minutes
JOBS_MAX = 256  # because no machine that runs this has more
DRAWN_EVERY_S = 0.2
LINES = 12  # of a failing boundary, because the rest comes with its replay


class Asked(TypedDict):
    """The options that say what is tried."""

    names: tuple[str, ...]
    at: tuple[str, ...]
    is_all: bool
    is_double: bool
    sample: int
    mutant: str | None
    jobs: int


@json_option
@click.command("boundaries", epilog=EXIT_CODES)
@click.option("--procedure", "names", multiple=True, metavar="NAME", help="Only this one; may be repeated.")
@click.option("--at", multiple=True, metavar="WHERE", help="Replay one death; may be repeated.")
@click.option("--all", "is_all", is_flag=True, help="Every boundary, which takes hours on one core.")
@click.option(
    "--double", "is_double", is_flag=True, help="Two deaths each: coordinator and agent, or a city."
)
@click.option(
    "--sample", type=click.IntRange(1), default=SAMPLE, help="Of each procedure.", show_default=True
)
@click.option("--mutant", metavar="NAME", help="Break one rule on purpose, and see it caught.")
@click.option("--jobs", type=click.IntRange(1, JOBS_MAX), default=1, help="Processes. [default: 1]")
@click.option("--list", "is_list", is_flag=True, help="The procedures, and how many boundaries each has.")
def boundaries(is_list: bool, **asked: Unpack[Asked]) -> None:
    """A death at every step that lasts.

    Each procedure is run once undisturbed, and everything that lasts is counted: the coordinator's commands
    and commits, each agent's changes and syncs of files. Then it is run again for each of these, and there
    somebody dies: the process, or the machine's power with everything unsynced. The dead come back; the
    procedure must end, the group be served, every copy hold what was acknowledged. Ends with 1 if not.

    \b
    Examples:
      drsync sim boundaries
      drsync sim boundaries --procedure switchover --all --jobs 4
      drsync sim boundaries --double --json
      drsync sim boundaries --procedure drill --at remote:call:2:after:power
    """
    if is_list:
        _list()
        return
    names = _known(asked["names"])
    _check_mutant(asked["mutant"])
    if asked["at"]:
        _replay(names, asked["at"], asked["mutant"])
        return
    reports = _walk(names, asked)
    failures = [failure for report in reports for failure in report["failures"]]
    if Talk.here().as_json:
        print_json({"schema": SCHEMA, "procedures": reports})
    else:
        _show(reports)
    if failures:
        click.get_current_context().exit(FAILED)


def _known(names: tuple[str, ...]) -> list[str]:
    from drsync.sim.boundaries.procedures import PROCEDURES

    for name in names:
        if name not in PROCEDURES:
            meant = nearest(name, PROCEDURES)
            hint = f"Did you mean {meant}? " if meant else ""
            raise UsageError(
                f"there is no procedure {name!r}", remedy=f"{hint}There are {', '.join(PROCEDURES)}."
            )
    return list(dict.fromkeys(names)) or list(PROCEDURES)


def _check_mutant(mutant: str | None) -> None:
    from drsync.sim.mutants import running_mutants

    known = running_mutants()
    if mutant is not None and mutant not in known:
        meant = nearest(mutant, known)
        hint = f"Did you mean {meant}? " if meant else ""
        raise UsageError(f"there is no mutant {mutant!r}", remedy=f"{hint}See drsync sim --list-mutants.")


def _walk(names: list[str], asked: Asked) -> "list[ProcedureReport]":
    from drsync.sim.boundaries.walk import walk

    told = _progress() if sys.stderr.isatty() else None
    at_most = 0 if asked["is_all"] else asked["sample"]
    try:
        return [
            walk(
                name,
                at_most,
                is_double=asked["is_double"],
                mutant=asked["mutant"],
                jobs=asked["jobs"],
                told=told,
            )
            for name in names
        ]
    finally:
        if told is not None:
            click.echo("\r\x1b[K", err=True, nl=False)


def _progress() -> "Told":
    """The procedure, runs done and the time left for it, on one line of stderr."""
    began = drawn = time.monotonic()

    def draw(name: str, done: int, total: int) -> None:
        nonlocal began, drawn
        now = time.monotonic()
        if done == 1:
            began = now
        elif now - drawn >= DRAWN_EVERY_S:
            drawn = now
            left = format_duration((total - done) * (now - began) / (done - 1))
            click.echo(
                f"\r\x1b[K{name}: {count(done)} of {count(total)} runs, {left} left", err=True, nl=False
            )

    return draw


def _show(reports: "list[ProcedureReport]") -> None:
    shown = table(
        ["procedure", "boundaries", "tried", "done", "asked again", "after repair", "not", "failed"]
    )
    for report in reports:
        endings = report["endings"]
        row(
            shown,
            report["procedure"],
            count(report["boundaries"]),
            count(report["runs"]),
            *(count(endings[name]) for name in ("done", "again", "mended", "otherwise")),
            count(len(report["failures"])),
        )
    console().print(shown)
    failures = [failure for report in reports for failure in report["failures"]]
    for failure in failures:
        _show_failure(failure)
    if not failures:
        line(f"Every promise was kept in {plural(sum(one['runs'] for one in reports), 'run')}.", GOOD)


def _show_failure(failure: "Failure") -> None:
    line(f"{failure['procedure']} broke {failure['invariant']}: {failure['evidence']}", BAD)
    for text in failure["last"][-LINES:]:
        line(f"  {text}", "dim")
    line(f"  again: {failure['replay']}")


def _list() -> None:
    from drsync.sim.boundaries import walk
    from drsync.sim.boundaries.procedures import PROCEDURES

    found = {name: (one.about, len(walk.boundaries(walk.count(name)))) for name, one in PROCEDURES.items()}
    if Talk.here().as_json:
        listed = {name: {"about": about, "boundaries": number} for name, (about, number) in found.items()}
        print_json({"schema": SCHEMA, "procedures": listed})
        return
    shown = table(["procedure", "boundaries", "what it is"])
    for name, (about, number) in found.items():
        row(shown, name, count(number), about)
    console().print(shown)


def _replay(names: list[str], at: tuple[str, ...], mutant: str | None) -> None:
    from drsync.sim import mutants
    from drsync.sim.boundaries import walk

    if len(names) != 1:
        raise UsageError("--at needs one --procedure", remedy="Copy the line that a failing boundary prints.")
    with mutants.in_force(mutant):
        outcome = walk.run(names[0], tuple(_death(text) for text in at), keeps_all=True)
    found = walk.failure(outcome, mutant) if outcome.failure is not None else None
    if Talk.here().as_json:
        ending = outcome.ending.value if outcome.ending else ""
        print_json({"schema": SCHEMA, "ending": ending, "failure": found, "lines": outcome.lines})
    else:
        for text in outcome.lines:
            line(text, "dim")
        if found is not None:
            line(f"{found['procedure']} broke {found['invariant']}: {found['evidence']}", BAD)
        else:
            line(f"Every promise was kept; it ended: {outcome.ending}.", GOOD)
    if found is not None:
        click.get_current_context().exit(FAILED)


def _death(text: str) -> "Death":
    from drsync.sim.boundaries.deaths import EXAMPLE, parse

    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"--at: {error}", remedy=f"Write for example {EXAMPLE}.") from error
