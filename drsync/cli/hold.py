"""`drsync hold`: recovery points that a center keeps until somebody releases them."""

from typing import TYPE_CHECKING

import click

from drsync.cli.client import ask, quote, run
from drsync.cli.errors import EXIT_CODES
from drsync.cli.opening import CLOSE_WAIT_S, instant, post
from drsync.cli.options import Talk, asked_by_options, coordinator_options
from drsync.cli.output import BAD, DIM, GOOD, console, line, print_json, row, table
from drsync.cli.text import clock, count, format_size
from drsync.model.errors import UsageError
from drsync.model.hold import ACTOR_MAX

if TYPE_CHECKING:
    from drsync.adapters.api_client.doc import Json


@click.group()
def hold() -> None:
    """Recovery points that are kept: add, list, release."""


@coordinator_options
@asked_by_options
@hold.command("add", epilog=EXIT_CODES)
@click.argument("group")
@click.argument("point")
@click.option("--at", required=True, metavar="CENTER", help="Where: a replica that can open it.")
@click.option("--name", required=True, help="What to call it; needed to release it.")
def add(group: str, point: str, at: str, name: str, reason: str, actor: str) -> None:
    """Keep a recovery point beyond the window. Needs --reason.

    POINT is a time, a checkpoint's name, a record, or latest, as drsync open takes it. The images of that
    center stay at it, and its journal from it on is kept, within the group's quota: what happens there is
    decided by when_full of the policy.

    \b
    Example:
      drsync hold add orders before-upgrade --at remote --name upgrade \\
        --reason "until Monday"
    """
    talk = Talk.here()
    _require_reason(reason)
    body: Json = {
        "at": at,
        "point": point,
        "time_us": instant(point),
        "name": name,
        "reason": reason,
        "actor": actor[:ACTOR_MAX],
    }
    found = run(post(talk, f"/v1/groups/{quote(group)}/holds", body, CLOSE_WAIT_S))
    if talk.as_json:
        print_json(dict(found.items()))
        return
    held = found.doc("hold")
    where = found.text("center")
    line(f"Record {count(held.whole('seq'))}, {clock(held.whole('time_us'))}, is on hold at {where}.", GOOD)
    line(f"  drsync hold release {group} {name} --at {where} --reason ...", DIM)


@coordinator_options
@hold.command("list", epilog=EXIT_CODES)
@click.argument("group")
def list_holds(group: str) -> None:
    """What each center keeps, since when, and why.

    \b
    Example:
      drsync hold list orders
    """
    talk = Talk.here()
    found = ask(talk, f"/v1/groups/{quote(group)}/holds")
    if talk.as_json:
        print_json(dict(found.items()))
        return
    what = table(["center", "hold", ">record", "of", "point", ">journal", "since", "by", "reason"])
    rows, errors = 0, []
    for center, told in found.table("centers"):
        if told.text("error"):
            errors.append(f"  {center}: {told.text('error')}")
        for one in told.docs("holds"):
            rows += 1
            times = clock(one.whole("time_us")), one.text("point"), format_size(one.whole("bytes"))
            asked = clock(one.whole("since_us")), one.text("actor"), one.text("reason")
            row(what, center, one.text("name"), count(one.whole("seq")), *times, *asked)
    if rows:
        console().print(what)
    elif not errors:
        line(f"Nothing of {group} is on hold.")
    for text in errors:
        line(text, BAD)


@coordinator_options
@asked_by_options
@hold.command("release", epilog=EXIT_CODES)
@click.argument("group")
@click.argument("name")
@click.option("--at", required=True, metavar="CENTER", help="Where it is on hold.")
def release(group: str, name: str, at: str, reason: str, actor: str) -> None:
    """Keep it no longer. Needs --reason.

    The point goes with the window, perhaps at once; writes that waited for room go on.

    \b
    Example:
      drsync hold release orders upgrade --at remote --reason "all is well"
    """
    talk = Talk.here()
    _require_reason(reason)
    body: Json = {"at": at, "reason": reason, "actor": actor}
    path = f"/v1/groups/{quote(group)}/holds/{quote(name)}/release"
    found = run(post(talk, path, body, CLOSE_WAIT_S))
    if talk.as_json:
        print_json(dict(found.items()))
    else:
        line(f"{name} at {found.text('center')} is on hold no longer.", GOOD)


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise UsageError("holds come and go with a reason", remedy='Add --reason "...".')
