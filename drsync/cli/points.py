"""`drsync points` and `drsync checkpoint`: where a copy can be opened, and how to make such a place."""

import sys
import time
from dataclasses import dataclass, field

import click

from drsync.adapters.api_client.doc import Doc, Json
from drsync.cli.client import Client, ask, quote, run
from drsync.cli.errors import EXIT_CODES, FAILED
from drsync.cli.options import Talk, coordinator_options
from drsync.cli.output import BAD, DIM, GOOD, console, line, print_json, row, table
from drsync.cli.text import clock, count, format_duration, plural
from drsync.config.quantities import parse_duration
from drsync.model.consistency import FREEZE_S_MAX, HOOKS_S_MAX
from drsync.model.errors import UsageError
from drsync.model.point_proof import DRILL

US_PER_S = 1_000_000
APP_WAIT_S = 2 * HOOKS_S_MAX + FREEZE_S_MAX + 20.0  # because hooks run before and after
SHOWN = 20  # because there is one each few seconds, and the newest are wanted


@coordinator_options
@click.command(epilog=EXIT_CODES)
@click.argument("group")
@click.option("--all", "is_all", is_flag=True, help=f"All of them, not only the newest {SHOWN}.")
def points(group: str, is_all: bool) -> None:
    """Recovery points of a group, by center.

    ``ratio`` tells how far a sample of what was written to the volumes before a point shrinks: content that
    was text and is 1.0 from some point on may have been encrypted by somebody else. ``proved`` tells at which
    centers somebody opened the point and checked it, and what was found.

    \b
    Example:
      drsync points orders
    """
    talk = Talk.here()
    found = ask(talk, f"/v1/groups/{quote(group)}/points")
    if talk.as_json:
        print_json(dict(found.items()))
        return
    holders = _holders(found)
    if not holders:
        line(f"{group} has no recovery points yet; drsync checkpoint {group} makes one.")
        return
    newest = sorted(holders, reverse=True)
    shown = newest if is_all else newest[:SHOWN]
    what = table([">point", "made", "name", "consistent", ">ratio", "can be opened at", "proved"])
    now_us = time.time_ns() // 1000
    for seq in shown:
        held = holders[seq]
        point, centers = held.point, held.centers
        kind = "application" if point.flag("app") else "crash"
        ratio = f"{point.number('ratio'):.1f}" if point.has("ratio") else "-"
        made, name = clock(point.whole("time_us")), point.text("name")
        row(what, count(seq), made, name, kind, ratio, ", ".join(centers), _proofs(held, now_us))
    console().print(what)
    for center, told in found.table("centers"):
        _show_course(center, told, now_us)
    line(f"drsync open {group} --at CENTER --point POINT serves one, beside production.", "dim")
    if len(shown) < len(newest):
        line(f"{len(newest) - len(shown)} older ones; --all shows them.", "dim")


@dataclass(slots=True)
class _Held:
    """A point, the centers that can open it, and what is known of it at each."""

    point: Doc
    centers: list[str] = field(default_factory=list)  # with a word where it is on hold
    proofs: dict[str, Doc] = field(default_factory=dict)


def _holders(found: Doc) -> dict[int, _Held]:
    """Points by record."""
    holders: dict[int, _Held] = {}
    for center, held in found.table("centers"):
        for point in held.docs("points"):
            known = holders.setdefault(point.whole("seq"), _Held(point))
            known.centers.append(f"{center} (on hold)" if point.flag("held") else center)
            if point.has("proof"):
                known.proofs[center] = point.doc("proof")
    for point in found.docs("points"):
        holders.setdefault(point.whole("seq"), _Held(point, point.texts("centers")))
    return holders


