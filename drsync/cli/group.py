"""`drsync group`: protection groups as people define them."""

from pathlib import Path

import click

from drsync.adapters.api_client.doc import Doc
from drsync.cli.client import Client, ask, quote, run
from drsync.cli.errors import EXIT_CODES
from drsync.cli.options import Talk, coordinator_options
from drsync.cli.output import GOOD, console, line, print_json, row, table
from drsync.cli.text import format_duration, format_size

FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def group() -> None:
    """Protection groups: apply, list, show."""


@coordinator_options
@group.command("apply", epilog=EXIT_CODES)
@click.option("-f", "--file", "file", type=FILE, required=True, help="What the group shall be, in TOML.")
def apply(file: Path) -> None:
    """Make a group as its file says, or bring it to what the file says.

    \b
    Example:
      drsync group apply -f orders.toml

    \b
    A file:
      name = "orders"
      preferred_owner = "production"
      members = ["production", "same_city", "remote"]
      [[volumes]]
      name = "data"
      size = "256 MiB"
      [objectives]
      rpo = "15s"
    """
    from drsync.config.load import load_group, read_document

    talk = Talk.here()
    load_group(file)  # every mistake is told here, with its line, before anybody is asked
    _, document = read_document(file)
    answer = run(_post(talk, document))
    if talk.as_json:
        print_json(dict(answer.items()))
    else:
        name = document.get("name")
        line(f"{name} is as {file} says. Next: drsync status, drsync why {name}.", GOOD)


@coordinator_options
@group.command("list", epilog=EXIT_CODES)
def list_groups() -> None:
    """All groups."""
    talk = Talk.here()
    found = ask(talk, "/v1/groups")
    if talk.as_json:
        print_json(dict(found.items()))
        return
    groups = found.docs("groups") or [entry for _, entry in found.table("groups")]
    if not groups:
        line("No groups yet. drsync group apply -f FILE makes one.")
        return
    what = table(["group", "preferred owner", "members", ">volumes", "mode"])
    for entry in groups:
        volumes = entry.docs("volumes")
        size = format_size(sum(volume.whole("size") for volume in volumes))
        about = (entry.text("name"), entry.text("preferred_owner"), ", ".join(_members(entry)))
        row(what, *about, f"{len(volumes)}, {size}", entry.doc("policy").text("mode"))
    console().print(what)


@coordinator_options
@group.command("show", epilog=EXIT_CODES)
@click.argument("name", metavar="GROUP")
def show(name: str) -> None:
    """What one group is made of."""
    talk = Talk.here()
    found = ask(talk, f"/v1/groups/{quote(name)}")
    if talk.as_json:
        print_json(dict(found.items()))
        return
    spec = found.doc("group") if found.has("group") else found
    line(f"{spec.text('name', name)}  (id {spec.text('id')})", "bold")
    line(f"  preferred owner  {spec.text('preferred_owner')}")
    line(f"  members          {', '.join(_members(spec))}")
    for volume in spec.docs("volumes"):
        line(f"  volume           {volume.text('name')}, {format_size(volume.whole('size'))}")
    goals = spec.doc("objectives")
    rpo, rto = format_duration(goals.number("rpo_s")), format_duration(goals.number("rto_s"))
    line(f"  objectives       RPO {rpo}, RTO {rto}, available {goals.number('availability') * 100:.4g} %")
    for key, value in spec.doc("policy").items():
        line(f"  {key:16} {value}")


def _members(spec: Doc) -> list[str]:
    """Names of the members, given as names or as objects."""
    return spec.texts("members") or [member.text("name") for member in spec.docs("members")]


async def _post(talk: Talk, document: dict[str, object]) -> Doc:
    async with Client(talk.coordinator, talk.token_file) as client:
        return await client.post("/v1/groups", document)
