"""`drsync switchover`, `failover`, `failback`: who owns a group changes."""

import sys

import click

from drsync.adapters.api_client.doc import Doc, Json
from drsync.cli import loss, operations
from drsync.cli.client import Client, ask, quote, run
from drsync.cli.errors import EXIT_CODES
from drsync.cli.operations import finish, progress, took
from drsync.cli.options import Talk, asked_by_options, coordinator_options
from drsync.cli.output import GOOD, line
from drsync.cli.runbook_options import runbook_form, runbook_options
from drsync.cli.text import format_duration
from drsync.model.errors import UsageError

TO = click.option("--to", required=True, metavar="CENTER", help="The center that shall own the group.")


@coordinator_options
@asked_by_options
@runbook_options
@click.command(epilog=EXIT_CODES)
@click.argument("group")
@TO
def switchover(group: str, to: str, reason: str, actor: str) -> None:
    """Planned change of owner; loses nothing.

    Both centers must be reached. New writes wait for a moment while the last ones arrive; if that takes too
    long the present owner goes on as before and the command ends with 3.

    \b
    Example:
      drsync switchover orders --to same_city --reason "new switch"
    """
    talk = Talk.here()
    body: Json = {"to": to, "reason": reason, "actor": actor, **runbook_form()}
    operation = run(_switch(talk, group, body))
    finish(operation, as_json=talk.as_json, report=lambda ended: _report(ended, group, to))


@coordinator_options
@asked_by_options
@runbook_options
@click.command(epilog=EXIT_CODES)
@click.argument("group")
@TO
@click.option("--accept-loss", is_flag=True, help="Go on although acknowledged writes may be lost.")
@click.option(
    "--without-store",
    is_flag=True,
    help="The coordinator's store is lost or an old copy: begin a new generation of it from what members "
    "remember. Needs --accept-loss.",
)
@click.option("--dry-run", is_flag=True, help="Show the loss statement and the plan; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask, even on a terminal with --accept-loss.")
def failover(  # one for each option
    group: str,
    to: str,
    accept_loss: bool,
    without_store: bool,
    dry_run: bool,
    yes: bool,
    reason: str,
    actor: str,
) -> None:
    """Unplanned change of owner; names its loss first.

    For when the owner is gone or cut off. It says what would be lost before anything changes. If acknowledged
    writes may be lost it refuses (exit 3) and changes nothing, unless --accept-loss is given.

    \b
    Examples:
      drsync failover orders --to same_city
      drsync failover orders --to remote --dry-run
      drsync failover orders --to remote --runbook runbooks/sqlite-service.yaml
      drsync failover orders --to remote --accept-loss --reason "INC-4711"
      drsync failover orders --to remote --without-store --accept-loss
    """
    talk = Talk.here()
    body: Json = {"to": to, "accept_loss": accept_loss, "reason": reason, "actor": actor, "dry_run": dry_run}
    if without_store:
        body["without_store"] = True
    body |= runbook_form()
    is_asked = accept_loss and not yes and not dry_run and sys.stdin.isatty() and sys.stderr.isatty()
    if is_asked:
        _confirm(run(_fail_over(talk, group, {**body, "dry_run": True}, "loss statement")), group, to)
    title = f"{'trying' if dry_run else 'failover of'} {group} to {to}"
    operation = run(_fail_over(talk, group, body, title))
    finish(
        operation,
        as_json=talk.as_json,
        report=lambda ended: _report(ended, group, to, is_dry=dry_run),
        knows_loss=is_asked,
    )


@coordinator_options
@asked_by_options
@runbook_options
@click.command(epilog=EXIT_CODES)
@click.argument("group")
def failback(group: str, reason: str, actor: str) -> None:
    """Switch over to the preferred owner.

    \b
    Example:
      drsync failback orders
    """
    talk = Talk.here()
    to = _preferred_owner(talk, group)
    body: Json = {"to": to, "reason": reason or "failback", "actor": actor, "failback": True}
    operation = run(_switch(talk, group, body | runbook_form()))
    finish(operation, as_json=talk.as_json, report=lambda ended: _report(ended, group, to))


async def _switch(talk: Talk, group: str, body: Json) -> Doc:
    async with Client(talk.coordinator, talk.token_file) as client:
        path, show = f"/v1/groups/{quote(group)}/switchover", progress(as_json=talk.as_json)
        return await operations.ask(client, path, body, f"switchover of {group} to {body['to']}", show)


async def _fail_over(talk: Talk, group: str, body: Json, title: str) -> Doc:
    async with Client(talk.coordinator, talk.token_file) as client:
        path, show = f"/v1/groups/{quote(group)}/failover", progress(as_json=talk.as_json)
        return await operations.ask(client, path, body, title, show)


def _preferred_owner(talk: Talk, group: str) -> str:
    found = ask(talk, f"/v1/groups/{quote(group)}")
    owner = found.text("preferred_owner") or found.doc("group").text("preferred_owner")
    if not owner:
        raise UsageError(
            f"{group} has no preferred owner", remedy=f"Use drsync switchover {group} --to CENTER."
        )
    return owner


def _confirm(statement: Doc, group: str, to: str) -> None:
    """Show the loss statement and ask; anything but yes ends the command."""
    if statement.has("loss"):
        loss.show(statement.doc("loss"))
    click.confirm(f"Open {group} at {to} and give up what is named above?", abort=True, err=True)


def _report(ended: Doc, group: str, to: str, *, is_dry: bool = False) -> None:
    result = ended.doc("result")
    if is_dry:
        line("Nothing was changed (dry run).")
        return
    epoch = result.text("epoch_text") or result.text("epoch")
    opened = f" in epoch {epoch}" if epoch else ""
    pause = result.number("pause_s") or result.number("rto_s")
    held = f"; writes waited {pause:.2f} s" if pause else ""
    book = result.doc("runbook")
    # The steps of a runbook run beside and within each other: their sum would count some twice.
    whole = (ended.whole("ended_us") - ended.whole("started_us")) / 1e6
    line(f"{to} owns {group}{opened} (took {format_duration(whole) if book else took(ended)}{held}).", GOOD)
    for step in book.docs("steps"):
        budget = f" of {step.number('budget_s'):g} s" if step.has("budget_s") else ""
        line(f"  {step.text('id'):12} {step.text('state'):8} {step.number('seconds'):.2f} s{budget}")