def _proofs(held: _Held, now_us: int) -> str:
    """What is known of it, by center: in a word, and since when; ``--json`` has by what and why."""
    words = []
    for center, proof in held.proofs.items():
        age = format_duration(max(0, now_us - proof.whole("at_us")) // US_PER_S)
        by = " by a drill" if proof.text("by") == DRILL else ""
        words.append(f"{center} {proof.text('outcome')}{by} {age} ago")
    return ", ".join(words) or "-"


def _show_course(center: str, held: Doc, now_us: int) -> None:
    """What keeps a center from proving its points, and what failed there."""
    if not held.has("self_drill"):
        return
    course = held.doc("self_drill")
    failures = course.whole("failures")
    for proof in course.docs("failed")[:1]:
        age = format_duration(max(0, now_us - proof.whole("at_us")) // US_PER_S)
        what = f"{plural(failures, 'point')} failed above the newest proved one"
        line(f"{center}: {what}; record {count(proof.whole('seq'))}, {age} ago: {proof.text('text')}", BAD)
    if course.text("why"):
        line(f"{center}: self-drill ({course.text('check')}): {course.text('why')}", DIM)


@coordinator_options
@click.command(epilog=EXIT_CODES)
@click.argument("group")
@click.option("--name", default="", help="A name to find it by.")
@click.option(
    "--app-consistent", is_flag=True, help="Run the group's hooks first, so that its application agrees."
)
@click.option(
    "--timeout", default="", metavar="TIME", help="For the hooks, in place of the policy's own; at most 2m."
)
def checkpoint(group: str, name: str, *, app_consistent: bool, timeout: str) -> None:
    """Make a recovery point now.

    With --app-consistent the application is made quiet as [policy.consistency] of the group says, and goes on
    at once. The command ends with 0 only if the point is consistent for the application. Otherwise it ends
    with 1 and says why; whether there is a point all the same, consistent as after a crash, is said as well.

    \b
    Examples:
      drsync checkpoint orders --name before-upgrade
      drsync checkpoint orders --name month-end --app-consistent
    """
    talk = Talk.here()
    body: Json = {"name": name}
    if timeout:
        body["timeout_s"] = _seconds(timeout, app_consistent=app_consistent)
    if app_consistent:
        body["app_consistent"] = True
    made = run(_checkpoint(talk, group, body, APP_WAIT_S if app_consistent else 0.0))
    if talk.as_json:
        print_json(dict(made.items()))
    else:
        _show_made(made, group, name, app_consistent=app_consistent)
    if app_consistent and not made.flag("app"):
        sys.exit(FAILED)


async def _checkpoint(talk: Talk, group: str, body: Json, wait_s: float) -> Doc:
    async with Client(talk.coordinator, talk.token_file) as client:
        return await client.post(f"/v1/groups/{quote(group)}/checkpoint", body, wait_s)


def _seconds(timeout: str, *, app_consistent: bool) -> float:
    """Raises UsageError."""
    if not app_consistent:
        raise UsageError("--timeout is about hooks", remedy="Add --app-consistent.")
    try:
        seconds = parse_duration(timeout)
    except ValueError as error:
        raise UsageError(f"--timeout: {error}") from error
    if not 0 < seconds <= HOOKS_S_MAX:
        most = format_duration(HOOKS_S_MAX)
        raise UsageError(f"--timeout: more than 0 and at most {most}, because the application stands still")
    return seconds


def _show_made(made: Doc, group: str, name: str, *, app_consistent: bool) -> None:
    called = f" {name}" if name else ""
    there = f"Recovery point{called} of {group}: record {count(made.whole('seq'))}"
    if not app_consistent:
        line(f"{there}.", GOOD)
    elif made.flag("app"):
        frozen = made.whole("freeze_ms")
        line(f"{there}, consistent for the application{f'; frozen for {frozen} ms' if frozen else ''}.", GOOD)
    elif made.whole("seq"):
        line(f"{there}, consistent as after a crash only: {made.text('why')}", BAD)
    else:
        line(f"No recovery point of {group} was made: {made.text('why')}", BAD)
    for step in made.docs("steps"):
        word = "ok" if step.flag("ok") else "failed"
        line(f"  {step.text('step'):<32} {word:<7} {step.number('seconds'):.2f} s", DIM)
