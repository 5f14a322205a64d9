"""`drsync points` and `drsync checkpoint`: where a copy can be opened, and how to make such a place."""

import click

from drsync.adapters.api_client.doc import Doc
from drsync.cli.client import Client, ask, quote, run
from drsync.cli.errors import EXIT_CODES
from drsync.cli.options import Talk, coordinator_options
from drsync.cli.output import GOOD, console, line, print_json, row, table
from drsync.cli.text import clock, count

SHOWN = 20  # because there is one each few seconds, and the newest are wanted


@coordinator_options
@click.command(epilog=EXIT_CODES)
@click.argument("group")
@click.option("--all", "is_all", is_flag=True, help=f"All of them, not only the newest {SHOWN}.")
def points(group: str, is_all: bool) -> None:
    """Recovery points of a group, by center.

    ``ratio`` tells how far a sample of what was written to the volumes before a point shrinks: content that
    was text and is 1.0 from some point on may have been encrypted by somebody else.

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
    what = table([">point", "made", "name", "consistent", ">ratio", "can be opened at"])
    for seq in shown:
        point, centers = holders[seq]
        kind = "application" if point.flag("app") else "crash"
        ratio = f"{point.number('ratio'):.1f}" if point.has("ratio") else "-"
        made, name = clock(point.whole("time_us")), point.text("name")
        row(what, count(seq), made, name, kind, ratio, ", ".join(centers))
    console().print(what)
    line(f"drsync open {group} --at CENTER --point POINT serves one, beside production.", "dim")
    if len(shown) < len(newest):
        line(f"{len(newest) - len(shown)} older ones; --all shows them.", "dim")


def _holders(found: Doc) -> dict[int, tuple[Doc, list[str]]]:
    """Points by record, each with the centers that can open it."""
    holders: dict[int, tuple[Doc, list[str]]] = {}
    for center, held in found.table("centers"):
        for point in held.docs("points"):
            holders.setdefault(point.whole("seq"), (point, []))[1].append(center)
    for point in found.docs("points"):
        holders.setdefault(point.whole("seq"), (point, point.texts("centers")))
    return holders


@coordinator_options
@click.command(epilog=EXIT_CODES)
@click.argument("group")
@click.option("--name", default="", help="A name to find it by.")
def checkpoint(group: str, name: str) -> None:
    """Make a recovery point now.

    \b
    Example:
      drsync checkpoint orders --name before-upgrade
    """
    talk = Talk.here()
    made = run(_checkpoint(talk, group, name))
    if talk.as_json:
        print_json(dict(made.items()))
        return
    called = f" {name}" if name else ""
    line(f"Recovery point{called} of {group}: record {count(made.whole('seq'))}.", GOOD)


async def _checkpoint(talk: Talk, group: str, name: str) -> Doc:
    async with Client(talk.coordinator, talk.token_file) as client:
        return await client.post(f"/v1/groups/{quote(group)}/checkpoint", {"name": name})
