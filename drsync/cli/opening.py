"""`drsync open` and `drsync close`: a recovery point served beside production while it is needed."""

import time

import click

from drsync.adapters.api_client.doc import Doc, Json
from drsync.cli.client import Client, ask, quote, run
from drsync.cli.errors import EXIT_CODES
from drsync.cli.options import Talk, asked_by_options, coordinator_options
from drsync.cli.output import DIM, GOOD, console, line, print_json, row, table
from drsync.cli.text import clock, count, format_duration, format_size
from drsync.config.instants import is_instant, parse_instant
from drsync.config.quantities import parse_duration, parse_size
from drsync.model.errors import UsageError
from drsync.model.opening import LIFETIME_MAX_S, QUOTA_BYTES

OPEN_WAIT_S = 120.0  # because a journal without indexes is read first
CLOSE_WAIT_S = 15.0  # because running requests are waited for
US_PER_S = 1_000_000


@coordinator_options
@asked_by_options
@click.command("open", epilog=EXIT_CODES)
@click.argument("group", required=False, default="")
@click.option("--at", default="", metavar="CENTER", help="Where to open it; any center with a copy.")
@click.option(
    "--point",
    default="latest",
    show_default=True,
    metavar="T",
    help="A time (-10m, 14:02, 2026-11-21T14:02:00+08:00), a checkpoint's name, a record, or latest.",
)
@click.option("--rw", "is_writable", is_flag=True, help="Take writes; they are private and end with it.")
@click.option(
    "--quota", default="", metavar="SIZE", help="With --rw: keep at most so much. [default: 512 MiB]"
)
@click.option("--name", default="", help="What to call it. [default: after its record]")
@click.option("--for", "lifetime", default="24h", show_default=True, help="It closes by itself after this.")
@click.option("--list", "is_list", is_flag=True, help="Show what is open, of GROUP or of all.")
def open_point(  # noqa: PLR0913  # a person may say that much
    *,
    group: str,
    at: str,
    point: str,
    is_writable: bool,
    quota: str,
    name: str,
    lifetime: str,
    is_list: bool,
    reason: str,
    actor: str,
) -> None:
    """Serve any recovery point, beside production.

    The volumes appear over NBD under names of their own, exactly as they were; production and replication
    go on. A time means the newest point at or before it. Read-only unless --rw.

    \b
    Examples:
      drsync open orders --at remote --point 14:02 --reason "table deleted"
      drsync open orders --at same_city --point before-upgrade --rw
      drsync open --list
    """
    talk = Talk.here()
    if is_list:
        _list(talk, group)
        return
    if not group or not at:
        missing = "--at CENTER" if group else "GROUP"
        raise UsageError(
            f"{missing} is missing", remedy="drsync points GROUP lists what can be opened where."
        )
    body: Json = {
        "at": at,
        "point": point,
        "time_us": instant(point),
        "name": name,
        "reason": reason,
        "actor": actor,
        **bounds(is_writable=is_writable, quota=quota, lifetime=lifetime),
    }
    show_opened(talk, run(post(talk, f"/v1/groups/{quote(group)}/openings", body, OPEN_WAIT_S)))


