"""`drsync charter`: who owns a group, and how it came to that."""

import click

from drsync.adapters.api_client.doc import Doc
from drsync.cli.client import ask, quote
from drsync.cli.errors import EXIT_CODES
from drsync.cli.options import Talk, coordinator_options
from drsync.cli.output import console, line, print_json, row, table
from drsync.cli.text import clock, count
from drsync.model import epoch as epochs


@click.group()
def charter() -> None:
    """Who owns a group, and how it came to that."""


@coordinator_options
@charter.command("show", epilog=EXIT_CODES)
@click.argument("group")
def show(group: str) -> None:
    """The charter in force.

    \b
    Example:
      drsync charter show orders
    """
    talk = Talk.here()
    found = ask(talk, f"/v1/groups/{quote(group)}/charter")
    if talk.as_json:
        print_json(dict(found.items()))
        return
    body = found.doc("charter") if found.has("charter") else found
    line(f"{group}: charter version {body.text('version')}", "bold")
    line(f"  owner      {body.text('owner') or '(never opened)'}")
    line(f"  epoch      {_epoch(body)}")
    line(f"  in sync    {', '.join(body.texts('in_sync')) or '(nobody)'}")
    intent = body.doc("intent")
    if intent:
        line(f"  under way  {intent.text('kind')} to {intent.text('target')}, by {intent.text('actor')}")
    starts = body.docs("history")
    if starts:
        what = table([">epoch", "continues after record", "gave up"])
        for start in starts:
            lost = start.text("loss", "none")
            known = start.whole("lost_at_least")
            gave_up = "nothing" if lost == "none" else f"{lost}, at least {count(known)} records"
            row(what, _epoch(start), count(start.whole("fork_seq")), gave_up)
        console().print(what)


@coordinator_options
@charter.command("history", epilog=EXIT_CODES)
@click.argument("group")
def history(group: str) -> None:
    """Every version of the charter that is kept, oldest first.

    \b
    Example:
      drsync charter history orders
    """
    talk = Talk.here()
    found = ask(talk, f"/v1/groups/{quote(group)}/charter/history")
    if talk.as_json:
        print_json(dict(found.items()))
        return
    what = table([">version", "time", ">epoch", "owner", "in sync", "under way"])
    for entry in found.docs("history") or found.docs("charters") or found.docs("versions"):
        body = entry.doc("charter") if entry.has("charter") else entry
        intent = body.doc("intent")
        doing = f"{intent.text('kind')} to {intent.text('target')}" if intent else ""
        when = clock(entry.whole("at_us"))
        about = (body.text("version"), when, _epoch(body), body.text("owner"))
        row(what, *about, ", ".join(body.texts("in_sync")), doing)
    console().print(what)


def _epoch(body: Doc) -> str:
    """The epoch for people: the coordinator's word, or ours for the number."""
    number = body.whole("epoch")
    if body.text("epoch_text"):
        return body.text("epoch_text")
    return epochs.show(epochs.Epoch(number)) if number else "-"
