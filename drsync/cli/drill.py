"""`drsync drill`: practise a failover on an isolated copy, and read what came of it."""

import sys
from pathlib import Path

import click

from drsync.adapters.api_client.doc import Doc, Json
from drsync.adapters.api_client.following import failure
from drsync.cli import operations
from drsync.cli.client import Client, ask, quote, run
from drsync.cli.errors import EXIT_CODES
from drsync.cli.operations import progress
from drsync.cli.options import Talk, asked_by_options, coordinator_options
from drsync.cli.output import BAD, GOOD, console, line, print_json, row, table
from drsync.cli.runbook_options import runbook_form, runbook_options
from drsync.cli.text import clock, count, format_duration, format_size
from drsync.model.errors import PermanentError, UsageError

ID_DIGITS = 32
ID_SHOWN = 12  # because that many digits are never alike by chance


@click.group()
def drill() -> None:
    """Fail over an isolated copy and report what it took."""


@coordinator_options
@asked_by_options
@runbook_options
@drill.command("run", epilog=EXIT_CODES)
@click.argument("group")
@click.option("--at", default="", metavar="CENTER", help="Where to open it. [default: the remote center]")
@click.option("--point", default="", help="A recovery point: its number or name. [default: one made now]")
def run_drill(group: str, at: str, point: str, reason: str, actor: str) -> None:
    """Open a copy, compare its content with the source, and tear it down; production notices nothing.

    Ends with 0 only if the drill passed.

    \b
    Examples:
      drsync drill run orders
      drsync drill run orders --at remote --point before-upgrade
      drsync drill run orders --runbook runbooks/sqlite-service.yaml
    """
    talk = Talk.here()
    body: Json = {"at": at, "point": point, "reason": reason, "actor": actor, **runbook_form()}
    operation = run(_run(talk, group, body))
    found = _report_of(operation)
    if talk.as_json:
        print_json(dict(operation.items()))
    elif found.has("verdict"):
        _show(found)
    error = failure(operation)
    if error is None and found.text("verdict") == "failed":
        remedy = f"See drsync drill show {operation.text('id')}."
        error = PermanentError(f"the drill of {group} failed", code="drill_failed", remedy=remedy)
    if error is not None:
        raise error


def _report_of(operation: Doc) -> Doc:
    """The report in an ended operation's result."""
    result = operation.doc("result")
    return result.doc("report") if result.has("report") else result


@coordinator_options
@drill.command("list", epilog=EXIT_CODES)
@click.option("--group", default="", help="Of this group only.")
def list_drills(group: str) -> None:
    """Drills so far, the newest last.

    \b
    Example:
      drsync drill list
    """
    talk = Talk.here()
    found = ask(talk, "/v1/drills", {"group": group})
    if talk.as_json:
        print_json(dict(found.items()))
        return
    drills = found.docs("drills")
    if not drills:
        line("No drill was run yet.")
        return
    what = table(["id", "group", "at", "started", "verdict", ">open in", "content"])
    for one in drills:
        opened = format_duration(one.number("rto_s")) if one.has("rto_s") else "-"
        identity = one.text("id")[:ID_SHOWN]
        when = clock(one.whole("started_us"))
        about = (identity, one.text("group"), one.text("center"), when)
        row(what, *about, _verdict(one), opened, one.text("content").replace("_", " "))
    console().print(what)


@coordinator_options
@drill.command("show", epilog=EXIT_CODES)
@click.argument("drill_id", metavar="ID")
def show_drill(drill_id: str) -> None:
    """One drill: verdict, targets, steps.

    \b
    Example:
      drsync drill show 4f2a9c
    """
    talk = Talk.here()
    found = run(_get(talk, drill_id))
    if talk.as_json:
        print_json(dict(found.items()))
    else:
        _show(found)


@coordinator_options
@drill.command("report", epilog=EXIT_CODES)
@click.argument("drill_id", metavar="ID")
@click.option("--format", "form", type=click.Choice(["html", "json"]), default="html", help="[default: html]")
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", help="[default: en]")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write. [default: stdout]"
)
def report(drill_id: str, form: str, lang: str, out: Path | None) -> None:
    """The evidence of one drill, to keep or to print.

    \b
    Examples:
      drsync drill report 4f2a9c --out drill.html
      drsync drill report 4f2a9c --format json --out drill.json
      drsync drill report 4f2a9c --lang zh --out drill.html
    """
    talk = Talk.here()
    content = run(_fetch(talk, drill_id, form, lang))
    if out is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    try:
        out.write_bytes(content)
    except OSError as error:
        raise PermanentError(f"cannot write {out}: {error.strerror}") from error
    if talk.as_json:
        print_json({"out": str(out), "bytes": len(content)})
    else:
        line(f"Written to {out}.")


