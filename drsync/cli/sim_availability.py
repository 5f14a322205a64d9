"""`drsync sim availability`: a hundred years of each set-up, before anybody buys it."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from drsync.cli.errors import EXIT_CODES
from drsync.cli.options import Talk, json_option
from drsync.cli.output import print_json
from drsync.cli.text import count, format_duration
from drsync.model.errors import UsageError

if TYPE_CHECKING:
    from drsync.sim.availability.rates import Rates
    from drsync.sim.availability.study import Order, Report

YEARS, REPETITIONS = 100, 30  # because that takes some minutes and shows a minute a year
SEED_MAX = (1 << 63) - 1
YEARS_MAX = 100_000  # because instants are floating point numbers and should stay exact to microseconds
REPETITIONS_MAX = 10_000  # because the interval shrinks by its root, and nobody waits for that
JOBS_MAX = 256  # because no machine that runs this has more
DRAWN_EVERY_S = 0.2


class Asked(TypedDict):
    """The options that say what is computed."""

    years: int
    repetitions: int
    seed: int
    jobs: int
    names: tuple[str, ...]
    detection: str | None
    target: str
    no_what_ifs: bool


@json_option
@click.command("availability", epilog=EXIT_CODES)
@click.option(
    "--years", type=click.IntRange(1, YEARS_MAX), default=YEARS, help=f"How many. [default: {YEARS}]"
)
@click.option(
    "--repetitions",
    type=click.IntRange(2, REPETITIONS_MAX),
    default=REPETITIONS,
    help=f"Independent ones, for the intervals. [default: {REPETITIONS}]",
)
@click.option("--seed", type=click.IntRange(0, SEED_MAX), default=1, help="Of all dice. [default: 1]")
@click.option("--jobs", type=click.IntRange(1, JOBS_MAX), default=1, help="Processes. [default: 1]")
@click.option("--topology", "names", multiple=True, metavar="NAME", help="Only this one; may be repeated.")
@click.option("--detection", metavar="TIME", help="Of automatic failover. [default: detect_s of a group]")
@click.option("--target", default="99.99 %", show_default=True, help="Availability to reach.")
@click.option("--no-what-ifs", is_flag=True, help="Without the comparison of changes.")
@click.option("--rates", "rates_file", metavar="FILE", help="Your table over the shipped one, YAML.")
@click.option(
    "--rates-template", "is_template", is_flag=True, help="Print the shipped table and its sources."
)
@click.option("--picture", metavar="FILE.svg", help="Draw the topologies, minutes a year by cause.")
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", help="[default: en]")
def availability(
    rates_file: str | None, is_template: bool, picture: str | None, lang: str, **asked: Unpack[Asked]
) -> None:
    """How available each set-up would be, on paper.

    A hundred years of failing disks, hosts, lines, power, cities and people for each set-up, by the decisions
    that the daemons make: minutes a year by cause, writes lost, and what would change it. The failure rates
    are a table with a source in each row; give your own.

    \b
    Examples:
      drsync sim availability
      drsync sim availability --rates-template > rates.yaml
      drsync sim availability --rates rates.yaml --picture study.svg
      drsync sim availability --topology three-centers-witness-automatic --json
    """
    from drsync.report.study import words
    from drsync.sim.availability import rates as tables

    if is_template:
        click.echo(tables.template(), nl=False)
        return
    rates = tables.load(Path(rates_file)) if rates_file else tables.shipped()
    drawn = _drawable(picture)
    report = _run(_order(rates, asked), asked["jobs"])
    say = words(lang)
    if drawn is not None:
        _draw(drawn, report, say)
    if Talk.here().as_json:
        print_json(dict(report))
    else:
        from drsync.cli.sim_availability_view import show

        show(report, rates, say)


def _drawable(picture: str | None) -> Path | None:
    if picture is None:
        return None
    path = Path(picture)
    if path.suffix.lower() != ".svg":
        raise UsageError(
            f"{picture} is no SVG file",
            remedy="Name a file that ends with .svg; a browser or rsvg-convert turns it into PNG.",
        )
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path.parent} is no directory", remedy="Name a file in a directory that exists.")
    return path


def _order(rates: "Rates", asked: Asked) -> "Order":
    from drsync.config.problems import nearest
    from drsync.config.quantities import parse_duration, parse_fraction
    from drsync.sim.availability import study, topology

    known = study.names()
    for name in asked["names"]:
        if name not in known:
            meant = nearest(name, known)
            hint = f"Did you mean {meant}? " if meant else ""
            raise UsageError(f"there is no topology {name!r}", remedy=f"{hint}There are {', '.join(known)}.")
    detection = asked["detection"]
    try:
        detection_s = topology.DETECTION_S if detection is None else parse_duration(detection)
    except ValueError as error:
        raise UsageError(f"--detection: {error}") from error
    try:
        target = parse_fraction(asked["target"])
    except ValueError as error:
        raise UsageError(f"--target: {error}") from error
    if not 0.0 < target < 1.0:
        raise UsageError("--target must be below 100 %", remedy='Write for example "99.99 %".')
    return study.Order(
        rates,
        years=float(asked["years"]),
        repetitions=asked["repetitions"],
        seed=asked["seed"],
        target=target,
        detection_s=detection_s,
        names=tuple(dict.fromkeys(asked["names"])),
        has_what_ifs=not asked["no_what_ifs"],
    )


def _run(order: "Order", jobs: int) -> "Report":
    from drsync.sim.availability.study import study

    if not sys.stderr.isatty():
        return study(order, jobs)
    try:
        return study(order, jobs, _progress())
    finally:
        click.echo("\r\x1b[K", err=True, nl=False)


def _progress() -> Callable[[float, float], None]:
    """Years done, years a second and the time left, on one line of stderr."""
    began = time.monotonic()
    drawn = began - DRAWN_EVERY_S

    def draw(done: float, total: float) -> None:
        nonlocal drawn
        now = time.monotonic()
        if now - drawn < DRAWN_EVERY_S or done <= 0:
            return
        drawn = now
        rate = done / max(now - began, 1e-3)
        left = format_duration((total - done) / rate)
        text = f"{count(done)} of {count(total)} years, {count(rate)} a second, {left} left"
        click.echo(f"\r\x1b[K{text}", err=True, nl=False)

    return draw


def _draw(path: Path, report: "Report", say: Mapping[str, str]) -> None:
    from drsync.sim.availability.picture import draw

    try:
        path.write_text(draw(report, say), "utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error}", remedy="Name a file that can be written."
        ) from error
