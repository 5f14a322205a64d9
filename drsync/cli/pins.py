"""`drsync pins`: who keeps images from moving and journals from shrinking, at each center."""

import click

from drsync.adapters.api_client.doc import Doc, Json
from drsync.cli.client import ask, quote
from drsync.cli.errors import EXIT_CODES
from drsync.cli.options import Talk, coordinator_options
from drsync.cli.output import BAD, DIM, console, line, print_json, row, table
from drsync.cli.text import clock, count, format_size

REMEDIES = {
    "opening": "drsync close {group} {name} --at {center}",
    "drill": "ends with the drill",
    "view": "ends with what opened it",
    "member": "bring the center back, or let the quota pass it over",
    "window": "the group's window and quota",
}


@coordinator_options
@click.command(epilog=EXIT_CODES)
@click.argument("group", required=False, default="")
def pins(group: str) -> None:
    """Who holds images or journal back, and what to do.

    ``journal`` is what stays on disk for that pin alone; space comes back in whole segments, so that several
    pins may hold the same ones.

    \b
    Example:
      drsync pins orders
    """
    talk = Talk.here()
    names = [group] if group else [name for name, _ in ask(talk, "/v1/status").table("groups")]
    found = {name: ask(talk, f"/v1/groups/{quote(name)}/pins") for name in names}
    if talk.as_json:
        shown: Json = {of_group.text("group"): of_group.raw("centers") for of_group in found.values()}
        print_json({"groups": shown})
        return
    if not found:
        line("There are no groups.")
    for of_group in found.values():
        _show(of_group)


def _show(found: Doc) -> None:
    group = found.text("group")
    line(group, "bold")
    what = table(["center", "held by", ">record", ">journal", "since", "what it means", "what helps"])
    for center, told in found.table("centers"):
        for pin in told.docs("pins"):
            kind, name = pin.text("kind"), pin.text("name")
            helps = REMEDIES.get(kind, "").format(group=group, name=name, center=center)
            if pin.whole("until_us"):
                helps += f"; by itself at {clock(pin.whole('until_us'))}"
            size = format_size(pin.whole("bytes"))
            about = (count(pin.whole("seq")), size, clock(pin.whole("since_us")), pin.text("text"))
            row(what, center, f"{kind} {name}".rstrip(), *about, (helps, DIM))
    console().print(what)
    for center, told in found.table("centers"):
        if told.text("error"):
            line(f"  {center}: {told.text('error')}", BAD)