def _show(found: Doc) -> None:
    point = found.doc("point")
    line(f"Drill {found.text('id')} of {found.text('group')} at {found.text('center')}", "bold")
    word, style = _verdict(found)
    line(f"  verdict   {word}", style)
    line(f"  content   {found.text('content').replace('_', ' ')}")
    if point:
        named = f" ({point.text('name')})" if point.text("name") else ""
        line(f"  point     record {count(point.whole('seq'))}, {clock(point.whole('time_us'))}{named}")
    for tree in found.docs("trees"):
        words = f"{tree.text('name')}: {tree.text('content').replace('_', ' ')}"
        size = f"{count(tree.whole('entries'))} names, {format_size(tree.whole('bytes'))}"
        line(f"  files     {words}, generation {count(tree.whole('generation'))}, {size}")
    for what, key in (("RTO", "rto"), ("RPO", "rpo")):
        if found.has(f"{key}_s"):
            target = f"target {format_duration(found.number(f'{key}_target_s'))}"
            line(f"  {what}       {format_duration(found.number(f'{key}_s'))}, {target}")
    for reason in found.texts("reasons"):
        line(f"  {reason}", "yellow")
    if found.has("runbook"):
        _show_runbook(found.doc("runbook"))
    steps = found.docs("steps")
    if steps:
        what_happened = table([">n", "step", "at", ">seconds", "outcome", "detail"])
        for step in steps:
            seconds = f"{step.number('seconds'):.3f}"
            about = (step.text("n"), step.text("name"), step.text("center") or "-", seconds)
            row(what_happened, *about, step.text("outcome"), step.text("detail"))
        console().print(what_happened)


def _show_runbook(book: Doc) -> None:
    used = f"{format_duration(book.number('used_s'))} of " if book.has("used_s") else ""
    line(f"  runbook   {book.text('name')}, version {book.text('version')}, {book.text('digest')}")
    line(f"  budget    {used}{format_duration(book.number('budget_s'))} used" if used else "  budget    -")
    shown = table(["step", "action", "at", "state", ">tries", ">seconds", ">budget", "detail"])
    for step in book.docs("steps"):
        seconds = f"{step.number('seconds'):.3f}"
        budget = format_duration(step.number("budget_s")) if step.has("budget_s") else "-"
        is_over = step.has("budget_s") and step.number("seconds") > step.number("budget_s")
        about = (step.text("id"), step.text("action"), step.text("center"), step.text("state"))
        row(
            shown,
            *about,
            step.text("tries"),
            (seconds, BAD if is_over else ""),
            budget,
            step.text("detail"),
        )
    console().print(shown)


def _verdict(found: Doc) -> tuple[str, str]:
    verdict = found.text("verdict", "unknown")
    return verdict, {"passed": GOOD, "failed": BAD}.get(verdict, "yellow")


async def _run(talk: Talk, group: str, body: Json) -> Doc:
    async with Client(talk.coordinator, talk.token_file) as client:
        path, show = f"/v1/groups/{quote(group)}/drill", progress(as_json=talk.as_json)
        at = f" at {body['at']}" if body["at"] else ""
        return await operations.ask(client, path, body, f"drill of {group}{at}", show)


async def _get(talk: Talk, drill_id: str) -> Doc:
    async with Client(talk.coordinator, talk.token_file) as client:
        return await client.get(f"/v1/drills/{quote(await _whole_id(client, drill_id))}")


async def _fetch(talk: Talk, drill_id: str, form: str, lang: str) -> bytes:
    async with Client(talk.coordinator, talk.token_file) as client:
        page = f"/v1/drills/{quote(await _whole_id(client, drill_id))}"
        if form == "html":
            return await client.fetch(f"{page}/report.html", {"lang": lang})
        return await client.fetch(page, {})


async def _whole_id(client: Client, start: str) -> str:
    """The id that begins with `start`, as `drsync drill list` shows it."""
    if len(start) >= ID_DIGITS:
        return start
    drills = (await client.get("/v1/drills")).docs("drills")
    found = [one.text("id") for one in drills if one.text("id").startswith(start)]
    if len(found) == 1:
        return found[0]
    said = "several drills begin with" if found else "no drill begins with"
    raise UsageError(f"{said} {start!r}", remedy="See drsync drill list.")
