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
    "hold": 'drsync hold release {group} {name} --at {center} --reason "..."',
    "drill": "It ends with the drill.",
    "view": "It ends with what opened it.",
    "member": "Bring the center back; over the group's quota it is passed by, and resynced later.",
}
VIEWS = frozenset({"opening", "drill", "view", "hold"})


@coordinator_options
@click.command(epilog=EXIT_CODES)
@click.argument("group", required=False, default="")
def pins(group: str) -> None:
    """Who holds images or journal back, and what to do.

    ``journal`` is what stays on disk for that pin alone; space comes back in whole segments, so that several
    pins may hold the same ones. ``window`` is what recovery points need.

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
    what = table(["center", "held by", ">record", ">journal", "since", "ends by itself"])
    lines: list[tuple[str, str]] = []
    for center, told in found.table("centers"):
        listed = told.docs("pins")
        usual = next((pin.whole("bytes") for pin in listed if pin.text("kind") == "window"), 0)
        for pin in listed:
            size, by = format_size(pin.whole("bytes")), f"{pin.text('kind')} {pin.text('name')}".rstrip()
            times = clock(pin.whole("since_us")), clock(pin.whole("until_us"))
            row(what, center, by, count(pin.whole("seq")), size, *times)
            if pin.text("kind") in VIEWS or (pin.text("kind") == "member" and pin.whole("bytes") > usual):
                helps = REMEDIES[pin.text("kind")].format(group=group, name=pin.text("name"), center=center)
                lines.append((f"  {by} at {center}: {pin.text('text')}", ""))
                lines.append((f"    {helps}", DIM))
        if told.text("error"):
            lines.append((f"  {center}: {told.text('error')}", BAD))
    console().print(what)
    for text, style in lines:
        line(text, style)
