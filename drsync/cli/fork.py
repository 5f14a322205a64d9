"""`drsync fork`: what a center held and the group gave up, kept aside until somebody has looked at it."""

import click

from drsync.adapters.api_client.doc import Doc, Json
from drsync.cli.client import ask, quote, run
from drsync.cli.errors import EXIT_CODES
from drsync.cli.opening import CLOSE_WAIT_S, OPEN_WAIT_S, bounds, post, show_opened
from drsync.cli.options import Talk, asked_by_options, coordinator_options
from drsync.cli.output import BAD, DIM, GOOD, console, line, print_json, row, table
from drsync.cli.text import clock, count, format_size
from drsync.model.errors import RefusedError, UsageError


@click.group()
def fork() -> None:
    """Records that a group gave up: list, open, discard."""


@coordinator_options
@fork.command("list", epilog=EXIT_CODES)
@click.argument("group")
def list_forks(group: str) -> None:
    """What each center has put aside, and why.

    \b
    Example:
      drsync fork list orders
    """
    talk = Talk.here()
    found = _forks(talk, group)
    if talk.as_json:
        print_json(dict(found.items()))
        return
    what = table(["center", "fork", ">epoch", ">records", ">size", "from", "to", "why", "can be opened"])
    lines: list[tuple[str, str]] = []
    rows = 0
    for center, told in found.table("centers"):
        if told.text("error"):
            lines.append((f"  {center}: {told.text('error')}", BAD))
        for one in told.docs("forks"):
            rows += 1
            times = clock(one.whole("first_us")), clock(one.whole("last_us"))
            size = count(one.whole("records")), format_size(one.whole("bytes"))
            openable = "no" if one.text("why_not") else "yes"
            if one.text("open_as"):
                openable = f"open as {one.text('open_as')}"
            row(
                what,
                center,
                one.text("name"),
                one.text("epoch_text"),
                *size,
                *times,
                one.text("why"),
                openable,
            )
            if one.text("why_not"):
                lines.append((f"  {one.text('name')} at {center}: {one.text('why_not')}", "yellow"))
                lines.append((f"    its records: drsync journal show --records {one.text('path')}", DIM))
    if rows:
        console().print(what)
    elif not lines:
        line(f"Nothing of {group} was put aside.")
    for text, style in lines:
        line(text, style)


@coordinator_options
@asked_by_options
@fork.command("open", epilog=EXIT_CODES)
@click.argument("group")
@click.argument("name")
@click.option("--at", default="", metavar="CENTER", help="Where, if several centers have one of that name.")
@click.option("--rw", "is_writable", is_flag=True, help="Take writes; they are private and end with it.")
@click.option(
    "--quota", default="", metavar="SIZE", help="With --rw: keep at most so much. [default: 512 MiB]"
)
@click.option("--for", "lifetime", default="24h", show_default=True, help="It closes by itself after this.")
def open_fork(
    group: str, name: str, at: str, is_writable: bool, quota: str, lifetime: str, reason: str, actor: str
) -> None:
    """Serve the volumes as the fork left them, beside production.

    \b
    Example:
      drsync fork open orders fork-1-20417 --at production
    """
    talk = Talk.here()
    limits = bounds(is_writable=is_writable, quota=quota, lifetime=lifetime)
    center = at or _center_of(talk, group, name)
    body: Json = {"at": center, "fork": name, "reason": reason, "actor": actor, **limits}
    show_opened(talk, run(post(talk, f"/v1/groups/{quote(group)}/openings", body, OPEN_WAIT_S)))


@coordinator_options
@asked_by_options
@fork.command("discard", epilog=EXIT_CODES)
@click.argument("group")
@click.argument("name")
@click.option("--at", default="", metavar="CENTER", help="Where, if several centers have one of that name.")
@click.option("--yes", "is_sure", is_flag=True, help="Remove it for good; nothing brings it back.")
def discard(group: str, name: str, at: str, is_sure: bool, reason: str, actor: str) -> None:
    """Remove a fork for good. Needs --reason and --yes.

    The records in it may be acknowledged writes that exist nowhere else. The reason is kept with the event.

    \b
    Example:
      drsync fork discard orders fork-1-20417 --reason "merged" --yes
    """
    talk = Talk.here()
    if not reason.strip():
        raise UsageError("a fork goes with a reason", remedy='Add --reason "...".')
    center = at or _center_of(talk, group, name)
    if not is_sure:
        raise RefusedError(
            f"fork {name} at {center} would be removed for good",
            code="not_confirmed",
            remedy="Look at it first (drsync fork open), then say --yes.",
        )
    body: Json = {"at": center, "reason": reason, "actor": actor}
    path = f"/v1/groups/{quote(group)}/forks/{quote(name)}/discard"
    found = run(post(talk, path, body, CLOSE_WAIT_S))
    if talk.as_json:
        print_json(dict(found.items()))
    else:
        line(f"Fork {name} at {center} is gone.", GOOD)


def _forks(talk: Talk, group: str) -> Doc:
    return ask(talk, f"/v1/groups/{quote(group)}/forks")


def _center_of(talk: Talk, group: str, name: str) -> str:
    """The only center with a fork of that name."""
    centers = dict(_forks(talk, group).table("centers"))
    found = [
        center for center, told in centers.items() if name in [one.text("name") for one in told.docs("forks")]
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{name} is at {' and '.join(found)}", remedy="Say which one: --at CENTER.")
    names = sorted({one.text("name") for told in centers.values() for one in told.docs("forks")})
    silent = [
        f"{center} was not asked: {told.text('error')}"
        for center, told in centers.items()
        if told.text("error")
    ]
    known = ", ".join(names) or "none"
    raise UsageError(
        "; ".join([f"{group} has no fork {name}", f"there are: {known}", *silent]),
        remedy="See drsync fork list.",
    )