def instant(point: str) -> int | None:
    """The label that a point means if it is a time. Raises UsageError: it looks like one and is none."""
    if not is_instant(point):
        return None
    try:
        return parse_instant(point, time.time_ns() // 1000)
    except ValueError as error:
        raise UsageError(f"--point: {error}") from error


def bounds(*, is_writable: bool, quota: str, lifetime: str) -> Json:
    """Quota and lifetime as they are sent. Raises UsageError."""
    if quota and not is_writable:
        raise UsageError("--quota is about writes", remedy="Add --rw.")
    try:
        size = parse_size(quota) if quota else QUOTA_BYTES
    except ValueError as error:
        raise UsageError(f"--quota: {error}") from error
    if not size:
        raise UsageError("--quota: nothing could be written", remedy="Leave out --rw.")
    try:
        seconds = parse_duration(lifetime)
    except ValueError as error:
        raise UsageError(f"--for: {error}") from error
    if not 0 < seconds <= LIFETIME_MAX_S:
        most = format_duration(LIFETIME_MAX_S)
        raise UsageError(f"--for: more than 0 and at most {most}, because a forgotten opening fills a disk")
    return {"quota_bytes": size if is_writable else 0, "lifetime_s": seconds}


async def post(talk: Talk, path: str, body: Json, wait_s: float) -> Doc:
    """Ask for something that may take a while."""
    async with Client(talk.coordinator, talk.token_file) as client:
        return await client.post(path, body, wait_s)


def show_opened(talk: Talk, found: Doc) -> None:
    """What is open now, where it is, and how it ends."""
    if talk.as_json:
        print_json(dict(found.items()))
        return
    group, name, center = found.text("group"), found.text("name"), found.text("center")
    line(
        f"{name} of {group} is open at {center}, {_access(found)}, until {clock(found.whole('until_us'))}.",
        GOOD,
    )
    for title, text in (("point", _point(found)), ("asked for", _asked(found)), ("proved", _proof(found))):
        if text:
            line(f"  {title:<10} {text}")
    for volume, uri in sorted(found.doc("volumes").items()):
        line(f"  {volume:<10} {uri}")
    left_out = found.texts("left_out")
    if left_out:
        line(f"  {'left out':<10} file sets ({', '.join(left_out)}): only volumes are opened", "yellow")
    line(f"Sockets are on the host of {center}. Copy what you need, for example with nbdcopy, then:", DIM)
    line(f"  drsync close {group} {name}" + _at(center))


def _at(center: str) -> str:
    return f" --at {center}"


def _access(opening: Doc) -> str:
    quota = opening.whole("quota_bytes")
    return f"writable up to {format_size(quota)} of its own" if quota else "read-only"


def _point(opening: Doc) -> str:
    at = f"record {count(opening.whole('seq'))}"
    if opening.text("fork"):
        return f"fork {opening.text('fork')}, up to {at}, {clock(opening.whole('time_us'))}"
    named = f", named {opening.text('point')}" if opening.text("point") else ""
    if not opening.flag("is_point"):
        after = clock(opening.whole("time_us"))
        return f"{at}, between recovery points (the one before it is of {after}); consistent as after a crash"
    kind = (
        "consistent for the application"
        if opening.flag("is_app_consistent")
        else "consistent as after a crash"
    )
    return f"{at}, {clock(opening.whole('time_us'))}{named}; {kind}"


def _asked(found: Doc) -> str:
    asked, time_us, following = found.whole("asked_us"), found.whole("time_us"), found.whole("next_us")
    if not asked or asked == time_us or not found.flag("is_point"):
        return ""
    before = format_duration((asked - time_us) / US_PER_S)
    if following:
        later = format_duration((following - asked) / US_PER_S)
        return (
            f"{clock(asked)}, between two points: this is the one {before} before, the next is {later} after"
        )
    return f"{clock(asked)}: this is the newest point there, {before} before"


def _proof(found: Doc) -> str:
    if found.text("fork") or not found.flag("is_point"):
        return ""
    proof = found.doc("proof")
    if not proof:
        return "not known: nobody has opened and checked this point there" + _nearest(found)
    when = clock(proof.whole("at_us"))
    what = f"{proof.text('outcome')} by {proof.text('by')} at {when}: {proof.text('text')}"
    return what + _nearest(found)


def _nearest(found: Doc) -> str:
    """Where more is known."""
    if not found.has("nearest_proved"):
        return ""
    proof = found.doc("nearest_proved")
    return f". Proved near it: record {proof.whole('seq')} of {clock(proof.whole('time_us'))}"


def _list(talk: Talk, group: str) -> None:
    found = _openings(talk, group)
    if talk.as_json:
        print_json({"groups": found})
        return
    shown = table(["group", "name", "center", ">record", "point", "access", "until", "asked for by"])
    rows = 0
    for name, of_group in sorted(found.items()):
        for opening in Doc(of_group).docs("openings"):
            point = opening.text("fork") or opening.text("point") or clock(opening.whole("time_us"))
            about = (count(opening.whole("seq")), point, _access(opening), clock(opening.whole("until_us")))
            row(shown, name, opening.text("name"), opening.text("center"), *about, opening.text("actor"))
            rows += 1
    if not rows:
        line("Nothing is open.")
        return
    console().print(shown)
    for name, of_group in sorted(found.items()):
        for opening in Doc(of_group).docs("openings"):
            for volume, uri in sorted(opening.doc("volumes").items()):
                line(f"  {name} {opening.text('name')} {volume}: {uri}", DIM)


def _openings(talk: Talk, group: str) -> Json:
    keys = ("openings", "openings_ended")
    if group:
        found = ask(talk, f"/v1/groups/{quote(group)}/openings")
        return {found.text("group"): {key: found.raw(key) for key in keys}}
    groups = ask(talk, "/v1/status").table("groups")
    return {name: {key: of_group.raw(key) for key in keys} for name, of_group in groups}


@coordinator_options
@asked_by_options
@click.command(epilog=EXIT_CODES)
@click.argument("group")
@click.argument("name")
@click.option("--at", default="", metavar="CENTER", help="Where, if several centers have one of that name.")
def close(group: str, name: str, at: str, reason: str, actor: str) -> None:
    """End what drsync open began.

    Whoever is connected to it is dropped, and what was written to it is gone.

    \b
    Example:
      drsync close orders point-12345
    """
    talk = Talk.here()
    body: Json = {"at": at, "reason": reason, "actor": actor}
    path = f"/v1/groups/{quote(group)}/openings/{quote(name)}/close"
    found = run(post(talk, path, body, CLOSE_WAIT_S))
    if talk.as_json:
        print_json(dict(found.items()))
    else:
        line(f"{found.text('name')} of {found.text('group')} at {found.text('center')} is closed.", GOOD)
