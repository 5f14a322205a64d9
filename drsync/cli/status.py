"""`drsync status`, `why`, `events`: what is protected, what is waited for, what happened."""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drsync.adapters.api_client.doc import Doc
from drsync.cli.client import Client, ask, quote, run
from drsync.cli.errors import EXIT_CODES
from drsync.cli.events_export import export_options, write_export
from drsync.cli.options import Talk, coordinator_options
from drsync.cli.output import console, line, print_json, row, table
from drsync.cli.text import clean, clock, format_duration
from drsync.cli.view import status_view
from drsync.model.errors import UsageError

if TYPE_CHECKING:
    from rich.live import Live

INTERVAL_S = 1.0
EVENTS_SHOWN = 50


@coordinator_options
@click.command(epilog=EXIT_CODES)
@click.option("--watch", is_flag=True, help="Stay and keep it current until Ctrl-C.")
def status(watch: bool) -> None:
    """Groups, centers, lag, and whether all is ready.

    \b
    Examples:
      drsync status
      drsync status --watch
      drsync status --json | jq '.groups[] | select(.ready | not)'
    """
    talk = Talk.here()
    if watch:
        with contextlib.suppress(KeyboardInterrupt):  # that is how one leaves
            run(_watch(talk))
        return
    found = ask(talk, "/v1/status")
    if talk.as_json:
        print_json(dict(found.items()))
    else:
        console().print(status_view(found))


@coordinator_options
@click.command(epilog=EXIT_CODES)
@click.argument("group")
def why(group: str) -> None:
    """What a group is waiting for: who, until when, what helps.

    \b
    Example:
      drsync why orders
    """
    talk = Talk.here()
    found = ask(talk, f"/v1/groups/{quote(group)}/why")
    if talk.as_json:
        print_json(dict(found.items()))
        return
    lines = found.docs("lines")
    if not lines:
        line(f"{group} waits for nothing.", "green")
    for reason in lines:
        line(_sentence(reason))
        if reason.text("remedy"):
            line(f"    {reason.text('remedy')}", "dim")


def _sentence(reason: Doc) -> str:
    parts = [reason.text("what")]
    if reason.text("who"):
        parts.append(f"on {reason.text('who')}")
    if reason.text("epoch"):
        parts.append(f"in epoch {reason.text('epoch_text') or reason.text('epoch')}")
    if reason.has("until_s"):
        left = reason.number("until_s")
        parts.append(f"for {format_duration(left)} more" if left > 0 else "until it changes")
    return "  " + ", ".join(parts)


@coordinator_options
@export_options
@click.command(epilog=EXIT_CODES)
@click.option("--group", default="", help="Of this group only.")
@click.option("--after", type=int, default=0, help="Only events with a higher number.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=EVENTS_SHOWN,
    show_default=True,
    help="At most so many, the newest.",
)
def events(group: str, after: int, limit: int, path: Path | None, since: str) -> None:
    """What happened, in order.

    With --export: all that is known of it, operations and decisions as well, in one file that can be asked
    "why" later, without the coordinator.

    \b
    Examples:
      drsync events --group orders
      drsync events --after 1200 --json
      drsync events --export failover.jsonl --group orders --since 2d
      drsync sim --replay-incident failover.jsonl
    """
    talk = Talk.here()
    if path is not None:
        write_export(talk, path, group, since)
        return
    if since:
        raise UsageError("--since belongs to --export", remedy="Use --after N, or give --export FILE.")
    found = ask(talk, "/v1/events", {"group": group, "after": after, "limit": limit})
    if talk.as_json:
        print_json(dict(found.items()))
        return
    listed = found.docs("events")
    if not listed:
        line("Nothing has happened yet.")
        return
    what = table([">n", "time", "group", "center", "epoch", "what"])
    for event in listed:
        epoch = event.text("epoch_text") or event.text("epoch")
        text = event.text("text") or event.text("kind")
        about = (event.text("group"), event.text("center"), "" if epoch == "0" else epoch)
        row(what, event.text("n"), clock(event.whole("at_us")), *about, text)
    console().print(what)


async def _watch(talk: Talk) -> None:
    """Ask again and again; on a terminal the picture stays in place, else one JSON object a line."""
    async with Client(talk.coordinator, talk.token_file) as client:
        if talk.as_json or not console().is_terminal:
            while True:
                click.echo(json.dumps(dict((await client.get("/v1/status")).items()), ensure_ascii=False))
                await asyncio.sleep(INTERVAL_S)
        from rich.live import Live

        with Live(console=console(), screen=True, auto_refresh=False) as live:
            await _keep_current(client, live)


async def _keep_current(client: Client, live: "Live") -> None:
    from rich.console import Group
    from rich.text import Text

    from drsync.model.errors import TransientError

    shown = Doc()
    while True:
        note = Text("Ctrl-C ends it", style="dim")
        try:
            shown = await client.get("/v1/status")
        except TransientError as error:
            note = Text(clean(f"{error}; the picture is old"), style="bold red")
        live.update(Group(status_view(shown), note), refresh=True)
        await asyncio.sleep(INTERVAL_S)
